//! `twofa send-test`.

use serde_json::json;

use crate::harness::{Laptop, NUMBER};

#[tokio::test]
async fn a_test_message_goes_through_sns() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &["--max-price", "0.05"]).await;
    laptop
        .add_template("shop", "Pay", "${code} pays ${amount}")
        .await;
    let send = ["send-test", "--client", "shop", "--template", "Pay"];
    let (code, _, fields) = laptop.refused(&[&send[..], &[NUMBER]].concat()).await;
    assert_eq!((code, fields), (2, vec!["parameters.amount".to_owned()]));
    let more = ["--param", "amount=5", NUMBER];
    let told = laptop.json(&[&send[..], &more].concat()).await;
    assert_eq!(
        (&told["to"], &told["warnings"]),
        (&json!("+44…56"), &json!([]))
    );
    let inbox = laptop.inbox().await;
    assert_eq!(
        (&inbox[0]["from"], &inbox[0]["message_id"]),
        (&json!("Shop"), &told["message_id"])
    );
    assert!(inbox[0]["text"].as_str().unwrap().ends_with(" pays 5"));
    let abroad = ["--param", "amount=5", "+33 1 23 45 67 89"];
    let told = laptop.json(&[&send[..], &abroad].concat()).await;
    let warnings = told["warnings"].to_string();
    assert!(
        warnings.contains("fixed_line") && warnings.contains("may not send to FR"),
        "{warnings}"
    );

    laptop
        .run(&["template", "set", "shop", "Pay", "--from", "AB"])
        .await;
    let ran = laptop.run(&[&send[..], &more].concat()).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err
            .contains("caused by: Publish failed: Refused (code InvalidParameter"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("hint: SNS refuses the sender"),
        "{}",
        ran.err
    );
}
