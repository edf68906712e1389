//! A network that loses calls, and services that fail.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use twofa::aws::{BEGIN_TIMEOUT, CALL_TIMEOUT, GUESS_TIMEOUT, PUBLISH_TIMEOUT, UNDO_TIMEOUT};
use twofa::domain::client::{Countries, Profile};
use twofa_local::inbox::InjectedError;

use crate::fault_proxy::NetworkFault;
use crate::harness::{
    App, DAY,
    Guess::{Right, Wrong},
    NUMBER, VALIDATE, code_in,
};

#[tokio::test]
async fn a_right_code_whose_answer_is_lost_succeeds_exactly_once() {
    let app = App::start().await;
    for lost in 1..=3 {
        let sent = app.send().await;
        app.dynamodb.take_calls();
        app.dynamodb
            .inject("UpdateItem", vec![NetworkFault::LostAfter; lost]);
        app.guess(&sent, Right).await.is_success();
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
        app.guess(&sent, Right).await.is_not_found();
    }
}

#[tokio::test]
async fn a_wrong_code_whose_answer_is_lost_is_counted_once() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..5 {
        app.dynamodb.inject(
            "UpdateItem",
            [NetworkFault::LostAfter, NetworkFault::LostAfter],
        );
        app.guess(&sent, Wrong).await.is_not_matched();
    }
    let item = app.stored(&sent.request_id).await.unwrap();
    assert_eq!(item["attempts"], AttributeValue::N("5".to_owned()));
}

