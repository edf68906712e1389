//! The product's first promise: no code, key, or whole number anywhere but in the SMS.

use serde_json::json;
use twofa_local::inbox::InjectedError;

use crate::fault_proxy::NetworkFault;
use crate::harness::{API_KEY, App, Guess::Right, LOGIN, NUMBER, PAYMENT, REQUEST, VALIDATE};
use crate::log;

/// Runs every kind of call, and returns the answers, and what must be in none of the places.
async fn everything(app: &App) -> (Vec<String>, Vec<String>) {
    let mut answers = Vec::new();
    // Ten digits are met by chance in no time stamp and hardly in a UUID.
    for id in [LOGIN, PAYMENT] {
        let text = "${code} for ${amount}";
        app.add_template("demo", json!({ "id": id, "code_length": 10, "text": text }))
            .await;
    }
    let order = json!({ "to": NUMBER, "template_id": LOGIN, "parameters": { "amount": "sesame" } });
    for fault in 0..8 {
        match fault {
            1 => app
                .dynamodb
                .inject("TransactWriteItems", [NetworkFault::LostAfter]),
            2 => app
                .dynamodb
                .inject("UpdateItem", vec![NetworkFault::LostBefore; 10]),
            3 => app.inbox.fail_next([InjectedError::InvalidParameter]),
            4 => app.inbox.fail_next(vec![InjectedError::Throttled; 4]),
            5 => app
                .dynamodb
                .inject("TransactWriteItems", vec![NetworkFault::Conflicts; 10]),
            6 => app.sns.inject("Publish", vec![NetworkFault::LostAfter; 4]),
            _ => {}
        }
        let answer = app.post(REQUEST, order.clone()).await;
        answers.push(format!("{:?} {}", answer.headers, answer.body));
        let Some(id) = answer.json()["request_id"].as_str().map(ToOwned::to_owned) else {
            continue;
        };
        let Some(message) = app.messages().first().cloned() else {
            continue;
        };
        let code = message.text.split(' ').next().unwrap().to_owned();
        if fault == 7 {
            app.dynamodb
                .inject("UpdateItem", vec![NetworkFault::LostAfter; 4]);
        }
        for guess in ["9876543210", &code, &code] {
            let answer = app.validate(guess, &id).await;
            answers.push(format!("{:?} {}", answer.headers, answer.body));
        }
    }
    for (path, body) in [
        (
            REQUEST,
            json!({ "to": NUMBER, "template_id": NUMBER, "parameters": { "amount": null } }),
        ),
        (
            REQUEST,
            json!({ "to": 447_400_123_456_u64, "template_id": LOGIN }),
        ),
        (
            REQUEST,
            json!({ "to": format!("{NUMBER}x"), "template_id": LOGIN }),
        ),
        (
            REQUEST,
            json!({ "to": "+447400123456789", "template_id": LOGIN }),
        ),
        (
            VALIDATE,
            json!({ "code": 9_876_543_210_u64, "request_id": NUMBER }),
        ),
        ("/+447400123456", json!({ "code": "9876543210" })),
    ] {
        let answer = app.post(path, body).await;
        answers.push(format!("{:?} {}", answer.headers, answer.body));
    }
    let mut secrets: Vec<_> = app
        .messages()
        .iter()
        .map(|message| message.text.split(' ').next().unwrap().to_owned())
        .collect();
    secrets.push(app.seed());
    secrets
        .extend(["9876543210", "7400123456", "sesame", "LaptopOnly", API_KEY].map(str::to_owned));
    (answers, secrets)
}

#[tokio::test]
async fn no_code_key_or_number_is_stored_logged_or_answered() {
    let app = App::start().await;
    let (answers, secrets) = everything(&app).await;

    assert!(app.messages().len() >= 5, "the flow did send codes");
    let stored: Vec<_> = app
        .everything_stored()
        .await
        .iter()
        .map(|item| format!("{item:?}"))
        .collect();
    let log = log::text();
    assert!(
        log.lines().count() > 20 && log.contains("ACCEPTED"),
        "the flow was logged"
    );
    for secret in &secrets {
        for (place, text) in [
            ("tables", stored.join("\n")),
            ("log", log.clone()),
            ("answers", answers.join("\n")),
        ] {
            let found = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(found, None, "{place}: {secret}");
        }
    }
}

#[tokio::test]
async fn a_method_that_is_the_callers_own_text_is_not_logged() {
    let app = App::start().await;
    let method = reqwest::Method::from_bytes(NUMBER.as_bytes()).unwrap();
    let answer = app.call(method, REQUEST, &[], "").await;
    answer.is_refusal(405, "METHOD_NOT_ALLOWED");
    let lines = log::lines(|line| line["Outcome"] == "METHOD_NOT_ALLOWED");
    assert_eq!(lines.len(), 1);
    assert!(!log::text().contains(&NUMBER[1..]), "{}", log::text());
}

#[tokio::test]
async fn every_call_is_one_line_of_json() {
    let app = App::start().await;
    let sent = app.send().await;
    app.guess(&sent, Right).await;
    app.request_to("1").await;

    let lines = log::lines(|_| true);
    let [request, validate, rejected] = &lines[..] else {
        panic!("{lines:?}")
    };
    for (line, outcome, endpoint) in [
        (request, "ACCEPTED", "request"),
        (validate, "success", "validate"),
        (rejected, "DESTINATION_ADDRESS_INVALID", "request"),
    ] {
        assert_eq!(line["Outcome"], outcome);
        assert_eq!(line["status"], 200);
        assert!(line["Latency"].as_f64().unwrap() > 0.0);
        assert_eq!(line["Endpoint"], endpoint);
        assert_eq!(line["client"], "demo");
        assert!(line["call_id"].is_string());
    }
    assert_eq!(request["request_id"], sent.request_id.as_str());
    assert_eq!(validate["request_id"], sent.request_id.as_str());
    assert_eq!(request["Country"], "GB");
    assert_eq!(request["Parts"], 1);
    assert!(rejected.get("Parts").is_none());
}
