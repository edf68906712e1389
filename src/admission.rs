//! Who is let in: the limits of the recipient, of the client and of the stack, taken side by side,
//! and given back together when the message is not sent.

use crate::aws::AwsError;
use crate::client::{Client, ClientId};
use crate::clock::Timestamp;
use crate::entropy::EntropyError;
use crate::metrics::{self, Limit};
use crate::secret::Digest;
use crate::store::{
    Account, Admission, Caps, Charge, Receipt, Recipients, SendMark, Slip, Taken, Usage,
};

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
    caps: Caps,
    slip: &'a Slip,
    earlier: &'a [Receipt],
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

    /// What a call that begins `now` knows its charges by.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn slip(&self, now: Timestamp) -> Result<Slip, EntropyError> {
        self.usage.slip(now)
    }

    /// Lets the request `id` of `client` in, whose SMS has that many parts: two writes side by side,
    /// three if the stack has a cap.
    ///
    /// What a request takes of its recipient is marked with its id and `at`, the moment it was made
    /// first, and what it takes of the client and the stack with the receipt of `slip`. A call that
    /// takes over dead ones has theirs too, as `earlier`, and takes nothing twice.
    ///
    /// # Errors
    /// Why it was not let in.
    pub async fn admit<'a>(
        &self,
        client: &'a Client,
        recipient: Digest,
        charge: Charge,
        (slip, earlier): (&'a Slip, &'a [Receipt]),
        now: Timestamp,
    ) -> Result<Admitted<'a>, Refused> {
        let limits = &client.profile.limits;
        let bill = Bill {
            client: &client.id,
            recipient,
            mark: SendMark::new(charge.at, charge.id),
            charge,
            caps: Caps {
                per_second: limits.per_second,
                per_day: limits.per_day,
                parts_per_day: None,
            },
            slip,
            earlier,
        };
        let account = Account::Client(&client.id);
        let (sent_to, charged, capped) = tokio::join!(
            self.recipients
                .admit(recipient, limits, client.max_attempts(), &bill.mark, now),
            self.usage
                .charge(account, bill.charge, bill.caps, slip, earlier),
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
        let Some(caps) = self.stack_caps() else {
            return Ok(Taken::Taken);
        };
        let charge = bill.stack_charge();
        self.usage
            .charge(Account::Stack, charge, caps, bill.slip, bill.earlier)
            .await
    }

    fn stack_caps(&self) -> Option<Caps> {
        let parts_per_day = Some(self.daily_part_cap?);
        Some(Caps {
            parts_per_day,
            ..Caps::default()
        })
    }

    /// Gives back what of `bill` was taken: the marks tell.
    async fn give_back(&self, bill: &Bill<'_>) {
        let account = Account::Client(bill.client);
        let (slip, earlier) = (bill.slip, bill.earlier);
        let in_doubt = slip.is_in_doubt();
        let (sent_to, charged, capped) = tokio::join!(
            self.recipients.give_back(bill.recipient, &bill.mark),
            self.usage
                .give_back(account, bill.charge, bill.caps, slip, earlier, in_doubt),
            async {
                let Some(caps) = self.stack_caps() else {
                    return Ok(());
                };
                let charge = bill.stack_charge();
                self.usage
                    .give_back(Account::Stack, charge, caps, slip, earlier, in_doubt)
                    .await
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
