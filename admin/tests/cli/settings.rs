//! Settings of a client, from the command line and from a file.

use serde_json::{Value, json};

use crate::harness::{Laptop, file_of_shop};

#[tokio::test]
async fn only_what_is_said_is_changed() {
    let laptop = Laptop::start().await;
    laptop
        .add_client(
            "shop",
            &["--max-price", "0.05", "--per-day", "9", "--with-key"],
        )
        .await;
    let before = laptop.json(&["client", "show", "shop"]).await;
    let set = [
        "client",
        "set",
        "shop",
        "--countries",
        "gb, ie",
        "--per-day",
        "none",
    ];
    let changed = laptop.json(&set).await;
    assert_eq!(
        changed["changes"],
        json!([
            { "field": "countries", "old": ["GB"], "new": ["GB", "IE"] },
            { "field": "limits.per_day", "old": 9, "new": null },
        ])
    );
    let mut expected = before;
    expected["countries"] = json!(["GB", "IE"]);
    expected["limits"]["per_day"] = Value::Null;
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
    assert_eq!(laptop.json(&set).await["changes"], json!([]));
    let said = laptop
        .run(&["client", "set", "shop", "--countries", "*"])
        .await
        .out;
    assert_eq!(said, "changed the client shop\n  countries: GB, IE → *\n");
}

#[tokio::test]
async fn how_many_failures_lock_is_shown_and_few_are_warned_about() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let shown = laptop.run(&["client", "show", "shop"]).await;
    let line = "locks after          76 wrong guesses in a row";
    assert!(shown.out.contains(line), "{}", shown.out);
    let set = ["client", "set", "shop", "--max-failures", "44"];
    let set = laptop.run(&set).await;
    assert!(
        set.out
            .ends_with("a recipient is locked after 20 wrong guesses in a row\n"),
        "{}",
        set.out
    );
    assert_eq!(set.err, "");
    // One template of more guesses lowers it for all.
    let add = [
        "template",
        "add",
        "shop",
        "Lax",
        "--from",
        "Shop",
        "--text",
        "${code}",
        "--max-attempts",
        "8",
    ];
    let added = laptop.run(&add).await;
    assert!(
        added
            .out
            .ends_with("a recipient is now locked after 5 wrong guesses in a row\n"),
        "{}",
        added.out
    );
    let warning = "warning: 5 wrong guesses in a row lock a recipient";
    assert!(added.err.contains(warning), "{}", added.err);
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["failures_that_lock"], 5);
    assert_eq!(shown["warnings"].as_array().unwrap().len(), 1);
    let set = ["template", "set", "shop", "Lax", "--max-attempts", "5"];
    let set = laptop.run(&set).await;
    assert!(
        set.out
            .ends_with("a recipient is now locked after 20 wrong guesses in a row\n"),
        "{}",
        set.out
    );
    assert_eq!(set.err, "");
    // A lock that only an operator ends.
    let set = ["client", "set", "shop", "--lock-seconds", "none"];
    let set = laptop.run(&set).await;
    assert!(
        set.out.contains("limits.lock_seconds: 86400 → none"),
        "{}",
        set.out
    );
    let stored = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(stored["limits"]["lock_seconds"], Value::Null);
}

