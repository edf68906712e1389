//! Failed calls of AWS: what is kept of them, and whether the service may have done its part.

use std::iter::successors;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::RequestId as _;
use thiserror::Error;

/// A call of AWS that failed, after its retries.
///
/// It keeps the service's error code and request id and drops the rest of the answer: AWS's
/// messages repeat phone numbers and attribute names.
#[derive(Clone, Debug, Error)]
#[error("{operation} failed: {kind:?}{}", self.answered())]
pub struct AwsError {
    /// The operation, as AWS calls it.
    pub operation: &'static str,
    /// The kind of failure.
    pub kind: AwsErrorKind,
    /// The service's own code, where it answered.
    pub code: Option<String>,
    /// The service's name for the call, where it answered.
    pub aws_request_id: Option<String>,
}

/// The kinds of failed calls of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsErrorKind {
    /// No connection could be opened: the service has heard of nothing.
    NotConnected,
    /// A connection that broke.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// Too many calls, or another one at the same item: this one is not done.
    Throttled,
    /// The service failed (5xx).
    Faulted,
    /// The service refused the call (4xx): asking again does not help.
    Refused,
    /// A success that was cut, could not be read, or lacks what was asked for.
    Incomplete,
    /// The call could not be made.
    Malformed,
}

impl AwsErrorKind {
    /// The kind of a failure.
    pub(crate) fn of<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::TimeoutError(_) => Self::TimedOut,
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) if is_not_connected(error) => Self::NotConnected,
                Some(error) if error.is_timeout() => Self::TimedOut,
                _ => Self::Unreachable,
            },
            SdkError::ServiceError(_) if error.code().is_some_and(|c| THROTTLES.contains(&c)) => {
                Self::Throttled
            }
            SdkError::ServiceError(answer) => by_status(answer.raw()),
            SdkError::ResponseError(answer) => by_status(answer.raw()),
            _ => Self::Malformed,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::NotConnected
            | Self::Unreachable
            | Self::TimedOut
            | Self::Throttled
            | Self::Faulted
            | Self::Incomplete => true,
            Self::Refused | Self::Malformed => false,
        }
    }

    /// Whether the service may have done what it was asked to, though nobody was told.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut | Self::Faulted | Self::Incomplete => true,
            Self::NotConnected | Self::Throttled | Self::Refused | Self::Malformed => false,
        }
    }
}

/// The codes by which DynamoDB, SNS and Secrets Manager say "not now".
pub(super) const THROTTLES: [&str; 8] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "Throttled",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionConflictException",
];

impl AwsError {
    /// The code and the request id, as far as the service told them.
    fn answered(&self) -> String {
        let code = self.code.iter().map(|code| format!("code {code}"));
        let id = self.aws_request_id.iter();
        let id = id.map(|id| format!("AWS request id {id}"));
        let told: Vec<_> = code.chain(id).collect();
        if told.is_empty() {
            String::new()
        } else {
            format!(" ({})", told.join(", "))
        }
    }

    /// `operation` was given up.
    pub(crate) fn timed_out(operation: &'static str) -> Self {
        Self::without_answer(operation, AwsErrorKind::TimedOut)
    }

    /// `operation` succeeded by its status, but lacks what was asked for.
    #[must_use]
    pub fn incomplete(operation: &'static str) -> Self {
        Self::without_answer(operation, AwsErrorKind::Incomplete)
    }

    /// `operation` could not be asked for.
    pub(crate) fn malformed(operation: &'static str) -> Self {
        Self::without_answer(operation, AwsErrorKind::Malformed)
    }

    fn without_answer(operation: &'static str, kind: AwsErrorKind) -> Self {
        Self {
            operation,
            kind,
            code: None,
            aws_request_id: None,
        }
    }

    /// The failure of `operation`, without the words of AWS's answer.
    pub fn new<E: ProvideErrorMetadata>(
        operation: &'static str,
        error: &SdkError<E, HttpResponse>,
    ) -> Self {
        Self {
            operation,
            kind: AwsErrorKind::of(error),
            code: error.code().map(ToOwned::to_owned),
            aws_request_id: error.request_id().map(ToOwned::to_owned),
        }
    }
}

fn by_status(answer: &HttpResponse) -> AwsErrorKind {
    match answer.status().as_u16() {
        200..300 => AwsErrorKind::Incomplete,
        429 => AwsErrorKind::Throttled,
        500.. => AwsErrorKind::Faulted,
        _ => AwsErrorKind::Refused,
    }
}

/// Whether no connection was opened, so that the service has heard of nothing.
pub(super) fn is_not_connected(error: &(dyn std::error::Error + 'static)) -> bool {
    successors(Some(error), |error| error.source())
        .filter_map(<dyn std::error::Error>::downcast_ref::<hyper_util::client::legacy::Error>)
        .any(hyper_util::client::legacy::Error::is_connect)
}
