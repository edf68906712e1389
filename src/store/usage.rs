//! Caps, counts and balances of clients and of the stack.
//!
//! | id | holds | written |
//! |---|---|---|
//! | `USAGE#<client>#<day>#<0…f>` | `{ requests, parts, uncapped, ttl }` | beside the mark, by the first digit of the request id |
//! | `CAP#<client or STACK>#<seconds of the period>#<its number>` | `{ requests, parts, carried, ttl }` | before a message is sent, where there is a cap |
//! | `BALANCE#<client>` | `{ parts }` | by the transactions that begin and undo |
//!
//! Days and seconds are those since the Unix epoch, days of UTC. A client's counts of a day are in 16
//! items, so that none of them gets hot: DynamoDB takes 1,000 write units a second for one item. A cap
//! must be compared with one number, so it has one item.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use aws_sdk_dynamodb::types::Update;
use aws_sdk_dynamodb::types::builders::UpdateBuilder;

use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::ids::{ClientId, RequestId};

use super::Verifications;
use super::value::{Item, integer, is_written, number, text};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);

/// The number of days whose counts are shown; DynamoDB removes them in the days after.
const DAYS_SHOWN: i64 = 7;

/// The time for which counts are kept past their second or day.
const KEPT: Duration = Duration::from_hours(24 * DAYS_SHOWN.unsigned_abs());

/// The most keys that `BatchGetItem` takes.
const BATCH: usize = 100;

/// A balance that has been lifted: functions that have not learned of it yet refuse nobody.
const LIFTED: i64 = 1_000_000_000_000;

/// The owner of a count: a client, or the stack.
#[derive(Clone, Copy, Debug)]
pub enum UsageCounter<'a> {
    /// One client's.
    Client(&'a ClientId),
    /// Everybody's.
    Stack,
}

/// A limit of one second or day: on a client's requests, or on everybody's SMS parts.
#[derive(Clone, Copy, Debug)]
pub struct Cap<'a> {
    /// The owner.
    pub counter: UsageCounter<'a>,
    /// A second of the clock or a day of UTC.
    pub period: Duration,
    /// The most that it may count.
    pub most: u32,
}

/// Whether there was room under a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapOutcome {
    /// Yes; it is counted.
    Counted,
    /// No; nothing is counted.
    Reached {
        /// The first moment at which there may be.
        until: Timestamp,
    },
}

/// An counter's usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageState {
    /// The SMS parts left, if there is a balance.
    pub balance: Option<i64>,
    /// By day since the Unix epoch: requests and SMS parts.
    pub days: BTreeMap<i64, (u64, u64)>,
    /// The requests of the last day that were not counted under a daily cap.
    pub uncapped: u64,
}

impl<'a> Cap<'a> {
    /// At most that many requests of `client` in a second.
    #[must_use]
    pub fn per_second(client: &'a ClientId, most: u32) -> Self {
        Self {
            counter: UsageCounter::Client(client),
            period: SECOND,
            most,
        }
    }

    /// At most that many requests of `client` in a day.
    #[must_use]
    pub fn per_day(client: &'a ClientId, most: u32) -> Self {
        Self {
            counter: UsageCounter::Client(client),
            period: DAY,
            most,
        }
    }

    /// At most that many SMS parts of all clients in a day.
    #[must_use]
    pub fn of_stack(most: u32) -> Self {
        Self {
            counter: UsageCounter::Stack,
            period: DAY,
            most,
        }
    }

    fn item(&self, now: Timestamp) -> String {
        cap_id(self.counter, self.period, number_of(self.period, now))
    }

    fn counted(&self) -> &'static str {
        match self.counter {
            UsageCounter::Client(_) => "requests",
            UsageCounter::Stack => "parts",
        }
    }
}

