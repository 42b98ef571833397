//! What a run looks at before it claims anything: its inputs, its outputs, and the checkpoint that it would go on
//! from.
//!
//! A glob that matches nothing, a folder that is taken, a state that the program lacks is an error then, and the table
//! stays as it was: nobody is fenced by a call that cannot run, and no checkpoint is given up for it.
//! Owns the look and the splits that it found. Whatever may have changed since is checked again where
//! it counts: outputs when they are claimed, inputs when they are read.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{restore, sinks};
use crate::checkpoint::{Inspect, Manifest, Prospect, SourceSplits};
use crate::connector::RunIdentity;
use crate::error::Result;
use crate::ids::{CheckpointId, Name};
use crate::io::Io;
use crate::task::JobGraph;

/// Looks once a start.
pub(super) struct FirstLook {
    job: Name,
    graph: Arc<JobGraph>,
    parallelism: u32,
    replace: bool,
    io: Io,
    /// The splits of all sources, as they are after this checkpoint.
    found: Mutex<Option<(CheckpointId, Vec<SourceSplits>)>>,
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

    /// Compares the program with the checkpoint, finds or checks the splits, and checks the outputs.
    async fn look(&self, prospect: Prospect<'_>) -> Result<()> {
        let Prospect { incarnation, attempt, recorded, manifest } = prospect;
        restore::check(&self.graph, manifest)?;
        let found = restore::sources(&self.graph, manifest, self.parallelism, &self.io).await?;
        let run = RunIdentity {
            job: self.job.clone(),
            incarnation,
            attempt,
            owner: String::new(),
            fresh: manifest.is_none(),
            added: false,
            replace: self.replace,
        };
        sinks::check(&self.graph, run, recorded.to_owned(), &self.io).await?;
        let found = Some((checkpoint_of(manifest), found));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }

    /// The splits that were found for an attempt that begins with `manifest`, once: what follows a failure looks
    /// for itself.
    pub(super) fn take(&self, manifest: Option<&Manifest>) -> Option<Vec<SourceSplits>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        found.filter(|(after, _)| *after == checkpoint_of(manifest)).map(|(_, found)| found)
    }
}

fn checkpoint_of(manifest: Option<&Manifest>) -> CheckpointId {
    manifest.map_or(CheckpointId::NONE, |manifest| manifest.checkpoint)
}

impl Inspect for FirstLook {
    fn inspect<'a>(&'a self, prospect: Prospect<'a>) -> BoxFuture<'a, Result<()>> {
        self.look(prospect).boxed()
    }
}
