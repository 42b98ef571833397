//! Where a table takes little, a restore takes longer than the lease, and so may the delay before it: its owner
//! keeps the job meanwhile, notices who takes it all the same, and hears a stop.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadChange, HeadCondition, HeadStatus, HeadStore};
use millpond::clock::Clock;
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{MemoryFeed, MemorySink, MemorySource};
use millpond::ids::{Incarnation, Name, Version};
use millpond::runtime::{Backend, CapacityUnits, JobState, Left, MemoryBackend};
use millpond::state::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, MemoryStore, ScanPage, Store,
    WriteOutcome,
};
use millpond::{Error, ErrorKind, Result};
use tokio::task::LocalSet;

use crate::engine_support::{
    At, Engine, Event, Line, Wrapped, check, clock, head, job, ms, pass, simulate, small, tally,
};

const LEASE: Duration = Duration::from_secs(3);
/// Each block takes this long to read: the manifest, before the claim, and then all segments at once.
const READ: Duration = Duration::from_secs(10);

/// The twin as several processes share it, and slow to read.
#[derive(Debug)]
struct Slow(MemoryBackend);

impl Backend for Slow {
    fn describe(&self) -> String {
        "slow memory".to_owned()
    }

    fn is_exclusive(&self) -> bool {
        false
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        self.0.heads()
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        Arc::new(SlowStore(self.0.memory_store(job, incarnation), clock()))
    }

    fn purge(&self, job: &Name, of: Incarnation, left: Left) -> BoxFuture<'static, Result<u64>> {
        self.0.purge(job, of, left)
    }

    fn consumed(&self) -> CapacityUnits {
        CapacityUnits::default()
    }
}

#[derive(Debug)]
struct SlowStore(MemoryStore, Clock);

impl Store for SlowStore {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        self.0.read_items(keys)
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        self.0.scan_page(range, max_bytes)
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        self.0.write_items(writes)
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        self.0.put_block(key, version, bytes)
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        async move {
            self.1.sleep(READ).await;
            self.0.get_block(key).await
        }
        .boxed()
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

/// A job that was stopped in the middle of its input.
struct World {
    twin: MemoryBackend,
    engine: Engine,
    feed: MemoryFeed<Event>,
    source: MemorySource<Event>,
    sink: MemorySink<Line>,
    input: Vec<Vec<Event>>,
}

impl World {
    async fn new() -> Self {
        let twin = MemoryBackend::new();
        let mut engine =
            Engine::new(Arc::new(Slow(twin.clone())), Config { lease: LEASE, ..small() });
        let input: Vec<Vec<Event>> = vec![(0..60).map(|n| (n % 7, n)).collect()];
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        feed.push(0, input[0][..30].to_vec());
        let ended = engine.run_until(tally(source.clone(), &sink), pass(ms(55))).await;
        assert_eq!(ended.unwrap(), Ended::Stopped);
        engine.mode = StartMode::Resume;
        Self { twin, engine, feed, source, sink, input }
    }

    /// One process.
    async fn run(&self) -> Result<Ended> {
        self.run_until(pending()).await
    }

    async fn run_until(&self, stop: impl Future<Output = ()> + Send + 'static) -> Result<Ended> {
        self.engine.run_until(tally(self.source.clone(), &self.sink), stop).await
    }

    fn attempt(&self) -> u64 {
        head(&self.twin).attempt.0
    }

    fn finish(&self) {
        self.feed.push(0, self.input[0][30..].to_vec());
        self.feed.close();
    }
}

/// The counter used to stand still until the log was read: a candidate took over, and so for ever.
#[test]
fn a_restore_longer_than_the_lease_is_not_taken_over() {
    simulate(async {
        let world = World::new().await;
        let candidate = async {
            pass(ms(500)).await;
            world.run().await
        };
        let course = async {
            pass(READ - ms(100)).await;
            assert_eq!(world.attempt(), 1, "nobody has claimed what cannot be read yet");
            // Within the segments, and at work.
            for _ in 0..6 {
                pass(Duration::from_secs(4)).await;
                assert_eq!(world.attempt(), 2);
            }
            world.finish();
        };
        let (owner, candidate, ()) = futures::join!(world.run(), candidate, course);
        assert_eq!(owner.unwrap(), Ended::Finished);
        assert_eq!(world.attempt(), 2);
        assert_eq!(candidate.unwrap(), Ended::Finished, "nothing is left to do");
        check(&world.sink.output(), &world.input).unwrap();
    });
}

/// Fails the first time that it is at `place`.
fn hiccup(source: &MemorySource<Event>, place: At) -> Wrapped<Event> {
    let over = AtomicBool::new(false);
    let at = move |at| {
        if at != place || over.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, "a hiccup"))
    };
    Wrapped { source: source.clone(), replayable: true, at: Box::new(at) }
}

