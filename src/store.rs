//! Every DynamoDB expression of the product: the two tables and what is said to them.
//!
//! | module | says |
//! |---|---|
//! | `begin` | a request begins, is marked as sent, undone, taken over |
//! | `guess` | a guess is counted, compared and consumed |
//! | `recipients` | when a recipient may be sent to, what failed, and an operator's look at one |
//! | `usage` | caps, counts and balances |
//! | `transaction` | how a transaction is tried until its outcome is known |
//! | `directory` | clients and templates |
//! | `change`, `audit` | what operators change, and the record of it |

mod audit;
mod begin;
mod change;
mod directory;
mod guess;
mod recipients;
mod transaction;
mod usage;
mod value;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use aws_smithy_async::future::timeout::Timeout;
use aws_smithy_async::rt::sleep::{AsyncSleep as _, SharedAsyncSleep};

use crate::aws::{self, TRANSACTION_ATTEMPT_TIMEOUT};
use crate::domain::digest::Digest;

use value::text;

pub use audit::Record;
pub use begin::{Begun, Keyed, Met, NewVerification, Progress, Undone};
pub use change::{Change, ChangeError, Changes, MAX_ITEMS};
pub use directory::{Directory, DirectoryError, KEEP};
pub use guess::Verdict;
pub use recipients::{Charge, RecipientState};
pub use transaction::Call;
pub use usage::{Cap, CapOutcome, UsageCounter, UsageState};

/// The table of verifications, recipients, usage and balances; clones share its connections.
#[derive(Clone, Debug)]
pub struct Verifications {
    dynamodb: aws_sdk_dynamodb::Client,
    /// For a write whose outcome is the answer.
    for_guesses: aws_sdk_dynamodb::Client,
    /// For transactions, which make their own attempts, and for what must not be repeated.
    once: aws_sdk_dynamodb::Client,
    sleep: SharedAsyncSleep,
    table: Arc<str>,
}

impl Verifications {
    /// The verifications in `table`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: &str) -> Self {
        Self {
            for_guesses: aws::for_guesses(&dynamodb),
            once: aws::once(&dynamodb, TRANSACTION_ATTEMPT_TIMEOUT),
            sleep: aws::sleep(&dynamodb),
            dynamodb,
            table: table.into(),
        }
    }

    /// Does `work` within that time; `None` when it was given up.
    pub async fn within<T>(&self, longest: Duration, work: impl Future<Output = T>) -> Option<T> {
        Timeout::new(work, self.sleep.sleep(longest)).await.ok()
    }

    /// An update of one item, which tells the item that its condition fails on.
    fn update(&self, dynamodb: &aws_sdk_dynamodb::Client, id: &str) -> UpdateItemFluentBuilder {
        dynamodb
            .update_item()
            .table_name(&*self.table)
            .key("id", text(id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn code_attribute(digest: Digest) -> String {
    ["code#", &digest.encode()].concat()
}
