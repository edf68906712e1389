//! What clients use up, and the stack as a whole.
//!
//! `{ id: "CLIENT#<id>" or "STACK", day#<d>: requests, parts#<d>: SMS parts, sec#<s>: requests, balance,
//! slot#<slot>: "<seconds>.<receipt>.taken" or "….back" }` in the verifications table, where d and s are
//! days and seconds since the Unix epoch, and `sec#` is there only for a client with a rate. A repeated
//! write finds its own receipt and takes nothing twice, and one that arrives after it was given back
//! takes nothing at all.
//!
//! A client without any cap has its counts in 64 items, `CLIENT#<id>#<shard>`, so that none of them gets
//! hot: DynamoDB takes 1,000 write units a second for one item. A process has all its slots in one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
};

use crate::aws::AwsError;
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::entropy::EntropyError;
use crate::verification::RequestId;

use super::receipt::{Receipt, SLOT, Slip, Slots, shards};
use super::value::{integer, number, refused, text};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// For how many seconds a slot's newest receipt is kept at least: longer than any call repeats itself.
const RECEIPTS_KEPT: i64 = 60;

/// For how many seconds the count of a second is kept.
const SECONDS_KEPT: i64 = 5;

/// For how many days the counts are kept.
const DAYS_KEPT: i64 = 7;

/// How many attributes may be past their time before they are removed, in a write of its own.
const STALE_TOLERATED: usize = 16;

/// How many of them are removed by that write: its expressions have a limit of 4 KB.
const REMOVED_AT_ONCE: usize = 64;

/// The usage items in the verifications table; clones share their slots.
#[derive(Clone, Debug)]
pub struct Usage {
    dynamodb: aws_sdk_dynamodb::Client,
    table: Arc<str>,
    slots: Slots,
}

/// Whose usage it is.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// One client's.
    Client(&'a ClientId),
    /// Everybody's.
    Stack,
}

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// When it was made.
    pub at: Timestamp,
    /// Which one it is, by which a client's items share the load.
    pub id: RequestId,
    /// How many parts its SMS has.
    pub parts: usize,
    /// Whether the parts are taken from a balance.
    pub prepaid: bool,
}

/// What must not be passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Requests in one second of the clock.
    pub per_second: Option<u32>,
    /// Requests in one day of UTC.
    pub per_day: Option<u32>,
    /// SMS parts in one day of UTC.
    pub parts_per_day: Option<u32>,
}

/// Whether a charge was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Yes.
    Taken,
    /// A cap is reached; nothing is taken.
    Refused {
        /// The first moment at which it may be.
        until: Timestamp,
    },
    /// The balance is too small; nothing is taken.
    OutOfBalance,
}

/// What is known of a client's usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageState {
    /// The SMS parts left, if there is a balance.
    pub balance: Option<i64>,
    /// By day since the Unix epoch: requests and SMS parts.
    pub days: BTreeMap<i64, (u64, u64)>,
}

impl UsageState {
    fn add(&mut self, item: &HashMap<String, AttributeValue>) {
        for (name, value) in item {
            let count: u64 = integer(Some(value)).unwrap_or_default();
            if let Some(day) = suffix(name, "day#") {
                self.days.entry(day).or_default().0 += count;
            } else if let Some(day) = suffix(name, "parts#") {
                self.days.entry(day).or_default().1 += count;
            }
        }
        self.balance = self.balance.or_else(|| integer(item.get("balance")));
    }
}

