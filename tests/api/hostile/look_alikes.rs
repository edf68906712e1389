//! Numbers, codes, ids and keys that only look like ones.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use twofa::http::{request_endpoint, template_endpoint, validate_endpoint};

use crate::harness::{API_KEY, App, Guess::Right, LOGIN, NUMBER, REQUEST, TEMPLATE, VALIDATE};

use super::{deliver, event, http, raw, the_log_is_clean};

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
        app.post(VALIDATE, question.clone()).await.is_not_matched();
        deliver(
            &function,
            &event("POST", VALIDATE, Some(&question.to_string())),
        )
        .await
        .is_not_matched();
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("0".to_owned()));
    let sent = app.send().await;
    for longer in ["0", "\u{0}", &"0".repeat(15_000)] {
        let guess = format!("{}{longer}", sent.code);
        app.validate(&guess, &sent.request_id)
            .await
            .is_not_matched();
    }
    let before = app.messages().len();
    app.guess(&sent, Right).await.is_success();
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
        app.validate(&sent.code, id).await.is_not_found();
    }
    assert!(app.dynamodb.take_calls().is_empty());
    app.validate(&sent.code, id).await.is_success();

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
