//! The record of what operators changed.
//!
//! | table | pk | sk | holds |
//! |---|---|---|---|
//! | directory | `AUDIT#<client>` | `<milliseconds>#<id of the change>` | [`Record`] |
//!
//! Records have a partition of their own, so that functions, which read a client's, never read them.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use crate::aws::error::AwsError;
use crate::domain::ids::{ClientId, Version};

use super::directory::{Directory, DirectoryError, item_of, read};
use super::value::Item;

const AUDIT: &str = "AUDIT#";

/// The record of one operator's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The change's own id, and the version of the profile that it wrote.
    pub id: Version,
    /// The client that was changed.
    pub client: ClientId,
    /// When, in milliseconds since the Unix epoch.
    pub at: i64,
    /// The operator: the caller's ARN.
    pub by: String,
    /// The command.
    pub what: String,
    /// The effects, a line each; no secret, no key and no whole number.
    pub details: Vec<String>,
}

impl Directory {
    /// The records of what operators changed, newest first: of one client, or, by a scan of the whole
    /// table, of all, those that are gone among them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn records(&self, client: Option<&ClientId>) -> Result<Vec<Record>, DirectoryError> {
        let items = match client {
            Some(client) => self
                .dynamodb
                .query()
                .table_name(&*self.table)
                .key_condition_expression("pk = :audit")
                .expression_attribute_values(":audit", AttributeValue::S(partition(client)))
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await
                .map_err(|error| AwsError::new("Query", &error))?,
            None => self
                .dynamodb
                .scan()
                .table_name(&*self.table)
                .filter_expression("begins_with(pk, :audit)")
                .expression_attribute_values(":audit", AttributeValue::S(AUDIT.to_owned()))
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
                .await
                .map_err(|error| AwsError::new("Scan", &error))?,
        };
        let nobody = ClientId::nobody();
        let records = items
            .into_iter()
            .map(|item| read(client.unwrap_or(&nobody), item));
        let mut records: Vec<Record> = records.collect::<Result<_, _>>()?;
        records.sort_by_key(|record| std::cmp::Reverse(record.at));
        Ok(records)
    }
}

/// The item of a record.
pub(super) fn item(record: &Record) -> Result<Item, DirectoryError> {
    let [pk, sk] = key(record);
    item_of(&record.client, pk, sk, record)
}

/// The key of a record.
pub(super) fn key(record: &Record) -> [String; 2] {
    let at = record.at.max(0);
    let id = record.id;
    [partition(&record.client), format!("{at:013}#{id}")]
}

fn partition(client: &ClientId) -> String {
    format!("{AUDIT}{client}")
}
