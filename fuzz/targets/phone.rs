//! Numbers as callers write them.

use super::text;
use twofa::domain::phone::{Country, PhoneError, PhoneNumber};

pub fn check(bytes: &[u8]) {
    let written = text(bytes);
    let ignored = |character: &char| !" -.()".contains(*character);
    let compact: String = written.chars().filter(ignored).collect();
    let digits = compact.strip_prefix('+').or(compact.strip_prefix("00"));
    let digits = digits.unwrap_or(&compact);
    let is_number =
        (9..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    match PhoneNumber::parse(written) {
        Ok(number) => {
            let e164 = number.expose();
            let normal = e164.strip_prefix('+').unwrap();
            assert!(is_number, "{e164}");
            assert!((9..=15).contains(&normal.len()), "{e164}");
            assert!(normal.bytes().all(|byte| byte.is_ascii_digit()), "{e164}");
            assert_eq!(PhoneNumber::parse(e164).as_ref(), Ok(&number), "{e164}");
            assert_eq!(PhoneNumber::parse(normal).as_ref(), Ok(&number), "{e164}");
            assert_eq!(
                Country::parse(number.country().as_str()).as_ref(),
                Ok(number.country())
            );
            assert!(!format!("{number:?}").contains(&normal[..6]));
        }
        // Nor is it one where a trunk prefix was all that made it long enough.
        Err(PhoneError::Address) => assert!(!is_number || digits.len() < 14),
        Err(error) => assert!(is_number, "{error}"),
    }
}
