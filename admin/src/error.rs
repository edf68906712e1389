//! Errors of commands and their exit codes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use aws_credential_types::provider::error::CredentialsError;
use serde_json::{Value, json};
use thiserror::Error;
use twofa::aws::error::{AwsError, AwsErrorKind};
use twofa::aws::key_set_reader::KeySetError;
use twofa::domain::api_key::MAX_KEYS;
use twofa::domain::ids::ClientId;
use twofa::entropy::EntropyError;
use twofa::store::{ChangeError, DirectoryError};

/// One field that is not valid, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValidationError {
    /// The option, or the path in a file.
    pub(crate) field: String,
    /// The problem, and the cure.
    pub(crate) problem: String,
    /// Its line in a file.
    pub(crate) line: Option<usize>,
}

impl ValidationError {
    fn json(&self) -> Value {
        let mut json = json!({ "field": self.field, "error": self.problem });
        if let Some(line) = self.line {
            json["line"] = json!(line);
        }
        json
    }
}

/// The path of `field` in what stands at `path`.
pub(crate) fn field_at(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Every error of one input.
#[derive(Clone, Debug, Default)]
pub(crate) struct ValidationErrors(pub(crate) Vec<ValidationError>);

impl ValidationErrors {
    /// Notes a error of `field`.
    pub(crate) fn note(&mut self, field: impl Into<String>, problem: impl fmt::Display) {
        self.0.push(ValidationError {
            field: field.into(),
            problem: problem.to_string(),
            line: None,
        });
    }

    /// Returns the value read of `field`, or notes its error.
    pub(crate) fn take<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        read: Result<T, E>,
    ) -> Option<T> {
        read.map_err(|error| self.note(field, error)).ok()
    }

    /// `value`, if there are no errors.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Error::Invalid(self))
        }
    }
}

impl fmt::Display for ValidationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let ValidationError {
                field,
                problem,
                line,
            } = error;
            let end = if number == 0 { "" } else { "\n  " };
            let line = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            write!(f, "{end}{line}{field}: {problem}")?;
        }
        Ok(())
    }
}

/// It is not known where to work, or it cannot be found out.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    /// Nothing was said.
    #[error(
        "say where: --local, --stack NAME, or --directory-table TABLE; or set TWOFA_STACK or TWOFA_LOCAL"
    )]
    Nowhere,
    /// Too much was said.
    #[error("--local, --stack and --directory-table exclude each other: say one")]
    Mixed,
    /// An option that says nothing where the others point.
    #[error("{0} is not for this place")]
    Idle(&'static str),
    /// An endpoint that is not a laptop's.
    #[error("{0}: with --local it must be http://HOST:PORT, and not of AWS")]
    Endpoint(&'static str),
    /// The command needs more than it was given.
    #[error("this command needs {0} too (or --stack, or --local)")]
    Needs(&'static str),
    /// There is no such stack.
    #[error("there is no stack {0} in that account and region")]
    NoStack(String),
    /// It is another product's.
    #[error("the stack {stack} has no output {output}: is it Twofa's?")]
    NoOutput {
        /// Its name.
        stack: String,
        /// The missing output.
        output: &'static str,
    },
    /// CloudFormation did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Nobody signed in.
    #[error("there are no AWS credentials that work; sign in, or see --profile")]
    Credentials(#[from] CredentialsError),
    /// No region.
    #[error("there is no AWS region; set --region or AWS_REGION")]
    Region,
}

impl TargetError {
    /// Whether the command line is at error.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Nowhere | Self::Mixed | Self::Idle(_) | Self::Endpoint(_) | Self::Needs(_) => {
                true
            }
            Self::NoStack(_)
            | Self::NoOutput { .. }
            | Self::Aws(_)
            | Self::Credentials(_)
            | Self::Region => false,
        }
    }
}

