//! What a source is: splits that are found once, readers that read them, positions that go into
//! checkpoints. Flink: Source V2 (`SplitEnumerator`, `SourceReader`).
//!
//! Owns the traits. The task that drives a reader and injects barriers is `task::source`.

use std::fmt;

use futures::future::LocalBoxFuture;

use crate::clock::Clock;
use crate::error::Result;
use crate::handover::SplitState;
use crate::ids::{Name, SubtaskId};
use crate::io::Io;
use crate::metrics::{Lag, Metrics};
use crate::record::Batch;

/// What a reader's call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// All splits of this reader are done. Never said by an unbounded source.
    End,
}

/// What a reader is given.
#[derive(Clone, Debug)]
pub struct ReaderContext {
    /// The operator's id, for messages.
    pub operator: Name,
    /// Which subtask reads.
    pub subtask: SubtaskId,
    /// Where blocking reads run.
    pub io: Io,
    /// Time.
    pub clock: Clock,
    /// Whether records' splits and positions are wanted ([`Batch::origins`]).
    pub with_origin: bool,
    /// Counters. A source adds to those of records skipped and dead-lettered only; the engine counts all else.
    pub metrics: Metrics,
    /// A batch should have about this many records.
    pub batch_size: usize,
}

/// A place that records come from.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// What it yields.
    type Item: Send + 'static;

    /// One line that names the input; recorded in the head, and compared at the next start.
    fn describe(&self) -> String;

    /// Whether a position can be gone back to. Where not, a new process starts afresh. If a job that has a checkpoint
    /// gains such a source, it is refused unless `--fresh` is given.
    fn replayable(&self) -> bool {
        true
    }

    /// Whether it ends.
    fn bounded(&self) -> bool;

    /// Finds the splits, in a stable order: before anything is claimed for a run that starts afresh,
    /// and again where an attempt fails before its first checkpoint. May block.
    ///
    /// # Errors
    /// A glob that matches nothing ([`crate::error::ErrorKind::Usage`]), a file that cannot be read.
    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>>;

    /// Checks at a restart that `splits` can be gone on with. May block.
    ///
    /// # Errors
    /// A file that is gone, shrank or changed ([`crate::error::ErrorKind::Input`]), named.
    fn check(&self, splits: &[SplitState]) -> Result<()>;

    /// Reads `splits`, those that are not done.
    ///
    /// # Errors
    /// Splits of an unknown format.
    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<Self::Item>>>;
}

/// Reads the splits of one subtask. Lives on its worker's thread.
pub trait Reader<T> {
    /// Appends about one batch to `out`, or waits until there is something.
    ///
    /// # Errors
    /// A line that cannot be parsed, with file, line and byte; a file that vanished.
    ///
    /// # Cancel safety
    /// May be dropped while it waits and called again: no record is lost or repeated. A record that
    /// is in `out` counts as read by the next [`Reader::snapshot`].
    fn next<'a>(&'a mut self, out: &'a mut Batch<T>) -> LocalBoxFuture<'a, Result<Progress>>;

    /// The state of every split, done ones included, after the last record that was given out.
    fn snapshot(&self) -> Vec<SplitState>;

    /// How far behind the end of the input the reader is, in the unit in which it knows that.
    fn lag(&self) -> Lag {
        Lag::default()
    }
}
