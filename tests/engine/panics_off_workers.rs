//! A panic of what a user has written is the user's error wherever it runs: sources, sinks and committers are called
//! off the workers, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond::config::{Config, RestartStrategy};
use millpond::connector::{
    BoxFuture, CommitOutcome, Committable, Committer, Generator, Guarantee, LocalBoxFuture,
    MemorySink, Progress, Reader, ReaderContext, RunIdentity, Sink, Source, SplitState, Writer,
    WriterContext,
};
use millpond::ids::{Attempt, CheckpointId, Name};
use millpond::io::Io;
use millpond::record::Batch;
use millpond::runtime::JobState;
use millpond::stream::{JobGraph, StreamEnvironment};
use millpond::{ErrorKind, Result};

use crate::engine_support::{Engine, ms, simulate, small};

/// What a source or a sink is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    DescribeSource,
    Discover,
    CheckSplits,
    /// In what its reader has the I/O runtime do.
    Read,
    DescribeSink,
    CheckSink,
    Prepare,
    /// In what its writer has the I/O runtime do.
    Stage,
    Clean,
    Commit,
}

/// Panics at one of the calls for `call`, the first of which is 0.
#[derive(Clone, Debug)]
struct Trap {
    call: Call,
    at: u64,
    met: Arc<AtomicU64>,
}

impl Trap {
    fn new(call: Call, at: u64) -> Self {
        Self { call, at, met: Arc::default() }
    }

    fn meet(&self, call: Call) {
        let is_met = self.call == call && self.met.fetch_add(1, Ordering::Relaxed) == self.at;
        assert!(!is_met, "unlucky");
    }

    async fn meet_off_the_worker(self, io: Io, call: Call) -> Result<()> {
        io.blocking(move || {
            self.meet(call);
            Ok(())
        })
        .await
    }
}

/// A connector in which the trap is.
#[derive(Debug)]
struct Trapped<C>(C, Trap);

impl<S: Source> Source for Trapped<S> {
    type Item = S::Item;

    fn describe(&self) -> String {
        self.1.meet(Call::DescribeSource);
        self.0.describe()
    }

    fn replayable(&self) -> bool {
        self.0.replayable()
    }

    fn bounded(&self) -> bool {
        self.0.bounded()
    }

    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        self.1.meet(Call::Discover);
        self.0.discover(parallelism)
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        self.1.meet(Call::CheckSplits);
        self.0.check(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<S::Item>>> {
        let (trap, io) = (self.1.clone(), context.io.clone());
        Ok(Box::new(TrappedReader { inner: self.0.reader(splits, context)?, trap, io }))
    }
}

struct TrappedReader<T> {
    inner: Box<dyn Reader<T>>,
    trap: Trap,
    io: Io,
}

impl<T: 'static> Reader<T> for TrappedReader<T> {
    fn next<'a>(&'a mut self, out: &'a mut Batch<T>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            self.trap.clone().meet_off_the_worker(self.io.clone(), Call::Read).await?;
            self.inner.next(out).await
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        self.inner.snapshot()
    }
}

impl Sink<u64> for Trapped<MemorySink<u64>> {
    fn describe(&self) -> String {
        self.1.meet(Call::DescribeSink);
        Sink::describe(&self.0)
    }

    fn guarantee(&self) -> Guarantee {
        Sink::guarantee(&self.0)
    }

    fn check(&self, run: &RunIdentity) -> Result<()> {
        self.1.meet(Call::CheckSink);
        Sink::check(&self.0, run)
    }

    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        self.1.meet(Call::Prepare);
        Sink::prepare(&self.0, run)
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<u64>>> {
        let (trap, io) = (self.1.clone(), context.io.clone());
        Ok(Box::new(TrappedWriter { inner: self.0.writer(context)?, trap, io }))
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        let committer = Sink::committer(&self.0, operator)?;
        Some(Box::new(Trapped(committer, self.1.clone())))
    }
}

