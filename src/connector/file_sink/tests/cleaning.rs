//! What a new attempt removes of what was staged, and what it leaves.

use super::*;

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
fn what_a_run_staged_before_its_first_checkpoint_goes_whatever_sink_it_was_of() {
    let dir = tempfile::tempdir().unwrap();
    let sink = prepared(dir.path());
    let left = ["open-former-1-1-0.csv", "part-former-1-1-0.csv", "part-former-1-2-0.csv", "notes"];
    for name in left {
        std::fs::write(dir.path().join(".staging").join(name), "").unwrap();
    }
    Sink::<u32>::prepare(&sink, &goes_on(2)).unwrap();
    assert_eq!(staged(dir.path()).len(), 4, "a manifest may name them");
    Sink::<u32>::prepare(&sink, &RunIdentity { attempt: Attempt(2), ..run(1, true) }).unwrap();
    assert_eq!(staged(dir.path()), ["notes", "part-former-1-2-0.csv"]);
}
