//! What must hold: always, in the end, or at least once (so that the model is not true of nothing).
//!
//! A property speaks of history only where it must; most can be read off one moment. Those of what
//! is taken and given back excuse a call that could not do its part: its process died, or no try of
//! a write that gives back, kills or marks was answered. The product logs that.

use stateright::Property;

use crate::aws::{MAX_ATTEMPTS, State, TTL};
use crate::calls::{Answer, GuessCall, GuessStep, RequestCall, Step, Verdict};
use crate::{Moment, Protocol, Scenario};

type Holds = fn(&Protocol, &Moment) -> bool;

/// What holds at every moment.
pub const ALWAYS: [(&str, Holds); 13] = [
    ("at most max_attempts guesses are compared", |_, moment| {
        moment.aws.compared <= MAX_ATTEMPTS
    }),
    ("at most one guess succeeds", |_, moment| {
        let mut winners = moment.guesses.iter().filter(|guess| guess.succeeded());
        let first = winners.next();
        winners.all(|winner| first.is_some_and(|first| first.name == winner.name))
    }),
    ("no wrong guess succeeds", |_, moment| {
        moment
            .guesses
            .iter()
            .all(|guess| guess.is_right || !guess.succeeded())
    }),
    (
        "a right, timely, first guess is never refused",
        |_, moment| {
            let refused = |guess: &&GuessCall| {
                let refused = matches!(
                    guess.verdict(),
                    Some(Verdict::NotMatched | Verdict::NotFound)
                );
                guess.is_right && refused
            };
            // First: no other right one has begun, and so few wrong ones that one attempt is left.
            let is_first = |guess: &GuessCall| {
                let others = moment
                    .guesses
                    .iter()
                    .filter(|other| other.name != guess.name && other.step != GuessStep::Waiting);
                let (right, wrong): (Vec<&GuessCall>, Vec<&GuessCall>) =
                    others.partition(|other| other.is_right);
                let mut names: Vec<_> = wrong.iter().map(|other| other.name).collect();
                names.dedup();
                right.is_empty() && names.len() < usize::from(MAX_ATTEMPTS)
            };
            let code = |guess: &GuessCall| guess.code.unwrap_or_default();
            let mut refused = moment.guesses.iter().filter(refused);
            !refused.any(|guess| is_first(guess) && guess.now < end(moment, code(guess)))
                || lost_its_mark(moment)
        },
    ),
    (
        "calls of validate with one key get one answer",
        |_, moment| {
            let answered = |guess: &&GuessCall| {
                !matches!(
                    guess.verdict(),
                    None | Some(Verdict::Failed | Verdict::NotFound)
                )
            };
            let answered: Vec<_> = moment.guesses.iter().filter(answered).collect();
            answered.iter().all(|one| {
                let mut same = answered.iter().filter(|other| other.name == one.name);
                same.all(|other| other.verdict() == one.verdict())
            })
        },
    ),
    (
        "every wrong guess that is answered counts as a failure",
        |_, moment| {
            let told = |name: &u8| {
                let mut calls = moment.guesses.iter().filter(|guess| guess.name == *name);
                calls.any(|guess| guess.verdict() == Some(Verdict::NotMatched))
            };
            let told = (0..4).filter(told).count();
            usize::from(moment.aws.failures) >= told
                || moment.guesses.iter().copied().any(is_forgetting)
        },
    ),
    (
        "no message goes out whose code is not stored",
        |_, moment| {
            moment
                .aws
                .messages
                .iter()
                .all(|code| moment.aws.stored.has(code))
        },
    ),
    (
        "all messages carry the same code while it lives",
        |_, moment| {
            let sent: Vec<_> = moment.aws.messages.iter().collect();
            let made = |code: u8| end(moment, code) - TTL;
            sent.windows(2)
                .all(|codes| end(moment, codes[0]) <= made(codes[1]))
        },
    ),
    (
        "an ACCEPTED code is out and can be validated until it ends",
        |_, moment| {
            let mut accepted = moment.requests.iter().filter(|call| accepted(call));
            accepted.all(|call| {
                let is_out = moment.aws.messages.has(call.code);
                let is_alive = moment.aws.item.is_some_and(|item| {
                    item.code == Some(call.code)
                        && (item.is_alive() || item.state == State::Verified)
                });
                is_out && (is_alive || moment.clock >= end(moment, call.code))
            }) || lost_its_mark(moment)
        },
    ),
    (
        "no code is alive after REJECTED, 429 or 5xx",
        |_, moment| {
            let is_alive = moment.aws.item.is_some_and(|item| item.is_alive());
            !is_alive || moment.requests.iter().any(accepted) || !is_over(moment)
        },
    ),
    ("the first final answer stands", |_, moment| {
        let contradicts = |call: &RequestCall| {
            let known = call.known;
            let final_answers = [Some(Answer::Accepted), Some(Answer::Rejected)];
            known.is_some() && final_answers.contains(&call.answer()) && known != call.answer()
        };
        !moment.requests.iter().any(contradicts) || lost_its_mark(moment)
    }),
    ("nothing is charged twice for one code", |_, moment| {
        let impaired = moment
            .requests
            .iter()
            .filter(|call| call.is_impaired)
            .count();
        let most = moment.aws.stored.len().max(1) as usize + impaired;
        usize::from(moment.aws.charged) <= most && moment.aws.sends.len() as usize <= most
    }),
    ("what is sent is charged, and nothing else", |_, moment| {
        let is_charged = u8::from(moment.requests.iter().any(accepted));
        let is_exact =
            moment.aws.charged == is_charged && moment.aws.sends.len() == u32::from(is_charged);
        is_exact || !is_over(moment) || lost_its_mark(moment)
    }),
];

