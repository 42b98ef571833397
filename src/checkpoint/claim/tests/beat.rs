//! The lease's counter between the claim and the driver's first beat, and a job that is let go.

use super::*;

/// It used to stand still until the driver began: with manifests that take longer to read than the lease,
/// candidates took the job from each other for ever.
#[tokio::test(start_paused = true)]
async fn the_counter_moves_from_the_claim_on_whatever_takes_longer_than_the_lease() {
    for mode in [StartMode::Auto, StartMode::Fresh] {
        let world = World::new();
        let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
        world.complete(&first, 3, 1).await;
        // A fresh start commits what is owed first, which takes about as long.
        *world.sink.retries.lock().unwrap() = 15;
        let store = &world.stores[1];
        store.readable.send_replace(mode == StartMode::Fresh);
        let mut owner = world.claimer(2, |o| o.mode = mode);
        let owner = claim(&mut owner);
        let candidate = async {
            world.clock.sleep(Duration::from_secs(1)).await;
            claim(&mut world.claimer(3, |o| o.exclusive = false)).await
        };
        let slow = async {
            world.clock.sleep(LEASE * 6).await;
            store.readable.send_replace(true);
            // It has been moved at a third of the lease, one by one, and by nobody else.
            let head = world.heads.shown();
            assert_eq!((head.attempt, head.beat), (Attempt(2), 17), "{mode:?}");
            std::future::pending::<()>().await;
        };
        let (owner, candidate) = tokio::select! {
            both = async { tokio::join!(owner, candidate) } => both,
            () = slow => unreachable!(),
        };
        // Nothing moves it after the claim here: then the candidate is right.
        let (owner, candidate) = (owner.unwrap(), candidate.unwrap());
        assert_eq!(candidate.mine.attempt.0, owner.mine.attempt.0 + 1, "{mode:?}");
    }
}

/// It used to stand still from the failure on, whatever the delay before the next attempt.
#[tokio::test(start_paused = true)]
async fn the_counter_moves_on_after_a_claim_that_was_won_and_whose_manifests_cannot_be_read() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.stores[1].blocks.lock().unwrap().clear();
    let mut owner = world.claimer(2, |_| {});
    claim(&mut owner).await.unwrap_err();
    let mut heartbeat = owner.take_unread().expect("the job is this process's");
    heartbeat.throughout(world.clock.sleep(LEASE * 2)).await;
    let head = world.heads.shown();
    assert_eq!((head.attempt, head.beat), (Attempt(2), 5));
    assert!(owner.take_unread().is_none());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_replaced_while_manifests_are_read_notices_it_within_a_third_of_the_lease() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.stores[1].readable.send_replace(false);
    let began = world.clock.now();
    let mut second = world.claimer(2, |_| {});
    let successor = async {
        world.clock.sleep(Duration::from_millis(500)).await;
        let mut head = world.heads.shown();
        (head.attempt, head.owner) = (Attempt(3), "successor".to_owned());
        *world.heads.head.lock().unwrap() = Some(head);
    };
    let claimed = tokio::select! {
        (claimed, ()) = async { tokio::join!(claim(&mut second), successor) } => claimed,
        () = world.clock.sleep(LEASE * 2) => panic!("it notices nothing"),
    };
    let error = claimed.unwrap_err();
    assert!(error.to_string().contains("attempt 3 of owner successor"), "{error}");
    assert!(world.clock.now() - began < LEASE / 2);
}

/// The head used to be left as running, and the next run waited for a lease.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_leaves_a_head_that_nobody_waits_for() {
    let world = World::new();
    let mut unsent = world.claimer(1, |_| {});
    unsent.leave(HeadStatus::Stopped).await.unwrap();
    assert!(world.heads.head.lock().unwrap().is_none());
    let first = claim(&mut unsent).await.unwrap();
    world.complete(&first, 3, 1).await;
    world.stores[1].readable.send_replace(false);
    let mut second = world.claimer(2, |_| {});
    tokio::select! {
        _ = claim(&mut second) => unreachable!("nothing can be read"),
        () = world.clock.sleep(Duration::from_secs(1)) => {}
    }
    assert_eq!(world.heads.shown().status, HeadStatus::Running);
    second.leave(HeadStatus::Stopped).await.unwrap();
    let head = world.heads.shown();
    assert_eq!(head.attempt, Attempt(2));
    assert_ne!(head.status, HeadStatus::Running);
    // An attempt that had begun finds itself fenced.
    let fenced = unsent.leave(HeadStatus::Failed).await.unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced);
    assert_eq!(world.heads.shown(), head);
}