#[tokio::test]
async fn every_setting_that_is_not_valid_is_named_and_nothing_is_written() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let before = laptop.stored("shop").await;
    let nine = "1/30".to_owned() + &" --window=1/30".repeat(8);
    for (option, value, field) in [
        ("--name", " ", "name"),
        ("--name", "a\u{7}b", "name"),
        ("--countries", "", "countries"),
        ("--countries", "GB,UK", "countries"),
        ("--countries", "GBR", "countries"),
        ("--countries", "GB,*", "countries"),
        ("--countries", "001", "countries"),
        // Their numbers count as Guadeloupe's; and those of the Cook Islands have eight digits.
        ("--countries", "GB,MF", "countries"),
        ("--countries", "CK", "countries"),
        ("--number-types", "", "number_types"),
        ("--number-types", "mobile,premium", "number_types"),
        ("--networks", "010.0.0.0/8", "networks"),
        ("--networks", "10.0.0.0/+8", "networks"),
        ("--networks", "10.0.0.0/33", "networks"),
        ("--networks", "10.0.0.1/8", "networks"),
        ("--networks", "::ffff:10.0.0.0/104", "networks"),
        ("--networks", "example.com", "networks"),
        ("--max-price", "0", "max_price"),
        ("--max-price", "0.00", "max_price"),
        ("--max-price", "1,5", "max_price"),
        ("--max-price", "5 USD", "max_price"),
        ("--max-price", ".5", "max_price"),
        ("--window", "5", "window"),
        ("--window", "5/10m", "window"),
        ("--window", "+5/600", "window"),
        // No template allows so few guesses that its codes would fit.
        ("--window", "1/3", "limits"),
        ("--window", "0/600", "limits.windows"),
        ("--window", "41/600", "limits.windows"),
        ("--window", "1/86401", "limits.windows"),
        // 30 codes of 5 guesses each could be alive at once; and so could 5, by default.
        ("--window", "30/600", "limits"),
        ("--max-failures", "20", "limits"),
        // The first wrong guess would lock its recipient.
        ("--max-failures", "25", "limits"),
        ("--window", &nine, "limits.windows"),
        ("--max-failures", "0", "limits.max_failures"),
        ("--max-failures", "101", "limits.max_failures"),
        ("--per-second", "-1", "per_second"),
        ("--per-second", "0", "limits.per_second"),
        ("--per-day", "many", "per_day"),
        ("--lock-seconds", "0", "limits.lock_seconds"),
        ("--lock-seconds", "2592001", "limits.lock_seconds"),
        ("--lock-seconds", "never", "lock_seconds"),
        ("--balance", "1.5", "balance"),
        ("--balance", "+100", "balance"),
        ("--per-day", "+100", "per_day"),
    ] {
        let option = format!("{option}={value}");
        let mut set = vec!["client", "set", "shop"];
        // A value that has spaces of its own is the name alone.
        match option.strip_prefix("--window") {
            Some(_) => set.extend(option.split(' ')),
            None => set.push(&option),
        }
        let (code, error, fields) = laptop.refused(&set).await;
        assert_eq!(
            (code, fields),
            (2, vec![field.to_owned()]),
            "{option}: {error}"
        );
    }
    assert_eq!(laptop.stored("shop").await, before);
}

#[tokio::test]
async fn what_countries_leave_out_is_told() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let set = async |more: &[&str]| {
        let arguments = [&["client", "set", "shop"], more].concat();
        laptop.run(&arguments).await.err
    };
    let said = set(&["--countries", "GB,JE"]).await;
    assert_eq!(
        said,
        "warning: countries: GB leaves out GG, IM, which have its calling code too\n"
    );
    assert_eq!(set(&["--countries", "GB,GG,IM,JE"]).await, "");
    assert_eq!(set(&["--max-price", "0.05"]).await, "");
    let said = set(&["--countries", "US", "--number-types", "mobile"]).await;
    assert!(said.contains("US leaves out 24 countries"), "{said}");
    assert!(said.contains("no number of US is of these types"), "{said}");
    let (_, error, _) = laptop
        .refused(&["client", "set", "shop", "--countries", "UK"])
        .await;
    assert!(error.to_string().contains("did you mean GB?"), "{error}");
}

#[tokio::test]
async fn the_types_of_numbers_are_set_by_options_and_by_a_file() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &[]).await;
    let usual = json!(["mobile", "fixed_line_or_mobile"]);
    assert_eq!(added["number_types"], usual);
    let set = ["client", "set", "shop", "--number-types", "voip,mobile"];
    let change = json!([{ "field": "number_types", "old": usual, "new": ["mobile", "voip"] }]);
    assert_eq!(laptop.json(&set).await["changes"], change);
    let file = file_of_shop("number_types = ['personal', 'fixed_line']");
    laptop.applied(&file, &[]).await;
    let shown = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(shown["number_types"], json!(["fixed_line", "personal"]));
}

#[tokio::test]
async fn all_that_is_not_valid_is_told_at_once() {
    let laptop = Laptop::start().await;
    let (code, _, fields) = laptop
        .refused(&[
            "client",
            "add",
            "new",
            "--countries",
            "XX",
            "--networks",
            "x",
            "--max-price",
            "x",
            "--window",
            "x",
            "--with-key",
            "--expires",
            "yesterday",
        ])
        .await;
    let expected = ["window", "countries", "networks", "max_price", "expires"];
    assert_eq!(
        (code, fields),
        (2, expected.map(ToOwned::to_owned).to_vec())
    );
    let (code, _, fields) = laptop.refused(&["client", "add", "new"]).await;
    assert_eq!((code, fields), (2, vec!["countries".to_owned()]));
    assert_eq!(laptop.stored("new").await, "None");
    let ran = laptop
        .run(&["client", "add", "No Id", "--countries", "GB"])
        .await;
    assert_eq!(ran.code, 2);
    assert!(
        ran.err
            .starts_with("error: client: must be 1 to 32 lower-case letters")
    );
}
