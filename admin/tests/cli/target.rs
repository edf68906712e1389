//! The options that say where to work.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;
use twofa_local::services::{Addresses, DIRECTORY_TABLE, SECRET, VERIFICATIONS_TABLE};

use crate::harness::{Laptop, NUMBER, account, nowhere, program, run, sns_of};

#[tokio::test]
async fn the_place_must_be_said_once_and_be_whole() {
    for (arguments, named) in [
        (&["client", "list"] as &[&str], "say where"),
        (
            &["client", "list", "--local", "--stack", "x"],
            "exclude each other",
        ),
        (
            &["client", "list", "--stack", "x", "--directory-table", "y"],
            "exclude each other",
        ),
        (
            &["client", "list", "--local", "--secret", "x"],
            "--secret is not for",
        ),
        (
            &["client", "list", "--local", "--region", "x"],
            "--region is not for",
        ),
        (
            &[
                "client",
                "list",
                "--stack",
                "x",
                "--verifications-table",
                "x",
            ],
            "--verifications-table is",
        ),
        (
            &["client", "list", "--stack", "x", "--sns-endpoint", "x"],
            "--sns-endpoint is not for",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--dynamodb-endpoint",
                "https://127.0.0.1",
            ],
            "--dynamodb-endpoint: with --local",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--dynamodb-endpoint",
                "http://dynamodb.eu-west-1.amazonaws.com",
            ],
            "--dynamodb-endpoint: with --local",
        ),
        (
            &[
                "client",
                "list",
                "--local",
                "--sns-endpoint",
                "http://sns.eu-west-1.api.aws.",
            ],
            "--sns-endpoint",
        ),
    ] {
        let ran = nowhere(arguments).await;
        assert_eq!(ran.code, 2, "{arguments:?}");
        assert!(ran.err.contains(named), "{arguments:?}: {}", ran.err);
    }
}

