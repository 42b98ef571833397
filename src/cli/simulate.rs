//! `simulate`: seeds of the simulation, and what came of them.

use std::time::Duration;

use clap::Args;

use super::bar::Bar;
use super::exit::Exit;
use super::print;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::simulation::{Options, Report, Store, Totals, graphs, run_with, sweep};

#[derive(Args)]
pub(super) struct SimulateArgs {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "seed")]
    pub(super) seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "seed")]
    pub(super) from: u64,
    /// Only this seed.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Print every step of that seed.
    #[arg(long, requires = "seed")]
    pub(super) trace: bool,
    /// The graph, whatever the seed would draw.
    #[arg(long, value_name = "NAME")]
    pub(super) graph: Option<String>,
    /// The store, whatever the seed would draw.
    #[arg(long)]
    pub(super) store: Option<StoreArg>,
    /// On so many threads. Default: the number of cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) threads: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum StoreArg {
    /// In memory: the fastest.
    Twin,
    /// The embedded DynamoDB, through the SDK and a hostile HTTP client.
    Dynamodb,
}

/// Runs the seeds that `args` names.
///
/// # Errors
/// A graph that is not known.
pub(super) fn run(args: &SimulateArgs, bar: &Bar) -> Result<Exit> {
    let options = Options { graph: graph(args)?, store: args.store(), trace: args.trace };
    match args.seed {
        Some(seed) => Ok(one(seed, &options)),
        None => many(args, &options, bar),
    }
}

fn graph(args: &SimulateArgs) -> Result<Option<String>> {
    let Some(name) = &args.graph else { return Ok(None) };
    if graphs::ALL.iter().any(|kind| kind.name == name) {
        return Ok(Some(name.clone()));
    }
    let known: Vec<_> = graphs::ALL.iter().map(|kind| kind.name).collect();
    Err(Error::usage(format!("there is no graph {name:?}: use one of {}", known.join(", "))))
}

fn one(seed: u64, options: &Options) -> Exit {
    match run_with(seed, options) {
        Ok(report) => {
            if options.trace {
                report.trace.iter().for_each(|line| print::result(line));
            }
            print::result(&described(&report));
            Exit::Done
        }
        Err(failure) => {
            print::result(&failure.to_string());
            Exit::Failed
        }
    }
}

fn described(report: &Report) -> String {
    let counts = report.counts.named().map(|(name, number)| format!("{number} {name}"));
    format!(
        "seed {} ({}) passed in {} ms of its own time; trace {:016x}\n{}",
        report.seed,
        report.what,
        report.virtual_ms,
        report.digest,
        counts.join(", ")
    )
}

fn many(args: &SimulateArgs, options: &Options, bar: &Bar) -> Result<Exit> {
    let clock = Clock::system();
    let began = clock.now();
    let seeds = args.from..args.from.saturating_add(args.seeds);
    let options = Options { trace: false, ..options.clone() };
    let total = args.seeds;
    let done = std::sync::atomic::AtomicU64::new(0);
    let totals = sweep(seeds.clone(), &options, args.threads(), |ended| {
        let done = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        bar.show(format!("{done} of {total} seeds"));
        if let Err(failure) = ended {
            bar.suspend(|| print::result(&failure.to_string()));
        }
    })?;
    bar.clear();
    print::result(&summary(&seeds, &totals, clock.now() - began));
    Ok(if totals.failed == 0 { Exit::Done } else { Exit::Failed })
}

fn summary(seeds: &std::ops::Range<u64>, totals: &Totals, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let rate = totals.runs as f64 / seconds.max(0.001);
    format!(
        "seeds {} to {}: {totals}\n{seconds:.1} s, {rate:.1} seeds/s",
        seeds.start,
        seeds.end.saturating_sub(1)
    )
}

impl SimulateArgs {
    fn store(&self) -> Option<Store> {
        self.store.map(|store| match store {
            StoreArg::Twin => Store::Twin,
            StoreArg::Dynamodb => Store::DynamoDb,
        })
    }

    fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.map_or_else(cores, |n| n as usize)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;

    /// It used to name graph and store twice, which is an error.
    #[test]
    fn the_command_that_replays_a_seed_is_one_and_repeats_it() {
        let drawn = Options::default();
        let fixed = Options { graph: Some("toggle".to_owned()), store: Some(Store::Twin), ..drawn };
        for options in [Options::default(), fixed] {
            let report = run_with(3, &options).unwrap();
            let Ok(Cli { command: Command::Simulate(args), .. }) =
                Cli::try_parse_from(report.replay.split(' '))
            else {
                panic!("{}", report.replay)
            };
            let again = Options { graph: graph(&args).unwrap(), store: args.store(), trace: false };
            assert_eq!((args.seed, args.trace), (Some(3), true));
            assert_eq!(run_with(3, &again).unwrap().digest, report.digest, "{}", report.replay);
        }
    }
}
