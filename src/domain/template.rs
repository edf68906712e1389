//! Message templates: what is said, by whom, and how long a code lives.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::code::{CODE_LENGTH, Code};
use crate::domain::ids::TemplateId;

/// The placeholder that the code takes; a parameter of this name is ignored.
pub const CODE: &str = "code";

/// The allowed lives of a code, in seconds. The upper bound is also the longest that NIST SP 800-63B-4
/// §3.1.3.2 allows an out-of-band secret to be valid (10 minutes).
pub const TTL_SECONDS: RangeInclusive<u32> = 30..=600;

/// For how many seconds a code lives where the template does not say.
pub const DEFAULT_TTL: u32 = 300;

/// The default number of digits of a code.
pub const DEFAULT_CODE_LENGTH: u8 = 6;

/// The default number of guesses at a code.
pub const DEFAULT_MAX_ATTEMPTS: u8 = 5;

/// The allowed numbers of guesses at one code.
pub const MAX_ATTEMPTS: RangeInclusive<u8> = 1..=10;

/// One of a client's message templates; every field is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The id by which a request names the template.
    pub id: TemplateId,
    /// The template's display name.
    pub name: String,
    /// The sender of the message.
    pub from: Sender,
    /// The text of the message.
    pub text: TemplateText,
    /// The life of a code.
    pub ttl: Duration,
    /// The number of digits of a code.
    pub code_length: u8,
    /// The number of guesses at one code.
    pub max_attempts: u8,
}

/// A template as it is stored or typed in, before its fields are known to be valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFields {
    /// A UUID.
    pub id: TemplateId,
    /// Any text that is not empty.
    pub name: String,
    /// A [`Sender`].
    pub from: String,
    /// A [`TemplateText`].
    pub text: String,
    /// In seconds, within [`TTL_SECONDS`].
    #[serde(default = "default_ttl")]
    pub ttl: u32,
    /// Within [`CODE_LENGTH`].
    #[serde(default = "default_code_length")]
    pub code_length: u8,
    /// Within [`MAX_ATTEMPTS`].
    #[serde(default = "default_max_attempts")]
    pub max_attempts: u8,
}

impl TemplateFields {
    /// A template with the wire contract's defaults.
    #[must_use]
    pub fn new(id: TemplateId, name: &str, from: &str, text: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            from: from.to_owned(),
            text: text.to_owned(),
            ttl: default_ttl(),
            code_length: default_code_length(),
            max_attempts: default_max_attempts(),
        }
    }
}

/// The wire contract's default life of a code.
fn default_ttl() -> u32 {
    DEFAULT_TTL
}

/// The wire contract's default length of a code.
fn default_code_length() -> u8 {
    DEFAULT_CODE_LENGTH
}

/// The wire contract's default number of guesses.
fn default_max_attempts() -> u8 {
    DEFAULT_MAX_ATTEMPTS
}

/// A field of a template that is not valid, and why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// An empty name.
    #[error("must not be empty")]
    Name,
    /// No such sender.
    #[error(transparent)]
    From(#[from] SenderError),
    /// A text that cannot be rendered.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A life out of bounds.
    #[error("must be {} to {} seconds", TTL_SECONDS.start(), TTL_SECONDS.end())]
    Ttl,
    /// A length out of bounds.
    #[error("must be {} to {} digits", CODE_LENGTH.start(), CODE_LENGTH.end())]
    CodeLength,
    /// A number of guesses out of bounds.
    #[error("must be {} to {}", MAX_ATTEMPTS.start(), MAX_ATTEMPTS.end())]
    MaxAttempts,
}

impl TemplateError {
    /// The name of the field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::From(_) => "from",
            Self::Text(_) => "text",
            Self::Ttl => "ttl",
            Self::CodeLength => "code_length",
            Self::MaxAttempts => "max_attempts",
        }
    }
}

/// Every field of a template that is not valid.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct TemplateErrors(pub Vec<TemplateError>);

impl fmt::Display for TemplateErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let between = if number == 0 { "" } else { "; " };
            write!(f, "{between}{}: {error}", error.field())?;
        }
        Ok(())
    }
}

impl TryFrom<TemplateFields> for Template {
    type Error = TemplateErrors;

    fn try_from(fields: TemplateFields) -> Result<Self, TemplateErrors> {
        let mut errors = Vec::new();
        if fields.name.is_empty() {
            errors.push(TemplateError::Name);
        }
        let from = Sender::parse(&fields.from).map_err(|error| errors.push(error.into()));
        let text = TemplateText::parse(&fields.text).map_err(|error| errors.push(error.into()));
        if !TTL_SECONDS.contains(&fields.ttl) {
            errors.push(TemplateError::Ttl);
        }
        if !CODE_LENGTH.contains(&fields.code_length) {
            errors.push(TemplateError::CodeLength);
        }
        if !MAX_ATTEMPTS.contains(&fields.max_attempts) {
            errors.push(TemplateError::MaxAttempts);
        }
        match (from, text) {
            (Ok(from), Ok(text)) if errors.is_empty() => Ok(Self {
                id: fields.id,
                name: fields.name,
                from,
                text,
                ttl: Duration::from_secs(fields.ttl.into()),
                code_length: fields.code_length,
                max_attempts: fields.max_attempts,
            }),
            _ => Err(TemplateErrors(errors)),
        }
    }
}

