//! What a run that starts afresh looks at before it claims anything: its inputs and its outputs.
//!
//! A glob that matches nothing or a folder that is taken is told then, and the table stays as it was.
//! Owns the look and the splits that it found. Whatever may have changed since is checked again where
//! it counts: outputs when they are claimed, inputs when they are read.

use std::sync::{Arc, Mutex, PoisonError};

use super::restore;
use crate::checkpoint::SourceSplits;
use crate::connector::RunIdentity;
use crate::error::Result;
use crate::ids::{Attempt, Incarnation, Name};
use crate::io::Io;
use crate::task::JobGraph;

/// Looks once a start.
pub(super) struct FirstLook {
    job: Name,
    graph: Arc<JobGraph>,
    parallelism: u32,
    replace: bool,
    io: Io,
    found: Mutex<Option<Vec<SourceSplits>>>,
}

impl FirstLook {
    pub(super) fn new(
        job: Name,
        graph: Arc<JobGraph>,
        parallelism: u32,
        replace: bool,
        io: Io,
    ) -> Self {
        Self { job, graph, parallelism, replace, io, found: Mutex::default() }
    }

    /// Finds the splits and checks the outputs for an attempt that would begin `incarnation`.
    pub(super) async fn look(&self, incarnation: Incarnation, attempt: Attempt) -> Result<()> {
        let (graph, parallelism) = (Arc::clone(&self.graph), self.parallelism);
        let (job, replace) = (self.job.clone(), self.replace);
        let owner = String::new();
        let run =
            RunIdentity { job, incarnation, attempt, owner, fresh: true, added: false, replace };
        let found = self.io.blocking(move || {
            let found = restore::discover(&graph, parallelism)?;
            for (operator, sink) in &graph.sinks {
                let place = || format!("sink {}", graph.operators[*operator]);
                sink.check(&run).map_err(|e| e.at(place()))?;
            }
            Ok(found)
        });
        let found = found.await?;
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(())
    }

    /// The splits that were found, once: what follows a failure looks for itself.
    pub(super) fn take(&self) -> Option<Vec<SourceSplits>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
