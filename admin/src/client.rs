//! `twofa client`: who may use the API, and how much.

use clap::Subcommand;
use serde_json::{Value, json};
use twofa::clock::Timestamp;
use twofa::domain::api_key::StoredKey;
use twofa::domain::client::{Client, Countries, Profile};
use twofa::domain::limits::Limits;
use twofa::store::{MAX_ITEMS, UsageCounter, UsageState};

use crate::cap::CarryOver;
use crate::error::{Error, ValidationErrors};
use crate::input;
use crate::key::{self, NewKey};
use crate::output::{Progress, Report, listed, pairs, table};
use crate::settings::{
    Bound, Change, Field, SettingOptions, changes, changes_json, changes_lines, check_limits,
    fields, lock_warning, own_name, switch, switch_name, warnings, whole,
};
use crate::target::Target;
use crate::template;

/// Adds, shows and changes clients
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Adds a client
    ///
    /// The countries are required: a list as short as your users' is the best guard against
    /// artificially inflated traffic.
    #[command(after_help = "Examples:
  twofa client add shop --countries GB,IE --with-key
  twofa client add shop --name 'The Shop' --countries GB --max-price 0.05 --balance 1000
  twofa client add ci --countries '*' --networks 203.0.113.0/24 --with-key --expires 90d")]
    Add {
        /// Its id: lower-case letters, digits and hyphens; it is part of the keys and stays
        client: String,
        #[command(flatten)]
        settings: SettingOptions,
        /// Make a key at once; it is shown this one time
        #[arg(long)]
        with_key: bool,
        /// When that key expires: RFC 3339 or a duration such as 90d
        #[arg(long, value_name = "WHEN", requires = "with_key")]
        expires: Option<String>,
    },
    /// Lists all clients
    #[command(after_help = "Examples:
  twofa client list
  twofa client list --json | jq -r '.clients[].id'")]
    List,
    /// Shows a client with its keys' ids, limits and templates
    #[command(after_help = "Examples:
  twofa client show shop
  twofa client show shop --json | jq .limits")]
    Show {
        /// Its id
        client: String,
    },
    /// Changes what is said; the rest stays. It takes effect within 30 seconds
    ///
    /// A balance that is taken away refuses nobody from now on.
    ///
    /// The first --per-day of a client counts the day's earlier requests too. The command waits 55
    /// seconds, until every function knows the limit, and then counts them. If it is interrupted, run
    /// it again a minute later.
    #[command(after_help = "Examples:
  twofa client set shop --countries GB,IE,DE --max-price 0.08
  twofa client set shop --window 1/30 --window 5/600 --window 20/86400
  twofa client set shop --per-second 50 --per-day none --balance 5000
  twofa client set shop --networks '*'")]
    Set {
        /// Its id
        client: String,
        #[command(flatten)]
        settings: SettingOptions,
    },
    /// Adds SMS parts to the balance: one write, whatever is paid from it meanwhile
    #[command(after_help = "Examples:
  twofa client top-up shop 1000")]
    TopUp {
        /// Its id
        client: String,
        /// The number of parts to add
        #[arg(value_parser = whole::<u32>)]
        parts: u32,
    },
    /// Removes a client with its templates
    ///
    /// It refuses while the client has live keys. Usage of the last seven days and the record of its
    /// changes stay. Codes that are on their way can no longer be validated.
    #[command(after_help = "Examples:
  twofa client remove shop
  twofa client remove shop --yes       # with its live keys")]
    Remove {
        /// Its id
        client: String,
        /// Remove it with its live keys
        #[arg(long)]
        yes: bool,
    },
    /// Refuses the client's calls, from within 30 seconds
    #[command(after_help = "Examples:
  twofa client disable shop
  twofa client disable shop --switch account")]
    Disable {
        /// Its id
        client: String,
        /// The switch: account, client, product or connection; callers are told which
        #[arg(long = "switch", value_name = "SWITCH", default_value = "client")]
        switches: Vec<String>,
    },
    /// Takes the client's calls again, from within 30 seconds
    #[command(after_help = "Examples:
  twofa client enable shop
  twofa client enable shop --switch account --switch client")]
    Enable {
        /// Its id
        client: String,
        /// The switch: account, client, product or connection
        #[arg(long = "switch", value_name = "SWITCH", default_value = "client")]
        switches: Vec<String>,
    },
}

