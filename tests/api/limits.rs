//! Who is let in how often: recipients, clients, the stack.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use twofa::domain::client::{Countries, Profile};
use twofa::domain::ids::ClientId;
use twofa::domain::limits::{Limits, Window};
use twofa::domain::phone::PhoneNumber;
use twofa_local::inbox::InjectedError;

use crate::harness::{
    App, DAY,
    Guess::{Right, Wrong},
    LOGIN, NUMBER, REQUEST, START, VALIDATE, not_matched, success,
};

const ROUNDS: usize = 5;

fn client(limits: Limits) -> Profile {
    Profile {
        limits,
        ..Profile::new("limited", Countries::All)
    }
}

fn windows(windows: &[(u16, u32)]) -> Limits {
    let windows = windows.iter().map(|(sends, seconds)| Window {
        sends: *sends,
        seconds: *seconds,
    });
    Limits {
        windows: windows.collect(),
        ..Limits::default()
    }
}

#[tokio::test]
async fn the_default_windows_are_exact_to_the_second() {
    let app = App::start().await;
    let key = app.add(client(Limits::default())).await;
    let mut sent: Vec<u64> = Vec::new();
    let mut now = 0;
    // As fast as it goes: every refusal says when the next one passes, and a second earlier fails.
    while sent.len() < 24 {
        let answer = app.request_as(&key, NUMBER).await;
        if answer.status == 200 {
            app.sent(&answer);
            sent.insert(0, now);
            continue;
        }
        let wait = answer.is_limited();
        let expected = [(1, 30), (5, 600), (10, 3_600), (20, 86_400)]
            .iter()
            .filter_map(|(sends, seconds)| Some(sent.get(sends - 1)? + seconds))
            .max();
        assert_eq!(Some(now + wait), expected, "after {} sends", sent.len());
        if wait > 1 {
            app.advance(Duration::from_secs(wait - 1));
            assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 1);
            app.advance(Duration::from_secs(1));
        } else {
            app.advance(Duration::from_secs(1));
        }
        now += wait;
    }
    assert_eq!(app.messages().len(), 24);
    assert_eq!(
        app.usage("limited")
            .await
            .days
            .values()
            .map(|day| day.0)
            .sum::<u64>(),
        24
    );
}

#[tokio::test]
async fn every_spelling_of_a_number_meets_the_same_limit() {
    let app = App::start().await;
    let key = app.add(client(Limits::default())).await;
    app.sent(&app.request_as(&key, "+44 7400 123456").await);
    for spelling in ["00447400123456", "447400123456", "+44 (0)7400 123-456"] {
        assert_eq!(
            app.request_as(&key, spelling).await.is_limited(),
            30,
            "{spelling}"
        );
    }
    app.sent(&app.request_as(&key, "+447400123457").await);
    let other = app.add(Profile::new("other", Countries::All)).await;
    app.sent(&app.request_as(&other, NUMBER).await);
}

