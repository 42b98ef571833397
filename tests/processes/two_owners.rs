//! Two processes, one job, one DynamoDB: the older attempt is fenced, and what it does afterwards is
//! seen nowhere. It is a real zombie: stopped by SIGSTOP at a point of the protocol for longer than
//! the lease, and woken when another has taken over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::points;
use tempfile::TempDir;

use crate::dynamodb_support::server::Server;
use crate::process::{Ran, Running, eventually, flights, lines, millpond, published, run};

const FLIGHTS: usize = 1000;
/// Slow enough for an older attempt to be in the middle of its work when another takes over.
const SLOW: &str = "--rate=500";
/// Cases under way at a time: they wait more than they compute.
const AT_A_TIME: usize = 6;

/// One job, its input and what an undisturbed run makes of it.
struct World {
    folder: TempDir,
    server: Server,
    undisturbed: Vec<String>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        flights(&folder.path().join("input"), FLIGHTS, 4);
        let world = Self { folder, server: Server::start(), undisturbed: Vec::new() };
        run(world.path(), &world.arguments("undisturbed", &[])).expect(0, &[]);
        let undisturbed = lines(&world.output("undisturbed"));
        assert_eq!(undisturbed.len(), FLIGHTS);
        Self { undisturbed, ..world }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn output(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// All runs of one name share head and output.
    fn arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec![
            "run".to_owned(),
            "route_stats".to_owned(),
            "--no-rest".to_owned(),
            format!("--name={name}"),
            "--input=input/*.csv".to_owned(),
            format!("--output={name}"),
            "--parallelism=2".to_owned(),
            "-Dexecution.checkpointing.interval=80 ms".to_owned(),
            "-Dhigh-availability.lease=1 s".to_owned(),
            // A second attempt in the process would hide what the first one failed with.
            "-Drestart-strategy.type=none".to_owned(),
        ];
        arguments.extend(self.server.arguments());
        arguments.extend(more.iter().map(|&text| text.to_owned()));
        arguments
    }

    fn start(&self, name: &str, more: &[&str]) -> Running {
        Running::start(self.path(), &self.arguments(name, more))
    }

    /// A run of `rate` that has published some of its output.
    fn under_way(&self, name: &str, rate: &str) -> Running {
        let running = self.start(name, &[rate]);
        self.until_published(name, 2);
        running
    }

    fn until_published(&self, name: &str, files: usize) {
        eventually("output", || (published(&self.output(name)).len() >= files).then_some(()));
    }

    #[track_caller]
    fn expect_undisturbed(&self, name: &str) {
        let found = lines(&self.output(name));
        let wanted = &self.undisturbed;
        assert_eq!(found.len(), wanted.len(), "{name}");
        assert!(found == *wanted, "{name} has other output");
    }
}

/// Fails unless `older` was fenced by attempt `by` and says so.
#[track_caller]
fn expect_fenced(older: &Ran, by: u64) {
    older.expect(1, &[&format!("attempt {by} of owner "), "has taken over this job"]);
    let last = older.said.lines().rfind(|line| line.starts_with("error: "));
    assert!(last.is_some_and(|line| line.contains("has taken over this job")), "{}", older.said);
}

#[test]
fn a_candidate_waits_while_the_owner_lives_and_goes_on_when_it_is_gone() {
    let world = World::new();
    let mut older = world.under_way("job", "--rate=60");
    let mut candidate = world.start("job", &[]);
    let line = candidate.until("holds the job: waiting");
    assert!(line.contains("attempt 1 of owner ") && line.contains("--take-over"), "{line}");
    // More than a lease of the owner's life, counted in its checkpoints.
    world.until_published("job", published(&world.output("job")).len() + 15);
    assert!(older.is_alive() && candidate.is_alive());
    older.signal("-KILL");
    assert!(older.end().was_killed());
    candidate.until("job goes on from checkpoint ");
    candidate.end().expect(0, &["job finished"]);
    world.expect_undisturbed("job");
}

