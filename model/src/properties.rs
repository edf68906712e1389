//! What must hold: always, in the end, or at least once (so that the model is not true of nothing).
//!
//! Three cases cannot be avoided. They are granted here and nowhere else, and each is shown to come
//! about:
//!
//! - a death leaves a charge, until the same key finishes the send;
//! - an undo without an answer leaves a charge;
//! - a call that a cap or the message service refuses holds its recipient's window and its parts
//!   until its undo, and another call may be refused meanwhile.

use std::collections::HashSet;

use stateright::Property;

use crate::calls::{Answer, GuessCall, GuessStep, RequestCall, Step, Verdict};
use crate::tables::{Entry, Message, State, Write};
use crate::{Late, Moment, Protocol, Scenario, Wrong};

type Holds = fn(&Protocol, &Moment) -> bool;
/// Whether a scenario can show it.
type Shows = fn(&Scenario) -> bool;

/// What holds at every moment.
pub const ALWAYS: [(&str, Holds); 23] = [
    ("every comparison of a code is counted", |_, moment| {
        let compared: u8 = moment.deeds.compared.iter().sum();
        let attempts = moment.tables.verifications[0].map_or(0, |item| item.attempts);
        moment.deeds.uncounted == 0 && compared <= attempts
    }),
    (
        "at most max_attempts guesses are compared with a code",
        |protocol, moment| {
            let compared: u8 = moment.deeds.compared.iter().sum();
            compared <= protocol.scenario.max_attempts
        },
    ),
    ("a repeated guess is counted once", |_, moment| {
        let failed = &moment.tables.recipient.failed;
        let distinct: HashSet<_> = failed.iter().collect();
        moment.deeds.compared.iter().all(|&times| times <= 1) && distinct.len() == failed.len()
    }),
    ("at most one guess succeeds", |_, moment| {
        let mut winners = moment.guesses.iter().filter(|guess| succeeded(**guess));
        let first = winners.next();
        moment.deeds.successes <= 1
            && winners.all(|winner| first.is_some_and(|first| first.id() == winner.id()))
    }),
    ("no wrong guess succeeds", |_, moment| {
        moment
            .guesses
            .iter()
            .filter(|guess| succeeded(**guess))
            .all(|guess| {
                moment.tables.verifications[0].is_some_and(|item| {
                    item.state == State::Verified && item.digest == Some(guess.code)
                })
            })
    }),
    (
        "a right, timely, first guess is never refused",
        |_, moment| moment.wrong != Some(Wrong::RightGuessRefused),
    ),
    (
        "every wrong guess that is answered counts as a failure",
        |protocol, moment| {
            let told: HashSet<_> = moment
                .guesses
                .iter()
                .filter(|guess| guess.verdict() == Some(Verdict::NotMatched))
                .map(GuessCall::id)
                .collect();
            !protocol.scenario.counts_failures
                || moment.tables.recipient.failed.len() >= told.len()
                || moment.deeds.successes > 0
        },
    ),
    (
        "every message taken has its entry in the windows",
        |_, moment| {
            moment.messages.iter().all(|message| {
                let of = |call: u8| call == message.call;
                let sends = &moment.tables.recipient.sends;
                let taken = moment.messages.iter().filter(|other| of(other.call));
                taken.count() <= sends.iter().filter(|entry| of(entry.call)).count()
            })
        },
    ),
    (
        "two sends in the windows are a window apart",
        |protocol, moment| {
            let sends = &moment.tables.recipient.sends;
            are_apart(
                sends.iter().map(|entry| entry.at).collect(),
                protocol.scenario.window,
            )
        },
    ),
    (
        "two messages are a window apart, less a call's time",
        |protocol, moment| {
            let Scenario {
                window, timeout, ..
            } = protocol.scenario;
            let at = moment.messages.iter().map(|message| message.at);
            are_apart(at.collect(), window.saturating_sub(timeout))
        },
    ),
    (
        "two messages never carry different codes that are alive",
        |protocol, moment| {
            let is_alive = |message: &Message| {
                let mut calls = moment.requests.iter();
                !moment.deeds.exhausted.contains(&message.seed)
                    && calls.any(|call| {
                        call.seed == Some(message.seed)
                            && moment.clock < moment.promised_end(call, protocol)
                    })
            };
            moment.messages.iter().all(|one| {
                let mut others = moment.messages.iter();
                !others.any(|other| {
                    one.verification == other.verification
                        && one.seed != other.seed
                        && is_alive(one)
                        && is_alive(other)
                })
            })
        },
    ),
    (
        "a code that was ACCEPTED, or taken without an answer, lives its full time",
        |protocol, moment| {
            moment.requests.iter().all(|call| {
                let item = moment.tables.verifications[usize::from(call.verification)];
                let is_promised = call.answer() == Some(Answer::Accepted)
                    || call.answer() == Some(Answer::Unknown)
                        && [0, 1].iter().any(|&code| moment.is_taken(call, code));
                let is_over = moment.clock >= moment.promised_end(call, protocol)
                    || call
                        .seed
                        .is_some_and(|seed| moment.deeds.exhausted.contains(&seed));
                !is_promised
                    || is_over
                    || item.is_some_and(|item| {
                        Some(item.seed) == call.seed
                            && (item.state == State::Verified || item.is_alive(moment.clock))
                    })
            })
        },
    ),
    (
        "an ACCEPTED call's code was taken by the message service",
        |_, moment| {
            let accepted = |call: &&RequestCall| call.answer() == Some(Answer::Accepted);
            let mut accepted = moment.requests.iter().filter(accepted);
            accepted.all(|call| [0, 1].iter().any(|&code| moment.is_taken(call, code)))
        },
    ),
    ("an ACCEPTED that is given again was sent", |_, moment| {
        moment.wrong != Some(Wrong::AcceptedUnsent)
    }),
    (
        "all ACCEPTED calls with one key mean the same",
        |protocol, moment| {
            let is_accepted = |call: &&RequestCall| {
                let answers = [Some(Answer::Accepted), Some(Answer::AcceptedBefore)];
                answers.contains(&call.answer())
            };
            protocol.scenario.collects
                || moment.requests.iter().filter(is_accepted).all(|one| {
                    let mut others = moment.requests.iter().filter(is_accepted);
                    others.all(|other| {
                        one.verification != other.verification || one.body == other.body
                    })
                })
        },
    ),
    (
        "REJECTED and 429 leave no charge and no code alive",
        |_, moment| {
            moment.requests.iter().all(|call| {
                !call.answer().is_some_and(Answer::is_refusal) || !is_left_behind(call, moment)
            })
        },
    ),
    (
        "503 leaves no charge and no code alive, unless the undo had no answer",
        |_, moment| {
            moment.requests.iter().all(|call| {
                call.answer() != Some(Answer::Unavailable)
                    || call.is_undo_unknown
                    || call.takes_over
                    || moment.deeds.taken_over.contains(&call.number)
                    || !is_left_behind(call, moment)
            })
        },
    ),
    (
        "REJECTED and 429 never stand beside a live code of the same key",
        |_, moment| moment.wrong != Some(Wrong::RefusedBesideLiveCode),
    ),
    (
        "no call is refused because of its own key's send",
        |_, moment| moment.wrong != Some(Wrong::RefusedForOwnSend),
    ),
    (
        "a verification's send is charged exactly while it is stored or sent",
        |protocol, moment| {
            let begins = |entry: &&Entry| entry.is_begin;
            let charges = moment.tables.recipient.sends.iter().filter(begins).count();
            let spent = protocol.scenario.balance.checked_sub(moment.tables.balance);
            spent.map(usize::from) == Some(charges)
                && moment.tables.verifications.iter().flatten().all(|item| {
                    let mut sends = moment.tables.recipient.sends.iter();
                    let is_charged = sends.any(|entry| entry.is_begin && entry.call == item.seed);
                    is_charged == item.is_charged()
                })
        },
    ),
    ("the cap counts every message taken", |protocol, moment| {
        protocol.scenario.cap.is_none()
            || !moment.is_quiet()
            || moment.messages.len() <= usize::from(moment.tables.cap)
    }),
    (
        "a charge without a message has a cause that cannot be avoided",
        |_, moment| {
            let mut charges = moment.tables.recipient.sends.iter();
            !moment.is_quiet()
                || charges.all(|entry| {
                    !entry.is_begin
                        || is_sent(entry.call, moment)
                        || who_carried(entry.call, moment).any(|call| {
                            call.step == Step::Died
                                || call.is_undo_unknown
                                || call.answer() == Some(Answer::Unknown)
                        })
                })
        },
    ),
    (
        "a caller who repeats its key without faults is answered ACCEPTED",
        |protocol, moment| {
            !moment.is_quiet()
                || moment.requests[0].step == Step::Waiting
                || protocol.is_answered_when_repeated(moment)
        },
    ),
];

