//! The wire contract in OpenAPI 3.1, made from the handlers.

use std::iter;

use serde_json::{Value, json};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, RefOr, Required, Type};
use utoipa::{Modify, OpenApi};

use super::endpoints::{__path_request, __path_template, __path_validate};
use super::error::{FieldError, InvalidBody, RejectedBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Twofa",
        description = "Two-factor messaging: a code by SMS and back.\n\n\
            **Keep `request_id` and the number in your server's session, and never take them from the browser.** \
            Whoever chooses the `request_id` signs in with a code that was sent to a number of their own.\n\n\
            Every endpoint answers on two paths, with and without `/api` in front. Unknown fields of a body are ignored. \
            Statuses and codes are open lists (`x-extensible-enum`): later versions may answer others.\n\n\
            `X-Request-Id` names one call, for the log. `request_id` names one code, for `checkCode`.",
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

/// The parts that all operations share.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let key = ApiKeyValue::with_description("X-API-KEY", "2fa_<client id>_<secret>");
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("api_key", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let operations = api
            .paths
            .paths
            .values_mut()
            .flat_map(|path| [&mut path.get, &mut path.post])
            .flatten();
        for operation in operations {
            for parameter in operation.parameters.iter_mut().flatten() {
                if let RefOr::T(parameter) = parameter {
                    parameter.required = Required::False;
                }
            }
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    let headers =
                        headers(status).map(|(name, header)| (name.to_owned(), RefOr::T(header)));
                    response.headers.extend(headers);
                }
            }
        }
    }
}

/// The headers of the answers with this status.
fn headers(status: &str) -> impl Iterator<Item = (&'static str, Header)> {
    let header = |name, kind, description, example: Value| {
        let schema = ObjectBuilder::new().schema_type(kind).examples([example]);
        let header = HeaderBuilder::new().description(Some(description));
        (name, header.schema(Some(schema)).build())
    };
    let call_id = header(
        "X-Request-Id",
        Type::String,
        "The call's id, as the log has it; no `request_id`",
        json!("8f0e6f5e-6f0a-4b39-9c53-0c1d2f6f9a10"),
    );
    let of_status = match status {
        "405" => Some(header(
            "Allow",
            Type::String,
            "The methods that the endpoint takes",
            json!("POST"),
        )),
        "409" | "429" | "503" => Some(header(
            "Retry-After",
            Type::Integer,
            "After how many seconds the same call may pass",
            json!(30),
        )),
        _ => None,
    };
    iter::once(call_id).chain(of_status)
}

/// The document, as it is committed to the repository and served on the laptop: indented JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    Api::openapi().to_pretty_json().map(|json| json + "\n")
}