#[tokio::test]
async fn a_right_code_on_the_last_guess_survives_a_lost_answer() {
    let app = App::start().await;
    let sent = app.send().await;
    for _ in 0..4 {
        app.guess(&sent, Wrong).await.is_not_matched();
    }
    app.dynamodb.inject("UpdateItem", [NetworkFault::LostAfter]);
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn a_right_code_outlives_a_network_that_falls_silent() {
    let app = App::start().await;
    let sent = app.send().await;
    let silent = [
        NetworkFault::HeldAfter,
        NetworkFault::HeldBefore,
        NetworkFault::HeldAfter,
    ];
    app.dynamodb.inject("UpdateItem", silent);
    app.guess(&sent, Right).await.is_success();
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
    app.dynamodb.inject(
        "UpdateItem",
        [NetworkFault::LostAfter, NetworkFault::LostAfter],
    );
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn what_may_have_been_sent_stays_charged_and_alive() {
    for fault in [
        NetworkFault::HeldAfter,
        NetworkFault::LostAfter,
        NetworkFault::Emptied,
        NetworkFault::Cut,
        NetworkFault::Replaced,
    ] {
        let app = App::start().await;
        crate::log::clear();
        let key = app.add(Profile::new("shop", Countries::All)).await;
        app.sns.inject("Publish", [fault]);
        let (id, wait) = app.request_as(&key, NUMBER).await.is_unknown();
        assert_eq!(wait, 30, "{fault:?}: when the window allows the next");
        assert_eq!(app.messages().len(), 1, "{fault:?}: it is not sent again");
        let code = code_in(&app.messages()[0].text);
        assert_eq!(app.usage("shop").await.days[&DAY], (1, 1), "{fault:?}");
        let sends = app.recipient("shop", NUMBER).await.sends;
        assert_eq!(sends.len(), 1, "{fault:?}");
        let parts = crate::log::lines(|line| line["Parts"] == 1);
        assert_eq!(parts.len(), 1, "{fault:?}: the metrics count it");
        app.request_as(&key, NUMBER).await.is_limited();
        let question = json!({ "code": code, "request_id": id });
        app.post_as(&key, VALIDATE, question).await.is_success();
    }
}

#[tokio::test]
async fn a_success_without_what_was_asked_for_is_no_answer() {
    for fault in [
        NetworkFault::Emptied,
        NetworkFault::Cut,
        NetworkFault::Replaced,
    ] {
        let app = App::start().await;
        for operation in [
            "Query",
            "TransactWriteItems",
            "UpdateItem",
            "UpdateItem USAGE",
        ] {
            app.dynamodb.inject(operation, [fault]);
        }
        app.sns.inject("GetSecretValue", [fault]);
        let sent = app.send().await;
        assert_eq!(app.messages().len(), 1, "{fault:?}");
        app.dynamodb.inject("UpdateItem", [fault, fault]);
        app.dynamodb
            .inject("UpdateItem RECIPIENT", vec![NetworkFault::Conflicts; 6]);
        app.guess(&sent, Wrong).await.is_not_matched();
        let number = app.messages()[0].to.clone();
        assert_eq!(app.recipient("demo", &number).await.failures, 1);
        app.dynamodb.inject("UpdateItem", [fault, fault]);
        app.guess(&sent, Right).await.is_success();
        // A client that cannot be read is not taken to be unknown, nor remembered so.
        app.advance(Duration::from_secs(30));
        app.dynamodb.inject("Query", vec![fault; 4]);
        app.request_to(NUMBER)
            .await
            .is_refusal(503, "GENERAL_ERROR");
        app.sns.inject("GetSecretValue", vec![fault; 4]);
        app.sent(&app.request_to(NUMBER).await);
    }
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
    // Client and secret, begin, caps, publish, then the mark or the undo.
    let request = 2 * CALL_TIMEOUT
        + BEGIN_TIMEOUT
        + CALL_TIMEOUT
        + PUBLISH_TIMEOUT
        + UNDO_TIMEOUT.max(GUESS_TIMEOUT);
    // Client, secret, guess, failure.
    let validate = 3 * CALL_TIMEOUT + GUESS_TIMEOUT;
    assert!(request.max(validate) + Duration::from_secs(1) < Duration::from_secs(seconds));
}

#[tokio::test]
async fn a_guess_that_was_never_counted_may_be_made_again() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb.down(true);
    app.guess(&sent, Right)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.dynamodb.down(false);
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn a_request_survives_any_lost_call_and_is_charged_once() {
    let app = App::start().await;
    let operations = ["Query", "TransactWriteItems", "UpdateItem"];
    let mut requests = 0;
    for operation in operations {
        for fault in [NetworkFault::LostBefore, NetworkFault::LostAfter] {
            app.advance(Duration::from_mins(1));
            app.dynamodb.inject(operation, [fault, fault]);
            let sent = app.send().await;
            requests += 1;
            assert_eq!(
                app.verifications().await.len(),
                requests,
                "{operation} {fault:?}"
            );
            assert_eq!(app.messages().len(), requests, "{operation} {fault:?}");
            assert_eq!(
                app.usage("demo").await.days[&DAY],
                (requests as u64, requests as u64)
            );
            let recipient = app.recipient("demo", &app.messages()[0].to).await;
            assert_eq!(recipient.sends.len(), 1, "{operation} {fault:?}");
            app.guess(&sent, Right).await.is_success();
        }
    }
}

#[tokio::test]
async fn a_code_that_could_not_be_marked_as_sent_is_still_accepted() {
    let app = App::start().await;
    app.dynamodb
        .inject("UpdateItem", vec![NetworkFault::LostBefore; 10]);
    let sent = app.send().await;
    let item = app.stored(&sent.request_id).await.unwrap();
    let first = &item["sends"].as_m().unwrap()["first"].as_m().unwrap();
    assert_eq!(first["state"], AttributeValue::S("stored".to_owned()));
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn without_dynamodb_nothing_is_sent_and_nothing_charged() {
    let app = App::start_jumping().await;
    app.dynamodb.down(true);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.dynamodb.down(false);
    app.dynamodb
        .inject("TransactWriteItems", vec![NetworkFault::HeldBefore; 5]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    nothing_is_charged(&app).await;
    assert_eq!((app.live_codes().await, app.messages().len()), (0, 0));
}

#[tokio::test]
async fn a_begin_whose_every_answer_is_lost_is_undone() {
    let app = App::start_jumping().await;
    app.set_balance("demo", 10).await;
    app.dynamodb
        .inject("TransactWriteItems", vec![NetworkFault::HeldAfter; 5]);
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
async fn a_rejection_needs_an_undo_that_was_answered() {
    let app = App::start_jumping().await;
    app.send().await;
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.dynamodb
        .inject("TransactWriteItems", [NetworkFault::Conflicts]);
    app.request_to(&app.somebody())
        .await
        .is_rejection("GENERAL_ERROR");
    let number = app.somebody();
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.dynamodb.schedule(crate::fault_proxy::FaultSchedule {
        operation: "TransactWriteItems".to_owned(),
        spared: 1,
        fault: NetworkFault::LostBefore,
        times: crate::fault_proxy::Times::Always,
    });
    app.request_to(&number)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.dynamodb.heal().await;
    assert_eq!(
        app.recipient("demo", &number).await.sends.len(),
        1,
        "the charge stays"
    );
    assert!(
        crate::log::text().contains("failed to undo"),
        "and the log tells"
    );
}

#[tokio::test]
async fn a_transaction_is_tried_for_as_long_as_another_holds_its_items() {
    let app = App::start_jumping().await;
    app.dynamodb
        .inject("TransactWriteItems", vec![NetworkFault::Conflicts; 15]);
    app.send().await;
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.dynamodb.schedule(crate::fault_proxy::FaultSchedule {
        operation: "TransactWriteItems".to_owned(),
        spared: 1,
        fault: NetworkFault::InProgress,
        times: crate::fault_proxy::Times::Thrice,
    });
    app.request_to(NUMBER).await.is_rejection("GENERAL_ERROR");
    assert!(app.recipient("demo", NUMBER).await.sends.is_empty());
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
async fn without_sns_no_code_is_alive_and_nothing_charged() {
    let app = App::start().await;
    app.set_balance("demo", 10).await;
    app.inbox.fail_next(vec![InjectedError::Throttled; 4]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    nothing_is_charged(&app).await;
    app.inbox.fail_next([InjectedError::AuthorizationError]);
    app.request_to(NUMBER)
        .await
        .is_refusal(503, "GENERAL_ERROR");
    nothing_is_charged(&app).await;
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.request_to(NUMBER).await.is_rejection("GENERAL_ERROR");
    nothing_is_charged(&app).await;
    assert_eq!((app.live_codes().await, app.messages().len()), (0, 0));
}

#[tokio::test]
async fn one_attempt_that_may_have_sent_makes_all_of_them_unknown() {
    let app = App::start().await;
    app.sns.inject("Publish", [NetworkFault::LostAfter]);
    let (id, _) = app.request_to(NUMBER).await.is_unknown();
    assert_eq!(
        app.inbox.publishes(),
        1,
        "what may be sent is not sent again"
    );
    let code = code_in(&app.messages()[0].text);
    app.validate(&code, &id).await.is_success();
    // SNS itself says that it failed: it may have sent the message all the same.
    app.inbox
        .fail_next([InjectedError::InternalError, InjectedError::OptedOut]);
    app.request_to(&app.somebody()).await.is_unknown();
    assert_eq!(app.inbox.publishes(), 2);
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
        .fail_next([InjectedError::Throttled, InjectedError::Throttled]);
    let sent = app.send().await;
    assert_eq!((app.inbox.publishes(), app.messages().len()), (3, 1));
    app.guess(&sent, Right).await.is_success();
}

#[tokio::test]
async fn the_secret_is_read_every_hour_and_an_old_one_serves_on() {
    let app = App::start().await;
    app.sns
        .inject("GetSecretValue", vec![NetworkFault::LostBefore; 4]);
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
    app.sns
        .inject("GetSecretValue", vec![NetworkFault::LostBefore; 4]);
    app.guess(&sent, Right).await.is_not_found();
    let sent = app.send().await;
    app.guess(&sent, Right).await.is_success();
    assert_eq!(
        app.sns.take_operations(),
        ["Publish"],
        "not asked again at once"
    );
    app.advance(Duration::from_mins(1));
    app.send().await;
    assert_eq!(app.sns.take_operations(), ["GetSecretValue", "Publish"]);
}

#[tokio::test]
async fn a_connection_that_died_while_it_was_idle_is_not_used() {
    let app = App::start().await;
    let sent = app.send().await;
    app.dynamodb.silence();
    app.sns.silence();
    // The pool goes by the clock of the system.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    app.send().await;
    app.guess(&sent, Right).await.is_success();
    assert_eq!(app.messages().len(), 2);
}
