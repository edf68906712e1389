//! Bodies: from bytes to what a verb takes, or to every problem at once.

use std::collections::BTreeMap;
use std::error::Error;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::LengthLimitError;
use serde_json::value::RawValue;

use crate::domain::template::CODE;
use crate::request::SendCodeRequest;
use crate::validate::CheckCodeRequest;

use super::error::{ApiError, FieldError};

/// The most bytes that a body may have.
const MAX_BODY: usize = 16 * 1024;

/// A body of JSON that has been read as a `T`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<S: Sync, T: FromFields> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let bytes = to_bytes(request.into_body(), MAX_BODY)
            .await
            .map_err(|error| {
                if error
                    .source()
                    .is_some_and(<dyn Error>::is::<LengthLimitError>)
                {
                    ApiError::PayloadTooLarge
                } else {
                    ApiError::Invalid(vec![problem("", "could not be read to its end")])
                }
            })?;
        let mut fields = Fields::read(&bytes).map_err(|error| ApiError::Invalid(vec![error]))?;
        let read = T::from_fields(&mut fields);
        match read {
            Some(read) if fields.problems.is_empty() => Ok(Self(read)),
            _ => Err(ApiError::Invalid(fields.problems)),
        }
    }
}

/// Whether the one content type is JSON (RFC 8259 §11, RFC 6839 §3.1), or there is none at all.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let content_type = match (types.next(), types.next()) {
        (None, _) => return true,
        (Some(content_type), None) => content_type,
        (Some(_), Some(_)) => return false,
    };
    let essence = content_type
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// A JSON object whose fields are read one by one, with all problems collected.
pub(super) trait FromFields: Sized {
    /// Reads the fields; what is wrong is noted in them.
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self>;
}

impl FromFields for SendCodeRequest {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let to = fields.string("to");
        let template_id = fields.string("template_id");
        let parameters = fields.parameters("parameters");
        Some(Self {
            to: to?.into(),
            template_id: template_id?,
            parameters: parameters?,
        })
    }
}

impl FromFields for CheckCodeRequest {
    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let code = fields.string("code");
        let request_id = fields.string("request_id");
        Some(Self {
            code: code?.into(),
            request_id: request_id?,
        })
    }
}

/// The fields of a body and the problems found in them.
pub(super) struct Fields<'a> {
    object: BTreeMap<String, &'a RawValue>,
    problems: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, FieldError> {
        let object = serde_json::from_slice(bytes)
            .map_err(|_| problem("", "must be a JSON object in UTF-8"))?;
        Ok(Self {
            object,
            problems: Vec::new(),
        })
    }

    /// A string that must be there.
    fn string(&mut self, name: &str) -> Option<String> {
        let Some(raw) = self.object.get(name) else {
            self.problems
                .push(problem(name, "is required and must be a string"));
            return None;
        };
        let read = serde_json::from_str(raw.get()).ok();
        if read.is_none() {
            self.problems.push(problem(name, "must be a string"));
        }
        read
    }

    /// An object of strings, numbers and booleans, less the reserved `code`; empty when there is none or
    /// `null`. A number keeps the digits it was written with: `12.50` stays `12.50`.
    fn parameters(&mut self, name: &str) -> Option<BTreeMap<String, String>> {
        let Some(raw) = self.object.get(name).filter(|raw| raw.get() != "null") else {
            return Some(BTreeMap::new());
        };
        let Ok(values) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) else {
            self.problems.push(problem(name, "must be an object"));
            return None;
        };
        let mut parameters = BTreeMap::new();
        for (key, raw) in values.into_iter().filter(|(key, _)| key != CODE) {
            match scalar(raw) {
                Ok(value) => {
                    parameters.insert(key, value);
                }
                Err(error) => self.problems.push(problem(&format!("{name}.{key}"), error)),
            }
        }
        Some(parameters)
    }
}

fn scalar(raw: &RawValue) -> Result<String, &'static str> {
    const NO_SCALAR: &str = "must be a string, a number or a boolean";
    match raw.get().as_bytes().first() {
        Some(b'"') => {
            let value: String = serde_json::from_str(raw.get()).map_err(|_| NO_SCALAR)?;
            if value.contains(is_forbidden) {
                return Err(
                    "must not contain control characters, line or paragraph separators, or \
                     bidirectional controls",
                );
            }
            Ok(value)
        }
        Some(b't' | b'f' | b'-' | b'0'..=b'9') => Ok(raw.get().to_owned()),
        _ => Err(NO_SCALAR),
    }
}

/// Controls (Unicode's general category `Cc`), the separators of lines and paragraphs (`Zl`, `Zp`), and
/// what turns the direction of text around (the property `Bidi_Control` of UAX #9).
fn is_forbidden(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    ) || character.is_control()
}

fn problem(property: &str, error: &str) -> FieldError {
    FieldError {
        property: property.to_owned(),
        error: error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json_type(content_type: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        is_json(&headers)
    }

    #[test]
    fn json_goes_by_several_names() {
        assert!(is_json(&HeaderMap::new()));
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json_type(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "image/svg+json",
        ] {
            assert!(!is_json_type(other), "{other}");
        }
    }

    fn parameters(json: &str) -> Result<BTreeMap<String, String>, Vec<FieldError>> {
        let body = format!(r#"{{"parameters":{json}}}"#);
        let mut fields = Fields::read(body.as_bytes()).unwrap();
        fields
            .parameters("parameters")
            .filter(|_| fields.problems.is_empty())
            .ok_or(fields.problems)
    }

    #[test]
    fn a_number_keeps_the_digits_it_was_written_with() {
        let json = r#"{"a":12.50,"b":-1e400,"c":true,"code":null,"d":"${code}"}"#;
        let read = parameters(json).unwrap();
        let values: Vec<_> = read.values().map(String::as_str).collect();
        assert_eq!(values, ["12.50", "-1e400", "true", "${code}"]);
    }

    #[test]
    fn every_problem_is_named_by_its_path() {
        let problems = parameters(r#"{"a":null,"b":[],"c":{},"d":"\n","e":"ok"}"#).unwrap_err();
        let named: Vec<_> = problems.iter().map(|p| p.property.as_str()).collect();
        assert_eq!(
            named,
            [
                "parameters.a",
                "parameters.b",
                "parameters.c",
                "parameters.d"
            ]
        );
        assert_eq!(
            parameters("[]").unwrap_err(),
            [problem("parameters", "must be an object")]
        );
    }

    #[test]
    fn what_is_no_object_is_one_problem() {
        for body in ["", "[]", "null", "1", "{", "{}{}", "\u{feff}{}"] {
            assert!(Fields::read(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Fields::read(b"{\"to\":\"\xff\"}").is_err());
        assert!(Fields::read("[".repeat(16_000).as_bytes()).is_err());
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(8_000), "]".repeat(8_000));
        let _ = Fields::read(deep.as_bytes());
    }
}
