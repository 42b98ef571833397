//! What streams do to records, and which graphs are refused before anything starts.

use std::collections::HashMap;
use std::time::Duration;

use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::record::Positioned;
use millpond::state::{States, Ttl, ValueDescriptor};
use millpond::stream::StreamEnvironment;
use millpond::{Error, ErrorKind, Result};

use crate::engine_support::{Engine, simulate, small};

fn run(env: &StreamEnvironment) {
    let graph = env.build().unwrap();
    simulate(async {
        let (engine, _) = Engine::twin(small());
        engine.run(graph).await.unwrap();
    });
}

fn sorted<T: Ord + Clone>(sink: &MemorySink<T>) -> Vec<T> {
    let mut records = sink.output();
    records.sort_unstable();
    records
}

#[test]
fn chains_map_filter_and_flatten_in_order() {
    let env = StreamEnvironment::new();
    let sink = MemorySink::new();
    env.source(MemorySource::new((0..50u64).collect(), 1))
        .map(|n| n + 1)
        .filter(|n| n % 2 == 0)
        .flat_map(|n| vec![n, n * 100])
        .sink(sink.clone());
    run(&env);
    let expected: Vec<u64> = (1..=25).flat_map(|n| [2 * n, 200 * n]).collect();
    assert_eq!(sink.output(), expected);
}

#[test]
fn reduce_gives_out_each_keys_result_so_far() {
    let env = StreamEnvironment::new();
    let sink = MemorySink::new();
    env.source(MemorySource::new((0..60u64).map(|n| (n % 6, n)).collect(), 1))
        .key_by(|(key, _)| *key)
        .reduce(|(key, a), (_, b)| (key, a + b))
        .sink(sink.clone());
    run(&env);
    for key in 0..6 {
        let results: Vec<u64> =
            sink.output().into_iter().filter(|(k, _)| *k == key).map(|(_, sum)| sum).collect();
        let sums = (0..10).scan(0, |sum, n| {
            *sum += n * 6 + key;
            Some(*sum)
        });
        assert_eq!(results, sums.collect::<Vec<_>>());
    }
}

#[test]
fn a_union_has_all_records_and_keeps_each_splits_order() {
    let env = StreamEnvironment::new();
    let sink = MemorySink::new();
    let splits = |first: u64| (0..3).map(move |s| (0..40).map(|n| first + s * 100 + n).collect());
    let left = env.source_with_origin(MemorySource::of_splits(splits(0).collect()));
    let right = env.source_with_origin(MemorySource::of_splits(splits(1000).collect()));
    left.map(|record| ("left", record))
        .union(right.filter(|record| record.value % 2 == 0).map(|record| ("right", record)))
        .sink(sink.clone());
    run(&env);
    let output = sink.output();
    assert_eq!(output.len(), 120 + 60);
    let mut last = HashMap::new();
    for (side, Positioned { origin, value }) in output {
        let first = if side == "left" { 0 } else { 1000 };
        let split: u64 = origin.split.parse().unwrap();
        assert_eq!(value, first + split * 100 + origin.position);
        let before = last.insert((side, split), origin.position);
        assert!(before.is_none_or(|before| before < origin.position));
    }
}

#[test]
fn tee_gives_both_streams_everything_and_two_operators_their_own_state() {
    let env = StreamEnvironment::new();
    let (all, sums, counts) = (MemorySink::new(), MemorySink::new(), MemorySink::new());
    let numbers = env.source(MemorySource::new((0..40u64).collect(), 2));
    let (left, right) = numbers.tee();
    left.sink(all.clone());
    let (left, right) = right.tee();
    left.key_by(|n| n % 2).reduce(|a, b| a + b).sink(sums.clone());
    right.map(|_| 1u64).key_by(|_| 0u64).reduce(|a, b| a + b).sink(counts.clone());
    run(&env);
    assert_eq!(sorted(&all), (0..40).collect::<Vec<_>>());
    let even: u64 = (0..40).filter(|n| n % 2 == 0).sum();
    let odd: u64 = (0..40).filter(|n| n % 2 == 1).sum();
    assert_eq!(sums.output().into_iter().filter(|n| n % 2 == 0).max(), Some(even.max(odd)));
    assert_eq!(sorted(&counts), (1..=40).collect::<Vec<_>>());
}

#[test]
fn dead_letters_go_their_own_way_after_a_keyed_operator_too() {
    let env = StreamEnvironment::new();
    let (good, bad) = (MemorySink::new(), MemorySink::new());
    let texts = (0..30).map(|n| if n % 3 == 0 { format!("x{n}") } else { n.to_string() });
    let parsed = env
        .source(MemorySource::new(texts.collect(), 2))
        .key_by(String::clone)
        .reduce(|a, _| a)
        .map(|text| text.parse::<u64>().map_err(|_| text));
    let (numbers, dead) = parsed.split_results();
    numbers.sink(good.clone());
    dead.sink(bad.clone());
    run(&env);
    assert_eq!(sorted(&good), (0..30).filter(|n| n % 3 != 0).collect::<Vec<_>>());
    assert_eq!(bad.output().len(), 10);
    assert!(bad.output().iter().all(|text| text.starts_with('x')));
}

