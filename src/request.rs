//! The verb `request`: a code is made, stored, sent, and marked as sent.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use thiserror::Error;
use tracing::Span;
use tracing::field::display;
use utoipa::ToSchema;

use crate::admission::{Admitted, Admitter, Refused};
use crate::aws::{AwsError, AwsErrorKind};
use crate::client::Client;
use crate::clock::Timestamp;
use crate::code::Code;
use crate::entropy::EntropyError;
use crate::message_service::MessageService;
use crate::metrics::{self, Step, timed};
use crate::phone::{PhoneError, PhoneNumber};
use crate::secret::{Digest, Secret, Seed};
use crate::sms::{Sms, TooManyParts};
use crate::store::{
    Attempt, Charge, Claim, Earlier, NewVerification, Progress, Receipt, Slip, Stored,
    Verifications,
};
use crate::template::{MissingParameters, Template, TemplateId};
use crate::verification::{IdempotencyKey, RequestId};

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
    /// The client's balance does not pay for the message.
    Balance,
    /// The message service refused the message.
    General,
}

impl Rejection {
    /// The wire contract's name of it, which is also the stored one.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Address => "DESTINATION_ADDRESS_INVALID",
            Self::Prefix => "ROUTING_PREFIX_FILTER_INVALID_NUMBER",
            Self::Length => "ROUTING_FILTER_INVALID_LENGTH",
            Self::Country => "CLIENT_COUNTRY_FORBIDDEN",
            Self::Template => "TEMPLATE_NOT_FOUND",
            Self::Balance => "OUT_OF_BALANCE",
            Self::General => "GENERAL_ERROR",
        }
    }

    /// The rejection of that name.
    fn named(code: &str) -> Self {
        let all = [
            Self::Address,
            Self::Prefix,
            Self::Length,
            Self::Country,
            Self::Template,
            Self::Balance,
        ];
        let named = all.into_iter().find(|rejection| rejection.code() == code);
        named.unwrap_or(Self::General)
    }
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
    /// A limit is reached; nothing is taken and no code is alive.
    #[error("a limit is reached")]
    Limited {
        /// The first moment at which the same request may pass.
        until: Timestamp,
    },
    /// The `Idempotency-Key` was used for another body.
    #[error("the Idempotency-Key was used for another body")]
    KeyReused,
    /// The first call with this `Idempotency-Key` is still running.
    #[error("the first call with this Idempotency-Key is still running")]
    Running {
        /// The moment at which it will have ended, one way or the other.
        until: Timestamp,
    },
    /// AWS did not do its part; no code is alive.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// How long a call may work before another with the same `Idempotency-Key` takes over: as long as a
/// function may run.
const LEASE: Duration = Duration::from_secs(20);

/// What a request is carried out with.
#[derive(Clone, Copy, Debug)]
pub struct Tools<'a> {
    /// What codes and recipients are digested with.
    pub secret: &'a Secret,
    /// Where codes are stored.
    pub verifications: &'a Verifications,
    /// What lets requests in.
    pub admitter: &'a Admitter,
    /// What takes the messages.
    pub messages: &'a MessageService,
}

/// A request that nothing speaks against but limits and fate.
struct Plan<'a> {
    id: RequestId,
    client: &'a Client,
    template: &'a Template,
    to: PhoneNumber,
    recipient: Digest,
    /// A test number: the code is always the same, and no SMS is sent.
    is_test: bool,
    parameters: &'a BTreeMap<String, String>,
    now: Timestamp,
}

/// A code that is stored, and what must be known to send it.
struct Draft {
    sms: Sms,
    digest: Digest,
    /// When the request was made: of a request taken over, when it was made first.
    at: Timestamp,
    /// Of a request taken over: what the dead calls know their charges by.
    earlier: Vec<Receipt>,
    /// Of a request that may be repeated: the call that works on it.
    owner: Option<Attempt>,
}

