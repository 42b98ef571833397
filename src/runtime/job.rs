//! A job in one process: attempts, one after the other, until it ends. Flink: `ExecutionGraph`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::Shared as SharedFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::attempt::attempt;
use super::backend::Backend;
use super::board::{Board, is_replayable, refused};
use super::first_look::FirstLook;
use super::former;
use super::place::Place;
use super::restart::{Decision, RestartPolicy};
use super::sinks::Sinks;
use super::status::{JobState, JobStatus};
use crate::checkpoint::rules::{StartMode, bound_to};
use crate::checkpoint::{
    ClaimOptions, Claimer, Ended, HeadStatus, Heartbeat, History, Identity, ONCE, Over, Turn,
    Waiting,
};
use crate::clock::Clock;
use crate::codec::{HASH_ID, KEY_ENCODING_VERSION};
use crate::config::Config;
use crate::cost_control::CostControl;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};
use crate::io::{Io, call_user};
use crate::metrics::Metrics;
use crate::task::JobGraph;

/// What a run is to do.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Names the head.
    pub job: Name,
    /// All settings.
    pub config: Config,
    /// Go on, or start afresh.
    pub mode: StartMode,
    /// Claim without waiting for another owner's lease.
    pub take_over: bool,
    /// Remove another run's results from the output.
    pub replace_output: bool,
    /// Go back to this retained checkpoint first.
    pub roll_back: Option<CheckpointId>,
    /// Where it starts afresh: give up output that is owed and lost.
    pub abandon_output: bool,
    /// All randomness of the run comes from it; must differ between processes.
    pub seed: [u8; 32],
}

impl RunOptions {
    /// To go on where there is something to go on with, and to ask for nothing else. `seed` must differ between
    /// processes that run jobs on one table; in a test any will do.
    #[must_use]
    pub fn new(job: Name, config: Config, seed: [u8; 32]) -> Self {
        Self {
            job,
            config,
            mode: StartMode::Auto,
            take_over: false,
            replace_output: false,
            roll_back: None,
            abandon_output: false,
            seed,
        }
    }
}

/// What a run is connected to. [`super::execute`] makes all of it.
#[derive(Debug)]
pub struct Wiring {
    /// Where state is.
    pub backend: Arc<dyn Backend>,
    /// Where things run.
    pub place: Place,
    /// Time.
    pub clock: Clock,
    /// Counters; they outlive the run.
    pub metrics: Metrics,
    /// Told what happens.
    pub status: watch::Sender<JobStatus>,
}

impl Wiring {
    /// Everything on the caller's thread, by the system's clock; counters and status are nobody else's.
    #[must_use]
    pub fn inline(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            place: Place::Inline,
            clock: Clock::system(),
            metrics: Metrics::default(),
            status: watch::Sender::new(JobStatus::default()),
        }
    }

    /// The same, but with a thread for each worker, and I/O on the runtime of `io`: [`super::io_threads`], or a
    /// program's own.
    #[must_use]
    pub fn threads(backend: Arc<dyn Backend>, io: Handle) -> Self {
        Self { place: Place::Threads(io), ..Self::inline(backend) }
    }
}

/// What the attempts of a run share.
pub(super) struct Shared {
    pub(super) job: Name,
    pub(super) graph: Arc<JobGraph>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) config: Arc<Config>,
    pub(super) place: Place,
    pub(super) io: Io,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) history: History,
    pub(super) cost_control: CostControl,
    pub(super) sinks: Arc<Sinks>,
    pub(super) status: Board,
    pub(super) first_look: Arc<FirstLook>,
    pub(super) replace_output: bool,
}

