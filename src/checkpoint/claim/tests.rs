//! Tests of how attempts begin, with lost answers, rivals and leases.

use std::sync::Mutex;

use super::*;
use crate::checkpoint::archive;
use crate::checkpoint::fakes::{
    FakeHeads, FakeSink, FakeStore, Fault, LEASE, identity, io, name, segment,
};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::messages::Owed;
use crate::handover::Committable;
use crate::ids::{SlotId, Version};
use crate::state::{BlockKey, BlockKind};

/// One job's heads, stores (one an incarnation) and sink.
struct World {
    heads: Arc<FakeHeads>,
    stores: Vec<Arc<FakeStore>>,
    sink: Arc<FakeSink>,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let stores = (0..4).map(|_| FakeStore::new()).collect();
        let sink = Arc::new(FakeSink::default());
        Self { heads: FakeHeads::with(None), stores, sink, clock: Clock::starting_at(0) }
    }

    fn claimer(&self, seed: u8, change: impl FnOnce(&mut ClaimOptions)) -> Claimer {
        let mut options = ClaimOptions {
            job: name("job"),
            identity: identity("g"),
            mode: StartMode::Auto,
            exclusive: true,
            roll_back: None,
            abandon_output: false,
            lease: LEASE,
        };
        change(&mut options);
        let stores = self.stores.clone();
        let open: OpenStore = Arc::new(move |incarnation: Incarnation| {
            Arc::clone(&stores[incarnation.0 as usize]) as Arc<dyn Store>
        });
        let sink = Arc::clone(&self.sink);
        Claimer::new(
            options,
            Arc::<FakeHeads>::clone(&self.heads),
            open,
            sink,
            io(),
            self.clock,
            [seed; 32],
        )
    }

    /// The owner completes `checkpoint`, which names one segment and one committable.
    async fn complete(&self, claimed: &Claimed, checkpoint: u64, keep: u32) -> SlotId {
        let version =
            Version { attempt: claimed.mine.attempt, checkpoint: CheckpointId(checkpoint) };
        let slot = claimed.slots.take(BlockKind::Segment, 100, version).unwrap();
        let manifest = Manifest {
            segments: vec![segment(slot.0, version.attempt.0, checkpoint)],
            committables: vec![Owed {
                sink: name("files"),
                committable: Committable(vec![checkpoint as u8]),
            }],
            ..Manifest::empty(version)
        };
        let store = Arc::clone(&claimed.store);
        let put = archive::put(store, claimed.slots.clone(), manifest).await.unwrap();
        let mut head = self.heads.head.lock().unwrap();
        let head = head.as_mut().unwrap();
        head.checkpoint = put.retained.checkpoint;
        head.retained = rules::retain(&head.retained, put.retained, keep);
        slot
    }

    fn end(&self, status: HeadStatus) {
        self.heads.head.lock().unwrap().as_mut().unwrap().status = status;
    }
}

async fn claim(claimer: &mut Claimer) -> Result<Claimed> {
    claimer.claim(&|_| {}).await.map(mine)
}

#[track_caller]
fn mine(turn: Turn) -> Claimed {
    match turn {
        Turn::Mine(mine) => mine.0,
        Turn::Over(over) => panic!("{over:?}"),
    }
}

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
async fn what_a_look_finds_wrong_ends_the_claim_before_it_unless_the_head_has_moved() {
    let world = World::new();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let wrong = |seed, moves: bool| {
        let (heads, asked) = (Arc::clone(&world.heads), Arc::clone(&asked));
        world.claimer(seed, |_| {}).inspecting(Arc::new(move |incarnation, attempt| {
            asked.lock().unwrap().push((incarnation.0, attempt.0));
            if let Some(head) = heads.head.lock().unwrap().as_mut().filter(|_| moves) {
                head.checkpoint = CheckpointId(3);
            }
            let wrong = Error::usage("no file matches");
            Box::pin(std::future::ready(Err(wrong)))
        }))
    };
    assert!(claim(&mut wrong(1, false)).await.unwrap_err().to_string().contains("no file"));
    assert!(world.heads.head.lock().unwrap().is_none());

    // Killed before its first checkpoint, then finished.
    let first = claim(&mut world.claimer(2, |_| {})).await.unwrap();
    claim(&mut wrong(3, false)).await.unwrap_err();
    world.complete(&first, 3, 1).await;
    world.end(HeadStatus::Finished);
    claim(&mut wrong(4, false)).await.unwrap_err();
    assert_eq!(*asked.lock().unwrap(), [(1, 1), (1, 2), (2, 2)]);
    assert_eq!(world.heads.head.lock().unwrap().as_ref().unwrap().attempt, Attempt(1));

    // What can be gone on with is not looked at, nor what has become so during the look.
    world.end(HeadStatus::Stopped);
    claim(&mut wrong(5, false)).await.unwrap();
    world.heads.head.lock().unwrap().as_mut().unwrap().checkpoint = CheckpointId::NONE;
    let refused = claim(&mut wrong(6, true)).await;
    assert_eq!(refused.unwrap().head.checkpoint, CheckpointId(3));
    assert_eq!(asked.lock().unwrap().len(), 4);
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
