//! Clients of the API: who they are, the keys that prove it, and what they may do.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use data_encoding::HEXLOWER;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::entropy::{self, EntropyError};
use crate::phone::{Country, NumberType};
use crate::template::{TTL_SECONDS, Template, TemplateId};

/// What every API key starts with.
const KEY_PREFIX: &str = "2fa_";

/// How many characters of base 62 carry at least 256 random bits.
const KEY_SECRET_LENGTH: usize = 43;

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How many keys of a client may live at once, so that one can be exchanged without downtime.
pub const MAX_KEYS: usize = 2;

/// The name of a client: 1–32 lower-case ASCII letters, digits and hyphens, no hyphen first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientId(String);

/// The text is no client's name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("must be 1 to 32 lower-case letters, digits and hyphens, and not start with a hyphen")]
pub struct ClientIdError;

/// How the names of such clients begin; the policy of the check allows it no others.
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

/// How many digits of its digest name a key to operators.
pub const KEY_ID_LENGTH: usize = 8;

impl KeyDigest {
    fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// What operators and the log call the key: the first eight digits. They tell nothing of it.
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
    /// What is kept of the key.
    pub digest: KeyDigest,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: i64,
    /// When it stops to be accepted, in milliseconds since the Unix epoch; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl StoredKey {
    /// What operators call the key; see [`KeyDigest::id`].
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

/// What may be switched off for a client, in the order in which a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// The account that the client belongs to.
    Account,
    /// The client itself.
    Client,
    /// The product, 2FA messaging.
    Product,
    /// The connection to the message service.
    Connection,
}

/// How many messages a recipient may be sent within any span of time, by one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How many, 1–[`MAX_WINDOW_SENDS`].
    pub sends: u16,
    /// Within how many seconds, 1–86,400.
    pub seconds: u32,
}

/// The most sends that a window may count: so many are remembered of a recipient.
pub const MAX_WINDOW_SENDS: u16 = 40;

/// The most windows that a client may have: each lengthens the condition of every send.
pub const MAX_WINDOWS: usize = 8;

/// The most consecutive failures that a recipient may ever have (NIST SP 800-63B-4 §3.2.2).
pub const MAX_FAILURES: u16 = 100;

/// The longest lock that ends by itself, in seconds: 30 days, for which a recipient is remembered.
pub const MAX_LOCK_SECONDS: u32 = 30 * 24 * 60 * 60;

/// Below so many failures a lock meets honest people who mistype.
pub const FEW_FAILURES: u32 = 20;

/// What a client may use up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How often a recipient may be sent to; every window holds. At most [`MAX_WINDOWS`].
    pub windows: Vec<Window>,
    /// After how many consecutive wrong guesses a recipient is locked, the guesses still open on
    /// live codes included: 1–[`MAX_FAILURES`].
    pub max_failures: u16,
    /// For how many seconds after the last failure a lock holds, 1–[`MAX_LOCK_SECONDS`]; none: until an
    /// operator unlocks the recipient.
    pub lock_seconds: Option<u32>,
    /// How many requests in one second of the clock; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// How many requests in one day of UTC; absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_day: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        let window = |sends, seconds| Window { sends, seconds };
        Self {
            windows: vec![
                window(1, 30),
                window(5, 10 * 60),
                window(10, 60 * 60),
                window(20, 24 * 60 * 60),
            ],
            max_failures: MAX_FAILURES,
            lock_seconds: Some(24 * 60 * 60),
            per_second: None,
            per_day: None,
        }
    }
}

