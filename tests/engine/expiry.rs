//! A job whose values expire by the clock: while it runs, and when it goes on from log or items.

use std::time::Duration;

use millpond::config::{Materialize, ValueFormat};
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{MapDescriptor, MapState, States, Ttl, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

use crate::engine_support::{Engine, embedded, ms, pass, simulate, small};

const KEYS: u64 = 20;
const TTL: Ttl = Ttl::new(Duration::from_millis(150));

/// Gives out what is kept of the key; of records below 100 it keeps their number.
struct Keep {
    kept: ValueState<u64>,
    pages: MapState<u64, u64>,
}

impl KeyedProcess for Keep {
    type Key = u64;
    type In = u64;
    type Out = (u64, Option<u64>, Vec<u64>);

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        let kept = context.get(self.kept).copied();
        let pages = context.map(self.pages).iter()?.map(|(page, _)| *page).collect();
        context.emit((*context.key(), kept, pages));
        if record < 100 {
            context.set(self.kept, record);
            context.map(self.pages).put(record + 1, record);
        }
        Ok(())
    }
}

fn graph(source: &MemorySource<u64>, sink: &MemorySink<<Keep as KeyedProcess>::Out>) -> JobGraph {
    graph_with(source, sink, Some(TTL))
}

fn graph_with(
    source: &MemorySource<u64>,
    sink: &MemorySink<<Keep as KeyedProcess>::Out>,
    ttl: Option<Ttl>,
) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source.clone())
        .uid("numbers")
        .key_by(|n| n % KEYS)
        .process(move |states: &mut States| {
            let (mut kept, mut pages) = (ValueDescriptor::new("kept"), MapDescriptor::new("pages"));
            if let Some(ttl) = ttl {
                kept = kept.with_ttl(ttl);
                pages = pages.with_ttl(ttl.on_read_and_write());
            }
            Keep { kept: states.value(kept), pages: states.map(pages) }
        })
        .uid("keep")
        .sink(sink.clone())
        .uid("out");
    env.build().unwrap()
}

async fn check(eager: bool, value_format: ValueFormat) {
    let mut config = small();
    config.state.value_format = value_format;
    if eager {
        config.state.materialize = Materialize::Eager;
    }
    let engine = Engine::new(embedded(None).await, config);
    let (feed, source) = MemorySource::fed(1);
    let sink = MemorySink::new();
    let asks = || 100..100 + KEYS;

    let given = feed.clone();
    let first = async move {
        given.push(0, 0..KEYS);
        pass(ms(100)).await;
        given.push(0, asks());
        pass(ms(100)).await;
        given.push(0, asks());
        given.push(0, 40..60);
        pass(ms(30)).await;
    };
    engine.run_until(graph(&source, &sink), first).await.unwrap();
    let all = sink.output();
    for key in 0..KEYS {
        let found: Vec<_> = all.iter().filter(|line| line.0 == key).cloned().collect();
        let alive = (key, Some(key), vec![key + 1]);
        // The map's entry was read 100 ms ago, the value was not written since.
        let half = (key, None, vec![key + 1]);
        assert_eq!(found, [(key, None, vec![]), alive, half.clone(), half], "key {key}");
    }

    // Goes on, on a clock that shows again what it did at the beginning.
    let given = feed.clone();
    let second = async move {
        pass(ms(340)).await;
        given.push(0, asks());
        pass(ms(50)).await;
        given.push(0, asks());
        pass(ms(30)).await;
    };
    let from = all.len();
    engine.run_until(graph(&source, &sink), second).await.unwrap();
    // Written and read at 200, the value lives until 350.
    for key in 0..KEYS {
        let found: Vec<_> = sink.output()[from..].iter().filter(|l| l.0 == key).cloned().collect();
        let alive = (key, Some(key + 40), vec![key + 1, key + 41]);
        let read = (key, None, vec![key + 1, key + 41]);
        assert_eq!(found, [alive, read], "key {key}");
    }

    let third = async move {
        pass(ms(1000)).await;
        feed.push(0, asks());
        pass(ms(30)).await;
    };
    let from = sink.output().len();
    engine.run_until(graph(&source, &sink), third).await.unwrap();
    let mut given = sink.output().split_off(from);
    given.sort();
    assert_eq!(given, (0..KEYS).map(|key| (key, None, vec![])).collect::<Vec<_>>());
}

#[test]
fn values_live_as_long_as_they_are_to_whether_they_are_in_memory_in_the_log_or_in_items() {
    simulate(check(false, ValueFormat::Codec));
    simulate(check(true, ValueFormat::Codec));
    simulate(check(true, ValueFormat::Native));
}

/// They used to be gone once their former expiry was passed, if they were in the table alone until then.
#[test]
fn values_that_lived_when_it_was_turned_off_are_there_ever_after() {
    simulate(async {
        let mut config = small();
        config.state.materialize = Materialize::Eager;
        let (engine, _) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let given = feed.clone();
        let first = async move {
            given.push(0, 0..KEYS);
            pass(ms(100)).await;
        };
        engine.run_until(graph(&source, &sink), first).await.unwrap();

        // Each run's clock begins anew. They would expire at 150, which the second and the third one pass; the second
        // one reads the first half of them.
        for (time, asked) in [(500, KEYS / 2), (1000, KEYS)] {
            let from = sink.output().len();
            let feed = feed.clone();
            let asks = async move {
                pass(ms(time)).await;
                feed.push(0, 100..100 + asked);
                pass(ms(30)).await;
            };
            engine.run_until(graph_with(&source, &sink, None), asks).await.unwrap();
            let mut given = sink.output().split_off(from);
            given.sort();
            let there = (0..asked).map(|key| (key, Some(key), vec![key + 1]));
            assert_eq!(given, there.collect::<Vec<_>>(), "at {time}");
        }
    });
}

/// It used to stay until some did.
#[test]
fn what_has_expired_leaves_memory_though_no_input_comes() {
    simulate(async {
        let mut config = small();
        config.state.materialize = Materialize::Eager;
        let (engine, _) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, 0..KEYS);
        tokio::select! {
            ended = engine.run(graph(&source, &MemorySink::new())) => panic!("it ended: {ended:?}"),
            () = pass(ms(3000)) => {}
        }
        let status = engine.status();
        assert_eq!(status.metrics.records_processed, KEYS);
        assert_eq!(status.memory.entries, 0, "{:?}", status.memory);
    });
}
