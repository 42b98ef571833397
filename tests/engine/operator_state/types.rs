//! Programs that declare other states than the checkpoint has: refused, or migrated. And graphs that are wrong.

use millpond::checkpoint::Manifest;
use millpond::codec::Value;
use millpond::config::Config;
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{
    BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess, OperatorContext,
    OperatorProcess,
};
use millpond::state::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, States, UnionListDescriptor, ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::{Error, ErrorKind, Result};

use super::{
    Pack, Versioned, graph_of, held, in_order, manifest, packing, ruled, ruled_by, run_a_while,
    versioned,
};
use crate::engine_support::{Engine, ms, pass, simulate, small};

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
    let nothing = move |states: &mut OperatorStates| {
        declare(states);
        Nothing
    };
    graph_of(MemorySource::fed(1).1, uid, nothing, &MemorySink::new())
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
        let types = ["u64 in bincode 1", "i64 in bincode 1"];
        assert_says(&error, &["operator pack, list waiting", types[0], types[1], "--fresh"]);
        let error = engine.run(packing_of::<u64, (u64, u64)>(source.clone())).await.unwrap_err();
        let types = ["(u32, u64) in bincode 1", "(u64, u64) in bincode 1"];
        assert_says(&error, &["union list counts", types[0], types[1]]);
        assert_eq!(sink.output().len(), 0, "something was given out");
        // The same types go on.
        run_a_while(&engine, 1, packing(source, 1, &sink)).await;
    });
}

/// The operator of [`packing`] with other types, which does nothing.
fn packing_of<T: Value, C: Value>(source: MemorySource<u64>) -> JobGraph {
    let nothing = |states: &mut OperatorStates| {
        list_called::<T>(states, "waiting");
        let _ = states.union_list::<C>(UnionListDescriptor::new("counts"), |all, _| all);
        Nothing
    };
    graph_of(source, "pack", nothing, &MemorySink::new()).unwrap()
}

#[track_caller]
fn assert_says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
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
        let former = |states: &mut OperatorStates| {
            let counts = UnionListDescriptor::<u16>::new("counts");
            let _ = states.union_list(counts, |all, _| if all.is_empty() { vec![7] } else { all });
            Held(states.list(OperatorListDescriptor::new("waiting")))
        };
        let migrating = |states: &mut OperatorStates| {
            let waiting = OperatorListDescriptor::new("waiting");
            let waiting = waiting.migrate_from::<u32>(|n| u64::from(n) + 1000);
            let counts = UnionListDescriptor::new("counts");
            let counts = counts.migrate_from::<u16>(|n| (0, n.into()));
            Pack {
                waiting: states.list(waiting),
                counts: states.union_list(counts, |all, _| all),
                size: 1000,
            }
        };
        let migrated = || graph_of(source.clone(), "pack", migrating, &sink).unwrap();
        feed.push(0, 0..30);
        feed.push(1, 30..31);
        let former = graph_of(source.clone(), "pack", former, &sink).unwrap();
        run_a_while(&engine, 2, former).await;
        // Saved as what they have become, so that nothing is migrated twice.
        for parallelism in [3, 3, 4] {
            run_a_while(&engine, parallelism, migrated()).await;
            let waiting = held(&twin).await;
            assert_eq!(waiting.len(), parallelism as usize);
            assert_eq!(waiting.concat(), (1000..1031).collect::<Vec<_>>());
            let formats = manifest(&twin).await.operator_formats;
            assert_eq!(formats[0].encoding.to_string(), "u64 in bincode 1");
        }
        feed.close();
        engine.run(migrated()).await.unwrap();
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
        let named = |states: &mut States, maps: &mut BroadcastStates| {
            let versions = BroadcastDescriptor::<String, u64>::new("versions");
            let named = |(rule, version): (u64, u64)| (format!("rule {rule}"), version * 10);
            Named {
                versions: maps.map(versions.migrate_from::<(u64, u64)>(named)),
                count: states.value(ValueDescriptor::new("count")),
            }
        };
        events.push(0, 0..3);
        run_a_while(&engine, 3, ruled_by(of_events, of_rules, named, &sink)).await;
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
        let other = |states: &mut States, maps: &mut BroadcastStates| {
            let _ = states.value(ValueDescriptor::<u64>::new("count"));
            Other(maps.map(BroadcastDescriptor::new("versions")))
        };
        let graph = ruled_by(of_events, of_rules, other, &sink);
        let error = engine.run(graph).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert_says(&error, &["broadcast map versions", "(u64, u64) in", "(u64, string) in"]);
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
