//! Twofa: a two-factor messaging API that a company runs in its own AWS account.
//!
//! One request on its way through the modules, each of which knows only those below it:
//!
//! | module | knows |
//! |---|---|
//! | [`lambda`] | how a function starts |
//! | [`http`] | paths, headers, bodies, status codes |
//! | [`request`], [`validate`] | the two verbs and their outcomes |
//! | [`store`] | every DynamoDB expression |
//! | [`message_service`] | SNS |
//! | [`aws`] | SDK clients, time-outs, retries, failures |
//! | [`client`], [`template`], [`phone`], [`sms`], [`code`], [`secret`], [`verification`] | values that are valid by type |
//! | [`clock`], [`entropy`], [`config`], [`telemetry`], [`metrics`] | time, randomness, environment, log, measurements |

pub mod aws;
pub mod client;
pub mod clock;
pub mod code;
pub mod config;
pub mod entropy;
pub mod http;
pub mod lambda;
pub mod message_service;
pub mod metrics;
pub mod phone;
pub mod request;
pub mod secret;
pub mod sms;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod validate;
pub mod verification;
