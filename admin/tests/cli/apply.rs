//! `twofa apply` and `twofa export`.

use serde_json::json;

use crate::harness::{FILE, Laptop, NUMBER, key_of};

#[tokio::test]
async fn a_file_is_applied_once() {
    let laptop = Laptop::start().await;
    let plan = laptop.applied(FILE, &["--dry-run"]).await;
    let counts = json!({ "create": 3, "change": 1, "remove": 0, "unchanged": 0 });
    assert_eq!(
        (&plan["dry_run"], &plan["summary"]),
        (&json!(true), &counts)
    );
    assert_eq!(
        laptop.stored("shop").await,
        "None",
        "a dry run writes nothing"
    );
    let demo = laptop.json(&["client", "show", "demo"]).await;
    assert_eq!(demo["name"], "Demo");

    let applied = laptop.applied(FILE, &[]).await;
    assert_eq!(applied["summary"], counts);
    assert_eq!(applied["clients"], plan["clients"]);
    let change = json!([{ "field": "name", "old": "Demo", "new": "Demo shop" }]);
    assert_eq!(applied["clients"][0]["changes"], change);
    let mut expected = demo;
    expected["name"] = json!("Demo shop");
    assert_eq!(
        laptop.json(&["client", "show", "demo"]).await,
        expected,
        "the rest stays"
    );
    let shop = laptop.json(&["client", "show", "shop"]).await;
    assert_eq!(
        (&shop["prepaid"], &shop["limits"]["per_second"]),
        (&json!(true), &json!(50))
    );
    assert_eq!(shop["limits"]["max_failures"], 100, "the default");
    assert_eq!(shop["templates"][0]["name"], "Login");
    assert_eq!(
        shop["templates"][1]["id"],
        "0b9c1a36-52a2-4a0e-93b5-6d1b1e1f3c55"
    );

    let before = (laptop.stored("demo").await, laptop.stored("shop").await);
    let again = laptop.applied(FILE, &[]).await;
    let counts = json!({ "create": 0, "change": 0, "remove": 0, "unchanged": 4 });
    assert_eq!(
        (&again["summary"], &again["warnings"]),
        (&counts, &json!([]))
    );
    assert_eq!(
        before,
        (laptop.stored("demo").await, laptop.stored("shop").await)
    );
    let said = laptop.run_with(&["apply", "-"], FILE).await.out;
    assert_eq!(said, "0 created, 0 changed, 0 removed, 4 unchanged\n");
}

#[tokio::test]
async fn a_file_changes_what_it_says_and_never_keys_balances_or_test_numbers() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    laptop.json(&["key", "add", "shop"]).await;
    laptop
        .json(&["client", "set", "shop", "--balance", "7"])
        .await;
    laptop.json(&["client", "disable", "shop"]).await;
    laptop
        .run(&["test-number", "add", "--client", "shop", NUMBER])
        .await;
    let before = laptop.json(&["client", "show", "shop"]).await;

    let file = FILE
        .replace("per_second = 50", "per_second = 60")
        .replace("name = \"Pay\"", "name = \"Order\"")
        .replace("is your Shop code", "opens the shop");
    let ran = laptop.run_with(&["apply", "-"], &file).await;
    let login = before["templates"][0]["id"].as_str().unwrap();
    assert_eq!(
        ran.out,
        format!(
            "client shop: change\n  limits.per_second: 50 → 60\n  template Login ({login}): change\n    \
             text: ${{code}} is your Shop code. → ${{code}} opens the shop.\n  template Order \
             (0b9c1a36-52a2-4a0e-93b5-6d1b1e1f3c55): change\n    name: Pay → Order\n0 created, 3 changed, \
             0 removed, 1 unchanged\n"
        )
    );
    let mut expected = before;
    expected["limits"]["per_second"] = json!(60);
    expected["templates"][0]["text"] = json!("${code} opens the shop.");
    expected["templates"][1]["name"] = json!("Order");
    assert_eq!(laptop.json(&["client", "show", "shop"]).await, expected);
}

#[tokio::test]
async fn a_file_removes_templates_only_when_told_to() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    laptop.add_template("shop", "Extra", "${code}").await;
    assert_eq!(laptop.applied(FILE, &[]).await["summary"]["remove"], 0);
    let (file, _) = FILE.split_once("[clients.shop]").unwrap();
    let pruned = laptop
        .applied(file, &["--prune-templates", "--dry-run"])
        .await;
    assert_eq!(
        pruned["summary"]["remove"], 2,
        "those of the demo client, and of no other"
    );
    let pruned = laptop.applied(FILE, &["--prune-templates"]).await;
    assert_eq!(pruned["summary"]["remove"], 3);
    let shown = laptop.json(&["template", "list", "shop"]).await;
    let names: Vec<_> = shown["templates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| &t["name"])
        .collect();
    assert_eq!(names, ["Login", "Pay"]);
}

