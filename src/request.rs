//! The verb `request`: a code is made, stored and charged, sent, and marked as sent.
//!
//! | step | does | a call that ends here |
//! |---|---|---|
//! | [`Prepared`] | all that is decided without asking anyone | is refused |
//! | begin | one transaction: verification, recipient's windows, balance | 429, `OUT_OF_BALANCE` |
//! | caps | plain counts, where there are caps | is undone, 429 |
//! | publish | the message service | is undone if it was not taken; stays if that is not known |
//! | mark | the send is marked, the day's usage counted | is accepted |
//!
//! With an `Idempotency-Key` the request id follows from the key, so that a begin meets what an earlier
//! call with it has stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;

use crate::aws::BEGIN_TIMEOUT;
use crate::aws::error::AwsError;
use crate::aws::message_service::Published;
use crate::clock::Timestamp;
use crate::domain::client::Client;
use crate::domain::digest::Digest;
use crate::domain::ids::{ClientId, IdempotencyKey, RequestId, TemplateId};
use crate::domain::key_set::{CodeSeed, KeySet};
use crate::domain::message::{Sms, TooManyParts};
use crate::domain::phone::{PhoneError, PhoneNumber};
use crate::domain::template::{CODE, MissingParameters, Template};
use crate::entropy::EntropyError;
use crate::metrics::{self, Limit, Step, timed};
use crate::state::RequestState;
use crate::store::{
    Begun, Call, Cap, CapOutcome, Charge, Keyed, Met, NewVerification, Progress, Undone,
    UsageCounter,
};

/// The body of a call of `request`.
#[derive(Debug, ToSchema)]
pub struct SendCodeRequest {
    /// The recipient's international number, with or without `+` or `00`; spaces, `-`, `.`, `(` and
    /// `)` are ignored.
    #[schema(value_type = String, example = "+44 7400 123456")]
    pub to: SecretString,
    /// The `id` of one of the client's templates, which `listTemplates` lists.
    #[schema(format = Uuid, example = "6f1f8c2e-6d0e-4a55-9c1d-2b7a4f0c1a01")]
    pub template_id: String,
    /// The values for the template's placeholders; `code` is ignored. Values have no control characters,
    /// line or paragraph separators, or bidirectional controls.
    #[schema(required = false, value_type = Option<BTreeMap<String, ParameterValue>>)]
    pub parameters: BTreeMap<String, String>,
}

/// The value for a placeholder.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "the published form of a value that is text by the time it is read"
)]
enum ParameterValue {
    Text(PrintableText),
    Number(f64),
    Boolean(bool),
}

/// Text without control characters, line or paragraph separators, or bidirectional controls.
#[derive(Serialize, ToSchema)]
#[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$")]
struct PrintableText(String);

/// The reasons to reject a request, in the wire contract's order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The number is not 9–15 digits.
    Address,
    /// The number has no known country calling code or number range, or is of a type that the client
    /// does not send to.
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
    /// The wire contract's name of it.
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

