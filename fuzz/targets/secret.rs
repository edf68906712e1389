//! The secret as it is stored.

use super::text;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::Value;
use twofa::clock::Timestamp;
use twofa::domain::key_set::{KeySet, RotateError};

const DAY: Duration = Duration::from_hours(24);

pub fn check(bytes: &[u8]) {
    let stored = text(bytes);
    let parsed = KeySet::parse(stored);
    let printed = format!("{parsed:?}");
    // The names of the fields and the time of the rotation are no secret; all keys are longer.
    let fields: Option<Value> = serde_json::from_str(stored).ok();
    let mut texts = fields
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|o| o.values());
    assert!(!texts.any(|text| {
        text.as_str()
            .is_some_and(|t| t.len() >= 43 && printed.contains(t))
    }));
    let secret = match parsed {
        Ok(secret) => secret,
        Err(error) => return assert!(error.to_string().starts_with("the secret is neither ")),
    };
    let at = fields
        .as_ref()
        .and_then(|fields| fields["rotated_at"].as_i64());
    let is_seed = fields.as_ref().is_some_and(|f| {
        ["next", "current", "previous", "recipient"]
            .iter()
            .any(|k| !f[k].is_string())
    });
    let at = at.filter(|_| !is_seed).map(Timestamp::from_millis);
    let now = match at {
        Some(at) => at.plus(DAY),
        None => Timestamp::from_millis(0),
    };
    let rotated = secret.rotated(now).unwrap();
    let next = KeySet::parse(rotated.expose_secret()).unwrap();
    assert!(next.follows(&secret));
    match next.rotated(now) {
        Err(RotateError::TooSoon { until }) => assert_eq!(until, now.plus(DAY)),
        again => assert!(now == now.plus(DAY) && again.is_ok(), "the end of time"),
    }
}
