//! `GET …/2fa/template`, and what a function remembers of its clients.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use twofa::domain::ids::ClientId;
use twofa::domain::template::TemplateFields;

use crate::harness::{API_KEY, Answer, App, LOGIN, PAYMENT, TEMPLATE};

async fn list(app: &App, key: &str) -> Answer {
    app.call(Method::GET, TEMPLATE, &[("X-API-KEY", key)], "")
        .await
}

fn demo_templates() -> Value {
    json!({ "data": [
        {
            "id": LOGIN,
            "name": "Login",
            "from": "Twofa",
            "text": "${code} is your sign-in code. Never share it with anyone.",
            "ttl": 300,
            "code_length": 6,
            "max_attempts": 5,
        },
        {
            "id": PAYMENT,
            "name": "Payment",
            "from": "Twofa",
            "text": "${code} confirms your payment of ${amount}. If you did not ask for it, ignore this message.",
            "ttl": 120,
            "code_length": 6,
            "max_attempts": 5,
        },
    ]})
}

#[tokio::test]
async fn a_client_lists_its_own_templates_by_name() {
    let app = App::start().await;
    list(&app, API_KEY).await.is(200, demo_templates());
    let answer = app
        .call(
            Method::GET,
            "/v1.0/2fa/template",
            &[("X-API-KEY", API_KEY)],
            "",
        )
        .await;
    answer.is(200, demo_templates());

    let key = app.add_client("other", &[]).await;
    let plain = json!({ "data": [{
        "id": LOGIN, "name": "Plain", "from": "Twofa", "text": "${code}", "ttl": 300,
        "code_length": 6, "max_attempts": 5,
    }]});
    list(&app, &key).await.is(200, plain);
    list(&app, "2fa_other_x")
        .await
        .is_refusal(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn the_body_of_a_head_is_empty() {
    let app = App::start().await;
    let answer = app
        .call(Method::HEAD, TEMPLATE, &[("X-API-KEY", API_KEY)], "")
        .await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_function_asks_for_a_client_every_thirty_seconds() {
    let app = App::start().await;
    list(&app, API_KEY).await;
    let fields: TemplateFields = serde_json::from_value(json!({
        "id": LOGIN, "name": "Renamed", "from": "Twofa", "text": "${code}",
    }))
    .unwrap();
    app.directory
        .put_template(&ClientId::parse("demo").unwrap(), &fields)
        .await
        .unwrap();

    app.advance(Duration::from_millis(29_999));
    list(&app, API_KEY).await.is(200, demo_templates());
    assert_eq!(app.dynamodb.take_operations(), ["Query"]);

    app.advance(Duration::from_millis(1));
    let answer = list(&app, API_KEY).await;
    assert_eq!(answer.json()["data"][1]["name"], "Renamed");
    assert_eq!(app.dynamodb.take_operations(), ["Query"]);
}

#[tokio::test]
async fn a_client_that_does_not_exist_is_remembered_too() {
    let app = App::start().await;
    let key = format!("2fa_late_{}", "k".repeat(43));
    for _ in 0..3 {
        list(&app, &key).await.is_refusal(401, "UNAUTHORIZED");
    }
    assert_eq!(app.dynamodb.take_operations(), ["Query"]);

    assert_eq!(app.add_client("late", &["*"]).await, key);
    list(&app, &key).await.is_refusal(401, "UNAUTHORIZED");
    app.advance(Duration::from_secs(30));
    assert_eq!(list(&app, &key).await.status, 200);
}

#[tokio::test]
async fn a_stored_template_that_is_not_valid_is_left_out() {
    let app = App::start().await;
    app.add_template("demo", json!({ "text": "no code" })).await;
    app.spoil_template("demo", PAYMENT).await;
    let mut left = demo_templates();
    left["data"].as_array_mut().unwrap().pop();
    list(&app, API_KEY).await.is(200, left);
}

#[tokio::test]
async fn more_templates_than_one_page_holds_are_all_listed() {
    let app = App::start().await;
    for number in 0..120 {
        let id = format!("11111111-1111-4111-8111-{number:012}");
        let text = format!("${{code}}{}", " ".repeat(10_000));
        app.add_template("demo", json!({ "id": id, "text": text }))
            .await;
    }
    app.dynamodb.take_calls();
    let answer = list(&app, API_KEY).await;
    assert_eq!(answer.json()["data"].as_array().unwrap().len(), 122);
    assert_eq!(app.dynamodb.take_operations(), ["Query", "Query"]);
}
