//! `twofa audit`.

use serde_json::json;

use crate::harness::{Laptop, NUMBER, file_of_shop};

#[tokio::test]
async fn every_change_leaves_a_record_of_who_and_what() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&["--balance", "5"]).await;
    laptop.send(&key, NUMBER, &login).await;
    let file = file_of_shop("max_price = '0.05'");
    laptop.applied(&file, &[]).await;
    for arguments in [
        &["client", "set", "shop", "--countries", "GB,IE"] as &[&str],
        &["client", "top-up", "shop", "7"],
        &["client", "disable", "shop"],
        &["client", "enable", "shop"],
        &["key", "add", "shop"],
        &["template", "set", "shop", "Login", "--ttl", "60"],
        &["test-number", "add", "--client", "shop", NUMBER],
        &["test-number", "remove", "--client", "shop", NUMBER],
        &["recipient", "unlock", "--client", "shop", NUMBER],
        &["template", "remove", "shop", "Login"],
        &["client", "remove", "shop", "--yes"],
    ] {
        assert_eq!(laptop.run(arguments).await.code, 0, "{arguments:?}");
    }
    // Neither what reads nor what changes nothing.
    laptop.json(&["client", "show", "demo"]).await;
    laptop.json(&["client", "enable", "demo"]).await;
    laptop
        .run(&["recipient", "unlock", "--client", "demo", NUMBER])
        .await;

    let shown = laptop.json(&["audit", "shop"]).await;
    let changes = shown["changes"].as_array().unwrap();
    let told: Vec<_> = changes
        .iter()
        .rev()
        .map(|c| c["what"].as_str().unwrap())
        .collect();
    let expected = [
        "client add",
        "template add",
        "apply",
        "client set",
        "client top-up",
        "client disable",
        "client enable",
        "key add",
        "template set",
        "test-number add",
        "test-number remove",
        "recipient unlock",
        "template remove",
        "client remove",
    ];
    assert_eq!(told, expected);
    for change in changes {
        assert_eq!(change["by"], "arn:aws:iam::000000000000:user/laptop");
        assert!(
            change["at"]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .is_ok()
        );
        assert_ne!(change["details"], json!([]), "{change}");
    }
    let set = &changes[changes.len() - 4]["details"];
    assert_eq!(set, &json!(["countries: GB → GB, IE"]));
    let text = laptop.run(&["audit", "--limit", "2"]).await.out;
    let firsts: Vec<_> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(
        firsts.len() == 2 && firsts[0].contains("client remove"),
        "{text}"
    );
    assert_eq!(
        laptop.json(&["audit"]).await["changes"]
            .as_array()
            .unwrap()
            .len(),
        14
    );
}
