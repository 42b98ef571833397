//! Answers that are lost, rivals with the same number, and manifests that the head names and are not there.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_attempt_creates_the_head_and_the_next_goes_on() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    assert_eq!((first.began, first.mine.attempt), (Began::Created, Attempt(1)));
    assert!(first.manifest.is_none());
    world.complete(&first, 7, 1).await;
    let second = claim(&mut world.claimer(2, |_| {})).await.unwrap();
    assert_eq!((second.began, second.mine.attempt), (Began::Resumed, Attempt(2)));
    assert_eq!(second.manifest.unwrap().checkpoint, CheckpointId(7));
    assert_ne!(first.mine.owner, second.mine.owner);
}

/// Mistake u. However an answer is lost, the claim ends with a head that shows its attempt and owner.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_resolved_by_reading_the_head() {
    for faults in [
        vec![Fault::AnswerLost],
        vec![Fault::RequestLost],
        vec![Fault::RequestLost, Fault::AnswerLost],
        vec![Fault::Late, Fault::RequestLost],
    ] {
        for existing in [false, true] {
            let world = World::new();
            if existing {
                claim(&mut world.claimer(1, |_| {})).await.unwrap();
            }
            world.heads.fail(&faults);
            let claimed = claim(&mut world.claimer(2, |_| {})).await.unwrap();
            world.heads.land();
            let shown = world.heads.shown();
            assert_eq!((shown.attempt, &shown.owner), (claimed.mine.attempt, &claimed.mine.owner));
        }
    }
}

/// Mistakes u and v: a rival takes the number that I sent, and completes a checkpoint; my claim goes
/// on top of what is there then, and works from that.
#[tokio::test(start_paused = true)]
async fn a_rival_with_the_same_number_is_claimed_on_top_of() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let rival_head = {
        let mut claimer = world.claimer(9, |_| {});
        let rival = claim(&mut claimer).await.unwrap();
        world.complete(&rival, 5, 1).await;
        world.heads.shown()
    };
    *world.heads.head.lock().unwrap() = Some(first.head.clone());
    *world.heads.rival.lock().unwrap() = Some(rival_head);
    world.heads.fail(&[Fault::AnswerLost]);
    let claimed = claim(&mut world.claimer(2, |_| {})).await.unwrap();
    assert_eq!(claimed.mine.attempt, Attempt(3));
    assert_eq!(claimed.head.checkpoint, CheckpointId(5));
    assert_eq!(claimed.manifest.unwrap().checkpoint, CheckpointId(5));
}

/// Mistake o: a restart in the same process is an attempt of its own, and is fenced by any other.
#[tokio::test(start_paused = true)]
async fn a_restart_in_the_process_takes_a_new_attempt_unless_another_has() {
    let world = World::new();
    let mut claimer = world.claimer(1, |o| o.exclusive = false);
    let first = claim(&mut claimer).await.unwrap();
    let second = claim(&mut claimer).await.unwrap();
    assert_eq!((first.mine.attempt, second.mine.attempt), (Attempt(1), Attempt(2)));
    assert!(first.mine.owner != second.mine.owner);
    claim(&mut world.claimer(2, |_| {})).await.unwrap();
    let error = claim(&mut claimer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.message().contains("attempt 3"), "{error}");
}

/// It used to be told as damage: whoever claimed after it wrote the slots anew before it had read them.
#[tokio::test(start_paused = true)]
async fn manifests_overwritten_by_the_next_owner_are_told_as_being_fenced() {
    for mode in [StartMode::Auto, StartMode::Fresh] {
        let world = World::new();
        let store = Arc::clone(&world.stores[1]);
        let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
        world.complete(&first, 3, 1).await;
        let named = world.heads.shown().retained[0];
        store.readable.send_replace(false);
        let mut second = world.claimer(2, |o| o.mode = mode);
        let successor = async {
            while world.heads.shown().attempt < Attempt(2) {
                tokio::task::yield_now().await;
            }
            let mut head = world.heads.shown();
            (head.attempt, head.owner) = (Attempt(3), "successor".to_owned());
            *world.heads.head.lock().unwrap() = Some(head);
            let key = BlockKey { kind: BlockKind::Manifest, slot: named.slot, part: 0 };
            let version = Version { attempt: Attempt(3), checkpoint: CheckpointId(4) };
            store.arrive(key, version, bytes::Bytes::from_static(b"another"));
            store.readable.send_replace(true);
        };
        let (claimed, ()) = tokio::join!(claim(&mut second), successor);
        let error = claimed.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(error.to_string().contains("attempt 3 of owner successor"), "{error}");
    }
}

/// It used to be told as lost: whoever claimed after it had rolled back and cleaned it away.
#[tokio::test(start_paused = true)]
async fn output_that_the_next_owner_cleaned_away_is_told_as_being_fenced() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    *world.sink.retries.lock().unwrap() = 1;
    let mut second = world.claimer(2, |o| o.mode = StartMode::Fresh);
    let successor = async {
        while *world.sink.retries.lock().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
        let mut head = world.heads.shown();
        (head.attempt, head.owner) = (Attempt(3), "successor".to_owned());
        *world.heads.head.lock().unwrap() = Some(head);
        world.sink.lost.lock().unwrap().push(Committable(vec![3]));
    };
    let (claimed, ()) = tokio::join!(claim(&mut second), successor);
    let error = claimed.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

/// While the head is mine, what it names and is not there is damage.
#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_not_there_is_damage_where_the_head_is_still_mine() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.stores[1].blocks.lock().unwrap().clear();
    let error = claim(&mut world.claimer(2, |_| {})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_whatever_answers_are_lost_but_never_over_another_attempt() {
    let world = World::new();
    let mine = claim(&mut world.claimer(1, |_| {})).await.unwrap().mine;
    world.heads.fail(&[Fault::RequestLost, Fault::AnswerLost]);
    let job = name("job");
    set_status(&*world.heads, world.clock, &job, &mine, HeadStatus::Failed).await.unwrap();
    assert_eq!(world.heads.shown().status, HeadStatus::Failed);
    claim(&mut world.claimer(2, |_| {})).await.unwrap();
    let late = set_status(&*world.heads, world.clock, &job, &mine, HeadStatus::Failed).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(world.heads.shown().status, HeadStatus::Running);
}
