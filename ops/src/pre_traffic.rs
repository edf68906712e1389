//! The check of new versions: a code is requested and validated for real, on a client that is there
//! for the check alone and a test number of it, so that nobody gets an SMS. Only if everything is
//! answered as it should be does CodeDeploy move any traffic. That the power to send is there, `request`
//! shows by a message to a number that nobody can have.
//!
//! See <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_codedeploy::types::LifecycleEventStatus;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_sdk_lambda::primitives::Blob;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use twofa::aws::error::AwsError;
use twofa::aws::key_set_reader::{KeySetError, KeySetReader};
use twofa::clock::Clock;
use twofa::domain::api_key::{ApiKey, StoredKey};
use twofa::domain::client::{Countries, Profile};
use twofa::domain::code::CODE_LENGTH;
use twofa::domain::ids::{ClientId, TemplateId};
use twofa::domain::phone::{PhoneError, PhoneNumber};
use twofa::domain::template::TemplateFields;
use twofa::entropy::EntropyError;
use twofa::http::SEND_CHECK;
use twofa::lambda::gateway_event;
use twofa::store::{Directory, DirectoryError};

/// A number that is valid, as test numbers must be too; nothing is sent to it.
const NUMBER: &str = "+447400123456";

/// The life of the client's key, should the client not be removed.
const KEY_LIFE: Duration = Duration::from_mins(15);

/// The longest that one call of a function takes: its own time-out, and a cold start before it.
const INVOKE_TIMEOUT: Duration = Duration::from_secs(25);

/// The event that CodeDeploy sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The deployment.
    pub deployment_id: String,
    /// The check of it that is asked for.
    pub lifecycle_event_hook_execution_id: String,
}

/// The state of the check, and the list of its permissions.
#[derive(Clone, Debug)]
pub struct PreTrafficState {
    /// The time.
    pub clock: Clock,
    /// The directory in which its client is made and removed.
    pub directory: Directory,
    /// The reader of the key set, to digest its recipient.
    pub key_set_reader: KeySetReader,
    /// The client that invokes the new versions.
    pub lambda: aws_sdk_lambda::Client,
    /// The client that reports the outcome.
    pub codedeploy: aws_sdk_codedeploy::Client,
    /// The new versions.
    pub versions: Versions,
    /// The pause after which a function looks anew for a client that it did not find.
    pub patience: Duration,
}

/// The ARNs of the new versions.
#[derive(Clone, Debug)]
pub struct Versions {
    /// Of the function `request`.
    pub request: String,
    /// Of the function `validate`.
    pub validate: String,
    /// Of the function `template`.
    pub template: String,
}

