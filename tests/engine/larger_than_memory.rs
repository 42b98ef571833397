//! State that does not fit into its cache: exact, within its bounds, and never stuck.
//!
//! The large figures are those of `cargo bench --bench larger_than_memory`.

use millpond::config::Materialize;
use millpond::connector::{DiscardSink, MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{Call, MapDescriptor, MapState, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::{ErrorKind, Result};

use crate::engine_support::{Engine, Event, check, ms, pass, simulate, small, store, tally};

const LOG: u64 = 12_000;
const CACHE: u64 = 40_000;
/// What a key of the tally takes: row, three values, lists of changes.
const KEY_BYTES: u64 = 200;

/// Every third record is of one of ten keys, the others come in no order.
fn skewed(records: u64, keys: u64) -> Vec<Event> {
    let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let key = |n: u64| if n.is_multiple_of(3) { n / 3 % 10 } else { mixed(n) % keys };
    (0..records).map(|n| (key(n), n)).collect()
}

#[test]
fn state_ten_times_its_cache_is_exact_and_stays_within_bounds() {
    simulate(async {
        let mut config = small();
        config.state.log_max_bytes = LOG;
        config.state.cache_bytes = CACHE;
        let channels = u64::from(config.parallelism * config.parallelism);
        let batches = u64::from(config.exchange.channel_batches) + 2;
        let on_the_way = channels * batches * u64::from(config.exchange.batch_records);
        let (engine, _) = Engine::twin(config);
        let sink = MemorySink::new();
        let input = vec![skewed(9000, 4000), skewed(6000, 4000)];
        let mut log = 0;
        let look = async {
            loop {
                pass(ms(1)).await;
                log = log.max(engine.status().memory.log_bytes);
            }
        };
        tokio::select! {
            biased;
            ended = engine.run(tally(MemorySource::of_splits(input.clone()), &sink)) => {
                ended.unwrap();
            }
            () = look => {}
        }
        check(&sink.output(), &input).unwrap();
        let memory = engine.status().memory;
        let beyond = on_the_way * KEY_BYTES;
        assert!(memory.most_bytes <= CACHE + beyond, "{memory:?}");
        assert!(memory.most_bytes > CACHE / 2, "{memory:?}");
        assert!(log <= LOG + beyond, "{log}");
        let counters = engine.metrics.snapshot();
        assert!(counters.entries_evicted > 4000, "{counters:?}");
        // Hot keys stay: what is not in memory is for less than the other two records in three.
        let missed = counters.items_read + counters.reads_saved;
        let misses = missed as f64 / 3.0 / counters.records_processed as f64;
        assert!((0.3..0.67).contains(&misses), "{misses} of {counters:?}");
        let told = engine.status().vertices.into_iter().find_map(|v| v.filter_false_positives);
        assert!(told.is_some_and(|share| share > 0.0 && share < 0.2), "{told:?}");
        // And what is read is there, though the filter has a quarter of a small cache.
        assert!(counters.items_not_found * 100 < counters.reads_saved, "{counters:?}");
    });
}

#[test]
fn a_cache_for_nothing_lets_a_job_come_to_its_end() {
    simulate(async {
        let mut config = small();
        config.state.log_max_bytes = 1;
        config.state.cache_bytes = 2;
        config.checkpointing.num_retained = 3;
        let (engine, _) = Engine::twin(config);
        let sink = MemorySink::new();
        let input = vec![skewed(300, 100), skewed(200, 100)];
        engine.run(tally(MemorySource::of_splits(input.clone()), &sink)).await.unwrap();
        check(&sink.output(), &input).unwrap();
        assert!(engine.metrics.snapshot().pressure_waits > 10);
    });
}

/// The first record used to wait until all the requests were built that the bound of records lets through.
#[test]
fn before_its_first_record_a_subtask_reads_for_one_batch_alone() {
    let (parked, reads) = parked_and_reads_while_none_is_answered(0);
    assert_eq!((parked, reads), (100, 3), "three states a key, 100 items a call");
}

#[test]
fn records_that_wait_for_their_state_are_bounded() {
    let (parked, reads) = parked_and_reads_while_none_is_answered(100);
    // The bound, and the batch that reaches it.
    assert!((6000..6100).contains(&parked), "{parked}");
    assert!(reads >= 180, "100 items a call: {reads}");
}

/// Records and requests of a restarted job whose reads are answered for so many of its records, and then not any more.
fn parked_and_reads_while_none_is_answered(answered: usize) -> (u64, u64) {
    simulate(async move {
        let mut config = small();
        config.parallelism = 1;
        config.state.materialize = Materialize::Eager;
        config.exchange.batch_records = 100;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let input = vec![(0..20_000).map(|n| (n % 10_000, n)).collect::<Vec<Event>>()];
        let (before, after) = input[0].split_at(10_000);
        feed.push(0, before.to_vec());
        engine.run_until(tally(source.clone(), &sink), pass(ms(2000))).await.unwrap();
        assert_eq!(engine.metrics.snapshot().items_materialised, 30_000);

        let script = store(&twin);
        feed.push(0, after[..answered].to_vec());
        let outside = async {
            if answered > 0 {
                pass(ms(500)).await;
            }
            script.script().hold(Call::ReadItems);
            let seen = || {
                (engine.metrics.snapshot().records_parked, script.script().count(Call::ReadItems))
            };
            let (parked, reads) = seen();
            feed.push(0, after[answered..].to_vec());
            feed.close();
            pass(ms(500)).await;
            let (all_parked, all_reads) = seen();
            script.script().release(Call::ReadItems);
            (all_parked - parked, all_reads - reads)
        };
        // What holds reads stands before the job that asks for them.
        let (waiting, ended) = futures::join!(outside, engine.run(tally(source, &sink)));
        ended.unwrap();
        check(&sink.output(), &input).unwrap();
        waiting
    })
}

struct Text {
    text: ValueState<String>,
}

impl KeyedProcess for Text {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> Result<()> {
        context.set(self.text, "x".repeat(n as usize));
        Ok(())
    }
}

#[test]
fn a_value_that_does_not_fit_at_all_is_named() {
    simulate(async {
        let mut config = small();
        config.state.log_max_bytes = 20_000;
        config.state.cache_bytes = 40_000;
        let (engine, _) = Engine::twin(config);
        let env = StreamEnvironment::new();
        env.source(MemorySource::new(vec![7, 30_000, 50_001, 8], 1))
            .key_by(|n| n % 1000)
            .process(|states: &mut States| Text {
                text: states.value(ValueDescriptor::new("text")),
            })
            .uid("texts")
            .sink(DiscardSink::new());
        let error = engine.run(env.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        for part in ["operator texts", "state text", "key 1 (key group ", "cache-size", "40000"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    });
}

/// What a record asks for.
#[derive(Clone, Debug)]
enum Ask {
    /// That the key's value be so long.
    Set(usize),
    /// How long it is.
    Get,
    /// That the key's map have one entry more, so long.
    Put(u64, usize),
    /// How long all entries are.
    Sum,
    /// 1 where it has none, else 0.
    IsEmpty,
}

struct Texts {
    text: ValueState<String>,
    map: MapState<u64, String>,
}

impl KeyedProcess for Texts {
    type Key = u64;
    type In = (u64, Ask);
    type Out = usize;

    fn process(&self, (_, ask): Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        match ask {
            Ask::Set(length) => context.set(self.text, "x".repeat(length)),
            Ask::Get => {
                let length = context.get(self.text).map_or(0, String::len);
                context.emit(length);
            }
            Ask::Put(entry, length) => context.map(self.map).put(entry, "x".repeat(length)),
            Ask::Sum => {
                let sum = context.map(self.map).iter()?.map(|(_, text)| text.len()).sum();
                context.emit(sum);
            }
            Ask::IsEmpty => {
                let is_empty = context.map(self.map).is_empty()?;
                context.emit(usize::from(is_empty));
            }
        }
        Ok(())
    }
}

fn texts(source: MemorySource<(u64, Ask)>, sink: &MemorySink<usize>) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source)
        .key_by(|(key, _)| *key)
        .process(|states: &mut States| Texts {
            text: states.value(ValueDescriptor::new("text")),
            map: states.map(MapDescriptor::new("map")),
        })
        .uid("texts")
        .sink(sink.clone());
    env.build().unwrap()
}

/// They used to be taken to be as long as all values were on average that were ever serialised: the input went on.
#[test]
fn values_that_grow_between_checkpoints_ask_for_one_and_stop_the_input() {
    simulate(async {
        let mut config = small();
        config.parallelism = 1;
        config.checkpointing.interval = ms(3_600_000);
        config.state.log_max_bytes = 400_000;
        config.state.cache_bytes = 1_000_000;
        let (engine, twin) = Engine::twin(config);
        let script = store(&twin);
        script.script().hold(Call::PutBlock);
        let large = |n: u64| (n, Ask::Set(20_000));
        let small = |n: u64| (n % 500, Ask::Set(10));
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, (0..20_000).map(small));
        let sink = MemorySink::new();
        let outside = async {
            let processed = || engine.metrics.snapshot().records_processed;
            engine.until(|status| status.metrics.records_processed == 20_000).await;
            assert_eq!(script.script().count(Call::PutBlock), 0, "nobody asks for a checkpoint");
            feed.push(0, (0..2000).map(large));
            feed.close();
            pass(ms(500)).await;
            // What is in channels and batches is admitted beyond what stops the input.
            let (stop, on_the_way) = (400_000 / 20_000, 4 * 4);
            let large = processed() - 20_000;
            assert!((10..=stop + on_the_way).contains(&large), "{large} of 20 KB");
            assert!(script.script().count(Call::PutBlock) > 0, "the first one is far away");
            script.script().release(Call::PutBlock);
        };
        let (ended, ()) = futures::join!(engine.run(texts(source, &sink)), outside);
        ended.unwrap();
        let counts = engine.status().checkpoints.counts;
        assert!(counts.completed > 20, "{counts:?}");
    });
}

/// All keys of all parked records used to be asked for at once, however large their values.
#[test]
fn what_is_read_at_a_time_is_bounded_by_its_size() {
    simulate(async {
        const KEYS: u64 = 600;
        let mut config = small();
        config.parallelism = 1;
        // All that is read is in the first batch.
        config.exchange.batch_records = KEYS as u32;
        config.state.materialize = Materialize::Eager;
        config.state.log_max_bytes = 2_000_000;
        config.state.cache_bytes = 4_000_000;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        feed.push(0, (0..KEYS).map(|key| (key, Ask::Set(20_000))));
        engine.run_until(texts(source.clone(), &sink), pass(ms(3000))).await.unwrap();
        assert!(engine.metrics.snapshot().items_materialised >= KEYS);

        let script = store(&twin);
        script.script().hold(Call::ReadItems);
        let before = script.script().count(Call::ReadItems);
        feed.push(0, (0..KEYS).map(|key| (key, Ask::Get)));
        feed.close();
        let outside = async {
            pass(ms(500)).await;
            let counters = engine.metrics.snapshot();
            assert!(counters.records_parked >= KEYS - 100, "{counters:?}");
            assert_eq!(script.script().count(Call::ReadItems) - before, 1, "an eighth of 4 MB");
            script.script().release(Call::ReadItems);
        };
        let (ended, ()) = futures::join!(engine.run(texts(source, &sink)), outside);
        ended.unwrap();
        assert_eq!(sink.output(), vec![20_000; KEYS as usize]);
        // 24 at a time, and no more calls than that takes.
        let calls = script.script().count(Call::ReadItems) - before;
        assert!((KEYS / 40..KEYS / 10).contains(&calls), "{calls}");
        let memory = engine.status().memory;
        assert!(memory.most_bytes < 4_000_000 + 500_000, "{memory:?}");
    });
}

/// Only their values used to count, and a little: not what they take on their way from the table, 1 to 2 KB.
#[test]
fn small_items_that_are_read_at_a_time_are_bounded_too() {
    simulate(async {
        const KEYS: u64 = 10_000;
        let mut config = small();
        config.parallelism = 1;
        config.exchange.batch_records = 100;
        config.state.materialize = Materialize::Eager;
        config.state.log_max_bytes = 1_900_000;
        config.state.cache_bytes = 3_850_000;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        feed.push(0, (0..KEYS).map(|key| (key, Ask::Set(8))));
        engine.run_until(texts(source.clone(), &sink), pass(ms(3000))).await.unwrap();

        let script = store(&twin);
        // How large they are is known once some were read.
        feed.push(0, (0..100).map(|key| (key, Ask::Get)));
        let outside = async {
            pass(ms(500)).await;
            script.script().hold(Call::ReadItems);
            let before = script.script().count(Call::ReadItems);
            feed.push(0, (100..KEYS).map(|key| (key, Ask::Get)));
            feed.close();
            pass(ms(500)).await;
            // Of 100 items each: at least 400, at most 500.
            let calls = script.script().count(Call::ReadItems) - before;
            assert!((4..=5).contains(&calls), "{calls} calls");
            script.script().release(Call::ReadItems);
        };
        let (ended, ()) = futures::join!(engine.run(texts(source, &sink)), outside);
        ended.unwrap();
        assert_eq!(sink.output(), vec![8; KEYS as usize]);
    });
}

/// All of a range used to be read before anybody looked how much it was. Whether there is any of it could not be told
/// either.
#[test]
fn a_map_that_does_not_fit_into_memory_is_named_before_it_is_read_whole() {
    simulate(async {
        const ENTRIES: u64 = 1000;
        let mut config = small();
        config.state.materialize = Materialize::Eager;
        config.state.log_max_bytes = 500_000;
        config.state.cache_bytes = 1_000_000;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        feed.push(0, (0..ENTRIES).map(|entry| (7, Ask::Put(entry, 10_000))));
        feed.push(0, (0..ENTRIES / 20).map(|entry| (8, Ask::Put(entry, 10_000))));
        engine.run_until(texts(source.clone(), &sink), pass(ms(5000))).await.unwrap();
        let items = store(&twin).items();
        assert_eq!(items.keys().filter(|key| key.state.as_str() == "map").count(), 1050);

        feed.push(0, [(8, Ask::Sum)]);
        let stopped = pass(ms(1000));
        engine.run_until(texts(source.clone(), &sink), stopped).await.unwrap();
        assert_eq!(sink.output(), [500_000], "in pages, where it fits");

        feed.push(0, [(7, Ask::IsEmpty)]);
        let stopped = pass(ms(1000));
        engine.run_until(texts(source.clone(), &sink), stopped).await.unwrap();
        assert_eq!(sink.output(), [500_000, 0], "however much it is");

        let script = store(&twin);
        let before = script.script().count(Call::ScanItems);
        feed.push(0, [(7, Ask::Sum)]);
        feed.close();
        let error = engine.run(texts(source, &sink)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        for part in ["operator texts", "state map", "key 7 (key group ", "cache-size", "at once"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        // A page takes 16 KB, rounded up to entries; some are of the filter.
        let pages = script.script().count(Call::ScanItems) - before;
        assert!((20..400).contains(&pages), "{pages}");
    });
}
