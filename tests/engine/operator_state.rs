//! Operator state over stops, restores at another parallelism, roll-backs and aborted checkpoints; and what is
//! refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus, Manifest, SavedOperator, read_manifest};
use millpond::codec::{Bincode, Codec, Value};
use millpond::config::Config;
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{
    BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess, OperatorContext,
    OperatorProcess,
};
use millpond::runtime::MemoryBackend;
use millpond::state::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, Call, OperatorListDescriptor,
    OperatorListState, OperatorStates, States, Ttl, UnionListDescriptor, UnionListState,
    ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::{ErrorKind, Result};

use crate::engine_support::{Engine, head, ms, pass, simulate, small, store};

/// Gives records out in packs of a fixed size, the rest at the end; counts them in a union list.
struct Pack {
    waiting: OperatorListState<u64>,
    counts: UnionListState<(u32, u64)>,
    size: usize,
}

impl Pack {
    fn new(states: &mut OperatorStates, size: usize) -> Self {
        Self {
            waiting: states.list(OperatorListDescriptor::new("waiting")),
            // The first subtask goes on with the sum of all.
            counts: states.union_list(UnionListDescriptor::new("counts"), |all, subtask| {
                let sum = all.iter().map(|(_, count)| count).sum();
                if subtask.index == 0 { vec![(0, sum)] } else { Vec::new() }
            }),
            size,
        }
    }
}

impl OperatorProcess for Pack {
    type In = u64;
    type Out = Vec<u64>;

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let subtask = context.subtask().index;
        match context.get_mut(self.counts).first_mut() {
            Some((_, count)) => *count += 1,
            None => context.get_mut(self.counts).push((subtask, 1)),
        }
        let waiting = context.get_mut(self.waiting);
        waiting.push(n);
        if waiting.len() >= self.size { self.end(context) } else { Ok(()) }
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let pack = std::mem::take(context.get_mut(self.waiting));
        if !pack.is_empty() {
            context.emit(pack);
        }
        Ok(())
    }
}

fn packing(source: MemorySource<u64>, size: usize, sink: &MemorySink<Vec<u64>>) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source)
        .uid("numbers")
        .process(move |states: &mut OperatorStates| Pack::new(states, size))
        .uid("pack")
        .sink(sink.clone());
    env.build().unwrap()
}

async fn manifest(twin: &MemoryBackend) -> Manifest {
    let last = *head(twin).retained.last().unwrap();
    read_manifest(Arc::new(store(twin)), last).await.unwrap().manifest
}

/// What each subtask has of a state.
fn elements<T: Value>(saved: &[SavedOperator], operator: &str, state: &str) -> Vec<Vec<T>> {
    let saved = saved.iter().find(|saved| saved.operator.as_str() == operator).unwrap();
    let decode = |bytes| <Bincode as Codec<T>>::decode(bytes).unwrap();
    let subtasks = saved.subtasks.iter().map(|subtask| {
        let of_state = subtask.iter().filter(|saved| saved.state.as_str() == state);
        of_state.flat_map(|saved| saved.elements.iter().map(decode).collect::<Vec<T>>()).collect()
    });
    subtasks.collect()
}

fn in_order(packs: &MemorySink<Vec<u64>>) -> Vec<u64> {
    let mut all = packs.output().concat();
    all.sort_unstable();
    all
}

/// Runs until a graceful stop, at another parallelism.
async fn run_a_while(engine: &Engine, parallelism: u32, graph: JobGraph) {
    let engine = engine.with(|config| config.parallelism = parallelism);
    let ended = engine.run_until(graph, pass(ms(25))).await.unwrap();
    assert_eq!(ended, Ended::Stopped);
}

