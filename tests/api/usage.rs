//! What clients' usage costs to count, however much there is of it, and that it is counted once.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use twofa::client::{ClientId, Countries, Limits, Profile};
use twofa::store::{Account, Caps, Charge, Taken, Usage};
use twofa::verification::RequestId;
use twofa_local::cloud::{self, VERIFICATIONS_TABLE};

use crate::harness::{App, DAY, START};

/// What DynamoDB takes of one item in a second, in write units.
const UNITS_OF_AN_ITEM: usize = 1_000;

fn usage(app: &App) -> Usage {
    let dynamodb = twofa::aws::dynamodb(&cloud::sdk_config(app.dynamodb.address));
    Usage::new(dynamodb, VERIFICATIONS_TABLE)
}

fn shop() -> ClientId {
    ClientId::parse("shop").unwrap()
}

fn charge() -> Charge {
    Charge {
        at: START,
        id: RequestId::random().unwrap(),
        parts: 1,
        prepaid: false,
    }
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
        // Ten a second, for longer than anything is kept of a second or a call.
        for round in 0..7 {
            for _ in 0..10 {
                app.request_as(&key, &app.somebody()).await;
                app.advance(Duration::from_millis(100));
            }
            app.advance(Duration::from_secs(if round < 3 { 0 } else { 20 }));
        }
        let charges = app.dynamodb.take_calls();
        let charges = charges
            .iter()
            .filter(|call| ["UpdateItem CLIENT", "UpdateItem STACK"].contains(&&*call.operation));
        let units: Vec<_> = charges.map(|call| call.units).collect();
        assert!(units.len() >= 140, "{name}: {}", units.len());
        assert!(units.iter().all(|units| *units <= 1.0), "{name}: {units:?}");
    }
}

#[tokio::test]
async fn no_item_of_a_client_without_caps_gets_hot() {
    // 10,000 requests a second of a tenth of a second each: that many functions run.
    const RATE: usize = 10_000;
    const FUNCTIONS: usize = RATE / 10;
    let app = App::start().await;
    let client = shop();
    for _ in 0..FUNCTIONS {
        let usage = usage(&app);
        let slip = usage.slip(START).unwrap();
        let taken = usage
            .charge(
                Account::Client(&client),
                charge(),
                Caps::default(),
                &slip,
                &[],
            )
            .await;
        assert_eq!(taken.unwrap(), Taken::Taken);
    }
    let mut requests = 0;
    for item in app.everything_stored().await {
        let id = item.get("id").and_then(|id| id.as_s().ok());
        if id.is_some_and(|id| id.starts_with("CLIENT#shop#")) {
            let functions: usize = item[&format!("day#{DAY}")].as_n().unwrap().parse().unwrap();
            requests += functions;
            let size: usize = item
                .iter()
                .map(|(name, value)| name.len() + length(value))
                .sum();
            let units = functions * (RATE / FUNCTIONS) * size.div_ceil(1024);
            assert!(
                units < UNITS_OF_AN_ITEM,
                "{functions} functions, {size} bytes"
            );
        }
    }
    assert_eq!(requests, FUNCTIONS);
    let state = usage(&app).read(Account::Client(&client)).await.unwrap();
    assert_eq!(state.days[&DAY], (FUNCTIONS as u64, FUNCTIONS as u64));
}

/// The bytes of a number or a text, as DynamoDB counts them or more.
fn length(value: &AttributeValue) -> usize {
    value.as_s().or(value.as_n()).unwrap().len()
}

#[tokio::test]
async fn a_write_that_arrives_late_takes_nothing() {
    let app = App::start().await;
    let (usage, client) = (usage(&app), shop());
    let account = Account::Client(&client);
    for caps in [
        Caps::default(),
        Caps {
            per_second: Some(9),
            ..Caps::default()
        },
    ] {
        for in_doubt in [false, true] {
            let (charge, slip) = (charge(), usage.slip(START).unwrap());
            if !in_doubt {
                usage
                    .charge(account, charge, caps, &slip, &[])
                    .await
                    .unwrap();
            }
            let back = usage.give_back(account, charge, caps, &slip, &[], in_doubt);
            back.await.unwrap();
            // The first copy of the write, which the network had held.
            usage
                .charge(account, charge, caps, &slip, &[])
                .await
                .unwrap();
            let state = usage.read(account).await.unwrap();
            let counted: u64 = state.days.values().map(|(requests, _)| requests).sum();
            assert_eq!(counted, 0, "in doubt: {in_doubt}, {caps:?}");
        }
    }
}

#[tokio::test]
async fn a_slot_is_the_next_calls_unless_a_write_may_still_arrive() {
    let app = App::start().await;
    let (usage, client) = (usage(&app), shop());
    let caps = Caps {
        per_day: Some(100),
        ..Caps::default()
    };
    let slots = async || {
        let items = app.everything_stored().await;
        let own = items.iter().find(|item| {
            item.get("id")
                .and_then(|id| id.as_s().ok())
                .is_some_and(|id| id == "CLIENT#shop")
        });
        own.unwrap()
            .keys()
            .filter(|name| name.starts_with("slot#"))
            .count()
    };
    let account = Account::Client(&client);
    for _ in 0..5 {
        let slip = usage.slip(START).unwrap();
        usage
            .charge(account, charge(), caps, &slip, &[])
            .await
            .unwrap();
    }
    assert_eq!(slots().await, 1);
    app.dynamodb
        .lose("UpdateItem CLIENT", [crate::wire::Fate::LostBefore]);
    for _ in 0..5 {
        let slip = usage.slip(START).unwrap();
        usage
            .charge(account, charge(), caps, &slip, &[])
            .await
            .unwrap();
    }
    assert_eq!(slots().await, 2, "the one in doubt is not used again");
}
