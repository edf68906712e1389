//! Templates and parameters: the text, and then names and values in turn, each after a NUL.

use super::text;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use twofa::domain::code::Code;
use twofa::domain::template::{TemplateText, TextError};

/// Ten digits that no input happens to hold.
static OURS: LazyLock<Code> = LazyLock::new(|| Code::random(10).unwrap());

/// What the text says, found another way than the product does: every `${` must be followed by a name
/// and `}`. Each piece is what stands before a placeholder, and its name.
fn pieces(text: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let name = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_')
                .len();
        if name == 0 || !after[name..].starts_with('}') {
            return None;
        }
        pieces.push((&rest[..start], &after[..name]));
        rest = &after[name + 1..];
    }
    Some((pieces, rest))
}

pub fn check(bytes: &[u8]) {
    let input = text(bytes);
    let mut fields = input.split('\0');
    let text = fields.next().unwrap_or_default();
    let mut parameters = BTreeMap::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        parameters.insert(name.to_owned(), value.to_owned());
    }
    let expected = pieces(text);
    let template = match TemplateText::parse(text) {
        Ok(template) => template,
        Err(TextError::Placeholder) => return assert!(expected.is_none()),
        Err(TextError::Code) => {
            let (pieces, _) = expected.unwrap();
            return assert_ne!(pieces.iter().filter(|(_, name)| *name == "code").count(), 1);
        }
    };
    let (pieces, tail) = expected.unwrap();
    assert_eq!(template.as_str(), text);
    assert!(
        template
            .placeholders()
            .eq(pieces.iter().map(|(_, name)| *name))
    );
    match template.render(&OURS, &parameters) {
        Ok(rendered) => {
            // Taken apart piece by piece, so that what a value looks like is of no account.
            let mut rest = rendered.as_str();
            for (literal, name) in &pieces {
                let value = match *name {
                    "code" => OURS.expose(),
                    name => &parameters[name],
                };
                rest = rest
                    .strip_prefix(literal)
                    .unwrap()
                    .strip_prefix(value)
                    .unwrap();
            }
            assert_eq!(rest, tail);
            assert_eq!(rendered.matches(OURS.expose()).count(), 1);
        }
        Err(missing) => {
            let named: BTreeSet<_> = missing.0.iter().map(String::as_str).collect();
            assert_eq!(named.len(), missing.0.len(), "each once");
            let without_value = pieces.iter().map(|(_, name)| *name);
            let without_value =
                without_value.filter(|name| *name != "code" && !parameters.contains_key(*name));
            assert_eq!(named, without_value.collect());
        }
    }
}
