//! Staging, committing, cleaning and claiming, with a crash between any two of them.

mod csv;
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

#[test]
fn committing_again_after_a_crash_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let both = [stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2)].concat();
    // The commit died after its first rename.
    committer(&sink).commit(&both[..1]).unwrap();
    Sink::<u32>::prepare(&sink, &run(1, false)).unwrap();
    let committer = committer(&sink);
    committer.clean(Attempt(2), &both).unwrap();
    let again = committer.commit(&both).unwrap();
    assert_eq!(again, [CommitOutcome::AlreadyCommitted, CommitOutcome::Committed]);
    assert_eq!(committer.commit(&both).unwrap(), [const { CommitOutcome::AlreadyCommitted }; 2]);
    assert_eq!(visible(dir.path()), ["part-out-1-1-0.jsonl", "part-out-2-1-0.jsonl"]);
}

#[test]
fn a_replay_by_a_later_attempt_never_meets_the_names_of_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let old = stage(&sink, 1, 5, 1);
    let new = stage(&sink, 2, 5, 1);
    assert_ne!(old, new);
    // The zombie's file is there; only what the manifest names gets published.
    committer(&sink).commit(&new).unwrap();
    assert_eq!(visible(dir.path()), ["part-out-5-2-0.jsonl"]);
}

#[test]
fn cleaning_removes_what_earlier_attempts_left_and_nothing_names() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let (_, named, own) = (stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2), stage(&sink, 3, 3, 3));
    // A writer that died with an open file, another operator's and a stranger's files.
    let mut dead = writer::<String, _>(&sink, 2, 1);
    dead.write(&mut vec!["x".repeat(300 << 10)]).unwrap();
    for name in ["part-other-1-1-0.jsonl", "part-out-x-1-1-0.jsonl", "notes.txt"] {
        std::fs::write(dir.path().join(".staging").join(name), "").unwrap();
    }
    assert!(staged(dir.path()).contains(&"open-out-1-2-1.jsonl".to_owned()));
    committer(&sink).clean(Attempt(3), &named).unwrap();
    assert_eq!(
        staged(dir.path()),
        [
            "notes.txt",
            "part-other-1-1-0.jsonl",
            "part-out-2-1-0.jsonl",
            "part-out-3-3-0.jsonl",
            "part-out-x-1-1-0.jsonl",
        ]
    );
    committer(&sink).commit(&[named, own].concat()).unwrap();
}

#[test]
fn lost_output_is_told_with_both_files_and_keeps_nothing_else_back() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let both = [stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2)].concat();
    committer(&sink).commit(&both[1..]).unwrap();
    std::fs::remove_dir_all(dir.path().join(".staging")).unwrap();
    let root = dir.path().display();
    let lost = format!(
        "neither the staged {root}/.staging/part-out-1-1-0.jsonl nor the published \
         {root}/part-out-1-1-0.jsonl exists"
    );
    let outcomes = [CommitOutcome::Lost(lost), CommitOutcome::AlreadyCommitted];
    assert_eq!(committer(&sink).commit(&both).unwrap(), outcomes);
    // No claim makes the folder anew while that is so: what is not in it would count as published.
    for _ in 0..2 {
        let sink = FileSink::json_lines(dir.path());
        Sink::<u32>::prepare(&sink, &run(1, false)).unwrap();
        let error = committer(&sink).clean(Attempt(2), &both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
        assert!(error.to_string().contains(&format!("{root}/.staging is gone")), "{error}");
    }
    // What is published, or not owed, is not missed.
    committer(&sink).clean(Attempt(2), &both[1..]).unwrap();
    assert!(dir.path().join(".staging").is_dir());
}

/// It used to be told as lost, which blocked the job.
#[test]
fn output_that_was_published_and_moved_away_since_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let both = [stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2)].concat();
    committer(&sink).commit(&both[..1]).unwrap();
    std::fs::remove_file(dir.path().join("part-out-1-1-0.jsonl")).unwrap();
    // By the next attempt, and by a fresh start that has not claimed the folder.
    for prepares in [false, true] {
        let sink = FileSink::json_lines(dir.path());
        if prepares {
            Sink::<u32>::prepare(&sink, &run(1, false)).unwrap();
            committer(&sink).clean(Attempt(2), &both).unwrap();
        }
        let outcomes = committer(&sink).commit(&both).unwrap();
        let second =
            if prepares { CommitOutcome::AlreadyCommitted } else { CommitOutcome::Committed };
        assert_eq!(outcomes, [CommitOutcome::AlreadyCommitted, second]);
    }
    assert_eq!(visible(dir.path()), ["part-out-2-1-0.jsonl"]);
}

