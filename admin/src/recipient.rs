//! `twofa recipient`: whom a client sends to, and why it may not.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use twofa::clock::Timestamp;
use twofa::domain::client::Client;
use twofa::domain::digest::Digest;
use twofa::domain::limits::Window;
use twofa::domain::phone::PhoneNumber;
use twofa::store::RecipientState;

use crate::error::Error;
use crate::input::{self, RecipientOptions, masked};
use crate::output::{Report, pairs};
use crate::settings::window_text;
use crate::target::Target;
use crate::time::{shown, shown_ceil};

/// The most sends that are shown.
const SHOWN: usize = 10;

/// Shows and unlocks recipients, by their number
///
/// A recipient is known by a digest of client and number; no number is stored, and none is printed
/// whole.
#[derive(Debug, Subcommand)]
pub(crate) enum RecipientCommand {
    /// Shows sends, failures and limits, and when the next send is possible
    #[command(after_help = "Examples:
  twofa recipient show --client shop +44 7400 123456
  pbpaste | twofa recipient show --client shop - --json | jq .next_send_at")]
    Show(RecipientOptions),
    /// Forgets a recipient's failures and sends, so that the next code can be sent at once
    #[command(after_help = "Examples:
  twofa recipient unlock --client shop +44 7400 123456")]
    Unlock(RecipientOptions),
}

impl RecipientCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, now: Timestamp) -> Result<Report, Error> {
        match self {
            Self::Show(options) => {
                let known = Known::read(&options, target, now).await?;
                Ok(known.show(now))
            }
            Self::Unlock(options) => {
                let known = Known::read(&options, target, now).await?;
                let details = vec![format!("number {}", masked(&known.number))];
                let draft = target.draft(&known.client.id, "recipient unlock", details);
                let table = target.verifications_table()?;
                // Of a recipient that is not remembered there is nothing to forget.
                let change = draft.await?.unlock(table, known.recipient)?;
                target.carry_out(change).await?;
                Ok(known.unlocked())
            }
        }
    }
}

/// A recipient of a client, and what is remembered of it.
struct Known {
    client: Client,
    number: PhoneNumber,
    recipient: Digest,
    state: RecipientState,
}

impl Known {
    async fn read(
        options: &RecipientOptions,
        target: &Target,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let number = options.number()?;
        let client = input::client(target, &options.client).await?;
        let secret = target.secret(now).await?;
        let recipient = secret.recipient_digest(&client.id, &number);
        let state = target.verifications()?.read_recipient(recipient).await?;
        Ok(Self {
            client,
            number,
            recipient,
            state,
        })
    }

    fn show(&self, now: Timestamp) -> Report {
        let Self {
            client,
            number,
            recipient,
            state,
        } = self;
        let limits = &client.profile.limits;
        let admitted = limits.failures_admitted(client.max_attempts());
        let until = state.refused_until(limits, admitted, now);
        let is_locked = until.is_some() && admitted.is_none_or(|most| state.failures > most);
        let is_locked_for_good = is_locked && limits.lock().is_none();
        let is_test = client.profile.test_recipients.contains(&recipient.encode());
        let next = match until {
            _ if is_test => "any time: it is a test number".to_owned(),
            None => "now".to_owned(),
            Some(_) if is_locked_for_good => {
                "after `twofa recipient unlock` (locked by failures)".to_owned()
            }
            Some(at) if is_locked => format!("{} (locked by failures)", shown_ceil(at)),
            Some(at) => shown_ceil(at),
        };
        let failures = format!(
            "{} in a row; sends stop above {}",
            state.failures,
            admitted.unwrap_or(0)
        );
        let mut rows = vec![
            ("client", client.id.to_string()),
            ("number", masked(number)),
            ("country", number.country().as_str().to_owned()),
            ("next send", next),
            ("failures", failures),
        ];
        if let Some(at) = state.failed_at {
            rows.push(("last failure", shown(at)));
        }
        for &window in &limits.windows {
            let used = used(state, window, now);
            rows.push(("window", format!("{}: {used} used", window_text(window))));
        }
        for at in state.sends.iter().take(SHOWN) {
            rows.push(("sent", shown(*at)));
        }
        if let Some(more) = state.sends.len().checked_sub(SHOWN).filter(|n| *n > 0) {
            rows.push(("sent", format!("… and {more} earlier")));
        }
        let windows = limits.windows.iter().map(|&window| {
            json!({
                "sends": window.sends,
                "seconds": window.seconds,
                "used": used(state, window, now),
            })
        });
        let json = json!({
            "client": client.id,
            "number": masked(number),
            "country": number.country().as_str(),
            "test_number": is_test,
            "next_send_at": until.filter(|_| !is_test && !is_locked_for_good).map(shown_ceil),
            "locked": is_locked,
            "failures": state.failures,
            "failures_admitted": admitted,
            "failed_at": state.failed_at.map(shown),
            "windows": windows.collect::<Vec<_>>(),
            "sends": state.sends.iter().map(|at| json!(shown(*at))).collect::<Value>(),
        });
        let forbidden = !client.profile.countries.permit(number.country());
        let warning = forbidden.then(|| {
            let country = number.country().as_str();
            format!("the client may not send to {country}; see `twofa client set --countries`")
        });
        Report::new(pairs(rows), json).warn(warning)
    }

    fn unlocked(&self) -> Report {
        let Self { client, state, .. } = self;
        let number = masked(&self.number);
        let (failures, sends) = (state.failures, state.sends.len());
        let text = if failures == 0 && sends == 0 {
            format!(
                "nothing is remembered of {number} at the client {}",
                client.id
            )
        } else {
            format!(
                "unlocked {number} at the client {}: failures forgotten: {failures}, sends forgotten: {sends}",
                client.id
            )
        };
        let json = json!({
            "client": client.id,
            "number": number,
            "forgotten": { "failures": failures, "sends": sends },
        });
        Report::new(text, json)
    }
}

/// The number of sends that `window` counts at `now`.
fn used(state: &RecipientState, window: Window, now: Timestamp) -> usize {
    let length = Duration::from_secs(window.seconds.into());
    let counts = |at: &&Timestamp| at.plus(length) > now;
    state.sends.iter().filter(counts).count()
}
