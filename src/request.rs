//! The verb `request`: a code is made, stored, sent, and marked as sent.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use thiserror::Error;
use tracing::Span;
use tracing::field::display;
use utoipa::ToSchema;

use crate::aws::{AwsError, AwsErrorKind};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::code::Code;
use crate::entropy::EntropyError;
use crate::message_service::MessageService;
use crate::phone::{PhoneError, PhoneNumber};
use crate::secret::Secret;
use crate::sms::{Sms, TooManyParts};
use crate::store::{NewVerification, Verifications};
use crate::template::{MissingParameters, Template, TemplateId};
use crate::verification::RequestId;

/// What a caller asks for.
#[derive(Debug, ToSchema)]
pub struct Order {
    /// The recipient's international number, with or without `+` or `00`; spaces, `-`, `.`, `(` and
    /// `)` are ignored.
    #[schema(value_type = String, example = "+44 7400 123456")]
    pub to: SecretString,
    /// The name of one of the client's templates.
    #[schema(example = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01")]
    pub template_id: String,
    /// The values for the template's placeholders, without control characters; `code` is ignored.
    #[schema(required = false, value_type = BTreeMap<String, ParameterValue>)]
    pub parameters: BTreeMap<String, String>,
}

/// The value for a placeholder.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "the published form of a value that is text by the time it is an order"
)]
enum ParameterValue {
    Text(PrintableText),
    Number(f64),
    Boolean(bool),
}

/// Text without control characters.
#[derive(Serialize, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
struct PrintableText(String);

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The code's digest is stored and the message service took the message.
    Accepted,
    /// Nothing is on its way, and no code is alive.
    Rejected(Rejection),
}

/// Why a request was rejected, in the order of precedence of the wire contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The number is not 9–15 digits.
    Address,
    /// The number has no known country calling code or number range.
    Prefix,
    /// The number has the wrong length for its country.
    Length,
    /// The client may not send to the number's country.
    Country,
    /// The client has no such template.
    Template,
    /// The message service refused the message.
    General,
}

impl From<PhoneError> for Rejection {
    fn from(error: PhoneError) -> Self {
        match error {
            PhoneError::Address => Self::Address,
            PhoneError::Prefix => Self::Prefix,
            PhoneError::Length => Self::Length,
        }
    }
}

/// Why a request got no outcome.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The template has placeholders that the request gave no value for.
    #[error(transparent)]
    MissingParameters(#[from] MissingParameters),
    /// The message would be too long.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// AWS did not do its part; no code is alive.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// A request that nothing speaks against: whom to send to, and with which template.
struct Admitted<'a> {
    to: PhoneNumber,
    template: &'a Template,
}

/// Makes a code for `order`, stores it, sends it and marks it as sent: two writes of DynamoDB, one
/// unit each, with one `Publish` between them.
///
/// The id is the new request's, whatever came of it.
///
/// # Errors
/// When the order cannot be rendered, or when it is not known that the message service took the
/// message. Then the code is dead.
pub async fn request(
    order: &Order,
    client: &Client,
    now: Timestamp,
    secret: &Secret,
    verifications: &Verifications,
    messages: &MessageService,
) -> Result<(RequestId, Outcome), RequestError> {
    let id = RequestId::random()?;
    Span::current().record("request_id", display(id));
    let Admitted { to, template } = match admit(order, client) {
        Ok(admitted) => admitted,
        Err(rejection) => return Ok((id, Outcome::Rejected(rejection))),
    };
    let code = Code::random(template.code_length)?;
    let sms = Sms::compose(template.text.render(&code, &order.parameters)?)?;
    Span::current().record("parts", sms.parts());

    let digest = secret.code_digest(&client.id, id, &code);
    let new = NewVerification {
        id,
        client: &client.id,
        recipient: secret.recipient_digest(&client.id, &to),
        code: digest,
        max_attempts: template.max_attempts,
        expires_at: now.plus(template.ttl),
    };
    verifications.store(new).await?;
    let max_price = client.profile.max_price.as_deref();
    match messages.send(&sms, &to, &template.from, max_price).await {
        Ok(message_id) => {
            // A code that is only stored validates like one that is marked: the answer stands.
            if let Err(error) = verifications.mark_sent(id, &message_id).await {
                tracing::warn!(%error, "a sent code could not be marked as sent");
            }
            Ok((id, Outcome::Accepted))
        }
        Err(error) => {
            if let Err(error) = verifications.discard(id, digest).await {
                tracing::error!(%error, "an unsent code could not be discarded; it dies at its end");
            }
            match error.kind {
                AwsErrorKind::Refused => {
                    tracing::warn!(%error, "the message service refused the message");
                    Ok((id, Outcome::Rejected(Rejection::General)))
                }
                AwsErrorKind::Unreachable
                | AwsErrorKind::TimedOut
                | AwsErrorKind::Throttled
                | AwsErrorKind::Faulted
                | AwsErrorKind::Malformed => Err(error.into()),
            }
        }
    }
}

/// Everything about `order` that is decided without asking anyone.
fn admit<'a>(order: &Order, client: &'a Client) -> Result<Admitted<'a>, Rejection> {
    let to = PhoneNumber::parse(order.to.expose_secret())?;
    Span::current().record("country", to.country().as_str());
    if !client.profile.countries.permit(to.country()) {
        return Err(Rejection::Country);
    }
    let template = TemplateId::parse(&order.template_id)
        .and_then(|id| client.template(id))
        .ok_or(Rejection::Template)?;
    Ok(Admitted { to, template })
}
