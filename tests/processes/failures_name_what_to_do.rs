//! What fails says what it was and what to do about it, with the right exit code, and loses nothing.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use millpond::points;

use crate::process::{
    Ran, Running, apart, eventually, flights, lines, millpond, published, run, staged,
};

const FLIGHTS: usize = 4000;
const RUN: [&str; 6] = [
    "run",
    "route_stats",
    "--no-rest",
    "--parallelism=1",
    "-Dstate.backend.dynamodb.local-db-path=state.db",
    "-Drestart-strategy.type=none",
];
const INPUT: &str = "--input=input/*.csv";
const OUT: &str = "--output=out";
const SLOW: [&str; 2] = ["--rate=2000", "-Dexecution.checkpointing.interval=50 ms"];

/// A folder with some input, and what a run over it gives.
fn world() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    flights(&folder.path().join("input"), FLIGHTS, 1);
    let memory = "-Dstate.backend.dynamodb.local-in-memory=true";
    let undisturbed = ["run", "route_stats", "--no-rest", memory, INPUT, "--output=undisturbed"];
    run(folder.path(), &undisturbed).expect(0, &[]);
    let lines = lines(&folder.path().join("undisturbed"));
    assert_eq!(lines.len(), FLIGHTS);
    (folder, lines)
}

fn go(folder: &Path, more: &[&str]) -> Ran {
    run(folder, &[&RUN[..], more].concat())
}

/// A run that was killed when three checkpoints were completed and the output of two was published.
fn owing(folder: &Path) {
    let mut command = millpond(folder, &[&RUN[..], &SLOW, &[INPUT, OUT]].concat());
    command.env(points::KILL_VARIABLE, format!("{}:3", points::BEFORE_SINK_RENAMED));
    assert!(Running::spawn(command).end().was_killed());
}

#[test]
fn a_disk_that_is_full_is_named_and_nothing_is_lost() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    owing(folder);
    // Files of a size beyond the limit cannot be written, and no signal says so in another way.
    let mut limited = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"";
    limited.args(["-c", script, env!("CARGO_BIN_EXE_millpond")]).args(RUN).args([INPUT, OUT]);
    apart(&mut limited, folder);
    Running::spawn(limited).end().expect(1, &["cannot write out/.staging/open-routes-", "large"]);
    go(folder, &[INPUT, OUT]).expect(0, &["goes on from checkpoint 3"]);
    assert!(lines(&out) == undisturbed);
    assert!(staged(&out).is_empty());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_behind_standard_output_is_named() {
    let (folder, _) = world();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let command = millpond(folder.path(), &[&RUN[..], &[INPUT]].concat());
    let ran = Running::spawn_to(command, Stdio::from(full)).end();
    ran.expect(1, &["standard output", "No space left on device"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (folder, _) = world();
    fs::write(folder.path().join("file"), "not a folder").unwrap();
    go(folder.path(), &[INPUT, "--output=file"]).expect(1, &["file", "Not a directory"]);
    go(folder.path(), &[INPUT, "--output=file/out"]).expect(1, &["file/out", "Not a directory"]);
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"not a folder");
    // What was mistyped binds nobody.
    go(folder.path(), &[INPUT, OUT]).expect(0, &[]);
}

#[test]
fn a_folder_that_vanishes_is_named_and_the_job_goes_on_when_it_is_back() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    let running = Running::start(folder, &[&RUN[..], &SLOW, &[INPUT, OUT]].concat());
    eventually("output", || (published(&out).len() >= 2).then_some(()));
    fs::rename(&out, folder.join("away")).unwrap();
    // Whichever was under way: a file to make, to rename, to publish; or the folder to be synced.
    running.end().expect(1, &["error: job route_stats: ", " out"]);
    let missing = go(folder, &[INPUT, OUT]);
    missing.expect(1, &["the output folder out has vanished", "put them back", "--fresh"]);
    assert!(!out.exists());
    fs::rename(folder.join("away"), &out).unwrap();
    go(folder, &[INPUT, OUT]).expect(0, &["goes on from checkpoint"]);
    assert!(lines(&out) == undisturbed);
}

