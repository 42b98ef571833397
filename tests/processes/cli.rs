//! The binary as a user meets it: what it prints where, how it stops, what it exits with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::process::{self, Running, eventually, lines, millpond, staged};

const IN_MEMORY: &str = "state.backend.dynamodb.local-in-memory=true";

/// With both of its outputs, which [`process::run`] does not keep.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    millpond(folder, arguments).output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_jobs_are_listed_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["jobs"]);
    assert_eq!(code(&output), Some(0));
    let listed = text(&output.stdout);
    assert!(listed.contains("route_stats") && listed.contains("word_count"), "{listed}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn a_wrong_call_or_configuration_exits_with_2_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, parts) in [
        (&["run"][..], &["<JOB>"][..]),
        (&["run", "rout_stats"], &["did you mean route_stats?"]),
        (&["run", "route_stats", "--fresh", "--resume"], &["cannot be used with"]),
        (&["run", "route_stats", "--name", "a/b"], &["a/b", "A-Z"]),
        (
            &["run", "route_stats", "-D", "rest.prt=1", "-D", "high-availability.lease=x"],
            &["2 errors", "did you mean rest.port?", "high-availability.lease = \"x\" (-D)"],
        ),
        (&["run", "route_stats", "--set", "n=1"], &["--set n: the job has no such parameter"]),
        (
            &["run", "route_stats", "--input", "fligths=x"],
            &["the job has no source fligths", "did you mean flights?", "./fligths=x"],
        ),
        (
            &["run", "route_stats", "--output", "out", "--on-error", "dead-letter=out/bad"],
            &["--output out", "dead-letter=out/bad", "one is in the other"],
        ),
    ] {
        let output = run(folder.path(), arguments);
        let said = text(&output.stderr);
        assert_eq!(code(&output), Some(2), "{arguments:?}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{arguments:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn an_input_may_be_named_by_its_source() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a=1")).unwrap();
    std::fs::write(folder.path().join("a=1/x"), "one two\n").unwrap();
    for input in ["lines=a=1/x", "./a=1/x"] {
        let arguments = ["run", "word_count", "--no-rest", "-D", IN_MEMORY, "--input", input];
        let output = run(folder.path(), &arguments);
        assert_eq!(code(&output), Some(0), "{input}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), 2, "{input}");
    }
}

/// The one was left out without a word, the other failed at each checkpoint, again and again.
#[cfg(target_os = "linux")]
#[test]
fn settings_and_output_that_are_not_unicode_are_refused() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let arguments = ["run", "route_stats", "--no-rest", "-D", IN_MEMORY, "--output", "out"];
    let output = millpond(folder.path(), &arguments).env("MILLPOND_REST_PORT", odd).output();
    let output = output.unwrap();
    assert_eq!(code(&output), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("environment variable MILLPOND_REST_PORT is not Unicode"), "{said}");

    let within = folder.path().join(odd);
    std::fs::create_dir(&within).unwrap();
    let output = millpond(folder.path(), &arguments).current_dir(&within).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(code(&output), Some(2), "{said}");
    assert!(said.contains("caf\\xE9/out\" of the output is not UTF-8"), "{said}");
    assert_eq!(std::fs::read_dir(&within).unwrap().count(), 0);
}

#[test]
fn the_reference_is_what_docs_hold() {
    let folder = tempfile::tempdir().unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let output = run(folder.path(), &["config-reference"]);
    assert_eq!(text(&output.stdout), std::fs::read_to_string(page).unwrap());
}

#[test]
fn a_run_says_what_it_does_first_and_sums_up_last() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["run", "route_stats", "--no-rest", "-D", IN_MEMORY]);
    let said = text(&output.stderr);
    assert_eq!(code(&output), Some(0), "{said}");
    assert_eq!(text(&output.stdout).lines().count(), 20_000);
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("route_stats starts afresh on embedded DynamoDB"), "{said}");
    for part in [
        "route_stats finished: 20,000 records",
        "write units: ",
        "one put a record would have cost 20,000",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

/// The first result used to be a part of what a process that was killed had left.
#[cfg(target_os = "linux")]
#[test]
fn results_that_are_appended_to_a_torn_line_begin_on_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    std::fs::write(folder.path().join("words"), "one two\n").unwrap();
    std::fs::write(&results, "{\"wo").unwrap();
    let appended = std::fs::OpenOptions::new().append(true).open(&results).unwrap();
    let arguments = ["run", "word_count", "--no-rest", "-D", IN_MEMORY, "--input", "words"];
    let ran = Running::spawn_to(millpond(folder.path(), &arguments), appended.into()).end();
    ran.expect(0, &[]);
    let results = std::fs::read_to_string(&results).unwrap();
    let lines: Vec<_> = results.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "{\"wo"), "{results}");
    assert!(lines[1..].iter().all(|line| line.starts_with('{')), "{results}");
}

