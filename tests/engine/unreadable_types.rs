//! Types whose values would be written and never be read back: refused when the graph is built, or at the first
//! barrier, and not by the restore of a job that has run for weeks.

use std::collections::BTreeMap;

use millpond::ErrorKind;
use millpond::codec::{Codec, DecodeError, Value};
use millpond::connector::{Generator, MemorySink};
use millpond::operator::{BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess};
use millpond::operator::{Context, KeyedProcess, OperatorContext, OperatorProcess};
use millpond::state::{
    AggregatingDescriptor, BroadcastDescriptor, BroadcastStates, ListDescriptor, MapDescriptor,
    OperatorListDescriptor, OperatorListState, OperatorStates, ReducingDescriptor, States,
    UnionListDescriptor, ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;
use serde::{Deserialize, Serialize};

use crate::engine_support::{Engine, head, simulate, small};

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Number { n: u64 },
    Nothing,
}

#[derive(Clone, Serialize, Deserialize)]
struct Flat {
    id: u64,
    #[serde(flatten)]
    others: BTreeMap<String, u64>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Skips {
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct OneWay {
    #[serde(skip_serializing)]
    _count: u64,
    last: u64,
}

#[derive(Clone, Serialize, Deserialize)]
enum Within {
    Nothing,
    Some(Option<Skips>),
}

fn is_five(n: &u64) -> bool {
    *n == 5
}

/// Nothing but a value of 5 shows it.
#[derive(Clone, Serialize, Deserialize)]
struct SkipsFive {
    #[serde(skip_serializing_if = "is_five")]
    n: u64,
    text: String,
}

/// What all the functions here are.
struct Nothing;

impl KeyedProcess for Nothing {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, _: u64, _: &mut Context<'_, Self>) -> millpond::Result<()> {
        Ok(())
    }
}

impl OperatorProcess for Nothing {
    type In = u64;
    type Out = u64;

    fn process(&self, _: u64, _: &mut OperatorContext<'_, Self>) -> millpond::Result<()> {
        Ok(())
    }
}

impl KeyedBroadcastProcess for Nothing {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type Out = u64;

    fn process(&self, _: u64, _: &mut KeyedBroadcastContext<'_, '_, Self>) -> millpond::Result<()> {
        Ok(())
    }

