//! What the SDK waits for: its time-outs, and its pauses before it tries again.
//!
//! On the clock of the machine, a time-out is real. Else time stands still while anything can
//! happen, and jumps to the next moment that somebody waits for once nothing can: so a call of
//! fifteen seconds takes some milliseconds, and a busy machine makes no call time out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use tokio::sync::oneshot;

/// How often the machine is looked at, and how often it must be found idle before time jumps.
const LOOK: Duration = Duration::from_millis(2);
const LOOKS: u32 = 3;

/// A clock of waits; clones share one.
#[derive(Clone, Debug)]
pub struct SimTime(Option<Arc<Mutex<State>>>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    /// Who waits until when; the number tells apart who waits until the same moment.
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    /// Grows with all that happens.
    events: u64,
    /// How many calls are on their way that wait for no time.
    busy: usize,
}

/// A call on its way.
pub struct Busy(SimTime);

impl SimTime {
    /// On the clock of the machine.
    pub fn real() -> Self {
        Self(None)
    }

    /// On a clock that jumps, as far as [`Self::run`] runs on the thread of all that happens.
    pub fn jumping() -> Self {
        Self(Some(Arc::default()))
    }

    /// How long everything has taken so far, on a clock that jumps.
    pub fn now(&self) -> Duration {
        self.0
            .as_ref()
            .map_or(Duration::ZERO, |state| state.lock().unwrap().now)
    }

    /// Keeps time from jumping until it is dropped.
    pub fn busy(&self) -> Busy {
        self.change(|state| state.busy += 1);
        Busy(self.clone())
    }

    /// Lets time jump whenever nothing happens.
    pub async fn run(self) {
        let Some(state) = self.0 else { return };
        let (mut seen, mut idle) = (0, 0);
        loop {
            tokio::time::sleep(LOOK).await;
            let mut state = state.lock().unwrap();
            state.sleepers.retain(|_, sleeper| !sleeper.is_closed());
            let still = state.busy == 0 && state.events == seen;
            seen = state.events;
            idle = if still { idle + 1 } else { 0 };
            if idle < LOOKS {
                continue;
            }
            idle = 0;
            if let Some(((until, _), sleeper)) = state.sleepers.pop_first() {
                state.now = until;
                let _ = sleeper.send(());
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(state) = &self.0 {
            let mut state = state.lock().unwrap();
            state.events += 1;
            change(&mut state);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.change(|state| state.busy -= 1);
    }
}

impl AsyncSleep for SimTime {
    fn sleep(&self, duration: Duration) -> Sleep {
        if self.0.is_none() {
            return Sleep::new(tokio::time::sleep(duration));
        }
        let (sleeper, woken) = oneshot::channel();
        self.change(|state| {
            let until = state.now + duration;
            state.sleepers.insert((until, state.events), sleeper);
        });
        Sleep::new(async move {
            let _ = woken.await;
        })
    }
}
