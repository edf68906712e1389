//! Answers that are no outcome of a verb, and the status code of each.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use thiserror::Error;
use utoipa::{IntoResponses, ToSchema};

use crate::aws::error::AwsError;
use crate::aws::key_set_reader::KeySetError;
use crate::clock::Timestamp;
use crate::domain::client::Switch;
use crate::domain::ids::RequestId;
use crate::entropy::EntropyError;
use crate::request::{Rejection, RequestError};
use crate::store::DirectoryError;
use crate::validate::ValidateError;

/// After how many seconds a call may be repeated that failed because AWS did.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The outcome of a call in the log; an extension of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome(pub(super) &'static str);

/// A refused or failed call.
#[derive(Debug, Error)]
pub(super) enum ApiError {
    #[error("the body is not valid")]
    Invalid(Vec<FieldError>),
    #[error("not authorised")]
    Unauthorized(AuthError),
    #[error("a limit is reached")]
    TooManyRequests { retry_after: u64 },
    #[error("the Idempotency-Key was used for another body")]
    KeyReused,
    #[error("the first call with this Idempotency-Key is still running")]
    Running { retry_after: u64 },
    #[error("unknown path")]
    NotFound,
    #[error("method not allowed")]
    MethodNotAllowed { allow: &'static str },
    #[error("body over the limit")]
    PayloadTooLarge,
    #[error("content type is not JSON")]
    UnsupportedMediaType,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error("the message service may have taken the message{}", caused_by(.source.as_ref()))]
    Unknown {
        request_id: RequestId,
        retry_after: u64,
        source: Option<AwsError>,
    },
    #[error("no message can be sent: {0}")]
    NotTaken(AwsError),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    #[error("the call ran out of time")]
    OutOfTime,
}

fn caused_by(error: Option<&AwsError>) -> String {
    error.map_or_else(String::new, |error| format!(": {error}"))
}

/// The reasons to refuse a caller, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthError {
    Unauthorized,
    IpNotAllowed,
    Disabled(Switch),
}

impl From<Switch> for AuthError {
    fn from(switch: Switch) -> Self {
        Self::Disabled(switch)
    }
}

impl AuthError {
    fn code(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::Disabled(Switch::Account) => "ACCOUNT_DISABLED",
            Self::Disabled(Switch::Client) => "CLIENT_DISABLED",
            Self::Disabled(Switch::Product) => "PRODUCT_DISABLED",
            Self::Disabled(Switch::Connection) => "CONNECTION_DISABLED",
        }
    }
}

/// The error of one field of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The path of the field; empty for a body that is no JSON object.
    #[schema(example = "to")]
    pub(super) property: String,
    /// The rule that it breaks.
    #[schema(example = "must be a string")]
    pub(super) error: String,
}

/// The body of a 400 or a 422: every problem of the call at once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvalidBody {
    errors: Vec<FieldError>,
}

/// The body of every other refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RejectedBody {
    /// Always `REJECTED`.
    #[schema(example = "REJECTED", extensions(("x-extensible-enum" = json!(["REJECTED"]))))]
    status: &'static str,
    /// Why. More codes may come: the HTTP status says what to do with one that you do not know.
    #[schema(example = "GENERAL_ERROR", extensions(("x-extensible-enum" = json!([
        "UNAUTHORIZED",
        "IP_NOT_ALLOWED",
        "ACCOUNT_DISABLED",
        "CLIENT_DISABLED",
        "PRODUCT_DISABLED",
        "CONNECTION_DISABLED",
        "NOT_FOUND",
        "METHOD_NOT_ALLOWED",
        "REQUEST_IN_PROGRESS",
        "PAYLOAD_TOO_LARGE",
        "UNSUPPORTED_MEDIA_TYPE",
        "TOO_MANY_REQUESTS",
        "GENERAL_ERROR",
    ]))))]
    error_message: &'static str,
}

/// The body of a 503 of `request`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnavailableBody {
    /// Always `REJECTED`.
    #[schema(example = "REJECTED", extensions(("x-extensible-enum" = json!(["REJECTED"]))))]
    status: &'static str,
    /// Always `GENERAL_ERROR`.
    #[schema(example = "GENERAL_ERROR", extensions(("x-extensible-enum" = json!(["GENERAL_ERROR"]))))]
    error_message: &'static str,
    /// The id under which the code validates, where the message service may have taken the message.
    #[schema(value_type = uuid::Uuid, required = false, example = "44650fd7-cd92-443c-bcb8-8230bded2eec")]
    request_id: RequestId,
}

/// The error responses of every endpoint.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the fields are the published form of failures")]
pub(super) enum ErrorResponses {
    /// No valid API key, or not from there, or switched off
    #[response(status = 401, example = json!({ "status": "REJECTED", "error_message": "UNAUTHORIZED" }))]
    Unauthorized(RejectedBody),
    /// The method is not the endpoint's; `Allow` names it
    #[response(status = 405, example = json!({ "status": "REJECTED", "error_message": "METHOD_NOT_ALLOWED" }))]
    MethodNotAllowed(RejectedBody),
    /// Something failed; no detail is told
    #[response(status = 500, example = json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR" }))]
    Internal(RejectedBody),
    /// AWS is out of reach; try again after `Retry-After` seconds
    #[response(status = 503, example = json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR" }))]
    Unavailable(RejectedBody),
}

