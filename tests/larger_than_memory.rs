//! State that does not fit into its cache: exact, within its bounds, and never stuck.
//!
//! The large figures are those of `cargo bench --bench larger_than_memory`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use engine_support::{Engine, Event, check, ms, pass, simulate, small, store, tally};
use millpond::config::Materialize;
use millpond::connector::{DiscardSink, MemorySink, MemorySource};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{Call, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::{ErrorKind, Result};

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

#[test]
fn records_that_wait_for_their_state_are_bounded() {
    simulate(async {
        let mut config = small();
        config.parallelism = 1;
        config.state.materialize = Materialize::Eager;
        config.exchange.batch_records = 100;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let input = vec![(0..20_000).map(|n| (n % 10_000, n)).collect::<Vec<Event>>()];
        feed.push(0, input[0][..10_000].to_vec());
        engine.run_until(tally(source.clone(), &sink), pass(ms(2000))).await.unwrap();
        assert_eq!(engine.metrics.snapshot().items_materialised, 30_000);

        let script = store(&twin);
        script.script().hold(Call::ReadItems);
        feed.push(0, input[0][10_000..].to_vec());
        feed.close();
        let outside = async {
            pass(ms(500)).await;
            let counters = engine.metrics.snapshot();
            // The bound, and the batch that reaches it.
            assert!((6000..6100).contains(&counters.records_parked), "{counters:?}");
            assert!(script.script().count(Call::ReadItems) >= 180, "100 items a call");
            script.script().release(Call::ReadItems);
        };
        let (ended, ()) = futures::join!(engine.run(tally(source, &sink)), outside);
        ended.unwrap();
        check(&sink.output(), &input).unwrap();
    });
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
        config.state.log_max_bytes = 2000;
        config.state.cache_bytes = 4000;
        let (engine, _) = Engine::twin(config);
        let env = StreamEnvironment::new();
        env.source(MemorySource::new(vec![7, 3000, 5001, 8], 1))
            .key_by(|n| n % 1000)
            .process(|states: &mut States| Text {
                text: states.value(ValueDescriptor::new("text")),
            })
            .uid("texts")
            .sink(DiscardSink::new());
        let error = engine.run(env.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        for part in ["operator texts", "state text", "key 1 (key group ", "cache-size", "4000"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    });
}
