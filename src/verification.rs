//! What one verification is known by.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::entropy::{self, EntropyError};
use crate::secret::Digest;
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

    /// The id of a request with an `Idempotency-Key`, from the digest of client and key: a UUID of
    /// version 8 (RFC 9562 §5.8), so that a repeated request meets its own verification.
    #[must_use]
    pub(crate) fn of(key: Digest) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&key.as_bytes()[..16]);
        Self(Uuid::new_v8(bytes))
    }

    /// Reads a UUID in its hyphenated form; anything else names no request.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        parse_hyphenated(written).map(Self)
    }

    /// Its sixteen bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

/// The name of one of our own calls, by which it knows its own writes again: 22 characters of URL-safe
/// Base64, 128 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallId(String);

impl CallId {
    /// A name that no other call has.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        Ok(Self(BASE64URL_NOPAD.encode(&entropy::bytes::<16>()?)))
    }

    /// The name of a call that may be repeated under the same one.
    #[must_use]
    pub(crate) fn of(digest: Digest) -> Self {
        Self(BASE64URL_NOPAD.encode(&digest.as_bytes()[..16]))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The caller's name for a call, so that it may be repeated: 1–255 visible ASCII characters.
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
