//! What only the laptop has: the page in the browser, the inbox as JSON and as events, and the
//! contract as OpenAPI.

use std::convert::Infallible;

use axum::extract::{Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt as _};
use twofa::client::Limits;
use twofa::phone::PhoneNumber;

use crate::demo;
use crate::inbox::{Inbox, Message};

const PAGE: &str = include_str!("page.html");

/// The page loads nothing from anywhere and talks to its own origin alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The laptop's own routes.
pub fn routes(inbox: Inbox) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/openapi.json", get(openapi))
        .route("/inbox", get(messages))
        .route("/inbox/events", get(arrivals))
        .with_state(inbox)
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
}

async fn messages(State(inbox): State<Inbox>, Query(filter): Query<Filter>) -> Response {
    match filter.to.as_deref().map(PhoneNumber::parse).transpose() {
        Ok(recipient) => Json(inbox.messages(recipient.as_ref())).into_response(),
        Err(error) => {
            let errors = json!({ "errors": [{ "property": "to", "error": error.to_string() }] });
            (StatusCode::BAD_REQUEST, Json(errors)).into_response()
        }
    }
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
