//! Whole jobs on one thread, whose time stands still while anything can be done.
//!
//! Owns defaults that suit a test, and the wiring. Running is `runtime`'s.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::checkpoint::Ended;
use crate::clock::Clock;
use crate::config::{Config, Location, RestartStrategy};
use crate::dynamodb::Execution;
use crate::error::{Error, Result};
use crate::hostile::Hostile;
use crate::ids::{CheckpointId, Name};
use crate::metrics::Metrics;
use crate::runtime::{
    self, Backend, DynamoDbStateBackend, JobStatus, MemoryBackend, Opening, Place, RunOptions,
    StartMode, Wiring,
};
use crate::task::JobGraph;

/// The time on the clock when a run begins, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_000_000;
/// The name under which it runs.
const JOB: &str = "job";

/// Runs a job to its end, over state in memory: on the caller's thread, with a clock that is paused. A failure
/// is not followed by another attempt.
///
/// # Errors
/// What the job failed with; [`crate::ErrorKind::Usage`] within a Tokio runtime, where [`Runner::run`] is to be
/// awaited.
pub fn run(graph: JobGraph) -> Result<Ended> {
    let runner = Runner::in_memory();
    paused(async move { runner.run(graph).await })?
}

/// Drives `test` on the caller's thread, in a `LocalSet`, with a clock that is paused: where nothing else can be
/// done it moves on to what is waited for next.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] within a Tokio runtime, which cannot hold another one.
pub fn paused<T>(test: impl Future<Output = T>) -> Result<T> {
    if Handle::try_current().is_ok() {
        return Err(Error::usage(
            "a runtime with a paused clock cannot be made within another Tokio runtime: make the test an ordinary \
             function, without #[tokio::test]",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| Error::internal(format!("cannot start a runtime: {e}")))?;
    Ok(LocalSet::new().block_on(&runtime, test))
}

/// Runs jobs on one backend, one after the other, each as a process of its own would: for tests of restarts,
/// of settings, and of a program that has changed. To be used within [`paused`]; clones share the backend.
///
/// ```
/// use millpond::connector::{Generator, MemorySink};
/// use millpond::stream::StreamEnvironment;
/// use millpond::testing::{Runner, paused};
///
/// let job = |numbers: u64, sums: &MemorySink<u64>| {
///     let env = StreamEnvironment::new();
///     // With a rate: time stands still while there is something to read.
///     env.source(Generator::unbounded(move |n| n % numbers).rate(1_000))
///         .key_by(|_| 0)
///         .reduce(|sum, n| sum + n)
///         .sink(sums.clone());
///     env.build()
/// };
/// let (runner, sums) = (Runner::in_memory(), MemorySink::new());
/// paused(async {
///     let clock = millpond::clock::Clock::system();
///     let stop = move |ms| async move { clock.sleep(std::time::Duration::from_millis(ms)).await };
///     runner.run_until(job(2, &sums)?, stop(50)).await?;
///     let before = sums.output().len();
///     // Goes on where the first one was stopped.
///     runner.run_until(job(2, &sums)?, stop(50)).await?;
///     assert!(sums.output().len() > before);
///     Ok::<(), millpond::Error>(())
/// })??;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Runner {
    /// Where state is.
    pub backend: Arc<dyn Backend>,
    /// Where things run; [`Place::Inline`] unless it is set.
    pub place: Place,
    /// All settings.
    pub config: Config,
    /// Go on, or start afresh.
    pub mode: StartMode,
    /// Go back to this retained checkpoint first.
    pub roll_back: Option<CheckpointId>,
    /// Take the job from another owner at once.
    pub take_over: bool,
    /// Time; `None`: one that begins with each run, at 1,000,000 ms since 1970.
    pub clock: Option<Clock>,
    /// Counters, over all runs.
    pub metrics: Metrics,
    status: watch::Sender<JobStatus>,
    runs: Arc<AtomicU64>,
}

impl Runner {
    /// On the caller's thread.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, config: Config) -> Self {
        Self {
            backend,
            place: Place::Inline,
            config,
            mode: StartMode::Auto,
            roll_back: None,
            take_over: false,
            clock: None,
            metrics: Metrics::default(),
            status: watch::Sender::new(JobStatus::default()),
            runs: Arc::default(),
        }
    }

    /// Over state in memory, with default settings, but that there are two subtasks of each operator on every machine,
    /// and that a failure ends the job.
    #[must_use]
    pub fn in_memory() -> Self {
        let restart = RestartStrategy::None;
        let config = Config { parallelism: 2, restart, ..Config::default() };
        Self::new(Arc::new(MemoryBackend::new()), config)
    }

    /// Over an embedded DynamoDB in memory, whose requests pass through `hostile`. Job and `hostile` share `clock`. After a
    /// failure, the restart strategy of `config` decides.
    ///
    /// # Errors
    /// What is wrong with the settings of the table.
    pub async fn behind(hostile: &Hostile, clock: Clock, mut config: Config) -> Result<Self> {
        config.store.location = Location::EmbeddedMemory;
        let opening = Opening { clock, ..Opening::new(Name::new(JOB)?, Execution::Inline) };
        let wrap = |client| hostile.wrap(client);
        let backend = DynamoDbStateBackend::open_through(&config, opening, &wrap).await?;
        Ok(Self { clock: Some(clock), ..Self::new(Arc::new(backend), config) })
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// Those of [`runtime::run`].
    ///
    /// # Cancel safety
    /// Dropping it is as a crash.
    pub async fn run(&self, graph: JobGraph) -> Result<Ended> {
        self.run_until(graph, pending()).await
    }

    /// The same, but asks for a graceful end when `stop` ends.
    ///
    /// # Errors
    /// Those of [`runtime::run`].
    ///
    /// # Cancel safety
    /// Dropping it is as a crash.
    pub async fn run_until(
        &self,
        graph: JobGraph,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Ended> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.runs.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let wiring = Wiring {
            place: self.place.clone(),
            clock: self.clock.unwrap_or_else(|| Clock::starting_at(BEGINNING_MS)),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
            ..Wiring::inline(Arc::clone(&self.backend))
        };
        let options = RunOptions {
            mode: self.mode,
            roll_back: self.roll_back,
            take_over: self.take_over,
            ..RunOptions::new(Name::new(JOB)?, self.config.clone(), seed)
        };
        runtime::run(graph, wiring, options, stop).await
    }

    /// What the run that is under way, or the last one, tells.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.status.borrow().clone()
    }

    /// Ends when the status is as wanted.
    pub async fn until(&self, wanted: impl FnMut(&JobStatus) -> bool) {
        // Nobody else can end it: `self` holds the other side.
        drop(self.status.subscribe().wait_for(wanted).await);
    }
}
