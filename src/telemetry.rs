//! Log lines: JSON in the cloud and in a pipe, for people on a terminal.
//!
//! Only the product's own lines are written at the level asked for; those of the libraries must be
//! warnings, since at finer levels they show requests whole, codes and numbers included.

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt};

/// A subscriber that writes one JSON object a line to `writer`.
pub fn json<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(writer);
    Registry::default().with(layer.with_filter(own(level)))
}

/// A subscriber that writes short lines for people to `writer`.
pub fn human<W>(level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer()
        .compact()
        .with_target(false)
        .with_writer(writer);
    Registry::default().with(layer.with_filter(own(level)))
}

fn own(level: LevelFilter) -> Targets {
    let others = level.min(LevelFilter::WARN);
    Targets::new()
        .with_default(others)
        .with_target("twofa", level)
}
