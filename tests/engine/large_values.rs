//! Values and keys of up to 5 MB, keys of no bytes and of any letters, map keys and namespaces likewise, through the
//! log, a restart, the table and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond::config::{Config, Materialize};
use millpond::connector::{MemoryFeed, MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{Backend, JobStatus};
use millpond::state::{
    ListDescriptor, ListState, MapDescriptor, MapState, Namespaced, States, ValueDescriptor,
    ValueState,
};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::engine_support::{Engine, embedded, simulate, small};

const MB: usize = 1 << 20;

/// A key, and of how many bytes its value becomes; `None` leaves it as it is.
type Record = (String, Option<usize>);
/// A key, and the value that it had.
type Line = (String, Option<Vec<u8>>);

struct Keep(ValueState<Vec<u8>>);

impl KeyedProcess for Keep {
    type Key = String;
    type In = Record;
    type Out = Line;

    fn process(
        &self,
        (key, size): Record,
        context: &mut Context<'_, Self>,
    ) -> millpond::Result<()> {
        let before = context.get(self.0).cloned();
        if let Some(size) = size {
            context.set(self.0, value(&key, size));
        }
        context.emit((key, before));
        Ok(())
    }
}

/// Bytes that do not compress to nothing, of a key's own.
fn value(key: &str, size: usize) -> Vec<u8> {
    let mut state = (key.len() * 31 + size) as u64 | 1;
    let next = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(next).collect()
}

fn keys() -> Vec<String> {
    let long = |end: &str| format!("{}{end}", "long".repeat(750));
    let texts = ["", "\0", "a", "Grüße", "日本\u{1F600}\u{10FFFF}"].map(str::to_owned);
    let texts = texts.into_iter().chain([long(""), long("a"), long("é")]);
    texts.chain(BOUNDS.map(text)).chain([400_000, MB, 5 * MB].map(text)).collect()
}

/// Around what a sort key takes, and an item beside a value: encoded, a text has two bytes more.
const BOUNDS: [usize; 5] = [1_017, 1_018, 204_797, 204_798, 204_799];

fn text(bytes: usize) -> String {
    "日".repeat(bytes / 3) + &"x".repeat(bytes % 3)
}

/// A job that keys records by `key_of`, and does with them what `make` makes.
fn graph<T: Clone + Send + 'static, P: KeyedProcess<In = T>>(
    source: MemorySource<T>,
    key_of: impl Fn(&T) -> P::Key + Send + Sync + 'static,
    make: impl Fn(&mut States) -> P + Send + Sync + 'static,
    sink: &MemorySink<P::Out>,
) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source).key_by(key_of).process(make).sink(sink.clone());
    env.build().unwrap()
}

fn key_of((key, _): &Record) -> String {
    key.clone()
}

/// What each key's value was, as the output says, and what it is from now on.
struct Model(BTreeMap<String, Option<usize>>);

struct World {
    backend: Arc<dyn Backend>,
    feed: MemoryFeed<Record>,
    source: MemorySource<Record>,
    sink: MemorySink<Line>,
    model: Model,
}

impl World {
    /// A process that is given a record for each key, and ends when `done` holds besides.
    async fn process(
        &mut self,
        config: Config,
        size: impl Fn(usize) -> Option<usize>,
        done: impl Fn(&JobStatus) -> bool,
    ) -> JobStatus {
        let (keys, seen) = (keys(), self.sink.output().len());
        for (n, key) in keys.iter().enumerate() {
            self.feed.push(n % 4, [(key.clone(), size(n))]);
        }
        let keep = |states: &mut States| Keep(states.value(ValueDescriptor::new("kept")));
        let graph = graph(self.source.clone(), key_of, keep, &self.sink);
        let all = keys.len() as u64;
        let done = |status: &JobStatus| status.metrics.records_written == all && done(status);
        let status = run_until(&self.backend, config, graph, done).await;
        let output = self.sink.output();
        assert_eq!(output.len(), seen + keys.len());
        for (key, before) in &output[seen..] {
            let expected = self.model.0.get(key).copied().flatten().map(|size| value(key, size));
            assert!(
                *before == expected,
                "{:?} of {}: {:?} bytes",
                key.chars().next(),
                key.len(),
                before.as_ref().map(Vec::len)
            );
        }
        for (n, key) in keys.into_iter().enumerate() {
            let before = self.model.0.get(&key).copied().flatten();
            self.model.0.insert(key, size(n).or(before));
        }
        status
    }
}

