//! The three endpoints. A handler's parameters are its powers; the policy of its Lambda function
//! lists the same ones.

use axum::extract::{FromRef, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use http::StatusCode;
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use serde::Serialize;
use utoipa::ToSchema;

use crate::aws::key_set_reader::Secrets;
use crate::aws::message_service::{MessageService, Published};
use crate::clock::Clock;
use crate::domain::ids::{RequestId, TemplateId};
use crate::domain::template::Template;
use crate::metrics::Metrics;
use crate::request::{self, SendCodeRequest, StackLimits, Tools};
use crate::store::{Directory, Verifications};
use crate::validate::{self, Answer, CheckCodeRequest};

use super::body::Body;
use super::caller::{Caller, MaybeKey, Now};
use super::error::{
    BodyRefusals, Failure, InvalidBody, Outcome, Refusals, RejectedBody, UnavailableBody,
};
use super::observe::observe;

/// The names of a stack's tables, secret and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The table of clients and templates, by name or ARN.
    pub directory_table: &'a str,
    /// The table of verifications, by name or ARN.
    pub verifications_table: &'a str,
    /// The secret with the peppers, by name or ARN.
    pub secret: &'a str,
    /// The namespace of the metrics in CloudWatch.
    pub metrics_namespace: &'a str,
}

/// The powers of the endpoint `template`.
#[derive(Clone, Debug, FromRef)]
pub struct TemplatePowers {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// Where what is measured belongs.
    pub metrics: Metrics,
}

/// The powers of the endpoint `validate`.
#[derive(Clone, Debug, FromRef)]
pub struct ValidatePowers {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// Codes and recipients.
    pub verifications: Verifications,
    /// The keys that they are digested with.
    pub secrets: Secrets,
    /// Where what is measured belongs.
    pub metrics: Metrics,
}

/// The powers of the endpoint `request`.
#[derive(Clone, Debug, FromRef)]
pub struct RequestPowers {
    /// The time.
    pub clock: Clock,
    /// Clients and their templates.
    pub directory: Directory,
    /// Codes and recipients, usage and balances.
    pub verifications: Verifications,
    /// The keys that they are digested with.
    pub secrets: Secrets,
    /// The message service.
    pub messages: MessageService,
    /// The limits of the whole stack.
    pub stack: StackLimits,
    /// Where what is measured belongs.
    pub metrics: Metrics,
}

impl TemplatePowers {
    /// The powers through these clients of AWS.
    #[must_use]
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        directory_table: &str,
        metrics_namespace: &str,
        clock: Clock,
    ) -> Self {
        Self {
            clock,
            directory: Directory::new(dynamodb, directory_table),
            metrics: Metrics::new(metrics_namespace),
        }
    }
}

impl ValidatePowers {
    /// The powers through these clients of AWS.
    #[must_use]
    pub fn new(
        dynamodb: aws_sdk_dynamodb::Client,
        secrets_manager: aws_sdk_secretsmanager::Client,
        names: Names<'_>,
        clock: Clock,
    ) -> Self {
        let TemplatePowers {
            clock,
            directory,
            metrics,
        } = TemplatePowers::new(
            dynamodb.clone(),
            names.directory_table,
            names.metrics_namespace,
            clock,
        );
        Self {
            clock,
            directory,
            verifications: Verifications::new(dynamodb, names.verifications_table),
            secrets: Secrets::new(secrets_manager, names.secret),
            metrics,
        }
    }

    /// The same, with the power to send within the limits of the stack.
    #[must_use]
    pub fn and_send(self, sns: aws_sdk_sns::Client, stack: StackLimits) -> RequestPowers {
        RequestPowers {
            clock: self.clock,
            directory: self.directory,
            verifications: self.verifications,
            secrets: self.secrets,
            messages: MessageService::new(sns),
            stack,
            metrics: self.metrics,
        }
    }
}

impl From<RequestPowers> for ValidatePowers {
    fn from(powers: RequestPowers) -> Self {
        Self {
            clock: powers.clock,
            directory: powers.directory,
            verifications: powers.verifications,
            secrets: powers.secrets,
            metrics: powers.metrics,
        }
    }
}

impl From<RequestPowers> for TemplatePowers {
    fn from(powers: RequestPowers) -> Self {
        Self {
            clock: powers.clock,
            directory: powers.directory,
            metrics: powers.metrics,
        }
    }
}

