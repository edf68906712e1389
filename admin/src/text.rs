//! A template's text as a phone shows it: its parts, its alphabet, and the line that binds its
//! code to a web site.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use twofa::domain::code::Code;
use twofa::domain::message::{Encoding, Sms, TooManyParts};
use twofa::domain::template::{Sender, Template, TemplateFields, TemplateText, TextError};
use twofa::entropy::EntropyError;

/// The digits that NIST SP 800-63B-4 §3.1.3.2 asks of a code.
const LEAST_DIGITS: u8 = 6;

/// The placeholder of the code, as it is written.
const CODE: &str = "${code}";

/// The errors of a text that the product itself does not refuse.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum UnusableText {
    /// Characters that no phone shows.
    #[error("must not contain control characters other than line breaks")]
    Control,
    /// A last line that a browser would not understand.
    #[error(
        "a last line that begins with @ must be `@domain #${{code}}`, such as `@example.com #${{code}}`, \
         for browsers to fill the code in"
    )]
    Binding,
    /// A line for browsers that is not the last one.
    #[error("`@domain #${{code}}` must be the very last line, with nothing after it")]
    BindingNotLast,
    /// More than a message takes, whatever the parameters are.
    #[error("{0}")]
    TooLong(TooManyParts),
}

/// Checks what the product does not: a text that renders may still be of no use on a phone.
pub(crate) fn check(text: &TemplateText, code_length: u8) -> Result<(), UnusableText> {
    let source = text.as_str();
    let is_unseen = |character: char| character.is_control() && character != '\n';
    if source.contains(is_unseen) {
        return Err(UnusableText::Control);
    }
    check_binding(source)?;
    measure(&text.shortest(code_length)).map_err(UnusableText::TooLong)?;
    Ok(())
}

/// "Origin-bound one-time codes delivered via SMS" (WICG), §3: the last line is `@host #code`, and
/// behind it the host of an embedded page may stand, after `@`, or `%` as Apple has it.
fn check_binding(source: &str) -> Result<(), UnusableText> {
    let mut lines = source
        .lines()
        .rev()
        .skip_while(|line| line.trim().is_empty());
    let last = lines.next().unwrap_or_default();
    let is_binding = |line: &str| line.starts_with('@') && line.contains(&format!("#{CODE}"));
    if lines.any(is_binding) {
        return Err(UnusableText::BindingNotLast);
    }
    let Some(binding) = last.strip_prefix('@') else {
        return Ok(());
    };
    if source.trim_end() != source {
        return Err(UnusableText::BindingNotLast);
    }
    let (host, after) = binding
        .split_once(&format!(" #{CODE}"))
        .ok_or(UnusableText::Binding)?;
    let embedded = after.strip_prefix(" @").or(after.strip_prefix(" %"));
    let is_valid = is_domain(host) && (after.is_empty() || embedded.is_some_and(is_domain));
    is_valid.then_some(()).ok_or(UnusableText::Binding)
}

/// Whether `host` is a domain name of at least two labels (RFC 1123 §2.1).
fn is_domain(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.len() <= 253 && host.contains('.') && host.split('.').all(is_label)
}

/// The size of a message on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Its alphabet.
    pub(crate) encoding: Encoding,
    /// Its parts.
    pub(crate) parts: usize,
    /// The characters that GSM-7 lacks.
    pub(crate) outside: BTreeSet<char>,
    /// The number of parts without them.
    pub(crate) parts_without: usize,
}

/// Measures a rendered text.
pub(crate) fn measure(text: &str) -> Result<Size, TooManyParts> {
    let sms = Sms::compose(text.to_owned())?;
    let is_outside = |character: &char| {
        let alone = Sms::compose(character.to_string());
        alone.is_ok_and(|sms| sms.encoding() == Encoding::Ucs2)
    };
    let without: String = text.chars().filter(|c| !is_outside(c)).collect();
    Ok(Size {
        encoding: sms.encoding(),
        parts: sms.parts(),
        outside: text.chars().filter(is_outside).collect(),
        parts_without: Sms::compose(without)?.parts(),
    })
}

impl Size {
    /// Warns of anything that makes the message dearer than necessary.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.encoding == Encoding::Ucs2 {
            let named: Vec<_> = self.outside.iter().copied().map(named).collect();
            warnings.push(format!(
                "{} not in GSM-7, so the SMS goes as UCS-2 in {}; without, as GSM-7 in {}",
                match &named[..] {
                    [one] => format!("{one} is"),
                    several => format!("{} are", several.join(", ")),
                },
                parts_text(self.parts),
                parts_text(self.parts_without),
            ));
        }
        if self.parts > 1 {
            let parts = parts_text(self.parts);
            warnings.push(format!("each SMS is billed as {parts}"));
        }
        warnings
    }
}

/// Warnings for the operator about a template; none about one that is not valid.
pub(crate) fn warnings(fields: &TemplateFields) -> Vec<String> {
    let Ok(template) = Template::try_from(fields.clone()) else {
        return Vec::new();
    };
    let size = measure(&template.text.shortest(template.code_length));
    let mut warnings = size.map_or_else(|_| Vec::new(), |size| size.warnings());
    warnings.extend(sender_warning(&template.from));
    if template.code_length < LEAST_DIGITS {
        warnings.push(format!(
            "code_length {}: NIST SP 800-63B-4 §3.1.3.2 asks for at least {LEAST_DIGITS} digits",
            template.code_length
        ));
    }
    warnings
}

