//! Random runs are the same for a seed, reach everything, and break no promise.

use std::collections::BTreeSet;
use std::ops::Range;

use twofa_model::properties::ALWAYS;
use twofa_model::tables::{Reply, Write};
use twofa_model::trace::{Trace, What, traced, walk};

/// As many as the product's store is tried with.
const SEEDS: Range<u64> = 0..300;

/// The writes, and what must become of each in some run.
const REACHED: [(&str, &[&str]); 15] = [
    (
        "begin",
        &[
            "done", "met", "windows", "failures", "locked", "balance", "conflict", "lost",
            "cut off", "lands",
        ],
    ),
    ("begin, second try", &["done", "cut off", "lands"]),
    (
        "begin anew",
        &[
            "done", "windows", "failures", "locked", "balance", "lost", "cut off", "lands",
        ],
    ),
    ("begin anew, second try", &["done"]),
    (
        "take over",
        &["done", "met", "windows", "lost", "cut off", "lands"],
    ),
    ("undo", &["done", "met", "lost", "cut off", "lands"]),
    ("tombstone", &["done", "met", "lost", "cut off", "lands"]),
    ("add to cap", &["done", "cap", "lost"]),
    ("subtract from cap", &["done"]),
    (
        "publish",
        &[
            "done",
            "refused",
            "refused for all",
            "lost",
            "cut off",
            "lands",
        ],
    ),
    ("mark", &["done", "met", "lost", "cut off", "lands"]),
    ("guess", &["done", "met", "lost", "cut off", "lands"]),
    ("count failure", &["done", "lost", "cut off", "lands"]),
    ("forget failures", &["done", "cut off", "lands"]),
    (
        "answer",
        &[
            "Accepted",
            "AcceptedBefore",
            "Rejected",
            "OutOfBalance",
            "Limited",
            "Running",
            "DifferentBody",
            "Unavailable",
            "Unknown",
            "Success",
            "NotMatched",
            "NotFound",
        ],
    ),
];

#[test]
fn a_seed_gives_one_trace() {
    assert_eq!(Trace::random(7), Trace::random(7));
    assert_ne!(Trace::random(7), Trace::random(8));
}

#[test]
fn random_runs_keep_every_promise() {
    for seed in SEEDS {
        let protocol = traced(seed);
        for (_, moment) in walk(&protocol, seed) {
            for (promise, holds) in ALWAYS {
                assert!(
                    holds(&protocol, &moment),
                    "seed {seed}: {promise}: {moment:#?}"
                );
            }
        }
    }
}

#[test]
fn traces_reach_every_write_fate_and_answer() {
    let mut reached = BTreeSet::new();
    for event in SEEDS.flat_map(|seed| Trace::random(seed).events) {
        let (write, fate) = match event.what {
            What::CarriedOut { write, reply, .. }
            | What::Lost {
                write,
                told: Some(reply),
                ..
            } => (write, name(reply)),
            What::CutOff { write, .. } => (write, "cut off"),
            What::Lost { write, .. } => (write, "lost"),
            What::Lands { write, .. } => (write, "lands"),
            What::Starts { .. } | What::Ticks => continue,
        };
        reached.insert(format!("{}: {fate}", kind(write)));
        let answer = event.answer.map(|answer| format!("answer: {answer:?}"));
        let verdict = event.verdict.map(|verdict| format!("answer: {verdict:?}"));
        reached.extend(answer.into_iter().chain(verdict));
    }
    let wanted = REACHED
        .iter()
        .flat_map(|(write, fates)| fates.iter().map(move |fate| format!("{write}: {fate}")));
    let missed: Vec<_> = wanted.filter(|line| !reached.contains(line)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

fn kind(write: Write) -> &'static str {
    match write {
        Write::Begin { begin, is_second } => match (begin.met, is_second) {
            (None, false) => "begin",
            (None, true) => "begin, second try",
            (Some(_), false) => "begin anew",
            (Some(_), true) => "begin anew, second try",
        },
        Write::TakeOver { .. } => "take over",
        Write::Undo { .. } => "undo",
        Write::Tombstone { .. } => "tombstone",
        Write::AddToCap => "add to cap",
        Write::SubtractFromCap => "subtract from cap",
        Write::Publish { .. } => "publish",
        Write::Mark { .. } => "mark",
        Write::Guess { .. } => "guess",
        Write::CountFailure { .. } => "count failure",
        Write::ForgetFailures => "forget failures",
        Write::Read { .. } | Write::Count { .. } => "a flaw's",
    }
}

fn name(reply: Reply) -> &'static str {
    match reply {
        Reply::Done | Reply::New(_) => "done",
        Reply::Met(_) => "met",
        Reply::Windows(_) => "windows",
        Reply::Locked => "locked",
        Reply::Failures => "failures",
        Reply::Balance(_) => "balance",
        Reply::Cap => "cap",
        Reply::Conflict => "conflict",
        Reply::Refused => "refused",
        Reply::RefusedForAll => "refused for all",
    }
}