struct TrappedWriter {
    inner: Box<dyn Writer<u64>>,
    trap: Trap,
    io: Io,
}

impl Writer<u64> for TrappedWriter {
    fn write(&mut self, batch: &mut Vec<u64>) -> Result<()> {
        self.inner.write(batch)
    }

    fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (trap, io) = (self.trap.clone(), self.io.clone());
        let staged = self.inner.snapshot(checkpoint);
        Box::pin(async move {
            trap.meet_off_the_worker(io, Call::Stage).await?;
            staged.await
        })
    }
}

impl Committer for Trapped<Box<dyn Committer>> {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        self.1.meet(Call::Commit);
        self.0.commit(committables)
    }

    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        self.1.meet(Call::Clean);
        self.0.clean(attempt, named)
    }
}

/// 40 records in 40 ms, which is some checkpoints; a function fails at one of the last as often as `failures` says.
fn graph(trap: &Trap, failures: u64, sink: &MemorySink<u64>) -> JobGraph {
    let failures = Arc::new(AtomicU64::new(failures));
    let env = StreamEnvironment::new();
    let source = Generator::new(40, |n| n).rate(1000);
    env.source(Trapped(source, trap.clone()))
        .map(move |n| {
            let left = |left: u64| left.checked_sub(1);
            let fails = n == 33
                && failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
            assert!(!fails, "a bad day");
            n
        })
        .sink(Trapped(sink.clone(), trap.clone()));
    env.build().unwrap()
}

/// They were told as broken promises inside Millpond, without a place; that of a description ended the process.
#[test]
fn a_panic_of_a_source_or_a_sink_is_its_users_and_has_a_place() {
    for (call, place) in [
        (Call::DescribeSource, "job job: source source-1: "),
        (Call::Discover, "job job: source source-1: "),
        (Call::Read, "job job: operator source-1 subtask "),
        (Call::DescribeSink, "job job: sink sink-1: "),
        (Call::CheckSink, "job job: sink sink-1: "),
        (Call::Prepare, "job job: sink sink-1: "),
        (Call::Stage, "job job: operator source-1 subtask "),
        (Call::Clean, "job job: sink sink-1: "),
        (Call::Commit, "job job: sink sink-1: "),
    ] {
        simulate(async {
            let (engine, _) = Engine::twin(small());
            let graph = graph(&Trap::new(call, 0), 0, &MemorySink::new());
            let error = engine.run(graph).await.unwrap_err();
            let said = error.to_string();
            assert_eq!(error.kind(), ErrorKind::User, "{call:?}: {said}");
            assert!(said.starts_with(place), "{call:?}: {said}");
            assert!(said.ends_with("a function panicked: unlucky"), "{call:?}: {said}");
            assert_eq!(engine.status().state, JobState::Failed, "{call:?}");
            assert_eq!(engine.status().last_failure, Some(said), "{call:?}");
        });
    }
}

#[test]
fn after_a_panic_of_a_source_or_a_sink_the_restart_strategy_decides() {
    for (call, at) in [
        (Call::CheckSplits, 0),
        (Call::Read, 9),
        // In the attempt that follows the function's failure: what fails before the first one has begun is final.
        (Call::Prepare, 1),
        (Call::Clean, 1),
        (Call::Stage, 0),
        (Call::Commit, 0),
    ] {
        simulate(async {
            let restart = RestartStrategy::FixedDelay { attempts: 2, delay: ms(1) };
            let (engine, _) = Engine::twin(Config { restart, ..small() });
            let (trap, sink) = (Trap::new(call, at), MemorySink::new());
            engine.run(graph(&trap, 1, &sink)).await.unwrap_or_else(|e| panic!("{call:?}: {e}"));
            let mut output = sink.output();
            output.sort_unstable();
            assert_eq!(output, (0..40).collect::<Vec<_>>(), "{call:?}");
            assert_eq!(engine.status().attempt, 3, "{call:?}");
            assert!(trap.met.load(Ordering::Relaxed) > at, "{call:?}");
        });
    }
}
