//! Settings of a client, from the command line or a file: read, checked, compared.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use clap::Args;
use ipnet::IpNet;
use serde_json::{Value, json};
use thiserror::Error;
use twofa::domain::client::{Countries, Profile, Switch};
use twofa::domain::ids::ClientId;
use twofa::domain::limits::{FEW_FAILURES, Limits, Window};
use twofa::domain::phone::{Country, CountryError, NumberType};

use crate::error::{ValidationErrors, field_at};
use crate::output::listed;

/// The longest name of a client or template, in characters.
const LONGEST_NAME: usize = 100;

/// The word that removes a limit.
pub(crate) const NONE: &str = "none";

/// The sign for every country or network.
const ANY: &str = "*";

/// A limit as it is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound<T> {
    /// None.
    Free,
    /// This one.
    At(T),
}

impl<T> From<Bound<T>> for Option<T> {
    fn from(bound: Bound<T>) -> Self {
        match bound {
            Bound::Free => None,
            Bound::At(limit) => Some(limit),
        }
    }
}

/// Settings of a client, each as it is to become; absent: as it is.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<String>,
    pub(crate) countries: Option<Countries>,
    pub(crate) number_types: Option<BTreeSet<NumberType>>,
    pub(crate) networks: Option<Vec<IpNet>>,
    pub(crate) max_price: Option<Bound<String>>,
    pub(crate) windows: Option<Vec<Window>>,
    pub(crate) max_failures: Option<u16>,
    pub(crate) lock_seconds: Option<Bound<u32>>,
    pub(crate) per_second: Option<Bound<u32>>,
    pub(crate) per_day: Option<Bound<u32>>,
    pub(crate) disabled: Option<BTreeSet<Switch>>,
    pub(crate) prepaid: Option<bool>,
}

impl Settings {
    /// `profile` with the settings.
    pub(crate) fn applied_to(self, mut profile: Profile) -> Profile {
        fn set<T>(field: &mut T, setting: Option<T>) {
            if let Some(value) = setting {
                *field = value;
            }
        }
        set(&mut profile.name, self.name);
        set(&mut profile.countries, self.countries);
        set(&mut profile.number_types, self.number_types);
        set(&mut profile.networks, self.networks);
        set(&mut profile.max_price, self.max_price.map(Into::into));
        set(&mut profile.limits.windows, self.windows);
        set(&mut profile.limits.max_failures, self.max_failures);
        set(
            &mut profile.limits.lock_seconds,
            self.lock_seconds.map(Into::into),
        );
        set(
            &mut profile.limits.per_second,
            self.per_second.map(Into::into),
        );
        set(&mut profile.limits.per_day, self.per_day.map(Into::into));
        set(&mut profile.disabled, self.disabled);
        set(&mut profile.prepaid, self.prepaid);
        profile
    }
}

/// The settings as options.
#[derive(Debug, Default, Args)]
pub(crate) struct SettingOptions {
    /// The client's display name [default of `add`: its id]
    #[arg(long)]
    name: Option<String>,
    /// The countries it may send to, ISO 3166-1 alpha-2, as GB,DE; '*': all
    #[arg(long, value_name = "COUNTRIES")]
    pub(crate) countries: Option<String>,
    #[arg(long, value_name = "TYPES", help = types_help())]
    number_types: Option<String>,
    /// The networks it may call from, comma-separated CIDRs; '*': all
    #[arg(long, value_name = "CIDRS")]
    networks: Option<String>,
    /// The most that one SMS may cost in US dollars, as 0.05; none: the account's own limit
    #[arg(long, value_name = "USD")]
    max_price: Option<String>,
    /// The most sends to a recipient in a time, as 5/600: 5 in 600 seconds; repeat it for up to 8, which replace all
    #[arg(long = "window", value_name = "SENDS/SECONDS")]
    windows: Vec<String>,
    /// After how many wrong guesses in a row a recipient is locked, 1-100
    #[arg(long, value_name = "N")]
    max_failures: Option<u16>,
    /// For how many seconds after the last wrong guess a lock holds; none: until `recipient unlock`
    #[arg(long, value_name = "SECONDS")]
    lock_seconds: Option<String>,
    /// The most requests in a second; none: any number
    #[arg(long, value_name = "N")]
    per_second: Option<String>,
    /// The most requests in a day of UTC, today's earlier ones included; none: any number
    #[arg(long, value_name = "N")]
    per_day: Option<String>,
    /// The SMS parts that it has left; none: it needs no balance
    #[arg(long, value_name = "PARTS")]
    balance: Option<String>,
}

