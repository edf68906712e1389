//! One-time codes and what is stored of them.

use std::ops::RangeInclusive;

use dec_from_char::DecimalExtended as _;
use secrecy::{ExposeSecret, SecretString};

use crate::entropy::{self, EntropyError};

/// The allowed lengths of a code in digits. NIST SP 800-63B-4 §3.1.3.2 asks for at least six.
pub const CODE_LENGTH: RangeInclusive<u8> = 4..=10;

const DIGITS: &[u8] = b"0123456789";

/// A code as it is sent to the recipient: decimal digits, leading zeros included.
///
/// It cannot be printed: `Debug` is redacted and there is no `Display`.
#[derive(Debug)]
pub struct Code(SecretString);

impl Code {
    /// A fresh code of `length` digits, every one of the 10^length equally likely.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random(length: u8) -> Result<Self, EntropyError> {
        entropy::string(usize::from(length), DIGITS).map(|digits| Self(digits.into()))
    }

    /// The code that an endless stream of even bytes gives: a byte at or above 250 is passed over, so
    /// that no digit is likelier than another.
    pub(crate) fn from_stream(length: u8, stream: impl Iterator<Item = u8>) -> Self {
        let digits = stream
            .filter(|byte| *byte < 250)
            .map(|byte| char::from(b'0' + byte % 10));
        let digits: String = digits.take(length.into()).collect();
        Self(digits.into())
    }

    /// The digits, for the SMS and for the digest.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A guess that could be right: 4–10 decimal digits.
#[derive(Debug)]
pub struct Guess(SecretString);

impl Guess {
    /// Reads what somebody typed: spaces and hyphens are left out, and a decimal digit of any script
    /// (Unicode's general category `Nd`) is the digit it stands for. `None`: it cannot be a code.
    #[must_use]
    pub fn parse(typed: &str) -> Option<Self> {
        let mut digits = String::with_capacity(usize::from(*CODE_LENGTH.end()));
        for character in typed.chars() {
            if matches!(character, ' ' | '-') {
                continue;
            }
            if digits.len() == usize::from(*CODE_LENGTH.end()) {
                return None;
            }
            digits.push(character.normalize_decimal()?);
        }
        (digits.len() >= usize::from(*CODE_LENGTH.start())).then(|| Self(digits.into()))
    }

    /// The digits, for the digest.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_keeps_its_leading_zeros() {
        let short = (0..1_000).map(|_| Code::random(4).unwrap());
        let zeros = short.filter(|code| code.expose().starts_with('0')).count();
        assert!((20..400).contains(&zeros), "{zeros} of 1000 start with 0");
    }

    fn read(typed: &str) -> Option<String> {
        Guess::parse(typed).map(|guess| guess.expose().to_owned())
    }

    #[test]
    fn a_guess_ignores_spaces_and_hyphens_and_nothing_else() {
        assert_eq!(read(" 12-34 56 ").as_deref(), Some("123456"));
        for typed in [
            "12_3456",
            "123\u{a0}456",
            "123\u{2011}456",
            "123456\n",
            "123456.",
            "123\u{200b}456",
            "+123456",
            "12 34 5a",
            "½1234",
            "²1234",
        ] {
            assert_eq!(read(typed), None, "{typed:?}");
        }
    }

    #[test]
    fn a_guess_has_as_many_digits_as_a_code() {
        for typed in ["", "-", "123", "12345678901"] {
            assert_eq!(read(typed), None, "{typed:?}");
        }
        for typed in ["1234", "1234567890"] {
            assert_eq!(read(typed).as_deref(), Some(typed));
        }
    }

    #[test]
    fn a_digit_of_any_script_is_the_digit_it_stands_for() {
        // Arabic-Indic, extended Arabic-Indic, Devanagari, fullwidth, mathematical sans-serif, Adlam.
        for typed in [
            "٤٣٢١٠٩",
            "۴۳۲۱۰۹",
            "४३२१०९",
            "４３２１０９",
            "𝟦𝟥𝟤𝟣𝟢𝟫",
            "𞥔𞥓𞥒𞥑𞥐𞥙",
        ] {
            assert_eq!(read(typed).as_deref(), Some("432109"), "{typed}");
        }
    }

    #[test]
    fn neither_prints_its_digits() {
        let printed = format!(
            "{:?} {:?}",
            Code::random(6).unwrap(),
            Guess::parse("271828")
        );
        assert!(!printed.contains(|c: char| c.is_ascii_digit()), "{printed}");
    }
}
