//! Configuration from environment variables: read once, at start, with every fault in one message.
//!
//! Region and credentials are in the variables that Lambda sets for every function. The services'
//! endpoints are in the AWS SDK's own variables; one that is absent or empty means AWS's own endpoint.

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;
use thiserror::Error;
use tracing::level_filters::LevelFilter;

/// The account and region that Lambda tells a function.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// `AWS_REGION`. Required.
    pub region: String,
    /// `AWS_ACCESS_KEY_ID`. Required.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`. Required.
    pub secret_access_key: SecretString,
    /// `AWS_SESSION_TOKEN`. Absent for keys that are not temporary.
    pub session_token: Option<SecretString>,
    /// `SSL_CERT_FILE`: a PEM file of the certificate authorities to trust instead of Amazon's own,
    /// for example that of the system. Not set by Lambda.
    pub certificates: Option<PathBuf>,
}

/// The configuration of a function that only reads the directory.
#[derive(Clone, Debug)]
pub struct DirectoryConfig {
    /// The account and region.
    pub account: AccountConfig,
    /// `AWS_ENDPOINT_URL_DYNAMODB`: where DynamoDB is. Default AWS's own.
    pub dynamodb_endpoint: Option<String>,
    /// `LOG_LEVEL`: the least severe level of the product's own log lines: `error`, `warn`, `info`
    /// or `debug`. Default `info`.
    pub log_level: LevelFilter,
    /// `METRICS_NAMESPACE`: the namespace of the metrics in CloudWatch. Default `Twofa`.
    pub metrics_namespace: String,
    /// `DIRECTORY_TABLE`: the name or ARN of the table of clients and templates. Required.
    pub directory_table: String,
}

/// The configuration of a function that also makes or checks codes.
#[derive(Clone, Debug)]
pub struct VerificationConfig {
    /// The directory's part.
    pub directory: DirectoryConfig,
    /// `VERIFICATIONS_TABLE`: the name or ARN of the table of verifications. Required.
    pub verifications_table: String,
    /// `SECRET_ARN`: the ARN or name of the secret with the peppers. Required.
    pub secret_arn: String,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`: where Secrets Manager is. Default AWS's own.
    pub secrets_manager_endpoint: Option<String>,
}

/// The configuration of the function `request`.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    /// The part that it shares with `validate`.
    pub verification: VerificationConfig,
    /// `AWS_ENDPOINT_URL_SNS`: where SNS is. Default AWS's own.
    pub sns_endpoint: Option<String>,
    /// `DAILY_PART_CAP`: the most SMS parts that the whole stack sends in one day of UTC; 0 or
    /// absent: any number.
    pub daily_part_cap: Option<u32>,
    /// `ALLOW_TEST_NUMBERS`: whether clients may have numbers that get no SMS and always the same
    /// code: `true` or `false`. Default `false`.
    pub allow_test_numbers: bool,
}

/// The configuration of the function that rotates the key set.
#[derive(Clone, Debug)]
pub struct RotationConfig {
    /// The account and region.
    pub account: AccountConfig,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`: where Secrets Manager is. Default AWS's own.
    pub secrets_manager_endpoint: Option<String>,
    /// `LOG_LEVEL`, as for every function.
    pub log_level: LevelFilter,
}

