//! One-time codes and what is stored of them.

use secrecy::{ExposeSecret, SecretString};

use crate::entropy::{self, EntropyError};

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

/// What the caller of `validate` typed, without the spaces and hyphens that people put in.
///
/// Any other character stays: such a guess is compared like every other and matches no code.
#[derive(Debug)]
pub struct Guess(SecretString);

impl Guess {
    /// The guess in `typed`.
    #[must_use]
    pub fn new(typed: &str) -> Self {
        Self(typed.replace([' ', '-'], "").into())
    }

    /// The characters, for the digest.
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

    #[test]
    fn a_guess_ignores_spaces_and_hyphens_and_nothing_else() {
        assert_eq!(Guess::new(" 12-34 56").expose(), "123456");
        assert_eq!(Guess::new("12_34").expose(), "12_34");
        assert_eq!(Guess::new("12\u{a0}34").expose(), "12\u{a0}34");
    }

    #[test]
    fn neither_prints_its_digits() {
        let printed = format!("{:?} {:?}", Code::random(6).unwrap(), Guess::new("271828"));
        assert!(!printed.contains(|c: char| c.is_ascii_digit()), "{printed}");
    }
}
