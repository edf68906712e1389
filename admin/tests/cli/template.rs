//! `twofa template`.

use serde_json::{Value, json};

use crate::harness::{Laptop, file_of_shop, nowhere};

#[tokio::test]
async fn a_sender_that_sns_refuses_is_told_wherever_it_is_set() {
    let laptop = Laptop::start().await;
    let (key, _) = laptop.shop(&[]).await;
    for (name, from) in [("Id", "AB"), ("Code", "123"), ("Number", "123456789012345")] {
        let add = [
            "template", "add", "shop", name, "--from", from, "--text", "${code}",
        ];
        let added = laptop.json(&add).await;
        let warning = format!("from {from}: SNS refuses every message from it");
        let warns = |said: &Value| said["warnings"][0].as_str().unwrap().contains(&warning);
        assert!(warns(&added), "{added}");
        assert!(
            warns(&laptop.json(&["preview", "shop", name]).await),
            "{name}"
        );
        let file = file_of_shop(&format!(
            "templates = [{{ name = '{name}', from = '{from}', text = '${{code}}!' }}]"
        ));
        assert!(warns(&laptop.applied(&file, &[]).await), "{name}");
        let id = added["template"]["id"].as_str().unwrap();
        assert_eq!(laptop.ask_cold(&key, id).await, "GENERAL_ERROR", "{name}");
    }
}

#[tokio::test]
async fn a_line_break_of_windows_is_a_line_break() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let text = "Your code:\r\n${code}\r\n";
    let add = ["template", "add", "shop", "Typed", "--from", "Shop"];
    let typed = [&add[..], &["--text", text.trim_end()]].concat();
    assert_eq!(laptop.run(&typed).await.code, 0);
    let piped = [
        "template", "add", "shop", "Piped", "--from", "Shop", "--text", "-",
    ];
    assert_eq!(laptop.run_with(&piped, text).await.code, 0);
    let file = file_of_shop(
        "[[clients.shop.templates]]\nname = 'File'\nfrom = 'Shop'\ntext = \"\"\"Your code:\n${code}\"\"\"",
    );
    laptop.applied(&file.replace('\n', "\r\n"), &[]).await;
    let listed = laptop.json(&["template", "list", "shop"]).await;
    for template in listed["templates"].as_array().unwrap() {
        assert_eq!(template["text"], "Your code:\n${code}", "{template}");
    }
    let preview = nowhere(&["preview", "--json", "--text", text.trim_end()]).await;
    assert!(!preview.json()["text"].as_str().unwrap().contains('\r'));
}

#[tokio::test]
async fn a_template_is_added_shown_changed_and_removed() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let text = "${code} pays ${amount}.";
    let id = laptop.add_template("shop", "Pay", text).await;
    let mut expected = json!({
        "id": id, "name": "Pay", "from": "Shop", "text": text, "ttl": 300, "code_length": 6,
        "max_attempts": 5, "warnings": [],
    });
    for named in [&id, "Pay"] {
        assert_eq!(
            laptop.json(&["template", "show", "shop", named]).await,
            expected
        );
    }
    let set = [
        "template",
        "set",
        "shop",
        "Pay",
        "--name",
        "Order",
        "--ttl",
        "60",
        "--code-length",
        "8",
        "--max-attempts",
        "3",
        "--from",
        "12345",
    ];
    let changed = laptop.json(&set).await;
    assert_eq!(changed["changes"].as_array().unwrap().len(), 5);
    for (field, value) in [
        ("name", json!("Order")),
        ("ttl", json!(60)),
        ("code_length", json!(8)),
        ("max_attempts", json!(3)),
        ("from", json!("12345")),
    ] {
        expected[field] = value;
    }
    assert_eq!(
        laptop.json(&["template", "show", "shop", "Order"]).await,
        expected
    );
    let set = ["template", "set", "shop", "Order", "--ttl", "60"];
    assert_eq!(laptop.json(&set).await["changes"], json!([]));

    let listed = laptop.json(&["template", "list", "shop"]).await;
    assert_eq!(listed["templates"][0]["id"], id);
    let removed = laptop.json(&["template", "remove", "shop", "Order"]).await;
    assert_eq!(removed["removed"], id);
    for verb in ["show", "set", "remove"] {
        let (code, _, _) = laptop.refused(&["template", verb, "shop", "Order"]).await;
        assert_eq!(code, 3, "{verb}");
    }
}

#[tokio::test]
async fn a_template_has_one_name_and_one_id() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let id = laptop.add_template("shop", "Login", "${code}").await;
    let add = ["template", "add", "shop"];
    let rest = ["--from", "Shop", "--text", "${code}"];
    let own = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";
    for (name, more) in [("Login", &["--id", own]), ("Other", &["--id", &id])] {
        let arguments = [&add, &[name] as &[&str], &rest, more].concat();
        assert_eq!(laptop.refused(&arguments).await.0, 1, "{name}");
    }
    let added = laptop
        .json(&[&add, &["Other"] as &[&str], &rest, &["--id", own]].concat())
        .await;
    assert_eq!(added["template"]["id"], own);
    let rename = ["template", "set", "shop", "Other", "--name", "Login"];
    assert_eq!(laptop.refused(&rename).await.0, 1);
    let arguments = [&add, &["Third"] as &[&str], &rest, &["--id", "x"]].concat();
    let (code, _, fields) = laptop.refused(&arguments).await;
    assert_eq!((code, fields), (2, vec!["id".to_owned()]));
}

