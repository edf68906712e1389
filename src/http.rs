//! The wire contract: the only place that knows paths, headers, bodies and status codes.

mod body;
mod caller;
mod endpoints;
mod error;
mod observe;
mod openapi;

pub use caller::SourceAddress;
pub use endpoints::{
    SEND_CHECK, all_endpoints, request_endpoint, template_endpoint, validate_endpoint,
};
pub(crate) use observe::UNREADABLE;
pub use openapi::openapi;
