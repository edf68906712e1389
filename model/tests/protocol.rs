//! The protocol holds its promises in every run, and the properties notice when it is broken.

use clap::ValueEnum as _;
use twofa_model::{Flaw, Protocol, SCENARIOS};

#[test]
fn the_protocol_keeps_every_promise_in_every_run() {
    for scenario in SCENARIOS {
        let explored = Protocol {
            scenario,
            flaw: None,
        }
        .explore();
        assert!(
            explored.broken.is_empty(),
            "{}: {:?}",
            scenario.name,
            explored.broken
        );
        assert!(explored.moments > 10_000, "{}: {explored:?}", scenario.name);
    }
}

const REPEATED: &str = "two calls with one key, each with either code";
const OVERLAPPING: &str = "a call that runs while another with its key starts";
const FORGOTTEN: &str = "items that are forgotten";
const CAPPED: &str = "a cap";
const USED_UP: &str = "a code that one guess uses up, and a fresh one";
const GUESSES: &str =
    "guesses at once, two of them with one key, and failures that lock the recipient";

const CHARGED: &str = "a verification's send is charged exactly while it is stored or sent";
const CAUSE: &str = "a charge without a message has a cause that cannot be avoided";
const FULL_TIME: &str = "a code that was ACCEPTED, or taken without an answer, lives its full time";
const ENTRY: &str = "every message taken has its entry in the windows";
const REPEATABLE: &str = "a caller who repeats its key without faults is answered ACCEPTED";
const CAP: &str = "the cap counts every message taken";
const ONE_SUCCESS: &str = "at most one guess succeeds";
const ONCE: &str = "a repeated guess is counted once";

/// Each flaw, a scenario that shows it, and a promise that it breaks there.
const NOTICED: [(Flaw, &str, &str); 27] = [
    (Flaw::SendBeforeStore, REPEATED, ENTRY),
    (
        Flaw::OwnWriteToldByCode,
        REPEATED,
        "every comparison of a code is counted",
    ),
    (
        Flaw::RefusalBeforeConflict,
        REPEATED,
        "REJECTED and 429 never stand beside a live code of the same key",
    ),
    (Flaw::BelieveRefusalInDoubt, REPEATED, CAUSE),
    (
        Flaw::RefuseWithoutUndo,
        REPEATED,
        "REJECTED and 429 leave no charge and no code alive",
    ),
    (Flaw::UndoForAnother, REPEATED, FULL_TIME),
    (
        Flaw::LeaveUnsentAlive,
        REPEATED,
        "REJECTED and 429 leave no charge and no code alive",
    ),
    (Flaw::VoidWhateverState, USED_UP, ONE_SUCCESS),
    (Flaw::TombstoneOnAbsenceAlone, REPEATED, CAUSE),
    (Flaw::FreeUntilDeleted, FORGOTTEN, CAUSE),
    (Flaw::ReleaseOnUnknown, REPEATED, ENTRY),
    (Flaw::LastAttemptDecides, REPEATED, ENTRY),
    (Flaw::MarkAnything, USED_UP, REPEATABLE),
    (Flaw::MarkToldByCode, USED_UP, CAUSE),
    (Flaw::RepeatCapRelease, CAPPED, CAP),
    (Flaw::StoredMeansRunning, REPEATED, REPEATABLE),
    (Flaw::UndoAfterTakeOver, REPEATED, FULL_TIME),
    (Flaw::TakeOverClosed, USED_UP, ONE_SUCCESS),
    (Flaw::TakeOverKeepsOldEnd, REPEATED, FULL_TIME),
    (Flaw::TakeOverWithoutWindow, REPEATED, ENTRY),
    (Flaw::TakeOverWithoutCaps, CAPPED, CAP),
    (
        Flaw::FreshCodeOnTakeOver,
        REPEATED,
        "two messages never carry different codes that are alive",
    ),
    (Flaw::FreshCodeUncharged, OVERLAPPING, CHARGED),
    (
        Flaw::CompareBeforeCount,
        GUESSES,
        "at most max_attempts guesses are compared with a code",
    ),
    (Flaw::CountWithoutCallId, GUESSES, ONCE),
    (
        Flaw::TakeLostWriteForSuccess,
        USED_UP,
        "no wrong guess succeeds",
    ),
    (Flaw::FailureCountedByLast, GUESSES, ONCE),
];

#[test]
fn every_flaw_breaks_a_promise() {
    for flaw in Flaw::value_variants() {
        let noticed = NOTICED.iter().filter(|(noticed, ..)| noticed == flaw);
        assert_eq!(noticed.count(), 1, "{flaw:?}");
    }
    for (flaw, name, promise) in NOTICED {
        let scenario = SCENARIOS.into_iter().find(|one| one.name == name).unwrap();
        let flaw = Some(flaw);
        let found = Protocol { scenario, flaw }.counterexample(Some(promise));
        assert!(found.is_some(), "{flaw:?} does not break {promise:?}");
    }
}
