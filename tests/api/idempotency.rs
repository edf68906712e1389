//! `Idempotency-Key`: a call may be repeated, whatever became of the first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use lambda_http::Body;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use twofa::domain::client::{Countries, Profile};
use twofa::domain::ids::{ClientId, TemplateId};
use twofa::domain::limits::{Limits, Window};
use twofa::http::{request_endpoint, validate_endpoint};
use twofa_local::inbox::InjectedError;

use crate::fault_proxy::NetworkFault;
use crate::harness::{
    API_KEY, Answer, App, DAY,
    Guess::{Right, Wrong},
    LOGIN, NUMBER, PAYMENT, REQUEST, START, Sent, VALIDATE, code_in,
};

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
    app.validate(&code, &request_id).await.is_success();
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
    app.validate(&later.code, &request_id).await.is_success();
}

#[tokio::test]
async fn a_repeatable_request_costs_what_any_does_and_a_replay_one_write() {
    let app = App::start().await;
    app.send().await;
    app.dynamodb.take_calls();
    request(&app, "one").await;
    let mut calls = app.dynamodb.take_operations();
    assert_eq!(calls[0], "TransactWriteItems");
    calls[1..].sort();
    assert_eq!(calls[1..], ["UpdateItem", "UpdateItem USAGE"]);
    request(&app, "one").await;
    assert_eq!(app.dynamodb.take_operations(), ["TransactWriteItems"]);
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
        json!({ "to": NUMBER, "template_id": NUMBER }),
        json!({ "to": "1", "template_id": LOGIN }),
    ] {
        app.post_with("one", REQUEST, &body)
            .await
            .is(422, error.clone());
    }
    assert_eq!(app.messages().len(), 1);
    app.sent(&app.post_with("two", REQUEST, &order()).await);

    let paid = |amount: &str| json!({ "to": NUMBER, "template_id": PAYMENT, "parameters": { "amount": amount } });
    app.advance(Duration::from_mins(1));
    app.sent(&app.post_with("paid", REQUEST, &paid("12.50")).await);
    let other = app.post_with("paid", REQUEST, &paid("12.5")).await;
    other.is(422, error);
}

#[tokio::test]
async fn a_test_number_is_compared_too_though_its_code_is_constant() {
    let app = App::start().await;
    let numbers = [NUMBER, "+447400123457"];
    let mut digests = Vec::new();
    for number in numbers {
        digests.push(app.recipient_digest("demo", number).await.encode());
    }
    let demo = ClientId::parse("demo").unwrap();
    let mut profile = app.directory.query(&demo).await.unwrap().unwrap().profile;
    profile.test_recipients.extend(digests);
    app.directory.put_profile(&demo, &profile).await.unwrap();
    for (to, status) in [(NUMBER, 200), (numbers[1], 422), (NUMBER, 200)] {
        let order = json!({ "to": to, "template_id": LOGIN });
        assert_eq!(app.post_with("one", REQUEST, &order).await.status, status);
    }
}

#[tokio::test]
async fn a_body_is_compared_by_what_it_means() {
    let app = App::start().await;
    let first = request(&app, "one").await;
    app.sent(&first);
    for body in [
        json!({ "to": "00447400123456", "template_id": LOGIN }),
        json!({ "to": "+44 (0)7400 123-456", "template_id": LOGIN.to_uppercase() }),
        json!({ "to": NUMBER, "template_id": LOGIN, "parameters": { "unused": 1 } }),
    ] {
        let again = app.post_with("one", REQUEST, &body).await;
        assert_eq!(
            (again.status, &again.body),
            (first.status, &first.body),
            "{body}"
        );
    }
    assert_eq!(app.messages().len(), 1);
}

#[tokio::test]
async fn what_an_operator_changes_does_not_change_the_first_answer() {
    let app = App::start().await;
    let first = request(&app, "one").await;
    app.sent(&first);
    let demo = ClientId::parse("demo").unwrap();
    let again = async |why: &str| {
        app.advance(Duration::from_secs(30));
        assert_eq!(request(&app, "one").await.body, first.body, "{why}");
    };
    app.add_template("demo", json!({ "id": LOGIN, "text": "${brand} ${code}" }))
        .await;
    again("the template has a new placeholder").await;
    let login = TemplateId::parse(LOGIN).unwrap();
    app.directory.remove_template(&demo, login).await.unwrap();
    again("the template is gone").await;
    let mut profile = app.directory.query(&demo).await.unwrap().unwrap().profile;
    profile.countries = Countries::Only(std::collections::BTreeSet::new());
    app.directory.put_profile(&demo, &profile).await.unwrap();
    again("the country is forbidden").await;
    assert_eq!(app.messages().len(), 1);
}

