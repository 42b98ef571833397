//! A restart in the process says what it loses of input that cannot be replayed.
//!
//! Alone in its process: a log of one thread misses lines that tests beside it have silenced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use engine_support::{Engine, ms, simulate, small};
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{DiscardSink, MemorySource, Reader, ReaderContext, Source, SplitState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

/// Numbers that arrive once.
#[derive(Debug)]
struct Once(MemorySource<u64>);

impl Source for Once {
    type Item = u64;

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn replayable(&self) -> bool {
        false
    }

    fn bounded(&self) -> bool {
        true
    }

    fn discover(&self, parallelism: u32) -> millpond::Result<Vec<SplitState>> {
        self.0.discover(parallelism)
    }

    fn check(&self, splits: &[SplitState]) -> millpond::Result<()> {
        self.0.check(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> millpond::Result<Box<dyn Reader<u64>>> {
        self.0.reader(splits, context)
    }
}

/// What `run` logs.
fn logged(run: impl FnOnce()) -> String {
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Log(Arc::clone(&writer)))
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = log.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Fails at the number 13, once.
fn unlucky(source: impl Source<Item = u64>) -> JobGraph {
    let env = StreamEnvironment::new();
    let failed = AtomicBool::new(false);
    env.source(source)
        .map(move |n| assert!(n != 13 || failed.swap(true, Ordering::Relaxed), "unlucky"))
        .sink(DiscardSink::new());
    env.build().unwrap()
}

/// What is logged of a restart after the first checkpoint.
fn restarted(replayable: bool) -> String {
    let run = async {
        let restart = RestartStrategy::FixedDelay { attempts: 1, delay: ms(1) };
        let (engine, _) = Engine::twin(Config { restart, ..small() });
        let (feed, source) = MemorySource::fed(2);
        let graph = if replayable { unlucky(source) } else { unlucky(Once(source)) };
        feed.push(0, 0..10);
        let failing = async {
            engine.until(|s| s.checkpoints.counts.completed == 1).await;
            feed.push(1, 10..40);
            feed.close();
        };
        let (ended, ()) = futures::join!(engine.run(graph), failing);
        ended.unwrap();
    };
    logged(|| simulate(run))
}

#[test]
fn it_says_since_when_records_are_lost_and_says_nothing_where_none_is() {
    let log = restarted(false);
    let lost = "the input cannot be replayed: what was read of it after checkpoint 1 is lost";
    assert!(log.contains("unlucky; restarting in 1ms; ") && log.contains(lost), "{log}");
    let log = restarted(true);
    assert!(log.contains("unlucky; restarting in 1ms\n"), "{log}");
}
