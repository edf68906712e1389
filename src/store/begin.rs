//! The life of a send in the tables: it begins, is marked as sent, undone, or taken over.
//!
//! A verification is one item, gone a day after its code:
//!
//! `{ id, client, recipient, state, code#<digest>: "verified", attempts, max_attempts, expires_at, ttl, began_at,
//! seed, code_length, failures, sends: { first: { channel, state, at, parts, call_id, lease_until,
//! message_id } } }` and, of a request with an `Idempotency-Key`, `{ body, parameters }`.
//!
//! | `state` | |
//! |---|---|
//! | `open` | until it is verified, void, out of guesses or past its end |
//! | `verified` | the right code came back |
//! | `void` | nothing was sent, and nothing is charged |
//!
//! | a send's `state` | |
//! |---|---|
//! | `stored` | it is charged; whether the message service took the message is not known |
//! | `sent` | the message service took it |
//! | `unsent` | it was undone |
//!
//! **If a verification is there and not void, its send is charged; else nothing is.** Begin and undo are
//! transactions, so nobody has to remember what was taken. Whether an item is a call's own is told by
//! the call id in it and by nothing else.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::{PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{
    AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use crate::aws::UNDO_TIMEOUT;
use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::digest::Digest;
use crate::domain::ids::{ClientId, RequestId};
use crate::domain::key_set::CodeSeed;

use super::recipients::{Charge, RecipientState};
use super::transaction::{Call, Cancelled, OPERATION};
use super::value::{Item, integer, is_written, number, text};
use super::{Verifications, code_attribute};

/// The time for which an item is remembered past its code's end: the wire contract's memory of a repeated call.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The time for which it is kept beyond that. A begin that lands after its undo must meet what the undo met, so nothing
/// may be removed that is not forgotten already.
const KEPT_LONGER: Duration = Duration::from_mins(1);

/// The most tries of a begin whose recipient others change at the same time.
const TRIES: usize = 4;

/// After how long a caller may ask again whose recipient others keep changing.
const CROWDED: Duration = Duration::from_secs(1);

pub(super) const OPEN: &str = "open";
pub(super) const VERIFIED: &str = "verified";
const VOID: &str = "void";

const STORED: &str = "stored";
const SENT: &str = "sent";
const UNSENT: &str = "unsent";

/// The one channel.
const SMS: &str = "sms";

/// The id of a verification's first send.
const FIRST: &str = "first";

/// A verification that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct NewVerification<'a> {
    /// The request's id.
    pub id: RequestId,
    /// The client that asked.
    pub client: &'a ClientId,
    /// The code's digest.
    pub code: Digest,
    /// The seed that the code is made from.
    pub seed: CodeSeed,
    /// The number of digits of the code.
    pub code_length: u8,
    /// The number of guesses.
    pub max_attempts: u8,
    /// The moment of the call.
    pub now: Timestamp,
    /// The first moment at which the code has expired.
    pub expires_at: Timestamp,
    /// The call that sends it.
    pub call: &'a Call,
    /// Until when no other call may take it over.
    pub lease_until: Timestamp,
    /// The charge; a test number has none.
    pub charge: Option<Charge<'a>>,
    /// The facts that a repeated request is compared with.
    pub keyed: Option<Keyed<'a>>,
}

/// The facts that a repeated request is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Keyed<'a> {
    /// The digest of what the body means.
    pub body: Digest,
    /// The names of the parameters that are in it.
    pub parameters: &'a [&'a str],
}

/// The outcome of a begin.
#[derive(Debug)]
pub enum Begun {
    /// The verification is stored and its send charged.
    Begun,
    /// An earlier call with the same `Idempotency-Key` has stored one; nothing is charged.
    Met(Met),
    /// The recipient's windows or failures refuse it until that moment; nothing is charged.
    Limited {
        /// The first moment at which they may not.
        until: Timestamp,
    },
    /// The balance does not pay for it; nothing is charged.
    OutOfBalance,
}

impl Begun {
    /// The outcome where a verification was met: it may be the call's own write.
    fn meeting(item: Item, call: &Call) -> Self {
        let met = Met(item);
        if met.is_stored_by(call) {
            Self::Begun
        } else {
            Self::Met(met)
        }
    }
}

/// The outcome of an undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// Nothing of this call is charged, and no code of it is alive.
    Undone,
    /// Another call goes on with it.
    TakenOver,
}

