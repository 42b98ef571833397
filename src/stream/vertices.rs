//! The vertices of a graph: what each needs to build its tasks, with its types.

use std::fmt;
use std::sync::Arc;

use futures::future::LocalBoxFuture;

use crate::connector::{Committer, Guarantee, RunIdentity, Sink, Source};
use crate::error::Result;
use crate::ids::Name;
use crate::operator::KeyedProcess;
use crate::state::{Columns, States};
use crate::task::{
    AnySink, AnySource, BuildContext, Emit, KeyedSubtask, Port, SourceSubtask, UnionSubtask, Vertex,
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

    fn is_keyed(&self) -> bool {
        true
    }

    fn states(&self) -> Result<Option<Columns>> {
        let mut states = States::new();
        drop((self.factory)(&mut states));
        states.finish().map(Some)
    }

    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let output = self.port.build(context)?;
        let mut states = States::new();
        let process = (self.factory)(&mut states);
        KeyedSubtask::build(process, states.finish()?, self.operator, self.edge, output, context)
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
