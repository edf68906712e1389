//! What a parameter may hold.

use reqwest::Method;
use serde_json::json;

use crate::harness::{API_KEY, App, Guess::Right, LOGIN, NUMBER, PAYMENT, REQUEST};

use super::{FORGERIES, order, the_log_is_clean};

#[tokio::test]
async fn a_parameter_is_text_and_never_a_template() {
    let app = App::start().await;
    for value in [
        "${code}",
        "${amount}",
        "${",
        "$",
        "$$",
        "$1",
        "\\0",
        "}",
        "{{code}}",
        "{code}",
        "%s%n",
        "%(code)s",
        "<%= code %>",
        "#{code}",
        "`code`",
        "'; DROP TABLE x; --",
        "<script>sesame</script>",
        "\\u0024{code}",
        "٣٢١",
        "é\u{301}",
        "👩‍👩‍👧‍👦",
        "",
    ] {
        let parameters = json!({
            "amount": value, "code": "000000", "CODE": "1", "": "2", "__proto__": "8",
            "constructor": "3", "toString": "4", "${amount}": "5", "a.b": "6", "amount ": "7",
        });
        let order =
            json!({ "to": app.somebody(), "template_id": PAYMENT, "parameters": parameters });
        let sent = app.sent(&app.post(REQUEST, order).await);
        let shown = format!("{} confirms your payment of {value}. ", sent.code);
        let text = &app.messages()[0].text;
        assert!(text.starts_with(&shown), "{text}");
        app.validate("000000", &sent.request_id)
            .await
            .is_not_matched();
        app.guess(&sent, Right).await.is_success();
    }
    the_log_is_clean();
}

#[tokio::test]
async fn control_characters_and_too_many_parts_are_refused_before_anything_happens() {
    let app = App::start().await;
    let order = |amount: &str| json!({ "to": NUMBER, "template_id": PAYMENT, "parameters": { "amount": amount } });
    // Cc, then Bidi_Control, Zl and Zp.
    let controls = (0..0x20).chain(0x7f..0xa0).chain([0x61c, 0x200e, 0x200f]);
    let controls = controls.chain(0x2028..=0x202e).chain(0x2066..=0x2069);
    for control in controls {
        let control = char::from_u32(control).unwrap();
        let answer = app.post(REQUEST, order(&format!("1{control}2"))).await;
        answer.is_invalid(&[(
            "parameters.amount",
            "must not contain control characters, line or paragraph separators, or bidirectional controls",
        )]);
    }
    for value in [
        "\u{20ac}".repeat(760),
        "👩".repeat(335),
        "\u{200d}".repeat(670),
        "${code}".repeat(230),
    ] {
        let answer = app.post(REQUEST, order(&value)).await;
        let problem = answer.json()["errors"][0].clone();
        assert_eq!(problem["property"], "parameters");
        assert!(
            problem["error"]
                .as_str()
                .unwrap()
                .ends_with("at most 10 are allowed: its values must be shorter")
        );
        assert_eq!(answer.status, 400);
    }
    app.nothing_happened().await;
    the_log_is_clean();
}

#[tokio::test]
async fn as_many_parameters_as_fit_are_read_and_every_bad_one_is_named() {
    let app = App::start().await;
    let body = |value: &str| {
        let parameters: Vec<_> = (0..1_500).map(|n| format!(r#""{n}":{value}"#)).collect();
        order(
            &app,
            &format!(r#","parameters":{{{}}}"#, parameters.join(",")),
        )
    };
    let key = [("X-API-KEY", API_KEY)];
    let answer = app.call(Method::POST, REQUEST, &key, body("[]")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 1_500);
    app.nothing_happened().await;
    let answer = app.call(Method::POST, REQUEST, &key, body("1")).await;
    app.sent(&answer);

    // Their names come back as JSON and nothing else.
    for name in FORGERIES
        .into_iter()
        .chain(["__proto__", "", "<b>", "\u{0}"])
    {
        let order = json!({ "to": NUMBER, "template_id": LOGIN, "parameters": { name: null } });
        let answer = app.post(REQUEST, order).await;
        let path = format!("parameters.{name}");
        answer.is_invalid(&[(&path, "must be a string, a number or a boolean")]);
        assert!(!answer.body.contains(|c| c < ' '), "escaped");
    }
    assert_eq!(app.inbox.publishes(), 1);
    the_log_is_clean();
}
