//! The vertices of a graph: what each needs to build its tasks, with its types.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::LocalBoxFuture;

use crate::connector::{Committer, Guarantee, RunIdentity, Sink, Source};
use crate::error::Result;
use crate::ids::Name;
use crate::operator::{Connected, KeyedBroadcastProcess, KeyedProcess, OperatorProcess};
use crate::state::unkeyed::Declared;
use crate::state::{BroadcastStates, DeclaredStates, OperatorStates, States};
use crate::task::{
    AnySink, AnySource, BroadcastSide, BuildContext, Emit, KeyedSubtask, NoSide, Port,
    ProcessSubtask, SourceSubtask, UnionSubtask, Vertex,
};

/// A source.
pub(super) struct SourceVertex<S: Source, O> {
    pub(super) operator: usize,
    pub(super) source: Arc<S>,
    pub(super) with_origin: bool,
    pub(super) emit: Emit<S::Item, O>,
    pub(super) port: Port<O>,
}

impl<S: Source, O> fmt::Debug for SourceVertex<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?})", self.source)
    }
}

impl<S: Source, O: Send + 'static> Vertex for SourceVertex<S, O> {
    fn operator(&self) -> usize {
        self.operator
    }

    fn source(&self) -> Option<&dyn AnySource> {
        Some(&*self.source)
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        SourceSubtask::build(
            &self.source,
            self.operator,
            self.with_origin,
            self.emit,
            output,
            context,
        )
    }
}

/// A union.
pub(super) struct UnionVertex<T> {
    pub(super) operator: usize,
    pub(super) edges: Vec<usize>,
    pub(super) port: Port<T>,
}

impl<T> fmt::Debug for UnionVertex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Union")
    }
}

impl<T: Send + 'static> Vertex for UnionVertex<T> {
    fn operator(&self) -> usize {
        self.operator
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        UnionSubtask::build(&self.edges, output, context)
    }
}

/// A keyed operator.
pub(super) struct KeyedVertex<P: KeyedProcess, F> {
    pub(super) operator: usize,
    pub(super) edge: usize,
    pub(super) factory: F,
    pub(super) states: DeclaredStates,
    pub(super) port: Port<P::Out>,
}

impl<P: KeyedProcess, F> fmt::Debug for KeyedVertex<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

impl<P, F> Vertex for KeyedVertex<P, F>
where
    P: KeyedProcess,
    F: Fn(&mut States) -> P + Send + Sync,
{
    fn operator(&self) -> usize {
        self.operator
    }

    fn keyed_states(&self) -> Option<&DeclaredStates> {
        Some(&self.states)
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        let mut states = States::new();
        let process = (self.factory)(&mut states);
        let columns = states.finish()?;
        let side = (NoSide, None);
        KeyedSubtask::build(process, side, columns, self.operator, self.edge, output, context)
    }
}

/// A keyed operator with a broadcast input.
pub(super) struct ConnectedVertex<P: KeyedBroadcastProcess, F> {
    pub(super) operator: usize,
    pub(super) keyed: usize,
    pub(super) broadcast: usize,
    pub(super) factory: F,
    pub(super) states: DeclaredStates,
    pub(super) maps: Vec<Declared>,
    pub(super) port: Port<P::Out>,
}

impl<P: KeyedBroadcastProcess, F> fmt::Debug for ConnectedVertex<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connected")
    }
}

impl<P, F> Vertex for ConnectedVertex<P, F>
where
    P: KeyedBroadcastProcess,
    F: Fn(&mut States, &mut BroadcastStates) -> P + Send + Sync,
{
    fn operator(&self) -> usize {
        self.operator
    }

    fn keyed_states(&self) -> Option<&DeclaredStates> {
        Some(&self.states)
    }

    fn operator_states(&self) -> &[Declared] {
        &self.maps
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        let (mut states, mut maps) = (States::new(), BroadcastStates::new());
        let function = (self.factory)(&mut states, &mut maps);
        let columns = states.finish()?;
        let maps = Rc::new(RefCell::new(maps.finish(context.subtask)?));
        let side = (BroadcastSide::new(Rc::clone(&maps)), Some(self.broadcast));
        let process = Connected::new(function, maps);
        KeyedSubtask::build(process, side, columns, self.operator, self.keyed, output, context)
    }
}

/// An operator without keys.
pub(super) struct ProcessVertex<P: OperatorProcess, F> {
    pub(super) operator: usize,
    pub(super) edge: usize,
    pub(super) factory: F,
    pub(super) declared: Vec<Declared>,
    pub(super) port: Port<P::Out>,
}

impl<P: OperatorProcess, F> fmt::Debug for ProcessVertex<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl<P, F> Vertex for ProcessVertex<P, F>
where
    P: OperatorProcess,
    F: Fn(&mut OperatorStates) -> P + Send + Sync,
{
    fn operator(&self) -> usize {
        self.operator
    }

    fn operator_states(&self) -> &[Declared] {
        &self.declared
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        let mut states = OperatorStates::new();
        let process = (self.factory)(&mut states);
        let state = states.finish(context.subtask)?;
        ProcessSubtask::build(process, state, self.operator, self.edge, output, context)
    }
}

/// A sink, whatever it takes.
pub(super) struct SinkHolder<T, S> {
    sink: Arc<S>,
    record: std::marker::PhantomData<fn(T)>,
}

impl<T, S> SinkHolder<T, S> {
    pub(super) fn new(sink: Arc<S>) -> Self {
        Self { sink, record: std::marker::PhantomData }
    }
}

impl<T, S: fmt::Debug> fmt::Debug for SinkHolder<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sink.fmt(f)
    }
}

impl<T, S: Sink<T>> AnySink for SinkHolder<T, S> {
    fn describe(&self) -> String {
        self.sink.describe()
    }

    fn guarantee(&self) -> Guarantee {
        self.sink.guarantee()
    }

    fn check(&self, run: &RunIdentity) -> Result<()> {
        self.sink.check(run)
    }

    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        self.sink.prepare(run)
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        self.sink.committer(operator)
    }
}
