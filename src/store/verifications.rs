//! The verifications: one item for each code on its way, gone a day after the code.
//!
//! `{ id, client, recipient, state, code#<digest>: "verified", attempts, max_attempts, expires_at, ttl }`
//! and, for a request that may be repeated, `{ at, body, seed, owner, receipts, lease_until }`.
//!
//! The code's digest is the *name* of an attribute, so that one conditional write counts a guess,
//! compares it and consumes the code: `if_not_exists(<digest of the guess>, state)` is `"verified"`
//! for the right code and the old state for any other. DynamoDB orders the writes of an item, so no
//! interleaving of callers compares more than `max_attempts` guesses or succeeds twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use data_encoding::BASE64URL_NOPAD;

use crate::aws::{self, AwsError};
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::entropy::{self, EntropyError};
use crate::secret::{Digest, GuessDigests, Seed};
use crate::verification::RequestId;

use super::receipt::Receipt;
use super::value::{integer, number, refused, text};

/// How long an item is kept past its code's end: the wire contract's memory of a repeated call.
const KEPT_PAST_EXPIRY: Duration = Duration::from_hours(24);

/// The code is stored; whether the message service took the message is not known yet.
const STORED: &str = "stored";
/// The message service took the message.
const SENT: &str = "sent";
/// The message was not sent, for a passing reason: the code is dead until the same request comes
/// again.
const PAUSED: &str = "paused";
/// The request was rejected, for the reason in `reason`: there is no code, or it is dead.
const REJECTED: &str = "rejected";
/// The right code came back.
const VERIFIED: &str = "verified";

/// The condition that a name is free: an item whose time is past is as good as none.
const FREE: &str = "attribute_not_exists(id) OR #ttl <= :now";

/// The verifications table.
#[derive(Clone, Debug)]
pub struct Verifications {
    dynamodb: aws_sdk_dynamodb::Client,
    /// For guesses.
    patient: aws_sdk_dynamodb::Client,
    table: Arc<str>,
}

/// A code that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewVerification<'a> {
    /// The name of the request.
    pub id: RequestId,
    /// Who asked.
    pub client: &'a ClientId,
    /// Who gets the code; none for a test number, whose failures are not counted.
    pub recipient: Option<Digest>,
    /// What is kept of the code.
    pub code: Digest,
    /// How many guesses are allowed.
    pub max_attempts: u8,
    /// The first moment at which the code is dead.
    pub expires_at: Timestamp,
    /// When the request was made.
    pub at: Timestamp,
    /// What lets the request be repeated, if it may be.
    pub claim: Option<Claim<'a>>,
}

/// What lets a request be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The digest of its body.
    pub body: Digest,
    /// What the code was made from.
    pub seed: Seed,
    /// The call that works on it.
    pub owner: &'a Attempt,
    /// What the call knows its charges by.
    pub receipt: &'a Receipt,
    /// Until when no other call may take it over.
    pub lease_until: Timestamp,
}

/// What a call meets that wants to store a verification.
#[derive(Clone, Debug)]
pub enum Stored {
    /// Nothing: it is stored.
    New,
    /// The item of an earlier call with the same `Idempotency-Key`.
    Met(Earlier),
}

/// An earlier call with the same `Idempotency-Key`, as it left its item.
#[derive(Clone, Debug)]
pub struct Earlier(HashMap<String, AttributeValue>);

/// How far an earlier call has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The message service took the message.
    Accepted,
    /// It was rejected, for the reason of that name.
    Rejected(String),
    /// It has stored its code, and works on or has died.
    Stored,
    /// It gave up for a passing reason, and gave back what it had taken.
    Paused,
}

