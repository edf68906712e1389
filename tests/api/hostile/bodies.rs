//! Bodies that are no JSON object, or one of odd fields, sizes and types.

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use twofa::http::{request_endpoint, validate_endpoint};

use crate::harness::{
    API_KEY, App, LOGIN, NUMBER, PAYMENT, REQUEST, VALIDATE, not_matched, success,
};

use super::{NO_OBJECT, deliver, event, every_way, http, key_line, order, raw, the_log_is_clean};

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
                answer.is_not_found();
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
