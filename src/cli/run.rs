//! `run`: a job from its arguments to its exit code.
//!
//! Everything here shares the main thread: the status server, the progress line, events and signals
//! are futures beside the engine's. Nothing is spawned, so nothing outlives the job. What is said goes by the bar, which
//! waits for no reader.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;

use super::args::RunArgs;
use super::bar::Bar;
use super::engine::{Engine, Stop};
use super::exit::Exit;
use super::job::{self, Job};
use super::job_args::JobArgs;
use super::{events, signals, text};
use crate::checkpoint::Ended;
use crate::clock::{Clock, Instant};
use crate::config::{self, Config, Location};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};
use crate::io::panic_message;
use crate::runtime::{JobState, JobStatus, RunOptions, system_seed};
use crate::server::{self, Bound};

/// How often the progress line is drawn.
const ON_TERMINAL: Duration = Duration::from_millis(200);
/// How often progress is logged if there is no terminal.
const IN_LOG: Duration = Duration::from_secs(10);

/// Runs one job.
///
/// # Errors
/// What was wrong with the call, or what the job failed with.
pub(super) fn run<E: Engine>(
    engine: E,
    jobs: &[Job<E::Graph>],
    args: &RunArgs,
    environment: Vec<(String, String)>,
    bar: &Bar,
) -> Result<Exit> {
    if args.with_parent {
        signals::end_with_parent()?;
    }
    let job = job::find(jobs, &args.job)?;
    let name = Name::new(args.name.as_deref().unwrap_or(job.name))?;
    let config = config::load(&args.sources(environment))?;
    let job_args = args.job_args()?;
    let graph = build(job, &job_args)?;
    job_args.check_all_used()?;
    let events = args.events.as_deref().map(events::Writer::open).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start: {e}")))?;
    let options = options(args, name, config)?;
    runtime.block_on(async {
        signals::outlive_full_disks()?;
        let clock = Clock::system();
        let bound = bind(args, &options.config).await?;
        // What asks before the store is open is to find the job, too.
        let created = JobStatus::of(&options.job, clock.wall_ms());
        let (status, watched) = watch::channel(created);
        let (stop, stopped) = watch::channel(Stop::No);
        let in_memory = options.config.store.location == Location::EmbeddedMemory;
        let mut job = pin!(engine.run(graph, options, status, stopped));
        let mut watcher = Watcher::new(watched, clock, bar, events);
        watcher.in_memory = in_memory;
        if let Some(bound) = &bound {
            watcher.served = Some(bound.address());
            watcher.notice = bound.notice().map(str::to_owned);
        }
        match accompany(job.as_mut(), watcher, bound, signals::stream()?, &stop).await {
            Outcome::Ended(result) => result,
            // Not by returning: dropping the job would wait for its workers.
            Outcome::Left => {
                bar.flush();
                std::process::exit(Exit::Interrupted as i32)
            }
        }
    })
}

/// Builds the graph of `job`; a panic of its code is an error as it is in a run.
fn build<G>(job: &Job<G>, args: &JobArgs) -> Result<G> {
    let built = catch_unwind(AssertUnwindSafe(|| (job.build)(args)));
    built.unwrap_or_else(|panic| {
        let why = panic_message(panic.as_ref());
        Err(Error::new(ErrorKind::User, format!("building job {} panicked: {why}", job.name)))
    })
}

fn options(args: &RunArgs, job: Name, config: Config) -> Result<RunOptions> {
    Ok(RunOptions {
        mode: args.mode(),
        take_over: args.take_over,
        replace_output: args.replace,
        roll_back: args.roll_back.map(CheckpointId),
        abandon_output: args.abandon_output,
        ..RunOptions::new(job, config, system_seed()?)
    })
}

async fn bind(args: &RunArgs, config: &Config) -> Result<Option<Bound>> {
    if args.no_rest {
        return Ok(None);
    }
    server::bind(&config.rest).await.map(Some)
}

/// How the wait for a job ended.
enum Outcome {
    /// The job ended.
    Ended(Result<Exit>),
    /// A second signal came first.
    Left,
}

/// Drives `job` with all that goes beside it.
async fn accompany(
    job: Pin<&mut impl Future<Output = Result<Ended>>>,
    mut watcher: Watcher<'_>,
    bound: Option<Bound>,
    signals: impl Stream<Item = ()>,
    stop: &watch::Sender<Stop>,
) -> Outcome {
    let mut server = pin!(serve(bound, watcher.status.clone(), watcher.clock));
    let mut signals = pin!(signals);
    let mut job = job.fuse();
    let mut interrupted = false;
    loop {
        tokio::select! {
            result = &mut job => {
                watcher.finish();
                return Outcome::Ended(result.map(|ended| exit(ended, interrupted)));
            }
            Some(()) = signals.next() => {
                if interrupted {
                    watcher.bar.clear();
                    let left = text::left(&watcher.status.borrow(), watcher.in_memory);
                    watcher.say(&left);
                    return Outcome::Left;
                }
                interrupted = true;
                watcher.say(watcher.stopping());
                stop.send_replace(Stop::Gracefully);
            }
            () = watcher.watch() => {}
            () = &mut server => {}
        }
    }
}

