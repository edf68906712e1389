//! `twofa usage`: balances, and what was sent.

use clap::Args;
use serde_json::{Value, json};
use twofa::clock::Timestamp;
use twofa::store::{UsageCounter, UsageState};

use crate::client::balance;
use crate::error::Error;
use crate::input;
use crate::output::{Report, table};
use crate::target::Target;
use crate::time::shown_day;

/// Shows balances, and the requests that sent a message with their SMS parts, by day of UTC
///
/// It shows the last seven days, today among them. A message that SNS may have taken counts as sent. The
/// stack as a whole is counted on the days on which it has a cap (`DailyPartCap`).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa usage
  twofa usage shop
  twofa usage --json | jq '.clients[] | {client, balance}'")]
pub(crate) struct UsageCommand {
    /// The client's id; default: all, and the stack
    client: Option<String>,
}

impl UsageCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, now: Timestamp) -> Result<Report, Error> {
        let verifications = target.verifications()?;
        let mut clients = Vec::new();
        match &self.client {
            Some(client) => clients.push(input::client(target, client).await?),
            None => {
                for id in target.directory.clients().await? {
                    clients.extend(target.directory.query(&id).await?);
                }
            }
        }
        let today = now.as_millis().div_euclid(24 * 60 * 60 * 1000);
        let (mut rows, mut all) = (Vec::new(), Vec::new());
        for client in &clients {
            let counter = UsageCounter::Client(&client.id);
            let state = verifications.read_usage(counter, now).await?;
            let balance = balance(&client.profile, &state);
            let shown = balance.map_or_else(|| "none".to_owned(), |parts| parts.to_string());
            rows.extend(rows_of(client.id.as_str(), &shown, &state, today));
            let days = days_json(&state);
            all.push(json!({ "client": client.id, "balance": balance, "days": days }));
        }
        let mut json = json!({ "clients": all });
        if self.client.is_none() {
            let state = verifications.read_usage(UsageCounter::Stack, now).await?;
            if !state.days.is_empty() {
                rows.extend(rows_of("(stack)", "", &state, today));
            }
            json["stack"] = json!({ "days": days_json(&state) });
        }
        let header = ["CLIENT", "BALANCE", "DAY", "REQUESTS", "PARTS"];
        Ok(Report::new(table(header, rows), json))
    }
}

/// The days of one account, newest first; today stands for a client that has none.
fn rows_of(account: &str, balance: &str, state: &UsageState, today: i64) -> Vec<[String; 5]> {
    let mut days = state.days.clone();
    if days.is_empty() {
        days.insert(today, (0, 0));
    }
    let row = |(day, (requests, parts)): (&i64, &(u64, u64))| {
        [
            account.to_owned(),
            balance.to_owned(),
            shown_day(*day),
            requests.to_string(),
            parts.to_string(),
        ]
    };
    days.iter().rev().map(row).collect()
}

fn days_json(state: &UsageState) -> Value {
    let day = |(day, (requests, parts)): (&i64, &(u64, u64))| json!({ "day": shown_day(*day), "requests": requests, "parts": parts });
    state.days.iter().rev().map(day).collect()
}