impl Earlier {
    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match self.text("state") {
            SENT | VERIFIED => Progress::Accepted,
            REJECTED => Progress::Rejected(self.text("reason").to_owned()),
            PAUSED => Progress::Paused,
            _ => Progress::Stored,
        }
    }

    /// Whether it had this body.
    #[must_use]
    pub fn has_body(&self, body: Digest) -> bool {
        self.text("body") == body.encode()
    }

    /// Until when no other call may take it over.
    #[must_use]
    pub fn lease_until(&self) -> Timestamp {
        self.moment("lease_until")
    }

    /// The first moment at which its code is dead.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.moment("expires_at")
    }

    /// When it was made.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.moment("at")
    }

    /// What its code was made from.
    #[must_use]
    pub fn seed(&self) -> Option<Seed> {
        Seed::decode(self.text("seed"))
    }

    /// What it knows the charges by that it may have taken; one that gave up has given all back.
    #[must_use]
    pub fn receipts(&self) -> Vec<Receipt> {
        if self.progress() != Progress::Stored {
            return Vec::new();
        }
        let written = self.0.get("receipts").and_then(|value| value.as_l().ok());
        let texts = written
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_s().ok());
        texts.filter_map(|one| Receipt::read(one)).collect()
    }

    /// Whether its code has this digest.
    #[must_use]
    pub fn has_code(&self, code: Digest) -> bool {
        self.0.contains_key(&code_attribute(code))
    }

    fn text(&self, name: &str) -> &str {
        let attribute = self.0.get(name).and_then(|value| value.as_s().ok());
        attribute.map(String::as_str).unwrap_or_default()
    }

    fn moment(&self, name: &str) -> Timestamp {
        Timestamp::from_millis(integer(self.0.get(name)).unwrap_or_default())
    }
}

fn receipts<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> AttributeValue {
    let receipts = receipts.into_iter().map(|one| text(one.as_str()));
    AttributeValue::L(receipts.collect())
}

/// The name of one call of validate, by which it knows its own write again.
#[derive(Clone, Debug)]
pub struct Attempt(String);

impl Attempt {
    /// A name that no other call has: 128 random bits.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        Ok(Self(BASE64URL_NOPAD.encode(&entropy::bytes::<16>()?)))
    }

    /// The name itself.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a call that may be repeated under the same one.
    #[must_use]
    pub fn named(digest: Digest) -> Self {
        Self(digest.encode()[..22].to_owned())
    }

    fn attribute(&self) -> String {
        format!("try#{}", self.0)
    }
}

/// What the table says of a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The right code, for the first time.
    Verified {
        /// The recipient whose failures are to be forgotten, if there may be any.
        failed: Option<String>,
    },
    /// A wrong code; it is counted.
    NotMatched {
        /// The recipient whose failure it is, unless it is a test number's.
        recipient: Option<String>,
    },
    /// No such code, or not any more; nothing is counted.
    NotFound,
}