#[test]
fn what_is_held_back_survives_stops_at_each_parallelism_and_is_given_out_once() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, source) = MemorySource::fed(3);
        let sink = MemorySink::new();
        let mut given = 0;
        for parallelism in [2, 2, 5, 1, 3] {
            for split in 0..3 {
                feed.push(split, (given..given + 11).collect::<Vec<_>>());
                given += 11;
            }
            run_a_while(&engine, parallelism, packing(source.clone(), 7, &sink)).await;
            let saved = manifest(&twin).await.operator_states;
            let waiting: Vec<Vec<u64>> = elements(&saved, "pack", "waiting");
            assert_eq!(waiting.len(), parallelism as usize);
            assert!(waiting.iter().all(|list| list.len() < 7));
            assert_eq!(in_order(&sink).len() + waiting.concat().len(), given as usize);
            let counts: Vec<Vec<(u32, u64)>> = elements(&saved, "pack", "counts");
            assert_eq!(counts.concat().iter().map(|(_, count)| count).sum::<u64>(), given);
        }
        feed.close();
        engine.run(packing(source, 7, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..given).collect::<Vec<_>>());
        let left: Vec<Vec<u64>> =
            elements(&manifest(&twin).await.operator_states, "pack", "waiting");
        assert!(left.concat().is_empty());
    });
}

#[test]
fn a_rescale_deals_a_list_out_evenly_and_an_equal_parallelism_leaves_it_alone() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        feed.push(0, 0..30);
        feed.push(1, 30..31);
        let waiting = async |parallelism| {
            run_a_while(&engine, parallelism, packing(source.clone(), 1000, &sink)).await;
            elements::<u64>(&manifest(&twin).await.operator_states, "pack", "waiting")
        };
        let first = waiting(2).await;
        assert_eq!(first, [(0..30).collect::<Vec<_>>(), vec![30]]);
        assert_eq!(waiting(2).await, first);
        let sizes = |lists: &[Vec<u64>]| lists.iter().map(Vec::len).collect::<Vec<_>>();
        let dealt = waiting(4).await;
        assert_eq!(sizes(&dealt), [7, 8, 8, 8]);
        assert_eq!(dealt.concat(), (0..31).collect::<Vec<_>>());
        assert_eq!(sizes(&waiting(3).await), [10, 10, 11]);
    });
}