/// A process that is stopped once `done` holds, and its last status.
async fn run_until(
    backend: &Arc<dyn Backend>,
    config: Config,
    graph: JobGraph,
    done: impl Fn(&JobStatus) -> bool,
) -> JobStatus {
    let engine = Engine::new(Arc::clone(backend), config);
    let (stop, stopped) = oneshot::channel();
    let run = engine.run_until(graph, async move { drop(stopped.await) });
    let watch = async {
        engine.until(done).await;
        stop.send(()).unwrap();
    };
    let (ended, ()) = futures::join!(run, watch);
    ended.unwrap();
    engine.status()
}

fn config(materialize: Materialize, log_max_bytes: usize) -> Config {
    let mut config = small();
    config.state.cache_bytes = 512 * MB as u64;
    config.state.log_max_bytes = log_max_bytes as u64;
    config.state.materialize = materialize;
    config
}

#[test]
fn large_values_pass_through_log_restart_cleaning_and_table() {
    simulate(async {
        let (feed, source) = MemorySource::fed_without_end(4);
        let (sink, model) = (MemorySink::new(), Model(BTreeMap::new()));
        let mut world = World { backend: embedded(None).await, feed, source, sink, model };
        let all = keys().len() as u64;
        let in_log = || config(Materialize::Lazy, 200 * MB);
        let sizes = [5 * MB, 0, MB, 300_000, 2 * MB, MB, 407_600, 1];
        world.process(in_log(), |n| Some(sizes[n % sizes.len()]), |_| true).await;
        // From the log alone; each grows or shrinks, over the limit and under.
        let other = |n: usize| Some(sizes[(n + 1) % sizes.len()]);
        let status = world.process(in_log(), other, |_| true).await;
        assert_eq!(status.checkpoints.restored.unwrap().entries, all);
        assert_eq!((status.metrics.items_read, status.metrics.items_materialised), (0, 0));
        // A log that takes less than one of the values has all of them cleaned.
        let cleaned = |status: &JobStatus| status.metrics.items_materialised >= all;
        let small_log = || config(Materialize::Lazy, MB / 2);
        world.process(small_log(), |_| None, cleaned).await;
        let status = world.process(in_log(), |_| None, |_| true).await;
        assert_eq!(status.metrics.items_read, all);
        // Smaller and larger ones over them, of which each is put after its checkpoint.
        let third = |n: usize| Some(sizes[(n + 3) % sizes.len()]);
        let written = |status: &JobStatus| status.metrics.items_materialised >= all;
        world.process(config(Materialize::Eager, 200 * MB), third, written).await;
        let status = world.process(in_log(), |_| None, |_| true).await;
        assert_eq!(status.metrics.items_read, all);
    });
}

/// Both kinds with values of the same sizes: an element each is added, an entry each is replaced.
struct Pile {
    list: ListState<Vec<u8>>,
    map: MapState<u32, Vec<u8>>,
}

/// Of a key: the lengths of its list's elements, those of its map's values, and whether all are as they were given.
type Piled = (String, Vec<usize>, Vec<(u32, usize)>, bool);

impl KeyedProcess for Pile {
    type Key = String;
    type In = Record;
    type Out = Piled;

