//! Headers of a call, a line each, with a body that is valid.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request};
use serde_json::json;
use super::functions::call;
use twofa_local::demo;

/// It names no request: AWS has nothing to do with the answer.
const QUESTION: &str = r#"{"code":"123456","request_id":""}"#;

/// The values of all headers of this name.
fn all<'a>(headers: &'a http::HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect()
}

pub fn check(bytes: &[u8]) {
    let mut request = Request::post("/v1.0/2fa/validate")
        .body(Body::from(QUESTION))
        .unwrap();
    let headers = request.headers_mut();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        let (Ok(name), Ok(value)) = (name, value) else {
            return;
        };
        headers.append(name, value);
    }
    let is_demo = all(headers, "x-api-key") == [demo::API_KEY.as_bytes()];
    let names_itself = match &all(headers, "idempotency-key")[..] {
        [] => true,
        [key] => (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic),
        _ => false,
    };
    let is_json = match all(headers, "content-type")[..] {
        [] => true,
        [value] => {
            let value = value.to_ascii_lowercase();
            let value = str::from_utf8(&value).ok().filter(|value| value.is_ascii());
            let value = value.unwrap_or_default();
            let essence = value.split(';').next().unwrap().trim();
            essence == "application/json"
                || (essence.starts_with("application/") && essence.ends_with("+json"))
        }
        _ => false,
    };
    let answer = call(request);
    if !is_demo {
        answer.is_refusal(401, "UNAUTHORIZED");
    } else if !names_itself {
        assert_eq!(answer.invalid(), ["Idempotency-Key"]);
    } else if !is_json {
        answer.is_refusal(415, "UNSUPPORTED_MEDIA_TYPE");
    } else {
        assert_eq!(
            (answer.status, &answer.body["status"]),
            (404, &json!("not_found"))
        );
    }
}