#[tokio::test]
async fn a_refused_request_leaves_nothing_behind() {
    let app = App::start().await;
    let key = app.add(client(Limits::default())).await;
    app.sent(&app.request_as(&key, NUMBER).await);
    for _ in 0..3 {
        app.request_as(&key, NUMBER).await.is_limited();
    }
    assert_eq!(app.usage("limited").await.days[&DAY], (1, 1), "given back");
    assert_eq!(app.recipient("limited", NUMBER).await.sends, [START]);
    assert_eq!(
        (app.verifications().await.len(), app.messages().len()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_list_of_sends_does_not_grow_for_ever() {
    let app = App::start().await;
    let key = app.add(client(windows(&[(40, 600)]))).await;
    app.add_template("limited", json!({ "id": LOGIN, "max_attempts": 1 }))
        .await;
    for _ in 0..90 {
        app.sent(&app.request_as(&key, NUMBER).await);
        app.advance(Duration::from_secs(15));
    }
    assert_eq!(
        app.recipient("limited", NUMBER).await.sends.len(),
        48,
        "81 are cut to 39 and the next"
    );
}

/// Sends a code and spoils it with wrong guesses; returns how many were compared.
async fn exhaust(app: &App, key: &str) -> Option<usize> {
    let answer = app.request_as(key, NUMBER).await;
    if answer.status == 429 {
        return None;
    }
    let sent = app.sent(&answer);
    for compared in 0.. {
        let question = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
        let answer = app.post_as(key, VALIDATE, question).await;
        if answer.status == 404 {
            return Some(compared);
        }
        answer.is_not_matched();
    }
    None
}

#[tokio::test]
async fn consecutive_failures_lock_a_recipient_across_codes() {
    let app = App::start().await;
    let key = app.add(client(windows(&[(5, 600)]))).await;
    let mut failures = 0;
    while let Some(compared) = exhaust(&app, &key).await {
        failures += compared;
        assert!(failures <= 100, "never more in a row");
        app.advance(Duration::from_mins(2));
    }
    assert_eq!(failures, 80, "the last code is sent at 75 failures");
    assert_eq!(app.recipient("limited", NUMBER).await.failures, 80);
    let wait = app.request_as(&key, NUMBER).await.is_limited();
    assert_eq!(wait, 24 * 60 * 60 - 120, "counted from the last failure");

    app.advance(Duration::from_secs(wait - 1));
    assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 1);
    app.advance(Duration::from_secs(1));
    app.sent(&app.request_as(&key, NUMBER).await);
    assert_eq!(
        app.recipient("limited", NUMBER).await.failures,
        0,
        "forgiven with the lock"
    );
}

#[tokio::test]
async fn where_no_failure_is_admitted_nobody_is_and_the_first_answer_stays() {
    let app = App::start().await;
    let key = app.add(client(windows(&[(20, 600)]))).await;
    let headers = [("X-API-KEY", key.as_str()), ("Idempotency-Key", "one")];
    let order = json!({ "to": NUMBER, "template_id": LOGIN }).to_string();
    let ask = async || {
        app.call(reqwest::Method::POST, REQUEST, &headers, order.clone())
            .await
    };
    let first = ask().await;
    app.sent(&first);
    let limits = Limits {
        max_failures: 99,
        ..windows(&[(20, 600)])
    };
    app.add(client(limits)).await;
    app.advance(Duration::from_secs(30));
    assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 86_400);
    assert_eq!(ask().await.body, first.body);
    assert_eq!(app.messages().len(), 1);
}

#[tokio::test]
async fn a_fresh_lock_says_a_day() {
    let app = App::start().await;
    let limits = Limits {
        max_failures: 26,
        ..windows(&[(5, 600)])
    };
    let key = app.add(client(limits)).await;
    assert_eq!(exhaust(&app, &key).await, Some(5));
    assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 86_400);
}

#[tokio::test]
async fn a_lock_without_an_end_holds_until_the_operator_unlocks() {
    let app = App::start().await;
    let limits = Limits {
        max_failures: 26,
        lock_seconds: None,
        ..windows(&[(5, 600)])
    };
    let key = app.add(client(limits.clone())).await;
    // One wrong guess, and one of a code that was sent with it on record.
    for _ in 0..2 {
        let sent = app.sent(&app.request_as(&key, NUMBER).await);
        let question = json!({ "code": sent.wrong_code(), "request_id": sent.request_id });
        app.post_as(&key, VALIDATE, question).await.is_not_matched();
    }
    for _ in 0..3 {
        let wait = app.request_as(&key, NUMBER).await.is_limited();
        assert_eq!(wait, 86_400, "a day, since nobody knows when");
        app.advance(Duration::from_hours(24 * 400));
    }
    let digest = app.recipient_digest("limited", NUMBER).await;
    let id = format!("RECIPIENT#{}", digest.encode());
    let item = app.stored(&id).await.unwrap();
    assert!(!item.contains_key("ttl"), "nothing may collect it");
    assert!(app.unlock(digest).await);
    app.sent(&app.request_as(&key, NUMBER).await);
    let item = app.stored(&id).await.unwrap();
    assert!(
        item.contains_key("ttl"),
        "it may go when nothing is held against it"
    );

    // A right guess forgets failures, and the item may go as well.
    let sent = app.sent(&app.request_as(&key, "+447400654321").await);
    for (code, answer) in [
        (sent.wrong_code(), not_matched()),
        (sent.code.clone(), success()),
    ] {
        let question = json!({ "code": code, "request_id": sent.request_id });
        app.post_as(&key, VALIDATE, question).await.is(200, answer);
    }
    let digest = app.recipient_digest("limited", "+447400654321").await;
    let item = app.stored(&format!("RECIPIENT#{}", digest.encode())).await;
    assert!(item.unwrap().contains_key("ttl"));
}

