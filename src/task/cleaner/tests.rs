//! A plan of cleaning, step by step.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::thread::ThreadId;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;
use crate::checkpoint::{Slots, Uploader};
use crate::codec::{Bincode, Codec, Value};
use crate::config::ValueFormat;
use crate::connector::testing::inline_io;
use crate::io::Spawn;
use crate::state::{
    Call, KeyedConfig, MemoryStore, RestorePoint, States, ValueDescriptor, ValueState,
};
use crate::task::SegmentPuts;

/// Two slices and a bit.
const KEYS: u64 = 2 * SLICE_ENTRIES as u64 + 500;

struct Subtask<K = u64, V = u64> {
    state: KeyedState<K>,
    value: ValueState<V>,
    log: LogWriter,
    cleaner: Cleaner,
    store: MemoryStore,
}

impl<K: Key, V: Value> Subtask<K, V> {
    fn new() -> Self {
        Self::with_segments(1 << 18)
    }

    /// With segments of so many bytes.
    fn with_segments(segment_bytes: u64) -> Self {
        Self::of(KeyedConfig { segment_bytes, ..KeyedConfig::of_all_groups(1) })
    }

    fn of(config: KeyedConfig) -> Self {
        let KeyedConfig { operator, range, attempt, .. } = config.clone();
        let mut states = States::new();
        let value = states.value(ValueDescriptor::new("value"));
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
            cost_control: CostControl::default(),
            plan: None,
            under_way: FuturesUnordered::new(),
            missing_bytes: u64::MAX,
            margins: LogSize::default(),
        };
        Self { state, value, log: LogWriter::new(puts, BTreeMap::new()), cleaner, store }
    }

    fn set_one(&mut self, key: &K, value: V) {
        let row = self.state.find_row(key.key_hash(), key);
        self.state.set(self.value, row, value);
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

    /// How many items the store was given.
    fn written(&self) -> u64 {
        self.cleaner.metrics.snapshot().items_materialised
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

impl Subtask {
    fn set(&mut self, add: u64) {
        (0..KEYS).for_each(|key| self.set_one(&key, key + add));
        self.state.end_batch();
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

/// Of a subtask whose entries have so long keys and so large values: how many entries each call of the store is
/// given, of those that are in memory and of those that are read back.
async fn slices(keys: u64, key: usize, value: usize, missing_bytes: u64) -> (Vec<u64>, Vec<u64>) {
    // All I/O is done inline, more of it than Tokio lets a task do in one turn.
    tokio::task::unconstrained(slices_of(keys, key, value, missing_bytes)).await
}

async fn slices_of(
    keys: u64,
    key: usize,
    value: usize,
    missing_bytes: u64,
) -> (Vec<u64>, Vec<u64>) {
    let mut subtask = Subtask::<String, String>::new();
    subtask.cleaner.missing_bytes = missing_bytes;
    let of = |number: u64, add: u64| {
        (format!("{number}{}", "k".repeat(key)), format!("{add}{}", "v".repeat(value)))
    };
    let set = |subtask: &mut Subtask<String, String>, add| {
        (0..keys).for_each(|number| subtask.set_one(&of(number, add).0, of(number, add).1));
        subtask.state.end_batch();
    };
    let mut all = Vec::new();
    for change in [false, true] {
        let checkpoint = all.len() as u64 * 2 + 1;
        set(&mut subtask, checkpoint);
        subtask.checkpoint(checkpoint).await;
        if change {
            set(&mut subtask, checkpoint + 1);
        }
        subtask.cleaner.begin(&mut subtask.state, true);
        let mut each = Vec::new();
        while !subtask.cleaner.is_idle() {
            let before = subtask.written();
            subtask.advance();
            each.extend(Some(subtask.written() - before).filter(|written| *written > 0));
            if !subtask.cleaner.is_idle() && !subtask.cleaner.is_due() {
                subtask.answer().await;
            }
        }
        all.push(each);
    }
    let read_back = all.pop().unwrap();
    (all.pop().unwrap(), read_back)
}

/// With keys and values of a megabyte, four slices of a thousand entries were gigabytes.
#[tokio::test]
async fn a_slice_is_bounded_by_the_bytes_of_its_keys_and_values() {
    let many = u64::MAX;
    assert_eq!(slices(1_500, 8, 8, many).await, (vec![1_000, 500], vec![1_000, 500]));
    // Five come to 4 MiB or more.
    let expected = (vec![5, 5, 2], vec![5, 5, 2]);
    assert_eq!(slices(12, 1_000_000, 8, many).await, expected);
    assert_eq!(slices(12, 8, 1_000_000, many).await, expected);
    assert_eq!(slices(12, 400_000, 600_000, many).await, expected);
}

/// The larger keys and values are, the fewer are read back at once.
#[tokio::test]
async fn what_is_read_back_at_once_is_bounded_by_the_bytes_of_keys_and_values() {
    for (key, value) in [(100_000, 8), (8, 100_000)] {
        let (_, read_back) = slices(9, key, value, 500 << 10).await;
        // One more does where the first come to a little less.
        assert!([[5, 4], [6, 3]].iter().any(|expected| read_back == expected), "{read_back:?}");
        let (_, read_back) = slices(9, key, value, 1).await;
        assert_eq!(read_back, [1; 9]);
    }
    let of = |pinned_bytes| Stats { pinned_entries: 1000, pinned_bytes, ..Stats::default() };
    assert_eq!(missing_bytes(&of(60_000)), 360);
    assert_eq!(missing_bytes(&of(500_000)), 800);
    assert_eq!(missing_bytes(&Stats::default()), 300);
}

/// While one part was read back, the next ones were collected and read back too: four times as much was in memory.
#[tokio::test]
async fn one_part_is_read_back_at_a_time() {
    let mut subtask = Subtask::new();
    // About a slice at a time.
    subtask.cleaner.missing_bytes = 300_000;
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
    let reads = subtask.store.script().count(Call::GetBlock);
    assert!((3..=5).contains(&reads), "{reads}");
    assert_eq!(subtask.state.horizon(), CheckpointId(1));
    assert_eq!(subtask.store.items().len() as u64, KEYS);
}

/// Each part used to have all segments read: the more parts, the more often.
#[tokio::test]
async fn what_is_read_back_in_parts_is_looked_for_where_the_last_part_was() {
    // Entries of which a segment has many, and such as several segments have.
    for (keys, bytes) in [(3_000, 8), (24, 20_000)] {
        let mut subtask = Subtask::<u64, String>::with_segments(8 << 10);
        let value = |key: u64, add: u64| format!("{add}-{key}-{}", "v".repeat(bytes));
        let set = |subtask: &mut Subtask<u64, String>, add| {
            (0..keys).for_each(|key| subtask.set_one(&key, value(key, add)));
            subtask.state.end_batch();
        };
        set(&mut subtask, 1);
        subtask.checkpoint(1).await;
        set(&mut subtask, 2);
        let stats = subtask.state.stats();
        let segments = subtask.log.segments_of(CheckpointId(1)).len() as u64;
        assert!(segments > 8, "{segments}");
        subtask.cleaner.missing_bytes = keys * (missing_bytes(&stats) + 8) / 8;
        subtask.cleaner.begin(&mut subtask.state, true);
        while !subtask.cleaner.is_idle() {
            subtask.advance();
            if !subtask.cleaner.is_idle() && !subtask.cleaner.is_due() {
                subtask.answer().await;
            }
        }
        let reads = subtask.store.script().count(Call::GetBlock);
        assert!(reads <= 2 * segments, "{reads} reads of {segments} segments");
        assert!(reads > segments, "in parts");
        let written = subtask.store.items();
        assert_eq!(written.len() as u64, keys);
        for (at, item) in written {
            let key = u64::decode(&mut &at.sort_key[..]).unwrap();
            let mut expected = Vec::new();
            Bincode::encode(&value(key, 1), &mut expected).unwrap();
            assert_eq!(item.value, Some(Bytes::from(expected)), "{key} as of the checkpoint");
        }
    }
}

/// A number that says on which threads it is read from its bytes: where it becomes an attribute, in cleaning.
#[derive(Debug, PartialEq, Serialize)]
struct Watched(u64);

static READ_ON: Mutex<Vec<ThreadId>> = Mutex::new(Vec::new());

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        READ_ON.lock().unwrap().push(std::thread::current().id());
        u64::deserialize(deserializer).map(Watched)
    }
}

/// Runs futures at once, and blocking work on threads of its own.
struct Apart;

impl Spawn for Apart {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        futures::executor::block_on(future);
    }

    #[expect(clippy::disallowed_methods, reason = "the test is about threads")]
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        std::thread::spawn(work).join().unwrap();
    }
}

