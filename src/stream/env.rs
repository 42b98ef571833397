//! Where a graph begins and where it is checked.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use super::stream::Stream;
use super::vertices::SourceVertex;
use crate::checkpoint::{DERIVED, INPUTS};
use crate::connector::Source;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::operator::Identity;
use crate::record::{Batch, Positioned};
use crate::state::DeclaredState;
use crate::state::unkeyed::Declared;
use crate::task::{AnySink, Edge, JobGraph, Port, Vertex};

/// Begins a job graph. Flink: `StreamExecutionEnvironment`.
///
/// ```
/// use millpond::connector::{Generator, MemorySink};
/// use millpond::stream::StreamEnvironment;
///
/// let env = StreamEnvironment::new();
/// let sink = MemorySink::new();
/// env.source(Generator::new(100, |n| n))
///     .uid("numbers")
///     .map(|n| n % 10)
///     .key_by(|n| *n)
///     .reduce(|a, b| a + b)
///     .sink(sink.clone());
/// let graph = env.build()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StreamEnvironment(pub(super) Rc<RefCell<Draft>>);

/// An operator that has an id: sources, keyed operators, unions, sinks.
#[derive(Debug)]
struct Operator {
    kind: &'static str,
    given: Option<String>,
    /// What else is recorded of it: states, chained operators.
    details: Vec<String>,
    /// The operators that it reads, in order.
    inputs: Vec<usize>,
}

/// A graph that is being drawn.
#[derive(Debug, Default)]
pub(super) struct Draft {
    operators: Vec<Operator>,
    pub(super) vertices: Vec<Box<dyn Vertex>>,
    pub(super) edges: Vec<Box<dyn Edge>>,
    pub(super) sinks: Vec<(usize, Box<dyn AnySink>)>,
    errors: Vec<Error>,
    /// What is wrong with operators.
    wrong: Vec<(usize, String)>,
    /// Ports that must lead somewhere: operator, and a look at the port.
    open: Vec<(usize, OpenCheck)>,
    /// The operators that write to the edges.
    writers: Vec<usize>,
    /// Edges that nothing reads yet.
    unread: BTreeSet<usize>,
}

struct OpenCheck(Box<dyn Fn() -> bool>);

impl std::fmt::Debug for OpenCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenCheck")
    }
}

impl Draft {
    /// Adds an operator; the index is its identity while the graph is drawn.
    pub(super) fn operator(&mut self, kind: &'static str) -> usize {
        self.operators.push(Operator {
            kind,
            given: None,
            details: Vec::new(),
            inputs: Vec::new(),
        });
        self.operators.len() - 1
    }

    pub(super) fn name(&mut self, operator: usize, id: &str) {
        self.operators[operator].given = Some(id.to_owned());
    }

    pub(super) fn detail(&mut self, operator: usize, detail: String) {
        self.operators[operator].details.push(detail);
    }

    pub(super) fn error(&mut self, error: Error) {
        self.errors.push(error);
    }

    /// Something is wrong with `operator`, whose id may be given to it after that.
    pub(super) fn error_of(&mut self, operator: usize, message: &str) {
        self.wrong.push((operator, message.to_owned()));
    }

    /// What is declared of `operator`; nothing where that is wrong.
    pub(super) fn declared<T>(&mut self, operator: usize, declared: Result<Vec<T>>) -> Vec<T> {
        declared.unwrap_or_else(|error| {
            self.error_of(operator, error.message());
            Vec::new()
        })
    }

    /// Adds an edge from `operator`; the index is how both ends find their channels.
    pub(super) fn edge(&mut self, operator: usize, edge: impl Edge + 'static) -> usize {
        self.edges.push(Box::new(edge));
        self.writers.push(operator);
        self.edges.len() - 1
    }

    /// Adds an edge from `operator` that something must read.
    pub(super) fn unread_edge(&mut self, operator: usize, edge: impl Edge + 'static) -> usize {
        let edge = self.edge(operator, edge);
        self.unread.insert(edge);
        edge
    }

    /// `operator` reads these edges.
    pub(super) fn read(&mut self, operator: usize, edges: &[usize]) {
        self.unread.retain(|edge| !edges.contains(edge));
        // One of another environment is an error that was noted, and has no writer here.
        let writers: Vec<usize> =
            edges.iter().filter_map(|e| self.writers.get(*e).copied()).collect();
        self.operators[operator].inputs.extend(writers);
    }

    /// `operator` is in the task of `head`.
    pub(super) fn fused(&mut self, operator: usize, head: usize) {
        self.operators[operator].inputs.push(head);
    }

    /// Records an operator's keyed states.
    pub(super) fn keyed_states(&mut self, operator: usize, states: &[DeclaredState]) {
        let names: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
        self.detail(operator, format!("[{}]", names.join(", ")));
    }

    /// Records an operator's operator states.
    pub(super) fn operator_states(&mut self, operator: usize, declared: &[Declared]) {
        let one = |state: &Declared| format!("{}: {}", state.name, state.kind);
        let all: Vec<String> = declared.iter().map(one).collect();
        self.detail(operator, format!("{{{}}}", all.join(", ")));
    }

