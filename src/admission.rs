//! Who is let in: the limits of the recipient, of the client and of the stack, taken side by side,
//! and given back together when the message is not sent.

use crate::aws::AwsError;
use crate::client::{Client, ClientId};
use crate::clock::Timestamp;
use crate::metrics::{self, Limit};
use crate::secret::Digest;
use crate::store::{Account, Admission, Caps, Charge, Recipients, SendMark, Taken, Usage};
use crate::verification::RequestId;

/// What lets requests in.
#[derive(Clone, Debug)]
pub struct Admitter {
    recipients: Recipients,
    usage: Usage,
    daily_part_cap: Option<u32>,
    allow_test_numbers: bool,
}

/// What a request has taken.
#[derive(Debug)]
pub struct Admitted<'a> {
    taken: Option<Bill<'a>>,
    failures: u32,
}

/// What a request takes.
#[derive(Clone, Debug)]
struct Bill<'a> {
    client: &'a ClientId,
    recipient: Digest,
    mark: SendMark,
    charge: Charge,
}

/// Why a request was not let in; nothing is taken.
#[derive(Debug)]
pub enum Refused {
    /// A limit is reached until that moment.
    Until(Timestamp),
    /// The client's balance does not pay for it.
    OutOfBalance,
    /// DynamoDB did not answer.
    Aws(AwsError),
}

impl Admitted<'_> {
    /// A request that takes nothing.
    #[must_use]
    pub fn free() -> Self {
        Self {
            taken: None,
            failures: 0,
        }
    }

    /// How many guesses of the recipient had failed in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Gives back what was taken, because no message is sent. What cannot be given back is logged.
    pub async fn give_back(self, admitter: &Admitter) {
        if let Some(bill) = self.taken {
            admitter.give_back(&bill).await;
        }
    }
}

impl Admitter {
    /// Lets in as far as `recipients` and `usage` allow, and the stack as a whole: at most
    /// `daily_part_cap` SMS parts in a day of UTC, and test numbers only if they are allowed.
    #[must_use]
    pub fn new(
        recipients: Recipients,
        usage: Usage,
        daily_part_cap: Option<u32>,
        allow_test_numbers: bool,
    ) -> Self {
        Self {
            recipients,
            usage,
            daily_part_cap,
            allow_test_numbers,
        }
    }

    /// Whether clients may have test numbers.
    #[must_use]
    pub fn allows_test_numbers(&self) -> bool {
        self.allow_test_numbers
    }

    /// Lets the request `id` of `client` in, whose SMS has that many parts: two writes side by side,
    /// three if the stack has a cap.
    ///
    /// What a request takes is marked with its id and `at`, the moment it was made first: a call that
    /// takes a dead one over takes nothing twice.
    ///
    /// # Errors
    /// Why it was not let in.
    pub async fn admit<'a>(
        &self,
        client: &'a Client,
        recipient: Digest,
        id: RequestId,
        parts: usize,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Admitted<'a>, Refused> {
        let limits = &client.profile.limits;
        let bill = Bill {
            client: &client.id,
            recipient,
            mark: SendMark::new(at, id),
            charge: Charge {
                at,
                id,
                parts,
                prepaid: client.profile.prepaid,
            },
        };
        let caps = Caps {
            per_second: limits.per_second,
            per_day: limits.per_day,
            parts_per_day: None,
        };
        let account = Account::Client(&client.id);
        let (sent_to, charged, capped) = tokio::join!(
            self.recipients
                .admit(recipient, limits, client.max_attempts(), &bill.mark, now),
            self.usage.charge(account, bill.charge, caps),
            self.charge_stack(&bill),
        );
        let (Ok(Admission::Admitted { failures }), Ok(Taken::Taken), Ok(Taken::Taken)) =
            (&sent_to, &charged, &capped)
        else {
            self.give_back(&bill).await;
            return Err(refusal(sent_to, charged, capped));
        };
        let failures = *failures;
        Ok(Admitted {
            taken: Some(bill),
            failures,
        })
    }

    async fn charge_stack(&self, bill: &Bill<'_>) -> Result<Taken, AwsError> {
        let Some(cap) = self.daily_part_cap else {
            return Ok(Taken::Taken);
        };
        let caps = Caps {
            parts_per_day: Some(cap),
            ..Caps::default()
        };
        self.usage
            .charge(Account::Stack, bill.stack_charge(), caps)
            .await
    }

    /// Gives back what of `bill` was taken: the marks tell.
    async fn give_back(&self, bill: &Bill<'_>) {
        let account = Account::Client(bill.client);
        let (sent_to, charged, capped) = tokio::join!(
            self.recipients.give_back(bill.recipient, &bill.mark),
            self.usage.give_back(account, bill.charge),
            async {
                match self.daily_part_cap {
                    Some(_) => {
                        self.usage
                            .give_back(Account::Stack, bill.stack_charge())
                            .await
                    }
                    None => Ok(()),
                }
            },
        );
        for error in [sent_to, charged, capped]
            .into_iter()
            .filter_map(Result::err)
        {
            tracing::error!(%error, "what a request had taken could not be given back");
        }
    }
}

impl Bill<'_> {
    /// The stack has no balance.
    fn stack_charge(&self) -> Charge {
        Charge {
            prepaid: false,
            ..self.charge
        }
    }
}

/// The refusal that counts: an unanswered question, else the limit that holds the longest, else the
/// balance.
fn refusal(
    sent_to: Result<Admission, AwsError>,
    charged: Result<Taken, AwsError>,
    capped: Result<Taken, AwsError>,
) -> Refused {
    let mut longest = match sent_to {
        Ok(Admission::Refused { until }) => Some((until, Limit::Recipient)),
        Ok(Admission::Admitted { .. }) => None,
        Err(error) => return Refused::Aws(error),
    };
    for (taken, limit) in [(charged, Limit::Client), (capped, Limit::Stack)] {
        match taken {
            Ok(Taken::Refused { until }) if longest.is_none_or(|(held, _)| held < until) => {
                longest = Some((until, limit));
            }
            Ok(Taken::Refused { .. } | Taken::Taken | Taken::OutOfBalance) => {}
            Err(error) => return Refused::Aws(error),
        }
    }
    if let Some((until, limit)) = longest {
        metrics::refused(limit);
        Refused::Until(until)
    } else {
        metrics::refused(Limit::Balance);
        Refused::OutOfBalance
    }
}
