//! Methods, paths and headers, and what of them gets into the log.

use serde_json::json;
use twofa::http::{request_endpoint, template_endpoint, validate_endpoint};

use crate::harness::{API_KEY, App, LOGIN, NUMBER, REQUEST, TEMPLATE, VALIDATE};
use crate::log;

use super::{FORGERIES, MARK, deliver, event, http, key_line, order, raw, the_log_is_clean};

#[tokio::test]
async fn a_header_that_is_there_twice_is_no_choice() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let key = key_line();
    let other: &[u8] = b"x-api-key: 2fa_other_sesame";
    let body = order(&app, "");
    let send =
        async |headers: &[&[u8]]| raw(&app, &http("POST", REQUEST, headers, body.as_bytes())).await;
    for headers in [
        [&key[..], &key],
        [&key, other],
        [other, &key],
        [&key, b"X-API-KEY:"],
    ] {
        send(&headers).await.is_refusal(401, "UNAUTHORIZED");
    }
    let (json, plain): (&[u8], &[u8]) = (
        b"Content-Type: application/json",
        b"Content-Type: text/plain",
    );
    for types in [[json, plain], [plain, json], [json, json]] {
        let answer = send(&[&key, types[0], types[1]]).await;
        answer.is_refusal(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let problem = [(
        "Idempotency-Key",
        "must be 1 to 255 visible ASCII characters",
    )];
    for (one, other) in [("a", "a"), ("a", "b"), ("a", "")] {
        let [one, other] = [one, other].map(|value| format!("Idempotency-Key: {value}"));
        send(&[&key, one.as_bytes(), other.as_bytes()])
            .await
            .is_invalid(&problem);
    }
    // API Gateway joins the values of such a header with commas.
    for (name, value, status, code) in [
        (
            "x-api-key",
            format!("{API_KEY},{API_KEY}"),
            401,
            "UNAUTHORIZED",
        ),
        (
            "x-api-key",
            format!("{API_KEY},sesame"),
            401,
            "UNAUTHORIZED",
        ),
        ("x-api-key", format!(",{API_KEY}"), 401, "UNAUTHORIZED"),
        (
            "content-type",
            "application/json,text/plain".to_owned(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            "content-type",
            "text/plain,application/json".to_owned(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            "content-type",
            "application/json,application/json".to_owned(),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
    ] {
        let mut event = event("POST", REQUEST, Some(&body));
        event["headers"][name] = json!(value);
        deliver(&function, &event).await.is_refusal(status, code);
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn a_method_is_one_of_the_endpoints_or_is_refused() {
    let app = App::start().await;
    let elsewhere = template_endpoint(app.fresh_state().into());
    let own = request_endpoint(app.fresh_state());
    let key = key_line();
    let body = order(&app, "");
    for method in [
        "GET",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "CONNECT",
        "post",
        "SESAME",
        "+447400123456",
    ] {
        let over_http = raw(&app, &http(method, REQUEST, &[&key], body.as_bytes())).await;
        let event = event(method, REQUEST, Some(&body));
        for answer in [
            over_http,
            deliver(&own, &event).await,
            deliver(&elsewhere, &event).await,
        ] {
            answer.is_refusal(405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    for (path, status, allow) in [
        (TEMPLATE, 200, None),
        (REQUEST, 405, Some("POST")),
        ("/sesame", 404, None),
    ] {
        let over_http = raw(&app, &http("HEAD", path, &[&key], b"")).await;
        for answer in [
            over_http,
            deliver(&elsewhere, &event("HEAD", path, None)).await,
        ] {
            assert_eq!(
                (answer.status.as_u16(), answer.body.as_str()),
                (status, ""),
                "{path}"
            );
            assert_eq!(answer.header("allow"), allow);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
    let with_body = raw(&app, &http("GET", TEMPLATE, &[&key], b"{\"sesame\":")).await;
    assert_eq!(with_body.json()["data"].as_array().unwrap().len(), 2);
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn a_path_is_taken_as_it_is_written() {
    let app = App::start().await;
    let key = key_line();
    let body = order(&app, "");
    for path in [
        "/v1.0/2fa/%72equest",
        "/v1.0/2fa/request%00",
        "/v1.0/2fa/request;sesame",
        "/v1.0/2fa/request/",
        "//v1.0/2fa/request",
        "/v1.0//2fa/request",
        "/x/../v1.0/2fa/request",
        "/V1.0/2FA/REQUEST",
        "/%0d%0asesame",
        "/%ff%fe",
        "*",
    ] {
        let answer = raw(&app, &http("POST", path, &[&key], body.as_bytes())).await;
        answer.is_refusal(404, "NOT_FOUND");
    }
    app.nothing_happened().await;
    let answer = raw(
        &app,
        &http(
            "POST",
            &format!("{REQUEST}?to=sesame&api_key=x%0d%0a"),
            &[&key],
            body.as_bytes(),
        ),
    )
    .await;
    app.sent(&answer);
    the_log_is_clean();
}

#[tokio::test]
async fn nothing_that_a_caller_writes_gets_into_the_log() {
    let app = App::start().await;
    let functions = [REQUEST, VALIDATE].map(|path| {
        (
            path,
            if path == REQUEST {
                request_endpoint(app.fresh_state())
            } else {
                validate_endpoint(app.fresh_state().into())
            },
        )
    });
    let long = MARK.repeat(2_000);
    for forgery in FORGERIES.into_iter().chain([long.as_str()]) {
        for (path, function) in &functions {
            for body in [
                json!({ "to": forgery, "template_id": forgery, "code": forgery, "request_id": forgery, forgery: forgery }),
                json!({ "to": NUMBER, "template_id": forgery, "parameters": { forgery: forgery, "amount": [forgery] } }),
                json!({ "to": forgery, "template_id": LOGIN, "parameters": { forgery: "x" }, "code": [], "request_id": LOGIN }),
                json!(forgery),
            ] {
                app.post(path, body.clone()).await;
                deliver(function, &event("POST", path, Some(&body.to_string()))).await;
            }
            for header in [
                "x-api-key",
                "idempotency-key",
                "content-type",
                "x-request-id",
                "x-amzn-trace-id",
                "traceparent",
                "user-agent",
                "x-forwarded-for",
                "forwarded",
                "referer",
                "accept",
                "cookie",
                "authorization",
            ] {
                // What cannot be in a header is sent as the rest of it.
                let line: String = forgery.chars().filter(|c| !c.is_control()).collect();
                let mut event = event("POST", path, Some("{}"));
                event["headers"][header] = json!(line);
                deliver(function, &event).await;
                let line = format!("{header}: {line}");
                let mut lines = vec![line.into_bytes()];
                if header != "x-api-key" {
                    lines.push(key_line());
                }
                let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
                raw(&app, &http("POST", path, &lines, b"{}")).await;
            }
            for (part, name) in [
                ("http", "path"),
                ("http", "userAgent"),
                ("http", "protocol"),
                ("http", "sourceIp"),
            ] {
                let mut event = event("POST", path, Some("{}"));
                event["requestContext"][part][name] = json!(forgery);
                event["pathParameters"] = json!({ "proxy": forgery });
                event["queryStringParameters"] = json!({ forgery: forgery });
                event["cookies"] = json!([forgery]);
                event["rawPath"] = json!(format!("/{forgery}"));
                deliver(function, &event).await;
            }
        }
    }
    assert_eq!(app.inbox.publishes(), 0);
    assert!(log::text().lines().count() > 300);
    the_log_is_clean();
}
