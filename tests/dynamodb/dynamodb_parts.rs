//! Values of several parts: what is written, in which order, and what a writer that dies leaves behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use millpond::ErrorKind;
use millpond::config::Location;
use millpond::dynamodb::{
    Connection, Execution, Listener, Partition, Row, Written, place_of_first, tap,
};
use millpond::ids::{Incarnation, Name, Version};
use millpond::state::{Item, ItemKey, ItemRange, ItemWrite, Presence, Store, WriteOutcome};
use serde_json::{Value, json};

use crate::dynamodb_support::script::{Act, Script};
use crate::dynamodb_support::{connect, key, settings, try_connect, version};

const PART: usize = 100;
/// Of a key; less cannot be over the bytes of a sort key.
const KEY: usize = 1_100;

/// The items of the table, by their sort keys.
type Rows = Arc<Mutex<BTreeMap<Bytes, Row>>>;

async fn scripted() -> (Connection, Arc<dyn Store>, Script, Rows) {
    let (script, rows) = (Script::default(), Rows::default());
    let settings = settings(Location::EmbeddedMemory);
    let told = Arc::clone(&rows);
    let listener: Listener = Arc::new(move |written| {
        let Written::Item(.., key, Some(row)) = written else { return };
        told.lock().unwrap().insert(key.sort_key, row);
    });
    let wrap = |inner| script.wrap(tap(inner, Arc::clone(&listener)));
    let connection = try_connect(&settings, Execution::Inline, Some(&wrap)).await.unwrap();
    let connection = connection.in_parts_of(PART, KEY);
    let store = connection.scoped(&job(), Incarnation(1), Duration::from_secs(60));
    script.sent();
    (connection, store, script, rows)
}

/// How many items have bytes of a value or of a key, each of which its first part counts.
fn values(rows: &Rows) -> usize {
    let rows = rows.lock().unwrap();
    let holds_some =
        |row: &Row| if row.part == 0 { row.value.is_some() } else { !row.is_emptied() };
    let values: Vec<_> = rows.iter().filter(|(_, row)| holds_some(row)).collect();
    for (place, row) in &values {
        let first = if row.part == 0 { (*place).clone() } else { place_of_first(place) };
        assert!(row.part < rows[&first].parts, "{row:?} is left");
        assert_eq!(row.version, rows[&first].version);
    }
    values.len()
}

fn job() -> Name {
    Name::new("job").unwrap()
}

/// A value of so many parts.
fn item(version: Version, parts: usize) -> Item {
    let letter = b'a' + (version.checkpoint.0 % 26) as u8;
    Item::new(version, Some(Bytes::from(vec![letter; parts * PART])))
}

fn write(n: u32, item: Item) -> Vec<ItemWrite> {
    vec![ItemWrite { key: key(n), item, presence: Presence::Possible }]
}

fn range() -> ItemRange {
    let key = key(0);
    let (operator, state, key_group) = (key.operator, key.state, key.key_group);
    ItemRange { operator, state, key_group, from: Bytes::new(), to: None }
}

async fn read(store: &dyn Store, n: u32) -> Option<Item> {
    store.read_items(vec![key(n)]).await.unwrap().remove(0)
}

/// All that is deleted of the state, as items of the table.
async fn rows(connection: &Connection) -> u64 {
    let key = key(0);
    let (operator, state, key_group) = (key.operator, key.state, key.key_group);
    let partition = Partition::State { operator, state, key_group };
    connection.purge(&job(), Incarnation(1), [partition]).await.unwrap()
}

