//! The verb `validate`: a guess is counted, compared and, if right, consumed, in one write.

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use utoipa::ToSchema;

use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::client::Client;
use crate::domain::code::Guess;
use crate::domain::ids::{CallId, IdempotencyKey, RequestId};
use crate::domain::key_set::KeySet;
use crate::entropy::EntropyError;
use crate::metrics::{self, Step, timed};
use crate::state::ValidateState;
use crate::store::Verdict;

/// The body of a call of `validate`.
#[derive(Debug, ToSchema)]
pub struct CheckCodeRequest {
    /// The code as the recipient typed it. Spaces and hyphens are ignored; a decimal digit of any script
    /// counts as the digit it stands for.
    #[schema(value_type = String, example = "123456")]
    pub code: SecretString,
    /// The `request_id` that `sendCode` answered. It comes from your server's session, never from the
    /// browser.
    #[schema(format = Uuid, example = "44650fd7-cd92-443c-bcb8-8230bded2eec")]
    pub request_id: String,
}

/// A call without a verdict.
#[derive(Debug, Error)]
pub enum ValidateError {
    /// DynamoDB did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckCodeOutcome {
    /// The right code, for the first time.
    Success,
    /// A wrong code; it is counted.
    NotMatched,
    /// Unknown, expired, used, exhausted, or another client's.
    NotFound,
}

/// Asks the table whether `request` holds the right code: one write of one unit. A wrong code costs
/// a second write, which counts the recipient's failures; a right one only where there may be
/// failures to forget. Text that cannot be a code is not counted: one read tells how it is answered.
/// A request id that is no UUID is not asked for.
///
/// The same call with the same `key` gets the same answer.
///
/// # Errors
/// When the table's answer was not received.
pub async fn validate(
    request: &CheckCodeRequest,
    key: Option<&IdempotencyKey>,
    client: &Client,
    now: Timestamp,
    key_set: &KeySet,
    state: &ValidateState,
) -> Result<CheckCodeOutcome, ValidateError> {
    let Some(id) = RequestId::parse(&request.request_id) else {
        return Ok(CheckCodeOutcome::NotFound);
    };
    metrics::note(|call| call.request_id = Some(id));
    let verifications = &state.verifications;
    let Some(guess) = Guess::parse(request.code.expose_secret()) else {
        let open = timed(Step::Guess, verifications.is_open(id, &client.id, now)).await?;
        return Ok(if open {
            CheckCodeOutcome::NotMatched
        } else {
            CheckCodeOutcome::NotFound
        });
    };
    let digests = key_set.guess_digests(&client.id, id, &guess);
    let call = match key {
        Some(key) => key_set.guess_id(&client.id, key, id, &guess),
        None => CallId::random()?,
    };
    let guessed = verifications.guess(id, &client.id, digests, &call, now);
    match timed(Step::Guess, guessed).await? {
        Verdict::Verified { failed, expires_at } => {
            if let Some(recipient) = failed
                && let Err(error) = timed(
                    Step::Settle,
                    verifications.forget_failures(&recipient, expires_at),
                )
                .await
            {
                // The next right guess does it.
                tracing::warn!(%error, "failed to forget a recipient's failures");
            }
            Ok(CheckCodeOutcome::Success)
        }
        Verdict::NotMatched { recipient } => {
            if let Some(recipient) = recipient {
                let limits = &client.profile.limits;
                let counted = verifications.count_failure(&recipient, &call, limits, now);
                timed(Step::Settle, counted).await?;
            }
            Ok(CheckCodeOutcome::NotMatched)
        }
        Verdict::NotFound => Ok(CheckCodeOutcome::NotFound),
    }
}
