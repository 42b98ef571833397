//! A job that goes on with another version of its program: what may change, and what is refused.

use millpond::checkpoint::{Ended, HeadChange, HeadCondition, HeadStore, Identity};
use millpond::config::Materialize;
use millpond::connector::{FileSink, Generator, MemoryFeed, MemorySink, MemorySource};
use millpond::operator::{self, Chain, Context, KeyedProcess};
use millpond::runtime::MemoryBackend;
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::{Stream, StreamEnvironment};
use millpond::task::JobGraph;
use millpond::{Error, ErrorKind, Result};

use crate::engine_support::{Engine, Event, embedded, head, job, ms, pass, simulate, small, tally};

const KEYS: u64 = 20;

/// Key, its records so far, and the last of them, where that is kept.
type Counted = (u64, u64, Option<u64>);

/// Counts a key's records; in a later version it keeps the last one too.
struct Count {
    count: ValueState<u64>,
    last: Option<ValueState<u64>>,
}

impl Count {
    fn new(states: &mut States, version: u32) -> Self {
        // Registered before the first version's, too.
        let last = (version > 1).then(|| states.value(ValueDescriptor::new("last")));
        Self { count: states.value(ValueDescriptor::new("count")), last }
    }
}

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = Counted;

    fn process(&self, record: u64, context: &mut Context<'_, Self>) -> Result<()> {
        if record == u64::MAX {
            return Err(Error::new(ErrorKind::User, "a record that the program does not bear"));
        }
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        let last = self.last.and_then(|last| context.get(last).copied());
        if let Some(last) = self.last {
            context.set(last, record);
        }
        let key = *context.key();
        context.emit((key, count, last));
        Ok(())
    }
}

/// What all versions of the job read and write.
struct World {
    feed: MemoryFeed<u64>,
    numbers: MemorySource<u64>,
    counted: MemorySink<Counted>,
}

impl World {
    fn new() -> Self {
        let (feed, numbers) = MemorySource::fed(1);
        Self { feed, numbers, counted: MemorySink::new() }
    }

    /// A number of each key.
    fn feed_all(&self) {
        self.feed.push(0, 0..KEYS);
    }

    fn graph(&self, version: u32) -> JobGraph {
        let env = StreamEnvironment::new();
        self.count(env.source(self.numbers.clone()).uid("numbers"), version);
        env.build().unwrap()
    }

    /// What all versions do with their numbers in the end.
    fn count(&self, numbers: Stream<impl Chain<Out = u64>>, version: u32) {
        counts(numbers, version).sink(self.counted.clone()).uid("out");
    }

    /// What was given out since `from`, by key.
    fn given(&self, from: usize) -> Vec<Counted> {
        let mut given = self.counted.output().split_off(from);
        given.sort_unstable();
        given
    }
}

fn counts(
    numbers: Stream<impl Chain<Out = u64>>,
    version: u32,
) -> Stream<operator::Identity<Counted>> {
    numbers
        .key_by(|n| n % KEYS)
        .process(move |states: &mut States| Count::new(states, version))
        .uid("count")
}

/// Keeps each checkpoint that there is to go back to.
fn retaining() -> (Engine, MemoryBackend) {
    let mut config = small();
    config.checkpointing.num_retained = 50;
    Engine::twin(config)
}

fn all(counted: impl Fn(u64) -> Counted) -> Vec<Counted> {
    (0..KEYS).map(counted).collect()
}

async fn run_a_while(engine: &Engine, graph: JobGraph) {
    assert_eq!(engine.run_until(graph, pass(ms(100))).await.unwrap(), Ended::Stopped);
}