/// An endpoint: its two paths and the methods it takes.
struct Endpoint {
    paths: [&'static str; 2],
    allow: &'static str,
}

const REQUEST: Endpoint = Endpoint {
    paths: ["/api/v1.0/2fa/request", "/v1.0/2fa/request"],
    allow: "POST",
};

const VALIDATE: Endpoint = Endpoint {
    paths: ["/api/v1.0/2fa/validate", "/v1.0/2fa/validate"],
    allow: "POST",
};

const TEMPLATE: Endpoint = Endpoint {
    paths: ["/api/v1.0/2fa/template", "/v1.0/2fa/template"],
    allow: "GET, HEAD",
};

impl Endpoint {
    /// Its routes: both paths to `handler`, and a 405 for every other method.
    fn routes(&self, handler: MethodRouter) -> Router {
        let allow = self.allow;
        let handler = handler.fallback(async move || Failure::MethodNotAllowed { allow });
        let [guide, reference] = self.paths;
        Router::new()
            .route(guide, handler.clone())
            .route(reference, handler)
    }

    /// Its routes where another function serves it: only what is wrong is answered here.
    fn elsewhere(&self) -> Router {
        let allow = self.allow;
        self.routes(any(async move || Failure::MethodNotAllowed { allow }))
    }
}

/// What all routers share: a 404 for every other path, and an eye on every call.
fn finish(routes: Router, metrics: Metrics) -> Router {
    routes
        .fallback(async || Failure::NotFound)
        .layer(from_fn_with_state(metrics, observe))
}

fn request_routes(powers: RequestPowers) -> Router {
    REQUEST.routes(post(request).with_state(powers))
}

fn validate_routes(powers: ValidatePowers) -> Router {
    VALIDATE.routes(post(validate).with_state(powers))
}

fn template_routes(powers: TemplatePowers) -> Router {
    TEMPLATE.routes(get(template).with_state(powers))
}

/// The path and the route key of the event by which the check of a deployment has the function `request`
/// prove that it may send. API Gateway cannot produce it: a route key is the API's own, `METHOD /path` or
/// `$default`, whatever a caller asks for.
pub const SEND_CHECK: &str = "/pre-traffic/send";

/// The Lambda function `request`, which also answers the check of a deployment.
pub fn request_endpoint(powers: RequestPowers) -> Router {
    let metrics = powers.metrics.clone();
    let check = post(check_sending).with_state(powers.messages.clone());
    finish(request_routes(powers).route(SEND_CHECK, check), metrics)
}

/// The Lambda function `validate`.
pub fn validate_endpoint(powers: ValidatePowers) -> Router {
    let metrics = powers.metrics.clone();
    finish(validate_routes(powers), metrics)
}

/// The Lambda function `template`, which also answers the calls that no route takes.
pub fn template_endpoint(powers: TemplatePowers) -> Router {
    let elsewhere = REQUEST.elsewhere().merge(VALIDATE.elsewhere());
    let metrics = powers.metrics.clone();
    finish(template_routes(powers).merge(elsewhere), metrics)
}

/// All endpoints in one, for the laptop.
pub fn all_endpoints(powers: RequestPowers) -> Router {
    let routes = validate_routes(powers.clone().into())
        .merge(template_routes(powers.clone().into()))
        .merge(request_routes(powers.clone()));
    finish(routes, powers.metrics)
}

/// The answer to a call of `request`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SendCodeResponse {
    /// `ACCEPTED`: the code is on its way. `REJECTED`: nothing is. Take a status that you do not know
    /// for `REJECTED`.
    #[schema(example = "ACCEPTED", extensions(("x-extensible-enum" = json!(["ACCEPTED", "REJECTED"]))))]
    status: &'static str,
    /// What validates the code; after a rejection, for correlation only. Keep it in your server's
    /// session, with the number.
    #[schema(value_type = uuid::Uuid, example = "44650fd7-cd92-443c-bcb8-8230bded2eec")]
    request_id: RequestId,
    /// `OK`, or why the request was rejected. More codes may come: take one that you do not know for
    /// `GENERAL_ERROR`.
    #[schema(example = "OK", extensions(("x-extensible-enum" = json!([
        "OK",
        "DESTINATION_ADDRESS_INVALID",
        "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        "ROUTING_FILTER_INVALID_LENGTH",
        "CLIENT_COUNTRY_FORBIDDEN",
        "TEMPLATE_NOT_FOUND",
        "OUT_OF_BALANCE",
        "GENERAL_ERROR",
    ]))))]
    error_message: &'static str,
}