/// Makes a code for `order`, stores it, sends it and marks it as sent.
///
/// Without a `key`: recipient and client are charged side by side, then the code is stored, sent and
/// marked: four writes of one unit in three round trips, beside one `Publish`. With a `key` the code
/// is stored first, so that a repeated request meets the item of the first.
///
/// The id is the request's, whatever came of it.
///
/// # Errors
/// When the order cannot be rendered, a limit is reached, or it is not known that the message
/// service took the message. Then nothing is charged and the code is dead.
pub async fn request(
    order: &Order,
    key: Option<&IdempotencyKey>,
    client: &Client,
    now: Timestamp,
    tools: Tools<'_>,
) -> Result<(RequestId, Outcome), RequestError> {
    let id = match key {
        Some(key) => RequestId::of(&client.id, key),
        None => RequestId::random()?,
    };
    Span::current().record("request_id", display(id));
    let plan = plan(order, id, client, now, tools);
    let outcome = if key.is_some() {
        let body = order.digest(tools.secret);
        match plan {
            Ok(plan) => repeatable(&plan, body, tools).await?,
            Err(rejection) => {
                let reason = rejection.code();
                let stored = tools
                    .verifications
                    .store_rejection(id, &client.id, body, reason, now)
                    .await?;
                match stored {
                    Stored::New => Outcome::Rejected(rejection),
                    Stored::Met(earlier) => {
                        answered(&earlier, body, now)?.unwrap_or(Outcome::Rejected(rejection))
                    }
                }
            }
        }
    } else {
        match plan {
            Ok(plan) => once(&plan, tools).await?,
            Err(rejection) => Outcome::Rejected(rejection),
        }
    };
    Ok((id, outcome))
}

impl Order {
    /// What two bodies are the same by.
    fn digest(&self, secret: &Secret) -> Digest {
        let pairs = self
            .parameters
            .iter()
            .flat_map(|(name, value)| [name, value]);
        let fields: Vec<&[u8]> = [self.to.expose_secret(), &self.template_id]
            .into_iter()
            .chain(pairs.map(String::as_str))
            .map(str::as_bytes)
            .collect();
        secret.body_digest(&fields)
    }
}

/// Everything about `order` that is decided without asking anyone.
fn plan<'a>(
    order: &'a Order,
    id: RequestId,
    client: &'a Client,
    now: Timestamp,
    tools: Tools<'_>,
) -> Result<Plan<'a>, Rejection> {
    let to = PhoneNumber::parse(order.to.expose_secret())?;
    Span::current().record("country", to.country().as_str());
    if !client.profile.countries.permit(to.country()) {
        return Err(Rejection::Country);
    }
    let template = TemplateId::parse(&order.template_id)
        .and_then(|id| client.template(id))
        .ok_or(Rejection::Template)?;
    let recipient = tools.secret.recipient_digest(&client.id, &to);
    let is_test = client.profile.test_recipients.contains(&recipient.encode());
    if is_test && !tools.admitter.allows_test_numbers() && !client.id.is_pre_traffic() {
        tracing::warn!("a test number was refused: the stack does not allow any");
        return Err(Rejection::General);
    }
    Ok(Plan {
        id,
        client,
        template,
        to,
        recipient,
        is_test,
        parameters: &order.parameters,
        now,
    })
}

/// A request that is made once.
async fn once(plan: &Plan<'_>, tools: Tools<'_>) -> Result<Outcome, RequestError> {
    let code = if plan.is_test {
        plan.test_code(tools.secret)
    } else {
        Code::random(plan.template.code_length)?
    };
    let draft = plan.draft(&code, plan.now, tools.secret)?;
    let slip = tools.admitter.slip(plan.now)?;
    let admitted = match plan.admit(&draft, &slip, tools).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused.into_outcome(),
    };
    let stored = tools.verifications.store(plan.verification(&draft, None));
    if let Err(error) = timed(Step::Store, stored).await {
        admitted.give_back(tools.admitter).await;
        return Err(plan.unstored(&draft, error, tools).await);
    }
    plan.send(&draft, admitted, tools).await
}

