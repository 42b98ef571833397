//! A restart in the process says what it loses of input that cannot be replayed.
//!
//! Alone in its process: a log of one thread misses lines that tests beside it have silenced.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use engine_support::{Engine, Wrapped, ms, simulate, small};
use millpond::config::{Config, RestartStrategy};
use millpond::connector::{DiscardSink, MemorySource, Source};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;

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
        let graph = if replayable { unlucky(source) } else { unlucky(Wrapped::once(source)) };
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
