//! The command line as an operator meets it: the program itself, the laptop's services, and the API.

#![expect(
    unreachable_pub,
    reason = "one binary: its modules have no other users"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod apply;
mod audit;
mod balance;
mod cap;
mod change;
mod client;
mod doctor;
mod harness;
mod key;
mod output;
mod preview;
mod recipient;
mod send_test;
mod settings;
mod target;
mod template;
mod test_number;
mod usage;
