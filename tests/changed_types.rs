//! A job that goes on with a state of another type than was stored: refused before anything is
//! processed, or migrated.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::fmt::Display;

use engine_support::{Engine, embedded, ms, pass, simulate, small};
use millpond::ErrorKind;
use millpond::codec::Value;
use millpond::config::{Materialize, RestartStrategy, ValueFormat};
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

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