/// The sender of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An alphanumeric sender id: 2–11 ASCII letters and digits, at least one of them a letter.
    Id(String),
    /// A short code (3–9 digits) or a number of 9–15 digits, in E.164 form where it has a `+`.
    Number(String),
}

/// The text is no sender.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "must be 2 to 11 letters and digits with at least one letter, or 3 to 15 digits with an optional +"
)]
pub struct SenderError;

impl Sender {
    /// Reads a sender.
    ///
    /// # Errors
    /// When `written` has none of the forms.
    pub fn parse(written: &str) -> Result<Self, SenderError> {
        let digits = written.strip_prefix('+').unwrap_or(written);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let shortest = if digits.len() == written.len() { 3 } else { 9 };
            return (shortest..=15)
                .contains(&digits.len())
                .then(|| Self::Number(written.to_owned()))
                .ok_or(SenderError);
        }
        let fits = (2..=11).contains(&written.len());
        (fits && written.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .then(|| Self::Id(written.to_owned()))
            .ok_or(SenderError)
    }

    /// The reason why SNS refuses every message from this sender, if it does, though the wire contract allows it.
    /// See <https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html>.
    #[must_use]
    pub fn refused_by_sns(&self) -> Option<&'static str> {
        match self {
            Self::Id(id) if !(3..=11).contains(&id.len()) => {
                Some("SNS refuses every message from it: a sender id must have 3 to 11 characters")
            }
            Self::Number(number) if !(5..=14).contains(&number.trim_start_matches('+').len()) => {
                Some("SNS refuses every message from it: a number must have 5 to 14 digits")
            }
            Self::Id(_) | Self::Number(_) => None,
        }
    }

    /// The sender as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Id(sender) | Self::Number(sender) => sender,
        }
    }
}

/// A text with placeholders `${name}`, of which `${code}` stands exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateText {
    source: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Placeholder(String),
}

/// The reasons to refuse a template's text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// A `${` that is no placeholder.
    #[error("'${{' must be followed by a name of letters, digits and '_', and '}}'")]
    Placeholder,
    /// No `${code}`, or more than one.
    #[error("must contain ${{code}} exactly once")]
    Code,
}

impl TemplateText {
    /// Reads a text.
    ///
    /// # Errors
    /// When a placeholder is malformed, or `${code}` does not stand exactly once.
    pub fn parse(source: &str) -> Result<Self, TextError> {
        let mut segments = Vec::new();
        let mut rest = source;
        while let Some((literal, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or(TextError::Placeholder)?;
            let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || !name.bytes().all(well_formed) {
                return Err(TextError::Placeholder);
            }
            segments.push(Segment::Literal(literal.to_owned()));
            segments.push(Segment::Placeholder(name.to_owned()));
            rest = after;
        }
        segments.push(Segment::Literal(rest.to_owned()));
        let text = Self {
            source: source.to_owned(),
            segments,
        };
        match text.placeholders().filter(|name| *name == CODE).count() {
            1 => Ok(text),
            _ => Err(TextError::Code),
        }
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The names of the placeholders, in order, `code` among them.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Placeholder(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The shortest message that the text can become: a code of that many digits, all alike, and nothing
    /// for the other placeholders.
    #[must_use]
    pub fn shortest(&self, code_length: u8) -> String {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(literal) => literal.clone(),
            Segment::Placeholder(name) if name == CODE => "0".repeat(code_length.into()),
            Segment::Placeholder(_) => String::new(),
        });
        segments.collect()
    }

    /// Puts the code and the parameters into their places, in one pass: a placeholder inside a
    /// value stays as it is.
    ///
    /// # Errors
    /// The names of the placeholders that have no value, in order, each once.
    pub fn render(
        &self,
        code: &Code,
        parameters: &BTreeMap<String, String>,
    ) -> Result<String, MissingParameters> {
        let mut text = String::with_capacity(self.source.len());
        let mut missing = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => text.push_str(literal),
                Segment::Placeholder(name) if name == CODE => text.push_str(code.expose()),
                Segment::Placeholder(name) => match parameters.get(name) {
                    Some(value) => text.push_str(value),
                    None if missing.contains(name) => {}
                    None => missing.push(name.clone()),
                },
            }
        }
        if missing.is_empty() {
            Ok(text)
        } else {
            Err(MissingParameters(missing))
        }
    }
}