#[test]
fn a_job_without_the_sink_publishes_what_it_staged_where_it_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let staged = stage(&sink, 1, 1, 1);
    let others = Committable(vec![9]);
    let committer = committer_without_sink(&Name::new("out").unwrap());
    let outcomes = committer.commit(&[&staged[..], &[others]].concat()).unwrap();
    assert_eq!(outcomes[0], CommitOutcome::Committed);
    let CommitOutcome::Lost(what) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(what.contains("has no sink out now"), "{what}");
    assert!(dir.path().join("part-out-1-1-0.jsonl").exists());
    committer.clean(Attempt(9), &[]).unwrap();
    assert!(dir.path().join("part-out-1-1-0.jsonl").exists());
}

#[test]
fn a_vanished_folder_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("results");
    let sink = prepared(&folder);
    let kept = stage(&sink, 1, 1, 1);
    std::fs::remove_dir_all(&folder).unwrap();
    let mut writer = writer::<u32, _>(&sink, 1, 1);
    writer.write(&mut vec![1]).unwrap();
    let restart = Sink::<u32>::prepare(&sink, &run(1, false)).unwrap_err();
    for error in [
        block_on(writer.snapshot(CheckpointId(2))).unwrap_err(),
        committer(&sink).commit(&kept).unwrap_err(),
        restart,
    ] {
        assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
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
fn a_folder_belongs_to_one_run_of_one_job() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep/results");
    let sink = FileSink::json_lines(&folder);
    let prepare = |run: &RunIdentity| Sink::<u32>::prepare(&sink, run);
    let refused = |run: &RunIdentity| -> Error {
        let error = prepare(run).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
        error
    };
    prepare(&run(1, true)).unwrap();
    prepare(&run(1, true)).unwrap();
    let results = stage(&sink, 1, 1, 1);
    prepare(&run(1, false)).unwrap();
    committer(&sink).commit(&results).unwrap();
    prepare(&run(1, false)).unwrap();
    assert!(refused(&run(2, true)).to_string().contains("an earlier run of job (incarnation 1)"));
    let other = RunIdentity { job: Name::new("other").unwrap(), ..run(1, true) };
    assert!(refused(&other).to_string().contains("results of the job job"));
    assert!(refused(&run(2, false)).to_string().contains("--fresh"));
    // The head was lost, so the numbers begin again: the results are another run's all the same.
    assert!(refused(&run(1, true)).to_string().contains("--replace"));
    std::fs::write(folder.join("notes.txt"), "mine").unwrap();
    stage(&sink, 1, 2, 2);
    prepare(&RunIdentity { replace: true, ..run(2, true) }).unwrap();
    assert_eq!(visible(&folder), ["notes.txt"]);
    assert_eq!(staged(&folder), [""; 0]);
    prepare(&run(2, false)).unwrap();
}

#[test]
fn a_folder_with_other_files_is_refused_and_replace_leaves_them_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "years").unwrap();
    let sink = FileSink::json_lines(dir.path());
    let error = Sink::<u32>::prepare(&sink, &run(1, true)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the output folder {} holds 1 other files, \"thesis.txt\" among them: choose another \
             one, or --replace to remove earlier results (nothing else is removed)",
            dir.path().display()
        )
    );
    let replace = RunIdentity { replace: true, ..run(1, true) };
    Sink::<u32>::prepare(&sink, &replace).unwrap();
    assert_eq!(visible(dir.path()), ["thesis.txt"]);
    Sink::<u32>::prepare(&sink, &run(1, true)).unwrap();
}

/// Claims for attempt `attempt`; the results of attempts before it may be removed.
fn replacing(attempt: u64, incarnation: u64) -> RunIdentity {
    RunIdentity { attempt: Attempt(attempt), replace: true, ..run(incarnation, true) }
}

