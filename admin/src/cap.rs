//! A cap on the requests of a day that is set while the day goes on: it counts those made before.

use std::time::Duration;

use twofa::clock::Clock;
use twofa::domain::ids::ClientId;
use twofa::store::KEEP;

use crate::error::{Error, Unfinished};
use crate::output::{Progress, listed};
use crate::target::Target;

/// The longest that a call takes: the time-out of the functions.
const CALL: Duration = Duration::from_secs(25);

/// The time until no call knows the old profile.
const REACHES_ALL: Duration = KEEP.saturating_add(CALL);

/// Has the caps of existing clients count the requests that the day has seen.
#[derive(Debug, Default)]
pub(crate) struct CarryOver {
    clients: Vec<ClientId>,
    is_new: bool,
}

impl CarryOver {
    /// Notes a client that has a cap of the day from now on, and whether it had one `before`.
    ///
    /// With one before, the command does not wait: its functions have known of a cap for 30 seconds, or the
    /// command that set it waits itself.
    pub(crate) fn note(&mut self, client: &ClientId, before: Option<u32>) {
        self.clients.push(client.clone());
        self.is_new |= before.is_none();
    }

    /// Counts the requests, once every function knows of the caps. The profiles are written by then.
    ///
    /// It may be done again and again: a cap that has counted a request does not count it twice.
    pub(crate) async fn carry_out(self, target: &Target, progress: Progress) -> Result<(), Error> {
        if self.clients.is_empty() {
            return Ok(());
        }
        let carried = async {
            if self.is_new {
                progress.say(&format!(
                    "per_day of {} is set; waiting {} seconds until every function knows it, to count \
                     today's earlier requests",
                    self.names(),
                    REACHES_ALL.as_secs()
                ));
                tokio::time::sleep(REACHES_ALL).await;
            }
            let verifications = target.verifications()?;
            for client in &self.clients {
                let carried = verifications.carry_over(client, Clock::System.now());
                carried
                    .await
                    .map_err(|error| self.unfinished(error.into()))?;
            }
            Ok(())
        };
        tokio::select! {
            // It is listened for before anything is said.
            biased;
            Ok(()) = tokio::signal::ctrl_c() => Err(self.unfinished(Unfinished::Interrupted)),
            carried = carried => carried,
        }
    }

    fn unfinished(&self, source: Unfinished) -> Error {
        Error::NotCarriedOver {
            clients: self.names(),
            source,
        }
    }

    fn names(&self) -> String {
        listed(self.clients.iter().map(ToString::to_string), "")
    }
}
