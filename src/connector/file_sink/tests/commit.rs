//! Commits, once more after a crash as well, and output that is lost.

use super::*;

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