/// What holds at the end of every run.
pub const EVENTUALLY: (&str, Holds) = (
    "every call is answered, or its process dies",
    |_, moment| {
        let is_over = |call: &RequestCall| !call.is_running() && call.step != Step::Waiting;
        moment.requests.iter().all(is_over) && !moment.guesses.iter().any(GuessCall::is_running)
    },
);

/// What comes about in the scenarios that can show it.
const SOMETIMES: [(&str, Shows, Holds); 12] = [
    (
        "a code is accepted",
        |_| true,
        |_, moment| moment.requests.iter().any(accepted),
    ),
    (
        "a dead call's code is sent by another",
        repeats,
        |_, moment| {
            let took_over = |call: &RequestCall| accepted(call) && call.seed != Some(call.number);
            moment.requests[0].step == Step::Died && moment.requests.iter().any(took_over)
        },
    ),
    (
        "a code lives longer than its first ttl",
        |scenario| repeats(scenario) && !scenario.begins_accepted,
        |protocol, moment| {
            let item = moment.tables.verifications[0];
            item.is_some_and(|item| item.expires_at > item.begun_at + protocol.scenario.ttl)
        },
    ),
    ("the first answer is given again", repeats, |_, moment| {
        let mut requests = moment.requests.iter();
        requests.any(|call| call.answer() == Some(Answer::AcceptedBefore))
    }),
    ("a call begins anew", repeats, |_, moment| {
        let accepted = |call: &RequestCall| accepted(call) && call.seed == Some(call.number);
        moment.requests[0].answer() == Some(Answer::Rejected) && accepted(&moment.requests[1])
    }),
    (
        "a tombstone keeps a late begin from landing",
        |scenario| scenario.late > 0 && !scenario.begins_accepted,
        |_, moment| {
            let item = moment.tables.verifications[0];
            let is_kept_off = |late: &Late| match late.write {
                Write::Begin { begin, .. } => {
                    item.is_some_and(|item| item.digest.is_none() && item.seed == begin.call)
                }
                _ => false,
            };
            moment.late.iter().any(is_kept_off)
        },
    ),
    (
        "the last attempt succeeds",
        |scenario| !scenario.guesses.is_empty(),
        |protocol, moment| {
            let item = moment.tables.verifications[0];
            let is_last = item.is_some_and(|item| item.attempts == protocol.scenario.max_attempts);
            is_last && moment.guesses.iter().copied().any(succeeded)
        },
    ),
    (
        "a request to a recipient with failures is accepted",
        |scenario| scenario.counts_failures,
        |_, moment| {
            let second = moment.tables.verifications[1];
            second.is_some_and(|item| item.had_failures) && accepted(&moment.requests[1])
        },
    ),
    (
        "a locked recipient is refused",
        |scenario| scenario.counts_failures,
        |_, moment| {
            let call = &moment.requests[1];
            call.answer() == Some(Answer::Limited) && call.refused_by.is_none()
        },
    ),
    (
        "granted: a death leaves a charge",
        |scenario| !scenario.begins_accepted,
        |_, moment| moment.is_quiet() && leaves_charge(moment, |call| call.step == Step::Died),
    ),
    (
        "granted: an undo without an answer leaves a charge",
        |scenario| !scenario.begins_accepted,
        |_, moment| moment.is_quiet() && leaves_charge(moment, |call| call.is_undo_unknown),
    ),
    (
        "granted: a call is refused because of one that is refused later",
        |scenario| {
            let mut requests = scenario.requests.iter();
            !scenario.begins_accepted && requests.any(|&(verification, _)| verification == 1)
        },
        |_, moment| {
            moment.requests.iter().any(|call| {
                let by = call.refused_by.map(usize::from);
                let by = by.and_then(|by| moment.requests[by].answer());
                call.answer().is_some_and(Answer::is_refusal) && by == Some(Answer::Rejected)
            })
        },
    ),
];

