//! An operator's state is looked at from outside of its job by names alone: whatever kind it is of, wherever it is, and
//! beside a job that goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use millpond::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore};
use millpond::codec::Key;
use millpond::config::{Config, Materialize};
use millpond::connector::{DiscardSink, Generator};
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, Version};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{self, Backend, CapacityUnits, KeyedStateBackend, Left, MemoryBackend};
use millpond::runtime::{Ended, RunOptions, Wiring};
use millpond::state::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, KeyQuery, ListDescriptor,
    ListState, MapDescriptor, MapState, Namespaced, Presence, ReducingDescriptor, ReducingState,
    ScanPage, States, Store, ValueDescriptor, ValueState, WriteOutcome,
};
use millpond::stream::StreamEnvironment;
use millpond::testing::{Runner, paused};
use millpond::{ErrorKind, MaxParallelism, Result};
use tokio::task::LocalSet;

const KEYS: u64 = 20;
const RECORDS: u64 = 400;

/// One state of each kind.
struct Kinds {
    count: ValueState<u64>,
    by_rest: MapState<u64, u64>,
    all: ListState<u64>,
    largest: ReducingState<u64>,
    a_day: Namespaced<u32, ValueState<u64>>,
}

impl Kinds {
    fn new(states: &mut States) -> Self {
        Self {
            count: states.value(ValueDescriptor::new("count")),
            by_rest: states.map(MapDescriptor::new("by-rest")),
            all: states.list(ListDescriptor::new("all")),
            largest: states.reducing(ReducingDescriptor::new("largest", |a, b| b.max(*a))),
            a_day: states.namespaced().value(ValueDescriptor::new("a-day")),
        }
    }
}

impl KeyedProcess for Kinds {
    type Key = u64;
    type In = u64;
    type Out = ();

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        context.map(self.by_rest).put(n % 3, n);
        context.list(self.all).add(n);
        context.reducing(self.largest).add(n)?;
        context.in_namespace(&day_of(n)).set(self.a_day, n);
        Ok(())
    }
}

fn day_of(n: u64) -> u32 {
    (n / 100) as u32
}

/// Runs the job to its end, from a fresh start.
async fn run(backend: &Arc<MemoryBackend>, materialize: Materialize, records: u64) {
    let env = StreamEnvironment::new();
    env.source(Generator::new(records, |n| n))
        .key_by(|n| n % KEYS)
        .process(Kinds::new)
        .uid("kinds")
        .sink(DiscardSink::new());
    let mut config = Config { parallelism: 2, ..Config::default() };
    config.state.materialize = materialize;
    let options = RunOptions::new(Name::new("job").unwrap(), config, [7; 32]);
    let wiring = Wiring::inline(Arc::clone(backend) as _);
    let (graph, never) = (env.build().unwrap(), std::future::pending());
    let run = Box::pin(runtime::run(graph, wiring, options, never));
    assert_eq!(LocalSet::new().run_until(run).await.unwrap(), Ended::Finished);
}

/// Runs it, and other keys after it, until what `KEYS` have is in the table alone.
fn run_into_table(backend: &Arc<MemoryBackend>) {
    let backend = Arc::clone(backend);
    // Its clock is paused, and so it has a runtime of its own.
    let job = move || {
        let env = StreamEnvironment::new();
        env.source(Generator::new(2 * RECORDS, |n| n).rate(1_000))
            .key_by(|n| if *n < RECORDS { n % KEYS } else { KEYS + n })
            .process(Kinds::new)
            .uid("kinds")
            .sink(DiscardSink::new());
        let mut config = Config { parallelism: 2, ..Config::default() };
        config.state.materialize = Materialize::Eager;
        config.checkpointing.interval = Duration::from_millis(50);
        let runner = Runner::new(backend, config);
        paused(async { runner.run(env.build()?).await })
    };
    let ended = std::thread::scope(|scope| scope.spawn(job).join());
    assert_eq!(ended.unwrap().unwrap().unwrap(), Ended::Finished);
}

async fn open(backend: &dyn Backend) -> Result<(Kinds, KeyedStateBackend<u64>)> {
    let mut states = States::new();
    let kinds = Kinds::new(&mut states);
    Ok((kinds, KeyedStateBackend::open(backend, "job", "kinds", states).await?))
}

/// What a key's states hold.
#[derive(Debug, PartialEq)]
struct Seen {
    count: u64,
    by_rest: BTreeMap<u64, u64>,
    all: Vec<u64>,
    largest: u64,
    of_days: Vec<Option<u64>>,
}