impl ClientCommand {
    /// Carries it out.
    pub(crate) async fn run(
        self,
        target: &Target,
        now: Timestamp,
        progress: Progress,
    ) -> Result<Report, Error> {
        match self {
            Self::Add {
                client,
                settings,
                with_key,
                expires,
            } => {
                add(
                    target,
                    &client,
                    &settings,
                    with_key,
                    expires.as_deref(),
                    now,
                )
                .await
            }
            Self::List => list(target, now).await,
            Self::Show { client } => show(target, &client, now).await,
            Self::Set { client, settings } => set(target, &client, &settings, now, progress).await,
            Self::TopUp { client, parts } => top_up(target, &client, parts, now).await,
            Self::Remove { client, yes } => remove(target, &client, yes, now).await,
            Self::Disable { client, switches } => {
                set_enabled(target, &client, &switches, false).await
            }
            Self::Enable { client, switches } => {
                set_enabled(target, &client, &switches, true).await
            }
        }
    }
}

async fn add(
    target: &Target,
    client: &str,
    options: &SettingOptions,
    with_key: bool,
    expires: Option<&str>,
    now: Timestamp,
) -> Result<Report, Error> {
    let id =
        own_name(input::client_id(client)?).map_err(|error| Error::invalid("client", error))?;
    let mut errors = ValidationErrors::default();
    let (settings, balance) = options.read(&mut errors);
    if options.countries.is_none() {
        errors.note(
            "countries",
            "is required: --countries GB,IE or, for all, '*'",
        );
    }
    let expires_at = key::expiry(expires, now, &mut errors);
    let countries = settings.countries.clone().unwrap_or(Countries::All);
    let mut profile = settings.applied_to(Profile::new(id.as_str(), countries));
    check_limits(&profile, 0, "", &mut errors);
    errors.finish(())?;
    let key = if with_key {
        Some(NewKey::random(&id, expires_at, now)?)
    } else {
        None
    };
    profile
        .api_keys
        .extend(key.as_ref().map(|key| key.stored.clone()));
    let balance: Option<u32> = balance.and_then(Option::from);
    let mut details = changes_lines(&changes(None, fields(&profile)), "");
    details.extend(balance.map(|parts| format!("balance: {parts}")));
    details.extend(key.as_ref().map(NewKey::detail));
    let draft = target.draft(&id, "client add", details).await?;
    let mut change = draft.add_profile(&profile)?;
    if balance.is_some() {
        change = change.set_balance(target.verifications_table()?, balance)?;
    }
    if !target.carry_out(change).await? {
        return Err(Error::ClientExists(id));
    }
    let client = Client {
        id,
        profile,
        templates: Vec::new(),
    };
    let usage = UsageState {
        balance: balance.map(i64::from),
        ..UsageState::default()
    };
    let mut json = describe(&client, Some(&usage), now);
    let mut lines = vec![format!("added the client {}", client.id)];
    if let Some(key) = key {
        json["key"] = key.json();
        lines.push(key.text());
    } else {
        lines.push(format!("next: twofa key add {}", client.id));
    }
    lines.push(format!(
        "next: twofa template add {} Login --from SENDER --text '${{code}} is your code. Never share it.'",
        client.id
    ));
    let text = lines.join("\n");
    Ok(Report::new(text, json).warn(warnings(&client.profile)))
}

async fn list(target: &Target, now: Timestamp) -> Result<Report, Error> {
    let mut clients = Vec::new();
    for id in target.directory.clients().await? {
        clients.extend(target.directory.query(&id).await?);
    }
    let row = |client: &Client| {
        let profile = &client.profile;
        let countries = countries(&profile.countries);
        [
            client.id.to_string(),
            profile.name.clone(),
            state(profile),
            countries,
            live_keys(profile, now).to_string(),
            client.templates.len().to_string(),
            if profile.prepaid { "yes" } else { "no" }.to_owned(),
        ]
    };
    let header = [
        "CLIENT",
        "NAME",
        "STATE",
        "COUNTRIES",
        "KEYS",
        "TEMPLATES",
        "PREPAID",
    ];
    let text = table(header, clients.iter().map(row).collect());
    let described: Vec<_> = clients.iter().map(|c| describe(c, None, now)).collect();
    Ok(Report::new(text, json!({ "clients": described })))
}

async fn show(target: &Target, client: &str, now: Timestamp) -> Result<Report, Error> {
    let client = input::client(target, client).await?;
    let usage = match target.verifications() {
        Ok(verifications) => {
            let counter = UsageCounter::Client(&client.id);
            Some(verifications.read_usage(counter, now).await?)
        }
        Err(_) => None,
    };
    let profile = &client.profile;
    let mut rows = vec![("client", client.id.to_string())];
    rows.extend(fields(profile).into_iter().map(|f| (f.name, f.text)));
    let failures = profile.limits.failures_that_lock(client.max_attempts());
    rows.push(("locks after", format!("{failures} wrong guesses in a row")));
    if let Some(parts) = usage.as_ref().and_then(|usage| balance(profile, usage)) {
        rows.push(("balance", format!("{parts} parts")));
    }
    rows.push(("test numbers", profile.test_recipients.len().to_string()));
    let mut text = pairs(rows);
    text += "\n\n";
    text += &key::table_of(&profile.api_keys, now);
    text += "\n\n";
    text += &template::table_of(&client.templates);
    let warning = lock_warning(&profile.limits, client.max_attempts());
    Ok(Report::new(text, describe(&client, usage.as_ref(), now)).warn(warning))
}