#[tokio::test]
async fn a_live_code_is_not_rejected_because_its_template_is_gone() {
    let app = App::start().await;
    app.sns.inject("Publish", [NetworkFault::LostAfter]);
    let (id, _) = request(&app, "one").await.is_unknown();
    let demo = ClientId::parse("demo").unwrap();
    let login = TemplateId::parse(LOGIN).unwrap();
    app.directory.remove_template(&demo, login).await.unwrap();
    app.advance(Duration::from_secs(31));
    assert_eq!(request(&app, "one").await.is_unknown().0, id);
    let code = codes(&app).pop_first().unwrap();
    app.validate(&code, &id).await.is_success();
}

#[tokio::test]
async fn a_request_id_cannot_be_found_by_trying_keys() {
    let mut ids = BTreeSet::new();
    for _ in 0..2 {
        let app = App::start().await;
        let answer = app.post_with(NUMBER, REQUEST, &order()).await;
        ids.insert(app.sent(&answer).request_id);
    }
    assert_eq!(ids.len(), 2, "the id depends on the stack's secret");
}

#[tokio::test]
async fn a_code_lives_its_whole_ttl_from_the_call_that_was_accepted() {
    let app = App::start().await;
    let limits = Limits {
        windows: vec![Window {
            sends: 1,
            seconds: 30,
        }],
        ..Limits::default()
    };
    let key = app
        .add(Profile {
            limits,
            ..Profile::new("shop", Countries::All)
        })
        .await;
    app.add_template("shop", json!({ "id": LOGIN, "ttl": 30, "max_attempts": 2 }))
        .await;
    app.sent(&app.request_as(&key, NUMBER).await);
    app.advance(Duration::from_secs(1));
    let headers = [("X-API-KEY", key.as_str()), ("Idempotency-Key", "two")];
    let again = async || {
        let body = order().to_string();
        app.call(reqwest::Method::POST, REQUEST, &headers, body)
            .await
    };
    assert_eq!(again().await.is_limited(), 29);
    app.advance(Duration::from_secs(29));
    let sent = app.sent(&again().await);
    app.advance(Duration::from_millis(29_999));
    let question = json!({ "code": sent.code, "request_id": sent.request_id });
    app.post_as(&key, VALIDATE, question).await.is_success();
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
async fn only_what_began_to_be_carried_out_is_remembered() {
    let app = App::start().await;
    let rejected = json!({ "to": "1", "template_id": LOGIN });
    let first = app.post_with("one", REQUEST, &rejected).await;
    first.is_rejection("DESTINATION_ADDRESS_INVALID");
    app.inbox.fail_next([InjectedError::OptedOut]);
    request(&app, "one").await.is_rejection("GENERAL_ERROR");
    app.inbox.fail_next([InjectedError::AuthorizationError]);
    request(&app, "one").await.is_refusal(503, "GENERAL_ERROR");
    app.sent(&request(&app, "one").await);
    assert_eq!(app.inbox.publishes(), 3);

    for _ in 0..9 {
        app.sent(&app.request_to(NUMBER).await);
    }
    let wait = request(&app, "limited").await.is_limited();
    assert_eq!(app.live_codes().await, 10);
    app.advance(Duration::from_secs(wait - 1));
    assert_eq!(request(&app, "limited").await.is_limited(), 1);
    app.advance(Duration::from_secs(1));
    let sent = app.sent(&request(&app, "limited").await);
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn what_may_have_been_sent_is_sent_again_with_the_same_code_and_uncharged() {
    let app = App::start().await;
    app.set_balance("demo", 10).await;
    app.sns.inject("Publish", [NetworkFault::LostAfter]);
    let (id, _) = request(&app, "one").await.is_unknown();
    assert_eq!(
        request(&app, "one")
            .await
            .is_wait(409, "REQUEST_IN_PROGRESS"),
        1
    );
    app.advance(Duration::from_secs(6));
    assert_eq!(
        request(&app, "one")
            .await
            .is_wait(409, "REQUEST_IN_PROGRESS"),
        24
    );
    app.advance(Duration::from_secs(24));
    let sent = app.sent(&request(&app, "one").await);
    assert_eq!((app.messages().len(), codes(&app).len()), (2, 1));
    assert_eq!(sent.request_id, id);
    let sends = app.recipient("demo", NUMBER).await.sends;
    assert_eq!(sends.len(), 2, "an entry for each message");
    app.advance(Duration::from_millis(299_999));
    app.validate(&sent.code, &id).await.is_success();
}

#[tokio::test]
async fn a_code_that_was_taken_over_dies_ten_minutes_after_it_began() {
    let app = App::start().await;
    app.sns.inject("Publish", [NetworkFault::LostAfter]);
    request(&app, "one").await.is_unknown();
    app.advance(Duration::from_secs(569));
    // Its first end is long past.
    let sent = app.sent(&request(&app, "one").await);
    assert_eq!(codes(&app).len(), 1, "the same code");
    app.advance(Duration::from_millis(30_999));
    app.guess(&sent, Wrong).await.is_not_matched();
    app.advance(Duration::from_millis(1));
    app.guess(&sent, Right).await.is_not_found();
}

#[tokio::test]
async fn a_code_that_is_void_or_guessed_out_is_followed_by_a_fresh_one() {
    let app = App::start().await;
    app.set_balance("demo", 10).await;
    for (key, ends) in [("old", "by time"), ("spent", "by guesses")] {
        app.sns.inject("Publish", [NetworkFault::LostAfter]);
        let (id, _) = request(&app, key).await.is_unknown();
        let first = codes(&app);
        let code = code_in(&app.messages()[0].text);
        if ends == "by time" {
            app.advance(Duration::from_secs(571));
        } else {
            let sent = Sent {
                request_id: id.clone(),
                code: code.clone(),
            };
            for _ in 0..5 {
                app.validate(&sent.wrong_code(), &id).await.is_not_matched();
            }
            app.advance(Duration::from_secs(30));
        }
        let sent = app.sent(&request(&app, key).await);
        assert_eq!(sent.request_id, id);
        assert!(!first.contains(&sent.code), "{ends}");
        app.validate(&code, &id).await.is_not_matched();
        app.validate(&sent.code, &id).await.is_success();
        app.advance(Duration::from_mins(1));
    }
}

#[tokio::test]
async fn a_code_that_is_guessed_out_is_followed_by_no_other_while_its_call_runs() {
    let app = App::start().await;
    app.sns.inject("Publish", [NetworkFault::HeldAfter]);
    kill(&app, REQUEST, "one", &order()).await;
    let answer = request(&app, "one").await;
    assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1);
    let item = app.verifications().await.remove(0);
    let sent = Sent {
        request_id: item["id"].as_s().unwrap().clone(),
        code: code_in(&app.messages()[0].text),
    };
    for _ in 0..5 {
        app.guess(&sent, Wrong).await.is_not_matched();
    }
    let answer = request(&app, "one").await;
    assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1);
    app.advance(Duration::from_secs(30));
    app.sent(&request(&app, "one").await);
    assert_eq!(codes(&app).len(), 2, "a fresh one");
}

