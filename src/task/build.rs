//! How a typed graph becomes the tasks of one worker, behind untyped walls.
//!
//! Owns the traits that a job graph is made of ([`Vertex`], [`Edge`], [`AnySink`]) and what a vertex
//! is given when one subtask of it is built. `stream` fills them in, `runtime` calls them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::output::Consumer;
use super::pressure::Pressure;
use crate::checkpoint::{Command, Fetched, Report, Uploader};
use crate::clock::{Clock, Instant};
use crate::config::Config;
use crate::connector::{Committer, Guarantee, RunIdentity, SplitState};
use crate::cost_control::CostControl;
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::io::Io;
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::metrics::{Metrics, VertexCounters};
use crate::state::unkeyed::{Declared, RestoredState};
use crate::state::{DeclaredStates, StateFormats, StateLifetimes, Store};

/// A job, ready to run: what `stream` builds and `runtime` deploys. Flink: `JobGraph`.
#[derive(Debug)]
pub struct JobGraph {
    /// The operators' ids, by index.
    pub(crate) operators: Arc<Vec<Name>>,
    /// What runs as tasks, in the order of data.
    pub(crate) vertices: Vec<Box<dyn Vertex>>,
    /// The channels between them.
    pub(crate) edges: Vec<Box<dyn Edge>>,
    /// The sinks, with their operators' indices.
    pub(crate) sinks: Vec<(usize, Box<dyn AnySink>)>,
    /// See [`JobGraph::description`].
    pub(crate) description: String,
}

impl JobGraph {
    /// The ids of its operators, given and derived ones.
    #[must_use]
    pub fn operators(&self) -> &[Name] {
        &self.operators
    }

    /// One line for each operator, with id, states and inputs: what is recorded, and compared with the next program.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }
}

/// What the manifest and the log gave back for one subtask of one operator.
#[derive(Debug, Default)]
pub struct Restored {
    /// Splits to read, for a source.
    pub splits: Vec<SplitState>,
    /// The log after the horizon, oldest checkpoint first, for a keyed operator. Compressed until it is its turn:
    /// the log is bounded by what it takes so, and takes many times that unpacked.
    pub segments: Vec<Fetched>,
    /// The horizons of key groups, by range.
    pub horizons: Vec<(KeyGroupRange, CheckpointId)>,
    /// Whether the table may hold items that the log does not.
    pub may_have_items: bool,
    /// How the values of states are stored.
    pub formats: Vec<StateFormats>,
    /// By which times their values have expired, and do.
    pub lifetimes: Vec<StateLifetimes>,
    /// Whether the filter does not know all of them.
    pub unfiltered: bool,
    /// Operator state.
    pub operator_state: Vec<RestoredState>,
}

/// What a subtask is built with; one for each worker and attempt.
pub struct BuildContext {
    /// The subtask of every vertex that this worker hosts.
    pub subtask: SubtaskId,
    /// The attempt.
    pub attempt: Attempt,
    /// The checkpoint that was restored.
    pub restored_checkpoint: CheckpointId,
    /// All operators were told of the end of all input before it.
    pub input_ended: bool,
    /// The oldest checkpoint that the head retains.
    pub oldest_retained: CheckpointId,
    /// How many keyed operators the job has: they share the log's bound.
    pub keyed_operators: u64,
    /// The operators' ids, by index.
    pub operators: Arc<Vec<Name>>,
    /// All settings.
    pub config: Arc<Config>,
    /// The number of key groups.
    pub max_parallelism: MaxParallelism,
    /// Where I/O runs.
    pub io: Io,
    /// Time.
    pub clock: Clock,
    /// The job's counters.
    pub metrics: Metrics,
    /// The vertices' counters.
    pub counters: Arc<[VertexCounters]>,
    /// Items and blocks.
    pub store: Arc<dyn Store>,
    /// Puts segments.
    pub uploader: Uploader,
    /// May put off materialising.
    pub cost_control: CostControl,
    /// When the first batch of the attempt was processed.
    pub first_record: Arc<OnceLock<Instant>>,
    /// What memory is taken by uncommitted changes.
    pub pressure: Pressure,
    /// To the coordinator.
    pub reports: mpsc::Sender<Report>,
    /// The index of the vertex that is being built.
    pub vertex: usize,
    /// Commands of the vertex that is being built.
    pub commands: Option<mpsc::UnboundedReceiver<Command>>,
    /// What was restored, by operator index.
    pub restored: HashMap<usize, Restored>,
    /// Channel ends by edge: outlets, then inlets, of this worker.
    pub outlets: HashMap<usize, Box<dyn Any + Send>>,
    /// See `outlets`.
    pub inlets: HashMap<usize, Box<dyn Any + Send>>,
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildContext({})", self.subtask)
    }
}

impl BuildContext {
    /// The id of operator `index`.
    #[must_use]
    pub fn operator(&self, index: usize) -> Name {
        self.operators[index].clone()
    }

    /// The key groups of this worker.
    #[must_use]
    pub fn range(&self) -> KeyGroupRange {
        self.max_parallelism.range_of(self.subtask.index, self.subtask.parallelism)
    }