async fn set(
    target: &Target,
    client: &str,
    options: &SettingOptions,
    now: Timestamp,
    progress: Progress,
) -> Result<Report, Error> {
    let mut errors = ValidationErrors::default();
    let (settings, new_balance) = options.read(&mut errors);
    errors.finish(())?;
    let client = input::client(target, client).await?;
    let mut carry_over = CarryOver::default();
    if let Some(Bound::At(_)) = settings.per_day {
        target.verifications()?;
        carry_over.note(&client.id, client.profile.limits.per_day);
    }
    let mut errors = ValidationErrors::default();
    let profile = settings.applied_to(client.profile.clone());
    check_limits(&profile, client.max_attempts(), "", &mut errors);
    errors.finish(())?;
    let mut changed = changes(Some(fields(&client.profile)), fields(&profile));
    let mut new_parts = None;
    if let Some(new) = new_balance {
        let new: Option<u32> = new.into();
        let counter = UsageCounter::Client(&client.id);
        let usage = target.verifications()?.read_usage(counter, now).await?;
        changed.extend(balance_change(balance(&client.profile, &usage), new));
        new_parts = Some(new);
    }
    if !changed.is_empty() {
        let draft = target.draft(&client.id, "client set", changes_lines(&changed, ""));
        let mut change = draft.await?.put_profile(&profile)?;
        if let Some(new) = new_parts {
            change = change.set_balance(target.verifications_table()?, new)?;
        }
        if !target.carry_out(change).await? {
            return Err(Error::Overtaken(client.id));
        }
    }
    carry_over.carry_out(target, progress).await?;
    let told = changed.iter().any(Change::is_of_numbers);
    let warnings = told.then(|| warnings(&profile)).into_iter().flatten();
    Ok(changed_report(&client, &profile.limits, &changed).warn(warnings))
}

async fn top_up(
    target: &Target,
    client: &str,
    parts: u32,
    now: Timestamp,
) -> Result<Report, Error> {
    let client = input::client(target, client).await?;
    if !client.profile.prepaid {
        return Err(Error::NoBalance(client.id));
    }
    let details = vec![format!("balance: {parts} parts more")];
    let draft = target.draft(&client.id, "client top-up", details).await?;
    let change = draft.top_up(target.verifications_table()?, parts)?;
    if !target.carry_out(change).await? {
        return Err(Error::NoBalance(client.id));
    }
    let counter = UsageCounter::Client(&client.id);
    let left = target
        .verifications()?
        .read_usage(counter, now)
        .await?
        .balance;
    let text = format!(
        "added {parts} parts to the balance of the client {}, which now has {}",
        client.id,
        left.unwrap_or_default()
    );
    let json = json!({ "id": client.id, "added": parts, "balance": left });
    Ok(Report::new(text, json))
}

async fn remove(
    target: &Target,
    client: &str,
    is_sure: bool,
    now: Timestamp,
) -> Result<Report, Error> {
    let client = input::client(target, client).await?;
    let keys = client.profile.api_keys.iter();
    let live: Vec<_> = keys
        .filter(|key| key.is_live(now))
        .map(StoredKey::id)
        .collect();
    if !live.is_empty() && !is_sure {
        return Err(Error::LiveKeys {
            client: client.id,
            keys: live,
        });
    }
    let mut profile = client.profile.clone();
    let mut chunks = client.templates.chunks(MAX_ITEMS).peekable();
    loop {
        let templates = chunks.next().unwrap_or_default();
        let is_last = chunks.peek().is_none();
        let mut details = vec![format!("name: {}", profile.name)];
        details.extend(
            templates
                .iter()
                .map(|t| format!("template {} ({})", t.name, t.id)),
        );
        let draft = target.draft(&client.id, "client remove", details);
        let mut change = draft.await?;
        let version = change.version();
        change = if is_last {
            change.remove_profile(&profile)?
        } else {
            change.put_profile(&profile)?
        };
        for template in templates {
            change = change.remove_template(template.id)?;
        }
        if !target.carry_out(change).await? {
            return Err(Error::Overtaken(client.id));
        }
        if is_last {
            break;
        }
        profile.version = Some(version);
    }
    let templates = client.templates.len();
    let text = format!(
        "removed the client {} with its templates: {templates}; warm functions take its keys for up to 30 \
         seconds more",
        client.id
    );
    let json = json!({ "id": client.id, "templates": templates, "keys": live });
    Ok(Report::new(text, json))
}

