//! A plan of cleaning, step by step.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::checkpoint::{Slots, Uploader};
use crate::codec::{Bincode, Codec};
use crate::config::ValueFormat;
use crate::connector::testing::inline_io;
use crate::ids::{Attempt, Name};
use crate::key_group::MaxParallelism;
use crate::state::{
    Call, FilterConfig, KeyedConfig, MemoryStore, RestorePoint, States, ValueDescriptor, ValueState,
};
use crate::task::SegmentPuts;

/// Two slices and a bit.
const KEYS: u64 = 2 * SLICE_ENTRIES as u64 + 500;

struct Subtask {
    state: KeyedState<u64>,
    count: ValueState<u64>,
    log: LogWriter,
    cleaner: Cleaner,
    store: MemoryStore,
}

impl Subtask {
    fn new() -> Self {
        let (operator, attempt) = (Name::new("counts").unwrap(), Attempt(1));
        let max_parallelism = MaxParallelism::new(128).unwrap();
        let range = max_parallelism.range_of(0, 1);
        let mut states = States::new();
        let count = states.value(ValueDescriptor::new("count"));
        let config = KeyedConfig {
            operator: operator.clone(),
            range,
            max_parallelism,
            attempt,
            segment_bytes: 1 << 18,
            value_format: ValueFormat::Codec,
            filter: FilterConfig::OFF,
        };
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config, columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        let store = MemoryStore::new();
        let metrics = Metrics::default();
        let slots = Slots::restored(attempt, &[]);
        let uploader = Uploader::new(Arc::new(store.clone()), slots, attempt, metrics.clone());
        let puts = SegmentPuts { operator, range, attempt, io: inline_io(), uploader };
        let cleaner = Cleaner {
            io: inline_io(),
            store: Arc::new(store.clone()),
            metrics,
            limits: CleaningLimits {
                log_max_bytes: 0,
                read_units: 0,
                max_segments: 0,
                eager: true,
            },
            thrift: Thrift::default(),
            plan: None,
            under_way: FuturesUnordered::new(),
            missing_bytes: u64::MAX,
            margins: LogSize::default(),
        };
        Self { state, count, log: LogWriter::new(puts, BTreeMap::new()), cleaner, store }
    }

    fn set(&mut self, add: u64) {
        for key in 0..KEYS {
            let row = self.state.find_row(key.key_hash(), &key);
            self.state.set(self.count, row, key + add);
        }
        self.state.end_batch();
    }

    async fn checkpoint(&mut self, checkpoint: u64) {
        let checkpoint = CheckpointId(checkpoint);
        self.log.freeze(&mut self.state, checkpoint).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        for raw in self.state.take_segments() {
            let segment = self.log.put(raw).await.unwrap();
            self.log.logged(&mut self.state, segment);
        }
        self.state.completed(checkpoint);
    }

    /// One call of [`Cleaner::advance`]: how many writes of items it begins.
    fn advance(&mut self) -> u64 {
        let before = self.store.script().count(Call::WriteItems);
        self.cleaner.advance(&mut self.state, &self.log).unwrap();
        self.store.script().count(Call::WriteItems) - before
    }

    async fn answer(&mut self) {
        let step = self.cleaner.wait().await.unwrap();
        self.cleaner.step(step);
    }
}

/// What changed after its checkpoint is read back, all at once; to hand out all of its writes in one turn held
/// the worker for as long as they are many.
#[tokio::test]
async fn what_was_read_back_is_written_a_slice_a_turn() {
    let mut subtask = Subtask::new();
    subtask.set(1);
    subtask.checkpoint(1).await;
    subtask.set(2);
    subtask.cleaner.begin(&mut subtask.state, true);
    subtask.answer().await;
    // Three slices are collected, whose values have changed meanwhile.
    for _ in 0..3 {
        assert_eq!(subtask.advance(), 0);
    }
    assert_eq!(subtask.advance(), 0, "their segments are read");
    subtask.answer().await;
    for turn in 1..=3 {
        assert!(subtask.cleaner.is_due());
        assert_eq!(subtask.advance(), 1, "turn {turn}");
        let written = subtask.store.items().len() as u64;
        assert_eq!(written, (turn * SLICE_ENTRIES as u64).min(KEYS));
    }
    for _ in 0..3 {
        assert!(!subtask.cleaner.is_idle());
        subtask.answer().await;
    }
    assert_eq!(subtask.advance(), 0);
    assert!(subtask.cleaner.is_idle());
    assert_eq!(subtask.state.horizon(), CheckpointId(1));
    for (key, item) in subtask.store.items() {
        let number = u64::decode(&mut &key.sort_key[..]).unwrap();
        let mut value = Vec::new();
        Bincode::encode(&(number + 1), &mut value).unwrap();
        assert_eq!(item.value, Some(Bytes::from(value)), "{number} as of the checkpoint");
    }
}

/// While one part was read back, the next ones were collected and read back too: four times as much was in memory.
#[tokio::test]
async fn one_part_is_read_back_at_a_time() {
    let mut subtask = Subtask::new();
    // A slice at a time.
    subtask.cleaner.missing_bytes = 1;
    subtask.set(1);
    subtask.checkpoint(1).await;
    subtask.set(2);
    subtask.cleaner.begin(&mut subtask.state, true);
    subtask.answer().await;
    for _ in 0..10 {
        assert_eq!(subtask.advance(), 0);
    }
    assert_eq!(subtask.store.script().count(Call::GetBlock), 1);
    assert!(!subtask.cleaner.is_due(), "it waits for the answer");
    while !subtask.cleaner.is_idle() {
        if !subtask.cleaner.is_due() {
            subtask.answer().await;
        }
        subtask.advance();
    }
    assert_eq!(subtask.store.script().count(Call::GetBlock), 3);
    assert_eq!(subtask.state.horizon(), CheckpointId(1));
    assert_eq!(subtask.store.items().len() as u64, KEYS);
}

#[test]
fn the_larger_the_values_the_fewer_are_read_back_at_once() {
    let of = |pinned_bytes| Stats { pinned_entries: 1000, pinned_bytes, ..Stats::default() };
    assert_eq!(most_missing(8 << 20, &of(60_000)), (8 << 20) / 360);
    assert_eq!(most_missing(8 << 20, &of(500_000)), (8 << 20) / 800);
    assert_eq!(most_missing(u64::MAX, &Stats::default()), MAX_MISSING as usize);
    assert_eq!(most_missing(1, &of(60_000)), 100);
}
