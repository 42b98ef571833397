//! A restore at another parallelism where one part of the key groups is behind another: a segment that
//! is named for the sake of the one must not bring back the other's old values.

use std::sync::Arc;

use millpond::MaxParallelism;
use millpond::checkpoint::{Manifest, read_manifest};
use millpond::codec::Key;
use millpond::connector::{MemorySink, MemorySource};
use millpond::runtime::MemoryBackend;

use crate::engine_support::{Engine, Event, check, head, ms, pass, simulate, small, store, tally};

async fn manifest(twin: &MemoryBackend) -> Manifest {
    let last = *head(twin).retained.last().unwrap();
    read_manifest(Arc::new(store(twin)), last).await.unwrap().manifest
}

/// Whether `key` is of the upper half of the key groups.
fn is_high(key: u64) -> bool {
    let max = MaxParallelism::new(128).unwrap();
    max.subtask_of(max.group_of(key.key_hash()), 2) == 1
}

#[test]
fn a_segment_that_one_part_needs_does_not_bring_back_the_others_old_values() {
    for after in [1, 2, 3] {
        simulate(async {
            let mut config = small();
            config.parallelism = 1;
            config.checkpointing.interval = ms(1);
            let (engine, twin) = Engine::twin(config);
            let (feed, source) = MemorySource::fed(1);
            let sink = MemorySink::new();
            let mut input: Vec<Event> = Vec::new();
            let mut give = |records: Vec<Event>| {
                feed.push(0, records.clone());
                input.extend(records);
            };
            // All keys in one segment of one checkpoint, of the whole range.
            give((0..200).map(|key| (key, 1)).collect());
            let mut once = engine.clone();
            once.config.checkpointing.interval = ms(3_600_000);
            once.run_until(tally(source.clone(), &sink), pass(ms(5))).await.unwrap();
            let wide = manifest(&twin).await.segments;
            assert_eq!(wide.len(), 1);

            // The upper half's log outgrows itself, the lower half's does not.
            let two = engine.with(|config| {
                config.parallelism = 2;
                config.state.log_max_bytes = 2 * 20_000;
            });
            let high: Vec<u64> = (0..200).filter(|key| is_high(*key)).collect();
            let growing = async {
                // Some change for ever, others a few times: these must be written.
                for round in 0..160 {
                    let changes =
                        |i: usize| i % 3 == round % 3 && (round < 20 || i.is_multiple_of(2));
                    let part = high.iter().enumerate().filter(|(i, _)| changes(*i));
                    give(part.map(|(_, key)| (*key, round as u64)).collect());
                    pass(ms(2)).await;
                }
            };
            let run = two.run_until(tally(source.clone(), &sink), pass(ms(400)));
            let (ended, ()) = futures::join!(run, growing);
            ended.unwrap();
            let parted = manifest(&twin).await;
            let of = |key: u64| {
                let group = MaxParallelism::new(128).unwrap().group_of(key.key_hash());
                let covering = parted.horizons.iter().find(|h| h.range.contains(group));
                covering.map(|h| h.checkpoint.0).unwrap_or_default()
            };
            let low = (0..200).find(|key| !is_high(*key)).unwrap();
            assert_eq!(of(low), 0, "the lower half has cleaned nothing");
            assert!(of(high[0]) > 40, "the upper half has: {}", of(high[0]));
            assert!(parted.segments.contains(&wide[0]), "still named for the lower half");
            assert!(two.metrics.snapshot().items_materialised > 30);

            // Each key once more, whoever owns it now; twice, since horizons must survive it.
            let entries: u64 = parted.segments.iter().map(|segment| segment.entries).sum();
            for round in 0..2 {
                give((0..200).map(|key| (key, 3)).collect());
                let again = engine.with(|config| config.parallelism = after);
                again.run_until(tally(source.clone(), &sink), pass(ms(100))).await.unwrap();
                // A segment that two subtasks replay counts once.
                let replayed = again.status().checkpoints.restored.unwrap().entries;
                assert!(round > 0 || replayed <= entries, "{replayed} of {entries}");
            }
            check(&sink.output(), &[input]).unwrap();
        });
    }
}
