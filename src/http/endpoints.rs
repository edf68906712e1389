//! The three endpoints. A handler's parameters are its permissions; the policy of its Lambda
//! function lists the same ones.

use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use http::StatusCode;
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use serde::Serialize;
use utoipa::ToSchema;

use crate::aws::message_service::{MessageService, Published};
use crate::domain::ids::{RequestId, TemplateId};
use crate::domain::template::Template;
use crate::metrics::Metrics;
use crate::request::{self, SendCodeRequest};
use crate::state::{RequestState, TemplateState, ValidateState};
use crate::validate::{self, CheckCodeOutcome, CheckCodeRequest};

use super::body::Body;
use super::caller::{Caller, MaybeKey, Now};
use super::error::{
    ApiError, BodyErrorResponses, ErrorResponses, InvalidBody, Outcome, RejectedBody,
    UnavailableBody,
};
use super::observe::observe;

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
        let handler = handler.fallback(async move || ApiError::MethodNotAllowed { allow });
        let [guide, reference] = self.paths;
        Router::new()
            .route(guide, handler.clone())
            .route(reference, handler)
    }

    /// Its routes where another function serves it: only what is wrong is answered here.
    fn elsewhere(&self) -> Router {
        let allow = self.allow;
        self.routes(any(async move || ApiError::MethodNotAllowed { allow }))
    }
}

/// Adds the parts that all routers share: a 404 for every other path, and the observation of every call.
fn finish(routes: Router, metrics: Metrics) -> Router {
    routes
        .fallback(async || ApiError::NotFound)
        .layer(from_fn_with_state(metrics, observe))
}

fn request_routes(state: RequestState) -> Router {
    REQUEST.routes(post(request).with_state(state))
}

fn validate_routes(state: ValidateState) -> Router {
    VALIDATE.routes(post(validate).with_state(state))
}

fn template_routes(state: TemplateState) -> Router {
    TEMPLATE.routes(get(template).with_state(state))
}

/// The path and the route key of the event by which the check of a deployment has the function `request`
/// prove that it may send. API Gateway cannot produce it: a route key is the API's own, `METHOD /path` or
/// `$default`, whatever a caller asks for.
pub const SEND_CHECK: &str = "/pre-traffic/send";

/// The Lambda function `request`, which also answers the check of a deployment.
pub fn request_endpoint(state: RequestState) -> Router {
    let metrics = state.metrics.clone();
    let check = post(check_sending).with_state(state.messages.clone());
    finish(request_routes(state).route(SEND_CHECK, check), metrics)
}

/// The Lambda function `validate`.
pub fn validate_endpoint(state: ValidateState) -> Router {
    let metrics = state.metrics.clone();
    finish(validate_routes(state), metrics)
}

/// The Lambda function `template`, which also answers the calls that no route takes.
pub fn template_endpoint(state: TemplateState) -> Router {
    let elsewhere = REQUEST.elsewhere().merge(VALIDATE.elsewhere());
    let metrics = state.metrics.clone();
    finish(template_routes(state).merge(elsewhere), metrics)
}

/// All endpoints in one, for the laptop.
pub fn all_endpoints(state: RequestState) -> Router {
    let routes = validate_routes(state.clone().into())
        .merge(template_routes(state.clone().into()))
        .merge(request_routes(state.clone()));
    finish(routes, state.metrics)
}

/// The answer to a call of `request`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SendCodeResponse {
    /// `ACCEPTED`: the code is on its way. `REJECTED`: nothing is. Take a status that you do not know
    /// for `REJECTED`.
    #[schema(example = "ACCEPTED", extensions(("x-extensible-enum" = json!(["ACCEPTED", "REJECTED"]))))]
    status: &'static str,
    /// The id that validates the code; after a rejection, for correlation only. Keep it in your server's
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
        BodyErrorResponses,
        ErrorResponses,
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
    State(state): State<RequestState>,
    Body(body): Body<SendCodeRequest>,
) -> Result<Response, ApiError> {
    let key_set = state.key_set_reader.get(now).await?;
    let is_keyed = key.is_some();
    let request_id = request::request_id(key.as_ref(), &client, &key_set)?;
    let requested =
        request::request(&body, request_id, is_keyed, &client, now, &key_set, &state).await;
    let (logged, status, error_message) = match requested {
        Ok(()) => ("ACCEPTED", "ACCEPTED", "OK"),
        Err(error) => {
            let rejection = ApiError::of_request(error, now)?.code();
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
) -> Result<Response, ApiError> {
    match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context))
            if context.route_key.as_deref() == Some(SEND_CHECK) => {}
        _ => return Err(ApiError::NotFound),
    }
    let status = match messages.publish_to_nobody().await {
        Published::Refused(_) => "refused",
        Published::Taken(_) => "taken",
        Published::NotTaken(error) | Published::Unknown(error) => {
            return Err(ApiError::NotTaken(error));
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
        BodyErrorResponses,
        ErrorResponses,
    ),
)]
pub(super) async fn validate(
    Now(now): Now,
    Caller(client): Caller,
    MaybeKey(key): MaybeKey,
    State(state): State<ValidateState>,
    Body(body): Body<CheckCodeRequest>,
) -> Result<Response, ApiError> {
    let key_set = state.key_set_reader.get(now).await?;
    let checked = validate::validate(&body, key.as_ref(), &client, now, &key_set, &state).await?;
    let (status_code, status) = match checked {
        CheckCodeOutcome::Success => (StatusCode::OK, "success"),
        CheckCodeOutcome::NotMatched => (StatusCode::OK, "not_matched"),
        CheckCodeOutcome::NotFound => (StatusCode::NOT_FOUND, "not_found"),
    };
    let verified = checked == CheckCodeOutcome::Success;
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
    /// The template's id: a request's `template_id`.
    #[schema(value_type = uuid::Uuid, example = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01")]
    id: TemplateId,
    /// The template's display name.
    #[schema(example = "Login")]
    name: String,
    /// The sender that the recipient sees.
    #[schema(example = "Shop")]
    from: String,
    /// The text of the SMS; `${code}` and other placeholders are filled in.
    #[schema(example = "${code} is your Shop code. Never share it.")]
    text: String,
    /// The life of a code, in seconds.
    #[schema(minimum = 30, maximum = 600, example = 300)]
    ttl: u64,
    /// The number of digits of a code.
    #[schema(minimum = 4, maximum = 10, example = 6)]
    code_length: u8,
    /// The number of guesses at one code.
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
        ErrorResponses,
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