/// The placeholders that a request gave no value for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no value for the placeholders {0:?}")]
pub struct MissingParameters(pub Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, parameters: &[(&str, &str)]) -> Result<String, MissingParameters> {
        let code = Code::random(6).unwrap();
        let parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let text = TemplateText::parse(text).unwrap();
        let rendered = text.render(&code, &parameters)?;
        Ok(rendered.replace(code.expose(), "CODE"))
    }

    #[test]
    fn every_placeholder_is_replaced_once() {
        let parameters = [
            ("brand", "${code} ${amount}"),
            ("amount", "12.50"),
            ("code", "0"),
        ];
        assert_eq!(
            render(
                "${brand}: pay ${amount} with ${code}. ${amount}",
                &parameters
            )
            .unwrap(),
            "${code} ${amount}: pay 12.50 with CODE. 12.50"
        );
    }

    #[test]
    fn placeholders_without_a_value_are_all_named_once() {
        let missing = render("${b} ${code} ${a} ${b}", &[]).unwrap_err();
        assert_eq!(missing.0, ["b", "a"]);
    }

    #[test]
    fn the_shortest_message_has_the_code_and_no_parameters() {
        let text = TemplateText::parse("${a}x${code}y${b}").unwrap();
        assert_eq!(text.shortest(6), "x000000y");
    }

    #[test]
    fn a_text_holds_the_code_exactly_once() {
        for text in ["", "your code", "${code} ${code}"] {
            assert_eq!(TemplateText::parse(text), Err(TextError::Code), "{text}");
        }
        for text in ["${code", "${} ${code}", "${a b} ${code}", "${${code}}"] {
            assert_eq!(
                TemplateText::parse(text),
                Err(TextError::Placeholder),
                "{text}"
            );
        }
        assert!(TemplateText::parse("$5 {x} ${code}").is_ok());
    }

    #[test]
    fn a_sender_is_an_id_a_short_code_or_a_number() {
        for id in ["AB", "Twofa", "1a", "ABCDEFGHIJK"] {
            assert_eq!(Sender::parse(id), Ok(Sender::Id(id.to_owned())));
        }
        for number in ["123", "12345", "+447400123456", "447400123456"] {
            assert_eq!(Sender::parse(number), Ok(Sender::Number(number.to_owned())));
        }
        for neither in [
            "",
            "A",
            "12",
            "ABCDEFGHIJKL",
            "Two fa",
            "Zwölf",
            "+12345678",
            "1234567890123456",
        ] {
            assert_eq!(Sender::parse(neither), Err(SenderError), "{neither}");
        }
    }

    /// A change that makes a valid template invalid.
    type Mistake = fn(&mut TemplateFields);

    #[test]
    fn every_field_has_its_bounds() {
        let fields = TemplateFields {
            ttl: 30,
            code_length: 4,
            max_attempts: 1,
            ..TemplateFields::new(TemplateId::random().unwrap(), "Login", "Twofa", "${code}")
        };
        assert!(Template::try_from(fields.clone()).is_ok());
        let mistakes: [(TemplateError, Mistake); 8] = [
            (TemplateError::Name, |f| f.name.clear()),
            (TemplateError::From(SenderError), |f| f.from.clear()),
            (TemplateError::Text(TextError::Code), |f| f.text.clear()),
            (TemplateError::Ttl, |f| f.ttl = 29),
            (TemplateError::Ttl, |f| f.ttl = 601),
            (TemplateError::CodeLength, |f| f.code_length = 3),
            (TemplateError::MaxAttempts, |f| f.max_attempts = 0),
            (TemplateError::MaxAttempts, |f| f.max_attempts = 11),
        ];
        let mut all = fields.clone();
        for (error, break_it) in &mistakes {
            let mut broken = fields.clone();
            break_it(&mut broken);
            break_it(&mut all);
            let errors = TemplateErrors(vec![error.clone()]);
            assert_eq!(Template::try_from(broken), Err(errors));
        }
        let TemplateErrors(errors) = Template::try_from(all).unwrap_err();
        let named: Vec<_> = errors.iter().map(TemplateError::field).collect();
        assert_eq!(
            named,
            ["name", "from", "text", "ttl", "code_length", "max_attempts"],
            "all of them at once"
        );
    }

    #[test]
    fn a_sender_that_sns_refuses_is_known() {
        for refused in [
            "AB",
            "1a",
            "123",
            "1234",
            "123456789012345",
            "+123456789012345",
        ] {
            let sender = Sender::parse(refused).unwrap();
            assert!(sender.refused_by_sns().is_some(), "{refused}");
        }
        for taken in [
            "ABC",
            "ABCDEFGHIJK",
            "12345",
            "12345678901234",
            "+12345678901234",
        ] {
            let sender = Sender::parse(taken).unwrap();
            assert_eq!(sender.refused_by_sns(), None, "{taken}");
        }
    }
}
