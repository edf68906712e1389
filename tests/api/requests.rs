//! `POST …/2fa/request`, row by row of the wire contract.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use reqwest::Method;
use serde_json::{Value, json};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::limits::Limits;
use twofa::domain::message::Encoding;
use twofa::domain::phone::NumberType;
use twofa_local::inbox::InjectedError;

use crate::fault_proxy::NetworkFault;
use crate::harness::{
    API_KEY, App, Guess::Right, LOGIN, NUMBER, PAYMENT, REQUEST, START, VALIDATE,
};

#[tokio::test]
async fn a_code_is_stored_as_a_digest_and_sent() {
    let app = App::start().await;
    let sent = app.send().await;

    let [message] = &app.messages()[..] else {
        panic!("one message")
    };
    assert_eq!(message.to, "+447401000000");
    assert_eq!(message.from.as_deref(), Some("Twofa"));
    let text = format!(
        "{} is your sign-in code. Never share it with anyone.",
        sent.code
    );
    assert_eq!(message.text, text);
    assert_eq!(sent.code.len(), 6);
    let attributes: Vec<_> = message
        .attributes
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let expected = [
        ("AWS.SNS.SMS.SMSType", "Transactional"),
        ("AWS.SNS.SMS.SenderID", "Twofa"),
    ];
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(attributes, expected);

    let item = app.stored(&sent.request_id).await.unwrap();
    let mut names: Vec<_> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    let [attempts, began_at, client, digest, code_length, rest @ ..] = &names[..] else {
        panic!("{names:?}")
    };
    assert_eq!(
        [*attempts, *began_at, *client, *code_length],
        ["attempts", "began_at", "client", "code_length"]
    );
    assert!(
        digest.starts_with("code#") && digest.len() == 48,
        "{digest}"
    );
    assert_eq!(
        rest,
        [
            "expires_at",
            "id",
            "max_attempts",
            "recipient",
            "seed",
            "sends",
            "state",
            "ttl"
        ]
    );
    let expires_at = START.plus(Duration::from_mins(5));
    let number = |value: i64| AttributeValue::N(value.to_string());
    assert_eq!(item["expires_at"], number(expires_at.as_millis()));
    assert_eq!(
        item["ttl"],
        number(expires_at.as_millis() / 1000 + 24 * 60 * 60 + 60)
    );
    assert_eq!(item["attempts"], number(0));
    assert_eq!(item["max_attempts"], number(5));
    assert_eq!(item["state"], AttributeValue::S("open".to_owned()));
    let first = item["sends"].as_m().unwrap()["first"].as_m().unwrap();
    assert_eq!(first["state"], AttributeValue::S("sent".to_owned()));
    assert_eq!(
        first["message_id"],
        AttributeValue::S(message.message_id.clone())
    );
}

#[tokio::test]
async fn both_paths_answer() {
    let app = App::start().await;
    for path in [REQUEST, "/v1.0/2fa/request"] {
        let order = json!({ "to": NUMBER, "template_id": LOGIN, "something_else": [1] });
        let answer = app.post(path, order).await;
        let sent = app.sent(&answer);
        let path = path.replace("request", "validate");
        let question = json!({ "code": sent.code, "request_id": sent.request_id });
        assert_eq!(app.post(&path, question).await.status, 200);
    }
}

#[tokio::test]
async fn every_spelling_of_a_number_reaches_the_same_phone() {
    let app = App::start().await;
    for number in [
        "+44 7400 123456",
        "00447400123456",
        "447400123456",
        "+44 (0)7400-123.456",
    ] {
        let answer = app.request_to(number).await;
        app.sent(&answer);
        assert_eq!(app.messages()[0].to, NUMBER, "{number}");
    }
}

#[tokio::test]
async fn a_client_sends_to_the_types_of_numbers_that_it_names() {
    let app = App::start().await;
    let types = |types: Value| -> BTreeSet<NumberType> { serde_json::from_value(types).unwrap() };
    let (fixed_line, voip, personal) = ("+442079460123", "+445612345678", "+447012345678");
    let key = app
        .add(Profile {
            number_types: types(json!(["fixed_line", "voip"])),
            ..Profile::new("shop", Countries::All)
        })
        .await;
    for (to, code) in [
        (fixed_line, "OK"),
        (voip, "OK"),
        (personal, "ROUTING_PREFIX_FILTER_INVALID_NUMBER"),
        (NUMBER, "ROUTING_PREFIX_FILTER_INVALID_NUMBER"),
    ] {
        let order = json!({ "to": to, "template_id": LOGIN });
        let answer = app.post_as(&key, REQUEST, order).await;
        assert_eq!(answer.json()["error_message"], code, "{to}");
    }
    let sent: Vec<_> = app.messages().into_iter().map(|m| m.to).collect();
    assert_eq!(sent, [voip, fixed_line]);
}