    fn process(
        &self,
        (key, size): Record,
        context: &mut Context<'_, Self>,
    ) -> millpond::Result<()> {
        let is_given = |bytes: &Vec<u8>| *bytes == value(&key, bytes.len());
        let mut whole = true;
        let mut listed = Vec::new();
        for element in context.list(self.list).get()? {
            whole &= is_given(element);
            listed.push(element.len());
        }
        let mut mapped = Vec::new();
        for (number, entry) in context.map(self.map).iter()? {
            whole &= is_given(entry);
            mapped.push((*number, entry.len()));
        }
        if let Some(size) = size {
            context.list(self.list).add(value(&key, size));
            let turn = listed.len() as u32 % 2;
            context.map(self.map).put(turn, value(&key, size));
        }
        context.emit((key, listed, mapped, whole));
        Ok(())
    }
}

#[test]
fn large_elements_and_entries_pass_through_log_restart_cleaning_and_table() {
    simulate(async {
        let backend: Arc<dyn Backend> = embedded(None).await;
        let (feed, source) = MemorySource::fed_without_end(1);
        let sink = MemorySink::<Piled>::new();
        let (mut list, mut map) = (Vec::new(), BTreeMap::new());
        // Over the limit of an item and under it, from the log, from items, and over items.
        let lazy = || config(Materialize::Lazy, 200 * MB);
        let runs = [
            (lazy(), Some(5 * MB)),
            (lazy(), Some(10)),
            (config(Materialize::Eager, 200 * MB), Some(300_000)),
            (config(Materialize::Eager, 200 * MB), Some(MB)),
            (lazy(), Some(407_600)),
            (config(Materialize::Eager, 200 * MB), Some(0)),
            (lazy(), None),
        ];
        for (number, (config, size)) in runs.into_iter().enumerate() {
            feed.push(0, [("日本".to_owned(), size)]);
            let pile = |states: &mut States| Pile {
                list: states.list(ListDescriptor::new("list")),
                map: states.map(MapDescriptor::new("map")),
            };
            let graph = graph(source.clone(), key_of, pile, &sink);
            let written = |status: &JobStatus| status.metrics.records_written == 1;
            run_until(&backend, config, graph, written).await;
            let output = sink.output();
            assert_eq!(output.len(), number + 1);
            let (_, listed, mapped, whole) = &output[number];
            assert!(whole, "run {number}");
            assert_eq!(*listed, list, "run {number}");
            assert_eq!(*mapped, Vec::from_iter(map.clone()), "run {number}");
            if let Some(size) = size {
                map.insert(list.len() as u32 % 2, size);
                list.push(size);
            }
        }
        assert_eq!(list, [5 * MB, 10, 300_000, MB, 407_600, 0]);
    });
}

/// A text as a map key, as a namespace, and as both.
struct Nest {
    map: MapState<String, usize>,
    value: Namespaced<String, ValueState<usize>>,
    both: Namespaced<String, MapState<String, usize>>,
}

/// A text, what was kept under it of each, and the bytes of all map keys.
type Nested = (String, [Option<usize>; 3], usize);

impl KeyedProcess for Nest {
    type Key = ();
    type In = Record;
    type Out = Nested;

    fn process(
        &self,
        (text, number): Record,
        context: &mut Context<'_, Self>,
    ) -> millpond::Result<()> {
        let all = context.map(self.map).iter()?.map(|(key, _)| key.len()).sum();
        let in_map = context.map(self.map).get(&text)?.copied();
        let mut space = context.in_namespace(&text);
        let in_space = space.get(self.value)?.copied();
        let in_both = space.map(self.both).get(&text)?.copied();
        match number {
            None => {}
            Some(0) => {
                space.clear(self.value);
                space.map(self.both).remove(&text);
                context.map(self.map).remove(&text);
            }
            Some(number) => {
                space.set(self.value, number);
                space.map(self.both).put(text.clone(), number);
                context.map(self.map).put(text.clone(), number);
            }
        }
        context.emit((text, [in_map, in_space, in_both], all));
        Ok(())
    }
}

/// How often a [`Counted`] was serialised.
static SERIALISED: AtomicU64 = AtomicU64::new(0);

/// Bytes that count how often they are serialised.
#[derive(Deserialize)]
struct Counted(Vec<u8>);

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SERIALISED.fetch_add(1, Ordering::Relaxed);
        serializer.serialize_newtype_struct("Counted", &self.0)
    }
}

