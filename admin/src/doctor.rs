//! `twofa doctor`: whether all is there that a message needs.

use std::collections::BTreeSet;
use std::fmt::Display;

use aws_sdk_dynamodb::types::TableStatus;
use clap::Args;
use serde_json::{Value, json};
use twofa::aws::error::AwsError;
use twofa::clock::Timestamp;
use twofa::domain::template::Sender;

use crate::error::Error;
use crate::output::{Report, table};
use crate::target::Target;

/// Looks at all that a message needs: credentials, tables, secret, SMS settings, senders, alarms
///
/// It only reads. It exits with 1 if something is broken; a warning is something that only you can judge.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  twofa doctor
  twofa doctor --json | jq '.checks[] | select(.state != \"fine\")'")]
pub(crate) struct DoctorCommand {}

/// The outcome of a check.
struct Check {
    name: &'static str,
    state: State,
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fine,
    Warning,
    Broken,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

impl Check {
    fn new(name: &'static str, state: State, detail: impl Display) -> Self {
        Self {
            name,
            state,
            detail: detail.to_string(),
        }
    }

    /// Broken where `outcome` is an error.
    fn of<E: Display>(name: &'static str, outcome: Result<(State, String), E>) -> Self {
        match outcome {
            Ok((state, detail)) => Self::new(name, state, detail),
            Err(error) => Self::new(name, State::Broken, error),
        }
    }
}

impl DoctorCommand {
    /// Carries it out.
    pub(crate) async fn run(self, target: &Target, now: Timestamp) -> Result<Report, Error> {
        let mut checks = vec![Check::new("region", State::Fine, &target.region)];
        let caller = target.caller().await;
        checks.push(Check::of(
            "caller",
            caller.map(|arn| (State::Fine, arn.to_owned())),
        ));
        let directory = table_status(target, &target.directory_table).await;
        checks.push(Check::of("directory table", directory));
        let verifications = match target.verifications_table() {
            Ok(name) => table_status(target, name).await.map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        checks.push(Check::of("verifications table", verifications));
        let secret = target.secret(now).await;
        let secret = secret.map(|_| (State::Fine, "can be read".to_owned()));
        checks.push(Check::of("secret", secret));
        checks.push(Check::of("SMS sandbox", sandbox(target).await));
        checks.push(Check::of("SMS spend limit", spend_limit(target).await));
        checks.push(Check::of("senders", senders(target).await));
        if let Some(topic) = &target.alarm_topic {
            checks.push(Check::of("alarms", alarms(target, topic).await));
        }
        let rows = checks.iter().map(|check| {
            let state = check.state.as_str().to_owned();
            [check.name.to_owned(), state, check.detail.clone()]
        });
        let text = table(["CHECK", "STATE", "DETAIL"], rows.collect());
        let described: Value = checks.iter().map(describe).collect();
        let report = Report::new(text, json!({ "checks": described }));
        let is_broken = checks.iter().any(|check| check.state == State::Broken);
        Ok(report.exit(u8::from(is_broken)))
    }
}

fn describe(check: &Check) -> Value {
    json!({ "check": check.name, "state": check.state.as_str(), "detail": check.detail })
}

async fn table_status(target: &Target, name: &str) -> Result<(State, String), AwsError> {
    let described = target
        .dynamodb
        .describe_table()
        .table_name(name)
        .send()
        .await;
    let described = described.map_err(|error| AwsError::new("DescribeTable", &error))?;
    let status = described.table.and_then(|table| table.table_status);
    let status = status.ok_or_else(|| AwsError::incomplete("DescribeTable"))?;
    let state = match status {
        TableStatus::Active => State::Fine,
        TableStatus::Updating => State::Warning,
        _ => State::Broken,
    };
    Ok((state, format!("{name} is {status}")))
}

async fn sandbox(target: &Target) -> Result<(State, String), AwsError> {
    let asked = target.sns.get_sms_sandbox_account_status().send().await;
    let status = asked.map_err(|error| AwsError::new("GetSMSSandboxAccountStatus", &error))?;
    Ok(if status.is_in_sandbox {
        let detail = "the account is in it: only numbers that it has verified get messages";
        (State::Warning, detail.to_owned())
    } else {
        (State::Fine, "the account is not in it".to_owned())
    })
}

async fn spend_limit(target: &Target) -> Result<(State, String), AwsError> {
    let asked = target.sns.get_sms_attributes().send().await;
    let attributes = asked.map_err(|error| AwsError::new("GetSMSAttributes", &error))?;
    let attributes = attributes.attributes.unwrap_or_default();
    Ok(match attributes.get("MonthlySpendLimit") {
        Some(limit) if limit != "1" => (State::Fine, format!("{limit} US dollars a month")),
        _ => {
            let detail =
                "1 US dollar a month, as AWS sets it: have it raised before people depend on it";
            (State::Warning, detail.to_owned())
        }
    })
}

/// Whether SNS takes the senders of all templates, as far as that can be known.
async fn senders(target: &Target) -> Result<(State, String), Error> {
    let mut senders = BTreeSet::new();
    let mut problems = Vec::new();
    for id in target.directory.clients().await? {
        let Some(client) = target.directory.query(&id).await? else {
            continue;
        };
        for template in client.templates {
            let from = template.from.as_str();
            if let Some(reason) = template.from.refused_by_sns() {
                problems.push(format!("{id}, {}: from {from}: {reason}", template.name));
            } else if matches!(template.from, Sender::Number(_)) {
                senders.insert(from.trim_start_matches('+').to_owned());
            }
        }
    }
    if !senders.is_empty() {
        let listed = target
            .sns
            .list_origination_numbers()
            .into_paginator()
            .items()
            .send();
        let listed = listed.collect::<Result<Vec<_>, _>>().await;
        let listed = listed.map_err(|error| AwsError::new("ListOriginationNumbers", &error))?;
        let owned: BTreeSet<_> = listed
            .iter()
            .filter_map(|number| number.phone_number())
            .map(|number| number.trim_start_matches('+').to_owned())
            .collect();
        let missing = senders.difference(&owned);
        problems.extend(missing.map(|number| format!("{number} is not a number of the account")));
    }
    Ok(if problems.is_empty() {
        (State::Fine, "SNS takes the form of each".to_owned())
    } else {
        (State::Warning, problems.join("; "))
    })
}

async fn alarms(target: &Target, topic: &str) -> Result<(State, String), AwsError> {
    const PENDING: &str = "PendingConfirmation";
    let subscriptions = target.sns.list_subscriptions_by_topic().topic_arn(topic);
    let listed = subscriptions.into_paginator().items().send();
    let listed = listed.collect::<Result<Vec<_>, _>>().await;
    let listed = listed.map_err(|error| AwsError::new("ListSubscriptionsByTopic", &error))?;
    let is_confirmed = |arn: Option<&str>| arn.is_some_and(|arn| arn != PENDING);
    let confirmed = listed
        .iter()
        .filter(|one| is_confirmed(one.subscription_arn()));
    Ok(match (confirmed.count(), listed.len()) {
        (0, 0) => (State::Warning, "nobody is subscribed to them".to_owned()),
        (0, _) => {
            let detail = "nobody has confirmed the subscription to them";
            (State::Warning, detail.to_owned())
        }
        (confirmed, _) => (State::Fine, format!("subscribed to: {confirmed}")),
    })
}