#[tokio::test]
async fn a_template_of_the_command_line_is_the_one_of_the_file() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    let own = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01";
    let add = [
        "template", "add", "shop", "Login", "--from", "Shop", "--text", "${code}",
    ];
    laptop.json(&[&add[..], &["--id", own]].concat()).await;
    let applied = laptop.applied(FILE, &[]).await;
    let login = &applied["clients"][1]["templates"][0];
    assert_eq!(
        (&login["id"], &login["action"]),
        (&json!(own), &json!("change"))
    );
    // Removed and made again, it has the id that its name gives it, wherever.
    laptop.json(&["template", "remove", "shop", "Login"]).await;
    let by_hand = laptop.json(&add).await;
    laptop.json(&["template", "remove", "shop", "Login"]).await;
    let applied = laptop.applied(FILE, &[]).await;
    let login = &applied["clients"][1]["templates"][0];
    assert_eq!(
        (&login["id"], &login["action"]),
        (&by_hand["template"]["id"], &json!("create"))
    );
}

#[tokio::test]
async fn every_fault_of_a_file_is_told_with_its_path_and_nothing_is_written() {
    let laptop = Laptop::start().await;
    let before = laptop.stored("demo").await;
    let file = r#"
colour = "red"

[clients."Not An Id"]
countries = "*"

[clients.demo]
name = "Changed"
keys = ["no"]
countries = ["GB", "UK"]
networks = ["10.0.0.1/8"]
max_price = 0.05
prepaid = "yes"
disabled = ["everything"]

[clients.demo.limits]
windows = [{ sends = 1, seconds = 30 }, { sends = "5" }]
max_failures = 70000
per_second = "many"
colour = 1

[[clients.demo.templates]]
name = "A"
from = "!"
text = "no code"
ttl = 5
code_length = 3
max_attempts = 0
id = "x"

[[clients.demo.templates]]
text = "${code}"
length = 6

[clients.new]
name = "New"

[clients.twice]
countries = ["GB"]
templates = [
  { name = "A", from = "Shop", text = "${code}" },
  { name = "A", from = "Shop", text = "${code}" },
]
"#;
    let ran = laptop.apply(file, &[]).await;
    assert_eq!(ran.code, 2);
    let (_, mut fields) = ran.error();
    fields.sort_unstable();
    let mut expected = [
        "colour",
        "clients.\"Not An Id\"",
        "clients.demo.keys[0]",
        "clients.demo.countries",
        "clients.demo.networks",
        "clients.demo.max_price",
        "clients.demo.prepaid",
        "clients.demo.disabled",
        "clients.demo.limits.windows[1].sends",
        "clients.demo.limits.windows[1].seconds",
        "clients.demo.limits.max_failures",
        "clients.demo.limits.per_second",
        "clients.demo.limits.colour",
        "clients.demo.templates[0].from",
        "clients.demo.templates[0].text",
        "clients.demo.templates[0].ttl",
        "clients.demo.templates[0].code_length",
        "clients.demo.templates[0].max_attempts",
        "clients.demo.templates[0].id",
        "clients.demo.templates[1].name",
        "clients.demo.templates[1].from",
        "clients.demo.templates[1].length",
        "clients.new.countries",
        "clients.twice.templates[1]",
        "clients.twice.templates",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    assert_eq!(laptop.stored("demo").await, before);
    assert_eq!(laptop.stored("new").await, "None");

    for (file, field) in [
        ("[clients", "file"),
        ("", "clients"),
        ("clients = 1", "clients"),
        (
            "[clients.demo.limits]\nwindows = [{ sends = 39, seconds = 600 }]",
            "clients.demo.limits",
        ),
    ] {
        let (_, fields) = laptop.apply(file, &[]).await.error();
        assert!(fields.contains(&field.to_owned()), "{file}: {fields:?}");
    }
    let missing = laptop.run(&["apply", "/nowhere/clients.toml"]).await;
    assert_eq!(missing.code, 1);
    assert!(
        missing
            .err
            .starts_with("error: cannot read /nowhere/clients.toml\n  caused by: ")
    );
}

#[tokio::test]
async fn faults_of_a_file_have_their_lines_and_what_was_meant() {
    let laptop = Laptop::start().await;
    let file = "# A comment.\n[clients.demo]\nmax_prise = '1'\n\n[clients.demo.limits]\n\
                per_secnd = 5\nmax_failures = 0\n\n[[clients.demo.templates]]\nname = 'A'\n\
                from = '!'\ntext = 'no code'\n";
    let ran = laptop.apply(file, &[]).await;
    let (error, _) = ran.error();
    let faults = error["fields"].as_array().unwrap();
    let line = |field: &str| {
        let mut all = faults.iter();
        let fault = all.find(|fault| fault["field"] == field).unwrap();
        (
            fault["line"].as_u64().unwrap(),
            fault["error"].as_str().unwrap(),
        )
    };
    let unknown = "is not a known field; did you mean";
    assert_eq!(
        line("clients.demo.max_prise"),
        (3, &*format!("{unknown} max_price?"))
    );
    assert_eq!(
        line("clients.demo.limits.per_secnd"),
        (6, &*format!("{unknown} per_second?"))
    );
    assert_eq!(line("clients.demo.limits.max_failures").0, 7);
    assert_eq!(line("clients.demo.templates[0].from").0, 11);
    assert_eq!(line("clients.demo.templates[0].text").0, 12);
    let said = laptop.run_with(&["apply", "-"], file).await.err;
    assert!(said.contains("line 3: clients.demo.max_prise: "), "{said}");
    // What is not there has the line of what it should be in.
    let ran = laptop
        .apply(
            "\n[clients.demo]\nlimits = { windows = [{ sends = 1 }] }",
            &[],
        )
        .await;
    assert_eq!(ran.error().0["fields"][0]["line"], 3);
    let ran = laptop.apply("\n\n[clients", &[]).await;
    assert_eq!(ran.error().0["fields"][0]["line"], 3);
}

#[tokio::test]
async fn an_export_is_what_apply_reads() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    let added = laptop
        .add_client(
            "odd",
            &["--with-key", "--expires", "90d", "--networks", "10.0.0.0/8"],
        )
        .await;
    laptop
        .add_template("odd", "It's \"x\"", "Line 1\n\\ ${code} \'\'\' é")
        .await;
    laptop
        .json(&["client", "disable", "odd", "--switch", "product"])
        .await;
    let export = laptop.run(&["export"]).await.out;
    let again = laptop.applied(&export, &["--dry-run", "--exit-code"]).await;
    let summary = &again["summary"];
    assert_eq!(
        (&summary["create"], &summary["change"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(again["warnings"], json!([]));

    // Elsewhere it makes the same clients, and their keys open the API.
    let elsewhere = Laptop::start().await;
    elsewhere.applied(&export, &[]).await;
    let show = ["client", "show", "odd"];
    assert_eq!(elsewhere.json(&show).await, laptop.json(&show).await);
    let said = elsewhere.run(&["export"]).await.out;
    assert_eq!(said, export);
    let (status, _) = elsewhere.call(&key_of(&added), "request", &json!({})).await;
    assert_eq!(status, 401, "it is switched off");
    elsewhere
        .json(&["client", "enable", "odd", "--switch", "product"])
        .await;
    // A key that was revoked does not come back by the file.
    let id = added["key"]["id"].as_str().unwrap();
    assert_eq!(elsewhere.run(&["key", "revoke", "odd", id]).await.code, 0);
    elsewhere.applied(&export, &[]).await;
    assert_eq!(elsewhere.json(&show).await["keys"], json!([]));

    let one = laptop.run(&["export", "odd"]).await.out;
    assert!(
        one.contains("[clients.odd]") && !one.contains("clients.shop"),
        "{one}"
    );
    assert_eq!(laptop.refused(&["export", "nobody"]).await.0, 3);
}

#[tokio::test]
async fn a_drift_has_an_exit_code() {
    let laptop = Laptop::start().await;
    laptop.applied(FILE, &[]).await;
    let drift = ["apply", "-", "--dry-run", "--exit-code"];
    assert_eq!(laptop.run_with(&drift, FILE).await.code, 0);
    laptop
        .json(&["client", "set", "shop", "--per-second", "9"])
        .await;
    let ran = laptop.run_with(&drift, FILE).await;
    assert_eq!(ran.code, 4);
    assert!(ran.out.contains("limits.per_second: 9 → 50"), "{}", ran.out);
    assert_eq!(
        laptop
            .run_with(&["apply", "-", "--exit-code"], FILE)
            .await
            .code,
        2
    );
}
