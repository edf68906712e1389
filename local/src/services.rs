//! All of it, started and stopped together.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_credential_types::Credentials;
use aws_types::SdkConfig;
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use twofa::aws::{AwsSettings, Roots};
use twofa::clock::Clock;
use twofa::domain::key_set::{KeySet, MalformedKeySet};
use twofa::entropy::{self, EntropyError};
use twofa::http::{SourceAddress, all_endpoints};
use twofa::state::{Names, RequestState, StackLimits, ValidateState};

use crate::demo::{self, DemoError};
use crate::dynamodb::{Engine, EngineError};
use crate::endpoint::EndpointState;
use crate::guard::Guard;
use crate::inbox::Inbox;
use crate::secrets_manager::{self, SecretsManager};
use crate::{endpoint, page};

/// The tables' names on the laptop: their logical ids in `template.yaml`.
pub const DIRECTORY_TABLE: &str = "DirectoryTable";
/// See [`DIRECTORY_TABLE`].
pub const VERIFICATIONS_TABLE: &str = "VerificationsTable";
/// The secret's name on the laptop: its logical id in `template.yaml`.
pub const SECRET: &str = "Secret";

/// The addresses that everything listens on; port 0 is any free one.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The API and the page.
    pub api: SocketAddr,
    /// DynamoDB.
    pub dynamodb: SocketAddr,
    /// SNS and Secrets Manager.
    pub sns: SocketAddr,
}

/// The place of the database.
#[derive(Clone, Debug)]
pub enum Storage {
    /// Gone with the process.
    Memory,
    /// In files of this folder.
    Folder(PathBuf),
}

/// DynamoDB, SNS and Secrets Manager without the API; they stop when this is dropped.
pub struct Backends {
    /// The address of DynamoDB.
    pub dynamodb: SocketAddr,
    /// The address of SNS and Secrets Manager.
    pub sns: SocketAddr,
    /// DynamoDB itself.
    pub engine: Engine,
    /// The messages that were sent.
    pub inbox: Inbox,
    /// The one secret.
    pub secrets_manager: SecretsManager,
    tasks: JoinSet<()>,
}

/// The running services; they stop when they are dropped.
pub struct Services {
    /// The addresses that everything listens on, with the actual ports.
    pub addresses: Addresses,
    tasks: JoinSet<()>,
}