/// The counter stood still between attempts: a candidate took over, and the owner was fenced for good.
#[test]
fn an_owner_that_waits_for_its_next_attempt_is_not_taken_over() {
    simulate(async {
        let mut world = World::new().await;
        let delay = Duration::from_secs(10);
        world.engine.config.restart = RestartStrategy::FixedDelay { attempts: 1, delay };
        world.finish();
        let source = hiccup(&world.source, At::Reader);
        let owner = world.engine.run(tally(source, &world.sink));
        let candidate = async {
            pass(ms(500)).await;
            world.run().await
        };
        let (owner, candidate) = futures::join!(owner, candidate);
        assert_eq!(owner.unwrap(), Ended::Finished);
        assert_eq!(world.attempt(), 3);
        assert_eq!(candidate.unwrap(), Ended::Finished, "nothing is left to do");
        check(&world.sink.output(), &world.input).unwrap();
    });
}

/// It used to give up at the first failure, after whatever time of standing by.
#[test]
fn whoever_has_stood_by_follows_its_strategy_from_its_first_attempt_on() {
    simulate(async {
        let mut world = World::new().await;
        let delay = Duration::from_secs(10);
        world.engine.config.restart = RestartStrategy::FixedDelay { attempts: 1, delay };
        world.finish();
        // Whoever waits for nobody is told at once.
        let source = hiccup(&world.source, At::Check);
        let error = world.engine.run(tally(source, &world.sink)).await.unwrap_err();
        assert_eq!((error.kind(), world.attempt()), (ErrorKind::Io, 1), "nothing is claimed");
        let owner = LocalSet::new();
        tokio::select! {
            biased;
            ended = owner.run_until(world.run()) => panic!("it ended: {ended:?}"),
            () = pass(READ + Duration::from_secs(5)) => {}
        }
        drop(owner);
        let source = hiccup(&world.source, At::Check);
        let ended = world.engine.run(tally(source, &world.sink)).await;
        assert_eq!(ended.unwrap(), Ended::Finished);
        assert_eq!(
            world.attempt(),
            3,
            "after the owner's 2: what its first look found claimed nothing"
        );
        check(&world.sink.output(), &world.input).unwrap();
    });
}

#[test]
fn an_owner_that_dies_in_its_restore_is_taken_over_after_a_lease() {
    simulate(async {
        let world = World::new().await;
        // Before its claim, too, which nobody has to wait for.
        for (dies_after, attempt, status) in
            [(7, 1, HeadStatus::Stopped), (17, 2, HeadStatus::Running)]
        {
            let process = LocalSet::new();
            tokio::select! {
                biased;
                ended = process.run_until(world.run()) => panic!("it ended: {ended:?}"),
                () = pass(Duration::from_secs(dies_after)) => {}
            }
            drop(process);
            assert_eq!((world.attempt(), head(&world.twin).status), (attempt, status));
        }
        let died = clock().now();
        world.finish();
        assert_eq!(world.run().await.unwrap(), Ended::Finished);
        let took = clock().now() - died;
        assert!(took >= LEASE + READ * 2 && took < LEASE * 2 + READ * 2, "{took:?}");
        check(&world.sink.output(), &world.input).unwrap();
    });
}

#[test]
fn who_takes_the_job_during_a_restore_fences_it_within_a_lease() {
    simulate(async {
        let world = World::new().await;
        let rival = async {
            // In the segments.
            pass(Duration::from_secs(14)).await;
            let mut taken = head(&world.twin);
            let condition = HeadCondition::At(taken.attempt, taken.checkpoint);
            taken.attempt.0 += 1;
            taken.owner = "somebody".to_owned();
            let heads = world.twin.memory_heads();
            heads.write(&job(), condition, HeadChange::Put(Box::new(taken))).await.unwrap();
            clock().now()
        };
        let run = async { (world.run().await, clock().now()) };
        let ((ended, at), taken) = futures::join!(run, rival);
        let error = ended.unwrap_err();
        assert!(error.kind() == ErrorKind::Fenced && error.to_string().contains("somebody"));
        assert!(at - taken <= LEASE / 2, "{:?}", at - taken);
    });
}

/// It used to be looked at only once all was read.
#[test]
fn a_stop_during_a_restore_ends_it_at_once_and_the_next_run_does_not_wait() {
    simulate(async {
        for after in [Duration::from_secs(4), Duration::from_secs(14)] {
            let world = World::new().await;
            let begun = clock().now();
            let ended = world.run_until(pass(after)).await;
            assert_eq!(ended.unwrap(), Ended::Stopped);
            assert!(clock().now() - begun < after + ms(100));
            assert_eq!(world.engine.status().state, JobState::Canceled);
            assert_ne!(head(&world.twin).status, HeadStatus::Running);
            world.finish();
            let begun = clock().now();
            assert_eq!(world.run().await.unwrap(), Ended::Finished);
            assert!(clock().now() - begun < READ * 2 + LEASE);
            check(&world.sink.output(), &world.input).unwrap();
        }
    });
}
