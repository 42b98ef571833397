//! What a former incarnation left in the table is deleted while the next one runs, and nothing else: by what
//! its own manifests say, whatever graph has come after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millpond::KeyGroup;
use millpond::checkpoint::rules::StartMode;
use millpond::codec::Key;
use millpond::config::{Config, Location, Materialize};
use millpond::connector::{DiscardSink, Generator};
use millpond::dynamodb::Execution;
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, Version};
use millpond::runtime::{self, Backend, DynamoDbStateBackend, Left, RunOptions, Wiring};
use millpond::state::{BlockKey, BlockKind, FILTER_STATE, ItemKey, ItemRange};
use millpond::stream::StreamEnvironment;
use tokio::task::LocalSet;

use crate::dynamodb_support::connect;

const KEYS: u64 = 500;
const GROUPS: u32 = 8;

fn job() -> Name {
    Name::new("job").unwrap()
}

/// Runs the job, with a former incarnation behind where `fresh`, for `time` of the paused clock, and
/// then drops it as a crash would.
async fn run(
    backend: &Arc<DynamoDbStateBackend>,
    fresh: bool,
    (operator, groups): (&str, u32),
    time: Duration,
) {
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(|i| i).rate(1000))
        .key_by(|i| i % KEYS)
        .reduce(u64::max)
        .uid(operator)
        .sink(DiscardSink::new());
    let mut config = Config { parallelism: 2, max_parallelism: groups, ..Config::default() };
    config.state.materialize = Materialize::Eager;
    config.checkpointing.interval = Duration::from_millis(300);
    let wiring = Wiring::inline(Arc::clone(backend) as _);
    let clock = wiring.clock;
    let options = RunOptions {
        mode: if fresh { StartMode::Fresh } else { StartMode::Auto },
        take_over: true,
        ..RunOptions::new(job(), config, [7; 32])
    };
    let graph = env.build().unwrap();
    let ended = Box::pin(runtime::run(graph, wiring, options, std::future::pending()));
    let crash = async {
        tokio::select! {
            ended = ended => panic!("the job ended: {ended:?}"),
            () = clock.sleep(time) => {}
        }
    };
    LocalSet::new().run_until(crash).await;
}

/// How many items and how many blocks an incarnation has.
async fn left(backend: &DynamoDbStateBackend, incarnation: u64, operator: &str) -> (usize, usize) {
    let store = backend.store(&job(), Incarnation(incarnation));
    let groups = millpond::MaxParallelism::new(GROUPS).unwrap();
    let place = |key: u64| {
        let mut sort_key = Vec::new();
        key.encode(&mut sort_key);
        ItemKey {
            operator: Name::new(operator).unwrap(),
            state: Name::new("reduce").unwrap(),
            key_group: KeyGroup(groups.group_of(key.key_hash()).0),
            sort_key: Bytes::from(sort_key),
        }
    };
    let items = store.read_items((0..KEYS).map(place).collect()).await.unwrap();
    let mut blocks = 0;
    for kind in [BlockKind::Segment, BlockKind::Manifest] {
        for slot in 0..100 {
            let key = BlockKey { kind, slot: SlotId(slot), part: 0 };
            blocks += usize::from(store.get_block(key).await.unwrap().is_some());
        }
    }
    (items.iter().flatten().count(), blocks)
}

/// How many items an incarnation's filter of absent keys has.
async fn left_of_filter(backend: &DynamoDbStateBackend, incarnation: u64, operator: &str) -> usize {
    let store = backend.store(&job(), Incarnation(incarnation));
    let mut items = 0;
    for group in 0..GROUPS {
        let scan = ItemRange {
            operator: Name::new(operator).unwrap(),
            state: Name::new(FILTER_STATE).unwrap(),
            key_group: KeyGroup(u16::try_from(group).unwrap()),
            from: Bytes::new(),
            to: None,
        };
        items += store.scan_items(scan).await.unwrap().len();
    }
    items
}