/// A stored verification, as an earlier call with the same `Idempotency-Key` left it.
#[derive(Clone, Debug)]
pub struct Met(Item);

/// The progress of an earlier call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The message service took the message, or the right code came back.
    Accepted,
    /// Its send is charged; it works on or has died.
    Stored,
    /// The same, and all guesses were made.
    Spent,
    /// It was undone: nothing of it is charged or alive, but its body is remembered.
    Undone,
}

impl Met {
    /// The progress of the call.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let spent = self.integer("attempts") >= self.integer("max_attempts");
        match (self.text("state"), self.send_text("state")) {
            (VERIFIED, _) | (_, SENT) => Progress::Accepted,
            (OPEN, STORED) if spent => Progress::Spent,
            (OPEN, STORED) => Progress::Stored,
            _ => Progress::Undone,
        }
    }

    /// Whether its time is past, so that the name is free.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.integer("ttl") <= forgotten_by(now)
    }

    /// The digest of what its body means.
    #[must_use]
    pub fn body(&self) -> &str {
        self.text("body")
    }

    /// The names of the parameters that are in it.
    #[must_use]
    pub fn parameters(&self) -> Vec<&str> {
        let names = self.0.get("parameters").and_then(|names| names.as_l().ok());
        let names = names.into_iter().flatten();
        names
            .filter_map(|name| name.as_s().ok())
            .map(String::as_str)
            .collect()
    }

    /// The moment at which the call that has it began.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        Timestamp::from_millis(integer(self.send().get("at")).unwrap_or_default())
    }

    /// Until when no other call may take it over.
    #[must_use]
    pub fn lease_until(&self) -> Timestamp {
        Timestamp::from_millis(integer(self.send().get("lease_until")).unwrap_or_default())
    }

    /// The moment at which the verification began.
    #[must_use]
    pub fn began_at(&self) -> Timestamp {
        Timestamp::from_millis(self.integer("began_at"))
    }

    /// The first moment at which its code has expired.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_millis(self.integer("expires_at"))
    }

    /// The seed of its code.
    #[must_use]
    pub fn seed(&self) -> Option<CodeSeed> {
        CodeSeed::decode(self.text("seed"))
    }

    /// The number of digits of its code.
    #[must_use]
    pub fn code_length(&self) -> u8 {
        integer(self.0.get("code_length")).unwrap_or_default()
    }

    /// Whether its code has this digest.
    #[must_use]
    pub fn has_code(&self, code: Digest) -> bool {
        self.0.contains_key(&code_attribute(code))
    }

    /// Whether `call` is the one that has it.
    fn is_of(&self, call: &Call) -> bool {
        self.send_text("call_id") == call.id().as_str()
    }

    fn is_stored_by(&self, call: &Call) -> bool {
        self.is_of(call) && self.send_text("state") == STORED
    }

    fn send(&self) -> &Item {
        static NONE: std::sync::LazyLock<Item> = std::sync::LazyLock::new(HashMap::new);
        let sends = self.0.get("sends").and_then(|sends| sends.as_m().ok());
        let first = sends.and_then(|sends| sends.get(FIRST)?.as_m().ok());
        first.unwrap_or(&NONE)
    }

    fn send_text(&self, name: &str) -> &str {
        let attribute = self.send().get(name).and_then(|value| value.as_s().ok());
        attribute.map(String::as_str).unwrap_or_default()
    }

    fn text(&self, name: &str) -> &str {
        let attribute = self.0.get(name).and_then(|value| value.as_s().ok());
        attribute.map(String::as_str).unwrap_or_default()
    }

    fn integer(&self, name: &str) -> i64 {
        integer(self.0.get(name)).unwrap_or_default()
    }
}

