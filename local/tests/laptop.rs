//! The laptop's services, as a person at the laptop meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use twofa::clock::{Clock, ManualClock, Timestamp};
use twofa_local::demo::{API_KEY, LOGIN};
use twofa_local::guard::Guard;
use twofa_local::services::{Addresses, Services, Storage};

fn anywhere() -> Addresses {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Addresses {
        api: any,
        dynamodb: any,
        sns: any,
    }
}

async fn start(storage: &Storage) -> (Services, String) {
    let services = Services::start(anywhere(), storage, &Guard::default(), Clock::System)
        .await
        .unwrap();
    let api = format!("http://{}", services.addresses.api);
    (services, api)
}

fn http() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

async fn post(api: &str, verb: &str, body: &Value) -> Value {
    let request = http()
        .post(format!("{api}/v1.0/2fa/{verb}"))
        .header("X-API-KEY", API_KEY);
    request
        .json(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap()
}

/// Has a code sent; returns it with its request id.
async fn send(api: &str) -> (String, String) {
    let order = json!({ "to": "+44 7400 123456", "template_id": LOGIN });
    let accepted = post(api, "request", &order).await;
    assert_eq!(accepted["status"], "ACCEPTED");
    let inbox = format!("{api}/inbox?to=%2B447400123456");
    let messages: Value = http()
        .get(inbox)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let text = messages[0]["text"].as_str().unwrap();
    let code = text.split(' ').next().unwrap().to_owned();
    (code, accepted["request_id"].as_str().unwrap().to_owned())
}

async fn validate(api: &str, code: &str, request_id: &str) -> Value {
    let question = json!({ "code": code, "request_id": request_id });
    post(api, "validate", &question).await["status"].clone()
}

#[tokio::test]
async fn the_inbox_shows_messages_newest_first_and_by_recipient() {
    let (_services, api) = start(&Storage::Memory).await;
    send(&api).await;
    let order = json!({ "to": "+33612345678", "template_id": LOGIN });
    post(&api, "request", &order).await;

    let get = async |query: &str| {
        let answer = http()
            .get(format!("{api}/inbox{query}"))
            .send()
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (_, all) = get("").await;
    assert_eq!(all[0]["to"], "+33612345678");
    assert_eq!(all[1]["to"], "+447400123456");
    let mut names: Vec<_> = all[0].as_object().unwrap().keys().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "encoding",
            "from",
            "message_id",
            "parts",
            "sent_at",
            "text",
            "to"
        ]
    );
    assert_eq!(
        (&all[0]["encoding"], &all[0]["parts"]),
        (&json!("GSM-7"), &json!(1))
    );
    for spelling in [
        "?to=%2B447400123456",
        "?to=+447400123456",
        "?to=447400123456",
    ] {
        assert_eq!(get(spelling).await, (200, json!([all[1]])), "{spelling}");
    }
    assert_eq!(get("?to=%2B447400123457").await, (200, json!([])));
    assert_eq!(get("?to=x").await.0, 400);
}

#[tokio::test]
async fn the_page_hears_of_a_message_as_it_arrives() {
    let (_services, api) = start(&Storage::Memory).await;
    let mut events = http()
        .get(format!("{api}/inbox/events"))
        .send()
        .await
        .unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let (code, _) = send(&api).await;
    let event = events.chunk().await.unwrap().unwrap();
    let event = String::from_utf8(event.to_vec()).unwrap();
    let data = event.strip_prefix("event: sms\ndata: ").unwrap();
    let message: Value = serde_json::from_str(data.trim()).unwrap();
    assert!(message["text"].as_str().unwrap().starts_with(&code));
}