/// It used to be done in the slice, in which no batch, barrier or command has its turn.
#[tokio::test]
async fn values_become_attributes_off_the_worker() {
    let native = ValueFormat::Native;
    let config = KeyedConfig { value_format: native, ..KeyedConfig::of_all_groups(1) };
    let mut subtask = Subtask::<u64, Watched>::of(config);
    subtask.cleaner.io = Io::new(Apart);
    let set = |subtask: &mut Subtask<u64, Watched>, keys: Range<u64>, add| {
        keys.for_each(|key| subtask.set_one(&key, Watched(key + add)));
        subtask.state.end_batch();
    };
    set(&mut subtask, 0..20, 1);
    subtask.checkpoint(1).await;
    // Ten are in memory, ten are read back.
    set(&mut subtask, 0..10, 2);
    // Its schema was found so.
    READ_ON.lock().unwrap().clear();
    subtask.cleaner.begin(&mut subtask.state, true);
    while !subtask.cleaner.is_idle() {
        subtask.advance();
        if !subtask.cleaner.is_idle() && !subtask.cleaner.is_due() {
            subtask.answer().await;
        }
    }
    let items = subtask.store.items();
    assert_eq!(items.len(), 20);
    for (at, item) in items {
        let key = u64::decode(&mut &at.sort_key[..]).unwrap();
        let json = format!("{{\"N\":\"{}\"}}", key + 1);
        assert_eq!((item.native, item.value), (true, Some(Bytes::from(json))), "{key}");
    }
    let read_on = READ_ON.lock().unwrap().clone();
    assert!(read_on.len() >= 20, "{}", read_on.len());
    assert!(!read_on.contains(&std::thread::current().id()), "the worker's own thread");
}

/// A number that cannot be written where names are, as an attribute.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Unlucky(u64);

impl Serialize for Unlucky {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        assert!(!serializer.is_human_readable(), "unlucky");
        serializer.serialize_u64(self.0)
    }
}

/// It was told as a broken promise inside Millpond, and not of which state it was.
#[tokio::test]
async fn a_panic_of_a_values_own_code_is_the_users_and_names_the_state() {
    let native = ValueFormat::Native;
    let config = KeyedConfig { value_format: native, ..KeyedConfig::of_all_groups(1) };
    let mut subtask = Subtask::<u64, Unlucky>::of(config);
    subtask.set_one(&1, Unlucky(1));
    subtask.state.end_batch();
    subtask.checkpoint(1).await;
    subtask.cleaner.begin(&mut subtask.state, true);
    subtask.answer().await;
    subtask.advance();
    let error = subtask.cleaner.wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert_eq!(error.to_string(), "state value: a function panicked: unlucky");
}
