//! The one line of each call: what came of it, for people, and what was measured, in CloudWatch's embedded
//! metric format. No call of CloudWatch is made.
//!
//! The line has `message`, `call_id`, `status` and, as far as they became known, `client`, `key`, `request_id`
//! and `Country`; `claimed_client` where the key is not the client's. No other text of the caller is in it.
//!
//! | metric | in | dimensions |
//! |---|---|---|
//! | `Calls` | count | `Endpoint`, `Outcome` |
//! | `Latency`, and `<Step>Time` of each [`Step`] taken | milliseconds | `Endpoint` |
//! | `ServerErrors`, `AwsErrors`, `AwsRetries`, where there were any | count | `Endpoint` |
//! | `Parts`, where a message was sent | count | `Endpoint`; `Country` |
//! | `Refused`, where a limit was reached | count | `Limit` |
//!
//! Every dimension has few values, and none is a person's.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrique_writer_core::format::Format as _;
use metrique_writer_core::unit::Unit;
use metrique_writer_core::{Entry, EntryWriter};
use metrique_writer_format_emf::{Emf, MetricDefinition, MetricDirective, NoMetric};

use tracing::Level;

use crate::domain::ids::{ClientId, RequestId};
use crate::domain::phone::Country;

/// The target of a call's line, by which a subscriber tells it from the others.
pub const TARGET: &str = "metrics";

/// The target of the same for people.
pub const ANSWERED: &str = "answered";

tokio::task_local! {
    /// The tally of the running call.
    static TALLY: RefCell<Tally>;
}

/// A step of a call whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client is looked up by one `Query`, where it is not remembered.
    Authenticate,
    /// The secret is read, once an hour.
    KeySet,
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
            Self::KeySet => "SecretTime",
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

/// The known facts of a call, for every line that is written during it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// Lambda's id of the call.
    pub(crate) call_id: String,
    /// The client, once its key is known to be right.
    pub(crate) client: Option<ClientId>,
    /// The id of the key, right or wrong.
    pub(crate) key: Option<String>,
    /// The client that a key claims which is not its own.
    pub(crate) claimed_client: Option<ClientId>,
    /// The verification, or the correlation id of a rejected request.
    pub(crate) request_id: Option<RequestId>,
    /// The country of the number.
    pub(crate) country: Option<Country>,
}

impl Context {
    /// The known facts, by name.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("call_id", Some(self.call_id.clone())),
            ("client", self.client.as_ref().map(ToString::to_string)),
            ("key", self.key.clone()),
            (
                "claimed_client",
                self.claimed_client.as_ref().map(ToString::to_string),
            ),
            ("request_id", self.request_id.map(|id| id.to_string())),
            (
                "Country",
                self.country
                    .as_ref()
                    .map(|country| country.as_str().to_owned()),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The measurements of one call.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    context: Context,
    steps: Vec<(Step, Duration)>,
    aws_calls: u32,
    aws_answers: u32,
    aws_retries: u32,
    /// The parts of the message that was handed over.
    sent: Option<usize>,
    refused: Option<Limit>,
}

/// Runs a call and tells how long it took and what it counted.
#[expect(
    clippy::disallowed_methods,
    reason = "the duration of a call is measured here and decides nothing"
)]
pub(crate) async fn measured<T>(
    context: Context,
    call: impl Future<Output = T>,
) -> (T, Duration, Tally) {
    let started = Instant::now();
    let tally = Tally {
        context,
        ..Tally::default()
    };
    TALLY
        .scope(RefCell::new(tally), async {
            let answer = call.await;
            let tally = TALLY.with(RefCell::take);
            (answer, started.elapsed(), tally)
        })
        .await
}

/// Notes what has become known of the call.
pub(crate) fn note(change: impl FnOnce(&mut Context)) {
    count(|tally| change(&mut tally.context));
}

