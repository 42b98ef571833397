//! State that is ten times as large as its cache.
//!
//! `cargo bench --bench larger_than_memory [-- counts | memory | latency]` runs, each in a process of its own,
//!
//! - *counts*: a keyed count over 1,000,000 keys with a cache for 100,000, uniform (each key once, then at
//!   random; what is said of reads is of those) and Zipf 1.0; each count is compared with one beside it, so any that is not exact is found;
//! - *memory*: the resident size of a process with a cache of 64 MiB and DynamoDB on a file, at 200,000 and
//!   at 2,000,000 keys with values of 400 bytes, each of which fills the cache;
//! - *latency*: with 5 ms more for every call to DynamoDB, a count over 1,000,000 keys in random order with a
//!   cache for 100,000, beside one `GetItem` after the other.
//!
//! It fails where a count is wrong; where more than 110,000 keys are in memory; where the larger state takes
//! 0.3 of the cache more; or where the job is not 50 times as fast as the single reads.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millpond::clock::Clock;
use millpond::config::{Config, Location, Materialize};
use millpond::connector::{DiscardSink, Generator};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::hostile::{Hostile, Latency, Plan};
use millpond::ids::Name;
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{self, JobStatus, Place};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::{Error, ErrorKind, Result};
use support::{
    Worker, given, given_file, mark, mix, now_ns, resident_kb, run_through, seconds_since,
};

const KEYS: u64 = 1_000_000;
/// Holds 100,000 keys of `u64` → `u64`: some 38 bytes each.
const CACHE_BYTES: u64 = 3_850_000;
const MOST_ENTRIES: u64 = 110_000;
/// Of the jobs whose memory is measured.
const LARGE_CACHE_BYTES: u64 = 64 << 20;
const VALUE_BYTES: usize = 400;
const MORE_OF_CACHE: f64 = 0.3;
const TIMES_AS_FAST: f64 = 50.0;
const LATENCY_US: u64 = 5_000;
/// Single reads that are waited for one after the other.
const SINGLE_READS: u64 = 400;

fn main() -> ExitCode {
    let done = match support::role().as_deref() {
        Some("counts") => counts(given("ZIPF") == 1),
        Some("memory") => memory(given("KEYS")),
        Some("latency") => latency(),
        _ => measure(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Counts each key, and beside that in an array.
struct Count {
    count: ValueState<u64>,
    counted: Arc<Counted>,
}

struct Counted {
    counts: Vec<AtomicU32>,
    wrong: AtomicU64,
}

impl Counted {
    fn new() -> Arc<Self> {
        let counts = (0..KEYS).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self { counts, wrong: AtomicU64::new(0) })
    }
}

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, key: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        let counted = self.counted.counts[key as usize].fetch_add(1, Ordering::Relaxed) + 1;
        if u64::from(counted) != count {
            self.counted.wrong.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A count as text, filled up.
struct Text {
    text: ValueState<String>,
}

impl KeyedProcess for Text {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, _: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.text).and_then(|text| text.trim().parse::<u64>().ok());
        context.set(self.text, format!("{:>1$}", count.unwrap_or(0) + 1, VALUE_BYTES));
        Ok(())
    }
}

/// Each of `keys` once, then at random.
fn uniform(index: u64, keys: u64) -> u64 {
    if index < keys { index * 700_001 % keys } else { mix(index) % keys }
}

/// Draws ranks by Zipf's law, 1.0.
fn zipf() -> impl Fn(u64) -> u64 + Clone + Send + Sync + 'static {
    let weights = (1..=KEYS).map(|rank| 1.0 / rank as f64);
    let sums = weights.scan(0.0, |sum, weight| {
        *sum += weight;
        Some(*sum)
    });
    let sums: Arc<[f64]> = sums.collect();
    move |index| {
        let share = (mix(index) >> 11) as f64 / (1u64 << 53) as f64;
        let all = sums.last().copied().unwrap_or(1.0);
        let rank = sums.partition_point(|sum| *sum < share * all) as u64;
        rank * 700_001 % KEYS
    }
}

fn settings(location: Location, cache_bytes: u64) -> Config {
    let mut config = Config { parallelism: 2, ..Config::default() };
    config.store.location = location;
    config.state.materialize = Materialize::Lazy;
    config.state.cache_bytes = cache_bytes;
    config.state.log_max_bytes = cache_bytes / 4;
    config.checkpointing.interval = Duration::from_secs(10);
    config
}

