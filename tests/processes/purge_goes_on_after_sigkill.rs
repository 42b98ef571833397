//! `table purge` that is killed at any of its deletions and begun again leaves nothing of the job, and
//! nothing is missing of another one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use millpond::codec::Key;
use millpond::config::{Config, Location, StoreSettings};
use millpond::dynamodb::Execution;
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, Version};
use millpond::runtime::{Backend, DynamoDbStateBackend, Opening};
use millpond::state::{BlockKey, BlockKind, Item, ItemKey, ItemWrite, Presence, Store};
use millpond::{KeyGroup, MaxParallelism, points};

use crate::process::{Ran, Running, flights, millpond, run};

const FILE: &str = "state.db";
const ON: &str = "-Dstate.backend.dynamodb.local-db-path=state.db";
/// Both run the same job, so that they have the same keys.
const PURGED: &str = "flights-of-today";
const OTHER: &str = "flights-of-yesterday";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The keys of all routes of the input, as in the table.
fn routes(input: &Path) -> Vec<ItemKey> {
    let groups = MaxParallelism::new(128).unwrap();
    let text = std::fs::read_to_string(input.join("flights-0.csv")).unwrap();
    let routes: BTreeSet<(String, String)> = text
        .lines()
        .skip(1)
        .map(|row| row.rsplit(',').take(2).map(str::to_owned).collect::<Vec<_>>())
        .map(|mut row| (row.pop().unwrap(), row.pop().unwrap()))
        .collect();
    let place = |route: (String, String)| {
        let mut sort_key = Vec::new();
        route.encode(&mut sort_key);
        ItemKey {
            operator: name("route-stats"),
            state: name("totals"),
            key_group: KeyGroup(groups.group_of(route.key_hash()).0),
            sort_key: Bytes::from(sort_key),
        }
    };
    routes.into_iter().map(place).collect()
}

/// How many items and blocks the first incarnation of `job` has.
async fn left(backend: &DynamoDbStateBackend, job: &str, routes: &[ItemKey]) -> (usize, usize) {
    let store: Arc<dyn Store> = backend.store(&name(job), Incarnation(1));
    let mut items = 0;
    for keys in routes.chunks(100) {
        items += store.read_items(keys.to_vec()).await.unwrap().iter().flatten().count();
    }
    let mut blocks = 0;
    for kind in [BlockKind::Segment, BlockKind::Manifest] {
        for slot in 0..40 {
            let key = BlockKey { kind, slot: SlotId(slot), part: 0 };
            blocks += usize::from(store.get_block(key).await.unwrap().is_some());
        }
    }
    (items, blocks)
}

/// Materialises all routes of `job` that are in its log only.
async fn materialise(backend: &DynamoDbStateBackend, job: &str, routes: &[ItemKey]) {
    let store = backend.store(&name(job), Incarnation(1));
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let write = |key: &ItemKey| {
        let item = Item::new(version, Some(Bytes::from_static(b"any")));
        ItemWrite { key: key.clone(), item, presence: Presence::Possible }
    };
    store.write_items(routes.iter().map(write).collect()).await.unwrap();
}

/// What both jobs have left; after all routes were materialised, with `fill`.
fn both(folder: &Path, routes: &[ItemKey], fill: bool) -> [(usize, usize); 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let location = Location::EmbeddedFile(Some(folder.join(FILE)));
        let store = StoreSettings { location, ..Config::default().store };
        let config = Config { store, ..Config::default() };
        let opening = Opening::new(name("job"), Execution::Inline);
        let backend = DynamoDbStateBackend::open(&config, opening).await.unwrap();
        if fill {
            materialise(&backend, PURGED, routes).await;
            materialise(&backend, OTHER, routes).await;
        }
        let both = [left(&backend, PURGED, routes).await, left(&backend, OTHER, routes).await];
        backend.into_connection().close().await.unwrap();
        both
    })
}

fn purge(folder: &Path, at: Option<(&str, u32)>) -> Ran {
    let mut command = millpond(folder, &["table", "purge", PURGED, "--yes", ON]);
    if let Some((point, hit)) = at {
        command.env(points::KILL_VARIABLE, format!("{point}:{hit}"));
    }
    Running::spawn(command).end()
}

#[test]
fn nothing_is_left_however_often_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, input) = (folder.path(), folder.path().join("input"));
    flights(&input, 3_000, 1);
    let read = format!("--input={}/*.csv", input.display());
    let start = |job: &str| {
        let name = format!("--name={job}");
        run(folder, &["run", "route_stats", "--no-rest", ON, &name, &read])
    };
    start(PURGED).expect(0, &[]);
    start(OTHER).expect(0, &[]);
    let routes = routes(&input);
    let [whole, other] = both(folder, &routes, true);
    for (items, blocks) in [whole, other] {
        assert!(items == routes.len() && items > 500 && blocks >= 2, "{whole:?} {other:?}");
    }

    let mut before = whole;
    for (hit, point) in [(1, points::BEFORE_DELETION), (1, points::AFTER_DELETION)]
        .into_iter()
        .chain([(2, points::BEFORE_DELETION), (30, points::AFTER_DELETION)])
    {
        let ran = purge(folder, Some((point, hit)));
        assert!(ran.was_killed(), "{point}:{hit}: {}", ran.said);
        let [now, _] = both(folder, &routes, false);
        // What is there is known by the manifests: they go last.
        assert!(now.0 <= before.0 && now.1 > 0, "{point}:{hit}: {now:?} after {before:?}");
        before = now;
    }
    assert!(before.0 > 0 && before.0 < whole.0, "{before:?} of {whole:?}");
    // The last deletion is the manifests': whatever is killed there is done, or begun again.
    let mut hit = 64;
    while purge(folder, Some((points::AFTER_DELETION, hit))).was_killed() {
        hit *= 2;
        assert!(hit < 1 << 12);
    }
    purge(folder, None).expect(0, &[]);
    assert_eq!(both(folder, &routes, false), [(0, 0), other]);
    start(PURGED).expect(0, &[&format!("{PURGED} starts afresh")]);
    start(OTHER).expect(0, &[]);
}
