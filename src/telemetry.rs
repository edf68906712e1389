//! Log lines: JSON for CloudWatch, for people on a laptop.
//!
//! The line of a call is its metrics too: it is written whatever the level.
//!
//! Only the product's own lines are written at the level asked for; those of the libraries must be
//! warnings, since at finer levels they show requests whole, codes and numbers included.

use std::fmt::{self, Debug};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer as _, Registry};

use crate::metrics;

/// A subscriber that writes one JSON object a line to `writer`.
pub fn json<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = layer().event_format(Json).with_writer(writer);
    let targets = own(level)
        .with_target(metrics::TARGET, LevelFilter::INFO)
        .with_target(metrics::ANSWERED, LevelFilter::OFF);
    Registry::default().with(layer.with_filter(targets))
}

/// A subscriber that writes short lines for people to `writer`, with colours if it `is_terminal`.
pub fn human<W>(level: LevelFilter, is_terminal: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = layer()
        .compact()
        .with_target(false)
        .with_ansi(is_terminal)
        .with_writer(writer);
    let targets = own(level)
        .with_target(metrics::TARGET, LevelFilter::OFF)
        .with_target(metrics::ANSWERED, level);
    Registry::default().with(layer.with_filter(targets))
}

/// A subscriber that writes the product's own warnings to `writer`, without times and colours: for a
/// command line, whose output others read.
pub fn plain<W>(writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = layer()
        .compact()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(writer);
    let own = Targets::new()
        .with_target("twofa", LevelFilter::WARN)
        .with_target(metrics::TARGET, LevelFilter::OFF);
    Registry::default().with(layer.with_filter(own))
}

fn own(level: LevelFilter) -> Targets {
    let others = level.min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target("twofa", level)
}

/// Writes the line of a call as it is, and any other with what is known of the call that it was written
/// during.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if metadata.target() == metrics::TARGET {
            let mut line = Line(writer, Ok(()));
            event.record(&mut line);
            return line.1;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let Fields(mut line) = fields;
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let own = [
            ("timestamp", timestamp),
            ("level", metadata.level().to_string()),
            ("target", metadata.target().to_owned()),
        ];
        let context = metrics::context();
        let context = context.iter().flat_map(metrics::Context::fields);
        line.extend(
            own.into_iter()
                .chain(context)
                .map(|(name, value)| (name.to_owned(), value.into())),
        );
        writeln!(writer, "{}", Value::Object(line))
    }
}

/// Writes a text as a line.
struct Line<'a>(Writer<'a>, fmt::Result);

impl Visit for Line<'_> {
    fn record_str(&mut self, _: &Field, line: &str) {
        self.1 = writeln!(self.0, "{line}");
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// The fields of a line.
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.insert(field, format!("{value:?}"));
    }
}
