//! Secrets Manager with one secret: its versions and their stages.
//!
//! See <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html>
//! and the pages of the other two operations for the rules.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use twofa::clock::{Clock, Timestamp};
use uuid::Uuid;

const CURRENT: &str = "AWSCURRENT";

const PREVIOUS: &str = "AWSPREVIOUS";

/// The versions of the one secret, whatever name it is asked for by; clones share them.
#[derive(Clone)]
pub struct SecretsManager {
    versions: Arc<Mutex<Versions>>,
    /// The file of the current version, if it is kept.
    file: Option<Arc<PathBuf>>,
}

struct Versions {
    /// By version id.
    values: BTreeMap<String, Version>,
    /// Version ids by stage.
    stages: BTreeMap<String, String>,
}

struct Version {
    value: SecretString,
    created: Timestamp,
}

impl Version {
    fn new(value: SecretString) -> Self {
        Self {
            value,
            created: Clock::System.now(),
        }
    }
}

/// The fields of the three operations.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fields {
    secret_id: Value,
    version_id: Option<String>,
    version_stage: Option<String>,
    client_request_token: Option<String>,
    secret_string: Option<SecretString>,
    version_stages: Option<Vec<String>>,
    move_to_version_id: Option<String>,
    remove_from_version_id: Option<String>,
}

/// An error as Secrets Manager names it.
struct ErrorCode(&'static str);

impl SecretsManager {
    /// A Secrets Manager whose secret is `current`, which is kept in `file` when it changes.
    #[must_use]
    pub fn new(current: SecretString, file: Option<PathBuf>) -> Self {
        let id = Uuid::new_v4().to_string();
        let versions = Versions {
            values: BTreeMap::from([(id.clone(), Version::new(current))]),
            stages: BTreeMap::from([(CURRENT.to_owned(), id)]),
        };
        Self {
            versions: Arc::new(Mutex::new(versions)),
            file: file.map(Arc::new),
        }
    }

    /// The current value.
    #[must_use]
    pub fn current(&self) -> SecretString {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.values[&versions.stages[CURRENT]].value.clone()
    }

    /// Answers `operation` in AWS JSON 1.1.
    pub(crate) fn answer(&self, operation: &str, body: &[u8]) -> Response {
        let answer = serde_json::from_slice(body)
            .map_err(|_| ErrorCode("SerializationException"))
            .and_then(|fields| self.run(operation, fields));
        let (status, body) = match answer {
            Ok(body) => (StatusCode::OK, body),
            Err(ErrorCode(code)) => (StatusCode::BAD_REQUEST, json!({ "__type": code })),
        };
        let content_type = [(CONTENT_TYPE, "application/x-amz-json-1.1")];
        (status, content_type, body.to_string()).into_response()
    }

    fn run(&self, operation: &str, fields: Fields) -> Result<Value, ErrorCode> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = versions.stages[CURRENT].clone();
        let secret = fields.secret_id.clone();
        let mut answer = match operation {
            "GetSecretValue" => versions.get(&fields)?,
            "PutSecretValue" => versions.put(fields)?,
            "UpdateSecretVersionStage" => versions.move_stage(&fields)?,
            _ => return Err(ErrorCode("UnknownOperationException")),
        };
        let current = &versions.stages[CURRENT];
        if let Some(file) = self.file.as_ref().filter(|_| *current != before)
            && let Err(error) = keep(file, &versions.values[current].value)
        {
            tracing::error!(%error, "the laptop's secret could not be kept");
        }
        answer["ARN"] = secret.clone();
        answer["Name"] = secret;
        Ok(answer)
    }
}

impl Versions {
    fn get(&self, fields: &Fields) -> Result<Value, ErrorCode> {
        let missing = ErrorCode("ResourceNotFoundException");
        let stage = match (&fields.version_stage, &fields.version_id) {
            (None, None) => Some(CURRENT),
            (stage, _) => stage.as_deref(),
        };
        let staged = stage.map(|stage| self.stages.get(stage));
        let id = match (staged, &fields.version_id) {
            (Some(Some(staged)), None) => staged,
            (Some(Some(staged)), Some(id)) if staged == id => id,
            (None, Some(id)) => id,
            _ => return Err(missing),
        };
        let Version { value, created } = self.values.get(id).ok_or(missing)?;
        Ok(json!({
            "VersionId": id,
            "SecretString": value.expose_secret(),
            "CreatedDate": created.as_secs_ceil(),
        }))
    }

    fn put(&mut self, fields: Fields) -> Result<Value, ErrorCode> {
        let (Some(id), Some(value)) = (fields.client_request_token, fields.secret_string) else {
            return Err(ErrorCode("InvalidParameterException"));
        };
        match self.values.get(&id) {
            Some(known) if known.value.expose_secret() != value.expose_secret() => {
                return Err(ErrorCode("ResourceExistsException"));
            }
            Some(_) => {}
            None => {
                self.values.insert(id.clone(), Version::new(value));
                let stages = fields.version_stages;
                for stage in stages.unwrap_or_else(|| vec![CURRENT.to_owned()]) {
                    self.attach(stage, id.clone());
                }
            }
        }
        Ok(json!({ "VersionId": id }))
    }

    fn move_stage(&mut self, fields: &Fields) -> Result<Value, ErrorCode> {
        let invalid = ErrorCode("InvalidParameterException");
        let (Some(stage), Some(to)) = (&fields.version_stage, &fields.move_to_version_id) else {
            return Err(invalid);
        };
        if !self.values.contains_key(to) {
            return Err(ErrorCode("ResourceNotFoundException"));
        }
        // A stage that is somewhere else must be said to be taken from there.
        let at = self.stages.get(stage).filter(|at| *at != to);
        if at != fields.remove_from_version_id.as_ref() {
            return Err(invalid);
        }
        self.attach(stage.clone(), to.clone());
        Ok(json!({}))
    }

    fn attach(&mut self, stage: String, id: String) {
        let is_current = stage == CURRENT;
        if let Some(before) = self.stages.insert(stage, id)
            && is_current
        {
            self.stages.insert(PREVIOUS.to_owned(), before);
        }
    }
}

/// Writes `value` to `file`, readable by its owner alone. Renamed when it is whole: a crash leaves no
/// half of it.
pub(crate) fn keep(file: &PathBuf, value: &SecretString) -> io::Result<()> {
    let draft = file.with_extension("json.new");
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    written.write_all(value.expose_secret().as_bytes())?;
    std::fs::rename(&draft, file)
}
