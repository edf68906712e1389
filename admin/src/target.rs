//! The tables and the secret that a command works on: on the laptop, in a stack, or by their names.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sdk_cloudformation::error::ProvideErrorMetadata as _;
use aws_sdk_cloudformation::types::Stack;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use clap::builder::BoolishValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use http::Uri;
use std::sync::Arc;
use tokio::sync::OnceCell;
use twofa::aws::error::AwsError;
use twofa::aws::key_set_reader::KeySetReader;
use twofa::aws::{Roots, http_client};
use twofa::clock::{Clock, Timestamp};
use twofa::domain::ids::{ClientId, Version};
use twofa::domain::key_set::KeySet;
use twofa::store::{Change, ChangeError, Changes, Directory, Record, Verifications};

use crate::error::{Error, TargetError};

/// The tables' and the secret's names on the laptop: their logical ids in `template.yaml`.
const LAPTOP: [&str; 3] = ["DirectoryTable", "VerificationsTable", "Secret"];

/// The longest that one call takes, retries included: an operator waits longer than a function.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The most attempts at a call of DynamoDB: a balance is set while a client's calls pay from it.
const ATTEMPTS: u32 = 7;

/// The options that choose the target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where (one of --local, --stack, --directory-table)")]
pub(crate) struct TargetOptions {
    /// Work on this machine's `cargo run`; nothing is sent to AWS
    #[arg(long, global = true, env = "TWOFA_LOCAL", value_parser = BoolishValueParser::new())]
    local: bool,
    /// Work on the CloudFormation stack of this name: its outputs name tables and secret
    #[arg(long, global = true, value_name = "NAME", env = "TWOFA_STACK")]
    stack: Option<String>,
    /// The table of clients and templates, by name or ARN
    #[arg(long, global = true, value_name = "TABLE", hide_short_help = true)]
    directory_table: Option<String>,
    /// The table of verifications, recipients, balances and usage, by name or ARN
    #[arg(long, global = true, value_name = "TABLE", hide_short_help = true)]
    verifications_table: Option<String>,
    /// The secret with the peppers, by name or ARN
    #[arg(long, global = true, value_name = "SECRET", hide_short_help = true)]
    secret: Option<String>,
    /// The AWS region; default: the environment's or the profile's
    #[arg(long, global = true)]
    region: Option<String>,
    /// The profile of ~/.aws/config; default: `AWS_PROFILE`, else the usual chain
    #[arg(long, global = true)]
    profile: Option<String>,
    /// With --local: where DynamoDB listens [default: port 8000 of this machine]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        hide_short_help = true,
        env = "TWOFA_DYNAMODB_ENDPOINT"
    )]
    dynamodb_endpoint: Option<String>,
    /// With --local: where SNS and Secrets Manager listen [default: port 4566 of this machine]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        hide_short_help = true,
        env = "TWOFA_SNS_ENDPOINT"
    )]
    sns_endpoint: Option<String>,
}

/// The tables and services that the commands work on.
#[derive(Debug)]
pub(crate) struct Target {
    /// Clients and templates.
    pub(crate) directory: Directory,
    changes: Changes,
    verifications: Option<(Verifications, String)>,
    secrets: Option<KeySetReader>,
    /// The default sender of a new template.
    pub(crate) default_sender: Option<String>,
    sts: aws_sdk_sts::Client,
    caller: OnceCell<String>,
    /// DynamoDB itself, to look at the tables.
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    /// The name of the directory.
    pub(crate) directory_table: String,
    /// SNS, to send a test and to look at the account's settings.
    pub(crate) sns: aws_sdk_sns::Client,
    /// The region.
    pub(crate) region: String,
    /// The topic that the alarms are published to, where a stack tells it.
    pub(crate) alarm_topic: Option<String>,
}

/// The names of what a place has.
struct Names {
    directory: String,
    verifications: Option<String>,
    secret: Option<String>,
    default_sender: Option<String>,
    alarm_topic: Option<String>,
}

impl TargetOptions {
    /// Forgets what the environment says of the place where an argument says another one, and what it says
    /// of the laptop where the place is none.
    pub(crate) fn prefer_arguments(&mut self, matches: &ArgMatches) {
        let source = |name: &str| matches.value_source(name);
        let places = ["local", "stack", "directory_table"];
        if places
            .iter()
            .any(|name| source(name) == Some(ValueSource::CommandLine))
        {
            if source("local") == Some(ValueSource::EnvVariable) {
                self.local = false;
            }
            if source("stack") == Some(ValueSource::EnvVariable) {
                self.stack = None;
            }
        }
        if !self.local {
            if source("dynamodb_endpoint") == Some(ValueSource::EnvVariable) {
                self.dynamodb_endpoint = None;
            }
            if source("sns_endpoint") == Some(ValueSource::EnvVariable) {
                self.sns_endpoint = None;
            }
        }
    }