struct Nothing;

impl KeyedProcess for Nothing {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, _: u64, _: &mut Context<'_, Self>) -> Result<()> {
        Ok(())
    }
}

fn numbers() -> MemorySource<u64> {
    MemorySource::new(vec![1], 1)
}

fn refused(env: &StreamEnvironment) -> String {
    let error: Error = env.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    error.to_string()
}

/// A graph whose keyed operator has states of these names.
fn with_states(names: &'static [&'static str]) -> StreamEnvironment {
    let env = StreamEnvironment::new();
    let declare = move |states: &mut States| {
        for name in names {
            let _ = states.value::<u64>(ValueDescriptor::new(name));
        }
        Nothing
    };
    env.source(numbers()).key_by(|n| *n).process(declare).uid("op").sink(MemorySink::new());
    env
}

#[test]
fn a_graph_that_is_wrong_is_an_error_before_anything_starts() {
    let env = StreamEnvironment::new();
    assert!(refused(&env).contains("no source"));

    let env = StreamEnvironment::new();
    drop(env.source(numbers()));
    let text = refused(&env);
    assert!(text.contains("no sink") && text.contains("\"source-1\" leads nowhere"), "{text}");

    let env = StreamEnvironment::new();
    let (left, right) = env.source(numbers()).uid("twice").tee();
    left.sink(MemorySink::new()).uid("twice");
    drop(right);
    let text = refused(&env);
    assert!(text.contains("\"twice\" is used twice") && text.contains("leads nowhere"), "{text}");

    // It would name the source.
    let env = StreamEnvironment::new();
    let (left, right) = env.source(numbers()).tee();
    left.uid("left").sink(MemorySink::new());
    right.map(|n| n).sink(MemorySink::new());
    assert!(refused(&env).contains("the id \"left\" is given to a stream that tee or"));
    let env = StreamEnvironment::new();
    let (good, bad) =
        env.source(numbers()).map(|n| if n > 1 { Ok(n) } else { Err(n) }).split_results();
    good.sink(MemorySink::new());
    bad.uid("bad").sink(MemorySink::new());
    assert!(refused(&env).contains("the id \"bad\" is given to a stream that tee or"));

    let env = StreamEnvironment::new();
    env.source(numbers()).uid("a/b").sink(MemorySink::new());
    assert!(refused(&env).contains("a/b"));

    assert!(refused(&with_states(&["count", "count"])).contains("count"));
    assert!(refused(&with_states(&["no spaces"])).contains("no spaces"));
    assert!(with_states(&["count", "sum"]).build().is_ok());
}

#[test]
fn a_reduce_that_cannot_know_the_times_of_records_is_refused() {
    let ttl = Ttl::new(Duration::from_secs(1));
    let build = |ttl| {
        let env = StreamEnvironment::new();
        env.source(numbers())
            .key_by(|n| *n)
            .reduce_with(ValueDescriptor::new("sum").with_ttl(ttl), |a, b| a + b)
            .sink(MemorySink::new());
        env.build()
    };
    build(ttl).unwrap();
    let error = build(ttl.by_event_time(Duration::ZERO)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.message().contains("state sum is to expire by the times of records"), "{error}");
}

#[test]
fn ids_are_the_same_in_each_build_of_a_graph() {
    let build = || {
        let env = StreamEnvironment::new();
        let (left, right) = env.source(numbers()).uid("given").tee();
        let other = env.source(numbers());
        left.union(other).key_by(|n| *n).reduce(|a, _| a).sink(MemorySink::new());
        right.key_by(|n| *n).reduce(|a, _| a).map(|n| n + 1).sink(MemorySink::new()).uid("out");
        env.build().unwrap()
    };
    let (one, two) = (build(), build());
    assert_eq!(one.operators(), two.operators());
    assert_eq!(one.description(), two.description());
    let ids: Vec<&str> = one.operators().iter().map(|id| id.as_str()).collect();
    let expected = ["given", "source-2", "union-1", "reduce-1", "sink-1", "reduce-2", "out"];
    assert_eq!(ids, expected);
    let wiring = |line: &str| line.split_once(" <- ").map_or("", |(_, inputs)| inputs).to_owned();
    let inputs: Vec<String> = one.description().lines().map(wiring).collect();
    assert_eq!(inputs, ["", "", "given, source-2", "union-1", "reduce-1", "given", "reduce-2"]);
}
