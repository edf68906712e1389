//! `twofa template`: what clients may send.

use std::fmt::Display;
use std::ops::RangeInclusive;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use twofa::domain::client::Client;
use twofa::domain::code::CODE_LENGTH;
use twofa::domain::ids::{ClientId, TemplateId};
use twofa::domain::template::{
    DEFAULT_CODE_LENGTH, DEFAULT_MAX_ATTEMPTS, DEFAULT_TTL, MAX_ATTEMPTS, TTL_SECONDS, Template,
    TemplateErrors, TemplateFields, TemplateText,
};
use uuid::Uuid;

use crate::error::{Error, ValidationErrors, field_at};
use crate::input;
use crate::output::{Report, pairs, table};
use crate::settings::{
    self, Change, Field, changes, changes_json, changes_lines, check_limits, lock_warning, one_line,
};
use crate::target::Target;
use crate::text;

/// Adds, shows and changes templates
///
/// A template is named by its id or its name.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// Adds a template
    #[command(after_help = "Examples:
  twofa template add shop Login --from Shop --text '${code} is your Shop code. Never share it.'
  twofa template add shop Payment --from Shop --ttl 120 --max-attempts 3 \\
    --text '${code} confirms your payment of ${amount}.'
  printf 'Your Shop code:\\n@shop.example #${code}' | \\
    twofa template add shop Web --from Shop --text -      # filled in by browsers (WebOTP)")]
    Add {
        /// The client's id
        client: String,
        /// The display name
        name: String,
        #[command(flatten)]
        fields: TemplateOptions,
        /// Its id, a UUID; default: made from client and name, as `apply` does
        #[arg(long, value_name = "UUID")]
        id: Option<String>,
    },
    /// Lists a client's templates
    #[command(after_help = "Examples:
  twofa template list shop
  twofa template list shop --json | jq -r '.templates[] | [.id, .name] | @tsv'")]
    List {
        /// The client's id
        client: String,
    },
    /// Shows a template
    #[command(after_help = "Examples:
  twofa template show shop Login")]
    Show {
        /// The client's id
        client: String,
        /// Its id or name
        template: String,
    },
    /// Changes what is said; the rest stays. It takes effect within 30 seconds
    #[command(after_help = "Examples:
  twofa template set shop Login --ttl 120
  twofa template set shop Login --name 'Sign-in' --text '${code} signs you in to Shop.'")]
    Set {
        /// The client's id
        client: String,
        /// Its id or name
        template: String,
        /// The new display name; its id stays
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        fields: TemplateOptions,
    },
    /// Removes a template; codes that are on their way stay valid
    #[command(after_help = "Examples:
  twofa template remove shop Payment")]
    Remove {
        /// The client's id
        client: String,
        /// Its id or name
        template: String,
    },
}

/// The fields of a template as options.
#[derive(Debug, Args)]
pub(crate) struct TemplateOptions {
    /// The sender of the SMS: 2-11 letters and digits, a short code, or a number
    /// [default of `add`: the stack's `DefaultSenderId`]
    #[arg(long)]
    from: Option<String>,
    /// The text, with ${code} once and any other ${placeholders}; -: standard input
    #[arg(long)]
    text: Option<String>,
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = settings::whole::<u32>,
        help = help_with_bounds("For how many seconds a code is valid", &TTL_SECONDS, DEFAULT_TTL)
    )]
    ttl: Option<u32>,
    #[arg(
        long,
        value_name = "DIGITS",
        value_parser = settings::whole::<u8>,
        help = help_with_bounds("How many digits a code has", &CODE_LENGTH, DEFAULT_CODE_LENGTH)
    )]
    code_length: Option<u8>,
    #[arg(
        long,
        value_name = "N",
        value_parser = settings::whole::<u8>,
        help = help_with_bounds("How many guesses a code allows", &MAX_ATTEMPTS, DEFAULT_MAX_ATTEMPTS)
    )]
    max_attempts: Option<u8>,
}

/// The help of an option with its bounds and what `add` takes where it is not given.
fn help_with_bounds<T: Display>(help: &str, bounds: &RangeInclusive<T>, default: T) -> String {
    let (least, most) = (bounds.start(), bounds.end());
    format!("{help}, {least}-{most} [default of `add`: {default}]")
}

