//! `twofa key`: the keys that clients call with.

use clap::Subcommand;
use serde_json::{Value, json};
use twofa::clock::Timestamp;
use twofa::domain::api_key::{ApiKey, KEY_ID_LENGTH, MAX_KEYS, StoredKey};
use twofa::domain::ids::ClientId;
use twofa::entropy::EntropyError;

use crate::error::{Error, ValidationErrors};
use crate::input;
use crate::output::{Report, table};
use crate::target::Target;
use crate::time;

/// Adds and revokes keys
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes a key and shows it, this one time
    ///
    /// A client may have two live keys: add the new one, have the client use it, revoke the old one.
    #[command(after_help = "Examples:
  twofa key add shop
  twofa key add shop --expires 90d
  twofa key add shop --expires 2030-01-31T00:00:00Z --json | jq -r .key.key")]
    Add {
        /// The client's id
        client: String,
        /// When it expires: RFC 3339 or a duration such as 90d; default: never
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// Revokes a key, from within 30 seconds
    #[command(after_help = "Examples:
  twofa client show shop               # lists the keys' ids
  twofa key revoke shop 3f9a01c2")]
    Revoke {
        /// The client's id
        client: String,
        /// The key's id: eight digits or more of its digest, as `client show` lists it
        #[arg(value_name = "KEY_ID")]
        key: String,
    },
}

impl KeyCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, now: Timestamp) -> Result<Report, Error> {
        match self {
            Self::Add { client, expires } => add(target, &client, expires.as_deref(), now).await,
            Self::Revoke { client, key } => revoke(target, &client, &key, now).await,
        }
    }
}

/// A key that was just made: the only one that can be shown.
#[derive(Debug)]
pub(crate) struct NewKey {
    key: ApiKey,
    /// The form that is stored.
    pub(crate) stored: StoredKey,
}

impl NewKey {
    /// A fresh key of `client`.
    pub(crate) fn random(
        client: &ClientId,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, EntropyError> {
        let key = ApiKey::random(client)?;
        let stored = StoredKey {
            digest: key.digest(),
            created_at: now.as_millis(),
            expires_at: expires_at.map(Timestamp::as_millis),
        };
        Ok(Self { key, stored })
    }

    /// The line of the audit record.
    pub(crate) fn detail(&self) -> String {
        let expires = expiry_of(&self.stored).unwrap_or_else(|| "never".to_owned());
        format!("key {}: made, expires: {expires}", self.stored.id())
    }

    /// The key for scripts.
    pub(crate) fn json(&self) -> Value {
        json!({
            "key": self.key.expose(),
            "id": self.stored.id(),
            "expires_at": expiry_of(&self.stored),
        })
    }

    /// The key for people.
    pub(crate) fn text(&self) -> String {
        let expires = expiry_of(&self.stored).unwrap_or_else(|| "never".to_owned());
        format!(
            "\n  {}\n\nIts id is {}; it expires: {expires}. It is not stored and not shown again: \
             put it away now.\n",
            self.key.expose(),
            self.stored.id()
        )
    }
}

async fn add(
    target: &Target,
    client: &str,
    expires: Option<&str>,
    now: Timestamp,
) -> Result<Report, Error> {
    let mut errors = ValidationErrors::default();
    let expires_at = expiry(expires, now, &mut errors);
    errors.finish(())?;
    let client = input::client(target, client).await?;
    let mut profile = client.profile;
    // Keys that have expired only take room.
    profile.api_keys.retain(|key| key.is_live(now));
    if profile.api_keys.len() >= MAX_KEYS {
        return Err(Error::TooManyKeys {
            client: client.id,
            keys: profile.api_keys.iter().map(StoredKey::id).collect(),
        });
    }
    let key = NewKey::random(&client.id, expires_at, now)?;
    profile.api_keys.push(key.stored.clone());
    let draft = target
        .draft(&client.id, "key add", vec![key.detail()])
        .await?;
    if !target.carry_out(draft.put_profile(&profile)?).await? {
        return Err(Error::Overtaken(client.id));
    }
    let text = format!(
        "added a key of the client {}, good within 30 seconds\n{}",
        client.id,
        key.text()
    );
    let json = json!({ "id": client.id, "key": key.json() });
    Ok(Report::new(text, json))
}

async fn revoke(
    target: &Target,
    client: &str,
    written: &str,
    now: Timestamp,
) -> Result<Report, Error> {
    let is_hex = |byte: u8| byte.is_ascii_hexdigit();
    // What was typed is not repeated: it may be the key itself.
    if written.len() < KEY_ID_LENGTH || !written.bytes().all(is_hex) {
        let problem = "must be eight or more hexadecimal digits, as `twofa client show` lists them";
        return Err(Error::invalid("key_id", problem));
    }
    let prefix = written.to_ascii_lowercase();
    let client = input::client(target, client).await?;
    let mut profile = client.profile;
    let (revoked, kept): (Vec<_>, Vec<_>) = profile
        .api_keys
        .into_iter()
        .partition(|key| String::from(key.digest).starts_with(&prefix));
    let [revoked] = &revoked[..] else {
        return Err(if revoked.is_empty() {
            Error::NoKey(client.id)
        } else {
            Error::invalid("key_id", "names more than one key: give more of its digest")
        });
    };
    profile.api_keys = kept;
    let details = vec![format!("key {}: revoked", revoked.id())];
    let draft = target.draft(&client.id, "key revoke", details).await?;
    if !target.carry_out(draft.put_profile(&profile)?).await? {
        return Err(Error::Overtaken(client.id));
    }
    let live = profile.api_keys.iter().any(|key| key.is_live(now));
    let warning = (!live).then(|| {
        format!(
            "the client has no live key left; `twofa key add {}` makes one",
            client.id
        )
    });
    let text = format!(
        "revoked the key {} of the client {}; warm functions take it for up to 30 seconds more",
        revoked.id(),
        client.id
    );
    let json = json!({ "id": client.id, "revoked": revoked.id() });
    Ok(Report::new(text, json).warn(warning))
}

/// When a key is to expire.
pub(crate) fn expiry(
    written: Option<&str>,
    now: Timestamp,
    errors: &mut ValidationErrors,
) -> Option<Timestamp> {
    errors.take("expires", time::to_come(written?, now))
}

fn expiry_of(key: &StoredKey) -> Option<String> {
    let at = key.expires_at?;
    Some(time::shown(Timestamp::from_millis(at)))
}

/// A key for scripts: its id and its times.
pub(crate) fn describe(key: &StoredKey, now: Timestamp) -> Value {
    json!({
        "id": key.id(),
        "created_at": time::shown(Timestamp::from_millis(key.created_at)),
        "expires_at": expiry_of(key),
        "live": key.is_live(now),
    })
}

/// A key for a file: its digest and its times.
pub(crate) fn exported(key: &StoredKey) -> Value {
    json!({
        "digest": String::from(key.digest),
        "created_at": time::shown(Timestamp::from_millis(key.created_at)),
        "expires_at": expiry_of(key),
    })
}

/// Keys for people.
pub(crate) fn table_of(keys: &[StoredKey], now: Timestamp) -> String {
    let row = |key: &StoredKey| {
        let expires = expiry_of(key).unwrap_or_else(|| "never".to_owned());
        let state = if key.is_live(now) { "live" } else { "expired" };
        let created = time::shown(Timestamp::from_millis(key.created_at));
        [key.id(), state.to_owned(), created, expires]
    };
    table(
        ["KEY", "STATE", "CREATED", "EXPIRES"],
        keys.iter().map(row).collect(),
    )
}