/// The configuration of the function that checks new versions before they get traffic.
#[derive(Clone, Debug)]
pub struct PreTrafficConfig {
    /// The account and region.
    pub account: AccountConfig,
    /// `AWS_ENDPOINT_URL_CODEDEPLOY`: where CodeDeploy is. Default AWS's own.
    pub codedeploy_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_DYNAMODB`: where DynamoDB is. Default AWS's own.
    pub dynamodb_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_LAMBDA`: where Lambda is. Default AWS's own.
    pub lambda_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`: where Secrets Manager is. Default AWS's own.
    pub secrets_manager_endpoint: Option<String>,
    /// `LOG_LEVEL`, as for every function.
    pub log_level: LevelFilter,
    /// `DIRECTORY_TABLE`: the name or ARN of the table of clients and templates. Required.
    pub directory_table: String,
    /// `SECRET_ARN`: the ARN or name of the secret with the peppers. Required.
    pub secret_arn: String,
    /// `REQUEST_VERSION`: the ARN of the new version of the function `request`. Required.
    pub request_version: String,
    /// `VALIDATE_VERSION`: the ARN of the new version of the function `validate`. Required.
    pub validate_version: String,
    /// `TEMPLATE_VERSION`: the ARN of the new version of the function `template`. Required.
    pub template_version: String,
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

/// A configuration that is read from named variables.
pub trait Config: Sized {
    /// Reads it; what is missing or wrong is noted in `variables`.
    fn read(variables: &mut Variables<'_>) -> Self;

    /// Reads it from the process's environment.
    ///
    /// # Errors
    /// All faults together.
    fn from_environment() -> Result<Self, ConfigError> {
        Self::from_lookup(&environment)
    }

    /// Reads it from the variables that `lookup` finds.
    ///
    /// # Errors
    /// All faults together.
    fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut variables = Variables {
            lookup,
            faults: Vec::new(),
        };
        let config = Self::read(&mut variables);
        if variables.faults.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(variables.faults))
        }
    }
}

impl Config for AccountConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            region: variables.required("AWS_REGION"),
            access_key_id: variables.required("AWS_ACCESS_KEY_ID"),
            secret_access_key: variables.required("AWS_SECRET_ACCESS_KEY").into(),
            session_token: variables.optional("AWS_SESSION_TOKEN").map(Into::into),
            certificates: variables.optional("SSL_CERT_FILE").map(Into::into),
        }
    }
}

impl Config for DirectoryConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            account: AccountConfig::read(variables),
            dynamodb_endpoint: variables.optional("AWS_ENDPOINT_URL_DYNAMODB"),
            log_level: variables.log_level("LOG_LEVEL"),
            metrics_namespace: variables
                .optional("METRICS_NAMESPACE")
                .unwrap_or_else(|| "Twofa".to_owned()),
            directory_table: variables.required("DIRECTORY_TABLE"),
        }
    }
}

impl Config for VerificationConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            directory: DirectoryConfig::read(variables),
            verifications_table: variables.required("VERIFICATIONS_TABLE"),
            secret_arn: variables.required("SECRET_ARN"),
            secrets_manager_endpoint: variables.optional("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
        }
    }
}

impl Config for RequestConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            verification: VerificationConfig::read(variables),
            sns_endpoint: variables.optional("AWS_ENDPOINT_URL_SNS"),
            daily_part_cap: variables.cap("DAILY_PART_CAP"),
            allow_test_numbers: variables.flag("ALLOW_TEST_NUMBERS"),
        }
    }
}

impl Config for RotationConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            account: AccountConfig::read(variables),
            secrets_manager_endpoint: variables.optional("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            log_level: variables.log_level("LOG_LEVEL"),
        }
    }
}

impl Config for PreTrafficConfig {
    fn read(variables: &mut Variables<'_>) -> Self {
        Self {
            account: AccountConfig::read(variables),
            codedeploy_endpoint: variables.optional("AWS_ENDPOINT_URL_CODEDEPLOY"),
            dynamodb_endpoint: variables.optional("AWS_ENDPOINT_URL_DYNAMODB"),
            lambda_endpoint: variables.optional("AWS_ENDPOINT_URL_LAMBDA"),
            secrets_manager_endpoint: variables.optional("AWS_ENDPOINT_URL_SECRETS_MANAGER"),
            log_level: variables.log_level("LOG_LEVEL"),
            directory_table: variables.required("DIRECTORY_TABLE"),
            secret_arn: variables.required("SECRET_ARN"),
            request_version: variables.required("REQUEST_VERSION"),
            validate_version: variables.required("VALIDATE_VERSION"),
            template_version: variables.required("TEMPLATE_VERSION"),
        }
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
pub struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

impl Variables<'_> {
    fn required(&mut self, name: &str) -> String {
        let value = (self.lookup)(name).unwrap_or_default();
        if value.is_empty() {
            self.faults.push(format!("{name} is not set"));
        }
        value
    }

    fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once() {
        let lookup = |name: &str| (name == "LOG_LEVEL").then(|| "loud".to_owned());
        let error = VerificationConfig::from_lookup(&lookup).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the configuration is not valid:\n  \
             AWS_REGION is not set\n  \
             AWS_ACCESS_KEY_ID is not set\n  \
             AWS_SECRET_ACCESS_KEY is not set\n  \
             LOG_LEVEL must be error, warn, info or debug, not \"loud\"\n  \
             DIRECTORY_TABLE is not set\n  \
             VERIFICATIONS_TABLE is not set\n  \
             SECRET_ARN is not set"
        );
    }

    #[test]
    fn an_empty_variable_is_a_missing_one() {
        let lookup = |name: &str| Some(if name == "SECRET_ARN" { "" } else { "info" }.to_owned());
        let error = VerificationConfig::from_lookup(&lookup).unwrap_err();
        assert_eq!(error, ConfigError(vec!["SECRET_ARN is not set".to_owned()]));
    }

    #[test]
    fn caps_and_flags_have_defaults_and_bounds() {
        let with = |cap: &'static str, flag: &'static str| {
            RequestConfig::from_lookup(&|name: &str| match name {
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
        let config = VerificationConfig::from_lookup(&lookup).unwrap();
        assert_eq!(config.directory.log_level, LevelFilter::INFO);
        assert_eq!(config.directory.directory_table, "directory_table");
        assert_eq!(config.secret_arn, "secret_arn");
    }
}
