//! Tests of how attempts begin, with lost answers, rivals and leases.

use std::sync::Mutex;

use futures::future::BoxFuture;

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
async fn an_owner_that_shows_life_during_the_look_is_waited_for_anew() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    world.complete(&first, 4, 1).await;
    let awake = Head { beat: 7, ..world.heads.shown() };
    let began = world.clock.now();
    let look = Look::new(&world, None);
    let claimed = look.claim(world.claimer(2, |o| o.exclusive = false), Some(awake)).await.unwrap();
    assert_eq!(claimed.mine.attempt, Attempt(2));
    let waited = world.clock.now() - began;
    assert!(waited >= LEASE * 2, "{waited:?}");
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

/// Notes what it is asked to look at.
struct Look {
    finds: Option<&'static str>,
    /// Incarnation, attempt, and the checkpoint to go on from.
    asked: Mutex<Vec<(u64, u64, u64)>>,
    /// What the head is after the first look.
    then: Mutex<Option<Head>>,
    heads: Arc<FakeHeads>,
}

impl Look {
    fn new(world: &World, finds: Option<&'static str>) -> Arc<Self> {
        let (asked, then) = (Mutex::default(), Mutex::default());
        Arc::new(Self { finds, asked, then, heads: Arc::clone(&world.heads) })
    }

    /// One claim with it; the head is `then` before it ends.
    async fn claim(self: &Arc<Self>, claimer: Claimer, then: Option<Head>) -> Result<Claimed> {
        *self.then.lock().unwrap() = then;
        claim(&mut claimer.inspecting(Arc::clone(self) as _)).await
    }

    fn asked(&self) -> Vec<(u64, u64, u64)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Inspect for Look {
    fn inspect<'a>(&'a self, prospect: Prospect<'a>) -> BoxFuture<'a, Result<()>> {
        let Prospect { incarnation, attempt, manifest, .. } = prospect;
        let checkpoint = manifest.map_or(0, |manifest| manifest.checkpoint.0);
        self.asked.lock().unwrap().push((incarnation.0, attempt.0, checkpoint));
        if let Some(then) = self.then.lock().unwrap().take() {
            *self.heads.head.lock().unwrap() = Some(then);
        }
        let found = self.finds.map_or(Ok(()), |wrong| Err(Error::usage(wrong)));
        Box::pin(std::future::ready(found))
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_look_finds_wrong_ends_the_claim_before_it() {
    let world = World::new();
    let look = Look::new(&world, Some("no file matches"));
    let error = look.claim(world.claimer(1, |_| {}), None).await.unwrap_err();
    assert!(error.to_string().contains("no file"), "{error}");
    assert!(world.heads.head.lock().unwrap().is_none());

    // Killed before its first checkpoint, then finished, then stopped.
    let first = claim(&mut world.claimer(2, |_| {})).await.unwrap();
    look.claim(world.claimer(3, |_| {}), None).await.unwrap_err();
    world.complete(&first, 3, 2).await;
    world.complete(&first, 5, 2).await;
    for status in [HeadStatus::Finished, HeadStatus::Stopped] {
        world.end(status);
        look.claim(world.claimer(4, |_| {}), None).await.unwrap_err();
    }
    let back = world.claimer(5, |o| o.roll_back = Some(CheckpointId(3)));
    look.claim(back, None).await.unwrap_err();
    assert_eq!(look.asked(), [(1, 1, 0), (1, 2, 0), (2, 2, 0), (1, 2, 5), (1, 2, 3)]);
    let head = world.heads.shown();
    assert_eq!((head.attempt.0, head.checkpoint.0, head.retained.len()), (1, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_moves_during_a_look_has_it_taken_again_only_where_that_may_tell_other_things()
{
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    let none = world.heads.shown();
    for checkpoint in [4, 6, 9] {
        world.complete(&first, checkpoint, 3).await;
    }
    let newest = world.heads.shown();
    let mut older = newest.clone();
    older.retained.pop();
    older.checkpoint = CheckpointId(6);
    let start = |head: &Head| *world.heads.head.lock().unwrap() = Some(head.clone());

    // A folder may have got its first results, or another attempt have come.
    let wrong = Look::new(&world, Some("no file matches"));
    start(&none);
    wrong.claim(world.claimer(2, |_| {}), Some(older.clone())).await.unwrap_err();
    assert_eq!(wrong.asked(), [(1, 2, 0), (1, 2, 6)]);
    let another = Head { attempt: Attempt(7), ..older.clone() };
    wrong.claim(world.claimer(3, |_| {}), Some(another)).await.unwrap_err();
    assert_eq!(wrong.asked(), [(1, 2, 6), (1, 8, 6)]);
    // Of an owner whose checkpoints are faster than a look, none would ever stand.
    start(&older);
    wrong.claim(world.claimer(4, |_| {}), Some(newest.clone())).await.unwrap_err();
    assert_eq!(wrong.asked(), [(1, 2, 6)]);
    let fine = Look::new(&world, None);
    start(&older);
    let claimed = fine.claim(world.claimer(5, |_| {}), Some(newest.clone())).await.unwrap();
    assert_eq!(fine.asked(), [(1, 2, 6)]);
    assert_eq!(claimed.manifest.unwrap().checkpoint, CheckpointId(9));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_was_looked_at_is_not_read_again_and_a_restart_is_not_looked_at() {
    let world = World::new();
    let first = claim(&mut world.claimer(1, |_| {})).await.unwrap();
    for checkpoint in [4, 6, 9] {
        world.complete(&first, checkpoint, 3).await;
    }
    let read = || *world.stores[1].reads.lock().unwrap();
    for (roll_back, retained) in [(None, 3), (Some(CheckpointId(6)), 2)] {
        let before = read();
        let look = Look::new(&world, None);
        let claimer = world.claimer(2, |o| o.roll_back = roll_back);
        let mut claimer = claimer.inspecting(Arc::clone(&look) as _);
        let claimed = claim(&mut claimer).await.unwrap();
        assert_eq!((claimed.retained.len(), read() - before), (retained, retained));
        assert_eq!(claimed.manifest.unwrap().checkpoint, claimed.head.checkpoint);
        assert!(claimed.retained.is_sorted_by_key(|kept| kept.retained.checkpoint));
        claim(&mut claimer).await.unwrap();
        assert_eq!(look.asked().len(), 1);
    }
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
