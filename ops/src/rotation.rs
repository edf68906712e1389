//! The rotation of the peppers, in the four steps by which Secrets Manager has it done. Each may be
//! called more than once. Once a day it is asked whether a rotation is overdue, since one that never
//! starts fails nowhere.
//!
//! See <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::builders::GetSecretValueFluentBuilder;
use aws_sdk_secretsmanager::operation::get_secret_value::{
    GetSecretValueError, GetSecretValueOutput,
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use thiserror::Error;
use twofa::aws::error::AwsError;
use twofa::clock::Timestamp;
use twofa::domain::key_set::{KeySet, MalformedKeySet, RotateError};

const CURRENT: &str = "AWSCURRENT";

const PENDING: &str = "AWSPENDING";

/// The most that a rotation may be late: Secrets Manager chooses the hour, and tries again.
const PATIENCE: Duration = Duration::from_hours(48);

/// A call of the function.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Call {
    /// By Secrets Manager: a step of a rotation.
    Step(Event),
    /// By the schedule of the stack: whether a rotation is overdue.
    Watch(Watch),
}

/// The event of the stack's schedule.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Watch {
    /// The ARN of the secret.
    pub secret_id: String,
    /// The days between two rotations.
    pub rotation_days: u16,
}

/// The event of Secrets Manager.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// The step.
    pub step: Step,
    /// The ARN of the secret.
    pub secret_id: String,
    /// The id of the version that the rotation makes.
    pub client_request_token: String,
}

/// A step of a rotation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The new version is made, pending.
    CreateSecret,
    /// It is set where it is used: nowhere, since functions read it themselves.
    SetSecret,
    /// It is tested.
    TestSecret,
    /// It becomes the current one.
    FinishSecret,
}

/// A step that was not carried out; the current version is as it was.
#[derive(Debug, Error)]
pub enum RotationError {
    /// Secrets Manager did not do its part.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A version is not a secret of this product.
    #[error(transparent)]
    Malformed(#[from] MalformedKeySet),
    /// There is nothing to rotate to.
    #[error(transparent)]
    Rotate(#[from] RotateError),
    /// The pending version is not the current window, shifted by one.
    #[error(
        "the pending version does not follow the current one: codes on their way would be lost"
    )]
    DoesNotFollow,
    /// Secrets Manager's answer has no date.
    #[error("Secrets Manager did not tell when the current version was made")]
    Undated,
    /// No rotation was done when it should have been.
    #[error(
        "no rotation has been done for {days} days; see the secret's rotation in Secrets Manager"
    )]
    Overdue {
        /// The age of the current version.
        days: i64,
    },
}

/// Does one step of the rotation of a secret, at `now`.
///
/// # Errors
/// When it is not done; Secrets Manager calls again.
pub async fn run(
    event: &Event,
    secrets_manager: &Client,
    now: Timestamp,
) -> Result<(), RotationError> {
    let Event {
        step,
        secret_id: id,
        client_request_token: version,
    } = event;
    match step {
        Step::CreateSecret => {
            if pending(secrets_manager, id, version).await?.is_none() {
                let current = parse(&current(secrets_manager, id).await?)?;
                let rotated = current.rotated(now)?;
                secrets_manager
                    .put_secret_value()
                    .secret_id(id)
                    .client_request_token(version)
                    .secret_string(rotated.expose_secret())
                    .version_stages(PENDING)
                    .send()
                    .await
                    .map_err(|error| AwsError::new("PutSecretValue", &error))?;
            }
        }
        Step::SetSecret => {}
        Step::TestSecret => {
            // When the schedule is made, Secrets Manager has this step done alone, with a pending
            // version that is a copy of the current one, or none: nothing would be lost by either.
            if let Some(pending) = pending(secrets_manager, id, version).await? {
                let pending = parse(&pending)?;
                let current = parse(&current(secrets_manager, id).await?)?;
                if !pending.follows(&current) && !pending.is(&current) {
                    return Err(RotationError::DoesNotFollow);
                }
            }
        }
        Step::FinishSecret => {
            let made = secrets_manager.get_secret_value().secret_id(id);
            let made = value(made.version_id(version)).await?;
            finish(secrets_manager, id, &made, now).await?;
        }
    }
    tracing::info!(?step, "done");
    Ok(())
}

