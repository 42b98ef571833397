//! A job in a program of one's own, by one call: threads, state, and the run. Flink: `execute()`.
//!
//! Owns the order in which these are made and let go. What runs is `job`'s, what opens state `dynamodb_backend`'s.

use std::sync::Arc;

use futures::FutureExt;
use rand::TryRngCore;
use rand::rngs::OsRng;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use super::board::never_began;
use super::dynamodb_backend::{DynamoDbStateBackend, Opening};
use super::job::{RunOptions, Wiring, run};
use super::place::{Place, io_threads};
use super::status::JobStatus;
use crate::checkpoint::Ended;
use crate::clock::Clock;
use crate::config::Config;
use crate::dynamodb::Execution;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::task::JobGraph;

/// Threads of the I/O runtime: calls, compression and the driver. One is enough on 2 cores; a second
/// keeps the driver prompt while a segment is compressed.
const IO_THREADS: usize = 2;

impl RunOptions {
    /// As [`RunOptions::new`], for the job called `job`, with a seed from the system: no two processes share one.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] for a name that is not valid; [`ErrorKind::Io`] where the system gives no random numbers.
    pub fn named(job: &str, config: Config) -> Result<Self> {
        Ok(Self::new(Name::new(job)?, config, system_seed()?))
    }
}

/// From the system, so that no two processes share one.
pub(crate) fn system_seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|e| {
        Error::new(ErrorKind::Io, format!("the system gives no random numbers: {e}"))
    })?;
    Ok(seed)
}

