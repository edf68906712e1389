//! The wire contract in OpenAPI 3.1, made from the handlers.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, RefOr, Type};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::endpoints::{__path_request, __path_template, __path_validate};
use super::failure::{FieldError, InvalidBody, RejectedBody};

/// What every endpoint may answer instead of an outcome.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the fields are the published form of failures")]
pub(super) enum Refusals {
    /// No valid API key, or not from there, or switched off
    #[response(status = 401)]
    Unauthorized(RejectedBody),
    /// The method is not the endpoint's; `Allow` names it
    #[response(status = 405)]
    MethodNotAllowed(RejectedBody),
    /// Something failed; no detail is told
    #[response(status = 500)]
    Internal(RejectedBody),
    /// AWS is out of reach; try again after `Retry-After` seconds
    #[response(status = 503)]
    Unavailable(RejectedBody),
}

/// What an endpoint with a body may answer beside that.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "the fields are the published form of failures")]
pub(super) enum BodyRefusals {
    /// Every problem of the body at once
    #[response(status = 400)]
    Invalid(InvalidBody),
    /// The body is over 16 KiB
    #[response(status = 413)]
    PayloadTooLarge(RejectedBody),
    /// The content type is not JSON
    #[response(status = 415)]
    UnsupportedMediaType(RejectedBody),
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Twofa",
        description = "Two-factor messaging: a code by SMS and back. Every endpoint answers on two paths, with and without `/api` in front.",
    ),
    servers(
        (url = "/api", description = "The paths of the guide"),
        (url = "/", description = "The paths of the reference"),
    ),
    paths(request, validate, template),
    components(schemas(FieldError, InvalidBody, RejectedBody)),
    security(("api_key" = [])),
    modifiers(&Common),
)]
struct Api;

/// What all operations share.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let key = ApiKeyValue::with_description("X-API-KEY", "2fa_<client id>_<secret>");
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let call_id = HeaderBuilder::new()
            .description(Some("The call's id, as the log has it"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        let operations = api
            .paths
            .paths
            .values_mut()
            .flat_map(|path| [&mut path.get, &mut path.post])
            .flatten();
        for operation in operations {
            for response in operation.responses.responses.values_mut() {
                if let RefOr::T(response) = response {
                    let headers = &mut response.headers;
                    headers.insert("X-Request-Id".to_owned(), RefOr::T(call_id.clone()));
                }
            }
        }
    }
}

/// The document, as it is committed to the repository and served on the laptop: indented JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    Api::openapi().to_pretty_json().map(|json| json + "\n")
}