#[test]
fn a_line_that_cannot_be_parsed_is_named_by_file_line_byte_and_reason() {
    let (folder, undisturbed) = world();
    let input = folder.path().join("input/flights-0.csv");
    let good = fs::read_to_string(&input).unwrap();
    let line = good.lines().nth(2).unwrap();
    let byte = good.find(line).unwrap();
    fs::write(&input, good.replacen(line, "2001-01-01T06:05:00Z,late,862,DEN,LAX", 1)).unwrap();
    let parts = [
        "input/flights-0.csv, line 3".to_owned(),
        format!("(byte {byte})"),
        "column delay".to_owned(),
        "\"late\"".to_owned(),
        "on_error".to_owned(),
    ];
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    go(folder.path(), &[INPUT, OUT]).expect(1, &parts);
    let skipping =
        go(folder.path(), &[INPUT, "--output=skipped", "--name=other", "--on-error=skip"]);
    skipping.expect(0, &["not parsed: 1 skipped, 0 sent aside"]);
    assert_eq!(lines(&folder.path().join("skipped")).len(), FLIGHTS - 1);
    fs::write(&input, good).unwrap();
    go(folder.path(), &[INPUT, OUT]).expect(0, &[]);
    assert!(lines(&folder.path().join("out")) == undisturbed);
}

/// The binary without the right to read and write whatever there is, which root has.
fn unprivileged(folder: &Path, more: &[&str]) -> Ran {
    const NOBODY: u32 = 65534;
    let (root, mut command) = (rustix::process::geteuid().is_root(), millpond(folder, &RUN));
    if root {
        // Nobody may not come where the build is.
        let binary = folder.join("millpond");
        if !binary.exists() {
            fs::copy(env!("CARGO_BIN_EXE_millpond"), &binary).unwrap();
        }
        assert!(
            Command::new("chown")
                .args(["-R", "65534:65534", "."])
                .current_dir(folder)
                .status()
                .unwrap()
                .success()
        );
        command = Command::new(binary);
        command.args(RUN).uid(NOBODY).gid(NOBODY);
        apart(&mut command, folder);
    }
    command.args(more);
    Running::spawn(command).end()
}

#[test]
fn what_may_not_be_read_or_written_is_named_and_nothing_is_lost() {
    let (folder, undisturbed) = world();
    let folder = folder.path();
    owing(folder);
    let cases = [
        ("input/flights-0.csv", 0o000, 0o600),
        ("state.db", 0o000, 0o600),
        ("out/.staging", 0o500, 0o700),
        ("out", 0o500, 0o700),
    ];
    for (path, without, with) in cases {
        let may =
            |mode| fs::set_permissions(folder.join(path), Permissions::from_mode(mode)).unwrap();
        may(without);
        // What cannot be moved out of a folder is named as what it was to become.
        let named = path.trim_end_matches(".staging");
        unprivileged(folder, &[INPUT, OUT]).expect(1, &[named, "ermission denied"]);
        may(with);
    }
    unprivileged(folder, &[INPUT, OUT]).expect(0, &["goes on from checkpoint"]);
    assert!(lines(&folder.join("out")) == undisturbed);
}

#[test]
fn a_glob_that_matches_nothing_is_a_usage_error_and_can_be_corrected() {
    let (folder, undisturbed) = world();
    let wrong = go(folder.path(), &["--input=inputs/*.csv", OUT]);
    wrong.expect(2, &["inputs/*.csv"]);
    // It used to begin the job first, and the next run went on with that.
    assert!(!wrong.said.contains("afresh"), "{}", wrong.said);
    go(folder.path(), &[INPUT, OUT]).expect(0, &["route_stats starts afresh"]);
    assert!(lines(&folder.path().join("out")) == undisturbed);
}

#[test]
fn a_folder_to_read_and_a_file_to_write_to_are_told_as_such() {
    let (folder, _) = world();
    let a_folder = ["\"input\"", "is a folder", "\"input/*\""];
    go(folder.path(), &["--input=input", OUT]).expect(2, &a_folder);
    fs::write(folder.path().join("taken"), "mine").unwrap();
    // It used to be a complaint about `taken/.staging`.
    go(folder.path(), &[INPUT, "--output=taken"]).expect(1, &["the output taken is no folder"]);
    assert_eq!(fs::read(folder.path().join("taken")).unwrap(), b"mine");
}