#[tokio::test]
async fn an_accepted_request_stays_so_though_its_mark_was_lost() {
    let app = App::start().await;
    app.dynamodb
        .inject("UpdateItem", vec![NetworkFault::LostBefore; 10]);
    let first = app.sent(&request(&app, "one").await);
    assert_eq!(
        request(&app, "one")
            .await
            .is_wait(409, "REQUEST_IN_PROGRESS"),
        1
    );
    app.advance(Duration::from_secs(30));
    let again = app.sent(&request(&app, "one").await);
    assert_eq!(
        (again.request_id, &again.code),
        (first.request_id, &first.code)
    );
    let third = app.sent(&request(&app, "one").await);
    app.validate(&first.code, &third.request_id)
        .await
        .is_success();
}

/// Has a function of its own make the call, and kills it when its call of AWS is held.
async fn kill(app: &App, path: &str, key: &str, body: &Value) {
    let request = Request::post(path)
        .header("X-API-KEY", API_KEY)
        .header("Idempotency-Key", key)
        .body(Body::from(body.to_string()))
        .unwrap();
    let function = if path == REQUEST {
        request_endpoint(app.fresh_state())
    } else {
        validate_endpoint(app.fresh_state().into())
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
    use NetworkFault::{HeldAfter, HeldBefore};
    for (operation, fault, messages_before) in [
        ("TransactWriteItems", HeldBefore, 0),
        ("TransactWriteItems", HeldAfter, 0),
        ("Publish", HeldBefore, 0),
        ("Publish", HeldAfter, 1),
        ("UpdateItem", HeldBefore, 1),
        ("UpdateItem", HeldAfter, 1),
        ("UpdateItem USAGE", HeldBefore, 1),
    ] {
        let point = format!("{operation} {fault:?}");
        let app = App::start().await;
        let proxy = if operation == "Publish" {
            &app.sns
        } else {
            &app.dynamodb
        };
        proxy.inject(operation, [fault]);
        kill(&app, REQUEST, "one", &order()).await;
        assert_eq!(app.messages().len(), messages_before, "{point}");

        let mut answer = request(&app, "one").await;
        if answer.status == 409 {
            assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1, "it is young");
            app.advance(Duration::from_secs(29));
            let answer = request(&app, "one").await;
            assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1);
            app.advance(Duration::from_secs(1));
        }
        answer = request(&app, "one").await;
        let sent = app.sent(&answer);
        assert_eq!(request(&app, "one").await.body, answer.body, "{point}");
        assert_eq!(codes(&app).len(), 1, "{point}: one code");
        let messages = app.messages().len();
        assert!(messages <= messages_before + 1, "{point}");
        assert_eq!(app.verifications().await.len(), 1, "{point}");
        let sends = app.recipient("demo", NUMBER).await.sends;
        assert!((messages..=2).contains(&sends.len()), "{point}");
        app.guess(&sent, Right).await.is_success();
    }
}