fn counting(
    records: u64,
    key: impl Fn(u64) -> u64 + Send + Sync + 'static,
    counted: &Arc<Counted>,
) -> Result<JobGraph> {
    let beside = Arc::clone(counted);
    let env = StreamEnvironment::new();
    env.source(Generator::new(records, key))
        .key_by(|key| *key)
        .process(move |states: &mut States| {
            const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
            Count { count: states.value(COUNT), counted: Arc::clone(&beside) }
        })
        .sink(DiscardSink::new());
    env.build()
}

fn counts(is_zipf: bool) -> Result<()> {
    let records = if is_zipf { 4 * KEYS } else { 2 * KEYS };
    let draw = zipf();
    let counted = Counted::new();
    let key = move |index| if is_zipf { draw(index) } else { uniform(index, KEYS) };
    let graph = counting(records, key, &counted)?;
    let begun = now_ns();
    let mut most = 0;
    let mut last = JobStatus::default();
    // Uniform, each key comes once before any comes again: what is new is neither found nor missed.
    let first = if is_zipf { 0 } else { KEYS };
    let mut before = None;
    run_through(graph, settings(Location::EmbeddedMemory, CACHE_BYTES), None, |status| {
        most = most.max(status.memory.entries);
        if status.metrics.records_processed >= first {
            before.get_or_insert(status.metrics);
        }
        last = status.clone();
    })?;
    let seconds = seconds_since(begun);
    let all: u64 = counted.counts.iter().map(|n| u64::from(n.load(Ordering::Relaxed))).sum();
    let distinct = counted.counts.iter().filter(|n| n.load(Ordering::Relaxed) > 0).count();
    let wrong = counted.wrong.load(Ordering::Relaxed);
    if wrong > 0 || all != records || last.metrics.records_processed != records {
        return Err(Error::internal(format!(
            "{wrong} of {all} counts are wrong, {records} were given"
        )));
    }
    let (metrics, before) = (last.metrics, before.unwrap_or_default());
    let counted = metrics.records_processed - before.records_processed;
    let of = |n: u64| n as f64 / counted as f64;
    mark(
        "counts",
        format!(
            "{most} {distinct} {} {} {} {}",
            1.0 - of(metrics.records_parked - before.records_parked),
            of(metrics.items_read - before.items_read),
            of(metrics.items_materialised - before.items_materialised),
            records as f64 / seconds
        ),
    );
    Ok(())
}

fn memory(keys: u64) -> Result<()> {
    let records = keys + 200_000;
    let env = StreamEnvironment::new();
    env.source(Generator::new(records, move |index| uniform(index, keys)))
        .key_by(|key| *key)
        .process(|states: &mut States| {
            const TEXT: ValueDescriptor<String> = ValueDescriptor::new("text");
            Text { text: states.value(TEXT) }
        })
        .sink(DiscardSink::new());
    let config = settings(Location::EmbeddedFile(Some(given_file())), LARGE_CACHE_BYTES);
    let mut last = JobStatus::default();
    let begun = now_ns();
    run_through(env.build()?, config, None, |status| {
        if status.memory.used_bytes > 0 {
            last = status.clone();
        }
    })?;
    let seconds = seconds_since(begun);
    let (peak, now) = resident_kb();
    let rate = records as f64 / seconds;
    mark(
        "memory",
        format!("{peak} {now} {} {} {rate}", last.memory.entries, last.memory.most_bytes),
    );
    Ok(())
}

fn latency() -> Result<()> {
    let clock = Clock::system();
    let calm = Plan { latency: Latency::NONE, ..Plan::calm() };
    let hostile = Hostile::new(1, clock, calm.clone());
    let slow = Plan { latency: Latency::micros(LATENCY_US, LATENCY_US), ..calm };
    let wrap = |client| hostile.wrap(client);
    hostile.set(slow.clone());
    let single = single_reads(&|client| hostile.wrap(client))?;
    hostile.set(Plan { latency: Latency::NONE, ..slow.clone() });
    let counted = Counted::new();
    let records = KEYS + 600_000;
    let graph = counting(records, |index| uniform(index, KEYS), &counted)?;
    // From the first look after each key has come once.
    let mut from: Option<(u64, u64)> = None;
    let mut to = (0, 0);
    let mut last = JobStatus::default();
    run_through(graph, settings(Location::EmbeddedMemory, CACHE_BYTES), Some(&wrap), |status| {
        let done = status.metrics.records_processed;
        if done >= KEYS && from.is_none() {
            hostile.set(slow.clone());
            from = Some((done, now_ns()));
        }
        if done > to.0 {
            to = (done, now_ns());
        }
        last = status.clone();
    })?;
    let wrong = counted.wrong.load(Ordering::Relaxed);
    let (Some(from), 0) = (from, wrong) else {
        return Err(Error::internal(format!("{wrong} counts are wrong")));
    };
    let rate = (to.0 - from.0) as f64 / ((to.1 - from.1) as f64 / 1e9);
    mark("latency", format!("{rate} {single} {}", to.0 - from.0));
    Ok(())
}