impl TemplateCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target) -> Result<Report, Error> {
        match self {
            Self::Add {
                client,
                name,
                fields,
                id,
            } => add(target, &client, &name, fields, id.as_deref()).await,
            Self::List { client } => {
                let client = input::client(target, &client).await?;
                let all: Vec<_> = client.templates.iter().map(describe).collect();
                let json = json!({ "client": client.id, "templates": all });
                Ok(Report::new(table_of(&client.templates), json))
            }
            Self::Show { client, template } => {
                let client = input::client(target, &client).await?;
                let template = find(&client, &template)?;
                let stored = stored_fields(template);
                let mut rows = vec![("id", template.id.to_string())];
                rows.extend(fields(&stored).into_iter().map(|f| (f.name, f.text)));
                let warnings = text::warnings(&stored);
                Ok(Report::new(pairs(rows), describe(template)).warn(warnings))
            }
            Self::Set {
                client,
                template,
                name,
                fields,
            } => set(target, &client, &template, name.as_deref(), fields).await,
            Self::Remove { client, template } => {
                let client = input::client(target, &client).await?;
                let template = find(&client, &template)?;
                let details = vec![format!("template {} ({})", template.name, template.id)];
                let draft = target.draft(&client.id, "template remove", details).await?;
                let change = draft.put_profile(&client.profile)?;
                if !target
                    .carry_out(change.remove_template(template.id)?)
                    .await?
                {
                    return Err(Error::Overtaken(client.id));
                }
                let text = format!("removed the template {} ({})", template.name, template.id);
                let json = json!({ "client": client.id, "removed": template.id });
                Ok(Report::new(text, json))
            }
        }
    }
}

async fn add(
    target: &Target,
    client: &str,
    name: &str,
    mut options: TemplateOptions,
    id: Option<&str>,
) -> Result<Report, Error> {
    let mut errors = ValidationErrors::default();
    options.from = options.from.or_else(|| target.default_sender.clone());
    for (field, given) in [("from", &options.from), ("text", &options.text)] {
        if given.is_none() {
            errors.note(field, format!("is required: --{field}"));
        }
    }
    let name = errors.take("name", settings::name(name));
    let given = id.map(|id| TemplateId::parse(id).ok_or("must be a UUID"));
    let given = given.and_then(|id| errors.take("id", id));
    let id = input::client_id(client)?;
    let (name, given) = errors.finish((name.unwrap_or_default(), given))?;
    let Some(template_id) = given.or_else(|| stable_id(&id, &name)) else {
        return Err(Error::invalid("id", "must be a UUID"));
    };
    let fields = options.applied_to(TemplateFields::new(template_id, &name, "", ""))?;
    let client = input::client(target, client).await?;
    let taken = |template: &&Template| template.id == template_id || template.name == name;
    if client.templates.iter().any(|template| taken(&template)) {
        return Err(Error::TemplateExists {
            client: client.id,
            template: name,
        });
    }
    let most = checked(&fields, &client)?;
    let details = recorded(&fields, &changes(None, self::fields(&fields)));
    let draft = target.draft(&client.id, "template add", details).await?;
    let change = draft.put_profile(&client.profile)?.put_template(&fields)?;
    if !target.carry_out(change).await? {
        return Err(Error::Overtaken(client.id));
    }
    let mut lines = vec![
        format!("added the template {name} of the client {}", client.id),
        format!("  id: {template_id}"),
    ];
    lines.extend(lock_line(&client, most));
    let limits = &client.profile.limits;
    let json = json!({
        "client": client.id,
        "template": fields,
        "failures_that_lock": limits.failures_that_lock(most),
    });
    let warnings = text::warnings(&fields);
    let report = Report::new(lines.join("\n"), json).warn(warnings);
    Ok(report.warn(lock_warning(limits, most)))
}

async fn set(
    target: &Target,
    client: &str,
    template: &str,
    name: Option<&str>,
    options: TemplateOptions,
) -> Result<Report, Error> {
    let name = name.map(settings::name).transpose();
    let name = name.map_err(|error| Error::invalid("name", error))?;
    let client = input::client(target, client).await?;
    let template = find(&client, template)?;
    let old = stored_fields(template);
    let renamed = TemplateFields {
        name: name.unwrap_or_else(|| old.name.clone()),
        ..old.clone()
    };
    let new = options.applied_to(renamed)?;
    let mut others = client.templates.iter().filter(|other| other.id != new.id);
    if others.any(|other| other.name == new.name) {
        return Err(Error::TemplateExists {
            client: client.id,
            template: new.name,
        });
    }
    let most = checked(&new, &client)?;
    let changed = changes(Some(fields(&old)), fields(&new));
    let text = if changed.is_empty() {
        format!("nothing to change at the template {}", old.name)
    } else {
        let draft = target.draft(&client.id, "template set", recorded(&old, &changed));
        let change = draft.await?.put_profile(&client.profile)?;
        if !target.carry_out(change.put_template(&new)?).await? {
            return Err(Error::Overtaken(client.id));
        }
        let mut lines = vec![format!("changed the template {} ({})", old.name, old.id)];
        lines.extend(changes_lines(&changed, "  "));
        lines.extend(lock_line(&client, most));
        lines.join("\n")
    };
    let limits = &client.profile.limits;
    let json = json!({
        "client": client.id,
        "template": new,
        "changes": changes_json(&changed),
        "failures_that_lock": limits.failures_that_lock(most),
    });
    let warnings = text::warnings(&new);
    let report = Report::new(text, json).warn(warnings);
    Ok(report.warn(lock_warning(limits, most)))
}

