//! A job that goes on with a state of another type than was stored: refused before anything is
//! processed, or migrated. What states are keyed by is refused only.

use std::fmt::Display;

use millpond::ErrorKind;
use millpond::codec::{Key, Value};
use millpond::config::{Materialize, RestartStrategy, ValueFormat};
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{
    MapDescriptor, MapState, Namespaced, States, SubKey, ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

use crate::engine_support::{Engine, embedded, ms, pass, simulate, small};

const KEYS: u64 = 20;

/// Gives out what was kept of the key, and keeps something made of the record.
struct Keep<V> {
    kept: ValueState<V>,
    make: fn(u64) -> V,
}

impl<V: Value + Display> KeyedProcess for Keep<V> {
    type Key = u64;
    type In = u64;
    type Out = String;

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        let kept = context.get(self.kept).map_or("nothing".to_owned(), ToString::to_string);
        context.emit(format!("{} {kept}", context.key()));
        // Records of a key from 100 on only ask.
        if record < 100 {
            context.set(self.kept, (self.make)(record));
        }
        Ok(())
    }
}

fn graph<V: Value + Display>(
    source: &MemorySource<u64>,
    sink: &MemorySink<String>,
    descriptor: ValueDescriptor<V>,
    make: fn(u64) -> V,
) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source.clone())
        .uid("numbers")
        .key_by(|n| n % KEYS)
        .process(move |states: &mut States| Keep { kept: states.value(descriptor.clone()), make })
        .uid("keep")
        .sink(sink.clone())
        .uid("out");
    env.build().unwrap()
}

/// What was given out since `from`, in order.
fn given(sink: &MemorySink<String>, from: usize) -> Vec<String> {
    let mut given = sink.output().split_off(from);
    given.sort_by_key(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap());
    given
}

fn expected(kept: impl Fn(u64) -> String) -> Vec<String> {
    (0..KEYS).map(|key| format!("{key} {}", kept(key))).collect()
}

