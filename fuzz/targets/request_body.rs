//! Bodies of `request`.

use serde_json::{Map, Value};
use twofa::domain::ids::TemplateId;
use twofa::domain::phone::{NumberType, PhoneError, PhoneNumber};
use twofa::request::Rejection;
use super::functions::{Answer, not_strings, post};
use twofa_local::demo;

/// The fields that a 400 must name, in its order.
fn problems(object: &Value) -> Vec<String> {
    let mut problems = not_strings(object, &["to", "template_id"]);
    let none = Map::new();
    let parameters = match object.get("parameters") {
        None | Some(Value::Null) => &none,
        Some(Value::Object(parameters)) => parameters,
        Some(_) => {
            problems.push("parameters");
            &none
        }
    };
    let wrong = parameters.iter().filter(|(name, value)| match value {
        _ if *name == "code" => false,
        Value::String(text) => text.chars().any(is_forbidden),
        Value::Number(_) | Value::Bool(_) => false,
        _ => true,
    });
    let problems = problems.into_iter().map(ToOwned::to_owned);
    problems
        .chain(wrong.map(|(name, _)| format!("parameters.{name}")))
        .collect()
}

/// Of general category Cc, Zl or Zp, or with the property `Bidi_Control`.
fn is_forbidden(character: char) -> bool {
    let separators = ['\u{2028}', '\u{2029}'];
    let bidi = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
        \u{2066}\u{2067}\u{2068}\u{2069}";
    character.is_control() || separators.contains(&character) || bidi.contains(character)
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
        Ok(to) if !NumberType::DEFAULT.contains(&to.number_type()) => {
            is_rejection(&answer, Rejection::Prefix);
        }
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
