//! A keyed stream and what may be done with it. Flink: `KeyedStream`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::connected::{BroadcastStream, ConnectedStream};
use super::env::{StreamEnvironment, check_same, graph_error};
use super::stream::Stream;
use super::vertices::KeyedVertex;
use crate::codec::{Key, Value};
use crate::operator::{Identity, KeyedProcess, Reduce};
use crate::state::States;
use crate::task::Port;

/// A stream that is partitioned by key.
#[must_use = "a stream that ends in no sink is an error when the graph is built"]
pub struct KeyedStream<K, T> {
    pub(super) env: StreamEnvironment,
    pub(super) edge: usize,
    record: PhantomData<fn() -> (K, T)>,
}

impl<K, T> fmt::Debug for KeyedStream<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyedStream over edge {}", self.edge)
    }
}

impl<K: Key, T: Send + 'static> KeyedStream<K, T> {
    pub(super) fn new(env: StreamEnvironment, edge: usize) -> Self {
        Self { env, edge, record: PhantomData }
    }

    /// Processes each record with keyed state. `factory` is called once when the graph is built and
    /// once for every subtask; it declares the states and must declare the same ones each time.
    ///
    /// See [`KeyedProcess`] for an example.
    pub fn process<P, F>(self, factory: F) -> Stream<Identity<P::Out>>
    where
        P: KeyedProcess<Key = K, In = T>,
        F: Fn(&mut States) -> P + Send + Sync + 'static,
    {
        self.keyed("process", factory)
    }

    /// Combines each record with the result so far of its key, and gives out the new result.
    pub fn reduce<F>(self, function: F) -> Stream<Identity<T>>
    where
        T: Value + Clone,
        F: Fn(T, T) -> T + Send + Sync + 'static,
    {
        let function = Arc::new(function);
        self.keyed("reduce", move |states| Reduce::new(states, Arc::clone(&function)))
    }

    /// Brings in a broadcast stream, whose records every subtask is given.
    pub fn connect<B: Send + 'static>(
        self,
        broadcast: BroadcastStream<B>,
    ) -> ConnectedStream<K, T, B> {
        check_same(&self.env, &broadcast.env);
        ConnectedStream::new(self, broadcast)
    }

    fn keyed<P, F>(self, kind: &'static str, factory: F) -> Stream<Identity<P::Out>>
    where
        P: KeyedProcess<Key = K, In = T>,
        F: Fn(&mut States) -> P + Send + Sync + 'static,
    {
        let mut states = States::new();
        drop(factory(&mut states));
        let port = Port::new();
        let mut draft = self.env.0.borrow_mut();
        let operator = draft.operator(kind);
        match states.finish() {
            Ok(columns) => draft.keyed_states(operator, &columns.names()),
            Err(error) => {
                draft.error(graph_error(format!("{kind} operator: {}", error.message())));
            }
        }
        draft.must_lead_somewhere(operator, &port);
        draft.read(operator, &[self.edge]);
        draft.vertices.push(Box::new(KeyedVertex {
            operator,
            edge: self.edge,
            factory,
            port: port.clone(),
        }));
        drop(draft);
        Stream::new(self.env.clone(), operator, port, Identity::new())
    }
}
