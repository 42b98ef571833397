//! Cleaning takes turns with all else that a keyed subtask does: between two of its turns at least one batch,
//! barrier or command that is there has its own, however fast the table answers. And it begins as soon as there
//! is too much, at a restart too.
//!
//! Turns are counted, not timed: values say when they are serialised, which cleaning does on the worker's thread.

use std::cell::{Cell, RefCell};

use millpond::Result;
use millpond::config::Materialize;
use millpond::connector::{DiscardSink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::Memory;
use millpond::state::{Call, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use serde::{Deserialize, Serialize, Serializer};

use crate::engine_support::{Engine, ms, pass, simulate, small, store};

/// What a slice has at most, and how many of them are written at a time.
const SLICE_ENTRIES: u64 = 1000;
const SLICE_BYTES: u64 = 4 << 20;
const UNDER_WAY: u64 = 4;

/// How many values were serialised, and their bytes.
type Amount = (u64, u64);

thread_local! {
    /// Since a record was processed.
    static SINCE: Cell<Amount> = const { Cell::new((0, 0)) };
    /// Before each record.
    static BEFORE: RefCell<Vec<Amount>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Counted(String);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let (values, bytes) = SINCE.get();
        SINCE.set((values + 1, bytes + self.0.len() as u64));
        self.0.serialize(serializer)
    }
}

/// Gives keys a long value, or counts their records.
struct Watch {
    long: ValueState<Counted>,
    count: ValueState<u64>,
}

#[derive(Clone, Debug)]
enum Ask {
    Set(usize),
    Count,
}

impl KeyedProcess for Watch {
    type Key = u64;
    type In = (u64, Ask);
    type Out = u64;

    fn process(&self, (_, ask): Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        BEFORE.with_borrow_mut(|before| before.push(SINCE.take()));
        match ask {
            Ask::Set(length) => context.set(self.long, Counted("x".repeat(length))),
            Ask::Count => {
                let count = context.get(self.count).copied().unwrap_or(0);
                context.set(self.count, count + 1);
            }
        }
        Ok(())
    }
}

fn watch(source: MemorySource<(u64, Ask)>) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source)
        .key_by(|(key, _)| *key)
        .process(|states: &mut States| Watch {
            long: states.value(ValueDescriptor::new("long")),
            count: states.value(ValueDescriptor::new("count")),
        })
        .sink(DiscardSink::new());
    env.build().unwrap()
}

/// What was serialised before each of `records` that are there while values of so many keys are cleaned.
fn between_records(keys: u64, length: usize, records: u64) -> Vec<Amount> {
    simulate(async {
        let mut config = small();
        config.parallelism = 1;
        config.state.materialize = Materialize::Eager;
        config.checkpointing.interval = ms(200);
        let (engine, twin) = Engine::twin(config);
        let script = store(&twin);
        script.script().hold(Call::WriteItems);
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, (0..keys).map(|key| (key, Ask::Set(length))));
        let outside = async {
            pass(ms(300)).await;
            assert_eq!(engine.metrics.snapshot().records_processed, keys);
            assert_eq!(script.script().count(Call::WriteItems), UNDER_WAY, "it has begun");
            SINCE.take();
            BEFORE.take();
            feed.push(0, (0..records).map(|n| (keys + n % 8, Ask::Count)));
            feed.close();
            script.script().release(Call::WriteItems);
        };
        let (ended, ()) = futures::join!(engine.run(watch(source)), outside);
        ended.unwrap();
        let is_long = |key: &&millpond::state::ItemKey| key.state.as_str() == "long";
        assert_eq!(store(&twin).items().keys().filter(is_long).count() as u64, keys);
        let before = BEFORE.take();
        assert_eq!(before.len() as u64, records);
        before
    })
}

/// Four used to follow one another where the table had answered all of those under way.
#[test]
fn a_batch_waits_for_one_slice_of_entries() {
    let before = between_records(20_000, 8, 400);
    let most = before.iter().map(|(values, _)| *values).max().unwrap();
    assert!(most <= SLICE_ENTRIES, "{most} entries between two records");
    let all: u64 = before.iter().map(|(values, _)| values).sum();
    assert!(all >= 10 * SLICE_ENTRIES, "{all} were cleaned beside records");
}

#[test]
fn a_batch_waits_for_one_slice_of_bytes() {
    const LENGTH: u64 = 100_000;
    let before = between_records(600, LENGTH as usize, 400);
    let most = before.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(most < SLICE_BYTES + LENGTH, "{most} bytes between two records");
    let all: u64 = before.iter().map(|(_, bytes)| bytes).sum();
    assert!(all >= 4 * SLICE_BYTES, "{all} bytes were cleaned beside records");
}

/// Counts 2,000 keys, crashes, and goes on with `bounds` of log and cache, which follow from what the state took: a
/// record is processed though no checkpoint is due within the hour. Gives why the sources waited before that.
fn restarted_over(bounds: impl FnOnce(Memory) -> (u64, u64)) -> String {
    const KEYS: u64 = 2000;
    simulate(async {
        let mut config = small();
        config.parallelism = 1;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, (0..KEYS).map(|key| (key, Ask::Count)));
        tokio::select! {
            ended = engine.run(watch(source.clone())) => panic!("it ended: {ended:?}"),
            () = pass(ms(500)) => {}
        }
        let memory = engine.status().memory;
        assert!(store(&twin).items().is_empty(), "all of it is in the log");

        let (log_max_bytes, cache_bytes) = bounds(memory);
        let restart = engine.with(|config| {
            config.checkpointing.interval = ms(3_600_000);
            config.state.log_max_bytes = log_max_bytes;
            config.state.cache_bytes = cache_bytes;
        });
        feed.push(0, [(KEYS, Ask::Count)]);
        let script = store(&twin);
        script.script().hold(Call::WriteItems);
        let outside = async {
            pass(ms(1000)).await;
            let reason = restart.status().input_slowed.unwrap();
            assert_eq!(restart.metrics.snapshot().records_processed, KEYS);
            script.script().release(Call::WriteItems);
            pass(ms(1000)).await;
            let processed = restart.metrics.snapshot().records_processed;
            assert_eq!(processed, KEYS + 1, "they still wait: {reason}");
            reason
        };
        let reason = tokio::select! {
            ended = restart.run(watch(source)) => panic!("it ended: {ended:?}"),
            reason = outside => reason,
        };
        assert_eq!(
            restart.status().checkpoints.restored.map(|restored| restored.entries),
            Some(KEYS)
        );
        reason
    })
}

/// They used to wait for the next checkpoint, which the log alone does not ask for.
#[test]
fn a_log_that_is_restored_over_its_bound_is_cleaned_at_once() {
    let reason = restarted_over(|memory| (memory.log_bytes / 2, 10 * memory.used_bytes));
    assert!(reason.contains("the log holds"), "{reason}");
}

#[test]
fn state_that_is_restored_over_the_cache_leaves_it_at_once() {
    let reason = restarted_over(|memory| (memory.log_bytes / 4 * 5, memory.log_bytes / 2 * 3));
    assert!(reason.contains("state takes"), "{reason}");
}
