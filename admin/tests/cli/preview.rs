//! `twofa preview`.

use serde_json::json;

use crate::harness::{Laptop, nowhere};

#[tokio::test]
async fn a_preview_shows_the_text_and_what_it_costs() {
    let laptop = Laptop::start().await;
    laptop.add_client("shop", &[]).await;
    laptop
        .add_template("shop", "Pay", "${code} pays ${amount}")
        .await;
    let preview = [
        "preview",
        "shop",
        "Pay",
        "--param",
        "amount=€ 5",
        "--code-length",
        "8",
    ];
    let shown = laptop.json(&preview).await;
    let text = shown["text"].as_str().unwrap();
    let (code, rest) = text.split_once(' ').unwrap();
    assert_eq!((code.len(), rest), (8, "pays € 5"));
    assert!(code.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(
        (&shown["encoding"], &shown["parts"]),
        (&json!("GSM-7"), &json!(1))
    );

    let (code, _, fields) = laptop.refused(&["preview", "shop", "Pay"]).await;
    assert_eq!((code, fields), (2, vec!["parameters.amount".to_owned()]));
    let unknown = [
        "preview", "shop", "Pay", "--param", "amount=1", "--param", "x=1",
    ];
    let said = laptop.run(&unknown).await.err;
    assert_eq!(said, "warning: the text has no placeholder ${x}\n");
    assert_eq!(laptop.refused(&["preview", "shop", "Nothing"]).await.0, 3);
}

#[tokio::test]
async fn a_text_is_previewed_without_any_place() {
    let preview = async |text: &str, more: &[&str]| {
        nowhere(&[&["preview", "--json", "--text", text], more].concat()).await
    };
    let text = format!("${{code}} don’t{}", "a".repeat(60));
    let shown = preview(&text, &[]).await.json();
    assert_eq!(
        (&shown["encoding"], &shown["parts"]),
        (&json!("UCS-2"), &json!(2))
    );
    assert_eq!(
        (&shown["not_gsm7"], &shown["parts_without"]),
        (&json!(["’"]), &json!(1))
    );
    assert_eq!(
        shown["warnings"][0],
        "’ (U+2019, write ') is not in GSM-7, so the SMS goes as UCS-2 in 2 parts; without, as \
         GSM-7 in 1 part"
    );
    for (text, more, field) in [
        ("no code", &[] as &[&str], "text"),
        ("${code} ${a}", &["--param", "b=1"], "parameters.a"),
        ("${code} ${a}", &["--param", "a=\u{7}"], "parameters.a"),
        (
            "${code} ${a}",
            &["--param", "a=1", "--param", "a=2"],
            "parameters.a",
        ),
        ("${code}", &["--param", "a"], "param"),
        ("${code}", &["--code-length", "11"], "code_length"),
    ] {
        let ran = preview(text, more).await;
        assert_eq!(
            (ran.code, ran.error().1),
            (2, vec![field.to_owned()]),
            "{text} {more:?}"
        );
    }
    let long = format!("a={}", "b".repeat(1_600));
    let ran = preview("${code} ${a}", &["--param", &long]).await;
    assert_eq!((ran.code, ran.error().1), (2, vec!["text".to_owned()]));
    // A value is not a template: it is put in as it is.
    let shown = preview("${code} ${a}", &["--param", "a=${code}"])
        .await
        .json();
    assert!(shown["text"].as_str().unwrap().ends_with(" ${code}"));
}
