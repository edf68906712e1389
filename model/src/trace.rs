//! Random runs, to be replayed against the product's store.
//!
//! A [`Trace`] is a list of [`Event`]s: one write each, whether it is carried out, what DynamoDB
//! answers, and what the tables hold afterwards. Whoever replays it carries out the same writes with
//! the product's store, in the same order, and compares:
//!
//! - [`What::CarriedOut`]: do it, and compare the reply.
//! - [`What::CutOff`], [`What::Lost`]: do nothing.
//! - [`What::Lands`]: do it, with the parameters that it had, and compare the reply.
//! - after each event, compare [`Event::after`] with the tables.
//!
//! # How to read it
//!
//! - A tick is [`TICK`], so that the times of [`TRACED`] are the product's: a lease (30 s) is over by
//!   the next tick, a code that lives less than 30 s more lives none, and 600 s are four ticks.
//! - Two equal writes of a trace are attempts of one, with the same call id. Give each attempt a client
//!   request token of its own: the model has none, so the conditions alone answer a repeat.
//! - A begin that the recipient's failures alone cancel is answered [`Reply::Failures`] and changes
//!   nothing. Its second try is a write of its own.
//! - A begin that meets an item carries that item in [`Reply::Met`]. The call's next write shows what
//!   it made of it.
//! - Requests of one verification have the same `Idempotency-Key`; guesses with the same key and code
//!   have the same call id.

use std::time::Duration;

use stateright::Model as _;

use crate::calls::{Answer, GuessCall, RequestCall, Verdict};
use crate::scenarios::{Scenario, TRACED};
use crate::tables::{Reply, Tables, Write};
use crate::{Action, Fate, Landing, Moment, Protocol, Who};

/// How long a tick lasts.
pub const TICK: Duration = Duration::from_secs(150);

/// A random run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The client's balance, in messages of one part.
    pub balance: u8,
    /// The client's cap, if it has one.
    pub cap: Option<u8>,
    /// The failures that lock the recipient.
    pub max_failures: u8,
    /// What happens, in order.
    pub events: Vec<Event>,
}

/// One event of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The time. A write has the start of its call for its own.
    pub now: u8,
    /// What happens.
    pub what: What,
    /// The answer that a call of `request` gives because of it.
    pub answer: Option<Answer>,
    /// The answer that a call of `validate` gives because of it.
    pub verdict: Option<Verdict>,
    /// What the tables hold afterwards.
    pub after: Tables,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A call starts.
    Starts {
        /// The call.
        who: Who,
        /// The code that its seed gives, or that it guesses.
        code: u8,
    },
    /// A write is carried out, or its condition fails.
    CarriedOut {
        /// The call.
        who: Who,
        /// The write.
        write: Write,
        /// What it is answered.
        reply: Reply,
        /// Whether the call has that answer. If not, it repeats the write, gives up, or dies.
        is_told: bool,
    },
    /// A write is cut off on its way.
    CutOff {
        /// The call.
        who: Who,
        /// The write.
        write: Write,
    },
    /// A write is not carried out.
    Lost {
        /// The call.
        who: Who,
        /// The write.
        write: Write,
        /// What the call is told: a conflict or a refusal of the message service, or nothing.
        told: Option<Reply>,
    },
    /// A write that was cut off lands. Nobody is told.
    Lands {
        /// The write.
        write: Write,
        /// What nobody is told.
        reply: Reply,
    },
    /// Time passes.
    Ticks,
}

impl Trace {
    /// The run of that seed; the same on every machine.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let protocol = traced(seed);
        let mut before = protocol.init_states().remove(0);
        let events = walk(&protocol, seed).into_iter().map(|(action, after)| {
            let what = happened(&protocol, &before, action);
            let answers = |moment: &Moment| {
                let answers = moment.requests.iter().map(RequestCall::answer);
                answers.collect::<Vec<_>>()
            };
            let verdicts = |moment: &Moment| {
                let verdicts = moment.guesses.iter().map(GuessCall::verdict);
                verdicts.collect::<Vec<_>>()
            };
            let event = Event {
                now: before.clock,
                what,
                answer: given(answers(&before), answers(&after)),
                verdict: given(verdicts(&before), verdicts(&after)),
                after: after.tables.clone(),
            };
            before = after;
            event
        });
        let Scenario {
            balance,
            cap,
            max_failures,
            ..
        } = protocol.scenario;
        Self {
            balance,
            cap,
            max_failures,
            events: events.collect(),
        }
    }
}

