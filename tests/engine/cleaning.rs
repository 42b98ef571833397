//! Cleaning takes turns with all else that a keyed subtask does: between two of its turns at least one batch,
//! barrier or command that is there has its own, however fast the table answers.
//!
//! Counted, not timed: values say when they are serialised, which cleaning does on the worker's thread.

use std::cell::{Cell, RefCell};

use millpond::Result;
use millpond::config::Materialize;
use millpond::connector::{DiscardSink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{Call, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
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
        let env = StreamEnvironment::new();
        env.source(source)
            .key_by(|(key, _)| *key)
            .process(|states: &mut States| Watch {
                long: states.value(ValueDescriptor::new("long")),
                count: states.value(ValueDescriptor::new("count")),
            })
            .sink(DiscardSink::new());
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
        let (ended, ()) = futures::join!(engine.run(env.build().unwrap()), outside);
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