async fn check(eager: bool, value_format: ValueFormat, restart: RestartStrategy) {
    let mut config = small();
    config.restart = restart;
    config.state.value_format = value_format;
    if eager {
        config.state.materialize = Materialize::Eager;
    }
    let engine = Engine::new(embedded(None).await, config);
    let (feed, source) = MemorySource::fed(1);
    let sink = MemorySink::new();
    let number = || ValueDescriptor::<u64>::new("kept");
    let text = || ValueDescriptor::<String>::new("kept");

    feed.push(0, 0..KEYS);
    let first = graph(&source, &sink, number(), |n| n * 10);
    engine.run_until(first, pass(ms(100))).await.unwrap();
    assert_eq!(given(&sink, 0), expected(|_| "nothing".to_owned()));

    // Another type, and no way from the one to the other. No restart mends that.
    feed.push(0, 100..100 + KEYS);
    let wrong = graph(&source, &sink, text(), |n| format!("t{n}"));
    let error = engine.run(wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    let parts = ["operator keep, state kept", "u64 in bincode 1", "string in bincode 1", "--fresh"];
    for part in parts.iter().chain(&["migrate_from"]) {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert_eq!(sink.output().len(), KEYS as usize, "something was processed");

    // The same with a migration: half of the keys are asked only, half are kept anew.
    let migrated = || text().migrate_from::<u64>(|old| format!("m{old}"));
    feed.push(0, 0..KEYS / 2);
    let second = graph(&source, &sink, migrated(), |n| format!("t{n}"));
    engine.run_until(second, pass(ms(100))).await.unwrap();
    let given_second = given(&sink, KEYS as usize);
    assert_eq!(given_second.len() as u64, KEYS + KEYS / 2);
    assert!(given_second.contains(&"19 m190".to_owned()), "{given_second:?}");

    // And once more, from a log and a table that hold both.
    feed.push(0, 100..100 + KEYS);
    let from = sink.output().len();
    let third = graph(&source, &sink, migrated(), |n| format!("t{n}"));
    engine.run_until(third, pass(ms(100))).await.unwrap();
    let kept = |key| if key < KEYS / 2 { format!("t{key}") } else { format!("m{}", key * 10) };
    assert_eq!(given(&sink, from), expected(kept));

    // The program of before does not go on with what the new one has kept.
    feed.push(0, 100..101);
    let former = graph(&source, &sink, number(), |n| n);
    let error = engine.run(former).await.unwrap_err();
    assert!(error.to_string().contains("values of string"), "{error}");
    let back = number().migrate_from::<String>(|old| old.len() as u64);
    let from = sink.output().len();
    engine.run_until(graph(&source, &sink, back, |n| n), pass(ms(100))).await.unwrap();
    assert_eq!(given(&sink, from), ["0 2"]);
}

#[test]
fn another_type_is_refused_or_migrated_whether_it_is_in_the_log_or_in_items() {
    for eager in [false, true] {
        for value_format in [ValueFormat::Codec, ValueFormat::Native] {
            simulate(check(eager, value_format, RestartStrategy::None));
        }
    }
}

#[test]
fn no_restart_is_tried_with_a_type_that_does_not_fit() {
    let restart = RestartStrategy::FixedDelay { attempts: 1_000_000, delay: ms(3_600_000) };
    simulate(check(false, ValueFormat::Codec, restart));
}

/// Counts, by a key, a namespace and a map key that are made of the record.
struct Count<K, N, MK> {
    counts: Namespaced<N, MapState<MK, u32>>,
    make: fn(u64) -> (K, N, MK),
}

impl<K: Key, N: SubKey, MK: SubKey> KeyedProcess for Count<K, N, MK> {
    type Key = K;
    type In = u64;
    type Out = u32;

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        let (_, namespace, key) = (self.make)(record);
        let mut of_namespace = context.in_namespace(&namespace);
        let mut counts = of_namespace.map(self.counts);
        let count = counts.get(&key)?.copied().unwrap_or(0) + 1;
        counts.put(key, count);
        context.emit(count);
        Ok(())
    }
}

fn keyed<K: Key, N: SubKey, MK: SubKey>(
    (source, sink): (&MemorySource<u64>, &MemorySink<u32>),
    make: fn(u64) -> (K, N, MK),
) -> JobGraph {
    // A migration of values changes nothing of it.
    let counts = || MapDescriptor::new("counts").migrate_from::<u8>(u32::from);
    let env = StreamEnvironment::new();
    env.source(source.clone())
        .uid("numbers")
        .key_by(move |n| make(*n).0)
        .process(move |states: &mut States| Count {
            counts: states.namespaced().map(counts()),
            make,
        })
        .uid("count")
        .sink(sink.clone())
        .uid("out");
    env.build().unwrap()
}

/// It used to go on, and to find key 5 as -2147483643.
#[test]
fn keys_namespaces_and_map_keys_of_another_type_are_refused() {
    simulate(async {
        let mut config = small();
        config.restart = RestartStrategy::None;
        let engine = Engine::new(embedded(None).await, config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let ends = (&source, &sink);
        feed.push(0, 0..KEYS);
        let first = || keyed(ends, |n| (n % 4, 7u32, n as u32));
        engine.run_until(first(), pass(ms(100))).await.unwrap();
        let counted = sink.output().len();
        assert_eq!(counted as u64, KEYS);

        feed.push(0, 0..KEYS);
        let others = [
            (keyed(ends, |n| ((n % 4) as i64, 7u32, n as u32)), "keys of u64", "are i64"),
            (keyed(ends, |n| (n % 4, 7i32, n as u32)), "namespaces of u32", "of i32"),
            (keyed(ends, |n| (n % 4, 7u32, n as i32)), "map keys of u32", "of i32"),
            (keyed(ends, |n| (n % 4, 7u32, (0u16, n as u16))), "map keys of u32", "of (u16, u16)"),
        ];
        for (graph, old, new) in others {
            let error = engine.run_until(graph, pass(ms(100))).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Graph);
            for part in ["operator count", old, new, "--fresh"] {
                assert!(error.to_string().contains(part), "{part}: {error}");
            }
            assert_eq!(sink.output().len(), counted, "something was processed");
        }
        engine.run_until(first(), pass(ms(100))).await.unwrap();
        assert_eq!(sink.output()[counted..], [2; KEYS as usize]);
    });
}
