//! A stream of records and what may be done with it. Flink: `DataStream`.

use std::fmt;
use std::sync::Arc;

use super::connected::BroadcastStream;
use super::edges::{CrossEdge, ForwardEdge};
use super::env::{StreamEnvironment, check_same, graph_error};
use super::keyed::KeyedStream;
use super::vertices::{ProcessVertex, SinkHolder, UnionVertex};
use crate::checkpoint::DEAD_LETTERS;
use crate::codec::Key;
use crate::connector::{Sink, WriterContext};
use crate::exchange::{KeyRouter, Outlet};
use crate::ids::SubtaskId;
use crate::operator::{Chain, Filter, FlatMap, Identity, Map, OperatorProcess};
use crate::record::Keyed;
use crate::state::OperatorStates;
use crate::task::{
    BroadcastTail, Consumer, ForkTail, ForwardTail, Fused, KeyedTail, Port, SinkTail,
};

/// A stream; `C` is the chain of stateless operators since the last task, known to the compiler.
#[must_use = "a stream that ends in no sink is an error when the graph is built"]
pub struct Stream<C: Chain> {
    env: StreamEnvironment,
    /// The operator at the head of the task.
    operator: usize,
    port: Port<C::In>,
    chain: C,
    /// One of several that the operator's records go to: nothing but the operator has an id.
    fork: bool,
}

impl<C: Chain> fmt::Debug for Stream<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream of operator {}", self.operator)
    }
}

impl<C: Chain> Stream<C> {
    /// Gives the operator that this stream comes out of an id of its own: names its state and splits
    /// across versions of the program. Derived from kind and order otherwise.
    ///
    /// An error when the graph is built where it is said of what [`map`](Self::map), [`filter`](Self::filter),
    /// [`flat_map`](Self::flat_map), [`tee`](Self::tee) or [`split_results`](Stream::split_results) gives: these
    /// have no state, and so no id. Say it before them.
    pub fn uid(self, id: &str) -> Self {
        let mut kinds = Vec::new();
        self.chain.kinds(&mut kinds);
        let maker = kinds.last().copied().or(self.fork.then_some("tee or split_results"));
        let mut draft = self.env.0.borrow_mut();
        match maker {
            None => draft.name(self.operator, id),
            Some(maker) => draft.error(graph_error(format!(
                "the id {id:?} is given to a stream that {maker} has made, which has no state, and so no id: \
                 give it to the operator before"
            ))),
        }
        drop(draft);
        self
    }

    pub(super) fn new(
        env: StreamEnvironment,
        operator: usize,
        port: Port<C::In>,
        chain: C,
    ) -> Self {
        Self { env, operator, port, chain, fork: false }
    }

    /// Applies `function` to each record.
    pub fn map<U, F>(self, function: F) -> Stream<Map<C, F>>
    where
        U: Send + 'static,
        F: Fn(C::Out) -> U + Send + Sync + 'static,
    {
        self.chained(|chain| Map::new(chain, function))
    }

    /// Keeps the records for which `predicate` holds.
    pub fn filter<F>(self, predicate: F) -> Stream<Filter<C, F>>
    where
        F: Fn(&C::Out) -> bool + Send + Sync + 'static,
    {
        self.chained(|chain| Filter::new(chain, predicate))
    }

    /// Replaces each record by any number of others, in order.
    pub fn flat_map<I, F>(self, function: F) -> Stream<FlatMap<C, F>>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(C::Out) -> I + Send + Sync + 'static,
    {
        self.chained(|chain| FlatMap::new(chain, function))
    }

    /// Partitions by key: all records of a key reach one subtask, those of one split in order.
    pub fn key_by<K, F>(self, key_of: F) -> KeyedStream<K, C::Out>
    where
        K: Key,
        F: Fn(&C::Out) -> K + Send + Sync + 'static,
    {
        let edge = CrossEdge::<Keyed<K, C::Out>>::default();
        let edge = self.env.0.borrow_mut().unread_edge(self.operator, edge);
        let env = self.env.clone();
        let key_of = Arc::new(key_of);
        self.end(move |chain, context| {
            let outlets = context.take_outlets::<Vec<Outlet<Keyed<K, C::Out>>>>(edge)?;
            let batch = context.config.exchange.batch_records as usize;
            let router = KeyRouter::new(outlets, context.max_parallelism, batch);
            Ok(Box::new(Fused::new(chain, KeyedTail::new(Arc::clone(&key_of), router))))
        });
        KeyedStream::new(env, edge)
    }

    /// Gives each record to every subtask of the operator that the stream is connected to. See
    /// [`KeyedStream::connect`].
    pub fn broadcast(self) -> BroadcastStream<C::Out>
    where
        C::Out: Clone,
    {
        let edge = CrossEdge::<C::Out>::default();
        let edge = self.env.0.borrow_mut().unread_edge(self.operator, edge);
        let env = self.env.clone();
        self.end(move |chain, context| {
            let outlets = context.take_outlets::<Vec<Outlet<C::Out>>>(edge)?;
            Ok(Box::new(Fused::new(chain, BroadcastTail::new(outlets))))
        });
        BroadcastStream::new(env, edge)
    }

    /// Processes each record with the operator state of its subtask. `factory` is called once when the graph is
    /// built and once for every subtask; it declares the states and must declare the same ones each time.
    ///
    /// See [`OperatorProcess`] for an example.
    pub fn process<P, F>(self, factory: F) -> Stream<Identity<P::Out>>
    where
        P: OperatorProcess<In = C::Out>,
        F: Fn(&mut OperatorStates) -> P + Send + Sync + 'static,
    {
        let mut states = OperatorStates::new();
        drop(factory(&mut states));
        let env = self.env.clone();
        let edge = self.forward();
        env.operator("process", &[edge], |draft, operator, port| {
            let states = states.finish(SubtaskId { index: 0, parallelism: 1 });
            let declared = draft.declared(operator, states.map(|states| states.declared()));
            draft.operator_states(operator, &declared);
            ProcessVertex { operator, edge, factory, declared, port }
        })
    }

