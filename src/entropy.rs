//! Randomness from the operating system's generator; everything random in the product is drawn here.

use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;

/// The operating system gave no random numbers.
#[derive(Debug, Error)]
#[error("the operating system's random generator failed")]
pub struct EntropyError(#[from] rand::rngs::SysError);

/// `N` random bytes.
///
/// # Errors
/// When the operating system's generator fails.
pub fn bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}

/// A string of `length` characters, each drawn evenly from `alphabet` (at most 256 ASCII characters).
///
/// A byte at or above the largest multiple of the alphabet's size is thrown away, so no
/// character is likelier than another.
///
/// # Errors
/// When the operating system's generator fails.
pub fn string(length: usize, alphabet: &[u8]) -> Result<String, EntropyError> {
    let even = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let drawn = bytes::<32>()?;
        let characters = drawn
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < even)
            .map(|byte| char::from(alphabet[byte % alphabet.len()]));
        text.extend(characters.take(length - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_equally_likely() {
        const DRAWS: u32 = 100_000;
        let text = string(DRAWS as usize, b"0123456789").unwrap();
        let expected = f64::from(DRAWS / 10);
        let mut counts = [0_u32; 10];
        for digit in text.bytes() {
            counts[usize::from(digit - b'0')] += 1;
        }
        let chi_square: f64 = counts
            .map(|count| (f64::from(count) - expected).powi(2) / expected)
            .iter()
            .sum();
        // Nine degrees of freedom: an even source passes 50 about once in ten million runs; taking
        // the byte modulo ten without throwing any away gives about 1,400.
        assert!(chi_square < 50.0, "chi-square {chi_square}");
    }

    #[test]
    fn a_string_has_the_length_and_the_alphabet_asked_for() {
        let text = string(1_000, b"ab").unwrap();
        assert_eq!(text.len(), 1_000);
        assert!(text.bytes().all(|byte| b"ab".contains(&byte)));
        assert_eq!(string(0, b"ab").unwrap(), "");
    }
}
