//! The start of a Lambda function (log, clients, whatever the first call needs) and its loop of calls.

use std::io;
use std::thread;

use aws_credential_types::Credentials;
use axum::Router;
use data_encoding::BASE64;
use http::header::HOST;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent, lambda_runtime};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tracing::level_filters::LevelFilter;

use crate::aws::key_set_reader::KeySetReader;
use crate::aws::{self, AwsSettings, Roots};
use crate::clock::Clock;
use crate::config::{
    AccountConfig, Config as _, DirectoryConfig, RequestConfig, VerificationConfig,
};
use crate::domain::phone;
use crate::http::UNREADABLE;
use crate::state::{Names, RequestState, StackLimits, TemplateState, ValidateState};
use crate::store::Directory;

/// The error with which a function cannot start or has to stop.
pub type StartError = lambda_http::Error;

/// The state of the function `request`, from its environment. The secret, a connection to DynamoDB
/// and the phone metadata are there before the first call comes.
///
/// # Errors
/// When the environment is not valid.
pub async fn request_state() -> Result<RequestState, StartError> {
    let config = RequestConfig::from_environment()?;
    // Beside all the rest, where a start has more than one processor.
    let metadata = thread::spawn(phone::open_metadata);
    let settings = start(&config.verification.directory)?;
    let sns = aws::sns(&settings.at(config.sns_endpoint.as_deref()));
    let stack = StackLimits {
        daily_part_cap: config.daily_part_cap,
        allow_test_numbers: config.allow_test_numbers,
    };
    let state = verification_state(&config.verification, &settings).and_send(sns, stack);
    tokio::join!(
        read_key_set(&state.key_set_reader, &state.clock),
        connect(&state.directory),
    );
    // Else the first call opens it.
    let _ = metadata.join();
    Ok(state)
}

/// The state of the function `validate`, from its environment. The secret and a connection to
/// DynamoDB are there before the first call comes.
///
/// # Errors
/// When the environment is not valid.
pub async fn validate_state() -> Result<ValidateState, StartError> {
    let config = VerificationConfig::from_environment()?;
    let settings = start(&config.directory)?;
    let state = verification_state(&config, &settings);
    tokio::join!(
        read_key_set(&state.key_set_reader, &state.clock),
        connect(&state.directory),
    );
    Ok(state)
}

/// The state of the function `template`, from its environment. A connection to DynamoDB is there
/// before the first call comes.
///
/// # Errors
/// When the environment is not valid.
pub async fn template_state() -> Result<TemplateState, StartError> {
    let config = DirectoryConfig::from_environment()?;
    let settings = start(&config)?;
    let (table, namespace) = (&config.directory_table, &config.metrics_namespace);
    let dynamodb = dynamodb(&config, &settings);
    let state = TemplateState::new(dynamodb, table, namespace, Clock::System);
    connect(&state.directory).await;
    Ok(state)
}

/// Answers calls until Lambda ends the process.
///
/// # Errors
/// When Lambda's runtime API cannot be reached.
pub async fn serve(endpoint: Router) -> Result<(), StartError> {
    let endpoint = Adapter::from(endpoint);
    let sanitized =
        |event: LambdaEvent<Event>| LambdaEvent::new(sanitize_event(event.payload), event.context);
    lambda_runtime::run(endpoint.map_request(sanitized)).await
}

/// An event of API Gateway; none where it cannot be read, such as a header with a control character,
/// which would else be the function's error instead of the caller's.
#[derive(Debug)]
pub struct Event(Option<LambdaRequest>);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(event: D) -> Result<Self, D::Error> {
        let event = Box::<RawValue>::deserialize(event)?;
        Ok(Self(serde_json::from_str(event.get()).ok()))
    }
}

