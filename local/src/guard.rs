//! The guard before every listener: nothing that a foreign web page sends comes through.
//!
//! A browser tells the page's origin in `Origin`, and the name that it was asked for in `Host`. A page
//! of another origin may not read or write here. A name that an attacker has pointed at this machine
//! (DNS rebinding) is no name of this machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::json;

/// Names that no stranger can have pointed here: reserved ones (RFC 6761 §6.3), and Docker's own.
const LOCAL_NAMES: [&str; 2] = ["localhost", "host.docker.internal"];

/// The names by which this machine may be asked, beside its addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    names: Arc<[String]>,
}

impl Guard {
    /// A guard that takes these names too.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self {
            names: names.into(),
        }
    }

    /// `app` behind this guard.
    pub fn before(&self, app: Router) -> Router {
        app.layer(from_fn_with_state(self.clone(), Self::check))
    }

    /// Lets a request pass, or answers it with 403.
    async fn check(State(guard): State<Self>, request: Request, next: Next) -> Response {
        let Some((property, error)) = guard.refusal(request.headers()) else {
            return next.run(request).await;
        };
        let errors = json!({ "errors": [{ "property": property, "error": error }] });
        (StatusCode::FORBIDDEN, Json(errors)).into_response()
    }

    fn refusal(&self, headers: &HeaderMap) -> Option<(&'static str, &'static str)> {
        if !headers.get_all(HOST).iter().all(|host| self.is_own(host)) {
            return Some((
                "Host",
                "is no name of this machine; use its address, or allow the name with --allow-host",
            ));
        }
        let own = headers.get(HOST).map(HeaderValue::as_bytes);
        let is_own = |origin: &HeaderValue| {
            origin
                .as_bytes()
                .strip_prefix(b"http://")
                .is_some_and(|at| own == Some(at))
        };
        if !headers.get_all(ORIGIN).iter().all(is_own) {
            return Some((
                "Origin",
                "is another web page's; call from a server instead",
            ));
        }
        None
    }

    /// An address, which cannot be rebound, or one of the names.
    fn is_own(&self, host: &HeaderValue) -> bool {
        let Ok(authority) = Authority::try_from(host.as_bytes()) else {
            return false;
        };
        let host = authority.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let mut names = LOCAL_NAMES
            .into_iter()
            .chain(self.names.iter().map(String::as_str));
        address.parse::<IpAddr>().is_ok() || names.any(|name| host.eq_ignore_ascii_case(name))
    }
}
