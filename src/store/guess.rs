//! A guess: the attempt is counted, the code compared and consumed, in one write.
//!
//! The code's digest is the *name* of an attribute of the verification, so that one conditional write
//! counts a guess, compares it and consumes the code: `if_not_exists(<digest of the guess>, state)` is
//! `"verified"` for the right code and the old state for any other. DynamoDB orders the writes of an
//! item, so no interleaving of callers compares more than `max_attempts` guesses or succeeds twice.

use aws_sdk_dynamodb::types::ReturnValue;
use aws_smithy_async::rt::sleep::AsyncSleep as _;

use crate::aws::error::AwsError;
use crate::aws::{self, GUESS_TIMEOUT};
use crate::clock::Timestamp;
use crate::domain::ids::{CallId, ClientId, RequestId};
use crate::domain::key_set::GuessDigests;

use super::begin::{OPEN, VERIFIED};
use super::value::{Item, integer, number, refused, text};
use super::{Verifications, code_attribute};

/// The table's word on a guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The right code, for the first time.
    Verified {
        /// The recipient whose failures are to be forgotten, if there may be any.
        failed: Option<String>,
        /// The end of the code: a failure after it is not to be forgotten.
        expires_at: Timestamp,
    },
    /// A wrong code; it is counted.
    NotMatched {
        /// The recipient whose failure it is, unless it is a test number's or the right code followed.
        recipient: Option<String>,
    },
    /// No such code, or not any more; nothing is counted.
    NotFound,
}

impl Verifications {
    /// Counts, compares and consumes a guess: one write, whatever comes of it.
    ///
    /// A call that is sent again after its write has landed finds its id in the item and gives the same
    /// answer; it counts nothing.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn guess(
        &self,
        id: RequestId,
        client: &ClientId,
        guess: GuessDigests,
        call: &CallId,
        now: Timestamp,
    ) -> Result<Verdict, AwsError> {
        let attempt = ["try#", call.as_str()].concat();
        let update = || {
            self.update(&self.for_guesses, &id.to_string())
                .update_expression(
                    "SET attempts = attempts + :one, #try = attempts + :one, #state = \
                 if_not_exists(#current, if_not_exists(#next, if_not_exists(#previous, #state)))",
                )
                .condition_expression(
                    "client = :client AND expires_at > :now AND attempts < max_attempts \
                 AND #state = :open AND attribute_not_exists(#try)",
                )
                .expression_attribute_names("#state", "state")
                .expression_attribute_names("#current", code_attribute(guess.current))
                .expression_attribute_names("#next", code_attribute(guess.next))
                .expression_attribute_names("#previous", code_attribute(guess.previous))
                .expression_attribute_names("#try", &attempt)
                .expression_attribute_values(":client", text(client.as_str()))
                .expression_attribute_values(":now", number(now.as_millis()))
                .expression_attribute_values(":one", number(1))
                .expression_attribute_values(":open", text(OPEN))
                .return_values(ReturnValue::AllNew)
        };
        let answer = async || match Box::pin(update().send()).await {
            // What was counted has the attempt in it; else it is no answer.
            Ok(new) => Ok(new.attributes.filter(|item| item.contains_key(&attempt))),
            Err(error) => refused(&error).map(Some),
        };
        if let Some(item) = answer().await? {
            return Ok(verdict(&item, &attempt));
        }
        let again = async {
            loop {
                self.sleep.sleep(aws::backoff(1)).await;
                if let Some(item) = answer().await? {
                    return Ok(verdict(&item, &attempt));
                }
            }
        };
        let again = self.within(GUESS_TIMEOUT, again).await;
        again.unwrap_or_else(|| Err(AwsError::incomplete("UpdateItem")))
    }

    /// Whether a guess would be compared: one strongly consistent read.
    ///
    /// # Errors
    /// When DynamoDB does not answer.
    pub async fn is_open(
        &self,
        id: RequestId,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<bool, AwsError> {
        let item = self.read(&id.to_string()).await?.unwrap_or_default();
        let number = |name| integer::<i64>(item.get(name)).unwrap_or_default();
        Ok(item.get("client") == Some(&text(client.as_str()))
            && number("expires_at") > now.as_millis()
            && number("attempts") < number("max_attempts")
            && item.get("state") == Some(&text(OPEN)))
    }
}

/// The answer to the guess that was counted as `attempt`, from the item as it is. Nothing is counted
/// after the right guess, so the winner's number is the number of guesses.
fn verdict(item: &Item, attempt: &str) -> Verdict {
    let Some(counted_as) = item.get(attempt) else {
        return Verdict::NotFound;
    };
    let recipient = item.get("recipient").and_then(|value| value.as_s().ok());
    let recipient = recipient.cloned();
    if item.get("state") != Some(&text(VERIFIED)) {
        return Verdict::NotMatched { recipient };
    }
    if item.get("attempts") != Some(counted_as) {
        return Verdict::NotMatched { recipient: None };
    }
    // Failures when the verification began, or at this very code.
    let clean = !item.contains_key("failures") && counted_as == &number(1);
    Verdict::Verified {
        failed: recipient.filter(|_| !clean),
        expires_at: Timestamp::from_millis(integer(item.get("expires_at")).unwrap_or_default()),
    }
}