#[tokio::test]
async fn every_field_of_a_template_that_is_not_valid_is_named() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--window", "10/600"]).await;
    laptop.add_template("shop", "Login", "${code}").await;
    let before = laptop.stored("shop").await;
    let (long, control) = (format!("${{code}}{}", "ж".repeat(700)), "${code}\u{1b}[31m");
    for (option, value, field) in [
        ("--name", "", "name"),
        ("--from", "A", "from"),
        ("--from", "TooLongSender", "from"),
        ("--from", "Zwölf", "from"),
        ("--from", "12", "from"),
        ("--from", "+12345", "from"),
        ("--text", "", "text"),
        ("--text", "your code", "text"),
        ("--text", "${code} ${code}", "text"),
        ("--text", "${code} ${a b}", "text"),
        ("--text", "${code} ${a", "text"),
        ("--text", control, "text"),
        ("--text", &long, "text"),
        ("--text", "Code:\n@shop.example ${code}", "text"),
        ("--text", "@shop.example #${code}\nBye", "text"),
        ("--ttl", "29", "ttl"),
        ("--ttl", "601", "ttl"),
        ("--code-length", "3", "code_length"),
        ("--code-length", "11", "code_length"),
        ("--max-attempts", "0", "max_attempts"),
        ("--max-attempts", "11", "max_attempts"),
    ] {
        let option = format!("{option}={value}");
        let (code, error, fields) = laptop
            .refused(&["template", "set", "shop", "Login", &option])
            .await;
        let named = fields.first().map(String::as_str);
        assert_eq!((code, named), (2, Some(field)), "{option}: {error}");
    }
    let all = [
        "template",
        "add",
        "shop",
        "New",
        "--from",
        "!",
        "--text",
        "x",
        "--ttl",
        "1",
        "--code-length",
        "1",
        "--max-attempts",
        "0",
    ];
    let (_, _, fields) = laptop.refused(&all).await;
    assert_eq!(
        fields,
        ["from", "text", "ttl", "code_length", "max_attempts"]
    );
    let (code, _, fields) = laptop.refused(&["template", "add", "shop", "New"]).await;
    assert_eq!(
        (code, fields),
        (2, vec!["from".to_owned(), "text".to_owned()])
    );
    assert_eq!(laptop.stored("shop").await, before);
}

#[tokio::test]
async fn guesses_must_fit_into_the_limits() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--window", "15/600"]).await;
    let add = [
        "template", "add", "shop", "Login", "--from", "Shop", "--text", "${code}",
    ];
    let (code, _, fields) = laptop
        .refused(&[&add[..], &["--max-attempts", "10"]].concat())
        .await;
    assert_eq!((code, fields), (2, vec!["limits".to_owned()]));
    laptop.json(&add).await;
}

#[tokio::test]
async fn a_template_that_costs_more_than_it_need_is_added_with_a_warning() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let add = async |name: &str, text: &str| {
        let arguments = [
            "template",
            "add",
            "shop",
            name,
            "--from",
            "Shop",
            "--code-length",
            "4",
            "--text",
            "-",
        ];
        let ran = laptop.run_with(&arguments, text).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    let said = add("Quote", "${code} – don’t share").await;
    assert!(
        said.contains("U+2019") && said.contains("U+2013") && said.contains("UCS-2"),
        "{said}"
    );
    assert!(said.contains("code_length 4: NIST"), "{said}");
    let said = add("Long", &format!("${{code}} {}\n", "a".repeat(160))).await;
    assert!(said.contains("each SMS is billed as 2 parts"), "{said}");
    let said = add("Web", "Your code:\n@shop.example #${code}\n").await;
    assert!(!said.contains("UCS-2"), "{said}");
    let shown = laptop.json(&["template", "list", "shop"]).await;
    assert_eq!(
        shown["templates"][2]["text"],
        "Your code:\n@shop.example #${code}"
    );
}

#[tokio::test]
async fn a_code_that_the_shell_took_away_is_explained() {
    let laptop = Laptop::start().await;
    let eaten = " is your code.";
    let add = [
        "template", "add", "demo", "New", "--from", "Shop", "--text", eaten,
    ];
    let set = ["template", "set", "demo", "Login", "--text", eaten];
    for arguments in [&add[..], &set, &["preview", "--text", eaten]] {
        let (code, error, fields) = laptop.refused(arguments).await;
        assert_eq!((code, &*fields), (2, &["text".to_owned()][..]));
        assert!(error.to_string().contains("single quotes"), "{error}");
    }
    let twice = ["preview", "--text", "${code} ${code}"];
    let (_, error, _) = laptop.refused(&twice).await;
    assert!(!error.to_string().contains("single quotes"), "{error}");
}
