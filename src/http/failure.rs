//! Answers that are no outcome of a verb, and the status code of each.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::aws::AwsError;
use crate::entropy::EntropyError;
use crate::request::RequestError;
use crate::secret::SecretError;
use crate::store::DirectoryError;
use crate::validate::ValidateError;

use super::observe::Outcome;

/// After how many seconds a call may be repeated that failed because AWS did.
const RETRY_AFTER_SECONDS: u64 = 1;

/// Why a call got no outcome.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("the body is not valid")]
    Invalid(Vec<FieldError>),
    #[error("no valid API key")]
    Unauthorized,
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
    Secret(#[from] SecretError),
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// What is wrong with one field of the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct FieldError {
    /// The path of the field; empty for a body that is no JSON object.
    #[schema(example = "to")]
    pub(super) property: String,
    /// What it must be.
    #[schema(example = "must be a string")]
    pub(super) error: String,
}

/// The body of a 400: every problem of the call's body at once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvalidBody {
    errors: Vec<FieldError>,
}

/// The body of every other refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RejectedBody {
    #[schema(example = "REJECTED")]
    status: &'static str,
    #[schema(example = "GENERAL_ERROR")]
    error_message: &'static str,
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
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
            RequestError::Aws(error) => Self::Aws(error),
            RequestError::Entropy(error) => Self::Entropy(error),
        }
    }
}

impl From<ValidateError> for Failure {
    fn from(error: ValidateError) -> Self {
        match error {
            ValidateError::Aws(error) => Self::Aws(error),
            ValidateError::Entropy(error) => Self::Entropy(error),
        }
    }
}

impl Failure {
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
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE")
            }
            Self::Aws(error)
            | Self::Directory(DirectoryError::Aws(error))
            | Self::Secret(SecretError::Aws(error)) => Self::from_aws(error),
            Self::Directory(DirectoryError::Malformed { .. })
            | Self::Secret(SecretError::Malformed(_))
            | Self::Entropy(_) => (StatusCode::INTERNAL_SERVER_ERROR, "GENERAL_ERROR"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        if status.is_server_error() {
            tracing::error!(error = %self, "a call failed");
        }
        let mut response = if let Self::Invalid(errors) = self {
            (status, Json(InvalidBody { errors })).into_response()
        } else {
            let mut response = (
                status,
                Json(RejectedBody {
                    status: "REJECTED",
                    error_message: code,
                }),
            )
                .into_response();
            if let Self::MethodNotAllowed { allow } = self {
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(allow));
            }
            response
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response.extensions_mut().insert(Outcome(code));
        response
    }
}