/// What `scenario` is explored for.
#[must_use]
pub fn all(scenario: &Scenario) -> Vec<Property<Protocol>> {
    let (name, holds) = EVENTUALLY;
    let always = ALWAYS.map(|(name, holds)| Property::always(name, holds));
    let sometimes = SOMETIMES
        .into_iter()
        .filter(|(_, is_shown, _)| is_shown(scenario))
        .map(|(name, _, holds)| Property::sometimes(name, holds));
    let eventually = Property::eventually(name, holds);
    always
        .into_iter()
        .chain([eventually])
        .chain(sometimes)
        .collect()
}

fn repeats(scenario: &Scenario) -> bool {
    scenario.requests.get(1) == scenario.requests.first()
}

fn accepted(call: &RequestCall) -> bool {
    call.answer() == Some(Answer::Accepted)
}

fn succeeded(guess: GuessCall) -> bool {
    guess.verdict() == Some(Verdict::Success) || guess.step == GuessStep::Settle(Verdict::Success)
}

/// Whether any two of these ticks are so many ticks apart.
fn are_apart(mut ticks: Vec<u8>, window: u8) -> bool {
    ticks.sort_unstable();
    ticks.windows(2).all(|pair| pair[0] + window <= pair[1])
}

/// Whether what a call began is still charged, or its code alive.
fn is_left_behind(call: &RequestCall, moment: &Moment) -> bool {
    let mut sends = moment.tables.recipient.sends.iter();
    let item = moment.tables.verifications[usize::from(call.verification)];
    sends.any(|entry| entry.call == call.number)
        || item.is_some_and(|item| item.state == State::Open && item.call_id == call.number)
}

/// The calls that carried out the send which `begin` was charged for.
fn who_carried(begin: u8, moment: &Moment) -> impl Iterator<Item = &RequestCall> {
    let of = move |call: &&RequestCall| call.number == begin || call.seed == Some(begin);
    moment.requests.iter().filter(of)
}

fn is_sent(begin: u8, moment: &Moment) -> bool {
    moment.messages.iter().any(|message| message.seed == begin)
}

fn leaves_charge(moment: &Moment, because: fn(&RequestCall) -> bool) -> bool {
    let mut charges = moment.tables.recipient.sends.iter();
    charges.any(|entry| {
        let is_cause = who_carried(entry.call, moment).any(because);
        entry.is_begin && !is_sent(entry.call, moment) && is_cause
    })
}
