//! Jobs that crash at any moment, over a store that holds, loses, delays and repeats calls, and that go
//! on at another parallelism: their committed output is that of one loop over the input.
//!
//! Each case is drawn from its number, which a failure prints; `MILLPOND_CASE=n` runs that one alone,
//! `MILLPOND_CASES=n` more of them.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use millpond::ErrorKind;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
use millpond::config::{Config, Materialize, RestartStrategy};
use millpond::connector::{MemoryFeed, MemorySink, MemorySource};
use millpond::ids::CheckpointId;
use millpond::metrics::Snapshot;
use millpond::runtime::{JobStatus, MemoryBackend};
use millpond::state::{Call, Fault};
use millpond::task::JobGraph;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::LocalSet;

use crate::engine_support::{Engine, Event, check, job, ms, pass, simulate, small, store, tally};

const CASES: u64 = 300;

/// One case: the input, and what is left of it to give.
struct World {
    random: StdRng,
    twin: MemoryBackend,
    engine: Engine,
    feed: MemoryFeed<Event>,
    input: Vec<Vec<Event>>,
    given: Vec<usize>,
}

fn settings(random: &mut StdRng) -> Config {
    let mut config = small();
    config.parallelism = random.random_range(1..=4);
    config.checkpointing.interval = ms(random.random_range(1..30));
    config.checkpointing.timeout = ms(random.random_range(5..40));
    config.checkpointing.tolerable_failed = random.random_range(0..3);
    config.checkpointing.num_retained = random.random_range(1..=3);
    config.restart = RestartStrategy::FixedDelay { attempts: 1000, delay: ms(3) };
    config.exchange.batch_records = [1, 3, 16, 1024][random.random_range(0..4)];
    config.exchange.channel_batches = random.random_range(1..=4);
    config.state.segment_bytes = [20, 200, 1 << 18][random.random_range(0..3)];
    config.state.log_max_bytes = [1, 3000, 1 << 20][random.random_range(0..3)];
    config.state.cache_bytes =
        config.state.log_max_bytes + [1, 2000, 1 << 20][random.random_range(0..3)];
    if random.random_bool(0.3) {
        config.state.materialize = Materialize::Eager;
    }
    config
}

fn input(random: &mut StdRng) -> Vec<Vec<Event>> {
    let (splits, keys) = (random.random_range(1..=4), random.random_range(1..=40));
    let mut split = || {
        let records = random.random_range(0..200);
        (0..records).map(|_| (random.random_range(0..keys), random.random_range(0..100))).collect()
    };
    (0..splits).map(|_| split()).collect()
}

impl World {
    fn new(case: u64) -> (Self, MemorySource<Event>) {
        let mut random = StdRng::seed_from_u64(case);
        let mut input = input(&mut random);
        // At the end each key is met once more: what was restored last is read.
        let mut keys: Vec<u64> = input.iter().flatten().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        input.push(keys.into_iter().map(|key| (key, 1)).collect());
        let (feed, source) = MemorySource::fed(input.len());
        let (engine, twin) = Engine::twin(settings(&mut random));
        let given = vec![0; input.len()];
        (Self { random, twin, engine, feed, input, given }, source)
    }

    /// Gives some records; `false` once all but the last split's are given.
    fn give(&mut self) -> bool {
        let last = self.input.len() - 1;
        let left: Vec<usize> =
            (0..last).filter(|s| self.given[*s] < self.input[*s].len()).collect();
        if left.is_empty() {
            return false;
        }
        let split = left[self.random.random_range(0..left.len())];
        let from = self.given[split];
        let to = (from + self.random.random_range(1..20)).min(self.input[split].len());
        self.feed.push(split, self.input[split][from..to].to_vec());
        self.given[split] = to;
        true
    }

    /// Something befalls the store.
    fn trouble(&mut self) {
        let (blocks, heads) = (store(&self.twin), self.twin.memory_heads().clone());
        let (blocks, heads) = (blocks.script(), heads.script());
        let kept = [Call::PutBlock, Call::WriteItems, Call::ReadItems];
        let call = kept[self.random.random_range(0..kept.len())];
        let writes = [Call::PutBlock, Call::WriteItems];
        let write = writes[self.random.random_range(0..writes.len())];
        match self.random.random_range(0..14) {
            0..=2 => blocks.hold(call),
            3..=5 => blocks.release(call),
            6 => blocks.next(write, Fault::Late),
            7 => blocks.next(write, Fault::LoseAnswer),
            8 => blocks.next(write, Fault::Twice),
            9 => heads.next(Call::WriteHead, Fault::Late),
            10 => heads.next(Call::WriteHead, Fault::LoseAnswer),
            11 => heads.next(Call::WriteHead, Fault::Twice),
            12 => blocks.next(call, Fault::Fail(ErrorKind::Store)),
            _ => {
                blocks.deliver();
                heads.deliver();
            }
        }
    }

    /// The world outside of the job for as long as one process lives.
    async fn pass_by(&mut self, troubled: bool) {
        for _ in 0..self.random.random_range(1..12) {
            self.give();
            if troubled && self.random.random_bool(0.3) {
                self.trouble();
            }
            pass(ms(self.random.random_range(0..15))).await;
        }
        // Into the middle of what happens at one moment.
        for _ in 0..self.random.random_range(0..60) {
            tokio::task::yield_now().await;
        }
    }