#[tokio::test]
async fn the_page_and_the_contract_are_served() {
    let (_services, api) = start(&Storage::Memory).await;
    let page = http().get(&api).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"));
    let page = page.text().await.unwrap();
    assert!(page.contains(API_KEY) && !page.contains("__API_KEY__"));

    let document = http()
        .get(format!("{api}/openapi.json"))
        .send()
        .await
        .unwrap();
    let document: Value = document.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_tables_are_those_of_the_template() {
    let (services, _) = start(&Storage::Memory).await;
    let describe = async |operation: &str, table: &str| -> Value {
        let request = http().post(format!("http://{}", services.addresses.dynamodb));
        let request = request.header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let request = request.header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=c, Signature=d",
        );
        let request = request.header("x-amz-date", "20270101T000000Z");
        let request = request.header("content-type", "application/x-amz-json-1.0");
        let body = json!({ "TableName": table }).to_string();
        request
            .body(body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    };
    let directory = describe("DescribeTable", "DirectoryTable").await;
    assert_eq!(
        directory["Table"]["KeySchema"],
        json!([{ "AttributeName": "pk", "KeyType": "HASH" }, { "AttributeName": "sk", "KeyType": "RANGE" }])
    );
    let ttl = describe("DescribeTimeToLive", "VerificationsTable").await;
    assert_eq!(
        ttl["TimeToLiveDescription"],
        json!({ "AttributeName": "ttl", "TimeToLiveStatus": "ENABLED" })
    );
}

#[tokio::test]
async fn codes_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::Folder(folder.path().join("data"));
    let (services, api) = start(&storage).await;
    let (code, request_id) = send(&api).await;
    drop(services);

    let (_services, api) = start(&storage).await;
    assert_eq!(validate(&api, &code, &request_id).await, "success");
    let secret = std::fs::metadata(folder.path().join("data/secret.json")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&secret.permissions());
    assert_eq!(mode & 0o777, 0o600, "the secret is its owner's alone");
}

#[tokio::test]
async fn sns_refuses_what_sns_would_refuse() {
    let (services, _) = start(&Storage::Memory).await;
    let config = twofa_local::services::sdk_config(services.addresses.sns);
    let sns = aws_sdk_sns::Client::new(&config);
    for (number, message) in [
        ("07400123456", "text".to_owned()),
        ("+44 7400 123456", "text".to_owned()),
        ("+447400123456", String::new()),
        ("+447400123456", "x".repeat(1_601)),
    ] {
        let publish = sns.publish().phone_number(number).message(message);
        let error = publish.send().await.unwrap_err().into_service_error();
        assert!(error.is_invalid_parameter_exception(), "{number}");
    }
    let from = async |attribute: &str, sender: &str| {
        let value = aws_sdk_sns::types::MessageAttributeValue::builder();
        let value = value.data_type("String").string_value(sender).build();
        let publish = sns.publish().phone_number("+447400123456").message("x");
        publish
            .message_attributes(attribute, value.unwrap())
            .send()
            .await
    };
    let (id, number) = ("AWS.SNS.SMS.SenderID", "AWS.MM.SMS.OriginationNumber");
    for (attribute, sender) in [
        (id, "AB"),
        (id, "ABCDEFGHIJKL"),
        (id, "Two fa"),
        (id, "12345"),
        (number, "123"),
        (number, "123456789012345"),
    ] {
        let error = from(attribute, sender)
            .await
            .unwrap_err()
            .into_service_error();
        assert!(error.is_invalid_parameter_exception(), "{sender}");
    }
    for (attribute, sender) in [(id, "ABC"), (number, "12345"), (number, "+12345678901234")] {
        assert!(from(attribute, sender).await.is_ok(), "{sender}");
    }
}

