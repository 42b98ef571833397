//! A subtask's keyed state is built from a checkpoint in the table, whole or in part, a build that fails
//! holds nothing, and what is built takes snapshots that are built from in turn.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use millpond::checkpoint::{Manifest, Slots, read_manifest};
use millpond::codec::{Bincode, Codec, Key};
use millpond::config::{Config, Location};
use millpond::connector::{DiscardSink, Generator};
use millpond::dynamodb::Execution;
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, Version};
use millpond::io::Io;
use millpond::runtime::{
    self, Backend, DynamoDbKeyedStateBackendBuilder, DynamoDbStateBackend, KeyedStateBackend,
    RunOptions, SnapshotStrategy, Wiring,
};
use millpond::state::{
    Block, BlockKey, BlockKind, Columns, Health, Item, ItemKey, ItemRange, ItemWrite, KeyQuery,
    MapDescriptor, Presence, ScanPage, States, Store, ValueDescriptor, ValueState, WriteOutcome,
};
use millpond::stream::StreamEnvironment;
use millpond::{Error, ErrorKind, MaxParallelism, Result};
use tokio::task::LocalSet;

use crate::dynamodb_support::{Tokio, connect};

const KEYS: u64 = 50;
const RECORDS: u64 = 1000;

/// Runs a job that keeps the largest number of each key, to its end; where its state then is.
async fn ran() -> (Arc<DynamoDbStateBackend>, Arc<dyn Store>, Manifest) {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(60)));
    let env = StreamEnvironment::new();
    env.source(Generator::new(RECORDS, |n| n))
        .key_by(|n| n % KEYS)
        .reduce(u64::max)
        .uid("largest")
        .sink(DiscardSink::new());
    let job = Name::new("job").unwrap();
    let wiring = Wiring::inline(Arc::clone(&backend) as _);
    let config = Config { parallelism: 2, ..Config::default() };
    let options = RunOptions::new(job.clone(), config, [7; 32]);
    let graph = env.build().unwrap();
    let run = Box::pin(runtime::run(graph, wiring, options, std::future::pending()));
    LocalSet::new().run_until(run).await.unwrap();
    let head = backend.heads().read(&job).await.unwrap().unwrap();
    let store = backend.store(&job, Incarnation(1));
    let last = *head.retained.last().unwrap();
    let manifest = read_manifest(Arc::clone(&store), last).await.unwrap().manifest;
    (backend, store, manifest)
}

fn builder(
    store: &Arc<dyn Store>,
) -> (DynamoDbKeyedStateBackendBuilder, ValueState<u64>, MaxParallelism) {
    let mut states = States::new();
    let largest = states.value(ValueDescriptor::<u64>::new("reduce"));
    let columns: Columns = states.finish().unwrap();
    let groups = MaxParallelism::new(128).unwrap();
    let (store, io) = (Arc::clone(store), Io::new(Tokio));
    let operator = Name::new("largest").unwrap();
    (DynamoDbKeyedStateBackendBuilder::new(store, io, operator, columns, groups), largest, groups)
}

#[tokio::test]
async fn a_whole_state_and_a_part_of_it_are_those_of_the_checkpoint() {
    let (_backend, store, manifest) = ran().await;
    let at = manifest.checkpoint;
    let (whole, largest, groups) = builder(&store);
    let mut built: KeyedStateBackend<u64> =
        whole.restore(manifest.clone(), at).build().await.unwrap();
    assert!(!built.log.is_empty());
    for key in 0..KEYS {
        let row = built.state.find_row(key.key_hash(), &key);
        assert_eq!(built.state.get(largest, row), Some(&(RECORDS - KEYS + key)), "{key}");
    }
    assert!(built.state.take_reads().is_empty());

    let mut rows = 0;
    for subtask in 0..3 {
        let range = groups.range_of(subtask, 3);
        let part = builder(&store).0.range(range).restore(manifest.clone(), at);
        let built: KeyedStateBackend<u64> = part.build().await.unwrap();
        let own = (0..KEYS).filter(|key| range.contains(groups.group_of(key.key_hash()))).count();
        assert_eq!(built.state.stats().rows, own as u64, "{range:?}");
        rows += built.state.stats().rows;
    }
    assert_eq!(rows, KEYS);
    let empty: KeyedStateBackend<u64> = builder(&store).0.build().await.unwrap();
    assert_eq!(empty.state.stats().rows, 0);
}

