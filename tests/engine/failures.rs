//! What ends an attempt, what follows it, and what is final.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use millpond::ErrorKind;
use millpond::checkpoint::{Ended, HeadChange, HeadCondition, HeadStatus, HeadStore};
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{FileSink, Generator, MemorySink, MemorySource, Sink, Source};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{JobState, MemoryBackend, Place, io_threads};
use millpond::state::{Call, Fault, States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

use crate::engine_support::{
    Engine, Event, check, clock, head, job, ms, pass, simulate, small, store, tally,
};

/// Fails at the record 13 of each attempt, as long as `failures` are left.
struct Fragile {
    seen: ValueState<u64>,
    failures: Arc<AtomicU64>,
    panics: bool,
}

impl KeyedProcess for Fragile {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        let left = |left: u64| left.checked_sub(1);
        if n == 13 && self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
        {
            assert!(!self.panics, "unlucky");
            return Err(millpond::Error::new(ErrorKind::User, "unlucky"));
        }
        let seen = context.get(self.seen).copied().unwrap_or(0) + 1;
        context.set(self.seen, seen);
        context.emit((n, seen));
        Ok(())
    }
}

/// How many are left.
struct Failures(Arc<AtomicU64>);

impl From<u64> for Failures {
    fn from(left: u64) -> Self {
        Self(Arc::new(AtomicU64::new(left)))
    }
}

fn fragile(failures: u64, panics: bool, sink: &MemorySink<(u64, u64)>) -> JobGraph {
    fragile_over(MemorySource::new((0..40).collect(), 2), failures, panics, sink)
}

fn fragile_over(
    source: impl Source<Item = u64>,
    failures: impl Into<Failures>,
    panics: bool,
    sink: &MemorySink<(u64, u64)>,
) -> JobGraph {
    let env = StreamEnvironment::new();
    let Failures(failures) = failures.into();
    env.source(source)
        .key_by(|n| n % 5)
        .process(move |states: &mut States| Fragile {
            seen: states.value(ValueDescriptor::new("seen")),
            failures: Arc::clone(&failures),
            panics,
        })
        .sink(sink.clone());
    env.build().unwrap()
}

fn restarting(restart: RestartStrategy) -> Config {
    Config { restart, ..small() }
}

fn complete(sink: &MemorySink<(u64, u64)>) {
    let mut records: Vec<u64> = sink.output().into_iter().map(|(n, _)| n).collect();
    records.sort_unstable();
    assert_eq!(records, (0..40).collect::<Vec<_>>());
    for key in 0..5 {
        let seen = sink.output().into_iter().filter(|(n, _)| n % 5 == key).map(|(_, seen)| seen);
        assert_eq!(seen.collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    }
}

#[test]
fn an_error_or_a_panic_of_the_user_is_final_without_restarts_and_names_the_operator() {
    for panics in [false, true] {
        simulate(async {
            let (engine, twin) = Engine::twin(small());
            let sink = MemorySink::new();
            let error = engine.run(fragile(1, panics, &sink)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::User);
            let text = error.to_string();
            assert!(text.contains("job job") && text.contains("process-1"), "{text}");
            assert!(text.contains("unlucky"), "{text}");
            assert_eq!(engine.status().state, JobState::Failed);
            assert_eq!(head(&twin).status, HeadStatus::Failed);
            // Run again, it goes on.
            engine.run(fragile(0, panics, &sink)).await.unwrap();
            complete(&sink);
        });
    }
}

#[derive(serde::Serialize)]
struct Nested<K: Ord> {
    n: u64,
    counts: BTreeMap<K, u64>,
}

/// How a job ends that gives such records to `sink`, and after how many attempts.
async fn writing<K: Ord + Send + 'static>(
    key: fn(u64) -> K,
    sink: impl Sink<Nested<K>>,
) -> (ErrorKind, String, u64) {
    let fixed = RestartStrategy::FixedDelay { attempts: 99, delay: ms(1) };
    let (engine, _) = Engine::twin(restarting(fixed));
    let env = StreamEnvironment::new();
    env.source(Generator::new(3, |n| n))
        .map(move |n| Nested { n, counts: BTreeMap::from([(key(n), 7)]) })
        .sink(sink);
    let error = engine.run(env.build().unwrap()).await.unwrap_err();
    (error.kind(), error.to_string(), engine.status().attempt)
}

