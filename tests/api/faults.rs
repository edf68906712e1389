//! A network that loses calls, and services that fail.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use twofa::aws::{CALL_TIMEOUT, GUESS_TIMEOUT, PUBLISH_TIMEOUT};
use twofa_local::inbox::Fault;

use crate::harness::{App, DAY, NUMBER, code_in, not_found, not_matched, success};
use crate::wire::Fate;

#[tokio::test]
async fn a_right_code_whose_answer_is_lost_succeeds_exactly_once() {
    let app = App::start().await;
    for lost in 1..=3 {
        let sent = app.send().await;
        app.dynamodb.take_calls();
        app.dynamodb.lose("UpdateItem", vec![Fate::LostAfter; lost]);
        app.validate(&sent.code, &sent.request_id)
            .await
            .is(200, success());
        assert_eq!(
            app.dynamodb.take_calls().len(),
            lost + 1,
            "the write was repeated"
        );
        let item = app.stored(&sent.request_id).await.unwrap();
        assert_eq!(
            item["attempts"],
            AttributeValue::N("1".to_owned()),
            "and counted once"
        );
        app.validate(&sent.code, &sent.request_id)
            .await
            .is(404, not_found());
    }
}

#[tokio::test]
async fn a_wrong_code_whose_answer_is_lost_is_counted_once() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..5 {
        app.dynamodb
            .lose("UpdateItem", [Fate::LostAfter, Fate::LostAfter]);
        app.validate(&sent.wrong_code(), &sent.request_id)
            .await
            .is(200, not_matched());
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("5".to_owned()));
}