#[test]
fn functions_without_state_come_and_go() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let world = World::new();
        world.feed_all();
        run_a_while(&engine, world.graph(1)).await;

        world.feed_all();
        let env = StreamEnvironment::new();
        let numbers = env.source(world.numbers.clone()).uid("numbers");
        counts(numbers.map(|n| n * 2).filter(|n| n % 2 == 0).flat_map(|n| [n / 2, n / 2]), 1)
            .filter(|(_, count, _)| *count == 3)
            .sink(world.counted.clone())
            .uid("out");
        run_a_while(&engine, env.build().unwrap()).await;
        assert_eq!(world.given(KEYS as usize), all(|key| (key, 3, None)));

        world.feed_all();
        run_a_while(&engine, world.graph(1)).await;
        assert_eq!(world.given(2 * KEYS as usize), all(|key| (key, 4, None)));
    });
}

async fn adds_a_state(materialize: Materialize) {
    let mut config = small();
    config.state.materialize = materialize;
    let engine = Engine::new(embedded(None).await, config);
    let world = World::new();
    for round in 1..5 {
        world.feed.push(0, round * KEYS..(round + 1) * KEYS);
        let from = world.counted.output().len();
        run_a_while(&engine, world.graph(if round < 3 { 1 } else { 2 })).await;
        let last = |key| (round > 3).then_some((round - 1) * KEYS + key);
        assert_eq!(world.given(from), all(|key| (key, round, last(key))), "{round}");
    }
    // The program of before does not know all that is kept now.
    let error = engine.run(world.graph(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    for part in ["operator count: state last is gone", "[last, count]", "[count]", "--fresh"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn a_state_that_is_added_begins_empty_and_the_others_go_on() {
    simulate(adds_a_state(Materialize::Lazy));
    simulate(adds_a_state(Materialize::Eager));
}

#[test]
fn sources_operators_and_sinks_are_added_and_begin_from_nothing() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let world = World::new();
        world.feed_all();
        run_a_while(&engine, world.graph(1)).await;

        let (late, of_late) = MemorySource::fed(2);
        let sums = MemorySink::new();
        let with_more = || {
            // In another order, too.
            let env = StreamEnvironment::new();
            let late = env.source(of_late.clone()).uid("late");
            let numbers = env.source(world.numbers.clone()).uid("numbers");
            let (left, right) = late.union(numbers).tee();
            right.key_by(|n| n % 2).reduce(|a, b| a + b).uid("sum").sink(sums.clone()).uid("sums");
            world.count(left, 1);
            env.build().unwrap()
        };
        world.feed.push(0, 0..KEYS / 2);
        late.push(1, KEYS / 2..KEYS);
        run_a_while(&engine, with_more()).await;
        assert_eq!(world.given(KEYS as usize), all(|key| (key, 2, None)));
        let greatest = sums.output().into_iter().max();
        assert_eq!(greatest, Some((0..KEYS).filter(|n| n % 2 == 1).sum()));

        // All of it goes on, and nothing of it may go.
        late.push(0, [1]);
        run_a_while(&engine, with_more()).await;
        assert_eq!(world.given(2 * KEYS as usize), [(1, 3, None)]);
        assert_eq!(sums.output().into_iter().max(), greatest.map(|sum: u64| sum + 1));
        let error = engine.run(world.graph(1)).await.unwrap_err().to_string();
        for gone in ["source late is gone", "reduce sum is gone", "sink sums is gone"] {
            assert!(error.contains(gone), "{error}");
        }
    });
}

/// The numbers in the files of a folder that are there for all to see.
fn numbers_in(folder: &std::path::Path) -> Vec<u64> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts =
        files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    let mut numbers: Vec<u64> = lines.map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// A folder that was new used to be taken for one that had lost its results, after the claim: nobody ran the job.
#[test]
fn a_sink_of_files_that_is_added_begins_in_a_new_folder() {
    simulate(async {
        let folder = tempfile::tempdir().unwrap();
        let audit = folder.path().join("audit");
        let (engine, twin) = Engine::twin(small());
        let world = World::new();
        world.feed_all();
        run_a_while(&engine, world.graph(1)).await;
        let before = head(&twin).checkpoint;

        let with_audit = || {
            let env = StreamEnvironment::new();
            let (left, right) = env.source(world.numbers.clone()).uid("numbers").tee();
            right.sink(FileSink::json_lines(&audit)).uid("audit");
            world.count(left, 1);
            env.build().unwrap()
        };
        // Killed before its first checkpoint, and after some.
        let late = engine.with(|config| config.checkpointing.interval = ms(3_600_000));
        for (engine, from) in [(&late, KEYS), (&engine, 2 * KEYS)] {
            world.feed.push(0, from..from + KEYS);
            tokio::select! {
                ended = engine.run(with_audit()) => panic!("{ended:?}"),
                () = pass(ms(100 + 2 * 5_000)) => {}
            }
            assert!(audit.join(".millpond").is_dir());
            let is_late = from == KEYS;
            assert_eq!(head(&twin).checkpoint == before, is_late);
            assert_eq!(numbers_in(&audit).is_empty(), is_late);
        }
        world.feed.push(0, 3 * KEYS..4 * KEYS);
        run_a_while(&engine, with_audit()).await;
        assert!(numbers_in(&audit).into_iter().eq(KEYS..4 * KEYS));
        assert_eq!(world.given(3 * KEYS as usize), all(|key| (key, 4, None)));

        // Now it has results that can be missed.
        std::fs::remove_dir_all(&audit).unwrap();
        let error = engine.run(with_audit()).await.unwrap_err().to_string();
        assert!(error.contains("sink audit") && error.contains("has vanished"), "{error}");
    });
}

/// A new version that fails before its first checkpoint used to be the recorded one.
#[test]
fn a_version_that_has_completed_no_checkpoint_binds_nobody() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let world = World::new();
        world.feed_all();
        run_a_while(&engine, world.graph(1)).await;
        let recorded = head(&twin).identity;

        world.feed.push(0, [u64::MAX]);
        let error = engine.run(world.graph(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User, "{error}");
        assert_eq!(head(&twin).identity, recorded);

        // The program of before, mended.
        let env = StreamEnvironment::new();
        let numbers = env.source(world.numbers.clone()).uid("numbers");
        world.count(numbers.filter(|n| *n != u64::MAX), 1);
        world.feed_all();
        run_a_while(&engine, env.build().unwrap()).await;
        assert_eq!(world.given(KEYS as usize), all(|key| (key, 2, None)));
        let now = head(&twin).identity;
        assert!(now.graph.contains("source numbers -> filter"), "{now:?}");
    });
}

