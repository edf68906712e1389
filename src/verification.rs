//! What one verification is known by.

use std::fmt;

use serde::Serialize;
use uuid::{Builder, Uuid};

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

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
