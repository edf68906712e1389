//! API keys: what a caller proves itself with, and what is kept of it.

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::domain::ids::ClientId;
use crate::entropy::{self, EntropyError};

/// The prefix of every API key.
const KEY_PREFIX: &str = "2fa_";

/// The length of a key's secret: characters of base 62 that carry at least 256 random bits.
const KEY_SECRET_LENGTH: usize = 43;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The most live keys of a client: two, so that a key can be replaced without downtime.
pub const MAX_KEYS: usize = 2;

/// An API key, `2fa_<client id>_<43 characters of base 62>`; it cannot be printed.
#[derive(Debug)]
pub struct ApiKey {
    client: ClientId,
    whole: SecretString,
    digest: KeyDigest,
}

impl ApiKey {
    /// Reads a key as a caller sent it; `None` for what cannot be one.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let (client, secret) = written.strip_prefix(KEY_PREFIX)?.rsplit_once('_')?;
        let secret_fits = secret.len() == KEY_SECRET_LENGTH
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let client = ClientId::parse(client).ok()?;
        secret_fits.then(|| Self {
            client,
            whole: written.into(),
            digest: KeyDigest::of(written),
        })
    }

    /// A fresh key of `client`.
    ///
    /// # Errors
    /// When the operating system's generator fails.
    pub fn random(client: &ClientId) -> Result<Self, EntropyError> {
        let secret = entropy::string(KEY_SECRET_LENGTH, BASE62)?;
        let whole = format!("{KEY_PREFIX}{client}_{secret}");
        Ok(Self {
            client: client.clone(),
            digest: KeyDigest::of(&whole),
            whole: whole.into(),
        })
    }

    /// A key that is nobody's: what a caller without one is taken to bear.
    pub(crate) fn nobodys() -> Self {
        Self {
            client: ClientId::nobody(),
            digest: KeyDigest::of(""),
            whole: String::new().into(),
        }
    }

    /// The whole key, to be shown once to the operator who asked for it, and to nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }

    /// The client that the key claims to be; only [`Client::accepts`] tells whether it is.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The only form in which a key is stored.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        self.digest
    }
}

/// The SHA-256 of an API key. The key holds 256 random bits, so no slow hash is needed: there is
/// nothing to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest([u8; 32]);

/// The number of hexadecimal digits in a key's id.
pub const KEY_ID_LENGTH: usize = 8;

impl KeyDigest {
    fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// The key's id for operators and the log: the first eight digits of its digest. They reveal nothing of it.
    #[must_use]
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.0[..KEY_ID_LENGTH / 2])
    }
}

/// The text is no digest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be 64 lower-case hexadecimal digits")]
pub struct KeyDigestError;

impl TryFrom<String> for KeyDigest {
    type Error = KeyDigestError;

    fn try_from(hex: String) -> Result<Self, KeyDigestError> {
        let bytes = HEXLOWER
            .decode(hex.as_bytes())
            .map_err(|_| KeyDigestError)?;
        bytes.try_into().map(Self).map_err(|_| KeyDigestError)
    }
}

impl From<KeyDigest> for String {
    fn from(digest: KeyDigest) -> Self {
        HEXLOWER.encode(&digest.0)
    }
}

/// One of a client's keys, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    /// The key's digest, the only form that is stored.
    pub digest: KeyDigest,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When it stops to be accepted, in milliseconds since the Unix epoch; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl ConstantTimeEq for KeyDigest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl StoredKey {
    /// The key's id; see [`KeyDigest::id`].
    #[must_use]
    pub fn id(&self) -> String {
        self.digest.id()
    }

    /// Whether the key is accepted at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at
            .is_none_or(|at| now < Timestamp::from_millis(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str) -> ApiKey {
        ApiKey::parse(&format!("2fa_{client}_{}", "k".repeat(43))).unwrap()
    }

    #[test]
    fn a_key_names_its_client() {
        assert_eq!(key("demo-2").client().as_str(), "demo-2");
        let secret = "k".repeat(43);
        for malformed in [
            "",
            "2fa_",
            "demo",
            &secret,
            &format!("2fa__{secret}"),
            &format!("2fa_Demo_{secret}"),
            &format!("2fa_demo_{secret}k"),
            &format!("2fa_demo_{}-", &secret[1..]),
            &format!("2fa_-demo_{secret}"),
            &format!("2fa_demo_x_{secret}"),
            &format!("demo_{secret}"),
        ] {
            assert!(ApiKey::parse(malformed).is_none(), "{malformed}");
        }
    }

    #[test]
    fn a_fresh_key_reads_as_one_of_its_client() {
        let client = ClientId::parse("demo").unwrap();
        let fresh = ApiKey::random(&client).unwrap();
        let read = ApiKey::parse(fresh.expose()).unwrap();
        assert_eq!(read.client(), &client);
        assert_eq!(read.digest(), fresh.digest());
        assert_ne!(ApiKey::random(&client).unwrap().digest(), fresh.digest());
    }

    #[test]
    fn a_key_does_not_print() {
        assert!(!format!("{:?}", key("demo")).contains("kkk"));
    }
}
