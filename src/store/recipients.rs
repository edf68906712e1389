//! Recipients: when they were sent to, and which guesses at their codes failed.
//!
//! `{ id: "RECIPIENT#<digest>", sends: [newest, …], failed: {first 8 characters of a guess's call id, …},
//! failed_at, ttl }`. Sends are moments in milliseconds since the Unix epoch. The digest is of client and
//! number, so that nothing tells whose item it is.

use std::iter::once;
use std::time::Duration;

use aws_sdk_dynamodb::types::builders::UpdateBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, Update};

use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::digest::Digest;
use crate::domain::ids::CallId;
use crate::domain::limits::{Limits, MAX_LOCK_SECONDS, MAX_WINDOW_SENDS};

use super::Verifications;
use super::value::{Item, integer, is_written, number, text};

/// The time for which a recipient is remembered after the last send: as long as any window or lock. One whose lock
/// an operator must lift is remembered until then.
const KEPT: Duration = Duration::from_secs(MAX_LOCK_SECONDS as u64);

/// After how long to ask again for a recipient whose lock an operator must lift.
const A_DAY: Duration = Duration::from_hours(24);

/// The number of characters of a guess's call id that name it among a recipient's failures: 48 bits.
const NAME: usize = 8;

/// So many sends a list may have before it is cut to those that a window can count.
const LONGEST: usize = 2 * MAX_WINDOW_SENDS as usize;

/// The charge of a send.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// The recipient, whose windows it enters.
    pub recipient: Digest,
    /// The client's limits.
    pub limits: &'a Limits,
    /// The most failures that the recipient may have.
    pub admitted: u32,
    /// The number of SMS parts.
    pub parts: usize,
    /// Whether they are paid from a balance.
    pub prepaid: bool,
}

/// A recipient as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientState {
    /// The moments at which it was sent to, newest first.
    pub sends: Vec<Timestamp>,
    /// The number of failed guesses since the last right one.
    pub failures: u32,
    /// The moment of the last failure.
    pub failed_at: Option<Timestamp>,
}

impl RecipientState {
    pub(super) fn read(item: &Item) -> Self {
        let sends = item.get("sends").and_then(|sends| sends.as_l().ok());
        let moments = sends.into_iter().flatten();
        let moments = moments.filter_map(|send| integer(Some(send)).map(Timestamp::from_millis));
        let failed = item.get("failed").and_then(|failed| failed.as_ss().ok());
        let failures = failed.map_or(0, Vec::len);
        Self {
            sends: moments.collect(),
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            failed_at: integer(item.get("failed_at")).map(Timestamp::from_millis),
        }
    }

    /// The first moment at which the windows and the failures let the recipient be sent to, as far as
    /// they do not yet. A lock counts while `failures` pass `admitted`.
    #[must_use]
    pub fn refused_until(
        &self,
        limits: &Limits,
        admitted: Option<u32>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let locked = admitted.is_none_or(|admitted| self.failures > admitted);
        let lock = locked.then(|| match limits.lock() {
            Some(lock) => self.failed_at.unwrap_or(now).plus(lock),
            None => now.plus(A_DAY),
        });
        let windows = self.windows_until(limits, now);
        windows.into_iter().chain(lock).filter(|at| *at > now).max()
    }

    /// The first moment at which all windows let the recipient be sent to, as far as they do not yet.
    #[must_use]
    pub fn windows_until(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let windows = limits.windows.iter().filter_map(|window| {
            let last = self
                .sends
                .get(usize::from(window.sends).saturating_sub(1))?;
            Some(last.plus(Duration::from_secs(window.seconds.into())))
        });
        windows.filter(|until| *until > now).max()
    }
}

impl Verifications {
    /// The entry of a send in the recipient's list, if every window and the failures allow it.
    ///
    /// "At most n within s seconds" is: the n-th newest send is at least s seconds old. Until the
    /// recipient is `known`, it is taken to have a short list and no failures.
    pub(super) fn entry(
        &self,
        charge: &Charge<'_>,
        now: Timestamp,
        known: Option<&RecipientState>,
    ) -> UpdateBuilder {
        let update = self.recipient(charge.recipient);
        let is_long = known.filter(|known| known.sends.len() > LONGEST);
        let (mut expression, mut condition, mut update) = if let Some(known) = is_long {
            // Written anew, since one expression cannot add to a list and take from it.
            let kept = once(&now).chain(&known.sends);
            let kept = kept.take(MAX_WINDOW_SENDS.into());
            let kept = kept.map(|at| number(at.as_millis())).collect();
            let newest = known.sends.first().map_or(0, |at| at.as_millis());
            let size = i64::try_from(known.sends.len()).unwrap_or(i64::MAX);
            (
                "SET sends = :sends".to_owned(),
                "sends[0] = :newest AND size(sends) = :size".to_owned(),
                update
                    .expression_attribute_values(":sends", AttributeValue::L(kept))
                    .expression_attribute_values(":newest", number(newest))
                    .expression_attribute_values(":size", number(size)),
            )
        } else {
            (
                APPEND.to_owned(),
                format!("attribute_not_exists(sends[{LONGEST}])"),
                appended(update, now),
            )
        };
        // The lock of a recipient with failures may be one that nothing but an operator ends.
        let has_failures = known.is_some_and(|known| known.failures > 0);
        if charge.limits.lock().is_some() || !has_failures {
            expression += REMEMBERED;
            update = remembered(update, now);
        }
        match known {
            None => condition += " AND attribute_not_exists(failed)",
            Some(known) if known.failures > charge.admitted => {
                // Its lock is over, if locks end.
                expression += " REMOVE failed, failed_at";
                condition += " AND failed_at <= :unlocked";
                let never = Timestamp::from_millis(0);
                let unlocked = charge.limits.lock().map_or(never, |lock| now.minus(lock));
                update =
                    update.expression_attribute_values(":unlocked", number(unlocked.as_millis()));
            }
            Some(_) => {
                condition += " AND (attribute_not_exists(failed) OR size(failed) <= :admitted)";
                update = update.expression_attribute_values(":admitted", number(charge.admitted));
            }
        }
        let (windows, update) = windows(update, charge.limits, now);
        update
            .update_expression(expression)
            .condition_expression(condition + " AND " + &windows)
    }

