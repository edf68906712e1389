//! What else callers and operators name things by: idempotency keys, requests, templates, senders,
//! guesses, seeds.

use twofa::domain::code::Guess;
use twofa::domain::ids::{ClientId, IdempotencyKey, RequestId, TemplateId};
use twofa::domain::key_set::{CodeSeed, KeySet};
use twofa::domain::phone::Country;
use twofa::domain::template::Sender;

pub fn check(bytes: &[u8]) {
    let fits = (1..=255).contains(&bytes.len()) && bytes.iter().all(|b| (b'!'..=b'~').contains(b));
    let key = IdempotencyKey::parse(bytes);
    assert_eq!(key.is_ok(), fits);
    let Ok(written) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = key {
        assert_eq!(key.as_str(), written);
        let json = format!(r#"{{"seed":"{}"}}"#, "s".repeat(64));
        let secret = KeySet::parse(&json).unwrap();
        let id = secret.request_id(&ClientId::parse("demo").unwrap(), &key);
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
    }
    let is_uuid = written.len() == 36
        && written.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let id = RequestId::parse(written).map(|id| id.to_string());
    assert_eq!(id, is_uuid.then(|| written.to_ascii_lowercase()));
    assert_eq!(TemplateId::parse(written).map(|id| id.to_string()), id);

    let digits = written.strip_prefix('+').unwrap_or(written);
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match Sender::parse(written) {
        Ok(Sender::Id(id)) => id == written && !is_digits && (2..=11).contains(&id.len()),
        Ok(Sender::Number(number)) => {
            number == written && is_digits && (3..=15).contains(&digits.len())
        }
        Err(_) => !(is_digits && (9..=15).contains(&digits.len())),
    };
    assert!(fits);
    // The list of countries is gone through from its start, which takes longer than all the rest.
    if written.len() < 8
        && let Ok(country) = Country::parse(written)
    {
        assert!(country.as_str() == written && matches!(written.len(), 2 | 3));
    }
    if let Some(guess) = Guess::parse(written) {
        let digits = guess.expose();
        assert!((4..=10).contains(&digits.len()));
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
        let again = Guess::parse(digits);
        assert!(again.is_some_and(|again| again.expose() == digits));
    } else {
        let typed: String = written.chars().filter(|c| !" -".contains(*c)).collect();
        let is_code = typed.bytes().all(|byte| byte.is_ascii_digit());
        assert!(!is_code || !(4..=10).contains(&typed.len()));
    }
    if let Some(seed) = CodeSeed::decode(written) {
        assert_eq!(seed.encode(), written);
    }
}