#[tokio::test]
async fn what_a_foreign_page_sends_is_refused_by_every_listener() {
    let guard = Guard::new(&["twofa.test".to_owned()]);
    let services = Services::start(anywhere(), &Storage::Memory, &guard, Clock::System)
        .await
        .unwrap();
    let Addresses { api, dynamodb, sns } = services.addresses;
    for address in [api, dynamodb, sns] {
        let port = address.port();
        let get = async |host: &str, origin: Option<&str>| {
            let mut request = http()
                .get(format!("http://{address}/inbox"))
                .header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let body: Value = answer.json().await.unwrap_or_default();
            (status == 403).then(|| body["errors"][0]["property"].as_str().unwrap().to_owned())
        };
        for own in ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "172.17.0.1"] {
            let host = format!("{own}:{port}");
            assert_eq!(get(&host, None).await, None, "{host}");
            let origin = format!("http://{host}");
            assert_eq!(get(&host, Some(&origin)).await, None, "{host}");
        }
        for own in ["host.docker.internal", "twofa.test"] {
            assert_eq!(get(own, None).await, None, "{own}");
        }
        for foreign in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "a b",
        ] {
            assert_eq!(
                get(foreign, None).await.as_deref(),
                Some("Host"),
                "{foreign}"
            );
        }
        let host = format!("127.0.0.1:{port}");
        let other_scheme = format!("https://{host}");
        for foreign in [
            "http://evil.example",
            "null",
            "http://127.0.0.1",
            &other_scheme,
            "",
        ] {
            let refused = get(&host, Some(foreign)).await;
            assert_eq!(refused.as_deref(), Some("Origin"), "{foreign}");
        }
    }
}

/// The program itself.
fn program(options: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_twofa-local"))
        .args(["--ephemeral", "--dynamodb-port", "0", "--sns-port", "0"])
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The address of the API in the greeting, once the greeting is over.
async fn listening(child: &mut Child) -> String {
    let mut greeting = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = None;
    while let Some(line) = greeting.next_line().await.unwrap() {
        if let Some(page) = line.trim().strip_prefix("Page") {
            address = Some(page.trim().trim_end_matches('/').to_owned());
        }
        if line.contains("Ctrl-C") {
            break;
        }
    }
    address.unwrap()
}

#[tokio::test]
async fn ctrl_c_stops_it_cleanly() {
    for signal in ["-INT", "-TERM"] {
        let mut child = program(&["--port", "0", "--log-json"]);
        let mut greeting = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut address, mut operate) = (None, None);
        while let Some(line) = greeting.next_line().await.unwrap() {
            if let Some(api) = line.trim().strip_prefix("Page") {
                address = Some(api.trim().trim_end_matches('/').to_owned());
            }
            if let Some(command) = line.trim().strip_prefix("alias twofa='") {
                operate = Some(command.trim_end_matches('\'').to_owned());
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
        send(&address.unwrap()).await;
        // It names the ports, which are not the usual ones here.
        let operate = operate.unwrap();
        for option in [
            "twofa-admin -- --local",
            "--dynamodb-endpoint http://",
            "--sns-endpoint http://",
        ] {
            assert!(operate.contains(option), "{operate}");
        }
        let id = child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .await
                .unwrap()
                .success()
        );
        let ended = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output());
        let ended = ended.await.unwrap().unwrap();
        assert!(ended.status.success());
        for line in String::from_utf8(ended.stdout).unwrap().lines() {
            serde_json::from_str::<Value>(line).expect("the log is JSON alone");
        }
    }
}

#[tokio::test]
async fn a_log_in_a_pipe_is_for_people() {
    let mut child = program(&["--port", "0"]);
    let api = listening(&mut child).await;
    let (code, request_id) = send(&api).await;
    assert_eq!(validate(&api, &code, &request_id).await, "success");
    // Its condition fails in the engine.
    assert_eq!(validate(&api, &code, &request_id).await, "not_found");
    let id = child.id().unwrap().to_string();
    let killed = Command::new("kill").arg(&id).status().await.unwrap();
    assert!(killed.success());
    let log = child.wait_with_output().await.unwrap().stdout;
    let log = String::from_utf8(log).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines.iter().all(|line| line.contains("outcome=")), "{log}");
    assert!(!log.contains(['\x1b', '{']), "{log}");
}

async fn tell(method: Method, url: String, body: Value) -> (u16, Value) {
    let request = http().request(method, url).body(body.to_string());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test]