/// A carry-over that did not come to its end.
#[derive(Debug, Error)]
pub(crate) enum Unfinished {
    /// The operator ended it.
    #[error("interrupted")]
    Interrupted,
    /// DynamoDB did not do it.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// A command that was not carried out.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The input is not valid; nothing is written.
    #[error("{0}")]
    Invalid(ValidationErrors),
    /// No such client.
    #[error("there is no client {0}")]
    NoClient(ClientId),
    /// No such template.
    #[error("the client {client} has no template {template:?}")]
    NoTemplate {
        /// The client.
        client: ClientId,
        /// Its name or id, as typed.
        template: String,
    },
    /// No such key; what was typed is not repeated, since it may be a key.
    #[error("the client {0} has no such key")]
    NoKey(ClientId),
    /// No such test number.
    #[error("{number} is not a test number of the client {client}")]
    NoTestNumber {
        /// The client.
        client: ClientId,
        /// The number, masked.
        number: String,
    },
    /// A client of that name.
    #[error("there is a client {0} already; change it with `twofa client set`")]
    ClientExists(ClientId),
    /// A template of that name or id.
    #[error(
        "the client {client} has a template {template:?} already; change it with `twofa template set`"
    )]
    TemplateExists {
        /// The client.
        client: ClientId,
        /// Its name or id.
        template: String,
    },
    /// No room for another key.
    #[error(
        "the client {client} has {MAX_KEYS} live keys ({}); revoke one first: twofa key revoke {client} KEY_ID",
        .keys.join(", ")
    )]
    TooManyKeys {
        /// The client.
        client: ClientId,
        /// Their ids.
        keys: Vec<String>,
    },
    /// Another operator changed the client after it was read; nothing more is written.
    #[error(
        "another operator changed the client {0} at the same time; look at it and run the command again"
    )]
    Overtaken(ClientId),
    /// A client without a balance cannot be topped up.
    #[error("the client {0} has no balance; give it one: twofa client set {0} --balance PARTS")]
    NoBalance(ClientId),
    /// A client whose keys still open the API.
    #[error("the client {client} has live keys ({}): revoke them first, or say --yes", .keys.join(", "))]
    LiveKeys {
        /// The client.
        client: ClientId,
        /// Their ids.
        keys: Vec<String>,
    },
    /// SNS did not take a test message, or may have.
    #[error("SNS did not take the message, or its answer is lost")]
    NotSent(#[source] AwsError),
    /// A file could not be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Standard output could not be written to.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// A cap was set, and does not count the requests that the day has seen.
    #[error(
        "per_day of {clients} is set, but does not count the requests made before; run the same command \
         again in a minute"
    )]
    NotCarriedOver {
        /// The client.
        clients: String,
        /// The cause.
        source: Unfinished,
    },
    /// It is not known where the tables are, or they are out of reach.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A change failed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The other table failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The secret could not be had.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl Error {
    /// A single error.
    pub(crate) fn invalid(field: &str, problem: impl fmt::Display) -> Self {
        let mut errors = ValidationErrors::default();
        errors.note(field, problem);
        Self::Invalid(errors)
    }

    /// 1: failed, 2: not valid, 3: not found.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Invalid(_) => ExitCode::from(2),
            Self::Target(error) if error.is_usage() => ExitCode::from(2),
            Self::NoClient(_)
            | Self::NoTemplate { .. }
            | Self::NoKey(_)
            | Self::NoTestNumber { .. }
            | Self::Target(TargetError::NoStack(_)) => ExitCode::from(3),
            Self::ClientExists(_)
            | Self::TemplateExists { .. }
            | Self::TooManyKeys { .. }
            | Self::Overtaken(_)
            | Self::NoBalance(_)
            | Self::LiveKeys { .. }
            | Self::Change(_)
            | Self::NotSent(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::NotCarriedOver { .. }
            | Self::Target(_)
            | Self::Directory(_)
            | Self::Aws(_)
            | Self::KeySet(_)
            | Self::Entropy(_) => ExitCode::from(1),
        }
    }

    /// A hint that may help.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        if let Self::Change(ChangeError::Unknown(_)) = self {
            return Some(
                "`twofa audit` lists the change if it is made; a key that was not shown must then be revoked",
            );
        }
        let (Self::Directory(DirectoryError::Aws(error))
        | Self::Change(ChangeError::Directory(DirectoryError::Aws(error)))
        | Self::Aws(error)
        | Self::NotSent(error)
        | Self::NotCarriedOver {
            source: Unfinished::Aws(error),
            ..
        }
        | Self::KeySet(KeySetError::Aws(error))
        | Self::Target(TargetError::Aws(error))) = self
        else {
            return None;
        };
        match (error.kind, error.code.as_deref()) {
            (
                AwsErrorKind::NotConnected | AwsErrorKind::Unreachable | AwsErrorKind::TimedOut,
                _,
            ) => Some(
                "nothing answers there; with --local, `cargo run` must be running, and else the region must be right",
            ),
            (_, Some("ResourceNotFoundException")) => {
                Some("there is no such table or secret in that account and region")
            }
            (_, Some("InvalidParameter")) => {
                Some("SNS refuses the sender or the number; `twofa doctor` looks at both")
            }
            (_, Some("AccessDeniedException" | "AuthorizationError")) => {
                Some("the credentials do not permit it; see --profile")
            }
            _ => None,
        }
    }

    /// The error for scripts.
    pub(crate) fn json(&self, causes: &[String]) -> Value {
        let fields = match self {
            Self::Invalid(errors) => errors.0.iter().map(ValidationError::json).collect(),
            _ => Vec::new(),
        };
        json!({
            "error": self.to_string(),
            "fields": fields,
            "causes": causes,
            "hint": self.hint(),
        })
    }
}
