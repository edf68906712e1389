//! The check of new versions against a Lambda that runs the real functions, and broken ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use twofa::clock::Clock;
use twofa::http::{SEND_CHECK, request_endpoint, template_endpoint, validate_endpoint};
use twofa::lambda::gateway_event;
use twofa::state::{RequestState, StackLimits};
use twofa_local::guard::Guard;
use twofa_local::inbox::InjectedError;
use twofa_local::services::{self, Backends, Storage, sdk_config};
use twofa_ops::pre_traffic::{Event, PreTrafficState, Versions, lambda, run};

/// Lambda and CodeDeploy, as far as the check calls them.
#[derive(Clone)]
struct Aws {
    /// By the name of a version.
    functions: Arc<HashMap<&'static str, Router>>,
    /// The reports that CodeDeploy got.
    reports: Arc<Mutex<Vec<Value>>>,
}

async fn invoke(State(aws): State<Aws>, Path(version): Path<String>, event: String) -> Response {
    let Some(function) = aws.functions.get(version.as_str()) else {
        let crash = json!({ "errorType": "Runtime.ExitError" });
        return ([("x-amz-function-error", "Unhandled")], Json(crash)).into_response();
    };
    let request = lambda_http::request::from_str(&event).unwrap();
    let response = function.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Json(json!({ "statusCode": status, "headers": {}, "body": body, "isBase64Encoded": false }))
        .into_response()
}

async fn report(State(aws): State<Aws>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let operation = "CodeDeploy_20141006.PutLifecycleEventHookExecutionStatus";
    assert_eq!(headers["x-amz-target"], operation);
    let report = serde_json::from_slice(&body).unwrap();
    aws.reports.lock().unwrap().push(report);
    StatusCode::OK
}

/// A stack that has just got new versions, and allows no test numbers.
struct Stack {
    backends: Backends,
    functions: HashMap<&'static str, Router>,
}

impl Stack {
    async fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let backends = Backends::start(any, any, &Storage::Memory, &Guard::default())
            .await
            .unwrap();
        let mut stack = Self {
            backends,
            functions: HashMap::new(),
        };
        let state = stack.function_state();
        stack.functions = HashMap::from([
            ("request", request_endpoint(state.clone())),
            ("validate", validate_endpoint(state.clone().into())),
            ("template", template_endpoint(state.into())),
        ]);
        stack
    }

    fn function_state(&self) -> RequestState {
        let dynamodb = twofa::aws::dynamodb(&sdk_config(self.backends.dynamodb));
        let sns = sdk_config(self.backends.sns);
        services::state_through(dynamodb, &sns, StackLimits::default(), Clock::System)
    }

    /// Has the new versions checked; returns what CodeDeploy was told.
    async fn check(&self) -> String {
        let aws = Aws {
            functions: Arc::new(self.functions.clone()),
            reports: Arc::default(),
        };
        let app = Router::new()
            .route("/2015-03-31/functions/{version}/invocations", post(invoke))
            .route("/", post(report))
            .with_state(aws.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = sdk_config(listener.local_addr().unwrap());
        let server = tokio::spawn(async { axum::serve(listener, app).await });
        let functions = self.function_state();
        let state = PreTrafficState {
            clock: functions.clock,
            directory: functions.directory,
            key_set_reader: functions.key_set_reader,
            lambda: lambda(&endpoint),
            codedeploy: aws_sdk_codedeploy::Client::new(&endpoint),
            versions: Versions {
                request: "request".to_owned(),
                validate: "validate".to_owned(),
                template: "template".to_owned(),
            },
            patience: Duration::ZERO,
        };
        let event = Event {
            deployment_id: "d-1".to_owned(),
            lifecycle_event_hook_execution_id: "hook-1".to_owned(),
        };
        Box::pin(run(&event, &state)).await.unwrap();
        server.abort();
        let reports = aws.reports.lock().unwrap().clone();
        assert_eq!(reports.len(), 1, "{reports:?}");
        let report = &reports[0];
        assert_eq!(report["deploymentId"], "d-1");
        assert_eq!(report["lifecycleEventHookExecutionId"], "hook-1");
        report["status"].as_str().unwrap().to_owned()
    }

    /// The clients that are left.
    async fn clients(&self) -> usize {
        let tables = twofa::aws::dynamodb(&sdk_config(self.backends.dynamodb));
        let scan = tables.scan().table_name(services::DIRECTORY_TABLE);
        scan.send().await.unwrap().items().len()
    }
}

#[tokio::test]
async fn versions_that_work_get_traffic_and_nobody_gets_an_sms() {
    let stack = Stack::start().await;
    // Three functions are deployed at once, each with a check of its own.
    for _ in 0..3 {
        assert_eq!(stack.check().await, "Succeeded");
    }
    assert_eq!(
        stack.backends.inbox.publishes(),
        3,
        "to nobody, a check each"
    );
    assert!(stack.backends.inbox.messages(None).is_empty());
    assert_eq!(stack.clients().await, 0, "the check cleans up");
}

