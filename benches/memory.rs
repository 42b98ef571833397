//! Resident memory of a job's process, on an embedded DynamoDB on a file: without keys, and with
//! 1,000,000 keys of `u64 → u64`, lazily and eagerly materialised; everything else at its default but
//! the parallelism, which is 2.
//!
//! Under 200 MB in all at the highest, read from the system's account of the child: else it fails. So, too,
//! where all keys go on changing while each of them is written to its item, for which they are read back from
//! the log; and in a process that goes on from a log of 20,000 keys with texts of 2 KiB, each of them in it
//! several times: some 300 MB before compression.
//!
//! `cargo bench --bench memory`.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

mod support;

use std::time::Duration;

use millpond::config::Materialize;
use millpond::connector::{DiscardSink, Generator};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::{Error, Result};
use support::{Count, Worker, config, given, given_file, mark, mix, resident_kb, run};

const KEYS: u64 = 1_000_000;
const LIMIT_KB: f64 = 200e6 / 1024.0;
/// Checkpoints to be taken once all keys are there: their memory counts, too.
const CHECKPOINTS: u64 = 5;

/// Keys of the texts, and how many of them change in a second.
const TEXTS: u64 = 20_000;
const TEXTS_A_SECOND: u64 = 10_000;
const TEXT_BYTES: usize = 2048;
/// Checkpoints after which as much of the log is let go as comes to it.
const LOGGED: u64 = 30;

fn main() -> Result<()> {
    match support::role().as_deref() {
        Some("log") => texts(false),
        Some("restart") => texts(true),
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

/// Remembers a text for each key.
struct Remember {
    text: ValueState<String>,
}

impl KeyedProcess for Remember {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let mut text = String::with_capacity(TEXT_BYTES);
        let mut word = n;
        while text.len() < TEXT_BYTES {
            word = mix(word.wrapping_add(1));
            text.push_str("\"measurement\":");
            text.push_str(&(word % 10_000).to_string());
        }
        context.set(self.text, text);
        Ok(())
    }
}

/// Changes texts; ready once the log is full, or, in a process that goes on from it, once all of it is there.
fn texts(restarted: bool) -> Result<()> {
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(mix).rate(TEXTS_A_SECOND))
        .key_by(|n| n % TEXTS)
        .process(|states| Remember { text: states.value(ValueDescriptor::new("text")) })
        .sink(DiscardSink::new());
    let config = config(given_file(), Materialize::Lazy, Duration::from_secs(1));
    run(env.build()?, config, |status| {
        let checkpoint = status.checkpoints.latest_completed.as_ref().map_or(0, |c| c.id);
        let replayed = status.checkpoints.restored.is_some_and(|r| r.first_record_ms.is_some());
        if (restarted && replayed && status.memory.entries >= TEXTS * 99 / 100)
            || (!restarted && checkpoint >= LOGGED)
        {
            let (peak, now) = resident_kb();
            mark("memory", format!("{peak} {now} {}", status.memory.entries));
        }
    })
}

/// What a child said: the highest and the last resident size, in kB.
fn measured(worker: &mut Worker, keys: u64) -> Result<(f64, f64)> {
    let [peak, now, entries] = worker.numbers("memory")?;
    if entries < keys as f64 * 0.99 || peak == 0.0 {
        return Err(Error::internal(format!("{entries} keys of {keys} in {peak} kB")));
    }
    Ok((peak, now))
}

fn measure_all() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::internal(format!("no folder: {e}")))?;
    println!("resident memory of a job's process, MB (highest, at the end)");
    let mut met = true;
    for (role, keys) in [("lazy", 0), ("lazy", KEYS), ("eager", KEYS)] {
        let file = folder.path().join(format!("{role}-{keys}.db"));
        let mut worker = Worker::start(role, &file, &[("KEYS", keys)])?;
        let (peak, now) = measured(&mut worker, keys)?;
        println!("  {keys:9} keys, {role:5}  {:6.1}  {:6.1}", mb(peak), mb(now));
        met &= peak < LIMIT_KB;
    }
    let file = folder.path().join("texts.db");
    let mut filler = Worker::start("log", &file, &[])?;
    filler.until("memory")?;
    filler.kill()?;
    let (peak, now) = measured(&mut Worker::start("restart", &file, &[])?, TEXTS)?;
    println!("  {TEXTS:9} texts, after a restart  {:6.1}  {:6.1}", mb(peak), mb(now));
    met &= peak < LIMIT_KB;
    if met { Ok(()) } else { Err(Error::internal("more than it may be")) }
}

fn mb(kb: f64) -> f64 {
    kb * 1024.0 / 1e6
}
