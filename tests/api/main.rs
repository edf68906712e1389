//! The API as its callers see it: HTTP in front, and behind it the real SDK against an embedded
//! DynamoDB engine and an SMS inbox. Nothing is mocked; what a test changes is the network between
//! them, and the time.

#![expect(
    unreachable_pub,
    reason = "one binary: its modules have no other users"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod chaos;
mod events;
mod fault_proxy;
mod faults;
mod harness;
mod hostile;
mod idempotency;
mod limits;
mod listing;
mod log;
mod matrix;
mod metrics;
mod openapi;
mod privacy;
mod protocol;
mod races;
mod requests;
mod second_engine;
mod sim_time;
mod store;
mod traces;
mod usage;
mod validations;