/// It used to be met again and again, for as long as there were attempts.
#[test]
fn a_record_without_a_form_in_its_sinks_format_is_final_and_shown() {
    simulate(async {
        let dir = tempfile::tempdir().unwrap();
        let csv = writing(|n| n.to_string(), FileSink::csv(dir.path().join("csv"))).await;
        let json = writing(|n| (n, n), FileSink::json_lines(dir.path().join("json"))).await;
        for ((kind, message, attempts), shown, way_out) in [
            (csv, r#"has no CSV form: "#, "or write JSON lines"),
            (json, r#"key must be a string, after {"n":0,"counts":{"#, "map it to another one"),
        ] {
            assert_eq!((kind, attempts), (ErrorKind::Output, 1), "{message}");
            assert!(message.contains("sink sink-1"), "{message}");
            assert!(message.contains(shown) && message.contains(way_out), "{message}");
        }
    });
}

/// An attempt's own position used to be added to the checkpoints of those before it.
#[test]
fn a_checkpoint_keeps_its_position_in_the_status_when_the_job_restarts() {
    simulate(async {
        let fixed = RestartStrategy::FixedDelay { attempts: 1, delay: ms(1) };
        let (engine, _) = Engine::twin(restarting(fixed));
        let sink = MemorySink::new();
        let source = Generator::new(40, |n| n).rate(1000);
        engine.run(fragile_over(source, 1, false, &sink)).await.unwrap();
        complete(&sink);
        let checkpoints = engine.status().checkpoints;
        let restored = checkpoints.restored.unwrap();
        assert!(restored.position > 0, "{restored:?}");
        let before = checkpoints.history.iter().find(|c| c.id == restored.checkpoint).unwrap();
        assert_eq!(before.position, restored.position);
        assert_eq!(checkpoints.latest_completed.unwrap().position, 40);
    });
}

/// Takes its time to go, and with it the task whose output it is.
#[derive(Debug)]
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        std::thread::park_timeout(ms(300));
    }
}

/// Fails at the second record of its first key.
struct FailsSlowly(ValueState<u64>);

impl KeyedProcess for FailsSlowly {
    type Key = u64;
    type In = u64;
    type Out = Option<Arc<Slow>>;

    fn process(&self, n: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        if n == 2000 {
            return Err(millpond::Error::new(ErrorKind::User, "unlucky"));
        }
        context.set(self.0, n);
        context.emit((n == 0).then(|| Arc::new(Slow)));
        Ok(())
    }
}

/// What sent to the failed task used to find it gone, and to say so before the failure was told.
#[test]
fn what_a_failed_task_fails_with_is_told_whoever_sends_to_it() {
    let backend = Arc::new(MemoryBackend::new());
    let io = io_threads(1).unwrap();
    let mut config = small();
    // What the sink holds is not committed before the failure, so it goes with the task.
    config.checkpointing.interval = ms(60_000);
    let mut engine = Engine::new(backend, config);
    engine.place = Place::Threads(io.handle().clone());
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(|n| n))
        .key_by(|n| n % 2000)
        .process(|states: &mut States| FailsSlowly(states.value(ValueDescriptor::new("last"))))
        .sink(MemorySink::new());
    let graph = env.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(engine.run(graph)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::User, "{error}");
    assert!(error.to_string().contains("unlucky"), "{error}");
}

