//! The id, the headers and the log line of every call.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, HeaderName};
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use uuid::{Builder, Uuid};

use crate::clock::Clock;
use crate::entropy;
use crate::metrics::{self, Call, Context, Metrics};

use super::error::{ApiError, Outcome};

/// The time before its deadline at which a function answers at the latest.
const FOR_THE_ANSWER: Duration = Duration::from_secs(1);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route key of an event that could not be read.
pub(crate) const UNREADABLE: &str = "unreadable";

/// Gives the call its id, runs it, and writes its line.
pub(super) async fn observe(
    State(metrics): State<Metrics>,
    request: Request,
    next: Next,
) -> Response {
    let context = Context {
        call_id: call_id(&request),
        ..Context::default()
    };
    let route = request.extensions().get::<MatchedPath>();
    let endpoint = endpoint(route.map_or("", MatchedPath::as_str));
    let call_id = HeaderValue::try_from(&context.call_id);
    let left = time_left(&request);
    let unreadable = is_unreadable(&request);
    let answer = next.run(request);
    let run = async {
        if unreadable {
            return ApiError::unreadable().into_response();
        }
        match left {
            Some(left) => match tokio::time::timeout(left, answer).await {
                Ok(answer) => answer,
                Err(_) => ApiError::OutOfTime.into_response(),
            },
            None => answer.await,
        }
    };
    let (mut response, latency, tally) = metrics::measured(context, run).await;
    let outcome = response.extensions().get::<Outcome>();
    metrics.write(&Call {
        endpoint,
        outcome: outcome.map_or("UNKNOWN", |outcome| outcome.0),
        status: response.status().as_u16(),
        latency,
        tally,
    });
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(call_id) = call_id {
        headers.insert(X_REQUEST_ID, call_id);
    }
    response
}

fn is_unreadable(request: &Request) -> bool {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => {
            context.route_key.as_deref() == Some(UNREADABLE)
        }
        _ => false,
    }
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
