//! `twofa export`: clients and templates as the file that `apply` reads.

use clap::Args;
use serde_json::Value as Json;
use toml::{Table, Value};
use twofa::domain::client::Client;

use crate::error::Error;
use crate::input;
use crate::key;
use crate::output::Report;
use crate::settings::{NONE, fields};
use crate::target::Target;
use crate::template;

/// Writes clients and templates as the TOML file that `apply` reads
///
/// To apply it to the same stack changes nothing. Keys are in it as SHA-256 digests; `apply` gives them to
/// clients that are new. Test numbers and balances are not in it: they belong to a stack.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa export > clients.toml
  twofa export shop
  twofa export > clients.toml && twofa apply clients.toml --dry-run --exit-code")]
pub(crate) struct ExportCommand {
    /// The clients' ids; default: all
    clients: Vec<String>,
}

impl ExportCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target) -> Result<Report, Error> {
        let mut clients = Table::new();
        if self.clients.is_empty() {
            for id in target.directory.clients().await? {
                if let Some(client) = target.directory.query(&id).await? {
                    clients.insert(id.to_string(), Value::Table(entry(&client)));
                }
            }
        }
        for written in &self.clients {
            let client = input::client(target, written).await?;
            clients.insert(client.id.to_string(), Value::Table(entry(&client)));
        }
        let mut file = Table::new();
        file.insert("clients".to_owned(), Value::Table(clients));
        let json = serde_json::to_value(&file).unwrap_or_default();
        Ok(Report::new(file.to_string(), json))
    }
}

fn entry(client: &Client) -> Table {
    let mut entry = Table::new();
    let mut limits = Table::new();
    for field in fields(&client.profile) {
        match field.name.strip_prefix("limits.") {
            Some(limit) => limits.insert(limit.to_owned(), value(&field.json)),
            None => entry.insert(field.name.to_owned(), value(&field.json)),
        };
    }
    entry.insert("limits".to_owned(), Value::Table(limits));
    let keys = client.profile.api_keys.iter();
    let keys: Vec<_> = keys.map(|stored| value(&key::exported(stored))).collect();
    if !keys.is_empty() {
        entry.insert("keys".to_owned(), Value::Array(keys));
    }
    let templates = client.templates.iter();
    let templates: Vec<_> = templates
        .map(|one| value(&template::describe(one)))
        .collect();
    if !templates.is_empty() {
        entry.insert("templates".to_owned(), Value::Array(templates));
    }
    entry
}

/// A value of the file; what takes a limit away stands for none. No number of a client is a fraction.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::String(NONE.to_owned()),
        Json::Bool(boolean) => Value::Boolean(*boolean),
        Json::Number(number) => Value::Integer(number.as_i64().unwrap_or(i64::MAX)),
        Json::String(text) => Value::String(text.clone()),
        Json::Array(values) => Value::Array(values.iter().map(value).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().filter(|(_, json)| !json.is_null());
            Value::Table(
                fields
                    .map(|(name, json)| (name.clone(), value(json)))
                    .collect(),
            )
        }
    }
}
