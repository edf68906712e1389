//! The whole of Twofa on a laptop, in one process: an embedded DynamoDB engine, an SMS inbox
//! that speaks SNS, a Secrets Manager with one secret, and the API on the very handlers of the
//! Lambda functions.
//!
//! | module | is |
//! |---|---|
//! | [`services`] | all of it, started and stopped together |
//! | [`dynamodb`] | DynamoDB, with the tables of `template.yaml` |
//! | [`endpoint`] | the endpoint of SNS and Secrets Manager |
//! | [`guard`] | what stands before every listener |
//! | [`secrets_manager`] | Secrets Manager with one secret |
//! | [`inbox`] | the messages that SNS took |
//! | [`demo`] | the client that is there from the start |
//! | [`page`] | the page in the browser and what it reads |

pub mod demo;
pub mod dynamodb;
pub mod endpoint;
pub mod guard;
pub mod inbox;
pub mod page;
pub mod secrets_manager;
pub mod services;
