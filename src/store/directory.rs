//! The directory: clients and their templates. Small, durable, and read far more than written.
//!
//! | pk | sk | holds |
//! |---|---|---|
//! | `CLIENT#<id>` | `PROFILE` | [`Profile`] |
//! | `CLIENT#<id>` | `TEMPLATE#<uuid>` | [`TemplateFields`] |
//! | `AUDIT#<id>` | see [`Record`](super::Record) | [`Record`](super::Record) |
//!
//! Operators write through [`Changes`](super::Changes): what is written here without a condition is for
//! clients that one process has to itself, such as the check of a deployment.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use lru::LruCache;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::aws::CALL_TIMEOUT;
use crate::aws::error::AwsError;
use crate::clock::Timestamp;
use crate::domain::client::{Client, Profile};
use crate::domain::ids::{ClientId, TemplateId};
use crate::domain::template::{Template, TemplateFields};
use crate::metrics::{Step, timed};

/// The time for which a function uses what it has read of a client; so long may a change by the
/// operator take to arrive.
pub const KEEP: Duration = Duration::from_secs(30);

/// The most clients that one function remembers, those that do not exist among them.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

const PROFILE: &str = "PROFILE";

const TEMPLATE: &str = "TEMPLATE#";

/// The directory table and what was lately read of it; clones share both.
#[derive(Clone, Debug)]
pub struct Directory {
    pub(super) dynamodb: aws_sdk_dynamodb::Client,
    pub(super) table: Arc<str>,
    read: Arc<Mutex<LruCache<ClientId, Read>>>,
}

#[derive(Clone, Debug)]
struct Read {
    client: Option<Arc<Client>>,
    until: Timestamp,
}

/// The directory could not be read or written.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// DynamoDB did not do it.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// An item is not of the product's form.
    #[error("the directory's item {sort_key} of client {client} is malformed: {source}")]
    Malformed {
        /// The client of the item.
        client: ClientId,
        /// The item's sort key.
        sort_key: String,
        /// The cause.
        source: serde_dynamo::Error,
    },
}

/// The key of an item.
#[derive(Serialize, Deserialize)]
struct Key {
    pk: String,
    sk: String,
}

/// An item: its key beside its content.
#[derive(Serialize, Deserialize)]
struct Item<T> {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    content: T,
}