/// Runs `graph` until it finishes, is stopped or has failed for good. `stop` asks for a graceful end,
/// with a last checkpoint. The status is kept up to date, its final state included.
///
/// # Errors
/// The error that no further attempt is made after; [`ErrorKind::Fenced`] where another process has
/// taken over.
///
/// # Cancel safety
/// Dropping it is as a crash: nothing committed is lost, and the next run goes on.
pub async fn run(
    graph: JobGraph,
    wiring: Wiring,
    options: RunOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Ended> {
    let Wiring { backend, place, clock, metrics, status } = wiring;
    let (graph, io) = (Arc::new(graph), place.io());
    let mut options = options;
    options.config.state = options.config.state.on_capacity(backend.provisioned());
    let history = History::default();
    // Sources and sinks are asked here what the board asks them again.
    let asked = identity(&graph, &options.config)
        .and_then(|identity| Ok((identity, Sinks::new(&graph, &io)?)))
        .map_err(|error| error.at(format!("job {}", options.job)));
    let (identity, sinks) = match asked {
        Ok(asked) => asked,
        Err(error) => return refused(&status, &options.job, clock, error),
    };
    let board = Board::new(status, &options, &graph, &*backend, clock, &metrics, &history);
    let first_look = FirstLook::new(
        options.job.clone(),
        Arc::clone(&graph),
        options.config.parallelism,
        options.replace_output,
        io.clone(),
    );
    let shared = Shared {
        job: options.job.clone(),
        sinks: Arc::new(sinks),
        graph,
        backend,
        config: Arc::new(options.config.clone()),
        place,
        io,
        clock,
        metrics,
        history,
        cost_control: board.cost_control(),
        status: board,
        first_look: Arc::new(first_look),
        replace_output: options.replace_output,
    };
    let stop = stop.boxed().shared();
    let stopping = stop.clone();
    let result = tokio::select! {
        biased;
        // On the heap: an attempt holds all that its driver does.
        result = Box::pin(supervise(&shared, options, identity, stop)) => result,
        never = shared.status.keep_current(&*shared.backend) => match never {},
        never = tell_of_stop(&shared, stopping) => match never {},
        never = shared.backend.follow_capacity() => match never {},
    };
    shared.status.ended(&*shared.backend, &result);
    result
}

/// Ends when a graceful end is wanted, for whoever asks.
pub(super) type Stop = SharedFuture<futures::future::BoxFuture<'static, ()>>;

async fn tell_of_stop(shared: &Shared, stop: Stop) -> Infallible {
    stop.await;
    shared.status.cancelling();
    std::future::pending().await
}

async fn supervise(
    shared: &Shared,
    options: RunOptions,
    identity: Identity,
    stop: Stop,
) -> Result<Ended> {
    if !is_replayable(&shared.graph) {
        let asked = match options.roll_back {
            Some(_) => Some("--roll-back to"),
            None => (options.mode == StartMode::Resume).then_some("--resume"),
        };
        if let Some(asked) = asked {
            let message = format!("the input cannot be replayed, so there is nothing to {asked}");
            return Err(Error::usage(message));
        }
    }
    let mut random = StdRng::from_seed(options.seed);
    let mut claimer = claimer(shared, &options, identity, random.random());
    let mut policy = RestartPolicy::new(options.config.restart.clone());
    let begun = shared.clock.now();
    // Of the last claim that was won: it beats until the next one has, whatever the delay.
    let mut heartbeat = None;
    let mut first = true;
    loop {
        let attempt_began = shared.clock.now();
        let error = match one_attempt(shared, &mut claimer, &mut heartbeat, stop.clone()).await {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => return stopped_outside(shared, &claimer).await,
            Err(error) => error.at(format!("job {}", shared.job)),
        };
        let now = shared.clock.now();
        // What fails before the first attempt has begun is a wrong call, most likely, and somebody looks on; but nobody
        // does where another owner was waited for, which may have been for days.
        let decision = if first && !shared.status.has_run() && !claimer.stood_by() {
            Decision::GiveUp("the job did not start".to_owned())
        } else if stop.clone().now_or_never().is_some() {
            // The last checkpoint that was asked for has failed with the attempt.
            Decision::GiveUp("it was to stop".to_owned())
        } else {
            let (now, ran) = (now - begun, now - attempt_began);
            policy.on_failure(error.kind(), now, ran, random.random())
        };
        first = false;
        match decision {
            Decision::Restart(delay) => {
                tracing::warn!("{error}; restarting in {delay:?}{}", lost_by_restart(shared));
                shared.status.restarting(&error);
                tokio::select! {
                    biased;
                    () = beating(&mut heartbeat, shared.clock.sleep(delay)) => {}
                    () = stop.clone() => return stopped_outside(shared, &claimer).await,
                }
            }
            Decision::GiveUp(reason) => {
                tracing::debug!("no further attempt: {reason}");
                shared.status.failing();
                if error.kind() != ErrorKind::Fenced
                    // Whatever else went wrong did so in a job that is another's, which may be why: its
                    // slots are written anew.
                    && let Err(fenced) = leave(shared, &claimer, HeadStatus::Failed).await
                {
                    tracing::warn!("before it was known who owns the job: {error}");
                    return Err(fenced);
                }
                return Err(error);
            }
        }
    }
}

/// A stop before an attempt has started its workers, or between two: nothing runs that could take a last
/// checkpoint.
async fn stopped_outside(shared: &Shared, claimer: &Claimer) -> Result<Ended> {
    leave(shared, claimer, HeadStatus::Stopped).await?;
    Ok(Ended::Stopped)
}

/// Tells the head, so that the next run need not wait for the lease. Where it cannot be told, that is
/// logged only; after a lease there is no need to.
///
/// # Errors
/// [`ErrorKind::Fenced`] where the job is another's.
async fn leave(shared: &Shared, claimer: &Claimer, status: HeadStatus) -> Result<()> {
    let left = tokio::select! {
        biased;
        left = claimer.leave(status) => left,
        () = shared.clock.sleep(shared.config.lease) => {
            Err(Error::new(ErrorKind::Store, format!("no answer within {:?}", shared.config.lease)))
        }
    };
    match left {
        Err(fenced) if fenced.kind() == ErrorKind::Fenced => {
            Err(fenced.at(format!("job {}", shared.job)))
        }
        Err(error) => {
            tracing::warn!("the head could not be marked as {status}: {error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What a restart loses, in words that follow others; nothing where all input can be gone back to.
fn lost_by_restart(shared: &Shared) -> String {
    if is_replayable(&shared.graph) {
        return String::new();
    }
    let since = match shared.history.overview().latest_completed {
        Some(last) => format!("after checkpoint {}", last.id),
        None => "so far".to_owned(),
    };
    format!("; the input cannot be replayed: what was read of it {since} is lost")
}

/// Does `work` and keeps the lease meanwhile, if there is one.
async fn beating<T>(heartbeat: &mut Option<Heartbeat>, work: impl Future<Output = T>) -> T {
    match heartbeat {
        Some(heartbeat) => heartbeat.throughout(work).await,
        None => work.await,
    }
}

/// Claims and runs; `None`: it was to stop before any worker was started.
async fn one_attempt(
    shared: &Shared,
    claimer: &mut Claimer,
    heartbeat: &mut Option<Heartbeat>,
    stop: Stop,
) -> Result<Option<Ended>> {
    shared.status.initializing();
    let told = AtomicU64::new(0);
    let progress = |waiting: Waiting| {
        // Once for each owner: how long it takes is up to that one.
        if told.swap(waiting.attempt.0, Ordering::Relaxed) != waiting.attempt.0 {
            tracing::warn!(
                "attempt {} of owner {} holds the job: waiting until it ends or has been silent for \
                 {:?}; --take-over claims at once",
                waiting.attempt,
                waiting.owner,
                waiting.lease
            );
            shared.status.waiting(waiting.attempt);
        }
    };
    let turn = tokio::select! {
        biased;
        turn = beating(heartbeat, claimer.claim(&progress)) => turn,
        () = stop.clone() => return Ok(None),
    };
    let (claimed, begun) = match turn {
        Ok(Turn::Mine(mine)) => *mine,
        Ok(Turn::Over(Over { attempt, owner })) => {
            tracing::warn!(
                "attempt {attempt} of owner {owner}, which held the job, has finished it: nothing is left to do"
            );
            return Ok(Some(Ended::Finished));
        }
        Err(error) => {
            // Won, but not read: the one before beats for nothing from then on.
            if let Some(unread) = claimer.take_unread() {
                *heartbeat = Some(unread);
            }
            return Err(error);
        }
    };
    let heartbeat = heartbeat.insert(begun);
    shared.status.claimed(&claimed);
    tokio::select! {
        // Else the order of calls would be Tokio's chance, and a simulation not repeatable.
        biased;
        ended = attempt(shared, &claimed, heartbeat, stop) => ended,
        never = former::purge(shared, &claimed) => match never {},
    }
}

fn claimer(shared: &Shared, options: &RunOptions, identity: Identity, seed: [u8; 32]) -> Claimer {
    let (backend, job) = (Arc::clone(&shared.backend), shared.job.clone());
    let claimer = Claimer::new(
        ClaimOptions {
            job: job.clone(),
            identity,
            mode: options.mode,
            exclusive: backend.is_exclusive() || options.take_over,
            roll_back: options.roll_back,
            abandon_output: options.abandon_output,
            lease: options.config.lease,
        },
        backend.heads(),
        Arc::new(move |incarnation| backend.store(&job, incarnation)),
        Arc::clone(&shared.sinks) as _,
        shared.io.clone(),
        shared.clock,
        seed,
    );
    claimer.inspecting(Arc::clone(&shared.first_look) as _)
}

fn identity(graph: &JobGraph, config: &Config) -> Result<Identity> {
    let mut input = String::new();
    for vertex in &graph.vertices {
        if let Some(source) = vertex.source() {
            let id = &graph.operators[vertex.operator()];
            let (replayable, what) = call_user(|| Ok((source.replayable(), source.describe())))
                .map_err(|e| e.at(format!("source {id}")))?;
            let once = if replayable { "" } else { ONCE };
            let _ = writeln!(input, "{id}: {what}{once}");
        }
    }
    Ok(Identity {
        hash: HASH_ID.to_owned(),
        key_encoding: KEY_ENCODING_VERSION,
        max_parallelism: config.max_parallelism,
        graph: bound_to(&graph.description),
        input,
        is_rolled_back: false,
    })
}

/// For a run that could not even begin.
pub(super) fn final_state(result: &Result<Ended>) -> JobState {
    match result {
        Ok(Ended::Finished) => JobState::Finished,
        Ok(Ended::Stopped) => JobState::Canceled,
        Err(_) => JobState::Failed,
    }
}
