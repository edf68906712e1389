//! The file of `twofa apply`, read to its end: every error is told with its path, all at once.

use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};
use toml::{Table, Value};
use twofa::clock::Timestamp;
use twofa::domain::api_key::{KeyDigest, MAX_KEYS, StoredKey};
use twofa::domain::ids::{ClientId, TemplateId};
use twofa::domain::limits::Window;

use crate::error::{Error, ValidationError, ValidationErrors};
use crate::input;
use crate::settings::{self, Bound, Settings};
use crate::time;

/// From which likeness on a field is taken for another one misspelt; clap's own.
const ALIKE: f64 = 0.7;

/// A client of the file.
#[derive(Debug)]
pub(crate) struct ClientEntry {
    /// Its id.
    pub(crate) id: ClientId,
    /// Its path in the file.
    pub(crate) path: String,
    /// Its settings in the file.
    pub(crate) settings: Settings,
    /// Its keys, for a client that is new.
    pub(crate) keys: Vec<StoredKey>,
    /// Its templates.
    pub(crate) templates: Vec<TemplateEntry>,
}

/// A template of the file.
#[derive(Debug)]
pub(crate) struct TemplateEntry {
    /// Its path in the file.
    pub(crate) path: String,
    /// Its id, if it is given one.
    pub(crate) id: Option<TemplateId>,
    pub(crate) name: String,
    pub(crate) from: String,
    pub(crate) text: String,
    pub(crate) ttl: Option<u32>,
    pub(crate) code_length: Option<u8>,
    pub(crate) max_attempts: Option<u8>,
}

/// Reads the file; what is wrong with its fields is noted in `errors`.
pub(crate) fn read(source: &str, errors: &mut ValidationErrors) -> Result<Vec<ClientEntry>, Error> {
    let table: Table = source.parse().map_err(|error| malformed(&error, source))?;
    let from = errors.0.len();
    let entries = entries(table, errors);
    tell_lines(source, &mut errors.0[from..]);
    Ok(entries)
}

/// The error of a file that is no TOML.
fn malformed(error: &toml::de::Error, source: &str) -> Error {
    let mut errors = ValidationErrors::default();
    errors.note("file", error.message());
    let at = error.span().map(|span| line_of(source, span.start));
    if let Some(error) = errors.0.first_mut() {
        error.line = at;
    }
    Error::Invalid(errors)
}

/// The number of the line at that target, from 1.
fn line_of(source: &str, at: usize) -> usize {
    let before = source.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// Tells the errors their lines: that of the field, or of the nearest table around one that is not there.
pub(crate) fn tell_lines(source: &str, errors: &mut [ValidationError]) {
    let Ok(table) = DeTable::parse(source) else {
        return;
    };
    let mut lines = BTreeMap::new();
    note_lines("", table.get_ref(), source, &mut lines);
    for error in errors.iter_mut().filter(|error| error.line.is_none()) {
        let mut path = error.field.as_str();
        while error.line.is_none() && !path.is_empty() {
            error.line = lines.get(path).copied();
            path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
        }
    }
}

fn note_lines(path: &str, table: &DeTable<'_>, source: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = join(path, key.get_ref());
        lines.insert(path.clone(), line_of(source, key.span().start));
        match value.get_ref() {
            DeValue::Table(table) => note_lines(&path, table, source, lines),
            DeValue::Array(values) => {
                for (nth, value) in values.iter().enumerate() {
                    let path = format!("{path}[{nth}]");
                    lines.insert(path.clone(), line_of(source, value.span().start));
                    if let DeValue::Table(table) = value.get_ref() {
                        note_lines(&path, table, source, lines);
                    }
                }
            }
            _ => {}
        }
    }
}

fn entries(table: Table, errors: &mut ValidationErrors) -> Vec<ClientEntry> {
    let mut file = Reader::new(String::new(), table, errors);
    let clients = file.table("clients");
    file.finish();
    let Some((path, clients)) = clients else {
        errors.note("clients", "must be a table: [clients.shop]");
        return Vec::new();
    };
    let entries = clients.into_iter().filter_map(|(id, client)| {
        let path = join(&path, &id);
        let id = ClientId::parse(&id).map_err(|error| error.to_string());
        let id = errors.take(
            &path,
            id.and_then(|id| settings::own_name(id).map_err(|error| error.to_string())),
        );
        let table = table_of(client, &path, errors);
        Some(client_entry(id?, path, table?, errors))
    });
    entries.collect()
}