impl Verifications {
    /// The verifications in `table`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            patient: aws::patient(&dynamodb),
            dynamodb,
            table: table.into(),
        }
    }

    /// Stores a code that is about to be sent: one write.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn store(&self, new: NewVerification<'_>) -> Result<Stored, AwsError> {
        let put = self.put_new(new).condition_expression(FREE);
        stored(put.send().await, new.code)
    }

    /// Stores a fresh code over that of an earlier call, whose own is dead: one write, if no other
    /// call was faster.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn store_over(
        &self,
        earlier: &Earlier,
        new: NewVerification<'_>,
    ) -> Result<Stored, AwsError> {
        let put = self
            .put_new(new)
            .condition_expression("(#state = :state AND lease_until = :lease) OR #ttl <= :now")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", text(earlier.text("state")))
            .expression_attribute_values(":lease", number(earlier.lease_until().as_millis()));
        stored(put.send().await, new.code)
    }

    /// The whole item of a new code, to be put under a condition.
    fn put_new(&self, new: NewVerification<'_>) -> PutItemFluentBuilder {
        let mut put = self
            .put_item(new.id, new.client, new.at)
            .item("state", text(STORED))
            .item(code_attribute(new.code), text(VERIFIED))
            .item("attempts", number(0))
            .item("max_attempts", number(new.max_attempts))
            .item("expires_at", number(new.expires_at.as_millis()))
            .item("ttl", number(collected_at(new.expires_at)));
        if let Some(recipient) = new.recipient {
            put = put.item("recipient", text(recipient.encode()));
        }
        if let Some(claim) = new.claim {
            put = put
                .item("at", number(new.at.as_millis()))
                .item("body", text(claim.body.encode()))
                .item("seed", text(claim.seed.encode()))
                .item("owner", text(claim.owner.as_str()))
                .item("receipts", receipts([claim.receipt]))
                .item("lease_until", number(claim.lease_until.as_millis()));
        }
        put
    }

    /// Remembers that the request of an `Idempotency-Key` was rejected: one write.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn store_rejection(
        &self,
        id: RequestId,
        client: &ClientId,
        body: Digest,
        reason: &str,
        now: Timestamp,
    ) -> Result<Stored, AwsError> {
        let written = self
            .put_item(id, client, now)
            .condition_expression(FREE)
            .item("state", text(REJECTED))
            .item("reason", text(reason))
            .item("body", text(body.encode()))
            .item("ttl", number(collected_at(now)))
            .send()
            .await;
        Ok(met(written)?.map_or(Stored::New, |item| Stored::Met(Earlier(item))))
    }

    fn put_item(&self, id: RequestId, client: &ClientId, now: Timestamp) -> PutItemFluentBuilder {
        self.dynamodb
            .put_item()
            .table_name(&*self.table)
            .item("id", text(id.to_string()))
            .item("client", text(client.as_str()))
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(now.as_millis().div_euclid(1000)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Takes over an earlier call that died or gave up, with its code: one write. `false`: another
    /// call was faster.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn resume(
        &self,
        id: RequestId,
        earlier: &Earlier,
        claim: Claim<'_>,
        at: Timestamp,
    ) -> Result<bool, AwsError> {
        let (owner, lease_until) = (claim.owner, claim.lease_until);
        let earlier_receipts = earlier.receipts();
        let all = earlier_receipts.iter().chain([claim.receipt]);
        let written = self
            .update(id)
            .update_expression(
                "SET #state = :stored, #owner = :owner, lease_until = :until, #at = :at, \
                 receipts = :receipts",
            )
            .condition_expression("#state = :state AND lease_until = :lease")
            .expression_attribute_names("#at", "at")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":stored", text(STORED))
            .expression_attribute_values(":owner", text(owner.as_str()))
            .expression_attribute_values(":until", number(lease_until.as_millis()))
            .expression_attribute_values(":at", number(at.as_millis()))
            .expression_attribute_values(":receipts", receipts(all))
            .expression_attribute_values(":state", text(earlier.text("state")))
            .expression_attribute_values(":lease", number(earlier.lease_until().as_millis()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            // The answer to a write that landed was lost, and the repeated write met it.
            Err(error) => Ok(refused(&error)?.get("owner") == Some(&text(owner.as_str()))),
        }
    }

    /// Notes that the message service took the message, and how many failures the recipient had:
    /// one write. A code that is verified already stays so.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn mark_sent(
        &self,
        id: RequestId,
        message_id: &str,
        failures: u32,
    ) -> Result<(), AwsError> {
        let update = self
            .update(id)
            .update_expression("SET #state = :sent, message_id = :message_id, failures = :failures")
            .expression_attribute_values(":sent", text(SENT))
            .expression_attribute_values(":message_id", text(message_id))
            .expression_attribute_values(":failures", number(failures));
        while_stored(update, None).await
    }

    /// Kills a code whose request is rejected, and forgets its digest: one write. Only the `owner` of
    /// a request that may be repeated does so: a call that took it over may have sent the same code.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn reject(
        &self,
        id: RequestId,
        code: Digest,
        owner: Option<&Attempt>,
        reason: &str,
    ) -> Result<(), AwsError> {
        let update = self
            .update(id)
            .update_expression("SET #state = :rejected, reason = :reason REMOVE #code")
            .expression_attribute_values(":rejected", text(REJECTED))
            .expression_attribute_values(":reason", text(reason));
        while_stored(update, Some((code, owner))).await
    }

    /// Kills a code whose message was not sent for a passing reason, if it is stored: one write. The
    /// same request may come again and revive it at once. As with [`Self::reject`], its `owner` does.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn pause(
        &self,
        id: RequestId,
        code: Digest,
        owner: Option<&Attempt>,
    ) -> Result<(), AwsError> {
        let update = self
            .update(id)
            .update_expression("SET #state = :paused")
            .expression_attribute_values(":paused", text(PAUSED));
        while_stored(update, Some((code, owner))).await
    }

    /// Counts, compares and consumes a guess: one write, whatever comes of it.
    ///
    /// A call that is sent again after its write has landed finds `attempt` in the item and gives
    /// the same answer; it counts nothing.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn guess(
        &self,
        id: RequestId,
        client: &ClientId,
        guess: GuessDigests,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<Verdict, AwsError> {
        let attempt = attempt.attribute();
        let written = self
            .update_by(&self.patient, id)
            .update_expression(
                "SET attempts = attempts + :one, #try = attempts + :one, #state = \
                 if_not_exists(#current, if_not_exists(#next, if_not_exists(#previous, #state)))",
            )
            .condition_expression(
                "#client = :client AND expires_at > :now AND attempts < max_attempts \
                 AND #state IN (:stored, :sent) AND attribute_not_exists(#try)",
            )
            .expression_attribute_names("#client", "client")
            .expression_attribute_names("#current", code_attribute(guess.current))
            .expression_attribute_names("#next", code_attribute(guess.next))
            .expression_attribute_names("#previous", code_attribute(guess.previous))
            .expression_attribute_names("#try", &attempt)
            .expression_attribute_values(":client", text(client.as_str()))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":sent", text(SENT))
            .expression_attribute_values(":stored", text(STORED))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written {
            Ok(new) => Ok(verdict(&new.attributes.unwrap_or_default(), &attempt)),
            Err(error) => Ok(verdict(&refused(&error)?, &attempt)),
        }
    }

    fn update(&self, id: RequestId) -> UpdateItemFluentBuilder {
        self.update_by(&self.dynamodb, id)
    }

    fn update_by(
        &self,
        dynamodb: &aws_sdk_dynamodb::Client,
        id: RequestId,
    ) -> UpdateItemFluentBuilder {
        dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(id.to_string()))
            .expression_attribute_names("#state", "state")
    }
}

