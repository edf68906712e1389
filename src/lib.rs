//! Twofa: a two-factor messaging API that a company runs in its own AWS account.
//!
//! One request on its way through the modules, each of which imports only from its own row and those below:
//!
//! | module | knows |
//! |---|---|
//! | [`lambda`] | how a function starts |
//! | [`http`] | paths, headers, bodies, status codes |
//! | [`request`], [`validate`] | the two verbs and their outcomes |
//! | [`state`] | each endpoint's clients and tables: its permissions |
//! | [`store`] | every DynamoDB expression |
//! | [`aws`] | SDK clients, time-outs, retries, errors; SNS; the key set in Secrets Manager |
//! | [`metrics`], [`telemetry`] | measurements and the log |
//! | [`domain`] | values that are valid by type |
//! | [`clock`], [`entropy`], [`config`] | time, randomness, environment |

pub mod aws;
pub mod clock;
pub mod config;
pub mod domain;
pub mod entropy;
pub mod http;
pub mod lambda;
pub mod metrics;
pub mod request;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod validate;
