//! Bodies of `validate`.

use serde_json::Value;
use super::functions::{not_strings, post};

pub fn check(body: &[u8]) {
    let answer = post("/api/v1.0/2fa/validate", body);
    if body.len() > 16 * 1024 {
        return answer.is_refusal(413, "PAYLOAD_TOO_LARGE");
    }
    // What only this reader does not take, such as a number out of the range of f64, stays open.
    let Ok(object) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if !object.is_object() {
        return assert_eq!(answer.invalid(), [""]);
    }
    let problems = not_strings(&object, &["code", "request_id"]);
    if problems.is_empty() {
        assert_eq!(answer.status, 404, "no code was ever sent");
    } else {
        assert_eq!(answer.invalid(), problems);
    }
}