/// A request that was not accepted.
#[derive(Debug, Error)]
pub enum RequestError {
    /// It was rejected: nothing is charged and no code is alive.
    #[error("rejected: {}", .0.code())]
    Rejected(Rejection),
    /// The template has placeholders that the request gave no value for.
    #[error(transparent)]
    MissingParameters(#[from] MissingParameters),
    /// The message would be too long.
    #[error(transparent)]
    TooManyParts(#[from] TooManyParts),
    /// A limit is reached; nothing is charged and no code is alive.
    #[error("a limit is reached")]
    Limited {
        /// The first moment at which the same request may pass.
        until: Timestamp,
    },
    /// The `Idempotency-Key` was used for a body that means something else.
    #[error("the Idempotency-Key was used for another body")]
    KeyReused,
    /// The first call with this `Idempotency-Key` is still running.
    #[error("the first call with this Idempotency-Key is still running")]
    Running {
        /// The moment at which to ask again.
        until: Timestamp,
    },
    /// The message service may have taken the message: the send stays charged and its code alive.
    #[error("the message service may have taken the message")]
    Unknown {
        /// The request's id, under which the code validates.
        id: RequestId,
        /// The first moment at which the recipient's windows allow another send.
        until: Timestamp,
        /// The failure, if there was one.
        source: Option<AwsError>,
    },
    /// The message service takes no message, for a reason that lies in none. Nothing is charged and no
    /// code is alive.
    #[error("no message can be sent: {0}")]
    NotTaken(#[source] AwsError),
    /// AWS did not do its part. Nothing is charged and no code is alive, unless the undo got no answer.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl From<Rejection> for RequestError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<PhoneError> for RequestError {
    fn from(error: PhoneError) -> Self {
        Self::Rejected(error.into())
    }
}

/// The lease: the time before another call with the same `Idempotency-Key` may take a send over:
/// longer than any function runs.
const LEASE: Duration = Duration::from_secs(30);

/// The age up to which a call is young: most calls that are asked for again end within it.
const YOUNG: Duration = Duration::from_secs(5);

/// After how long to ask again for a young call.
const SOON: Duration = Duration::from_secs(1);

/// The longest that a code lives after its request began, take-overs included.
const LONGEST_LIFE: Duration = Duration::from_mins(10);

/// The shortest life that a code is sent with by a take-over.
const SHORTEST_LIFE: Duration = Duration::from_secs(30);

/// A request that passed validation; limits and sending are still to come.
struct Prepared<'a> {
    key_set: &'a KeySet,
    state: &'a RequestState,
    id: RequestId,
    client: &'a Client,
    template: &'a Template,
    to: PhoneNumber,
    recipient: Digest,
    /// A test number: the code is always the same, and no SMS is sent.
    is_test: bool,
    /// The most failures that the recipient may have.
    admitted: u32,
    request: &'a SendCodeRequest,
    now: Timestamp,
    call: Call,
    code: Digest,
    /// The digest of what the body means and the names of the parameters in it, where the request has
    /// an `Idempotency-Key`.
    keyed: Option<(Digest, Vec<&'a str>)>,
    message: Message,
}

/// A message, and the seed of the code in it.
struct Message {
    sms: Sms,
    seed: CodeSeed,
}

/// The state of a begin.
#[derive(Default)]
struct Beginning {
    /// The stored verification that it replaces.
    over: Option<Met>,
    /// Whether it takes over the send of a call that died, which may have sent it.
    takes_over: bool,
}

/// The work that an earlier call with the same `Idempotency-Key` leaves.
enum Left {
    /// Nothing: it was accepted.
    Nothing,
    /// To begin anew: what it stored is void or expired.
    Begin,
    /// To send its code, which then lives until that moment.
    Send(Message, Timestamp),
}

/// The outcome of a begin.
enum Start {
    /// The message is to be sent; a message of its own where the send of another call was taken over.
    Send(Option<Message>),
    /// An earlier call with the same `Idempotency-Key` was accepted.
    Accepted,
}

/// The id of a request: that of its `Idempotency-Key`, or a random one.
///
/// # Errors
/// When there are no random numbers.
pub fn request_id(
    key: Option<&IdempotencyKey>,
    client: &Client,
    key_set: &KeySet,
) -> Result<RequestId, EntropyError> {
    match key {
        Some(key) => Ok(key_set.request_id(&client.id, key)),
        None => RequestId::random(),
    }
}

/// Makes a code for `request`, stores and charges it, sends it and marks it as sent: one transaction, one
/// `Publish` and two writes side by side, one more before it where there are caps.
///
/// A request that `is_keyed` has the id of its `Idempotency-Key`.
///
/// # Errors
/// When it was not accepted. Only [`RequestError::Unknown`] leaves a charge and a live code, and a failure
/// whose undo got no answer.
pub async fn request(
    request: &SendCodeRequest,
    id: RequestId,
    is_keyed: bool,
    client: &Client,
    now: Timestamp,
    key_set: &KeySet,
    state: &RequestState,
) -> Result<(), RequestError> {
    metrics::note(|call| call.request_id = Some(id));
    match Prepared::new(request, id, is_keyed, client, now, key_set, state) {
        Ok(prepared) => prepared.carry_out().await,
        Err(refusal) if is_keyed => {
            let met = state.verifications.earlier(id, now).await?;
            answer_refused(request, id, &client.id, refusal, now, met, key_set)
        }
        Err(refusal) => Err(refusal),
    }
}

/// The answer to a request with an `Idempotency-Key` that is refused now: that of the call that was
/// accepted, if there was one.
fn answer_refused(
    request: &SendCodeRequest,
    id: RequestId,
    client: &ClientId,
    refusal: RequestError,
    now: Timestamp,
    met: Option<Met>,
    key_set: &KeySet,
) -> Result<(), RequestError> {
    let Some(met) = met else {
        return Err(refusal);
    };
    if !request.means(client, &met, key_set) {
        return Err(RequestError::KeyReused);
    }
    match met.progress() {
        Progress::Accepted => Ok(()),
        Progress::Stored | Progress::Spent if now < met.lease_until() => Err(running(&met, now)),
        // The call before may have sent it.
        Progress::Stored if now < met.expires_at() => Err(RequestError::Unknown {
            id,
            until: met.expires_at(),
            source: None,
        }),
        Progress::Stored | Progress::Spent | Progress::Undone => Err(refusal),
    }
}

/// The begin took too long.
fn given_up() -> AwsError {
    AwsError::timed_out("TransactWriteItems")
}

/// The error while an earlier call holds the lease.
fn running(met: &Met, now: Timestamp) -> RequestError {
    let until = if now < met.at().plus(YOUNG) {
        now.plus(SOON)
    } else {
        met.lease_until()
    };
    RequestError::Running { until }
}

impl SendCodeRequest {
    /// Whether this means the same as the body of the call that was `met`: recipient, template, and the
    /// values of the parameters that were in it.
    fn means(&self, client: &ClientId, met: &Met, key_set: &KeySet) -> bool {
        let Ok(to) = PhoneNumber::parse(self.to.expose_secret()) else {
            return false;
        };
        let meaning = self.meaning(client, &to, &met.parameters(), key_set);
        meaning.is_some_and(|digest| digest.encode() == met.body())
    }

    /// The digest of client, number, template and the values of those parameters, if they are all there.
    fn meaning(
        &self,
        client: &ClientId,
        to: &PhoneNumber,
        names: &[&str],
        key_set: &KeySet,
    ) -> Option<Digest> {
        let template = TemplateId::parse(&self.template_id)?.to_string();
        let mut fields = vec![to.expose().as_bytes(), template.as_bytes()];
        for name in names {
            fields.extend([name.as_bytes(), self.parameters.get(*name)?.as_bytes()]);
        }
        Some(key_set.body_digest(client, &fields))
    }
}

impl<'a> Prepared<'a> {
    /// Everything about `request` that is decided without asking anyone.
    fn new(
        request: &'a SendCodeRequest,
        id: RequestId,
        is_keyed: bool,
        client: &'a Client,
        now: Timestamp,
        key_set: &'a KeySet,
        state: &'a RequestState,
    ) -> Result<Self, RequestError> {
        let to = PhoneNumber::parse(request.to.expose_secret())?;
        metrics::note(|call| call.country = Some(to.country().clone()));
        if !client.profile.number_types.contains(&to.number_type()) {
            return Err(Rejection::Prefix.into());
        }
        if !client.profile.countries.permit(to.country()) {
            return Err(Rejection::Country.into());
        }
        let template = TemplateId::parse(&request.template_id).and_then(|id| client.template(id));
        let template = template.ok_or(Rejection::Template)?;
        let recipient = key_set.recipient_digest(&client.id, &to);
        let is_test = client.profile.test_recipients.contains(&recipient.encode());
        if is_test && !state.stack.allow_test_numbers && !client.id.is_pre_traffic() {
            tracing::warn!("a test number was refused: the stack does not allow any");
            return Err(Rejection::General.into());
        }
        let seed = CodeSeed::random()?;
        let code = if is_test {
            key_set.test_code(&client.id, &to, template.code_length)
        } else {
            key_set.seeded_code(&client.id, id, &seed, template.code_length)
        };
        let sms = Sms::compose(template.text.render(&code, &request.parameters)?)?;
        let keyed = is_keyed.then(|| {
            let names = template.text.placeholders().filter(|name| *name != CODE);
            let names: Vec<_> = names.collect::<BTreeSet<_>>().into_iter().collect();
            let body = request.meaning(&client.id, &to, &names, key_set)?;
            Some((body, names))
        });
        let limits = &client.profile.limits;
        let admitted = match limits.failures_admitted(client.max_attempts()) {
            _ if is_test => 0,
            Some(admitted) => admitted,
            // Locked whatever the recipient did; the operator's CLI refuses such limits.
            None => {
                metrics::refused(Limit::Recipient);
                let until = now.plus(limits.lock().unwrap_or(LONGEST_LIFE));
                return Err(RequestError::Limited { until });
            }
        };
        Ok(Self {
            key_set,
            state,
            id,
            client,
            template,
            recipient,
            is_test,
            admitted,
            request,
            now,
            call: Call::new()?,
            code: key_set.code_digest(&client.id, id, &code),
            keyed: keyed.flatten(),
            message: Message { sms, seed },
            to,
        })
    }

    /// Begins, sends and marks, or undoes what it began.
    async fn carry_out(&self) -> Result<(), RequestError> {
        let mut beginning = Beginning::default();
        let begun = self.begin(&mut beginning);
        let begun = self.state.verifications.within(BEGIN_TIMEOUT, begun);
        let begun = timed(Step::Begin, begun).await;
        let taken_over = match begun.unwrap_or_else(|| Err(given_up().into())) {
            Ok(Start::Send(message)) => message,
            Ok(Start::Accepted) => return Ok(()),
            Err(RequestError::Aws(error)) if beginning.takes_over => {
                return Err(self.unknown(Some(error)).await);
            }
            Err(refusal) => {
                if self.call.is_in_doubt() && !beginning.takes_over {
                    self.undo(&beginning, true).await?;
                }
                return Err(refusal);
            }
        };
        let message = taken_over.as_ref().unwrap_or(&self.message);
        let caps = self.caps();
        if !caps.is_empty()
            && let Err(refusal) = timed(Step::Caps, self.take_caps(&caps, message)).await
        {
            self.undo(&beginning, false).await?;
            return Err(refusal);
        }
        let refusal = match self.publish(message).await {
            Published::Taken(message_id) => {
                self.mark(message, &message_id).await;
                return Ok(());
            }
            Published::Unknown(error) => {
                self.count(message).await;
                return Err(self.unknown(Some(error)).await);
            }
            Published::Refused(error) => {
                tracing::warn!(%error, "the message service refused the message");
                Rejection::General.into()
            }
            Published::NotTaken(error) => RequestError::NotTaken(error),
        };
        let release = self.release(&caps, message);
        let (undone, ()) = tokio::join!(self.undo(&beginning, false), release);
        undone.and(Err(refusal))
    }

    /// Stores and charges the send, or finds out why not.
    async fn begin(&self, beginning: &mut Beginning) -> Result<Start, RequestError> {
        loop {
            let over = beginning.over.as_ref();
            let begun = self.state.verifications.begin(self.verification(), over);
            let met = match begun.await? {
                Begun::Begun => return Ok(Start::Send(None)),
                Begun::Limited { until } => {
                    metrics::refused(Limit::Recipient);
                    return Err(RequestError::Limited { until });
                }
                Begun::OutOfBalance => {
                    metrics::refused(Limit::Balance);
                    return Err(Rejection::Balance.into());
                }
                Begun::Met(met) => met,
            };
            match self.left_by(&met)? {
                Left::Nothing => return Ok(Start::Accepted),
                Left::Begin => beginning.over = Some(met),
                Left::Send(message, expires_at) => {
                    beginning.takes_over = true;
                    return self.take_over(message, expires_at, &met).await;
                }
            }
        }
    }

    /// The work that the call that was `met` leaves.
    fn left_by(&self, met: &Met) -> Result<Left, RequestError> {
        if !self.request.means(&self.client.id, met, self.key_set) {
            return Err(RequestError::KeyReused);
        }
        match met.progress() {
            Progress::Accepted => return Ok(Left::Nothing),
            Progress::Stored | Progress::Spent if self.now < met.lease_until() => {
                return Err(running(met, self.now));
            }
            Progress::Spent | Progress::Undone => return Ok(Left::Begin),
            Progress::Stored => {}
        }
        let expires_at = self.now.plus(self.template.ttl).max(met.expires_at());
        let expires_at = expires_at.min(met.began_at().plus(LONGEST_LIFE));
        let message = self.stored_message(met);
        match message.filter(|_| self.now.plus(SHORTEST_LIFE) <= expires_at) {
            Some(message) => Ok(Left::Send(message, expires_at)),
            // Its code may be on its way: no other while it is alive.
            None if self.now < met.expires_at() => Err(RequestError::Running {
                until: met.expires_at(),
            }),
            None => Ok(Left::Begin),
        }
    }

    /// The message of the call that was `met`, with the same code.
    fn stored_message(&self, met: &Met) -> Option<Message> {
        let (client, length, seed) = (&self.client.id, met.code_length(), met.seed()?);
        let key_set = self.key_set;
        let is_stored = |digest| met.has_code(digest);
        let code = if self.is_test {
            let code = key_set.test_code(client, &self.to, length);
            key_set
                .is_stored(client, self.id, &code, is_stored)
                .then_some(code)
        } else {
            key_set.stored_code(client, self.id, &seed, length, is_stored)
        };
        let text = self.template.text.render(&code?, &self.request.parameters);
        let sms = Sms::compose(text.ok()?).ok()?;
        Some(Message { sms, seed })
    }

    async fn take_over(
        &self,
        message: Message,
        expires_at: Timestamp,
        met: &Met,
    ) -> Result<Start, RequestError> {
        let new = NewVerification {
            expires_at,
            ..self.verification()
        };
        let until = match self.state.verifications.take_over(new, met).await? {
            Begun::Begun => return Ok(Start::Send(Some(message))),
            Begun::Met(met) if met.progress() == Progress::Accepted => {
                return Ok(Start::Accepted);
            }
            Begun::Limited { until } => until,
            Begun::Met(_) | Begun::OutOfBalance => self.now.plus(SOON),
        };
        Err(RequestError::Running { until })
    }

    fn verification(&self) -> NewVerification<'_> {
        NewVerification {
            id: self.id,
            client: &self.client.id,
            code: self.code,
            seed: self.message.seed,
            code_length: self.template.code_length,
            max_attempts: self.template.max_attempts,
            now: self.now,
            expires_at: self.now.plus(self.template.ttl),
            call: &self.call,
            lease_until: self.now.plus(LEASE),
            charge: self.charge(),
            keyed: self.keyed.as_ref().map(|(body, parameters)| Keyed {
                body: *body,
                parameters,
            }),
        }
    }

    fn charge(&self) -> Option<Charge<'_>> {
        (!self.is_test).then_some(Charge {
            recipient: self.recipient,
            limits: &self.client.profile.limits,
            admitted: self.admitted,
            parts: self.message.sms.parts(),
            prepaid: self.client.profile.prepaid,
        })
    }

    /// The caps of the client and of the stack; a test number has none.
    fn caps(&self) -> Vec<Cap<'_>> {
        let (client, limits) = (&self.client.id, &self.client.profile.limits);
        let caps = [
            limits.per_second.map(|most| Cap::per_second(client, most)),
            limits.per_day.map(|most| Cap::per_day(client, most)),
            self.state.stack.daily_part_cap.map(Cap::of_stack),
        ];
        let caps = caps.into_iter().flatten();
        caps.filter(|_| !self.is_test).collect()
    }

