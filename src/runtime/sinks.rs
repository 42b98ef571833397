//! The sinks of a job as the coordinator and an attempt's start see them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::checkpoint::{Owed, SinkCommitter, rules};
use crate::connector::{self, CommitOutcome, Committable, Committer, RunIdentity};
use crate::error::Result;
use crate::ids::{Attempt, Name};
use crate::io::{Io, call_user};
use crate::task::{AnySink, JobGraph};

/// The committers of all sinks, by operator id.
pub(super) struct Sinks {
    committers: BTreeMap<Name, Arc<dyn Committer>>,
    io: Io,
}

impl fmt::Debug for Sinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.committers.keys()).finish()
    }
}

impl Sinks {
    /// Asks each sink of `graph` for all that it says at once.
    ///
    /// # Errors
    /// One of them panicked: names it.
    pub(super) fn new(graph: &JobGraph, io: &Io) -> Result<Self> {
        let mut committers = BTreeMap::new();
        for (operator, sink) in &graph.sinks {
            let id = &graph.operators[*operator];
            let asked = call_user(|| {
                // The status tells of them, where nothing would catch a panic.
                let _said = (sink.guarantee(), sink.describe());
                Ok(sink.committer(id))
            });
            if let Some(committer) = asked.map_err(|e| e.at(format!("sink {id}")))? {
                committers.insert(id.clone(), Arc::from(committer));
            }
        }
        Ok(Self { committers, io: io.of_functions() })
    }

    /// Removes what earlier attempts staged and no manifest names.
    pub(super) async fn clean(&self, attempt: Attempt, owed: &[Owed]) -> Result<()> {
        for (sink, committer) in &self.committers {
            let named = owed.iter().filter(|owed| owed.sink == *sink);
            let named: Vec<Committable> = named.map(|owed| owed.committable.clone()).collect();
            let committer = Arc::clone(committer);
            let cleaned = self.io.blocking(move || committer.clean(attempt, &named));
            cleaned.await.map_err(|e| e.at(format!("sink {sink}")))?;
        }
        Ok(())
    }
}

/// Checks the outputs for a run that would go on from a checkpoint of the graph that is `recorded`, and changes nothing.
pub(super) async fn check(
    graph: &Arc<JobGraph>,
    run: RunIdentity,
    recorded: String,
    io: &Io,
) -> Result<()> {
    ask_each(graph, run, recorded, io, |sink, run| sink.check(run)).await
}

/// Checks and claims the outputs for this run, which goes on from a checkpoint of the graph that is `recorded`.
pub(super) async fn prepare(
    graph: &Arc<JobGraph>,
    run: RunIdentity,
    recorded: String,
    io: &Io,
) -> Result<()> {
    ask_each(graph, run, recorded, io, |sink, run| sink.prepare(run)).await
}

async fn ask_each(
    graph: &Arc<JobGraph>,
    run: RunIdentity,
    recorded: String,
    io: &Io,
    ask: fn(&dyn AnySink, &RunIdentity) -> Result<()>,
) -> Result<()> {
    let graph = Arc::clone(graph);
    io.blocking(move || {
        graph.sinks.iter().try_for_each(|(operator, sink)| {
            let id = &graph.operators[*operator];
            let run = seen_by(id, &run, &recorded);
            call_user(|| ask(&**sink, &run)).map_err(|e| e.at(format!("sink {id}")))
        })
    })
    .await
}

/// `run` as it is to the sink `id`: is that new to a run that goes on from a checkpoint of the graph that is
/// `recorded`? After a roll-back that is still the graph of the checkpoint which was given up: a sink that it lacks the
/// older checkpoint lacks, too, and one that was added between the two counts as known. So does each where no graph is
/// recorded: no results are missed without a word.
fn seen_by(id: &Name, run: &RunIdentity, recorded: &str) -> RunIdentity {
    let added = !run.fresh && !recorded.is_empty() && !rules::has_operator(recorded, id.as_str());
    RunIdentity { added, ..run.clone() }
}

impl SinkCommitter for Sinks {
    fn commit(
        &self,
        sink: &Name,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<Vec<CommitOutcome>>> {
        // A job that has no such sink any more, or another kind, may owe what files have staged.
        let committer = self
            .committers
            .get(sink)
            .map_or_else(|| Arc::from(connector::committer_without_sink(sink)), Arc::clone);
        self.io.blocking(move || committer.commit(&committables)).boxed()
    }
}
