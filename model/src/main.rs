//! Explores the protocol, or shows what is wrong with a flawed one.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};
use stateright::{Expectation, Model as _};
use twofa_model::{Flaw, Protocol, SCENARIOS};

/// Explores Twofa's protocol: every interleaving of calls, lost answers and dying processes, within
/// bounds.
#[derive(Debug, Parser)]
struct Options {
    /// Break the protocol in this way, and show a shortest run that violates a property.
    #[arg(long, value_enum)]
    flaw: Option<Flaw>,
    /// Explore this scenario alone, by its number.
    #[arg(long)]
    scenario: Option<usize>,
    /// Let so many more faults happen in each scenario.
    #[arg(long, default_value_t = 0)]
    faults: u8,
    /// Let so many more writes land late.
    #[arg(long, default_value_t = 0)]
    late: u8,
    /// Let each scenario last so many more ticks.
    #[arg(long, default_value_t = 0)]
    ticks: u8,
}

fn main() -> io::Result<ExitCode> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    let mut is_sound = true;
    for (number, mut scenario) in SCENARIOS.into_iter().enumerate() {
        if options.scenario.is_some_and(|only| only != number) {
            continue;
        }
        scenario.faults = scenario.faults.saturating_add(options.faults);
        scenario.late = scenario.late.saturating_add(options.late);
        scenario.ends_at = scenario.ends_at.saturating_add(options.ticks);
        let protocol = Protocol {
            scenario,
            flaw: options.flaw,
        };
        writeln!(out, "{number}. {}", scenario.name)?;
        let explored = protocol.clone().explore();
        let (moments, depth) = (explored.moments, explored.depth);
        writeln!(out, "  {moments} states, up to {depth} steps deep")?;
        for property in protocol.properties() {
            let kind = match property.expectation {
                Expectation::Always => "always",
                Expectation::Eventually => "in the end",
                Expectation::Sometimes => "sometimes",
            };
            let is_broken = explored.broken.contains(&property.name);
            let mark = if is_broken { "BROKEN" } else { "ok" };
            writeln!(out, "  {mark:6} {kind}: {}", property.name)?;
        }
        if explored.broken.is_empty() {
            continue;
        }
        is_sound = false;
        if let Some((name, run)) = protocol.counterexample(None) {
            writeln!(out, "  A shortest run that violates \"{name}\":")?;
            for (number, step) in run.into_actions().iter().enumerate() {
                writeln!(out, "  {:3}. {step}", number + 1)?;
            }
        }
        break;
    }
    if let Some(flaw) = options.flaw.filter(|_| is_sound) {
        let name = flaw
            .to_possible_value()
            .map(|value| value.get_name().to_owned());
        writeln!(out, "Nothing is wrong with {}.", name.unwrap_or_default())?;
    }
    Ok(if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