    /// Counts the request under all `caps` side by side, or under none.
    async fn take_caps(&self, caps: &[Cap<'_>], message: &Message) -> Result<(), RequestError> {
        let parts = message.sms.parts();
        let taken = caps
            .iter()
            .map(|cap| self.state.verifications.take(*cap, parts, self.now));
        let taken = join_all(taken).await;
        let (mut counted, mut longest, mut failed) = (Vec::new(), None, None);
        for (cap, taken) in caps.iter().zip(taken) {
            match taken {
                Ok(CapOutcome::Counted) => counted.push(*cap),
                Ok(CapOutcome::Reached { until }) => {
                    let limit = match cap.counter {
                        UsageCounter::Client(_) => Limit::Client,
                        UsageCounter::Stack => Limit::Stack,
                    };
                    longest = longest.max(Some((until, limit)));
                }
                Err(error) => failed = Some(error),
            }
        }
        let refusal = match (failed, longest) {
            (Some(error), _) => error.into(),
            (None, Some((until, limit))) => {
                metrics::refused(limit);
                RequestError::Limited { until }
            }
            (None, None) => return Ok(()),
        };
        self.release(&counted, message).await;
        Err(refusal)
    }

    /// Takes back what was counted under `caps`.
    async fn release(&self, caps: &[Cap<'_>], message: &Message) {
        let parts = message.sms.parts();
        let released = caps
            .iter()
            .map(|cap| self.state.verifications.release(*cap, parts, self.now));
        for released in join_all(released).await {
            if let Err(error) = released {
                tracing::warn!(%error, "failed to release a cap; it counts one too many");
            }
        }
    }

    async fn publish(&self, message: &Message) -> Published {
        if self.is_test {
            tracing::info!(test_number = true, "no message is sent to a test number");
            return Published::Taken("test".to_owned());
        }
        let max_price = self.client.profile.max_price.as_deref();
        let from = &self.template.from;
        let published = self
            .state
            .messages
            .publish(&message.sms, &self.to, from, max_price);
        let published = timed(Step::Publish, published).await;
        if let Published::Taken(_) | Published::Unknown(_) = published {
            metrics::sent(message.sms.parts());
        }
        published
    }

    /// Marks the send and counts it. A code that is only stored validates like one that is marked: the
    /// answer stands whatever becomes of this.
    async fn mark(&self, message: &Message, message_id: &str) {
        let marked = self
            .state
            .verifications
            .mark_sent(self.id, message.seed, message_id);
        let (marked, ()) = tokio::join!(timed(Step::Mark, marked), self.count(message));
        if let Err(error) = marked {
            tracing::warn!(%error, "failed to mark a send as sent");
        }
    }

    async fn count(&self, message: &Message) {
        if self.is_test {
            return;
        }
        let (client, parts) = (&self.client.id, message.sms.parts());
        let is_capped = self.client.profile.limits.per_day.is_some();
        let counted = self
            .state
            .verifications
            .count(client, self.id, parts, is_capped, self.now);
        if let Err(error) = counted.await {
            tracing::warn!(%error, "failed to count a send");
        }
    }

    /// Undoes the begin. What was taken over is never undone: the call before may have sent it.
    ///
    /// # Errors
    /// When it is not undone: the code may be alive.
    async fn undo(&self, beginning: &Beginning, may_land: bool) -> Result<(), RequestError> {
        if beginning.takes_over {
            return Err(self.unknown(None).await);
        }
        let over = beginning.over.as_ref();
        let undone = self
            .state
            .verifications
            .undo(self.verification(), over, may_land);
        match timed(Step::Undo, undone).await {
            Ok(Undone::Undone) => Ok(()),
            Ok(Undone::TakenOver) => Err(self.unknown(None).await),
            Err(error) => {
                tracing::error!(%error, "failed to undo a begin; its charge and its code stay");
                Err(error.into())
            }
        }
    }

    /// The message service may have taken the message: when the next may be sent.
    async fn unknown(&self, source: Option<AwsError>) -> RequestError {
        let limits = &self.client.profile.limits;
        let until = match self
            .state
            .verifications
            .read_recipient(self.recipient)
            .await
        {
            Ok(recipient) => recipient.windows_until(limits, self.now),
            Err(_) => None,
        };
        RequestError::Unknown {
            id: self.id,
            until: until.unwrap_or_else(|| self.now.plus(SOON)),
            source,
        }
    }
}
