//! `twofa client add`, `list`, `show`, `disable`, `remove`.

use serde_json::{Value, json};
use twofa::domain::ids::ClientId;

use crate::harness::{Laptop, NUMBER, file_of_shop, key_of};

#[tokio::test]
async fn a_new_client_can_send_at_once() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client("shop", &["--with-key", "--expires", "90d"])
        .await;
    let login = laptop
        .add_template("shop", "Login", "${code} is your code.")
        .await;
    let (status, accepted) = laptop.send(&key_of(&added), NUMBER, &login).await;
    assert_eq!((status, &accepted["status"]), (200, &json!("ACCEPTED")));
    assert_eq!(laptop.inbox().await[0]["from"], "Shop");

    let second = laptop.json(&["key", "add", "shop"]).await;
    assert_ne!(key_of(&second), key_of(&added));
    assert_eq!(second["key"]["expires_at"], Value::Null);
}

#[tokio::test]
async fn a_client_is_listed_and_shown() {
    let laptop = Laptop::start().await;
    let added = laptop
        .add_client(
            "shop",
            &[
                "--name",
                "The Shop",
                "--networks",
                "10.0.0.0/8,2001:db8::/32,192.0.2.1",
                "--max-price",
                "0.05",
                "--window",
                "1/60",
                "--window",
                "4/3600",
                "--max-failures",
                "50",
                "--lock-seconds",
                "3600",
                "--per-second",
                "7",
                "--per-day",
                "1000",
                "--balance",
                "12",
            ],
        )
        .await;
    let expected = json!({
        "id": "shop", "name": "The Shop", "disabled": [], "countries": ["GB"],
        "number_types": ["mobile", "fixed_line_or_mobile"],
        "networks": ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"], "max_price": "0.05",
        "limits": {
            "windows": [{ "sends": 1, "seconds": 60 }, { "sends": 4, "seconds": 3600 }],
            "max_failures": 50, "lock_seconds": 3600, "per_second": 7, "per_day": 1000,
        },
        "failures_that_lock": 51, "prepaid": true, "balance": 12, "keys": [], "test_numbers": 0,
        "templates": [], "warnings": [],
    });
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
    let mut with_warning = expected;
    with_warning["warnings"] =
        json!(["countries: GB leaves out GG, IM, JE, which have its calling code too"]);
    assert_eq!(added, with_warning);

    let all = laptop.json(&["client", "list"]).await;
    let ids: Vec<_> = all["clients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["id"])
        .collect();
    assert_eq!(ids, ["demo", "shop"]);
    let table = laptop.run(&["client", "list"]).await.out;
    let row = table
        .lines()
        .find(|line| line.starts_with("shop "))
        .unwrap();
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words, ["shop", "The", "Shop", "on", "GB", "0", "0", "yes"]);
}

#[tokio::test]
async fn a_client_is_added_once() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--balance", "5"]).await;
    let before = laptop.stored("shop").await;
    let again = [
        "client",
        "add",
        "shop",
        "--countries",
        "FR",
        "--balance",
        "9",
    ];
    let (code, error, _) = laptop.refused(&again).await;
    assert_eq!(code, 1);
    assert!(error["error"].as_str().unwrap().contains("already"));
    assert_eq!(laptop.stored("shop").await, before);
    assert_eq!(laptop.json(&["client", "show", "shop"]).await["balance"], 5);
}

#[tokio::test]
async fn the_names_of_a_deployments_check_are_not_given() {
    let laptop = Laptop::start().await;
    let add = ["client", "add", "pre-traffic-x", "--countries", "GB"];
    let (code, error, fields) = laptop.refused(&add).await;
    assert_eq!((code, fields), (2, vec!["client".to_owned()]), "{error}");
}

#[tokio::test]
async fn a_client_that_is_not_there_is_not_found() {
    let laptop = Laptop::start().await;
    for arguments in [
        &["client", "show", "nobody"] as &[&str],
        &["client", "set", "nobody", "--per-day", "5"],
        &["client", "disable", "nobody"],
        &["client", "enable", "nobody"],
        &["key", "add", "nobody"],
        &["key", "revoke", "nobody", "0123abcd"],
        &[
            "template", "add", "nobody", "Login", "--from", "Shop", "--text", "${code}",
        ],
        &["template", "list", "nobody"],
        &["preview", "nobody", "Login"],
        &["recipient", "show", "--client", "nobody", NUMBER],
        &["test-number", "add", "--client", "nobody", NUMBER],
        &["usage", "nobody"],
    ] {
        let (code, error, _) = laptop.refused(arguments).await;
        assert_eq!(code, 3, "{arguments:?}: {error}");
        assert_eq!(error["error"], "there is no client nobody");
    }
    assert_eq!(laptop.stored("nobody").await, "None");
}

#[tokio::test]
async fn a_client_is_switched_off_and_on() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let off = [
        "client", "disable", "shop", "--switch", "product", "--switch", "client",
    ];
    assert_eq!(
        laptop.json(&off).await["disabled"],
        json!(["client", "product"])
    );
    let (status, answer) = laptop.send(&key_of(&added), NUMBER, "x").await;
    assert_eq!(
        (status, &answer["error_message"]),
        (401, &json!("CLIENT_DISABLED"))
    );
    let on = laptop.run(&["client", "enable", "shop"]).await;
    assert_eq!(
        on.out,
        "the client shop is off (product) within 30 seconds\n"
    );
    assert_eq!(on.err, "warning: calls are still refused: off is product\n");
    let on = ["client", "enable", "shop", "--switch", "product"];
    assert_eq!(laptop.json(&on).await["disabled"], json!([]));
    let (code, _, fields) = laptop
        .refused(&["client", "disable", "shop", "--switch", "x"])
        .await;
    assert_eq!((code, fields), (2, vec!["switch".to_owned()]));
}

#[tokio::test]
async fn a_client_is_removed_with_its_templates_and_not_with_live_keys() {
    let laptop = Laptop::start().await;
    let (key, login) = laptop.shop(&[]).await;
    let (code, error, _) = laptop.refused(&["client", "remove", "shop"]).await;
    assert_eq!(code, 1);
    assert!(
        error["error"].as_str().unwrap().contains("live keys"),
        "{error}"
    );
    assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");

    let removed = laptop.json(&["client", "remove", "shop", "--yes"]).await;
    assert_eq!(removed["templates"], 1);
    assert_eq!(laptop.ask_cold(&key, &login).await, "UNAUTHORIZED");
    assert_eq!(laptop.refused(&["client", "remove", "shop"]).await.0, 3);
    // It leaves nothing to a client of the same name.
    laptop.add_client("shop", &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shown["templates"], &shown["keys"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(laptop.run(&["client", "remove", "shop"]).await.code, 0);
}

#[tokio::test]
async fn a_client_of_many_templates_is_written_and_removed_in_parts() {
    let laptop = Laptop::start().await;
    let template = |n| {
        format!("[[clients.shop.templates]]\nname = 'T{n}'\nfrom = 'Shop'\ntext = '${{code}}'\n")
    };
    let templates: String = (0..120).map(template).collect();
    let file = file_of_shop(&format!("countries = ['GB']\n{templates}"));
    assert_eq!(laptop.applied(&file, &[]).await["summary"]["create"], 121);
    let removed = laptop.json(&["client", "remove", "shop"]).await;
    assert_eq!(removed["templates"], 120);
    let id = ClientId::parse("shop").unwrap();
    assert!(laptop.directory().query(&id).await.unwrap().is_none());
    laptop.add_client("shop", &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["templates"], json!([]));
}
