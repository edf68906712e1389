//! `twofa apply`: clients and templates as a file says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use twofa::domain::client::{Client, Countries, Profile};
use twofa::domain::ids::{ClientId, Version};
use twofa::domain::template::TemplateFields;
use twofa::store::MAX_ITEMS;

use crate::cap::CarryOver;

use crate::error::{Error, ValidationErrors};
use crate::file::{self, ClientEntry, TemplateEntry};
use crate::input;
use crate::output::{Progress, Report};
use crate::settings::{
    self, Bound, Change, changes, changes_json, changes_lines, check_limits, lock_warning,
};
use crate::target::Target;
use crate::{template, text};

/// Creates and changes clients and templates as a TOML file says
///
/// Prints the plan, checks all of it, and only then writes. What the file does not say stays as it
/// is: other clients, other templates, absent fields, and always keys, test numbers, and the balance of
/// a client that stays prepaid. A second run changes nothing.
///
/// The first `per_day` of a client counts the day's earlier requests too. The command waits 55
/// seconds, until every function knows the limit, and then counts them. If it is interrupted, run
/// it again a minute later.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa apply clients.toml --dry-run
  twofa apply clients.toml
  twofa apply clients.toml --dry-run --exit-code    # 4: somebody changed something by hand
  twofa apply clients.toml --prune-templates --json | jq .summary

The file:
  [clients.shop]                    # the client's id
  name = 'The Shop'                 # default: the id
  countries = ['GB', 'IE']          # needed for a new client; '*' for all
  number_types = ['mobile', 'fixed_line_or_mobile']   # the default; fixed_line, voip, personal
  networks = ['203.0.113.0/24']     # default: all
  max_price = '0.05'                # US dollars per SMS, or 'none'
  prepaid = true                    # begins with 0: twofa client set shop --balance N
  disabled = []                     # account, client, product, connection

  [clients.shop.limits]
  windows = [{ sends = 1, seconds = 30 }, { sends = 5, seconds = 600 }]
  max_failures = 100
  lock_seconds = 86400
  per_second = 50                   # or 'none'
  per_day = 100000                  # or 'none'

  [[clients.shop.keys]]             # only of a client that is new: as `export` writes them
  digest = '64 hexadecimal digits: the SHA-256 of the key'
  created_at = '2030-01-31T00:00:00Z'

  [[clients.shop.templates]]
  name = 'Login'
  from = 'Shop'
  text = '${code} is your Shop code. Never share it.'
  ttl = 300
  code_length = 6
  max_attempts = 5
  # id = a UUID; default: made from client and name. Keep it to rename a template.")]
pub(crate) struct ApplyCommand {
    /// The file; -: standard input
    file: PathBuf,
    /// Print the plan and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove the templates of the file's clients that the file does not name
    #[arg(long)]
    prune_templates: bool,
    /// With --dry-run: exit with 4 when the stack is not as the file says
    #[arg(long, requires = "dry_run")]
    exit_code: bool,
}

impl ApplyCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, progress: Progress) -> Result<Report, Error> {
        let mut errors = ValidationErrors::default();
        let source = input::file(&self.file)?;
        let entries = file::read(&source, &mut errors)?;
        let mut plans = Vec::new();
        for entry in entries {
            let client = target.directory.query(&entry.id).await?;
            plans.push(Plan::of(entry, client, self.prune_templates, &mut errors));
        }
        file::tell_lines(&source, &mut errors.0);
        errors.finish(())?;
        if !self.dry_run {
            let mut carry_over = CarryOver::default();
            for plan in &plans {
                if plan.needs_verifications() {
                    target.verifications()?;
                }
                if plan.carries_over {
                    carry_over.note(&plan.id, plan.per_day_before);
                }
            }
            for plan in &plans {
                plan.carry_out(target).await?;
            }
            carry_over.carry_out(target, progress).await?;
        }
        let report = report(&plans, self.dry_run);
        let differs = plans.iter().any(Plan::has_changes);
        Ok(if self.exit_code && differs {
            report.exit(DIFFERS)
        } else {
            report
        })
    }
}

/// The exit code that says that a file and a stack differ.
const DIFFERS: u8 = 4;

