//! The authenticated client, the time of the call and its `Idempotency-Key`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;

use crate::clock::{Clock, Timestamp};
use crate::domain::api_key::ApiKey;
use crate::domain::client::Client;
use crate::domain::ids::{IdempotencyKey, IdempotencyKeyError};
use crate::metrics;
use crate::store::Directory;

use super::error::{ApiError, AuthError, FieldError};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The moment of the call; read once, so that all its decisions are of one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now(pub(super) Timestamp);

impl<S: Sync> FromRequestParts<S> for Now
where
    Clock: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let now = || Self(Clock::from_ref(state).now());
        Ok(*parts.extensions.get_or_insert_with(now))
    }
}

/// The address that a call comes from, where no API Gateway tells it: an extension of the request.
#[derive(Clone, Copy, Debug)]
pub struct SourceAddress(pub IpAddr);

/// The client whose key the call bears, from where and in a state in which it may call.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<Client>);

impl<S: Sync> FromRequestParts<S> for Caller
where
    Clock: FromRef<S>,
    Directory: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(Now(now)) = Now::from_request_parts(parts, state).await;
        let key = api_key(&parts.headers);
        metrics::note(|call| call.key = key.as_ref().map(|key| key.digest().id()));
        let claimed = key.as_ref().map(|key| key.client().clone());
        // A key that cannot be one takes the same way as one that is not known.
        let key = key.unwrap_or_else(ApiKey::nobodys);
        let directory = Directory::from_ref(state);
        let client = directory.client(key.client(), now).await?;
        let Some(client) = client.filter(|client| client.accepts(&key, now)) else {
            metrics::note(|call| call.claimed_client = claimed);
            return Err(ApiError::Unauthorized(AuthError::Unauthorized));
        };
        metrics::note(|call| call.client = Some(client.id.clone()));
        let profile = &client.profile;
        if !profile.permits_address(source_address(parts)) {
            return Err(ApiError::Unauthorized(AuthError::IpNotAllowed));
        }
        match profile.disabled.first() {
            Some(switch) => Err(ApiError::Unauthorized((*switch).into())),
            None => Ok(Self(client)),
        }
    }
}

/// The address that API Gateway saw; what the caller's own headers say of it is not looked at.
fn source_address(parts: &Parts) -> Option<IpAddr> {
    match parts.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => {
            context.http.source_ip.as_deref()?.parse().ok()
        }
        _ => parts
            .extensions
            .get()
            .map(|SourceAddress(address)| *address),
    }
}

/// The `Idempotency-Key` of a call, if it bears one.
#[derive(Clone, Debug)]
pub(super) struct MaybeKey(pub(super) Option<IdempotencyKey>);

impl<S: Sync> FromRequestParts<S> for MaybeKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut keys = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(key), None) => IdempotencyKey::parse(key.as_bytes()),
            (Some(_), Some(_)) => Err(IdempotencyKeyError),
        };
        match key {
            Ok(key) => Ok(Self(Some(key))),
            Err(error) => Err(ApiError::Invalid(vec![FieldError {
                property: "Idempotency-Key".to_owned(),
                error: error.to_string(),
            }])),
        }
    }
}

/// The key of a call that bears exactly one.
fn api_key(headers: &HeaderMap) -> Option<ApiKey> {
    let mut keys = headers.get_all(X_API_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) => ApiKey::parse(key.to_str().ok()?),
        _ => None,
    }
}