/// A request that may be repeated: the first call stores its claim before anything else.
async fn repeatable(
    plan: &Plan<'_>,
    body: Digest,
    tools: Tools<'_>,
) -> Result<Outcome, RequestError> {
    let owner = Attempt::random()?;
    let (seed, code) = plan.seeded(tools.secret)?;
    let mut draft = plan.draft(&code, plan.now, tools.secret)?;
    draft.owner = Some(owner.clone());
    let slip = tools.admitter.slip(plan.now)?;
    let claim = Claim {
        body,
        seed,
        owner: &owner,
        receipt: slip.receipt(),
        lease_until: plan.now.plus(LEASE),
    };
    let new = plan.verification(&draft, Some(claim));
    let stored = match timed(Step::Store, tools.verifications.store(new)).await {
        Ok(stored) => stored,
        Err(error) => return Err(plan.unstored(&draft, error, tools).await),
    };
    if let Stored::Met(earlier) = stored {
        if let Some(outcome) = answered(&earlier, body, plan.now)? {
            return Ok(outcome);
        }
        let running = RequestError::Running {
            until: claim.lease_until,
        };
        let revived = match plan.revive(&earlier, tools.secret)? {
            Some(revived) => {
                let resumed = tools
                    .verifications
                    .resume(plan.id, &earlier, claim, revived.at);
                resumed.await?.then_some(revived)
            }
            None => match tools.verifications.store_over(&earlier, new).await? {
                Stored::New => Some(draft),
                Stored::Met(_) => None,
            },
        };
        draft = revived.ok_or(running)?;
        draft.owner = Some(owner.clone());
    }
    match plan.admit(&draft, &slip, tools).await {
        Ok(admitted) => plan.send(&draft, admitted, tools).await,
        Err(refused) => {
            plan.kill(&draft, refused.rejection(), tools).await?;
            refused.into_outcome()
        }
    }
}

/// The answer of an earlier call with the same `Idempotency-Key`; `None` when it has died or given
/// up, and is to be taken over.
fn answered(
    earlier: &Earlier,
    body: Digest,
    now: Timestamp,
) -> Result<Option<Outcome>, RequestError> {
    if !earlier.has_body(body) {
        return Err(RequestError::KeyReused);
    }
    let until = earlier.lease_until();
    match earlier.progress() {
        Progress::Accepted => Ok(Some(Outcome::Accepted)),
        Progress::Rejected(reason) => Ok(Some(Outcome::Rejected(Rejection::named(&reason)))),
        Progress::Stored if now < until => Err(RequestError::Running { until }),
        Progress::Stored | Progress::Paused => Ok(None),
    }
}