/// Settings are what the store is chosen by, never credentials that lie about.
#[test]
fn credentials_in_the_environment_do_not_make_a_run_use_aws() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one two\n").unwrap();
    let arguments = ["run", "word_count", "--no-rest", "--input", "in.txt"];
    let mut command = millpond(folder.path(), &arguments);
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command.env("AWS_REGION", "eu-central-1").env("AWS_PROFILE", "production");
    let ran = Running::spawn(command).end();
    ran.expect(0, &[]);
    let first = ran.said.lines().next().unwrap();
    assert!(first.starts_with("word_count starts afresh on embedded DynamoDB"), "{}", ran.said);
}

#[test]
fn a_job_on_standard_input_says_first_that_it_cannot_be_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "word_count", "--no-rest", "-D", IN_MEMORY, "--input", "-"];
    // Nothing is on it.
    let ran = process::run(folder.path(), &arguments);
    ran.expect(0, &[]);
    let first =
        "word_count starts afresh, since its input cannot be replayed, on embedded DynamoDB";
    assert!(ran.said.starts_with(first), "{}", ran.said);
}

#[test]
fn a_signal_stops_gracefully_and_the_next_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let arguments = ["run", "route_stats", "--no-rest", "--output", "out"];
    let slow = [&arguments[..], &["--rate", "4000"]].concat();
    for signal in ["-INT", "-TERM"] {
        let mut running = Running::start(folder.path(), &slow);
        running.until("route_stats ");
        eventually("output", || staged(&output).pop());
        running.signal(signal);
        running.until("stopping after a last checkpoint");
        running.end().expect(130, &["\nroute_stats stopped: "]);
    }
    let last = process::run(folder.path(), &arguments);
    last.expect(0, &[]);
    assert!(last.said.starts_with("route_stats goes on from checkpoint "), "{}", last.said);
    assert_eq!(lines(&output).len(), 20_000);
}

#[test]
fn the_status_is_served_while_a_job_runs_and_a_busy_port_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["run", "route_stats", "-v", "--rate", "2000", "-D", IN_MEMORY, "-D", "rest.port=0"];
    let mut running = Running::start(folder.path(), &arguments);
    running.until("route_stats starts afresh");
    let line = running.until("the status is on http://");
    let address = line.split("http://").nth(1).unwrap().trim().to_owned();

    let answer = ask(&address, "/jobs/overview");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"name\":\"route_stats\""), "{answer}");
    assert!(ask(&address, "/jobs/route_stats").contains("\"vertices\""));
    assert!(ask(&address, "/jobs/route_stats/checkpoints").contains("\"counts\""));
    assert!(ask(&address, "/health").starts_with("HTTP/1.1 200"));

    let port = format!("rest.port={}", address.rsplit(':').next().unwrap());
    let busy = process::run(folder.path(), &["run", "route_stats", "-D", IN_MEMORY, "-D", &port]);
    busy.expect(2, &["rest.port: cannot listen on"]);

    running.signal("-TERM");
    running.end().expect(130, &[]);
}

fn ask(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn two_runs_on_one_file_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = "state.backend.dynamodb.local-db-path=one.db";
    let arguments = ["run", "route_stats", "--no-rest", "--rate", "2000", "-D", file];
    let mut running = Running::start(folder.path(), &arguments);
    running.until("route_stats starts afresh");
    let second = process::run(folder.path(), &arguments);
    second.expect(2, &["one.db", &running.id().to_string()]);
    assert!(second.said.starts_with("error: "), "{}", second.said);
    running.signal("-TERM");
    running.end().expect(130, &[]);
}

