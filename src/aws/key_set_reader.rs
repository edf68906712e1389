//! The key set as Secrets Manager keeps it, read again every hour.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Mutex;

use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::key_set::{KeySet, MalformedKeySet};
use crate::metrics::{Step, timed};

/// The time for which a function uses the key set that it has read.
const READ_EVERY: Duration = Duration::from_hours(1);

/// The pause after a failed read, while the older key set is still used.
const RETRY_AFTER: Duration = Duration::from_mins(1);

/// Reads the secret from Secrets Manager, at start and every hour; clones share one reading.
#[derive(Clone, Debug)]
pub struct KeySetReader {
    client: aws_sdk_secretsmanager::Client,
    id: Arc<str>,
    reading: Arc<Mutex<Option<Reading>>>,
}

#[derive(Debug)]
struct Reading {
    key_set: Arc<KeySet>,
    next_at: Timestamp,
}

/// The secret could not be had.
#[derive(Debug, Error)]
pub enum KeySetError {
    /// Secrets Manager did not give it.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// It gave something else.
    #[error(transparent)]
    Malformed(#[from] MalformedKeySet),
}

impl KeySetReader {
    /// The secret named `id`, its ARN or its name.
    #[must_use]
    pub fn new(client: aws_sdk_secretsmanager::Client, id: &str) -> Self {
        Self {
            client,
            id: id.into(),
            reading: Arc::default(),
        }
    }

    /// The secret as it was read within the last hour; an older one serves on while a new one
    /// cannot be had.
    ///
    /// # Errors
    /// When none was ever read and none can be had now.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<KeySet>, KeySetError> {
        let mut reading = self.reading.lock().await;
        if let Some(reading) = reading.as_ref().filter(|reading| now < reading.next_at) {
            return Ok(Arc::clone(&reading.key_set));
        }
        match (timed(Step::KeySet, self.read()).await, reading.as_mut()) {
            (Ok(key_set), _) => {
                let key_set = Arc::new(key_set);
                *reading = Some(Reading {
                    key_set: Arc::clone(&key_set),
                    next_at: now.plus(READ_EVERY),
                });
                Ok(key_set)
            }
            (Err(error), Some(old)) => {
                tracing::warn!(%error, "the secret could not be read again; the one at hand serves on");
                old.next_at = now.plus(RETRY_AFTER);
                Ok(Arc::clone(&old.key_set))
            }
            (Err(error), None) => Err(error),
        }
    }

    async fn read(&self) -> Result<KeySet, KeySetError> {
        let answer = self
            .client
            .get_secret_value()
            .secret_id(&*self.id)
            .send()
            .await
            .map_err(|error| AwsError::new("GetSecretValue", &error))?;
        let secret = answer
            .secret_string()
            .ok_or_else(|| AwsError::incomplete("GetSecretValue"))?;
        Ok(KeySet::parse(secret)?)
    }
}