    fn process_broadcast(
        &self,
        _: u64,
        _: &mut BroadcastContext<'_, Self>,
    ) -> millpond::Result<()> {
        Ok(())
    }
}

fn build(env: &StreamEnvironment) -> String {
    let error = env.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    error.to_string()
}

/// What is said of a job with these keyed states.
fn keyed(declare: impl Fn(&mut States) + Send + Sync + 'static) -> String {
    let env = StreamEnvironment::new();
    env.source(Generator::new(1, |n| n))
        .key_by(|n| *n)
        .process(move |states: &mut States| {
            declare(states);
            Nothing
        })
        .uid("counts")
        .sink(MemorySink::new());
    build(&env)
}

fn unkeyed(declare: impl Fn(&mut OperatorStates) + Send + Sync + 'static) -> String {
    let env = StreamEnvironment::new();
    env.source(Generator::new(1, |n| n))
        .process(move |states: &mut OperatorStates| {
            declare(states);
            Nothing
        })
        .uid("counts")
        .sink(MemorySink::new());
    build(&env)
}

fn broadcast(declare: impl Fn(&mut BroadcastStates) + Send + Sync + 'static) -> String {
    let env = StreamEnvironment::new();
    let side = env.source(Generator::new(1, |n| n)).broadcast();
    env.source(Generator::new(1, |n| n))
        .key_by(|n| *n)
        .connect(side)
        .process(move |_: &mut States, maps: &mut BroadcastStates| {
            declare(maps);
            Nothing
        })
        .uid("counts")
        .sink(MemorySink::new());
    build(&env)
}

fn of_value<V: Value>() -> String {
    keyed(|states| {
        states.value(ValueDescriptor::<V>::new("seen"));
    })
}

#[test]
fn types_that_bincode_cannot_read_are_refused_with_operator_state_and_what_to_do() {
    for said in [
        of_value::<Untagged>(),
        of_value::<Tagged>(),
        of_value::<Flat>(),
        of_value::<serde_json::Value>(),
        of_value::<Vec<(u8, Option<serde_json::Value>)>>(),
        of_value::<Skips>(),
        of_value::<OneWay>(),
        of_value::<Within>(),
        of_value::<BTreeMap<u8, Vec<Within>>>(),
    ] {
        for part in ["operator counts: state seen", "no restart could read", "with_codec"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(of_value::<Untagged>().contains("untagged"));
    assert!(of_value::<Skips>().contains("Skips { count: u64, last: option<u64> }"));
    assert!(of_value::<Skips>().contains("skip_serializing_if"));
}

#[test]
fn states_of_every_kind_are_looked_at() {
    let kinds = [
        keyed(|states| {
            states.map(MapDescriptor::<u64, Tagged>::new("seen"));
        }),
        keyed(|states| {
            states.list(ListDescriptor::<Tagged>::new("seen"));
        }),
        keyed(|states| {
            states.reducing(ReducingDescriptor::<Skips>::new("seen", |_, b| b.clone()));
        }),
        keyed(|states| {
            states.aggregating(AggregatingDescriptor::<u64, Skips, u64>::new(
                "seen",
                Skips::default,
                |all, n| all.count += n,
                |all| all.count,
            ));
        }),
        keyed(|states| {
            states.namespaced::<u32>().value(ValueDescriptor::<Tagged>::new("seen"));
        }),
    ];
    for said in kinds {
        assert!(said.contains("operator counts: state seen"), "{said}");
    }
    let list = unkeyed(|states| {
        states.list(OperatorListDescriptor::<Tagged>::new("seen"));
    });
    assert!(list.contains("operator counts: list seen"), "{list}");
    let union = unkeyed(|states| {
        states.union_list(UnionListDescriptor::<Skips>::new("seen"), |all, _| all);
    });
    assert!(union.contains("operator counts: union list seen"), "{union}");
    let map = broadcast(|maps| {
        maps.map(BroadcastDescriptor::<u64, Tagged>::new("seen"));
    });
    assert!(map.contains("operator counts: broadcast map seen"), "{map}");
}

struct Json;

impl<T: Value> Codec<T> for Json {
    const ID: &'static str = "json";
    const VERSION: u32 = 1;

    fn encode(value: &T, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        serde_json::to_writer(out, value).map_err(DecodeError::new)
    }

    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        serde_json::from_slice(bytes).map_err(DecodeError::new)
    }
}

/// Keeps something made of each record.
struct Keep<V>(ValueState<V>, fn(u64) -> V);

impl<V: Value> KeyedProcess for Keep<V> {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        context.set(self.0, (self.1)(n));
        context.emit(n);
        Ok(())
    }
}

/// How a job ends that keeps such values, and after which checkpoint.
async fn keeping<V: Value>(
    descriptor: ValueDescriptor<V>,
    make: fn(u64) -> V,
) -> (millpond::Result<()>, bool) {
    let (engine, twin) = Engine::twin(small());
    let env = StreamEnvironment::new();
    env.source(Generator::new(9, |n| n))
        .key_by(|n| *n)
        .process(move |states: &mut States| Keep(states.value(descriptor.clone()), make))
        .uid("keep")
        .sink(MemorySink::new());
    let ended = engine.run(env.build().unwrap()).await.map(drop);
    (ended, head(&twin).retained.is_empty())
}

#[test]
fn a_codec_that_names_fields_takes_them_all() {
    simulate(async {
        let text = |n: u64| match n % 2 {
            0 => Untagged::Number(n),
            _ => Untagged::Text("odd".to_owned()),
        };
        let seen = || ValueDescriptor::new("seen").with_codec::<Json>();
        keeping(seen(), text).await.0.unwrap();
        let seen = ValueDescriptor::new("seen").with_codec::<Json>();
        keeping(seen, |count| Skips { count, last: None }).await.0.unwrap();
    });
}

#[test]
fn what_no_type_shows_is_found_at_the_first_barrier_before_a_checkpoint_has_it() {
    simulate(async {
        let five = |_| SkipsFive { n: 5, text: "five".to_owned() };
        let (ended, nothing_kept) = keeping(ValueDescriptor::new("seen"), five).await;
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        for part in ["operator keep", "state seen", "cannot be read back", "skip_serializing_if"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(nothing_kept, "a checkpoint has it");
    });
}

struct KeepAll(OperatorListState<SkipsFive>);

impl OperatorProcess for KeepAll {
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> millpond::Result<()> {
        context.get_mut(self.0).push(SkipsFive { n: 5, text: n.to_string() });
        Ok(())
    }
}

#[test]
fn nor_does_a_checkpoint_have_operator_state_that_is_not_read_back() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let env = StreamEnvironment::new();
        env.source(Generator::new(9, |n| n))
            .process(|states: &mut OperatorStates| {
                KeepAll(states.list(OperatorListDescriptor::new("seen")))
            })
            .uid("keep")
            .sink(MemorySink::new());
        let error = engine.run(env.build().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        for part in ["operator keep", "list seen", "cannot be read back"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert!(head(&twin).retained.is_empty(), "a checkpoint has it");
    });
}