fn types_help() -> String {
    let names = |types: &[NumberType]| types.iter().map(|one| one.as_str()).collect::<Vec<_>>();
    format!(
        "The types of numbers it may send to, comma-separated: {} [default of `add`: {}]",
        names(&NumberType::ALL).join(", "),
        names(&NumberType::DEFAULT).join(",")
    )
}

impl SettingOptions {
    /// The settings, and the balance if one is set.
    pub(crate) fn read(&self, errors: &mut ValidationErrors) -> (Settings, Option<Bound<u32>>) {
        let optional = |errors: &mut ValidationErrors, field: &str, written: &Option<String>| {
            let read = written.as_deref().map(count)?;
            errors.take(field, read)
        };
        let balance = optional(errors, "balance", &self.balance);
        let mut windows = Vec::new();
        for written in &self.windows {
            windows.extend(errors.take("window", window(written)));
        }
        let windows_are_read = !windows.is_empty() && windows.len() == self.windows.len();
        let settings = Settings {
            name: read(errors, "name", self.name.as_ref(), |text| name(text)),
            countries: read(errors, "countries", self.countries.as_ref(), |text| {
                countries(text.split(','))
            }),
            number_types: read(errors, "number_types", self.number_types.as_ref(), |text| {
                number_types(text.split(','))
            }),
            networks: read(errors, "networks", self.networks.as_ref(), |text| {
                networks(text.split(','))
            }),
            max_price: read(errors, "max_price", self.max_price.as_ref(), |text| {
                price(text)
            }),
            windows: windows_are_read.then_some(windows),
            max_failures: self.max_failures,
            lock_seconds: optional(errors, "lock_seconds", &self.lock_seconds),
            per_second: optional(errors, "per_second", &self.per_second),
            per_day: optional(errors, "per_day", &self.per_day),
            disabled: None,
            prepaid: balance.as_ref().map(|balance| *balance != Bound::Free),
        };
        (settings, balance)
    }
}

fn read<W, T>(
    errors: &mut ValidationErrors,
    field: &str,
    written: Option<W>,
    parse: impl Fn(W) -> Result<T, SettingError>,
) -> Option<T> {
    errors.take(field, parse(written?))
}

/// The error of a setting.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingError {
    #[error("must not begin like the clients of a deployment's check")]
    Kept,
    #[error("must be 1 to {LONGEST_NAME} characters, and none of them a control character")]
    Name,
    #[error("must name at least one country, or '*' for all")]
    NoCountry,
    #[error("{written:?} {source}")]
    Country {
        written: String,
        source: CountryError,
    },
    #[error(
        "{0:?} must be a network in CIDR notation, such as 203.0.113.0/24, or '*' alone for all"
    )]
    Network(String),
    #[error("{written} has bits beyond its prefix; the network is {network}")]
    HostBits { written: String, network: IpNet },
    #[error("{0} is IPv4 within IPv6, which is compared as IPv4: write it as IPv4")]
    Mapped(String),
    #[error("must be an amount of US dollars above 0 and below 1000, such as 0.05, or none")]
    Price,
    #[error("{0:?} must be SENDS/SECONDS, such as 5/600")]
    Window(String),
    #[error("must be a whole number without a sign, or none")]
    Count,
    #[error("must be a whole number without a sign")]
    Whole,
    #[error("{0:?} must be one of mobile, fixed_line_or_mobile, fixed_line, voip, personal")]
    NumberType(String),
    #[error("must name at least one type, such as mobile")]
    NoNumberType,
    #[error("{0:?} must be one of account, client, product, connection")]
    Switch(String),
}

