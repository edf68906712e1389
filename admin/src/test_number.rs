//! `twofa test-number`: recipients with a fixed code, for a client's own tests and its reviewers.

use clap::{Args, Subcommand};
use serde_json::json;
use twofa::clock::Timestamp;
use twofa::domain::code::CODE_LENGTH;

use crate::error::Error;
use crate::input::{self, RecipientOptions, masked};
use crate::output::Report;
use crate::target::Target;

/// Manages numbers that get no SMS and always the same code
///
/// For CI and app-store reviewers. The stack must allow it (`AllowTestNumbers`). Only a digest of
/// the number is stored, so it cannot be listed.
#[derive(Debug, Subcommand)]
pub(crate) enum TestNumberCommand {
    /// Makes a number a test number and shows its code
    ///
    /// A template whose codes have n digits takes the first n digits. Adding it again shows the same code.
    #[command(after_help = "Examples:
  twofa test-number add --client shop +44 7400 123456
  twofa test-number add --client shop +44 7400 123456 --json | jq -r '.code[0:6]'")]
    Add(RecipientOptions),
    /// Makes it a number like any other
    #[command(after_help = "Examples:
  twofa test-number remove --client shop +44 7400 123456")]
    Remove(RecipientOptions),
    /// Counts a client's test numbers
    #[command(
        alias = "list-count",
        after_help = "Examples:
  twofa test-number count --client shop"
    )]
    Count(CountOptions),
}

/// The client whose test numbers are counted.
#[derive(Debug, Args)]
pub(crate) struct CountOptions {
    /// The client's id
    #[arg(long)]
    client: String,
}

impl TestNumberCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, now: Timestamp) -> Result<Report, Error> {
        match self {
            Self::Add(options) => add(target, &options, now).await,
            Self::Remove(options) => remove(target, &options, now).await,
            Self::Count(options) => {
                let client = input::client(target, &options.client).await?;
                let count = client.profile.test_recipients.len();
                let text = format!("test numbers of the client {}: {count}", client.id);
                let json = json!({ "client": client.id, "test_numbers": count });
                Ok(Report::new(text, json))
            }
        }
    }
}

async fn add(target: &Target, options: &RecipientOptions, now: Timestamp) -> Result<Report, Error> {
    let number = options.number()?;
    let client = input::client(target, &options.client).await?;
    let secret = target.secret(now).await?;
    let digest = secret.recipient_digest(&client.id, &number).encode();
    let mut profile = client.profile;
    if profile.test_recipients.insert(digest) {
        let details = vec![format!("number {}", masked(&number))];
        let draft = target.draft(&client.id, "test-number add", details).await?;
        if !target.carry_out(draft.put_profile(&profile)?).await? {
            return Err(Error::Overtaken(client.id));
        }
    }
    let code = secret.test_code(&client.id, &number, *CODE_LENGTH.end());
    let number = masked(&number);
    let text = format!(
        "{number} is a test number of the client {}\n  code: {} (its first n digits, for a template \
         of code_length n)",
        client.id,
        code.expose()
    );
    let warning = "whoever knows this code passes for this number: take it away when it is no longer \
                   needed, and never use a customer's number";
    let json = json!({ "client": client.id, "number": number, "code": code.expose() });
    Ok(Report::new(text, json).warn([warning.to_owned()]))
}

async fn remove(
    target: &Target,
    options: &RecipientOptions,
    now: Timestamp,
) -> Result<Report, Error> {
    let number = options.number()?;
    let client = input::client(target, &options.client).await?;
    let secret = target.secret(now).await?;
    let digest = secret.recipient_digest(&client.id, &number).encode();
    let number = masked(&number);
    let mut profile = client.profile;
    if !profile.test_recipients.remove(&digest) {
        return Err(Error::NoTestNumber {
            client: client.id,
            number,
        });
    }
    let details = vec![format!("number {number}")];
    let draft = target.draft(&client.id, "test-number remove", details);
    if !target
        .carry_out(draft.await?.put_profile(&profile)?)
        .await?
    {
        return Err(Error::Overtaken(client.id));
    }
    let text = format!(
        "{number} is no test number of the client {} any more",
        client.id
    );
    let json = json!({ "client": client.id, "number": number });
    Ok(Report::new(text, json))
}