#[test]
fn a_signal_ends_the_recovery_demo_and_its_child_and_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = millpond(folder.path(), &["demo", "recovery", "--rate", "100"]);
    command.env("TMPDIR", &temporary).stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = command.spawn().unwrap();
    let files = || std::fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().path());
    // The job holds its state under a lock that tells its process.
    let child: u32 = loop {
        let lock = files().next().map(|demo| demo.join("killed.db.lock"));
        let text = lock.and_then(|lock| std::fs::read_to_string(lock).ok());
        match text.and_then(|pid| pid.trim().parse().ok()) {
            Some(pid) => break pid,
            None => std::thread::park_timeout(std::time::Duration::from_millis(10)),
        }
        assert_eq!(demo.try_wait().unwrap(), None);
    };
    let signal = |name: &str, pid: u32| {
        Command::new("kill").args([name, &pid.to_string()]).output().unwrap().status.success()
    };
    assert!(signal("-0", child));
    assert!(signal("-TERM", demo.id()));
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    // It used to go on alone, in a folder that nobody removed.
    assert!(!signal("-0", child));
    assert_eq!(files().count(), 0);
}

#[test]
fn a_retained_checkpoint_is_gone_back_to_and_others_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let go = |more: &[&str]| {
        let call = [
            "run",
            "route_stats",
            "--no-rest",
            "--output=out",
            "-Dstate.backend.dynamodb.local-db-path=state.db",
            "-Dexecution.checkpointing.interval=50 ms",
            "-Dstate.checkpoints.num-retained=3",
        ];
        process::run(folder.path(), &[&call[..], more].concat())
    };
    let none = "checkpoint 1 is not retained: there is none under this name";
    go(&["--roll-back=1"]).expect(2, &[none]);
    // Half a second, and so some checkpoints.
    go(&["--rate=40000"]).expect(0, &[]);
    let out = folder.path().join("out");
    assert_eq!(lines(&out).len(), 20_000);

    let refused = go(&["--roll-back=999999"]);
    refused.expect(2, &[]);
    let said = refused.said;
    let named = said.split_once("checkpoint 999999 is not retained; retained are ");
    let retained: Vec<&str> = named.unwrap().1.trim_end().split(", ").collect();
    assert_eq!(retained.len(), 3, "{said}");

    let gone_back = go(&["--roll-back", retained[0]]);
    let from = format!("route_stats goes on from checkpoint {} ", retained[0]);
    gone_back.expect(0, &[]);
    assert!(gone_back.said.starts_with(&from), "{}", gone_back.said);
    // What was published after it stays, and is written again, the same.
    let mut written = lines(&out);
    assert!(written.len() > 20_000);
    written.dedup();
    assert_eq!(written.len(), 20_000);
}

#[test]
fn more_kills_than_there_is_time_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = process::run(folder.path(), &["demo", "recovery", "--kills", "90"]);
    refused.expect(2, &["use --rate 666 or less, or fewer --kills"]);
}

#[test]
fn the_recovery_demo_finds_the_outputs_equal() {
    let folder = tempfile::tempdir().unwrap();
    // Slow enough for checkpoints between the kills, on a machine that is busy with other tests too.
    let output =
        run(folder.path(), &["demo", "recovery", "--kills", "3", "--seed", "7", "--rate", "2000"]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), Some(0), "{shown}{}", text(&output.stderr));
    assert!(shown.lines().last().unwrap().starts_with("equal: 20,000 lines"), "{shown}");
    assert_eq!(shown.matches("killed at record").count(), 3, "{shown}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_chaos_demo_hits_in_each_way_and_finds_the_outputs_equal() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["demo", "chaos", "--rounds", "6", "--seed", "7", "--rate", "300"];
    let output = run(folder.path(), &arguments);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), Some(0), "{shown}{}", text(&output.stderr));
    for part in [
        "SIGKILL to the owner",
        "SIGKILL to both",
        "SIGSTOP to the owner",
        "owner's disk full",
        "DynamoDB away",
        "away, then SIGKILL",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.lines().last().unwrap().starts_with("equal: "), "{shown}");
}