/// Has a map, so that a record may have to wait for an entry in its midst.
struct Accumulate {
    bytes: ValueState<Counted>,
    map: MapState<u64, u64>,
}

impl KeyedProcess for Accumulate {
    type Key = u64;
    type In = u64;
    type Out = usize;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        context.map(self.map).put(n % 2, n);
        if let Some(Counted(bytes)) = context.get_mut(self.bytes) {
            bytes.push(n as u8);
            let length = bytes.len();
            context.emit(length);
        }
        Ok(())
    }
}

#[test]
fn long_map_keys_and_namespaces_pass_through_log_restart_cleaning_and_table() {
    simulate(async {
        let backend: Arc<dyn Backend> = embedded(None).await;
        let (feed, source) = MemorySource::fed_without_end(1);
        let sink = MemorySink::<Nested>::new();
        let texts: Vec<String> =
            BOUNDS.into_iter().chain([0, 102_400, 400_000, MB]).map(text).collect();
        let mut model = BTreeMap::<String, usize>::new();
        let lazy = || config(Materialize::Lazy, 200 * MB);
        let eager = || config(Materialize::Eager, 200 * MB);
        // In the log, from it, in items and from those, deleted there, and never there again.
        let runs = [
            (lazy(), Some(1), 0),
            (eager(), Some(2), 0),
            (lazy(), Some(3), 1),
            (eager(), None, 0),
            (eager(), Some(0), 1),
            (lazy(), None, 1),
        ];
        for (number, (config, change, least_reads)) in runs.into_iter().enumerate() {
            let seen = sink.output().len();
            feed.push(0, texts.iter().map(|text| (text.clone(), change)));
            let nest = |states: &mut States| Nest {
                map: states.map(MapDescriptor::new("map")),
                value: states.namespaced().value(ValueDescriptor::new("value")),
                both: states.namespaced().map(MapDescriptor::new("both")),
            };
            let graph = graph(source.clone(), |_| (), nest, &sink);
            let all = texts.len() as u64;
            let written = |status: &JobStatus| status.metrics.records_written == all;
            let status = run_until(&backend, config, graph, written).await;
            assert!(status.metrics.items_read >= least_reads, "run {number}");
            let output = sink.output();
            assert_eq!(output.len() - seen, texts.len(), "run {number}");
            for (text, found, all) in &output[seen..] {
                let kept = model.get(text).copied();
                assert_eq!(*found, [kept; 3], "run {number}, {} bytes", text.len());
                assert_eq!(*all, model.keys().map(String::len).sum::<usize>(), "run {number}");
                match change {
                    None => {}
                    Some(0) => drop(model.remove(text)),
                    Some(change) => drop(model.insert(text.clone(), change)),
                }
            }
        }
        assert!(model.is_empty());
    });
}

/// Each record used to serialise all of what it changed in place, so that it could be given back.
#[test]
fn a_large_value_of_a_key_that_waits_for_nothing_is_not_serialised_for_each_record() {
    simulate(async {
        let mut config = small();
        config.state.materialize = Materialize::Eager;
        let (engine, _) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let bytes = || ValueDescriptor::new("bytes").with_default(|| Counted(vec![0; 100_000]));
        let accumulate = move |states: &mut States| Accumulate {
            bytes: states.value(bytes()),
            map: states.map(MapDescriptor::new("map")),
        };
        let graph = graph(source, |_| 7, accumulate, &sink);
        feed.push(0, [1]);
        let outside = async {
            engine.until(|status| status.metrics.items_materialised >= 2).await;
            let before = SERIALISED.load(Ordering::Relaxed);
            feed.push(0, 0..500);
            engine.until(|status| status.metrics.records_processed == 501).await;
            let times = SERIALISED.load(Ordering::Relaxed) - before;
            assert!(times < 150, "{times} times");
            feed.close();
        };
        let (ended, ()) = futures::join!(engine.run(graph), outside);
        ended.unwrap();
        assert_eq!(sink.output().last(), Some(&100_501));
    });
}