#[test]
fn a_claimant_that_was_overtaken_removes_and_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let prepare = |sink: &FileSink<AsJson>, run: &RunIdentity| Sink::<u32>::prepare(sink, run);
    let (paused, successor) = (FileSink::json_lines(dir.path()), FileSink::json_lines(dir.path()));
    prepare(&paused, &replacing(1, 1)).unwrap();
    let own = stage(&paused, 1, 1, 1);
    for incarnation in [1, 2] {
        prepare(&successor, &replacing(incarnation + 1, incarnation)).unwrap();
        let results = stage(&successor, incarnation + 1, 1, 2);
        let owed = stage(&successor, incarnation + 1, 2, 2);
        committer(&successor).commit(&results).unwrap();
        let before = (visible(dir.path()), staged(dir.path()));

        for error in [
            prepare(&paused, &replacing(1, 1)).unwrap_err(),
            prepare(&FileSink::json_lines(dir.path()), &replacing(1, 1)).unwrap_err(),
            committer(&paused).clean(Attempt(1), &[]).unwrap_err(),
            committer(&paused).commit(&own).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
            assert!(error.to_string().contains("overtaken"), "{error}");
        }
        assert_eq!((visible(dir.path()), staged(dir.path())), before);
        committer(&successor).commit(&owed).unwrap();
    }
}

#[test]
fn results_of_a_state_that_is_gone_are_named_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let last = FileSink::json_lines(dir.path());
    Sink::<u32>::prepare(&last, &replacing(7, 1)).unwrap();
    // The table was lost: attempts begin again, and so do incarnations.
    let sink = FileSink::json_lines(dir.path());
    let run = RunIdentity { owner: "anew".to_owned(), ..replacing(1, 1) };
    let looked = |replace| {
        let unclaimed = RunIdentity { owner: String::new(), replace, ..run.clone() };
        Sink::<u32>::check(&sink, &unclaimed)
    };
    assert!(looked(false).unwrap_err().to_string().contains("--replace"), "though it is empty");
    committer(&last).commit(&stage(&last, 7, 1, 1)).unwrap();
    let error = looked(false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let gone = "earlier run of job, whose state is gone (it got to attempt 7, this is attempt 1)";
    assert!(error.to_string().contains(gone), "{error}");
    assert!(error.to_string().contains("--replace"), "{error}");
    assert_eq!(visible(dir.path()), ["part-out-1-7-0.jsonl"]);
    looked(true).unwrap();
    Sink::<u32>::prepare(&sink, &run).unwrap();
    assert_eq!(visible(dir.path()), [""; 0]);
    assert!(names_in(&dir.path().join(".millpond")).unwrap().into_iter().eq(["1.json"]));
    committer(&sink).commit(&stage(&sink, 1, 1, 1)).unwrap();
    assert_eq!(visible(dir.path()), ["part-out-1-1-0.jsonl"]);
}

