//! A real process ends by SIGKILL at each named point of the protocol; whatever runs after it gives
//! the output of a run that nothing disturbed.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::points;

use crate::process::{Ran, flights, lines, run, staged};

const FLIGHTS: usize = 1500;
/// So many that a run takes some ten checkpoints: each of the four files is read at this rate.
const RATE: &str = "1000";
/// Cases under way at a time: they wait more than they compute.
const AT_A_TIME: usize = 6;

/// Kills, one after the other, each of a process of its own; then a run to the end.
#[derive(Debug)]
struct Case {
    kills: Vec<Kill>,
    eager: bool,
    last_parallelism: u32,
}

#[derive(Debug)]
struct Kill {
    point: &'static str,
    hit: u64,
    parallelism: u32,
}

/// Whether a run passes the point once only.
fn is_at_the_end(point: &str) -> bool {
    [points::BEFORE_LAST_CHECKPOINT, points::AFTER_LAST_CHECKPOINT].contains(&point)
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for point in points::ALL {
        let kill = |hit, parallelism| {
            let hit = if is_at_the_end(point) { 1 } else { hit };
            Kill { point, hit, parallelism }
        };
        cases.push(Case { kills: vec![kill(1, 1)], eager: true, last_parallelism: 1 });
        cases.push(Case { kills: vec![kill(3, 2), kill(1, 2)], eager: true, last_parallelism: 2 });
        // Without `eager`, the log's bound makes it materialise.
        cases.push(Case {
            kills: vec![kill(4, 2), kill(2, 1), kill(1, 4)],
            eager: false,
            last_parallelism: 2,
        });
    }
    cases
}

fn arguments(input: &Path, eager: bool, parallelism: u32) -> Vec<String> {
    let materialize = if eager { "eager" } else { "lazy" };
    [
        "run".to_owned(),
        "route_stats".to_owned(),
        "--no-rest".to_owned(),
        format!("--input={}/*.csv", input.display()),
        "--output=out".to_owned(),
        format!("--parallelism={parallelism}"),
        "-Dexecution.checkpointing.interval=40 ms".to_owned(),
        "-Dstate.backend.dynamodb.local-db-path=state.db".to_owned(),
        // What goes wrong is to be seen, not to be mended.
        "-Drestart-strategy.type=none".to_owned(),
        "-Dstate.backend.dynamodb.log-max-size=64 KiB".to_owned(),
        format!("-Dstate.backend.dynamodb.materialize={materialize}"),
    ]
    .to_vec()
}

fn killed(folder: &Path, input: &Path, case: &Case, kill: &Kill) -> Ran {
    let mut arguments = arguments(input, case.eager, kill.parallelism);
    arguments.push(format!("--rate={RATE}"));
    let mut command = crate::process::millpond(folder, &arguments);
    command.env(points::KILL_VARIABLE, format!("{}:{}", kill.point, kill.hit));
    crate::process::Running::spawn(command).end()
}

/// What is wrong with a case, if anything.
fn check(case: &Case, input: &Path, undisturbed: &[String]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (index, kill) in case.kills.iter().enumerate() {
        let ran = killed(folder.path(), input, case, kill);
        if !ran.was_killed() {
            return Err(format!("kill {index} did not hit: {ran:?}"));
        }
        if !is_subset(&lines(&out), undisturbed) {
            return Err(format!("after kill {index} there is output that ought not to be"));
        }
    }
    let last = run(folder.path(), &arguments(input, case.eager, case.last_parallelism));
    if last.code() != Some(0) {
        return Err(format!("the last run failed: {last:?}"));
    }
    let found = lines(&out);
    if found != undisturbed {
        return Err(format!(
            "{} lines, or others, where {} belong",
            found.len(),
            undisturbed.len()
        ));
    }
    match staged(&out).as_slice() {
        [] => Ok(()),
        left => Err(format!("staged files are left: {left:?}")),
    }
}

/// Whether the lines of `part`, sorted, are among those of `whole`, each as often at most.
fn is_subset(part: &[String], whole: &[String]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|line| whole.by_ref().any(|other| other == line))
}

#[test]
fn the_output_is_that_of_an_undisturbed_run() {
    let shared = tempfile::tempdir().unwrap();
    let input = shared.path().join("input");
    flights(&input, FLIGHTS, 4);
    run(shared.path(), &arguments(&input, false, 1)).expect(0, &[]);
    let undisturbed = lines(&shared.path().join("out"));
    assert_eq!(undisturbed.len(), FLIGHTS);

    let (cases, next) = (cases(), AtomicUsize::new(0));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = check(case, &input, &undisturbed) {
                        wrong.lock().unwrap().push(format!("{case:?}: {why}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_point_that_is_not_known_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = crate::process::millpond(folder.path(), &["run", "route_stats", "--no-rest"]);
    command.env(points::KILL_VARIABLE, "after-head-move");
    crate::process::Running::spawn(command)
        .end()
        .expect(2, &["after-head-move", points::AFTER_HEAD_MOVED]);
}