/// Send a code
///
/// Makes a code, stores its digest, and hands the message to the message service.
#[utoipa::path(
    post,
    path = "/v1.0/2fa/request",
    operation_id = "sendCode",
    request_body = SendCodeRequest,
    params(("Idempotency-Key" = String, Header, description = "Names the request, so that it may be repeated for 24 hours", example = "sign-in-7f3a", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 200, description = "The code is on its way, or the request was rejected", body = SendCodeResponse, examples(
            ("accepted" = (value = json!({ "status": "ACCEPTED", "request_id": "44650fd7-cd92-443c-bcb8-8230bded2eec", "error_message": "OK" }))),
            ("rejected" = (value = json!({ "status": "REJECTED", "request_id": "0d5e1f0a-58c5-4f4e-9f6c-0c4a2f1d6b11", "error_message": "DESTINATION_ADDRESS_INVALID" }))),
        )),
        (status = 409, description = "The first call with this Idempotency-Key is still running; try again after `Retry-After` seconds", body = RejectedBody, example = json!({ "status": "REJECTED", "error_message": "REQUEST_IN_PROGRESS" })),
        (status = 422, description = "The Idempotency-Key was used for another body before", body = InvalidBody, example = json!({ "errors": [{ "property": "Idempotency-Key", "error": "was used for another body before" }] })),
        (status = 429, description = "A limit is reached; the same request may pass after `Retry-After` seconds", body = RejectedBody, example = json!({ "status": "REJECTED", "error_message": "TOO_MANY_REQUESTS" })),
        BodyRefusals,
        Refusals,
        (status = 503, description = "AWS is out of reach; try again after `Retry-After` seconds. With a `request_id`, the message service may have taken the message: its code validates if it arrives", body = UnavailableBody, examples(
            ("not sent" = (value = json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR" }))),
            ("may be sent" = (value = json!({ "status": "REJECTED", "error_message": "GENERAL_ERROR", "request_id": "44650fd7-cd92-443c-bcb8-8230bded2eec" }))),
        )),
    ),
)]
pub(super) async fn request(
    Now(now): Now,
    Caller(client): Caller,
    MaybeKey(key): MaybeKey,
    State(powers): State<RequestPowers>,
    Body(body): Body<SendCodeRequest>,
) -> Result<Response, Failure> {
    let secret = powers.secrets.get(now).await?;
    let tools = Tools {
        secret: &secret,
        verifications: &powers.verifications,
        messages: &powers.messages,
        stack: powers.stack,
    };
    let request_id = request::request_id(key.as_ref(), &client, &secret)?;
    let requested = request::request(&body, request_id, key.is_some(), &client, now, tools).await;
    let (logged, status, error_message) = match requested {
        Ok(()) => ("ACCEPTED", "ACCEPTED", "OK"),
        Err(error) => {
            let rejection = Failure::of_request(error, now)?.code();
            (rejection, "REJECTED", rejection)
        }
    };
    let body = SendCodeResponse {
        status,
        request_id,
        error_message,
    };
    Ok(answer(StatusCode::OK, logged, body))
}

/// The answer to the check of a deployment.
#[derive(Debug, Serialize)]
struct SendCheckBody {
    /// `refused`, as it is to be, or `taken`.
    status: &'static str,
}

/// Publishes to a number that nobody can have, without a request: nothing is stored or charged.
async fn check_sending(
    State(messages): State<MessageService>,
    request: Request,
) -> Result<Response, Failure> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context))
            if context.route_key.as_deref() == Some(SEND_CHECK) => {}
        _ => return Err(Failure::NotFound),
    }
    let status = match messages.publish_to_nobody().await {
        Published::Refused(_) => "refused",
        Published::Taken(_) => "taken",
        Published::NotTaken(error) | Published::Unknown(error) => {
            return Err(Failure::NotTaken(error));
        }
    };
    Ok(answer(StatusCode::OK, status, SendCheckBody { status }))
}