/// Runs `graph` as the command line does: on threads of its own, with its state on the DynamoDB that the configuration of
/// `options` names, until it finishes, is stopped or has failed for good. `stop` asks for a graceful end, with a last
/// checkpoint; signals are the program's own affair. Flink: `StreamExecutionEnvironment.execute`.
///
/// It is awaited within a Tokio runtime with time and I/O, of any kind; no record is processed on that runtime's threads.
/// The settings are the program's: [`Config::default`], or [`crate::config::load`] of files and variables. With glibc the
/// process takes memory from one heap from then on, and what is as large as 2 MiB gets a mapping of its own.
///
/// ```
/// use millpond::config::{Config, Location};
/// use millpond::connector::{Generator, MemorySink};
/// use millpond::runtime::{self, Ended, RunOptions};
/// use millpond::stream::StreamEnvironment;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> millpond::Result<()> {
///     let env = StreamEnvironment::new();
///     let sums = MemorySink::new();
///     env.source(Generator::new(100, |n| n))
///         .key_by(|n| n % 10)
///         .reduce(|sum, n| sum + n)
///         .sink(sums.clone());
///     let mut config = Config::default();
///     config.store.location = Location::EmbeddedMemory;
///     let options = RunOptions::named("sums", config)?;
///     let ended = runtime::execute(env.build()?, options, std::future::pending()).await?;
///     assert_eq!((ended, sums.output().len()), (Ended::Finished, 100));
///     Ok(())
/// }
/// ```
///
/// # Errors
/// Those of [`run`] and of [`DynamoDbStateBackend::open`]; [`ErrorKind::Usage`] outside a Tokio runtime.
///
/// # Cancel safety
/// Dropping it is as a crash: nothing committed is lost, and the next run goes on. An embedded database's file is let go of a
/// moment later; until then it is held, as by another process ([`ErrorKind::Usage`]). After a stop by `stop` it is free.
pub async fn execute(
    graph: JobGraph,
    options: RunOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended> {
    execute_watched(graph, options, watch::Sender::new(JobStatus::default()), stop).await
}

/// As [`execute`], and tells `status` what happens, the final state included.
///
/// # Errors
/// As [`execute`].
///
/// # Cancel safety
/// As [`execute`].
pub async fn execute_watched(
    graph: JobGraph,
    options: RunOptions,
    status: watch::Sender<JobStatus>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended> {
    let (job, clock) = (options.job.clone(), Clock::system());
    let ended = Box::pin(on_threads(graph, options, status.clone(), clock, stop)).await;
    // Where it never came to the run, nobody has told.
    if !status.borrow().state.is_final() {
        never_began(&status, &job, clock, &ended);
    }
    ended
}

async fn on_threads(
    graph: JobGraph,
    options: RunOptions,
    status: watch::Sender<JobStatus>,
    clock: Clock,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended> {
    if Handle::try_current().is_err() {
        return Err(Error::usage("a job is run within a Tokio runtime with time and I/O"));
    }
    let io = io_threads(IO_THREADS)?;
    let handle = io.handle().clone();
    let _threads = IoThreads(Some(io));
    let opening = Opening {
        clock,
        seed: options.seed.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte)),
        ..Opening::new(options.job.clone(), Execution::Thread(Place::Threads(handle.clone()).io()))
    };
    let stop = stop.boxed().shared();
    // A server that does not answer is waited for: only who runs the job ends that.
    let backend = tokio::select! {
        opened = DynamoDbStateBackend::open(&options.config, opening) => Arc::new(opened?),
        () = stop.clone() => return Ok(Ended::Stopped),
    };
    let wiring = Wiring { clock, status, ..Wiring::threads(Arc::clone(&backend) as _, handle) };
    let result = Box::pin(run(graph, wiring, options, stop)).await;
    let closed = match Arc::into_inner(backend) {
        Some(backend) => backend.into_connection().close().await,
        None => Ok(()),
    };
    // What the job failed with says more than what its end failed with.
    result.and_then(|ended| closed.map(|()| ended))
}

/// The I/O runtime. It is not just dropped: inside another runtime that panics, and every error's way
/// out leads through one.
struct IoThreads(Option<Arc<Runtime>>);

impl Drop for IoThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;
    use crate::config::{Credentials, Location, Secret};
    use crate::connector::{Generator, MemorySink};
    use crate::runtime::JobState;
    use crate::stream::StreamEnvironment;

    /// Counts without end, a thousand records a second.
    fn counts(sink: &MemorySink<u64>) -> JobGraph {
        let env = StreamEnvironment::new();
        env.source(Generator::unbounded(|_| 1).rate(1_000))
            .uid("ones")
            .key_by(|_| 0_u64)
            .reduce(|count, one| count + one)
            .uid("counts")
            .sink(sink.clone())
            .uid("out");
        env.build().unwrap()
    }

    fn at(location: Location) -> RunOptions {
        let mut config = Config::default();
        config.store.location = location;
        config.checkpointing.interval = Duration::from_millis(20);
        RunOptions::named("counts", config).unwrap()
    }

    #[tokio::test]
    async fn a_job_runs_by_one_call_and_the_next_one_goes_on_where_it_was_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = || at(Location::EmbeddedFile(Some(folder.path().join("state.db"))));
        let sink = MemorySink::new();
        for _ in 0..2 {
            let (seen, before) = (sink.clone(), sink.output().len());
            let stop = async move {
                while seen.output().len() < before + 10 {
                    Clock::system().sleep(Duration::from_millis(5)).await;
                }
            };
            assert_eq!(execute(counts(&sink), file(), stop).await.unwrap(), Ended::Stopped);
        }
        let output = sink.output();
        let distinct: BTreeSet<u64> = output.iter().copied().collect();
        assert_eq!(distinct, (1..=output.len() as u64).collect());
    }

    #[tokio::test]
    async fn who_stops_does_not_wait_for_a_table_that_does_not_answer() {
        // Connections are taken and never answered.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = Location::Remote {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some(format!("http://{}", silent.local_addr().unwrap())),
            credentials: Credentials::basic("id", Secret::new("secret".to_owned())),
        };
        let (status, watched) = watch::channel(JobStatus::default());
        let graph = counts(&MemorySink::new());
        let ended = execute_watched(graph, at(remote), status, ready(())).await;
        assert_eq!(ended.unwrap(), Ended::Stopped);
        let told = watched.borrow();
        assert_eq!((told.state, told.name.as_str()), (JobState::Canceled, "counts"));
    }

    #[test]
    fn outside_a_runtime_the_error_says_what_is_missing() {
        let never = execute(counts(&MemorySink::new()), at(Location::EmbeddedMemory), pending());
        let error = futures::executor::block_on(never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("within a Tokio runtime"), "{error}");
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_is_told_as_the_job_s_failure() {
        let folder = tempfile::tempdir().unwrap();
        let (status, watched) = watch::channel(JobStatus::default());
        // A folder is no database.
        let options = at(Location::EmbeddedFile(Some(folder.path().to_owned())));
        let graph = counts(&MemorySink::new());
        let error = execute_watched(graph, options, status, pending()).await.unwrap_err();
        let told = watched.borrow();
        assert_eq!(told.state, JobState::Failed);
        assert_eq!(told.last_failure, Some(error.to_string()));
    }

    #[test]
    fn named_options_never_share_a_seed() {
        let seed = || RunOptions::named("counts", Config::default()).unwrap().seed;
        assert_ne!(seed(), seed());
        assert_eq!(
            RunOptions::named("a/b", Config::default()).unwrap_err().kind(),
            ErrorKind::Usage
        );
    }
}