/// A version of `validate` that has these answers: to the wrong code, to the right one, and to it again.
fn answering(wrong: &'static str, right: &'static str, again: &'static str) -> Router {
    let rights = Arc::new(Mutex::new([right, again].into_iter()));
    let answer = async move |body: String| {
        let status = if body.contains(r#""code":"x""#) {
            Some(wrong)
        } else {
            rights.lock().unwrap().next()
        };
        let code = match status {
            Some("not_found") | None => StatusCode::NOT_FOUND,
            Some(_) => StatusCode::OK,
        };
        (code, Json(json!({ "status": status }))).into_response()
    };
    Router::new().fallback(answer)
}

#[tokio::test]
async fn a_version_that_compares_wrongly_gets_none() {
    for (wrong, right, again, expected) in [
        ("not_matched", "success", "not_found", "Succeeded"),
        ("success", "success", "not_found", "Failed"),
        ("not_matched", "not_matched", "not_found", "Failed"),
        ("not_matched", "success", "success", "Failed"),
    ] {
        let mut stack = Stack::start().await;
        let validate = answering(wrong, right, again);
        stack.functions.insert("validate", validate);
        assert_eq!(stack.check().await, expected, "{wrong}, {right}, {again}");
    }
}

#[tokio::test]
async fn a_version_that_does_not_work_gets_none() {
    let always = |status: u16, body: Value| {
        let answer = move || async move {
            (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
        };
        Some(Router::new().fallback(any(answer)))
    };
    let accepted = json!({ "status": "ACCEPTED", "error_message": "OK",
        "request_id": "11111111-1111-4111-8111-111111111111" });
    for (function, broken) in [
        ("request", None),
        ("validate", None),
        ("template", None),
        ("request", always(500, json!({ "status": "REJECTED" }))),
        ("request", always(200, accepted)),
        ("validate", always(200, json!({ "status": "success" }))),
        ("validate", always(200, json!({ "status": "not_matched" }))),
        ("validate", always(404, json!({ "status": "not_found" }))),
        ("template", always(200, json!({ "data": [] }))),
        ("template", always(401, json!({ "status": "REJECTED" }))),
    ] {
        let mut stack = Stack::start().await;
        match broken {
            Some(broken) => stack.functions.insert(function, broken),
            None => stack.functions.remove(function),
        };
        assert_eq!(stack.check().await, "Failed", "{function}");
        assert_eq!(stack.clients().await, 0, "the check cleans up");
    }
}

#[tokio::test]
async fn a_version_that_may_not_send_gets_none() {
    let stack = Stack::start().await;
    stack
        .backends
        .inbox
        .fail_next([InjectedError::AuthorizationError]);
    assert_eq!(stack.check().await, "Failed");
    assert_eq!(stack.clients().await, 0, "the check cleans up");
    assert_eq!(stack.check().await, "Succeeded");
}

#[tokio::test]
async fn a_function_that_does_not_know_the_client_yet_is_asked_again_once() {
    for (refusals, expected) in [(1, "Succeeded"), (2, "Failed")] {
        let mut stack = Stack::start().await;
        let real = stack.functions["request"].clone();
        let left = Arc::new(Mutex::new(0..refusals));
        let late = move |request: Request| async move {
            let is_http = request.uri().path() != SEND_CHECK;
            if is_http && left.lock().unwrap().next().is_some() {
                let body = Json(json!({ "status": "REJECTED" }));
                return (StatusCode::UNAUTHORIZED, body).into_response();
            }
            real.oneshot(request).await.unwrap()
        };
        let late = Router::new().fallback(late);
        stack.functions.insert("request", late);
        assert_eq!(stack.check().await, expected, "after {refusals}");
    }
}

#[tokio::test]
async fn api_gateway_cannot_have_the_power_to_send_checked() {
    let stack = Stack::start().await;
    let event = |route_key: &str| {
        gateway_event("POST", SEND_CHECK, route_key, &json!({}), None).to_string()
    };
    for (function, route_key, expected) in [
        ("request", SEND_CHECK, StatusCode::OK),
        ("request", "POST /v1.0/2fa/request", StatusCode::NOT_FOUND),
        ("request", "$default", StatusCode::NOT_FOUND),
        ("validate", SEND_CHECK, StatusCode::NOT_FOUND),
        ("template", SEND_CHECK, StatusCode::NOT_FOUND),
    ] {
        let request = lambda_http::request::from_str(&event(route_key)).unwrap();
        let function = stack.functions[function].clone();
        let answer = function.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), expected, "{route_key}");
    }
    assert_eq!(stack.backends.inbox.publishes(), 1);
}
