//! Checkpoints of whole jobs: barriers pass what waits, the end waits for commits, memory and a
//! struggling store delay and lose nothing, and a retained checkpoint can be gone back to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::LocalBoxFuture;
use millpond::Result;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
use millpond::clock::Clock;
use millpond::config::Materialize;
use millpond::connector::{
    CommitOutcome, Committable, Committer, Generator, Guarantee, MemorySink, MemorySource,
    Progress, Reader, ReaderContext, RunIdentity, Sink, Source, SplitState, Writer, WriterContext,
};
use millpond::ids::{Attempt, CheckpointId, Name};
use millpond::record::Batch;
use millpond::runtime::{MemoryBackend, Place, io_threads};
use millpond::state::Call;
use millpond::stream::StreamEnvironment;
use tokio::time::timeout;

use crate::dynamodb_support::script::{Act, Script};
use crate::engine_support::{
    Engine, Event, check, embedded, head, ms, pass, simulate, small, store, tally,
};

fn events(records: u64, keys: u64) -> Vec<Event> {
    (0..records).map(|n| (n * 7 % keys, n)).collect()
}

#[test]
fn barriers_pass_a_source_that_waits_and_one_that_has_ended() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let (feed, busy) = MemorySource::fed(1);
        let (idle_feed, idle) = MemorySource::<u64>::fed(2);
        let ended = MemorySource::new(vec![7], 1);
        let env = StreamEnvironment::new();
        let sink = MemorySink::new();
        let three = env.source(busy).union(env.source(idle)).union(env.source(ended));
        three.key_by(|n| n % 3).reduce(|a, b| a + b).sink(sink.clone());
        let feeding = async {
            for n in 0..50 {
                feed.push(0, [n]);
                pass(ms(4)).await;
                // What was read is committed while the others have nothing, or nothing more.
                assert!(sink.output().len() as u64 + 8 > n, "{n}: {}", sink.output().len());
            }
            assert!(engine.status().checkpoints.counts.completed > 15);
            assert!(engine.status().pauses.number > 15, "{:?}", engine.status().pauses);
            feed.close();
            pass(ms(100)).await;
            assert!(!engine.status().state.is_final(), "one source has not ended");
            idle_feed.close();
        };
        let (ended, ()) = futures::join!(engine.run(env.build().unwrap()), feeding);
        assert_eq!(ended.unwrap(), Ended::Finished);
        assert_eq!(sink.output().len(), 51);
    });
}

#[test]
fn a_source_without_end_is_stopped_after_a_last_checkpoint_and_goes_on() {
    simulate(async {
        let mut config = small();
        config.checkpointing.interval = ms(3_600_000);
        let (engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed_without_end(1);
        let sink = MemorySink::new();
        let input = vec![events(60, 7)];
        feed.push(0, input[0][..30].to_vec());
        let stop = pass(ms(10_000));
        let ended = engine.run_until(tally(source.clone(), &sink), stop).await;
        assert_eq!(ended.unwrap(), Ended::Stopped);
        assert_eq!(head(&twin).status, HeadStatus::Stopped);
        assert_eq!(sink.output().len(), 30);
        feed.push(0, input[0][30..].to_vec());
        engine.run_until(tally(source, &sink), pass(ms(10_000))).await.unwrap();
        check(&sink.output(), &input).unwrap();
        assert_eq!(engine.status().checkpoints.counts.completed, 1);
    });
}

/// The source always has something, and waits for nobody where hardly anything is let through.
#[test]
fn a_source_that_never_waits_gives_the_other_tasks_of_its_worker_their_turn() {
    let io = io_threads(1).unwrap();
    let mut config = small();
    config.parallelism = 1;
    config.checkpointing.interval = ms(10);
    let mut engine = Engine::new(Arc::new(MemoryBackend::new()), config);
    engine.place = Place::Threads(io.handle().clone());
    let env = StreamEnvironment::new();
    let sink = MemorySink::new();
    env.source(Generator::unbounded(|n| n))
        .filter(|n| *n == 100_000)
        .key_by(|n| *n)
        .reduce(|a, b| a + b)
        .sink(sink.clone());
    let graph = env.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (output, watching) = (sink.clone(), engine.clone());
    let stop = async move {
        watching.until(|status| status.checkpoints.counts.completed >= 5).await;
        // The record may be behind the fifth.
        while output.output().is_empty() {
            Clock::system().sleep(ms(5)).await;
        }
    };
    let ended =
        runtime.block_on(async { timeout(ms(60_000), engine.run_until(graph, stop)).await });
    assert_eq!(ended.expect("each task has its turn").unwrap(), Ended::Stopped);
    assert_eq!(sink.output(), [100_000]);
}

/// A sink whose commits are put off while its gate is closed.
#[derive(Clone, Debug)]
struct Gated<T> {
    inner: MemorySink<T>,
    open: Arc<AtomicBool>,
}

#[derive(Debug)]
struct GatedCommitter(Box<dyn Committer>, Arc<AtomicBool>);

impl<T: std::fmt::Debug + Send + 'static> Sink<T> for Gated<T> {
    fn describe(&self) -> String {
        "gated".to_owned()
    }
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }
    fn prepare(&self, run: &RunIdentity) -> Result<()> {
        self.inner.prepare(run)
    }
    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        self.inner.writer(context)
    }
    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        let inner = self.inner.committer(operator)?;
        Some(Box::new(GatedCommitter(inner, Arc::clone(&self.open))))
    }
}

