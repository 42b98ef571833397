//! State of 1,000,000 keys of which 10,000 are in the log and the others only in the table: after a
//! restart every one of them is counted on.
//!
//! Two minutes when optimised, so a run of all tests leaves it out and `.ci/run` runs it by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::sync::Arc;
use std::time::Duration;

use engine_support::{Engine, job};
use millpond::clock::Clock;
use millpond::config::{Config, Location, Materialize, RestartStrategy, StoreSettings};
use millpond::connector::{MemoryFeed, MemorySink, MemorySource};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{DynamoDbStateBackend, JobStatus, Place, io_threads};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use tokio::sync::oneshot;

const KEYS: u64 = 1_000_000;
/// Each hundredth key.
const IN_THE_LOG: u64 = 10_000;

struct Count(ValueState<u64>);

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);

    fn process(&self, key: u64, context: &mut Context<'_, Self>) -> millpond::Result<()> {
        let count = context.get(self.0).copied().unwrap_or(0) + 1;
        context.set(self.0, count);
        context.emit((key, count));
        Ok(())
    }
}

fn counts(source: MemorySource<u64>, sink: &MemorySink<(u64, u64)>) -> JobGraph {
    let env = StreamEnvironment::new();
    let keyed = env.source(source).key_by(|key| *key);
    keyed
        .process(|states: &mut States| Count(states.value(ValueDescriptor::new("count"))))
        .sink(sink.clone());
    env.build().unwrap()
}

fn config(materialize: Materialize) -> Config {
    let mut config = Config { parallelism: 2, restart: RestartStrategy::None, ..Config::default() };
    config.checkpointing.interval = Duration::from_millis(500);
    config.state.cache_bytes = 2 << 30;
    config.state.log_max_bytes = 1 << 30;
    config.state.materialize = materialize;
    config
}

/// A process: it opens the file, runs until `wanted` holds, and ends gracefully.
async fn process(
    settings: &StoreSettings,
    io: &Arc<tokio::runtime::Runtime>,
    config: Config,
    graph: JobGraph,
    wanted: impl FnMut(&JobStatus) -> bool,
) -> JobStatus {
    let place = Place::Threads(io.handle().clone());
    let options = Options {
        settings,
        job: &job(),
        clock: Clock::system(),
        seed: 1,
        execution: Execution::Thread(place.io()),
        wrap: None,
    };
    let connection = Connection::open(options).await.unwrap();
    let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)));
    let mut engine = Engine::new(Arc::clone(&backend) as _, config);
    engine.place = place;
    let (stop, stopped) = oneshot::channel();
    let run = engine.run_until(graph, async move { drop(stopped.await) });
    let watch = async {
        engine.until(wanted).await;
        stop.send(()).unwrap();
    };
    let (ended, ()) = futures::join!(run, watch);
    ended.unwrap();
    let status = engine.status();
    drop(engine);
    Arc::into_inner(backend).unwrap().into_connection().close().await.unwrap();
    status
}

fn give(feed: &MemoryFeed<u64>, keys: impl Iterator<Item = u64>) {
    for (n, key) in keys.enumerate() {
        feed.push(n % 4, [key]);
    }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "too large for a build that is not optimised: see .ci/run")]
fn a_million_keys_that_are_only_in_the_table_are_counted_on() {
    let io = io_threads(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = Some(folder.path().join("job.db"));
    let settings =
        StoreSettings { location: Location::EmbeddedFile(file), ..Config::default().store };
    let (feed, source) = MemorySource::fed_without_end(4);
    let sink = MemorySink::new();
    let graph = || counts(source.clone(), &sink);
    let (eager, lazy) = (config(Materialize::Eager), config(Materialize::Lazy));
    io.block_on(async {
        // All keys become items.
        give(&feed, 0..KEYS);
        let written = |status: &JobStatus| status.metrics.items_materialised == KEYS;
        let status = process(&settings, &io, eager, graph(), written).await;
        assert_eq!(status.metrics.items_read, 0);

        // A few change and stay in the log, as a job that was killed leaves them.
        let step = KEYS as usize / IN_THE_LOG as usize;
        give(&feed, (0..KEYS).step_by(step));
        let counted = |status: &JobStatus| status.metrics.records_written == IN_THE_LOG;
        let status = process(&settings, &io, lazy.clone(), graph(), counted).await;
        assert_eq!(status.metrics.items_read, IN_THE_LOG);
        assert_eq!(status.metrics.items_materialised, 0);

        // Each key once more, at another parallelism.
        give(&feed, 0..KEYS);
        let counted = |status: &JobStatus| status.metrics.records_written == KEYS;
        let wider = Config { parallelism: 3, ..lazy };
        let status = process(&settings, &io, wider, graph(), counted).await;
        // Chunks of the filter are in the log too; of the keys, exactly those that are not read.
        assert!(status.checkpoints.restored.unwrap().entries >= IN_THE_LOG);
        assert_eq!(status.metrics.items_read, KEYS - IN_THE_LOG);
    });
    let mut last = vec![0; KEYS as usize];
    for (key, count) in sink.output() {
        assert_eq!(count, last[key as usize] + 1, "key {key}");
        last[key as usize] = count;
    }
    for (key, count) in (0..KEYS).zip(last) {
        assert_eq!(count, if key % (KEYS / IN_THE_LOG) == 0 { 3 } else { 2 }, "key {key}");
    }
}