#[test]
fn a_reader_that_leaves_ends_the_run_and_the_next_one_goes_on() {
    let (folder, _) = world();
    // With the default strategy it used to restart for ever: `millpond run … | head` never ended.
    let mut arguments: Vec<_> = RUN[..5].to_vec();
    arguments.push(INPUT);
    let mut child = millpond(folder.path(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap) {
        if line.contains("restarting in") {
            child.kill().unwrap();
        }
        said.push(line);
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said:#?}");
    assert!(said.last().unwrap().contains("closed by its reader"), "{said:#?}");
    go(folder.path(), &[INPUT]).expect(0, &[]);
}

#[test]
fn going_on_from_another_folder_names_the_folder_that_was_looked_in() {
    let (folder, undisturbed) = world();
    let folder = folder.path();
    let (moved, elsewhere) = (folder.join("moved"), tempfile::tempdir().unwrap());
    let state = format!("-Dstate.backend.dynamodb.local-db-path={}", folder.join("db").display());
    let run = |from: &Path, more: &[&str]| {
        let plain = ["run", "route_stats", "--no-rest", "--parallelism=1", &state, INPUT, OUT];
        let mut command = millpond(from, &[&plain[..], more].concat());
        if !more.is_empty() {
            command.env(points::KILL_VARIABLE, format!("{}:3", points::BEFORE_SINK_RENAMED));
        }
        Running::spawn(command).end()
    };
    fs::create_dir(&moved).unwrap();
    fs::rename(folder.join("input"), moved.join("input")).unwrap();
    assert!(run(&moved, &SLOW).was_killed());
    let from = elsewhere.path().canonicalize().unwrap();
    let seen = format!("(seen from {})", from.display());
    let gone = format!("the input input/flights-0.csv is gone {seen}");
    run(&from, &[]).expect(1, &[&gone]);
    // The input is there: only the output is not.
    fs::rename(moved.join("input"), from.join("input")).unwrap();
    run(&from, &[]).expect(1, &["the output folder out has vanished", &seen]);
    // Moved together, they are found.
    fs::rename(moved.join("out"), from.join("out")).unwrap();
    run(&from, &[]).expect(0, &["goes on from checkpoint 3"]);
    assert!(lines(&from.join("out")) == undisturbed);
}

#[test]
fn going_on_with_another_input_shows_both_and_names_the_way_out() {
    let (folder, undisturbed) = world();
    let folder = folder.path();
    owing(folder);
    let other = go(folder, &["--input=other.csv", OUT]);
    other.expect(2, &["recorded: flights: CSV of input/*.csv", "other.csv", "--fresh"]);
    go(folder, &[INPUT, OUT]).expect(0, &["goes on from checkpoint 3"]);
    assert!(lines(&folder.join("out")) == undisturbed);
}

#[test]
fn resuming_needs_something_to_resume() {
    let (folder, _) = world();
    let folder = folder.path();
    go(folder, &[INPUT, OUT, "--resume"]).expect(2, &["there is nothing to resume"]);
    assert!(!folder.join("out").exists());
    go(folder, &[INPUT, OUT]).expect(0, &[]);
    go(folder, &[INPUT, OUT, "--resume"]).expect(2, &["has finished", "without --resume"]);
}

#[test]
fn an_output_folder_that_is_taken_is_named_and_replaced_only_on_request() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    go(folder, &[INPUT, OUT]).expect(0, &["starts afresh"]);
    let taken = ["the output folder out holds results of", "route_stats", "--replace"];
    go(folder, &[INPUT, OUT]).expect(2, &taken);
    go(folder, &[INPUT, OUT, "--name=other"]).expect(2, &taken);
    assert!(lines(&out) == undisturbed);
    fs::write(out.join("notes.txt"), "mine").unwrap();
    // The advice used to fail: the refused run had begun the incarnation that this one goes on with.
    go(folder, &[INPUT, OUT, "--replace"]).expect(0, &[]);
    assert!(lines(&out) == undisturbed);
    assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn starting_afresh_commits_what_the_old_run_owes_first() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    owing(folder);
    let before = lines(&out).len();
    go(folder, &[INPUT, "--output=elsewhere", "--fresh"]).expect(0, &["starts afresh"]);
    // What was owed is published in the folder that it was staged in, not in the new run's.
    assert!(lines(&out).len() > before);
    assert!(lines(&folder.join("elsewhere")) == undisturbed);
    go(folder, &[INPUT, OUT, "--fresh"]).expect(2, &["results of an earlier run", "--replace"]);
    go(folder, &[INPUT, OUT, "--replace"]).expect(0, &[]);
    assert!(lines(&out) == undisturbed);
}

/// It used to be refused, because such a run has no sink that could publish.
#[test]
fn starting_afresh_on_standard_output_commits_what_is_owed_to_a_folder() {
    let (folder, _) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    owing(folder);
    let (before, owed) = (lines(&out).len(), staged(&out).len());
    assert!(owed > 0);
    go(folder, &[INPUT, "--fresh"]).expect(0, &["starts afresh"]);
    assert!(lines(&out).len() > before);
}

/// Moves the published files of `out` into `away`, as a consumer does.
fn consume(out: &Path, away: &Path) {
    fs::create_dir_all(away).unwrap();
    for file in published(out) {
        fs::rename(&file, away.join(file.file_name().unwrap())).unwrap();
    }
}

/// It used to be told as lost, and with the default strategy to restart for ever.
#[test]
fn output_that_a_consumer_has_moved_away_is_not_missed() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    let away = folder.join("away");
    // Stopped: all that its last checkpoint names is committed.
    let mut running = Running::start(folder, &[&RUN[..], &SLOW, &[INPUT, OUT]].concat());
    eventually("output", || (published(&out).len() >= 2).then_some(()));
    running.signal("-INT");
    running.until("stopping after a last checkpoint");
    running.end().expect(130, &[]);
    consume(&out, &away);
    fs::remove_dir(out.join(".staging")).unwrap();
    // Killed between a commit and its acknowledgement.
    let mut command = millpond(folder, &[&RUN[..], &SLOW, &[INPUT, OUT]].concat());
    command.env(points::KILL_VARIABLE, format!("{}:2", points::AFTER_SINK_RENAMED));
    assert!(Running::spawn(command).end().was_killed());
    consume(&out, &away);
    go(folder, &[INPUT, OUT]).expect(0, &["goes on from checkpoint"]);
    consume(&out, &away);
    assert!(lines(&away) == undisturbed);
}