impl Committer for GatedCommitter {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        if self.1.load(Ordering::Relaxed) {
            return self.0.commit(committables);
        }
        Ok(committables.iter().map(|_| CommitOutcome::Retry("closed".to_owned())).collect())
    }
    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        self.0.clean(attempt, named)
    }
}

#[test]
fn the_head_says_finished_only_after_the_last_commits_and_a_crash_before_goes_on() {
    for crash in [false, true] {
        simulate(async {
            let (engine, twin) = Engine::twin(small());
            let sink = Gated { inner: MemorySink::new(), open: Arc::default() };
            let graph = || {
                let env = StreamEnvironment::new();
                env.source(MemorySource::new((0..40u64).collect(), 2))
                    .key_by(|n| n % 4)
                    .reduce(|a, _| a)
                    .sink(sink.clone());
                env.build().unwrap()
            };
            let first = engine.run(graph());
            let closed = async {
                pass(ms(500)).await;
                assert_eq!(head(&twin).status, HeadStatus::Running);
                assert!(head(&twin).checkpoint > CheckpointId::NONE, "all of it is durable");
                assert!(sink.inner.output().is_empty());
                sink.open.store(true, Ordering::Relaxed);
            };
            if crash {
                tokio::select! {
                    biased;
                    _ = first => panic!("it cannot end"),
                    () = closed => {}
                }
                let mut second = engine.with(|_| {});
                second.mode = StartMode::Resume;
                assert_eq!(second.run(graph()).await.unwrap(), Ended::Finished);
            } else {
                let (ended, ()) = futures::join!(first, closed);
                assert_eq!(ended.unwrap(), Ended::Finished);
            }
            assert_eq!(head(&twin).status, HeadStatus::Finished);
            assert_eq!(sink.inner.output().len(), 40);
        });
    }
}

/// Restarts a job whose log is all behind the horizon, with reads held; what `during` sees meanwhile.
async fn held_reads(during: impl AsyncFnOnce(&Engine, &MemoryBackend)) {
    let mut config = small();
    config.state.materialize = Materialize::Eager;
    let (engine, twin) = Engine::twin(config);
    let (feed, source) = MemorySource::fed(3);
    let sink = MemorySink::new();
    let input = vec![events(300, 40), events(200, 50), events(100, 30)];
    feed.push(0, input[0].clone());
    let stop = pass(ms(200));
    engine.run_until(tally(source.clone(), &sink), stop).await.unwrap();
    let items = engine.metrics.snapshot().items_materialised;
    assert!(items >= 80, "{items}");
    assert_eq!(engine.metrics.snapshot().items_read, 0, "before a restart all is in memory");

    store(&twin).script().hold(Call::ReadItems);
    let engine = engine.with(|config| config.parallelism = 3);
    let outside = async {
        feed.push(1, input[1].clone());
        feed.push(2, input[2].clone());
        feed.close();
        pass(ms(200)).await;
        during(&engine, &twin).await;
        store(&twin).script().release(Call::ReadItems);
    };
    let (ended, ()) = futures::join!(engine.run(tally(source.clone(), &sink)), outside);
    ended.unwrap();
    assert!(engine.metrics.snapshot().items_read >= 80);
    check(&sink.output(), &input).unwrap();
}

