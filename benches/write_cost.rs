//! What a job writes to DynamoDB, beside what a store without a log would.
//!
//! `cargo bench --bench write_cost [-- RECORDS_A_SECOND KEYS SECONDS]`; 1,000,000 records a second over
//! 100,000 keys for 10 s where nothing is given. A job counts the records of each key, with a checkpoint
//! every second, on the embedded DynamoDB in memory, whose units are counted as AWS counts them. Three
//! figures are in write units: what the job used; one put for each key that changed between two
//! checkpoints; and one put for each record. Dollars are list prices of a table on demand in us-east-1
//! (`cost.write-usd-per-million`), for the time that the run took. The job runs in this process, so its
//! rate is what the machine gives: where that is less than asked for, the line says so.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use millpond::Result;
use millpond::config::{Config, Location};
use millpond::connector::{DiscardSink, Generator};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::JobStatus;
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use support::mix;

/// What the issue of this benchmark asks for.
const BELOW_CHANGED: f64 = 50.0;
const BELOW_RECORDS: f64 = 500.0;

fn main() -> ExitCode {
    let args: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let case = match args[..] {
        [rate, keys, seconds] => Case { rate, keys, seconds },
        _ => Case { rate: 1_000_000, keys: 100_000, seconds: 10 },
    };
    match measure(case) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
struct Case {
    rate: u64,
    keys: u64,
    seconds: u64,
}

/// The same count as everywhere, without a line when it begins.
struct Count {
    count: ValueState<u64>,
}

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = u64;

    #[inline]
    fn process(&self, _: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        Ok(())
    }
}

/// Whether the job stays below both bounds.
fn measure(case: Case) -> Result<bool> {
    const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
    let env = StreamEnvironment::new();
    env.source(Generator::new(case.rate * case.seconds, |index| index).rate(case.rate))
        .key_by(move |index: &u64| mix(*index) % case.keys)
        .process(|states: &mut States| Count { count: states.value(COUNT) })
        .sink(DiscardSink::new());
    let mut config = Config { parallelism: 2, ..Config::default() };
    config.store.location = Location::EmbeddedMemory;
    config.checkpointing.interval = Duration::from_secs(1);
    let mut changed = BTreeMap::new();
    let mut last = JobStatus::default();
    support::run(env.build()?, config.clone(), |status| {
        let completed = &status.checkpoints.latest_completed;
        changed.extend(completed.iter().map(|entry| (entry.id, entry.entries)));
        last = status.clone();
    })?;
    let seconds =
        last.ended_ms.unwrap_or(last.started_ms).saturating_sub(last.started_ms) as f64 / 1e3;
    let records = last.metrics.records_processed as f64;
    let units = last.consumed.write;
    let ours = units.total();
    let by_key = changed.values().sum::<u64>() as f64;
    println!(
        "{records} records over {} keys in {seconds:.1} s ({:.0} a second), {} checkpoints",
        case.keys,
        records / seconds,
        changed.len()
    );
    println!("{:<42} {:>14} {:>10} {:>12}", "", "write units", "of ours", "dollars/hour");
    let price = config.cost.write_usd_per_million / 1e6;
    let line = |what: &str, count: f64| {
        let an_hour = count * price / seconds * 3600.0;
        println!("{what:<42} {count:>14.0} {:>10.1} {an_hour:>12.2}", count / ours);
    };
    line("Millpond", ours);
    line("one put a changed key and checkpoint", by_key);
    line("one put a record", records);
    println!(
        "of Millpond's: log {:.0}, items {:.0}, protocol {:.0}; read units {:.0}; ${:.4} for a million \
         records",
        units.log,
        units.items,
        units.protocol,
        last.consumed.read,
        last.cost.usd_per_million_records.unwrap_or(0.0)
    );
    if seconds > case.seconds as f64 * 1.1 {
        println!("the machine did not reach {} records a second", case.rate);
    }
    let holds = ours * BELOW_CHANGED < by_key && ours * BELOW_RECORDS < records;
    println!(
        "below 1/{BELOW_CHANGED} of the second and 1/{BELOW_RECORDS} of the third: {}",
        if holds { "yes" } else { "no" }
    );
    Ok(holds)
}
