//! Time as a value: read once per call, at the top, and handed down.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded up: the unit of DynamoDB's TTL.
    #[must_use]
    pub const fn as_secs_ceil(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) != 0) as i64
    }

    /// After how many whole seconds `later` has come, at least one: the value of `Retry-After`.
    #[must_use]
    pub fn seconds_until(self, later: Self) -> u64 {
        let millis = u64::try_from(later.0.saturating_sub(self.0)).unwrap_or_default();
        millis.div_ceil(1000).max(1)
    }

    /// This moment plus `duration`, at millisecond resolution.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// This moment less `duration`, at millisecond resolution.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

/// The source of the current time: the system, or a clock that a test moves.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// Stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    /// The present.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since_epoch = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp(0).plus(since_epoch)
            }
            Self::Manual(clock) => Timestamp(clock.millis.load(Ordering::SeqCst)),
        }
    }
}

/// A clock that stands still until [`advance`](Self::advance) moves it; clones share one hand.
#[derive(Clone, Debug)]
pub struct ManualClock {
    millis: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self {
            millis: Arc::new(AtomicI64::new(start.0)),
        }
    }

    /// Moves the hand forward.
    pub fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_round_up_so_that_nothing_is_collected_early() {
        assert_eq!(Timestamp::from_millis(1_000).as_secs_ceil(), 1);
        assert_eq!(Timestamp::from_millis(1_001).as_secs_ceil(), 2);
        assert_eq!(Timestamp::from_millis(-1).as_secs_ceil(), 0);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let hand = ManualClock::starting_at(Timestamp::from_millis(5));
        let clock = Clock::Manual(hand.clone());
        assert_eq!(clock.now(), Timestamp::from_millis(5));
        hand.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::from_millis(1_005));
    }
}
