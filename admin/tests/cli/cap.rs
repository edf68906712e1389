//! A cap on the requests of a day that is set while the day goes on.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use twofa::clock::Clock;
use twofa::domain::ids::ClientId;

use crate::harness::{Laptop, file_of_shop};

/// Waits until all of a test of one day of UTC happens on that day.
async fn within_a_day() {
    let millis = Clock::System.now().as_millis();
    let day = Duration::from_hours(24);
    let left = day.as_millis() - u128::try_from(millis).unwrap() % day.as_millis();
    if left < 90_000 {
        tokio::time::sleep(Duration::from_secs(91)).await;
    }
}

#[tokio::test]
async fn a_cap_of_the_day_counts_the_requests_made_before_it() {
    within_a_day().await;
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    for _ in 0..4 {
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    }
    let per_day = async || {
        let id = ClientId::parse("shop").unwrap();
        let shop = laptop.directory().query(&id).await.unwrap().unwrap();
        shop.profile.limits.per_day
    };
    let set = ["client", "set", "shop", "--per-day", "5"];
    let fifth = async {
        while per_day().await.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The function does not know yet.
        laptop.ask_warm(&key, &login).await
    };
    let (set, fifth) = tokio::join!(laptop.json(&set), fifth);
    assert_eq!(fifth, "ACCEPTED");
    let change = json!([{ "field": "limits.per_day", "old": null, "new": 5 }]);
    assert_eq!(set["changes"], change);
    let (warm, cold) = (
        laptop.ask_warm(&key, &login).await,
        laptop.ask_cold(&key, &login).await,
    );
    assert_eq!([warm, cold], ["TOO_MANY_REQUESTS", "TOO_MANY_REQUESTS"]);

    // Said again, it counts nothing twice.
    for most in ["5", "5", "6"] {
        laptop
            .json(&["client", "set", "shop", "--per-day", most])
            .await;
    }
    let (sixth, seventh) = (
        laptop.ask_cold(&key, &login).await,
        laptop.ask_cold(&key, &login).await,
    );
    assert_eq!(
        [sixth.as_str(), &seventh],
        ["ACCEPTED", "TOO_MANY_REQUESTS"]
    );
}

#[tokio::test]
async fn the_same_command_counts_what_an_interrupted_one_did_not() {
    within_a_day().await;
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    for _ in 0..3 {
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    }
    let file = file_of_shop("limits = { per_day = 3 }");
    let apply = laptop.command(laptop.services.addresses.dynamodb, &["apply", "-"]);
    let mut apply = { apply }.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = apply.stdin.take().unwrap();
    stdin.write_all(file.as_bytes()).await.unwrap();
    drop(stdin);
    let mut stderr = BufReader::new(apply.stderr.take().unwrap()).lines();
    let said = stderr.next_line().await.unwrap().unwrap();
    assert!(
        said.contains("waiting 55 seconds") && said.contains("shop"),
        "{said}"
    );
    let interrupt = ["-INT", &apply.id().unwrap().to_string()];
    assert!(
        Command::new("kill")
            .args(interrupt)
            .status()
            .await
            .unwrap()
            .success()
    );
    let said = stderr.next_line().await.unwrap().unwrap();
    assert!(
        said.starts_with("error: per_day of shop is set, but"),
        "{said}"
    );
    let output = apply.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));

    let again = laptop.applied(&file, &[]).await;
    assert_eq!(again["summary"]["unchanged"], 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "TOO_MANY_REQUESTS");
}