#[tokio::test]
async fn without_region_or_credentials_it_says_so() {
    let ran = nowhere(&["client", "list", "--stack", "x"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.starts_with("error: there is no AWS region"),
        "{}",
        ran.err
    );
    let ran = nowhere(&["client", "list", "--stack", "x", "--region", "eu-west-1"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.starts_with("error: there are no AWS credentials"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn nothing_listens_is_said_with_what_may_help() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ran = nowhere(&[
        "client",
        "list",
        "--local",
        "--dynamodb-endpoint",
        &endpoint,
    ])
    .await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("`cargo run` must be running"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn the_laptop_knows_nothing_of_a_persons_account() {
    let laptop = Laptop::start().await;
    let mut command = program();
    // Not even where it leads to: nothing listens there.
    for service in ["", "_DYNAMODB", "_SECRETS_MANAGER"] {
        command.env(format!("AWS_ENDPOINT_URL{service}"), "http://127.0.0.1:1");
    }
    command.env("AWS_PROFILE", "nobody").arg("--local");
    let Addresses { dynamodb, sns, .. } = laptop.services.addresses;
    command.args(["--dynamodb-endpoint", &format!("http://{dynamodb}")]);
    command.args(["--sns-endpoint", &format!("http://{sns}")]);
    command.args(["recipient", "show", "--client", "demo", NUMBER]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[tokio::test]
async fn tables_are_found_by_their_names() {
    let laptop = Laptop::start().await;
    let tables = async |arguments: &[&str]| {
        let mut command = account(&laptop);
        command
            .args(["--directory-table", DIRECTORY_TABLE])
            .args(arguments);
        run(command, "").await
    };
    let listed = tables(&["client", "list"]).await;
    assert_eq!(listed.json()["clients"][0]["id"], "demo", "{}", listed.err);
    let shown = tables(&["client", "show", "demo"]).await.json();
    assert!(shown.get("balance").is_none(), "it is in the other table");
    let show = ["recipient", "show", "--client", "demo", NUMBER];
    for (arguments, named) in [
        (&["usage"] as &[&str], "--verifications-table"),
        (
            &["client", "set", "demo", "--balance", "5"],
            "--verifications-table",
        ),
        (&show, "--secret"),
    ] {
        let ran = tables(arguments).await;
        let (error, _) = ran.error();
        assert_eq!(ran.code, 2, "{arguments:?}: {error}");
        assert!(error["error"].as_str().unwrap().contains(named), "{error}");
    }
    let all = [
        "--verifications-table",
        VERIFICATIONS_TABLE,
        "--secret",
        SECRET,
    ];
    assert_eq!(tables(&[&all[..], &show].concat()).await.code, 0);

    let mut command = account(&laptop);
    command.args(["--directory-table", "Nothing", "client", "show", "demo"]);
    let ran = run(command, "").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("there is no such table"), "{}", ran.err);
}

/// CloudFormation with one stack of that name and one of another product.
async fn cloud_formation() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let describe = async |body: Bytes| {
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("Action=DescribeStacks"), "{body}");
        let output = |(key, value)| {
            format!(
                "<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            )
        };
        let outputs: String = if body.contains("StackName=ours") {
            let ours = [
                ("ApiUrl", "https://x"),
                ("DirectoryTable", DIRECTORY_TABLE),
                ("VerificationsTable", VERIFICATIONS_TABLE),
                ("SecretArn", SECRET),
                ("DefaultSenderId", "Stacked"),
                ("AlarmTopic", "arn:aws:sns:eu-west-1:000000000000:alarms"),
            ];
            ours.map(output).concat()
        } else if body.contains("StackName=other") {
            output(("Url", "https://x"))
        } else {
            let error = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
                         <Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id x \
                         does not exist</Message></Error><RequestId>r</RequestId></ErrorResponse>";
            return (StatusCode::BAD_REQUEST, error.to_owned());
        };
        let answer = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\">\
             <DescribeStacksResult><Stacks><member><StackName>x</StackName><CreationTime>\
             2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>\
             {outputs}</Outputs></member></Stacks></DescribeStacksResult><ResponseMetadata>\
             <RequestId>r</RequestId></ResponseMetadata></DescribeStacksResponse>"
        );
        (StatusCode::OK, answer)
    };
    let app = Router::new().route("/", post(describe));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

#[tokio::test]
async fn a_stack_tells_where_everything_is() {
    const PENDING: &[&str] = &["PendingConfirmation"];
    const CONFIRMED: &[&str] = &["PendingConfirmation", "arn:aws:sns:eu-west-1:0:alarms:1"];
    let laptop = Laptop::start().await;
    let address = cloud_formation().await;
    let stack_beside = async |sns: SocketAddr, name: &str, arguments: &[&str]| {
        let mut command = account(&laptop);
        for (service, address) in [("CLOUDFORMATION", address), ("SNS", sns)] {
            let endpoint = format!("http://{address}");
            command.env(format!("AWS_ENDPOINT_URL_{service}"), endpoint);
        }
        command.args(["--stack", name]).args(arguments);
        run(command, "").await
    };
    let own_sns = laptop.services.addresses.sns;
    let stack = async |name: &str, arguments: &[&str]| stack_beside(own_sns, name, arguments).await;
    let shown = stack("ours", &["recipient", "show", "--client", "demo", NUMBER]).await;
    assert_eq!(shown.json()["client"], "demo", "{}", shown.err);
    let text = ["--text", "${code}"];
    for (name, from, expected) in [
        ("Plain", None, "Stacked"),
        ("Other", Some("Other"), "Other"),
    ] {
        let mut add = vec!["template", "add", "demo", name];
        add.extend(text);
        add.extend(from.iter().flat_map(|from| ["--from", *from]));
        let added = stack("ours", &add).await;
        assert_eq!(added.json()["template"]["from"], expected, "{}", added.err);
    }
    let nobody_confirmed = "nobody has confirmed the subscription to them";
    let subscriptions: [(&'static [&'static str], _); 3] = [
        (&[], ["warning", "nobody is subscribed to them"]),
        (PENDING, ["warning", nobody_confirmed]),
        (CONFIRMED, ["fine", "subscribed to: 1"]),
    ];
    for (subscriptions, [state, detail]) in subscriptions {
        let sns = sns_of(false, None, subscriptions).await;
        let doctor = stack_beside(sns, "ours", &["doctor"]).await;
        assert_eq!(doctor.code, 0, "{}", doctor.err);
        let checks = doctor.json()["checks"].clone();
        let alarms = checks.as_array().unwrap().last().unwrap();
        let expected = json!({ "check": "alarms", "state": state, "detail": detail });
        assert_eq!(alarms, &expected);
    }
    let ran = stack("none", &["client", "list"]).await;
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("there is no stack none"), "{}", ran.err);
    let ran = stack("other", &["client", "list"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("has no output DirectoryTable"),
        "{}",
        ran.err
    );
}

#[tokio::test]
async fn the_environment_says_the_place_and_an_argument_another_one() {
    let laptop = Laptop::start().await;
    let Addresses { dynamodb, sns, .. } = laptop.services.addresses;
    let with = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = program();
        command.env("TWOFA_DYNAMODB_ENDPOINT", format!("http://{dynamodb}"));
        command.env("TWOFA_SNS_ENDPOINT", format!("http://{sns}"));
        command.envs(variables.iter().copied()).args(arguments);
        run(command, "").await
    };
    let list = ["client", "list"];
    for yes in ["1", "true"] {
        let ran = with(&[("TWOFA_LOCAL", yes)], &list).await;
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    assert!(with(&[], &list).await.err.contains("TWOFA_STACK"));
    let local = ["client", "list", "--local"];
    let ran = with(&[("TWOFA_STACK", "x")], &local).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    // It goes to the stack: no region is known.
    for (variables, arguments) in [
        (&[("TWOFA_STACK", "x")] as &[_], &list[..]),
        (&[("TWOFA_LOCAL", "1")], &["client", "list", "--stack", "x"]),
    ] {
        let ran = with(variables, arguments).await;
        assert!(
            ran.err.starts_with("error: there is no AWS region"),
            "{}",
            ran.err
        );
    }
    let both = [("TWOFA_LOCAL", "1"), ("TWOFA_STACK", "x")];
    assert!(with(&both, &list).await.err.contains("exclude each other"));
}