    fn calm(&self) {
        let (blocks, heads) = (store(&self.twin), self.twin.memory_heads());
        for call in [Call::PutBlock, Call::WriteItems, Call::ReadItems] {
            blocks.script().release(call);
        }
        // Faults that nothing met yet stay: a later process meets them.
        blocks.script().deliver();
        heads.script().deliver();
    }
}

/// What the cases have met, so that they are known to test something.
#[derive(Debug, Default)]
struct Met {
    lives: u64,
    completed: u64,
    failed: u64,
    materialised: u64,
    read: u64,
    replayed: u64,
    waits: u64,
}

impl Met {
    fn add(&mut self, counters: &Snapshot) {
        self.materialised += counters.items_materialised;
        self.read += counters.items_read;
        self.replayed += counters.segments_read;
        self.waits += counters.pressure_waits;
    }

    fn add_checkpoints(&mut self, status: &JobStatus) {
        self.lives += 1;
        self.completed += status.checkpoints.counts.completed;
        self.failed += status.checkpoints.counts.failed;
    }
}

async fn case(number: u64, met: &mut Met) {
    let (mut world, source) = World::new(number);
    let sink = MemorySink::new();
    let troubled = world.random.random_bool(0.5);
    // Processes that die, each with everything that it has spawned.
    for _ in 0..world.random.random_range(0..6) {
        let engine = world.engine.with(|_| {});
        let graph = tally(source.clone(), &sink);
        if world.random.random_bool(0.15) {
            // It lives on beside the next one and finds itself fenced.
            tokio::task::spawn_local(async move { engine.run(graph).await });
            world.pass_by(troubled).await;
            world.engine.config = settings(&mut world.random);
            continue;
        }
        let process = LocalSet::new();
        let life = async {
            tokio::select! {
                biased;
                result = engine.run(graph) => panic!("the process ended by itself: {result:?}"),
                () = world.pass_by(troubled) => {}
            }
        };
        process.run_until(life).await;
        drop(process);
        met.add_checkpoints(&world.engine.status());
        world.engine.config = settings(&mut world.random);
    }
    // Nothing new befalls the store; what a fault made to wait for ever is killed.
    while world.give() {}
    let last = world.input.len() - 1;
    world.feed.push(last, world.input[last].clone());
    world.feed.close();
    for process in 0.. {
        assert!(process < 50, "it never ends: {:?}", world.engine.status());
        if finish(&world, tally(source.clone(), &sink)).await {
            break;
        }
        world.engine.config = settings(&mut world.random);
    }
    if let Err(wrong) = check(&sink.output(), &world.input) {
        panic!("{wrong}");
    }
    met.add(&world.engine.metrics.snapshot());
    met.add_checkpoints(&world.engine.status());
}

/// Lets a process run for long; whether the job is finished then.
async fn finish(world: &World, graph: JobGraph) -> bool {
    let head = || world.twin.memory_heads().head(&job());
    let mut engine = world.engine.with(|_| {});
    if head().is_some_and(|head| head.checkpoint > CheckpointId::NONE) {
        // One that lives beside it may finish the job; then this one must not begin it afresh.
        engine.mode = StartMode::Resume;
    }
    let process = LocalSet::new();
    let run = engine.run(graph);
    let outside = async {
        for _ in 0..100 {
            pass(ms(50)).await;
            // A late copy may come whenever it likes.
            world.calm();
        }
    };
    let ended = tokio::select! {
        biased;
        ended = process.run_until(run) => ended,
        () = outside => return false,
    };
    match ended {
        Err(error) if error.kind() == ErrorKind::Usage => {}
        // One that lives beside it had not claimed before.
        Err(error) if error.kind() == ErrorKind::Fenced => return false,
        ended => assert_eq!(ended.unwrap(), Ended::Finished),
    }
    assert_eq!(head().map(|head| head.status), Some(HeadStatus::Finished));
    true
}

fn one(number: u64, met: &mut Met) {
    let run = AssertUnwindSafe(|| simulate(case(number, met).boxed_local()));
    if std::panic::catch_unwind(run).is_err() {
        panic!(
            "case {number} failed: MILLPOND_CASE={number} cargo test --test engine crashes runs it alone"
        );
    }
}

#[test]
fn whatever_happens_each_record_counts_once() {
    let mut met = Met::default();
    if let Ok(number) = std::env::var("MILLPOND_CASE") {
        return one(number.parse().unwrap(), &mut met);
    }
    let cases = std::env::var("MILLPOND_CASES").map_or(CASES, |n| n.parse().unwrap());
    (0..cases).for_each(|number| one(number, &mut met));
    let Met { lives, completed, failed, materialised, read, replayed, waits } = met;
    let enough =
        [lives / 4, completed / 20, failed * 3, materialised / 10, read / 10, replayed, waits];
    assert!(enough.iter().all(|n| *n > CASES / 2), "too tame: {met:?}");
}