#[test]
fn going_back_to_a_checkpoint_of_before_a_state_was_added_takes_either_program() {
    for version in [1, 2] {
        simulate(async move {
            let (mut engine, twin) = retaining();
            let world = World::new();
            world.feed_all();
            run_a_while(&engine, world.graph(1)).await;
            let older = head(&twin).checkpoint;
            world.feed_all();
            run_a_while(&engine, world.graph(2)).await;
            let newer = head(&twin).checkpoint;

            let from = world.counted.output().len();
            engine.roll_back = Some(older);
            run_a_while(&engine, world.graph(version)).await;
            assert_eq!(world.given(from), all(|key| (key, 2, None)));
            engine.roll_back = None;
            world.feed_all();
            run_a_while(&engine, world.graph(version)).await;
            let last = |key| (version == 2).then_some(key);
            assert_eq!(world.given(from + KEYS as usize), all(|key| (key, 3, last(key))));
            assert!(head(&twin).checkpoint > newer);
        });
    }
}

/// The newer checkpoint's manifest has what the older program lacks, whatever the head says. It used to be told
/// after the claim, which had given up all that came after that checkpoint.
#[test]
fn going_back_to_a_checkpoint_that_has_more_than_the_program_is_refused_and_forgets_nothing() {
    simulate(async {
        let (mut engine, twin) = retaining();
        let world = World::new();
        world.feed_all();
        run_a_while(&engine, world.graph(2)).await;
        let older = head(&twin).checkpoint;
        world.feed_all();
        run_a_while(&engine, world.graph(2)).await;
        let before = head(&twin);
        assert!(before.retained.iter().any(|newer| newer.checkpoint > older));
        engine.roll_back = Some(older);
        let given = world.counted.output().len();
        let error = engine.run(world.graph(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.to_string().contains("has state last of count"), "{error}");
        assert_eq!(head(&twin), before);

        let env = StreamEnvironment::new();
        world.count(env.source(world.numbers.clone()).uid("others"), 2);
        let error = engine.run(env.build().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("has splits of source numbers"), "{error}");
        assert_eq!(world.counted.output().len(), given);
        assert_eq!(head(&twin), before);
        run_a_while(&engine, world.graph(2)).await;
        assert_eq!(world.given(given), all(|key| (key, 2, Some(key))));
    });
}

/// The record used to be empty from a roll-back until the next checkpoint: whoever went on where that one died was
/// compared with nothing, and took the state of another operator.
#[test]
fn what_dies_after_going_back_still_binds_whoever_goes_on() {
    simulate(async {
        let (mut engine, twin) = retaining();
        let (feed, numbers) = MemorySource::fed(1);
        let (other, others) = MemorySource::fed(1);
        let (smaller, larger) = (MemorySink::new(), MemorySink::new());
        let graph = |ids: [&str; 2], more: bool| {
            let env = StreamEnvironment::new();
            for (source, id, sink) in [(&numbers, ids[0], &smaller), (&others, ids[1], &larger)] {
                let of = if id == ids[0] { "numbers" } else { "others" };
                let stream = env.source(source.clone()).uid(of).key_by(|n| n % KEYS);
                let count = stream.process(move |states: &mut States| Count::new(states, 1));
                count.uid(id).sink(sink.clone()).uid(&format!("{of}-out"));
            }
            if more {
                let more = env.source(Generator::new(1, |n| n)).uid("more");
                more.sink(MemorySink::new()).uid("more-out");
            }
            env.build().unwrap()
        };
        feed.push(0, 0..KEYS);
        run_a_while(&engine, graph(["small", "large"], false)).await;
        let older = head(&twin).checkpoint;
        other.push(0, 0..KEYS);
        run_a_while(&engine, graph(["small", "large"], true)).await;
        let recorded = head(&twin).identity;

        // Long enough to claim, too short for a checkpoint.
        engine.roll_back = Some(older);
        engine.config.checkpointing.interval = ms(100_000);
        tokio::select! {
            biased;
            ended = engine.run(graph(["small", "large"], false)) => panic!("{ended:?}"),
            () = pass(ms(20)) => {}
        }
        engine.roll_back = None;
        engine.config.checkpointing.interval = ms(10);
        let left = head(&twin);
        assert_eq!(left.checkpoint, older);
        assert_eq!(left.identity, Identity { is_rolled_back: true, ..recorded.clone() });
        let swapped = engine.run(graph(["large", "small"], false)).await.unwrap_err();
        assert_eq!(swapped.kind(), ErrorKind::Usage);
        assert!(swapped.to_string().contains("operator large does not read others"), "{swapped}");
        assert_eq!(head(&twin), left);

        // The older checkpoint has nothing of what the newer program had more.
        let from = larger.output().len();
        run_a_while(&engine, graph(["small", "large"], false)).await;
        let mut given = larger.output().split_off(from);
        given.sort_unstable();
        assert_eq!(given, all(|key| (key, 1, None)));
        let now = head(&twin).identity;
        assert!(!now.is_rolled_back && now.graph != recorded.graph, "{now:?}");
    });
}

/// What is recorded has grown; what was recorded before is believed as far as it goes.
#[test]
fn a_job_that_an_earlier_version_has_recorded_goes_on() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let (feed, events) = MemorySource::<Event>::fed(1);
        let sink = MemorySink::new();
        feed.push(0, (0..KEYS).map(|n| (n, n)));
        run_a_while(&engine, tally(events.clone(), &sink)).await;
        let mut former = head(&twin);
        let graph = former.identity.graph.clone();
        former.identity.graph = graph.replace(" (derived)", "");
        assert_ne!(former.identity.graph, graph);
        let at = HeadCondition::At(former.attempt, former.checkpoint);
        let put = HeadChange::Put(Box::new(former));
        twin.memory_heads().write(&job(), at, put).await.unwrap();

        feed.push(0, (0..KEYS).map(|n| (n, n)));
        run_a_while(&engine, tally(events, &sink)).await;
        assert_eq!(sink.output().iter().filter(|line| line.count == 2).count() as u64, KEYS);
        assert_eq!(head(&twin).identity.graph, graph);
    });
}