#[tokio::test]
async fn a_killed_request_whose_code_has_died_starts_afresh() {
    let app = App::start().await;
    app.sns.inject("Publish", [NetworkFault::HeldBefore]);
    kill(&app, REQUEST, "one", &order()).await;
    app.advance(Duration::from_mins(10));
    let sent = app.sent(&request(&app, "one").await);
    app.advance(Duration::from_millis(299_999));
    app.guess(&sent, Right).await.is_success();
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
                assert_eq!(answer.is_wait(409, "REQUEST_IN_PROGRESS"), 1);
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
            .is_not_matched();
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
            .is_success();
    }
    app.post_with("three", VALIDATE, &guess(&sent.code))
        .await
        .is_not_found();
    app.guess(&sent, Right).await.is_not_found();
    app.post_with("one", VALIDATE, &guess(&sent.wrong_code()))
        .await
        .is_not_matched();
}

#[tokio::test]
async fn a_guess_that_was_killed_is_answered_by_the_next() {
    for fault in [NetworkFault::HeldBefore, NetworkFault::HeldAfter] {
        let app = App::start().await;
        let sent = app.send().await;
        app.dynamodb.inject("UpdateItem", [fault]);
        let guess = json!({ "code": sent.code, "request_id": sent.request_id });
        kill(&app, VALIDATE, "one", &guess).await;
        app.post_with("one", VALIDATE, &guess).await.is_success();
        let item = app.stored(&sent.request_id).await.unwrap();
        assert_eq!(item["attempts"].as_n().unwrap(), "1");
    }
}

#[tokio::test]
async fn a_wrong_guess_that_was_killed_still_counts_as_a_failure_once() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb
        .inject("UpdateItem RECIPIENT", [NetworkFault::HeldBefore]);
    let guess = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
    kill(&app, VALIDATE, "one", &guess).await;
    let number = app.messages()[0].to.clone();
    assert_eq!(app.recipient("demo", &number).await.failures, 0);
    for _ in 0..2 {
        app.post_with("one", VALIDATE, &guess)
            .await
            .is_not_matched();
        assert_eq!(app.recipient("demo", &number).await.failures, 1);
    }
}

#[tokio::test]
async fn two_guesses_that_are_repeated_in_turn_are_two_failures() {
    let app = App::start().await;
    let sent = app.sent(&app.request_to(NUMBER).await);
    let failed_at = async || app.recipient("demo", NUMBER).await.failed_at;
    for round in 0..40 {
        for key in ["g1", "g2"] {
            let guess = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
            app.post_with(key, VALIDATE, &guess).await.is_not_matched();
        }
        assert_eq!(app.recipient("demo", NUMBER).await.failures, 2, "{round}");
        assert_eq!(failed_at().await, Some(START), "a repeat prolongs no lock");
        app.advance(Duration::from_secs(1));
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"].as_n().unwrap(), "2");
}

#[tokio::test]
async fn a_guess_that_is_repeated_after_the_right_one_changes_no_failures() {
    let app = App::start().await;
    let sent = app.sent(&app.request_to(NUMBER).await);
    let guess = |code: &str| json!({ "code": code, "request_id": sent.request_id });
    let (wrong, right) = (guess(&sent.wrong_code()), guess(&sent.code));
    app.post_with("wrong", VALIDATE, &wrong)
        .await
        .is_not_matched();
    app.post_with("right", VALIDATE, &right).await.is_success();
    app.post_with("wrong", VALIDATE, &wrong)
        .await
        .is_not_matched();
    assert_eq!(
        app.recipient("demo", NUMBER).await.failures,
        0,
        "it was forgotten"
    );

    app.advance(Duration::from_mins(6));
    let other = app.sent(&app.request_to(NUMBER).await);
    app.guess(&other, Wrong).await.is_not_matched();
    app.post_with("right", VALIDATE, &right).await.is_success();
    assert_eq!(
        app.recipient("demo", NUMBER).await.failures,
        1,
        "a later one stays"
    );
}
