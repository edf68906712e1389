//! The target that `TWOFA_FUZZ_TARGET` names, under libFuzzer. `fuzz/libfuzzer` builds and runs it.

#![no_main]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a target that cannot go on fails, and its modules have no other users"
)]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../targets/mod.rs"]
mod targets;

static CHECK: OnceLock<fn(&[u8])> = OnceLock::new();

#[expect(
    clippy::disallowed_methods,
    reason = "libFuzzer reads the arguments itself"
)]
fn chosen() -> fn(&[u8]) {
    let name = std::env::var("TWOFA_FUZZ_TARGET").unwrap();
    let known = targets::TARGETS.iter().find(|(target, _)| *target == name);
    known.unwrap().1
}

fuzz_target!(|bytes: &[u8]| CHECK.get_or_init(chosen)(bytes));
