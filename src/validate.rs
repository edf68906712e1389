//! The verb `validate`: a guess is counted, compared and, if right, consumed, in one write.

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tracing::Span;
use tracing::field::display;
use utoipa::ToSchema;

use crate::aws::AwsError;
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::code::Guess;
use crate::entropy::EntropyError;
use crate::secret::Secret;
use crate::store::{Attempt, Verdict, Verifications};
use crate::verification::RequestId;

/// What a caller wants to know.
#[derive(Debug, ToSchema)]
pub struct Question {
    /// What the recipient typed; spaces and hyphens are ignored.
    #[schema(value_type = String, example = "123456")]
    pub code: SecretString,
    /// The id that the request was answered with.
    #[schema(example = "00000000-0000-4000-8000-000000000000")]
    pub request_id: String,
}

/// Why a question got no verdict.
#[derive(Debug, Error)]
pub enum ValidateError {
    /// DynamoDB did not answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// Asks the table whether `question` holds the right code: one write of one unit. A request id that
/// is none is not asked for.
///
/// # Errors
/// When the table's answer was not received.
pub async fn validate(
    question: &Question,
    client: &ClientId,
    now: Timestamp,
    secret: &Secret,
    verifications: &Verifications,
) -> Result<Verdict, ValidateError> {
    let Some(id) = RequestId::parse(&question.request_id) else {
        return Ok(Verdict::NotFound);
    };
    Span::current().record("request_id", display(id));
    let guess = Guess::new(question.code.expose_secret());
    let digests = secret.guess_digests(client, id, &guess);
    let attempt = Attempt::random()?;
    Ok(verifications
        .guess(id, client, digests, &attempt, now)
        .await?)
}
