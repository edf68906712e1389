//! Transactions, tried until their outcome is known.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use aws_smithy_async::rt::sleep::{AsyncSleep as _, SharedAsyncSleep};

use crate::aws;
use crate::aws::error::{AwsError, AwsErrorKind};
use crate::domain::ids::CallId;
use crate::entropy::EntropyError;
use crate::metrics;

use super::Verifications;
use super::value::Item;

/// The codes of cancelled items that another attempt may write.
const PASSING: [&str; 4] = [
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "ThrottlingError",
    "TransactionConflict",
];

/// One of our own calls: its id, and the outcome of its transactions as far as it is known.
#[derive(Debug)]
pub struct Call {
    id: CallId,
    transactions: AtomicU32,
    doubt: AtomicBool,
}

impl Call {
    /// A call with an id that no other has.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn new() -> Result<Self, EntropyError> {
        Ok(Self {
            id: CallId::random()?,
            transactions: AtomicU32::new(0),
            doubt: AtomicBool::new(false),
        })
    }

    /// The call's id.
    #[must_use]
    pub fn id(&self) -> &CallId {
        &self.id
    }

    /// Whether an attempt got no answer, so that it may have landed or still land.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.doubt.load(Ordering::Relaxed)
    }

    /// A client request token for the call's next transaction: at most 36 characters.
    fn token(&self) -> String {
        let number = self.transactions.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.id.as_str())
    }
}

/// An item whose condition did not hold, so that nothing of the transaction was written.
#[derive(Debug)]
pub(super) struct Cancelled {
    /// The first one's place in the transaction.
    pub(super) index: usize,
    /// The item as it was; none where there is no such item.
    pub(super) met: Option<Item>,
}

impl Verifications {
    /// Writes all of `items` or none, as one transaction of `call`; see [`transact`]. Only [`Self::within`]
    /// ends it.
    ///
    /// # Errors
    /// When it can never be done. Without a doubt nothing is written.
    pub(super) async fn transact(
        &self,
        call: &Call,
        items: Vec<TransactWriteItem>,
    ) -> Result<Option<Cancelled>, AwsError> {
        transact(&self.once, &self.sleep, &call.token(), &call.doubt, items).await
    }
}

/// Writes all of `items` or none: two units for each KB of each item. All attempts bear one client request
/// token, so that the transaction is done once however often it is sent.
///
/// Conflicts with others and throttling are tried again, and so is an attempt without an answer, which
/// leaves it in `doubt` until a later one succeeds. It goes on until it is given up: a transaction that is
/// stuck holds its items for seconds.
///
/// # Errors
/// When it can never be done. Without a doubt nothing is written.
pub(super) async fn transact(
    once: &aws_sdk_dynamodb::Client,
    sleep: &SharedAsyncSleep,
    token: &str,
    doubt: &AtomicBool,
    items: Vec<TransactWriteItem>,
) -> Result<Option<Cancelled>, AwsError> {
    let set_doubt = |in_doubt| doubt.store(in_doubt, Ordering::Relaxed);
    let before = doubt.load(Ordering::Relaxed);
    let (mut in_doubt, mut attempts) = (before, 0);
    loop {
        // It is in doubt while it is on its way, in case nobody waits for its end.
        set_doubt(true);
        let written = once
            .transact_write_items()
            .client_request_token(token)
            .set_transact_items(Some(items.clone()));
        let written = Box::pin(written.send()).await;
        let Err(error) = written else {
            set_doubt(before);
            return Ok(None);
        };
        let fate = AttemptOutcome::of(&error);
        in_doubt |= fate == AttemptOutcome::Unknown;
        set_doubt(in_doubt);
        match fate {
            AttemptOutcome::Refused => {
                metrics::aws_answered();
                return cancelled(&error).map(Some);
            }
            AttemptOutcome::Failed => return Err(AwsError::new(OPERATION, &error)),
            AttemptOutcome::Unknown | AttemptOutcome::Passing => {
                attempts += 1;
                sleep.sleep(aws::backoff(attempts)).await;
                metrics::aws_called_again();
            }
        }
    }
}

/// The operation, as AWS calls it.
pub(super) const OPERATION: &str = "TransactWriteItems";

/// The outcome of an attempt that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptOutcome {
    /// A condition does not hold.
    Refused,
    /// It is not done, and may be later.
    Passing,
    /// It may be done.
    Unknown,
    /// It is not done, and never will be.
    Failed,
}

impl AttemptOutcome {
    fn of(error: &SdkError<TransactWriteItemsError>) -> Self {
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                match first(cancelled.cancellation_reasons()).and_then(|(_, reason)| reason.code())
                {
                    Some(code) if PASSING.contains(&code) => Self::Passing,
                    Some("ConditionalCheckFailed") => Self::Refused,
                    // A cancellation without its reasons tells nothing.
                    None => Self::Unknown,
                    Some(_) => Self::Failed,
                }
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => Self::Unknown,
            _ => match AwsErrorKind::of(error) {
                AwsErrorKind::NotConnected | AwsErrorKind::Throttled => Self::Passing,
                kind if kind.is_unknown() => Self::Unknown,
                _ => Self::Failed,
            },
        }
    }
}

/// The first item that was not written for a reason of its own. What stands before another in a
/// transaction comes before it here, a conflict too: nothing is believed of those behind it.
fn first(reasons: &[CancellationReason]) -> Option<(usize, &CancellationReason)> {
    let is_one = |reason: &CancellationReason| reason.code().is_some_and(|code| code != "None");
    let mut reasons = reasons.iter().enumerate();
    reasons.find(|(_, reason)| is_one(reason))
}

fn cancelled(error: &SdkError<TransactWriteItemsError>) -> Result<Cancelled, AwsError> {
    let reasons = match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    };
    let (index, reason) = first(reasons).ok_or_else(|| AwsError::new(OPERATION, error))?;
    Ok(Cancelled {
        index,
        met: reason.item().cloned(),
    })
}