/// The reasons to give the new versions no traffic.
#[derive(Debug, Error)]
enum CheckError {
    /// A function answered something else.
    #[error("{call}: expected {expected}, answered {status} {outcome}")]
    Answer {
        call: &'static str,
        expected: &'static str,
        status: u64,
        outcome: String,
    },
    /// A function crashed.
    #[error("{call}: the function failed: {kind}")]
    Crash { call: &'static str, kind: String },
    /// The check itself could not be made.
    #[error(transparent)]
    Aws(#[from] AwsError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    #[error(transparent)]
    Number(#[from] PhoneError),
    #[error("a function's answer is not JSON")]
    Json(#[from] serde_json::Error),
}

/// The check's client.
struct Guest {
    id: ClientId,
    key: ApiKey,
    template: TemplateId,
    /// The code that its number always gets.
    code: String,
}

/// A client of Lambda that waits as long as a function may take.
#[must_use]
pub fn lambda(config: &aws_types::SdkConfig) -> aws_sdk_lambda::Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(INVOKE_TIMEOUT)
        .build();
    let config = aws_sdk_lambda::config::Builder::from(config).timeout_config(timeouts);
    aws_sdk_lambda::Client::from_conf(config.build())
}

/// Checks the new versions and reports what came of it.
///
/// # Errors
/// When CodeDeploy could not be told; the deployment then fails after an hour.
pub async fn run(event: &Event, state: &PreTrafficState) -> Result<(), AwsError> {
    let status = match Box::pin(check(state)).await {
        Ok(()) => {
            tracing::info!(deployment = event.deployment_id, "the new versions work");
            LifecycleEventStatus::Succeeded
        }
        Err(error) => {
            tracing::error!(deployment = event.deployment_id, error = %error, "the new versions get no traffic");
            LifecycleEventStatus::Failed
        }
    };
    state
        .codedeploy
        .put_lifecycle_event_hook_execution_status()
        .deployment_id(&event.deployment_id)
        .lifecycle_event_hook_execution_id(&event.lifecycle_event_hook_execution_id)
        .status(status)
        .send()
        .await
        .map_err(|error| AwsError::new("PutLifecycleEventHookExecutionStatus", &error))?;
    Ok(())
}

async fn check(state: &PreTrafficState) -> Result<(), CheckError> {
    let guest = state.welcome().await?;
    let checked = state.call_all(&guest).await;
    // What is left behind has a key that expires; it does no harm, but is not to stay.
    if let Err(error) = state.see_off(&guest).await {
        tracing::warn!(%error, client = %guest.id, "the check's client could not be removed");
    }
    checked
}

impl PreTrafficState {
    /// Makes a client of its own for this check. A function remembers clients for 30 seconds: an
    /// earlier check's client would have the wrong key.
    async fn welcome(&self) -> Result<Guest, CheckError> {
        let now = self.clock.now();
        let id = ClientId::pre_traffic()?;
        let key = ApiKey::random(&id)?;
        let number = PhoneNumber::parse(NUMBER)?;
        let secret = self.key_set_reader.get(now).await?;
        let template = TemplateFields {
            id: TemplateId::random()?,
            name: "Check".to_owned(),
            from: "Twofa".to_owned(),
            text: "${code}".to_owned(),
            ttl: 60,
            code_length: *CODE_LENGTH.end(),
            max_attempts: 3,
        };
        let profile = Profile {
            api_keys: vec![StoredKey {
                digest: key.digest(),
                created_at: now.as_millis(),
                expires_at: Some(now.plus(KEY_LIFE).as_millis()),
            }],
            test_recipients: BTreeSet::from([secret.recipient_digest(&id, &number).encode()]),
            ..Profile::new("Check of a deployment", Countries::All)
        };
        self.directory.put_template(&id, &template).await?;
        self.directory.put_profile(&id, &profile).await?;
        let code = secret.test_code(&id, &number, template.code_length);
        Ok(Guest {
            id,
            key,
            template: template.id,
            code: code.expose().to_owned(),
        })
    }

    async fn see_off(&self, guest: &Guest) -> Result<(), DirectoryError> {
        self.directory.remove_profile(&guest.id).await?;
        self.directory
            .remove_template(&guest.id, guest.template)
            .await
    }

    async fn call_all(&self, guest: &Guest) -> Result<(), CheckError> {
        let Versions {
            request,
            validate,
            template,
        } = &self.versions;
        let listed = self.call(template, "template", guest, None).await?;
        let known = listed["body"]["data"][0]["id"] == guest.template.to_string();
        expect("template", "200 and its template", &listed, 200, known)?;

        let sent = self
            .invoke(
                request,
                "send",
                &gateway_event("POST", SEND_CHECK, SEND_CHECK, &json!({}), None),
            )
            .await?;
        let refused = sent["body"]["status"] == "refused";
        expect("send", "200 refused", &sent, 200, refused)?;

        let order = json!({ "to": NUMBER, "template_id": guest.template.to_string() });
        let accepted = self.call(request, "request", guest, Some(order)).await?;
        let is_accepted = accepted["body"]["status"] == "ACCEPTED";
        expect("request", "200 ACCEPTED", &accepted, 200, is_accepted)?;

        let id = &accepted["body"]["request_id"];
        for (code, expected, status, outcome) in [
            ("x", "200 not_matched", 200, "not_matched"),
            (guest.code.as_str(), "200 success", 200, "success"),
            (guest.code.as_str(), "404 not_found", 404, "not_found"),
        ] {
            let question = json!({ "code": code, "request_id": id });
            let answer = self
                .call(validate, "validate", guest, Some(question))
                .await?;
            let fits = answer["body"]["status"] == outcome;
            expect("validate", expected, &answer, status, fits)?;
        }
        Ok(())
    }

    /// Calls a function as API Gateway does, and returns its answer with the body read. A 401 may only
    /// mean that the function read the directory before it knew the client: once it is asked again.
    async fn call(
        &self,
        function: &str,
        endpoint: &'static str,
        guest: &Guest,
        body: Option<Value>,
    ) -> Result<Value, CheckError> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let path = format!("/v1.0/2fa/{endpoint}");
        let route_key = format!("{method} {path}");
        let headers =
            json!({ "content-type": "application/json", "x-api-key": guest.key.expose() });
        let body = body.as_ref().map(Value::to_string);
        let event = gateway_event(method, &path, &route_key, &headers, body.as_deref());
        let answer = self.invoke(function, endpoint, &event).await?;
        if answer["statusCode"] != 401 {
            return Ok(answer);
        }
        tokio::time::sleep(self.patience).await;
        self.invoke(function, endpoint, &event).await
    }

    /// Invokes a function, and returns its answer with the body read.
    async fn invoke(
        &self,
        function: &str,
        call: &'static str,
        event: &Value,
    ) -> Result<Value, CheckError> {
        let invoked = self
            .lambda
            .invoke()
            .function_name(function)
            .payload(Blob::new(event.to_string()))
            .send()
            .await
            .map_err(|error| AwsError::new("Invoke", &error))?;
        if let Some(kind) = invoked.function_error() {
            return Err(CheckError::Crash {
                call,
                kind: kind.to_owned(),
            });
        }
        let payload = invoked.payload().map(Blob::as_ref).unwrap_or_default();
        let mut answer: Value = serde_json::from_slice(payload)?;
        let body = answer["body"].as_str().unwrap_or("null");
        answer["body"] = serde_json::from_str(body)?;
        Ok(answer)
    }
}

/// Tells an answer that is none of those expected by its status and its outcome, and nothing else of it.
fn expect(
    call: &'static str,
    expected: &'static str,
    answer: &Value,
    status: u64,
    fits: bool,
) -> Result<(), CheckError> {
    let answered = answer["statusCode"].as_u64().unwrap_or_default();
    if answered == status && fits {
        return Ok(());
    }
    let body = &answer["body"];
    let outcome = body["error_message"].as_str().or(body["status"].as_str());
    Err(CheckError::Answer {
        call,
        expected,
        status: answered,
        outcome: outcome.unwrap_or_default().to_owned(),
    })
}