/// An event in the form of API Gateway (payload format 2.0) for a call of `path` by `method`.
#[must_use]
pub fn gateway_event(
    method: &str,
    path: &str,
    route_key: &str,
    headers: &Value,
    body: Option<&str>,
) -> Value {
    json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1" },
            "routeKey": route_key,
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

/// The event without what the process would end over: `lambda_http` makes a URI of path, query, host
/// and `X-Forwarded-Proto`, and bytes of the body, and panics where it cannot. Some of it is as the
/// caller wrote it, such as a query of `?a=<`. The API reads the path and the body alone. What could not
/// be read bears a route key that API Gateway gives to none, and is answered with a 400.
#[must_use]
pub fn sanitize_event(event: Event) -> LambdaRequest {
    let mut event = event.0.unwrap_or_else(|| {
        let mut unreadable = ApiGatewayV2httpRequest::default();
        unreadable.request_context.route_key = Some(UNREADABLE.to_owned());
        LambdaRequest::ApiGatewayV2(unreadable)
    });
    if let LambdaRequest::ApiGatewayV2(request) = &mut event {
        request.raw_query_string = None;
        request.request_context.domain_name = None;
        request.headers.remove(HOST);
        let path = request.raw_path.get_or_insert_default();
        if !path.starts_with('/') {
            path.insert(0, '/');
        }
        if let Some(body) = request.body.as_mut().filter(|_| request.is_base64_encoded) {
            // Written anew, since not every decoder takes all that another does.
            match BASE64.decode(body.as_bytes()) {
                Ok(bytes) => *body = BASE64.encode(&bytes),
                Err(_) => request.is_base64_encoded = false,
            }
        }
    }
    event
}

/// The settings of the account that Lambda says the function runs in.
///
/// # Errors
/// When the file of certificates cannot be read.
pub fn aws_settings(config: &AccountConfig) -> Result<AwsSettings, StartError> {
    let token = config.session_token.as_ref();
    let credentials = Credentials::from_keys(
        &config.access_key_id,
        config.secret_access_key.expose_secret(),
        token.map(|token| token.expose_secret().to_owned()),
    );
    let roots = match &config.certificates {
        Some(file) => std::fs::read(file)
            .map_err(StartError::from)
            .and_then(|pem| Ok(Roots::parse(&pem)?))
            .map_err(|error| format!("SSL_CERT_FILE, {}: {error}", file.display()))?,
        None => Roots::amazon(),
    };
    Ok(AwsSettings::new(&config.region, credentials, roots))
}

/// Has the product's log written to standard output, as Lambda collects it.
pub fn log_to_stdout(level: LevelFilter) {
    // A subscriber that is set already stays: the log is not worth a start.
    let _ = tracing::subscriber::set_global_default(crate::telemetry::json(level, io::stdout));
}

fn start(config: &DirectoryConfig) -> Result<AwsSettings, StartError> {
    log_to_stdout(config.log_level);
    aws_settings(&config.account)
}

fn dynamodb(config: &DirectoryConfig, settings: &AwsSettings) -> aws_sdk_dynamodb::Client {
    aws::dynamodb(&settings.at(config.dynamodb_endpoint.as_deref()))
}

fn verification_state(config: &VerificationConfig, settings: &AwsSettings) -> ValidateState {
    let directory = &config.directory;
    let secrets = settings.at(config.secrets_manager_endpoint.as_deref());
    let names = Names {
        directory_table: &directory.directory_table,
        verifications_table: &config.verifications_table,
        secret: &config.secret_arn,
        metrics_namespace: &directory.metrics_namespace,
    };
    let dynamodb = dynamodb(directory, settings);
    ValidateState::new(
        dynamodb,
        aws::secrets_manager(&secrets),
        names,
        Clock::System,
    )
}

/// Reads the secret ahead of the first call, which tries again if this fails.
async fn read_key_set(reader: &KeySetReader, clock: &Clock) {
    if let Err(error) = reader.get(clock.now()).await {
        tracing::warn!(%error, "the secret could not be read at start");
    }
}

/// Opens the connection ahead of the first call, which tries again if this fails.
async fn connect(directory: &Directory) {
    if let Err(error) = directory.connect().await {
        tracing::warn!(%error, "the directory could not be read at start");
    }
}
