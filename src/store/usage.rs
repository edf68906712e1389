//! What clients use up, and the stack as a whole.
//!
//! `{ id: "CLIENT#<id>" or "STACK", day#<d>: requests, parts#<d>: SMS parts, sec#<s>: {marks}, balance }`
//! in the verifications table, where d and s are days and seconds since the Unix epoch. A request is
//! one mark in the set of its second: the set's size is the rate, and a repeated write finds its own
//! mark and takes nothing twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::aws::AwsError;
use crate::client::ClientId;
use crate::clock::Timestamp;
use crate::verification::RequestId;

use super::value::{integer, number, refused, text};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// For how many seconds a mark is kept at least: longer than any call repeats itself.
const SECONDS_KEPT: i64 = 60;

/// For how many days the counts are kept.
const DAYS_KEPT: i64 = 7;

/// How many attributes may be past their time before they are removed, in a write of its own.
const STALE_TOLERATED: usize = 16;

/// The usage items in the verifications table.
#[derive(Clone, Debug)]
pub struct Usage {
    dynamodb: aws_sdk_dynamodb::Client,
    table: Arc<str>,
}

/// Whose usage it is.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// One client's.
    Client(&'a ClientId),
    /// Everybody's.
    Stack,
}

impl Account<'_> {
    fn item_id(self) -> String {
        match self {
            Self::Client(id) => format!("CLIENT#{id}"),
            Self::Stack => "STACK".to_owned(),
        }
    }
}

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// When it was made.
    pub at: Timestamp,
    /// Which one it is.
    pub id: RequestId,
    /// How many parts its SMS has.
    pub parts: usize,
    /// Whether the parts are taken from a balance.
    pub prepaid: bool,
}

/// What must not be passed.
#[derive(Clone, Copy, Debug, Default)]
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

