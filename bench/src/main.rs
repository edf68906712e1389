//! The programs that the scripts of this folder run and watch.

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use twofa::clock::Clock;
use twofa::http::all_endpoints;
use twofa_bench::calls::{Caller, Course, Kind};
use twofa_bench::cpu::Used;
use twofa_bench::parts::{Part, Subject};
use twofa_bench::stage::{self, Failed, Sent};
use twofa_bench::units::Meter;
use twofa_local::services;

/// What the benches measure, one program for each process that is to be watched alone. What they
/// have to say comes as JSON on standard error; standard output is the product's log.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// DynamoDB, SNS and Secrets Manager without the API, until it is killed
    Backends {
        /// How many codes the table of verifications is filled with
        #[arg(long, default_value_t = 0)]
        rows: usize,
        /// How many clients there are
        #[arg(long, default_value_t = 1)]
        clients: usize,
        /// Where the codes are written to, each a line of id and code
        #[arg(long)]
        codes: Option<PathBuf>,
    },
    /// The API alone, until it is killed
    Api {
        #[command(flatten)]
        services: Services,
    },
    /// Calls one after the other, without a server between caller and handlers
    Calls {
        kind: Kind,
        #[command(flatten)]
        services: Services,
        /// How many calls are measured
        #[arg(long, default_value_t = 1_000)]
        calls: usize,
        /// How many calls are made before
        #[arg(long, default_value_t = 0)]
        warm_up: usize,
        /// How many clients take turns
        #[arg(long, default_value_t = 1)]
        clients: usize,
        /// The codes, as `backends` writes them
        #[arg(long)]
        codes: Option<PathBuf>,
        /// Whether DynamoDB's charges are counted, which costs time of its own
        #[arg(long)]
        units: bool,
    },
    /// A part of the product, again and again
    Part {
        part: Part,
        /// How often
        #[arg(long, default_value_t = 1)]
        times: usize,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Services {
    /// Where DynamoDB listens
    #[arg(long)]
    dynamodb: SocketAddr,
    /// Where SNS and Secrets Manager listen
    #[arg(long)]
    sns: SocketAddr,
}

fn main() -> ExitCode {
    match run(Options::parse().program) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(program: Program) -> Result<(), Failed> {
    match program {
        Program::Backends {
            rows,
            clients,
            codes,
        } => many_threads()?.block_on(backends(rows, clients, codes.as_deref())),
        Program::Api { services } => many_threads()?.block_on(api(services)),
        Program::Calls {
            kind,
            services,
            calls,
            warm_up,
            clients,
            codes,
            units,
        } => {
            twofa::lambda::log_to_stdout(LevelFilter::INFO);
            let course = Course {
                dynamodb: services.dynamodb,
                sns: services.sns,
                clients,
            };
            let sent = codes.as_deref().map(read_codes).transpose()?;
            let meter = units.then(Meter::default);
            let caller = Caller::new(&course, sent.unwrap_or_default(), meter.as_ref())?;
            // As on Lambda: one thread, one call at a time.
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let figures = measure(caller, kind, warm_up, calls, meter.as_ref());
            say(&runtime.block_on(figures)?.to_string());
            Ok(())
        }
        Program::Part { part, times } => {
            let subject = Subject::new()?;
            (0..times).try_for_each(|_| subject.run(part))
        }
    }
}

fn many_threads() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

async fn backends(rows: usize, clients: usize, codes: Option<&Path>) -> Result<(), Failed> {
    let backends = stage::start(clients).await?;
    let sent = stage::fill(&backends, rows).await?;
    if let Some(file) = codes {
        let line = |Sent { id, code }: &Sent| format!("{id} {code}\n");
        let lines: Vec<String> = sent.iter().map(line).collect();
        fs::write(file, lines.concat())?;
    }
    let addresses = json!({ "dynamodb": backends.dynamodb, "sns": backends.sns });
    say(&addresses.to_string());
    std::future::pending().await
}

async fn api(services: Services) -> Result<(), Failed> {
    twofa::lambda::log_to_stdout(LevelFilter::INFO);
    let state = services::state(services.dynamodb, services.sns, Clock::System);
    twofa::domain::phone::open_metadata();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say(&json!({ "api": listener.local_addr()? }).to_string());
    services::serve(listener, all_endpoints(state)).await;
    Err("the API stopped".into())
}

fn read_codes(file: &Path) -> Result<Vec<Sent>, Failed> {
    let lines = fs::read_to_string(file)?;
    let sent = lines.lines().map(|line| {
        let (id, code) = line.split_once(' ').ok_or("a line is no id and code")?;
        Ok(Sent {
            id: id.to_owned(),
            code: code.to_owned(),
        })
    });
    sent.collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are read to three digits"
)]
async fn measure(
    mut caller: Caller,
    kind: Kind,
    warm_up: usize,
    calls: usize,
    meter: Option<&Meter>,
) -> Result<Value, Failed> {
    for _ in 0..warm_up {
        caller.call(kind).await?;
    }
    let charged_before = meter.map(Meter::charged).unwrap_or_default();
    let (before, start) = (Used::now()?, Instant::now());
    for _ in 0..calls {
        caller.call(kind).await?;
    }
    let (after, wall) = (Used::now()?, start.elapsed());
    let per_call = |nanos: u64| nanos as f64 / 1e3 / calls as f64;
    let mut figures = json!({
        "calls": calls,
        "cpu_us": per_call(after.thread_nanos - before.thread_nanos),
        "user_us": per_call(after.user_nanos - before.user_nanos),
        "system_us": per_call(after.system_nanos - before.system_nanos),
        "wall_us": wall.as_secs_f64() * 1e6 / calls as f64,
        "peak_kib": after.peak_kib,
    });
    if let Some(meter) = meter {
        let charged = meter.charged();
        let each = |after: f64, before: f64| (after - before) / calls as f64;
        figures["writes"] = each(charged.writes.into(), charged_before.writes.into()).into();
        figures["write_units"] = each(charged.write_units, charged_before.write_units).into();
        figures["reads"] = each(charged.reads.into(), charged_before.reads.into()).into();
        figures["read_units"] = each(charged.read_units, charged_before.read_units).into();
    }
    Ok(figures)
}

fn say(line: &str) {
    // Nobody may be reading: that is no reason to stop.
    let _ = writeln!(io::stderr(), "{line}");
}
