//! What clients use up: what it costs to count, and what a cap counts.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use twofa::domain::client::{Countries, Profile};
use twofa::domain::ids::{ClientId, RequestId};
use twofa::domain::limits::Limits;
use twofa::store::{Cap, CapOutcome};

use crate::fault_proxy::NetworkFault;
use crate::harness::{App, DAY, NUMBER, START};

fn shop() -> ClientId {
    ClientId::parse("shop").unwrap()
}

/// The requests that a cap has counted.
async fn counted(app: &App, id: &str) -> i64 {
    let number = |item: &HashMap<String, AttributeValue>| item["requests"].as_n().unwrap().parse();
    app.stored(id)
        .await
        .map_or(0, |item| number(&item).unwrap())
}

#[tokio::test]
async fn a_request_costs_the_same_however_many_there_were_before() {
    let limits = |per_second, per_day| Limits {
        per_second,
        per_day,
        ..Limits::default()
    };
    for (name, limits) in [
        ("free", limits(None, None)),
        ("daily", limits(None, Some(100_000))),
        ("rated", limits(Some(50), Some(100_000))),
    ] {
        let app = App::start_with(Some(100_000), false).await;
        let key = app
            .add(Profile {
                limits,
                ..Profile::new(name, Countries::All)
            })
            .await;
        for _ in 0..70 {
            app.request_as(&key, &app.somebody()).await;
            app.advance(Duration::from_millis(100));
        }
        let calls = app.dynamodb.take_calls();
        let counts = ["UpdateItem CAP", "UpdateItem USAGE"];
        let counts = calls
            .iter()
            .filter(|call| counts.contains(&&*call.operation));
        let units: Vec<_> = counts.map(|call| call.units).collect();
        assert!(units.len() >= 140, "{name}: {}", units.len());
        assert!(units.iter().all(|units| *units <= 1.0), "{name}: {units:?}");
    }
}

#[tokio::test]
async fn the_counts_of_a_client_are_spread_over_sixteen_items() {
    let app = App::start().await;
    for _ in 0..200 {
        let counted = app.table();
        let id = RequestId::random().unwrap();
        counted.count(&shop(), id, 2, false, START).await.unwrap();
    }
    let items = app.everything_stored().await;
    let id = |item: &HashMap<String, AttributeValue>| {
        item.get("id").and_then(|id| id.as_s().ok()).cloned()
    };
    let ids = items.iter().filter_map(id);
    let counts = ids
        .filter(|id| id.starts_with(&format!("USAGE#shop#{DAY}#")))
        .count();
    assert_eq!(counts, 16, "each hexadecimal digit has one");
    assert_eq!(app.usage("shop").await.days[&DAY], (200, 400));
}

#[tokio::test]
async fn a_cap_whose_answer_is_lost_counts_one_too_many_and_never_too_few() {
    let app = App::start().await;
    let table = app.fresh_state().verifications;
    let client = shop();
    let cap = Cap::per_day(&client, 10);
    let id = format!("CAP#shop#86400#{DAY}");
    app.dynamodb
        .inject("UpdateItem CAP", [NetworkFault::LostAfter]);
    assert_eq!(
        table.take(cap, 1, START).await.unwrap(),
        CapOutcome::Counted
    );
    assert_eq!(counted(&app, &id).await, 2);
    app.dynamodb
        .inject("UpdateItem CAP", [NetworkFault::LostAfter]);
    table.release(cap, 1, START).await.unwrap_err();
    assert_eq!(counted(&app, &id).await, 1, "a release is not repeated");
}

#[tokio::test]
async fn a_cap_that_is_set_during_the_day_counts_the_day() {
    let app = App::start().await;
    let profile = |per_day| Profile {
        limits: Limits {
            per_day,
            ..Limits::default()
        },
        ..Profile::new("shop", Countries::All)
    };
    let key = app.add(profile(None)).await;
    for _ in 0..5 {
        app.sent(&app.request_as(&key, &app.somebody()).await);
    }
    app.add(profile(Some(6))).await;
    app.advance(Duration::from_secs(30));
    // Twice, as by two operators, and after an answer that was lost.
    let table = app.fresh_state().verifications;
    app.dynamodb
        .inject("UpdateItem CAP", [NetworkFault::LostAfter]);
    table.carry_over(&shop(), START).await.unwrap();
    table.carry_over(&shop(), START).await.unwrap();
    assert_eq!(counted(&app, &format!("CAP#shop#86400#{DAY}")).await, 5);
    app.sent(&app.request_as(&key, &app.somebody()).await);
    app.request_as(&key, NUMBER).await.is_limited();
}

#[tokio::test]
async fn lifting_a_balance_refuses_nobody_who_does_not_know_of_it_yet() {
    let app = App::start().await;
    let key = app
        .add(Profile {
            prepaid: true,
            ..Profile::new("shop", Countries::All)
        })
        .await;
    app.set_balance("shop", 1).await;
    app.sent(&app.request_as(&key, &app.somebody()).await);
    // The function remembers a prepaid client for 30 seconds.
    app.set_balance("shop", None).await;
    for _ in 0..3 {
        app.sent(&app.request_as(&key, &app.somebody()).await);
    }
    assert_eq!(app.usage("shop").await.balance, None);
}