async fn sns_fails_as_often_as_it_is_told_to() {
    let (_services, api) = start(&Storage::Memory).await;
    let fail = |body| tell(Method::POST, format!("{api}/inbox/fail"), body);
    assert_eq!(
        fail(json!({ "error": "OptedOut", "times": 2 })).await.0,
        204
    );
    let order = json!({ "to": "+44 7400 123456", "template_id": LOGIN });
    for _ in 0..2 {
        let refused = post(&api, "request", &order).await;
        assert_eq!(refused["error_message"], "GENERAL_ERROR");
        assert_eq!(refused["status"], "REJECTED");
    }
    send(&api).await;
    for (body, named) in [
        (json!({ "error": "Nonsense" }), "Nonsense"),
        (json!({ "error": "OptedOut", "time": 1 }), "time"),
        (json!({ "error": "OptedOut", "times": 0 }), "times"),
        (json!({}), "error"),
    ] {
        let (status, answer) = fail(body).await;
        assert_eq!(status, 400);
        assert!(answer["errors"][0].to_string().contains(named), "{answer}");
    }
}

#[tokio::test]
async fn some_numbers_never_take_a_message() {
    let (_services, api) = start(&Storage::Memory).await;
    for (number, status, has_id) in [
        ("+447400999901", 200, true),
        ("+447400999902", 200, true),
        ("+447400999903", 503, false),
        ("+447400999904", 503, false),
        ("+447400999905", 503, true),
    ] {
        let request = http().post(format!("{api}/v1.0/2fa/request"));
        let request = request.header("X-API-KEY", API_KEY);
        let order = json!({ "to": number, "template_id": LOGIN });
        let answer = request.json(&order).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{number}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["error_message"], "GENERAL_ERROR", "{number}");
        assert_eq!(answer["request_id"].is_string(), has_id, "{number}");
    }
    let inbox = format!("{api}/inbox");
    assert_eq!(tell(Method::GET, inbox, json!({})).await.1, json!([]));
}

#[tokio::test]
async fn the_inbox_waits_for_a_message_and_can_be_emptied() {
    let (_services, api) = start(&Storage::Memory).await;
    let inbox = |query: &str| tell(Method::GET, format!("{api}/inbox{query}"), json!({}));
    let (waited, _) = tokio::join!(inbox("?to=%2B447400123456&wait=60"), send(&api));
    assert_eq!(waited.1[0]["to"], "+447400123456");
    assert_eq!(inbox("?to=%2B447400123457&wait=1").await.1, json!([]));
    let (status, refused) = inbox("?wait=61").await;
    assert_eq!(
        (status, &refused["errors"][0]["property"]),
        (400, &json!("wait"))
    );
    let emptied = tell(Method::DELETE, format!("{api}/inbox"), json!({})).await;
    assert_eq!(emptied.0, 204);
    assert_eq!(inbox("").await.1, json!([]));
}

#[tokio::test]
async fn the_clock_can_be_set_by_hand() {
    let hand = ManualClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let guard = Guard::default();
    let services = Services::start(anywhere(), &Storage::Memory, &guard, Clock::Manual(hand));
    let services = services.await.unwrap();
    let api = format!("http://{}", services.addresses.api);
    let (code, request_id) = send(&api).await;
    let advance = |body| tell(Method::POST, format!("{api}/clock"), body);
    let moved = advance(json!({ "advance": 300 })).await;
    assert_eq!(moved, (200, json!({ "now": 1_800_000_300 })));
    assert_eq!(validate(&api, &code, &request_id).await, "not_found");
    for body in [
        json!({ "advance": -1 }),
        json!({ "advance": 31_536_001 }),
        json!({ "back": 1 }),
    ] {
        assert_eq!(advance(body).await.0, 400);
    }

    let (_services, api) = start(&Storage::Memory).await;
    let told = tell(
        Method::POST,
        format!("{api}/clock"),
        json!({ "advance": 1 }),
    )
    .await;
    assert_eq!(told.0, 400);
    assert!(told.1.to_string().contains("--clock manual"), "{}", told.1);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_option_that_chooses_another() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = program(&["--port", &port.to_string()])
        .wait_with_output()
        .await
        .unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    let expected =
        format!("error: cannot listen on 127.0.0.1:{port}; choose another port with --port\n");
    assert!(complaint.starts_with(&expected), "{complaint}");
}