/// A client's name that an operator may give.
pub(crate) fn own_name(id: ClientId) -> Result<ClientId, SettingError> {
    if id.is_pre_traffic() {
        return Err(SettingError::Kept);
    }
    Ok(id)
}

/// The name of a client or template.
pub(crate) fn name(written: &str) -> Result<String, SettingError> {
    let trimmed = written.trim();
    let fits = (1..=LONGEST_NAME).contains(&trimmed.chars().count());
    (fits && !trimmed.contains(char::is_control))
        .then(|| trimmed.to_owned())
        .ok_or(SettingError::Name)
}

/// Countries in any case, or `*` alone.
pub(crate) fn countries<'a>(
    written: impl IntoIterator<Item = &'a str>,
) -> Result<Countries, SettingError> {
    let written: Vec<_> = written.into_iter().map(str::trim).collect();
    match written[..] {
        [ANY] => return Ok(Countries::All),
        [] | [""] => return Err(SettingError::NoCountry),
        _ => {}
    }
    let parse = |written: &str| {
        Country::parse(&written.to_ascii_uppercase()).map_err(|source| SettingError::Country {
            written: written.to_owned(),
            source,
        })
    };
    let listed: Result<_, _> = written.into_iter().map(parse).collect();
    listed.map(Countries::Only)
}

/// Types of numbers, by their names.
pub(crate) fn number_types<'a>(
    written: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeSet<NumberType>, SettingError> {
    let parse = |written: &str| {
        let mut all = NumberType::ALL.into_iter();
        all.find(|known| known.as_str() == written)
            .ok_or_else(|| SettingError::NumberType(written.to_owned()))
    };
    let types = written.into_iter().map(|written| parse(written.trim()));
    let types: BTreeSet<_> = types.collect::<Result<_, _>>()?;
    (!types.is_empty())
        .then_some(types)
        .ok_or(SettingError::NoNumberType)
}

/// Networks, each once; an address stands for itself alone; `*` or nothing for all.
pub(crate) fn networks<'a>(
    written: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<IpNet>, SettingError> {
    let written: Vec<_> = written.into_iter().map(str::trim).collect();
    if written == [ANY] {
        return Ok(Vec::new());
    }
    let networks: Result<BTreeSet<_>, _> = written.into_iter().map(network).collect();
    networks.map(Vec::from_iter)
}

fn network(written: &str) -> Result<IpNet, SettingError> {
    // An address is read as the standard library does: a leading zero, by which some mean octal, is none.
    let read = || {
        let Some((address, prefix)) = written.split_once('/') else {
            return written.parse::<IpAddr>().ok().map(IpNet::from);
        };
        IpNet::new(address.parse().ok()?, whole(prefix).ok()?).ok()
    };
    let network = read().ok_or_else(|| SettingError::Network(written.to_owned()))?;
    if network.trunc() != network {
        return Err(SettingError::HostBits {
            written: written.to_owned(),
            network: network.trunc(),
        });
    }
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(SettingError::Mapped(written.to_owned()))
        }
        IpNet::V4(_) | IpNet::V6(_) => Ok(network),
    }
}

/// An amount of US dollars, or `none`.
pub(crate) fn price(written: &str) -> Result<Bound<String>, SettingError> {
    if written == NONE {
        return Ok(Bound::Free);
    }
    let (whole, fraction) = written.split_once('.').unwrap_or((written, "0"));
    let digits = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_above_zero = written.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    (digits(whole, 3) && digits(fraction, 5) && is_above_zero)
        .then(|| Bound::At(written.to_owned()))
        .ok_or(SettingError::Price)
}