/// What holds once a request with a key has been repeated to the end.
pub const EVENTUALLY: [(&str, Holds); 2] = [
    (
        "a request that is repeated is answered for good",
        |_, moment| {
            let last = moment.requests.last().and_then(RequestCall::answer);
            matches!(last, Some(Answer::Accepted | Answer::Rejected))
        },
    ),
    (
        "in the end everything is given back but what was sent",
        |_, moment| {
            let last = moment.requests.last().and_then(RequestCall::answer);
            let owed = u8::from(moment.requests.iter().any(accepted));
            let is_even = moment.aws.charged == owed && moment.aws.sends.len() == u32::from(owed);
            let is_impaired = moment.requests.iter().any(|call| call.is_impaired);
            // A process that died has given nothing back, if nobody took over before its code's end.
            let took_over = moment.aws.stored.len() <= 1;
            last.is_some() && (is_even || is_impaired || !took_over)
        },
    ),
];

/// What `scenario` is explored for.
#[must_use]
pub fn all(scenario: &Scenario) -> Vec<Property<Protocol>> {
    let mut all: Vec<_> = ALWAYS
        .map(|(name, holds)| Property::always(name, holds))
        .into();
    if scenario.is_repeated_to_the_end {
        all.extend(EVENTUALLY.map(|(name, holds)| Property::eventually(name, holds)));
    }
    all.push(Property::sometimes(
        "a code is accepted",
        |_, moment: &Moment| moment.requests.iter().any(accepted),
    ));
    if !scenario.guesses.is_empty() {
        all.push(Property::sometimes(
            "the last attempt succeeds",
            |_, moment: &Moment| {
                let is_last = moment
                    .aws
                    .item
                    .is_some_and(|item| item.attempts == MAX_ATTEMPTS);
                is_last && moment.guesses.iter().any(|guess| guess.succeeded())
            },
        ));
    }
    if scenario.is_keyed && scenario.requests > 1 {
        all.push(Property::sometimes(
            "a dead call's code is sent by another",
            |_, moment: &Moment| {
                let taken = |call: &RequestCall| accepted(call) && call.code != call.number;
                moment.requests[0].step == Step::Crashed && moment.requests.iter().any(taken)
            },
        ));
    }
    all
}

/// The first tick at which the code is dead.
fn end(moment: &Moment, code: u8) -> u8 {
    moment.requests[usize::from(code)].now + TTL
}

fn accepted(call: &RequestCall) -> bool {
    call.answer() == Some(Answer::Accepted)
}

/// A success forgets the failures, also those of guesses that are answered later.
fn is_forgetting(guess: GuessCall) -> bool {
    let settles = GuessStep::Settle(Verdict::Success);
    guess.succeeded() || guess.step == settles || guess.is_right && guess.step == GuessStep::Crashed
}

/// Whether all calls of `request` that were made have answered, and done all that they must.
fn is_over(moment: &Moment) -> bool {
    let is_over = |call: &RequestCall| match call.step {
        Step::Waiting => true,
        Step::Ended(_) => !call.is_impaired,
        _ => false,
    };
    moment.requests.iter().all(is_over)
}

/// Whether an accepted code could not be marked as sent. Then the same request, made again after
/// the lease, sends it again, and what comes of that is the answer.
fn lost_its_mark(moment: &Moment) -> bool {
    moment
        .requests
        .iter()
        .any(|call| accepted(call) && call.is_impaired)
}
