//! Ids: of clients, templates, verifications, calls and changes.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::{Builder, Uuid};

use crate::domain::digest::Digest;
use crate::entropy::{self, EntropyError};

/// The name of a client: 1–32 lower-case ASCII letters, digits and hyphens, no hyphen first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

/// The text is no client's name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be 1 to 32 lower-case letters, digits and hyphens, and not start with a hyphen")]
pub struct ClientIdError;

/// The prefix of such clients' names; the check's policy allows it no others.
const PRE_TRAFFIC: &str = "pre-traffic-";

impl ClientId {
    /// Reads a client's name.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(written: &str) -> Result<Self, ClientIdError> {
        let fits = (1..=32).contains(&written.len()) && !written.starts_with('-');
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (fits && written.bytes().all(allowed))
            .then(|| Self(written.to_owned()))
            .ok_or(ClientIdError)
    }

    /// A name that only the check of a deployment gives to a client, for the minute that it takes.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn pre_traffic() -> Result<Self, EntropyError> {
        let random = entropy::string(16, b"abcdefghijklmnopqrstuvwxyz0123456789")?;
        Ok(Self(format!("{PRE_TRAFFIC}{random}")))
    }

    /// Whether the check of a deployment gave this name: such a client may have test numbers on every
    /// stack, and no operator may make one.
    #[must_use]
    pub fn is_pre_traffic(&self) -> bool {
        self.0.starts_with(PRE_TRAFFIC)
    }

    /// The name that is asked for where there is none.
    pub(crate) fn nobody() -> Self {
        Self("nobody".to_owned())
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ClientId {
    type Error = ClientIdError;

    fn try_from(written: String) -> Result<Self, ClientIdError> {
        Self::parse(&written)
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateId(Uuid);

impl TemplateId {
    /// A fresh random id.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        let bytes = entropy::bytes()?;
        Ok(Self(Builder::from_random_bytes(bytes).into_uuid()))
    }

    /// Reads a UUID in its hyphenated form; anything else names no template.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        parse_hyphenated(written).map(Self)
    }
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of an operator's change, and the version of the profile that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Uuid);

impl Version {
    /// An id that no other change has.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random() -> Result<Self, EntropyError> {
        let bytes = entropy::bytes()?;
        Ok(Self(Builder::from_random_bytes(bytes).into_uuid()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

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

/// Reads a UUID written as RFC 9562 §4 does, in either case.
fn parse_hyphenated(written: &str) -> Option<Uuid> {
    (written.len() == uuid::fmt::Hyphenated::LENGTH)
        .then(|| Uuid::try_parse(written).ok())
        .flatten()
}
