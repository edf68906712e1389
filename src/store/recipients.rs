//! What is remembered of a client's recipients: when they were sent to, and how often a guess failed.
//!
//! `{ id: "RECIPIENT#<digest>", sends: [newest, …], failures, failed_at, last_failure, ttl }` in the
//! verifications table. The digest is of client and number, so that nothing tells whose item it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::aws::AwsError;
use crate::client::{Limits, MAX_WINDOW_SENDS};
use crate::clock::Timestamp;
use crate::secret::Digest;
use crate::verification::RequestId;

use super::Attempt;
use super::value::{integer, number, refused, text};

/// How long a recipient is remembered after the last send: longer than any window or lock.
const KEPT: Duration = Duration::from_hours(30 * 24);

/// How often a changing list is followed before its entry is left to age out.
const FOLLOWED: usize = 8;

/// The recipients in the verifications table.
#[derive(Clone, Debug)]
pub struct Recipients {
    dynamodb: aws_sdk_dynamodb::Client,
    table: Arc<str>,
}

/// One send in a recipient's list: its moment, less a fraction of a millisecond that is the
/// request's own. So a repeated write knows itself, and two sends of one moment are two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMark(String);

impl SendMark {
    /// The mark of the request `id` that was made at `at`.
    #[must_use]
    pub fn new(at: Timestamp, id: RequestId) -> Self {
        const FRACTIONS: u64 = 100_000_000_000_000_000;
        let fraction = id.low_bits() % FRACTIONS;
        // The last digit is no zero: DynamoDB would leave it out, and the mark not know itself again.
        let last = id.low_bits() / FRACTIONS % 9 + 1;
        Self(format!("{}.{fraction:017}{last}", at.as_millis() - 1))
    }

    /// The moment of the send that is written as `number`.
    fn moment(number: &str) -> Option<Timestamp> {
        let (millis, _) = number.split_once('.').unwrap_or((number, ""));
        let before: i64 = millis.parse().ok()?;
        let whole = millis.len() == number.len();
        Some(Timestamp::from_millis(before + i64::from(!whole)))
    }
}

/// Whether a recipient may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes; the send is in the list.
    Admitted {
        /// The consecutive failures so far.
        failures: u32,
    },
    /// Not before that moment; nothing is written.
    Refused {
        /// The first moment at which it may be.
        until: Timestamp,
    },
}

/// What is known of a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientState {
    /// When it was sent to, newest first.
    pub sends: Vec<Timestamp>,
    /// How many guesses failed since the last right one.
    pub failures: u32,
    /// When the last one did.
    pub failed_at: Option<Timestamp>,
}

impl RecipientState {
    fn read(item: &HashMap<String, AttributeValue>) -> Self {
        let sends = item.get("sends").and_then(|sends| sends.as_l().ok());
        let moments = sends.into_iter().flatten().filter_map(|send| {
            let number = send.as_n().ok()?;
            SendMark::moment(number)
        });
        Self {
            sends: moments.collect(),
            failures: integer(item.get("failures")).unwrap_or_default(),
            failed_at: integer(item.get("failed_at")).map(Timestamp::from_millis),
        }
    }

    /// The first moment at which `limits` let the recipient be sent to, as far as they do not yet.
    /// A lock counts while `failures` pass `admitted`.
    #[must_use]
    pub fn refused_until(
        &self,
        limits: &Limits,
        admitted: Option<u32>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let windows = limits.windows.iter().filter_map(|window| {
            let last = self.sends.get(usize::from(window.sends) - 1)?;
            Some(last.plus(Duration::from_secs(window.seconds.into())))
        });
        let locked = admitted.is_none_or(|admitted| self.failures > admitted);
        let lock = locked.then(|| {
            let lock = Duration::from_secs(limits.lock_seconds.into());
            self.failed_at.unwrap_or(now).plus(lock)
        });
        windows.chain(lock).filter(|until| *until > now).max()
    }
}