/// Carries out `update` if the code is stored and nothing more is known of it; else nothing, as
/// when its own write has landed before. With a `code`, only if it is this one, and still its owner's
/// if it has one: never another's of the same name.
async fn while_stored(
    mut update: UpdateItemFluentBuilder,
    code: Option<(Digest, Option<&Attempt>)>,
) -> Result<(), AwsError> {
    let mut condition = String::from("#state = :stored");
    if let Some((code, owner)) = code {
        condition += " AND attribute_exists(#code)";
        update = update.expression_attribute_names("#code", code_attribute(code));
        if let Some(owner) = owner {
            condition += " AND #owner = :owner";
            update = update
                .expression_attribute_names("#owner", "owner")
                .expression_attribute_values(":owner", text(owner.as_str()));
        }
    }
    let written = update
        .condition_expression(condition)
        .expression_attribute_values(":stored", text(STORED))
        .send()
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) => refused(&error).map(drop),
    }
}

/// The answer to the guess that was counted as `attempt`, from the item as it is. Nothing is counted
/// after the right guess, so the winner's number is the number of guesses.
fn verdict(item: &HashMap<String, AttributeValue>, attempt: &str) -> Verdict {
    let attribute = |name: &str| item.get(name);
    let Some(counted_as) = attribute(attempt) else {
        return Verdict::NotFound;
    };
    let recipient = attribute("recipient")
        .and_then(|value| value.as_s().ok())
        .cloned();
    let verified = attribute("state") == Some(&text(VERIFIED));
    if !verified || attribute("attempts") != Some(counted_as) {
        return Verdict::NotMatched { recipient };
    }
    // Failures before the request, or not known because the code is not marked as sent yet, or at
    // this very code.
    let clean = attribute("failures") == Some(&number(0)) && counted_as == &number(1);
    Verdict::Verified {
        failed: recipient.filter(|_| !clean),
    }
}

/// When an item may be collected, in seconds since the Unix epoch.
fn collected_at(expires_at: Timestamp) -> i64 {
    expires_at.plus(KEPT_PAST_EXPIRY).as_secs_ceil()
}

/// What came of putting a new item with this code.
fn stored(
    written: Result<PutItemOutput, SdkError<PutItemError>>,
    code: Digest,
) -> Result<Stored, AwsError> {
    let met = met(written)?.map(Earlier);
    // The answer to a write that landed was lost, and the repeated write met it.
    Ok(met
        .filter(|earlier| !earlier.has_code(code))
        .map_or(Stored::New, Stored::Met))
}

/// The item that a conditional put met, if it was not written.
fn met(
    written: Result<PutItemOutput, SdkError<PutItemError>>,
) -> Result<Option<HashMap<String, AttributeValue>>, AwsError> {
    match written {
        Ok(_) => Ok(None),
        Err(error) => match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(met)) => {
                Ok(Some(met.item().cloned().unwrap_or_default()))
            }
            _ => Err(AwsError::new("PutItem", &error)),
        },
    }
}

fn code_attribute(digest: Digest) -> String {
    format!("code#{}", digest.encode())
}