fn client_entry(
    id: ClientId,
    path: String,
    table: Table,
    errors: &mut ValidationErrors,
) -> ClientEntry {
    let mut reader = Reader::new(path.clone(), table, errors);
    let mut settings = Settings {
        name: reader.text("name", |text| settings::name(&text)),
        countries: reader.texts("countries", |texts| settings::countries(texts)),
        number_types: reader.texts("number_types", |texts| settings::number_types(texts)),
        networks: reader.texts("networks", |texts| settings::networks(texts)),
        max_price: reader.text("max_price", |text| settings::price(&text)),
        disabled: reader.texts("disabled", |texts| {
            let switches = texts.into_iter().map(settings::switch);
            switches.collect::<Result<BTreeSet<_>, _>>()
        }),
        prepaid: reader.boolean("prepaid"),
        ..Settings::default()
    };
    let limits = reader.table("limits");
    let templates = reader.tables("templates");
    let keys = reader.tables("keys");
    reader.finish();
    let keys = keys.into_iter().flatten();
    let keys: Vec<_> = keys
        .filter_map(|(path, table)| stored_key(path, table, errors))
        .collect();
    if keys.len() > MAX_KEYS {
        errors.note(join(&path, "keys"), format!("must be at most {MAX_KEYS}"));
    }
    if let Some((path, limits)) = limits {
        let mut reader = Reader::new(path, limits, errors);
        settings.max_failures = reader.integer("max_failures");
        settings.lock_seconds = reader.count("lock_seconds");
        settings.per_second = reader.count("per_second");
        settings.per_day = reader.count("per_day");
        let windows = reader.tables("windows");
        reader.finish();
        settings.windows = windows.and_then(|written| {
            let number = written.len();
            let windows = written.into_iter();
            let read = windows.filter_map(|(path, table)| window(path, table, errors));
            let read: Vec<_> = read.collect();
            // What is wrong with one of them is told already.
            (read.len() == number).then_some(read)
        });
    }
    let templates: Vec<_> = templates
        .into_iter()
        .flatten()
        .filter_map(|(path, table)| template_entry(path, table, errors))
        .collect();
    ClientEntry {
        id,
        path,
        settings,
        keys,
        templates,
    }
}

fn stored_key(path: String, table: Table, errors: &mut ValidationErrors) -> Option<StoredKey> {
    let mut reader = Reader::new(path, table, errors);
    let digest = reader.text("digest", KeyDigest::try_from);
    let created_at = reader.text("created_at", |text| time::any(&text));
    let expires_at = reader.text("expires_at", |text| time::any(&text));
    reader.require("digest", digest.is_some());
    reader.require("created_at", created_at.is_some());
    reader.finish();
    Some(StoredKey {
        digest: digest?,
        created_at: created_at?.as_millis(),
        expires_at: expires_at.map(Timestamp::as_millis),
    })
}

fn window(path: String, table: Table, errors: &mut ValidationErrors) -> Option<Window> {
    let mut reader = Reader::new(path, table, errors);
    let window = (reader.integer("sends"), reader.integer("seconds"));
    reader.require("sends", window.0.is_some());
    reader.require("seconds", window.1.is_some());
    reader.finish();
    let (Some(sends), Some(seconds)) = window else {
        return None;
    };
    Some(Window { sends, seconds })
}

fn template_entry(
    path: String,
    table: Table,
    errors: &mut ValidationErrors,
) -> Option<TemplateEntry> {
    let mut reader = Reader::new(path.clone(), table, errors);
    let id = reader.text("id", |text| {
        TemplateId::parse(&text).ok_or("must be a UUID")
    });
    let name = reader.text("name", |text| settings::name(&text));
    let from = reader.text("from", Ok::<_, &str>);
    let text = reader.text("text", |text| Ok::<_, &str>(input::line_breaks(&text)));
    let (ttl, code_length) = (reader.integer("ttl"), reader.integer("code_length"));
    let max_attempts = reader.integer("max_attempts");
    reader.require("name", name.is_some());
    reader.require("from", from.is_some());
    reader.require("text", text.is_some());
    reader.finish();
    Some(TemplateEntry {
        path,
        id,
        name: name?,
        from: from?,
        text: text?,
        ttl,
        code_length,
        max_attempts,
    })
}

