//! Clients of AWS with the product's time-outs and retries.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::retry::{
    ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket,
};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Intercept, RuntimeComponents, SharedHttpClient,
};
use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_sdk_sns::operation::publish::{PublishError, PublishOutput};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use aws_smithy_runtime_api::client::interceptors::context::{Error, InterceptorContext, Output};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use aws_types::SdkConfig;
use aws_types::region::Region;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::entropy;
use crate::metrics;

use error::{THROTTLES, is_not_connected};

pub mod error;
pub mod key_set_reader;
pub mod message_service;

/// The longest that one call of DynamoDB or Secrets Manager takes, retries included.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that one `Publish` takes, retries included.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest that a request takes to begin: both tries of its transaction, a read, a take-over.
pub const BEGIN_TIMEOUT: Duration = Duration::from_millis(6_500);

/// The longest that an undo takes. A transaction that is stuck holds its items for five seconds.
pub const UNDO_TIMEOUT: Duration = Duration::from_secs(7);

/// The longest that one attempt at a call takes. An attempt that is cut off is made again: every
/// write of the product may safely be repeated.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(900);

/// The longest that a connection takes to open.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(900);

/// The longest that a connection may have been idle and is used again. A function is frozen between its calls and
/// does not see that a connection died meanwhile; what is then sent over it is lost without a word. To
/// open one takes two round trips, and is tried again if it fails.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest that one attempt at a transaction takes.
pub(crate) const TRANSACTION_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The longest that a write takes whose outcome is the answer, retries included.
pub const GUESS_TIMEOUT: Duration = Duration::from_secs(7);

/// The most attempts at a call.
const ATTEMPTS: u32 = 4;

/// The most attempts at a write whose outcome is the answer.
const GUESS_ATTEMPTS: u32 = 10;

/// The longest pause before the first retry; each later one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(25);

/// The longest pause before a message is sent again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

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
        Self(TrustStore::empty().with_pem_certificate(include_bytes!("aws/amazon-roots.pem")))
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
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls.unwrap_or_default())
        .build_https()
}

/// Where, as whom and over which connections AWS is called.
///
/// It is told all of it. The SDK's own search for a region and credentials, in files and on the
/// network, is for other places than a Lambda function: here it would cost start-up time and 1 MB.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    region: Region,
    credentials: SharedCredentialsProvider,
    http: SharedHttpClient,
}

impl AwsSettings {
    /// The account of `credentials` in `region`.
    #[must_use]
    pub fn new(region: &str, credentials: Credentials, roots: Roots) -> Self {
        Self {
            region: Region::new(region.to_owned()),
            credentials: SharedCredentialsProvider::new(credentials),
            http: http_client(roots),
        }
    }

