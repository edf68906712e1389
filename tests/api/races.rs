//! Many callers at once: no interleaving compares one guess too many or succeeds twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use tokio::task::JoinSet;

use crate::harness::{App, Sent};

const ROUNDS: usize = 10;

/// How often each status came of validating all `codes` at once.
async fn at_once(app: &Arc<App>, request_id: &str, codes: Vec<String>) -> BTreeMap<String, usize> {
    let mut calls = JoinSet::new();
    for code in codes {
        let (app, request_id) = (Arc::clone(app), request_id.to_owned());
        calls.spawn(async move {
            let answer = app.validate(&code, &request_id).await;
            answer.json()["status"].as_str().unwrap().to_owned()
        });
    }
    let mut statuses = BTreeMap::new();
    for status in calls.join_all().await {
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

fn counts(expected: &[(&str, usize)]) -> BTreeMap<String, usize> {
    let counts = expected
        .iter()
        .map(|(status, count)| ((*status).to_owned(), *count));
    counts.collect()
}

async fn attempts(app: &App, request_id: &str) -> AttributeValue {
    app.stored(request_id).await.unwrap()["attempts"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_wrong_guesses_at_once_five_are_compared() {
    let app = Arc::new(App::start_alone().await);
    for _ in 0..ROUNDS {
        let Sent { request_id, code } = app.send().await;
        let wrong = (0..1_000_000)
            .map(|n| format!("{n:06}"))
            .filter(|guess| *guess != code);
        let statuses = at_once(&app, &request_id, wrong.take(200).collect()).await;
        assert_eq!(statuses, counts(&[("not_matched", 5), ("not_found", 195)]));
        assert_eq!(
            attempts(&app, &request_id).await,
            AttributeValue::N("5".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_right_guesses_at_once_one_succeeds() {
    let app = Arc::new(App::start_alone().await);
    for _ in 0..ROUNDS {
        let Sent { request_id, code } = app.send().await;
        let statuses = at_once(&app, &request_id, vec![code; 50]).await;
        assert_eq!(statuses, counts(&[("success", 1), ("not_found", 49)]));
        assert_eq!(
            attempts(&app, &request_id).await,
            AttributeValue::N("1".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn right_guesses_among_wrong_ones_succeed_at_most_once() {
    let app = Arc::new(App::start_alone().await);
    for _ in 0..ROUNDS {
        let sent = app.send().await;
        let guesses = [vec![sent.wrong_code(); 4], vec![sent.code.clone(); 40]].concat();
        let statuses = at_once(&app, &sent.request_id, guesses).await;
        assert_eq!(
            statuses["success"], 1,
            "four wrong guesses leave one: {statuses:?}"
        );
        let compared = statuses["success"] + statuses.get("not_matched").copied().unwrap_or(0);
        assert_eq!(
            attempts(&app, &sent.request_id).await,
            AttributeValue::N(compared.to_string())
        );
    }
}
