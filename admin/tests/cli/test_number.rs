//! `twofa test-number`.

use serde_json::{Value, json};

use crate::harness::{Laptop, NUMBER, key_of};

#[tokio::test]
async fn a_test_number_gets_its_code_and_no_message() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let run = async |verb: &str| {
        let arguments = ["test-number", verb, "--client", "shop", "--json", NUMBER];
        laptop.run(&arguments).await
    };
    let code = run("add").await.json()["code"].as_str().unwrap().to_owned();
    assert_eq!(code.len(), 10);
    assert_eq!(
        run("add").await.json()["code"],
        code,
        "adding it twice changes nothing"
    );
    let count = ["test-number", "count", "--client", "shop"];
    assert_eq!(laptop.json(&count).await["test_numbers"], 1);

    let (_, accepted) = laptop.send(&key, NUMBER, &login).await;
    assert_eq!(accepted["status"], "ACCEPTED");
    let guess = json!({ "code": &code[..6], "request_id": accepted["request_id"] });
    assert_eq!(
        laptop.call(&key, "validate", &guess).await.1["status"],
        "success"
    );
    assert_eq!(laptop.inbox().await, Vec::<Value>::new());
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    assert_eq!(laptop.json(&show).await["test_number"], true);

    assert_eq!(run("remove").await.code, 0);
    assert_eq!(run("remove").await.code, 3);
    assert_eq!(laptop.json(&count).await["test_numbers"], 0);
}
