//! Folders that were moved, copied or put back between runs.

use super::*;

#[test]
fn a_folder_may_be_moved_between_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let owed = stage(&prepared(&before), 1, 1, 1);
    std::fs::rename(&before, &after).unwrap();
    let moved = FileSink::json_lines(&after);
    let outcomes = committer(&moved).commit(&owed).unwrap();
    assert!(matches!(outcomes[..], [CommitOutcome::Lost(_)]), "not claimed yet: {outcomes:?}");
    Sink::<u32>::prepare(&moved, &goes_on(2)).unwrap();
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
    Sink::<u32>::prepare(&sink, &goes_on(2)).unwrap();
    committer(&sink).clean(Attempt(2), &owed).unwrap();
    // The second time as after a crash.
    for published in [CommitOutcome::Committed, CommitOutcome::AlreadyCommitted] {
        let outcomes = committer(&sink).commit(&owed).unwrap();
        assert_eq!(outcomes, [published.clone(), published]);
        assert_eq!(visible(&copy), ["part-out-1-1-0.jsonl", "part-out-2-1-0.jsonl"]);
        assert_eq!((visible(&old).len(), staged(&old).len()), (0, 2));
    }
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