impl Directory {
    /// The directory in `table`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            dynamodb,
            table: table.into(),
            read: Arc::new(Mutex::new(LruCache::new(REMEMBERED))),
        }
    }

    /// The client of that name with its templates, as they were within the last 30 seconds; `None`
    /// when there is none.
    ///
    /// # Errors
    /// When it was not read lately and cannot be read now.
    pub async fn client(
        &self,
        id: &ClientId,
        now: Timestamp,
    ) -> Result<Option<Arc<Client>>, DirectoryError> {
        if let Some(read) = self.remembered(id, now) {
            return Ok(read.client);
        }
        let client = timed(Step::Authenticate, self.read(id, false)).await?;
        let client = client.map(Arc::new);
        let read = Read {
            client: client.clone(),
            until: now.plus(KEEP),
        };
        let mut reads = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        reads.put(id.clone(), read);
        Ok(client)
    }

    /// Opens a connection to the table by asking for nobody: half a read unit.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn connect(&self) -> Result<(), DirectoryError> {
        self.read(&ClientId::nobody(), false).await.map(drop)
    }

    fn remembered(&self, id: &ClientId, now: Timestamp) -> Option<Read> {
        let mut reads = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get(id).filter(|read| now < read.until).cloned()
    }

    /// The client of that name as it is now: one strongly consistent `Query`, a read unit per 4 KB.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn query(&self, id: &ClientId) -> Result<Option<Client>, DirectoryError> {
        self.read(id, true).await
    }

    /// One `Query`, half a read unit per 4 KB unless it is consistent.
    async fn read(
        &self,
        id: &ClientId,
        is_consistent: bool,
    ) -> Result<Option<Client>, DirectoryError> {
        let pages = self
            .dynamodb
            .query()
            .table_name(&*self.table)
            .key_condition_expression("pk = :client")
            .expression_attribute_values(":client", AttributeValue::S(partition(id)))
            .consistent_read(is_consistent)
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>();
        // All pages together must not take longer than a call may.
        let items = tokio::time::timeout(CALL_TIMEOUT, pages)
            .await
            .map_err(|_| AwsError::timed_out("Query"))?
            .map_err(|error| AwsError::new("Query", &error))?;
        let mut profile = None;
        let mut templates = Vec::new();
        for item in items {
            let sort_key = item.get("sk").and_then(|sk| sk.as_s().ok());
            let sort_key = sort_key.cloned().unwrap_or_default();
            if sort_key == PROFILE {
                profile = Some(read::<Profile>(id, item)?);
            } else if sort_key.starts_with(TEMPLATE) {
                let template = read::<TemplateFields>(id, item)
                    .map_err(|error| error.to_string())
                    .and_then(|fields| Template::try_from(fields).map_err(|e| e.to_string()));
                match template {
                    Ok(template) => templates.push(template),
                    Err(error) => {
                        tracing::error!(client = %id, sort_key, error, "a stored template is not valid and is left out");
                    }
                }
            }
        }
        templates.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(profile.map(|profile| Client {
            id: id.clone(),
            profile,
            templates,
        }))
    }

    /// Writes a client's profile over the one that is there.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn put_profile(
        &self,
        id: &ClientId,
        profile: &Profile,
    ) -> Result<(), DirectoryError> {
        self.put(id, PROFILE.to_owned(), profile).await
    }

    /// Writes a client's template over the one of its id.
    ///
    /// # Errors
    /// When DynamoDB does not take it.
    pub async fn put_template(
        &self,
        id: &ClientId,
        template: &TemplateFields,
    ) -> Result<(), DirectoryError> {
        self.put(id, template_key(template.id), template).await
    }

    /// Removes a client's profile, and with it the client; its templates are removed one by one.
    ///
    /// # Errors
    /// When DynamoDB does not do it.
    pub async fn remove_profile(&self, client: &ClientId) -> Result<(), DirectoryError> {
        self.remove(client, PROFILE.to_owned()).await
    }

    /// Removes a client's template.
    ///
    /// # Errors
    /// When DynamoDB does not do it.
    pub async fn remove_template(
        &self,
        client: &ClientId,
        template: TemplateId,
    ) -> Result<(), DirectoryError> {
        self.remove(client, template_key(template)).await
    }

    async fn remove(&self, client: &ClientId, sort_key: String) -> Result<(), DirectoryError> {
        self.dynamodb
            .delete_item()
            .table_name(&*self.table)
            .key("pk", AttributeValue::S(partition(client)))
            .key("sk", AttributeValue::S(sort_key))
            .send()
            .await
            .map_err(|error| AwsError::new("DeleteItem", &error))?;
        Ok(())
    }

    /// The names of all clients, sorted: a scan of the whole table, for operators.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn clients(&self) -> Result<Vec<ClientId>, DirectoryError> {
        let keys = self
            .dynamodb
            .scan()
            .table_name(&*self.table)
            .filter_expression("sk = :profile")
            .expression_attribute_values(":profile", AttributeValue::S(PROFILE.to_owned()))
            .projection_expression("pk")
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| AwsError::new("Scan", &error))?;
        let mut clients: Vec<_> = keys
            .iter()
            .filter_map(|key| key.get("pk")?.as_s().ok()?.strip_prefix("CLIENT#"))
            .filter_map(|id| ClientId::parse(id).ok())
            .collect();
        clients.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Ok(clients)
    }

    async fn put<T: Serialize>(
        &self,
        client: &ClientId,
        sort_key: String,
        content: &T,
    ) -> Result<(), DirectoryError> {
        self.dynamodb
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(item(client, sort_key, content)?))
            .send()
            .await
            .map_err(|error| AwsError::new("PutItem", &error))?;
        Ok(())
    }
}

fn item<T: Serialize>(
    client: &ClientId,
    sort_key: String,
    content: &T,
) -> Result<HashMap<String, AttributeValue>, DirectoryError> {
    item_of(client, partition(client), sort_key, content)
}

/// The item of that key with `content`, which is the client's.
pub(super) fn item_of<T: Serialize>(
    client: &ClientId,
    pk: String,
    sort_key: String,
    content: &T,
) -> Result<HashMap<String, AttributeValue>, DirectoryError> {
    let item = Item {
        key: Key {
            pk,
            sk: sort_key.clone(),
        },
        content,
    };
    serde_dynamo::to_item(item).map_err(|source| DirectoryError::Malformed {
        client: client.clone(),
        sort_key,
        source,
    })
}

/// The item of a client's profile.
pub(super) fn profile_item(
    client: &ClientId,
    profile: &Profile,
) -> Result<HashMap<String, AttributeValue>, DirectoryError> {
    item(client, PROFILE.to_owned(), profile)
}

/// The key of a client's profile.
pub(super) fn profile_key(client: &ClientId) -> [String; 2] {
    [partition(client), PROFILE.to_owned()]
}

/// The item of a client's template.
pub(super) fn template_item(
    client: &ClientId,
    template: &TemplateFields,
) -> Result<HashMap<String, AttributeValue>, DirectoryError> {
    item(client, template_key(template.id), template)
}

/// The key of a client's template.
pub(super) fn template_key_of(client: &ClientId, template: TemplateId) -> [String; 2] {
    [partition(client), template_key(template)]
}

fn template_key(template: TemplateId) -> String {
    format!("{TEMPLATE}{template}")
}

fn partition(client: &ClientId) -> String {
    format!("CLIENT#{client}")
}

/// Reads an item, which is the client's.
pub(super) fn read<'a, T: Deserialize<'a>>(
    client: &ClientId,
    item: HashMap<String, AttributeValue>,
) -> Result<T, DirectoryError> {
    let sort_key = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned();
    serde_dynamo::from_item(item).map_err(|source| DirectoryError::Malformed {
        client: client.clone(),
        sort_key: sort_key.unwrap_or_default(),
        source,
    })
}