    /// The entry of a send that was begun before, if every window allows it.
    pub(super) fn entry_again(&self, charge: &Charge<'_>, now: Timestamp) -> UpdateBuilder {
        let update = appended(self.recipient(charge.recipient), now);
        let (windows, update) = windows(update, charge.limits, now);
        let update = update.condition_expression(windows);
        if charge.limits.lock().is_some() {
            remembered(update, now).update_expression([APPEND, REMEMBERED].concat())
        } else {
            update.update_expression(APPEND)
        }
    }

    /// The removal of the entry of a send that was made at `at`, if it is the one at `index`. One of two
    /// entries of the same moment is as good as the other.
    pub(super) fn entry_removal(
        &self,
        recipient: Digest,
        at: Timestamp,
        index: usize,
    ) -> UpdateBuilder {
        self.recipient(recipient)
            .update_expression(format!("REMOVE sends[{index}]"))
            .condition_expression(format!("sends[{index}] = :at"))
            .expression_attribute_values(":at", number(at.as_millis()))
    }

    fn recipient(&self, recipient: Digest) -> UpdateBuilder {
        Update::builder()
            .table_name(&*self.table)
            .key("id", text(recipient_id(&recipient.encode())))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }

    /// Counts a wrong guess, by its call's id: one write. However often and in whatever order it is
    /// repeated, it counts once, and a repeat does not prolong a lock.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn count_failure(
        &self,
        recipient: &str,
        call: &CallId,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let name = &call.as_str()[..NAME];
        let ttl = match limits.lock() {
            Some(_) => ", #ttl = :ttl",
            None => " REMOVE #ttl",
        };
        let mut update = self
            .update(&self.for_guesses, &recipient_id(recipient))
            .update_expression(format!("ADD failed :names SET failed_at = :now{ttl}"))
            .condition_expression("NOT contains(failed, :name)")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":names", AttributeValue::Ss(vec![name.to_owned()]))
            .expression_attribute_values(":name", text(name))
            .expression_attribute_values(":now", number(now.as_millis()));
        if limits.lock().is_some() {
            update = update.expression_attribute_values(":ttl", collected_after(now));
        }
        is_written(update).await.map(drop)
    }

    /// Forgets the failures up to a moment, after a right guess: one write.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn forget_failures(&self, recipient: &str, until: Timestamp) -> Result<(), AwsError> {
        let update = self
            .update(&self.for_guesses, &recipient_id(recipient))
            .update_expression("SET #ttl = :ttl REMOVE failed, failed_at")
            .condition_expression("attribute_exists(failed) AND failed_at <= :until")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":ttl", collected_after(until))
            .expression_attribute_values(":until", number(until.as_millis()));
        is_written(update).await.map(drop)
    }

    /// A recipient as it is: one strongly consistent read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read_recipient(&self, recipient: Digest) -> Result<RecipientState, AwsError> {
        let item = self.read(&recipient_id(&recipient.encode())).await?;
        Ok(item.as_ref().map(RecipientState::read).unwrap_or_default())
    }
}

/// The forgetting of the failures and the sends of a recipient that is remembered.
pub(super) fn unlocking(table: &str, recipient: Digest, now: Timestamp) -> UpdateBuilder {
    let update = Update::builder()
        .table_name(table)
        .key("id", text(recipient_id(&recipient.encode())))
        .update_expression("SET #ttl = :ttl REMOVE failed, failed_at, sends")
        .condition_expression("attribute_exists(id)");
    remembered(update, now)
}

const APPEND: &str = "SET sends = list_append(:sent, if_not_exists(sends, :none))";

const REMEMBERED: &str = ", #ttl = :ttl";

fn remembered(update: UpdateBuilder, now: Timestamp) -> UpdateBuilder {
    update
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":ttl", collected_after(now))
}

/// When a recipient's item may be collected that was last needed at that moment.
fn collected_after(last: Timestamp) -> AttributeValue {
    number(last.plus(KEPT).as_secs_ceil())
}

fn appended(update: UpdateBuilder, now: Timestamp) -> UpdateBuilder {
    let sent = AttributeValue::L(vec![number(now.as_millis())]);
    update
        .expression_attribute_values(":sent", sent)
        .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
}

/// The condition that every window allows another send.
fn windows(mut update: UpdateBuilder, limits: &Limits, now: Timestamp) -> (String, UpdateBuilder) {
    let mut clauses = Vec::new();
    for (number_of, window) in limits.windows.iter().enumerate() {
        let (nth, name) = (
            window.sends.saturating_sub(1),
            format!(":before{number_of}"),
        );
        clauses.push(format!(
            "(attribute_not_exists(sends[{nth}]) OR sends[{nth}] <= {name})"
        ));
        let before = now.minus(Duration::from_secs(window.seconds.into()));
        update = update.expression_attribute_values(name, number(before.as_millis()));
    }
    (clauses.join(" AND "), update)
}

fn recipient_id(recipient: &str) -> String {
    format!("RECIPIENT#{recipient}")
}