/// A second, of `GetItem`s one after the other.
fn single_reads(wrap: millpond::dynamodb::Wrap<'_>) -> Result<f64> {
    let failed = |e: std::io::Error| Error::new(ErrorKind::Io, format!("runtime: {e}"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let io = runtime::io_threads(2)?;
    let config = settings(Location::EmbeddedMemory, CACHE_BYTES);
    runtime.block_on(async {
        let place = Place::Threads(io.handle().clone());
        let (clock, job) = (Clock::system(), Name::new("single")?);
        let (settings, execution) = (&config.store, Execution::Thread(place.io()));
        let wrap = Some(wrap);
        let options = Options { settings, job: &job, clock, seed: 1, execution, wrap };
        // Which closes the database once it is dropped.
        let connection = Connection::open(options).await?;
        let heads = connection.heads();
        let begun = now_ns();
        for _ in 0..SINGLE_READS {
            heads.read(&job).await?;
        }
        Ok(SINGLE_READS as f64 / seconds_since(begun))
    })
}

fn measure() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|arg| arg == name);
    let folder = tempfile::tempdir().map_err(|e| Error::internal(format!("no folder: {e}")))?;
    let child = |role: &str, name: &str, numbers: &[(&str, u64)]| {
        Worker::start(role, &folder.path().join(name), numbers)
    };
    let mut missed = Vec::new();
    if is_wanted("counts") {
        println!("a count over {KEYS} keys with a cache of {CACHE_BYTES} bytes, all exact");
        for (name, is_zipf) in [("uniform", 0), ("zipf 1.0", 1)] {
            let mut child = child("counts", "none", &[("ZIPF", is_zipf)])?;
            let [most, distinct, hits, reads, writes, rate] = child.numbers("counts")?;
            println!(
                "  {name:<9} {distinct:>8} keys came, at most {most:>7} in memory; {:.1} % of records waited for no read, \
                 {reads:.3} reads and {writes:.3} items a record, {rate:.0} records/s",
                hits * 100.0
            );
            if most > MOST_ENTRIES as f64 {
                missed.push("entries in memory");
            }
        }
    }
    if is_wanted("memory") {
        println!("resident memory with a cache of 64 MiB, DynamoDB on a file");
        let mut peaks = Vec::new();
        for keys in [200_000, 2_000_000] {
            let mut child = child("memory", &format!("{keys}.db"), &[("KEYS", keys)])?;
            let [peak, now, entries, most, rate] = child.numbers("memory")?;
            println!(
                "  {keys:>9} keys: {:.1} MiB at most, {:.1} at the end; {entries} in memory, state took \
                 {:.1} MiB at most; {rate:.0} records/s",
                peak / 1024.0,
                now / 1024.0,
                most / f64::from(1 << 20)
            );
            peaks.push(peak * 1024.0);
        }
        let more = (peaks[1] - peaks[0]) / LARGE_CACHE_BYTES as f64;
        println!("  the larger state takes {more:.2} of the cache more (bound: {MORE_OF_CACHE})");
        if more >= MORE_OF_CACHE {
            missed.push("resident memory");
        }
    }
    if is_wanted("latency") {
        let [rate, single, records] = child("latency", "none", &[])?.numbers("latency")?;
        println!(
            "with 5 ms more for every call: {rate:.0} records/s over {records} records, {single:.0} single \
             reads/s: {:.0} times (bound: {TIMES_AS_FAST})",
            rate / single
        );
        if rate < TIMES_AS_FAST * single {
            missed.push("latency");
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(Error::internal(format!("missed: {missed:?}"))) }
}