#[tokio::test]
async fn the_first_rejection_that_applies_is_told_and_nothing_happens() {
    let app = App::start().await;
    let key = app.add_client("french", &["FR"]).await;
    let none = "00000000-0000-4000-8000-000000000000";
    for (to, template, code) in [
        ("12345678", none, "DESTINATION_ADDRESS_INVALID"),
        ("+44 7400 12345x", none, "DESTINATION_ADDRESS_INVALID"),
        ("", none, "DESTINATION_ADDRESS_INVALID"),
        (
            "+999 123 456 789",
            none,
            "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        ),
        (
            "+44 0400 123456",
            none,
            "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        ),
        // Premium rate, a satellite phone, and a fixed line, which the client does not send to.
        (
            "+44 909 123 4567",
            none,
            "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        ),
        (
            "+881 612 345 678",
            none,
            "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        ),
        (
            "+44 20 7946 0123",
            none,
            "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        ),
        ("+44 7400 1234", none, "ROUTING_FILTER_INVALID_LENGTH"),
        (NUMBER, none, "CLIENT_COUNTRY_FORBIDDEN"),
        ("+33 6 12 34 56 78", none, "TEMPLATE_NOT_FOUND"),
        ("+33 6 12 34 56 78", "no UUID", "TEMPLATE_NOT_FOUND"),
        ("+33 6 12 34 56 78", PAYMENT, "TEMPLATE_NOT_FOUND"),
    ] {
        let order = json!({ "to": to, "template_id": template });
        let id = app.post_as(&key, REQUEST, order).await.is_rejection(code);
        let question = json!({ "code": "000000", "request_id": id });
        app.post_as(&key, VALIDATE, question).await.is_not_found();
    }
    app.nothing_happened().await;
}

#[tokio::test]
async fn a_client_sends_to_its_countries_with_its_price_limit() {
    let app = App::start().await;
    let key = app.add_client("british", &["GB"]).await;
    let order = json!({ "to": NUMBER, "template_id": LOGIN });
    let answer = app.post_as(&key, REQUEST, order).await;
    app.sent(&answer);
    assert_eq!(app.messages()[0].attributes["AWS.SNS.SMS.MaxPrice"], "0.10");
}

#[tokio::test]
async fn a_template_says_who_sends_what_and_for_how_long() {
    let app = App::start().await;
    let fields = json!({
        "id": LOGIN, "from": "+447400999999", "text": "Привет: ${code}", "code_length": 8, "ttl": 30,
    });
    app.add_template("demo", fields).await;
    let sent = app.send().await;
    assert_eq!(sent.code.len(), 8);
    let message = &app.messages()[0];
    assert_eq!(message.from.as_deref(), Some("+447400999999"));
    assert_eq!(
        message.attributes["AWS.MM.SMS.OriginationNumber"],
        "+447400999999"
    );
    assert_eq!((message.encoding, message.parts), (Encoding::Ucs2, 1));
    app.advance(Duration::from_secs(30));
    app.guess(&sent, Right).await.is_not_found();
}

#[tokio::test]
async fn parameters_fill_the_placeholders_in_one_pass() {
    let app = App::start().await;
    let mut order = json!({ "to": NUMBER, "template_id": PAYMENT });
    for (amount, shown) in [
        (json!("${code}"), "${code}"),
        (json!(7), "7"),
        (json!(true), "true"),
        (json!("10 €"), "10 €"),
    ] {
        order["parameters"] = json!({ "amount": amount, "code": "000", "unused": "x" });
        let answer = app.post(REQUEST, order.clone()).await;
        let sent = app.sent(&answer);
        assert_ne!(sent.code, "000");
        let start = format!("{} confirms your payment of {shown}. ", sent.code);
        assert!(app.messages()[0].text.starts_with(&start));
    }
}

#[tokio::test]
async fn what_cannot_be_rendered_is_a_400_and_nothing_happens() {
    let app = App::start().await;
    let order = |parameters: Value| json!({ "to": NUMBER, "template_id": PAYMENT, "parameters": parameters });
    let answer = app.post(REQUEST, order(json!({ "code": "1" }))).await;
    answer.is_invalid(&[("parameters.amount", "is required by the template")]);

    let answer = app
        .post(REQUEST, order(json!({ "amount": "x".repeat(1_530) })))
        .await;
    let error =
        "the message takes 11 SMS parts; at most 10 are allowed: its values must be shorter";
    answer.is_invalid(&[("parameters", error)]);

    let answer = app
        .post(
            REQUEST,
            order(json!({ "amount": "1\n2", "b": null, "c": [] })),
        )
        .await;
    answer.is_invalid(&[
        (
            "parameters.amount",
            "must not contain control characters, line or paragraph separators, or bidirectional controls",
        ),
        ("parameters.b", "must be a string, a number or a boolean"),
        ("parameters.c", "must be a string, a number or a boolean"),
    ]);
    app.nothing_happened().await;
}

#[tokio::test]
async fn every_problem_of_a_body_is_told_at_once() {
    let app = App::start().await;
    let answer = app
        .post(REQUEST, json!({ "to": 1, "parameters": "x" }))
        .await;
    answer.is_invalid(&[
        ("to", "must be a string"),
        ("template_id", "is required and must be a string"),
        ("parameters", "must be an object"),
    ]);
    for body in ["", "[]", "null", "{", "\"x\"", "{\"to\":\"\u{0}\"}"] {
        let headers = [("X-API-KEY", API_KEY)];
        let answer = app.call(Method::POST, REQUEST, &headers, body).await;
        answer.is_invalid(&[("", "must be a JSON object in UTF-8")]);
    }
    app.nothing_happened().await;
}

#[tokio::test]
async fn a_body_is_json_of_at_most_16_kib() {
    let app = App::start().await;
    let padding = |length: usize| {
        let order = json!({ "to": NUMBER, "template_id": LOGIN }).to_string();
        format!("{order}{}", " ".repeat(length - order.len()))
    };
    let with = |content_type| [("X-API-KEY", API_KEY), ("Content-Type", content_type)];
    let plain = with("text/plain");
    app.call(Method::POST, REQUEST, &plain, padding(100))
        .await
        .is_refusal(415, "UNSUPPORTED_MEDIA_TYPE");
    let json = with("application/json; charset=utf-8");
    app.call(Method::POST, REQUEST, &json, padding(16 * 1024 + 1))
        .await
        .is_refusal(413, "PAYLOAD_TOO_LARGE");
    app.nothing_happened().await;
    let answer = app
        .call(Method::POST, REQUEST, &json, padding(16 * 1024))
        .await;
    app.sent(&answer);
    let answer = app
        .call(
            Method::POST,
            REQUEST,
            &[("X-API-KEY", API_KEY)],
            padding(100),
        )
        .await;
    app.sent(&answer);
}

#[tokio::test]
async fn only_a_valid_key_is_let_in_before_the_body_is_looked_at() {
    let app = App::start().await;
    let other = format!("2fa_demo_{}", "x".repeat(43));
    let unknown = format!("2fa_nobody_{}", "x".repeat(43));
    let lower = API_KEY.to_lowercase();
    for key in [
        &other,
        &unknown,
        &lower,
        "",
        "demo",
        "2fa_demo_",
        &format!("{API_KEY},{API_KEY}"),
    ] {
        for path in [REQUEST, VALIDATE] {
            let headers = [("X-API-KEY", key), ("Content-Type", "text/plain")];
            let answer = app
                .call(Method::POST, path, &headers, "x".repeat(20_000))
                .await;
            answer.is_refusal(401, "UNAUTHORIZED");
        }
    }
    app.call(Method::POST, REQUEST, &[], "{}")
        .await
        .is_refusal(401, "UNAUTHORIZED");
    let twice = [("X-API-KEY", API_KEY), ("X-API-KEY", API_KEY)];
    app.call(Method::POST, REQUEST, &twice, "{}")
        .await
        .is_refusal(401, "UNAUTHORIZED");
    app.nothing_happened().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let app = App::start().await;
    for path in [
        "/nowhere",
        "/api/v1.0/2fa",
        "/api/v1.0/2fa/request/",
        "/v2.0/2fa/request",
    ] {
        app.call(Method::POST, path, &[], "")
            .await
            .is_refusal(404, "NOT_FOUND");
    }
    for (path, method, allow) in [
        (REQUEST, Method::GET, "POST"),
        ("/v1.0/2fa/request", Method::DELETE, "POST"),
        (VALIDATE, Method::PUT, "POST"),
        ("/v1.0/2fa/template", Method::POST, "GET, HEAD"),
    ] {
        let answer = app.call(method, path, &[("X-API-KEY", API_KEY)], "").await;
        answer.is_refusal(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[tokio::test]
async fn a_request_is_two_trips_and_six_units() {
    let app = App::start().await;
    // The mark and the count go side by side, in either order.
    let calls = || {
        let mut calls: Vec<_> = app.dynamodb.take_calls().into_iter().collect();
        calls.sort_by(|one, other| one.operation.cmp(&other.operation));
        let calls = calls.into_iter().map(|call| (call.operation, call.units));
        calls.collect::<Vec<_>>()
    };
    let call = |operation: &str, units| (operation.to_owned(), units);
    let writes = [
        call("TransactWriteItems", 4.0),
        call("UpdateItem", 1.0),
        call("UpdateItem USAGE", 1.0),
    ];
    app.send().await;
    assert_eq!(calls(), [&[call("Query", 0.5)][..], &writes].concat());
    assert_eq!(app.sns.take_operations(), ["GetSecretValue", "Publish"]);

    app.send().await;
    assert_eq!(calls(), writes);
    assert_eq!(app.sns.take_operations(), ["Publish"]);
}

#[tokio::test]
async fn a_balance_is_two_units_more_and_a_cap_one_in_a_trip_of_its_own() {
    let app = App::start().await;
    let profile = Profile {
        prepaid: true,
        limits: Limits {
            per_second: Some(10),
            per_day: Some(100),
            ..Limits::default()
        },
        ..Profile::new("shop", Countries::All)
    };
    let key = app.add(profile).await;
    app.set_balance("shop", 10).await;
    app.sent(&app.request_as(&key, NUMBER).await);
    let calls = app.dynamodb.take_calls();
    let order: Vec<_> = calls.iter().map(|call| &*call.operation).collect();
    assert_eq!(
        order[..4],
        [
            "Query",
            "TransactWriteItems",
            "UpdateItem CAP",
            "UpdateItem CAP"
        ]
    );
    let units: Vec<_> = calls.iter().map(|call| call.units).collect();
    assert_eq!(units, [0.5, 6.0, 1.0, 1.0, 1.0, 1.0]);
    app.request_as(&key, NUMBER).await.is_limited();
    let refused = app.dynamodb.take_operations();
    assert_eq!(refused, ["TransactWriteItems"], "a window is one trip");
}

#[tokio::test]
async fn the_mark_and_the_count_go_side_by_side() {
    let app = std::sync::Arc::new(App::start().await);
    app.send().await;
    app.dynamodb.take_calls();
    app.dynamodb
        .inject("UpdateItem USAGE", [NetworkFault::HeldBefore]);
    let request = tokio::spawn({
        let app = std::sync::Arc::clone(&app);
        async move { app.request_to(NUMBER).await }
    });
    app.dynamodb.held().await;
    let mut made = Vec::new();
    while !made.contains(&"UpdateItem".to_owned()) {
        assert!(!request.is_finished(), "it is marked while it is counted");
        tokio::task::yield_now().await;
        made.extend(app.dynamodb.take_operations());
    }
    app.sent(&request.await.unwrap());
}

#[tokio::test]
async fn what_sns_refuses_is_rejected_and_leaves_no_live_code() {
    let app = App::start().await;
    for fault in [InjectedError::OptedOut, InjectedError::InvalidParameter] {
        app.inbox.fail_next([fault]);
        let before = app.inbox.publishes();
        let id = app.request_to(NUMBER).await.is_rejection("GENERAL_ERROR");
        assert_eq!(app.inbox.publishes(), before + 1, "a refusal is final");
        is_void(&app, &id).await;
    }
    assert!(app.messages().is_empty());
}

#[tokio::test]
async fn a_refusal_that_would_meet_every_message_is_an_outage() {
    let app = App::start().await;
    app.inbox.fail_next([InjectedError::AuthorizationError]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    assert_eq!(app.inbox.publishes(), 1, "asking again does not help");
    assert_eq!(app.live_codes().await, 0);
    let failed = crate::log::lines(|line| line["ServerErrors"] == 1);
    assert_eq!(failed.len(), 1, "and rings");
}

/// The verification is there, without its digest, and validates to `not_found`.
async fn is_void(app: &App, id: &str) {
    let item = app.stored(id).await.unwrap();
    assert_eq!(item["state"], AttributeValue::S("void".to_owned()));
    assert!(!item.keys().any(|name| name.starts_with("code#")));
    app.validate("000000", id).await.is_not_found();
}

#[tokio::test]
async fn null_is_absence() {
    let app = App::start().await;
    let order = |template: &str| json!({ "to": app.somebody(), "template_id": template, "parameters": null });
    app.sent(&app.post(REQUEST, order(LOGIN)).await);
    app.post(REQUEST, order(PAYMENT))
        .await
        .is_invalid(&[("parameters.amount", "is required by the template")]);
}
