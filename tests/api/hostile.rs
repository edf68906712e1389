//! What no well-meaning client sends: over HTTP, byte by byte, and as API Gateway would hand it to a
//! function. Whatever it is, it gets an answer of the contract, leaves nothing behind, and nothing of
//! it is in the log.

use std::fmt::Write as _;

use axum::Router;
use axum::body::to_bytes;
use data_encoding::BASE64;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use twofa::lambda::gateway_event;

use crate::harness::{API_KEY, Answer, App, LOGIN};
use crate::log;

mod bodies;
mod calls;
mod look_alikes;
mod parameters;

/// What an input bears that must not get into the log.
const MARK: &str = "sesame";

const NO_OBJECT: (&str, &str) = ("", "must be a JSON object in UTF-8");

/// Ways to write the end of a line and the begin of another, for whoever reads the log.
const FORGERIES: [&str; 6] = [
    "sesame\r\n{\"outcome\":\"ACCEPTED\",\"forged\":true}",
    "sesame\n{\"_aws\":{}}",
    "sesame\",\"outcome\":\"ACCEPTED\",\"x\":\"",
    "sesame\u{1b}[2J\u{1b}[31mACCEPTED",
    "sesame\u{2028}\u{85}\u{202e}forged",
    "${jndi:ldap://sesame} %0d%0a {{sesame}} $(sesame)",
];

/// Sends these bytes, and reads the answer until the server closes.
async fn raw(app: &App, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(app.api).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
    });
    Answer {
        status: StatusCode::from_bytes(status.as_bytes()).unwrap(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

/// A call as it goes over the wire; `headers` are whole lines.
fn http(method: &str, path: &str, headers: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if !body.is_empty() {
        write!(bytes, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    let mut bytes = bytes.into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn key_line() -> Vec<u8> {
    format!("X-API-KEY: {API_KEY}").into_bytes()
}

/// A body in chunks of a hundred bytes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(100) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// An event of API Gateway with the demo client's key.
fn event(method: &str, path: &str, body: Option<&str>) -> Value {
    let headers = json!({ "content-type": "application/json", "x-api-key": API_KEY });
    gateway_event(method, path, "$default", &headers, body)
}

/// The same with a body that API Gateway takes for binary.
fn binary_event(path: &str, body: &[u8]) -> Value {
    let mut event = event("POST", path, Some(&BASE64.encode(body)));
    event["isBase64Encoded"] = json!(true);
    event
}

/// Hands `event` to the function.
async fn deliver(function: &Router, event: &Value) -> Answer {
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let response = function.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// The answers to a body that comes over HTTP, in one piece and in chunks, and in an event, as binary
/// and, where it is text, as text.
async fn every_way(app: &App, function: &Router, path: &str, body: &[u8]) -> Vec<Answer> {
    let key = key_line();
    let mut answers = vec![
        raw(
            app,
            &http(
                "POST",
                path,
                &[&key, b"Content-Type: application/json"],
                body,
            ),
        )
        .await,
        raw(
            app,
            &[
                http("POST", path, &[&key, b"Transfer-Encoding: chunked"], b""),
                chunked(body),
            ]
            .concat(),
        )
        .await,
        deliver(function, &binary_event(path, body)).await,
    ];
    if let Ok(text) = std::str::from_utf8(body) {
        answers.push(deliver(function, &event("POST", path, Some(text))).await);
    }
    answers
}

/// Asserts that the log is one JSON object a line, and has nothing of what was sent.
#[track_caller]
fn the_log_is_clean() {
    let text = log::text();
    assert!(!text.is_empty() && text.ends_with('\n'));
    for line in text.split_terminator('\n') {
        let line_is_object = serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
        assert!(line_is_object, "{line}");
        for trace in [MARK, "forged", "7400123456", "LaptopOnly", "jndi"] {
            assert!(!line.contains(trace), "{trace}: {line}");
        }
        assert!(line.len() < 3_000, "{line}");
        let has_control = line.contains(|c: char| c.is_control() || c == '\u{202e}');
        assert!(!has_control, "{line:?}");
    }
}

/// An order to somebody new, with `more` among its fields.
fn order(app: &App, more: &str) -> String {
    let to = app.somebody();
    format!(r#"{{"to":"{to}","template_id":"{LOGIN}"{more}}}"#)
}