#[test]
fn a_successor_with_the_number_of_a_state_that_is_gone_overtakes_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let old = FileSink::json_lines(dir.path());
    Sink::<u32>::prepare(&old, &replacing(7, 1)).unwrap();
    // Attempt 1 of the new state looks, claims and is paused.
    let paused = FileSink::json_lines(dir.path());
    let run = |attempt| RunIdentity { owner: format!("anew {attempt}"), ..replacing(attempt, 1) };
    Sink::<u32>::check(&paused, &run(1)).unwrap();
    // So its successors get as far as the old state did.
    let successor = FileSink::json_lines(dir.path());
    Sink::<u32>::check(&successor, &run(2)).unwrap();
    Sink::<u32>::prepare(&successor, &run(7)).unwrap();
    committer(&successor).commit(&stage(&successor, 7, 1, 1)).unwrap();
    let error = Sink::<u32>::prepare(&paused, &run(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(visible(dir.path()), ["part-out-1-7-0.jsonl"]);
}

#[test]
fn a_folder_that_may_be_joined_is_so_by_a_run_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("aside");
    let sink = FileSink::joining(&folder);
    let prepare = |run: &RunIdentity| Sink::<u32>::prepare(&sink, run);
    let other = Sink::<u32>::prepare(&FileSink::json_lines(&folder), &run(1, false)).unwrap_err();
    assert!(other.to_string().contains("has vanished"), "{other}");
    prepare(&run(1, false)).unwrap();
    committer(&sink).commit(&stage(&sink, 1, 1, 1)).unwrap();
    prepare(&run(1, false)).unwrap();
    assert_eq!(visible(&folder), ["part-out-1-1-0.jsonl"]);
    // So is one that is new to the job, by any sink.
    let added = FileSink::json_lines(dir.path().join("added"));
    let goes_on = RunIdentity { added: true, ..run(1, false) };
    for run in [&goes_on, &goes_on, &run(1, false)] {
        Sink::<u32>::check(&added, run).unwrap();
        Sink::<u32>::prepare(&added, run).unwrap();
    }
    // What is there of another run, or another's, is in the way, as of a run that starts afresh.
    let error = prepare(&run(2, false)).unwrap_err();
    assert!(error.to_string().contains("an earlier run of job (incarnation 1)"), "{error}");
    prepare(&RunIdentity { replace: true, ..run(2, false) }).unwrap();
    assert_eq!(visible(&folder), [""; 0]);
    let desk = dir.path().join("desk");
    std::fs::create_dir(&desk).unwrap();
    std::fs::write(desk.join("thesis.txt"), "years").unwrap();
    let error = Sink::<u32>::prepare(&FileSink::joining(&desk), &run(1, false)).unwrap_err();
    assert!(error.to_string().contains("\"thesis.txt\" among them"), "{error}");
}

#[test]
fn what_was_listed_before_a_successor_came_is_not_the_successors() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let old = stage(&sink, 1, 1, 1);
    committer(&sink).commit(&old).unwrap();
    // A claimant lists, finds no later marker, and is paused before it deletes.
    let folder = Folder::at(dir.path().to_owned(), "jsonl");
    let listed = folder.results().unwrap();
    Sink::<u32>::prepare(&sink, &replacing(3, 2)).unwrap();
    let (results, owed) = (stage(&sink, 3, 1, 1), stage(&sink, 3, 2, 1));
    committer(&sink).commit(&results).unwrap();
    listed.remove(&folder).unwrap();
    assert_eq!(visible(dir.path()), ["part-out-1-3-0.jsonl"]);
    committer(&sink).commit(&owed).unwrap();
}

#[test]
fn a_late_clean_leaves_all_that_a_later_head_may_owe() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    // Attempt 1 completed checkpoint 2 and died; attempt 2 read that and is paused before it cleans.
    let (_lost, owed) = (stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2));
    // Attempt 3 goes on from the same checkpoint, owes the same and more, and publishes nothing yet.
    let more = stage(&sink, 3, 3, 3);
    committer(&sink).clean(Attempt(2), &owed).unwrap();
    let outcomes = committer(&sink).commit(&[owed, more].concat()).unwrap();
    assert_eq!(outcomes, [CommitOutcome::Committed, CommitOutcome::Committed]);
}

#[test]
fn a_marker_that_comes_late_hides_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(3), ..run(1, false) }).unwrap();
    let markers = dir.path().join(".millpond");
    assert!(names_in(&markers).unwrap().into_iter().eq(["3.json"]));
    let late = r#"{"job":"job","incarnation":1,"attempt":2}"#;
    std::fs::write(markers.join("2.json"), late).unwrap();
    let old = RunIdentity { attempt: Attempt(2), ..run(1, false) };
    assert_eq!(Sink::<u32>::prepare(&sink, &old).unwrap_err().kind(), ErrorKind::Fenced);
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(4), ..run(1, false) }).unwrap();
}