/// A part after the first costs, nothing else does.
#[tokio::test(start_paused = true)]
async fn a_value_of_one_part_costs_what_it_did() {
    let (connection, store, script, _) = scripted().await;
    store.write_items(write(0, item(version(1, 1), 1))).await.unwrap();
    store.write_items(write(0, item(version(1, 2), 1))).await.unwrap();
    assert_eq!(read(&*store, 0).await, Some(item(version(1, 2), 1)));

    let sent = script.sent();
    assert_eq!(sent[..2], ["BatchExecuteStatement"; 2]);
    assert_eq!(sent[2..], ["BatchExecuteStatement", "BatchGetItem"]);
    let used = connection.meter().snapshot();
    assert_eq!((used.materialise.write_units, used.read.read_units), (2.0, 1.0));
    store.write_items(write(0, item(version(1, 3), 3))).await.unwrap();
    assert_eq!(script.sent(), ["PutItem"; 3]);
    assert_eq!(read(&*store, 0).await, Some(item(version(1, 3), 3)));
    assert_eq!(script.sent(), ["BatchGetItem"; 2]);
    // A smaller one is refused, empties two parts, and is put.
    store.write_items(write(0, item(version(1, 4), 1))).await.unwrap();
    let smaller = ["BatchExecuteStatement", "PutItem", "PutItem", "PutItem"];
    assert_eq!(script.sent(), smaller);
    assert_eq!(read(&*store, 0).await, Some(item(version(1, 4), 1)));
    assert_eq!(script.sent(), ["BatchGetItem"]);
    // Of the emptied parts their versions are left, until DynamoDB deletes them.
    assert_eq!(rows(&connection).await, 3);
    assert_eq!(rows(&connection).await, 0);
}

/// All other parts of a hundred large values used to be in memory at once, and once more in the values.
#[tokio::test(start_paused = true)]
async fn parts_of_many_large_values_are_read_some_values_at_a_time() {
    let (_connection, store, script, _) = scripted().await;
    let value = |n: u32| item(version(1, n.into()), if n == 7 { 101 } else { 11 });
    for n in 0..30 {
        store.write_items(write(n, value(n))).await.unwrap();
    }
    script.sent();
    let read = || store.read_items((0..30).rev().map(key).collect());
    // The first parts, and the first others, of eight values.
    script.next("BatchGetItem", [Act::Pass].into_iter().chain((0..9).map(|_| Act::Refuse)));
    assert!(read().now_or_never().is_none());
    assert_eq!(script.sent(), ["BatchGetItem"; 2]);
    script.forget();
    let expected: Vec<Option<Item>> = (0..30).rev().map(|n| Some(value(n))).collect();
    assert_eq!(read().await.unwrap(), expected);
    // 8, 8, 6, one that is over the bound by itself, in one request, and 7.
    assert_eq!(script.sent(), ["BatchGetItem"; 6]);
}

/// The rest of a range used to begin before the parts of the entry that the page had ended with.
#[tokio::test(start_paused = true)]
async fn no_part_of_a_page_s_last_value_is_read_again() {
    let connection = connect(Location::EmbeddedMemory, Execution::Inline).await;
    let store = connection.scoped(&job(), Incarnation(1), Duration::from_secs(60));
    let value = Bytes::from(vec![7; 2_000_000]);
    for n in [0, 16, 32] {
        let item = Item::new(version(1, 1), Some(value.clone()));
        store.write_items(write(n, item)).await.unwrap();
    }
    let read_units = || connection.meter().snapshot().read.read_units;
    let before = read_units();
    let (mut rest, mut found) = (Some(range()), Vec::new());
    while let Some(range) = rest {
        let page = store.scan_page(range, 1).await.unwrap();
        found.extend(page.items.into_iter().map(|scanned| scanned.item.unwrap().value.unwrap()));
        rest = page.rest;
    }
    assert_eq!(found, [value.clone(), value.clone(), value]);
    let units = read_units() - before;
    let needed = 3.0 * 2_000_000.0 / 4096.0;
    assert!((needed..needed + 20.0).contains(&units), "{units} units for {needed}");
}

/// Sends `write`, of which `puts` get through before the writer dies.
fn dies_after(store: &dyn Store, script: &Script, puts: usize, write: Vec<ItemWrite>) {
    let passed = (0..puts).map(|_| Act::Pass);
    // Refused for as long as anyone will wait.
    script.next("PutItem", passed.chain((0..9).map(|_| Act::Refuse)));
    assert!(store.write_items(write).now_or_never().is_none());
    script.forget();
}

