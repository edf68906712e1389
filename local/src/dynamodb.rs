//! An embedded DynamoDB engine with the tables of `template.yaml`.
//!
//! The engine is served by its own server, which takes no layer. Each connection that the [`Guard`]
//! watches over therefore has one of its own to the engine, through a listener that is closed as soon
//! as the connection stands: there is no port by which anything else could reach the engine.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::update_time_to_live::UpdateTimeToLiveRequest;
use dynoxide::{Database, DynoxideError, server};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, oneshot};

use crate::guard::Guard;

/// The one definition of the tables: the stack's template.
const TEMPLATE: &str = include_str!("../../template.yaml");

/// The period at which items past their TTL are collected. DynamoDB itself takes up to days.
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

/// The engine's server could not be called.
#[derive(Debug, Error)]
enum UpstreamError {
    #[error("it cannot be connected to")]
    Connect(#[from] io::Error),
    #[error("the connection broke")]
    Call(#[from] hyper::Error),
    #[error("the server ended: {0:?}")]
    Ended(Result<(), String>),
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

    /// Serves DynamoDB's API behind `guard` until the task is dropped, and collects what is past its TTL.
    pub async fn serve(self, listener: TcpListener, guard: Guard) {
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
        let app = Router::new().fallback(forward).with_state(self);
        let app = guard.before(app);
        let app = app.into_make_service_with_connect_info::<Connection>();
        tokio::select! {
            () = sweep => {}
            served = axum::serve(listener, app).into_future() => if let Err(error) = served {
                tracing::error!(%error, "the DynamoDB engine stopped");
            },
        }
    }
}

/// A caller's connection: with its first call it gets its own to the engine.
#[derive(Clone, Default)]
struct Connection(Arc<Mutex<Option<Upstream>>>);

/// A connection to the engine's server.
struct Upstream {
    sender: SendRequest<Body>,
    /// The server drops its end of the connection when this is dropped.
    _open: oneshot::Sender<()>,
}

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(_: IncomingStream<'_, TcpListener>) -> Self {
        Self::default()
    }
}

/// Hands a call to the engine's server as it is.
async fn forward(
    State(engine): State<Engine>,
    ConnectInfo(Connection(upstream)): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let mut upstream = upstream.lock().await;
    match engine.call(&mut upstream, request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            *upstream = None;
            tracing::error!(%error, "the DynamoDB engine did not answer");
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

impl Engine {
    async fn call(
        &self,
        upstream: &mut Option<Upstream>,
        request: Request,
    ) -> Result<hyper::Response<Incoming>, UpstreamError> {
        if let Some(upstream) = upstream {
            return Ok(upstream.sender.send_request(request).await?);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let stream = TcpStream::connect(listener.local_addr()?).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let (open, closed) = oneshot::channel();
        let shutdown = async { drop(closed.await) };
        // The first answer shows that the connection stands: then the listener goes.
        let response = tokio::select! {
            response = sender.send_request(request) => response?,
            served = server::serve_with_shutdown(listener, self.database.clone(), shutdown) => {
                return Err(UpstreamError::Ended(served));
            }
        };
        *upstream = Some(Upstream {
            sender,
            _open: open,
        });
        Ok(response)
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