impl Usage {
    /// The usage items in `table`, the one of the verifications.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            dynamodb,
            table: table.into(),
            slots: Slots::default(),
        }
    }

    /// What a call that begins `now` knows its charges by.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn slip(&self, now: Timestamp) -> Result<Slip, EntropyError> {
        self.slots.take(now)
    }

    /// Takes `charge` if no cap is passed and the balance suffices: one write, and now and then one
    /// more that removes what is past its time. What one of the `earlier` receipts has taken is not
    /// taken again.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn charge(
        &self,
        account: Account<'_>,
        charge: Charge,
        caps: Caps,
        slip: &Slip,
        earlier: &[Receipt],
    ) -> Result<Taken, AwsError> {
        let mut condition = String::from("NOT begins_with(#slot, :own)");
        let mut assignment = String::from(
            "SET #slot = :taken, #day = if_not_exists(#day, :zero) + :one, \
             #parts = if_not_exists(#parts, :zero) + :parts",
        );
        let first = earlier.first().unwrap_or(slip.receipt());
        let id = item_id(account, charge, caps, first);
        let mut update = counting(self.update_item(id.clone()), charge, caps)
            .expression_attribute_names("#slot", slip.receipt().attribute())
            .expression_attribute_values(":own", text(slip.receipt().entry()))
            .expression_attribute_values(":taken", text(slip.receipt().taken()))
            .expression_attribute_values(":zero", number(0));
        for (nth, receipt) in earlier.iter().enumerate() {
            condition.extend([" AND NOT #earlier", &nth.to_string()]);
            condition.extend([" = :earlier", &nth.to_string()]);
            update = update
                .expression_attribute_names(format!("#earlier{nth}"), receipt.attribute())
                .expression_attribute_values(format!(":earlier{nth}"), text(receipt.taken()));
        }
        if let Some(cap) = caps.per_second {
            condition += " AND (attribute_not_exists(#second) OR #second < :per_second)";
            assignment += ", #second = if_not_exists(#second, :zero) + :one";
            update = update.expression_attribute_values(":per_second", number(cap));
        }
        if let Some(cap) = caps.per_day {
            condition += " AND (attribute_not_exists(#day) OR #day < :per_day)";
            update = update.expression_attribute_values(":per_day", number(cap));
        }
        if let Some(cap) = caps.parts_per_day {
            let room = i64::from(cap) - parts(charge);
            condition +=
                " AND (attribute_not_exists(#parts) OR #parts <= :room) AND :room >= :zero";
            update = update.expression_attribute_values(":room", number(room));
        }
        if charge.prepaid {
            condition += " AND balance >= :parts";
            assignment += ", balance = balance - :parts";
        }
        let attempts = slip.begin();
        let written = update
            .update_expression(assignment)
            .condition_expression(condition)
            .return_values(ReturnValue::AllNew)
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await;
        match written {
            Ok(new) => {
                slip.answered(&attempts);
                let item = new.attributes.unwrap_or_default();
                self.forget(id, &item, charge.at).await;
                Ok(Taken::Taken)
            }
            Err(error) => {
                let item = refused(&error)?;
                slip.answered(&attempts);
                let receipts = earlier.iter().chain([slip.receipt()]);
                let found = receipts
                    .map(|receipt| (receipt.attribute(), text(receipt.taken())))
                    .any(|(slot, taken)| item.get(&slot) == Some(&taken));
                if found {
                    return Ok(Taken::Taken);
                }
                Ok(why(&item, charge, caps))
            }
        }
    }

    /// Gives `charge` back, if it was taken by this call or under one of the `earlier` receipts, and
    /// not given back before: one write for each. While it is `in_doubt` whether a write of this call
    /// is still on its way, one more keeps it from taking anything.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn give_back(
        &self,
        account: Account<'_>,
        charge: Charge,
        caps: Caps,
        slip: &Slip,
        earlier: &[Receipt],
        in_doubt: bool,
    ) -> Result<(), AwsError> {
        let own = slip.receipt();
        let id = item_id(account, charge, caps, earlier.first().unwrap_or(own));
        for receipt in earlier {
            self.give_back_one(&id, charge, caps, slip, receipt).await?;
        }
        let mut given = self.give_back_one(&id, charge, caps, slip, own).await?;
        while in_doubt && !given {
            let shut = self
                .back(&id, own)
                .update_expression("SET #slot = :back")
                .condition_expression("NOT #slot = :taken");
            given = is_written(slip, shut).await?
                || self.give_back_one(&id, charge, caps, slip, own).await?;
        }
        Ok(())
    }

    /// Gives back what was taken under one receipt; `false` when nothing was, or not any more.
    async fn give_back_one(
        &self,
        id: &str,
        charge: Charge,
        caps: Caps,
        slip: &Slip,
        receipt: &Receipt,
    ) -> Result<bool, AwsError> {
        let mut assignment =
            String::from("SET #slot = :back, #day = #day - :one, #parts = #parts - :parts");
        if charge.prepaid {
            assignment += ", balance = balance + :parts";
        }
        if caps.per_second.is_some() {
            assignment += ", #second = if_not_exists(#second, :one) - :one";
        }
        let back = counting(self.back(id, receipt), charge, caps)
            .update_expression(assignment)
            .condition_expression("#slot = :taken");
        is_written(slip, back).await
    }

    /// Sets the SMS parts that a client has left; `None` removes the balance.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn set_balance(&self, client: &ClientId, parts: Option<u32>) -> Result<(), AwsError> {
        let update = self.update_item(base_id(Account::Client(client)));
        let update = match parts {
            Some(parts) => update
                .update_expression("SET balance = :parts")
                .expression_attribute_values(":parts", number(parts)),
            None => update.update_expression("REMOVE balance"),
        };
        let written = update.send().await;
        written
            .map(drop)
            .map_err(|error| AwsError::new("UpdateItem", &error))
    }

    /// What is known of an account's usage: a strongly consistent read of all its items.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read(&self, account: Account<'_>) -> Result<UsageState, AwsError> {
        let mut ids = vec![base_id(account)];
        if let Account::Client(_) = account {
            ids.extend(shards().map(|shard| shard_id(account, &shard)));
        }
        let keys = ids
            .into_iter()
            .map(|id| [("id".to_owned(), text(id))].into());
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .consistent_read(true)
            .build()
            .map_err(SdkError::<BatchGetItemError>::construction_failure)
            .map_err(|error| AwsError::new("BatchGetItem", &error))?;
        let mut state = UsageState::default();
        let mut asked = Some(HashMap::from([(self.table.to_string(), keys)]));
        // What DynamoDB leaves out when it is busy is asked for again.
        while let Some(keys) = asked.filter(|keys| !keys.is_empty()) {
            let answer = self
                .dynamodb
                .batch_get_item()
                .set_request_items(Some(keys))
                .send()
                .await
                .map_err(|error| AwsError::new("BatchGetItem", &error))?;
            for item in answer
                .responses
                .into_iter()
                .flatten()
                .flat_map(|(_, items)| items)
            {
                state.add(&item);
            }
            asked = answer.unprocessed_keys;
        }
        Ok(state)
    }

    /// Removes what is past its time, once there is enough of it. What fails here is done at the
    /// next charge.
    async fn forget(&self, id: String, item: &HashMap<String, AttributeValue>, now: Timestamp) {
        let (today, second) = (day(now), now.as_millis().div_euclid(1000));
        let is_old = |value: &AttributeValue| {
            let written = value.as_s().ok().and_then(|value| value.split('.').next());
            written.and_then(|seconds| seconds.parse().ok()) < Some(second - RECEIPTS_KEPT)
        };
        let is_stale = |(name, value): &(&String, &AttributeValue)| {
            (name.starts_with(SLOT) && is_old(value))
                || suffix(name, "sec#").is_some_and(|s| s < second - SECONDS_KEPT)
                || suffix(name, "day#").is_some_and(|d| d <= today - DAYS_KEPT)
                || suffix(name, "parts#").is_some_and(|d| d <= today - DAYS_KEPT)
        };
        let stale: Vec<_> = item.iter().filter(is_stale).map(|(name, _)| name).collect();
        if stale.len() <= STALE_TOLERATED {
            return;
        }
        let mut update = self.update_item(id);
        let (mut names, mut conditions) = (Vec::new(), Vec::new());
        for (nth, name) in stale.into_iter().take(REMOVED_AT_ONCE).enumerate() {
            let placeholder = format!("#stale{nth}");
            update = update.expression_attribute_names(&placeholder, name);
            // Another call may have it by now.
            if name.starts_with(SLOT) {
                conditions.push(format!("{placeholder} = :stale{nth}"));
                update =
                    update.expression_attribute_values(format!(":stale{nth}"), item[name].clone());
            }
            names.push(placeholder);
        }
        let conditions = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        let removed = update
            .update_expression(format!("REMOVE {}", names.join(", ")))
            .set_condition_expression(conditions)
            .send()
            .await;
        if let Err(error) = removed
            && let Err(error) = refused(&error)
        {
            tracing::warn!(%error, "old usage could not be removed");
        }
    }

    /// An update by which a receipt is marked as given back.
    fn back(&self, id: &str, receipt: &Receipt) -> UpdateItemFluentBuilder {
        self.update_item(id.to_owned())
            .expression_attribute_names("#slot", receipt.attribute())
            .expression_attribute_values(":taken", text(receipt.taken()))
            .expression_attribute_values(":back", text(receipt.entry() + "back"))
    }

    fn update_item(&self, id: String) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// `update`, with the names and numbers of what is counted.