#[tokio::test]
async fn stored_limits_out_of_bounds_are_nobodys() {
    let app = App::start().await;
    let key = app.add(client(windows(&[(1, 30); 9]))).await;
    let answer = app.request_as(&key, NUMBER).await;
    answer.is(
        401,
        json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR" }),
    );
    let key = app.add(client(windows(&[(1, 30); 8]))).await;
    app.advance(Duration::from_secs(30));
    app.sent(&app.request_as(&key, NUMBER).await);
}

#[tokio::test]
async fn the_operator_unlocks_a_recipient() {
    let app = App::start().await;
    let limits = Limits {
        max_failures: 26,
        ..windows(&[(5, 600)])
    };
    let key = app.add(client(limits)).await;
    exhaust(&app, &key).await;
    app.request_as(&key, NUMBER).await.is_limited();
    let digest = app.recipient_digest("limited", NUMBER).await;
    assert!(app.unlock(digest).await);
    app.sent(&app.request_as(&key, NUMBER).await);
}

#[tokio::test]
async fn a_new_code_forgets_no_failure_and_a_right_one_all() {
    let app = App::start().await;
    let sent = app.sent(&app.request_to(NUMBER).await);
    app.guess(&sent, Wrong).await.is_not_matched();
    let next = app.sent(&app.request_to(NUMBER).await);
    assert_eq!(app.recipient("demo", NUMBER).await.failures, 1);
    app.guess(&next, Right).await.is_success();
    assert_eq!(app.recipient("demo", NUMBER).await.failures, 0);

    let sent = app.sent(&app.request_to(NUMBER).await);
    app.guess(&sent, Wrong).await.is_not_matched();
    app.guess(&sent, Right).await.is_success();
    assert_eq!(app.recipient("demo", NUMBER).await.failures, 0);
}

