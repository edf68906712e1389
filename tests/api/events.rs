//! The sample events of `events/`, each through its function as Lambda would hand it over.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use twofa::aws::message_service::MessageService;
use twofa::clock::Clock;
use twofa::http::{request_endpoint, template_endpoint, validate_endpoint};
use twofa::lambda::{Event, sanitize_event};
use twofa_local::services;

use crate::fault_proxy::NetworkFault;
use crate::harness::{App, code_in, not_found, success};
use crate::second_engine::told;

/// Hands `event` to the function, and returns the status and the body.
async fn invoke(function: Router, event: &Value) -> (u16, Value) {
    let event: Event = serde_json::from_str(&event.to_string()).unwrap();
    let request = lambda_http::Request::from(sanitize_event(event));
    let response = function.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn request(app: &App) -> Router {
    request_endpoint(app.fresh_state())
}

fn validate(app: &App) -> Router {
    validate_endpoint(app.fresh_state().into())
}

fn template(app: &App) -> Router {
    template_endpoint(app.fresh_state().into())
}

fn event(name: &str) -> Value {
    let path = format!("{}/events/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn invalid(properties: &[&str], body: &Value) -> bool {
    let errors = body["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| error["property"].as_str().unwrap())
        .eq(properties.iter().copied())
}

#[tokio::test]
async fn every_sample_event_has_the_outcome_that_its_name_tells() {
    let app = App::start().await;
    let refusal = |code: &str| json!({ "status": "REJECTED", "error_message": code });
    let mut names: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in &names {
        let event = event(name);
        let function = match name.split(['-', '.']).next().unwrap() {
            "request" => request(&app),
            "validate" => validate(&app),
            _ => template(&app),
        };
        let (status, body) = invoke(function, &event).await;
        let fits = match name.as_str() {
            "request.json" | "request-base64.json" | "request-with-parameters.json" => {
                status == 200 && body["status"] == "ACCEPTED" && body["error_message"] == "OK"
            }
            "request-rejected-address.json" => {
                status == 200 && body["error_message"] == "DESTINATION_ADDRESS_INVALID"
            }
            "request-rejected-template.json" => {
                status == 200 && body["error_message"] == "TEMPLATE_NOT_FOUND"
            }
            "request-malformed.json" => {
                status == 400 && invalid(&["to", "template_id", "parameters"], &body)
            }
            "request-unauthorized.json" => status == 401 && body == refusal("UNAUTHORIZED"),
            "validate-not-found.json" => status == 404 && body == not_found(),
            "validate-malformed.json" => status == 400 && invalid(&["code", "request_id"], &body),
            "template.json" => status == 200 && body["data"].as_array().unwrap().len() == 2,
            "unknown-path.json" => status == 404 && body == refusal("NOT_FOUND"),
            "wrong-method.json" => status == 405 && body == refusal("METHOD_NOT_ALLOWED"),
            _ => panic!("no outcome is told for {name}"),
        };
        assert!(fits, "{name}: {status} {body}");
    }
    assert_eq!(names.len(), 12);
    assert_eq!(app.messages().len(), 3);
}

#[tokio::test]
async fn what_no_uri_can_hold_does_not_end_the_function() {
    let app = App::start().await;
    for (field, value) in [
        ("rawQueryString", "a=<b> c"),
        ("rawPath", "/api/v1.0/2fa/template?a=<b> c"),
    ] {
        let mut event = event("template.json");
        event[field] = json!(value);
        assert_eq!(invoke(template(&app), &event).await.0, 200, "{field}");
    }
    for (header, value) in [("host", "a b"), ("x-forwarded-proto", "a b")] {
        let mut event = event("template.json");
        event["requestContext"]["domainName"] = json!("twofa.example");
        event["headers"][header] = json!(value);
        assert_eq!(invoke(template(&app), &event).await.0, 200, "{header}");
    }
    let mut no_path = event("template.json");
    no_path["rawPath"] = json!(":x");
    assert_eq!(invoke(template(&app), &no_path).await.0, 404);
    let mut no_base64 = event("request-base64.json");
    no_base64["body"] = json!("eyI=eyI=?");
    let (status, body) = invoke(request(&app), &no_base64).await;
    assert!(status == 400 && invalid(&[""], &body), "{status} {body}");
}

#[tokio::test]
async fn a_code_goes_through_two_functions() {
    let app = App::start().await;
    let (_, accepted) = invoke(request(&app), &event("request.json")).await;
    let question = json!({
        "code": code_in(&app.messages()[0].text),
        "request_id": accepted["request_id"],
    });
    let mut event = event("validate-not-found.json");
    event["body"] = json!(question.to_string());
    assert_eq!(invoke(validate(&app), &event).await, (200, success()));
    assert_eq!(invoke(validate(&app), &event).await, (404, not_found()));
}

/// moto is an SNS by other hands: it reads the attributes of a message, though it keeps only the text.
#[tokio::test]
#[ignore = "needs moto's server, whose address is TWOFA_TEST_SNS: see tests/engines/engines.py"]
async fn a_code_goes_through_motos_sns() {
    let moto: SocketAddr = told("TWOFA_TEST_SNS").unwrap().parse().unwrap();
    let app = App::start().await;
    let mut state = app.fresh_state();
    state.messages = MessageService::new(twofa::aws::sns(&services::sdk_config(moto)));
    let (status, accepted) = invoke(request_endpoint(state), &event("request.json")).await;
    assert_eq!((status, &accepted["status"]), (200, &json!("ACCEPTED")));
    assert_eq!(app.inbox.publishes(), 0);

    let request_id = accepted["request_id"].as_str().unwrap();
    let stored = app.stored(request_id).await.unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let taken = http.get(format!("http://{moto}/moto-api/data.json"));
    let taken: Value = taken.send().await.unwrap().json().await.unwrap();
    let messages = taken["sns"]["SMS"].as_array().unwrap();
    let first = stored["sends"].as_m().unwrap()["first"].as_m().unwrap();
    let ours = |sms: &&Value| first["message_id"].as_s().unwrap() == &sms["message_id"];
    let [sms] = messages.iter().filter(ours).collect::<Vec<_>>()[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(sms["phone_number"], "+447400123456");
    let code = code_in(sms["message"].as_str().unwrap());
    app.validate(&code, request_id).await.is_success();
}

#[tokio::test]
async fn lambda_names_the_call() {
    let app = App::start().await;
    let mut request = lambda_http::request::from_str(&event("template.json").to_string()).unwrap();
    let mut context = lambda_http::Context::default();
    context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned();
    request.extensions_mut().insert(context);
    let response = template(&app).oneshot(request).await.unwrap();
    assert_eq!(
        response.headers()["x-request-id"],
        "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    );
}

#[tokio::test]
async fn a_function_answers_before_its_deadline() {
    let app = App::start().await;
    app.dynamodb.inject("Query", [NetworkFault::HeldBefore; 4]);
    let mut request = lambda_http::request::from_str(&event("template.json").to_string()).unwrap();
    let mut context = lambda_http::Context::default();
    // Sooner than the time-out of the call that it waits for.
    let soon = Clock::System.now().plus(Duration::from_millis(1_300));
    context.deadline = soon.as_millis().try_into().unwrap();
    request.extensions_mut().insert(context);
    let response = template(&app).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(crate::log::text().contains("ran out of time"));
}

#[test]
fn a_function_without_its_environment_names_all_that_is_missing() {
    for (function, missing) in [
        (
            env!("CARGO_BIN_EXE_request"),
            &[
                "DIRECTORY_TABLE",
                "VERIFICATIONS_TABLE",
                "SECRET_ARN",
                "DAILY_PART_CAP",
            ][..],
        ),
        (
            env!("CARGO_BIN_EXE_validate"),
            &["DIRECTORY_TABLE", "VERIFICATIONS_TABLE", "SECRET_ARN"],
        ),
        (env!("CARGO_BIN_EXE_template"), &["DIRECTORY_TABLE"]),
    ] {
        let mut command = std::process::Command::new(function);
        let output = command
            .env_clear()
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ACCESS_KEY_ID", "none")
            .env("AWS_SECRET_ACCESS_KEY", "none")
            .env("DAILY_PART_CAP", "many")
            .output()
            .unwrap();
        assert!(!output.status.success());
        let complaint = String::from_utf8(output.stderr).unwrap();
        for variable in missing {
            assert!(
                complaint.contains(&format!("\n  {variable} ")),
                "{complaint}"
            );
        }
        assert_eq!(complaint.lines().count(), missing.len() + 1, "{complaint}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_400() {
    let app = App::start().await;
    let sample = event("request.json");
    let spoiled = |pointer: &str, value: Value| {
        let mut event = sample.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let unreadable = [
        spoiled("/headers/content-type", json!("a\u{7f}b")),
        spoiled("/headers/content-type", json!("a\nb")),
        spoiled("/headers", json!({ "a b": "1" })),
        spoiled("/requestContext/http/method", json!("G T")),
        spoiled("/requestContext", json!(7)),
        json!([]),
    ];
    for event in unreadable {
        for function in [request(&app), validate(&app), template(&app)] {
            let (status, body) = invoke(function, &event).await;
            assert_eq!(status, 400, "{event}");
            assert!(invalid(&[""], &body), "{body}");
        }
    }
    app.nothing_happened().await;
}