/// Some in the log, the others in the table.
#[tokio::test]
async fn the_keys_of_a_state_are_found_wherever_they_are() {
    let (_backend, store, manifest) = ran().await;
    let at = manifest.checkpoint;
    let of = |range| builder(&store).0.range(range).restore(manifest.clone(), at);
    let (_, largest, groups) = builder(&store);
    let mut found = Vec::new();
    for subtask in 0..3 {
        let built: KeyedStateBackend<u64> = of(groups.range_of(subtask, 3)).build().await.unwrap();
        let keys: Vec<u64> = built.keys(KeyQuery::of(largest)).try_collect().await.unwrap();
        let own = |key: &u64| groups.range_of(subtask, 3).contains(groups.group_of(key.key_hash()));
        assert!(!keys.is_empty() && keys.iter().all(own), "{keys:?}");
        found.extend(keys);
    }
    found.sort_unstable();
    assert_eq!(found, (0..KEYS).collect::<Vec<_>>());

    // Others are in the table alone, one of them deleted, and one that the log has is deleted in memory.
    let version = Version { attempt: Attempt(1), checkpoint: at };
    let item_of = |key: u64, value: Option<u64>| {
        let mut sort_key = Vec::new();
        key.encode(&mut sort_key);
        let key = ItemKey {
            operator: Name::new("largest").unwrap(),
            state: Name::new("reduce").unwrap(),
            key_group: groups.group_of(key.key_hash()),
            sort_key: sort_key.into(),
        };
        let value = value.map(|value| {
            let mut bytes = Vec::new();
            Bincode::encode(&value, &mut bytes).unwrap();
            Bytes::from(bytes)
        });
        ItemWrite { key, item: Item::new(version, value), presence: Presence::Possible }
    };
    let stored = (1000..1010).map(|key| item_of(key, (key != 1003).then_some(1)));
    store.write_items(stored.collect()).await.unwrap();
    let mut manifest = manifest.clone();
    manifest.may_have_items = vec![Name::new("largest").unwrap()];
    let (whole, largest, _) = builder(&store);
    let mut built: KeyedStateBackend<u64> = whole.restore(manifest, at).build().await.unwrap();
    let row = built.state.find_row(7u64.key_hash(), &7);
    built.state.clear(largest, row);
    let mut keys: Vec<u64> = built.keys(KeyQuery::of(largest)).try_collect().await.unwrap();
    keys.sort_unstable();
    let expected = (0..KEYS).filter(|key| *key != 7).chain((1000..1010).filter(|key| *key != 1003));
    assert_eq!(keys, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_build_that_fails_names_the_operator_and_holds_nothing() {
    let (_backend, store, manifest) = ran().await;
    let segment = manifest.segments[0].slot;
    let key = BlockKey { kind: BlockKind::Segment, slot: segment, part: 0 };
    let later = Version { attempt: Attempt(9), checkpoint: CheckpointId(9) };
    store.put_block(key, later, Bytes::from_static(b"of another")).await.unwrap();
    let at = manifest.checkpoint;
    let held = Arc::strong_count(&store);
    let failed = builder(&store).0.restore(manifest, at).build::<u64>().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Corrupt);
    assert!(failed.to_string().starts_with("operator largest: "), "{failed}");
    assert_eq!(Arc::strong_count(&store), held);
}

/// Its key groups used to be read one after the other.
#[tokio::test]
async fn several_key_groups_are_read_at_a_time() {
    let (_backend, store, mut manifest) = ran().await;
    let at = manifest.checkpoint;
    manifest.may_have_items = vec![Name::new("largest").unwrap()];
    let store = Arc::new(Refusing::new(&store));
    let (whole, largest, _) = builder(&(Arc::clone(&store) as Arc<dyn Store>));
    let built: KeyedStateBackend<u64> = whole.restore(manifest, at).build().await.unwrap();
    let keys: Vec<u64> = built.keys(KeyQuery::of(largest)).try_collect().await.unwrap();
    assert_eq!(keys.len() as u64, KEYS);
    assert_eq!(store.most_scans.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn keys_are_told_with_the_namespaces_they_have_something_in() {
    let (_backend, store, _) = ran().await;
    let mut states = States::new();
    let daily = states.namespaced::<u32>().map(MapDescriptor::<String, u64>::new("daily"));
    let columns = states.finish().unwrap();
    let groups = MaxParallelism::new(128).unwrap();
    let (io, operator) = (Io::new(Tokio), Name::new("days").unwrap());
    let whole = DynamoDbKeyedStateBackendBuilder::new(store, io, operator, columns, groups);
    let mut built: KeyedStateBackend<u64> = whole.build().await.unwrap();
    for (key, day) in [(1, 5), (1, 6), (2, 5)] {
        let row = built.state.find_row(key.key_hash(), &key);
        for entry in ["a", "b"] {
            built.state.in_namespace(&day, row).map(daily).put(entry.to_owned(), 1);
        }
    }
    let mut found: Vec<(u64, u32)> = built.keys_and_namespaces(daily).try_collect().await.unwrap();
    found.sort_unstable();
    assert_eq!(found, [(1, 5), (1, 6), (2, 5)]);
    let of = |query| built.keys(query).try_collect::<Vec<u64>>();
    assert_eq!(of(KeyQuery::within(daily, &6)).await.unwrap(), [1]);
    let mut keys = of(KeyQuery::in_any(daily)).await.unwrap();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);
}

/// It used to be built, and to find nothing or something else.
#[tokio::test]
async fn keys_of_another_type_than_recorded_are_refused() {
    let (_backend, store, manifest) = ran().await;
    let at = manifest.checkpoint;
    let other = builder(&store).0.restore(manifest.clone(), at).build::<i64>().await;
    let error = other.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.to_string().contains("keys of u64, the program's are i64"), "{error}");
    // A version that recorded none leaves it to the program.
    let before = Manifest { key_types: vec![], ..manifest };
    builder(&store).0.restore(before, at).build::<u64>().await.unwrap();
}

/// A whole key group used to be in memory at a time, values included.
#[tokio::test]
async fn a_query_reads_key_groups_page_by_page_and_tells_each_key_once() {
    let (_backend, store, mut manifest) = ran().await;
    let (operator, groups) = (Name::new("readers").unwrap(), MaxParallelism::new(128).unwrap());
    let item_of = |key: u64, page: u64| {
        let (mut sort_key, mut bytes) = (Vec::new(), Vec::new());
        key.encode(&mut sort_key);
        page.encode(&mut sort_key);
        Bincode::encode(&vec![7_u8; 300_000], &mut bytes).unwrap();
        let key_group = groups.group_of(key.key_hash());
        let (operator, state) = (operator.clone(), Name::new("pages").unwrap());
        let key = ItemKey { operator, state, key_group, sort_key: sort_key.into() };
        let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
        let item = Item::new(version, Some(Bytes::from(bytes)));
        ItemWrite { key, item, presence: Presence::Absent }
    };
    // Several pages of one key, and less of another.
    let stored = (0..12).map(|page| item_of(1, page)).chain([item_of(2, 0)]);
    store.write_items(stored.collect()).await.unwrap();
    manifest.may_have_items = vec![operator.clone()];
    let mut states = States::new();
    let pages = states.map(MapDescriptor::<u64, Vec<u8>>::new("pages"));
    let (columns, at) = (states.finish().unwrap(), manifest.checkpoint);
    let counting = Arc::new(Refusing::new(&store));
    let store = Arc::clone(&counting) as Arc<dyn Store>;
    let whole =
        DynamoDbKeyedStateBackendBuilder::new(store, Io::new(Tokio), operator, columns, groups);
    let built: KeyedStateBackend<u64> = whole.restore(manifest, at).build().await.unwrap();
    let mut keys: Vec<u64> = built.keys(KeyQuery::of(pages)).try_collect().await.unwrap();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);
    assert!(counting.largest_page.load(Ordering::Relaxed) <= 1 << 20);
    assert!(counting.pages.load(Ordering::Relaxed) > groups.get());
}

