//! What a sink is: writers that stage, a committer that publishes. Flink: Sink V2.
//!
//! Owns the traits. Writers live in tasks, at the end of a fused chain; the committer is called by
//! `checkpoint::coordinator` after the head has moved, and again after a restart for what a manifest
//! still names.

use std::fmt;

use futures::future::{BoxFuture, LocalBoxFuture};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codec::{Bincode, Codec};
use crate::error::{Error, ErrorKind, Result};
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

/// What a writer has staged for a checkpoint, in the sink's own bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Committable(pub Vec<u8>);

impl Committable {
    /// What is staged, or where it is.
    ///
    /// ```
    /// use millpond::connector::Committable;
    /// let staged = Committable::of(&("part-7".to_owned(), 512u64))?;
    /// assert_eq!(staged.read::<(String, u64)>()?, ("part-7".to_owned(), 512));
    /// # Ok::<(), millpond::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Output`] where it cannot be serialised.
    pub fn of<T: Serialize + DeserializeOwned>(staged: &T) -> Result<Self> {
        let mut bytes = Vec::new();
        Bincode::encode(staged, &mut bytes).map_err(|error| {
            let message = format!("what is staged cannot be serialised: {error}");
            Error::new(ErrorKind::Output, message)
        })?;
        Ok(Self(bytes))
    }

    /// What [`Committable::of`] was given.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where it is not of that type.
    pub fn read<T: Serialize + DeserializeOwned>(&self) -> Result<T> {
        Bincode::decode(&self.0).map_err(|error| {
            let message = format!("what is staged is not of its type: {error}");
            Error::new(ErrorKind::Corrupt, message)
        })
    }
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
    /// Whether another run's output may be removed.
    pub replace: bool,
}

/// A place that records go to.
pub trait Sink<T>: fmt::Debug + Send + Sync + 'static {
    /// One line that names the output.
    fn describe(&self) -> String;

    /// What it promises.
    fn guarantee(&self) -> Guarantee;

    /// Whether [`Sink::prepare`] would refuse `run`, which starts afresh: looked at before the job is
    /// claimed, so that a call that is refused leaves no trace. Changes nothing. May block.
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
    /// [`ErrorKind::Fenced`]: a later attempt has claimed it.
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

/// How one committable ended. Flink: `CommitRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Published now.
    Committed,
    /// It was published before.
    AlreadyCommitted,
    /// Try again later; the text says why.
    Retry(String),
    /// It is not there any more; the text says what is missing where. Fails the attempt, unless the
    /// user gives it up.
    Lost(String),
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
    /// The output cannot be read or written; [`ErrorKind::Lost`] where what is named
    /// has surely gone.
    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()>;
}
