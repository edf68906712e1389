//! The state of each endpoint. It is also the list of the function's permissions: a function can ask nothing
//! of AWS but what its state has a client for, and its policy grants the same.

use axum::extract::FromRef;

use crate::aws::key_set_reader::KeySetReader;
use crate::aws::message_service::MessageService;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::store::{Directory, Verifications};

/// The names of a stack's tables, secret and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The table of clients and templates, by name or ARN.
    pub directory_table: &'a str,
    /// The table of verifications, by name or ARN.
    pub verifications_table: &'a str,
    /// The secret with the peppers, by name or ARN.
    pub secret: &'a str,
    /// The namespace of the metrics in CloudWatch.
    pub metrics_namespace: &'a str,
}

/// The state of the endpoint `template`.
#[derive(Clone, Debug, FromRef)]
pub struct TemplateState {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// The writer of metrics.
    pub metrics: Metrics,
}

/// The state of the endpoint `validate`.
#[derive(Clone, Debug, FromRef)]
pub struct ValidateState {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// Codes and recipients.
    pub verifications: Verifications,
    /// The keys that they are digested with.
    pub key_set_reader: KeySetReader,
    /// The writer of metrics.
    pub metrics: Metrics,
}

/// The state of the endpoint `request`.
#[derive(Clone, Debug, FromRef)]
pub struct RequestState {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// Codes and recipients, usage and balances.
    pub verifications: Verifications,
    /// The keys that they are digested with.
    pub key_set_reader: KeySetReader,
    /// The message service.
    pub messages: MessageService,
    /// The limits of the whole stack.
    pub stack: StackLimits,
    /// The writer of metrics.
    pub metrics: Metrics,
}

impl TemplateState {
    /// The state through these clients of AWS.
    #[must_use]
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        directory_table: &str,
        metrics_namespace: &str,
        clock: Clock,
    ) -> Self {
        Self {
            clock,
            directory: Directory::new(dynamodb, directory_table),
            metrics: Metrics::new(metrics_namespace),
        }
    }
}

impl ValidateState {
    /// The state through these clients of AWS.
    #[must_use]
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        secrets_manager: aws_sdk_secretsmanager::Client,
        names: Names<'_>,
        clock: Clock,
    ) -> Self {
        let TemplateState {
            clock,
            directory,
            metrics,
        } = TemplateState::new(
            dynamodb.clone(),
            names.directory_table,
            names.metrics_namespace,
            clock,
        );
        Self {
            clock,
            directory,
            verifications: Verifications::new(dynamodb, names.verifications_table),
            key_set_reader: KeySetReader::new(secrets_manager, names.secret),
            metrics,
        }
    }

    /// The same, with the power to send within the limits of the stack.
    #[must_use]
    pub fn and_send(self, sns: aws_sdk_sns::Client, stack: StackLimits) -> RequestState {
        RequestState {
            clock: self.clock,
            directory: self.directory,
            verifications: self.verifications,
            key_set_reader: self.key_set_reader,
            messages: MessageService::new(sns),
            stack,
            metrics: self.metrics,
        }
    }
}

impl From<RequestState> for ValidateState {
    fn from(state: RequestState) -> Self {
        Self {
            clock: state.clock,
            directory: state.directory,
            verifications: state.verifications,
            key_set_reader: state.key_set_reader,
            metrics: state.metrics,
        }
    }
}

impl From<RequestState> for TemplateState {
    fn from(state: RequestState) -> Self {
        Self {
            clock: state.clock,
            directory: state.directory,
            metrics: state.metrics,
        }
    }
}

/// The limits of the whole stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct StackLimits {
    /// The most SMS parts that all clients together send in a day of UTC; none: any number.
    pub daily_part_cap: Option<u32>,
    /// Whether clients may have numbers that get no SMS and always the same code.
    pub allow_test_numbers: bool,
}