/// Makes the version that was made the current one, unless it is already. The time of the last rotation is
/// that at which it takes effect: where the rotation was left half done, the version is written anew.
async fn finish(
    secrets_manager: &Client,
    id: &str,
    made: &GetSecretValueOutput,
    now: Timestamp,
) -> Result<(), RotationError> {
    let current = current(secrets_manager, id).await?;
    let (keys, current_keys) = (parse(made)?, parse(&current)?);
    if keys.is(&current_keys) {
        return Ok(());
    }
    if !keys.follows(&current_keys) {
        return Err(RotationError::DoesNotFollow);
    }
    match keys.restamped(now) {
        None => secrets_manager
            .update_secret_version_stage()
            .secret_id(id)
            .version_stage(CURRENT)
            .set_move_to_version_id(made.version_id.clone())
            .set_remove_from_version_id(current.version_id)
            .send()
            .await
            .map(drop)
            .map_err(|error| AwsError::new("UpdateSecretVersionStage", &error))?,
        // Both labels move in one write. A pending label that is not at the current version would
        // stand in the way of the next rotation.
        Some(restamped) => secrets_manager
            .put_secret_value()
            .secret_id(id)
            .secret_string(restamped.expose_secret())
            .version_stages(CURRENT)
            .version_stages(PENDING)
            .send()
            .await
            .map(drop)
            .map_err(|error| AwsError::new("PutSecretValue", &error))?,
    }
    Ok(())
}

/// Looks at the age of the current version, at `now`.
///
/// # Errors
/// When it should have been rotated by then, or its age is not known.
pub async fn watch(
    watch: &Watch,
    secrets_manager: &Client,
    now: Timestamp,
) -> Result<(), RotationError> {
    let current = current(secrets_manager, &watch.secret_id).await?;
    let created = current
        .created_date()
        .and_then(|date| date.to_millis().ok());
    let Some(created) = created.map(Timestamp::from_millis) else {
        return Err(RotationError::Undated);
    };
    let planned = Duration::from_hours(24 * u64::from(watch.rotation_days));
    if now <= created.plus(planned).plus(PATIENCE) {
        return Ok(());
    }
    let days = (now.as_millis() - created.as_millis()) / 86_400_000;
    Err(RotationError::Overdue { days })
}

fn parse(version: &GetSecretValueOutput) -> Result<KeySet, MalformedKeySet> {
    KeySet::parse(version.secret_string().unwrap_or_default())
}

async fn current(secrets_manager: &Client, id: &str) -> Result<GetSecretValueOutput, AwsError> {
    let version = secrets_manager.get_secret_value().secret_id(id);
    value(version.version_stage(CURRENT)).await
}

async fn value(version: GetSecretValueFluentBuilder) -> Result<GetSecretValueOutput, AwsError> {
    let answer = version.send().await;
    answer.map_err(|error| AwsError::new("GetSecretValue", &error))
}

/// The pending version, if it has been made.
async fn pending(
    secrets_manager: &Client,
    id: &str,
    version: &str,
) -> Result<Option<GetSecretValueOutput>, AwsError> {
    let answer = secrets_manager
        .get_secret_value()
        .secret_id(id)
        .version_id(version)
        .version_stage(PENDING)
        .send()
        .await;
    match answer {
        Ok(version) => Ok(Some(version)),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(GetSecretValueError::is_resource_not_found_exception) =>
        {
            Ok(None)
        }
        Err(error) => Err(AwsError::new("GetSecretValue", &error)),
    }
}
