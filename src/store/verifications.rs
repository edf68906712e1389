//! The verifications: one item for each code on its way, gone a day after the code.
//!
//! `{ id, client, recipient, state, code#<digest>: "verified", attempts, max_attempts, expires_at, ttl }`
//!
//! The code's digest is the *name* of an attribute, so that one conditional write counts a guess,
//! compares it and consumes the code: `if_not_exists(<digest of the guess>, state)` is `"verified"`
//! for the right code and the old state for any other. DynamoDB orders the writes of an item, so no
//! interleaving of callers compares more than `max_attempts` guesses or succeeds twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use data_encoding::BASE64URL_NOPAD;

use crate::aws::AwsError;
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::entropy::{self, EntropyError};
use crate::secret::{Digest, GuessDigests};
use crate::verification::RequestId;

/// How long an item is kept past its code's end: the wire contract's memory of a repeated call.
const KEPT_PAST_EXPIRY: Duration = Duration::from_hours(24);

/// The code is stored; whether the message service took the message is not known yet.
const STORED: &str = "stored";
/// The message service took the message.
const SENT: &str = "sent";
/// The message service refused the message, or could not be asked: the code is dead.
const UNSENT: &str = "unsent";
/// The right code came back.
const VERIFIED: &str = "verified";

/// The verifications table.
#[derive(Clone, Debug)]
pub struct Verifications {
    dynamodb: aws_sdk_dynamodb::Client,
    table: Arc<str>,
}

/// A code that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewVerification<'a> {
    /// The name of the request.
    pub id: RequestId,
    /// Who asked.
    pub client: &'a ClientId,
    /// Who gets the code.
    pub recipient: Digest,
    /// What is kept of the code.
    pub code: Digest,
    /// How many guesses are allowed.
    pub max_attempts: u8,
    /// The first moment at which the code is dead.
    pub expires_at: Timestamp,
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

    fn attribute(&self) -> String {
        format!("try#{}", self.0)
    }
}

/// What the table says of a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The right code, for the first time.
    Verified,
    /// A wrong code; it is counted.
    NotMatched,
    /// No such code, or not any more; nothing is counted.
    NotFound,
}

impl Verifications {
    /// The verifications in `table`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Stores a code that is about to be sent: one write.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn store(&self, new: NewVerification<'_>) -> Result<(), AwsError> {
        let digest = code_attribute(new.code);
        let collect_at = new.expires_at.plus(KEPT_PAST_EXPIRY).as_secs_ceil();
        let written = self
            .dynamodb
            .put_item()
            .table_name(&*self.table)
            .item("id", text(new.id.to_string()))
            .item("client", text(new.client.as_str()))
            .item("recipient", text(new.recipient.encode()))
            .item("state", text(STORED))
            .item(&digest, text(VERIFIED))
            .item("attempts", number(0))
            .item("max_attempts", number(new.max_attempts))
            .item("expires_at", number(new.expires_at.as_millis()))
            .item("ttl", number(collect_at))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                // The answer to a write that landed was lost, and the repeated write met it.
                Some(PutItemError::ConditionalCheckFailedException(met))
                    if met.item().is_some_and(|item| item.contains_key(&digest)) =>
                {
                    Ok(())
                }
                _ => Err(AwsError::new("PutItem", &error)),
            },
        }
    }

    /// Notes that the message service took the message: one write. A code that is verified already
    /// stays so.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn mark_sent(&self, id: RequestId, message_id: &str) -> Result<(), AwsError> {
        let update = self
            .update(id)
            .update_expression("SET #state = :sent, message_id = :message_id")
            .expression_attribute_values(":sent", text(SENT))
            .expression_attribute_values(":message_id", text(message_id));
        while_stored(update).await
    }

    /// Kills a code whose message was not taken, and forgets its digest: one write.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn discard(&self, id: RequestId, code: Digest) -> Result<(), AwsError> {
        let update = self
            .update(id)
            .update_expression("SET #state = :unsent REMOVE #code")
            .expression_attribute_names("#code", code_attribute(code))
            .expression_attribute_values(":unsent", text(UNSENT));
        while_stored(update).await
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
            .update(id)
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
            Ok(new) => Ok(verdict(new.attributes(), &attempt)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(met)) => {
                    Ok(verdict(met.item(), &attempt))
                }
                _ => Err(AwsError::new("UpdateItem", &error)),
            },
        }
    }

    fn update(&self, id: RequestId) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(id.to_string()))
            .expression_attribute_names("#state", "state")
    }
}

/// Carries out `update` if the code is stored and nothing more is known of it; else nothing, as
/// when its own write has landed before.
async fn while_stored(update: UpdateItemFluentBuilder) -> Result<(), AwsError> {
    let written = update
        .condition_expression("#state = :stored")
        .expression_attribute_values(":stored", text(STORED))
        .send()
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
            _ => Err(AwsError::new("UpdateItem", &error)),
        },
    }
}

/// The answer to the guess that was counted as `attempt`, from the item as it is. Nothing is counted
/// after the right guess, so the winner's number is the number of guesses.
fn verdict(item: Option<&HashMap<String, AttributeValue>>, attempt: &str) -> Verdict {
    let attribute = |name: &str| item.and_then(|item| item.get(name));
    let Some(counted_as) = attribute(attempt) else {
        return Verdict::NotFound;
    };
    let verified = attribute("state") == Some(&text(VERIFIED));
    if verified && attribute("attempts") == Some(counted_as) {
        Verdict::Verified
    } else {
        Verdict::NotMatched
    }
}

fn code_attribute(digest: Digest) -> String {
    format!("code#{}", digest.encode())
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}
