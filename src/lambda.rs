//! How a Lambda function starts: log, clients, secret, and then call after call.

use std::io;

use axum::Router;
use tracing::level_filters::LevelFilter;

use crate::admission::Admitter;
use crate::aws;
use crate::clock::Clock;
use crate::config::{DirectoryConfig, RequestConfig, VerificationConfig};
use crate::http::{RequestPowers, TemplatePowers, ValidatePowers};
use crate::message_service::MessageService;
use crate::secret::Secrets;
use crate::store::{Directory, Recipients, Usage, Verifications};

/// Why a function could not start or had to stop.
pub type StartError = lambda_http::Error;

/// The powers of the function `request`, from its environment. The secret is read before the first
/// call comes.
///
/// # Errors
/// When the environment is not valid.
pub async fn request_powers() -> Result<RequestPowers, StartError> {
    let RequestConfig {
        verification: config,
        daily_part_cap,
        allow_test_numbers,
    } = RequestConfig::from_environment()?;
    log_to_stdout(config.directory.log_level);
    let sdk = aws::config_from_environment().await;
    let dynamodb = aws::dynamodb(&sdk);
    let table = &config.verifications_table;
    let recipients = Recipients::new(dynamodb.clone(), table);
    let usage = Usage::new(dynamodb.clone(), table);
    let powers = RequestPowers {
        clock: Clock::System,
        directory: Directory::new(dynamodb.clone(), &config.directory.directory_table),
        recipients: recipients.clone(),
        admitter: Admitter::new(recipients, usage, daily_part_cap, allow_test_numbers),
        verifications: Verifications::new(dynamodb, table),
        secrets: Secrets::new(aws::secrets_manager(&sdk), &config.secret_arn),
        messages: MessageService::new(aws::sns(&sdk)),
    };
    warm(&powers.secrets, &powers.clock).await;
    Ok(powers)
}

/// The powers of the function `validate`, from its environment. The secret is read before the first
/// call comes.
///
/// # Errors
/// When the environment is not valid.
pub async fn validate_powers() -> Result<ValidatePowers, StartError> {
    let config = VerificationConfig::from_environment()?;
    log_to_stdout(config.directory.log_level);
    let sdk = aws::config_from_environment().await;
    let dynamodb = aws::dynamodb(&sdk);
    let powers = ValidatePowers {
        clock: Clock::System,
        directory: Directory::new(dynamodb.clone(), &config.directory.directory_table),
        recipients: Recipients::new(dynamodb.clone(), &config.verifications_table),
        verifications: Verifications::new(dynamodb, &config.verifications_table),
        secrets: Secrets::new(aws::secrets_manager(&sdk), &config.secret_arn),
    };
    warm(&powers.secrets, &powers.clock).await;
    Ok(powers)
}

/// The powers of the function `template`, from its environment.
///
/// # Errors
/// When the environment is not valid.
pub async fn template_powers() -> Result<TemplatePowers, StartError> {
    let config = DirectoryConfig::from_environment()?;
    log_to_stdout(config.log_level);
    let sdk = aws::config_from_environment().await;
    Ok(TemplatePowers {
        clock: Clock::System,
        directory: Directory::new(aws::dynamodb(&sdk), &config.directory_table),
    })
}

/// Answers calls until Lambda ends the process.
///
/// # Errors
/// When Lambda's runtime API cannot be reached.
pub async fn serve(endpoint: Router) -> Result<(), StartError> {
    lambda_http::run(endpoint).await
}

fn log_to_stdout(level: LevelFilter) {
    // A subscriber that is set already stays: the log is not worth a start.
    let _ = tracing::subscriber::set_global_default(crate::telemetry::json(level, io::stdout));
}

/// Reads the secret ahead of the first call, which tries again if this fails.
async fn warm(secrets: &Secrets, clock: &Clock) {
    if let Err(error) = secrets.get(clock.now()).await {
        tracing::warn!(%error, "the secret could not be read at start");
    }
}
