//! What connector tests share: an `Io` that runs blocking work at once or when told, contexts, and
//! a loop that reads a source to its end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;

use super::{Progress, ReaderContext, Source, SplitState, WriterContext};
use crate::clock::Clock;
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::io::{Io, Spawn};
use crate::metrics::Metrics;
use crate::record::Batch;

struct Inline;

impl Spawn for Inline {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        futures::executor::block_on(future);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Runs all work on the caller's thread, before the call returns.
pub(crate) fn inline_io() -> Io {
    Io::new(Inline)
}

type Work = Box<dyn FnOnce() + Send>;

/// Blocking work that waits until a test lets it go.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<VecDeque<Work>>>);

impl Gate {
    /// An `Io` whose blocking work stands at this gate.
    pub(crate) fn io(&self) -> Io {
        Io::new(self.clone())
    }

    /// Runs the oldest piece of waiting work; false where there is none.
    pub(crate) fn release(&self) -> bool {
        let work = self.0.lock().unwrap().pop_front();
        work.map(|work| work()).is_some()
    }

    /// Runs the newest piece of waiting work.
    pub(crate) fn release_newest(&self) -> bool {
        let work = self.0.lock().unwrap().pop_back();
        work.map(|work| work()).is_some()
    }
}

impl Spawn for Gate {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        futures::executor::block_on(future);
    }

    fn spawn_blocking(&self, work: Work) {
        self.0.lock().unwrap().push_back(work);
    }
}

/// A context whose I/O runs inline.
pub(crate) fn context(batch_size: usize) -> ReaderContext {
    ReaderContext {
        operator: Name::new("lines").unwrap(),
        subtask: SubtaskId { index: 0, parallelism: 1 },
        io: inline_io(),
        clock: Clock::starting_at(0),
        with_origin: false,
        metrics: Metrics::default(),
        batch_size,
    }
}

/// A context whose I/O runs inline.
pub(crate) fn writer_context(attempt: u64, subtask: u32) -> WriterContext {
    WriterContext {
        operator: Name::new("out").unwrap(),
        attempt: Attempt(attempt),
        subtask: SubtaskId { index: subtask, parallelism: 4 },
        restored: CheckpointId::NONE,
        io: inline_io(),
    }
}

/// Drives `future` on a runtime with a paused clock.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// Everything `splits` still hold, with their origins.
pub(crate) fn drain<S: Source>(
    source: &S,
    splits: Vec<SplitState>,
    batch: usize,
) -> Batch<S::Item> {
    let context = ReaderContext { with_origin: true, ..context(batch) };
    let mut reader = source.reader(splits, context).unwrap();
    let mut out = Batch::default();
    block_on(async { while reader.next(&mut out).await.unwrap() == Progress::More {} });
    out
}
