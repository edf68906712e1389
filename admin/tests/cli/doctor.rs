//! `twofa doctor`.

use serde_json::Value;
use twofa_local::services::{DIRECTORY_TABLE, VERIFICATIONS_TABLE};

use crate::harness::{Laptop, account, run, sns_of};

#[tokio::test]
async fn a_doctor_looks_at_all_that_a_message_needs() {
    let laptop = Laptop::start().await;
    let look = async || {
        let ran = laptop.run(&["doctor", "--json"]).await;
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let name = |check: &Value| check["check"].as_str().unwrap().to_owned();
        let state = |check: &Value| check["state"].as_str().unwrap().to_owned();
        let states: Vec<_> = checks
            .iter()
            .map(|check| (name(check), state(check)))
            .collect();
        (ran.code, states, checks)
    };
    let (code, states, checks) = look().await;
    assert_eq!(code, 0);
    let names: Vec<_> = states.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "region",
        "caller",
        "directory table",
        "verifications table",
        "secret",
        "SMS sandbox",
        "SMS spend limit",
        "senders",
    ];
    assert_eq!(names, expected);
    assert!(
        states.iter().all(|(_, state)| state == "fine"),
        "{checks:?}"
    );

    for (name, from) in [("Short", "AB"), ("Number", "+447400999999")] {
        let add = [
            "template", "add", "demo", name, "--from", from, "--text", "${code}",
        ];
        assert_eq!(laptop.run(&add).await.code, 0);
    }
    let (code, states, checks) = look().await;
    assert_eq!((code, states[7].1.as_str()), (0, "warning"));
    let detail = checks[7]["detail"].as_str().unwrap();
    assert!(detail.contains("demo, Short: from AB") && detail.contains("447400999999 is not"));

    for (is_sandboxed, spend_limit, expected) in [
        (false, None, ["fine", "warning"]),
        (false, Some("1"), ["fine", "warning"]),
        (false, Some("50"), ["fine", "fine"]),
        (true, Some("50"), ["warning", "fine"]),
    ] {
        let sns = sns_of(is_sandboxed, spend_limit, &[]).await;
        let mut command = account(&laptop);
        command.env("AWS_ENDPOINT_URL_SNS", format!("http://{sns}"));
        command.args(["--directory-table", DIRECTORY_TABLE]);
        command.args(["--verifications-table", VERIFICATIONS_TABLE, "doctor"]);
        let ran = run(command, "").await;
        let checks = ran.json()["checks"].as_array().unwrap().clone();
        let state = |name: &str| {
            let mut all = checks.iter();
            all.find(|one| one["check"] == name).unwrap()["state"].clone()
        };
        let states = [state("SMS sandbox"), state("SMS spend limit")];
        assert_eq!(states, expected, "{is_sandboxed} {spend_limit:?}");
    }

    // Tables that are not there, and no secret.
    let mut command = account(&laptop);
    command.args([
        "--directory-table",
        DIRECTORY_TABLE,
        "--verifications-table",
        "Nothing",
        "doctor",
    ]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    let states: Vec<_> = ran.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["state"].clone())
        .collect();
    assert_eq!(states[2..5], ["fine", "broken", "broken"]);
}
