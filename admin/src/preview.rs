//! `twofa preview`: what a template will look like on a phone, and what it will cost.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use twofa::domain::code::CODE_LENGTH;
use twofa::domain::message::Encoding;
use twofa::domain::template::{CODE, DEFAULT_CODE_LENGTH, TemplateText};

use crate::error::{Error, ValidationErrors};
use crate::input;
use crate::output::Report;
use crate::target::TargetOptions;
use crate::template;
use crate::text::{self, measure, parts_text};

/// Renders a template, or any text, with an example code
///
/// Shows the text, its encoding and its parts, and names the characters that make it dearer. A text
/// of your own needs neither AWS nor the laptop. Nothing is sent.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa preview shop Payment --param amount='£ 12.50'
  twofa preview --text '${code} is your code – don’t share it.'
  twofa preview --text '${code} for ${brand}' --param brand=Shop --code-length 8 --json")]
pub(crate) struct PreviewCommand {
    /// The client's id
    #[arg(required_unless_present = "text", requires = "template")]
    client: Option<String>,
    /// The template's id or name
    #[arg(conflicts_with = "text")]
    template: Option<String>,
    /// A text instead of a template; -: standard input
    #[arg(long)]
    text: Option<String>,
    /// The number of digits of the code [default: the template's, or 6]
    #[arg(long, value_name = "DIGITS")]
    code_length: Option<u8>,
    /// A value for a placeholder; repeat it for each
    #[arg(long = "param", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

impl PreviewCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &TargetOptions) -> Result<Report, Error> {
        let mut errors = ValidationErrors::default();
        let parameters = parameters(&self.parameters, &mut errors);
        let length = self.code_length;
        if length.is_some_and(|length| !CODE_LENGTH.contains(&length)) {
            let (least, most) = (CODE_LENGTH.start(), CODE_LENGTH.end());
            errors.note("code_length", format!("must be {least} to {most} digits"));
        }
        errors.finish(())?;
        let (source, length, sender) = match (self.client, self.template, self.text) {
            (_, _, Some(text)) => {
                let length = length.unwrap_or(DEFAULT_CODE_LENGTH);
                (input::or_stdin(&text)?, length, None)
            }
            (Some(client), Some(template), None) => {
                let client = input::client(&target.open().await?, &client).await?;
                let template = template::find(&client, &template)?;
                let text = template.text.as_str().to_owned();
                let sender = text::sender_warning(&template.from);
                (text, length.unwrap_or(template.code_length), sender)
            }
            _ => return Err(Error::invalid("text", "say CLIENT and TEMPLATE, or --text")),
        };
        Ok(render(&source, length, &parameters)?.warn(sender))
    }
}

fn render(
    source: &str,
    length: u8,
    parameters: &BTreeMap<String, String>,
) -> Result<Report, Error> {
    let mut errors = ValidationErrors::default();
    let parsed = TemplateText::parse(source);
    let parsed = parsed.map_err(|error| text::typed_problem(&error, source));
    let Some(template) = errors.take("text", parsed) else {
        return Err(Error::Invalid(errors));
    };
    errors.take("text", text::check(&template, length));
    let rendered = fill(&template, length, parameters, &mut errors)?;
    errors.finish(())?;
    let size = measure(&rendered).map_err(|error| Error::invalid("text", error))?;
    let encoding = match size.encoding {
        Encoding::Gsm7 => "GSM-7",
        Encoding::Ucs2 => "UCS-2",
    };
    let text = format!("{rendered}\n\n{encoding}, {}", parts_text(size.parts));
    let unused = parameters.keys().filter(|name| *name != CODE);
    let unused = unused.filter(|name| !template.placeholders().any(|one| one == *name));
    let unused = unused.map(|name| format!("the text has no placeholder ${{{name}}}"));
    let reserved = parameters
        .contains_key(CODE)
        .then(|| "the parameter code is reserved and ignored: the code takes its place".to_owned());
    let outside: Vec<_> = size.outside.iter().map(ToString::to_string).collect();
    let json = json!({
        "text": rendered,
        "encoding": encoding,
        "parts": size.parts,
        "not_gsm7": outside,
        "parts_without": size.parts_without,
    });
    let warnings = size.warnings().into_iter().chain(unused).chain(reserved);
    Ok(Report::new(text, json).warn(warnings))
}

/// The text with an example code and the parameters; the placeholders without a value are noted.
pub(crate) fn fill(
    template: &TemplateText,
    length: u8,
    parameters: &BTreeMap<String, String>,
    errors: &mut ValidationErrors,
) -> Result<String, Error> {
    match text::render(template, length, parameters)? {
        Ok(rendered) => Ok(rendered),
        Err(missing) => {
            for name in missing {
                let field = format!("parameters.{name}");
                errors.note(field, format!("is required: --param {name}=VALUE"));
            }
            Ok(String::new())
        }
    }
}

/// `name=value`, each name once; as in a request, no control characters.
pub(crate) fn parameters(
    written: &[String],
    errors: &mut ValidationErrors,
) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for pair in written {
        let Some((name, value)) = pair.split_once('=') else {
            errors.note("param", format!("{pair:?} must be NAME=VALUE"));
            continue;
        };
        let field = format!("parameters.{name}");
        if value.contains(char::is_control) {
            errors.note(&field, "must not contain control characters");
        }
        if parameters
            .insert(name.to_owned(), value.to_owned())
            .is_some()
        {
            errors.note(&field, "is said twice");
        }
    }
    parameters
}