/// The planned changes of a client.
struct Plan {
    id: ClientId,
    is_new: bool,
    /// The profile as it was read.
    old: Option<Profile>,
    profile: Profile,
    changes: Vec<Change>,
    templates: Vec<TemplatePlan>,
    removed: Vec<TemplateFields>,
    /// The balance that it gets because it becomes prepaid, or is prepaid no longer.
    balance: Option<Bound<u32>>,
    /// Whether it was there before and the file names a cap of the day.
    carries_over: bool,
    /// The cap of the day before.
    per_day_before: Option<u32>,
    /// Whether the templates are written before the profile.
    templates_first: bool,
    /// The most guesses that one of the templates then allows.
    max_attempts: u8,
}

/// The planned changes of a template.
struct TemplatePlan {
    fields: TemplateFields,
    is_new: bool,
    changes: Vec<Change>,
}

impl Plan {
    fn of(
        entry: ClientEntry,
        client: Option<Client>,
        prune: bool,
        errors: &mut ValidationErrors,
    ) -> Self {
        let ClientEntry {
            id,
            path,
            settings,
            keys,
            templates,
        } = entry;
        let is_new = client.is_none();
        if is_new && settings.countries.is_none() {
            let missing = "is required for a new client";
            let field = format!("{path}.countries");
            if !errors.0.iter().any(|error| error.field == field) {
                errors.note(field, missing);
            }
        }
        let names_cap = matches!(settings.per_day, Some(Bound::At(_)));
        let attempts_before = client.as_ref().map(Client::max_attempts);
        let (old, stored) = match client {
            Some(client) => (Some(client.profile), client.templates),
            None => (None, Vec::new()),
        };
        let stored: Vec<_> = stored.iter().map(template::stored_fields).collect();
        let base = old.clone().unwrap_or_else(|| {
            let countries = settings.countries.clone().unwrap_or(Countries::All);
            Profile::new(id.as_str(), countries)
        });
        let mut profile = settings.applied_to(base);
        if is_new {
            profile.api_keys = keys;
        }
        let was_prepaid = old.as_ref().is_some_and(|old| old.prepaid);
        let balance = match (was_prepaid, profile.prepaid) {
            (false, true) => Some(Bound::At(0)),
            (true, false) => Some(Bound::Free),
            (true, true) | (false, false) => None,
        };
        let per_day_before = old.as_ref().and_then(|old| old.limits.per_day);
        let changes = changes(
            old.as_ref().map(settings::fields),
            settings::fields(&profile),
        );
        let mut planned = Vec::new();
        for entry in templates {
            let path = entry.path.clone();
            let Some(plan) = TemplatePlan::of(entry, &id, &stored, errors) else {
                continue;
            };
            let mut others = planned.iter().map(|other: &TemplatePlan| &other.fields);
            if others.any(|other| other.id == plan.fields.id) {
                errors.note(&path, "is the same template as another one above");
            }
            planned.push(plan);
        }
        let is_named = |old: &TemplateFields| planned.iter().any(|plan| plan.fields.id == old.id);
        let (named, mut unnamed): (Vec<_>, Vec<_>) = stored.into_iter().partition(is_named);
        drop(named);
        let removed = if prune {
            std::mem::take(&mut unnamed)
        } else {
            Vec::new()
        };
        let attempts = check_together(&profile, &planned, &unnamed, &path, errors);
        Self {
            id,
            is_new,
            old,
            profile,
            changes,
            templates: planned,
            removed,
            balance,
            carries_over: names_cap && !is_new,
            per_day_before,
            templates_first: attempts_before.is_some_and(|before| attempts <= before),
            max_attempts: attempts,
        }
    }

    fn needs_verifications(&self) -> bool {
        self.balance.is_some() || self.carries_over
    }

    fn has_changes(&self) -> bool {
        let mut templates = self.templates.iter();
        !self.changes.is_empty()
            || !self.removed.is_empty()
            || templates.any(|template| !template.changes.is_empty())
    }

    /// Writes in an order in which nobody meets a refusal that neither the old nor the new settings
    /// give. Limits that leave room for the guesses of all templates, before and after, do so in between
    /// too if fewer guesses come first and more of them last.
    async fn carry_out(&self, target: &Target) -> Result<(), Error> {
        if self.templates_first {
            // The profile as it was, until its own turn.
            let before = self.old.as_ref().unwrap_or(&self.profile);
            let version = self.write_templates(target, before).await?;
            self.write_profile(target, version).await?;
        } else {
            let version = self.write_profile(target, self.profile.version).await?;
            let profile = Profile {
                version,
                ..self.profile.clone()
            };
            self.write_templates(target, &profile).await?;
        }
        Ok(())
    }

