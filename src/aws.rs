//! How the product talks to AWS: clients, time-outs, retries, and what is kept of a failure.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Intercept, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId as _;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_types::SdkConfig;
use aws_types::region::Region;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::metrics;

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

/// The certificate authorities that a connection may be vouched for by.
#[derive(Clone, Debug)]
pub struct Roots(TrustStore);

/// A file of certificates that has none, or a damaged one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no certificates in PEM form")]
pub struct MalformedRoots;

impl Roots {
    /// Those of Amazon Trust Services, which all of AWS's endpoints have. They are valid until 2037
    /// to 2040. To read the some 140 of a system instead is half of a function's start-up, and
    /// trusts each of them to vouch for AWS.
    #[must_use]
    pub fn amazon() -> Self {
        Self(TrustStore::empty().with_pem_certificate(include_bytes!("amazon-roots.pem")))
    }

    /// Those that the machine trusts, for the one that an operator sits at.
    #[must_use]
    pub fn of_system() -> Self {
        Self(TrustStore::default())
    }

    /// Those in a PEM file, and no others.
    ///
    /// # Errors
    /// When there are none in it.
    pub fn parse(pem: &[u8]) -> Result<Self, MalformedRoots> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| MalformedRoots)?;
        if certificates.is_empty() {
            return Err(MalformedRoots);
        }
        Ok(Self(TrustStore::empty().with_pem_certificate(pem)))
    }
}

/// An HTTP client on rustls and ring, to be shared by all services.
#[must_use]
pub fn http_client(roots: Roots) -> SharedHttpClient {
    let tls = TlsContext::builder().with_trust_store(roots.0).build();
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls.unwrap_or_default())
        .build_https()
}

/// Where, as whom and over which connections AWS is called.
///
/// It is told all of it. The SDK's own search for a region and credentials, in files and on the
/// network, is for other places than a Lambda function: here it would cost start-up time and 1 MB.
#[derive(Clone, Debug)]
pub struct Account {
    region: Region,
    credentials: SharedCredentialsProvider,
    http: SharedHttpClient,
}

impl Account {
    /// The account of `credentials` in `region`.
    #[must_use]
    pub fn new(region: &str, credentials: Credentials, roots: Roots) -> Self {
        Self {
            region: Region::new(region.to_owned()),
            credentials: SharedCredentialsProvider::new(credentials),
            http: http_client(roots),
        }
    }

    /// How a service is called: at `endpoint`, or at AWS's own.
    #[must_use]
    pub fn at(&self, endpoint: Option<&str>) -> SdkConfig {
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region.clone())
            .credentials_provider(self.credentials.clone())
            .http_client(self.http.clone())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()));
        config.set_endpoint_url(endpoint.map(ToOwned::to_owned));
        config.build()
    }
}

/// A client of DynamoDB.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::config::Builder::from(&bounded(config));
    let config = config.retry_partition(partition());
    aws_sdk_dynamodb::Client::from_conf(config.interceptor(CountRetries).build())
}

/// The same client for the one write that decides about a guess: the function has nothing else to do, so
/// it has more time and attempts to learn what became of it. Made once, it costs no call anything; the
/// SDK's own way, to override its settings for an operation, costs a tenth of each.
#[must_use]
pub fn patient(client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(GUESS_TIMEOUT)
        .build();
    let config = client
        .config()
        .to_builder()
        .timeout_config(timeouts)
        .retry_config(retries().with_max_attempts(GUESS_ATTEMPTS));
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// A client of Secrets Manager.
#[must_use]
pub fn secrets_manager(config: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(&bounded(config));
    let config = config.retry_partition(partition());
    aws_sdk_secretsmanager::Client::from_conf(config.interceptor(CountRetries).build())
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
        .retry_partition(partition())
        .interceptor(CountRetries);
    aws_sdk_sns::Client::from_conf(config.build())
}

/// Has the metrics know of every attempt but the first.
#[derive(Debug)]
struct CountRetries;

impl Intercept for CountRetries {
    fn name(&self) -> &'static str {
        "CountRetries"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let attempts = config
            .load::<RequestAttempts>()
            .map_or(1, RequestAttempts::attempts);
        if attempts > 1 {
            metrics::aws_retry();
        }
        Ok(())
    }
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
        metrics::aws_error();
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
        metrics::aws_error();
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_roots_are_those_that_amazon_publishes() {
        let pem = include_bytes!("amazon-roots.pem");
        let fingerprints: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .map(|root| HEXLOWER.encode(&Sha256::digest(root.unwrap())))
            .collect();
        // https://www.amazontrust.com/repository/
        assert_eq!(
            fingerprints,
            [
                "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
                "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
                "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
                "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
                "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
            ]
        );
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        for pem in [
            "",
            "amazon",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(Roots::parse(pem.as_bytes()).unwrap_err(), MalformedRoots);
        }
        assert!(Roots::parse(include_bytes!("amazon-roots.pem")).is_ok());
    }
}