/// The known facts of the running call, if there is one.
pub(crate) fn context() -> Option<Context> {
    let tally = TALLY.try_with(|tally| tally.try_borrow().map(|tally| tally.context.clone()).ok());
    tally.ok().flatten()
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

/// A call of AWS is begun.
pub(crate) fn aws_called() {
    count(|tally| tally.aws_calls += 1);
}

/// A call of AWS got its answer. One that gets none, for whatever reason, is an error.
pub(crate) fn aws_answered() {
    count(|tally| tally.aws_answers += 1);
}

/// A call of AWS is attempted again.
pub(crate) fn aws_retry() {
    count(|tally| tally.aws_retries += 1);
}

/// A call of AWS is made again in place of one that got no answer.
pub(crate) fn aws_called_again() {
    aws_answered();
    aws_retry();
}

/// A message of that many parts was handed over.
pub(crate) fn sent(parts: usize) {
    count(|tally| tally.sent = Some(parts));
}

/// A limit refused the request.
pub(crate) fn refused(limit: Limit) {
    count(|tally| tally.refused = Some(limit));
}

/// Outside of a call, by an operator's command, nothing is counted.
fn count(change: impl FnOnce(&mut Tally)) {
    let _ = TALLY.try_with(|tally| change(&mut tally.borrow_mut()));
}

/// The writer of a stack's metrics; clones share one.
#[derive(Clone)]
pub struct Metrics {
    namespace: Arc<str>,
    /// The writers of lines without and with `Parts`, of each without and with `Refused`: directives must not name what a line lacks.
    formats: Arc<Mutex<[[Emf; 2]; 2]>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics in that namespace of CloudWatch.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        let formats =
            [false, true].map(|sent| [false, true].map(|refused| format(namespace, sent, refused)));
        Self {
            namespace: namespace.into(),
            formats: Arc::new(Mutex::new(formats)),
        }
    }

    /// Writes the line of one call, to the log's target [`TARGET`], and to [`ANSWERED`] for people.
    pub(crate) fn write(&self, call: &Call) {
        let Context {
            client, request_id, ..
        } = &call.tally.context;
        tracing::info!(
            target: ANSWERED,
            endpoint = call.endpoint,
            status = call.status,
            outcome = call.outcome,
            ms = call.latency.as_millis(),
            client = client.as_ref().map(ClientId::as_str),
            request_id = request_id.map(tracing::field::display),
        );
        if tracing::enabled!(target: TARGET, Level::INFO) {
            match self.line(call) {
                Ok(line) => tracing::info!(target: TARGET, line = line.trim_end()),
                Err(error) => tracing::error!(%error, "failed to write a call's line"),
            }
        }
    }

    fn line(&self, call: &Call) -> io::Result<String> {
        let (sent, refused) = (call.tally.sent.is_some(), call.tally.refused.is_some());
        let mut formats = self.formats.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = Vec::with_capacity(1_024);
        formats[usize::from(sent)][usize::from(refused)]
            .format(call, &mut line)
            .map_err(io::Error::other)?;
        String::from_utf8(line).map_err(io::Error::other)
    }
}

/// Every metric has the endpoint as its dimension, but for those that are no metrics in themselves: they
/// have directives of their own.
fn format(namespace: &str, sent: bool, refused: bool) -> Emf {
    let directive = |metric, dimensions: &[&'static str]| MetricDirective {
        dimensions: vec![dimensions.to_vec()],
        metrics: vec![MetricDefinition {
            name: metric,
            unit: Unit::None,
            storage_resolution: None,
        }],
        namespace,
    };
    let mut format = Emf::builder(namespace.to_owned(), vec![vec!["Endpoint".to_owned()]])
        // The tests read every kind of line whole.
        .skip_all_validations(!cfg!(debug_assertions))
        .directive(directive("Calls", &["Endpoint", "Outcome"]));
    if sent {
        format = format.directive(directive("Parts", &["Country"]));
    }
    if refused {
        format = format.directive(directive("Refused", &["Limit"]));
    }
    format.build()
}

/// One call as it is told.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) endpoint: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) status: u16,
    pub(crate) latency: Duration,
    pub(crate) tally: Tally,
}

