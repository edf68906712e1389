//! What is measured of each call, written as one line in CloudWatch's embedded metric format: no call
//! of CloudWatch is made.
//!
//! | metric | unit | dimensions |
//! |---|---|---|
//! | `Calls` | count | `Endpoint`, `Outcome` |
//! | `Latency`, and `<Step>Time` of each [`Step`] taken | milliseconds | `Endpoint` |
//! | `ServerErrors`, `AwsErrors`, `AwsRetries`, where there were any | count | `Endpoint` |
//! | `Parts`, where a message was sent | count | `Endpoint`; `Country` |
//! | `Refused`, where a limit was reached | count | `Limit` |
//!
//! Every dimension has few values, and none is a person's.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrique_writer_core::format::Format as _;
use metrique_writer_core::unit::{AsCount, Unit};
use metrique_writer_core::{Entry, EntryWriter};
use metrique_writer_format_emf::{Emf, MetricDefinition, MetricDirective, NoMetric};

use crate::phone::Country;

/// The target of the lines in the log, by which a subscriber tells them from the others.
pub const TARGET: &str = "metrics";

tokio::task_local! {
    /// What the call that is running has taken so far.
    static TALLY: RefCell<Tally>;
}

/// A step of a call whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client is looked up, in memory or by one `Query`.
    Authenticate,
    /// The secret is read, once an hour.
    Secret,
    /// The code is stored and its send charged, or an earlier call's met.
    Begin,
    /// The request is counted under the caps.
    Caps,
    /// The message is handed over.
    Publish,
    /// The send is marked as sent.
    Mark,
    /// The begin is undone.
    Undo,
    /// The guess is counted, compared and consumed.
    Guess,
    /// The recipient's failures are counted or forgotten.
    Settle,
}

impl Step {
    fn metric(self) -> &'static str {
        match self {
            Self::Authenticate => "AuthenticateTime",
            Self::Secret => "SecretTime",
            Self::Begin => "BeginTime",
            Self::Caps => "CapsTime",
            Self::Publish => "PublishTime",
            Self::Mark => "MarkTime",
            Self::Undo => "UndoTime",
            Self::Guess => "GuessTime",
            Self::Settle => "SettleTime",
        }
    }
}

/// A limit that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The recipient's sends or failures.
    Recipient,
    /// The client's requests of a second or a day.
    Client,
    /// The stack's parts of a day.
    Stack,
    /// The client's balance.
    Balance,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Client => "client",
            Self::Stack => "stack",
            Self::Balance => "balance",
        }
    }
}

/// What one call took.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    steps: Vec<(Step, Duration)>,
    aws_errors: u32,
    aws_retries: u32,
    sent: Option<(Country, usize)>,
    refused: Option<Limit>,
}

/// Runs a call and tells how long it took and what it counted.
#[expect(
    clippy::disallowed_methods,
    reason = "the duration of a call is measured here and decides nothing"
)]
pub(crate) async fn measured<T>(call: impl Future<Output = T>) -> (T, Duration, Tally) {
    let started = Instant::now();
    TALLY
        .scope(RefCell::default(), async {
            let answer = call.await;
            let tally = TALLY.with(RefCell::take);
            (answer, started.elapsed(), tally)
        })
        .await
}

/// Runs a step of a call; taken more than once, its times add up.
#[expect(
    clippy::disallowed_methods,
    reason = "the duration of a step is measured here and decides nothing"
)]
pub(crate) async fn timed<T>(step: Step, work: impl Future<Output = T>) -> T {
    let started = Instant::now();
    let done = work.await;
    let took = started.elapsed();
    count(
        |tally| match tally.steps.iter_mut().find(|(known, _)| *known == step) {
            Some((_, time)) => *time += took,
            None => tally.steps.push((step, took)),
        },
    );
    done
}

/// A call of AWS has failed, after its retries.
pub(crate) fn aws_error() {
    count(|tally| tally.aws_errors += 1);
}

/// A call of AWS is made again.
pub(crate) fn aws_retry() {
    count(|tally| tally.aws_retries += 1);
}

/// A message of that many parts was handed over.
pub(crate) fn sent(country: Country, parts: usize) {
    count(|tally| tally.sent = Some((country, parts)));
}

/// A limit refused the request.
pub(crate) fn refused(limit: Limit) {
    count(|tally| tally.refused = Some(limit));
}

/// Outside of a call, by an operator's command, nothing is counted.
fn count(change: impl FnOnce(&mut Tally)) {
    let _ = TALLY.try_with(|tally| change(&mut tally.borrow_mut()));
}

/// Where the metrics of a stack belong.
#[derive(Clone, Debug)]
pub struct Metrics {
    namespace: Arc<str>,
}