#[test]
fn a_stopped_job_owes_nothing_to_a_folder_that_is_gone() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    let running = Running::start(folder, &[&RUN[..], &SLOW, &[INPUT, OUT]].concat());
    eventually("output", || (published(&out).len() >= 2).then_some(()));
    running.signal("-INT");
    running.end().expect(130, &[]);
    fs::remove_dir_all(&out).unwrap();
    // A run that cannot go on owes no more than before.
    go(folder, &[INPUT, OUT]).expect(1, &["the output folder out has vanished", "--fresh"]);
    go(folder, &[INPUT, OUT, "--fresh"]).expect(0, &["starts afresh"]);
    assert!(lines(&out) == undisturbed);
}

/// With the default strategy it used to restart for ever.
#[test]
fn output_that_is_lost_ends_the_job_at_once() {
    let (folder, _) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    owing(folder);
    fs::remove_dir_all(out.join(".staging")).unwrap();
    let mut running = Running::start(folder, &[&RUN[..5], &[INPUT, OUT]].concat());
    let line = running.until("output is lost");
    assert!(line.starts_with("error: job route_stats: sink routes: "), "{line}");
    running.end().expect(1, &["/.staging is gone", "put it back", "--fresh --abandon-output"]);
}

/// With the default strategy it used to restart for ever.
#[test]
fn standard_input_that_cannot_be_read_ends_the_job_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["run", "word_count"], &RUN[2..5], &["--input=-"]].concat();
    let mut command = millpond(folder.path(), &arguments);
    command.stdin(fs::File::open(folder.path()).unwrap());
    let mut running = Running::spawn(command);
    let line = running.until("cannot read standard input: ");
    assert!(line.starts_with("error: job word_count: "), "{line}");
    running.end().expect(1, &["Is a directory", "and run the job again"]);
}

/// It used to be refused for ever.
#[test]
fn output_that_is_owed_and_lost_is_named_and_given_up_only_on_request() {
    let (folder, undisturbed) = world();
    let (folder, out) = (folder.path(), folder.path().join("out"));
    owing(folder);
    fs::remove_dir_all(&out).unwrap();
    go(folder, &[INPUT, OUT]).expect(1, &["the output folder out has vanished", "--fresh"]);
    let lost = ["output is lost", "/out/.staging/part-routes-3-1-0.jsonl", "--abandon-output"];
    go(folder, &[INPUT, OUT, "--fresh"]).expect(1, &lost);
    go(folder, &[INPUT, OUT, "--abandon-output"]).expect(2, &["--fresh"]);
    let given_up = ["output is given up: neither", "starts afresh"];
    go(folder, &[INPUT, OUT, "--fresh", "--abandon-output"]).expect(0, &given_up);
    assert!(lines(&out) == undisturbed);
}

#[test]
fn a_second_signal_leaves_at_once_where_the_last_checkpoint_cannot_end() {
    let (folder, _) = world();
    // Nobody reads the results, so they cannot be written.
    let command = millpond(folder.path(), &[&RUN[..], &[INPUT]].concat());
    let mut running = Running::spawn_to(command, Stdio::piped());
    running.until("starts afresh");
    running.writes();
    running.signal("-INT");
    running.until("stopping after a last checkpoint; again to leave at once");
    assert!(running.is_alive());
    running.signal("-INT");
    running.end().expect(130, &["left at once"]);
}