fn counting(
    update: UpdateItemFluentBuilder,
    charge: Charge,
    caps: Caps,
) -> UpdateItemFluentBuilder {
    let (day, second) = (day(charge.at), charge.at.as_millis().div_euclid(1000));
    let mut update = update
        .expression_attribute_names("#day", format!("day#{day}"))
        .expression_attribute_names("#parts", format!("parts#{day}"))
        .expression_attribute_values(":one", number(1))
        .expression_attribute_values(":parts", number(parts(charge)));
    if caps.per_second.is_some() {
        update = update.expression_attribute_names("#second", format!("sec#{second}"));
    }
    update
}

/// Sends a write of `slip`; `false` when its condition does not hold.
async fn is_written(slip: &Slip, update: UpdateItemFluentBuilder) -> Result<bool, AwsError> {
    let attempts = slip.begin();
    let written = update
        .customize()
        .interceptor(attempts.clone())
        .send()
        .await;
    let written = match written {
        Ok(_) => true,
        Err(error) => {
            refused(&error)?;
            false
        }
    };
    slip.answered(&attempts);
    Ok(written)
}

/// The item that `charge` is taken from: the account's own where there is something to compare with,
/// else the one of the call that tried first.
fn item_id(account: Account<'_>, charge: Charge, caps: Caps, first: &Receipt) -> String {
    let is_capped = charge.prepaid || caps != Caps::default();
    match account {
        Account::Client(_) if !is_capped => shard_id(account, first.shard()),
        Account::Client(_) | Account::Stack => base_id(account),
    }
}