/// Before a fresh start's claim, markers of later attempts are of a state that is gone. One that goes on is told.
#[test]
fn a_look_before_going_on_hides_no_later_marker() {
    let dir = tempfile::tempdir().unwrap();
    let later = RunIdentity { attempt: Attempt(9), ..run(1, false) };
    Sink::<u32>::prepare(&prepared(dir.path()), &later).unwrap();
    let sink = FileSink::json_lines(dir.path());
    let back = RunIdentity { attempt: Attempt(2), ..run(1, false) };
    for _ in 0..2 {
        assert_eq!(Sink::<u32>::check(&sink, &back).unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!(Sink::<u32>::prepare(&sink, &back).unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn what_an_old_run_owes_is_published_where_it_was_staged() {
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owed = stage(&prepared(old.path()), 1, 1, 1);
    // A run of another job has a file of that name, and the folder is not claimed yet.
    stage(&prepared(new.path()), 1, 1, 2);
    let elsewhere = FileSink::json_lines(new.path());
    committer(&elsewhere).commit(&owed).unwrap();
    assert_eq!(visible(old.path()), ["part-out-1-1-0.jsonl"]);
    assert_eq!(visible(new.path()), [""; 0]);
}

#[test]
fn a_folder_may_be_moved_between_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let owed = stage(&prepared(&before), 1, 1, 1);
    std::fs::rename(&before, &after).unwrap();
    let moved = FileSink::json_lines(&after);
    let outcomes = committer(&moved).commit(&owed).unwrap();
    assert!(matches!(outcomes[..], [CommitOutcome::Lost(_)]), "not claimed yet: {outcomes:?}");
    Sink::<u32>::prepare(&moved, &RunIdentity { attempt: Attempt(2), ..run(1, false) }).unwrap();
    committer(&moved).commit(&owed).unwrap();
    assert_eq!(visible(&after), ["part-out-1-1-0.jsonl"]);
}

/// What a copy of the folder was made of used to get the results, and the copy to stay without.
#[test]
fn a_run_that_goes_on_in_a_copy_of_its_folder_publishes_in_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (old, copy) = (dir.path().join("out"), dir.path().join("copy"));
    let sink = prepared(&old);
    let owed = [stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2)].concat();
    for folder in [".millpond", ".staging"] {
        std::fs::create_dir_all(copy.join(folder)).unwrap();
        for name in names_in(&old.join(folder)).unwrap() {
            std::fs::copy(old.join(folder).join(&name), copy.join(folder).join(&name)).unwrap();
        }
    }
    let sink = FileSink::json_lines(&copy);
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(2), ..run(1, false) }).unwrap();
    committer(&sink).clean(Attempt(2), &owed).unwrap();
    // The second time as after a crash.
    for published in [CommitOutcome::Committed, CommitOutcome::AlreadyCommitted] {
        let outcomes = committer(&sink).commit(&owed).unwrap();
        assert_eq!(outcomes, [published.clone(), published]);
        assert_eq!(visible(&copy), ["part-out-1-1-0.jsonl", "part-out-2-1-0.jsonl"]);
        assert_eq!((visible(&old).len(), staged(&old).len()), (0, 2));
    }
}

fn goes_on(attempt: u64) -> RunIdentity {
    RunIdentity { attempt: Attempt(attempt), ..run(1, false) }
}

/// It used to count as published wherever there was a staging folder.
#[test]
fn what_was_staged_in_a_folder_that_is_gone_is_lost_and_not_published_in_another() {
    let dir = tempfile::tempdir().unwrap();
    let (before, away, now) =
        (dir.path().join("before"), dir.path().join("away"), dir.path().join("now"));
    let first = FileSink::joining(&before);
    Sink::<u32>::prepare(&first, &run(1, true)).unwrap();
    let owed = stage(&first, 1, 1, 1);
    std::fs::rename(&before, &away).unwrap();
    // The second of them finds the first one's marker, which was no more there when that was staged.
    for attempt in [2, 3] {
        let sink = FileSink::joining(&now);
        Sink::<u32>::prepare(&sink, &goes_on(attempt)).unwrap();
        committer(&sink).clean(Attempt(attempt), &owed).unwrap();
        let outcomes = committer(&sink).commit(&owed).unwrap();
        assert!(matches!(outcomes[..], [CommitOutcome::Lost(_)]), "{attempt}: {outcomes:?}");
    }
    std::fs::rename(&away, &before).unwrap();
    let sink = FileSink::joining(&now);
    Sink::<u32>::prepare(&sink, &goes_on(4)).unwrap();
    assert_eq!(committer(&sink).commit(&owed).unwrap(), [CommitOutcome::Committed]);
    assert_eq!(visible(&before), ["part-out-1-1-0.jsonl"]);
    // Whoever reads it may move it away, there too.
    std::fs::remove_file(before.join("part-out-1-1-0.jsonl")).unwrap();
    assert_eq!(committer(&sink).commit(&owed).unwrap(), [CommitOutcome::AlreadyCommitted]);
}

