//! Owners that are waited for, and what is over by the time their lease is.

use super::*;

#[tokio::test(start_paused = true)]
async fn another_owner_is_waited_for_until_its_counter_stands_still_for_a_lease() {
    let world = World::new();
    claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let began = world.clock.now();
    let said = Mutex::new(Vec::new());
    let mut claimer = world.claimer(2, |o| o.exclusive = false);
    // The owner beats once, two seconds later.
    let beat = async {
        world.clock.sleep(Duration::from_secs(2)).await;
        world.heads.head.lock().unwrap().as_mut().unwrap().beat += 1;
    };
    let progress = |waiting| said.lock().unwrap().push(waiting);
    let (claimed, ()) = tokio::join!(claimer.claim(&progress), beat);
    assert_eq!(mine(claimed.unwrap()).mine.attempt, Attempt(2));
    let waited = world.clock.now() - began;
    assert!(waited >= LEASE + Duration::from_secs(2) && waited < LEASE * 2, "{waited:?}");
    assert_eq!(said.lock().unwrap()[0].attempt, Attempt(1));
}

/// One that stood by used to start a finished job afresh.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_over_from_an_owner_that_finishes_while_it_is_waited_for() {
    for mode in [StartMode::Auto, StartMode::Resume] {
        let (turn, waited) = turn_after(HeadStatus::Finished, mode).await;
        let Turn::Over(over) = turn else { panic!("{mode:?}: {turn:?}") };
        assert_eq!(over.attempt, Attempt(1));
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }
    let (turn, _) = turn_after(HeadStatus::Finished, StartMode::Fresh).await;
    assert_eq!(mine(turn).began, Began::Fresh, "it was told to");
}

/// It used to be started afresh, and `--replace` removed what it had written.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_over_from_an_owner_that_finishes_just_after_its_lease_has_run_out() {
    for mode in [StartMode::Auto, StartMode::Resume] {
        let world = World::new();
        let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
        world.complete(&first, 3, 1).await;
        let mut claimer = world.claimer(2, |o| {
            o.exclusive = false;
            o.mode = mode;
        });
        let wakes = async {
            world.clock.sleep(LEASE + FIRST_PAUSE / 2).await;
            world.end(HeadStatus::Finished);
        };
        let (turn, ()) = tokio::join!(claimer.claim(&|_| {}), wakes);
        let Turn::Over(over) = turn.unwrap() else { panic!("{mode:?}: taken over") };
        assert_eq!(over.attempt, Attempt(1));
        assert_eq!(world.heads.shown().status, HeadStatus::Finished);
    }
}

/// The same, where a claim is refused in between: after a wait, and of one that does not wait.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_over_from_an_owner_that_goes_on_before_the_claim_and_finishes() {
    for exclusive in [false, true] {
        let world = World::new();
        let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
        world.complete(&first, 3, 1).await;
        let mut wakes = world.heads.shown();
        wakes.checkpoint = CheckpointId(4);
        *world.heads.rival.lock().unwrap() = Some(wakes);
        let mut claimer = world.claimer(2, |o| o.exclusive = exclusive);
        let finishes = async {
            while world.heads.shown().checkpoint != CheckpointId(4) {
                world.clock.sleep(FIRST_PAUSE / 4).await;
            }
            world.end(HeadStatus::Finished);
        };
        let (turn, ()) = tokio::join!(claimer.claim(&|_| {}), finishes);
        let Turn::Over(over) = turn.unwrap() else { panic!("taken over, {exclusive}") };
        assert_eq!(over.attempt, Attempt(1));
        assert_eq!(claimer.stood_by(), !exclusive);
    }
}

/// What another candidate that took over has finished is as much over.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_over_from_a_later_owner_that_finishes() {
    let world = World::new();
    claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let mut claimer = world.claimer(2, |o| o.exclusive = false);
    let another = async {
        world.clock.sleep(LEASE + FIRST_PAUSE / 2).await;
        claim(&mut world.claimer(3, |_| {})).await.unwrap();
        world.end(HeadStatus::Finished);
    };
    let (turn, ()) = tokio::join!(claimer.claim(&|_| {}), another);
    let Turn::Over(over) = turn.unwrap() else { panic!("taken over") };
    assert_eq!(over.attempt, Attempt(2));
}

/// Two that come at once, where nobody has the job: the first to claim it may finish it before the other's claim.
#[tokio::test(start_paused = true)]
async fn nothing_is_started_afresh_that_another_process_has_finished_before_the_claim() {
    for left in [None, Some(HeadStatus::Failed), Some(HeadStatus::Stopped)] {
        let world = World::new();
        let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
        world.complete(&first, 3, 1).await;
        world.end(left.unwrap_or(HeadStatus::Finished));
        let mut finished = world.heads.shown();
        if left.is_some() {
            let attempt = Attempt(2);
            finished = Head { attempt, status: HeadStatus::Finished, ..finished };
        } else {
            *world.heads.head.lock().unwrap() = None;
        }
        let attempt = finished.attempt;
        *world.heads.rival.lock().unwrap() = Some(finished);
        let turn = world.claimer(2, |_| {}).claim(&|_| {}).await.unwrap();
        let Turn::Over(over) = turn else { panic!("{left:?}: taken over") };
        assert_eq!(over.attempt, attempt);
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stops_or_fails_while_it_is_waited_for_is_followed_at_once() {
    for status in [HeadStatus::Stopped, HeadStatus::Failed] {
        let (turn, waited) = turn_after(status, StartMode::Auto).await;
        assert_eq!(mine(turn).mine.attempt, Attempt(2));
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    }
}

/// What comes of a process that waits for an owner which ends with `status` after a second, and for how long it
/// waits.
async fn turn_after(status: HeadStatus, mode: StartMode) -> (Turn, Duration) {
    let world = World::new();
    claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let began = world.clock.now();
    let mut claimer = world.claimer(2, |o| {
        o.exclusive = false;
        o.mode = mode;
    });
    let end = async {
        world.clock.sleep(Duration::from_secs(1)).await;
        world.end(status);
    };
    let (turn, ()) = tokio::join!(claimer.claim(&|_| {}), end);
    (turn.unwrap(), world.clock.now() - began)
}