#[test]
fn a_strategy_restarts_as_often_and_as_late_as_it_says() {
    let fixed = |attempts| RestartStrategy::FixedDelay { attempts, delay: ms(500) };
    let exponential = |attempts| RestartStrategy::ExponentialDelay {
        initial_backoff: ms(100),
        max_backoff: ms(300),
        backoff_multiplier: 2.0,
        reset_backoff_threshold: Duration::from_secs(3600),
        jitter_factor: 0.0,
        attempts_before_reset: attempts,
    };
    let rate = |max| RestartStrategy::FailureRate {
        max_failures_per_interval: max,
        failure_rate_interval: ms(60_000),
        delay: ms(200),
    };
    // Strategy, failures, waited for in all, whether the job recovers.
    for (strategy, failures, waited, recovers) in [
        (fixed(3), 3, 1500, true),
        (fixed(2), 3, 1000, false),
        (exponential(None), 4, 100 + 200 + 300 + 300, true),
        (exponential(Some(2)), 3, 100 + 200, false),
        (rate(3), 3, 600, true),
        (rate(2), 3, 400, false),
    ] {
        simulate(async {
            let (engine, twin) = Engine::twin(restarting(strategy.clone()));
            let sink = MemorySink::new();
            let result = engine.run(fragile(failures, true, &sink)).await;
            let status = engine.status();
            let took = status.ended_ms.unwrap() - status.started_ms;
            assert!((waited..waited + 100).contains(&took), "{strategy:?} took {took} ms");
            assert!(status.last_failure.unwrap().contains("unlucky"));
            // Each restart is an attempt of its own.
            let attempts = failures + u64::from(recovers);
            assert_eq!(head(&twin).attempt.0, attempts, "{strategy:?}");
            assert_eq!(result.is_ok(), recovers, "{strategy:?}");
            if recovers {
                complete(&sink);
            }
        });
    }
}

/// It used to end with the error of the attempt before, as failed.
#[test]
fn a_stop_during_the_wait_for_a_restart_ends_the_job_as_stopped() {
    simulate(async {
        let fixed = RestartStrategy::FixedDelay { attempts: 9, delay: Duration::from_secs(3600) };
        let (engine, twin) = Engine::twin(restarting(fixed));
        let sink = MemorySink::new();
        let waits = engine.clone();
        let stop = async move { waits.until(|s| s.state == JobState::Restarting).await };
        let ended = engine.run_until(fragile(1, false, &sink), stop).await;
        assert_eq!(ended.unwrap(), Ended::Stopped);
        let status = engine.status();
        assert_eq!(status.state, JobState::Canceled);
        assert!(status.ended_ms.unwrap() - status.started_ms < 3_600_000);
        // The next run need not wait for the lease, and goes on.
        assert_ne!(head(&twin).status, HeadStatus::Running);
        engine.run(fragile(0, false, &sink)).await.unwrap();
        complete(&sink);
    });
}

/// The last checkpoint that was asked for is not there.
#[test]
fn a_failure_of_the_attempt_that_is_to_stop_is_a_failure() {
    simulate(async {
        let fixed = RestartStrategy::FixedDelay { attempts: 9, delay: Duration::ZERO };
        let (engine, twin) = Engine::twin(restarting(fixed));
        let sink = MemorySink::new();
        let failures = Arc::new(AtomicU64::new(1));
        let source = MemorySource::new((0..40).collect(), 2);
        let graph = fragile_over(source, Failures(Arc::clone(&failures)), false, &sink);
        let stop = poll_fn(move |_| match failures.load(Ordering::Relaxed) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        });
        let error = engine.run_until(graph, stop).await.unwrap_err();
        assert!(error.to_string().contains("unlucky"), "{error}");
        assert_eq!(head(&twin).status, HeadStatus::Failed);
    });
}

#[test]
fn a_failing_store_or_sink_fails_the_attempt_and_a_restart_mends_it() {
    for call in [Call::PutBlock, Call::WriteHead, Call::GetBlock] {
        simulate(async {
            let fixed = RestartStrategy::FixedDelay { attempts: 3, delay: ms(5) };
            let (engine, twin) = Engine::twin(restarting(fixed));
            let sink = MemorySink::new();
            let (feed, source) = MemorySource::fed(1);
            let input: Vec<Vec<Event>> = vec![(0..60).map(|n| (n % 7, n)).collect()];
            let feeding = async {
                feed.push(0, input[0][..30].to_vec());
                pass(ms(35)).await;
                twin.memory_heads().script().next(call, Fault::Fail(ErrorKind::Store));
                store(&twin).script().next(call, Fault::Fail(ErrorKind::Store));
                if call == Call::GetBlock {
                    // Met by the next restart only.
                    store(&twin).script().next(Call::PutBlock, Fault::Fail(ErrorKind::Store));
                }
                feed.push(0, input[0][30..].to_vec());
                pass(ms(35)).await;
                feed.close();
            };
            let (ended, ()) = futures::join!(engine.run(tally(source, &sink)), feeding);
            assert_eq!(ended.unwrap(), Ended::Finished);
            let failed = if call == Call::GetBlock { 2 } else { 1 };
            assert_eq!(head(&twin).attempt.0, 1 + failed, "{call:?}");
            check(&sink.output(), &input).unwrap();
        });
    }
}