/// A table of the file whose fields are taken out one by one; what is left is unknown.
struct Reader<'a> {
    path: String,
    table: Table,
    errors: &'a mut ValidationErrors,
    /// Fields that were there, right or wrong.
    met: BTreeSet<&'static str>,
    /// Fields that there could be.
    known: BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    fn new(path: String, table: Table, errors: &'a mut ValidationErrors) -> Self {
        Self {
            path,
            table,
            errors,
            met: BTreeSet::new(),
            known: BTreeSet::new(),
        }
    }

    fn take(&mut self, field: &'static str) -> Option<(String, Value)> {
        self.known.insert(field);
        let value = self.table.remove(field)?;
        self.met.insert(field);
        Some((join(&self.path, field), value))
    }

    fn text<T, E: std::fmt::Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        let (path, value) = self.take(field)?;
        match value {
            Value::String(text) => self.errors.take(path, parse(text)),
            other => self.mismatch(path, "a string", &other),
        }
    }

    /// A list of strings; a single string is a list of one.
    fn texts<T, E: std::fmt::Display>(
        &mut self,
        field: &'static str,
        parse: impl FnOnce(Vec<&str>) -> Result<T, E>,
    ) -> Option<T> {
        let (path, value) = self.take(field)?;
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        let mut texts = Vec::new();
        for value in &values {
            match value {
                Value::String(text) => texts.push(text.as_str()),
                other => return self.mismatch(path, "a list of strings", other),
            }
        }
        self.errors.take(path, parse(texts))
    }

    fn integer<T: TryFrom<i64>>(&mut self, field: &'static str) -> Option<T> {
        let (path, value) = self.take(field)?;
        match &value {
            Value::Integer(number) => {
                let number = T::try_from(*number).map_err(|_| "is out of range");
                self.errors.take(path, number)
            }
            other => self.mismatch(path, "a whole number", other),
        }
    }

    /// A whole number, or `"none"`.
    fn count(&mut self, field: &'static str) -> Option<Bound<u32>> {
        match self.table.get(field) {
            Some(Value::String(_)) => self.text(field, |text| settings::count(&text)),
            _ => self.integer(field).map(Bound::At),
        }
    }

    fn boolean(&mut self, field: &'static str) -> Option<bool> {
        let (path, value) = self.take(field)?;
        match value {
            Value::Boolean(boolean) => Some(boolean),
            other => self.mismatch(path, "true or false", &other),
        }
    }

    fn table(&mut self, field: &'static str) -> Option<(String, Table)> {
        let (path, value) = self.take(field)?;
        let table = table_of(value, &path, self.errors)?;
        Some((path, table))
    }

    fn tables(&mut self, field: &'static str) -> Option<Vec<(String, Table)>> {
        let (path, value) = self.take(field)?;
        let values = match value {
            Value::Array(values) => values,
            other => return self.mismatch(path, "a list of tables", &other),
        };
        let tables = values.into_iter().enumerate().filter_map(|(nth, value)| {
            let path = format!("{path}[{nth}]");
            let table = table_of(value, &path, self.errors)?;
            Some((path, table))
        });
        Some(tables.collect())
    }

    /// Notes a field that is missing. One that is there and wrong is noted already.
    fn require(&mut self, field: &'static str, has_value: bool) {
        if !has_value && !self.met.contains(field) {
            self.errors.note(join(&self.path, field), "is required");
        }
    }

    fn mismatch<T>(&mut self, path: String, expected: &str, found: &Value) -> Option<T> {
        let found = found.type_str();
        self.errors
            .note(path, format!("must be {expected}, not {found}"));
        None
    }

    /// Notes what is left over.
    fn finish(self) {
        for field in self.table.keys() {
            let close = self
                .known
                .iter()
                .map(|known| (strsim::jaro_winkler(field, known), known));
            let closest = close.max_by(|one, other| one.0.total_cmp(&other.0));
            let problem = match closest {
                Some((likeness, known)) if likeness > ALIKE => {
                    format!("is not a known field; did you mean {known}?")
                }
                _ => "is not a known field".to_owned(),
            };
            self.errors.note(join(&self.path, field), problem);
        }
    }
}

fn table_of(value: Value, path: &str, errors: &mut ValidationErrors) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        other => {
            let found = other.type_str();
            errors.note(path, format!("must be a table, not {found}"));
            None
        }
    }
}

/// The path of `field` in the table at `path`, quoted as TOML would.
fn join(path: &str, field: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let field = if !field.is_empty() && field.bytes().all(is_bare) {
        field.to_owned()
    } else {
        format!("{field:?}")
    };
    if path.is_empty() {
        field
    } else {
        format!("{path}.{field}")
    }
}
