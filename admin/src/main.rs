//! The operator's command line: clients, keys, templates, recipients and usage of Twofa.
//!
//! A command reads and checks all it was given, then reads the directory, checks what would become
//! of it, and only then writes. What it has to say goes through [`output`] alone.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use twofa::clock::Clock;
use twofa::telemetry;

use crate::apply::ApplyCommand;
use crate::audit::AuditCommand;
use crate::client::ClientCommand;
use crate::doctor::DoctorCommand;
use crate::error::Error;
use crate::export::ExportCommand;
use crate::key::KeyCommand;
use crate::output::{Progress, Report};
use crate::preview::PreviewCommand;
use crate::recipient::RecipientCommand;
use crate::send_test::SendTestCommand;
use crate::target::TargetOptions;
use crate::template::TemplateCommand;
use crate::test_number::TestNumberCommand;
use crate::usage::UsageCommand;

mod apply;
mod audit;
mod cap;
mod client;
mod doctor;
mod error;
mod export;
mod file;
mod input;
mod key;
mod output;
mod preview;
mod recipient;
mod send_test;
mod settings;
mod target;
mod template;
mod test_number;
mod text;
mod time;
mod usage;

/// Operates Twofa: clients, keys, templates, recipients, usage
#[derive(Debug, Parser)]
#[command(
    name = "twofa",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  twofa --local client list
  twofa --stack twofa client add shop --countries GB,IE --with-key
  twofa --stack twofa apply clients.toml --dry-run
  export TWOFA_STACK=twofa AWS_REGION=eu-west-1    # say it once; or TWOFA_LOCAL=1

Exit codes: 0 done, 1 failed, 2 not valid (nothing was written), 3 not found, 4 differs (apply).
With --json, errors are JSON too, on standard error, those of usage among them."
)]
struct Options {
    /// Print JSON for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    target: TargetOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Client(ClientCommand),
    #[command(subcommand)]
    Key(KeyCommand),
    #[command(subcommand)]
    Template(TemplateCommand),
    Preview(PreviewCommand),
    #[command(subcommand)]
    Recipient(RecipientCommand),
    #[command(subcommand)]
    TestNumber(TestNumberCommand),
    Usage(UsageCommand),
    Apply(ApplyCommand),
    Export(ExportCommand),
    Audit(AuditCommand),
    Doctor(DoctorCommand),
    SendTest(SendTestCommand),
    /// Prints the completions of a shell
    #[command(after_help = "Examples:
  twofa completions zsh > ~/.zfunc/_twofa
  source <(twofa completions bash)")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let parsed = Options::command().try_get_matches().and_then(|matches| {
        let mut options = Options::from_arg_matches(&matches)?;
        options.target.prefer_arguments(&matches);
        Ok(options)
    });
    let Options {
        json,
        target,
        command,
    } = match parsed {
        Ok(options) => options,
        Err(error) => {
            // It is not parsed: scripts are to find JSON all the same.
            let as_json = std::env::args().any(|argument| argument == "--json");
            return output::print_usage(&error, as_json);
        }
    };
    if !json {
        // Without a log the commands work all the same.
        let _ = tracing::subscriber::set_global_default(telemetry::plain(io::stderr));
    }
    let done = match command {
        Command::Completions { shell } => {
            output::say(&completions(shell)).map(|()| ExitCode::SUCCESS)
        }
        command => match run(command, &target, Progress::new(json)).await {
            Ok(report) => report.print(json),
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            output::print_error(&error, json);
            error.exit_code()
        }
    }
}

async fn run(
    command: Command,
    target: &TargetOptions,
    progress: Progress,
) -> Result<Report, Error> {
    let now = Clock::System.now();
    match command {
        Command::Client(command) => command.run(&target.open().await?, now, progress).await,
        Command::Key(command) => command.run(&target.open().await?, now).await,
        Command::Template(command) => command.run(&target.open().await?).await,
        Command::Preview(command) => command.run(target).await,
        Command::Recipient(command) => command.run(&target.open().await?, now).await,
        Command::TestNumber(command) => command.run(&target.open().await?, now).await,
        Command::Usage(command) => command.run(&target.open().await?, now).await,
        Command::Apply(command) => command.run(&target.open().await?, progress).await,
        Command::Export(command) => command.run(&target.open().await?).await,
        Command::Audit(command) => command.run(&target.open().await?).await,
        Command::Doctor(command) => command.run(&target.open().await?, now).await,
        Command::SendTest(command) => command.run(&target.open().await?).await,
        Command::Completions { shell } => {
            Ok(Report::new(completions(shell), shell.to_string().into()))
        }
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "twofa", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
