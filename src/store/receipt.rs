//! How a call knows its own charges again.
//!
//! A process has a slot for each call that runs in it, and a usage item has an attribute for each slot:
//! the newest receipt of its calls. The item grows with the calls that run at once, not with those of
//! the last minute. A slot goes to the next call only when no write of the last can still arrive.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use data_encoding::BASE64URL_NOPAD;

use crate::clock::Timestamp;
use crate::entropy::{self, EntropyError};

/// The slots of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<Free>>);

#[derive(Debug, Default)]
struct Free {
    /// What tells this process from all others; drawn at its first call.
    process: Option<String>,
    slots: Vec<u32>,
    next: u32,
}

/// The slot of a call, with a receipt that no other call has.
#[derive(Debug)]
pub struct Slip {
    receipt: Receipt,
    slot: u32,
    /// The writes whose end is not known, those among them that were made more than once.
    doubts: AtomicU32,
    slots: Slots,
}

/// The name of a slot, the second of its call, and 48 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(String);

impl Slots {
    /// A slot for a call.
    pub(super) fn take(&self, now: Timestamp) -> Result<Slip, EntropyError> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = if let Some(process) = &free.process {
            process.clone()
        } else {
            let drawn = BASE64URL_NOPAD.encode(&entropy::bytes::<6>()?);
            free.process.insert(drawn).clone()
        };
        let number = BASE64URL_NOPAD.encode(&entropy::bytes::<6>()?);
        let slot = free.slots.pop().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        });
        Ok(Slip {
            receipt: Receipt(format!(
                "{process}{slot}.{}.{number}",
                now.as_millis().div_euclid(1000)
            )),
            slot,
            doubts: AtomicU32::new(0),
            slots: self.clone(),
        })
    }
}

impl Slip {
    /// The call's receipt.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Whether a write of this call may still arrive.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubts.load(Ordering::Relaxed) > 0
    }

    /// A write begins that is of this slot.
    pub(super) fn begin(&self) -> Attempts {
        self.doubts.fetch_add(1, Ordering::Relaxed);
        Attempts(Arc::default())
    }

    /// It ended with an answer: what was sent once only is over.
    pub(super) fn answered(&self, attempts: &Attempts) {
        if attempts.0.load(Ordering::Relaxed) <= 1 {
            self.doubts.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if *self.doubts.get_mut() == 0 {
            let mut free = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
            free.slots.push(self.slot);
        }
    }
}

impl Receipt {
    /// Reads a stored receipt.
    pub(super) fn read(written: &str) -> Option<Self> {
        written.contains('.').then(|| Self(written.to_owned()))
    }

    /// As it is stored with a claim.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The attribute of its slot in a usage item.
    pub(super) fn attribute(&self) -> String {
        let slot = self.0.split('.').next().unwrap_or_default();
        format!("{SLOT}{slot}")
    }

    /// The item of its slot among those that share a client's load: the first of the random
    /// characters that its process is known by.
    pub(super) fn shard(&self) -> &str {
        self.0.get(..1).unwrap_or_default()
    }

    /// What its slot holds, but for what became of it.
    pub(super) fn entry(&self) -> String {
        let entry = self.0.split_once('.').map(|(_, entry)| entry);
        format!("{}.", entry.unwrap_or_default())
    }

    /// What its slot holds after it has taken something.
    pub(super) fn taken(&self) -> String {
        self.entry() + "taken"
    }
}

/// The shards that there can be.
pub(super) fn shards() -> impl Iterator<Item = String> {
    (0..64_u8).map(|bits| BASE64URL_NOPAD.encode(&[bits << 2])[..1].to_owned())
}

/// How the attributes of slots begin.
pub(super) const SLOT: &str = "slot#";

/// Counts how often one write is sent.
#[derive(Clone, Debug)]
pub(super) struct Attempts(Arc<AtomicU32>);

impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
