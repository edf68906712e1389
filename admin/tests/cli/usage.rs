//! `twofa usage`.

use serde_json::{Value, json};

use crate::harness::{Laptop, NUMBER, key_of};

#[tokio::test]
async fn usage_is_shown_by_client_and_day() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let long = format!("${{code}} {}", "a".repeat(160));
    let login = laptop
        .add_template_with_warnings("shop", "Long", &long)
        .await;
    for number in [NUMBER, "+447400123457"] {
        laptop.send(&key_of(&added), number, &login).await;
    }
    let usage = laptop.json(&["usage"]).await;
    let clients: Vec<_> = usage["clients"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&clients[0]["client"], &clients[0]["days"]),
        (&json!("demo"), &json!([]))
    );
    assert_eq!(
        (&clients[1]["client"], &clients[1]["balance"]),
        (&json!("shop"), &Value::Null)
    );
    let today = &clients[1]["days"][0];
    assert_eq!(
        (&today["requests"], &today["parts"]),
        (&json!(2), &json!(4))
    );
    let table = laptop.run(&["usage", "shop"]).await.out;
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["shop", "none", today["day"].as_str().unwrap(), "2", "4"]
    );
    assert_eq!(usage["stack"]["days"], json!([]), "it has no cap");
}

#[tokio::test]
async fn the_stack_is_counted_while_it_has_a_cap() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let long = format!("${{code}} {}", "a".repeat(160));
    let long = laptop
        .add_template_with_warnings("shop", "Long", &long)
        .await;
    let capped = laptop.cold(Some(5)).await;
    for said in ["ACCEPTED", "ACCEPTED", "TOO_MANY_REQUESTS"] {
        assert_eq!(laptop.ask(capped, &key, &long).await, said);
    }
    assert_eq!(laptop.ask_warm(&key, &login).await, "ACCEPTED");
    let usage = laptop.json(&["usage"]).await;
    let counts = |day: &Value| [day["requests"].clone(), day["parts"].clone()];
    assert_eq!(counts(&usage["stack"]["days"][0]), [2, 4]);
    assert_eq!(counts(&usage["clients"][1]["days"][0]), [3, 5]);
    let table = laptop.run(&["usage"]).await.out;
    let row: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
    let today = usage["stack"]["days"][0]["day"].as_str().unwrap();
    assert_eq!(row, ["(stack)", today, "2", "4"]);
}
