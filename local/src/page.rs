//! Routes that only the laptop has: the page in the browser, the inbox as JSON and as events, the contract as
//! OpenAPI, and what an automatic test moves: the inbox's faults and the clock.

use std::convert::Infallible;
use std::iter;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRef, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};
use twofa::clock::Clock;
use twofa::domain::limits::Limits;
use twofa::domain::phone::PhoneNumber;

use crate::demo;
use crate::inbox::{Inbox, InjectedError, Message};

const PAGE: &str = include_str!("page.html");

/// The page loads nothing from anywhere and talks to its own origin alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The longest wait for a message, in seconds.
const MAX_WAIT: u64 = 60;

/// The most publishes that are told to fail at once.
const MAX_TIMES: u16 = 1_000;

/// The furthest that one call moves the clock, in seconds: a year.
const MAX_ADVANCE: u64 = 31_536_000;

/// The state of the laptop's own routes.
#[derive(Clone, FromRef)]
struct Own {
    inbox: Inbox,
    clock: Clock,
}

/// The laptop's own routes.
pub fn routes(inbox: Inbox, clock: Clock) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/openapi.json", get(openapi))
        .route("/inbox", get(messages).delete(empty))
        .route("/inbox/events", get(arrivals))
        .route("/inbox/fail", post(fail))
        .route("/clock", post(advance))
        .with_state(Own { inbox, clock })
}

async fn page() -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    let filled = PAGE
        .replace("__API_KEY__", demo::API_KEY)
        .replace("__DEMO_WINDOW__", &demo::windows_in_words(&demo::limits()))
        .replace(
            "__DEFAULT_WINDOW__",
            &demo::windows_in_words(&Limits::default()),
        );
    (headers, Html(filled)).into_response()
}

async fn openapi() -> Response {
    match twofa::http::openapi() {
        Ok(document) => ([(CONTENT_TYPE, "application/json")], document).into_response(),
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Deserialize)]
struct Filter {
    /// A number, in any spelling that the API takes.
    to: Option<String>,
    /// For how many seconds to wait for a message where there is none.
    #[serde(default)]
    wait: u64,
}

async fn messages(State(inbox): State<Inbox>, Query(filter): Query<Filter>) -> Response {
    if filter.wait > MAX_WAIT {
        return invalid("wait", "must be 0 to 60 seconds");
    }
    let patience = Duration::from_secs(filter.wait);
    match filter.to.as_deref().map(PhoneNumber::parse).transpose() {
        Ok(recipient) => Json(inbox.wait(recipient.as_ref(), patience).await).into_response(),
        Err(error) => invalid("to", &error.to_string()),
    }
}

async fn empty(State(inbox): State<Inbox>) -> StatusCode {
    inbox.empty();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fail {
    /// The error that SNS answers.
    error: InjectedError,
    /// To how many publishes; the SDK makes three before it gives up on what may pass.
    #[serde(default = "once")]
    times: u16,
}

const fn once() -> u16 {
    1
}

async fn fail(State(inbox): State<Inbox>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Fail { times, .. }) if !(1..=MAX_TIMES).contains(&times) => {
            invalid("times", "must be 1 to 1,000")
        }
        Ok(Fail { error, times }) => {
            inbox.fail_next(iter::repeat_n(error, times.into()));
            StatusCode::NO_CONTENT.into_response()
        }
        // It names the field.
        Err(error) => invalid("", &error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    /// By how many seconds.
    advance: u64,
}

async fn advance(State(clock): State<Clock>, body: Bytes) -> Response {
    let Clock::Manual(hand) = &clock else {
        return invalid(
            "advance",
            "needs a clock that is set by hand: start with --clock manual",
        );
    };
    match serde_json::from_slice(&body) {
        Ok(Advance { advance }) if advance > MAX_ADVANCE => {
            invalid("advance", "must be 0 to 31,536,000 seconds")
        }
        Ok(Advance { advance }) => {
            hand.advance(Duration::from_secs(advance));
            Json(json!({ "now": clock.now().as_millis() / 1_000 })).into_response()
        }
        // It names the field.
        Err(error) => invalid("", &error.to_string()),
    }
}

fn invalid(property: &str, error: &str) -> Response {
    let errors = json!({ "errors": [{ "property": property, "error": error }] });
    (StatusCode::BAD_REQUEST, Json(errors)).into_response()
}

async fn arrivals(
    State(inbox): State<Inbox>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // A page that was too slow to see a message loads the inbox again when it reconnects.
    let arrived = BroadcastStream::new(inbox.arrivals()).map_while(Result::ok);
    Sse::new(arrived.filter_map(|message| event(&message).map(Ok))).keep_alive(KeepAlive::default())
}

fn event(message: &Message) -> Option<Event> {
    Event::default().event("sms").json_data(message).ok()
}
