//! The functions on an AWS that answers from memory, and what must hold for every answer of theirs.

use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;
use twofa::aws::{AwsSettings, Roots};
use twofa::clock::{Clock, ManualClock, Timestamp};
use twofa::http::{request_endpoint, template_endpoint, validate_endpoint};
use twofa::state::{Names, StackLimits, ValidateState};
use twofa_local::demo;

thread_local! {
    /// Its time stands still while there is anything to do, and jumps to the next timer when there is
    /// not: nobody waits for a retry.
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();

    static FUNCTIONS: Functions = Functions::start();
}

/// Runs `work` to its end.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// An AWS of which every call succeeds. It remembers the directory; writes elsewhere meet nothing.
#[derive(Clone, Debug, Default)]
struct Memory {
    directory: Arc<Mutex<Vec<Value>>>,
}

impl HttpConnector for Memory {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request
            .headers()
            .get("x-amz-target")
            .unwrap_or("SNS.Publish");
        let fields = || -> Value {
            serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap()
        };
        let mut directory = self.directory.lock().unwrap();
        let answer = match target.split_once('.').unwrap().1 {
            "PutItem" => {
                let fields = fields();
                if fields["TableName"] == "directory" {
                    directory.push(fields["Item"].clone());
                }
                json!({})
            }
            "Query" => {
                let fields = fields();
                let client = &fields["ExpressionAttributeValues"][":client"];
                let items: Vec<_> = directory.iter().filter(|i| i["pk"] == *client).collect();
                json!({ "Items": items, "Count": items.len() })
            }
            "GetSecretValue" => {
                json!({ "SecretString": json!({ "seed": "s".repeat(64) }).to_string() })
            }
            // No guess meets a verification.
            "UpdateItem" => {
                let refused = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
                return answered(400, json!({ "__type": refused }).to_string());
            }
            "Publish" => return answered(200, PUBLISHED),
            _ => json!({}),
        };
        answered(200, answer.to_string())
    }
}

impl HttpClient for Memory {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

const PUBLISHED: &str = "<PublishResponse><PublishResult><MessageId>m</MessageId></PublishResult>\
                         </PublishResponse>";

/// An answer of AWS's.
pub fn answered(status: u16, body: impl Into<SdkBody>) -> HttpConnectorFuture {
    let status = status.try_into().unwrap();
    HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
}

/// An SDK whose calls are answered by `http`.
pub fn sdk_config(http: impl HttpClient + 'static) -> SdkConfig {
    let credentials = Credentials::from_keys("none", "none", None);
    let account = AwsSettings::new("us-east-1", credentials, Roots::amazon());
    let config = account.at(Some("http://memory")).into_builder();
    config.http_client(http).build()
}

struct Functions {
    request: Router,
    validate: Router,
    template: Router,
}

impl Functions {
    fn start() -> Self {
        let config = sdk_config(Memory::default());
        let names = Names {
            directory_table: "directory",
            verifications_table: "verifications",
            secret: "secret",
            metrics_namespace: "fuzz",
        };
        let stack = StackLimits {
            daily_part_cap: None,
            allow_test_numbers: true,
        };
        let state = ValidateState::new(
            twofa::aws::dynamodb(&config),
            twofa::aws::secrets_manager(&config),
            names,
            // It stands still: what was read of the directory is never read again.
            Clock::Manual(ManualClock::starting_at(Timestamp::from_millis(0))),
        );
        let state = state.and_send(twofa::aws::sns(&config), stack);
        run(demo::seed(&state.directory)).unwrap();
        Self {
            validate: validate_endpoint(state.clone().into()),
            template: template_endpoint(state.clone().into()),
            request: request_endpoint(state),
        }
    }
}

/// An answer to a call.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null where there is none, after `HEAD`.
    pub body: Value,
}

impl Answer {
    /// The fields that a 400 names, in its order.
    pub fn invalid(&self) -> Vec<&str> {
        assert_eq!(self.status, 400, "{self:?}");
        let errors = self.body["errors"].as_array().unwrap();
        let named = errors.iter().map(|error| {
            assert!(!error["error"].as_str().unwrap().is_empty());
            error["property"].as_str().unwrap()
        });
        named.collect()
    }

    /// That it is a refusal with this code.
    pub fn is_refusal(&self, status: u16, code: &str) {
        let body = json!({ "status": "REJECTED", "error_message": code });
        assert_eq!((self.status, &self.body), (status, &body));
    }
}

/// Has the function answer that API Gateway would choose by the path, and checks what every answer
/// has in common. AWS does not fail and no limit is reached here: 409, 422, 429, 500 and 503 are none.
pub fn call(request: Request<Body>) -> Answer {
    let path = request.uri().path();
    let is_head = request.method() == Method::HEAD;
    let function = FUNCTIONS.with(|functions| match path.rsplit('/').next() {
        Some("request") => functions.request.clone(),
        Some("validate") => functions.validate.clone(),
        _ => functions.template.clone(),
    });
    let (head, body) = run(async {
        let (head, body) = function.oneshot(request).await.unwrap().into_parts();
        (head, to_bytes(body, usize::MAX).await.unwrap())
    });
    let answer = Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: match &body[..] {
            [] if is_head => Value::Null,
            json => serde_json::from_slice(json).unwrap(),
        },
    };
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let call_id = answer.headers["x-request-id"].to_str().unwrap();
    assert!(uuid::Uuid::try_parse(call_id).is_ok(), "{call_id}");
    match (answer.status, &answer.body) {
        (200 | 404 | 405 | 401 | 413 | 415, Value::Null) => {}
        (200, body) => assert!(body["error_message"].is_string() || body["data"].is_array()),
        (400, _) => assert!(!answer.invalid().is_empty()),
        (401, body) => assert!(
            ["UNAUTHORIZED", "IP_NOT_ALLOWED"].contains(&body["error_message"].as_str().unwrap())
        ),
        (404, body) if body["verified"] == false => {
            assert_eq!(body, &json!({ "verified": false, "status": "not_found" }));
        }
        (404, _) => answer.is_refusal(404, "NOT_FOUND"),
        (405, _) => answer.is_refusal(405, "METHOD_NOT_ALLOWED"),
        (413, _) => answer.is_refusal(413, "PAYLOAD_TOO_LARGE"),
        (415, _) => answer.is_refusal(415, "UNSUPPORTED_MEDIA_TYPE"),
        _ => panic!("{answer:?}"),
    }
    assert_eq!(answer.headers.contains_key("allow"), answer.status == 405);
    answer
}

/// A call with the demo client's key.
pub fn post(path: &str, body: &[u8]) -> Answer {
    let request = Request::post(path).header("x-api-key", demo::API_KEY);
    call(request.body(Body::from(body.to_vec())).unwrap())
}

/// The fields of a JSON object that must be strings and are not, in the order in which a 400 names
/// them.
pub fn not_strings<'a>(object: &Value, names: &[&'a str]) -> Vec<&'a str> {
    let wrong = names.iter().filter(|name| !object[**name].is_string());
    wrong.copied().collect()
}