impl Verifications {
    /// Begins a verification: its item, the entry in the recipient's windows and the payment from a
    /// balance are written together or not at all. Two write units for each of them; twice where the
    /// recipient has failures, a lock that is over, or a long list.
    ///
    /// An earlier call's item is begun over if it is still as it was `met`.
    ///
    /// # Errors
    /// When its outcome is not known, if the call is in doubt; else nothing is written.
    pub async fn begin(
        &self,
        new: NewVerification<'_>,
        over: Option<&Met>,
    ) -> Result<Begun, AwsError> {
        let mut known: Option<RecipientState> = None;
        for _ in 0..TRIES {
            let admitted = new.charge.map_or(0, |charge| charge.admitted);
            let to_forget = |known: &RecipientState| (1..=admitted).contains(&known.failures);
            let has_failures = known.as_ref().is_some_and(to_forget);
            let mut items = vec![put(self.verification(new, has_failures), over, new.now)?];
            if let Some(charge) = &new.charge {
                items.push(update(self.entry(charge, new.now, known.as_ref()))?);
                if charge.prepaid {
                    items.push(update(self.payment(new.client, charge.parts))?);
                }
            }
            let Some(Cancelled { index, met }) = self.transact(new.call, items).await? else {
                return Ok(Begun::Begun);
            };
            match (index, new.charge, met) {
                (0, _, Some(item)) => return Ok(Begun::meeting(item, new.call)),
                (1, Some(charge), Some(recipient)) => {
                    let recipient = RecipientState::read(&recipient);
                    let until =
                        recipient.refused_until(charge.limits, Some(charge.admitted), new.now);
                    if let Some(until) = until {
                        return Ok(Begun::Limited { until });
                    }
                    // Refused for its failures, for its list, or because it has changed since.
                    known = Some(recipient);
                }
                (2, _, _) => return Ok(Begun::OutOfBalance),
                _ => return Err(AwsError::incomplete(OPERATION)),
            }
        }
        let until = new.now.plus(CROWDED);
        Ok(Begun::Limited { until })
    }

