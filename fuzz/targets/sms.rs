//! Texts, and how the network cuts them into parts.

use twofa::sms::{Encoding, MAX_PARTS, Sms};

/// The octets of each part, cut as 3GPP TS 23.040 §9.2.3.24.1 says: an escape or a surrogate is never
/// parted from what follows it.
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
    let mut parts = vec![String::new()];
    let mut free = room;
    for character in text.chars() {
        if units(character) > free {
            parts.push(String::new());
            free = room;
        }
        free -= units(character);
        parts.last_mut().unwrap().push(character);
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
