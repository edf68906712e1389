//! What a call leaves in CloudWatch's embedded metric format.

use serde_json::{Value, json};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::limits::Limits;

use twofa_local::inbox::InjectedError;

use crate::fault_proxy::NetworkFault;
use crate::harness::{
    App,
    Guess::{Right, Wrong},
    NUMBER, TEMPLATE,
};
use crate::log;

/// The metrics of the calls so far, oldest first.
fn measured() -> Vec<Value> {
    log::lines(|line| line["_aws"].is_object())
}

/// The names of the metrics that CloudWatch takes from a line, with their dimensions, sorted.
fn names(line: &Value) -> Vec<String> {
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let mut names = Vec::new();
    for directive in directives {
        assert_eq!(directive["Namespace"], "Twofa/laptop");
        for dimension in directive["Dimensions"][0].as_array().unwrap() {
            assert!(line[dimension.as_str().unwrap()].is_string(), "{dimension}");
        }
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            assert!(line[name].is_number(), "{name}");
            names.push(format!("{name}{}", directive["Dimensions"][0]));
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn every_call_is_measured_step_by_step() {
    let app = App::start().await;
    let sent = app.send().await;
    app.guess(&sent, Wrong).await;
    app.guess(&sent, Right).await;
    app.call(reqwest::Method::GET, TEMPLATE, &[], "").await;
    app.call(reqwest::Method::GET, "/elsewhere", &[], "").await;

    let lines = measured();
    let call = r#"Calls["Endpoint","Outcome"]"#;
    let endpoint = |names: &[&str]| {
        let named = names.iter().map(|name| format!(r#"{name}["Endpoint"]"#));
        let mut named: Vec<_> = named.chain([call.to_owned()]).collect();
        named.sort();
        named
    };
    let mut request = endpoint(&[
        "AuthenticateTime",
        "BeginTime",
        "Latency",
        "MarkTime",
        "Parts",
        "PublishTime",
        "SecretTime",
    ]);
    request.push(r#"Parts["Country"]"#.to_owned());
    request.sort();
    let guess = ["GuessTime", "Latency"];
    for (line, endpoint_name, outcome, expected) in [
        (&lines[0], "request", "ACCEPTED", request),
        (
            &lines[1],
            "validate",
            "not_matched",
            endpoint(&[&guess[..], &["SettleTime"]].concat()),
        ),
        (
            &lines[2],
            "validate",
            "success",
            endpoint(&[&guess[..], &["SettleTime"]].concat()),
        ),
        (
            &lines[3],
            "template",
            "UNAUTHORIZED",
            endpoint(&["AuthenticateTime", "Latency"]),
        ),
        (&lines[4], "unmatched", "NOT_FOUND", endpoint(&["Latency"])),
    ] {
        assert_eq!(
            (&line["Endpoint"], &line["Outcome"]),
            (&json!(endpoint_name), &json!(outcome))
        );
        assert_eq!(names(line), expected, "{endpoint_name} {outcome}");
    }
    assert_eq!(
        (&lines[0]["Country"], &lines[0]["Parts"]),
        (&json!("GB"), &json!(1))
    );
    let steps = ["BeginTime", "PublishTime", "MarkTime"];
    let steps: f64 = steps
        .iter()
        .filter_map(|step| lines[0][step].as_f64())
        .sum();
    let latency = lines[0]["Latency"].as_f64().unwrap();
    assert!(0.0 < steps && steps < latency, "{steps} of {latency} ms");
}

#[tokio::test]
async fn the_limit_that_refuses_is_named() {
    let app = App::start().await;
    let client = |name, limits| Profile {
        limits,
        ..Profile::new(name, Countries::All)
    };
    let key = app.add(client("often", Limits::default())).await;
    app.request_as(&key, NUMBER).await;
    app.request_as(&key, NUMBER).await.is_limited();
    let once = Limits {
        per_day: Some(1),
        ..Limits::default()
    };
    let key = app.add(client("once", once)).await;
    app.request_as(&key, NUMBER).await;
    app.request_as(&key, &app.somebody()).await.is_limited();
    let key = app
        .add(Profile {
            prepaid: true,
            ..client("broke", Limits::default())
        })
        .await;
    app.request_as(&key, NUMBER)
        .await
        .is_rejection("OUT_OF_BALANCE");
    drop(app);

    let capped = App::start_with(Some(1), false).await;
    capped.send().await;
    capped.request_to(&capped.somebody()).await.is_limited();

    let refused = log::lines(|line| line["Refused"] == 1);
    let limits: Vec<_> = refused.iter().map(|line| &line["Limit"]).collect();
    assert_eq!(limits, ["recipient", "client", "balance", "stack"]);
    for line in refused {
        assert!(names(&line).contains(&r#"Refused["Limit"]"#.to_owned()));
        assert!(line["Parts"].is_null(), "nothing was sent");
    }
}

#[tokio::test]
async fn errors_and_retries_of_aws_are_counted() {
    let app = App::start().await;
    app.dynamodb
        .inject("TransactWriteItems", [NetworkFault::LostBefore]);
    app.send().await;
    app.inbox.fail_next([InjectedError::AuthorizationError]);
    app.request_to(&app.somebody())
        .await
        .is_refusal(503, "GENERAL_ERROR");
    app.send().await;

    let counts: Vec<_> = measured()
        .iter()
        .map(|line| ["AwsRetries", "AwsErrors", "ServerErrors"].map(|name| line[name].clone()))
        .collect();
    let none = Value::Null;
    assert_eq!(
        counts,
        [
            [json!(1), none.clone(), none.clone()],
            [none.clone(), json!(1), json!(1)],
            [none.clone(), none.clone(), none],
        ]
    );
}