async fn seen((kinds, opened): &mut (Kinds, KeyedStateBackend<u64>), key: u64) -> Seen {
    let look = |context: &mut Context<'_, runtime::Looking<u64>>| {
        let mut of_days = Vec::new();
        for day in 0..5 {
            of_days.push(context.in_namespace(&day).get(kinds.a_day)?.copied());
        }
        let count = context.get(kinds.count).copied().unwrap_or(0);
        let by_rest = context.map(kinds.by_rest).iter()?.map(|(k, v)| (*k, *v)).collect();
        let all = context.list(kinds.all).get()?.copied().collect();
        let largest = context.reducing(kinds.largest).get()?.copied().unwrap_or(0);
        Ok(Seen { count, by_rest, all, largest, of_days })
    };
    opened.look(&key, look).await.unwrap()
}

fn expected(key: u64) -> Seen {
    let of_key = || (0..RECORDS).filter(move |n| n % KEYS == key);
    Seen {
        count: of_key().count() as u64,
        by_rest: of_key().map(|n| (n % 3, n)).collect(),
        all: of_key().collect(),
        largest: of_key().max().unwrap(),
        of_days: (0..5).map(|day| of_key().filter(|n| day_of(*n) == day).max()).collect(),
    }
}

#[tokio::test]
async fn every_kind_of_state_is_seen_in_the_log_and_in_the_table() {
    for materialize in [Materialize::Lazy, Materialize::Eager] {
        let backend = Arc::new(MemoryBackend::new());
        run(&backend, materialize, RECORDS).await;
        let mut opened = open(&*backend).await.unwrap();
        for key in 0..KEYS {
            assert_eq!(seen(&mut opened, key).await, expected(key), "{materialize:?}, {key}");
        }
        let mut keys: Vec<u64> =
            opened.1.keys(KeyQuery::of(opened.0.all)).try_collect().await.unwrap();
        keys.sort_unstable();
        assert_eq!(keys, (0..KEYS).collect::<Vec<_>>());
        // Of a key that nobody has seen.
        let count = opened.0.count;
        assert_eq!(opened.1.look(&KEYS, |c| Ok(c.get(count).copied())).await.unwrap(), None);
    }
}

#[tokio::test]
async fn what_is_not_there_is_an_error_that_names_what_is() {
    let backend = Arc::new(MemoryBackend::new());
    let fails = async |job: &str, operator: &str, states: States| {
        let opened = KeyedStateBackend::<u64>::open(&*backend, job, operator, states).await;
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        error.to_string()
    };
    let text = fails("job", "kinds", States::new()).await;
    assert!(text.contains("there is no job job on memory"), "{text}");
    run(&backend, Materialize::Lazy, RECORDS).await;
    let text = fails("job", "kind", States::new()).await;
    assert!(text.contains("no operator kind has keyed state, only kinds"), "{text}");
    let mut states = States::new();
    let _ = states.value(ValueDescriptor::<u64>::new("counts"));
    let text = fails("job", "kinds", states).await;
    assert!(text.contains("kinds has no state counts, only "), "{text}");
    assert!(text.contains("by-rest"), "{text}");
    // Of another type.
    let mut states = States::new();
    let _ = states.value(ValueDescriptor::<String>::new("count"));
    let opened = KeyedStateBackend::<u64>::open(&*backend, "job", "kinds", states).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Graph);
    let opened = KeyedStateBackend::<i64>::open(&*backend, "job", "kinds", States::new()).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Graph);
}

/// A backend as one that looks at it beside a running job sees it.
#[derive(Debug)]
struct Beside {
    inner: Arc<MemoryBackend>,
    /// What the first reads of the head give, instead of what it is.
    stale: Option<Head>,
    stale_reads: Arc<AtomicU32>,
    /// Reads of items and ranges are not answered while this is set.
    silent: Arc<AtomicBool>,
}

impl Beside {
    fn of(inner: &Arc<MemoryBackend>) -> Self {
        let (stale_reads, silent) = (Arc::default(), Arc::default());
        Self { inner: Arc::clone(inner), stale: None, stale_reads, silent }
    }
}

impl Backend for Beside {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        let stale_reads = Arc::clone(&self.stale_reads);
        Arc::new(StaleHeads { inner: self.inner.heads(), stale: self.stale.clone(), stale_reads })
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        let silent = Arc::clone(&self.silent);
        Arc::new(Silent { inner: self.inner.store(job, incarnation), silent })
    }

    fn purge(&self, _: &Name, _: Incarnation, _: Left) -> BoxFuture<'static, Result<u64>> {
        unreachable!("who looks deletes nothing")
    }

    fn consumed(&self) -> CapacityUnits {
        CapacityUnits::default()
    }
}

