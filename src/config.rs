//! Configuration from environment variables: read once, at start, with every fault in one message.
//!
//! The region, the credentials and the services' endpoints (`AWS_ENDPOINT_URL_DYNAMODB`,
//! `AWS_ENDPOINT_URL_SNS`, `AWS_ENDPOINT_URL_SECRETS_MANAGER`) are the AWS SDK's own variables.

use std::fmt;

use thiserror::Error;
use tracing::level_filters::LevelFilter;

/// What a function needs that only reads the directory.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// `LOG_LEVEL`: the least severe level of the product's own log lines: `error`, `warn`, `info`
    /// or `debug`. Default `info`.
    pub log_level: LevelFilter,
    /// `DIRECTORY_TABLE`: the name or ARN of the table of clients and templates. Required.
    pub directory_table: String,
}

/// What a function needs that also makes or checks codes.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// What it needs to know its callers.
    pub directory: DirectoryConfig,
    /// `VERIFICATIONS_TABLE`: the name or ARN of the table of verifications. Required.
    pub verifications_table: String,
    /// `SECRET_ARN`: the ARN or name of the secret with the peppers. Required.
    pub secret_arn: String,
}

/// What the function `request` needs.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    /// What it needs to make codes.
    pub verification: VerificationConfig,
    /// `DAILY_PART_CAP`: the most SMS parts that the whole stack sends in one day of UTC; 0 or
    /// absent: any number.
    pub daily_part_cap: Option<u32>,
    /// `ALLOW_TEST_NUMBERS`: whether clients may have numbers that get no SMS and always the same
    /// code: `true` or `false`. Default `false`.
    pub allow_test_numbers: bool,
}

/// Everything that is wrong with the environment, one line each.
#[derive(Clone, Error, PartialEq, Eq)]
#[error("the configuration is not valid:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

/// As a function's `main` shows it.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DirectoryConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All faults together.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let mut variables = Variables::new(environment);
        let config = Self::read(&mut variables);
        variables.finish(config)
    }

    fn read(variables: &mut Variables<impl Fn(&str) -> Option<String>>) -> Self {
        Self {
            log_level: variables.log_level("LOG_LEVEL"),
            directory_table: variables.required("DIRECTORY_TABLE"),
        }
    }
}

impl VerificationConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All faults together.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from(environment)
    }

    fn from(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables::new(lookup);
        let config = Self::read(&mut variables);
        variables.finish(config)
    }

    fn read(variables: &mut Variables<impl Fn(&str) -> Option<String>>) -> Self {
        Self {
            directory: DirectoryConfig::read(variables),
            verifications_table: variables.required("VERIFICATIONS_TABLE"),
            secret_arn: variables.required("SECRET_ARN"),
        }
    }
}

impl RequestConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// All faults together.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::from(environment)
    }

    fn from(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables::new(lookup);
        let config = Self {
            verification: VerificationConfig::read(&mut variables),
            daily_part_cap: variables.cap("DAILY_PART_CAP"),
            allow_test_numbers: variables.flag("ALLOW_TEST_NUMBERS"),
        };
        variables.finish(config)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Looks variables up and remembers what is wrong with them.
struct Variables<F> {
    lookup: F,
    faults: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn new(lookup: F) -> Self {
        Self {
            lookup,
            faults: Vec::new(),
        }
    }

    fn required(&mut self, name: &str) -> String {
        let value = (self.lookup)(name).unwrap_or_default();
        if value.is_empty() {
            self.faults.push(format!("{name} is not set"));
        }
        value
    }

    fn log_level(&mut self, name: &str) -> LevelFilter {
        match (self.lookup)(name).as_deref() {
            Some("error") => LevelFilter::ERROR,
            Some("warn") => LevelFilter::WARN,
            None | Some("" | "info") => LevelFilter::INFO,
            Some("debug") => LevelFilter::DEBUG,
            Some(other) => {
                self.faults.push(format!(
                    "{name} must be error, warn, info or debug, not {other:?}"
                ));
                LevelFilter::INFO
            }
        }
    }

    fn cap(&mut self, name: &str) -> Option<u32> {
        let value = (self.lookup)(name).unwrap_or_default();
        match value.parse() {
            Ok(0) => None,
            Ok(cap) => Some(cap),
            Err(_) if value.is_empty() => None,
            Err(_) => {
                self.faults
                    .push(format!("{name} must be a whole number, not {value:?}"));
                None
            }
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        match (self.lookup)(name).as_deref() {
            Some("true") => true,
            None | Some("" | "false") => false,
            Some(other) => {
                self.faults
                    .push(format!("{name} must be true or false, not {other:?}"));
                false
            }
        }
    }

    fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(self.faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once() {
        let lookup = |name: &str| (name == "LOG_LEVEL").then(|| "loud".to_owned());
        let error = VerificationConfig::from(lookup).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration is not valid:\n  \
             LOG_LEVEL must be error, warn, info or debug, not \"loud\"\n  \
             DIRECTORY_TABLE is not set\n  \
             VERIFICATIONS_TABLE is not set\n  \
             SECRET_ARN is not set"
        );
    }

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        let lookup = |name: &str| Some(if name == "SECRET_ARN" { "" } else { "info" }.to_owned());
        let error = VerificationConfig::from(lookup).unwrap_err();
        assert_eq!(error, ConfigError(vec!["SECRET_ARN is not set".to_owned()]));
    }

    #[test]
    fn caps_and_flags_have_defaults_and_bounds() {
        let with = |cap: &'static str, flag: &'static str| {
            RequestConfig::from(move |name: &str| match name {
                "DAILY_PART_CAP" => Some(cap.to_owned()),
                "ALLOW_TEST_NUMBERS" => Some(flag.to_owned()),
                "LOG_LEVEL" => None,
                _ => Some("x".to_owned()),
            })
        };
        let read = |cap, flag| {
            with(cap, flag).map(|config| (config.daily_part_cap, config.allow_test_numbers))
        };
        assert_eq!(read("", ""), Ok((None, false)));
        assert_eq!(read("0", "false"), Ok((None, false)));
        assert_eq!(read("500", "true"), Ok((Some(500), true)));
        let faults = [
            "DAILY_PART_CAP must be a whole number, not \"-1\"",
            "ALLOW_TEST_NUMBERS must be true or false, not \"yes\"",
        ];
        assert_eq!(
            read("-1", "yes"),
            Err(ConfigError(faults.map(str::to_owned).to_vec()))
        );
    }

    #[test]
    fn the_log_level_has_a_default() {
        let lookup = |name: &str| (name != "LOG_LEVEL").then(|| name.to_lowercase());
        let config = VerificationConfig::from(lookup).unwrap();
        assert_eq!(config.directory.log_level, LevelFilter::INFO);
        assert_eq!(config.directory.directory_table, "directory_table");
        assert_eq!(config.secret_arn, "secret_arn");
    }
}