impl Metrics {
    /// Metrics in that namespace of CloudWatch.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
        }
    }

    /// Writes the line of one call, to the log's target [`TARGET`].
    pub(crate) fn write(&self, call: &Call) {
        match self.line(call) {
            Ok(line) => tracing::info!(target: TARGET, emf = line.trim_end()),
            Err(error) => tracing::error!(%error, "a call's metrics could not be written"),
        }
    }

    fn line(&self, call: &Call) -> io::Result<String> {
        // Every metric has the endpoint as its dimension, but for those that are no metrics in
        // themselves: they have directives of their own.
        let mut format = Emf::builder(
            self.namespace.to_string(),
            vec![vec!["Endpoint".to_owned()]],
        )
        .directive(self.directive("Calls", &["Endpoint", "Outcome"]));
        if call.tally.sent.is_some() {
            format = format.directive(self.directive("Parts", &["Country"]));
        }
        if call.tally.refused.is_some() {
            format = format.directive(self.directive("Refused", &["Limit"]));
        }
        let mut line = Vec::with_capacity(1_024);
        format
            .build()
            .format(call, &mut line)
            .map_err(io::Error::other)?;
        String::from_utf8(line).map_err(io::Error::other)
    }

    fn directive<'a>(&'a self, metric: &'a str, dimensions: &[&'a str]) -> MetricDirective<'a> {
        MetricDirective {
            dimensions: vec![dimensions.to_vec()],
            metrics: vec![MetricDefinition {
                name: metric,
                unit: Unit::Count,
                storage_resolution: None,
            }],
            namespace: &self.namespace,
        }
    }
}

/// One call as it is measured.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) endpoint: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) is_server_error: bool,
    pub(crate) latency: Duration,
    pub(crate) tally: Tally,
}

impl Entry for Call {
    fn write<'a>(&'a self, line: &mut impl EntryWriter<'a>) {
        line.value("Endpoint", self.endpoint);
        line.value("Outcome", self.outcome);
        line.value("Calls", &NoMetric::from(1_u32));
        line.value("Latency", &self.latency);
        for (step, time) in &self.tally.steps {
            line.value(step.metric(), time);
        }
        let counts = [
            ("ServerErrors", u32::from(self.is_server_error)),
            ("AwsErrors", self.tally.aws_errors),
            ("AwsRetries", self.tally.aws_retries),
        ];
        for (metric, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            line.value(metric, &AsCount::from(count));
        }
        if let Some((country, parts)) = &self.tally.sent {
            line.value("Country", country.as_str());
            line.value("Parts", &AsCount::from(*parts));
        }
        if let Some(limit) = self.tally.refused {
            line.value("Limit", limit.name());
            line.value("Refused", &NoMetric::from(1_u32));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(tally: Tally) -> Value {
        let call = Call {
            endpoint: "request",
            outcome: "ACCEPTED",
            is_server_error: false,
            latency: Duration::from_micros(1_500),
            tally,
        };
        let line = Metrics::new("Twofa/test").line(&call).unwrap();
        let mut line: Value = serde_json::from_str(&line).unwrap();
        line["_aws"].as_object_mut().unwrap().remove("Timestamp");
        line
    }

    fn directive(dimensions: &[&str], metrics: &[(&str, Option<&str>)]) -> Value {
        let metrics: Vec<_> = metrics
            .iter()
            .map(|(name, unit)| match unit {
                Some(unit) => json!({ "Name": name, "Unit": unit }),
                None => json!({ "Name": name }),
            })
            .collect();
        json!({ "Namespace": "Twofa/test", "Dimensions": [dimensions], "Metrics": metrics })
    }

    #[test]
    fn a_call_that_took_nothing_has_its_outcome_and_its_latency() {
        assert_eq!(
            line(Tally::default()),
            json!({
                "_aws": { "CloudWatchMetrics": [
                    directive(&["Endpoint"], &[("Latency", Some("Milliseconds"))]),
                    directive(&["Endpoint", "Outcome"], &[("Calls", Some("Count"))]),
                ] },
                "Endpoint": "request",
                "Outcome": "ACCEPTED",
                "Calls": 1,
                "Latency": 1.5,
            })
        );
    }

    #[test]
    fn a_call_tells_what_it_took() {
        let tally = Tally {
            steps: vec![
                (Step::Begin, Duration::from_millis(2)),
                (Step::Publish, Duration::from_millis(40)),
            ],
            aws_errors: 1,
            aws_retries: 3,
            sent: Some((Country::parse("GB").unwrap(), 2)),
            refused: Some(Limit::Stack),
        };
        let line = line(tally);
        let milliseconds = Some("Milliseconds");
        let count = Some("Count");
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"],
            json!([
                directive(
                    &["Endpoint"],
                    &[
                        ("Latency", milliseconds),
                        ("BeginTime", milliseconds),
                        ("PublishTime", milliseconds),
                        ("AwsErrors", count),
                        ("AwsRetries", count),
                        ("Parts", count),
                    ]
                ),
                directive(&["Endpoint", "Outcome"], &[("Calls", count)]),
                directive(&["Country"], &[("Parts", count)]),
                directive(&["Limit"], &[("Refused", count)]),
            ])
        );
        let values = [
            "BeginTime",
            "PublishTime",
            "AwsErrors",
            "AwsRetries",
            "Parts",
        ];
        assert_eq!(
            values.map(|name| line[name].clone()),
            [2, 40, 1, 3, 2].map(Value::from)
        );
        assert_eq!(
            (&line["Country"], &line["Limit"]),
            (&json!("GB"), &json!("stack"))
        );
    }
}
