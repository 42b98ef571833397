//! A subtask's keyed state is built from a checkpoint in the table, whole or in part, and a build that
//! fails holds nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dynamodb_support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamodb_support::{Tokio, connect};
use millpond::checkpoint::{Manifest, read_manifest};
use millpond::clock::Clock;
use millpond::codec::Key;
use millpond::config::{Config, Location};
use millpond::connector::{DiscardSink, Generator};
use millpond::dynamodb::Execution;
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, Version};
use millpond::io::Io;
use millpond::metrics::Metrics;
use millpond::runtime::{
    self, Backend, DynamoDbKeyedStateBackendBuilder, DynamoDbStateBackend, JobStatus,
    KeyedStateBackend, Place, RunOptions, Wiring,
};
use millpond::state::{BlockKey, BlockKind, Columns, States, Store, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::{ErrorKind, MaxParallelism};
use tokio::sync::watch;
use tokio::task::LocalSet;

const KEYS: u64 = 50;
const RECORDS: u64 = 1000;

/// Runs a job that keeps the largest number of each key, to its end; where its state then is.
async fn ran() -> (Arc<DynamoDbStateBackend>, Arc<dyn Store>, Manifest) {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(60)));
    let env = StreamEnvironment::new();
    env.source(Generator::new(RECORDS, |n| n))
        .key_by(|n| n % KEYS)
        .reduce(u64::max)
        .uid("largest")
        .sink(DiscardSink::new());
    let job = Name::new("job").unwrap();
    let wiring = Wiring {
        backend: Arc::clone(&backend) as _,
        place: Place::Inline,
        clock: Clock::system(),
        metrics: Metrics::default(),
        status: watch::channel(JobStatus::default()).0,
    };
    let options = RunOptions {
        job: job.clone(),
        config: Config { parallelism: 2, ..Config::default() },
        mode: Default::default(),
        take_over: false,
        replace_output: false,
        roll_back: None,
        abandon_output: false,
        seed: [7; 32],
    };
    let graph = env.build().unwrap();
    let run = Box::pin(runtime::run(graph, wiring, options, std::future::pending()));
    LocalSet::new().run_until(run).await.unwrap();
    let head = backend.heads().read(&job).await.unwrap().unwrap();
    let store = backend.store(&job, Incarnation(1));
    let last = *head.retained.last().unwrap();
    let manifest = read_manifest(Arc::clone(&store), last).await.unwrap().manifest;
    (backend, store, manifest)
}

fn builder(
    store: &Arc<dyn Store>,
) -> (DynamoDbKeyedStateBackendBuilder, ValueState<u64>, MaxParallelism) {
    let mut states = States::new();
    let largest = states.value(ValueDescriptor::<u64>::new("reduce"));
    let columns: Columns = states.finish().unwrap();
    let groups = MaxParallelism::new(128).unwrap();
    let (store, io) = (Arc::clone(store), Io::new(Tokio));
    let operator = Name::new("largest").unwrap();
    (DynamoDbKeyedStateBackendBuilder::new(store, io, operator, columns, groups), largest, groups)
}

#[tokio::test]
async fn a_whole_state_and_a_part_of_it_are_those_of_the_checkpoint() {
    let (_backend, store, manifest) = ran().await;
    let at = manifest.checkpoint;
    let (whole, largest, groups) = builder(&store);
    let mut built: KeyedStateBackend<u64> =
        whole.restore(manifest.clone(), at).build().await.unwrap();
    assert!(!built.log.is_empty());
    for key in 0..KEYS {
        let row = built.state.find_row(key.key_hash(), &key);
        assert_eq!(built.state.get(largest, row), Some(&(RECORDS - KEYS + key)), "{key}");
    }
    assert!(built.state.take_reads().is_empty());

    let mut rows = 0;
    for subtask in 0..3 {
        let range = groups.range_of(subtask, 3);
        let part = builder(&store).0.range(range).restore(manifest.clone(), at);
        let built: KeyedStateBackend<u64> = part.build().await.unwrap();
        let own = (0..KEYS).filter(|key| range.contains(groups.group_of(key.key_hash()))).count();
        assert_eq!(built.state.stats().rows, own as u64, "{range:?}");
        rows += built.state.stats().rows;
    }
    assert_eq!(rows, KEYS);
    let empty: KeyedStateBackend<u64> = builder(&store).0.build().await.unwrap();
    assert_eq!(empty.state.stats().rows, 0);
}

#[tokio::test]
async fn a_build_that_fails_names_the_operator_and_holds_nothing() {
    let (_backend, store, manifest) = ran().await;
    let segment = manifest.segments[0].slot;
    let key = BlockKey { kind: BlockKind::Segment, slot: segment, part: 0 };
    let later = Version { attempt: Attempt(9), checkpoint: CheckpointId(9) };
    store.put_block(key, later, Bytes::from_static(b"of another")).await.unwrap();
    let at = manifest.checkpoint;
    let held = Arc::strong_count(&store);
    let failed = builder(&store).0.restore(manifest, at).build::<u64>().await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Corrupt);
    assert!(failed.to_string().starts_with("operator largest: "), "{failed}");
    assert_eq!(Arc::strong_count(&store), held);
}
