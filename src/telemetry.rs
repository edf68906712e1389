//! Log lines: JSON in the cloud and in a pipe, for people on a terminal.
//!
//! Metrics are lines of the log too, in a format of their own, whatever the level.
//!
//! Only the product's own lines are written at the level asked for; those of the libraries must be
//! warnings, since at finer levels they show requests whole, codes and numbers included.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer as _, Registry};

use crate::metrics;

/// A subscriber that writes one JSON object a line to `writer`, metrics among them.
pub fn json<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
{
    let measured = layer()
        .event_format(Verbatim)
        .with_writer(writer.clone())
        .with_filter(Targets::new().with_target(metrics::TARGET, LevelFilter::INFO));
    let layer = layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer);
    Registry::default()
        .with(layer.with_filter(own(level)))
        .with(measured)
}

/// A subscriber that writes short lines for people to `writer`.
pub fn human<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = layer().compact().with_target(false).with_writer(writer);
    Registry::default().with(layer.with_filter(own(level)))
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
        .with_target(metrics::TARGET, LevelFilter::OFF)
}

/// Writes the text of a metric's line as it is.
struct Verbatim;

impl<S, N> FormatEvent<S, N> for Verbatim
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
        let mut text = Text(String::new());
        event.record(&mut text);
        writeln!(writer, "{}", text.0)
    }
}

/// The text of a line's one field.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, _: &Field, value: &str) {
        value.clone_into(&mut self.0);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