    /// Takes over the send of a call that died, if it is still as it was `met`: its item and an entry in
    /// the recipient's windows are written together. Of `new` it gets the moment, the end, call and lease;
    /// code and seed stay, and nothing is paid again.
    ///
    /// # Errors
    /// When its outcome is not known.
    pub async fn take_over(&self, new: NewVerification<'_>, met: &Met) -> Result<Begun, AwsError> {
        let ttl = collected_at(new.expires_at).max(met.integer("ttl"));
        let send = self
            .send_update(new.id)
            .update_expression(
                "SET #sends.#send.call_id = :call, #sends.#send.#at = :at, \
                 #sends.#send.lease_until = :lease, expires_at = :expires_at, #ttl = :ttl",
            )
            .condition_expression(
                "#state = :open AND attempts < max_attempts AND #sends.#send.#state = :stored \
                 AND #sends.#send.call_id = :met",
            )
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":call", text(new.call.id().as_str()))
            .expression_attribute_values(":at", number(new.now.as_millis()))
            .expression_attribute_values(":lease", number(new.lease_until.as_millis()))
            .expression_attribute_values(":expires_at", number(new.expires_at.as_millis()))
            .expression_attribute_values(":ttl", number(ttl))
            .expression_attribute_values(":open", text(OPEN))
            .expression_attribute_values(":stored", text(STORED))
            .expression_attribute_values(":met", text(met.send_text("call_id")));
        let mut items = vec![update(send)?];
        if let Some(charge) = &new.charge {
            items.push(update(self.entry_again(charge, new.now))?);
        }
        let Some(Cancelled { index, met }) = self.transact(new.call, items).await? else {
            return Ok(Begun::Begun);
        };
        match (index, new.charge, met) {
            (0, _, Some(item)) => Ok(Begun::meeting(item, new.call)),
            (1, Some(charge), Some(recipient)) => {
                let recipient = RecipientState::read(&recipient);
                let until = recipient.windows_until(charge.limits, new.now);
                let until = until.unwrap_or_else(|| new.now.plus(CROWDED));
                Ok(Begun::Limited { until })
            }
            _ => Err(AwsError::incomplete(OPERATION)),
        }
    }

    /// Notes that the message service took the message with the code of this seed: one write, whoever has
    /// the lease. Codes are no names: two of one id may be equal.
    ///
    /// # Errors
    /// When DynamoDB does not answer; the code is alive all the same.
    pub async fn mark_sent(
        &self,
        id: RequestId,
        seed: CodeSeed,
        message_id: &str,
    ) -> Result<(), AwsError> {
        let mark = self
            .update(&self.for_guesses, &id.to_string())
            .update_expression(
                "SET #sends.#send.#state = :sent, #sends.#send.message_id = :message_id",
            )
            .condition_expression("#sends.#send.#state = :stored AND seed = :seed")
            .expression_attribute_names("#sends", "sends")
            .expression_attribute_names("#send", FIRST)
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":seed", text(seed.encode()))
            .expression_attribute_values(":sent", text(SENT))
            .expression_attribute_values(":stored", text(STORED))
            .expression_attribute_values(":message_id", text(message_id));
        is_written(mark).await.map(drop)
    }

    /// Undoes a begin: its verification is void, its entry is out of the windows, its payment is back,
    /// all together. A begin that `may_land` yet meets a void verification under its own condition.
    ///
    /// # Errors
    /// When DynamoDB does not answer: the charge may stay.
    pub async fn undo(
        &self,
        new: NewVerification<'_>,
        over: Option<&Met>,
        may_land: bool,
    ) -> Result<Undone, AwsError> {
        let undone = self.within(UNDO_TIMEOUT, self.try_undo(new, over, may_land));
        let undone = undone.await;
        undone.unwrap_or_else(|| Err(AwsError::timed_out(OPERATION)))
    }

    async fn try_undo(
        &self,
        new: NewVerification<'_>,
        over: Option<&Met>,
        may_land: bool,
    ) -> Result<Undone, AwsError> {
        let (mut is_open, mut entry) = (true, Some(0));
        loop {
            let mut items = vec![update(self.voiding(new, is_open))?];
            if let Some(charge) = &new.charge {
                if charge.prepaid {
                    items.push(update(self.repayment(new.client, charge.parts))?);
                }
                if let Some(index) = entry {
                    items.push(update(self.entry_removal(
                        charge.recipient,
                        new.now,
                        index,
                    ))?);
                }
            }
            let Some(Cancelled { index, met }) = self.transact(new.call, items).await? else {
                return Ok(Undone::Undone);
            };
            if index > 0 {
                // Others were sent in front of it meanwhile; an operator may have removed it.
                let sends = met.map(|met| RecipientState::read(&met).sends);
                entry = sends.and_then(|sends| sends.iter().position(|at| *at == new.now));
                continue;
            }
            match met.map(Met) {
                Some(met) if met.is_stored_by(new.call) => is_open = false,
                Some(met) if met.is_of(new.call) && met.send_text("state") == UNSENT => {
                    return Ok(Undone::Undone);
                }
                // Whoever takes a call over keeps its seed.
                Some(met) if met.seed() == Some(new.seed) => return Ok(Undone::TakenOver),
                _ if may_land => {
                    let void = put(self.void(new), over, new.now)?;
                    let met = self.transact(new.call, vec![void]).await?;
                    let met = met.and_then(|cancelled| cancelled.met).map(Met);
                    // Else somebody else's is there, which the begin's condition does not hold for.
                    if !met.is_some_and(|met| met.is_stored_by(new.call)) {
                        return Ok(Undone::Undone);
                    }
                }
                _ => return Ok(Undone::TakenOver),
            }
        }
    }

    /// Reads the verification of an earlier call with the same `Idempotency-Key`: one strongly consistent read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn earlier(&self, id: RequestId, now: Timestamp) -> Result<Option<Met>, AwsError> {
        let met = self.read(&id.to_string()).await?.map(Met);
        Ok(met.filter(|met| !met.is_forgotten(now)))
    }

    /// The whole item of a verification that begins.
    fn verification(&self, new: NewVerification<'_>, has_failures: bool) -> PutBuilder {
        let parts = new.charge.map_or(0, |charge| charge.parts);
        let send = HashMap::from([
            ("channel".to_owned(), text(SMS)),
            ("state".to_owned(), text(STORED)),
            ("at".to_owned(), number(new.now.as_millis())),
            (
                "parts".to_owned(),
                number(i64::try_from(parts).unwrap_or(i64::MAX)),
            ),
            ("call_id".to_owned(), text(new.call.id().as_str())),
            (
                "lease_until".to_owned(),
                number(new.lease_until.as_millis()),
            ),
        ]);
        let mut put = self
            .item(new, send)
            .item("state", text(OPEN))
            .item(code_attribute(new.code), text(VERIFIED))
            .item("attempts", number(0))
            .item("max_attempts", number(new.max_attempts))
            .item("began_at", number(new.now.as_millis()))
            .item("expires_at", number(new.expires_at.as_millis()))
            .item("seed", text(new.seed.encode()))
            .item("code_length", number(new.code_length));
        if let Some(charge) = new.charge {
            put = put.item("recipient", text(charge.recipient.encode()));
        }
        if has_failures {
            put = put.item("failures", AttributeValue::Bool(true));
        }
        put
    }

    /// The item that a begin of this call must not be written over.
    fn void(&self, new: NewVerification<'_>) -> PutBuilder {
        let send = HashMap::from([
            ("state".to_owned(), text(UNSENT)),
            ("call_id".to_owned(), text(new.call.id().as_str())),
        ]);
        self.item(new, send).item("state", text(VOID))
    }

    fn item(&self, new: NewVerification<'_>, send: Item) -> PutBuilder {
        let sends = HashMap::from([(FIRST.to_owned(), AttributeValue::M(send))]);
        let put = Put::builder()
            .table_name(&*self.table)
            .item("id", text(new.id.to_string()))
            .item("client", text(new.client.as_str()))
            .item("ttl", number(collected_at(new.expires_at)))
            .item("sends", AttributeValue::M(sends));
        let Some(keyed) = new.keyed else { return put };
        let names = keyed.parameters.iter().map(|name| text(*name)).collect();
        put.item("body", text(keyed.body.encode()))
            .item("parameters", AttributeValue::L(names))
    }

    /// The update by which the send of a call is unsent, and its verification void if it `is_open`. A
    /// verified one stays so.
    fn voiding(&self, new: NewVerification<'_>, is_open: bool) -> UpdateBuilder {
        let condition = "#sends.#send.#state = :stored AND #sends.#send.call_id = :call";
        let update = self
            .send_update(new.id)
            .expression_attribute_values(":unsent", text(UNSENT))
            .expression_attribute_values(":stored", text(STORED))
            .expression_attribute_values(":call", text(new.call.id().as_str()));
        if is_open {
            update
                .update_expression("SET #state = :void, #sends.#send.#state = :unsent REMOVE #code")
                .condition_expression(format!("#state = :open AND {condition}"))
                .expression_attribute_names("#code", code_attribute(new.code))
                .expression_attribute_values(":void", text(VOID))
                .expression_attribute_values(":open", text(OPEN))
        } else {
            update
                .update_expression("SET #sends.#send.#state = :unsent")
                .condition_expression(condition)
        }
    }

    fn send_update(&self, id: RequestId) -> UpdateBuilder {
        Update::builder()
            .table_name(&*self.table)
            .key("id", text(id.to_string()))
            .expression_attribute_names("#sends", "sends")
            .expression_attribute_names("#send", FIRST)
            .expression_attribute_names("#state", "state")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// The put of an item whose name is free: nothing is there, or what is past its time, or what a begin is
/// to be written `over`, as it was met.
fn put(
    item: PutBuilder,
    over: Option<&Met>,
    now: Timestamp,
) -> Result<TransactWriteItem, AwsError> {
    let mut condition = String::from("attribute_not_exists(id) OR #ttl <= :forgotten");
    let mut item = item
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":forgotten", number(forgotten_by(now)))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    if let Some(met) = over {
        condition += " OR (#state = :state AND #sends.#send.#state = :send_state \
                      AND #sends.#send.call_id = :met)";
        item = item
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#sends", "sends")
            .expression_attribute_names("#send", FIRST)
            .expression_attribute_values(":state", text(met.text("state")))
            .expression_attribute_values(":send_state", text(met.send_text("state")))
            .expression_attribute_values(":met", text(met.send_text("call_id")));
    }
    let put = item.condition_expression(condition).build();
    let put = put.map_err(|_| AwsError::malformed(OPERATION))?;
    Ok(TransactWriteItem::builder().put(put).build())
}

fn update(update: UpdateBuilder) -> Result<TransactWriteItem, AwsError> {
    let update = update.build();
    let update = update.map_err(|_| AwsError::malformed(OPERATION))?;
    Ok(TransactWriteItem::builder().update(update).build())
}

/// When an item may be collected, in seconds since the Unix epoch.
fn collected_at(expires_at: Timestamp) -> i64 {
    expires_at.plus(REMEMBERED).plus(KEPT_LONGER).as_secs_ceil()
}

/// The `ttl` at or below which an item is forgotten at `now`.
fn forgotten_by(now: Timestamp) -> i64 {
    now.plus(KEPT_LONGER).as_millis().div_euclid(1000)
}
