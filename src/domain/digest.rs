//! Digests: the only thing that is stored of a code or of a phone number.

use data_encoding::BASE64URL_NOPAD;

/// An HMAC-SHA-256, the only thing that is stored of a code or of a phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// 43 characters of URL-safe Base64, as it is stored.
    #[must_use]
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Its 32 bytes.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