#[test]
fn being_fenced_is_final_and_nothing_more_of_it_is_seen() {
    simulate(async {
        let always = RestartStrategy::FixedDelay { attempts: 1000, delay: ms(1) };
        let (old, twin) = Engine::twin(restarting(always));
        let new = old.with(|_| {});
        let sink = MemorySink::new();
        let (feed, source) = MemorySource::fed(2);
        let input: Vec<Vec<Event>> =
            (0..2).map(|s| (0..80).map(|n| (n % 9, n + s)).collect()).collect();
        let feeding = async {
            for (split, records) in input.iter().enumerate() {
                feed.push(split, records[..40].to_vec());
            }
            pass(ms(100)).await;
            for (split, records) in input.iter().enumerate() {
                feed.push(split, records[40..].to_vec());
            }
            feed.close();
        };
        let second = async {
            pass(ms(55)).await;
            new.run(tally(source.clone(), &sink)).await
        };
        let first = old.run(tally(source.clone(), &sink));
        let (first, second, ()) = futures::join!(first, second, feeding);
        let error = first.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let owner = head(&twin).owner;
        assert!(error.to_string().contains(&owner), "{error} does not name {owner}");
        assert_eq!(second.unwrap(), Ended::Finished);
        assert_eq!(head(&twin).attempt.0, 2);
        check(&sink.output(), &input).unwrap();
        assert_eq!(sink.staged(), 0);
    });
}

#[test]
fn whatever_fails_after_another_has_taken_over_is_told_as_being_fenced() {
    simulate(async {
        let (old, twin) = Engine::twin(restarting(RestartStrategy::None));
        let new = old.with(|_| {});
        let sink = MemorySink::new();
        let (feed, source) = MemorySource::<u64>::fed(1);
        let feeding = async {
            feed.push(0, 20..40);
            pass(ms(55)).await;
            // The older one meets it before it looks at the head again.
            while head(&twin).attempt.0 < 2 {
                tokio::task::yield_now().await;
            }
            feed.push(0, vec![13]);
            feed.close();
        };
        let second = async {
            pass(ms(55)).await;
            new.run(fragile_over(source.clone(), 0, false, &sink)).await
        };
        let first = old.run(fragile_over(source.clone(), 1, false, &sink));
        let (first, second, ()) = futures::join!(first, second, feeding);
        let error = first.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(error.to_string().contains(&head(&twin).owner), "{error}");
        assert_eq!(second.unwrap(), Ended::Finished);
    });
}

#[test]
fn a_checkpoint_that_times_out_is_carried_and_counts_as_failed() {
    for tolerable in [0, 1] {
        simulate(async {
            let mut config = small();
            config.checkpointing.timeout = ms(50);
            config.checkpointing.tolerable_failed = tolerable;
            let (engine, twin) = Engine::twin(config);
            let sink = MemorySink::new();
            let input: Vec<Vec<Event>> = vec![(0..30).map(|n| (n % 5, n)).collect(); 2];
            let (feed, source) = MemorySource::fed(2);
            let trouble = async {
                store(&twin).script().hold(Call::PutBlock);
                for (split, records) in input.iter().enumerate() {
                    feed.push(split, records.clone());
                }
                pass(ms(90)).await;
                store(&twin).script().release(Call::PutBlock);
                pass(ms(100)).await;
                feed.close();
            };
            let (ended, ()) = futures::join!(engine.run(tally(source, &sink)), trouble);
            let checkpoints = engine.status().checkpoints;
            assert_eq!(checkpoints.counts.failed, 1);
            let failed = checkpoints.latest_failed.unwrap();
            assert!(failed.failure.unwrap().contains("timed out"));
            if tolerable == 0 {
                assert_eq!(ended.unwrap_err().kind(), ErrorKind::Checkpoint);
                assert!(sink.output().is_empty());
                // What was read is read again.
                engine.run(tally(MemorySource::of_splits(input.clone()), &sink)).await.unwrap();
            } else {
                assert_eq!(ended.unwrap(), Ended::Finished);
                assert_eq!(head(&twin).attempt.0, 1);
            }
            check(&sink.output(), &input).unwrap();
        });
    }
}

