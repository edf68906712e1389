//! What Lambda hands to a function: events of API Gateway.

#![no_main]

use lambda_http::request::LambdaRequest;
use libfuzzer_sys::fuzz_target;
use twofa::lambda::readable;

fuzz_target!(|event: &str| {
    let Ok(event) = serde_json::from_str::<LambdaRequest>(event) else {
        return; // The runtime reports it: a function sees no event.
    };
    let request = lambda_http::Request::from(readable(event));
    twofa_fuzz::call(request.map(axum::body::Body::new));
});
