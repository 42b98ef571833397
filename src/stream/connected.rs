//! A stream that every subtask is given, and a keyed stream beside it. Flink: `BroadcastStream`,
//! `BroadcastConnectedStream`.

use std::fmt;
use std::marker::PhantomData;

use super::env::StreamEnvironment;
use super::keyed::KeyedStream;
use super::stream::Stream;
use super::vertices::ConnectedVertex;
use crate::codec::Key;
use crate::ids::SubtaskId;
use crate::operator::{Identity, KeyedBroadcastProcess};
use crate::state::unkeyed::Declared;
use crate::state::{BroadcastStates, DeclaredStates, States};

/// A stream of which every subtask of the operator that it is connected to is given each record.
#[must_use = "a stream that ends in no sink is an error when the graph is built"]
pub struct BroadcastStream<T> {
    pub(super) env: StreamEnvironment,
    pub(super) edge: usize,
    record: PhantomData<fn() -> T>,
}

impl<T> BroadcastStream<T> {
    pub(super) fn new(env: StreamEnvironment, edge: usize) -> Self {
        Self { env, edge, record: PhantomData }
    }
}

impl<T> fmt::Debug for BroadcastStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BroadcastStream over edge {}", self.edge)
    }
}

/// A keyed stream and a broadcast one.
#[must_use = "a stream that ends in no sink is an error when the graph is built"]
pub struct ConnectedStream<K, T, B> {
    keyed: KeyedStream<K, T>,
    broadcast: BroadcastStream<B>,
}

impl<K, T, B> fmt::Debug for ConnectedStream<K, T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} and {:?}", self.keyed, self.broadcast)
    }
}

impl<K: Key, T: Send + 'static, B: Send + 'static> ConnectedStream<K, T, B> {
    pub(super) fn new(keyed: KeyedStream<K, T>, broadcast: BroadcastStream<B>) -> Self {
        Self { keyed, broadcast }
    }

    /// Processes the records of both, the keyed ones with keyed state and with maps that the broadcast ones
    /// change. `factory` is called once when the graph is built and once for every subtask; it declares the
    /// states and must declare the same ones each time.
    ///
    /// See [`KeyedBroadcastProcess`] for an example, and for what is promised about order.
    pub fn process<P, F>(self, factory: F) -> Stream<Identity<P::Out>>
    where
        P: KeyedBroadcastProcess<Key = K, In = T, Broadcast = B>,
        F: Fn(&mut States, &mut BroadcastStates) -> P + Send + Sync + 'static,
    {
        let (mut states, mut maps) = (States::new(), BroadcastStates::new());
        drop(factory(&mut states, &mut maps));
        let (env, keyed, broadcast) = (self.keyed.env, self.keyed.edge, self.broadcast.edge);
        env.operator("broadcast-process", &[keyed, broadcast], |draft, operator, port| {
            let states = states.finish().map(|columns| columns.declared());
            let states = draft.declared(operator, states);
            let maps = maps.finish(SubtaskId { index: 0, parallelism: 1 });
            let maps = draft.declared(operator, maps.map(|maps| maps.declared()));
            let is_keyed = |map: &&Declared| states.iter().any(|keyed| keyed.name == map.name);
            for map in maps.iter().filter(is_keyed) {
                draft.error_of(operator, &format!("two states are called {}", map.name));
            }
            draft.keyed_states(operator, &states);
            draft.operator_states(operator, &maps);
            let states = DeclaredStates { key: K::schema(), states };
            ConnectedVertex { operator, keyed, broadcast, factory, states, maps, port }
        })
    }
}