fn shard_id(account: Account<'_>, shard: &str) -> String {
    format!("{}#{shard}", base_id(account))
}

fn base_id(account: Account<'_>) -> String {
    match account {
        Account::Client(id) => format!("CLIENT#{id}"),
        Account::Stack => "STACK".to_owned(),
    }
}

/// Why the condition failed, from the item as it was.
fn why(item: &HashMap<String, AttributeValue>, charge: Charge, caps: Caps) -> Taken {
    let (today, second) = (day(charge.at), charge.at.as_millis().div_euclid(1000));
    let count =
        |name: &str, of: i64| integer::<i64>(item.get(&format!("{name}#{of}"))).unwrap_or_default();
    let over_day = caps
        .per_day
        .is_some_and(|cap| count("day", today) >= i64::from(cap));
    let over_parts = caps
        .parts_per_day
        .is_some_and(|cap| count("parts", today) + parts(charge) > i64::from(cap));
    if over_day || over_parts {
        let until = Timestamp::from_millis((today + 1) * DAY_MILLIS);
        return Taken::Refused { until };
    }
    let over_second = caps
        .per_second
        .is_some_and(|cap| count("sec", second) >= i64::from(cap));
    if over_second {
        let until = Timestamp::from_millis((second + 1) * 1000);
        return Taken::Refused { until };
    }
    Taken::OutOfBalance
}

fn parts(charge: Charge) -> i64 {
    i64::try_from(charge.parts).unwrap_or(i64::MAX)
}

fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

/// The number in `name` after `prefix`.
fn suffix(name: &str, prefix: &str) -> Option<i64> {
    name.strip_prefix(prefix)?.parse().ok()
}