/// What a demo started must not outlive it, even where it was killed itself.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_to_end_with_its_parent_does() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "route_stats", "--no-rest", "--with-parent", "--rate=2000"];
    let child = millpond(folder.path(), &arguments);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("\"$0\" \"$@\" >/dev/null & wait").arg(child.get_program());
    shell.args(child.get_args()).env("XDG_DATA_HOME", folder.path());
    let mut shell = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(shell.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("starts afresh"));
    shell.kill().unwrap();
    shell.wait().unwrap();
    // The pipe is closed when the last that writes to it has ended.
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(!rest.iter().any(|line| line.contains("finished")), "it lived on: {rest:?}");
}

/// A log that cannot be written used to panic in the logger, and with it the job.
#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_stops_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let arguments = ["run", "route_stats", "--output=out", "--no-rest", "-vv"];
    let status = millpond(folder.path(), &arguments).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(lines(&folder.path().join("out")).len(), 20_000);
}

#[test]
fn a_job_that_failed_at_a_bad_line_goes_on_and_writes_such_lines_aside_once() {
    const ROWS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let mut flights = "delay,origin,destination\n".to_owned();
    for n in 1..=ROWS {
        let delay = if [250, 300].contains(&n) { "late".to_owned() } else { n.to_string() };
        flights.push_str(&format!("{delay},A,B\n"));
    }
    std::fs::write(folder.path().join("flights.csv"), flights).unwrap();
    let run = |more: &[&str], kill: Option<&str>| {
        let all = [
            &["run", "route_stats", "--input", "flights.csv", "--output", "out", "--no-rest"][..],
            &["--parallelism", "1", "-D", "execution.checkpointing.interval=20ms"],
            &["-D", "restart-strategy.type=none"],
            more,
        ];
        let mut command = millpond(folder.path(), &all.concat());
        kill.map(|point| command.env("MILLPOND_KILL_AT", point));
        Running::spawn(command).end()
    };
    // Slowly, so that checkpoints are completed before the line.
    let failed = run(&["--rate", "400"], None);
    failed.expect(1, &["flights.csv, line 251", "--on-error dead-letter=FOLDER"]);
    let aside = ["--on-error", "dead-letter=aside", "--resume"];
    for point in ["before-sink-renamed", "after-sink-renamed", "after-head-moved:2"] {
        let killed = run(&[&aside[..], &["--rate", "200"]].concat(), Some(point));
        assert!(killed.was_killed(), "{point}: {killed:?}");
    }
    run(&aside, None).expect(0, &["goes on"]);
    let mut letters: Vec<serde_json::Value> = lines(&folder.path().join("aside"))
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    letters.sort_by_key(|letter| letter["line"].as_u64());
    let places: Vec<_> =
        letters.iter().map(|l| (l["line"].as_u64().unwrap(), &l["file"])).collect();
    assert_eq!(places, [(251, &"flights.csv".into()), (301, &"flights.csv".into())]);
    assert_eq!(letters[0]["raw"], "late,A,B");
    assert_eq!(letters[0]["byte"], 25 + 9 * 6 + 90 * 7 + 150 * 8);
    assert!(letters[0]["reason"].as_str().unwrap().contains("column delay"), "{letters:?}");
    assert_eq!(lines(&folder.path().join("out")).len(), ROWS - 2);
    // The next run begins anew, and does without such a folder.
    run(&["--replace", "--on-error", "skip"], None).expect(0, &[]);
}

#[test]
fn results_of_a_state_that_was_lost_are_replaced_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.txt"), "one two\n").unwrap();
    let run = |more: &[&str]| {
        let all = [
            &["run", "word_count", "--input", "in.txt", "--output", "out", "--no-rest"][..],
            &["-D", "state.backend.dynamodb.local-db-path=state.db"],
            more,
        ];
        process::run(folder.path(), &all.concat())
    };
    for more in [&[][..], &["--fresh", "--replace"]] {
        run(more).expect(0, &[]);
    }
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        drop(std::fs::remove_file(folder.path().join(name)));
    }
    let lost = "whose state is gone (it got to attempt 2, this is attempt 1)";
    run(&[]).expect(2, &[lost, "--replace to remove earlier results"]);
    run(&["--replace"]).expect(0, &[]);
    assert_eq!(lines(&folder.path().join("out")).len(), 2);
}