    /// Merges with `other`; each one keeps its order.
    pub fn union<D: Chain<Out = C::Out>>(self, other: Stream<D>) -> Stream<Identity<C::Out>> {
        check_same(&self.env, &other.env);
        let env = self.env.clone();
        let edges = [self.forward(), other.forward()];
        env.operator("union", &edges, |_, operator, port| UnionVertex {
            operator,
            edges: edges.to_vec(),
            port,
        })
    }

    /// Two streams of the same records.
    #[expect(clippy::type_complexity, reason = "two streams")]
    pub fn tee(self) -> (Stream<Identity<C::Out>>, Stream<Identity<C::Out>>)
    where
        C::Out: Clone,
    {
        let (left, right) = (Port::new(), Port::new());
        let streams = self.fork_streams(&left, &right);
        self.end(move |chain, context| {
            let tail: ForkTail<C::Out, C::Out> =
                ForkTail::new(left.build(context)?, right.build(context)?);
            Ok(Box::new(Fused::new(chain, tail)))
        });
        streams
    }

    /// Ends in `sink`.
    pub fn sink<S: Sink<C::Out>>(self, sink: S) -> SinkHandle {
        self.end_in("sink", sink)
    }

    /// As [`sink`](Self::sink), for what could not be read: a run may have it or not, whatever the one
    /// before had, and other operators are called the same either way.
    pub(crate) fn sink_aside<S: Sink<C::Out>>(self, sink: S) -> SinkHandle {
        self.end_in(DEAD_LETTERS, sink)
    }

    fn end_in<S: Sink<C::Out>>(self, kind: &'static str, sink: S) -> SinkHandle {
        let sink = Arc::new(sink);
        let mut draft = self.env.0.borrow_mut();
        let operator = draft.operator(kind);
        draft.fused(operator, self.operator);
        draft.sinks.push((operator, Box::new(SinkHolder::new(Arc::clone(&sink)))));
        drop(draft);
        let handle = SinkHandle { env: self.env.clone(), operator };
        self.end(move |chain, context| {
            let id = context.operator(operator);
            let writer = sink.writer(WriterContext {
                operator: id.clone(),
                attempt: context.attempt,
                subtask: context.subtask,
                restored: context.restored_checkpoint,
                io: context.io.of_functions(),
            })?;
            Ok(Box::new(Fused::new(chain, SinkTail::new(id, writer, context.metrics.clone()))))
        });
        handle
    }

    /// The stream that comes out of one more stateless operator.
    fn chained<D: Chain<In = C::In>>(self, with: impl FnOnce(C) -> D) -> Stream<D> {
        let Self { env, operator, port, chain, fork } = self;
        Stream { env, operator, port, chain: with(chain), fork }
    }

    fn forward(self) -> usize {
        let edge = self.env.0.borrow_mut().edge(self.operator, ForwardEdge::<C::Out>::default());
        self.end(move |chain, context| {
            let outlet = context.take_outlets::<Outlet<C::Out>>(edge)?;
            Ok(Box::new(Fused::new(chain, ForwardTail::new(outlet))))
        });
        edge
    }

    fn fork_streams<L: Send + 'static, R: Send + 'static>(
        &self,
        left: &Port<L>,
        right: &Port<R>,
    ) -> (Stream<Identity<L>>, Stream<Identity<R>>) {
        let mut draft = self.env.0.borrow_mut();
        draft.must_lead_somewhere(self.operator, left);
        draft.must_lead_somewhere(self.operator, right);
        drop(draft);
        (self.fork_stream(left), self.fork_stream(right))
    }

    fn fork_stream<T: Send + 'static>(&self, port: &Port<T>) -> Stream<Identity<T>> {
        let (env, operator) = (self.env.clone(), self.operator);
        Stream { env, operator, port: port.clone(), chain: Identity::new(), fork: true }
    }

    /// Connects the port to what `make` builds from the chain, and records the chained operators.
    fn end(
        self,
        make: impl Fn(C, &mut crate::task::BuildContext) -> crate::Result<Box<dyn Consumer<C::In>>>
        + Send
        + Sync
        + 'static,
    ) {
        let mut kinds = Vec::new();
        self.chain.kinds(&mut kinds);
        let mut draft = self.env.0.borrow_mut();
        if !kinds.is_empty() {
            draft.detail(self.operator, format!("-> {}", kinds.join(" -> ")));
        }
        let chain = self.chain;
        if let Err(error) = self.port.connect(move |context| make(chain.clone(), context)) {
            draft.error(error);
        }
    }
}

impl<L: Send + 'static, R: Send + 'static, C: Chain<Out = Result<L, R>>> Stream<C> {
    /// Separates what went well from what did not: records, and dead letters.
    pub fn split_results(self) -> (Stream<Identity<L>>, Stream<Identity<R>>) {
        let (left, right) = (Port::new(), Port::new());
        let streams = self.fork_streams(&left, &right);
        self.end(move |chain, context| {
            let tail: ForkTail<L, R> = ForkTail::new(left.build(context)?, right.build(context)?);
            Ok(Box::new(Fused::new(chain, tail)))
        });
        streams
    }
}

/// A sink in a graph.
#[derive(Debug)]
pub struct SinkHandle {
    env: StreamEnvironment,
    operator: usize,
}

impl SinkHandle {
    /// Gives the sink an id of its own.
    pub fn uid(self, id: &str) {
        self.env.0.borrow_mut().name(self.operator, id);
    }
}