/// A torn value is told, is no reason to hide its neighbours in a scan, and is mended by the next write,
/// which leaves no part that nobody counts.
#[tokio::test(start_paused = true)]
async fn parts_of_several_writes_are_no_value_until_the_next_write() {
    // From so many parts to so many, dead after so many puts. A put that would leave parts over is refused
    // first, unless a statement was.
    let deaths = [
        (1, 3, 1),
        (1, 3, 2),
        (3, 3, 1),
        (3, 3, 2),
        (2, 4, 2),
        (4, 2, 2),
        (4, 2, 3),
        (4, 2, 4),
        (4, 3, 2),
        (4, 1, 1),
        (4, 1, 3),
    ];
    for (before, after, puts) in deaths {
        for last in [1, 2, 5] {
            let what =
                format!("from {before} to {after} parts, dead after {puts} puts, then {last}");
            let (_connection, store, script, rows) = scripted().await;
            let neighbour = item(version(1, 1), 2);
            store.write_items(write(16, neighbour.clone())).await.unwrap();
            store.write_items(write(0, item(version(1, 1), before))).await.unwrap();
            dies_after(&*store, &script, puts, write(0, item(version(1, 2), after)));
            let error = store.read_items(vec![key(0)]).await.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
            let place = "job job, operator counts, state total, key group 0: a value's parts";
            assert!(error.to_string().starts_with(place), "{what}: {error}");
            let scanned = store.scan_items(range()).await.unwrap();
            assert_eq!(scanned.len(), 2, "{what}");
            assert_eq!(scanned[0].item.as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
            assert_eq!(scanned[1].item.as_ref().unwrap(), &neighbour);

            let next = item(version(2, 3), last);
            store.write_items(write(0, next.clone())).await.unwrap();
            assert_eq!(read(&*store, 0).await, Some(next), "{what}");
            assert_eq!(values(&rows), last + 2, "{what}");
            store.write_items(write(0, Item::new(version(2, 4), None))).await.unwrap();
            assert_eq!(values(&rows), 2, "{what}");
        }
    }
}

/// What a writer in the midst of parts has left of them is refused later, whoever comes between.
#[tokio::test(start_paused = true)]
async fn a_fenced_writer_is_told_by_any_of_its_parts() {
    // Before its first put, after it, and in the midst.
    for puts in 0..4 {
        let (_connection, store, script, rows) = scripted().await;
        let newest = item(version(2, 1), 2);
        let late = || write(0, item(version(1, 1), 4));
        dies_after(&*store, &script, puts, late());
        store.write_items(write(0, newest.clone())).await.unwrap();
        let outcome = store.write_items(late()).await.unwrap();
        assert_eq!(outcome, [WriteOutcome::Fenced(version(2, 1))]);
        assert_eq!(read(&*store, 0).await, Some(newest));
        assert_eq!(values(&rows), 2);
    }
}

/// A put that was held up until its successor has written, part by part.
#[tokio::test(start_paused = true)]
async fn parts_that_come_late_find_a_greater_version() {
    for last in [1, 2, 4, 6] {
        let (_connection, store, script, rows) = scripted().await;
        script.next("PutItem", [Act::Pass, Act::Pass, Act::Refuse, Act::Refuse]);
        // Two parts wait for their next try while the next attempt writes.
        let late = store.write_items(write(0, item(version(1, 1), 4)));
        let newest = item(version(2, 1), last);
        let next = async {
            let waited = store.write_items(write(0, newest.clone())).await;
            waited.unwrap()
        };
        let (late, next) = tokio::join!(late, next);
        assert_eq!(late.unwrap(), [WriteOutcome::Fenced(version(2, 1))], "{last}");
        assert_eq!(next, [WriteOutcome::Done]);
        assert_eq!(read(&*store, 0).await, Some(newest));
        assert_eq!(values(&rows), last);
    }
}

/// The hashes of two keys are never the same; here the table says that they are.
#[tokio::test(start_paused = true)]
async fn two_long_keys_in_one_place_are_an_error() {
    let (_connection, store, script, _) = scripted().await;
    let long = ItemKey { sort_key: Bytes::from(vec![7; 3_000]), ..key(0) };
    let of = |version| {
        let (item, presence) = (item(version, 1), Presence::Possible);
        vec![ItemWrite { key: long.clone(), item, presence }]
    };
    store.write_items(of(version(1, 1))).await.unwrap();
    fn another(answer: &mut Value) {
        let tables = answer["Responses"].as_object_mut().unwrap();
        tables.values_mut().next().unwrap()[0]["k"] = json!({ "B": "AAAA" });
    }
    script.next("BatchGetItem", [Act::Change(another)]);
    let error = store.read_items(vec![long.clone()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("key group 0: an entry with a key of 3000 bytes"),
        "{error}"
    );
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": { "c": { "N": "1" }, "k": { "B": "AAAA" } },
    });
    script.next("PutItem", [Act::Answer(400, body.to_string())]);
    let error = store.write_items(of(version(1, 2))).await.unwrap_err();
    assert!(error.to_string().contains("hash of another one, of 3 bytes"), "{error}");
    // An entry's place is not a part's, whatever is read.
    let part =
        ItemKey { sort_key: Bytes::from([&*key(0).sort_key, &[0, 0, 0, 1]].concat()), ..key(0) };
    store.write_items(write(0, item(version(1, 1), 2))).await.unwrap();
    assert_eq!(store.read_items(vec![part]).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// DynamoDB deletes the parts of an expired value one by one.
#[tokio::test(start_paused = true)]
async fn an_expired_value_without_one_of_its_parts_is_gone() {
    let (_connection, store, script, rows) = scripted().await;
    let expired = Item { expires_ms: Some(1_000), ..item(version(1, 1), 3) };
    store.write_items(write(0, expired.clone())).await.unwrap();
    assert!(rows.lock().unwrap().values().all(|row| row.ttl == Some(61)));
    assert_eq!(read(&*store, 0).await, Some(expired));
    fn without_one(answer: &mut Value) {
        let tables = answer["Responses"].as_object_mut().unwrap();
        tables.values_mut().next().unwrap().as_array_mut().unwrap().pop();
    }
    script.next("BatchGetItem", [Act::Pass, Act::Change(without_one)]);
    assert_eq!(read(&*store, 0).await, None);
    fn no_parts(answer: &mut Value) {
        answer["Items"].as_array_mut().unwrap().truncate(1);
    }
    script.next("Query", [Act::Change(no_parts)]);
    script.next("BatchGetItem", [Act::Change(without_one)]);
    assert!(store.scan_items(range()).await.unwrap().is_empty());
}

/// A key of so many parts that differs from others of as many in its last byte alone.
fn long_key(parts: usize, end: u8) -> ItemKey {
    let mut bytes = vec![7; parts * KEY];
    bytes[parts * KEY - 1] = end;
    ItemKey { sort_key: bytes.into(), ..key(0) }
}

fn write_long(parts: usize, item: Item) -> Vec<ItemWrite> {
    vec![ItemWrite { key: long_key(parts, 1), item, presence: Presence::Possible }]
}

/// What a writer leaves that dies in the midst of an entry whose key has three parts: its next reader or writer tells
/// or mends it, and a scan does not mind an entry that was never all there.
#[tokio::test(start_paused = true)]
async fn a_long_key_is_whole_once_a_put_of_it_was_answered() {
    // From so many parts of a value to so many (none: a tombstone), dead after so many puts.
    let firsts = [(None, Some(1), 1), (None, Some(1), 2), (None, Some(3), 4)];
    // One that would leave parts over is refused first.
    let changes =
        [(Some(1), Some(3), 2), (Some(1), None, 1), (Some(3), None, 3), (Some(3), Some(1), 4)];
    for (before, after, puts) in firsts.into_iter().chain(changes) {
        let what = format!("from {before:?} to {after:?} parts, dead after {puts} puts");
        let (_connection, store, script, rows) = scripted().await;
        let of = |version, parts: Option<usize>| match parts {
            Some(parts) => item(version, parts),
            None => Item::new(version, None),
        };
        let neighbour = ItemWrite {
            key: long_key(3, 2),
            item: item(version(1, 1), 2),
            presence: Presence::Absent,
        };
        store.write_items(vec![neighbour.clone()]).await.unwrap();
        if before.is_some() {
            store.write_items(write_long(3, of(version(1, 1), before))).await.unwrap();
        }
        dies_after(&*store, &script, puts, write_long(3, of(version(1, 2), after)));
        let error = store.read_items(vec![long_key(3, 1)]).await.expect_err(&what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
        let mut scanned = store.scan_items(range()).await.unwrap();
        assert_eq!(scanned.pop().unwrap().item.unwrap(), neighbour.item, "{what}");
        // Two puts are of the key's other parts: with them, or those of the put before, it is told.
        let told = before.is_some() || puts >= 3;
        assert_eq!(scanned.len(), usize::from(told), "{what}");
        if let Some(torn) = scanned.pop() {
            assert_eq!(torn.sort_key, long_key(3, 1).sort_key);
            assert_eq!(torn.item.unwrap_err().kind(), ErrorKind::Corrupt, "{what}");
        }
        let next = item(version(2, 3), 2);
        store.write_items(write_long(3, next.clone())).await.unwrap();
        let found = store.read_items(vec![long_key(3, 1), long_key(3, 2)]).await.unwrap();
        assert!(found == [Some(next), Some(neighbour.item)], "{what}");
        assert_eq!(store.scan_items(range()).await.unwrap().len(), 2, "{what}");
        assert_eq!(values(&rows), 2 * (3 + 1), "{what}");
        let gone = Item::new(version(2, 4), None);
        store.write_items(write_long(3, gone.clone())).await.unwrap();
        let found = store.read_items(vec![long_key(3, 1)]).await.unwrap();
        assert!(found == [Some(gone)], "{what}");
        // A tombstone keeps the key's other parts, which go with it.
        assert_eq!(values(&rows), 4 + 2, "{what}");
        let rows = rows.lock().unwrap();
        let mut of_tombstone = rows.values().filter(|row| row.version == version(2, 4));
        assert!(of_tombstone.all(|row| row.ttl.is_some()), "{what}");
    }
}

/// What a write cannot compare, since no condition has it whole, a read does.
#[tokio::test(start_paused = true)]
async fn the_rest_of_a_long_key_is_compared() {
    let (connection, store, script, _) = scripted().await;
    store.write_items(write_long(3, item(version(1, 1), 1))).await.unwrap();
    fn another(answer: &mut Value) {
        let tables = answer["Responses"].as_object_mut().unwrap();
        for row in tables.values_mut().next().unwrap().as_array_mut().unwrap() {
            let key = row["k"]["B"].as_str().unwrap().to_owned();
            row["k"] = json!({ "B": "AAAA".to_owned() + &key[4..] });
        }
    }
    script.next("BatchGetItem", [Act::Pass, Act::Change(another)]);
    let error = store.read_items(vec![long_key(3, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("an entry with a key of 3300 bytes"), "{error}");
    script.next("BatchGetItem", [Act::Change(another)]);
    let error = store.read_items(vec![long_key(3, 1)]).await.unwrap_err();
    assert!(error.to_string().contains("an entry with a key of 3300 bytes"), "{error}");
    fn without_others(answer: &mut Value) {
        answer["Items"].as_array_mut().unwrap().truncate(1);
    }
    script.next("Query", [Act::Change(without_others)]);
    script.next("BatchGetItem", [Act::Change(another)]);
    let error = match store.scan_items(range()).await {
        Err(error) => error,
        Ok(scanned) => panic!("{} items", scanned.len()),
    };
    assert!(error.to_string().contains("stands where its key does not belong"), "{error}");
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": { "c": { "N": "1" }, "k": { "B": "AAAA" }, "l": { "N": "3301" } },
    });
    script.next("PutItem", [Act::Answer(400, body.to_string())]);
    let error = store.write_items(write_long(3, item(version(1, 2), 1))).await.unwrap_err();
    let told = "a key of 3300 bytes has beginning and hash of another one, of 3301 bytes";
    assert!(error.to_string().contains(told), "{error}");
    // All of it is purged.
    assert_eq!(rows(&connection).await, 3);
}