    /// Remembers to check that `port`, an output of `operator`, leads somewhere.
    pub(super) fn must_lead_somewhere<T: 'static>(&mut self, operator: usize, port: &Port<T>) {
        let port = port.clone();
        self.open.push((operator, OpenCheck(Box::new(move || port.is_connected()))));
    }

    /// Given ids, and derived ones: the kind and its number among its kind, from 1.
    fn ids(&self) -> (Vec<String>, Vec<Error>) {
        let mut ordinals: HashMap<&str, u32> = HashMap::new();
        let mut ids = Vec::new();
        let mut errors = Vec::new();
        for operator in &self.operators {
            let ordinal = ordinals.entry(operator.kind).or_default();
            *ordinal += 1;
            let id = operator.given.clone().unwrap_or(format!("{}-{ordinal}", operator.kind));
            if let Err(error) = Name::new(&id) {
                errors.push(graph_error(format!("operator id: {error}")));
            } else if let Some(first) = ids.iter().position(|other| *other == id) {
                let kind = self.operators[first].kind;
                errors.push(graph_error(format!(
                    "operator id {id:?} is used twice, by a {kind} and a {}: give each its own",
                    operator.kind
                )));
            }
            ids.push(id);
        }
        (ids, errors)
    }

    fn description(&self, ids: &[String]) -> String {
        let mut text = String::new();
        for (operator, id) in self.operators.iter().zip(ids) {
            let _ = write!(text, "{} {id}", operator.kind);
            for detail in &operator.details {
                let _ = write!(text, " {detail}");
            }
            if operator.given.is_none() {
                text.push_str(DERIVED);
            }
            if !operator.inputs.is_empty() {
                let inputs: Vec<&str> = operator.inputs.iter().map(|from| &*ids[*from]).collect();
                let _ = write!(text, "{INPUTS}{}", inputs.join(", "));
            }
            text.push('\n');
        }
        text
    }
}

impl StreamEnvironment {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream of what `source` yields.
    pub fn source<S: Source>(&self, source: S) -> Stream<Identity<S::Item>> {
        self.add_source(source, false, |batch: &mut Batch<S::Item>, out: &mut Vec<S::Item>| {
            std::mem::swap(&mut batch.values, out);
        })
    }

    /// A stream of what `source` yields, each record with its split and its position there.
    pub fn source_with_origin<S: Source>(
        &self,
        source: S,
    ) -> Stream<Identity<Positioned<S::Item>>> {
        self.add_source(source, true, |batch: &mut Batch<S::Item>, out| {
            let origins = batch.origins.drain(..);
            let records = batch.values.drain(..).zip(origins);
            out.extend(records.map(|(value, origin)| Positioned { origin, value }));
        })
    }

    fn add_source<S: Source, O: Send + 'static>(
        &self,
        source: S,
        with_origin: bool,
        emit: crate::task::Emit<S::Item, O>,
    ) -> Stream<Identity<O>> {
        self.operator("source", &[], |_, operator, port| SourceVertex {
            operator,
            source: Arc::new(source),
            with_origin,
            emit,
            port,
        })
    }

    /// The stream that comes out of one more operator, which reads `inputs`. `vertex` makes its vertex, and records
    /// what else there is to tell of it.
    pub(super) fn operator<T: Send + 'static, V: Vertex + 'static>(
        &self,
        kind: &'static str,
        inputs: &[usize],
        vertex: impl FnOnce(&mut Draft, usize, Port<T>) -> V,
    ) -> Stream<Identity<T>> {
        let port = Port::new();
        let mut draft = self.0.borrow_mut();
        let operator = draft.operator(kind);
        let vertex = vertex(&mut draft, operator, port.clone());
        draft.must_lead_somewhere(operator, &port);
        draft.read(operator, inputs);
        draft.vertices.push(Box::new(vertex));
        drop(draft);
        Stream::new(self.clone(), operator, port, Identity::new())
    }

    /// Checks the graph and closes it.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`]: no source, no sink, an output that leads nowhere, an id or a state name
    /// that is used twice or is not valid. All that is wrong is said at once.
    pub fn build(&self) -> Result<JobGraph> {
        let mut draft = self.0.borrow_mut();
        let (ids, id_errors) = draft.ids();
        let mut errors = std::mem::take(&mut draft.errors);
        errors.extend(id_errors);
        for (operator, message) in std::mem::take(&mut draft.wrong) {
            errors.push(graph_error(format!("operator {}: {message}", ids[operator])));
        }
        if !draft.vertices.iter().any(|v| v.source().is_some()) {
            errors.push(graph_error("the graph has no source".to_owned()));
        }
        if draft.sinks.is_empty() {
            errors.push(graph_error("the graph has no sink".to_owned()));
        }
        for (operator, check) in &draft.open {
            if !check.0() {
                errors.push(graph_error(format!(
                    "an output of {} {:?} leads nowhere: end it in a sink",
                    draft.operators[*operator].kind, ids[*operator]
                )));
            }
        }
        for edge in &draft.unread {
            let operator = &draft.writers[*edge];
            errors.push(graph_error(format!(
                "what {} {:?} gives out is keyed or broadcast and then leads nowhere: process it",
                draft.operators[*operator].kind, ids[*operator]
            )));
        }
        match errors.len() {
            0 => {}
            1 => return Err(errors.remove(0)),
            _ => {
                let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                return Err(graph_error(format!("the graph is wrong: {}", all.join("; "))));
            }
        }
        let description = draft.description(&ids);
        Ok(JobGraph {
            operators: Arc::new(ids.iter().map(Name::new).collect::<Result<_>>()?),
            vertices: std::mem::take(&mut draft.vertices),
            edges: std::mem::take(&mut draft.edges),
            sinks: std::mem::take(&mut draft.sinks),
            description,
        })
    }
}

/// Two streams that are brought together must be of one graph.
pub(super) fn check_same(one: &StreamEnvironment, other: &StreamEnvironment) {
    if !Rc::ptr_eq(&one.0, &other.0) {
        let message = "a stream is brought together with one of another environment".to_owned();
        one.0.borrow_mut().error(graph_error(message));
    }
}

pub(super) fn graph_error(message: String) -> Error {
    Error::new(ErrorKind::Graph, message)
}