/// It used to be told after the claim, to nobody who was waiting.
#[test]
fn a_candidate_says_where_its_status_is_while_it_waits() {
    let world = World::new();
    let mut older = world.under_way("job", "--rate=60");
    let mut arguments = world.arguments("job", &["-Drest.port=0"]);
    arguments.retain(|argument| argument != "--no-rest");
    let mut candidate = Running::start(world.path(), &arguments);
    candidate.until("holds the job: waiting");
    let line = candidate.until("a free port was taken; the status is on http://");
    let address = line.rsplit("http://").next().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET /jobs/job HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"state\":\"INITIALIZING\""), "{answer}");
    assert!(older.is_alive() && candidate.is_alive());
    candidate.signal("-TERM");
    candidate.end().expect(130, &[]);
}

/// The one that stood by used to process all of a finished job's input again.
#[test]
fn a_candidate_whose_owner_finishes_ends_and_says_so() {
    let world = World::new();
    let older = world.under_way("job", "--rate=200");
    let mut candidate = world.start("job", &[]);
    candidate.until("holds the job: waiting");
    older.end().expect(0, &[]);
    let candidate = candidate.end();
    candidate.expect(0, &["attempt 1 of owner ", ", which held the job, has finished it"]);
    assert!(!candidate.said.contains("starts afresh"), "{}", candidate.said);
    world.expect_undisturbed("job");
}

#[test]
fn a_candidate_goes_on_at_once_where_its_owner_is_stopped() {
    let world = World::new();
    let older = world.under_way("job", SLOW);
    let mut candidate = world.start("job", &[]);
    candidate.until("holds the job: waiting");
    older.signal("-TERM");
    older.end().expect(130, &[]);
    candidate.until("job goes on from checkpoint ");
    candidate.end().expect(0, &["job finished"]);
    world.expect_undisturbed("job");
}

#[test]
fn taking_over_fences_the_older_attempt_at_once() {
    let world = World::new();
    let older = world.under_way("job", SLOW);
    let newer = world.start("job", &["--take-over", SLOW]);
    let (older, newer) = (older.end(), newer.end());
    expect_fenced(&older, 2);
    newer.expect(0, &["job goes on from checkpoint ", "job finished"]);
    world.expect_undisturbed("job");
}

/// When a zombie wakes up.
#[derive(Clone, Copy, Debug)]
enum Wakes {
    /// The new owner is in the middle of its work.
    Early,
    /// The new owner has finished.
    Late,
}

/// Stops an attempt at `point`, has another one take over, and wakes it.
fn zombie(world: &World, name: &str, point: &str, wakes: Wakes) {
    let at_the_end = point.contains("-last-checkpoint");
    // Items are dear, and of interest where they are written.
    let eager = "-Dstate.backend.dynamodb.materialize=eager";
    let more = if point.contains("-materialise-") { &[SLOW, eager][..] } else { &[SLOW] };
    let mut command = millpond(world.path(), &world.arguments(name, more));
    command.env(points::STOP_VARIABLE, format!("{point}:{}", if at_the_end { 1 } else { 2 }));
    let mut older = Running::spawn(command);
    older.until_stopped();
    let before = published(&world.output(name)).len();
    let mut newer = match wakes {
        Wakes::Early => world.start(name, more),
        Wakes::Late => world.start(name, &more[1..]),
    };
    newer.until("holds the job: waiting");
    let newer = match wakes {
        Wakes::Early => {
            newer.until(&format!("{name} "));
            // At the end of the input there may be nothing left to publish.
            if !at_the_end {
                world.until_published(name, before + 2);
            }
            older.signal("-CONT");
            expect_fenced(&older.end(), 2);
            newer.end()
        }
        Wakes::Late => {
            let newer = newer.end();
            older.signal("-CONT");
            expect_fenced(&older.end(), 2);
            newer
        }
    };
    newer.expect(0, &["finished"]);
    world.expect_undisturbed(name);
}

#[test]
fn a_zombie_of_any_point_is_fenced_and_nothing_of_it_is_seen() {
    let world = World::new();
    let cases: Vec<_> = points::ALL
        .into_iter()
        .flat_map(|point| [(point, Wakes::Early), (point, Wakes::Late)])
        .collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((point, wakes)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = format!("{point}-{wakes:?}");
                    let case = || zombie(&world, &name, point, *wakes);
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).is_err() {
                        wrong.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), cases.len());
}