#[test]
fn going_back_to_an_older_checkpoint_brings_its_operator_state_back() {
    simulate(async {
        let mut config = small();
        config.checkpointing.num_retained = 50;
        let (mut engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        feed.push(0, 0..5);
        run_a_while(&engine, 2, packing(source.clone(), 1000, &sink)).await;
        let older = head(&twin).checkpoint;
        feed.push(1, 5..9);
        run_a_while(&engine, 3, packing(source.clone(), 1000, &sink)).await;
        let held: Vec<Vec<u64>> =
            elements(&manifest(&twin).await.operator_states, "pack", "waiting");
        assert_eq!(held.concat().len(), 9);
        engine.roll_back = Some(older);
        feed.close();
        engine.run(packing(source, 1000, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..9).collect::<Vec<_>>());
    });
}

#[test]
fn an_aborted_checkpoint_loses_nothing() {
    simulate(async {
        let mut config = small();
        config.checkpointing.timeout = ms(50);
        config.checkpointing.tolerable_failed = 1;
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        let trouble = async {
            store(&twin).script().hold(Call::PutBlock);
            feed.push(0, 0..30);
            pass(ms(90)).await;
            store(&twin).script().release(Call::PutBlock);
        };
        // Nothing changes after the checkpoint that was aborted.
        let stop = pass(ms(200));
        let run = engine.run_until(packing(source.clone(), 1000, &sink), stop);
        let (ended, ()) = futures::join!(run, trouble);
        ended.unwrap();
        assert_eq!(engine.status().checkpoints.counts.failed, 1);
        let held: Vec<Vec<u64>> =
            elements(&manifest(&twin).await.operator_states, "pack", "waiting");
        assert_eq!(held.concat(), (0..30).collect::<Vec<_>>());
        feed.close();
        engine.run(packing(source, 1000, &sink)).await.unwrap();
        assert_eq!(in_order(&sink), (0..30).collect::<Vec<_>>());
    });
}

/// Counts a key's records, and gives them out with the version of a rule.
struct Versioned {
    count: ValueState<u64>,
    versions: BroadcastState<u64, u64>,
}

impl KeyedBroadcastProcess for Versioned {
    type Key = u64;
    type In = u64;
    type Broadcast = (u64, u64);
    type Out = (u64, u64, u64);

    fn process(&self, key: u64, context: &mut KeyedBroadcastContext<'_, '_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or_default() + 1;
        context.set(self.count, count);
        let version = context.broadcast(self.versions).get(&(key % 3)).copied().unwrap_or_default();
        let key = *context.key();
        context.emit((key, count, version));
        Ok(())
    }

    fn process_broadcast(
        &self,
        (rule, version): (u64, u64),
        context: &mut BroadcastContext<'_, Self>,
    ) -> Result<()> {
        context.get_mut(self.versions).insert(rule, version);
        Ok(())
    }
}

fn versioned(states: &mut States, maps: &mut BroadcastStates) -> Versioned {
    Versioned {
        count: states.value(ValueDescriptor::new("count")),
        versions: maps.map(BroadcastDescriptor::new("versions")),
    }
}

fn ruled(
    events: MemorySource<u64>,
    rules: MemorySource<(u64, u64)>,
    sink: &MemorySink<(u64, u64, u64)>,
) -> JobGraph {
    let env = StreamEnvironment::new();
    let rules = env.source(rules).uid("rules").filter(|(rule, _)| *rule < 3).broadcast();
    env.source(events)
        .uid("events")
        .key_by(|key| *key)
        .connect(rules)
        .process(versioned)
        .uid("ruled")
        .sink(sink.clone());
    env.build().unwrap()
}

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
            let saved = manifest(&twin).await.operator_states;
            let maps: Vec<Vec<(u64, u64)>> = elements(&saved, "ruled", "versions");
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

#[test]
fn too_much_of_it_fails_the_job_and_names_the_state() {
    struct Hoard(OperatorListState<String>);

    impl OperatorProcess for Hoard {
        type In = String;
        type Out = u64;

        fn process(&self, text: String, context: &mut OperatorContext<'_, Self>) -> Result<()> {
            context.get_mut(self.0).push(text);
            Ok(())
        }
    }

    simulate(async {
        // With the default strategy it used to restart for ever.
        let (engine, _) = Engine::twin(Config { restart: Config::default().restart, ..small() });
        let env = StreamEnvironment::new();
        env.source(MemorySource::new(vec!["x".repeat(100_000); 11], 1))
            .process(|states: &mut OperatorStates| {
                Hoard(states.list(OperatorListDescriptor::new("hoard")))
            })
            .uid("dragon")
            .sink(MemorySink::new());
        let error = tokio::select! {
            ended = engine.run(env.build().unwrap()) => ended.unwrap_err(),
            () = pass(ms(60_000)) => panic!("it restarts: {:?}", engine.status().last_failure),
        };
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let text = error.to_string();
        assert!(text.contains("the list hoard of operator dragon"), "{text}");
        assert!(text.contains("the limit is 1048576"), "{text}");
    });
}

/// A function that does nothing, with whatever states `declare` says.
struct Nothing;

impl OperatorProcess for Nothing {
    type In = u64;
    type Out = Vec<u64>;

    fn process(&self, _: u64, _: &mut OperatorContext<'_, Self>) -> Result<()> {
        Ok(())
    }
}

type Declare = fn(&mut OperatorStates);

fn graph_with(uid: &str, declare: Declare) -> Result<JobGraph> {
    let env = StreamEnvironment::new();
    env.source(MemorySource::fed(1).1)
        .uid("numbers")
        .process(move |states: &mut OperatorStates| {
            declare(states);
            Nothing
        })
        .uid(uid)
        .sink(MemorySink::new());
    env.build()
}

fn list_called<T: Value>(states: &mut OperatorStates, name: &'static str) {
    let _ = states.list::<T>(OperatorListDescriptor::new(name));
}

#[test]
fn another_operator_state_or_type_than_the_checkpoints_is_refused() {
    let list: Declare = |states| list_called::<u64>(states, "list");
    let others: [(&str, Declare, &str); 4] = [
        ("renamed", list, "process renamed {list: list}"),
        ("op", |states| list_called::<u64>(states, "other"), "process op {other: list}"),
        ("op", |_| (), "process op {}"),
        (
            "op",
            |states| {
                let _ = states.union_list::<u64>(UnionListDescriptor::new("list"), |all, _| all);
            },
            "process op {list: union list}",
        ),
    ];
    simulate(async {
        let (engine, _) = Engine::twin(Config { parallelism: 1, ..small() });
        engine.run_until(graph_with("op", list).unwrap(), pass(ms(0))).await.unwrap();
        for (uid, declare, shown) in others {
            let error = engine.run(graph_with(uid, declare).unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            assert!(error.to_string().contains(shown), "{error}");
        }
    });
    simulate(async {
        let (engine, _) = Engine::twin(Config { parallelism: 1, ..small() });
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, [1]);
        let sink = MemorySink::new();
        run_a_while(&engine, 1, packing(source.clone(), 9, &sink)).await;
        // What was stored could be read as these: a type is known by what is recorded of it.
        let error = engine.run(packing_of::<i64, (u32, u64)>(source.clone())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        let parts = ["operator pack, list waiting", "u64 in bincode 1", "i64 in bincode 1"];
        for part in parts.iter().chain(&["--fresh"]) {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let error = engine.run(packing_of::<u64, (u64, u64)>(source.clone())).await.unwrap_err();
        let parts = ["union list counts", "(u32, u64) in bincode 1", "(u64, u64) in bincode 1"];
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
        assert_eq!(sink.output().len(), 0, "something was given out");
        // The same types go on.
        run_a_while(&engine, 1, packing(source, 1, &sink)).await;
    });
}

/// The operator of [`packing`] with other types, which does nothing.
fn packing_of<T: Value, C: Value>(source: MemorySource<u64>) -> JobGraph {
    let env = StreamEnvironment::new();
    env.source(source)
        .uid("numbers")
        .process(|states: &mut OperatorStates| {
            list_called::<T>(states, "waiting");
            let _ = states.union_list::<C>(UnionListDescriptor::new("counts"), |all, _| all);
            Nothing
        })
        .uid("pack")
        .sink(MemorySink::new());
    env.build().unwrap()
}

/// The operator of [`packing`], from before its numbers grew; it gives out nothing.
struct Held(OperatorListState<u32>);

impl OperatorProcess for Held {
    type In = u64;
    type Out = Vec<u64>;

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.get_mut(self.0).push(n as u32);
        Ok(())
    }
}

#[test]
fn lists_of_a_former_type_are_migrated_at_any_parallelism() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, source) = MemorySource::fed(2);
        let sink = MemorySink::new();
        let graph = |migrated: Option<usize>| {
            let env = StreamEnvironment::new();
            let numbers = env.source(source.clone()).uid("numbers");
            let packs = match migrated {
                None => numbers.process(|states: &mut OperatorStates| {
                    let _ =
                        states.union_list(UnionListDescriptor::<u16>::new("counts"), |all, _| {
                            if all.is_empty() { vec![7] } else { all }
                        });
                    Held(states.list(OperatorListDescriptor::new("waiting")))
                }),
                Some(size) => numbers.process(move |states: &mut OperatorStates| {
                    let waiting = OperatorListDescriptor::new("waiting");
                    let counts = UnionListDescriptor::new("counts");
                    Pack {
                        waiting: states.list(waiting.migrate_from::<u32>(|n| u64::from(n) + 1000)),
                        counts: states
                            .union_list(counts.migrate_from::<u16>(|n| (0, n.into())), |all, _| {
                                all
                            }),
                        size,
                    }
                }),
            };
            packs.uid("pack").sink(sink.clone()).uid("packs");
            env.build().unwrap()
        };
        feed.push(0, 0..30);
        feed.push(1, 30..31);
        run_a_while(&engine, 2, graph(None)).await;
        // Saved as what they have become, so that nothing is migrated twice.
        for parallelism in [3, 3, 4] {
            run_a_while(&engine, parallelism, graph(Some(1000))).await;
            let manifest = manifest(&twin).await;
            let waiting: Vec<Vec<u64>> = elements(&manifest.operator_states, "pack", "waiting");
            assert_eq!(waiting.len(), parallelism as usize);
            assert_eq!(waiting.concat(), (1000..1031).collect::<Vec<_>>());
            assert_eq!(manifest.operator_formats[0].encoding.to_string(), "u64 in bincode 1");
        }
        feed.close();
        engine.run(graph(Some(1000))).await.unwrap();
        assert_eq!(in_order(&sink), (1000..1031).collect::<Vec<_>>());
    });
}