#[tokio::test(start_paused = true)]
async fn a_former_incarnation_is_deleted_in_the_background_and_after_a_crash() {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)));
    run(&backend, false, ("first", GROUPS), Duration::from_secs(3)).await;
    let (items, blocks) = left(&backend, 1, "first").await;
    assert_eq!(items as u64, KEYS);
    assert!(blocks > 2, "{blocks}");
    assert!(left_of_filter(&backend, 1, "first").await > 0);

    // The pace leaves it half done; the graph of the former incarnation is another one.
    run(&backend, true, ("second", GROUPS), Duration::from_millis(400)).await;
    let (items, blocks) = left(&backend, 1, "first").await;
    assert!(items > 0 && (items as u64) < KEYS, "{items}");
    assert!(blocks > 2, "{blocks}");

    // Nor does the one that goes on with it know of the first graph, or of all its key groups. The items of
    // those used to stay for ever, and the manifests that told of them were deleted.
    run(&backend, true, ("third", 2), Duration::from_secs(3)).await;
    assert_eq!(left(&backend, 1, "first").await, (0, 0));
    assert_eq!(left(&backend, 2, "second").await, (0, 0));
    assert_eq!(left_of_filter(&backend, 1, "first").await, 0);
    assert_eq!(left_of_filter(&backend, 2, "second").await, 0);
    let head = backend.heads().read(&job()).await.unwrap().unwrap();
    assert_eq!((head.incarnation, head.clean_below), (Incarnation(3), Incarnation(3)));

    run(&backend, true, ("first", GROUPS), Duration::from_secs(3)).await;
    let (items, blocks) = left(&backend, 4, "first").await;
    assert_eq!(items as u64, KEYS, "the live one is whole");
    assert!(blocks > 2, "{blocks}");

    // Begun again, there is nothing to do, and the job goes on.
    run(&backend, false, ("first", GROUPS), Duration::from_secs(3)).await;
    assert_eq!(left(&backend, 4, "first").await.0 as u64, KEYS);
    let head = backend.heads().read(&job()).await.unwrap().unwrap();
    assert_eq!((head.incarnation, head.clean_below), (Incarnation(4), Incarnation(4)));
}

/// A backend whose first incarnation has segments in these slots, and no manifest.
async fn segments_in(slots: &[u64]) -> DynamoDbStateBackend {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let backend = DynamoDbStateBackend::new(connection, Duration::from_secs(3600));
    let store = backend.store(&job(), Incarnation(1));
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    for slot in slots {
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(*slot), part: 0 };
        store.put_block(key, version, Bytes::from_static(b"b")).await.unwrap();
    }
    backend
}

async fn has_segment(backend: &DynamoDbStateBackend, slot: u64) -> bool {
    let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(slot), part: 0 };
    backend.store(&job(), Incarnation(1)).get_block(key).await.unwrap().is_some()
}

/// Four empty slots in a row used to be the end.
#[tokio::test(start_paused = true)]
async fn segments_that_landed_in_any_order_are_all_deleted() {
    let slots = [3, 9, 70, 71, 130];
    let backend = segments_in(&slots).await;
    let deleted = backend.purge(&job(), Incarnation(1), Left::default()).await.unwrap();
    assert_eq!(deleted, slots.len() as u64);
    for slot in slots {
        assert!(!has_segment(&backend, slot).await, "{slot}");
    }
}

/// The first ones used to go first, and with them what the others are found by.
#[tokio::test(start_paused = true)]
async fn segments_whose_deletion_is_interrupted_are_found_again() {
    let slots: Vec<u64> = (0..200).collect();
    let backend = segments_in(&slots).await;
    let purge = backend.purge(&job(), Incarnation(1), Left::default());
    assert!(tokio::time::timeout(Duration::from_millis(300), purge).await.is_err());
    assert!(has_segment(&backend, 0).await && !has_segment(&backend, 199).await);
    backend.purge(&job(), Incarnation(1), Left::default()).await.unwrap();
    for slot in slots {
        assert!(!has_segment(&backend, slot).await, "{slot}");
    }
}
