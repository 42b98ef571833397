//! A loss of power after each call that changes the output folder: what the head of that moment promises is
//! there, and a successor that goes on from it gives out each record once.

use super::*;
use crate::disk::power::{Kept, Record};

const SUBTASKS: u32 = 2;
const CHECKPOINTS: u64 = 3;

/// What the store, which loses nothing, holds from so many steps on.
struct Head {
    steps: usize,
    checkpoint: u64,
    owed: Vec<Committable>,
}

/// What subtask `subtask` writes before checkpoint `checkpoint`.
fn record_of(checkpoint: u64, subtask: u32) -> u32 {
    checkpoint as u32 * 10 + subtask
}

fn claim(attempt: u64, incarnation: u64, checkpoint: u64) -> RunIdentity {
    RunIdentity {
        attempt: Attempt(attempt),
        owner: format!("owner {attempt}"),
        replace: incarnation > 1,
        ..run(incarnation, checkpoint == 0)
    }
}

/// A run from attempt `attempt` to its end. The second checkpoint's output is published with the third's.
fn play(sink: &FileSink<AsJson>, attempt: u64, incarnation: u64, record: &Record) -> Vec<Head> {
    let mut heads = vec![Head { steps: record.len(), checkpoint: 0, owed: Vec::new() }];
    Sink::<u32>::prepare(sink, &claim(attempt, incarnation, 0)).unwrap();
    let mut writers: Vec<_> = (0..SUBTASKS).map(|n| writer::<u32, _>(sink, attempt, n)).collect();
    let mut owed = Vec::new();
    for checkpoint in 1..=CHECKPOINTS {
        for (writer, subtask) in writers.iter_mut().zip(0..) {
            writer.write(&mut vec![record_of(checkpoint, subtask)]).unwrap();
            owed.extend(block_on(writer.snapshot(CheckpointId(checkpoint))).unwrap());
        }
        heads.push(Head { steps: record.len(), checkpoint, owed: owed.clone() });
        if checkpoint != 2 {
            committer(sink).commit(&owed).unwrap();
            owed.clear();
        }
    }
    // The next manifest names nothing of it.
    heads.push(Head { steps: record.len(), checkpoint: CHECKPOINTS, owed });
    heads
}

/// What a successor that finds `head` does, up to the end of the input.
fn go_on(folder: &Path, attempt: u64, incarnation: u64, head: &Head) {
    let sink = FileSink::json_lines(folder);
    let run = claim(attempt, incarnation, head.checkpoint);
    if run.fresh {
        Sink::<u32>::check(&sink, &run).unwrap();
    }
    Sink::<u32>::prepare(&sink, &run).unwrap();
    committer(&sink).clean(run.attempt, &head.owed).unwrap();
    let outcomes = committer(&sink).commit(&head.owed).unwrap();
    assert!(!outcomes.iter().any(|o| matches!(o, CommitOutcome::Lost(_))), "{outcomes:?}");
    for subtask in 0..SUBTASKS {
        let mut writer = writer::<u32, _>(&sink, attempt, subtask);
        writer
            .write(
                &mut (head.checkpoint + 1..=CHECKPOINTS).map(|c| record_of(c, subtask)).collect(),
            )
            .unwrap();
        let staged = block_on(writer.snapshot(CheckpointId(CHECKPOINTS + 1))).unwrap();
        committer(&sink).commit(&staged).unwrap();
    }
    assert_eq!(staged(folder), [""; 0]);
}

fn output(folder: &Path) -> Vec<u32> {
    let text = |name: &String| std::fs::read_to_string(folder.join(name)).unwrap();
    let text: String = visible(folder).iter().map(text).collect();
    let mut records: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    records.sort_unstable();
    records
}

/// Plays a run in `folder` of `base`, and a loss of power after each of its steps.
fn at_every_step(base: &Path, folder: &Path, attempt: u64, incarnation: u64) {
    let record = Record::of(base);
    let heads = play(&FileSink::json_lines(folder), attempt, incarnation, &record);
    let steps = record.end();
    let subtasks = || 0..SUBTASKS;
    let all = (1..=CHECKPOINTS).flat_map(|c| subtasks().map(move |s| record_of(c, s)));
    let all: Vec<u32> = all.collect();
    let mut played = 0;
    for (n, head) in heads.iter().enumerate() {
        let until = heads.get(n + 1).map_or(steps.len(), |next| next.steps);
        for done in head.steps..=until {
            for kept in [Kept::Synced, Kept::Names, Kept::Removals] {
                steps.survivors(done, kept);
                go_on(folder, attempt + 1, incarnation, head);
                let told =
                    format!("{kept:?}, checkpoint {}, {:?}", head.checkpoint, &steps.all()[..done]);
                assert_eq!(output(folder), all, "{told}");
                played += 1;
            }
        }
    }
    assert!(played > 100, "{played}");
}

#[test]
fn output_survives_a_loss_of_power_at_any_step() {
    let base = tempfile::tempdir().unwrap();
    at_every_step(base.path(), &base.path().join("not/yet/there"), 1, 1);
}

#[test]
fn results_that_were_replaced_do_not_come_back() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("out");
    go_on(&folder, 1, 1, &Head { steps: 0, checkpoint: 0, owed: Vec::new() });
    at_every_step(base.path(), &folder, 2, 2);
}

#[test]
fn a_successor_that_claims_the_folder_leaves_it_recognised() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("out");
    Sink::<u32>::prepare(&FileSink::json_lines(&folder), &claim(1, 1, 0)).unwrap();
    let record = Record::of(base.path());
    let prepare =
        |attempt| Sink::<u32>::prepare(&FileSink::json_lines(&folder), &claim(attempt, 1, 1));
    prepare(2).unwrap();
    let steps = record.end();
    for done in 0..=steps.len() {
        for kept in [Kept::Synced, Kept::Names, Kept::Removals] {
            steps.survivors(done, kept);
            prepare(3).unwrap_or_else(|e| panic!("{kept:?}, {:?}: {e}", &steps.all()[..done]));
        }
    }
}

#[test]
fn markers_of_a_state_that_is_gone_do_not_come_back() {
    let base = tempfile::tempdir().unwrap();
    let folder = base.path().join("out");
    Sink::<u32>::prepare(&FileSink::json_lines(&folder), &claim(7, 1, 0)).unwrap();
    let sink = FileSink::json_lines(&folder);
    let run = RunIdentity { replace: true, ..claim(1, 1, 0) };
    Sink::<u32>::check(&sink, &run).unwrap();
    let record = Record::of(base.path());
    Sink::<u32>::prepare(&sink, &run).unwrap();
    let steps = record.end();
    steps.survivors(steps.len(), Kept::Synced);
    assert!(names_in(&folder.join(".millpond")).unwrap().into_iter().eq(["1.json"]));
}