/// Never ends: the end of the job drops it, which is all the shutdown that idle connections need.
async fn serve(bound: Option<Bound>, status: watch::Receiver<JobStatus>, clock: Clock) {
    if let Some(bound) = bound
        && let Err(error) = bound.serve(status, clock, std::future::pending()).await
    {
        tracing::warn!("{error}");
    }
    std::future::pending().await
}

/// A signal that came when the job was about to finish has interrupted nothing.
fn exit(ended: Ended, interrupted: bool) -> Exit {
    match ended {
        Ended::Stopped if interrupted => Exit::Interrupted,
        Ended::Stopped | Ended::Finished => Exit::Done,
    }
}

/// Looks at the status and tells of it.
struct Watcher<'a> {
    status: watch::Receiver<JobStatus>,
    clock: Clock,
    bar: &'a Bar,
    events: Option<events::Writer>,
    /// The state ends with the process.
    in_memory: bool,
    /// The first line has been said.
    opened: bool,
    /// Where the status is served, and what is to be said of that, after the first line; `None` once it was.
    served: Option<SocketAddr>,
    notice: Option<String>,
    /// When progress was reported last, and at how many records.
    told: (Instant, u64),
}

impl<'a> Watcher<'a> {
    fn new(
        status: watch::Receiver<JobStatus>,
        clock: Clock,
        bar: &'a Bar,
        events: Option<events::Writer>,
    ) -> Self {
        let told = (clock.now(), 0);
        Self {
            status,
            clock,
            bar,
            events,
            in_memory: false,
            opened: false,
            served: None,
            notice: None,
            told,
        }
    }

    /// Never ends.
    ///
    /// # Cancel safety
    /// May be dropped at any await and called again.
    async fn watch(&mut self) {
        let every = if self.bar.is_hidden() { IN_LOG } else { ON_TERMINAL };
        loop {
            self.look();
            tokio::select! {
                changed = self.status.changed() => if changed.is_err() {
                    // The job is about to return: there will be no other status.
                    return std::future::pending().await;
                },
                () = self.clock.sleep_until(self.told.0 + every) => self.tell(),
            }
        }
    }

    /// Takes up the newest status: the first line, events.
    fn look(&mut self) {
        self.open();
        self.record();
    }

    /// Says the first line as soon as it is known, and then what had to wait for it. A candidate that waits for
    /// another process may be asked how it is, too.
    fn open(&mut self) {
        if self.opened {
            return;
        }
        let waits = self.status.borrow().waiting_for.is_some();
        if waits {
            self.tell_where();
        }
        let line = text::opening(&self.status.borrow());
        if let Some(line) = line {
            self.opened = true;
            self.say(&line);
            let repeats = text::repeats(&self.status.borrow());
            if let Some(repeats) = repeats {
                self.say(&repeats);
            }
            self.tell_where();
        }
    }

    /// Says once where the status is served.
    fn tell_where(&mut self) {
        if let Some(address) = self.served.take() {
            tracing::info!("the status is on http://{address}");
        }
        if let Some(notice) = self.notice.take() {
            self.say(&notice);
        }
    }

    fn tell(&mut self) {
        let (then, records_then) = self.told;
        let now = self.clock.now();
        let status = self.status.borrow();
        let records = status.metrics.records_read;
        let seconds = now.duration_since(then).as_secs_f64();
        let rate = if seconds > 0.0 { (records - records_then) as f64 / seconds } else { 0.0 };
        let line = text::progress(&status, rate);
        drop(status);
        self.told = (now, records);
        if !self.bar.is_hidden() {
            self.bar.show(line);
        } else if records > 0 {
            self.bar.mention(&line);
        }
    }

    /// Events are an aid: where they cannot be written, the job goes on without.
    fn record(&mut self) {
        let Some(writer) = &mut self.events else { return };
        let status = self.status.borrow_and_update();
        if let Err(error) = writer.write(&status, self.clock.wall_ms()) {
            tracing::warn!("no further events: {error}");
            drop(status);
            self.events = None;
        }
    }

    /// The last events and the summary.
    fn finish(&mut self) {
        self.look();
        self.bar.clear();
        let status = self.status.borrow();
        if status.start.is_some() {
            self.bar.note(&text::summary(&status, self.clock.wall_ms()));
        }
    }

    /// What a first signal leads to.
    fn stopping(&self) -> &'static str {
        let status = self.status.borrow();
        match status.state {
            JobState::Restarting => "stopping between two attempts, without a last checkpoint",
            _ if status.start.is_none() => "stopping: the job has not begun",
            JobState::Initializing => "stopping before the job goes on, without a last checkpoint",
            _ => "stopping after a last checkpoint; again to leave at once",
        }
    }

    fn say(&self, line: &str) {
        self.bar.note(line);
    }
}

#[cfg(test)]
mod tests;