/// The warning for the operator about a sender.
pub(crate) fn sender_warning(from: &Sender) -> Option<String> {
    let reason = from.refused_by_sns()?;
    Some(format!("from {}: {reason}", from.as_str()))
}

/// The error of a text of the command line, with a hint about the shell.
pub(crate) fn typed_problem(error: &TextError, text: &str) -> String {
    if *error == TextError::Code && !text.contains("${") {
        format!(
            "{error}; in double quotes the shell takes ${{code}} away: put the text in single quotes"
        )
    } else {
        error.to_string()
    }
}

/// Renders `text` with an example code.
///
/// The outer error is the machine's, the inner one names the placeholders that have no value.
pub(crate) fn render(
    text: &TemplateText,
    code_length: u8,
    parameters: &BTreeMap<String, String>,
) -> Result<Result<String, Vec<String>>, EntropyError> {
    let code = Code::random(code_length)?;
    Ok(text.render(&code, parameters).map_err(|missing| missing.0))
}

/// `1 part`, `2 parts`.
pub(crate) fn parts_text(parts: usize) -> String {
    format!("{parts} part{}", if parts == 1 { "" } else { "s" })
}

/// A character that a person would not find by sight: itself, its number, and what to write instead.
fn named(character: char) -> String {
    let instead = match character {
        '\u{2018}' | '\u{2019}' | '\u{b4}' | '`' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '«' | '»' => "\"",
        '\u{2010}'..='\u{2015}' => "-",
        '\u{2026}' => "...",
        '\u{a0}' | '\u{2009}' | '\u{202f}' => "a space",
        'ç' => "Ç",
        'á' => "à",
        'í' => "ì",
        'ó' => "ò",
        'ú' => "ù",
        _ => return format!("{character} (U+{:04X})", u32::from(character)),
    };
    format!(
        "{character} (U+{:04X}, write {instead})",
        u32::from(character)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), UnusableText> {
        check(&TemplateText::parse(text).unwrap(), 6)
    }

    #[test]
    fn a_line_for_browsers_is_the_last_one_and_well_formed() {
        for fine in [
            "${code} is your code",
            "@home: ${code} is your code.\nBye",
            "Your code:\n@example.com #${code}",
            "Your code:\n\n@login.example.co.uk #${code}",
            "@example.com #${code} @bank.example",
            "@example.com #${code} %bank.example",
        ] {
            assert_eq!(checked(fine), Ok(()), "{fine}");
        }
        for malformed in [
            "Code:\n@example.com ${code}",
            "Code:\n@example.com#${code}",
            "Code:\n@example.com  #${code}",
            "Code:\n@example #${code}",
            "Code:\n@https://example.com #${code}",
            "Code:\n@example.com #${code}.",
            "Code:\n@example.com #${code} bank.example",
            "Code:\n@-example.com #${code}",
            "Code:\n@example..com #${code}",
            "${code}\n@example.com #123456",
        ] {
            assert_eq!(
                checked(malformed),
                Err(UnusableText::Binding),
                "{malformed}"
            );
        }
        for followed in [
            "@example.com #${code}\nBye",
            "Code:\n@example.com #${code}\n",
            "Code:\n@example.com #${code} ",
        ] {
            assert_eq!(
                checked(followed),
                Err(UnusableText::BindingNotLast),
                "{followed}"
            );
        }
    }

    #[test]
    fn no_text_is_longer_than_a_message_or_unseen() {
        let full = format!("${{code}}{}", "a".repeat(1_524));
        assert_eq!(checked(&full), Ok(()));
        let over = checked(&format!("{full}a${{name}}"));
        assert_eq!(over, Err(UnusableText::TooLong(TooManyParts { parts: 11 })));
        for unseen in ["${code}\t", "${code}\r", "${code}\u{7}"] {
            assert_eq!(checked(unseen), Err(UnusableText::Control));
        }
    }

    #[test]
    fn the_characters_that_cost_a_message_its_alphabet_are_named() {
        let size = measure(&format!("Don’t share{}", "a".repeat(80))).unwrap();
        assert_eq!((size.encoding, size.parts), (Encoding::Ucs2, 2));
        assert_eq!(size.outside, BTreeSet::from(['’']));
        assert_eq!(
            size.warnings()[0],
            "’ (U+2019, write ') is not in GSM-7, so the SMS goes as UCS-2 in 2 parts; without, \
             as GSM-7 in 1 part"
        );
        assert_eq!(measure("plain").unwrap().warnings(), Vec::<String>::new());
    }

    #[test]
    fn what_is_suggested_instead_is_in_the_alphabet() {
        for character in ('\0'..='\u{2fff}').filter(|c| named(*c).contains("write")) {
            let named = named(character);
            let (_, instead) = named.split_once("write ").unwrap();
            assert_eq!(
                measure(instead).unwrap().encoding,
                Encoding::Gsm7,
                "{named}"
            );
            assert_eq!(
                measure(&character.to_string()).unwrap().encoding,
                Encoding::Ucs2
            );
        }
    }
}
