//! The messages that the laptop's SNS took, instead of sending them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use twofa::domain::message::{Encoding, Sms};
use twofa::domain::phone::PhoneNumber;
use uuid::Uuid;

/// The most messages that are kept; the oldest go first.
const KEPT: usize = 1_000;

/// A message as the recipient's phone would show it.
#[derive(Clone, Serialize)]
pub struct Message {
    /// SNS's name for it.
    pub message_id: String,
    /// The recipient, in E.164 form.
    pub to: String,
    /// The sender id or number; none where the network chooses one.
    pub from: Option<String>,
    /// The text.
    pub text: String,
    /// The number of parts that a network would carry.
    pub parts: usize,
    /// The alphabet that the text needs.
    pub encoding: Encoding,
    /// When SNS took it (RFC 3339).
    pub sent_at: Timestamp,
    /// The message attributes that it was published with.
    #[serde(skip)]
    pub attributes: BTreeMap<String, String>,
}

/// An error that SNS documents for `Publish`, to be answered instead of taking a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum InjectedError {
    /// The number is opted out.
    OptedOut,
    /// A parameter is not valid.
    InvalidParameter,
    /// The caller has no right to publish.
    AuthorizationError,
    /// Too many messages.
    Throttled,
    /// SNS failed.
    InternalError,
}

/// Numbers that never take a message here, and what SNS says of them.
const FAILING: [(&str, InjectedError); 5] = [
    ("+447400999901", InjectedError::OptedOut),
    ("+447400999902", InjectedError::InvalidParameter),
    ("+447400999903", InjectedError::AuthorizationError),
    ("+447400999904", InjectedError::Throttled),
    ("+447400999905", InjectedError::InternalError),
];

impl InjectedError {
    /// The fault that this number, in E.164 form, always meets.
    pub(crate) fn of_number(number: &str) -> Option<Self> {
        let (_, fault) = FAILING.iter().find(|(failing, _)| *failing == number)?;
        Some(*fault)
    }
}

/// The inbox; clones share one.
#[derive(Clone)]
pub struct Inbox {
    content: Arc<Mutex<Content>>,
    arrivals: broadcast::Sender<Message>,
}

#[derive(Default)]
struct Content {
    messages: VecDeque<Message>,
    faults: VecDeque<InjectedError>,
    publishes: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            content: Arc::default(),
            arrivals: broadcast::channel(64).0,
        }
    }
}

impl Inbox {
    /// Takes a message, newest first, and returns its id.
    pub(crate) fn take(&self, to: &str, sms: &Sms, attributes: BTreeMap<String, String>) -> String {
        let attribute = |name: &str| attributes.get(name).cloned();
        let message = Message {
            message_id: Uuid::new_v4().to_string(),
            to: to.to_owned(),
            from: attribute("AWS.SNS.SMS.SenderID")
                .or_else(|| attribute("AWS.MM.SMS.OriginationNumber")),
            text: sms.expose().to_owned(),
            parts: sms.parts(),
            encoding: sms.encoding(),
            sent_at: now(),
            attributes,
        };
        let mut content = self.content();
        content.messages.push_front(message.clone());
        content.messages.truncate(KEPT);
        drop(content);
        let id = message.message_id.clone();
        // Nobody may be looking: that is no error.
        let _ = self.arrivals.send(message);
        id
    }

    /// The messages to `recipient`, or all, newest first.
    #[must_use]
    pub fn messages(&self, recipient: Option<&PhoneNumber>) -> Vec<Message> {
        let content = self.content();
        let to_them = |message: &&Message| recipient.is_none_or(|to| to.expose() == message.to);
        content.messages.iter().filter(to_them).cloned().collect()
    }

    /// The same, after at most `patience` if there is none yet.
    pub async fn wait(&self, recipient: Option<&PhoneNumber>, patience: Duration) -> Vec<Message> {
        let mut arrivals = self.arrivals();
        let arrived = async {
            while self.messages(recipient).is_empty() {
                if let Err(RecvError::Closed) = arrivals.recv().await {
                    break;
                }
            }
        };
        // After the wait it is looked into in any case.
        let _ = tokio::time::timeout(patience, arrived).await;
        self.messages(recipient)
    }

    /// Forgets all messages.
    pub fn empty(&self) {
        self.content().messages.clear();
    }

    /// The messages that arrive from now on.
    #[must_use]
    pub fn arrivals(&self) -> broadcast::Receiver<Message> {
        self.arrivals.subscribe()
    }

    /// Has the next publishes fail, one with each of `faults`.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = InjectedError>) {
        self.content().faults.extend(faults);
    }

    /// The number of calls of `Publish`, whatever SNS answered.
    #[must_use]
    pub fn publishes(&self) -> usize {
        self.content().publishes
    }

    /// Counts a call and gives the fault to answer it with, if there is one.
    pub(crate) fn next_fault(&self) -> Option<InjectedError> {
        let mut content = self.content();
        content.publishes += 1;
        content.faults.pop_front()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The present, to the millisecond.
fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}
