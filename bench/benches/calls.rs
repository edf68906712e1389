//! How long whole calls take through the handlers, over the embedded engine in memory, and how long
//! the parts that ask nobody. On a noisy machine trust `bench/compare`, which counts instructions.

use std::hint::black_box;

use clap::ValueEnum as _;
use criterion::{BatchSize, Criterion};
use tokio::runtime::Builder;
use twofa_bench::calls::{Caller, Course, Kind};
use twofa_bench::parts::{Part, Subject};
use twofa_bench::stage::{self, Failed};

/// How many clients take turns: the record of one that requests without a pause grows.
const CLIENTS: usize = 200;

/// How many codes there are to validate.
const CODES: usize = 200_000;

fn main() -> Result<(), Failed> {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    parts(&mut criterion)?;
    calls(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn parts(criterion: &mut Criterion) -> Result<(), Failed> {
    let subject = Subject::new()?;
    let mut group = criterion.benchmark_group("part");
    for part in Part::value_variants() {
        let name = name(part)?;
        group.bench_function(name, |bencher| bencher.iter(|| must(subject.run(*part))));
    }
    group.finish();
    Ok(())
}

fn calls(criterion: &mut Criterion) -> Result<(), Failed> {
    let services = Builder::new_multi_thread().enable_all().build()?;
    let backends = services.block_on(stage::start(CLIENTS))?;
    let codes = services.block_on(stage::fill(&backends, CODES))?;
    let course = Course {
        dynamodb: backends.dynamodb,
        sns: backends.sns,
        clients: CLIENTS,
    };
    // As on Lambda: one thread, one call at a time.
    let function = Builder::new_current_thread().enable_all().build()?;
    let kinds = Kind::value_variants();
    let mut codes = codes.chunks(CODES / kinds.len());
    let mut group = criterion.benchmark_group("call");
    group.sample_size(20);
    for kind in kinds {
        let codes = codes.next().unwrap_or_default().to_vec();
        let mut caller = Caller::new(&course, codes, None)?;
        let mut call = || must(function.block_on(caller.call(*kind)));
        for _ in 0..=CLIENTS {
            call();
        }
        group.bench_function(name(kind)?, |bencher| {
            bencher.iter_batched(|| (), |()| call(), BatchSize::PerIteration);
        });
    }
    group.finish();
    Ok(())
}

fn name(value: &impl clap::ValueEnum) -> Result<String, Failed> {
    let value = value.to_possible_value().ok_or("a hidden name")?;
    Ok(value.get_name().to_owned())
}

#[expect(
    clippy::panic,
    reason = "a bench that does not do what it is to measure has no figures"
)]
fn must(done: Result<(), Failed>) {
    if let Err(error) = black_box(done) {
        panic!("{error}");
    }
}