/// The services could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on, most often because its port is taken.
    #[error("cannot listen on {address}; choose another port with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option of the command line that chooses it.
        option: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The database could not be started.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The demo client could not be written.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The laptop's secret could not be read or made.
    #[error("the laptop's secret could not be read or made")]
    SecretFile(#[from] io::Error),
    /// The file of the laptop's secret does not hold one.
    #[error("the laptop's secret is damaged; remove {} to have a new one made", path.display())]
    MalformedKeySet {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: MalformedKeySet,
    },
    /// A service ended by itself.
    #[error("one of the services stopped; the log tells why")]
    Stopped,
    /// There were no random numbers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl Backends {
    /// Starts the three services, with the tables of `template.yaml`.
    ///
    /// # Errors
    /// When a port is taken, or what is stored cannot be read or made.
    pub async fn start(
        dynamodb: SocketAddr,
        sns: SocketAddr,
        storage: &Storage,
        guard: &Guard,
    ) -> Result<Self, StartError> {
        let (dynamodb, dynamodb_listener) = listen(dynamodb, "--dynamodb-port").await?;
        let (sns, sns_listener) = listen(sns, "--sns-port").await?;
        let (engine, secrets_manager) = match storage {
            Storage::Memory => (
                Engine::in_memory()?,
                SecretsManager::new(new_secret()?, None),
            ),
            Storage::Folder(folder) => (Engine::in_folder(folder)?, kept_secret(folder)?),
        };
        let inbox = Inbox::default();
        let services = EndpointState {
            inbox: inbox.clone(),
            secrets_manager: secrets_manager.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(engine.clone().serve(dynamodb_listener, guard.clone()));
        tasks.spawn(serve(
            sns_listener,
            guard.before(endpoint::endpoint(services)),
        ));
        Ok(Self {
            dynamodb,
            sns,
            engine,
            inbox,
            secrets_manager,
            tasks,
        })
    }
}

impl Services {
    /// Starts everything and writes the demo client.
    ///
    /// # Errors
    /// When a port is taken, or what is stored cannot be read or made.
    pub async fn start(
        addresses: Addresses,
        storage: &Storage,
        guard: &Guard,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let (api, listener) = listen(addresses.api, "--port").await?;
        let backends = Backends::start(addresses.dynamodb, addresses.sns, storage, guard).await?;
        let state = state(backends.dynamodb, backends.sns, clock);
        demo::seed(&state.directory).await?;
        let mut tasks = backends.tasks;
        tasks.spawn(serve(listener, guard.before(app(state, backends.inbox))));
        Ok(Self {
            addresses: Addresses {
                api,
                dynamodb: backends.dynamodb,
                sns: backends.sns,
            },
            tasks,
        })
    }

    /// Waits until one of the services stops, which none does by itself.
    pub async fn stopped(&mut self) {
        self.tasks.join_next().await;
    }
}

/// The API, and what only the laptop has beside it.
pub fn app(state: RequestState, inbox: Inbox) -> Router {
    page::routes(inbox, state.clock.clone()).merge(all_endpoints(state))
}

/// The state of all endpoints, through the real SDK, at these addresses: like a stack that allows test
/// numbers and has no cap.
#[must_use]
pub fn state(dynamodb: SocketAddr, sns: SocketAddr, clock: Clock) -> RequestState {
    let stack = StackLimits {
        daily_part_cap: None,
        allow_test_numbers: true,
    };
    let dynamodb = twofa::aws::dynamodb(&sdk_config(dynamodb));
    state_through(dynamodb, &sdk_config(sns), stack, clock)
}

/// The state of all endpoints through this client of DynamoDB and this SDK.
#[must_use]
pub fn state_through(
    dynamodb: aws_sdk_dynamodb::Client,
    sns: &SdkConfig,
    stack: StackLimits,
    clock: Clock,
) -> RequestState {
    let names = Names {
        directory_table: DIRECTORY_TABLE,
        verifications_table: VERIFICATIONS_TABLE,
        secret: SECRET,
        metrics_namespace: "Twofa/laptop",
    };
    ValidateState::new(dynamodb, twofa::aws::secrets_manager(sns), names, clock)
        .and_send(twofa::aws::sns(sns), stack)
}

/// An SDK that knows this address alone and nothing of the person's own AWS account.
#[must_use]
pub fn sdk_config(address: SocketAddr) -> SdkConfig {
    let credentials = Credentials::from_keys("laptop", "laptop", None);
    let account = AwsSettings::new("us-east-1", credentials, Roots::amazon());
    account.at(Some(&format!("http://{address}")))
}

/// Listens on `address`, which `option` of the command line chooses.
async fn listen(
    address: SocketAddr,
    option: &'static str,
) -> Result<(SocketAddr, TcpListener), StartError> {
    let refused = |source| StartError::Listen {
        address,
        option,
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    Ok((listener.local_addr().map_err(refused)?, listener))
}

/// Serves `app` until the task is dropped.
pub async fn serve(listener: TcpListener, app: Router) {
    let app = app.layer(map_request(from_where));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "a service stopped");
    }
}

/// Adds the caller's address, which API Gateway tells a function.
async fn from_where(mut request: Request) -> Request {
    let address = request
        .extensions()
        .get()
        .map(|ConnectInfo(at): &ConnectInfo<SocketAddr>| at.ip());
    if let Some(address) = address {
        request.extensions_mut().insert(SourceAddress(address));
    }
    request
}

/// A secret as the stack makes it: a seed.
fn new_secret() -> Result<SecretString, EntropyError> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let seed = entropy::string(64, ALPHABET)?;
    Ok(json!({ "seed": seed }).to_string().into())
}

/// The secret in `folder`, which is made at the first start and readable by its owner alone: codes
/// outlive a restart.
fn kept_secret(folder: &Path) -> Result<SecretsManager, StartError> {
    let path = folder.join("secret.json");
    let kept = match fs::read_to_string(&path) {
        Ok(kept) => SecretString::from(kept),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = new_secret()?;
            secrets_manager::keep(&path, &secret)?;
            secret
        }
        Err(error) => return Err(error.into()),
    };
    match KeySet::parse(kept.expose_secret()) {
        Ok(_) => Ok(SecretsManager::new(kept, Some(path))),
        Err(source) => Err(StartError::MalformedKeySet { path, source }),
    }
}