#[test]
fn a_broadcast_map_of_a_former_type_is_migrated() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (events, of_events) = MemorySource::fed(1);
        let (rules, of_rules) = MemorySource::fed(1);
        let sink = MemorySink::new();
        rules.push(0, (0..3).map(|rule| (rule, rule + 1)));
        run_a_while(&engine, 2, ruled(of_events.clone(), of_rules.clone(), &sink)).await;
        let env = StreamEnvironment::new();
        let rules = env.source(of_rules).uid("rules").broadcast();
        env.source(of_events)
            .uid("events")
            .key_by(|key| *key)
            .connect(rules)
            .process(|states: &mut States, maps: &mut BroadcastStates| {
                let versions = BroadcastDescriptor::<String, u64>::new("versions");
                Named {
                    versions: maps.map(versions.migrate_from::<(u64, u64)>(|(rule, version)| {
                        (format!("rule {rule}"), version * 10)
                    })),
                    count: states.value(ValueDescriptor::new("count")),
                }
            })
            .uid("ruled")
            .sink(sink.clone());
        events.push(0, 0..3);
        run_a_while(&engine, 3, env.build().unwrap()).await;
        let mut lines = sink.output();
        lines.sort_unstable();
        assert_eq!(lines, [(0, 1, 10), (1, 1, 20), (2, 1, 30)]);
    });
}

