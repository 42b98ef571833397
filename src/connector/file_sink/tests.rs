//! Staging, committing, cleaning and claiming, with a crash between any two of them.

mod claims;
mod cleaning;
mod commit;
mod csv;
mod moved;
mod power;

use std::path::Path;

use futures::FutureExt;
use serde::Serialize;

use super::folder::{Part, names_in};
use super::*;
use crate::connector::testing::{self, Gate, block_on};
use crate::connector::{CommitOutcome, Committable};
use crate::error::{Error, ErrorKind};
use crate::ids::{Attempt, CheckpointId, Incarnation};

#[derive(Serialize)]
struct Row {
    name: &'static str,
    n: u32,
}

fn run(incarnation: u64, fresh: bool) -> RunIdentity {
    let (incarnation, attempt) = (Incarnation(incarnation), Attempt(1));
    let (job, owner) = (Name::new("job").unwrap(), "first".to_owned());
    RunIdentity { job, incarnation, attempt, owner, fresh, added: false, replace: false }
}

/// Attempt `attempt` of the first run, which goes on.
fn goes_on(attempt: u64) -> RunIdentity {
    RunIdentity { attempt: Attempt(attempt), ..run(1, false) }
}

fn out() -> Name {
    Name::new("out").unwrap()
}

fn prepared(folder: &Path) -> FileSink<AsJson> {
    let sink = FileSink::json_lines(folder);
    Sink::<u32>::prepare(&sink, &run(1, true)).unwrap();
    sink
}

fn writer<T: Serialize + 'static, F: FileFormat>(
    sink: &FileSink<F>,
    attempt: u64,
    subtask: u32,
) -> Box<dyn Writer<T>> {
    sink.writer(testing::writer_context(attempt, subtask)).unwrap()
}

fn committer(sink: &FileSink<AsJson>) -> Box<dyn Committer> {
    Sink::<u32>::committer(sink, &out()).unwrap()
}

/// What attempt `attempt` stages for `checkpoint` when it writes `n`.
fn stage(sink: &FileSink<AsJson>, attempt: u64, checkpoint: u64, n: u32) -> Vec<Committable> {
    let mut writer = writer::<u32, _>(sink, attempt, 0);
    writer.write(&mut vec![n]).unwrap();
    block_on(writer.snapshot(CheckpointId(checkpoint))).unwrap()
}

fn visible(folder: &Path) -> Vec<String> {
    names_in(folder).unwrap().into_iter().filter(|n| !n.starts_with('.')).collect()
}

fn staged(folder: &Path) -> Vec<String> {
    names_in(&folder.join(".staging")).unwrap().into_iter().collect()
}

#[test]
fn records_are_visible_after_the_commit_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let mut writer = writer::<u32, _>(&sink, 3, 2);
    let mut batch = vec![1, 2];
    writer.write(&mut batch).unwrap();
    assert!(batch.is_empty());
    writer.write(&mut vec![3]).unwrap();
    let first = block_on(writer.snapshot(CheckpointId(7))).unwrap();
    writer.write(&mut vec![4]).unwrap();
    let second = block_on(writer.snapshot(CheckpointId(8))).unwrap();
    assert_eq!(visible(dir.path()), [""; 0]);
    assert_eq!(staged(dir.path()), ["part-out-7-3-2.jsonl", "part-out-8-3-2.jsonl"]);
    let outcomes = committer(&sink).commit(&[first, second].concat()).unwrap();
    assert_eq!(outcomes, [CommitOutcome::Committed, CommitOutcome::Committed]);
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!(read("part-out-7-3-2.jsonl"), "1\n2\n3\n");
    assert_eq!(read("part-out-8-3-2.jsonl"), "4\n");
    assert_eq!(staged(dir.path()), [""; 0]);
}

#[test]
fn nothing_written_stages_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let mut writer = writer::<u32, _>(&sink, 1, 0);
    writer.write(&mut Vec::new()).unwrap();
    assert_eq!(block_on(writer.snapshot(CheckpointId(1))).unwrap(), []);
    assert_eq!(staged(dir.path()), [""; 0]);
    assert_eq!(committer(&sink).commit(&[]).unwrap(), []);
}