/// The field of a client's limits that is not valid.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LimitsError {
    /// A window out of bounds, too many windows, or none.
    #[error(
        "must be 1 to {MAX_WINDOWS} windows, each of 1 to {MAX_WINDOW_SENDS} sends in 1 to 86400 seconds"
    )]
    Windows,
    /// A number of failures out of bounds.
    #[error("must be 1 to {MAX_FAILURES}")]
    MaxFailures,
    /// The windows let so many guesses be open at once that no failure is left: the first one would
    /// lock its recipient, or nobody could be sent anything.
    #[error(
        "the windows allow {open} open guesses within ten minutes, which must be fewer than max_failures"
    )]
    OpenGuesses {
        /// How many.
        open: u32,
    },
    /// A lock out of bounds.
    #[error("must be 1 to {MAX_LOCK_SECONDS}, or none")]
    LockSeconds,
    /// A limit of nothing at all.
    #[error("must be at least 1")]
    Zero(&'static str),
}

impl LimitsError {
    /// The path of the field.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Windows => "limits.windows",
            Self::MaxFailures => "limits.max_failures",
            Self::OpenGuesses { .. } => "limits",
            Self::LockSeconds => "limits.lock_seconds",
            Self::Zero(field) => field,
        }
    }
}

impl Limits {
    /// Checks the limits of a client whose templates allow up to `max_attempts` guesses.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self, max_attempts: u8) -> Result<(), LimitsError> {
        self.check_bounds()?;
        // Without any template: of one that allows a single guess.
        let max_attempts = max_attempts.max(1);
        match self.failures_admitted(max_attempts) {
            Some(1..) => Ok(()),
            Some(0) | None => Err(LimitsError::OpenGuesses {
                open: self.open_guesses(max_attempts),
            }),
        }
    }

    fn check_bounds(&self) -> Result<(), LimitsError> {
        let fits = |window: &Window| {
            (1..=MAX_WINDOW_SENDS).contains(&window.sends) && (1..=86_400).contains(&window.seconds)
        };
        let number = 1..=MAX_WINDOWS;
        if !number.contains(&self.windows.len()) || !self.windows.iter().all(fits) {
            return Err(LimitsError::Windows);
        }
        if !(1..=MAX_FAILURES).contains(&self.max_failures) {
            return Err(LimitsError::MaxFailures);
        }
        let lock = 1..=MAX_LOCK_SECONDS;
        if self
            .lock_seconds
            .is_some_and(|seconds| !lock.contains(&seconds))
        {
            return Err(LimitsError::LockSeconds);
        }
        let zero = [
            ("limits.per_second", self.per_second == Some(0)),
            ("limits.per_day", self.per_day == Some(0)),
        ];
        match zero.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => Err(LimitsError::Zero(field)),
            None => Ok(()),
        }
    }

    /// Stored limits: what is out of bounds is refused as malformed, and no call goes by it.
    fn deserialize_checked<'de, D: Deserializer<'de>>(stored: D) -> Result<Self, D::Error> {
        let limits = Self::deserialize(stored)?;
        limits
            .check_bounds()
            .map_err(|error| D::Error::custom(format!("{}: {error}", error.field())))?;
        Ok(limits)
    }

    /// With how many failures a recipient may still be sent a code that allows `max_attempts`
    /// guesses: all guesses then open together must not pass `max_failures`. `None`: with no number.
    #[must_use]
    pub fn failures_admitted(&self, max_attempts: u8) -> Option<u32> {
        u32::from(self.max_failures).checked_sub(self.open_guesses(max_attempts))
    }

    /// How many wrong guesses in a row lock a recipient of a client whose templates allow up to
    /// `max_attempts` guesses.
    #[must_use]
    pub fn failures_that_lock(&self, max_attempts: u8) -> u32 {
        self.failures_admitted(max_attempts)
            .map_or(0, |admitted| admitted + 1)
    }

    /// How long a lock holds after the last failure; `None`: until an operator unlocks the recipient.
    #[must_use]
    pub fn lock(&self) -> Option<Duration> {
        self.lock_seconds
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// How many guesses may be open at once: the codes that the windows let be alive together, the
    /// new one among them, times the guesses at each. No code lives longer than ten minutes.
    fn open_guesses(&self, max_attempts: u8) -> u32 {
        let longest_life = *TTL_SECONDS.end();
        let alive = |window: &Window| {
            u32::from(window.sends).saturating_mul(longest_life.div_ceil(window.seconds.max(1)))
        };
        let codes = self.windows.iter().map(alive).min().unwrap_or(u32::MAX);
        codes.saturating_mul(max_attempts.into())
    }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What people call the client.
    pub name: String,
    /// The keys that are accepted.
    pub api_keys: Vec<StoredKey>,
    /// What is switched off.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disabled: BTreeSet<Switch>,
    /// The networks that it may call from; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<IpNet>,
    /// The countries that it may send to.
    pub countries: Countries,
    /// The types of numbers that it may send to.
    #[serde(default = "default_number_types")]
    pub number_types: BTreeSet<NumberType>,
    /// The most that one SMS may cost, in US dollars, as SNS's `MaxPrice` takes it; absent: the
    /// account's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<String>,
    /// What it may use up.
    #[serde(default, deserialize_with = "Limits::deserialize_checked")]
    pub limits: Limits,
    /// Whether it has a balance of SMS parts, kept with its usage; else it may send any number.
    #[serde(default)]
    pub prepaid: bool,
    /// The digests of the recipients that get no SMS and always the same code.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub test_recipients: BTreeSet<String>,
    /// The operator's change that wrote it; absent: no operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
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
        Ok(Self(uuid::Builder::from_random_bytes(bytes).into_uuid()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn default_number_types() -> BTreeSet<NumberType> {
    BTreeSet::from(NumberType::DEFAULT)
}

impl Profile {
    /// A client that has nothing yet: no key, no limits but the default ones.
    #[must_use]
    pub fn new(name: &str, countries: Countries) -> Self {
        Self {
            name: name.to_owned(),
            api_keys: Vec::new(),
            disabled: BTreeSet::new(),
            networks: Vec::new(),
            countries,
            number_types: default_number_types(),
            max_price: None,
            limits: Limits::default(),
            prepaid: false,
            test_recipients: BTreeSet::new(),
            version: None,
        }
    }

    /// Whether it may call from `address`.
    #[must_use]
    pub fn permits_address(&self, address: Option<IpAddr>) -> bool {
        let listed = |address| {
            self.networks
                .iter()
                .any(|network| network.contains(&address))
        };
        self.networks.is_empty() || address.is_some_and(|a| listed(a.to_canonical()))
    }
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
        let accepted =
            self.profile.api_keys.iter().map(|stored| {
                stored.digest.0.ct_eq(&digest.0) & u8::from(stored.is_live(now)).into()
            });
        let none = subtle::Choice::from(0);
        (accepted.fold(none, |any, one| any | one)
            & self.id.0.as_bytes().ct_eq(key.client.0.as_bytes()))
        .into()
    }

    /// The most guesses that any of its templates allows.
    #[must_use]
    pub fn max_attempts(&self) -> u8 {
        self.templates
            .iter()
            .map(|template| template.max_attempts)
            .max()
            .unwrap_or_default()
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

    fn stored(digest: KeyDigest, expires_at: Option<i64>) -> StoredKey {
        StoredKey {
            digest,
            created_at: 0,
            expires_at,
        }
    }

    fn client(stored: Vec<StoredKey>) -> Client {
        Client {
            id: ClientId::parse("demo").unwrap(),
            profile: Profile {
                api_keys: stored,
                ..Profile::new("Demo", Countries::All)
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
        let expiring = client(vec![stored(digest, Some(1_000))]);
        assert!(expiring.accepts(&key("demo"), Timestamp::from_millis(999)));
        assert!(!expiring.accepts(&key("demo"), Timestamp::from_millis(1_000)));
        let now = Timestamp::from_millis(0);
        assert!(client(vec![stored(digest, None)]).accepts(&key("demo"), now));
        assert!(!client(Vec::new()).accepts(&key("demo"), now));
        let another = key("other").digest();
        let stolen = client(vec![stored(another, None)]);
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
    fn a_fresh_key_reads_as_one_of_its_client() {
        let client = ClientId::parse("demo").unwrap();
        let fresh = ApiKey::random(&client).unwrap();
        let read = ApiKey::parse(fresh.expose()).unwrap();
        assert_eq!(read.client(), &client);
        assert_eq!(read.digest(), fresh.digest());
        assert_ne!(ApiKey::random(&client).unwrap().digest(), fresh.digest());
    }

    #[test]
    fn the_default_limits_leave_room_for_the_open_guesses() {
        let limits = Limits::default();
        assert_eq!(limits.failures_admitted(5), Some(75));
        assert_eq!(limits.check(10), Ok(()));
        let lavish = Limits {
            windows: vec![Window {
                sends: 21,
                seconds: 600,
            }],
            ..Limits::default()
        };
        assert_eq!(lavish.check(5), Err(LimitsError::OpenGuesses { open: 105 }));
        assert_eq!(lavish.check(4), Ok(()));
        let endless = Limits {
            windows: vec![Window {
                sends: 1,
                seconds: 3,
            }],
            ..Limits::default()
        };
        let error = LimitsError::OpenGuesses { open: 200 };
        assert_eq!(endless.check(0), Err(error), "no template ever fits");
    }

    #[test]
    fn limits_that_the_first_wrong_guess_would_lock_are_refused() {
        let limits = |max_failures| Limits {
            max_failures,
            ..Limits::default()
        };
        assert_eq!(
            limits(25).check(5),
            Err(LimitsError::OpenGuesses { open: 25 })
        );
        assert_eq!(limits(26).check(5), Ok(()));
        assert_eq!(limits(26).failures_that_lock(5), 2);
        assert_eq!(Limits::default().failures_that_lock(5), 76);
        assert_eq!(Limits::default().failures_that_lock(10), 51);
    }

    #[test]
    fn stored_limits_out_of_bounds_are_malformed() {
        let profile = |limits: serde_json::Value| {
            serde_json::from_value::<Profile>(serde_json::json!({
                "name": "Demo", "api_keys": [], "countries": ["*"], "limits": limits,
            }))
        };
        let windows = |number| vec![serde_json::json!({ "sends": 1, "seconds": 30 }); number];
        for bad in [
            serde_json::json!({ "windows": windows(9) }),
            serde_json::json!({ "windows": [] }),
            serde_json::json!({ "windows": [{ "sends": 41, "seconds": 30 }] }),
            serde_json::json!({ "max_failures": 0 }),
            serde_json::json!({ "lock_seconds": 0 }),
            serde_json::json!({ "lock_seconds": 2_592_001 }),
            serde_json::json!({ "per_day": 0 }),
        ] {
            assert!(profile(bad.clone()).is_err(), "{bad}");
        }
        assert!(profile(serde_json::json!({ "windows": windows(8) })).is_ok());
        let forever = profile(serde_json::json!({ "lock_seconds": null })).unwrap();
        assert_eq!(forever.limits.lock(), None);
        let default = profile(serde_json::json!({})).unwrap();
        assert_eq!(default.limits.lock(), Some(Duration::from_hours(24)));
    }

    #[test]
    fn networks_are_of_both_families() {
        let mut profile = Profile::new("Demo", Countries::All);
        let from =
            |profile: &Profile, text: &str| profile.permits_address(Some(text.parse().unwrap()));
        assert!(from(&profile, "203.0.113.7") && profile.permits_address(None));
        profile.networks = vec![
            "203.0.113.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        assert!(from(&profile, "203.0.113.7") && from(&profile, "2001:db8::1"));
        assert!(
            from(&profile, "::ffff:203.0.113.7"),
            "the same address, written as IPv6"
        );
        assert!(!from(&profile, "203.0.114.7") && !from(&profile, "2001:db9::1"));
        assert!(!profile.permits_address(None));
    }

    #[test]
    fn a_key_does_not_print() {
        assert!(!format!("{:?}", key("demo")).contains("kkk"));
    }
}
