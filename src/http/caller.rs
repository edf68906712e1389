//! Who calls, and when.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;
use tracing::Span;
use tracing::field::display;

use crate::client::{ApiKey, Client};
use crate::clock::{Clock, Timestamp};
use crate::store::Directory;

use super::failure::Failure;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

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

/// The client whose key the call bears.
#[derive(Clone, Debug)]
pub(super) struct Caller(pub(super) Arc<Client>);

impl<S: Sync> FromRequestParts<S> for Caller
where
    Clock: FromRef<S>,
    Directory: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Ok(Now(now)) = Now::from_request_parts(parts, state).await;
        let key = api_key(&parts.headers).ok_or(Failure::Unauthorized)?;
        let client = Directory::from_ref(state).client(key.client(), now).await?;
        let client = client
            .filter(|client| client.accepts(&key, now))
            .ok_or(Failure::Unauthorized)?;
        Span::current().record("client", display(&client.id));
        Ok(Self(client))
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
