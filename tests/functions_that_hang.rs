//! A function of a job that does not return, as processes see it: the one that it is in ends with an error that names
//! it, the one that stands by goes on; and where it returns late, nobody takes the job away meanwhile. One
//! that panics hangs no more where nobody reads what it says.
//!
//! This is a binary of its own, since none of Millpond's jobs hangs: where its environment says so,
//! it is that.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod dynamodb_support;
mod process;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dynamodb_support::server::Server;
use millpond::cli::{Job, JobArgs};
use millpond::connector::Generator;
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::{JobGraph, StreamEnvironment};
use process::{Running, apart, eventually, full_pipe, lines};

const JOB: Job<JobGraph> =
    Job { name: "hangs", about: "Hangs once", default_input: "numbers", build };
const RECORDS: u64 = 400;
/// Set where the process is the job's, and not the test.
const IS_JOB: &str = "HANGS_IS_JOB";
/// For how many seconds a process's function hangs, once.
const VARIABLE: &str = "HANGS_FOR_SECONDS";
/// Set where it panics, once.
const PANICS: &str = "HANGS_NOT_BUT_PANICS";
const FOR_EVER: u64 = 100_000;
/// Much less than anything hangs here.
const LEASE: &str = "-Dhigh-availability.lease=2 s";

struct Hangs(ValueState<u64>);

impl KeyedProcess for Hangs {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        static WAS_HERE: AtomicBool = AtomicBool::new(false);
        if n == RECORDS / 2 && !WAS_HERE.swap(true, Ordering::Relaxed) {
            if let Ok(seconds) = std::env::var(VARIABLE) {
                hang(Duration::from_secs(seconds.parse().unwrap()));
            }
            assert!(std::env::var_os(PANICS).is_none(), "it panics once");
        }
        context.set(self.0, n);
        context.emit(n);
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "a function that hangs reads the clock itself")]
fn hang(duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn build(args: &JobArgs) -> millpond::Result<JobGraph> {
    let env = StreamEnvironment::new();
    env.source(Generator::new(RECORDS, |n| n).rate(RECORDS))
        .uid("numbers")
        .key_by(|n| n % 5)
        .process(|states: &mut States| Hangs(states.value(ValueDescriptor::new("last"))))
        .uid("counts")
        .sink(args.json_lines())
        .uid("out");
    env.build()
}

fn main() -> ExitCode {
    if std::env::var_os(IS_JOB).is_some() {
        return millpond::cli::run(&[JOB]);
    }
    if !is_wanted() {
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    let world = World { folder: folder.path(), server: Server::start() };
    // They wait more than they compute. The scope panics where one of them does.
    std::thread::scope(|scope| {
        scope.spawn(|| world.one_that_hangs_for_good_ends_its_process_and_a_candidate_goes_on());
        scope.spawn(|| world.a_stop_is_heard_while_one_hangs());
        scope.spawn(|| world.one_that_returns_late_keeps_its_job());
        scope.spawn(|| world.one_that_panics_goes_on_though_nobody_reads_that());
    });
    ExitCode::SUCCESS
}

/// Whether Cargo's arguments ask for this test: they may filter by name, or want a list.
fn is_wanted() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = env!("CARGO_CRATE_NAME");
    let is_met = |filter: &String| filter.starts_with('-') || name.contains(filter.as_str());
    arguments.first().is_none_or(is_met) && !arguments.iter().any(|argument| argument == "--list")
}

struct World<'a> {
    folder: &'a Path,
    server: Server,
}

impl World<'_> {
    /// A process of the job `name`.
    fn command(&self, name: &str, more: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["run", "hangs", "--no-rest", "--parallelism=2", LEASE])
            .args([&format!("--name={name}"), &format!("--output={name}")])
            .arg("-Dexecution.checkpointing.interval=100 ms")
            .arg("-Dexecution.checkpointing.timeout=2 s")
            .args(self.server.arguments())
            .args(more);
        apart(&mut command, self.folder);
        command.env(IS_JOB, "1");
        command
    }

    /// Starts one, whose function hangs for so long.
    fn start(&self, name: &str, hangs_for: Option<u64>, more: &[&str]) -> Running {
        let mut command = self.command(name, more);
        if let Some(seconds) = hangs_for {
            command.env(VARIABLE, seconds.to_string());
        }
        Running::spawn(command)
    }

    fn expect_all(&self, name: &str) {
        let mut all: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
        all.sort_unstable();
        assert_eq!(lines(&self.folder.join(name)), all, "{name}");
    }

    /// It used to keep the lease for ever, and nobody went on.
    fn one_that_hangs_for_good_ends_its_process_and_a_candidate_goes_on(&self) {
        let name = "for-good";
        let mut owner = self.start(name, Some(FOR_EVER), &["-Dtask.cancellation.timeout=4 s"]);
        let candidate = self.candidate(&mut owner, name);
        // It beats until it gives up: else the candidate would have taken over before.
        owner.end().expect(
            1,
            &["error: job for-good: operator counts subtask ", "does not return", "timed out"],
        );
        candidate.end().expect(0, &["finished"]);
        self.expect_all(name);
    }

    /// It used to be heard by nobody.
    fn a_stop_is_heard_while_one_hangs(&self) {
        let name = "stopped";
        let mut owner = self.start(name, Some(FOR_EVER), &["-Dtask.cancellation.timeout=1 h"]);
        owner.until("the attempt has ended, but for operator counts subtask ");
        owner.signal("-TERM");
        owner.end().expect(1, &["error: job stopped: operator counts subtask ", "does not return"]);
        // The head says so: nobody waits for it.
        let next = self.start(name, None, &[]).end();
        next.expect(0, &["finished"]);
        assert!(!next.said.contains("holds the job"), "{}", next.said);
        self.expect_all(name);
    }

    fn one_that_returns_late_keeps_its_job(&self) {
        let name = "late";
        let mut owner = self.start(name, Some(7), &[]);
        let candidate = self.candidate(&mut owner, name);
        owner.end().expect(0, &["restarting in", "finished"]);
        let candidate = candidate.end();
        candidate.expect(0, &["attempt ", ", which held the job, has finished it"]);
        let begins =
            ["goes on from", "starts afresh"].iter().any(|part| candidate.said.contains(part));
        assert!(!begins, "{}", candidate.said);
        self.expect_all(name);
    }

    /// It used to stand still where the panic was told, on the thread of its function.
    fn one_that_panics_goes_on_though_nobody_reads_that(&self) {
        let panics = |name| {
            let mut command = self.command(name, &[]);
            command.env(PANICS, "1");
            command
        };
        let told = ["panicked at tests/functions_that_hang.rs:", "it panics once", "finished"];
        Running::spawn(panics("read")).end().expect(0, &told);
        self.expect_all("read");
        let (_unread, full) = full_pipe();
        let mut command = panics("unread");
        let mut child = command.stdout(Stdio::null()).stderr(full).spawn().unwrap();
        let status = eventually("the end of the process", || child.try_wait().unwrap());
        assert!(status.success(), "{status}");
        self.expect_all("unread");
    }

    /// One that waits for `owner`.
    fn candidate(&self, owner: &mut Running, name: &str) -> Running {
        owner.until(&format!("{name} starts"));
        let mut candidate = self.start(name, None, &[]);
        candidate.until("holds the job: waiting");
        candidate
    }
}
