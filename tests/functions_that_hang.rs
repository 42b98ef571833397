//! A function of a job that does not return, as processes see it: the one that it is in ends with an error that names
//! it, the one that stands by goes on; and where it returns late, nobody takes the job away meanwhile.
//!
//! This is a binary of its own, since none of Millpond's jobs hangs: called with `run`, it is that.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod dynamodb_support;
mod process;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dynamodb_support::server::Server;
use millpond::cli::{Job, JobArgs};
use millpond::connector::Generator;
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use process::{Running, apart, lines};

const JOB: Job<JobGraph> =
    Job { name: "hangs", about: "Hangs once", default_input: "numbers", build };
const RECORDS: u64 = 400;
/// For how many seconds a process's function hangs, once.
const VARIABLE: &str = "HANGS_FOR_SECONDS";
const FOR_EVER: u64 = 100_000;
/// Much less than anything hangs here.
const LEASE: &str = "-Dhigh-availability.lease=2 s";

struct Hangs(ValueState<u64>);

impl KeyedProcess for Hangs {
    type Key = u64;
    type In = u64;
    type Out = u64;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        static HAS_HUNG: AtomicBool = AtomicBool::new(false);
        if n == RECORDS / 2
            && let Ok(seconds) = std::env::var(VARIABLE)
            && !HAS_HUNG.swap(true, Ordering::Relaxed)
        {
            hang(Duration::from_secs(seconds.parse().unwrap()));
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
    if std::env::args().nth(1).as_deref() == Some("run") {
        return millpond::cli::run(&[JOB]);
    }
    let folder = tempfile::tempdir().unwrap();
    let world = World { folder: folder.path(), server: Server::start() };
    // They wait more than they compute. The scope panics where one of them does.
    std::thread::scope(|scope| {
        scope.spawn(|| world.one_that_hangs_for_good_ends_its_process_and_a_candidate_goes_on());
        scope.spawn(|| world.a_stop_is_heard_while_one_hangs());
        scope.spawn(|| world.one_that_returns_late_keeps_its_job());
    });
    ExitCode::SUCCESS
}

struct World<'a> {
    folder: &'a Path,
    server: Server,
}

impl World<'_> {
    /// A process of the job `name`, whose function hangs for so long.
    fn start(&self, name: &str, hangs_for: Option<u64>, more: &[&str]) -> Running {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["run", "hangs", "--no-rest", "--parallelism=2", LEASE])
            .args([&format!("--name={name}"), &format!("--output={name}")])
            .arg("-Dexecution.checkpointing.interval=100 ms")
            .arg("-Dexecution.checkpointing.timeout=2 s")
            .args(self.server.arguments())
            .args(more);
        apart(&mut command, self.folder);
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
        let mut owner = self.start(name, Some(FOR_EVER), &["-Dtask.cancellation.timeout=6 s"]);
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
        let mut owner = self.start(name, Some(10), &[]);
        let candidate = self.candidate(&mut owner, name);
        owner.end().expect(0, &["restarting in", "finished"]);
        let candidate = candidate.end();
        candidate.expect(0, &["attempt ", ", which held the job, has finished it"]);
        let begins =
            ["goes on from", "starts afresh"].iter().any(|part| candidate.said.contains(part));
        assert!(!begins, "{}", candidate.said);
        self.expect_all(name);
    }

    /// One that waits for `owner`.
    fn candidate(&self, owner: &mut Running, name: &str) -> Running {
        owner.until(&format!("{name} starts"));
        let mut candidate = self.start(name, None, &[]);
        candidate.until("holds the job: waiting");
        candidate
    }
}