/// `SENDS/SECONDS`.
pub(crate) fn window(written: &str) -> Result<Window, SettingError> {
    let parse = || {
        let (sends, seconds) = written.split_once('/')?;
        Some(Window {
            sends: whole(sends.trim()).ok()?,
            seconds: whole(seconds.trim()).ok()?,
        })
    };
    parse().ok_or_else(|| SettingError::Window(written.to_owned()))
}

/// A whole number, or `none`.
pub(crate) fn count(written: &str) -> Result<Bound<u32>, SettingError> {
    if written == NONE {
        return Ok(Bound::Free);
    }
    whole(written)
        .map(Bound::At)
        .map_err(|_| SettingError::Count)
}

/// A whole number in digits alone: a sign would promise to add.
pub(crate) fn whole<T: FromStr>(written: &str) -> Result<T, SettingError> {
    let is_plain = written.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| written.parse().ok()).flatten();
    number.ok_or(SettingError::Whole)
}

/// Warns of numbers that the countries or types leave out unexpectedly.
pub(crate) fn warnings(profile: &Profile) -> Vec<String> {
    let Countries::Only(listed) = &profile.countries else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    for country in listed {
        let code = country.as_str();
        let sharers = country.sharers().into_iter();
        let missing: Vec<_> = sharers.filter(|other| !listed.contains(other)).collect();
        match &missing[..] {
            [] => {}
            few if few.len() <= 5 => {
                let names: Vec<_> = few.iter().map(Country::as_str).collect();
                warnings.push(format!(
                    "countries: {code} leaves out {}, which have its calling code too",
                    names.join(", ")
                ));
            }
            many => warnings.push(format!(
                "countries: {code} leaves out {} countries that have its calling code too",
                many.len()
            )),
        }
        if country.number_types().is_disjoint(&profile.number_types) {
            warnings.push(format!(
                "number_types: no number of {code} is of these types; its own are {}",
                listed_types(&country.number_types())
            ));
        }
    }
    warnings
}

fn listed_types(types: &BTreeSet<NumberType>) -> String {
    listed(types.iter().map(|one| one.as_str().to_owned()), NONE)
}

/// A switch by its name.
pub(crate) fn switch(written: &str) -> Result<Switch, SettingError> {
    let all = [
        Switch::Account,
        Switch::Client,
        Switch::Product,
        Switch::Connection,
    ];
    all.into_iter()
        .find(|switch| switch_name(*switch) == written)
        .ok_or_else(|| SettingError::Switch(written.to_owned()))
}

/// The name of a switch.
pub(crate) fn switch_name(switch: Switch) -> &'static str {
    match switch {
        Switch::Account => "account",
        Switch::Client => "client",
        Switch::Product => "product",
        Switch::Connection => "connection",
    }
}

/// One field, as it is shown and compared.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value, for scripts.
    pub(crate) json: Value,
    /// Its value, for people.
    pub(crate) text: String,
}

impl Field {
    /// A field of plain text or a number.
    pub(crate) fn plain(name: &'static str, json: Value) -> Self {
        let text = match &json {
            Value::String(text) => text.clone(),
            Value::Null => NONE.to_owned(),
            other => other.to_string(),
        };
        Self { name, json, text }
    }
}

/// The fields of a client that can be set.
pub(crate) fn fields(profile: &Profile) -> Vec<Field> {
    let Profile {
        name,
        api_keys: _,
        disabled,
        networks,
        countries,
        number_types,
        max_price,
        limits,
        prepaid,
        test_recipients: _,
        version: _,
    } = profile;
    let texts = |name, texts: Vec<String>, none: &str| Field {
        name,
        json: json!(texts),
        text: listed(texts, none),
    };
    let countries = match countries {
        Countries::All => vec![ANY.to_owned()],
        Countries::Only(listed) => listed.iter().map(|c| c.as_str().to_owned()).collect(),
    };
    let types = number_types.iter().map(|one| one.as_str().to_owned());
    let switches = disabled.iter().map(|s| switch_name(*s).to_owned());
    let networks = networks.iter().map(ToString::to_string);
    let mut fields = vec![
        Field::plain("name", json!(name)),
        texts("disabled", switches.collect(), "nothing"),
        texts("countries", countries, NONE),
        texts("number_types", types.collect(), NONE),
        texts("networks", networks.collect(), ANY),
        Field::plain("max_price", json!(max_price)),
    ];
    fields.extend(limit_fields(limits));
    fields.push(Field::plain("prepaid", json!(prepaid)));
    fields
}

