//! What one verification is known by.

use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::client::ClientId;
use crate::entropy::{self, EntropyError};
use crate::template::parse_hyphenated;

/// The name of a request, given to the caller and asked back with the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A fresh UUID of version 4 (RFC 9562 §5.4).
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        let bytes = entropy::bytes()?;
        Ok(Self(Builder::from_random_bytes(bytes).into_uuid()))
    }

    /// The id of the request that `client` made with this `Idempotency-Key`: a UUID of version 8
    /// (RFC 9562 §5.8), so that a repeated request meets its own item.
    #[must_use]
    pub fn of(client: &ClientId, key: &IdempotencyKey) -> Self {
        let mut hash = Sha256::new();
        hash.update((client.as_str().len() as u64).to_be_bytes());
        hash.update(client.as_str());
        hash.update(key.as_str());
        let hash = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Self(Uuid::new_v8(bytes))
    }

    /// Reads a UUID in its hyphenated form; anything else names no request.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        parse_hyphenated(written).map(Self)
    }

    /// Its last eight bytes, of which all bits but two are random.
    #[must_use]
    pub fn low_bits(&self) -> u64 {
        self.0.as_u64_pair().1
    }

    /// Its sixteen bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// What a caller names a call by, so that it may be repeated: 1–255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The header is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be 1 to 255 visible ASCII characters")]
pub struct IdempotencyKeyError;

impl IdempotencyKey {
    /// Reads the value of a header.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(written: &[u8]) -> Result<Self, IdempotencyKeyError> {
        let fits = (1..=255).contains(&written.len()) && written.iter().all(u8::is_ascii_graphic);
        let text = fits.then(|| String::from_utf8_lossy(written).into_owned());
        text.map(Self).ok_or(IdempotencyKeyError)
    }

    /// The key itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
