//! Output: the one place that writes to the terminal.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::error::Error;

/// The result of a command, for people and for scripts.
#[derive(Debug)]
pub(crate) struct Report {
    /// For people.
    pub(crate) text: String,
    /// For scripts.
    pub(crate) json: Value,
    /// Warnings: the command is carried out, but its effect may surprise.
    pub(crate) warnings: Vec<String>,
    /// The exit code.
    pub(crate) code: u8,
}

impl Report {
    /// A report without warnings.
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self {
            text: text.into(),
            json,
            warnings: Vec::new(),
            code: 0,
        }
    }

    /// The same with an exit code other than 0.
    pub(crate) fn exit(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same with `warnings`.
    pub(crate) fn warn(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Writes it: the result to standard output, warnings to standard error, or all of it as JSON to
    /// standard output.
    pub(crate) fn print(mut self, as_json: bool) -> Result<ExitCode, Error> {
        let code = ExitCode::from(self.code);
        if !as_json {
            for warning in &self.warnings {
                complain(&format!("warning: {warning}\n"));
            }
            return say(&self.text).map(|()| code);
        }
        if let Value::Object(fields) = &mut self.json {
            fields.insert("warnings".to_owned(), json!(self.warnings));
        }
        say(&format!("{:#}", self.json)).map(|()| code)
    }
}

/// Progress messages of a slow command, for people, on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Scripts, which read JSON, are told nothing: all that they find is the result or the error.
    pub(crate) fn new(as_json: bool) -> Self {
        Self { is_shown: !as_json }
    }

    /// Says `text` on a line of its own.
    pub(crate) fn say(self, text: &str) {
        if self.is_shown {
            complain(&format!("{text}\n"));
        }
    }
}

/// Writes to standard output, with one line break at the end.
pub(crate) fn say(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    let text = format!("{}\n", text.trim_end_matches('\n'));
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// Writes an error with its causes to standard error.
pub(crate) fn print_error(error: &Error, as_json: bool) {
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    if as_json {
        complain(&format!("{:#}\n", error.json(&causes)));
        return;
    }
    complain(&format!("error: {error}\n"));
    for cause in causes {
        complain(&format!("  caused by: {cause}\n"));
    }
    if let Some(hint) = error.hint() {
        complain(&format!("  hint: {hint}\n"));
    }
}

/// Writes what clap has to say: help and version to standard output, a usage error to standard error.
pub(crate) fn print_usage(error: &clap::Error, as_json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Nobody may be reading.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if as_json {
        let text = error.render().to_string();
        let message = text.split("\n\n").next().unwrap_or_default();
        let message = message.trim_start_matches("error: ").trim();
        let field = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(argument)) => Some(field_of(argument)),
            Some(ContextValue::Strings(arguments)) => arguments.first().map(|one| field_of(one)),
            _ => None,
        };
        let fields: Vec<_> = field
            .map(|field| json!({ "field": field, "error": message }))
            .into_iter()
            .collect();
        let json = json!({ "error": message, "fields": fields, "causes": [], "hint": null });
        complain(&format!("{json:#}\n"));
    } else {
        let _ = error.print();
    }
    ExitCode::from(2)
}

/// The field that an argument of clap is, as errors name it: `--per-day <N>` is `per_day`.
fn field_of(argument: &str) -> String {
    let name = argument.split_whitespace().next().unwrap_or_default();
    let name = name
        .trim_start_matches("--")
        .trim_matches(['<', '>', '[', ']']);
    name.to_ascii_lowercase().replace('-', "_")
}

fn complain(text: &str) {
    // Nobody may be reading: the exit code says it too.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A table for people, that `grep` and `awk` read as well.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    aligned(table)
}

/// Names and what they stand for, one a line.
pub(crate) fn pairs<K: Into<String>>(rows: impl IntoIterator<Item = (K, String)>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for (name, value) in rows {
        table.add_row([name.into(), value]);
    }
    aligned(table)
}

fn aligned(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// `items` in one line, or `none`.
pub(crate) fn listed(items: impl IntoIterator<Item = String>, none: &str) -> String {
    let items: Vec<_> = items.into_iter().collect();
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}
