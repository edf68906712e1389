//! `twofa recipient`.

use serde_json::{Value, json};

use crate::harness::{Laptop, NUMBER, key_of};

#[tokio::test]
async fn a_recipient_is_shown_and_unlocked() {
    let laptop = Laptop::start().await;
    let added = laptop.add_client("shop", &["--with-key"]).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    let fresh = laptop.json(&show).await;
    assert_eq!(
        (&fresh["next_send_at"], &fresh["sends"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(
        (&fresh["number"], &fresh["country"]),
        (&json!("+44…56"), &json!("GB"))
    );

    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
    assert_eq!(laptop.send(&key, NUMBER, &login).await.0, 429);
    // Every spelling is the same recipient, also one in several words.
    for words in [&["0044", "7400", "123456"] as &[&str], &["447400123456"]] {
        let shown = laptop
            .json(&[&["recipient", "show", "--client", "shop"], words].concat())
            .await;
        assert_eq!(shown["sends"].as_array().unwrap().len(), 1);
        let sent_at: jiff::Timestamp = shown["sends"][0].as_str().unwrap().parse().unwrap();
        let next: jiff::Timestamp = shown["next_send_at"].as_str().unwrap().parse().unwrap();
        let wait = next.as_second() - sent_at.as_second();
        assert!((30..=31).contains(&wait), "{wait}");
        assert_eq!(shown["locked"], false);
        let first = json!({ "sends": 1, "seconds": 30, "used": 1 });
        assert_eq!(shown["windows"][0], first);
    }
    let arguments = ["recipient", "unlock", "--client", "shop", "--json", "-"];
    let unlocked = laptop
        .run_with(&arguments, &format!("{NUMBER}\n"))
        .await
        .json();
    assert_eq!(unlocked["forgotten"], json!({ "failures": 0, "sends": 1 }));
    assert_eq!(laptop.json(&show).await["next_send_at"], Value::Null);
    assert_eq!(
        laptop.send(&key, NUMBER, &login).await.1["status"],
        "ACCEPTED"
    );
}

#[tokio::test]
async fn a_recipient_that_failed_too_often_is_locked_until_unlocked() {
    let laptop = Laptop::start().await;
    let limits = [
        "--with-key",
        "--window",
        "2/1",
        "--window",
        "3/600",
        "--max-failures",
        "16",
    ];
    let added = laptop.add_client("shop", &limits).await;
    let (key, login) = (
        key_of(&added),
        laptop.add_template("shop", "Login", "${code}").await,
    );
    let (_, accepted) = laptop.send(&key, NUMBER, &login).await;
    for wrong in ["0000", "0001"] {
        let guess = json!({ "code": wrong, "request_id": accepted["request_id"] });
        let (_, answer) = laptop.call(&key, "validate", &guess).await;
        assert_eq!(answer["status"], "not_matched");
    }
    let show = ["recipient", "show", "--client", "shop", NUMBER];
    let shown = laptop.json(&show).await;
    assert_eq!(
        (&shown["failures"], &shown["failures_admitted"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(shown["locked"], true);
    assert!(laptop.run(&show).await.out.contains("(locked by failures)"));
    let unlock = ["recipient", "unlock", "--client", "shop", NUMBER];
    let said = laptop.run(&unlock).await.out;
    assert_eq!(
        said,
        "unlocked +44…56 at the client shop: failures forgotten: 2, sends forgotten: 1\n"
    );
    assert_eq!(laptop.json(&show).await["locked"], false);
    let said = laptop.run(&unlock).await.out;
    assert_eq!(said, "nothing is remembered of +44…56 at the client shop\n");
}

#[tokio::test]
async fn a_number_that_is_none_is_not_repeated() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    for verb in [
        ["recipient", "show"],
        ["recipient", "unlock"],
        ["test-number", "add"],
    ] {
        // Too long by two digits; that it is not repeated is checked at every run.
        let number = [NUMBER, "99"].concat();
        let arguments = [&verb[..], &["--client", "shop", &number]].concat();
        let (code, _, fields) = laptop.refused(&arguments).await;
        assert_eq!((code, fields), (2, vec!["number".to_owned()]), "{verb:?}");
    }
    let abroad = ["recipient", "show", "--client", "shop", "+33612345678"];
    let said = laptop.run(&abroad).await.err;
    assert!(said.contains("may not send to FR"), "{said}");
}