/// As [`Versioned`], with names for rules.
struct Named {
    versions: BroadcastState<String, u64>,
    count: ValueState<u64>,
}

impl KeyedBroadcastProcess for Named {
    type Key = u64;
    type In = u64;
    type Broadcast = (u64, u64);
    type Out = (u64, u64, u64);

    fn process(&self, key: u64, context: &mut KeyedBroadcastContext<'_, '_, Self>) -> Result<()> {
        context.set(self.count, 1);
        let version = context.broadcast(self.versions).get(&format!("rule {key}")).copied();
        context.emit((key, 1, version.unwrap_or_default()));
        Ok(())
    }

    fn process_broadcast(
        &self,
        (rule, version): (u64, u64),
        context: &mut BroadcastContext<'_, Self>,
    ) -> Result<()> {
        context.get_mut(self.versions).insert(format!("rule {rule}"), version);
        Ok(())
    }
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

#[test]
fn a_list_that_was_emptied_takes_another_type() {
    simulate(async {
        let (engine, twin) = Engine::twin(Config { parallelism: 1, ..small() });
        let (feed, source) = MemorySource::fed(1);
        feed.push(0, [1, 2]);
        run_a_while(&engine, 1, packing(source.clone(), 2, &MemorySink::new())).await;
        let types = |manifest: Manifest| -> Vec<String> {
            manifest.operator_formats.iter().map(|format| format.encoding.to_string()).collect()
        };
        assert_eq!(types(manifest(&twin).await), ["u64 in bincode 1", "(u32, u64) in bincode 1"]);
        let other = packing_of::<String, (u32, u64)>(source.clone());
        run_a_while(&engine, 1, other).await;
        assert_eq!(types(manifest(&twin).await)[0], "string in bincode 1");
    });
}

#[test]
fn another_type_of_a_broadcast_map_is_refused() {
    struct Other(BroadcastState<u64, String>);

    impl KeyedBroadcastProcess for Other {
        type Key = u64;
        type In = u64;
        type Broadcast = (u64, u64);
        type Out = (u64, u64, u64);

        fn process(&self, _: u64, _: &mut KeyedBroadcastContext<'_, '_, Self>) -> Result<()> {
            Ok(())
        }

        fn process_broadcast(
            &self,
            (rule, version): (u64, u64),
            context: &mut BroadcastContext<'_, Self>,
        ) -> Result<()> {
            context.get_mut(self.0).insert(rule, version.to_string());
            Ok(())
        }
    }

    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (rules, of_rules) = MemorySource::fed(1);
        let (_events, of_events) = MemorySource::fed(1);
        rules.push(0, [(1, 10)]);
        let sink = MemorySink::new();
        run_a_while(&engine, 2, ruled(of_events.clone(), of_rules.clone(), &sink)).await;
        let env = StreamEnvironment::new();
        let rules = env.source(of_rules).uid("rules").filter(|(rule, _)| *rule < 3).broadcast();
        env.source(of_events)
            .uid("events")
            .key_by(|key| *key)
            .connect(rules)
            .process(|states: &mut States, maps: &mut BroadcastStates| {
                let _ = states.value(ValueDescriptor::<u64>::new("count"));
                Other(maps.map(BroadcastDescriptor::new("versions")))
            })
            .uid("ruled")
            .sink(sink);
        let error = engine.run(env.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        let parts = ["broadcast map versions", "(u64, u64) in", "(u64, string) in"];
        assert!(parts.iter().all(|part| error.to_string().contains(part)), "{error}");
    });
}

