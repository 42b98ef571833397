//! How often a function is made, and what its context tells it beside state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond::ErrorKind;
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{Generator, MemorySink, MemorySource};
use millpond::operator::{
    BroadcastContext, Context, KeyedBroadcastContext, KeyedBroadcastProcess, KeyedProcess,
    OperatorContext, OperatorProcess,
};
use millpond::state::{
    BroadcastStates, MapDescriptor, OperatorStates, States, ValueDescriptor, ValueState,
};
use millpond::stream::StreamEnvironment;

use crate::engine_support::{Engine, ms, pass, simulate, small};

/// Subtask, number of subtasks, time.
type Told = (u32, u32, u64);

/// Gives out what its context says; the keyed one fails at its first record, once.
struct Tells {
    failures: Arc<AtomicU64>,
    seen: Option<ValueState<u64>>,
}

impl Tells {
    fn fail(&self) -> millpond::Result<()> {
        let left = |left: u64| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Err(millpond::Error::user("unlucky")),
            Err(_) => Ok(()),
        }
    }
}

impl KeyedProcess for Tells {
    type Key = u64;
    type In = u64;
    type Out = Told;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        if let Some(seen) = self.seen {
            context.set(seen, n);
        }
        let (subtask, now_ms) = (context.subtask(), context.processing_time_ms());
        context.emit((subtask.index, subtask.parallelism, now_ms));
        self.fail()
    }
}

impl OperatorProcess for Tells {
    type In = u64;
    type Out = Told;

    fn process(&self, _: u64, context: &mut OperatorContext<'_, Self>) -> millpond::Result<()> {
        let (subtask, now_ms) = (context.subtask(), context.processing_time_ms());
        context.emit((subtask.index, subtask.parallelism, now_ms));
        Ok(())
    }
}

impl KeyedBroadcastProcess for Tells {
    type Key = u64;
    type In = u64;
    type Broadcast = u64;
    type Out = Told;

    fn process(
        &self,
        _: u64,
        context: &mut KeyedBroadcastContext<'_, '_, Self>,
    ) -> millpond::Result<()> {
        let (subtask, now_ms) = (context.subtask(), context.processing_time_ms());
        context.emit((subtask.index, subtask.parallelism, now_ms));
        self.fail()
    }

    fn process_broadcast(
        &self,
        _: u64,
        _: &mut BroadcastContext<'_, Self>,
    ) -> millpond::Result<()> {
        Ok(())
    }
}

/// A factory used to be called once more in each attempt, outside any worker, where nothing catches a panic.
#[test]
fn a_factory_is_called_when_the_graph_is_built_and_once_for_each_subtask_of_an_attempt() {
    simulate(async {
        let restart = RestartStrategy::FixedDelay { attempts: 2, delay: ms(1) };
        let (engine, _) = Engine::twin(Config { restart, ..small() });
        let (keyed_calls, connected_calls) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let env = StreamEnvironment::new();
        let failures = Arc::new(AtomicU64::new(2));
        let (counter, left) = (Arc::clone(&keyed_calls), Arc::clone(&failures));
        env.source(Generator::new(40, |n| n))
            .key_by(|n| n % 5)
            .process(move |states: &mut States| {
                counter.fetch_add(1, Ordering::Relaxed);
                let seen = Some(states.value(ValueDescriptor::new("seen")));
                Tells { failures: Arc::clone(&left), seen }
            })
            .sink(MemorySink::new());
        let side = env.source(Generator::new(1, |n| n)).broadcast();
        let counter: Arc<AtomicU64> = Arc::clone(&connected_calls);
        env.source(Generator::new(40, |n| n))
            .key_by(|n| n % 5)
            .connect(side)
            .process(move |_: &mut States, _: &mut BroadcastStates| {
                counter.fetch_add(1, Ordering::Relaxed);
                Tells { failures: Arc::default(), seen: None }
            })
            .sink(MemorySink::new());
        let graph = env.build().unwrap();
        engine.run(graph).await.unwrap();
        let attempts = engine.status().attempt;
        assert!(attempts > 1, "{attempts}");
        let expected = 1 + 2 * attempts;
        assert_eq!(keyed_calls.load(Ordering::Relaxed), expected);
        assert_eq!(connected_calls.load(Ordering::Relaxed), expected);
    });
}

/// All subtasks have told, at the times at which records were given.
fn check(told: &[Told], at: [u64; 2]) {
    for index in 0..2 {
        assert!(told.iter().any(|told| (told.0, told.1) == (index, 2)), "{told:?}");
    }
    let near = |told: &Told, at: u64| (at..at + 100).contains(&told.2);
    assert!(told.iter().all(|told| at.iter().any(|at| near(told, *at))), "{told:?}");
    assert!(at.iter().all(|at| told.iter().any(|told| near(told, *at))), "{told:?}");
}

/// There was no way to it but the system's clock, which goes on where a test's stands still.
#[test]
fn a_context_tells_the_subtask_and_the_time_on_the_jobs_clock() {
    simulate(async {
        for kind in 0..4 {
            let (engine, _) = Engine::twin(small());
            let env = StreamEnvironment::new();
            let (feed, source) = MemorySource::fed(2);
            let sink = MemorySink::<Told>::new();
            let stream = env.source(source);
            let tells = || Tells { failures: Arc::default(), seen: None };
            match kind {
                0 => {
                    stream.key_by(|n| *n).process(move |_: &mut States| tells()).sink(sink.clone())
                }
                // One that may be suspended.
                1 => stream
                    .key_by(|n| *n)
                    .process(move |states: &mut States| {
                        states.map::<u64, u64>(MapDescriptor::new("seen"));
                        tells()
                    })
                    .sink(sink.clone()),
                2 => stream.process(move |_: &mut OperatorStates| tells()).sink(sink.clone()),
                _ => {
                    let side = env.source(Generator::new(1, |n| n)).broadcast();
                    let function = move |_: &mut States, _: &mut BroadcastStates| tells();
                    stream.key_by(|n| *n).connect(side).process(function).sink(sink.clone())
                }
            };
            let feeding = async {
                for split in 0..2 {
                    feed.push(split, 0..20);
                }
                pass(ms(500)).await;
                for split in 0..2 {
                    feed.push(split, 0..20);
                }
            };
            let graph = env.build().unwrap();
            let (ended, ()) = tokio::join!(engine.run_until(graph, pass(ms(900))), feeding);
            ended.unwrap();
            check(&sink.output(), [1_000_000, 1_000_500]);
        }
    });
}

#[test]
fn an_id_for_what_has_no_state_is_an_error_that_says_where_it_belongs() {
    let env = StreamEnvironment::new();
    let (left, right) = env
        .source(Generator::new(1, |n| n))
        .map(|n| n + 1)
        .uid("mapped")
        .filter(|n| *n > 0)
        .uid("kept")
        .flat_map(|n| [n])
        .uid("flat")
        .tee();
    left.uid("left").sink(MemorySink::new());
    right.sink(MemorySink::new());
    let error = env.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    for (id, maker) in
        [("mapped", "map"), ("kept", "filter"), ("flat", "flat_map"), ("left", "tee or")]
    {
        let said = format!("the id {id:?} is given to a stream that {maker}");
        assert!(error.to_string().contains(&said), "{error}");
    }
}