/// The answer to a call of `validate`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckCodeResponse {
    /// Whether this is the right code, for the first time.
    verified: bool,
    /// `success`: the right code, for the first time. `not_matched`: a wrong one. `not_found`: no such
    /// code, or not any more. Take a status that you do not know for `not_found`.
    #[schema(example = "success", extensions(("x-extensible-enum" = json!(["success", "not_matched", "not_found"]))))]
    status: &'static str,
}

/// Check a code
///
/// Counts the guess, compares it and, if it is right, consumes the code.
#[utoipa::path(
    post,
    path = "/v1.0/2fa/validate",
    operation_id = "checkCode",
    request_body = CheckCodeRequest,
    params(("Idempotency-Key" = String, Header, description = "Names the guess, so that it may be repeated", example = "guess-7f3a-1", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 200, description = "The right code, for the first time, or a wrong one", body = CheckCodeResponse, examples(
            ("right" = (value = json!({ "verified": true, "status": "success" }))),
            ("wrong" = (value = json!({ "verified": false, "status": "not_matched" }))),
        )),
        (status = 404, description = "Unknown, expired, already used, attempts exhausted, or another client's: not told apart", body = CheckCodeResponse, example = json!({ "verified": false, "status": "not_found" })),
        BodyRefusals,
        Refusals,
    ),
)]
pub(super) async fn validate(
    Now(now): Now,
    Caller(client): Caller,
    MaybeKey(key): MaybeKey,
    State(powers): State<ValidatePowers>,
    Body(body): Body<CheckCodeRequest>,
) -> Result<Response, Failure> {
    let secret = powers.secrets.get(now).await?;
    let (key, verifications) = (key.as_ref(), &powers.verifications);
    let answered = validate::validate(&body, key, &client, now, &secret, verifications).await?;
    let (status_code, status) = match answered {
        Answer::Success => (StatusCode::OK, "success"),
        Answer::NotMatched => (StatusCode::OK, "not_matched"),
        Answer::NotFound => (StatusCode::NOT_FOUND, "not_found"),
    };
    let verified = answered == Answer::Success;
    Ok(answer(
        status_code,
        status,
        CheckCodeResponse { verified, status },
    ))
}

/// The calling client's templates, sorted by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TemplatesBody {
    data: Vec<TemplateBody>,
}

/// One template.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TemplateBody {
    /// What a request names it by: its `template_id`.
    #[schema(value_type = uuid::Uuid, example = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01")]
    id: TemplateId,
    /// What people call it.
    #[schema(example = "Login")]
    name: String,
    /// The sender that the recipient sees.
    #[schema(example = "Shop")]
    from: String,
    /// What the SMS says; `${code}` and other placeholders are filled in.
    #[schema(example = "${code} is your Shop code. Never share it.")]
    text: String,
    /// How long a code lives, in seconds.
    #[schema(minimum = 30, maximum = 600, example = 300)]
    ttl: u64,
    /// How many digits a code has.
    #[schema(minimum = 4, maximum = 10, example = 6)]
    code_length: u8,
    /// How many guesses at one code are allowed.
    #[schema(minimum = 1, maximum = 10, example = 5)]
    max_attempts: u8,
}

impl From<&Template> for TemplateBody {
    fn from(template: &Template) -> Self {
        Self {
            id: template.id,
            name: template.name.clone(),
            from: template.from.as_str().to_owned(),
            text: template.text.as_str().to_owned(),
            ttl: template.ttl.as_secs(),
            code_length: template.code_length,
            max_attempts: template.max_attempts,
        }
    }
}

/// List the client's templates
#[utoipa::path(
    get,
    path = "/v1.0/2fa/template",
    operation_id = "listTemplates",
    responses(
        (status = 200, description = "The calling client's templates, sorted by name", body = TemplatesBody, example = json!({ "data": [{
            "id": "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01",
            "name": "Login",
            "from": "Shop",
            "text": "${code} is your Shop code. Never share it.",
            "ttl": 300,
            "code_length": 6,
            "max_attempts": 5,
        }] })),
        Refusals,
    ),
)]
pub(super) async fn template(Caller(client): Caller) -> Response {
    let data = client.templates.iter().map(TemplateBody::from).collect();
    answer(StatusCode::OK, "listed", TemplatesBody { data })
}

fn answer(status: StatusCode, outcome: &'static str, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.extensions_mut().insert(Outcome(outcome));
    response
}