/// Further error responses of an endpoint with a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the fields are the published form of failures")]
pub(super) enum BodyErrorResponses {
    /// Every problem of the body at once
    #[response(status = 400, example = json!({ "errors": [{ "property": "to", "error": "must be a string" }] }))]
    Invalid(InvalidBody),
    /// The body is over 16 KiB
    #[response(status = 413, example = json!({ "status": "REJECTED", "error_message": "PAYLOAD_TOO_LARGE" }))]
    PayloadTooLarge(RejectedBody),
    /// The content type is not JSON
    #[response(status = 415, example = json!({ "status": "REJECTED", "error_message": "UNSUPPORTED_MEDIA_TYPE" }))]
    UnsupportedMediaType(RejectedBody),
}

impl ApiError {
    /// The call could not be read at all.
    pub(super) fn unreadable() -> Self {
        Self::Invalid(vec![FieldError {
            property: String::new(),
            error:
                "could not be read: its path or a header has characters that HTTP does not allow"
                    .to_owned(),
        }])
    }

    /// The rejection of a request that was made at `now`, which is an outcome, or else the failure.
    pub(super) fn of_request(error: RequestError, now: Timestamp) -> Result<Rejection, Self> {
        Err(match error {
            RequestError::Rejected(rejection) => return Ok(rejection),
            RequestError::MissingParameters(missing) => {
                let errors = missing.0.into_iter().map(|name| FieldError {
                    property: format!("parameters.{name}"),
                    error: "is required by the template".to_owned(),
                });
                Self::Invalid(errors.collect())
            }
            RequestError::TooManyParts(error) => Self::Invalid(vec![FieldError {
                property: "parameters".to_owned(),
                error: format!("{error}: its values must be shorter"),
            }]),
            RequestError::Limited { until } => Self::TooManyRequests {
                retry_after: now.seconds_until(until),
            },
            RequestError::KeyReused => Self::KeyReused,
            RequestError::Running { until } => Self::Running {
                retry_after: now.seconds_until(until),
            },
            RequestError::Unknown { id, until, source } => Self::Unknown {
                request_id: id,
                retry_after: now.seconds_until(until),
                source,
            },
            RequestError::NotTaken(error) => Self::NotTaken(error),
            RequestError::Aws(error) => Self::Aws(error),
            RequestError::Entropy(error) => Self::Entropy(error),
        })
    }
}

impl From<ValidateError> for ApiError {
    fn from(error: ValidateError) -> Self {
        match error {
            ValidateError::Aws(error) => Self::Aws(error),
            ValidateError::Entropy(error) => Self::Entropy(error),
        }
    }
}

impl ApiError {
    fn from_aws(error: &AwsError) -> (StatusCode, &'static str) {
        if error.kind.is_transient() {
            (StatusCode::SERVICE_UNAVAILABLE, "GENERAL_ERROR")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "GENERAL_ERROR")
        }
    }

    /// The status and the code that the caller gets.
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "INVALID"),
            Self::Unauthorized(error) => (StatusCode::UNAUTHORIZED, error.code()),
            // The client's record cannot be used: nobody can be told to be that client.
            Self::Directory(DirectoryError::Malformed { .. }) => {
                (StatusCode::UNAUTHORIZED, "GENERAL_ERROR")
            }
            Self::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS"),
            Self::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
            Self::Running { .. } => (StatusCode::CONFLICT, "REQUEST_IN_PROGRESS"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE")
            }
            Self::Unknown { .. } | Self::NotTaken(_) | Self::OutOfTime => {
                (StatusCode::SERVICE_UNAVAILABLE, "GENERAL_ERROR")
            }
            Self::Aws(error)
            | Self::Directory(DirectoryError::Aws(error))
            | Self::KeySet(KeySetError::Aws(error)) => Self::from_aws(error),
            Self::KeySet(KeySetError::Malformed(_)) | Self::Entropy(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "GENERAL_ERROR")
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        if status.is_server_error() || matches!(self, Self::Directory(_)) {
            tracing::error!(error = %self, "a call failed");
        }
        let retry_after = match self {
            Self::TooManyRequests { retry_after }
            | Self::Running { retry_after }
            | Self::Unknown { retry_after, .. } => retry_after,
            _ => RETRY_AFTER_SECONDS,
        };
        let allow = match self {
            Self::MethodNotAllowed { allow } => Some(allow),
            _ => None,
        };
        let mut response = match self {
            Self::Invalid(errors) => (status, Json(InvalidBody { errors })).into_response(),
            Self::KeyReused => {
                let errors = vec![FieldError {
                    property: "Idempotency-Key".to_owned(),
                    error: "was used for another body before".to_owned(),
                }];
                (status, Json(InvalidBody { errors })).into_response()
            }
            Self::Unknown { request_id, .. } => {
                let body = UnavailableBody {
                    status: "REJECTED",
                    error_message: code,
                    request_id,
                };
                (status, Json(body)).into_response()
            }
            _ => {
                let body = RejectedBody {
                    status: "REJECTED",
                    error_message: code,
                };
                (status, Json(body)).into_response()
            }
        };
        let headers = response.headers_mut();
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if matches!(status.as_u16(), 409 | 429 | 503) {
            headers.insert(RETRY_AFTER, retry_after.into());
        }
        response.extensions_mut().insert(Outcome(code));
        response
    }
}
