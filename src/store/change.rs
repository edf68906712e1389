//! Operators' changes: one transaction for each change, done once, with a [`Record`] of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::builders::{DeleteBuilder, PutBuilder, UpdateBuilder};
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem, Update};
use aws_smithy_async::future::timeout::Timeout;
use aws_smithy_async::rt::sleep::{AsyncSleep as _, SharedAsyncSleep};
use thiserror::Error;

use crate::aws;
use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::client::Profile;
use crate::domain::digest::Digest;
use crate::domain::ids::{TemplateId, Version};
use crate::domain::template::TemplateFields;

use super::audit::{self, Record};
use super::directory::{self, DirectoryError};
use super::transaction::{OPERATION, transact};
use super::value::{Item, text};
use super::{recipients, usage};

/// The longest that a change takes, all attempts included.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest that an attempt takes: operators may be far away.
const ATTEMPT: Duration = Duration::from_secs(10);

/// The most items of one change beside its record and the client's profile.
pub const MAX_ITEMS: usize = 98;

/// A change to be carried out.
#[derive(Debug)]
pub struct Change {
    record: Record,
    directory: Arc<str>,
    items: Vec<TransactWriteItem>,
}

/// A change that was not carried out, or may not have been.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// DynamoDB did not do it: nothing is written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It may be written, now or within seconds.
    #[error("DynamoDB gave no answer: it is not known whether the change {0} is made")]
    Unknown(Version),
}

impl From<AwsError> for ChangeError {
    fn from(error: AwsError) -> Self {
        Self::Directory(error.into())
    }
}

impl From<BuildError> for ChangeError {
    fn from(_: BuildError) -> Self {
        AwsError::malformed(OPERATION).into()
    }
}

/// The tables as operators change them.
#[derive(Clone, Debug)]
pub struct Changes {
    dynamodb: aws_sdk_dynamodb::Client,
    once: aws_sdk_dynamodb::Client,
    sleep: SharedAsyncSleep,
    directory: Arc<str>,
}

impl Changes {
    /// The changes of the clients in `directory`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, directory: &str) -> Self {
        Self {
            once: aws::once(&dynamodb, ATTEMPT),
            sleep: aws::sleep(&dynamodb),
            dynamodb,
            directory: directory.into(),
        }
    }

    /// A change of nothing yet.
    #[must_use]
    pub fn draft(&self, record: Record) -> Change {
        Change {
            record,
            directory: self.directory.clone(),
            items: Vec::new(),
        }
    }

    /// Makes the change and its record, or nothing; `false` when a condition does not hold: another
    /// operator was faster.
    ///
    /// The change's id is its client request token. So it is made once however often it is sent, and where
    /// no answer came, its record tells whether it was.
    ///
    /// # Errors
    /// When it is not made, or that is not known.
    pub async fn carry_out(&self, change: Change) -> Result<bool, ChangeError> {
        let Change {
            record,
            directory,
            mut items,
        } = change;
        let put = put(&directory, audit::item(&record)?).build()?;
        items.push(TransactWriteItem::builder().put(put).build());
        let doubt = AtomicBool::new(false);
        let token = record.id.to_string();
        let work = transact(&self.once, &self.sleep, &token, &doubt, items);
        let outcome = Timeout::new(work, self.sleep.sleep(LONGEST)).await;
        let is_in_doubt = doubt.load(Ordering::Relaxed);
        match outcome {
            Ok(Ok(None)) => Ok(true),
            _ if is_in_doubt => match self.is_recorded(&record).await {
                Ok(true) => Ok(true),
                Ok(false) if matches!(outcome, Ok(Ok(Some(_)))) => Ok(false),
                Ok(false) | Err(_) => Err(ChangeError::Unknown(record.id)),
            },
            Ok(Ok(Some(_))) => Ok(false),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(AwsError::timed_out(OPERATION).into()),
        }
    }

    async fn is_recorded(&self, record: &Record) -> Result<bool, AwsError> {
        let [pk, sk] = audit::key(record);
        let answer = self
            .dynamodb
            .get_item()
            .table_name(&*self.directory)
            .key("pk", text(pk))
            .key("sk", text(sk))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| AwsError::new("GetItem", &error))?;
        Ok(answer.item.is_some())
    }
}

impl Change {
    /// The change's id, which becomes the version of the profile that it writes.
    #[must_use]
    pub fn version(&self) -> Version {
        self.record.id
    }