/// A store that refuses the next puts of blocks, and counts scans.
#[derive(Debug)]
struct Refusing {
    inner: Arc<dyn Store>,
    next: AtomicU32,
    scans: AtomicU32,
    /// How many were under way at a time.
    most_scans: AtomicU32,
    pages: AtomicU32,
    /// What was asked for at a time, at most.
    largest_page: AtomicU64,
}

impl Refusing {
    fn new(inner: &Arc<dyn Store>) -> Self {
        let [next, scans, most_scans, pages] = [0; 4].map(AtomicU32::new);
        let (inner, largest_page) = (Arc::clone(inner), AtomicU64::new(0));
        Self { inner, next, scans, most_scans, pages, largest_page }
    }
}

impl Store for Refusing {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        self.inner.read_items(keys)
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        Box::pin(async move {
            let now = self.scans.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_scans.fetch_max(now, Ordering::Relaxed);
            self.pages.fetch_add(1, Ordering::Relaxed);
            self.largest_page.fetch_max(max_bytes, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let page = self.inner.scan_page(range, max_bytes).await;
            self.scans.fetch_sub(1, Ordering::Relaxed);
            page
        })
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        self.inner.write_items(writes)
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Box::pin(async { Err(Error::new(ErrorKind::Store, "refused")) });
        }
        self.inner.put_block(key, version, bytes)
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.inner.get_block(key)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

fn put(built: &mut KeyedStateBackend<u64>, largest: ValueState<u64>, key: u64, value: u64) {
    let row = built.state.find_row(key.key_hash(), &key);
    built.state.set(largest, row, value);
}

#[tokio::test]
async fn a_snapshot_is_built_from_at_any_parallelism_and_one_that_failed_is_in_the_next() {
    let (backend, store, mut manifest) = ran().await;
    let head = backend.heads().read(&Name::new("job").unwrap()).await.unwrap().unwrap();
    let last = *head.retained.last().unwrap();
    let at = manifest.checkpoint;
    let after = |n: u64| CheckpointId(at.0 + n);

    let (whole, largest, groups) = builder(&store);
    let mut read_only = whole.restore(manifest.clone(), at).build::<u64>().await.unwrap();
    let refused = read_only.snapshot(after(1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Usage);

    let refusing = Arc::new(Refusing::new(&store));
    let attempt = Attempt(head.attempt.0 + 1);
    let bytes = manifest.encode().unwrap().iter().map(Bytes::len).sum::<usize>() as u64;
    let slots = Slots::restored(attempt, &[(last.slot, bytes, &manifest)]);
    let (whole, ..) = builder(&(Arc::clone(&refusing) as Arc<dyn Store>));
    let mut config = Config::default().state;
    config.segment_bytes = 100;
    let mut built: KeyedStateBackend<u64> = whole
        .settings(config)
        .snapshots(SnapshotStrategy::Incremental { attempt, slots })
        .restore(manifest.clone(), at)
        .build()
        .await
        .unwrap();
    // Two puts of several are refused: all that changed is in the next snapshot, each part once.
    (0..30).for_each(|key| put(&mut built, largest, key, 5_000 + key));
    refusing.next.store(2, Ordering::Relaxed);
    assert_eq!(built.snapshot(after(1)).await.unwrap_err().kind(), ErrorKind::Store);
    (100..110).for_each(|key| put(&mut built, largest, key, key));
    let snapshot = built.snapshot(after(2)).await.unwrap();
    let of = |n: u64| snapshot.segments.iter().filter(move |s| s.checkpoint == after(n));
    assert!(of(1).count() > 2 && of(2).count() >= 1, "{snapshot:?}");
    let slots: BTreeSet<_> = snapshot.segments.iter().map(|segment| segment.slot).collect();
    assert_eq!(slots.len(), snapshot.segments.len());
    assert!(manifest.segments.iter().all(|segment| !slots.contains(&segment.slot)));
    assert_eq!(snapshot.segments.iter().map(|segment| segment.entries).sum::<u64>(), 40);
    // Nobody has said that one of them completed.
    assert_eq!(built.snapshot(after(3)).await.unwrap().segments.len(), snapshot.segments.len());
    built.completed(after(3), after(3));
    assert_eq!(built.snapshot(after(4)).await.unwrap().segments, []);

    manifest.checkpoint = after(2);
    manifest.segments.extend(snapshot.segments);
    manifest.segments.sort_by_key(|segment| (segment.checkpoint, segment.sequence));
    let mut found = 0;
    for subtask in 0..3 {
        let range = groups.range_of(subtask, 3);
        let part = builder(&store).0.range(range).restore(manifest.clone(), after(2));
        let mut built: KeyedStateBackend<u64> = part.build().await.unwrap();
        let own = |key: &u64| range.contains(groups.group_of(key.key_hash()));
        for key in (0..KEYS).chain(100..110).filter(own) {
            let value = match key {
                0..30 => 5_000 + key,
                100.. => key,
                _ => RECORDS - KEYS + key,
            };
            let row = built.state.find_row(key.key_hash(), &key);
            assert_eq!(built.state.get(largest, row), Some(&value), "{key}");
            found += 1;
        }
    }
    assert_eq!(found, KEYS + 10);
}