#[test]
fn what_an_older_copy_of_the_folder_lacks_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (out, backup) = (dir.path().join("out"), dir.path().join("backup"));
    let sink = prepared(&out);
    let marker = ".millpond/1.json";
    for folder in [".millpond", ".staging"] {
        std::fs::create_dir_all(backup.join(folder)).unwrap();
    }
    std::fs::copy(out.join(marker), backup.join(marker)).unwrap();
    Sink::<u32>::prepare(&sink, &goes_on(2)).unwrap();
    let owed = stage(&sink, 2, 2, 2);
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::rename(&backup, &out).unwrap();
    for attempt in [3, 4] {
        let sink = FileSink::json_lines(&out);
        Sink::<u32>::prepare(&sink, &goes_on(attempt)).unwrap();
        committer(&sink).clean(Attempt(attempt), &owed).unwrap();
        let outcomes = committer(&sink).commit(&owed).unwrap();
        assert!(matches!(outcomes[..], [CommitOutcome::Lost(_)]), "{attempt}: {outcomes:?}");
    }
}

/// The checkpoint could not name it, so each attempt failed at its first one.
#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_not_utf_8_is_refused_before_anything_is_claimed() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")).join("out");
    let sink = FileSink::json_lines(&folder);
    for error in [
        Sink::<u32>::check(&sink, &run(1, true)).unwrap_err(),
        Sink::<u32>::prepare(&sink, &run(1, false)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains("caf\\xE9/out\" of the output is not UTF-8"), "{error}");
    }
    assert!(names_in(dir.path()).unwrap().is_empty());
}

/// What the other job had staged under the name was published before its time, or taken for what was owed.
#[test]
fn a_fresh_start_leaves_a_folder_alone_that_is_another_jobs_by_now() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let owed = [stage(&prepared(&before), 1, 1, 1), stage(&prepared(&before), 1, 2, 1)].concat();
    std::fs::rename(&before, &after).unwrap();
    let other = FileSink::json_lines(&before);
    let anothers = RunIdentity { job: Name::new("other").unwrap(), ..run(1, true) };
    Sink::<u32>::prepare(&other, &anothers).unwrap();
    stage(&other, 1, 1, 2);
    let fresh = FileSink::json_lines(dir.path().join("new"));
    Sink::<u32>::check(&fresh, &run(2, true)).unwrap();
    let outcomes = committer(&fresh).commit(&owed).unwrap();
    assert!(
        matches!(outcomes[..], [CommitOutcome::Lost(_), CommitOutcome::Lost(_)]),
        "{outcomes:?}"
    );
    assert_eq!((visible(&before).len(), staged(&before).len()), (0, 1));
    assert!(format!("{outcomes:?}").contains("belongs to another job by now"), "{outcomes:?}");
    // Put back, it is published.
    std::fs::remove_dir_all(&before).unwrap();
    std::fs::rename(&after, &before).unwrap();
    let outcomes = committer(&fresh).commit(&owed).unwrap();
    assert_eq!(outcomes, [CommitOutcome::Committed, CommitOutcome::Committed]);
}

#[test]
fn what_a_run_staged_before_its_first_checkpoint_goes_whatever_sink_it_was_of() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let left = ["open-former-1-1-0.csv", "part-former-1-1-0.csv", "part-former-1-2-0.csv", "notes"];
    for name in left {
        std::fs::write(dir.path().join(".staging").join(name), "").unwrap();
    }
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(2), ..run(1, false) }).unwrap();
    assert_eq!(staged(dir.path()).len(), 4, "a manifest may name them");
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(2), ..run(1, true) }).unwrap();
    assert_eq!(staged(dir.path()), ["notes", "part-former-1-2-0.csv"]);
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
