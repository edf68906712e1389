//! What Lambda hands to a function: events of API Gateway.

use super::functions::call;
use super::text;
use twofa::lambda::{Event, sanitize_event};

pub fn check(bytes: &[u8]) {
    let event = text(bytes);
    let Ok(event) = serde_json::from_str::<Event>(event) else {
        return; // It is no JSON, which Lambda's runtime never hands over.
    };
    let request = lambda_http::Request::from(sanitize_event(event));
    call(request.map(axum::body::Body::new));
}