#[tokio::test]
async fn a_right_code_on_the_last_guess_survives_a_lost_answer() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..4 {
        app.validate(&sent.wrong_code(), &sent.request_id)
            .await
            .is(200, not_matched());
    }
    app.dynamodb.lose("UpdateItem", [Fate::LostAfter]);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn a_right_code_outlives_a_network_that_falls_silent() {
    let app = App::start().await;
    let sent = app.send().await;
    let silent = [Fate::HeldAfter, Fate::HeldBefore, Fate::HeldAfter];
    app.dynamodb.lose("UpdateItem", silent);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn retries_do_not_run_out_in_an_outage() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb.down(true);
    for _ in 0..40 {
        app.advance(Duration::from_secs(1));
        let unknown = format!("2fa_unknown_{}", "x".repeat(43));
        app.request_as(&unknown, NUMBER)
            .await
            .is_refusal(503, "GENERAL_ERROR");
    }
    app.dynamodb.down(false);
    app.dynamodb
        .lose("UpdateItem", [Fate::LostAfter, Fate::LostAfter]);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn a_silent_message_service_is_not_asked_again() {
    let app = App::start().await;
    app.send().await;
    app.sns.lose("Publish", [Fate::HeldAfter]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    assert_eq!(
        (app.messages().len(), app.live_codes().await),
        (2, 1),
        "sent once, and dead"
    );
}

/// The sum of all that one call waits for must leave time to answer.
#[test]
fn a_function_answers_before_lambda_ends_it() {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/template.yaml"));
    let template = template.unwrap();
    let timeout = template
        .lines()
        .find_map(|line| line.trim().strip_prefix("Timeout: "));
    let seconds = timeout.unwrap().split(' ').next().unwrap().parse().unwrap();
    // Secret, client, charges, store, publish, give back, kill.
    let request = 6 * CALL_TIMEOUT + PUBLISH_TIMEOUT;
    // Secret, client, guess, failures.
    let validate = 3 * CALL_TIMEOUT + GUESS_TIMEOUT;
    assert!(request.max(validate) + Duration::from_secs(1) < Duration::from_secs(seconds));
}

#[tokio::test]
async fn a_guess_that_was_never_counted_may_be_made_again() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb.down(true);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.dynamodb.down(false);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn a_request_survives_any_lost_call_and_is_charged_once() {
    let app = App::start().await;
    let operations = [
        "Query",
        "UpdateItem RECIPIENT",
        "UpdateItem CLIENT",
        "PutItem",
        "UpdateItem",
    ];
    let mut requests = 0;
    for operation in operations {
        for fate in [Fate::LostBefore, Fate::LostAfter] {
            app.advance(Duration::from_mins(1));
            app.dynamodb.lose(operation, [fate, fate]);
            let sent = app.send().await;
            requests += 1;
            assert_eq!(
                app.verifications().await.len(),
                requests,
                "{operation} {fate:?}"
            );
            assert_eq!(app.messages().len(), requests, "{operation} {fate:?}");
            assert_eq!(
                app.usage("demo").await.days[&DAY],
                (requests as u64, requests as u64)
            );
            let recipient = app.recipient("demo", &app.messages()[0].to).await;
            assert_eq!(recipient.sends.len(), 1, "{operation} {fate:?}");
            app.validate(&sent.code, &sent.request_id)
                .await
                .is(200, success());
        }
    }
}

#[tokio::test]
async fn a_message_that_is_sent_twice_bears_the_same_code() {
    let app = App::start().await;
    app.sns.lose("Publish", [Fate::LostAfter]);
    let sent = app.send().await;
    let codes: Vec<_> = app
        .messages()
        .iter()
        .map(|message| code_in(&message.text))
        .collect();
    assert_eq!(codes, [sent.code.clone(), sent.code.clone()]);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn a_code_that_could_not_be_marked_as_sent_is_still_accepted() {
    let app = App::start().await;
    app.dynamodb.lose("UpdateItem", vec![Fate::LostBefore; 4]);
    let sent = app.send().await;
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["state"], AttributeValue::S("stored".to_owned()));
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn without_dynamodb_nothing_is_sent_and_nothing_charged() {
    let app = App::start().await;
    app.dynamodb.down(true);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.dynamodb.down(false);
    for operation in ["UpdateItem RECIPIENT", "UpdateItem CLIENT", "PutItem"] {
        app.dynamodb.lose(operation, vec![Fate::LostBefore; 4]);
        app.request_to(NUMBER)
            .await
            .is_refusal(503, "GENERAL_ERROR");
        nothing_is_charged(&app).await;
    }
    app.nothing_happened().await;
}

#[tokio::test]
async fn a_code_whose_every_answer_is_lost_is_dead() {
    let app = App::start().await;
    app.dynamodb.lose("PutItem", vec![Fate::LostAfter; 4]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    assert_eq!(
        (app.verifications().await.len(), app.live_codes().await),
        (1, 0)
    );
    nothing_is_charged(&app).await;
}

#[tokio::test]
async fn nobody_is_told_the_id_of_a_code_that_could_not_be_killed() {
    let app = App::start().await;
    app.inbox.fail_next([Fault::OptedOut]);
    app.dynamodb.lose("UpdateItem", vec![Fate::LostBefore; 4]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
}

#[tokio::test]
async fn what_cannot_get_better_is_a_500() {
    let app = App::start().await;
    app.drop_verifications().await;
    app.request_to(NUMBER)
        .await
        .is_refusal(500, "GENERAL_ERROR");
    assert!(
        crate::log::text().contains("ResourceNotFoundException"),
        "the log tells why"
    );
    let id = "00000000-0000-4000-8000-000000000000";
    app.validate("123456", id)
        .await
        .is_refusal(500, "GENERAL_ERROR");
}

#[tokio::test]
async fn a_charge_whose_every_answer_is_lost_is_given_back() {
    let app = App::start().await;
    for operation in ["UpdateItem RECIPIENT", "UpdateItem CLIENT"] {
        app.dynamodb.lose(operation, vec![Fate::LostAfter; 4]);
        app.request_to(NUMBER)
            .await
            .is_refusal(503, "GENERAL_ERROR");
        nothing_is_charged(&app).await;
    }
    app.nothing_happened().await;
}

#[tokio::test]
async fn without_sns_no_code_is_alive_and_nothing_charged() {
    let app = App::start().await;
    app.sns.lose("Publish", vec![Fate::LostBefore; 4]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    nothing_is_charged(&app).await;
    for fault in [Fault::Throttled, Fault::InternalError] {
        app.inbox.fail_next(vec![fault; 4]);
        app.request_to(NUMBER)
            .await
            .is_refusal(503, "GENERAL_ERROR");
        nothing_is_charged(&app).await;
    }
    app.inbox.fail_next([Fault::OptedOut]);
    app.request_to(NUMBER).await.is_rejection("GENERAL_ERROR");
    nothing_is_charged(&app).await;
    assert_eq!((app.live_codes().await, app.messages().len()), (0, 0));
}

async fn nothing_is_charged(app: &App) {
    let usage = app.usage("demo").await;
    assert!(
        usage.days.values().all(|counts| *counts == (0, 0)),
        "{usage:?}"
    );
    let sends = app.recipient("demo", NUMBER).await.sends;
    assert!(sends.is_empty(), "{sends:?}");
}

#[tokio::test]
async fn a_passing_fault_of_sns_is_bridged() {
    let app = App::start().await;
    app.inbox
        .fail_next([Fault::Throttled, Fault::InternalError]);
    let sent = app.send().await;
    assert_eq!((app.inbox.publishes(), app.messages().len()), (3, 1));
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
}

#[tokio::test]
async fn the_secret_is_read_every_hour_and_an_old_one_serves_on() {
    let app = App::start().await;
    app.sns.lose("GetSecretValue", vec![Fate::LostBefore; 4]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.nothing_happened().await;

    app.send().await;
    app.advance(Duration::from_hours(1) - Duration::from_millis(1));
    app.send().await;
    assert_eq!(
        app.sns.take_operations(),
        ["GetSecretValue", "Publish", "Publish"]
    );

    app.advance(Duration::from_millis(1));
    let sent = app.send().await;
    assert_eq!(app.sns.take_operations(), ["GetSecretValue", "Publish"]);

    app.advance(Duration::from_hours(1));
    app.sns.lose("GetSecretValue", vec![Fate::LostBefore; 4]);
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(404, not_found());
    let sent = app.send().await;
    app.validate(&sent.code, &sent.request_id)
        .await
        .is(200, success());
    assert_eq!(
        app.sns.take_operations(),
        ["Publish"],
        "not asked again at once"
    );
    app.advance(Duration::from_mins(1));
    app.send().await;
    assert_eq!(app.sns.take_operations(), ["GetSecretValue", "Publish"]);
}