#[tokio::test]
async fn a_client_has_so_many_requests_a_second() {
    let app = App::start().await;
    app.advance(Duration::from_millis(250));
    let limits = Limits {
        per_second: Some(3),
        ..Limits::default()
    };
    let key = app.add(client(limits)).await;
    for _ in 0..2 {
        for _ in 0..3 {
            app.sent(&app.request_as(&key, &app.somebody()).await);
        }
        let refused = app.somebody();
        assert_eq!(app.request_as(&key, &refused).await.is_limited(), 1);
        assert!(
            app.recipient("limited", &refused).await.sends.is_empty(),
            "given back"
        );
        app.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_client_has_so_many_requests_a_day() {
    let app = App::start().await;
    let limits = Limits {
        per_day: Some(2),
        ..Limits::default()
    };
    let key = app.add(client(limits)).await;
    for _ in 0..2 {
        app.sent(&app.request_as(&key, &app.somebody()).await);
    }
    let midnight = (DAY + 1) * 86_400 - START.as_millis() / 1000;
    let wait = app.request_as(&key, NUMBER).await.is_limited();
    assert_eq!(i64::try_from(wait).unwrap(), midnight);
    app.advance(Duration::from_secs(wait - 1));
    assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 1);
    app.advance(Duration::from_secs(1));
    app.sent(&app.request_as(&key, NUMBER).await);
}

#[tokio::test]
async fn a_balance_pays_for_parts() {
    let app = App::start().await;
    let key = app
        .add(Profile {
            prepaid: true,
            ..client(Limits::default())
        })
        .await;
    let text = format!("${{code}} {}", "x".repeat(200));
    app.add_template("limited", json!({ "id": LOGIN, "text": text }))
        .await;
    app.request_as(&key, NUMBER)
        .await
        .is_rejection("OUT_OF_BALANCE");
    app.set_balance("limited", 5).await;
    for left in [3, 1] {
        app.sent(&app.request_as(&key, &app.somebody()).await);
        assert_eq!(app.usage("limited").await.balance, Some(left));
    }
    let id = app
        .request_as(&key, NUMBER)
        .await
        .is_rejection("OUT_OF_BALANCE");
    let question = json!({ "code": "000000", "request_id": id });
    app.post_as(&key, VALIDATE, question).await.is_not_found();
    assert_eq!(app.usage("limited").await.balance, Some(1));
    assert!(
        app.recipient("limited", NUMBER).await.sends.is_empty(),
        "given back"
    );

    app.set_balance("limited", 2).await;
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.request_as(&key, NUMBER)
        .await
        .is_rejection("GENERAL_ERROR");
    assert_eq!(app.usage("limited").await.balance, Some(2), "given back");
    app.sent(&app.request_as(&key, NUMBER).await);
    assert_eq!(app.usage("limited").await.days[&DAY], (3, 6));
}

#[tokio::test]
async fn the_stack_has_a_cap_for_everybody() {
    let app = App::start_with(Some(3), true).await;
    let key = app.add(client(Limits::default())).await;
    app.sent(&app.request_as(&key, &app.somebody()).await);
    app.send().await;
    app.inbox.fail_next([InjectedError::OptedOut]);
    app.request_to(&app.somebody())
        .await
        .is_rejection("GENERAL_ERROR");
    app.send().await;
    let wait = app.request_as(&key, NUMBER).await.is_limited();
    app.advance(Duration::from_secs(wait - 1));
    assert_eq!(app.request_to(NUMBER).await.is_limited(), 1);
    app.advance(Duration::from_secs(1));
    app.sent(&app.request_to(NUMBER).await);
    assert_eq!(app.usage("limited").await.days[&DAY], (1, 1), "given back");
}

#[tokio::test]
async fn a_test_number_gets_the_same_code_and_no_sms() {
    for allowed in [true, false] {
        let app = App::start_with(None, allowed).await;
        let digest = app.recipient_digest("limited", NUMBER).await;
        let key = app
            .add(Profile {
                test_recipients: [digest.encode()].into(),
                ..client(Limits::default())
            })
            .await;
        let id = ClientId::parse("limited").unwrap();
        let number = PhoneNumber::parse(NUMBER).unwrap();
        let secret = app.key_set_reader.get(START).await.unwrap();
        let code = secret.test_code(&id, &number, 6);
        for round in 0..3 {
            let order = json!({ "to": NUMBER, "template_id": LOGIN });
            let answer = app.post_as(&key, REQUEST, order).await;
            if !allowed {
                answer.is_rejection("GENERAL_ERROR");
                continue;
            }
            let request_id = answer.json()["request_id"].clone();
            assert_eq!(
                answer.json()["status"],
                "ACCEPTED",
                "no limit, round {round}"
            );
            for (guess, outcome) in [("x", not_matched()), (code.expose(), success())] {
                let question = json!({ "code": guess, "request_id": request_id });
                app.post_as(&key, VALIDATE, question).await.is(200, outcome);
            }
        }
        assert_eq!(app.inbox.publishes(), 0);
        assert!(app.usage("limited").await.days.is_empty());
        assert!(app.recipient("limited", NUMBER).await.sends.is_empty());
        assert!(crate::log::text().contains("test number"), "it is logged");
        let parts = crate::log::lines(|line| !line["Parts"].is_null());
        assert!(parts.is_empty(), "and counts as no message: {parts:?}");
    }
}

#[tokio::test]
async fn what_a_window_refuses_takes_nothing_that_others_could_miss() {
    let app = Arc::new(App::start().await);
    let limits = Limits {
        per_day: Some(2),
        ..Limits::default()
    };
    let profile = Profile {
        prepaid: true,
        ..client(limits)
    };
    let key = app.add(profile).await;
    for _ in 0..10 {
        app.set_balance("limited", 2).await;
        app.sent(&app.request_as(&key, NUMBER).await);
        // Six press "again", and one is honest.
        let mut calls = JoinSet::new();
        for caller in 0..7 {
            let (app, key) = (Arc::clone(&app), key.clone());
            let number = if caller == 3 {
                app.somebody()
            } else {
                NUMBER.to_owned()
            };
            calls.spawn(async move { app.request_as(&key, &number).await.status.as_u16() });
        }
        let mut answers = calls.join_all().await;
        answers.sort_unstable();
        assert_eq!(answers, [200, 429, 429, 429, 429, 429, 429]);
        assert_eq!(app.messages()[0].to.len(), NUMBER.len());
        assert_eq!(app.usage("limited").await.balance, Some(0), "and is paid");
        app.advance(Duration::from_hours(24));
    }
}

#[tokio::test]
async fn messages_that_may_have_been_sent_count_under_every_limit() {
    let app = App::start_with(Some(4), false).await;
    let key = app
        .add(Profile {
            prepaid: true,
            ..client(windows(&[(2, 60)]))
        })
        .await;
    app.set_balance("limited", 3).await;
    app.sns.inject(
        "Publish",
        vec![crate::fault_proxy::NetworkFault::LostAfter; 9],
    );
    for _ in 0..2 {
        app.request_as(&key, NUMBER).await.is_unknown();
        app.advance(Duration::from_secs(1));
    }
    assert_eq!(app.request_as(&key, NUMBER).await.is_limited(), 58);
    app.request_as(&key, &app.somebody()).await.is_unknown();
    app.request_as(&key, &app.somebody())
        .await
        .is_rejection("OUT_OF_BALANCE");
    app.request_to(&app.somebody()).await.is_unknown();
    app.request_to(&app.somebody()).await.is_limited();
    assert_eq!(app.messages().len(), 4);
}

/// How many of a hundred requests at once are accepted; the others are refused.
async fn hundred(app: &Arc<App>, key: &str, one_number: bool) -> usize {
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (app, key) = (Arc::clone(app), key.to_owned());
        let number = if one_number {
            NUMBER.to_owned()
        } else {
            app.somebody()
        };
        calls.spawn(async move {
            let answer = app.request_as(&key, &number).await;
            match answer.status.as_u16() {
                200 => answer.json()["status"] == "ACCEPTED",
                _ => answer.is_limited() == 0,
            }
        });
    }
    calls
        .join_all()
        .await
        .into_iter()
        .filter(|accepted| *accepted)
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_requests_at_once_a_recipient_gets_one_message() {
    let app = Arc::new(App::start_alone().await);
    let key = app.add(client(Limits::default())).await;
    for round in 1..=ROUNDS {
        assert_eq!(hundred(&app, &key, true).await, 1);
        assert_eq!(app.messages().len(), round);
        let sends = app.recipient("limited", NUMBER).await.sends;
        assert_eq!(sends.len(), round, "what was refused takes nothing");
        let days = app.usage("limited").await.days;
        assert_eq!(days.values().map(|day| day.0).sum::<u64>(), round as u64);
        app.advance(Duration::from_hours(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_never_overdraw() {
    let app = Arc::new(App::start_alone().await);
    for (name, limits, prepaid) in [
        ("balance", Limits::default(), true),
        (
            "second",
            Limits {
                per_second: Some(7),
                ..Limits::default()
            },
            false,
        ),
        (
            "day",
            Limits {
                per_day: Some(7),
                ..Limits::default()
            },
            false,
        ),
    ] {
        let profile = Profile {
            limits,
            prepaid,
            ..Profile::new(name, Countries::All)
        };
        let key = app.add(profile).await;
        for _ in 0..ROUNDS {
            if prepaid {
                app.set_balance(name, 7).await;
            }
            let before = app.messages().len();
            assert_eq!(hundred(&app, &key, false).await, 7, "{name}");
            assert_eq!(app.messages().len(), before + 7, "{name}");
            if prepaid {
                assert_eq!(app.usage(name).await.balance, Some(0));
            }
            app.advance(Duration::from_hours(24));
        }
    }
}