#[test]
fn csv_files_each_begin_with_a_header() {
    let dir = tempfile::tempdir().unwrap();
    let sink = FileSink::csv(dir.path());
    Sink::<Row>::prepare(&sink, &run(1, true)).unwrap();
    let mut writer = writer::<Row, _>(&sink, 1, 0);
    let mut staged = Vec::new();
    for checkpoint in 1..=2 {
        writer.write(&mut vec![Row { name: "a,b", n: 1 }]).unwrap();
        writer.write(&mut vec![Row { name: "c", n: 2 }]).unwrap();
        staged.extend(block_on(writer.snapshot(CheckpointId(checkpoint))).unwrap());
    }
    Sink::<Row>::committer(&sink, &out()).unwrap().commit(&staged).unwrap();
    for checkpoint in 1..=2 {
        let path = dir.path().join(format!("part-out-{checkpoint}-1-0.csv"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "name,n\n\"a,b\",1\nc,2\n");
    }
}

#[test]
fn much_is_written_before_the_barrier_and_stays_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let gate = Gate::default();
    let context = WriterContext { io: gate.io(), ..testing::writer_context(1, 0) };
    let mut writer: Box<dyn Writer<u32>> = sink.writer(context).unwrap();
    for from in (0..1_000_000).step_by(1000) {
        writer.write(&mut (from..from + 1000).collect()).unwrap();
    }
    assert!(writer.ready().now_or_never().is_none(), "7 MB are queued: the writer waits");
    let snapshot = writer.snapshot(CheckpointId(1));
    while gate.release_newest() {}
    let staged = block_on(snapshot).unwrap();
    committer(&sink).commit(&staged).unwrap();
    let text = std::fs::read_to_string(dir.path().join("part-out-1-1-0.jsonl")).unwrap();
    assert!(text.lines().map(|l| l.parse::<u32>().unwrap()).eq(0..1_000_000));
}

#[test]
fn a_snapshot_is_not_done_before_its_file_is_staged() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let gate = Gate::default();
    let context = WriterContext { io: gate.io(), ..testing::writer_context(1, 0) };
    let mut writer: Box<dyn Writer<u32>> = sink.writer(context).unwrap();
    writer.write(&mut vec![1]).unwrap();
    let mut snapshot = writer.snapshot(CheckpointId(1));
    assert!((&mut snapshot).now_or_never().is_none());
    assert_eq!(staged(dir.path()), [""; 0]);
    while gate.release() {}
    assert_eq!(block_on(snapshot).unwrap().len(), 1);
    assert_eq!(staged(dir.path()), ["part-out-1-1-0.jsonl"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    // What is written to this device does not fit, as on a full disk.
    std::os::unix::fs::symlink("/dev/full", dir.path().join(".staging/open-out-1-1-0.jsonl"))
        .unwrap();
    let mut writer = writer::<u32, _>(&sink, 1, 0);
    writer.write(&mut vec![1]).unwrap();
    let error = block_on(writer.snapshot(CheckpointId(1))).unwrap_err();
    assert!(error.to_string().contains("open-out-1-1-0.jsonl: No space left"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn names_say_what_they_are_of() {
    let part = Part { operator: "a-1-2.csv".to_owned(), checkpoint: 3, attempt: 40, subtask: 5 };
    assert_eq!(part.name("jsonl"), "part-a-1-2.csv-3-40-5.jsonl");
    assert_eq!(Part::parse(&part.name("csv")), Some(part.clone()));
    assert_eq!(Part::parse(&part.open_name(3, "csv")), Some(part));
    for other in ["part-1-2-3.csv", "part-a-1-2-3.txt", "part-a-1-2-x.csv", "a-1-2-3.csv", ""] {
        assert_eq!(Part::parse(other), None, "{other}");
    }
}
