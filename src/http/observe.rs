//! What every call has in common: its id, its headers, and its one line in the log.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderValue, Method};
use lambda_http::RequestExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;
use uuid::{Builder, Uuid};

use crate::clock::Clock;
use crate::entropy;
use crate::metrics::{self, Call, Metrics};

use super::failure::Failure;

/// How long before its deadline a function answers at the latest.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What came of a call, as the log tells it; an extension of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome(pub(super) &'static str);

/// Gives the call its id, runs it, and writes its line and its metrics.
///
/// The line has `outcome`, `status` and `duration_ms`; its span has `call_id`, `method`, `path` and,
/// as far as they became known, `client`, `key`, `request_id`, `country` and `parts`; `claimed_client` where
/// the key is not the client's. The path is that of
/// the route, never the caller's own text.
pub(super) async fn observe(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let call_id = call_id(&request);
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str);
    let endpoint = endpoint(path);
    let span = tracing::info_span!(
        "call",
        call_id,
        method = method(request.method()),
        path,
        client = Empty,
        claimed_client = Empty,
        key = Empty,
        request_id = Empty,
        country = Empty,
        parts = Empty,
    );
    let left = time_left(&request);
    let answer = next.run(request);
    let run = async {
        match left {
            Some(left) => match tokio::time::timeout(left, answer).await {
                Ok(answer) => answer,
                Err(_) => Failure::OutOfTime.into_response(),
            },
            None => answer.await,
        }
    };
    let run = run.instrument(span.clone());
    let (mut response, latency, tally) = metrics::measured(run).await;
    let outcome = response
        .extensions()
        .get::<Outcome>()
        .map_or("UNKNOWN", |outcome| outcome.0);
    let duration_ms = latency.as_secs_f64() * 1e3;
    span.in_scope(|| {
        tracing::info!(
            outcome,
            status = response.status().as_u16(),
            duration_ms,
            "answered"
        );
    });
    metrics.write(&Call {
        endpoint,
        outcome,
        is_server_error: response.status().is_server_error(),
        latency,
        tally,
    });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(call_id) = HeaderValue::try_from(call_id) {
        headers.insert(X_REQUEST_ID, call_id);
    }
    response
}

/// The time that Lambda leaves the call, less what the answer takes; none outside of Lambda. The
/// time-outs of all that a call waits for add up to less, unless the function's own was shortened.
fn time_left(request: &Request) -> Option<Duration> {
    let context = request.lambda_context_ref()?;
    let deadline = Some(context.deadline).filter(|deadline| *deadline > 0)?;
    let now = Clock::System.now().as_millis();
    let left = deadline.saturating_sub(now.try_into().ok()?);
    Some(Duration::from_millis(left).saturating_sub(FOR_THE_ANSWER))
}

/// The method, if it is one of HTTP's own (RFC 9110 §9.3, RFC 5789): any other is the caller's own text.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::CONNECT => "CONNECT",
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

/// The endpoint of a route: the last part of its path.
fn endpoint(path: &str) -> &'static str {
    let last = path.rsplit('/').next();
    let known = ["request", "validate", "template"];
    let mut same = known.into_iter().filter(|endpoint| last == Some(*endpoint));
    same.next().unwrap_or("unmatched")
}

/// The Lambda invocation's id, by which AWS's own log lines name the call; else a random UUID, or
/// the nil one when the system has no random numbers.
fn call_id(request: &Request) -> String {
    if let Some(context) = request.lambda_context_ref() {
        return context.request_id.clone();
    }
    let id = entropy::bytes().map_or(Uuid::nil(), |b| Builder::from_random_bytes(b).into_uuid());
    id.to_string()
}