impl Verifications {
    /// Counts a request whose message has so many SMS parts, if there is room under `cap`: one write. When
    /// an answer is lost, the repeated write counts it twice, and never not at all.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn take(
        &self,
        cap: Cap<'_>,
        parts: usize,
        now: Timestamp,
    ) -> Result<CapOutcome, AwsError> {
        let adds = match cap.counter {
            UsageCounter::Client(_) => 1,
            UsageCounter::Stack => whole(parts),
        };
        let room = i64::from(cap.most) - adds;
        let update = counting(self.update(&self.dynamodb, &cap.item(now)), 1, parts, now)
            .update_expression(COUNT)
            .condition_expression(
                "(attribute_not_exists(#counted) OR #counted <= :room) AND :room >= :zero",
            )
            .expression_attribute_names("#counted", cap.counted())
            .expression_attribute_values(":room", number(room))
            .expression_attribute_values(":zero", number(0));
        if is_written(update).await? {
            return Ok(CapOutcome::Counted);
        }
        let next = number_of(cap.period, now) + 1;
        let until = Timestamp::from_millis(next * whole_millis(cap.period));
        Ok(CapOutcome::Reached { until })
    }

    /// Takes back what was counted under `cap`: one write, which is not made again, so that a cap never
    /// counts too few.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn release(
        &self,
        cap: Cap<'_>,
        parts: usize,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let update = self.update(&self.once, &cap.item(now));
        let update = counting(update, -1, parts, now).update_expression(COUNT);
        is_written(update).await.map(drop)
    }

    /// Counts a request whose message was sent, or may have been: one write. Whether a daily cap has
    /// counted it too is kept apart.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn count(
        &self,
        client: &ClientId,
        id: RequestId,
        parts: usize,
        is_capped: bool,
        now: Timestamp,
    ) -> Result<(), AwsError> {
        let item = usage_id(client, number_of(DAY, now), id.as_bytes()[0] >> 4);
        let update = self
            .update(&self.dynamodb, &item)
            .update_expression(format!("{COUNT}, uncapped :uncapped"))
            .expression_attribute_values(":uncapped", number(i64::from(!is_capped)));
        is_written(counting(update, 1, parts, now)).await.map(drop)
    }

    /// Has the cap on a client's requests of the day count those that were made before it was set: what
    /// was counted without a cap and not carried over yet. It may be done again at any time.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn carry_over(&self, client: &ClientId, now: Timestamp) -> Result<(), AwsError> {
        let counter = UsageCounter::Client(client);
        let uncapped = self.read_usage(counter, now).await?.uncapped;
        let uncapped = i64::try_from(uncapped).unwrap_or(i64::MAX);
        let id = cap_id(counter, DAY, number_of(DAY, now));
        let cap = self.read(&id).await?;
        let carried = cap.and_then(|item| integer::<i64>(item.get("carried")));
        let missing = uncapped - carried.unwrap_or(0);
        if missing <= 0 {
            return Ok(());
        }
        let update = self.update(&self.dynamodb, &id);
        let mut update = counting(update, missing, 0, now)
            .update_expression(COUNT.replacen("SET", "SET carried = :uncapped,", 1))
            .expression_attribute_values(":uncapped", number(uncapped))
            .condition_expression(match carried {
                Some(_) => "carried = :carried",
                None => "attribute_not_exists(carried)",
            });
        if let Some(carried) = carried {
            update = update.expression_attribute_values(":carried", number(carried));
        }
        // Else another operator, or this very write, was faster.
        is_written(update).await.map(drop)
    }

    /// An counter's usage of the last days: strongly consistent reads of all its items.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn read_usage(
        &self,
        counter: UsageCounter<'_>,
        now: Timestamp,
    ) -> Result<UsageState, AwsError> {
        let today = number_of(DAY, now);
        let mut days = HashMap::new();
        for day in today - DAYS_SHOWN + 1..=today {
            match counter {
                UsageCounter::Client(client) => {
                    days.extend((0..16).map(|shard| (usage_id(client, day, shard), day)));
                }
                UsageCounter::Stack => {
                    days.insert(cap_id(counter, DAY, day), day);
                }
            }
        }
        let mut state = UsageState::default();
        let ids: Vec<_> = days.keys().cloned().collect();
        for ids in ids.chunks(BATCH) {
            for item in self.read_all(ids).await? {
                let count = |name: &str| integer::<u64>(item.get(name)).unwrap_or_default();
                let id = item.get("id").and_then(|id| id.as_s().ok());
                if let Some(day) = id.and_then(|id| days.get(id)) {
                    let sum = state.days.entry(*day).or_default();
                    *sum = (sum.0 + count("requests"), sum.1 + count("parts"));
                    if *day == today {
                        state.uncapped += count("uncapped");
                    }
                }
            }
        }
        if let UsageCounter::Client(client) = counter {
            let balance = self.read(&balance_id(client)).await?;
            let parts = balance.and_then(|item| integer(item.get("parts")));
            state.balance = parts.filter(|parts| *parts < LIFTED / 2);
        }
        Ok(state)
    }

    /// The payment for a message from a balance, if it suffices.
    pub(super) fn payment(&self, client: &ClientId, parts: usize) -> UpdateBuilder {
        self.balance(client, whole(parts))
            .update_expression("SET parts = parts - :parts")
            .condition_expression("parts >= :parts")
    }

    /// The return of it.
    pub(super) fn repayment(&self, client: &ClientId, parts: usize) -> UpdateBuilder {
        self.balance(client, whole(parts))
            .update_expression("ADD parts :parts")
    }

    fn balance(&self, client: &ClientId, parts: i64) -> UpdateBuilder {
        balance(&self.table, client, parts)
    }

    /// One item, by a strongly consistent read.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Item>, AwsError> {
        self.dynamodb
            .get_item()
            .table_name(&*self.table)
            .key("id", text(id))
            .consistent_read(true)
            .send()
            .await
            .map(|GetItemOutput { item, .. }| item)
            .map_err(|error| AwsError::new("GetItem", &error))
    }

    async fn read_all(&self, ids: &[String]) -> Result<Vec<Item>, AwsError> {
        let keys = ids.iter().map(|id| [("id".to_owned(), text(id))].into());
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .consistent_read(true)
            .build()
            .map_err(SdkError::<BatchGetItemError>::construction_failure)
            .map_err(|error| AwsError::new("BatchGetItem", &error))?;
        let mut items = Vec::new();
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
            let found = answer.responses;
            let found = found.ok_or_else(|| AwsError::incomplete("BatchGetItem"))?;
            let found = found.into_iter();
            items.extend(found.flat_map(|(_, items)| items));
            asked = answer.unprocessed_keys;
        }
        Ok(items)
    }
}

