//! How the product talks to AWS: clients, time-outs, retries, and what is kept of a failure.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId as _;
use aws_smithy_http_client::tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use thiserror::Error;

/// The longest that one call of DynamoDB or Secrets Manager takes, retries included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that one `Publish` takes, retries included.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest that one attempt at a call takes. An attempt that is cut off is made again: every
/// write of the product may safely be repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);

/// The longest that a connection takes to open.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(900);

/// The longest that the write takes which decides about a guess, retries included.
pub const GUESS_TIMEOUT: Duration = Duration::from_secs(7);

/// How often a call is tried at the most.
const ATTEMPTS: u32 = 4;

/// How often that write is.
const GUESS_ATTEMPTS: u32 = 10;

/// The longest pause before the first retry; each later one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(25);

/// An HTTP client on rustls and ring, to be shared by all services.
#[must_use]
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

/// The configuration of a Lambda function: region, credentials and endpoints from the environment.
pub async fn config_from_environment() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client())
        .load()
        .await
}

/// A client of DynamoDB.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(&bounded(config));
    aws_sdk_dynamodb::Client::from_conf(config.retry_partition(partition()).build())
}

/// What is different for the one write that decides about a guess: the function has nothing else to
/// do, so it has more time and attempts to learn what became of it.
#[must_use]
pub fn patient() -> aws_sdk_dynamodb::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(GUESS_TIMEOUT)
        .build();
    aws_sdk_dynamodb::Config::builder()
        .timeout_config(timeouts)
        .retry_config(retries().with_max_attempts(GUESS_ATTEMPTS))
}

/// A client of Secrets Manager.
#[must_use]
pub fn secrets_manager(config: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(&bounded(config));
    aws_sdk_secretsmanager::Client::from_conf(config.retry_partition(partition()).build())
}

/// A client of SNS. It has no time-out for a single attempt: when an answer fails to come, the
/// message may be on its way, and it is not sent again blindly.
#[must_use]
pub fn sns(config: &SdkConfig) -> aws_sdk_sns::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(PUBLISH_TIMEOUT)
        .build();
    let config = aws_sdk_sns::config::Builder::from(config)
        .timeout_config(timeouts)
        .retry_config(retries())
        .retry_partition(partition());
    aws_sdk_sns::Client::from_conf(config.build())
}

/// The SDK counts the retries of a process and stops them when there were many: a right code would
/// then be lost with one packet. Attempts and time-outs bound every call already.
fn partition() -> RetryPartition {
    RetryPartition::custom("twofa")
        .token_bucket(TokenBucket::unlimited())
        .build()
}

fn bounded(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let config = config.clone().into_builder();
    config
        .timeout_config(timeouts)
        .retry_config(retries())
        .build()
}

fn retries() -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(FIRST_BACKOFF)
}

/// A call of AWS that failed, after its retries.
///
/// It keeps the service's error code and request id and drops the rest of the answer: AWS's
/// messages repeat phone numbers and attribute names.
#[derive(Clone, Debug, Error)]
#[error("{operation} failed: {kind:?} (code {code:?}, AWS request id {aws_request_id:?})")]
pub struct AwsError {
    /// The operation, as AWS calls it.
    pub operation: &'static str,
    /// What went wrong.
    pub kind: AwsErrorKind,
    /// The service's own code, where it answered.
    pub code: Option<String>,
    /// The service's name for the call, where it answered.
    pub aws_request_id: Option<String>,
}

/// What went wrong with a call of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsErrorKind {
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Too many calls.
    Throttled,
    /// The service failed (5xx).
    Faulted,
    /// The service refused the call (4xx): asking again does not help.
    Refused,
    /// The call could not be made, or its answer not be read.
    Malformed,
}

impl AwsErrorKind {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Throttled | Self::Faulted => true,
            Self::Refused | Self::Malformed => false,
        }
    }
}

/// The codes by which DynamoDB, SNS and Secrets Manager say "too many calls".
const THROTTLES: [&str; 7] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttled",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

impl AwsError {
    /// `operation` was given up.
    pub(crate) fn timed_out(operation: &'static str) -> Self {
        Self {
            operation,
            kind: AwsErrorKind::TimedOut,
            code: None,
            aws_request_id: None,
        }
    }

    /// What is kept of `error`, which `operation` gave.
    pub fn new<E: ProvideErrorMetadata>(
        operation: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        let code = error.code().map(ToOwned::to_owned);
        let kind = match error {
            SdkError::TimeoutError(_) => AwsErrorKind::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => AwsErrorKind::TimedOut,
            SdkError::DispatchFailure(_) => AwsErrorKind::Unreachable,
            SdkError::ServiceError(_)
                if code.as_deref().is_some_and(|c| THROTTLES.contains(&c)) =>
            {
                AwsErrorKind::Throttled
            }
            SdkError::ServiceError(answer) => by_status(answer.raw()),
            SdkError::ResponseError(answer) if answer.raw().status().is_success() => {
                AwsErrorKind::Unreachable
            }
            SdkError::ResponseError(answer) => by_status(answer.raw()),
            _ => AwsErrorKind::Malformed,
        };
        Self {
            operation,
            kind,
            code,
            aws_request_id: error.request_id().map(ToOwned::to_owned),
        }
    }
}

fn by_status(answer: &HttpResponse) -> AwsErrorKind {
    match answer.status().as_u16() {
        429 => AwsErrorKind::Throttled,
        500.. => AwsErrorKind::Faulted,
        _ => AwsErrorKind::Refused,
    }
}
