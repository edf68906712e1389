//! `POST …/2fa/validate`, row by row of the wire contract.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;

use crate::harness::{
    API_KEY, App,
    Guess::{Right, Wrong},
    LOGIN, NUMBER, REQUEST, Sent, VALIDATE,
};

#[tokio::test]
async fn the_right_code_succeeds_once() {
    let app = App::start().await;
    let Sent { request_id, code } = app.send().await;
    app.validate(&code, &request_id).await.is_success();
    app.validate(&code, &request_id).await.is_not_found();
    let item = app.stored(&request_id).await.unwrap();
    assert_eq!(item["state"], AttributeValue::S("verified".to_owned()));
    assert_eq!(item["attempts"], AttributeValue::N("1".to_owned()));
    assert_eq!(app.messages().len(), 1);
}

#[tokio::test]
async fn a_wrong_code_is_counted_and_the_right_one_still_succeeds() {
    let app = App::start().await;
    let sent = app.send().await;
    app.guess(&sent, Wrong).await.is_not_matched();
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("1".to_owned()));
    assert_eq!(item["state"], AttributeValue::S("open".to_owned()));
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn the_right_code_on_the_last_guess_succeeds() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..4 {
        app.guess(&sent, Wrong).await.is_not_matched();
    }
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn after_the_last_guess_the_code_is_exhausted() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..5 {
        app.guess(&sent, Wrong).await.is_not_matched();
    }
    for code in [&sent.code, &sent.wrong_code()] {
        app.validate(code, &sent.request_id).await.is_not_found();
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("5".to_owned()));
}

