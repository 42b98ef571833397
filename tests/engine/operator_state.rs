//! Operator state over stops, restores at another parallelism, roll-backs and aborted checkpoints; and what is
//! refused. Here: the jobs of these tests, and what is read of their checkpoints.

mod broadcast;
mod end_of_input;
mod lists;
mod types;

use std::sync::Arc;

use millpond::Result;
use millpond::checkpoint::{Ended, Manifest, read_manifest};
use millpond::codec::{Bincode, Codec, Value};
use millpond::connector::{MemorySink, MemorySource};
use millpond::operator::{
    BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess, OperatorContext,
    OperatorProcess,
};
use millpond::runtime::MemoryBackend;
use millpond::state::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, States, UnionListDescriptor, UnionListState,
    ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

use crate::engine_support::{Engine, head, ms, pass, store};

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

/// A job of one operator, which `make` makes.
fn graph_of<P: OperatorProcess<In = u64>>(
    source: MemorySource<u64>,
    uid: &str,
    make: impl Fn(&mut OperatorStates) -> P + Send + Sync + 'static,
    sink: &MemorySink<P::Out>,
) -> Result<JobGraph> {
    let env = StreamEnvironment::new();
    env.source(source).uid("numbers").process(make).uid(uid).sink(sink.clone());
    env.build()
}

fn packing(source: MemorySource<u64>, size: usize, sink: &MemorySink<Vec<u64>>) -> JobGraph {
    let pack = move |states: &mut OperatorStates| Pack::new(states, size);
    graph_of(source, "pack", pack, sink).unwrap()
}

async fn manifest(twin: &MemoryBackend) -> Manifest {
    let last = *head(twin).retained.last().unwrap();
    read_manifest(Arc::new(store(twin)), last).await.unwrap().manifest
}

/// What each subtask has of a state in the newest checkpoint.
async fn saved<T: Value>(twin: &MemoryBackend, operator: &str, state: &str) -> Vec<Vec<T>> {
    let saved = manifest(twin).await.operator_states;
    let saved = saved.iter().find(|saved| saved.operator.as_str() == operator).unwrap();
    let decode = |bytes| <Bincode as Codec<T>>::decode(bytes).unwrap();
    let subtasks = saved.subtasks.iter().map(|subtask| {
        let of_state = subtask.iter().filter(|saved| saved.state.as_str() == state);
        of_state.flat_map(|saved| saved.elements.iter().map(decode).collect::<Vec<T>>()).collect()
    });
    subtasks.collect()
}

/// What each subtask of [`packing`] holds back.
async fn held(twin: &MemoryBackend) -> Vec<Vec<u64>> {
    saved(twin, "pack", "waiting").await
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

/// What a keyed input and rules give to the operator that `make` makes.
fn ruled_by<P: KeyedBroadcastProcess<Key = u64, In = u64, Broadcast = (u64, u64)>>(
    events: MemorySource<u64>,
    rules: MemorySource<(u64, u64)>,
    make: impl Fn(&mut States, &mut BroadcastStates) -> P + Send + Sync + 'static,
    sink: &MemorySink<P::Out>,
) -> JobGraph {
    let env = StreamEnvironment::new();
    let rules = env.source(rules).uid("rules").filter(|(rule, _)| *rule < 3).broadcast();
    env.source(events)
        .uid("events")
        .key_by(|key| *key)
        .connect(rules)
        .process(make)
        .uid("ruled")
        .sink(sink.clone());
    env.build().unwrap()
}

fn ruled(
    events: MemorySource<u64>,
    rules: MemorySource<(u64, u64)>,
    sink: &MemorySink<(u64, u64, u64)>,
) -> JobGraph {
    ruled_by(events, rules, versioned, sink)
}
