//! Clients of the API: who they are, the keys that prove it, and what they may do.

use std::collections::BTreeSet;
use std::fmt;

use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::phone::Country;
use crate::template::{Template, TemplateId};

/// What every API key starts with.
const KEY_PREFIX: &str = "2fa_";

/// How many characters of base 62 carry at least 256 random bits.
const KEY_SECRET_LENGTH: usize = 43;

/// The name of a client: 1–32 lower-case ASCII letters, digits and hyphens, no hyphen first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

/// The text is no client's name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be 1 to 32 lower-case letters, digits and hyphens, and not start with a hyphen")]
pub struct ClientIdError;

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

/// An API key, `2fa_<client id>_<43 characters of base 62>`; it cannot be printed.
#[derive(Debug)]
pub struct ApiKey {
    client: ClientId,
    whole: SecretString,
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
        })
    }

    /// The client that the key claims to be; only [`Client::accepts`] tells whether it is.
    #[must_use]
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// The only form in which a key is stored.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        KeyDigest(Sha256::digest(self.whole.expose_secret()).into())
    }
}

/// The SHA-256 of an API key. The key holds 256 random bits, so no slow hash is needed: there is
/// nothing to guess.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest([u8; 32]);

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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredKey {
    /// What is kept of the key.
    pub digest: KeyDigest,
    /// When it stops to be accepted, in milliseconds since the Unix epoch; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// The countries that a client may send to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeSet<Country>", into = "BTreeSet<Country>")]
pub enum Countries {
    /// Every country; stored as `*`.
    All,
    /// These and no others.
    Only(BTreeSet<Country>),
}

impl Countries {
    /// Whether the client may send to `country`.
    #[must_use]
    pub fn permit(&self, country: &Country) -> bool {
        match self {
            Self::All => true,
            Self::Only(permitted) => permitted.contains(country),
        }
    }
}

impl From<BTreeSet<Country>> for Countries {
    fn from(listed: BTreeSet<Country>) -> Self {
        if listed.contains(&Country::any()) {
            Self::All
        } else {
            Self::Only(listed)
        }
    }
}

impl From<Countries> for BTreeSet<Country> {
    fn from(countries: Countries) -> Self {
        match countries {
            Countries::All => Self::from([Country::any()]),
            Countries::Only(listed) => listed,
        }
    }
}

/// What is kept of a client beside its templates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Profile {
    /// What people call the client.
    pub name: String,
    /// The keys that are accepted.
    pub api_keys: Vec<StoredKey>,
    /// The countries that it may send to.
    pub countries: Countries,
    /// The most that one SMS may cost, in US dollars, as SNS's `MaxPrice` takes it; absent: the
    /// account's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<String>,
}

/// A client with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub id: ClientId,
    /// Who it is and what it may do.
    pub profile: Profile,
    /// What it may send, sorted by name.
    pub templates: Vec<Template>,
}

impl Client {
    /// Whether `key` is one of the client's and has not expired. Takes the same time for every key.
    #[must_use]
    pub fn accepts(&self, key: &ApiKey, now: Timestamp) -> bool {
        let digest = key.digest();
        let accepted = self.profile.api_keys.iter().map(|stored| {
            let live = stored
                .expires_at
                .is_none_or(|at| now < Timestamp::from_millis(at));
            stored.digest.0.ct_eq(&digest.0) & u8::from(live).into()
        });
        let none = subtle::Choice::from(0);
        (accepted.fold(none, |any, one| any | one)
            & self.id.0.as_bytes().ct_eq(key.client.0.as_bytes()))
        .into()
    }

    /// The client's template of that name.
    #[must_use]
    pub fn template(&self, id: TemplateId) -> Option<&Template> {
        self.templates.iter().find(|template| template.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str) -> ApiKey {
        ApiKey::parse(&format!("2fa_{client}_{}", "k".repeat(43))).unwrap()
    }

    fn client(stored: Vec<StoredKey>) -> Client {
        Client {
            id: ClientId::parse("demo").unwrap(),
            profile: Profile {
                name: "Demo".to_owned(),
                api_keys: stored,
                countries: Countries::All,
                max_price: None,
            },
            templates: Vec::new(),
        }
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
    fn a_key_is_accepted_until_it_expires() {
        let digest = key("demo").digest();
        let expiring = client(vec![StoredKey {
            digest,
            expires_at: Some(1_000),
        }]);
        assert!(expiring.accepts(&key("demo"), Timestamp::from_millis(999)));
        assert!(!expiring.accepts(&key("demo"), Timestamp::from_millis(1_000)));
        let now = Timestamp::from_millis(0);
        assert!(
            client(vec![StoredKey {
                digest,
                expires_at: None
            }])
            .accepts(&key("demo"), now)
        );
        assert!(!client(Vec::new()).accepts(&key("demo"), now));
        let another = key("other").digest();
        let stolen = client(vec![StoredKey {
            digest: another,
            expires_at: None,
        }]);
        assert!(
            !stolen.accepts(&key("other"), now),
            "a key of another client"
        );
    }

    #[test]
    fn a_star_permits_every_country() {
        let countries = |json| serde_json::from_str::<Countries>(json).unwrap();
        let number = crate::phone::PhoneNumber::parse("+447400123456").unwrap();
        assert!(countries(r#"["*"]"#).permit(number.country()));
        assert!(countries(r#"["DE","GB"]"#).permit(number.country()));
        assert!(!countries(r#"["DE"]"#).permit(number.country()));
        assert!(!countries("[]").permit(number.country()));
    }

    #[test]
    fn a_key_does_not_print() {
        assert!(!format!("{:?}", key("demo")).contains("kkk"));
    }
}
