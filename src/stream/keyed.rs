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
use crate::state::{DeclaredStates, States, ValueDescriptor};

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

    /// Combines each record with the result so far of its key, and emits the new result. It is kept as a
    /// value state called `reduce`, for ever; see [`reduce_with`](Self::reduce_with).
    pub fn reduce<F>(self, function: F) -> Stream<Identity<T>>
    where
        T: Value + Clone,
        F: Fn(T, T) -> T + Send + Sync + 'static,
    {
        self.reduce_with(ValueDescriptor::new("reduce"), function)
    }

    /// As [`reduce`](Self::reduce), with results that are kept as `descriptor` says: under its name, with its
    /// codec, its time to live and its migrations of former types. A default is what the first record of a key
    /// is combined with.
    ///
    /// An error when the graph is built where results are to expire by the times of records: none are known
    /// here. See [`KeyedProcess::event_time`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::connector::{Generator, MemorySink};
    /// use millpond::state::{Ttl, ValueDescriptor};
    /// use millpond::stream::StreamEnvironment;
    ///
    /// // It was called `reduce`, and a `u32`, when the program still said `reduce`.
    /// let sum = ValueDescriptor::<u64>::new("reduce")
    ///     .with_ttl(Ttl::new(Duration::from_secs(3600)))
    ///     .migrate_from::<u32>(u64::from);
    /// let env = StreamEnvironment::new();
    /// env.source(Generator::new(100, |n| n))
    ///     .key_by(|n| n % 10)
    ///     .reduce_with(sum, |a, b| a + b)
    ///     .sink(MemorySink::new());
    /// env.build()?;
    /// # Ok::<(), millpond::Error>(())
    /// ```
    pub fn reduce_with<F>(self, descriptor: ValueDescriptor<T>, function: F) -> Stream<Identity<T>>
    where
        T: Value + Clone,
        F: Fn(T, T) -> T + Send + Sync + 'static,
    {
        if descriptor.ttl().is_some_and(|ttl| ttl.is_by_event_time()) {
            self.env.0.borrow_mut().error(graph_error(format!(
                "reduce operator: state {} is to expire by the times of records, which reduce does not know: \
                 use process and a KeyedProcess with an event_time",
                descriptor.name()
            )));
        }
        let function = Arc::new(function);
        let reduce = move |states: &mut States| {
            Reduce::new(states, descriptor.clone(), Arc::clone(&function))
        };
        self.keyed("reduce", reduce)
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
        let edge = self.edge;
        self.env.operator(kind, &[edge], |draft, operator, port| {
            let states = states.finish().map(|columns| columns.declared());
            let states = draft.declared(operator, states);
            draft.keyed_states(operator, &states);
            let states = DeclaredStates { key: K::schema(), states };
            KeyedVertex { operator, edge, factory, states, port }
        })
    }
}