fn refused(env: &StreamEnvironment) -> String {
    let error = env.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    error.to_string()
}

#[test]
fn a_graph_that_is_wrong_is_an_error_before_anything_starts() {
    let twice = |states: &mut OperatorStates| {
        list_called::<u64>(states, "twice");
        list_called::<u64>(states, "twice");
        list_called::<u64>(states, "no spaces");
        list_called::<u64>(states, ".filter");
    };
    let text = graph_with("op", twice).unwrap_err().to_string();
    assert!(text.contains("two states are called twice") && text.contains("no spaces"), "{text}");
    assert!(text.contains(".filter begins with a dot"), "{text}");

    let numbers = || MemorySource::new(vec![1u64], 1);
    let rules = || MemorySource::new(vec![(1u64, 1u64)], 1);
    let env = StreamEnvironment::new();
    drop(env.source(rules()).uid("rules").broadcast());
    env.source(numbers()).sink(MemorySink::new());
    assert!(refused(&env).contains("what source \"rules\" gives out is keyed or broadcast"));

    let env = StreamEnvironment::new();
    drop(env.source(numbers()).uid("numbers").key_by(|n| *n));
    env.source(numbers()).sink(MemorySink::new());
    assert!(refused(&env).contains("what source \"numbers\" gives out is keyed or broadcast"));

    let env = StreamEnvironment::new();
    let elsewhere = StreamEnvironment::new().source(rules()).broadcast();
    let keyed = env.source(numbers()).key_by(|n| *n);
    keyed.connect(elsewhere).process(versioned).sink(MemorySink::new());
    assert!(refused(&env).contains("of another environment"));

    let env = StreamEnvironment::new();
    let both = |states: &mut States, maps: &mut BroadcastStates| Versioned {
        count: states.value(ValueDescriptor::new("same")),
        versions: maps.map(BroadcastDescriptor::new("same")),
    };
    let rules = env.source(rules()).broadcast();
    let keyed = env.source(numbers()).key_by(|n| *n);
    keyed.connect(rules).process(both).sink(MemorySink::new());
    assert!(refused(&env).contains("two states are called same"));
}

