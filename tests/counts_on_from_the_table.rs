//! State of 1,000,000 keys of which 10,000 are in the log and the others only in the table: after a
//! process that was killed every one of them is counted on.
//!
//! Two minutes when optimised, so a run of all tests leaves it out and `.ci/run` runs it by name.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine_support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use engine_support::{Engine, job};
use millpond::clock::Clock;
use millpond::config::{Config, Location, Materialize, RestartStrategy, StoreSettings};
use millpond::connector::{DiscardSink, MemoryFeed, MemorySink, MemorySource, Sink};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{DynamoDbStateBackend, JobStatus, Place, io_threads};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use tokio::sync::oneshot;

/// The file that the child is given.
const PATH: &str = "MILLPOND_TEST_CHILD_PATH";
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

fn counts<S: Sink<(u64, u64)>>(source: MemorySource<u64>, sink: S) -> JobGraph {
    let env = StreamEnvironment::new();
    let keyed = env.source(source).key_by(|key| *key);
    keyed
        .process(|states: &mut States| Count(states.value(ValueDescriptor::new("count"))))
        .sink(sink);
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

/// The embedded DynamoDB on `file`.
fn on(file: &Path) -> StoreSettings {
    let location = Location::EmbeddedFile(Some(file.to_owned()));
    StoreSettings { location, ..Config::default().store }
}

/// A process: it opens the file, runs until `wanted` holds, does `then` while it still runs, and ends
/// gracefully.
async fn process(
    settings: &StoreSettings,
    io: &Arc<tokio::runtime::Runtime>,
    config: Config,
    graph: JobGraph,
    wanted: impl FnMut(&JobStatus) -> bool,
    then: impl FnOnce(&JobStatus),
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
        then(&engine.status());
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

fn give_all(feed: &MemoryFeed<u64>) {
    give(feed, 0..KEYS);
}

fn give_few(feed: &MemoryFeed<u64>) {
    give(feed, (0..KEYS).step_by((KEYS / IN_THE_LOG) as usize));
}

/// Not a test by itself: the process that is killed. It counts the few, says so once that is in a
/// completed checkpoint, and waits.
#[test]
fn child_process() {
    let Some(path) = std::env::var_os(PATH).map(PathBuf::from) else { return };
    let io = io_threads(1).unwrap();
    let (feed, source) = MemorySource::fed_without_end(4);
    give_all(&feed);
    give_few(&feed);
    let completed = |status: &JobStatus| {
        let latest = status.checkpoints.latest_completed.as_ref();
        latest.is_some_and(|latest| latest.position == KEYS + IN_THE_LOG)
    };
    let wait_for_death = |status: &JobStatus| {
        let metrics = &status.metrics;
        println!("read {} wrote {}", metrics.items_read, metrics.items_materialised);
        std::io::stdout().flush().unwrap();
        loop {
            std::thread::park();
        }
    };
    let graph = counts(source, DiscardSink::new());
    let lazy = config(Materialize::Lazy);
    io.block_on(process(&on(&path), &io, lazy, graph, completed, wait_for_death));
}

/// Runs the child until it has said what it did, and kills it.
fn kill_once_counted(path: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_process", "--nocapture"])
        .env(PATH, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map(Result::unwrap).find_map(|line| {
        // The harness has begun the line.
        line.find("read ").map(|at| line[at..].to_owned())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    said.unwrap()
}

#[test]
#[cfg_attr(debug_assertions, ignore = "too large for a build that is not optimised: see .ci/run")]
fn a_million_keys_that_are_only_in_the_table_are_counted_on() {
    let io = io_threads(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.db");
    let settings = on(&path);
    let (feed, source) = MemorySource::fed_without_end(4);
    // All keys become items.
    give_all(&feed);
    let written = |status: &JobStatus| status.metrics.items_materialised == KEYS;
    let (eager, graph) = (config(Materialize::Eager), counts(source.clone(), DiscardSink::new()));
    let status = io.block_on(process(&settings, &io, eager, graph, written, |_| {}));
    assert_eq!(status.metrics.items_read, 0);

    // A few change and stay in the log, as a job that is killed leaves them.
    give_few(&feed);
    assert_eq!(kill_once_counted(&path), format!("read {IN_THE_LOG} wrote 0"));

    // Each key once more, at another parallelism.
    give_all(&feed);
    let counted = |status: &JobStatus| status.metrics.records_written == KEYS;
    let wider = Config { parallelism: 3, ..config(Materialize::Lazy) };
    let sink = MemorySink::new();
    let graph = counts(source, sink.clone());
    let status = io.block_on(process(&settings, &io, wider, graph, counted, |_| {}));
    // Chunks of the filter are in the log too; of the keys, exactly those that are not read.
    assert!(status.checkpoints.restored.unwrap().entries >= IN_THE_LOG);
    assert_eq!(status.metrics.items_read, KEYS - IN_THE_LOG);
    let mut counts = sink.output();
    counts.sort_unstable();
    let in_the_log = |key| key % (KEYS / IN_THE_LOG) == 0;
    let expected = (0..KEYS).map(|key| (key, if in_the_log(key) { 3 } else { 2 }));
    assert!(counts.into_iter().eq(expected));
}