impl Usage {
    /// The usage items in `table`, the one of the verifications.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            dynamodb,
            table: table.into(),
        }
    }

    /// Takes `charge` if no cap is passed and the balance suffices: one write, and now and then one
    /// more that removes what is past its time.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn charge(
        &self,
        account: Account<'_>,
        charge: Charge,
        caps: Caps,
    ) -> Result<Taken, AwsError> {
        let mut condition = String::from("NOT contains(#second, :mark)");
        let mut assignment = String::from(
            "SET #day = if_not_exists(#day, :zero) + :one, \
             #parts = if_not_exists(#parts, :zero) + :parts",
        );
        let mut update = self.update(account, charge);
        update = update.expression_attribute_values(":zero", number(0));
        if let Some(cap) = caps.per_second {
            condition += " AND (attribute_not_exists(#second) OR size(#second) < :per_second)";
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
        let written = update
            .update_expression(assignment + " ADD #second :marks")
            .condition_expression(condition)
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match written {
            Ok(new) => {
                let item = new.attributes().cloned().unwrap_or_default();
                self.forget(account, &item, charge.at).await;
                Ok(Taken::Taken)
            }
            Err(error) => Ok(why(&refused(&error)?, charge, caps)),
        }
    }

    /// Gives `charge` back, if it was taken and not given back before: one write.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn give_back(&self, account: Account<'_>, charge: Charge) -> Result<(), AwsError> {
        let mut assignment = String::from("SET #day = #day - :one, #parts = #parts - :parts");
        if charge.prepaid {
            assignment += ", balance = balance + :parts";
        }
        let written = self
            .update(account, charge)
            .update_expression(assignment + " DELETE #second :marks")
            .condition_expression("contains(#second, :mark)")
            .send()
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => refused(&error).map(drop),
        }
    }

    /// Sets the SMS parts that a client has left; `None` removes the balance.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn set_balance(&self, client: &ClientId, parts: Option<u32>) -> Result<(), AwsError> {
        let update = self.update_item(Account::Client(client));
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

    /// What is known of a client's usage: one strongly consistent read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read(&self, account: Account<'_>) -> Result<UsageState, AwsError> {
        let answer = self
            .dynamodb
            .get_item()
            .table_name(&*self.table)
            .key("id", text(account.item_id()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| AwsError::new("GetItem", &error))?;
        let item = answer.item().cloned().unwrap_or_default();
        let mut days: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for (name, value) in &item {
            let count = integer(Some(value)).unwrap_or_default();
            if let Some(day) = suffix(name, "day#") {
                days.entry(day).or_default().0 = count;
            } else if let Some(day) = suffix(name, "parts#") {
                days.entry(day).or_default().1 = count;
            }
        }
        Ok(UsageState {
            balance: integer(item.get("balance")),
            days,
        })
    }

    /// Removes what is past its time, once there is enough of it. What fails here is done at the
    /// next charge.
    async fn forget(
        &self,
        account: Account<'_>,
        item: &HashMap<String, AttributeValue>,
        now: Timestamp,
    ) {
        let (today, second) = (day(now), now.as_millis().div_euclid(1000));
        let is_stale = |name: &&String| {
            suffix(name, "sec#").is_some_and(|s| s < second - SECONDS_KEPT)
                || suffix(name, "day#").is_some_and(|d| d <= today - DAYS_KEPT)
                || suffix(name, "parts#").is_some_and(|d| d <= today - DAYS_KEPT)
        };
        let stale: Vec<_> = item.keys().filter(is_stale).collect();
        if stale.len() <= STALE_TOLERATED {
            return;
        }
        let mut update = self.update_item(account);
        let mut names = Vec::new();
        for (number, name) in stale.into_iter().enumerate() {
            let placeholder = format!("#stale{number}");
            update = update.expression_attribute_names(&placeholder, name);
            names.push(placeholder);
        }
        let update = update.update_expression(format!("REMOVE {}", names.join(", ")));
        if let Err(error) = update.send().await {
            let error = AwsError::new("UpdateItem", &error);
            tracing::warn!(%error, "old usage could not be removed");
        }
    }

    /// An update with everything that taking and giving back share.
    fn update(&self, account: Account<'_>, charge: Charge) -> UpdateItemFluentBuilder {
        let own = Blob::new(mark(charge));
        let (day, second) = (day(charge.at), charge.at.as_millis().div_euclid(1000));
        self.update_item(account)
            .expression_attribute_names("#day", format!("day#{day}"))
            .expression_attribute_names("#parts", format!("parts#{day}"))
            .expression_attribute_names("#second", format!("sec#{second}"))
            .expression_attribute_values(":mark", AttributeValue::B(own.clone()))
            .expression_attribute_values(":marks", AttributeValue::Bs(vec![own]))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":parts", number(parts(charge)))
    }

    fn update_item(&self, account: Account<'_>) -> UpdateItemFluentBuilder {
        self.dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(account.item_id()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// Why the condition failed, from the item as it was.
fn why(item: &HashMap<String, AttributeValue>, charge: Charge, caps: Caps) -> Taken {
    let (today, second) = (day(charge.at), charge.at.as_millis().div_euclid(1000));
    let marks = item
        .get(&format!("sec#{second}"))
        .and_then(|marks| marks.as_bs().ok());
    let ours = mark(charge);
    if marks.is_some_and(|marks| marks.iter().any(|mark| mark.as_ref() == ours)) {
        return Taken::Taken;
    }
    let count =
        |name: &str| integer::<i64>(item.get(&format!("{name}#{today}"))).unwrap_or_default();
    let over_day = caps
        .per_day
        .is_some_and(|cap| count("day") >= i64::from(cap));
    let over_parts = caps
        .parts_per_day
        .is_some_and(|cap| count("parts") + parts(charge) > i64::from(cap));
    if over_day || over_parts {
        let until = Timestamp::from_millis((today + 1) * DAY_MILLIS);
        return Taken::Refused { until };
    }
    let in_second = marks.map_or(0, Vec::len);
    if caps.per_second.is_some_and(|cap| in_second >= cap as usize) {
        let until = Timestamp::from_millis((second + 1) * 1000);
        return Taken::Refused { until };
    }
    Taken::OutOfBalance
}

/// By what a request knows itself in the set of its second: 48 random bits.
fn mark(charge: Charge) -> [u8; 6] {
    let [_, _, mark @ ..] = charge.id.low_bits().to_be_bytes();
    mark
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