    /// Writes the profile over the one of that version, with the balance; returns its new version.
    async fn write_profile(
        &self,
        target: &Target,
        version: Option<Version>,
    ) -> Result<Option<Version>, Error> {
        if self.changes.is_empty() {
            return Ok(version);
        }
        let mut details = changes_lines(&self.changes, "");
        if self.is_new {
            let keys = self.profile.api_keys.iter();
            details.extend(keys.map(|key| format!("key {}: from the file", key.id())));
        }
        let change = target.draft(&self.id, "apply", details).await?;
        let new = change.version();
        let profile = Profile {
            version,
            ..self.profile.clone()
        };
        let mut change = if self.is_new {
            change.add_profile(&profile)?
        } else {
            change.put_profile(&profile)?
        };
        if let Some(balance) = self.balance {
            change = change.set_balance(target.verifications_table()?, balance.into())?;
        }
        self.made(target.carry_out(change).await?)?;
        Ok(Some(new))
    }

    /// Writes the templates beside that profile; returns its new version.
    async fn write_templates(
        &self,
        target: &Target,
        profile: &Profile,
    ) -> Result<Option<Version>, Error> {
        let changed = self.templates.iter().filter(|t| !t.changes.is_empty());
        let changed = changed.map(|template| (&template.fields, Some(&template.changes)));
        let removed = self.removed.iter().map(|fields| (fields, None));
        let writes: Vec<_> = changed.chain(removed).collect();
        let mut profile = profile.clone();
        for writes in writes.chunks(MAX_ITEMS) {
            let details = writes.iter().flat_map(|(fields, changed)| match changed {
                Some(changed) => template::recorded(fields, changed),
                None => vec![format!("template {} ({}) removed", fields.name, fields.id)],
            });
            let draft = target.draft(&self.id, "apply", details.collect());
            let change = draft.await?;
            let new = change.version();
            let mut change = change.put_profile(&profile)?;
            for (fields, changed) in writes {
                change = match changed {
                    Some(_) => change.put_template(fields)?,
                    None => change.remove_template(fields.id)?,
                };
            }
            self.made(target.carry_out(change).await?)?;
            profile.version = Some(new);
        }
        Ok(profile.version)
    }

    fn made(&self, is_made: bool) -> Result<(), Error> {
        match is_made {
            true => Ok(()),
            false if self.is_new => Err(Error::ClientExists(self.id.clone())),
            false => Err(Error::Overtaken(self.id.clone())),
        }
    }
}

/// Notes what is wrong with the client as it would be: templates that share a name, and limits
/// without room for the guesses of the templates. Returns the most guesses that one of them allows.
fn check_together(
    profile: &Profile,
    planned: &[TemplatePlan],
    kept: &[TemplateFields],
    path: &str,
    errors: &mut ValidationErrors,
) -> u8 {
    let all = planned.iter().map(|plan| &plan.fields).chain(kept);
    let mut names = BTreeSet::new();
    for template in all.clone() {
        if !names.insert(&template.name) {
            let name = &template.name;
            let problem = format!("more than one template would be called {name:?}");
            errors.note(format!("{path}.templates"), problem);
        }
    }
    let most = all.map(|template| template.max_attempts).max();
    let most = most.unwrap_or_default();
    check_limits(profile, most, path, errors);
    most
}

