//! Texts, and how the network cuts them into parts.

use twofa::domain::message::{Encoding, MAX_PARTS, Sms};

/// The text of each part, cut between words as SNS cuts. A word that no part holds is cut as 3GPP TS 23.040
/// §9.2.3.24.1 says: an escape or a surrogate is never parted from what follows it.
fn cut(text: &str, encoding: Encoding) -> Vec<String> {
    let units = |character: char| match encoding {
        Encoding::Gsm7 if "\u{c}^{}\\[~]|€".contains(character) => 2,
        Encoding::Gsm7 => 1,
        Encoding::Ucs2 => character.len_utf16(),
    };
    let (single, concatenated) = match encoding {
        Encoding::Gsm7 => (160, 153),
        Encoding::Ucs2 => (70, 67),
    };
    let whole: usize = text.chars().map(units).sum();
    let room = if whole <= single {
        single
    } else {
        concatenated
    };
    let length = |block: &str| block.chars().map(units).sum::<usize>();
    let mut blocks = Vec::new();
    for piece in text.split_inclusive(char::is_whitespace) {
        let (word, space) = match piece.strip_suffix(char::is_whitespace) {
            Some(word) => piece.split_at(word.len()),
            None => (piece, ""),
        };
        if length(word) <= room {
            blocks.push(word);
        } else {
            blocks.extend(word.split("").filter(|character| !character.is_empty()));
        }
        blocks.push(space);
    }
    let mut parts = vec![String::new()];
    let mut free = room;
    for block in blocks {
        if length(block) > free {
            parts.push(String::new());
            free = room;
        }
        free -= length(block);
        parts.last_mut().unwrap().push_str(block);
    }
    parts
}

pub fn check(bytes: &[u8]) {
    let text = super::text(bytes);
    match Sms::compose(text.to_owned()) {
        Ok(sms) => {
            let parts = cut(text, sms.encoding());
            assert_eq!(parts.concat(), sms.expose());
            assert_eq!(parts.len(), sms.parts());
            assert!(sms.parts() <= MAX_PARTS);
            assert!(
                sms.encoding() == Encoding::Ucs2 || text.chars().all(|c| u32::from(c) < 0x20ad)
            );
            assert!(
                sms.encoding() == Encoding::Gsm7
                    || !text.bytes().all(|b| b.is_ascii_alphanumeric())
            );
        }
        Err(error) => {
            assert!(error.parts > MAX_PARTS);
            let cuts = [Encoding::Gsm7, Encoding::Ucs2].map(|encoding| cut(text, encoding).len());
            assert!(cuts.contains(&error.parts));
        }
    }
}
