//! Each target on its committed corpus and on mutations of it, the same on every machine of 64 bits.
//!
//! Mutations are drawn from the seed in `TWOFA_TEST_SEED`, as many for each target as `TWOFA_FUZZ_RUNS`
//! says. Nothing guides them to what no input has reached yet; `fuzz/libfuzzer` does that.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and its modules have no other users"
)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

#[path = "../targets/mod.rs"]
mod targets;

/// Runs of each target, where `TWOFA_FUZZ_RUNS` says nothing else.
const RUNS: u64 = 1_000;

/// The number that all mutations are drawn from, where `TWOFA_TEST_SEED` says nothing else.
const SEED: u64 = 20_240_229;

/// The longest piece that a mutation copies or cuts.
const PIECE: usize = 32;

/// What parsers tend to look for, or to stumble over.
const TOKENS: [&[u8]; 12] = [
    b"\0",
    b"\n",
    b"\"",
    b"\\u0000",
    b"\xff",
    b"\xe2\x80\xae",
    b"${code}",
    b"+",
    b"00",
    b"-1",
    b"{}",
    b"1e999",
];

#[expect(
    clippy::disallowed_methods,
    reason = "it configures the tests and not the product"
)]
fn told(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The input that a target is at, as a file that stays when the target ends the process or the test.
struct Current(PathBuf);

impl Current {
    fn is(&self, input: &[u8]) {
        fs::write(&self.0, input).unwrap();
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input that failed is {}", self.0.display());
        } else {
            fs::remove_file(&self.0).unwrap();
        }
    }
}

/// A range of at most `PIECE` within `length`, which may be empty.
fn piece(random: &mut SmallRng, length: usize) -> Range<usize> {
    let start = random.random_range(0..=length);
    let end = length.min(start + random.random_range(0..=PIECE));
    start..end
}

fn mutate(random: &mut SmallRng, input: &mut Vec<u8>, other: &[u8]) {
    let range = piece(random, input.len());
    let at = range.start;
    match random.random_range(0..6) {
        0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
        1 if at < input.len() => input[at] = random.random(),
        2 => drop(input.drain(range)),
        3 => input.extend_from_within(range),
        4 => {
            let token = TOKENS[random.random_range(0..TOKENS.len())];
            input.splice(at..at, token.iter().copied());
        }
        _ => {
            let theirs = piece(random, other.len());
            input.splice(range, other[theirs].iter().copied());
        }
    }
}

fn fuzz(target: &str) {
    let (_, check) = targets::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .unwrap();
    let mut files: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{target} has no corpus");
    let inputs: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();

    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("found");
    fs::create_dir_all(&found).unwrap();
    let current = Current(found.join(format!("{target}-input")));
    for input in &inputs {
        current.is(input);
        check(input);
    }
    let (seed, runs) = (told("TWOFA_TEST_SEED", SEED), told("TWOFA_FUZZ_RUNS", RUNS));
    println!(
        "{target}: {} inputs, then {runs} mutations of seed {seed}",
        inputs.len()
    );
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..runs {
        let mut input = inputs[random.random_range(0..inputs.len())].clone();
        let other = &inputs[random.random_range(0..inputs.len())];
        for _ in 0..random.random_range(1..=4) {
            mutate(&mut random, &mut input, other);
        }
        current.is(&input);
        check(&input);
    }
}

macro_rules! tests {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            fuzz(stringify!($target));
        })*

        #[test]
        fn every_target_and_every_corpus_is_used() {
            let tested = [$(stringify!($target)),*];
            assert!(targets::TARGETS.iter().map(|(name, _)| *name).eq(tested));
            let mut folders: Vec<_> = fs::read_dir(corpus())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            folders.sort();
            assert_eq!(folders, tested);
        }
    };
}

tests! {
    api_key event headers laptop names phone request_body secret sms sns_answer template validate_body
}
