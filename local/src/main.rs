//! `cargo run`: Twofa on a laptop.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use twofa::clock::{Clock, ManualClock};
use twofa::domain::limits::Limits;
use twofa::telemetry;
use twofa_local::demo::{self, API_KEY, LOGIN};
use twofa_local::guard::Guard;
use twofa_local::services::{Addresses, Services, StartError, Storage};

/// The port of DynamoDB that the operator's command line looks for.
const DYNAMODB_PORT: u16 = 8000;

/// The port of SNS and Secrets Manager that it looks for.
const SNS_PORT: u16 = 4566;

/// Runs Twofa on this machine: the API, DynamoDB, and an SMS inbox instead of a phone network.
#[derive(Debug, Parser)]
#[command(name = "twofa-local", version)]
struct Options {
    /// The address that everything listens on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// A name by which browsers and containers may ask for this machine, beside its addresses, localhost
    /// and host.docker.internal; repeat it for more
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// The port of the API and the page; 0 is any free one
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The port of DynamoDB; 0 is any free one
    #[arg(long, default_value_t = DYNAMODB_PORT)]
    dynamodb_port: u16,
    /// The port of SNS and Secrets Manager; 0 is any free one
    #[arg(long, default_value_t = SNS_PORT)]
    sns_port: u16,
    /// The folder of the database and the laptop's secret
    #[arg(long, default_value = ".twofa", conflicts_with = "ephemeral")]
    data: PathBuf,
    /// Keep everything in memory and forget it at the end
    #[arg(long)]
    ephemeral: bool,
    /// The least severe level that is logged: error, warn, info or debug
    #[arg(long, default_value = "info")]
    log_level: LevelFilter,
    /// Log what the functions log: JSON, with the metrics of each call
    #[arg(long)]
    log_json: bool,
    /// Whether codes, windows and locks go by the system's clock, or by one that starts now, stands still
    /// and is moved by `POST /clock {"advance": SECONDS}`
    #[arg(long, value_enum, default_value_t = Hand::System)]
    clock: Hand,
}

/// The source of the time.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Hand {
    System,
    Manual,
}

impl Options {
    fn addresses(&self) -> Addresses {
        Addresses {
            api: SocketAddr::new(self.host, self.port),
            dynamodb: SocketAddr::new(self.host, self.dynamodb_port),
            sns: SocketAddr::new(self.host, self.sns_port),
        }
    }

    fn storage(&self) -> Storage {
        if self.ephemeral {
            Storage::Memory
        } else {
            Storage::Folder(self.data.clone())
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let logging = if options.log_json {
        log_to(telemetry::json(options.log_level, io::stdout))
    } else {
        let is_terminal = io::stdout().is_terminal();
        log_to(telemetry::human(options.log_level, is_terminal, io::stdout))
    };
    let ran = match logging {
        Ok(()) => run(&options).await.map_err(Into::into),
        Err(error) => Err(Box::<dyn Error>::from(error)),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// The engine warns of each condition that fails; the conditions of a call are meant to fail now and then.
fn log_to(log: impl Subscriber + Send + Sync) -> Result<(), SetGlobalDefaultError> {
    let unexpected = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("dynoxide::server", LevelFilter::ERROR);
    tracing::subscriber::set_global_default(log.with(unexpected))
}

async fn run(options: &Options) -> Result<(), StartError> {
    let guard = Guard::new(&options.allow_host);
    let clock = match options.clock {
        Hand::System => Clock::System,
        Hand::Manual => Clock::Manual(ManualClock::starting_at(Clock::System.now())),
    };
    let mut services =
        Services::start(options.addresses(), &options.storage(), &guard, clock).await?;
    greet(&services.addresses, &options.storage());
    tokio::select! {
        () = services.stopped() => return Err(StartError::Stopped),
        () = stop_signal() => say("\nStopped.\n"),
    }
    Ok(())
}

/// Ctrl-C, or what `kill` and a container's end send.
async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(interrupt.await),
    }
}

/// Greetings and complaints go to standard error, so that standard output is the log alone.
fn say(text: &str) {
    // Nobody may be reading: that is no reason to stop.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn complain(error: &dyn Error) {
    say(&format!("error: {error}\n"));
    let mut source = error.source();
    while let Some(cause) = source {
        say(&format!("  caused by: {cause}\n"));
        source = cause.source();
    }
}

/// The command line that operates what listens at `addresses`.
fn operators_command(addresses: &Addresses) -> String {
    let Addresses { dynamodb, sns, .. } = addresses;
    let mut words = vec!["cargo run -q -p twofa-admin -- --local".to_owned()];
    if dynamodb.port() != DYNAMODB_PORT || !dynamodb.ip().is_loopback() {
        words.push(format!("--dynamodb-endpoint http://{dynamodb}"));
    }
    if sns.port() != SNS_PORT || !sns.ip().is_loopback() {
        words.push(format!("--sns-endpoint http://{sns}"));
    }
    words.join(" ")
}

fn greet(addresses: &Addresses, storage: &Storage) {
    let cli = operators_command(addresses);
    let Addresses { api, dynamodb, sns } = addresses;
    let storage = match storage {
        Storage::Memory => "in memory".to_owned(),
        Storage::Folder(folder) => format!("in {}", folder.display()),
    };
    let demo_window = demo::windows_in_words(&demo::limits());
    let default_window = demo::windows_in_words(&Limits::default());
    say(&format!(
        r#"
Twofa runs on this machine. No SMS leaves it.

  Page      http://{api}/
  API       http://{api}/api/v1.0/2fa/
  OpenAPI   http://{api}/openapi.json
  Inbox     http://{api}/inbox
  DynamoDB  http://{dynamodb} ({storage})
  SNS       http://{sns} (and Secrets Manager)
  API key   {API_KEY} (of the client demo; opens this machine alone)

The client demo has limits of its own: {demo_window} to a number.
A client that you add has the default ones: {default_window}, and more (docs/cli.md).

Ask for a code:

  curl -sS http://{api}/api/v1.0/2fa/request -H 'X-API-KEY: {API_KEY}' \
    -H 'Content-Type: application/json' \
    -d '{{"to":"+44 7400 123456","template_id":"{LOGIN}"}}'

Read the SMS, then have its code checked (put in the code and the request_id):

  curl -sS 'http://{api}/inbox?to=%2B447400123456'

  curl -sS http://{api}/api/v1.0/2fa/validate -H 'X-API-KEY: {API_KEY}' \
    -H 'Content-Type: application/json' \
    -d '{{"code":"CODE","request_id":"REQUEST_ID"}}'

List the client's templates:

  curl -sS http://{api}/api/v1.0/2fa/template -H 'X-API-KEY: {API_KEY}'

Operate it:

  alias twofa='{cli}'
  twofa client show demo

Ctrl-C stops it.

"#
    ));
}
