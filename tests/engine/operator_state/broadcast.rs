//! A broadcast input beside a keyed one, and its map on every subtask.

use std::collections::BTreeMap;

use millpond::Result;
use millpond::checkpoint::Ended;
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess};
use millpond::state::{BroadcastStates, States, Ttl, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;

use super::{ruled, run_a_while, saved};
use crate::engine_support::{Engine, ms, pass, simulate, small};

#[test]
fn every_subtask_has_the_broadcast_map_also_after_restores_at_another_parallelism() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (events, of_events) = MemorySource::fed(2);
        let (rules, of_rules) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let mut newest = BTreeMap::new();
        for (parallelism, version) in [(2, 1), (5, 2), (1, 3), (3, 4)] {
            // Each key's record of this round is its version-th.
            // Alone, so that all records behind it see it: there is no order between the inputs.
            for rule in 0..4 {
                rules.push(0, [(rule, version * 10), (rule, version * 10 + rule)]);
                newest.insert(rule, version * 10 + rule);
            }
            run_a_while(&engine, parallelism, ruled(of_events.clone(), of_rules.clone(), &sink))
                .await;
            let maps = saved::<(u64, u64)>(&twin, "ruled", "versions").await;
            let expected: Vec<_> = newest.iter().filter(|(rule, _)| **rule < 3).collect();
            assert_eq!(maps[0].iter().map(|(a, b)| (a, b)).collect::<Vec<_>>(), expected);
            assert!(maps[1..].iter().all(Vec::is_empty), "one subtask saves it for all");

            events.push(0, 0..20);
            events.push(1, 20..40);
            // At another parallelism again: the map is from the checkpoint.
            let before = sink.output().len();
            let graph = ruled(of_events.clone(), of_rules.clone(), &sink);
            run_a_while(&engine, parallelism % 4 + 1, graph).await;
            let mut lines = sink.output().split_off(before);
            lines.sort_unstable();
            let expected: Vec<_> = (0..40).map(|key| (key, version, newest[&(key % 3)])).collect();
            assert_eq!(lines, expected);
        }
    });
}

#[test]
fn a_broadcast_input_that_ends_early_ends_nothing() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (events, of_events) = MemorySource::fed(1);
        let rules = MemorySource::new(vec![(0, 1), (1, 2), (2, 3)], 1);
        let sink = MemorySink::new();
        let feeding = async {
            pass(ms(100)).await;
            events.push(0, 0..9);
            pass(ms(100)).await;
            events.close();
        };
        let (ended, ()) = futures::join!(engine.run(ruled(of_events, rules, &sink)), feeding);
        assert_eq!(ended.unwrap(), Ended::Finished);
        assert_eq!(sink.output().len(), 9);
        assert!(sink.output().iter().all(|(key, _, version)| *version == key % 3 + 1));
    });
}

/// Gives out what is kept of a key, which lives for ten milliseconds of its records' times.
struct Recent(ValueState<u64>);

impl KeyedBroadcastProcess for Recent {
    type Key = u64;
    type In = (u64, u64);
    type Broadcast = u64;
    type Out = (u64, Option<u64>);

    fn process(
        &self,
        (_, at): (u64, u64),
        context: &mut KeyedBroadcastContext<'_, '_, Self>,
    ) -> Result<()> {
        let kept = context.get(self.0).copied();
        context.set(self.0, at);
        context.emit((at, kept));
        Ok(())
    }

    fn event_time(&self, (_, at): &(u64, u64)) -> Option<u64> {
        Some(*at)
    }

    fn process_broadcast(&self, _: u64, _: &mut BroadcastContext<'_, Self>) -> Result<()> {
        Ok(())
    }
}

/// It used not to be asked for the time, so that nothing ever expired.
#[test]
fn keyed_state_beside_a_broadcast_input_expires_by_the_times_of_records() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let sink = MemorySink::new();
        let env = StreamEnvironment::new();
        let none = env.source(MemorySource::new(Vec::<u64>::new(), 1)).uid("none").broadcast();
        let times = [1_000, 1_005, 1_014, 1_030, 1_031];
        env.source(MemorySource::new(times.map(|at| (1, at)).to_vec(), 1))
            .uid("events")
            .key_by(|(key, _)| *key)
            .connect(none)
            .process(|states: &mut States, _: &mut BroadcastStates| {
                let ttl = Ttl::new(ms(10)).by_event_time(ms(0));
                Recent(states.value(ValueDescriptor::new("kept").with_ttl(ttl)))
            })
            .uid("recent")
            .sink(sink.clone());
        engine.run(env.build().unwrap()).await.unwrap();
        let expected = [
            (1_000, None),
            (1_005, Some(1_000)),
            (1_014, Some(1_005)),
            (1_030, None),
            (1_031, Some(1_030)),
        ];
        assert_eq!(sink.output(), expected);
    });
}
