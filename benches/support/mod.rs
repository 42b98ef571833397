//! Child processes that run a job, and the parents that watch and kill them.
//!
//! A benchmark starts its own binary again with a role in the environment. A child says how far it is
//! in lines of its own (`mark NAME NANOSECONDS TEXT`), which its parent reads.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

#[path = "../../src/splitmix.rs"]
mod splitmix;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millpond::clock::Clock;
use millpond::config::{Config, Location, Materialize};
use millpond::dynamodb::{Connection, Execution, Options, Wrap};
use millpond::ids::Name;
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{self, DynamoDbStateBackend, JobStatus, Place, RunOptions, Wiring};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::task::JobGraph;
use millpond::{Error, ErrorKind, Result};
pub(crate) use splitmix::mix;
use tokio::sync::watch;

/// What a child is to do.
const ROLE: &str = "MILLPOND_BENCH_ROLE";

/// The role of this process; `None` in the parent.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A number that the parent gave.
pub(crate) fn given(name: &str) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The file that the parent gave.
pub(crate) fn given_file() -> PathBuf {
    std::env::var_os("FILE").unwrap_or_default().into()
}

/// Nanoseconds since 1970: the one clock that parent and child share.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
pub(crate) fn now_ns() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since [`now_ns`] was `begun`.
pub(crate) fn seconds_since(begun: u64) -> f64 {
    (now_ns() - begun) as f64 / 1e9
}

/// Tells the parent, where there is one.
pub(crate) fn mark(name: &str, text: impl std::fmt::Display) {
    if role().is_none() {
        return;
    }
    let mut out = std::io::stdout().lock();
    // A parent that is gone kills by not reading.
    let told = writeln!(out, "mark {name} {} {text}", now_ns()).and_then(|()| out.flush());
    if told.is_err() {
        std::process::exit(1);
    }
}

/// A child's line.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) name: String,
    pub(crate) at_ns: u64,
    pub(crate) text: String,
}

/// A running child; killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) spawned_ns: u64,
}

impl Worker {
    /// Starts this binary again.
    pub(crate) fn start(role: &str, file: &Path, numbers: &[(&str, u64)]) -> Result<Self> {
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.env(ROLE, role).env("FILE", file).stdin(Stdio::null()).stdout(Stdio::piped());
        for (name, number) in numbers {
            command.env(name, number.to_string());
        }
        let spawned_ns = now_ns();
        let mut child = command.spawn().map_err(failed)?;
        let out = child.stdout.take().ok_or_else(|| Error::internal("no standard output"))?;
        Ok(Self { child, lines: BufReader::new(out).lines(), spawned_ns })
    }

    /// Reads marks up to the one called `name`, which is the last.
    pub(crate) fn until(&mut self, name: &str) -> Result<Vec<Mark>> {
        let mut marks = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.map_err(failed)?;
            let mut parts = line.splitn(4, ' ');
            let (Some("mark"), Some(of), Some(at), text) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            marks.push(Mark {
                name: of.to_owned(),
                at_ns: at.parse().unwrap_or(0),
                text: text.unwrap_or_default().to_owned(),
            });
            if of == name {
                return Ok(marks);
            }
        }
        Err(Error::internal(format!("the child ended before {name:?}; it said {marks:?}")))
    }

    /// The numbers that its mark called `name` says.
    pub(crate) fn numbers<const N: usize>(&mut self, name: &str) -> Result<[f64; N]> {
        let marks = self.until(name)?;
        let text = marks.last().map_or("", |mark| &mark.text);
        let numbers: Vec<f64> = text.split(' ').filter_map(|n| n.parse().ok()).collect();
        numbers.try_into().map_err(|_| Error::internal(format!("the child said {text:?}")))
    }

    /// Ends it by SIGKILL and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("child process: {error}"))
}

/// The default settings on `file`, on two workers.
pub(crate) fn config(file: PathBuf, materialize: Materialize, interval: Duration) -> Config {
    let mut config = Config { parallelism: 2, ..Config::default() };
    config.store.location = Location::EmbeddedFile(Some(file));
    config.state.materialize = materialize;
    config.checkpointing.interval = interval;
    config
}

/// Runs `graph` as the command line does, and shows `observe` every change of its status. Never
/// ends by itself where the graph has no end.
pub(crate) fn run(graph: JobGraph, config: Config, observe: impl FnMut(&JobStatus)) -> Result<()> {
    run_through(graph, config, None, observe)
}

/// As [`run`], with something between the client and DynamoDB.
pub(crate) fn run_through(
    graph: JobGraph,
    config: Config,
    wrap: Option<Wrap<'_>>,
    mut observe: impl FnMut(&JobStatus),
) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let io = runtime::io_threads(2)?;
    runtime.block_on(async {
        let place = Place::Threads(io.handle().clone());
        let (clock, job) = (Clock::system(), Name::new("bench")?);
        let connection = Connection::open(Options {
            settings: &config.store,
            job: &job,
            clock,
            seed: now_ns(),
            execution: Execution::Thread(place.io()),
            wrap,
        })
        .await?;
        mark("opened", "");
        let retention = config.state.tombstone_retention;
        let (status, mut watched) = watch::channel(JobStatus::default());
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&now_ns().to_le_bytes());
        let options = RunOptions::new(job, config, seed);
        let backend = Arc::new(DynamoDbStateBackend::new(connection, retention));
        let io = io.handle().clone();
        let wiring = Wiring { clock, status, ..Wiring::threads(backend, io) };
        let job = runtime::run(graph, wiring, options, std::future::pending());
        let ended = {
            let watch = async {
                while watched.changed().await.is_ok() {
                    observe(&watched.borrow_and_update());
                }
                std::future::pending().await
            };
            tokio::select! {
                ended = job => ended.map(drop),
                never = watch => never,
            }
        };
        observe(&watched.borrow_and_update());
        ended
    })
}

/// Counts the records of each key; says when it is called first.
pub(crate) struct Count {
    count: ValueState<u64>,
}

impl Count {
    pub(crate) fn new(states: &mut States) -> Self {
        const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
        Self { count: states.value(COUNT) }
    }
}

static FIRST: Once = Once::new();

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, _: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        FIRST.call_once(|| mark("first", count));
        Ok(())
    }
}

/// The highest and the current resident size of this process, in kB.
pub(crate) fn resident_kb() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let find = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    (find("VmHWM:"), find("VmRSS:"))
}