    /// Finds the place; on the laptop without a call.
    pub(crate) async fn open(&self) -> Result<Target, TargetError> {
        let chosen = [
            self.local,
            self.stack.is_some(),
            self.directory_table.is_some(),
        ];
        match chosen.into_iter().filter(|chosen| *chosen).count() {
            0 => return Err(TargetError::Nowhere),
            1 => {}
            _ => return Err(TargetError::Mixed),
        }
        self.check_idle()?;
        if self.local {
            return self.laptop();
        }
        let config = self.aws().await?;
        let names = match (&self.stack, &self.directory_table) {
            (Some(stack), _) => outputs(&config, stack).await?,
            (None, Some(directory)) => Names {
                directory: directory.clone(),
                verifications: self.verifications_table.clone(),
                secret: self.secret.clone(),
                default_sender: None,
                alarm_topic: None,
            },
            (None, None) => return Err(TargetError::Nowhere),
        };
        Ok(Target::new(&config, &config, &names))
    }

    /// Refuses what would be passed over in silence.
    fn check_idle(&self) -> Result<(), TargetError> {
        let named = self.local || self.stack.is_some();
        let idle = [
            (named, &self.verifications_table, "--verifications-table"),
            (named, &self.secret, "--secret"),
            (self.local, &self.region, "--region"),
            (self.local, &self.profile, "--profile"),
            (!self.local, &self.dynamodb_endpoint, "--dynamodb-endpoint"),
            (!self.local, &self.sns_endpoint, "--sns-endpoint"),
        ];
        let mut idle = idle.into_iter();
        match idle.find(|(idle, given, _)| *idle && given.is_some()) {
            Some((_, _, option)) => Err(TargetError::Idle(option)),
            None => Ok(()),
        }
    }

    fn laptop(&self) -> Result<Target, TargetError> {
        let endpoint = |given: &Option<String>, usual: &str, option| {
            let url = given.clone().unwrap_or_else(|| usual.to_owned());
            if is_laptop(&url) {
                Ok(url)
            } else {
                Err(TargetError::Endpoint(option))
            }
        };
        let dynamodb = endpoint(
            &self.dynamodb_endpoint,
            "http://127.0.0.1:8000",
            "--dynamodb-endpoint",
        )?;
        let sns = endpoint(
            &self.sns_endpoint,
            "http://127.0.0.1:4566",
            "--sns-endpoint",
        )?;
        let [directory, verifications, secret] = LAPTOP.map(ToOwned::to_owned);
        let names = Names {
            directory,
            verifications: Some(verifications),
            secret: Some(secret),
            default_sender: None,
            alarm_topic: None,
        };
        Ok(Target::new(
            &laptop_config(dynamodb),
            &laptop_config(sns),
            &names,
        ))
    }

    /// The person's own configuration. The credentials are asked for at once, which may take its
    /// time (single sign-on), so that no call has to wait for them.
    async fn aws(&self) -> Result<SdkConfig, TargetError> {
        let timeouts = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client(Roots::of_system()))
            .timeout_config(timeouts.build());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(TargetError::Region);
        }
        let Some(provider) = config.credentials_provider() else {
            return Err(CredentialsError::not_loaded("there is no provider").into());
        };
        let credentials = provider.provide_credentials().await?;
        let provider = SharedCredentialsProvider::new(credentials);
        let config = config.into_builder();
        Ok(config.credentials_provider(provider).build())
    }
}

/// Whether `url` may be a laptop's: plain HTTP, to anything but AWS.
fn is_laptop(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default().to_ascii_lowercase();
    let is_aws = ["amazonaws.com", "amazonaws.com.cn", "api.aws"]
        .iter()
        .any(|domain| host.trim_end_matches('.').ends_with(domain));
    url.scheme_str() == Some("http") && !host.is_empty() && !is_aws
}

/// An SDK that knows this endpoint alone and nothing of the person's own AWS account.
fn laptop_config(endpoint: String) -> SdkConfig {
    let credentials = Credentials::from_keys("laptop", "laptop", None);
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client(Roots::of_system()))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(CALL_TIMEOUT)
                .build(),
        )
        .endpoint_url(endpoint)
        .build()
}