#[test]
fn keys_that_are_only_in_the_table_are_parked_and_counted_on_in_order() {
    simulate(held_reads(async |engine, _| {
        let read = engine.metrics.snapshot().records_read;
        assert!(read > 300, "sources go on while records are parked: {read}");
    }));
}

#[test]
fn barriers_wait_for_parked_records() {
    simulate(held_reads(async |engine, twin| {
        let before = head(twin).checkpoint;
        pass(ms(500)).await;
        assert_eq!(head(twin).checkpoint, before);
        let counts = engine.status().checkpoints.counts;
        assert_eq!((counts.in_progress, counts.completed), (1, 0));
    }));
}

#[test]
fn keys_in_the_embedded_dynamodb_are_counted_on_after_each_restart() {
    simulate(async {
        let mut config = small();
        config.state.log_max_bytes = 1;
        let engine = Engine::new(embedded(None).await, config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let input = vec![events(400, 60)];
        for (part, parallelism) in input[0].chunks(100).zip([2, 3, 1, 4]) {
            feed.push(0, part.to_vec());
            let engine = engine.with(|config| config.parallelism = parallelism);
            engine.run_until(tally(source.clone(), &sink), pass(ms(300))).await.unwrap();
        }
        check(&sink.output(), &input).unwrap();
        let counters = engine.metrics.snapshot();
        assert!(counters.items_read > 300 && counters.items_materialised > 300, "{counters:?}");
    });
}

#[test]
fn without_room_sources_stop_checkpoints_come_early_and_what_is_on_its_way_is_admitted() {
    simulate(async {
        let mut config = small();
        config.checkpointing.interval = ms(3_600_000);
        config.state.log_max_bytes = 4000;
        config.state.cache_bytes = 8000;
        let (engine, twin) = Engine::twin(config);
        let sink = MemorySink::new();
        let input = vec![events(3000, 1500), events(2000, 1000)];
        // Puts that take their time: more comes than can be let go.
        let slow = async {
            loop {
                store(&twin).script().hold(Call::PutBlock);
                pass(ms(30)).await;
                store(&twin).script().release(Call::PutBlock);
                pass(ms(1)).await;
            }
        };
        tokio::select! {
            biased;
            ended = engine.run(tally(MemorySource::of_splits(input.clone()), &sink)) => {
                ended.unwrap();
            }
            () = slow => {}
        }
        check(&sink.output(), &input).unwrap();
        assert!(engine.metrics.snapshot().pressure_waits > 10);
        let counts = engine.status().checkpoints.counts;
        assert!(counts.completed > 10, "{counts:?}");
        assert!(engine.metrics.snapshot().items_materialised > 1000);
    });
}

#[test]
fn a_throttled_table_delays_and_its_timeouts_are_no_failures() {
    simulate(async {
        let script = Script::default();
        let wrap = |inner| script.wrap(inner);
        let mut config = small();
        config.checkpointing.timeout = ms(100);
        let engine = Engine::new(embedded(Some(&wrap)).await, config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let input = vec![events(200, 20)];
        let outside = async {
            feed.push(0, input[0][..100].to_vec());
            pass(ms(50)).await;
            let throttled = || Act::error(400, "ProvisionedThroughputExceededException");
            script.next("PutItem", (0..40).map(|_| throttled()));
            feed.push(0, input[0][100..].to_vec());
            engine.until(|status| status.checkpoints.counts.failed > 0).await;
            let failed = engine.status().checkpoints.latest_failed.unwrap();
            assert!(failed.failure.unwrap().contains("struggling"));
            pass(ms(20_000)).await;
            feed.close();
        };
        let (ended, ()) = futures::join!(engine.run(tally(source, &sink)), outside);
        assert_eq!(ended.unwrap(), Ended::Finished);
        assert_eq!(engine.status().attempt, 1, "tolerable failures are 0");
        check(&sink.output(), &input).unwrap();
    });
}

#[test]
fn an_older_retained_checkpoint_can_be_gone_back_to_whatever_was_materialised_since() {
    simulate(async {
        let mut config = small();
        config.parallelism = 1;
        config.state.materialize = Materialize::Eager;
        config.checkpointing.num_retained = 3;
        let (mut engine, twin) = Engine::twin(config);
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        // Each checkpoint has some keys, so that items of what changed since are there.
        let input = vec![events(400, 60)];
        let feeding = async {
            for part in input[0].chunks(10) {
                feed.push(0, part.to_vec());
                pass(ms(3)).await;
            }
        };
        let run = engine.run_until(tally(source.clone(), &sink), pass(ms(3 * 40)));
        let (ended, ()) = futures::join!(run, feeding);
        ended.unwrap();
        check(&sink.output(), &input).unwrap();
        let lines = sink.output();
        let mut before = lines.len();
        // From the oldest of three, then from the oldest of what that has left, which is the same one.
        for parallelism in [1, 2] {
            let retained = head(&twin).retained;
            assert!(retained.len() >= 2, "{retained:?}");
            engine.roll_back = Some(retained[0].checkpoint);
            engine.config.parallelism = parallelism;
            engine.run_until(tally(source.clone(), &sink), pass(ms(5))).await.unwrap();
            let again = sink.output().split_off(before);
            before += again.len();
            assert!(!again.is_empty(), "it did not go back");
            assert!(again.iter().all(|line| lines.contains(line)), "{again:?}");
        }
    });
}

/// Yields a record into the batch and then waits before it returns, as a reader may.
#[derive(Clone, Debug)]
struct Hesitant(u64);

struct HesitantReader {
    next: u64,
    end: u64,
    clock: Clock,
    given: bool,
    splits: usize,
}

impl Source for Hesitant {
    type Item = u64;

    fn describe(&self) -> String {
        "hesitant".to_owned()
    }
    fn bounded(&self) -> bool {
        true
    }
    fn discover(&self, _: u32) -> Result<Vec<SplitState>> {
        Ok(vec![SplitState { id: "0".to_owned(), state: vec![0], done: false }])
    }
    fn check(&self, _: &[SplitState]) -> Result<()> {
        Ok(())
    }
    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<u64>>> {
        let next = splits.first().map_or(self.0, |split| u64::from(split.state[0]));
        Ok(Box::new(HesitantReader {
            next,
            end: self.0,
            clock: context.clock,
            given: false,
            splits: splits.len(),
        }))
    }
}

impl Reader<u64> for HesitantReader {
    fn next<'a>(&'a mut self, out: &'a mut Batch<u64>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            if self.next == self.end && !self.given {
                return Ok(Progress::End);
            }
            if !self.given {
                out.values.push(self.next);
                self.next += 1;
                self.given = true;
            }
            self.clock.sleep(ms(7)).await;
            self.given = false;
            Ok(Progress::More)
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        let done = self.next == self.end;
        let split = SplitState { id: "0".to_owned(), state: vec![self.next as u8], done };
        vec![split; self.splits]
    }
}

#[test]
fn what_a_reader_has_given_out_before_a_barrier_is_before_it() {
    simulate(async {
        let (engine, _) = Engine::twin(small());
        let sink = MemorySink::new();
        let graph = || {
            let env = StreamEnvironment::new();
            env.source(Hesitant(40)).sink(sink.clone());
            env.build().unwrap()
        };
        for life in 0..4 {
            tokio::select! {
                biased;
                ended = engine.run(graph()) => panic!("{ended:?} in life {life}: {:?}", sink.output()),
                () = pass(ms(30 + life * 5)) => {}
            }
        }
        engine.run(graph()).await.unwrap();
        assert_eq!(sink.output(), (0..40).collect::<Vec<_>>());
    });
}
