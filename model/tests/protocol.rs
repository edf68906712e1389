//! The protocol holds its promises in every run, and the properties notice when it is broken.

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

/// Asserts that a run of the flawed protocol violates `property`, in the first scenario in which
/// anything is violated.
fn catches(flaw: Flaw, property: &str) {
    let flawed = SCENARIOS.map(|scenario| Protocol {
        scenario,
        flaw: Some(flaw),
    });
    let found = flawed.into_iter().find_map(Protocol::counterexample);
    let (name, steps) = found
        .map(|(name, run)| (name, run.into_actions()))
        .unwrap_or_default();
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(name, property, "{}", steps.join("\n"));
}

#[test]
fn comparing_before_counting_is_noticed() {
    catches(
        Flaw::CompareBeforeCount,
        "at most max_attempts guesses are compared",
    );
}

#[test]
fn counting_without_a_mark_is_noticed() {
    catches(
        Flaw::CountWithoutMark,
        "a right, timely, first guess is never refused",
    );
}

#[test]
fn sending_before_storing_is_noticed() {
    catches(
        Flaw::SendBeforeStore,
        "no message goes out whose code is not stored",
    );
}

#[test]
fn a_fresh_code_on_take_over_is_noticed() {
    catches(
        Flaw::FreshCodeOnTakeOver,
        "all messages carry the same code while it lives",
    );
}

#[test]
fn charging_without_a_mark_is_noticed() {
    catches(
        Flaw::ChargeWithoutMark,
        "nothing is charged twice for one code",
    );
}

#[test]
fn leaving_an_unsent_code_alive_is_noticed() {
    catches(
        Flaw::LeaveUnsentAlive,
        "no code is alive after REJECTED, 429 or 5xx",
    );
}

#[test]
fn killing_what_another_call_has_taken_over_is_noticed() {
    let property = "an ACCEPTED code is out and can be validated until it ends";
    catches(Flaw::KillForAnother, property);
}

#[test]
fn taking_a_lost_write_for_success_is_noticed() {
    catches(Flaw::TakeLostWriteForSuccess, "no wrong guess succeeds");
}
