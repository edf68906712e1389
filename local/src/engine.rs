//! An embedded DynamoDB engine with the tables of `template.yaml`.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::update_time_to_live::UpdateTimeToLiveRequest;
use dynoxide::{Database, DynoxideError, server};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpListener;

/// The one definition of the tables: the stack's template.
const TEMPLATE: &str = include_str!("../../template.yaml");

/// How often items past their TTL are collected. DynamoDB itself takes up to days.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// A table goes by its logical id in the template.
const TABLE: &str = "AWS::DynamoDB::Table";

/// A DynamoDB engine; clones share one database.
#[derive(Clone)]
pub struct Engine {
    database: Database,
}

/// The engine could not be started.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The database's file or one of its tables could not be opened.
    #[error("the database could not be opened")]
    Database(#[from] DynoxideError),
    /// The template is not YAML, or a table in it is not of CloudFormation's form.
    #[error("template.yaml could not be read")]
    Template(#[from] serde_saphyr::Error),
    /// A table's definition is none to the engine.
    #[error("a table of template.yaml could not be read")]
    Table(#[from] serde_json::Error),
    /// The folder of the database could not be made.
    #[error("the folder of the database could not be made")]
    Folder(#[from] io::Error),
}

#[derive(Deserialize)]
struct Template {
    #[serde(rename = "Resources")]
    resources: BTreeMap<String, Resource>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Properties", default)]
    properties: Value,
}

impl Engine {
    /// A database that is gone with the process.
    ///
    /// # Errors
    /// When the template's tables cannot be made.
    pub fn in_memory() -> Result<Self, EngineError> {
        Self::with_tables(Database::memory()?)
    }

    /// A database in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// When the database cannot be opened or the template's tables cannot be made.
    pub fn in_folder(folder: &Path) -> Result<Self, EngineError> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("dynamodb.sqlite");
        Self::with_tables(Database::new(&file.to_string_lossy())?)
    }

    fn with_tables(database: Database) -> Result<Self, EngineError> {
        let template: Template = serde_saphyr::from_str(TEMPLATE)?;
        let tables = template.resources.into_iter();
        for (name, table) in tables.filter(|(_, resource)| resource.kind == TABLE) {
            match database.create_table(create_table(&name, &table.properties)?) {
                Ok(_) => {}
                Err(DynoxideError::ResourceInUseException(_)) => continue,
                Err(error) => return Err(error.into()),
            }
            let ttl = &table.properties["TimeToLiveSpecification"];
            if !ttl.is_null() {
                let request = json!({ "TableName": name, "TimeToLiveSpecification": ttl });
                let request: UpdateTimeToLiveRequest = serde_json::from_value(request)?;
                database.update_time_to_live(request)?;
            }
        }
        Ok(Self { database })
    }

    /// The database itself, for what would take too long through its API: to fill it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Serves DynamoDB's API until the task is dropped, and collects what is past its TTL.
    pub async fn serve(self, listener: TcpListener) {
        let sweeping = self.clone();
        let sweep = async move {
            let mut interval = tokio::time::interval(SWEEP_EVERY);
            loop {
                interval.tick().await;
                if let Err(error) = sweeping.database.sweep_ttl() {
                    tracing::warn!(%error, "items past their TTL could not be collected");
                }
            }
        };
        let serve = server::serve_with_shutdown(listener, self.database, std::future::pending());
        tokio::select! {
            () = sweep => {}
            served = serve => if let Err(error) = served {
                tracing::error!(%error, "the DynamoDB engine stopped");
            },
        }
    }
}

/// CloudFormation names a table's properties as `CreateTable` does.
fn create_table(name: &str, properties: &Value) -> Result<CreateTableRequest, serde_json::Error> {
    let shared = [
        "AttributeDefinitions",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "KeySchema",
    ];
    let mut request = json!({ "TableName": name });
    for property in shared {
        if !properties[property].is_null() {
            request[property] = properties[property].clone();
        }
    }
    serde_json::from_value(request)
}
