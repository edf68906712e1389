//! What no well-meaning client sends: over HTTP, byte by byte, and as API Gateway would hand it to a
//! function. Whatever it is, it gets an answer of the contract, leaves nothing behind, and nothing of
//! it is in the log.

use std::fmt::Write as _;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::to_bytes;
use data_encoding::BASE64;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use twofa::http::{request_endpoint, template_endpoint, validate_endpoint};

use crate::harness::{
    API_KEY, Answer, App, LOGIN, NUMBER, PAYMENT, REQUEST, TEMPLATE, VALIDATE, not_found,
    not_matched, success,
};
use crate::log;

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

/// An API Gateway event of version 2.0, with the demo client's key.
fn event(method: &str, path: &str, body: Option<&str>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "content-type": "application/json", "x-api-key": API_KEY },
        "requestContext": {
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "test",
            },
            "requestId": "call",
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": false,
    })
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

fn utf16(text: &str, bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[tokio::test]
async fn what_is_no_json_object_is_one_problem_however_it_comes() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let valid = order(&app, "");
    let open = &valid[..valid.len() - 1];
    let with = |tail: &str| format!("{open}{tail}").into_bytes();
    let in_string = |bytes: &[u8]| [open.as_bytes(), b",\"sesame\":\"", bytes, b"\"}"].concat();
    let bodies = [
        b"".to_vec(),
        b" ".to_vec(),
        format!("\u{feff}{valid}").into_bytes(),
        utf16(&valid, u16::to_le_bytes),
        utf16(&format!("\u{feff}{valid}"), u16::to_be_bytes),
        BASE64.encode(valid.as_bytes()).into_bytes(),
        format!("{valid}{valid}").into_bytes(),
        format!("{valid} sesame").into_bytes(),
        format!("{valid}\0").into_bytes(),
        format!("[{valid}]").into_bytes(),
        format!("\"{}\"", valid.replace('"', "\\\"")).into_bytes(),
        valid.replace('"', "'").into_bytes(),
        valid.replace("\"to\"", "to").into_bytes(),
        with("/* sesame */}"),
        with("} // sesame"),
        with(",}"),
        with(""),
        with(",\"x\":NaN}"),
        with(",\"x\":-Infinity}"),
        with(",\"x\":+1}"),
        with(",\"x\":01}"),
        with(",\"x\":0x1}"),
        with(",\"x\":1.}"),
        with(",\"x\":.5}"),
        with(",\"x\":1e}"),
        with(",\"x\":True}"),
        with(",\"x\":undefined}"),
        with(",\"\\ud800\":1}"),
        with(",\"x\":\"\\u12\"}"),
        with(",\"x\":\"\\x41\"}"),
        in_string(b"\n"),
        in_string(b"\0"),
        in_string(b"\xff"),
        in_string(b"\xc0\xaf"),
        in_string(b"\xed\xa0\x80"),
        in_string(b"\xf4\x90\x80\x80"),
        in_string(b"\xe2\x82"),
        b"to=%2B447400123456&template_id=sesame".to_vec(),
        b"<to>+447400123456</to>".to_vec(),
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec(),
        "[".repeat(16_000).into_bytes(),
        "{\"x\":".repeat(3_000).into_bytes(),
        format!("{}{}", "[".repeat(8_000), "]".repeat(8_000)).into_bytes(),
    ];
    for body in &bodies {
        for answer in every_way(&app, &function, REQUEST, body).await {
            assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(body));
            answer.is_invalid(&[NO_OBJECT]);
        }
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn a_field_that_nobody_asks_for_may_hold_any_json() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let nines = "9".repeat(400);
    for (count, value) in [
        "1e999",
        "-1e-999",
        &nines,
        &format!("0.{nines}"),
        "-0",
        r#""\ud800""#,
        r#""\u0000 sesame \r\n""#,
        &format!("{}1{}", "[".repeat(8_000), "]".repeat(8_000)),
        &format!("{}1{}", r#"{"x":"#.repeat(2_500), "}".repeat(2_500)),
        r#"{"to":1,"to":null}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let body = order(&app, &format!(r#","x":{value}"#));
        let answers = every_way(&app, &function, REQUEST, body.as_bytes()).await;
        for answer in answers {
            app.sent(&answer);
        }
        assert_eq!(app.messages().len(), 4 * (count + 1));
    }
    the_log_is_clean();
}

#[tokio::test]
async fn of_a_field_that_is_there_twice_the_last_counts() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let amounts = r#""parameters":{"amount":null,"amount":"1","amount":"2"}"#;
    for body in [
        format!(
            r#"{{"to":1,"template_id":[],"to":"{NUMBER}","template_id":"{PAYMENT}",{amounts}}}"#
        ),
        format!(
            r#"{{"to":"+33612345678","t\u006f":"{NUMBER}","template_id":"{PAYMENT}",{amounts}}}"#
        ),
    ] {
        for answer in every_way(&app, &function, REQUEST, body.as_bytes()).await {
            app.sent(&answer);
            let message = &app.messages()[0];
            assert_eq!(message.to, NUMBER);
            assert!(message.text.contains(" payment of 2. "), "{}", message.text);
        }
    }
    let sent = app.messages().len();
    let body = format!(r#"{{"to":"{NUMBER}","to":1,"template_id":"{LOGIN}","template_id":null}}"#);
    for answer in every_way(&app, &function, REQUEST, body.as_bytes()).await {
        answer.is_invalid(&[
            ("to", "must be a string"),
            ("template_id", "must be a string"),
        ]);
    }
    let body = format!(r#"{{"TO":"{NUMBER}","to ":"{NUMBER}","template_id":"{LOGIN}"}}"#);
    for answer in every_way(&app, &function, REQUEST, body.as_bytes()).await {
        answer.is_invalid(&[("to", "is required and must be a string")]);
    }
    assert_eq!(app.messages().len(), sent);

    let sent = app.send().await;
    let (id, wrong, right) = (&sent.request_id, sent.wrong_code(), &sent.code);
    let twice = |first: &str, last: &str| {
        format!(r#"{{"code":"{first}","request_id":"{id}","code":"{last}"}}"#)
    };
    let key = [("X-API-KEY", API_KEY)];
    for (body, expected) in [
        (twice(right, &wrong), not_matched()),
        (twice(&wrong, right), success()),
    ] {
        app.call(Method::POST, VALIDATE, &key, body)
            .await
            .is(200, expected);
    }
    the_log_is_clean();
}

#[tokio::test]
async fn a_field_is_a_string_of_unicode_and_nothing_else() {
    let app = App::start().await;
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let nines = "9".repeat(400);
    let key = [("X-API-KEY", API_KEY)];
    for value in [
        "null",
        "true",
        "447400123456",
        "1e999",
        &nines,
        "[]",
        "{}",
        &deep,
        r#"["+447400123456"]"#,
        r#"{"sesame":1}"#,
        r#""\ud800""#,
        r#""\udfff\ud800""#,
    ] {
        let body =
            format!(r#"{{"to":{value},"template_id":{value},"parameters":{{"a":{value}}}}}"#);
        let answer = app.call(Method::POST, REQUEST, &key, body).await;
        let scalar = ["true", "447400123456", "1e999", &nines].contains(&value);
        let mut problems = vec![
            ("to", "must be a string"),
            ("template_id", "must be a string"),
        ];
        if !scalar {
            problems.push(("parameters.a", "must be a string, a number or a boolean"));
        }
        answer.is_invalid(&problems);
        let body = format!(r#"{{"code":{value},"request_id":{value}}}"#);
        let answer = app.call(Method::POST, VALIDATE, &key, body).await;
        answer.is_invalid(&[
            ("code", "must be a string"),
            ("request_id", "must be a string"),
        ]);
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

/// The ASCII digits of a text in the other scripts and styles of Unicode, and with what does not show.
fn look_alikes(text: &str) -> Vec<String> {
    let put = |text: &str, digit: &dyn Fn(u32) -> char| {
        let put = |c: char| c.to_digit(10).map_or(c, digit);
        text.chars().map(put).collect::<String>()
    };
    let superscripts = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let circled = ['⓪', '①', '②', '③', '④', '⑤', '⑥', '⑦', '⑧', '⑨'];
    let unseen = "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{202d}\u{202e}\u{2066}\u{feff}\u{ad}\
        \u{a0}\u{2007}\u{2009}\u{202f}\u{3000}\u{2060}\u{fe0f}\u{20e3}\u{301}\u{2011}\u{2013}\u{2212}\
        \u{ff0d}\t\n\r\u{b}\u{0}\u{7f}\u{85}\u{2028}\u{e0030}";
    let (head, tail) = text.split_at(text.len() - 2);
    let mut all = vec![
        put(text, &|digit| superscripts[digit as usize]),
        put(text, &|digit| circled[digit as usize]),
        put(text, &|digit| char::from_u32(0x2080 + digit).unwrap()),
    ];
    for unseen in unseen.chars() {
        all.push(format!("{head}{unseen}{tail}"));
        all.push(format!("{unseen}{text}"));
        all.push(format!("{text}{unseen}"));
    }
    all
}

/// The same text with the digits of other scripts, and with some of them alone.
fn in_other_scripts(text: &str) -> Vec<String> {
    let zeros = [
        0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xe50, 0x1040, 0x17e0, 0xff10, 0x104a0, 0x1d7ce,
        0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1fbf0,
    ];
    let style = |text: &str, zero: u32| {
        let put = |c: char| match c.to_digit(10) {
            Some(digit) => char::from_u32(zero + digit).unwrap(),
            None => c,
        };
        text.chars().map(put).collect::<String>()
    };
    let (head, tail) = text.split_at(text.len() - 2);
    let mixed = format!("{}{tail}", style(head, 0xff10));
    let whole = zeros.into_iter().map(|zero| style(text, zero));
    whole.chain([mixed]).collect()
}

#[tokio::test]
async fn what_only_looks_like_a_number_reaches_nobody() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let mut numbers = look_alikes(NUMBER);
    numbers.extend(in_other_scripts(NUMBER));
    numbers.extend(
        [
            "＋447400123456",
            "⁺447400123456",
            "+44740O123456",
            "+4474001２3456",
        ]
        .map(String::from),
    );
    numbers.extend(
        [
            "+447400123456;ext=1",
            "tel:+447400123456",
            "+447400123456,+33612345678",
        ]
        .map(String::from),
    );
    numbers.push("4".repeat(16_000));
    for number in &numbers {
        let order = json!({ "to": number, "template_id": LOGIN });
        let answer = app.post(REQUEST, order.clone()).await;
        assert_eq!(answer.status, 200, "{number:?}");
        answer.is_rejection("DESTINATION_ADDRESS_INVALID");
        deliver(&function, &event("POST", REQUEST, Some(&order.to_string())))
            .await
            .is_rejection("DESTINATION_ADDRESS_INVALID");
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn what_only_looks_like_a_code_matches_none() {
    let app = App::start().await;
    let function = validate_endpoint(app.fresh_state().into());
    app.add_template("demo", json!({ "id": LOGIN, "max_attempts": 10 }))
        .await;
    let sent = app.send().await;
    for guess in look_alikes(&sent.code) {
        let question = json!({ "code": guess, "request_id": sent.request_id });
        app.post(VALIDATE, question.clone())
            .await
            .is(200, not_matched());
        deliver(
            &function,
            &event("POST", VALIDATE, Some(&question.to_string())),
        )
        .await
        .is(200, not_matched());
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("0".to_owned()));
    let sent = app.send().await;
    for longer in ["0", "\u{0}", &"0".repeat(15_000)] {
        let guess = format!("{}{longer}", sent.code);
        app.validate(&guess, &sent.request_id)
            .await
            .is(200, not_matched());
    }
    let before = app.messages().len();
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
    assert_eq!(app.messages().len(), before);
    the_log_is_clean();
}

#[tokio::test]
async fn what_only_looks_like_an_id_or_a_key_names_nothing() {
    let app = App::start().await;
    let function = template_endpoint(app.fresh_state().into());
    let sent = app.send().await;
    app.dynamodb.take_calls();
    let id = &sent.request_id;
    let mut ids = look_alikes(id);
    ids.extend(in_other_scripts(id));
    ids.extend([
        format!("urn:uuid:{id}"),
        id.replace('-', "\u{2010}"),
        id.replace('-', ""),
        format!("{id}' OR '1'='1"),
        format!("{id}#RECIPIENT"),
        "CLIENT#demo".to_owned(),
        id.repeat(400),
    ]);
    for id in &ids {
        app.validate(&sent.code, id).await.is(404, not_found());
    }
    assert!(app.dynamodb.take_calls().is_empty());
    app.validate(&sent.code, id).await.is(200, success());

    let before = app.inbox.publishes();
    for template in look_alikes(LOGIN) {
        let order = json!({ "to": app.somebody(), "template_id": template });
        app.post(REQUEST, order)
            .await
            .is_rejection("TEMPLATE_NOT_FOUND");
    }
    assert_eq!(app.inbox.publishes(), before);

    let mut keys = look_alikes(API_KEY);
    keys.extend([
        API_KEY.replace('a', "\u{430}"),
        API_KEY.replacen('L', "\u{ff2c}", 1),
        API_KEY.replace('_', "\u{ff3f}"),
        API_KEY.to_uppercase(),
        format!("Bearer {API_KEY}"),
        format!("\"{API_KEY}\""),
        format!("{API_KEY},{API_KEY}"),
        API_KEY.repeat(100),
    ]);
    for key in &keys {
        // HTTP drops blanks around a value, and takes a line feed for the end of it.
        let is_whole = key.trim_matches([' ', '\t', '\n', '\r']) == key;
        if is_whole && !key.contains(['\0', '\u{7f}', '\r', '\n', '\u{b}']) {
            let line = format!("X-API-KEY: {key}");
            let answer = raw(&app, &http("GET", TEMPLATE, &[line.as_bytes()], b"")).await;
            answer.is_refusal(401, "UNAUTHORIZED");
        }
        let mut event = event("GET", TEMPLATE, None);
        event["headers"]["x-api-key"] = json!(key);
        if lambda_http::request::from_str(&event.to_string()).is_ok() {
            deliver(&function, &event)
                .await
                .is_refusal(401, "UNAUTHORIZED");
        }
    }
    the_log_is_clean();
}

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
async fn the_content_type_alone_says_whether_it_is_json() {
    let app = App::start().await;
    let function = request_endpoint(app.fresh_state());
    let key = key_line();
    for (content_type, is_json) in [
        ("application/json", true),
        ("APPLICATION/JSON", true),
        ("application/json;charset=UTF-8", true),
        ("application/json ; charset=\"utf-16\"; sesame=1", true),
        ("application/vnd.twofa+json", true),
        ("application/json;", true),
        ("", false),
        (";application/json", false),
        ("application/json,sesame", false),
        ("application/jsonp", false),
        ("application/json+xml", false),
        ("application/x-www-form-urlencoded", false),
        ("multipart/form-data; boundary=application/json", false),
        ("text/json", false),
        ("application/js\u{f6}n", false),
        ("*/*", false),
    ] {
        let body = order(&app, "");
        let line = format!("Content-Type: {content_type}");
        let over_http = raw(
            &app,
            &http("POST", REQUEST, &[&key, line.as_bytes()], body.as_bytes()),
        )
        .await;
        let mut event = event("POST", REQUEST, Some(&body));
        event["headers"]["content-type"] = json!(content_type);
        for answer in [over_http, deliver(&function, &event).await] {
            if is_json {
                app.sent(&answer);
            } else {
                answer.is_refusal(415, "UNSUPPORTED_MEDIA_TYPE");
            }
        }
    }
    the_log_is_clean();
}

#[tokio::test]
async fn sixteen_kib_is_the_most_that_is_read_however_it_comes() {
    let app = App::start().await;
    let functions = [
        request_endpoint(app.fresh_state()),
        validate_endpoint(app.fresh_state().into()),
    ];
    let padded = |body: &str, length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let limit = 16 * 1024;
    let question = json!({ "code": "000000", "request_id": LOGIN }).to_string();
    for (path, function, body) in [
        (REQUEST, &functions[0], &order(&app, "")),
        (VALIDATE, &functions[1], &question),
    ] {
        for answer in every_way(&app, function, path, padded(body, limit + 1).as_bytes()).await {
            answer.is_refusal(413, "PAYLOAD_TOO_LARGE");
        }
        app.nothing_happened().await;
        if path == VALIDATE {
            for answer in every_way(&app, function, path, padded(body, limit).as_bytes()).await {
                answer.is(404, not_found());
            }
        }
    }
    let body = padded(&order(&app, ""), limit);
    for answer in every_way(&app, &functions[0], REQUEST, body.as_bytes()).await {
        app.sent(&answer);
    }
    the_log_is_clean();
}

#[tokio::test]
async fn a_body_that_breaks_off_or_says_that_it_is_packed_is_not_guessed_at() {
    let app = App::start().await;
    let key = key_line();
    let body = order(&app, "");
    for (coding, chunks) in [
        ("chunked", "zz\r\nsesame\r\n0\r\n\r\n".to_owned()),
        (
            "chunked",
            format!("{:x}\r\n{body}\r\n-1\r\n\r\n", body.len()),
        ),
        ("chunked", format!("{:x}\r\n{body}sesame", body.len())),
        ("chunked", format!("ffffffffffffffff\r\n{body}")),
    ] {
        let coding = format!("Transfer-Encoding: {coding}");
        let head = http("POST", REQUEST, &[&key, coding.as_bytes()], b"");
        let mut stream = TcpStream::connect(app.api).await.unwrap();
        stream
            .write_all(&[&head[..], chunks.as_bytes()].concat())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("HTTP/1.1 2"), "{answer}");
    }
    // Nor is it unpacked: there is no small body that becomes a large one.
    let packed = raw(
        &app,
        &http(
            "POST",
            REQUEST,
            &[&key, b"Content-Encoding: gzip"],
            b"\x1f\x8b\x08\x00sesame",
        ),
    )
    .await;
    packed.is_invalid(&[NO_OBJECT]);
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

#[tokio::test]
async fn a_parameter_is_text_and_never_a_template() {
    let app = App::start().await;
    for value in [
        "${code}",
        "${amount}",
        "${",
        "$",
        "$$",
        "$1",
        "\\0",
        "}",
        "{{code}}",
        "{code}",
        "%s%n",
        "%(code)s",
        "<%= code %>",
        "#{code}",
        "`code`",
        "'; DROP TABLE x; --",
        "<script>sesame</script>",
        "\\u0024{code}",
        "٣٢١",
        "é\u{301}",
        "👩‍👩‍👧‍👦",
        "",
    ] {
        let parameters = json!({
            "amount": value, "code": "000000", "CODE": "1", "": "2", "__proto__": "8",
            "constructor": "3", "toString": "4", "${amount}": "5", "a.b": "6", "amount ": "7",
        });
        let order =
            json!({ "to": app.somebody(), "template_id": PAYMENT, "parameters": parameters });
        let sent = app.sent(&app.post(REQUEST, order).await);
        let shown = format!("{} confirms your payment of {value}. ", sent.code);
        let text = &app.messages()[0].text;
        assert!(text.starts_with(&shown), "{text}");
        app.validate("000000", &sent.request_id)
            .await
            .is(200, not_matched());
        app.validate(&sent.code, &sent.request_id)
            .await
            .is(200, success());
    }
    the_log_is_clean();
}

#[tokio::test]
async fn control_characters_and_too_many_parts_are_refused_before_anything_happens() {
    let app = App::start().await;
    let order = |amount: &str| json!({ "to": NUMBER, "template_id": PAYMENT, "parameters": { "amount": amount } });
    // Cc, then Bidi_Control, Zl and Zp.
    let controls = (0..0x20).chain(0x7f..0xa0).chain([0x61c, 0x200e, 0x200f]);
    let controls = controls.chain(0x2028..=0x202e).chain(0x2066..=0x2069);
    for control in controls {
        let control = char::from_u32(control).unwrap();
        let answer = app.post(REQUEST, order(&format!("1{control}2"))).await;
        answer.is_invalid(&[(
            "parameters.amount",
            "must not contain control characters, line or paragraph separators, or bidirectional controls",
        )]);
    }
    for value in [
        "\u{20ac}".repeat(760),
        "👩".repeat(335),
        "\u{200d}".repeat(670),
        "${code}".repeat(230),
    ] {
        let answer = app.post(REQUEST, order(&value)).await;
        let problem = answer.json()["errors"][0].clone();
        assert_eq!(problem["property"], "parameters");
        assert!(
            problem["error"]
                .as_str()
                .unwrap()
                .ends_with("at most 10 are allowed: its values must be shorter")
        );
        assert_eq!(answer.status, 400);
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn as_many_parameters_as_fit_are_read_and_every_bad_one_is_named() {
    let app = App::start().await;
    let body = |value: &str| {
        let parameters: Vec<_> = (0..1_500).map(|n| format!(r#""{n}":{value}"#)).collect();
        order(
            &app,
            &format!(r#","parameters":{{{}}}"#, parameters.join(",")),
        )
    };
    let key = [("X-API-KEY", API_KEY)];
    let answer = app.call(Method::POST, REQUEST, &key, body("[]")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 1_500);
    app.nothing_happened().await;
    let answer = app.call(Method::POST, REQUEST, &key, body("1")).await;
    app.sent(&answer);

    // Their names come back as JSON and nothing else.
    for name in FORGERIES
        .into_iter()
        .chain(["__proto__", "", "<b>", "\u{0}"])
    {
        let order = json!({ "to": NUMBER, "template_id": LOGIN, "parameters": { name: null } });
        let answer = app.post(REQUEST, order).await;
        let path = format!("parameters.{name}");
        answer.is_invalid(&[(&path, "must be a string, a number or a boolean")]);
        assert!(!answer.body.contains(|c| c < ' '), "escaped");
    }
    assert_eq!(app.inbox.publishes(), 1);
    the_log_is_clean();
}