    /// Takes this worker's sending ends of `edge`.
    ///
    /// # Errors
    /// They were taken before, or are of another type: a bug.
    pub fn take_outlets<E: 'static>(&mut self, edge: usize) -> Result<E> {
        take(&mut self.outlets, edge)
    }

    /// Takes this worker's receiving ends of `edge`.
    ///
    /// # Errors
    /// They were taken before, or are of another type: a bug.
    pub fn take_inlets<E: 'static>(&mut self, edge: usize) -> Result<E> {
        take(&mut self.inlets, edge)
    }

    /// Takes the commands of the vertex that is being built.
    ///
    /// # Errors
    /// They were taken before: a bug.
    pub fn take_commands(&mut self) -> Result<mpsc::UnboundedReceiver<Command>> {
        self.commands.take().ok_or_else(|| Error::internal("commands taken twice"))
    }
}

fn take<E: 'static>(ends: &mut HashMap<usize, Box<dyn Any + Send>>, edge: usize) -> Result<E> {
    ends.remove(&edge)
        .and_then(|ends| ends.downcast().ok())
        .map(|ends| *ends)
        .ok_or_else(|| Error::internal(format!("edge {edge} has no such channel ends")))
}

/// Ends of one edge for every worker, in the order of subtasks.
pub struct EdgeEnds {
    /// What each upstream subtask takes with [`BuildContext::take_outlets`].
    pub outlets: Vec<Box<dyn Any + Send>>,
    /// What each downstream subtask takes with [`BuildContext::take_inlets`].
    pub inlets: Vec<Box<dyn Any + Send>>,
}

impl fmt::Debug for EdgeEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdgeEnds({})", self.outlets.len())
    }
}

/// The channels between two vertices.
pub trait Edge: fmt::Debug + Send + Sync {
    /// Makes the channels of one attempt.
    fn open(&self, parallelism: u32, channel_batches: usize) -> EdgeEnds;
}

/// What runs as one task a worker.
pub trait Vertex: fmt::Debug + Send + Sync {
    /// The index of the operator at its head.
    fn operator(&self) -> usize;

    /// For a source: its splits and what it promises.
    fn source(&self) -> Option<&dyn AnySource> {
        None
    }

    /// What it says of its keyed states, if it may have any.
    fn keyed_states(&self) -> Option<&DeclaredStates> {
        None
    }

    /// Whether it holds keyed state.
    fn is_keyed(&self) -> bool {
        self.keyed_states().is_some()
    }

    /// Its operator states.
    fn operator_states(&self) -> &[Declared] {
        &[]
    }

    /// Builds the task of one subtask, on its worker's thread.
    ///
    /// # Errors
    /// State that cannot be restored, a sink that cannot be opened.
    fn build(&self, context: &mut BuildContext) -> Result<LocalBoxFuture<'static, Result<()>>>;
}

/// What the runtime needs of a source, whatever it yields.
pub trait AnySource: Send + Sync {
    /// [`crate::connector::Source::describe`].
    fn describe(&self) -> String;
    /// [`crate::connector::Source::replayable`].
    fn replayable(&self) -> bool;
    /// [`crate::connector::Source::bounded`].
    fn bounded(&self) -> bool;
    /// [`crate::connector::Source::discover`].
    ///
    /// # Errors
    /// As there.
    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>>;
    /// [`crate::connector::Source::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self, splits: &[SplitState]) -> Result<()>;
}

impl<S: crate::connector::Source> AnySource for S {
    fn describe(&self) -> String {
        crate::connector::Source::describe(self)
    }
    fn replayable(&self) -> bool {
        crate::connector::Source::replayable(self)
    }
    fn bounded(&self) -> bool {
        crate::connector::Source::bounded(self)
    }
    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        crate::connector::Source::discover(self, parallelism)
    }
    fn check(&self, splits: &[SplitState]) -> Result<()> {
        crate::connector::Source::check(self, splits)
    }
}

/// What the runtime needs of a sink, whatever it takes.
pub trait AnySink: fmt::Debug + Send + Sync {
    /// [`crate::connector::Sink::describe`].
    fn describe(&self) -> String;
    /// [`crate::connector::Sink::guarantee`].
    fn guarantee(&self) -> Guarantee;
    /// [`crate::connector::Sink::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self, run: &RunIdentity) -> Result<()>;
    /// [`crate::connector::Sink::prepare`].
    ///
    /// # Errors
    /// As there.
    fn prepare(&self, run: &RunIdentity) -> Result<()>;
    /// [`crate::connector::Sink::committer`].
    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>>;
}

/// Makes the consumer of one port for one subtask.
pub type ConsumerFactory<T> =
    dyn Fn(&mut BuildContext) -> Result<Box<dyn Consumer<T>>> + Send + Sync;

/// Where a vertex's output leaves it; filled once, by what the stream ends in.
pub struct Port<T>(Arc<OnceLock<Box<ConsumerFactory<T>>>>);

impl<T> Port<T> {
    /// An open port.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    /// Connects the port.
    ///
    /// # Errors
    /// It was connected before.
    pub fn connect(
        &self,
        factory: impl Fn(&mut BuildContext) -> Result<Box<dyn Consumer<T>>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.0.set(Box::new(factory)).map_err(|_| Error::internal("port connected twice"))
    }

    /// Whether it leads anywhere.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.get().is_some()
    }

    /// The consumer of one subtask.
    ///
    /// # Errors
    /// A sink that cannot be opened.
    pub fn build(&self, context: &mut BuildContext) -> Result<Box<dyn Consumer<T>>> {
        let factory = self.0.get().ok_or_else(|| Error::internal("port without consumer"))?;
        factory(context)
    }
}

impl<T> Default for Port<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port(connected: {})", self.is_connected())
    }
}
