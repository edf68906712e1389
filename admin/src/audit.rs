//! `twofa audit`: who changed what, and when.

use clap::Args;
use serde_json::{Value, json};
use twofa::clock::Timestamp;
use twofa::store::Record;

use crate::error::Error;
use crate::input;
use crate::output::Report;
use crate::target::Target;
use crate::time::shown;

/// Shows what operators changed, newest first: when, who, which command, and what it did
///
/// Every change is recorded in the same transaction that makes it. Records stay when a client is removed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa audit shop
  twofa audit --limit 200
  twofa audit --json | jq -r '.changes[] | [.at, .client, .by, .what] | @tsv'")]
pub(crate) struct AuditCommand {
    /// The client's id; default: all, those that are removed among them
    client: Option<String>,
    /// The most changes to show
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl AuditCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target) -> Result<Report, Error> {
        let client = self.client.as_deref().map(input::client_id).transpose()?;
        let mut records = target.directory.records(client.as_ref()).await?;
        records.truncate(self.limit);
        let text = if records.is_empty() {
            "no operator has changed anything".to_owned()
        } else {
            records.iter().map(lines).collect::<Vec<_>>().join("\n")
        };
        let changes: Value = records.iter().map(describe).collect();
        Ok(Report::new(text, json!({ "changes": changes })))
    }
}

fn lines(record: &Record) -> String {
    let at = shown(Timestamp::from_millis(record.at));
    let Record {
        client, by, what, ..
    } = record;
    let mut lines = vec![format!("{at}  {client}  {what}  {by}")];
    lines.extend(record.details.iter().map(|detail| format!("    {detail}")));
    lines.join("\n")
}

fn describe(record: &Record) -> Value {
    json!({
        "id": record.id,
        "at": shown(Timestamp::from_millis(record.at)),
        "client": record.client,
        "by": record.by,
        "what": record.what,
        "details": record.details,
    })
}