/// Gives out how many records it has read, at the end and whether there were any or not.
struct Sum(OperatorListState<u64>);

impl OperatorProcess for Sum {
    type In = u64;
    type Out = (u32, u64);

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let read = context.get_mut(self.0);
        match read.first_mut() {
            Some(sum) => *sum += n,
            None => read.push(n),
        }
        Ok(())
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let sum = std::mem::take(context.get_mut(self.0)).into_iter().sum();
        let subtask = context.subtask().index;
        context.emit((subtask, sum));
        Ok(())
    }
}

/// No manifest told of it: after a crash between the last checkpoint and *finished* it ran again, on the
/// state that it had left.
#[test]
fn the_end_of_input_comes_once_whatever_crashes_after_the_last_checkpoint() {
    for (crashes, parallelism) in [(0, 2), (1, 2), (1, 3), (3, 1)] {
        simulate(async {
            let (engine, twin) = Engine::twin(small());
            let sink = MemorySink::new();
            let (feed, source) = MemorySource::fed(3);
            let graph = || {
                let env = StreamEnvironment::new();
                env.source(source.clone())
                    .process(|states: &mut OperatorStates| {
                        Sum(states.list(OperatorListDescriptor::new("read")))
                    })
                    .uid("sum")
                    .process(|states: &mut OperatorStates| {
                        Twice(states.list(OperatorListDescriptor::new("ends")))
                    })
                    .uid("twice")
                    .sink(sink.clone());
                env.build().unwrap()
            };
            // A checkpoint before the end is of the time before it.
            feed.push(0, 0..10);
            run_a_while(&engine, 2, graph()).await;
            assert!(!manifest(&twin).await.input_ended);
            feed.push(1, 10..20);
            feed.close();
            for crash in 0..crashes {
                // Committed late, so that the job is not finished when it dies.
                sink.hesitate(1000);
                let engine = engine.with(|config| {
                    config.parallelism = if crash == 0 { 2 } else { parallelism };
                });
                tokio::select! {
                    biased;
                    _ = engine.run(graph()) => panic!("it cannot end"),
                    () = pass(ms(500)) => {}
                }
                assert_eq!(head(&twin).status, HeadStatus::Running);
                assert!(manifest(&twin).await.input_ended);
            }
            sink.hesitate(0);
            let last = if crashes == 0 { 2 } else { parallelism };
            let mut engine = engine.with(|config| config.parallelism = last);
            engine.mode = StartMode::Resume;
            assert_eq!(engine.run(graph()).await.unwrap(), Ended::Finished);
            let mut output = sink.output();
            // Of each of the two subtasks that read to the end, what it read and that it ended.
            output.sort_unstable();
            let ends = output.iter().filter(|line| **line == (u32::MAX, 1)).count();
            assert_eq!((output.len(), ends), (4, 2), "{output:?}");
            let sum: u64 = output[..2].iter().map(|(_, sum)| sum).sum();
            assert_eq!(sum, (0..20).sum::<u64>());
        });
    }
}

/// Passes everything on, and gives out how often it has come to an end.
struct Twice(OperatorListState<u64>);

impl OperatorProcess for Twice {
    type In = (u32, u64);
    type Out = (u32, u64);

    fn process(&self, line: Self::In, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.emit(line);
        Ok(())
    }

    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        context.get_mut(self.0).push(1);
        let ends = context.get(self.0).len() as u64;
        context.emit((u32::MAX, ends));
        Ok(())
    }
}