impl Recipients {
    /// The recipients in `table`, the one of the verifications.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Puts a send into the recipient's list if every window and the failures allow it: one write.
    ///
    /// "At most n within s seconds" is: the n-th newest send is at least s seconds old. A second
    /// write is made when a lock has just run out or the list grows past what any window counts;
    /// both are rare.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn admit(
        &self,
        recipient: Digest,
        limits: &Limits,
        max_attempts: u8,
        mark: &SendMark,
        now: Timestamp,
    ) -> Result<Admission, AwsError> {
        let admitted = limits.failures_admitted(max_attempts);
        let mut update = self
            .update(recipient)
            .update_expression(
                "SET sends = list_append(:sends, if_not_exists(sends, :none)), #ttl = :ttl",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":mark", AttributeValue::N(mark.0.clone()))
            .expression_attribute_values(
                ":sends",
                AttributeValue::L(vec![AttributeValue::N(mark.0.clone())]),
            )
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":ttl", number(now.plus(KEPT).as_secs_ceil()))
            .expression_attribute_values(":admitted", number(admitted.map_or(-1, i64::from)))
            .return_values(ReturnValue::AllNew);
        let mut condition = String::from(
            "NOT contains(sends, :mark) \
             AND (attribute_not_exists(failures) OR failures <= :admitted)",
        );
        // With no number of failures admitted, a recipient without any must be refused too.
        if admitted.is_none() {
            condition += " AND attribute_exists(failures)";
        }
        for (number_of, window) in limits.windows.iter().enumerate() {
            let (nth, name) = (window.sends - 1, format!(":before{number_of}"));
            let clause =
                format!(" AND (attribute_not_exists(sends[{nth}]) OR sends[{nth}] <= {name})");
            condition += &clause;
            let before = now.as_millis() - i64::from(window.seconds) * 1000;
            update = update.expression_attribute_values(name, number(before));
        }
        let update = update.condition_expression(condition);
        let mut forgiven = false;
        loop {
            match update.clone().send().await {
                Ok(new) => {
                    let item = new.attributes.unwrap_or_default();
                    self.trim(recipient, &item).await;
                    let failures = RecipientState::read(&item).failures;
                    return Ok(Admission::Admitted { failures });
                }
                Err(error) => {
                    let old = refused(&error)?;
                    let state = RecipientState::read(&old);
                    if contains(&old, mark) {
                        return Ok(Admission::Admitted {
                            failures: state.failures,
                        });
                    }
                    match state.refused_until(limits, admitted, now) {
                        Some(until) => return Ok(Admission::Refused { until }),
                        // Only a lock that has run out is refused and yet not to be.
                        None if !forgiven => {
                            self.forgive(recipient, state.failed_at).await?;
                            forgiven = true;
                        }
                        // Another caller was faster; the list is full for now.
                        None => {
                            return Ok(Admission::Refused {
                                until: now.plus(Duration::from_secs(1)),
                            });
                        }
                    }
                }
            }
        }
    }

    /// Takes a send out of the list again, whose message was not sent.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn give_back(&self, recipient: Digest, mark: &SendMark) -> Result<(), AwsError> {
        let mut index = 0;
        // Sends that were put in front of it in the meantime have moved it.
        for _ in 0..FOLLOWED {
            let removed = self
                .update(recipient)
                .update_expression(format!("REMOVE sends[{index}]"))
                .condition_expression(format!("sends[{index}] = :mark"))
                .expression_attribute_values(":mark", AttributeValue::N(mark.0.clone()))
                .send()
                .await;
            let Err(error) = removed else { return Ok(()) };
            match position(&refused(&error)?, mark) {
                Some(moved) => index = moved,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Counts a wrong guess: one write. A write that is repeated at once counts once.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn count_failure(
        &self,
        recipient: &str,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let update = self
            .update_item(&item_id(recipient))
            .update_expression(
                "SET failures = if_not_exists(failures, :zero) + :one, failed_at = :now, \
                 last_failure = :attempt, #ttl = :ttl",
            )
            .condition_expression("attribute_not_exists(last_failure) OR last_failure <> :attempt")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":attempt", text(attempt.as_str()))
            .expression_attribute_values(":ttl", number(now.plus(KEPT).as_secs_ceil()));
        unless_refused(update).await
    }

    /// Forgets the failures, after a right guess: one write.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn reset_failures(&self, recipient: &str) -> Result<(), AwsError> {
        let update = self
            .update_item(&item_id(recipient))
            .update_expression("REMOVE failures, failed_at")
            .condition_expression("attribute_exists(failures)");
        unless_refused(update).await
    }

    /// Forgets the failures and the sends, on the operator's word.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn unlock(&self, recipient: Digest) -> Result<(), AwsError> {
        let update = self
            .update(recipient)
            .update_expression("REMOVE failures, failed_at, sends")
            .condition_expression("attribute_exists(id)");
        unless_refused(update).await
    }

    /// What is known of a recipient: one strongly consistent read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read(&self, recipient: Digest) -> Result<RecipientState, AwsError> {
        let answer = self
            .dynamodb
            .get_item()
            .table_name(&*self.table)
            .key("id", text(item_id(&recipient.encode())))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| AwsError::new("GetItem", &error))?;
        Ok(answer.item().map(RecipientState::read).unwrap_or_default())
    }

    /// Forgets the failures of a lock that has run out, unless another failed since.
    async fn forgive(
        &self,
        recipient: Digest,
        failed_at: Option<Timestamp>,
    ) -> Result<(), AwsError> {
        let seen = failed_at.map_or(0, Timestamp::as_millis);
        let update = self
            .update(recipient)
            .update_expression("REMOVE failures, failed_at")
            .condition_expression("failed_at = :seen")
            .expression_attribute_values(":seen", number(seen));
        unless_refused(update).await
    }

    /// Cuts off what no window counts any more, once the list is twice as long. What fails here is
    /// done at the next send.
    async fn trim(&self, recipient: Digest, item: &HashMap<String, AttributeValue>) {
        let counted = usize::from(MAX_WINDOW_SENDS);
        let length = item
            .get("sends")
            .and_then(|sends| sends.as_l().ok())
            .map_or(0, Vec::len);
        if length <= 2 * counted {
            return;
        }
        let old: Vec<_> = (counted..length)
            .map(|nth| format!("sends[{nth}]"))
            .collect();
        let update = self
            .update(recipient)
            .update_expression(format!("REMOVE {}", old.join(", ")))
            .condition_expression("attribute_exists(id)");
        if let Err(error) = unless_refused(update).await {
            tracing::warn!(%error, "a recipient's list could not be trimmed");
        }
    }

    fn update(&self, recipient: Digest) -> UpdateItemFluentBuilder {
        self.update_item(&item_id(&recipient.encode()))
    }

    fn update_item(&self, id: &str) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn item_id(recipient: &str) -> String {
    format!("RECIPIENT#{recipient}")
}

fn contains(item: &HashMap<String, AttributeValue>, mark: &SendMark) -> bool {
    position(item, mark).is_some()
}

fn position(item: &HashMap<String, AttributeValue>, mark: &SendMark) -> Option<usize> {
    let sends = item.get("sends")?.as_l().ok()?;
    sends
        .iter()
        .position(|send| send.as_n().is_ok_and(|number| *number == mark.0))
}

/// Carries out `update`; a failed condition is no error.
async fn unless_refused(update: UpdateItemFluentBuilder) -> Result<(), AwsError> {
    match update.send().await {
        Ok(_) => Ok(()),
        Err(error) => refused(&error).map(drop),
    }
}
