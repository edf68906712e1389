//! `--balance` and `twofa client top-up`.

use serde_json::{Value, json};

use crate::harness::{Laptop, NUMBER, NetworkFault, file_of_shop, key_of};

#[tokio::test]
async fn a_balance_is_used_up_topped_up_and_taken_away() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client("shop", &["--balance", "1", "--with-key"])
        .await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
    let (_, refused) = laptop.send(&key, "+447400123457", &login).await;
    assert_eq!(refused["error_message"], "OUT_OF_BALANCE");
    let used = laptop.json(&["usage", "shop"]).await;
    assert_eq!(used["clients"][0]["balance"], 0);
    let today = &used["clients"][0]["days"][0];
    assert_eq!(
        (&today["requests"], &today["parts"]),
        (&json!(1), &json!(1))
    );

    let set = laptop
        .json(&["client", "set", "shop", "--balance", "5"])
        .await;
    let change = json!([{ "field": "balance", "old": 0, "new": 5 }]);
    assert_eq!(set["changes"], change);
    assert_eq!(
        laptop.send(&key, "+447400123457", &login).await.1["status"],
        "ACCEPTED"
    );
    let set = laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    let change = json!([
        { "field": "prepaid", "old": true, "new": false },
        { "field": "balance", "old": 4, "new": null },
    ]);
    assert_eq!(set["changes"], change);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shown["prepaid"], &shown["balance"]),
        (&json!(false), &Value::Null)
    );
    let set = laptop
        .json(&["client", "set", "shop", "--balance", "3"])
        .await;
    let change = json!({ "field": "balance", "old": null, "new": 3 });
    assert_eq!(set["changes"][1], change, "the old one is gone");
}

/// The answers of warm and cold functions.
const BOTH_ACCEPT: [&str; 2] = ["ACCEPTED", "ACCEPTED"];

#[tokio::test]
async fn a_balance_that_is_lifted_refuses_nobody() {
    let file = file_of_shop("prepaid = false");
    for (arguments, input) in [
        (
            &["client", "set", "shop", "--balance", "none"] as &[&str],
            "",
        ),
        (&["apply", "-"], &file),
    ] {
        let laptop = Laptop::start().await;
        let (key, login) = laptop.shop(&["--balance", "1"]).await;
        // From here on the function believes for 30 seconds that the client is prepaid.
        assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
        assert_eq!(laptop.ask_warm(&key, &login).await, "OUT_OF_BALANCE");
        let both = async || {
            [
                laptop.ask_warm(&key, &login).await,
                laptop.ask_cold(&key, &login).await,
            ]
        };
        // The answer is lost: the change is made, and the command not at its end.
        let between = async |write| {
            if write > 0 {
                assert_eq!(both().await, BOTH_ACCEPT, "{arguments:?}");
                return NetworkFault::Made;
            }
            NetworkFault::Lost
        };
        assert_eq!(laptop.run_between(arguments, input, between).await, 2);
        assert_eq!(both().await, BOTH_ACCEPT, "{arguments:?}");
        let shown = laptop.json(&["client", "show", "shop"]).await;
        assert_eq!(
            (&shown["prepaid"], &shown["balance"]),
            (&json!(false), &Value::Null)
        );
        let used = laptop.json(&["usage", "shop"]).await;
        assert_eq!(used["clients"][0]["balance"], Value::Null);
    }
}

#[tokio::test]
async fn a_balance_is_there_when_it_is_asked_for() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let set = ["client", "set", "shop", "--balance", "5"];
    let between = async |_| {
        assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
        NetworkFault::Made
    };
    assert_eq!(laptop.run_between(&set, "", between).await, 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 4);

    // A new client has it once it is there itself.
    let add = [
        "client",
        "add",
        "new",
        "--countries",
        "GB",
        "--balance",
        "5",
    ];
    let between = async |_| {
        assert_eq!(laptop.stored("new").await, "None");
        NetworkFault::Made
    };
    assert_eq!(laptop.run_between(&add, "", between).await, 1);
    let shown = laptop.json(&["client", "show", "new"]).await;
    assert_eq!(shown["balance"], 5);
}

#[tokio::test]
async fn a_top_up_adds_to_what_is_left() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "3"]).await;
    assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    let topped = laptop.json(&["client", "top-up", "shop", "10"]).await;
    assert_eq!(
        (&topped["added"], &topped["balance"]),
        (&json!(10), &json!(12))
    );
    assert_eq!(
        laptop.json(&["client", "show", "shop"]).await["balance"],
        12
    );
    let (code, _, _) = laptop.refused(&["client", "top-up", "demo", "10"]).await;
    assert_eq!(code, 1, "it has no balance");
    for parts in ["+5", "1.5", "x"] {
        let ran = laptop.run(&["client", "top-up", "shop", parts]).await;
        assert_eq!(ran.code, 2, "{parts}");
    }
    laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    assert_eq!(
        laptop.refused(&["client", "top-up", "shop", "1"]).await.0,
        1
    );
}

#[tokio::test]
async fn a_client_that_a_file_makes_prepaid_has_nothing_to_send_from() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "5"]).await;
    laptop
        .json(&["client", "set", "shop", "--balance", "none"])
        .await;
    let applied = laptop.applied(&file_of_shop("prepaid = true"), &[]).await;
    let warning = applied["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("sends nothing without a balance"),
        "{warning}"
    );
    assert_eq!(laptop.ask_cold(&key, &login).await, "OUT_OF_BALANCE");
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 0);
}

#[tokio::test]
async fn a_balance_is_set_while_calls_pay_from_it() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--balance", "5"]).await;
    let set = ["client", "set", "shop", "--balance", "7"];
    let faults = async |write| {
        if write < 5 {
            NetworkFault::Conflict
        } else {
            NetworkFault::Made
        }
    };
    assert_eq!(laptop.run_between(&set, "", faults).await, 6);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["balance"], 7);
}