/// Milliseconds, to the microsecond. Metrics bear no unit: to name it in every line costs a tenth of the log.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl Entry for Call {
    fn write<'a>(&'a self, line: &mut impl EntryWriter<'a>) {
        let context = &self.tally.context;
        line.value("message", "answered");
        line.value("call_id", &context.call_id);
        line.value("status", &NoMetric::from(u32::from(self.status)));
        line.value("Endpoint", self.endpoint);
        line.value("Outcome", self.outcome);
        if let Some(client) = &context.client {
            line.value("client", client.as_str());
        }
        if let Some(key) = &context.key {
            line.value("key", key);
        }
        if let Some(client) = &context.claimed_client {
            line.value("claimed_client", client.as_str());
        }
        if let Some(id) = context.request_id {
            line.value("request_id", &id.to_string());
        }
        if let Some(country) = &context.country {
            line.value("Country", country.as_str());
        }
        line.value("Calls", &NoMetric::from(1_u32));
        line.value("Latency", &milliseconds(self.latency));
        for (step, time) in &self.tally.steps {
            line.value(step.metric(), &milliseconds(*time));
        }
        let counts = [
            ("ServerErrors", u32::from(self.status >= 500)),
            (
                "AwsErrors",
                self.tally.aws_calls.saturating_sub(self.tally.aws_answers),
            ),
            ("AwsRetries", self.tally.aws_retries),
        ];
        for (metric, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            line.value(metric, &count);
        }
        if let Some(parts) = self.tally.sent {
            line.value("Parts", &(parts as u64));
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
            status: 200,
            latency: Duration::from_micros(1_500),
            tally,
        };
        let line = Metrics::new("Twofa/test").line(&call).unwrap();
        let mut line: Value = serde_json::from_str(&line).unwrap();
        line["_aws"].as_object_mut().unwrap().remove("Timestamp");
        line
    }

    fn context() -> Context {
        Context {
            call_id: "18afe18b".to_owned(),
            ..Context::default()
        }
    }

    fn directive(dimensions: &[&str], metrics: &[&str]) -> Value {
        // The writer names the lack of a unit where a metric has a directive of its own.
        let metrics = metrics.iter().map(|name| match dimensions {
            ["Endpoint"] => json!({ "Name": name }),
            _ => json!({ "Name": name, "Unit": "None" }),
        });
        let metrics: Vec<_> = metrics.collect();
        json!({ "Namespace": "Twofa/test", "Dimensions": [dimensions], "Metrics": metrics })
    }

    #[test]
    fn a_call_that_took_nothing_has_its_outcome_and_its_latency() {
        assert_eq!(
            line(Tally {
                context: context(),
                ..Tally::default()
            }),
            json!({
                "_aws": { "CloudWatchMetrics": [
                    directive(&["Endpoint"], &["Latency"]),
                    directive(&["Endpoint", "Outcome"], &["Calls"]),
                ] },
                "message": "answered",
                "call_id": "18afe18b",
                "status": 200,
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
            context: Context {
                client: Some(ClientId::parse("shop").unwrap()),
                request_id: RequestId::parse("773d4110-f95c-4a4f-b59d-2a8c135085fa"),
                country: Some(Country::parse("GB").unwrap()),
                ..context()
            },
            steps: vec![
                (Step::Begin, Duration::from_millis(2)),
                (Step::Publish, Duration::from_millis(40)),
            ],
            aws_calls: 3,
            aws_answers: 2,
            aws_retries: 3,
            sent: Some(2),
            refused: Some(Limit::Stack),
        };
        let line = line(tally);
        assert_eq!(
            line["_aws"]["CloudWatchMetrics"],
            json!([
                directive(
                    &["Endpoint"],
                    &[
                        "Latency",
                        "BeginTime",
                        "PublishTime",
                        "AwsErrors",
                        "AwsRetries",
                        "Parts",
                    ]
                ),
                directive(&["Endpoint", "Outcome"], &["Calls"]),
                directive(&["Country"], &["Parts"]),
                directive(&["Limit"], &["Refused"]),
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
        let known = ["client", "request_id", "Country", "Limit"];
        assert_eq!(
            known.map(|name| line[name].clone()),
            [
                json!("shop"),
                json!("773d4110-f95c-4a4f-b59d-2a8c135085fa"),
                json!("GB"),
                json!("stack"),
            ]
        );
    }
}
