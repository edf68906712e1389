//! The text message as the network will carry it: its alphabet and its parts.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

/// The most parts that one message may take. SNS takes at most 1,600 characters per message; ten
/// parts of GSM-7 are 1,530.
pub const MAX_PARTS: usize = 10;

/// The alphabet of a text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Encoding {
    /// The GSM 7-bit default alphabet and its extension table (3GPP TS 23.038 §6.2.1).
    #[serde(rename = "GSM-7")]
    Gsm7,
    /// UCS-2, for a text with any other character (3GPP TS 23.038 §6.2.3).
    #[serde(rename = "UCS-2")]
    Ucs2,
}

impl Encoding {
    /// The units that fit into a message of one part: 140 octets.
    const fn single(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// The units that fit into each of several parts: 140 octets less the header of 6 octets that
    /// puts them together (3GPP TS 23.040 §9.2.3.24.1).
    const fn concatenated(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }

    /// The units that `character` takes: septets, or UTF-16 code units.
    fn units(self, character: char) -> usize {
        match self {
            Self::Gsm7 if EXTENSION.contains(character) => 2,
            Self::Gsm7 => 1,
            Self::Ucs2 => character.len_utf16(),
        }
    }
}

/// The GSM 7-bit default alphabet, without its escape.
const DEFAULT: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                       ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// The extension table: each character is an escape and a septet.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// A message ready to be sent. It holds a code: `Debug` shows its size, never its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Sms {
    text: String,
    encoding: Encoding,
    parts: usize,
}

/// The text does not fit into [`MAX_PARTS`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the message takes {parts} SMS parts; at most {MAX_PARTS} are allowed")]
pub struct TooManyParts {
    /// The number of parts that the text would take.
    pub parts: usize,
}

impl Sms {
    /// Chooses the alphabet for `text` and counts its parts.
    ///
    /// # Errors
    /// When the text takes more than [`MAX_PARTS`].
    pub fn compose(text: String) -> Result<Self, TooManyParts> {
        let is_gsm7 = |character| DEFAULT.contains(character) || EXTENSION.contains(character);
        let encoding = if text.chars().all(is_gsm7) {
            Encoding::Gsm7
        } else {
            Encoding::Ucs2
        };
        let parts = count_parts(&text, encoding);
        if parts > MAX_PARTS {
            return Err(TooManyParts { parts });
        }
        Ok(Self {
            text,
            encoding,
            parts,
        })
    }

    /// The text, for the message service and for nothing else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The alphabet that the text needs.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The number of parts that the network carries and bills.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }
}

impl fmt::Debug for Sms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sms")
            .field("encoding", &self.encoding)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// SNS cuts a long message between words, so that a part may stay partly empty
/// (<https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html>). A word that no part holds is
/// cut where a part ends, but never between an escape and its septet or the halves of a surrogate pair.
fn count_parts(text: &str, encoding: Encoding) -> usize {
    let units = |text: &str| text.chars().map(|c| encoding.units(c)).sum::<usize>();
    if units(text) <= encoding.single() {
        return 1;
    }
    let longest = encoding.concatenated();
    let add = |(parts, filled): (usize, usize), units: usize| {
        if filled + units > longest {
            (parts + 1, units)
        } else {
            (parts, filled + units)
        }
    };
    let mut size = (1, 0);
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end_matches(char::is_whitespace);
        size = if units(word) <= longest {
            add(size, units(word))
        } else {
            word.chars().map(|c| encoding.units(c)).fold(size, add)
        };
        size = add(size, units(&piece[word.len()..]));
    }
    size.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> (Encoding, usize) {
        let sms = Sms::compose(text.to_owned()).unwrap();
        (sms.encoding(), sms.parts())
    }

    #[test]
    fn the_tables_are_those_of_the_standard() {
        assert_eq!(DEFAULT.chars().count(), 127, "128 septets less the escape");
        assert_eq!(EXTENSION.chars().count(), 10);
    }

    #[test]
    fn one_character_outside_the_alphabet_makes_it_ucs2() {
        assert_eq!(size("123456 ist Ihr Code für ÄÖÜ"), (Encoding::Gsm7, 1));
        assert_eq!(size("123456 is your code ’"), (Encoding::Ucs2, 1));
        assert_eq!(
            size("ç"),
            (Encoding::Ucs2, 1),
            "only the capital is in the alphabet"
        );
    }

    #[test]
    fn parts_are_counted_at_the_boundaries() {
        assert_eq!(size(""), (Encoding::Gsm7, 1));
        assert_eq!(size(&"a".repeat(160)).1, 1);
        assert_eq!(size(&"a".repeat(161)).1, 2);
        assert_eq!(size(&"a".repeat(306)).1, 2);
        assert_eq!(size(&"a".repeat(307)).1, 3);
        assert_eq!(size(&"я".repeat(70)).1, 1);
        assert_eq!(size(&"я".repeat(71)).1, 2);
        assert_eq!(size(&"я".repeat(134)).1, 2);
        assert_eq!(size(&"я".repeat(135)).1, 3);
    }

    #[test]
    fn a_word_is_never_torn_between_parts() {
        // 38 words of 7 letters and a space each fill 304 septets: 19 of them, 152, fill a part.
        let words = |count: usize| vec!["letters"; count].join(" ");
        assert_eq!(words(38).len(), 303);
        assert_eq!(size(&words(38)).1, 2);
        // Eleven words of 12 letters and their spaces leave 10 septets of a part empty.
        let words = format!("{}internationally", "verification ".repeat(22));
        assert_eq!(words.len(), 301);
        assert_eq!(size(&words).1, 3);
        // The space after the last word of a part may stand in the next.
        let words = format!("{} {}", "a".repeat(153), "b".repeat(152));
        assert_eq!(size(&words).1, 2);
        // What no part holds is cut.
        assert_eq!(size(&format!("{} b", "a".repeat(304))).1, 2);
        assert_eq!(size(&format!("{} b", "я".repeat(132))).1, 2);
    }

    #[test]
    fn an_extended_character_is_never_torn_between_parts() {
        // 152 + an escape pair does not fit into 153, so 306 septets take three parts.
        let torn = format!("{}€{}", "a".repeat(152), "a".repeat(152));
        assert_eq!(size(&torn), (Encoding::Gsm7, 3));
        // Likewise 66 units and a surrogate pair.
        let torn = format!("{}😀{}", "я".repeat(66), "я".repeat(66));
        assert_eq!(size(&torn), (Encoding::Ucs2, 3));
    }

    #[test]
    fn eleven_parts_are_refused() {
        assert_eq!(size(&"a".repeat(1_530)).1, 10);
        let refused = Sms::compose("a".repeat(1_531)).unwrap_err();
        assert_eq!(refused, TooManyParts { parts: 11 });
    }

    #[test]
    fn a_message_does_not_print() {
        let sms = Sms::compose("271828 is your code".to_owned()).unwrap();
        assert!(!format!("{sms:?}").contains("271828"));
    }
}
