//! The three endpoints. A handler's parameters are its powers; the policy of its Lambda function
//! lists the same ones.

use axum::extract::{FromRef, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::message_service::MessageService;
use crate::request::{self, Order, Rejection};
use crate::secret::Secrets;
use crate::store::{Directory, Verdict, Verifications};
use crate::template::{Template, TemplateId};
use crate::validate::{self, Question};
use crate::verification::RequestId;

use super::body::Body;
use super::caller::{Caller, Now};
use super::failure::Failure;
use super::observe::{Outcome, observe};
use super::openapi::{BodyRefusals, Refusals};

/// What the endpoint `request` may use.
#[derive(Clone, Debug, FromRef)]
pub struct RequestPowers {
    /// The time.
    pub clock: Clock,
    /// Who calls.
    pub directory: Directory,
    /// Where codes are stored.
    pub verifications: Verifications,
    /// What codes and recipients are digested with.
    pub secrets: Secrets,
    /// What takes the messages.
    pub messages: MessageService,
}

/// What the endpoint `validate` may use.
#[derive(Clone, Debug, FromRef)]
pub struct ValidatePowers {
    /// The time.
    pub clock: Clock,
    /// Who calls.
    pub directory: Directory,
    /// Where codes are stored.
    pub verifications: Verifications,
    /// What guesses are digested with.
    pub secrets: Secrets,
}

/// What the endpoint `template` may use.
#[derive(Clone, Debug, FromRef)]
pub struct TemplatePowers {
    /// The time.
    pub clock: Clock,
    /// Who calls, and which templates it has.
    pub directory: Directory,
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
fn finish(routes: Router) -> Router {
    routes
        .fallback(async || Failure::NotFound)
        .layer(from_fn(observe))
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

/// The Lambda function `request`.
pub fn request_endpoint(powers: RequestPowers) -> Router {
    finish(request_routes(powers))
}

/// The Lambda function `validate`.
pub fn validate_endpoint(powers: ValidatePowers) -> Router {
    finish(validate_routes(powers))
}

/// The Lambda function `template`, which also answers the calls that no route takes.
pub fn template_endpoint(powers: TemplatePowers) -> Router {
    let elsewhere = REQUEST.elsewhere().merge(VALIDATE.elsewhere());
    finish(template_routes(powers).merge(elsewhere))
}

/// All endpoints in one, for the laptop.
pub fn all_endpoints(powers: RequestPowers) -> Router {
    let validate = ValidatePowers {
        clock: powers.clock.clone(),
        directory: powers.directory.clone(),
        verifications: powers.verifications.clone(),
        secrets: powers.secrets.clone(),
    };
    let template = TemplatePowers {
        clock: powers.clock.clone(),
        directory: powers.directory.clone(),
    };
    let routes = request_routes(powers)
        .merge(validate_routes(validate))
        .merge(template_routes(template));
    finish(routes)
}

/// The answer to a request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestBody {
    /// `ACCEPTED`: the code is on its way. `REJECTED`: nothing is.
    #[schema(example = "ACCEPTED")]
    status: &'static str,
    /// What validates the code; after a rejection, for correlation only.
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    /// `OK`, or why the request was rejected.
    #[schema(example = "OK")]
    error_message: &'static str,
}

/// Send a code
///
/// Makes a code, stores its digest, and hands the message to the message service.
#[utoipa::path(
    post,
    path = "/v1.0/2fa/request",
    request_body = Order,
    responses(
        (status = 200, description = "The code is on its way, or the request was rejected", body = RequestBody),
        BodyRefusals,
        Refusals,
    ),
)]
pub(super) async fn request(
    Now(now): Now,
    Caller(client): Caller,
    State(secrets): State<Secrets>,
    State(verifications): State<Verifications>,
    State(messages): State<MessageService>,
    Body(order): Body<Order>,
) -> Result<Response, Failure> {
    let secret = secrets.get(now).await?;
    let (request_id, outcome) =
        request::request(&order, &client, now, &secret, &verifications, &messages).await?;
    let (status, error_message) = match outcome {
        request::Outcome::Accepted => ("ACCEPTED", "OK"),
        request::Outcome::Rejected(rejection) => ("REJECTED", code(rejection)),
    };
    let body = RequestBody {
        status,
        request_id,
        error_message,
    };
    let outcome = if error_message == "OK" {
        status
    } else {
        error_message
    };
    Ok(answer(StatusCode::OK, outcome, body))
}

/// The wire contract's name of a rejection.
fn code(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Address => "DESTINATION_ADDRESS_INVALID",
        Rejection::Prefix => "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
        Rejection::Length => "ROUTING_FILTER_INVALID_LENGTH",
        Rejection::Country => "CLIENT_COUNTRY_FORBIDDEN",
        Rejection::Template => "TEMPLATE_NOT_FOUND",
        Rejection::General => "GENERAL_ERROR",
    }
}

/// The answer to a validation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ValidateBody {
    /// Whether this is the right code, for the first time.
    verified: bool,
    /// `success`, `not_matched` or `not_found`.
    #[schema(example = "success")]
    status: &'static str,
}

/// Check a code
///
/// Counts the guess, compares it and, if it is right, consumes the code.
#[utoipa::path(
    post,
    path = "/v1.0/2fa/validate",
    request_body = Question,
    responses(
        (status = 200, description = "The right code, for the first time, or a wrong one", body = ValidateBody),
        (status = 404, description = "Unknown, expired, already used, attempts exhausted, or another client's: not told apart", body = ValidateBody),
        BodyRefusals,
        Refusals,
    ),
)]
pub(super) async fn validate(
    Now(now): Now,
    Caller(client): Caller,
    State(secrets): State<Secrets>,
    State(verifications): State<Verifications>,
    Body(question): Body<Question>,
) -> Result<Response, Failure> {
    let secret = secrets.get(now).await?;
    let verdict = validate::validate(&question, &client.id, now, &secret, &verifications).await?;
    let (status_code, status) = match verdict {
        Verdict::Verified => (StatusCode::OK, "success"),
        Verdict::NotMatched => (StatusCode::OK, "not_matched"),
        Verdict::NotFound => (StatusCode::NOT_FOUND, "not_found"),
    };
    let verified = verdict == Verdict::Verified;
    Ok(answer(
        status_code,
        status,
        ValidateBody { verified, status },
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
    #[schema(value_type = uuid::Uuid)]
    id: TemplateId,
    name: String,
    from: String,
    text: String,
    /// How long a code lives, in seconds.
    #[schema(minimum = 30, maximum = 600)]
    ttl: u64,
    /// How many digits a code has.
    #[schema(minimum = 4, maximum = 10)]
    code_length: u8,
    /// How many guesses at one code are allowed.
    #[schema(minimum = 1, maximum = 10)]
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
    responses(
        (status = 200, description = "The calling client's templates, sorted by name", body = TemplatesBody),
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