/// The protocol that the run of that seed is of: limits differ, so that each refuses in some runs.
#[must_use]
pub fn traced(seed: u64) -> Protocol {
    let mut random = fastrand::Rng::with_seed(seed);
    let scenario = Scenario {
        balance: random.u8(1..=4),
        cap: random.bool().then_some(random.u8(1..=4)),
        max_failures: random.u8(1..=3),
        max_attempts: 1 + u8::from(random.bool()),
        ..TRACED
    };
    let flaw = None;
    Protocol { scenario, flaw }
}

/// A random run of a protocol: what happens, and the moment after it.
#[must_use]
pub fn walk(protocol: &Protocol, seed: u64) -> Vec<(Action, Moment)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut moment = protocol.init_states().remove(0);
    let mut run = vec![];
    loop {
        let mut actions = vec![];
        protocol.actions(&moment, &mut actions);
        let weights = actions.iter().map(weight);
        let mut left = random.u32(..weights.sum::<u32>().max(1));
        let chosen = actions.iter().find(|action| {
            let is_chosen = left < weight(action);
            left = left.saturating_sub(weight(action));
            is_chosen
        });
        let Some(&action) = chosen else {
            return run;
        };
        let Some(next) = protocol.next_state(&moment, action) else {
            return run;
        };
        moment = next;
        run.push((action, moment.clone()));
    }
}

/// How likely an action is: calls are mostly answered, and mostly end before others start.
fn weight(action: &Action) -> u32 {
    match action {
        Action::Carry(_, _, Fate::Answered) => 30,
        Action::Carry(..) => 2,
        Action::Start(..) => 1,
        Action::Land(_) | Action::Collect(_) => 5,
        Action::Tick => 4,
    }
}

/// Tells what an action comes to.
fn happened(protocol: &Protocol, before: &Moment, action: Action) -> What {
    let replied = |write| protocol.land(&mut before.clone(), write);
    match action {
        Action::Start(who, code) => What::Starts { who, code },
        Action::Carry(who, write, fate) => {
            let carried_out = |is_told| What::CarriedOut {
                who,
                write,
                reply: replied(write),
                is_told,
            };
            let lost = |told| What::Lost { who, write, told };
            match fate {
                Fate::Answered => carried_out(true),
                Fate::AnswerLost
                | Fate::Unanswered(Landing::Now)
                | Fate::Dies(Landing::Now)
                | Fate::TakenThenRefused => carried_out(false),
                Fate::CutOff | Fate::Unanswered(Landing::Later) | Fate::Dies(Landing::Later) => {
                    What::CutOff { who, write }
                }
                Fate::Unanswered(Landing::Never) | Fate::Dies(Landing::Never) => lost(None),
                Fate::Conflict | Fate::ConflictBeside => lost(Some(Reply::Conflict)),
                Fate::Refused => lost(Some(Reply::Refused)),
                Fate::RefusedForAll => lost(Some(Reply::RefusedForAll)),
            }
        }
        Action::Land(index) => {
            let write = before.late[index].write;
            What::Lands {
                write,
                reply: replied(write),
            }
        }
        Action::Tick | Action::Collect(_) => What::Ticks,
    }
}

/// The one thing that was not there before.
fn given<T: PartialEq>(before: Vec<Option<T>>, after: Vec<Option<T>>) -> Option<T> {
    let mut pairs = before.into_iter().zip(after);
    pairs.find_map(|(before, after)| after.filter(|_| before.is_none()))
}