/// The names in the outputs of `stack`.
async fn outputs(config: &SdkConfig, stack: &str) -> Result<Names, TargetError> {
    let answer = aws_sdk_cloudformation::Client::new(config)
        .describe_stacks()
        .stack_name(stack)
        .send()
        .await
        .map_err(|error| match error.as_service_error() {
            Some(refused) if refused.code() == Some("ValidationError") => {
                TargetError::NoStack(stack.to_owned())
            }
            _ => AwsError::new("DescribeStacks", &error).into(),
        })?;
    let outputs = answer.stacks().iter().flat_map(Stack::outputs);
    let outputs: Vec<_> = outputs.collect();
    let output = |name: &'static str| {
        let found = outputs
            .iter()
            .find(|output| output.output_key() == Some(name));
        found
            .and_then(|output| output.output_value())
            .map(ToOwned::to_owned)
            .ok_or_else(|| TargetError::NoOutput {
                stack: stack.to_owned(),
                output: name,
            })
    };
    Ok(Names {
        directory: output("DirectoryTable")?,
        verifications: Some(output("VerificationsTable")?),
        secret: Some(output("SecretArn")?),
        default_sender: output("DefaultSenderId").ok(),
        alarm_topic: output("AlarmTopic").ok(),
    })
}

/// The functions' client of DynamoDB, with an operator's time and attempts. It takes whole answers alone
/// and repeats a write that met a transaction.
fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let functions = twofa::aws::dynamodb(config);
    let mut own = functions.config().to_builder();
    own.set_timeout_config(config.timeout_config().cloned());
    let retries = functions.config().retry_config().cloned();
    own.set_retry_config(retries.map(|retries| retries.with_max_attempts(ATTEMPTS)));
    aws_sdk_dynamodb::Client::from_conf(own.build())
}

/// The error of a command that needs the table of verifications.
const NEEDS_VERIFICATIONS: TargetError = TargetError::Needs("--verifications-table");

impl Target {
    fn new(tables: &SdkConfig, secrets: &SdkConfig, names: &Names) -> Self {
        let dynamodb = dynamodb(tables);
        let verifications = names.verifications.clone();
        Self {
            changes: Changes::new(dynamodb.clone(), &names.directory),
            verifications: verifications
                .map(|table| (Verifications::new(dynamodb.clone(), &table), table)),
            dynamodb: dynamodb.clone(),
            directory_table: names.directory.clone(),
            sns: twofa::aws::sns(secrets),
            region: secrets
                .region()
                .map(ToString::to_string)
                .unwrap_or_default(),
            alarm_topic: names.alarm_topic.clone(),
            sts: aws_sdk_sts::Client::new(secrets),
            caller: OnceCell::new(),
            secrets: names.secret.as_deref().map(|id| {
                let client = aws_sdk_secretsmanager::Client::new(secrets);
                KeySetReader::new(client, id)
            }),
            directory: Directory::new(dynamodb, &names.directory),
            default_sender: names.default_sender.clone(),
        }
    }

    /// Recipients, balances and usage.
    pub(crate) fn verifications(&self) -> Result<&Verifications, TargetError> {
        self.verifications
            .as_ref()
            .map(|(table, _)| table)
            .ok_or(NEEDS_VERIFICATIONS)
    }

    /// The name of the table of recipients, balances and usage.
    pub(crate) fn verifications_table(&self) -> Result<&str, TargetError> {
        let name = self.verifications.as_ref().map(|(_, name)| name.as_str());
        name.ok_or(NEEDS_VERIFICATIONS)
    }

    /// A change of `client` by whoever runs the command, to be recorded as `what` with its `details`.
    pub(crate) async fn draft(
        &self,
        client: &ClientId,
        what: &str,
        details: Vec<String>,
    ) -> Result<Change, Error> {
        let by = self.caller().await?;
        Ok(self.changes.draft(Record {
            id: Version::random()?,
            client: client.clone(),
            at: Clock::System.now().as_millis(),
            by: by.to_owned(),
            what: what.to_owned(),
            details,
        }))
    }

    /// Makes a change; `false` when another operator's came before it.
    pub(crate) async fn carry_out(&self, change: Change) -> Result<bool, ChangeError> {
        self.changes.carry_out(change).await
    }

    /// The ARN of whoever runs the command.
    pub(crate) async fn caller(&self) -> Result<&str, AwsError> {
        let caller = self.caller.get_or_try_init(|| self.ask_caller()).await?;
        Ok(caller)
    }

    async fn ask_caller(&self) -> Result<String, AwsError> {
        const OPERATION: &str = "GetCallerIdentity";
        let asked = self.sts.get_caller_identity().send().await;
        let caller = asked.map_err(|error| AwsError::new(OPERATION, &error))?;
        caller.arn.ok_or_else(|| AwsError::incomplete(OPERATION))
    }

    /// The keys that recipients are digested with.
    pub(crate) async fn secret(&self, now: Timestamp) -> Result<Arc<KeySet>, Error> {
        let needed = TargetError::Needs("--secret");
        let secrets = self.secrets.as_ref().ok_or(needed)?;
        Ok(secrets.get(now).await?)
    }
}