fn limit_fields(limits: &Limits) -> [Field; 5] {
    let Limits {
        windows,
        max_failures,
        lock_seconds,
        per_second,
        per_day,
    } = limits;
    let windows = Field {
        name: "limits.windows",
        json: json!(windows),
        text: listed(windows.iter().copied().map(window_text), NONE),
    };
    [
        windows,
        Field::plain("limits.max_failures", json!(max_failures)),
        Field::plain("limits.lock_seconds", json!(lock_seconds)),
        Field::plain("limits.per_second", json!(per_second)),
        Field::plain("limits.per_day", json!(per_day)),
    ]
}

/// A window as it is written.
pub(crate) fn window_text(window: Window) -> String {
    format!("{}/{}", window.sends, window.seconds)
}

/// A field and what it was before; `None`: there was nothing.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// As it is to become.
    pub(crate) new: Field,
    /// As it is.
    pub(crate) old: Option<Field>,
}

impl Change {
    /// Whether it decides which numbers are sent to.
    pub(crate) fn is_of_numbers(&self) -> bool {
        ["countries", "number_types"].contains(&self.new.name)
    }
}

/// The differences between `old` and `new`; without an old one, everything.
pub(crate) fn changes(old: Option<Vec<Field>>, new: Vec<Field>) -> Vec<Change> {
    let Some(old) = old else {
        return new
            .into_iter()
            .map(|new| Change { new, old: None })
            .collect();
    };
    let pairs = old.into_iter().zip(new);
    let differing = pairs.filter(|(old, new)| old.json != new.json);
    differing
        .map(|(old, new)| Change {
            new,
            old: Some(old),
        })
        .collect()
}

/// Changes for scripts.
pub(crate) fn changes_json(changes: &[Change]) -> Value {
    let one = |change: &Change| {
        json!({
            "field": change.new.name,
            "old": change.old.as_ref().map(|old| &old.json),
            "new": change.new.json,
        })
    };
    changes.iter().map(one).collect()
}

/// Changes for people: lines of `field: old → new`.
pub(crate) fn changes_lines(changes: &[Change], indent: &str) -> Vec<String> {
    let one = |change: &Change| {
        let Change { new, old } = change;
        let (name, new) = (new.name, one_line(&new.text));
        match old {
            Some(old) => format!("{indent}{name}: {} → {new}", one_line(&old.text)),
            None => format!("{indent}{name}: {new}"),
        }
    };
    changes.iter().map(one).collect()
}

/// A text in one line of a table.
pub(crate) fn one_line(text: &str) -> String {
    text.replace('\n', "↵")
}

/// Notes what is wrong with the limits of a client whose templates allow so many guesses.
pub(crate) fn check_limits(
    profile: &Profile,
    max_attempts: u8,
    path: &str,
    errors: &mut ValidationErrors,
) {
    if let Err(error) = profile.limits.check(max_attempts) {
        errors.note(field_at(path, error.field()), error);
    }
}

/// Warns where few wrong guesses in a row lock a recipient of a client whose templates allow so many.
pub(crate) fn lock_warning(limits: &Limits, max_attempts: u8) -> Option<String> {
    let failures = limits.failures_that_lock(max_attempts);
    (failures < FEW_FAILURES).then(|| {
        format!(
            "{failures} wrong guesses in a row lock a recipient: max_failures less the guesses that \
             the windows let be open at once, at {max_attempts} for each code"
        )
    })
}
