//! Bodies of `request`.

use serde_json::{Map, Value};
use twofa::phone::{PhoneError, PhoneNumber};
use twofa::request::Rejection;
use twofa::template::TemplateId;
use super::functions::{Answer, not_strings, post};
use twofa_local::demo;

/// The fields that a 400 must name, in its order.
fn problems(object: &Value) -> Vec<String> {
    let mut problems = not_strings(object, &["to", "template_id"]);
    let none = Map::new();
    let parameters = match object.get("parameters") {
        None => &none,
        Some(Value::Object(parameters)) => parameters,
        Some(_) => {
            problems.push("parameters");
            &none
        }
    };
    let wrong = parameters.iter().filter(|(name, value)| match value {
        _ if *name == "code" => false,
        Value::String(text) => text.chars().any(char::is_control),
        Value::Number(_) | Value::Bool(_) => false,
        _ => true,
    });
    let problems = problems.into_iter().map(ToOwned::to_owned);
    problems
        .chain(wrong.map(|(name, _)| format!("parameters.{name}")))
        .collect()
}

fn is_rejection(answer: &Answer, rejection: Rejection) {
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (200, &"REJECTED".into())
    );
    assert_eq!(answer.body["error_message"], rejection.code());
}

pub fn check(body: &[u8]) {
    let answer = post("/v1.0/2fa/request", body);
    if body.len() > 16 * 1024 {
        return answer.is_refusal(413, "PAYLOAD_TOO_LARGE");
    }
    if answer.status == 200 {
        let id = answer.body["request_id"].as_str().unwrap();
        assert!(uuid::Uuid::try_parse(id).is_ok(), "{id}");
    }
    // What only this reader does not take, such as a number out of the range of f64, stays open.
    let Ok(object) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if !object.is_object() {
        return assert_eq!(answer.invalid(), [""]);
    }
    let problems = problems(&object);
    if !problems.is_empty() {
        return assert_eq!(answer.invalid(), problems);
    }
    let template = object["template_id"].as_str().unwrap();
    let known = |id: &str| TemplateId::parse(id) == TemplateId::parse(template);
    match PhoneNumber::parse(object["to"].as_str().unwrap()) {
        Err(PhoneError::Address) => is_rejection(&answer, Rejection::Address),
        Err(PhoneError::Prefix) => is_rejection(&answer, Rejection::Prefix),
        Err(PhoneError::Length) => is_rejection(&answer, Rejection::Length),
        Ok(_) if known(demo::PAYMENT) && object["parameters"]["amount"].is_null() => {
            assert_eq!(answer.invalid(), ["parameters.amount"]);
        }
        Ok(_) if known(demo::PAYMENT) && answer.status == 400 => {
            assert_eq!(answer.invalid(), ["parameters"]);
            assert!(body.len() > 500);
        }
        Ok(_) if known(demo::PAYMENT) || known(demo::LOGIN) => {
            assert_eq!(
                (answer.status, &answer.body["error_message"]),
                (200, &"OK".into())
            );
        }
        Ok(_) => is_rejection(&answer, Rejection::Template),
    }
}