impl Plan<'_> {
    fn test_code(&self, secret: &Secret) -> Code {
        secret.test_code(&self.client.id, &self.to, self.template.code_length)
    }

    /// A fresh seed and its code.
    fn seeded(&self, secret: &Secret) -> Result<(Seed, Code), EntropyError> {
        let seed = Seed::random()?;
        let code = if self.is_test {
            self.test_code(secret)
        } else {
            secret.seeded_code(&self.client.id, self.id, &seed, self.template.code_length)
        };
        Ok((seed, code))
    }

    fn draft(&self, code: &Code, at: Timestamp, secret: &Secret) -> Result<Draft, RequestError> {
        let sms = Sms::compose(self.template.text.render(code, self.parameters)?)?;
        Span::current().record("parts", sms.parts());
        Ok(Draft {
            sms,
            digest: secret.code_digest(&self.client.id, self.id, code),
            at,
            earlier: Vec::new(),
            owner: None,
        })
    }

    /// The code of an earlier call, while it lives: what may have been sent already is sent again,
    /// and no second code.
    fn revive(&self, earlier: &Earlier, secret: &Secret) -> Result<Option<Draft>, RequestError> {
        let alive = self.now < earlier.expires_at();
        let Some(seed) = earlier.seed().filter(|_| alive && !self.is_test) else {
            return Ok(None);
        };
        let length = self.template.code_length;
        let is_stored = |digest| earlier.has_code(digest);
        let found = secret.stored_code(&self.client.id, self.id, &seed, length, is_stored);
        let Some((code, digest)) = found else {
            return Ok(None);
        };
        // What a dead call has taken is found by its moment; one that gave up has given it back.
        let at = match earlier.progress() {
            Progress::Stored => earlier.at(),
            _ => self.now,
        };
        Ok(Some(Draft {
            digest,
            earlier: earlier.receipts(),
            ..self.draft(&code, at, secret)?
        }))
    }

    fn verification<'a>(&'a self, draft: &Draft, claim: Option<Claim<'a>>) -> NewVerification<'a> {
        NewVerification {
            id: self.id,
            client: &self.client.id,
            recipient: (!self.is_test).then_some(self.recipient),
            code: draft.digest,
            max_attempts: self.template.max_attempts,
            expires_at: self.now.plus(self.template.ttl),
            at: self.now,
            claim,
        }
    }

    async fn admit<'b>(
        &'b self,
        draft: &'b Draft,
        slip: &'b Slip,
        tools: Tools<'_>,
    ) -> Result<Admitted<'b>, Refused> {
        if self.is_test {
            return Ok(Admitted::free());
        }
        let charge = Charge {
            at: draft.at,
            id: self.id,
            parts: draft.sms.parts(),
            prepaid: self.client.profile.prepaid,
        };
        let slips = (slip, &*draft.earlier);
        let admitted = tools
            .admitter
            .admit(self.client, self.recipient, charge, slips, self.now);
        timed(Step::Admit, admitted).await
    }

    /// Sends what is stored, and marks it as sent.
    async fn send(
        &self,
        draft: &Draft,
        admitted: Admitted<'_>,
        tools: Tools<'_>,
    ) -> Result<Outcome, RequestError> {
        let max_price = self.client.profile.max_price.as_deref();
        let sent = if self.is_test {
            tracing::info!(test_number = true, "no message is sent to a test number");
            Ok(String::from("test"))
        } else {
            let from = &self.template.from;
            let sent = tools.messages.send(&draft.sms, &self.to, from, max_price);
            timed(Step::Send, sent).await
        };
        match sent {
            Ok(message_id) => {
                let failures = admitted.failures();
                if !self.is_test {
                    metrics::sent(self.to.country().clone(), draft.sms.parts());
                }
                // A code that is only stored validates like one that is marked: the answer stands.
                let marked = tools
                    .verifications
                    .mark_sent(self.id, &message_id, failures);
                if let Err(error) = timed(Step::Mark, marked).await {
                    tracing::warn!(%error, "a sent code could not be marked as sent");
                }
                Ok(Outcome::Accepted)
            }
            Err(error) => {
                admitted.give_back(tools.admitter).await;
                match error.kind {
                    AwsErrorKind::Refused => {
                        tracing::warn!(%error, "the message service refused the message");
                        self.kill(draft, Some(Rejection::General), tools).await?;
                        Ok(Outcome::Rejected(Rejection::General))
                    }
                    AwsErrorKind::Unreachable
                    | AwsErrorKind::TimedOut
                    | AwsErrorKind::Throttled
                    | AwsErrorKind::Faulted
                    | AwsErrorKind::Malformed => {
                        self.kill(draft, None, tools).await?;
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// The end of a request whose code may or may not be stored: if it is, it is killed.
    async fn unstored(&self, draft: &Draft, error: AwsError, tools: Tools<'_>) -> RequestError {
        match self.kill(draft, None, tools).await {
            Ok(()) => error.into(),
            Err(another) => another.into(),
        }
    }

    /// Kills the stored code: for good with a rejection, else until the same request comes again.
    ///
    /// # Errors
    /// When it may still be alive; it dies at its end, and nobody is told its id.
    async fn kill(
        &self,
        draft: &Draft,
        rejection: Option<Rejection>,
        tools: Tools<'_>,
    ) -> Result<(), AwsError> {
        let (code, owner) = (draft.digest, draft.owner.as_ref());
        let verifications = tools.verifications;
        let killed = match rejection {
            Some(reason) => {
                let reason = reason.code();
                verifications.reject(self.id, code, owner, reason).await
            }
            None => verifications.pause(self.id, code, owner).await,
        };
        if let Err(error) = &killed {
            tracing::error!(%error, "an unsent code could not be killed; it dies at its end");
        }
        killed
    }
}

impl Refused {
    /// The rejection that it is, if it is one.
    fn rejection(&self) -> Option<Rejection> {
        match self {
            Self::OutOfBalance => Some(Rejection::Balance),
            Self::Until(_) | Self::Aws(_) => None,
        }
    }

    fn into_outcome(self) -> Result<Outcome, RequestError> {
        match self {
            Self::OutOfBalance => Ok(Outcome::Rejected(Rejection::Balance)),
            Self::Until(until) => Err(RequestError::Limited { until }),
            Self::Aws(error) => Err(error.into()),
        }
    }
}
