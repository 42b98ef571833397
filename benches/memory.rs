//! Resident memory of a job's process, on an embedded DynamoDB on a file: without keys, and with
//! 1,000,000 keys of `u64 → u64`, lazily and eagerly materialised; everything else at its default but
//! the parallelism, which is 2.
//!
//! Under 200 MB in all at the highest, read from the system's account of the child: else it fails. So, too,
//! where all keys go on changing while each of them is written to its item, for which they are read back from
//! the log.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod support;

use std::time::Duration;

use millpond::config::Materialize;
use millpond::connector::{DiscardSink, Generator};
use millpond::stream::StreamEnvironment;
use millpond::{Error, Result};
use support::{Count, Worker, config, given, given_file, mark, mix, resident_kb, run};

const KEYS: u64 = 1_000_000;
const LIMIT_KB: u64 = 200_000_000 / 1024;
/// Checkpoints to be taken once all keys are there: their memory counts, too.
const CHECKPOINTS: u64 = 5;

fn main() -> Result<()> {
    match support::role().as_deref() {
        Some("lazy") => job(Materialize::Lazy),
        Some("eager") => job(Materialize::Eager),
        _ => measure_all(),
    }
}

/// Counts KEYS keys, each several times, in random order.
fn job(materialize: Materialize) -> Result<()> {
    let keys = given("KEYS");
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(mix).rate(1_000_000))
        .filter(move |_| keys > 0)
        .key_by(move |n| n % keys.max(1))
        .process(Count::new)
        .sink(DiscardSink::new());
    let config = config(given_file(), materialize, Duration::from_secs(10));
    let mut all_at = None;
    run(env.build()?, config, |status| {
        let checkpoint = status.checkpoints.latest_completed.as_ref().map_or(0, |c| c.id);
        // By then any key has come 25 times on average.
        if status.position > 25 * KEYS {
            let all_at = *all_at.get_or_insert(checkpoint);
            if checkpoint >= all_at + CHECKPOINTS {
                let (peak, now) = resident_kb();
                mark("memory", format!("{peak} {now} {}", status.memory.entries));
            }
        }
    })
}

fn measure_all() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::internal(format!("no folder: {e}")))?;
    println!("resident memory of a job's process, MB (highest, at the end)");
    let mut met = true;
    for (role, keys) in [("lazy", 0), ("lazy", KEYS), ("eager", KEYS)] {
        let file = folder.path().join(format!("{role}-{keys}.db"));
        let mut worker = Worker::start(role, &file, &[("KEYS", keys)])?;
        let marks = worker.until("memory")?;
        let text = marks.last().map_or("", |mark| &mark.text);
        let numbers: Vec<u64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
        let [peak, now, entries] = numbers[..] else {
            return Err(Error::internal(format!("the child said {text:?}")));
        };
        if entries < keys * 99 / 100 || peak == 0 {
            return Err(Error::internal(format!("{entries} keys of {keys} in {peak} kB")));
        }
        println!("  {keys:9} keys, {role:5}  {:6.1}  {:6.1}", mb(peak), mb(now));
        met &= peak < LIMIT_KB;
    }
    if met { Ok(()) } else { Err(Error::internal("more than it may be")) }
}

fn mb(kb: u64) -> f64 {
    kb as f64 * 1024.0 / 1e6
}