impl TemplateOptions {
    fn applied_to(self, mut fields: TemplateFields) -> Result<TemplateFields, Error> {
        fields.from = self.from.unwrap_or(fields.from);
        if let Some(text) = self.text {
            fields.text = input::or_stdin(&text)?;
        }
        fields.ttl = self.ttl.unwrap_or(fields.ttl);
        fields.code_length = self.code_length.unwrap_or(fields.code_length);
        fields.max_attempts = self.max_attempts.unwrap_or(fields.max_attempts);
        Ok(fields)
    }
}

/// The id of a template that was given none: a UUID of version 8 (RFC 9562 §5.8) from client and
/// name, so that it is the same wherever the client is made.
pub(crate) fn stable_id(client: &ClientId, name: &str) -> Option<TemplateId> {
    let mut hash = Sha256::new();
    for field in ["template", client.as_str(), name] {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    let hash = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    TemplateId::parse(&Uuid::new_v8(bytes).to_string())
}

/// Refuses fields that are not valid, and guesses that the client's limits have no room for. Returns the
/// most guesses that one of the client's templates then allows.
fn checked(fields: &TemplateFields, client: &Client) -> Result<u8, Error> {
    let mut errors = ValidationErrors::default();
    check(fields, "", &mut errors);
    if let Err(error) = TemplateText::parse(&fields.text) {
        let mut noted = errors.0.iter_mut();
        if let Some(noted) = noted.find(|noted| noted.field == "text") {
            noted.problem = text::typed_problem(&error, &fields.text);
        }
    }
    let others = client
        .templates
        .iter()
        .filter(|other| other.id != fields.id);
    let attempts = others.map(|other| other.max_attempts);
    let most = attempts.fold(fields.max_attempts, u8::max);
    check_limits(&client.profile, most, "", &mut errors);
    errors.finish(most)
}

/// The number of failures that locks a recipient of `client`, in a line, if it changes.
fn lock_line(client: &Client, most: u8) -> Option<String> {
    let failures = |most| client.profile.limits.failures_that_lock(most);
    let changes = failures(most) != failures(client.max_attempts());
    changes.then(|| {
        let failures = failures(most);
        format!("  a recipient is now locked after {failures} wrong guesses in a row")
    })
}

/// Notes every error of the fields.
pub(crate) fn check(fields: &TemplateFields, path: &str, errors: &mut ValidationErrors) {
    if let Err(TemplateErrors(found)) = Template::try_from(fields.clone()) {
        for error in found {
            errors.note(field_at(path, error.field()), error);
        }
    }
    if let Ok(parsed) = TemplateText::parse(&fields.text) {
        let code_length = fields.code_length.min(*CODE_LENGTH.end());
        errors.take(field_at(path, "text"), text::check(&parsed, code_length));
    }
}

/// The lines of the audit record for a template's changes.
pub(crate) fn recorded(template: &TemplateFields, changes: &[Change]) -> Vec<String> {
    let mut lines = vec![format!("template {} ({})", template.name, template.id)];
    lines.extend(changes_lines(changes, "  "));
    lines
}

/// The client's template of that id or name.
pub(crate) fn find<'a>(client: &'a Client, written: &str) -> Result<&'a Template, Error> {
    let by_id = TemplateId::parse(written).and_then(|id| client.template(id));
    let by_name = || client.templates.iter().find(|t| t.name == written);
    by_id.or_else(by_name).ok_or_else(|| Error::NoTemplate {
        client: client.id.clone(),
        template: written.to_owned(),
    })
}

/// A template as it is stored.
pub(crate) fn stored_fields(template: &Template) -> TemplateFields {
    TemplateFields {
        id: template.id,
        name: template.name.clone(),
        from: template.from.as_str().to_owned(),
        text: template.text.as_str().to_owned(),
        ttl: u32::try_from(template.ttl.as_secs()).unwrap_or(u32::MAX),
        code_length: template.code_length,
        max_attempts: template.max_attempts,
    }
}

/// The fields of a template that can be set.
pub(crate) fn fields(fields: &TemplateFields) -> Vec<Field> {
    let TemplateFields {
        id: _,
        name,
        from,
        text,
        ttl,
        code_length,
        max_attempts,
    } = fields;
    vec![
        Field::plain("name", json!(name)),
        Field::plain("from", json!(from)),
        Field::plain("text", json!(text)),
        Field::plain("ttl", json!(ttl)),
        Field::plain("code_length", json!(code_length)),
        Field::plain("max_attempts", json!(max_attempts)),
    ]
}

/// A template for scripts.
pub(crate) fn describe(template: &Template) -> Value {
    json!(stored_fields(template))
}

/// Templates for people.
pub(crate) fn table_of(templates: &[Template]) -> String {
    let row = |template: &Template| {
        [
            template.id.to_string(),
            template.name.clone(),
            template.from.as_str().to_owned(),
            template.ttl.as_secs().to_string(),
            template.code_length.to_string(),
            template.max_attempts.to_string(),
            one_line(template.text.as_str()),
        ]
    };
    let header = [
        "TEMPLATE", "NAME", "FROM", "TTL", "DIGITS", "GUESSES", "TEXT",
    ];
    table(header, templates.iter().map(row).collect())
}