#[tokio::test]
async fn the_template_says_how_many_guesses_there_are() {
    let app = App::start().await;
    app.add_template("demo", json!({ "id": LOGIN, "max_attempts": 1 }))
        .await;
    let sent = app.send().await;
    app.guess(&sent, Wrong).await.is_not_matched();
    app.guess(&sent, Right).await.is_not_found();
    let sent = app.send().await;
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn a_code_lives_exactly_as_long_as_its_ttl() {
    let app = App::start().await;
    let (last, late) = (app.send().await, app.send().await);
    app.advance(Duration::from_mins(5) - Duration::from_millis(1));
    app.guess(&last, Right).await.is_success();
    app.advance(Duration::from_millis(1));
    app.guess(&late, Right).await.is_not_found();
}

#[tokio::test]
async fn spaces_and_hyphens_are_ignored_and_digits_of_any_script_count() {
    let app = App::start().await;
    let Sent { request_id, code } = app.send().await;
    let guess = format!(" {}-{} ", &code[..3], &code[3..]);
    app.validate(&guess, &request_id).await.is_success();
    for zero in ['٠', '۰', '०', '０', '𝟎'] {
        let Sent { request_id, code } = app.send().await;
        let digits = code.chars().filter_map(|digit| digit.to_digit(10));
        let guess = digits.filter_map(|digit| char::from_u32(u32::from(zero) + digit));
        let guess: String = guess.collect();
        app.validate(&guess, &request_id).await.is_success();
    }
    // A wrong code in another script is counted like any other.
    let sent = app.send().await;
    app.validate("٤٣٢١٠٩", &sent.request_id)
        .await
        .is_not_matched();
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("1".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_a_code_is_read_and_not_counted() {
    let app = App::start().await;
    let sent = app.send().await;
    let before = app.everything_stored().await;
    let no_codes = [
        String::new(),
        " - ".to_owned(),
        "12".to_owned(),
        "abcdef".to_owned(),
        "12345678901".to_owned(),
        format!("{}.", sent.code),
        format!("{}\u{200b}", sent.code),
        format!("{}½", sent.code),
    ];
    app.dynamodb.take_calls();
    for code in &no_codes {
        app.validate(code, &sent.request_id).await.is_not_matched();
        let key = [("X-API-KEY", API_KEY), ("Idempotency-Key", "once")];
        let question = json!({ "code": code, "request_id": sent.request_id }).to_string();
        app.call(reqwest::Method::POST, VALIDATE, &key, question)
            .await
            .is_not_matched();
    }
    let calls = app.dynamodb.take_calls();
    assert_eq!(calls.len(), 2 * no_codes.len());
    for call in calls {
        assert_eq!((call.operation.as_str(), call.units), ("GetItem", 1.0));
    }
    assert_eq!(app.everything_stored().await, before);
    app.guess(&sent, Right).await.is_success();
    // It is no oracle: where a wrong code is not found, so is what cannot be one.
    let other = app.add_client("other", &["*"]).await;
    let (open, exhausted, outlived) = (app.send().await, app.send().await, app.send().await);
    for _ in 0..5 {
        app.guess(&exhausted, Wrong).await.is_not_matched();
    }
    for id in [&sent.request_id, &exhausted.request_id, UNKNOWN] {
        app.validate("12", id).await.is_not_found();
    }
    let question = json!({ "code": "12", "request_id": open.request_id });
    app.post_as(&other, VALIDATE, question).await.is_not_found();
    app.advance(Duration::from_mins(5));
    app.validate("12", &outlived.request_id)
        .await
        .is_not_found();
}

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

#[tokio::test]
async fn an_unknown_request_is_not_found() {
    let app = App::start().await;
    let Sent { request_id, code } = app.send().await;
    app.dynamodb.take_calls();
    let braced = format!("{{{request_id}}}");
    let simple = request_id.replace('-', "");
    for id in ["", "x", &braced, &simple, &format!(" {request_id}")] {
        app.validate(&code, id).await.is_not_found();
    }
    assert!(
        app.dynamodb.take_calls().is_empty(),
        "what is no UUID is not asked for"
    );
    app.validate(&code, UNKNOWN).await.is_not_found();
    assert_eq!(app.verifications().await.len(), 1, "asking makes no item");
    app.validate(&code, &request_id.to_uppercase())
        .await
        .is_success();
}

#[tokio::test]
async fn nothing_crosses_clients() {
    let app = App::start().await;
    let other = app.add_client("other", &["*"]).await;
    let Sent { request_id, code } = app.send().await;
    let question = json!({ "code": code, "request_id": request_id });
    app.post_as(&other, VALIDATE, question).await.is_not_found();
    let item = app.stored(&request_id).await.unwrap();
    assert_eq!(
        item["attempts"],
        AttributeValue::N("0".to_owned()),
        "nor is it counted"
    );
    app.validate(&code, &request_id).await.is_success();

    let order = json!({ "to": NUMBER, "template_id": LOGIN });
    let theirs = app.sent(&app.post_as(&other, REQUEST, order).await);
    let ours = app.stored(&request_id).await.unwrap();
    let theirs = app.stored(&theirs.request_id).await.unwrap();
    assert_ne!(
        ours["recipient"], theirs["recipient"],
        "one person is two recipients to two clients"
    );
}

#[tokio::test]
async fn every_problem_of_a_body_is_told_at_once() {
    let app = App::start().await;
    let answer = app.post(VALIDATE, json!({ "code": 123_456 })).await;
    answer.is_invalid(&[
        ("code", "must be a string"),
        ("request_id", "is required and must be a string"),
    ]);
    app.post(VALIDATE, json!([]))
        .await
        .is_invalid(&[("", "must be a JSON object in UTF-8")]);
}

#[tokio::test]
async fn a_right_first_guess_is_one_write_of_one_unit_and_a_wrong_one_two() {
    let app = App::start().await;
    let (right, wrong) = (app.send().await, app.send().await);
    app.dynamodb.take_calls();
    let cost = async |code: &str, sent: &Sent| -> Vec<(String, f64)> {
        app.validate(code, &sent.request_id).await;
        let calls = app.dynamodb.take_calls().into_iter();
        calls.map(|call| (call.operation, call.units)).collect()
    };
    let guess = ("UpdateItem".to_owned(), 1.0);
    let recipient = ("UpdateItem RECIPIENT".to_owned(), 1.0);
    assert_eq!(
        cost(&right.code, &right).await,
        std::slice::from_ref(&guess)
    );
    let two = [guess, recipient];
    assert_eq!(
        cost(&wrong.wrong_code(), &wrong).await,
        two,
        "the failure is counted"
    );
    assert_eq!(cost(&wrong.code, &wrong).await, two, "and forgotten");
    // A failed condition is charged too, but DynamoDB does not tell.
    let spent = cost(&wrong.code, &wrong).await;
    assert_eq!(spent.len(), 1, "nothing is counted at an exhausted code");
}

#[tokio::test]
async fn an_item_with_ten_attempts_still_costs_one_unit() {
    let app = App::start().await;
    let key = app.add_client(&"c".repeat(32), &["*"]).await;
    app.add_template(
        &"c".repeat(32),
        json!({ "id": LOGIN, "max_attempts": 10, "code_length": 10 }),
    )
    .await;
    let order = json!({ "to": "+8613812345678", "template_id": LOGIN });
    let sent = app.sent(&app.post_as(&key, REQUEST, order).await);
    for _ in 0..9 {
        let question = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
        app.post_as(&key, VALIDATE, question).await.is_not_matched();
    }
    app.dynamodb.take_calls();
    let question = json!({ "code": sent.code, "request_id": sent.request_id });
    app.post_as(&key, VALIDATE, question).await.is_success();
    let calls = app.dynamodb.take_calls();
    assert!(calls.iter().all(|call| call.units <= 1.0), "{calls:?}");
    assert_eq!(calls[0].operation, "UpdateItem");
}