    /// Writes the profile of a client that is not there yet.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn add_profile(self, profile: &Profile) -> Result<Self, ChangeError> {
        self.profile(profile, |put| {
            put.condition_expression("attribute_not_exists(pk)")
        })
    }

    /// Writes a profile that was changed, if it still has the version that was read.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn put_profile(self, profile: &Profile) -> Result<Self, ChangeError> {
        let (condition, values) = unchanged_since(profile);
        self.profile(profile, |put| {
            put.condition_expression(condition)
                .set_expression_attribute_values(values)
        })
    }

    fn profile(
        mut self,
        profile: &Profile,
        on: impl FnOnce(PutBuilder) -> PutBuilder,
    ) -> Result<Self, ChangeError> {
        let profile = Profile {
            version: Some(self.record.id),
            ..profile.clone()
        };
        let item = directory::profile_item(&self.record.client, &profile)?;
        let put = on(put(&self.directory, item)).build()?;
        self.items
            .push(TransactWriteItem::builder().put(put).build());
        Ok(self)
    }

    /// Removes a profile, and with it the client, if it still has the version that was read.
    ///
    /// # Errors
    /// When it cannot be said to DynamoDB.
    pub fn remove_profile(mut self, profile: &Profile) -> Result<Self, ChangeError> {
        let (condition, values) = unchanged_since(profile);
        let delete = self
            .deletion(directory::profile_key(&self.record.client))
            .condition_expression(condition)
            .set_expression_attribute_values(values);
        self.items
            .push(TransactWriteItem::builder().delete(delete.build()?).build());
        Ok(self)
    }

    /// Writes a template over the one of its id.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub fn put_template(mut self, template: &TemplateFields) -> Result<Self, ChangeError> {
        let item = directory::template_item(&self.record.client, template)?;
        let put = put(&self.directory, item).build()?;
        self.items
            .push(TransactWriteItem::builder().put(put).build());
        Ok(self)
    }

    /// Removes a template.
    ///
    /// # Errors
    /// When it cannot be said to DynamoDB.
    pub fn remove_template(mut self, template: TemplateId) -> Result<Self, ChangeError> {
        let delete = self.deletion(directory::template_key_of(&self.record.client, template));
        self.items
            .push(TransactWriteItem::builder().delete(delete.build()?).build());
        Ok(self)
    }

    /// Sets the SMS parts that the client has left. `None` lifts the balance: it refuses nobody from then
    /// on, also where it is still asked.
    ///
    /// # Errors
    /// When it cannot be said to DynamoDB.
    pub fn set_balance(self, verifications: &str, parts: Option<u32>) -> Result<Self, ChangeError> {
        let client = self.record.client.clone();
        self.update(usage::balance_set(verifications, &client, parts))
    }

    /// Adds SMS parts to the client's balance, if it has one.
    ///
    /// # Errors
    /// When it cannot be said to DynamoDB.
    pub fn top_up(self, verifications: &str, parts: u32) -> Result<Self, ChangeError> {
        let client = self.record.client.clone();
        self.update(usage::balance_topped_up(verifications, &client, parts))
    }

    /// Forgets the failures and the sends of a recipient that is remembered.
    ///
    /// # Errors
    /// When it cannot be said to DynamoDB.
    pub fn unlock(self, verifications: &str, recipient: Digest) -> Result<Self, ChangeError> {
        let now = Timestamp::from_millis(self.record.at);
        self.update(recipients::unlocking(verifications, recipient, now))
    }

    fn update(mut self, update: UpdateBuilder) -> Result<Self, ChangeError> {
        let update: Update = update.build()?;
        self.items
            .push(TransactWriteItem::builder().update(update).build());
        Ok(self)
    }

    fn deletion(&self, [pk, sk]: [String; 2]) -> DeleteBuilder {
        Delete::builder()
            .table_name(&*self.directory)
            .key("pk", text(pk))
            .key("sk", text(sk))
    }
}

/// The condition, with its values, that the stored profile has the version of the one that was read. Only
/// what no operator has written has none.
fn unchanged_since(profile: &Profile) -> (&'static str, Option<Item>) {
    match profile.version {
        Some(version) => {
            let values = [(":version".to_owned(), text(version.to_string()))];
            ("version = :version", Some(values.into()))
        }
        None => (
            "attribute_exists(pk) AND attribute_not_exists(version)",
            None,
        ),
    }
}

fn put(table: &str, item: Item) -> PutBuilder {
    Put::builder().table_name(table).set_item(Some(item))
}
