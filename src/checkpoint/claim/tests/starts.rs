//! Where an attempt begins: afresh, at an older checkpoint, or not at all.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fresh_start_commits_what_is_owed_and_takes_a_new_incarnation() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    *world.sink.retries.lock().unwrap() = 2;
    let fresh = world.claimer(2, |o| {
        o.mode = StartMode::Fresh;
        o.identity = identity("another");
    });
    let fresh = claim(&mut { fresh }).await.unwrap();
    assert_eq!((fresh.began, fresh.head.incarnation), (Began::Fresh, Incarnation(2)));
    assert_eq!((fresh.head.checkpoint, fresh.head.retained.len()), (CheckpointId::NONE, 0));
    assert!(fresh.manifest.is_none());
    assert_eq!(fresh.head.identity, identity("another"));
    assert_eq!(*world.sink.published.lock().unwrap(), [(name("files"), Committable(vec![3]))]);
    assert_eq!(fresh.mine.attempt, Attempt(3));
}

/// It used to be refused for ever.
#[tokio::test(start_paused = true)]
async fn a_fresh_start_gives_up_output_that_is_lost_only_where_it_is_told_to() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.sink.lost.lock().unwrap().push(Committable(vec![3]));
    let fresh = |seed, abandon_output| {
        world.claimer(seed, |o| {
            o.mode = StartMode::Fresh;
            o.abandon_output = abandon_output;
        })
    };
    let error = claim(&mut fresh(2, false)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.to_string().contains("--fresh --abandon-output"), "{error}");
    assert_eq!(world.heads.head.lock().unwrap().as_ref().unwrap().incarnation, Incarnation(1));
    let fresh = claim(&mut fresh(3, true)).await.unwrap();
    assert_eq!(fresh.head.incarnation, Incarnation(2));
    assert!(world.sink.published.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_finished_run_owes_nothing_and_starts_afresh_by_itself() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.end(HeadStatus::Finished);
    let fresh = claim(&mut world.claimer(2, |_| {})).await.unwrap();
    assert_eq!((fresh.head.incarnation, fresh.mine.attempt), (Incarnation(2), Attempt(2)));
    assert!(world.sink.published.lock().unwrap().is_empty());
}

/// Mistakes s, t, dd and cc: a roll-back writes checkpoint and list at once, restores through its own
/// manifest, and a second one finds nothing newer.
#[tokio::test(start_paused = true)]
async fn a_roll_back_restores_an_older_retained_checkpoint_and_forgets_the_newer() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let mut slots = Vec::new();
    for checkpoint in [4, 6, 9] {
        slots.push(world.complete(&first, checkpoint, 3).await);
    }
    let mut back = world.claimer(2, |o| o.roll_back = Some(CheckpointId(6)));
    let rolled = claim(&mut back).await.unwrap();
    assert_eq!(rolled.head.checkpoint, CheckpointId(6));
    assert_eq!(rolled.manifest.as_ref().unwrap().checkpoint, CheckpointId(6));
    let kept: Vec<u64> = rolled.retained.iter().map(|k| k.retained.checkpoint.0).collect();
    assert_eq!(kept, [4, 6]);
    let version = Version { attempt: Attempt(2), checkpoint: CheckpointId(7) };
    let next = rolled.slots.take(BlockKind::Segment, 100, version).unwrap();
    assert!(!slots[..2].contains(&next), "a slot of a retained checkpoint was given out");
    // Once: a restart goes on from where it is.
    world.complete(&rolled, 7, 3).await;
    assert_eq!(claim(&mut back).await.unwrap().head.checkpoint, CheckpointId(7));
    let mut again = world.claimer(3, |o| o.roll_back = Some(CheckpointId(9)));
    let error = claim(&mut again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.message().contains("retained are 4, 6, 7"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_not_be_gone_on_with_is_not_touched() {
    let world = World::new();
    let claimed = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&claimed, 1, 1).await;
    world.end(HeadStatus::Stopped);
    let before = world.heads.shown();
    let mut other = world.claimer(2, |o| {
        o.identity = identity("another");
        o.mode = StartMode::Resume;
    });
    assert_eq!(claim(&mut other).await.unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(world.heads.shown(), before);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_checkpoint_the_head_takes_the_identity_of_whoever_goes_on() {
    let world = World::new();
    claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.end(HeadStatus::Failed);
    let another = identity("another");
    let claimed = claim(&mut world.claimer(2, |o| o.identity = another.clone())).await.unwrap();
    assert_eq!((claimed.began, claimed.head.incarnation), (Began::Resumed, Incarnation(1)));
    assert_eq!(world.heads.shown().identity, another);
}
