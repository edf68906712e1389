//! Clients of the API: who they are and what they may do.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::domain::api_key::{ApiKey, StoredKey};
use crate::domain::ids::{ClientId, TemplateId, Version};
use crate::domain::limits::Limits;
use crate::domain::phone::{Country, NumberType};
use crate::domain::template::Template;

/// The switches of a client, in the order in which a caller is told.
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

/// The stored settings of a client, without its templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The client's display name.
    pub name: String,
    /// The keys that are accepted.
    pub api_keys: Vec<StoredKey>,
    /// The switches that are off.
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
    /// The client's limits.
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
    /// The client's settings.
    pub profile: Profile,
    /// The client's templates, sorted by name.
    pub templates: Vec<Template>,
}

impl Client {
    /// Whether `key` is one of the client's and has not expired. Takes the same time for every key.
    #[must_use]
    pub fn accepts(&self, key: &ApiKey, now: Timestamp) -> bool {
        let digest = key.digest();
        let accepted = self
            .profile
            .api_keys
            .iter()
            .map(|stored| stored.digest.ct_eq(&digest) & u8::from(stored.is_live(now)).into());
        let none = subtle::Choice::from(0);
        (accepted.fold(none, |any, one| any | one)
            & self
                .id
                .as_str()
                .as_bytes()
                .ct_eq(key.client().as_str().as_bytes()))
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
    use std::time::Duration;

    use crate::domain::api_key::KeyDigest;

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
        let number = crate::domain::phone::PhoneNumber::parse("+447400123456").unwrap();
        assert!(countries(r#"["*"]"#).permit(number.country()));
        assert!(countries(r#"["DE","GB"]"#).permit(number.country()));
        assert!(!countries(r#"["DE"]"#).permit(number.country()));
        assert!(!countries("[]").permit(number.country()));
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
}