fn changed_report(client: &Client, limits: &Limits, changed: &[Change]) -> Report {
    let mut lines = vec![if changed.is_empty() {
        format!("nothing to change at the client {}", client.id)
    } else {
        format!("changed the client {}", client.id)
    }];
    lines.extend(changes_lines(changed, "  "));
    let failures = limits.failures_that_lock(client.max_attempts());
    if changed
        .iter()
        .any(|change| change.new.name.starts_with("limits."))
    {
        lines.push(format!(
            "a recipient is locked after {failures} wrong guesses in a row"
        ));
    }
    let json = json!({
        "id": client.id,
        "changes": changes_json(changed),
        "failures_that_lock": failures,
    });
    Report::new(lines.join("\n"), json).warn(lock_warning(limits, client.max_attempts()))
}

/// The SMS parts that a client has left, if it is prepaid.
pub(crate) fn balance(profile: &Profile, usage: &UsageState) -> Option<i64> {
    usage.balance.filter(|_| profile.prepaid)
}

fn balance_change(old: Option<i64>, new: Option<u32>) -> Option<Change> {
    let new = new.map(i64::from);
    let field = |parts| Field::plain("balance", json!(parts));
    (old != new).then(|| Change {
        old: Some(field(old)),
        new: field(new),
    })
}

async fn set_enabled(
    target: &Target,
    client: &str,
    switches: &[String],
    enabled: bool,
) -> Result<Report, Error> {
    let mut errors = ValidationErrors::default();
    let mut turned = Vec::new();
    for written in switches {
        turned.extend(errors.take("switch", switch(written)));
    }
    errors.finish(())?;
    let client = input::client(target, client).await?;
    let mut profile = client.profile.clone();
    for switch in turned {
        if enabled {
            profile.disabled.remove(&switch);
        } else {
            profile.disabled.insert(switch);
        }
    }
    if profile != client.profile {
        let what = if enabled {
            "client enable"
        } else {
            "client disable"
        };
        let change = changes(Some(fields(&client.profile)), fields(&profile));
        let draft = target.draft(&client.id, what, changes_lines(&change, ""));
        if !target
            .carry_out(draft.await?.put_profile(&profile)?)
            .await?
        {
            return Err(Error::Overtaken(client.id));
        }
    }
    let text = format!(
        "the client {} is {} within 30 seconds",
        client.id,
        state(&profile)
    );
    let still_off = enabled && !profile.disabled.is_empty();
    let warning = still_off.then(|| {
        let off = profile.disabled.iter().map(|s| switch_name(*s).to_owned());
        format!("calls are still refused: off is {}", listed(off, ""))
    });
    let json = json!({ "id": client.id, "disabled": profile.disabled });
    Ok(Report::new(text, json).warn(warning))
}

/// A client for scripts: neither keys nor their digests, nor whose the test numbers are.
fn describe(client: &Client, usage: Option<&UsageState>, now: Timestamp) -> Value {
    let Client {
        id,
        profile,
        templates,
    } = client;
    let mut json = json!({ "id": id });
    for field in fields(profile) {
        match field.name.strip_prefix("limits.") {
            Some(limit) => json["limits"][limit] = field.json,
            None => json[field.name] = field.json,
        }
    }
    if let Some(usage) = usage {
        json["balance"] = json!(balance(profile, usage));
    }
    let failures = profile.limits.failures_that_lock(client.max_attempts());
    json["failures_that_lock"] = json!(failures);
    json["keys"] = profile
        .api_keys
        .iter()
        .map(|key| key::describe(key, now))
        .collect();
    json["test_numbers"] = json!(profile.test_recipients.len());
    json["templates"] = templates.iter().map(template::describe).collect();
    json
}

fn countries(countries: &Countries) -> String {
    match countries {
        Countries::All => "*".to_owned(),
        Countries::Only(listed) if listed.len() > 5 => format!("{} countries", listed.len()),
        Countries::Only(listed) => {
            let codes: Vec<_> = listed
                .iter()
                .map(twofa::domain::phone::Country::as_str)
                .collect();
            codes.join(",")
        }
    }
}

fn state(profile: &Profile) -> String {
    let off = profile.disabled.iter().map(|s| switch_name(*s).to_owned());
    let off = off.collect::<Vec<_>>().join(", ");
    if off.is_empty() {
        "on".to_owned()
    } else {
        format!("off ({off})")
    }
}

fn live_keys(profile: &Profile, now: Timestamp) -> usize {
    let is_live = |key: &&StoredKey| key.is_live(now);
    profile.api_keys.iter().filter(is_live).count()
}