fn balance(table: &str, client: &ClientId, parts: i64) -> UpdateBuilder {
    Update::builder()
        .table_name(table)
        .key("id", text(balance_id(client)))
        .expression_attribute_values(":parts", number(parts))
}

/// The setting of the SMS parts that a client has left; none: the balance is lifted.
pub(super) fn balance_set(table: &str, client: &ClientId, parts: Option<u32>) -> UpdateBuilder {
    let parts = parts.map_or(LIFTED, i64::from);
    balance(table, client, parts).update_expression("SET parts = :parts")
}

/// The addition of SMS parts to a balance that is there and not lifted.
pub(super) fn balance_topped_up(table: &str, client: &ClientId, parts: u32) -> UpdateBuilder {
    balance(table, client, parts.into())
        .update_expression("SET parts = parts + :parts")
        .condition_expression("parts < :lifted")
        .expression_attribute_values(":lifted", number(LIFTED / 2))
}

/// The expression by which requests and parts are added.
const COUNT: &str = "SET #ttl = :ttl ADD requests :requests, parts :parts";

/// `update`, with the values for so many requests, each of so many SMS parts.
fn counting(
    update: UpdateItemFluentBuilder,
    requests: i64,
    parts: usize,
    now: Timestamp,
) -> UpdateItemFluentBuilder {
    update
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":requests", number(requests))
        .expression_attribute_values(":parts", number(requests * whole(parts)))
        .expression_attribute_values(":ttl", number(now.plus(KEPT).as_secs_ceil()))
}

fn usage_id(client: &ClientId, day: i64, shard: u8) -> String {
    format!("USAGE#{client}#{day}#{shard:x}")
}

fn cap_id(counter: UsageCounter<'_>, period: Duration, number: i64) -> String {
    let seconds = period.as_secs();
    match counter {
        UsageCounter::Client(client) => format!("CAP#{client}#{seconds}#{number}"),
        UsageCounter::Stack => format!("CAP#STACK#{seconds}#{number}"),
    }
}

fn balance_id(client: &ClientId) -> String {
    format!("BALANCE#{client}")
}

/// The number of the second or day of `now`, since the Unix epoch.
fn number_of(period: Duration, now: Timestamp) -> i64 {
    now.as_millis().div_euclid(whole_millis(period))
}

fn whole_millis(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX)
}

fn whole(parts: usize) -> i64 {
    i64::try_from(parts).unwrap_or(i64::MAX)
}
