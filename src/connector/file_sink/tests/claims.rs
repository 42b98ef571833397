//! Whose a folder is: claims, refusals, and those that come too late.

use super::*;

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
    let adds = RunIdentity { added: true, ..run(1, false) };
    for run in [&adds, &adds, &run(1, false)] {
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
fn a_marker_that_comes_late_hides_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    Sink::<u32>::prepare(&sink, &goes_on(3)).unwrap();
    let markers = dir.path().join(".millpond");
    assert!(names_in(&markers).unwrap().into_iter().eq(["3.json"]));
    let late = r#"{"job":"job","incarnation":1,"attempt":2}"#;
    std::fs::write(markers.join("2.json"), late).unwrap();
    let old = goes_on(2);
    assert_eq!(Sink::<u32>::prepare(&sink, &old).unwrap_err().kind(), ErrorKind::Fenced);
    Sink::<u32>::prepare(&sink, &goes_on(4)).unwrap();
}

/// Before a fresh start's claim, markers of later attempts are of a state that is gone. One that goes on is told.
#[test]
fn a_look_before_going_on_hides_no_later_marker() {
    let dir = tempfile::tempdir().unwrap();
    let later = goes_on(9);
    Sink::<u32>::prepare(&prepared(dir.path()), &later).unwrap();
    let sink = FileSink::json_lines(dir.path());
    let back = goes_on(2);
    for _ in 0..2 {
        assert_eq!(Sink::<u32>::check(&sink, &back).unwrap_err().kind(), ErrorKind::Fenced);
    }
    assert_eq!(Sink::<u32>::prepare(&sink, &back).unwrap_err().kind(), ErrorKind::Fenced);
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