#[test]
fn a_head_that_was_taken_by_hand_ends_the_job_within_a_lease() {
    simulate(async {
        let (engine, twin) = Engine::twin(Config { lease: ms(3000), ..small() });
        let sink = MemorySink::new();
        let (_feed, source) = MemorySource::<Event>::fed_without_end(1);
        let rival = async {
            pass(ms(55)).await;
            let heads = twin.memory_heads();
            let mut taken = head(&twin);
            let condition = HeadCondition::At(taken.attempt, taken.checkpoint);
            taken.attempt.0 += 1;
            taken.owner = "somebody".to_owned();
            heads.write(&job(), condition, HeadChange::Put(Box::new(taken))).await.unwrap();
            clock().now()
        };
        let run = async { (engine.run(tally(source, &sink)).await, clock().now()) };
        let ((result, ended), taken) = futures::join!(run, rival);
        let error = result.unwrap_err();
        assert!(error.kind() == ErrorKind::Fenced && error.to_string().contains("somebody"));
        assert!(ended - taken < ms(1100), "{:?}", ended - taken);
    });
}

/// It used to go on, each operator with the other's input.
#[test]
fn a_job_that_is_wired_otherwise_is_refused_and_shows_both() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let sinks = [MemorySink::new(), MemorySink::new()];
        let (feeds, sources): (Vec<_>, Vec<_>) = (0..2).map(|_| MemorySource::fed(1)).unzip();
        let wired = |swapped: bool| {
            let env = StreamEnvironment::new();
            let mut streams = [
                env.source(sources[0].clone()).uid("left"),
                env.source(sources[1].clone()).uid("right"),
            ];
            if swapped {
                streams.reverse();
            }
            for ((stream, sink), id) in streams.into_iter().zip(&sinks).zip(["first", "second"]) {
                stream.key_by(|n| n % 5).reduce(|a, b| a + b).uid(id).sink(sink.clone());
            }
            env.build().unwrap()
        };
        feeds.iter().for_each(|feed| feed.push(0, 0..40));
        engine.run_until(wired(false), pass(ms(55))).await.unwrap();
        let before = head(&twin);
        feeds.iter().for_each(|feed| feed.close());
        let error = engine.run(wired(true)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        for part in ["reduce first [reduce] <- left", "reduce first [reduce] <- right", "--fresh"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(head(&twin), before);
        assert_eq!(engine.run(wired(false)).await.unwrap(), Ended::Finished);
    });
}

/// It used to be told as running until it had ended.
#[test]
fn a_job_that_is_stopping_or_failing_says_so() {
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let sink = MemorySink::new();
        let (_feed, source) = MemorySource::<Event>::fed_without_end(1);
        let course = async {
            pass(ms(25)).await;
            assert_eq!(engine.status().state, JobState::Running);
            twin.memory_heads().script().hold(Call::WriteHead);
            pass(ms(100)).await;
            assert_eq!(engine.status().state, JobState::Cancelling);
            twin.memory_heads().script().release(Call::WriteHead);
        };
        let run = engine.run_until(tally(source, &sink), pass(ms(50)));
        let (ended, ()) = futures::join!(run, course);
        assert_eq!(ended.unwrap(), Ended::Stopped);
        assert_eq!(engine.status().state, JobState::Canceled);
    });
    simulate(async {
        let (engine, twin) = Engine::twin(small());
        let sink = MemorySink::new();
        let (feed, source) = MemorySource::<u64>::fed(1);
        let course = async {
            pass(ms(25)).await;
            twin.memory_heads().script().hold(Call::WriteHead);
            feed.push(0, 0..40);
            engine.until(|status| status.state == JobState::Failing).await;
            assert_eq!(head(&twin).status, HeadStatus::Running);
            twin.memory_heads().script().release(Call::WriteHead);
        };
        let (ended, ()) = futures::join!(engine.run(fragile_over(source, 1, false, &sink)), course);
        assert!(ended.unwrap_err().to_string().contains("unlucky"));
        assert_eq!(engine.status().state, JobState::Failed);
        assert_eq!(head(&twin).status, HeadStatus::Failed);
    });
}
