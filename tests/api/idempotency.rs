//! `Idempotency-Key`: a call may be repeated, whatever became of the first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use lambda_http::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use twofa::http::{request_endpoint, validate_endpoint};
use twofa_local::inbox::Fault;

use crate::harness::{
    API_KEY, Answer, App, DAY, LOGIN, NUMBER, PAYMENT, REQUEST, Sent, VALIDATE, code_in, not_found,
    not_matched, success,
};
use crate::wire::Fate;

fn order() -> Value {
    json!({ "to": NUMBER, "template_id": LOGIN })
}

async fn request(app: &App, key: &str) -> Answer {
    app.post_with(key, REQUEST, &order()).await
}

/// The codes that were sent, each once.
fn codes(app: &App) -> BTreeSet<String> {
    app.messages()
        .iter()
        .map(|message| code_in(&message.text))
        .collect()
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_for_a_day() {
    let app = App::start().await;
    let first = request(&app, "one").await;
    let Sent { request_id, code } = app.sent(&first);
    assert_eq!(
        uuid::Uuid::try_parse(&request_id)
            .unwrap()
            .get_version_num(),
        8
    );
    assert_eq!(request(&app, "one").await.body, first.body);
    app.validate(&code, &request_id).await.is(200, success());
    assert_eq!(
        request(&app, "one").await.body,
        first.body,
        "also when it is used"
    );
    app.advance(Duration::from_hours(24) - Duration::from_secs(1));
    assert_eq!(
        request(&app, "one").await.body,
        first.body,
        "also when it has expired"
    );
    assert_eq!(
        (app.messages().len(), app.verifications().await.len()),
        (1, 1)
    );
    assert_eq!(app.usage("demo").await.days[&DAY], (1, 1));

    app.advance(Duration::from_hours(1));
    let later = app.sent(&request(&app, "one").await);
    assert_eq!(app.messages().len(), 2, "after that the key is free");
    assert_eq!(later.request_id, request_id);
    app.validate(&later.code, &request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn a_repeatable_request_is_four_writes_too() {
    let app = App::start().await;
    app.send().await;
    app.dynamodb.take_calls();
    request(&app, "one").await;
    let mut calls = app.dynamodb.take_operations();
    assert_eq!(calls[0], "PutItem", "the claim is first");
    calls[1..3].sort();
    assert_eq!(
        calls[1..],
        ["UpdateItem CLIENT", "UpdateItem RECIPIENT", "UpdateItem"]
    );
    request(&app, "one").await;
    assert_eq!(app.dynamodb.take_operations(), ["PutItem"]);
}

#[tokio::test]
async fn another_body_is_refused() {
    let app = App::start().await;
    request(&app, "one").await;
    let error = json!({ "errors": [
        { "property": "Idempotency-Key", "error": "was used for another body before" },
    ]});
    for body in [
        json!({ "to": "+447400123457", "template_id": LOGIN }),
        json!({ "to": NUMBER, "template_id": PAYMENT, "parameters": { "amount": 1 } }),
        json!({ "to": NUMBER, "template_id": LOGIN, "parameters": { "x": "y" } }),
        json!({ "to": "1", "template_id": LOGIN }),
    ] {
        app.post_with("one", REQUEST, &body)
            .await
            .is(422, error.clone());
    }
    assert_eq!(app.messages().len(), 1);
    app.sent(&app.post_with("two", REQUEST, &order()).await);
}

#[tokio::test]
async fn a_key_is_visible_ascii() {
    let app = App::start().await;
    let long = "k".repeat(256);
    for key in ["", "a b", "é", &long] {
        for path in [REQUEST, VALIDATE] {
            let answer = app.post_with(key, path, &order()).await;
            answer.is_invalid(&[(
                "Idempotency-Key",
                "must be 1 to 255 visible ASCII characters",
            )]);
        }
    }
    app.nothing_happened().await;
    app.sent(&app.post_with(&"~".repeat(255), REQUEST, &order()).await);
}

#[tokio::test]
async fn keys_do_not_cross_clients() {
    let app = App::start().await;
    let other = app.add_client("other", &["*"]).await;
    let ours = app.sent(&request(&app, "one").await);
    let headers = [("X-API-KEY", other.as_str()), ("Idempotency-Key", "one")];
    let answer = app
        .call(
            reqwest::Method::POST,
            REQUEST,
            &headers,
            order().to_string(),
        )
        .await;
    assert_ne!(app.sent(&answer).request_id, ours.request_id);
}

#[tokio::test]
async fn a_rejection_is_remembered_and_a_limit_is_not() {
    let app = App::start().await;
    let rejected = json!({ "to": "1", "template_id": LOGIN });
    let first = app.post_with("bad", REQUEST, &rejected).await;
    first.is_rejection("DESTINATION_ADDRESS_INVALID");
    assert_eq!(
        app.post_with("bad", REQUEST, &rejected).await.body,
        first.body
    );
    assert_eq!(app.post_with("bad", REQUEST, &order()).await.status, 422);

    app.inbox.fail_next([Fault::OptedOut]);
    let first = request(&app, "opted").await;
    first.is_rejection("GENERAL_ERROR");
    assert_eq!(request(&app, "opted").await.body, first.body);
    assert_eq!(app.inbox.publishes(), 1);

    for _ in 0..10 {
        app.sent(&app.request_to(NUMBER).await);
    }
    let wait = request(&app, "limited").await.is_limited();
    assert_eq!(app.live_codes().await, 10);
    app.advance(Duration::from_secs(wait - 1));
    assert_eq!(request(&app, "limited").await.is_limited(), 1);
    app.advance(Duration::from_secs(1));
    let sent = app.sent(&request(&app, "limited").await);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn after_a_503_the_same_code_is_sent_again() {
    let app = App::start().await;
    app.sns.lose("Publish", vec![Fate::LostAfter; 4]);
    request(&app, "one").await.is_refusal(503, "GENERAL_ERROR");
    assert_eq!(app.live_codes().await, 0);
    assert_eq!(app.usage("demo").await.days[&DAY], (0, 0));
    let messages = app.messages().len();
    assert!(messages > 0, "SNS took the message, and nobody knew");

    let sent = app.sent(&request(&app, "one").await);
    assert_eq!(app.messages().len(), messages + 1);
    assert_eq!(codes(&app).len(), 1, "two messages, one code");
    assert_eq!(app.usage("demo").await.days[&DAY], (1, 1));
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

/// Has a function of its own make the call, and kills it when its call of AWS is held.
async fn kill(app: &App, path: &str, key: &str, body: &Value) {
    let request = Request::post(path)
        .header("X-API-KEY", API_KEY)
        .header("Idempotency-Key", key)
        .body(Body::from(body.to_string()))
        .unwrap();
    let function = if path == REQUEST {
        request_endpoint(app.fresh_powers())
    } else {
        validate_endpoint(app.fresh_powers().into())
    };
    let call = tokio::spawn(function.oneshot(request));
    tokio::select! {
        () = app.dynamodb.held() => {}
        () = app.sns.held() => {}
    }
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_request_that_was_killed_at_any_point_is_finished_by_the_next() {
    use Fate::{HeldAfter, HeldBefore};
    for (operation, fate, messages_before) in [
        ("PutItem", HeldBefore, 0),
        ("PutItem", HeldAfter, 0),
        ("UpdateItem RECIPIENT", HeldBefore, 0),
        ("UpdateItem RECIPIENT", HeldAfter, 0),
        ("UpdateItem CLIENT", HeldBefore, 0),
        ("UpdateItem CLIENT", HeldAfter, 0),
        ("Publish", HeldBefore, 0),
        ("Publish", HeldAfter, 1),
        ("UpdateItem", HeldBefore, 1),
        ("UpdateItem", HeldAfter, 1),
    ] {
        let point = format!("{operation} {fate:?}");
        let app = App::start().await;
        let wire = if operation == "Publish" {
            &app.sns
        } else {
            &app.dynamodb
        };
        wire.lose(operation, [fate]);
        kill(&app, REQUEST, "one", &order()).await;
        assert_eq!(app.messages().len(), messages_before, "{point}");

        let answer = request(&app, "one").await;
        let stored = point != "PutItem HeldBefore" && point != "UpdateItem HeldAfter";
        assert_eq!(answer.status == 409, stored, "{point}");
        if stored {
            assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 20);
            app.advance(Duration::from_secs(19));
            let answer = request(&app, "one").await;
            assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1);
            app.advance(Duration::from_secs(1));
        }
        let answer = request(&app, "one").await;
        let sent = app.sent(&answer);
        assert_eq!(request(&app, "one").await.body, answer.body, "{point}");
        assert_eq!(codes(&app).len(), 1, "{point}: one code");
        assert!(app.messages().len() <= messages_before + 1, "{point}");
        assert_eq!(app.verifications().await.len(), 1, "{point}");
        assert_eq!(
            app.usage("demo").await.days[&DAY],
            (1, 1),
            "{point}: charged once"
        );
        assert_eq!(
            app.recipient("demo", NUMBER).await.sends.len(),
            1,
            "{point}"
        );
        app.validate(&sent.code, &sent.request_id)
            .await
            .is(200, success());
    }
}

#[tokio::test]
async fn a_killed_request_whose_code_has_died_starts_afresh() {
    let app = App::start().await;
    app.sns.lose("Publish", [Fate::HeldBefore]);
    kill(&app, REQUEST, "one", &order()).await;
    app.advance(Duration::from_mins(5));
    let sent = app.sent(&request(&app, "one").await);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
    assert_eq!(app.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_identical_requests_at_once_one_is_sent() {
    let app = Arc::new(App::start_alone().await);
    for round in 1..=5 {
        let mut calls = JoinSet::new();
        for _ in 0..100 {
            let app = Arc::clone(&app);
            calls.spawn(
                async move { request(&app, &format!("round {round}").replace(' ', "-")).await },
            );
        }
        let mut ids = BTreeSet::new();
        for answer in calls.join_all().await {
            if answer.status == 409 {
                assert!((1..=20).contains(&answer.is_wait(409, "REQUEST_IN_PROGRESS")));
            } else {
                assert_eq!(answer.json()["status"], "ACCEPTED", "{answer:?}");
                ids.insert(answer.json()["request_id"].to_string());
            }
        }
        assert_eq!(ids.len(), 1, "one request id");
        assert_eq!(app.messages().len(), round, "one SMS");
        assert_eq!(app.recipient("demo", NUMBER).await.sends.len(), round);
        app.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn the_same_guess_gets_the_first_answer() {
    let app = App::start().await;
    let sent = app.send().await;
    let guess = |code: &str| json!({ "code": code, "request_id": sent.request_id });
    for _ in 0..10 {
        let wrong = guess(&sent.wrong_code());
        app.post_with("one", VALIDATE, &wrong)
            .await
            .is(200, not_matched());
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"].as_n().unwrap(), "1", "counted once");
    assert_eq!(
        app.recipient("demo", &app.messages()[0].to).await.failures,
        1
    );

    for _ in 0..3 {
        app.post_with("two", VALIDATE, &guess(&sent.code))
            .await
            .is(200, success());
    }
    app.post_with("three", VALIDATE, &guess(&sent.code))
        .await
        .is(404, not_found());
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(404, not_found());
    app.post_with("one", VALIDATE, &guess(&sent.wrong_code()))
        .await
        .is(200, not_matched());
}

#[tokio::test]
async fn a_guess_that_was_killed_is_answered_by_the_next() {
    for fate in [Fate::HeldBefore, Fate::HeldAfter] {
        let app = App::start().await;
        let sent = app.send().await;
        app.dynamodb.lose("UpdateItem", [fate]);
        let guess = json!({ "code": sent.code, "request_id": sent.request_id });
        kill(&app, VALIDATE, "one", &guess).await;
        app.post_with("one", VALIDATE, &guess)
            .await
            .is(200, success());
        let item = app.stored(&sent.request_id).await.unwrap();
        assert_eq!(item["attempts"].as_n().unwrap(), "1");
    }
}

#[tokio::test]
async fn a_wrong_guess_that_was_killed_still_counts_as_a_failure_once() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb
        .lose("UpdateItem RECIPIENT", [Fate::HeldBefore]);
    let guess = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
    kill(&app, VALIDATE, "one", &guess).await;
    let number = app.messages()[0].to.clone();
    assert_eq!(app.recipient("demo", &number).await.failures, 0);
    for _ in 0..2 {
        app.post_with("one", VALIDATE, &guess)
            .await
            .is(200, not_matched());
        assert_eq!(app.recipient("demo", &number).await.failures, 1);
    }
}
