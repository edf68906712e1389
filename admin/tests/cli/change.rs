//! Operators' changes: made once, never over another's.

use serde_json::{Value, json};

use crate::harness::{Laptop, NUMBER, NetworkFault, file_of_shop};

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_made_once_and_known() {
    let laptop = Laptop::start().await;
    let lost_once = async |write| {
        if write == 0 {
            NetworkFault::Lost
        } else {
            NetworkFault::Made
        }
    };
    for arguments in [
        &[
            "client",
            "add",
            "shop",
            "--countries",
            "GB",
            "--balance",
            "5",
            "--with-key",
        ] as &[&str],
        &["client", "top-up", "shop", "10"],
        &["key", "add", "shop"],
        &["client", "remove", "shop", "--yes"],
    ] {
        // That it succeeds, and shows a key it made, is checked at every run.
        assert_eq!(laptop.run_between(arguments, "", lost_once).await, 2);
        if arguments[0] == "client" && arguments[1] == "top-up" {
            let shown = laptop.json(&["client", "show", "shop"]).await;
            assert_eq!(shown["balance"], 15, "it is added once");
        }
    }
    let changes = laptop.json(&["audit", "shop"]).await["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 4, "{changes}");
}

#[tokio::test]
async fn two_operators_never_overwrite_each_other() {
    let laptop = Laptop::start().await;
    laptop.shop(&["--balance", "5"]).await;
    let template = ["template", "set", "shop", "Login", "--max-attempts", "4"];
    let file = file_of_shop("name = 'File'");
    for (nth, (arguments, input)) in [
        (
            &["client", "set", "shop", "--per-second", "7"] as &[&str],
            "",
        ),
        (&["client", "set", "shop", "--balance", "none"], ""),
        (&["client", "disable", "shop"], ""),
        (&["client", "remove", "shop", "--yes"], ""),
        (&["key", "add", "shop"], ""),
        (&template, ""),
        (&["template", "remove", "shop", "Login"], ""),
        (&["test-number", "add", "--client", "shop", NUMBER], ""),
        (&["apply", "-"], &file),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("Faster {nth}");
        laptop.overtaken(arguments, input, "shop", &name).await;
        let shown = laptop.json(&["client", "show", "shop"]).await;
        assert_eq!(shown["name"], name, "the faster one's");
        assert_eq!(shown["balance"], 5);
        assert_eq!(shown["disabled"], json!([]));
        assert_eq!(shown["limits"]["per_second"], Value::Null);
        assert_eq!(shown["templates"][0]["max_attempts"], 5);
        let count = |list: &Value| list.as_array().unwrap().len();
        assert_eq!(
            (count(&shown["keys"]), &shown["test_numbers"]),
            (1, &json!(0))
        );
    }
}

#[tokio::test]
async fn a_profile_that_no_operator_wrote_is_overwritten_by_one() {
    let laptop = Laptop::start().await;
    assert!(laptop.stored("demo").await.contains("version: None"));
    let set = ["client", "set", "demo", "--per-second", "7"];
    laptop.overtaken(&set, "", "demo", "Faster").await;
    let shown = laptop.json(&["client", "show", "demo"]).await;
    assert_eq!(
        (&shown["name"], &shown["limits"]["per_second"]),
        (&json!("Faster"), &Value::Null)
    );
}

#[tokio::test]
async fn limits_and_templates_change_together_and_refuse_nobody_in_between() {
    let laptop = Laptop::start().await;
    let file = |sends, attempts| {
        file_of_shop(&format!(
            "[clients.shop.limits]\nwindows = [{{ sends = {sends}, seconds = 600 }}]\n\
             [[clients.shop.templates]]\nname = 'Login'\nfrom = 'Shop'\ntext = '${{code}}'\n\
             max_attempts = {attempts}"
        ))
    };
    let (key, login) = laptop.shop(&["--window", "19/600"]).await;
    // 99 open guesses are allowed; 19 codes of 10 guesses each would be 190.
    for (sends, attempts) in [(9, 10), (19, 5)] {
        let between = async |_| {
            assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
            NetworkFault::Made
        };
        let file = file(sends, attempts);
        let apply = laptop.run_between(&["apply", "-"], &file, between);
        assert_eq!(apply.await, 2);
        assert_eq!(laptop.ask_cold(&key, &login).await, "ACCEPTED");
    }
}