impl TemplatePlan {
    /// The template that the entry means is the one of its id; without one, the one of its name.
    fn of(
        entry: TemplateEntry,
        client: &ClientId,
        stored: &[TemplateFields],
        errors: &mut ValidationErrors,
    ) -> Option<Self> {
        let has_id = |id| stored.iter().find(|old| Some(old.id) == id);
        let stable_id = template::stable_id(client, &entry.name);
        let by_name = || stored.iter().find(|old| old.name == entry.name);
        let old = match entry.id {
            Some(_) => has_id(entry.id),
            None => by_name().or_else(|| has_id(stable_id)),
        };
        let id = old.map(|old| old.id).or(entry.id).or(stable_id);
        let id = errors.take(&entry.path, id.ok_or("needs an id"))?;
        let base = old
            .cloned()
            .unwrap_or_else(|| TemplateFields::new(id, &entry.name, "", ""));
        let fields = TemplateFields {
            id,
            name: entry.name,
            from: entry.from,
            text: entry.text,
            ttl: entry.ttl.unwrap_or(base.ttl),
            code_length: entry.code_length.unwrap_or(base.code_length),
            max_attempts: entry.max_attempts.unwrap_or(base.max_attempts),
        };
        template::check(&fields, &entry.path, errors);
        let changes = changes(old.map(template::fields), template::fields(&fields));
        Some(Self {
            fields,
            is_new: old.is_none(),
            changes,
        })
    }
}

/// The action on one client or template.
fn action(is_new: bool, has_changes: bool) -> &'static str {
    match (is_new, has_changes) {
        (true, _) => "create",
        (false, true) => "change",
        (false, false) => "unchanged",
    }
}

fn report(plans: &[Plan], dry_run: bool) -> Report {
    let mut lines = Vec::new();
    let mut counts = [
        ("create", 0),
        ("change", 0),
        ("remove", 0),
        ("unchanged", 0),
    ];
    let mut count = |action: &str, number: usize| {
        for (name, total) in &mut counts {
            if *name == action {
                *total += number;
            }
        }
    };
    let (mut clients, mut warnings) = (Vec::new(), Vec::new());
    for plan in plans {
        let id = &plan.id;
        let profile_action = action(plan.is_new, !plan.changes.is_empty());
        count(profile_action, 1);
        count("remove", plan.removed.len());
        if plan.has_changes() {
            lines.push(format!("client {id}: {profile_action}"));
            lines.extend(changes_lines(&plan.changes, "  "));
        }
        let mut templates: Vec<Value> = Vec::new();
        for template in &plan.templates {
            let action = action(template.is_new, !template.changes.is_empty());
            let TemplateFields { id: uuid, name, .. } = &template.fields;
            count(action, 1);
            if !template.changes.is_empty() {
                lines.push(format!("  template {name} ({uuid}): {action}"));
                lines.extend(changes_lines(&template.changes, "    "));
                let found = text::warnings(&template.fields).into_iter();
                warnings.extend(found.map(|warning| format!("{id}, {name}: {warning}")));
            }
            templates.push(json!({
                "id": uuid,
                "name": name,
                "action": action,
                "changes": changes_json(&template.changes),
            }));
        }
        for TemplateFields { id: uuid, name, .. } in &plan.removed {
            lines.push(format!("  template {name} ({uuid}): remove"));
            templates.push(json!({ "id": uuid, "name": name, "action": "remove", "changes": [] }));
        }
        if plan.has_changes() {
            let warning = lock_warning(&plan.profile.limits, plan.max_attempts);
            warnings.extend(warning.map(|warning| format!("{id}: {warning}")));
        }
        if plan.is_new && plan.profile.api_keys.is_empty() {
            warnings.push(format!("{id} is new and has no key: twofa key add {id}"));
        }
        if plan.changes.iter().any(Change::is_of_numbers) {
            let found = settings::warnings(&plan.profile).into_iter();
            warnings.extend(found.map(|warning| format!("{id}: {warning}")));
        }
        match plan.balance {
            Some(Bound::At(_)) => warnings.push(format!(
                "{id} becomes prepaid and sends nothing without a balance: twofa client set {id} --balance PARTS"
            )),
            Some(Bound::Free) => warnings.push(format!(
                "{id} is no longer prepaid, and its balance is dropped"
            )),
            None => {}
        }
        clients.push(json!({
            "id": id,
            "action": profile_action,
            "changes": changes_json(&plan.changes),
            "templates": templates,
        }));
    }
    let [create, change, remove, unchanged] = counts.map(|(_, number)| number);
    let tense = if dry_run { "to be " } else { "" };
    lines.push(format!(
        "{create} {tense}created, {change} {tense}changed, {remove} {tense}removed, {unchanged} unchanged"
    ));
    let json = json!({
        "dry_run": dry_run,
        "clients": clients,
        "summary": { "create": create, "change": change, "remove": remove, "unchanged": unchanged },
    });
    Report::new(lines.join("\n"), json).warn(warnings)
}
