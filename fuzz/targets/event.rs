//! What Lambda hands to a function: events of API Gateway.

use super::functions::call;
use super::text;
use lambda_http::request::LambdaRequest;
use twofa::lambda::readable;

pub fn check(bytes: &[u8]) {
    let event = text(bytes);
    let Ok(event) = serde_json::from_str::<LambdaRequest>(event) else {
        return; // The runtime reports it: a function sees no event.
    };
    let request = lambda_http::Request::from(readable(event));
    call(request.map(axum::body::Body::new));
}
