//! The whole of Twofa's cloud on a laptop, in one process: an embedded DynamoDB engine, an SMS inbox
//! that speaks SNS, a Secrets Manager with one secret, and the API on the very handlers of the
//! Lambda functions.
//!
//! | module | is |
//! |---|---|
//! | [`cloud`] | all of it, started and stopped together |
//! | [`engine`] | DynamoDB, with the tables of `template.yaml` |
//! | [`aws`] | the endpoint of SNS and Secrets Manager |
//! | [`guard`] | what stands before every listener |
//! | [`vault`] | Secrets Manager with one secret |
//! | [`inbox`] | the messages that SNS took |
//! | [`demo`] | the client that is there from the start |
//! | [`page`] | the page in the browser and what it reads |

pub mod aws;
pub mod cloud;
pub mod demo;
pub mod engine;
pub mod guard;
pub mod inbox;
pub mod page;
pub mod vault;
