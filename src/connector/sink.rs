//! What a sink is: writers that stage, a committer that publishes. Flink: Sink V2.
//!
//! Owns the traits. Writers live in tasks, at the end of a fused chain; the committer is called by
//! `checkpoint::coordinator` after the head has moved, and again after a restart for what a manifest
//! still names.

use std::fmt;

use futures::future::{BoxFuture, LocalBoxFuture};

use crate::error::Result;
use crate::handover::{CommitOutcome, Committable};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name, SubtaskId};
use crate::io::Io;

/// What a sink promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Each record's effect is seen once, whatever crashes.
    ExactlyOnce,
    /// After a restart records may be seen again.
    AtLeastOnce,
}

/// What a writer is given.
#[derive(Clone, Debug)]
pub struct WriterContext {
    /// The operator's id.
    pub operator: Name,
    /// The attempt that writes.
    pub attempt: Attempt,
    /// The subtask that writes.
    pub subtask: SubtaskId,
    /// The checkpoint after which the attempt starts.
    pub restored: CheckpointId,
    /// Where blocking work runs.
    pub io: Io,
}

/// Who starts, for [`Sink::prepare`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdentity {
    /// The job's name.
    pub job: Name,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The attempt that starts: whoever finds a later one in the output has been overtaken.
    pub attempt: Attempt,
    /// The text that its claim has and no other; empty in [`Sink::check`], before the claim.
    pub owner: String,
    /// Whether this incarnation has no completed checkpoint yet.
    pub fresh: bool,
    /// Whether the sink is new to a run that goes on: no checkpoint has committed anything to its output.
    pub added: bool,
    /// Whether another run's output may be removed.
    pub replace: bool,
}

/// A place that records go to.
pub trait Sink<T>: fmt::Debug + Send + Sync + 'static {
    /// One line that names the output.
    fn describe(&self) -> String;

    /// What it promises.
    fn guarantee(&self) -> Guarantee;

    /// Whether [`Sink::prepare`] would refuse `run`, which starts afresh or goes on: looked at before the job
    /// is claimed, so that a call that is refused leaves no trace, and takes the job from nobody. Changes
    /// nothing. May block.
    ///
    /// # Errors
    /// As [`Sink::prepare`].
    fn check(&self, _run: &RunIdentity) -> Result<()> {
        Ok(())
    }

    /// Checks and claims the output for this run, once an attempt, after the claim and before any
    /// writer is made. May block.
    ///
    /// # Errors
    /// The output holds another run's results: names it and `--replace`.
    /// [`crate::ErrorKind::Fenced`]: a later attempt has claimed it.
    fn prepare(&self, run: &RunIdentity) -> Result<()>;

    /// A writer for one subtask.
    ///
    /// # Errors
    /// The output cannot be written.
    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>>;

    /// Publishes what writers of `operator` staged. `None` where there is nothing to publish.
    ///
    /// Two operators may share one output: `clean` must know whose staged files it looks at.
    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>>;
}

impl<T: 'static> Sink<T> for Box<dyn Sink<T>> {
    fn describe(&self) -> String {
        (**self).describe()
    }

    fn guarantee(&self) -> Guarantee {
        (**self).guarantee()
    }

    fn check(&self, run: &RunIdentity) -> Result<()> {
        (**self).check(run)
    }

    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        (**self).prepare(run)
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        (**self).writer(context)
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        (**self).committer(operator)
    }
}

/// Writes one subtask's records. Lives on its worker's thread.
pub trait Writer<T> {
    /// Takes all records of `batch`, in order, and leaves it empty.
    ///
    /// # Errors
    /// Disk full, no permission: named.
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()>;

    /// Waits until more may be written; ready at once for most sinks.
    fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Everything written so far belongs to `checkpoint`, what follows to the next. The returned
    /// future ends when that is durable; it runs beside further writes.
    ///
    /// An aborted checkpoint's committables are carried into the next manifest by the caller, so
    /// each one carries all that its commit needs.
    fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<Vec<Committable>>>;
}

/// Publishes committables. Publishing twice is the same as once.
pub trait Committer: fmt::Debug + Send + Sync + 'static {
    /// Publishes; the outcomes are in the order of `committables`. Blocks; called on the I/O runtime.
    ///
    /// # Errors
    /// What cannot be mended by trying again: the attempt fails.
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>>;

    /// Removes what earlier attempts staged and no manifest names; `named` is what may still be owed. Called
    /// after a claim, before any writer is made. Blocks.
    ///
    /// # Errors
    /// The output cannot be read or written; [`crate::ErrorKind::Lost`] where what is named
    /// has surely gone.
    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()>;
}
