//! The look at what a claim would go on from, before it is made.

use super::*;

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