#[derive(Debug)]
struct StaleHeads {
    inner: Arc<dyn HeadStore>,
    stale: Option<Head>,
    stale_reads: Arc<AtomicU32>,
}

impl HeadStore for StaleHeads {
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        let left = |left: u32| left.checked_sub(1);
        match self.stale_reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => std::future::ready(Ok(self.stale.clone())).boxed(),
            Err(_) => self.inner.read(job),
        }
    }

    fn write(
        &self,
        _: &Name,
        _: HeadCondition,
        _: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        unreachable!("who looks writes nothing")
    }
}

#[derive(Debug)]
struct Silent {
    inner: Arc<dyn Store>,
    silent: Arc<AtomicBool>,
}

impl Silent {
    async fn answered<T>(&self, answer: BoxFuture<'_, T>) -> T {
        if self.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        answer.await
    }
}

impl Store for Silent {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        self.answered(self.inner.read_items(keys)).boxed()
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        self.answered(self.inner.scan_page(range, max_bytes)).boxed()
    }

    fn write_items(&self, _: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        unreachable!("who looks writes nothing")
    }

    fn put_block(&self, _: BlockKey, _: Version, _: Bytes) -> BoxFuture<'_, Result<WriteOutcome>> {
        unreachable!("who looks writes nothing")
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.inner.get_block(key)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}

/// The head that was read may be of before a checkpoint whose manifest has taken the place of the one it names.
#[tokio::test]
async fn a_head_that_has_moved_on_is_read_again_and_damage_is_an_error() {
    let backend = Arc::new(MemoryBackend::new());
    run(&backend, Materialize::Eager, RECORDS).await;
    let head = backend.memory_heads().head(&Name::new("job").unwrap()).unwrap();
    let mut stale = head.clone();
    let last = stale.retained.last_mut().unwrap();
    last.version.checkpoint.0 -= 1;
    last.checkpoint.0 -= 1;
    let beside = Beside { stale: Some(stale.clone()), ..Beside::of(&backend) };
    beside.stale_reads.store(1, Ordering::Relaxed);
    let mut opened = open(&beside).await.unwrap();
    assert_eq!(seen(&mut opened, 3).await, expected(3));
    // It has not moved: what it names is not there.
    beside.stale_reads.store(u32::MAX, Ordering::Relaxed);
    assert_eq!(open(&beside).await.map(drop).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Its reads used to be nobody's: the key would have been taken for one without values.
#[tokio::test]
async fn a_look_that_is_dropped_takes_nothing_from_the_next_one() {
    let backend = Arc::new(MemoryBackend::new());
    run_into_table(&backend);
    let beside = Beside::of(&backend);
    let mut opened = open(&beside).await.unwrap();
    beside.silent.store(true, Ordering::Relaxed);
    let count = opened.0.count;
    assert!(opened.1.look(&5, |c| Ok(c.get(count).copied())).now_or_never().is_none());
    let by_rest = opened.0.by_rest;
    let in_map = |c: &mut Context<'_, runtime::Looking<u64>>| Ok(c.map(by_rest).iter()?.count());
    assert!(opened.1.look(&6, in_map).now_or_never().is_none());
    beside.silent.store(false, Ordering::Relaxed);
    for key in [5, 6] {
        assert_eq!(seen(&mut opened, key).await, expected(key), "{key}");
    }
}

/// The second look used to find nothing, as if the key had no value.
#[tokio::test]
async fn a_damaged_item_is_an_error_at_each_look() {
    let backend = Arc::new(MemoryBackend::new());
    run_into_table(&backend);
    let (job, groups) = (Name::new("job").unwrap(), MaxParallelism::new(128).unwrap());
    let mut sort_key = Vec::new();
    4_u64.encode(&mut sort_key);
    let key = ItemKey {
        operator: Name::new("kinds").unwrap(),
        state: Name::new("count").unwrap(),
        key_group: groups.group_of(4_u64.key_hash()),
        sort_key: sort_key.into(),
    };
    let version = Version { attempt: Attempt(99), checkpoint: CheckpointId(1) };
    let item = Item::new(version, Some(Bytes::new()));
    let write = ItemWrite { key, item, presence: Presence::Possible };
    backend.memory_store(&job, Incarnation(1)).write_items(vec![write]).await.unwrap();
    let (kinds, mut opened) = open(&*backend).await.unwrap();
    for _ in 0..2 {
        let look = opened.look(&4, |context| Ok(context.get(kinds.count).copied())).await;
        let error = look.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("item of state count"), "{error}");
    }
}