    /// The SDK's configuration for a service at `endpoint`, or at AWS's own.
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
    let config = aws_sdk_dynamodb::config::Builder::from(&with_timeouts(config));
    let config = config
        .retry_partition(unlimited_retry_quota())
        .retry_classifier(conflicts())
        .interceptor(Watch);
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// The same client for a write whose outcome is the answer: the function has nothing else to do, so it
/// has more time and attempts to learn what became of it. Made once, it costs no call anything; the
/// SDK's own way, to override its settings for an operation, costs a tenth of each.
#[must_use]
pub(crate) fn for_guesses(client: &aws_sdk_dynamodb::Client) -> aws_sdk_dynamodb::Client {
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

/// The same client for what makes its own attempts, or must not be repeated; one takes `longest` at most.
#[must_use]
pub(crate) fn once(
    client: &aws_sdk_dynamodb::Client,
    longest: Duration,
) -> aws_sdk_dynamodb::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(longest)
        .operation_timeout(longest)
        .build();
    let config = client
        .config()
        .to_builder()
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// The client's source of pauses.
pub(crate) fn sleep(client: &aws_sdk_dynamodb::Client) -> SharedAsyncSleep {
    let sleep = client.config().sleep_impl();
    sleep.unwrap_or_else(|| SharedAsyncSleep::new(TokioSleep::new()))
}

/// The pause before the retry after `attempts` attempts: at most 25 ms, doubled with each one up to
/// 400 ms, and a random share of that, so that those who met do not meet again.
pub(crate) fn backoff(attempts: u32) -> Duration {
    let longest = FIRST_BACKOFF * 2_u32.pow(attempts.clamp(1, 5) - 1);
    let share = entropy::bytes().map_or(u16::MAX, u16::from_be_bytes);
    longest * u32::from(share) / u32::from(u16::MAX)
}

/// Has a plain write repeated that met a transaction; the SDK itself does not.
fn conflicts() -> AwsErrorCodeClassifier<UpdateItemError> {
    const CONFLICTS: &[&str] = &["TransactionConflictException"];
    AwsErrorCodeClassifier::builder()
        .transient_errors(CONFLICTS)
        .build()
}

/// Sees every call: it has the metrics know of calls and attempts, and takes a success for no answer, to be
/// asked for again, where its body is empty or cannot be read or lacks what was asked for. The SDK reads
/// some of these as "nothing found" and gives up on others.
#[derive(Debug)]
struct Watch;

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        metrics::aws_called();
        Ok(())
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let attempts = config.load::<RequestAttempts>();
        if attempts.is_some_and(|attempts| attempts.attempts() > 1) {
            metrics::aws_retry();
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(answer) = context.response().filter(|a| a.status().is_success()) else {
            return Ok(());
        };
        let is_empty = answer.body().bytes().is_some_and(<[u8]>::is_empty);
        match context.output_or_error_mut() {
            Some(Ok(output)) if !is_empty && is_whole(output) => {}
            Some(outcome) => {
                *outcome = Err(OrchestratorError::response("an incomplete answer".into()));
            }
            None => {}
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_answered = context.output_or_error().is_some_and(|outcome| {
            let refused = |error: &OrchestratorError<_>| is_condition(error.as_operation_error());
            outcome.map_or_else(refused, |_| true)
        });
        if is_answered {
            metrics::aws_answered();
        }
        Ok(())
    }
}

/// Whether the output has what every answer of its operation has.
fn is_whole(output: &Output) -> bool {
    let query = output.downcast_ref::<QueryOutput>();
    let published = output.downcast_ref::<PublishOutput>();
    let secret = output.downcast_ref::<GetSecretValueOutput>();
    query.is_none_or(|query| query.items.is_some())
        && published.is_none_or(|published| {
            published
                .message_id
                .as_ref()
                .is_some_and(|id| !id.is_empty())
        })
        && secret.is_none_or(|secret| secret.secret_string.is_some())
}

/// Whether a condition of ours did not hold, which is an answer.
fn is_condition(error: Option<&Error>) -> bool {
    let error = error.and_then(|error| error.downcast_ref::<UpdateItemError>());
    error.is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

/// A client of Secrets Manager.
#[must_use]
pub fn secrets_manager(config: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let config = aws_sdk_secretsmanager::config::Builder::from(&with_timeouts(config));
    let config = config
        .retry_partition(unlimited_retry_quota())
        .interceptor(Watch);
    aws_sdk_secretsmanager::Client::from_conf(config.build())
}

/// A client of SNS. What it may have taken is not sent again: it has no time-out for a single attempt,
/// and tries again only when it was not connected or throttled.
#[must_use]
pub fn sns(config: &SdkConfig) -> aws_sdk_sns::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_timeout(PUBLISH_TIMEOUT)
        .build();
    let config = aws_sdk_sns::config::Builder::from(config)
        .timeout_config(timeouts)
        // A pause that the service asks for must not outlast the time: what was throttled is not taken.
        .retry_config(retries().with_max_backoff(LONGEST_BACKOFF))
        .retry_partition(unlimited_retry_quota())
        .retry_classifier(OnlyWhatWasNotTaken)
        .interceptor(Watch);
    aws_sdk_sns::Client::from_conf(config.build())
}

/// Forbids to send a message again that the service may have taken.
#[derive(Debug)]
struct OnlyWhatWasNotTaken;

impl ClassifyRetry for OnlyWhatWasNotTaken {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let not_connected = error
            .as_connector_error()
            .is_some_and(|error| is_not_connected(error));
        let code = error
            .as_operation_error()
            .and_then(|error| error.downcast_ref::<PublishError>())
            .and_then(ProvideErrorMetadata::code);
        if not_connected {
            RetryAction::transient_error()
        } else if code.is_some_and(|code| THROTTLES.contains(&code)) {
            RetryAction::throttling_error()
        } else {
            RetryAction::RetryForbidden
        }
    }

    fn name(&self) -> &'static str {
        "OnlyWhatWasNotTaken"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// The SDK counts the retries of a process and stops them when there were many: a right code would
/// then be lost with one packet. Attempts and time-outs bound every call already.
fn unlimited_retry_quota() -> RetryPartition {
    RetryPartition::custom("twofa")
        .token_bucket(TokenBucket::unlimited())
        .build()
}

fn with_timeouts(config: &SdkConfig) -> SdkConfig {
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

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn the_roots_are_those_that_amazon_publishes() {
        let pem = include_bytes!("aws/amazon-roots.pem");
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
        assert!(Roots::parse(include_bytes!("aws/amazon-roots.pem")).is_ok());
    }
}