/// It used to be refused for its graph alone; with that gone, its state would go to the one before it.
#[test]
fn an_operator_that_is_put_before_another_does_not_take_its_state_for_a_derived_id() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (feed, numbers) = MemorySource::fed(1);
        let (sums, others) = (MemorySink::new(), MemorySink::new());
        let named = |stream: Stream<operator::Identity<u64>>, uid: Option<&str>| match uid {
            Some(uid) => stream.uid(uid),
            None => stream,
        };
        // The ids of the reduce that is put before the other one, if it is, and of that one.
        let graph = |first: Option<Option<&str>>, uid: Option<&str>| {
            let env = StreamEnvironment::new();
            let (left, right) = env.source(numbers.clone()).uid("numbers").tee();
            let right = match first {
                Some(first) => named(right.key_by(|n| n % 2).reduce(|a, _| a), first),
                None => right,
            };
            right.sink(others.clone()).uid("others");
            let sum = named(left.key_by(|n| n % 2).reduce(|a, b| a + b), uid);
            sum.sink(sums.clone()).uid("sums");
            env.build().unwrap()
        };
        feed.push(0, 0..10);
        run_a_while(&engine, graph(None, None)).await;
        for (first, uid) in [(None, None), (None, Some("sum")), (Some("first"), None)] {
            let error = engine.run(graph(Some(first), uid)).await.unwrap_err().to_string();
            let said = if first.is_none() { r#".uid("reduce-1")"# } else { "reduce-1 is gone" };
            assert!(error.contains(said), "{error}");
        }
        feed.push(0, [1]);
        run_a_while(&engine, graph(Some(Some("first")), Some("reduce-1"))).await;
        assert_eq!(sums.output().last(), Some(&(1 + 3 + 5 + 7 + 9 + 1)));
    });
}

#[test]
fn the_type_of_a_reduce_is_migrated_by_its_descriptor() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (feed, numbers) = MemorySource::<u64>::fed(1);
        let (narrow, wide) = (MemorySink::<u32>::new(), MemorySink::<u64>::new());
        feed.push(0, 0..10);
        let env = StreamEnvironment::new();
        env.source(numbers.clone())
            .uid("numbers")
            .map(|n| n as u32)
            .key_by(|n| n % 2)
            .reduce(|a, b| a + b)
            .uid("sum")
            .sink(narrow)
            .uid("sums");
        run_a_while(&engine, env.build().unwrap()).await;

        feed.push(0, [1 << 40]);
        let env = StreamEnvironment::new();
        env.source(numbers)
            .uid("numbers")
            .key_by(|n| (n % 2) as u32)
            .reduce_with(
                ValueDescriptor::new("reduce").migrate_from::<u32>(u64::from),
                |a: u64, b| a + b,
            )
            .uid("sum")
            .sink(wide.clone())
            .uid("sums");
        run_a_while(&engine, env.build().unwrap()).await;
        assert_eq!(wide.output(), [(1 << 40) + 2 + 4 + 6 + 8]);
    });
}
