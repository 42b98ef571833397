//! The promises of a store, as tests that every one of them must pass.
//!
//! Owns the suite; running it is the stores' (`tests/dynamodb/contract_*.rs`). Each function takes a store of a
//! scope that is empty, and fails with a sentence. [`all`] runs all but those of [`mod@large`] values.

pub mod large;
pub mod scan;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemWrite, MAX_BLOCK_BYTES, Presence, Store,
    WriteOutcome,
};
use crate::error::Result as MillpondResult;
use crate::ids::{Attempt, CheckpointId, Name, SlotId, Version};
use crate::key_group::KeyGroup;

/// `Ok`, or what was promised and not kept.
pub type Kept = Result<(), String>;

/// Runs the whole suite; `fresh` gives a store of a new scope at each call.
///
/// # Errors
/// The first promise that was not kept.
pub async fn all(mut fresh: impl FnMut() -> Arc<dyn Store>) -> Kept {
    items_come_back_in_the_order_asked(&*fresh()).await?;
    a_key_asked_twice_is_answered_twice(&*fresh()).await?;
    many_items_survive_batching(&*fresh()).await?;
    any_bytes_can_be_stored(&*fresh()).await?;
    a_hint_is_never_trusted(&*fresh()).await?;
    items_only_move_forward(&*fresh()).await?;
    a_tombstone_is_an_item_without_a_value(&*fresh()).await?;
    a_native_value_comes_back_as_it_was(&*fresh()).await?;
    an_outcome_belongs_to_its_write(&*fresh()).await?;
    keys_differ_in_every_part(&*fresh()).await?;
    blocks_only_move_forward(&*fresh()).await?;
    blocks_of_all_kinds_and_sizes_come_back(&*fresh()).await?;
    concurrent_writes_leave_the_greatest(fresh()).await?;
    scan::a_scan_gives_a_range_in_order(&*fresh()).await?;
    scan::a_scan_sees_tombstones_and_the_newest_versions(&*fresh()).await?;
    scan::a_scan_sees_nothing_of_its_neighbours(&*fresh()).await?;
    scan::a_scan_may_be_larger_than_a_page(&*fresh()).await?;
    scan::a_scan_can_be_read_in_pages(&*fresh()).await?;
    scan::an_expiry_belongs_to_its_value(&*fresh()).await?;
    scopes_are_apart(&*fresh(), &*fresh()).await?;
    what_is_over_is_no_trouble(&*fresh()).await?;
    values_that_do_not_fit_are_an_error(&*fresh()).await
}

/// Runs what is promised of values and keys that are too large for one item, which has at most
/// `part_bytes` of a value and `key_bytes` of a key; `fresh` gives a store of a new scope at each call.
///
/// # Errors
/// The first promise that was not kept.
pub async fn large(
    mut fresh: impl FnMut() -> Arc<dyn Store>,
    part_bytes: usize,
    key_bytes: usize,
) -> Kept {
    large::values_of_any_size_come_back(&*fresh(), part_bytes).await?;
    large::values_grow_and_shrink(&*fresh(), part_bytes).await?;
    large::values_of_several_parts_only_move_forward(&*fresh(), part_bytes).await?;
    large::a_range_has_whole_values(&*fresh(), part_bytes).await?;
    large::the_empty_key_is_a_key(&*fresh(), part_bytes).await?;
    large::long_keys_are_told_apart_and_come_back(&*fresh(), part_bytes).await?;
    large::keys_of_several_items_come_back(&*fresh(), part_bytes, key_bytes).await?;
    large::entries_of_long_keys_only_move_forward(&*fresh(), part_bytes, key_bytes).await
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|e| e.to_string())
}

fn version(attempt: u64, checkpoint: u64) -> Version {
    Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
}

fn key(n: u32) -> Result<ItemKey, String> {
    Ok(ItemKey {
        operator: name("counts")?,
        state: name("total")?,
        key_group: KeyGroup((n % 7) as u16),
        sort_key: Bytes::copy_from_slice(&n.to_be_bytes()),
    })
}

fn item(version: Version, value: &'static str) -> Item {
    Item::new(version, Some(Bytes::from_static(value.as_bytes())))
}

fn ok<T>(what: &str, result: MillpondResult<T>) -> Result<T, String> {
    result.map_err(|e| format!("{what} failed: {e}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Kept {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} is {found:?}, not {expected:?}"))
}

async fn write(
    store: &dyn Store,
    key: ItemKey,
    item: Item,
    presence: Presence,
) -> Result<WriteOutcome, String> {
    let outcomes = ok("write", store.write_items(vec![ItemWrite { key, item, presence }]).await)?;
    outcomes.first().copied().ok_or_else(|| "a write has no outcome".to_owned())
}

async fn read(store: &dyn Store, key: ItemKey) -> Result<Option<Item>, String> {
    let items = ok("read", store.read_items(vec![key]).await)?;
    items.first().cloned().ok_or_else(|| "a read has no answer".to_owned())
}

/// Calls that were answered, refused or given up leave no trouble behind in [`Store::health`].
///
/// # Errors
/// Where that is not so.
pub async fn what_is_over_is_no_trouble(store: &dyn Store) -> Kept {
    let well = |what: &str| same(what, &store.health(), &Health::default());
    well("the health before any call")?;
    for n in 0..100 {
        write(store, key(n)?, item(version(1, 1), "one"), Presence::Absent).await?;
        read(store, key(n)?).await?;
        well("the health after answers")?;
    }
    let block = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
    let bytes = Bytes::from(vec![0; MAX_BLOCK_BYTES + 1]);
    if store.put_block(block, version(1, 1), bytes).await.is_ok() {
        return Err("a block that is too large was stored".to_owned());
    }
    well("the health after a refusal")?;
    for n in 0..100 {
        // Begun, and perhaps answered at once.
        let _ = futures::poll!(store.read_items(vec![key(n)?]));
    }
    well("the health after calls that were given up")
}

/// Answers to reads are in the order of the keys, and there is one for each.
///
/// # Errors
/// Where that is not so.
pub async fn items_come_back_in_the_order_asked(store: &dyn Store) -> Kept {
    same("the answer to no keys", &ok("read", store.read_items(Vec::new()).await)?, &Vec::new())?;
    same("the answer to no writes", &ok("write", store.write_items(Vec::new()).await)?, &vec![])?;
    write(store, key(1)?, item(version(1, 1), "one"), Presence::Absent).await?;
    write(store, key(2)?, item(version(1, 1), "two"), Presence::Absent).await?;
    let answer = store.read_items(vec![key(2)?, key(9)?, key(1)?]).await;
    let expected = vec![Some(item(version(1, 1), "two")), None, Some(item(version(1, 1), "one"))];
    same("the answer", &ok("read", answer)?, &expected)
}

/// A key that one call names twice has two answers.
///
/// # Errors
/// Where that is not so.
pub async fn a_key_asked_twice_is_answered_twice(store: &dyn Store) -> Kept {
    write(store, key(1)?, item(version(1, 1), "one"), Presence::Absent).await?;
    let answer = store.read_items(vec![key(1)?, key(2)?, key(1)?, key(2)?]).await;
    let one = Some(item(version(1, 1), "one"));
    same("the answer", &ok("read", answer)?, &vec![one.clone(), None, one, None])
}

/// More items than a call of the table takes are all written and read.
///
/// # Errors
/// Where that is not so.
pub async fn many_items_survive_batching(store: &dyn Store) -> Kept {
    let value = |n: u32| Some(Bytes::copy_from_slice(&(n * 3).to_be_bytes()));
    let mut writes = Vec::new();
    for n in 0..333 {
        let item = Item::new(version(1, 1), value(n));
        // Half of the hints are wrong: nothing is there.
        let presence = if n % 2 == 0 { Presence::Absent } else { Presence::Possible };
        writes.push(ItemWrite { key: key(n)?, item, presence });
    }
    let outcomes = ok("write", store.write_items(writes).await)?;
    same("the outcomes", &outcomes, &vec![WriteOutcome::Done; 333])?;
    let mut keys = Vec::new();
    for n in (0..400).rev() {
        keys.push(key(n)?);
    }
    let found = ok("read", store.read_items(keys).await)?;
    same("the number of answers", &found.len(), &400)?;
    for (n, found) in (0..400).rev().zip(found) {
        let expected = (n < 333).then(|| Item::new(version(1, 1), value(n)));
        same(&format!("item {n}"), &found, &expected)?;
    }
    Ok(())
}

/// Values and sort keys are any bytes, none too few.
///
/// # Errors
/// Where that is not so.
pub async fn any_bytes_can_be_stored(store: &dyn Store) -> Kept {
    let all_bytes: Bytes = (0..=255u8).collect::<Vec<_>>().into();
    let values = [Bytes::new(), all_bytes.clone(), Bytes::from(vec![7; 300_000])];
    let sort_keys = [Bytes::from_static(&[0]), all_bytes, Bytes::from(vec![0xFF; 1024])];
    for (value, sort_key) in values.into_iter().zip(sort_keys) {
        let key = ItemKey { sort_key, ..key(0)? };
        let item = Item::new(version(1, 1), Some(value));
        write(store, key.clone(), item.clone(), Presence::Absent).await?;
        let found = read(store, key.clone()).await?;
        if found != Some(item.clone()) {
            let bytes = item.value.map_or(0, |value| value.len());
            return Err(format!("a value of {bytes} bytes did not come back"));
        }
        let later = Item { version: version(1, 2), ..item };
        write(store, key.clone(), later.clone(), Presence::Possible).await?;
        if read(store, key).await? != Some(later) {
            return Err("an update did not come back".to_owned());
        }
    }
    Ok(())
}

/// Where [`Presence::Absent`] is wrong, rule V holds all the same.
///
/// # Errors
/// Where that is not so.
pub async fn a_hint_is_never_trusted(store: &dyn Store) -> Kept {
    for (n, presence) in [(1, Presence::Absent), (2, Presence::Possible)] {
        for checkpoint in 1..4 {
            let item = item(version(1, checkpoint), "value");
            let outcome = write(store, key(n)?, item.clone(), presence).await?;
            same(&format!("the outcome with {presence:?}"), &outcome, &WriteOutcome::Done)?;
            same("the item", &read(store, key(n)?).await?, &Some(item))?;
        }
        let late = write(store, key(n)?, item(version(1, 2), "late"), presence).await?;
        same("the outcome of a late write", &late, &WriteOutcome::Done)?;
        let there = Some(item(version(1, 3), "value"));
        same("the item after a late write", &read(store, key(n)?).await?, &there)?;
    }
    Ok(())
}

/// Rule V for items: what is older is refused, and told as fenced where it is another attempt's.
///
/// # Errors
/// Where that is not so.
pub async fn items_only_move_forward(store: &dyn Store) -> Kept {
    for presence in [Presence::Absent, Presence::Possible] {
        let key = key(presence as u32)?;
        let newest = item(version(3, 1), "newest");
        write(store, key.clone(), newest.clone(), presence).await?;
        let cases = [
            (version(2, 900), WriteOutcome::Fenced(version(3, 1))),
            (version(3, 0), WriteOutcome::Done),
            (version(3, 1), WriteOutcome::Done),
        ];
        for (mine, expected) in cases {
            let outcome = write(store, key.clone(), item(mine, "late"), presence).await?;
            same(&format!("the outcome of {mine} after 3.1"), &outcome, &expected)?;
            same("the item", &read(store, key.clone()).await?, &Some(newest.clone()))?;
        }
        let next = item(version(4, 0), "next");
        let outcome = write(store, key.clone(), next.clone(), presence).await?;
        same("the outcome of a later attempt", &outcome, &WriteOutcome::Done)?;
        same("the item", &read(store, key.clone()).await?, &Some(next))?;
    }
    Ok(())
}

/// A tombstone is read as one, and is replaced and kept by rule V.
///
/// # Errors
/// Where that is not so.
pub async fn a_tombstone_is_an_item_without_a_value(store: &dyn Store) -> Kept {
    let gone = |version| Item::new(version, None);
    for presence in [Presence::Absent, Presence::Possible] {
        let key = key(presence as u32)?;
        write(store, key.clone(), gone(version(1, 1)), presence).await?;
        same("a tombstone", &read(store, key.clone()).await?, &Some(gone(version(1, 1))))?;
        write(store, key.clone(), item(version(1, 2), "back"), presence).await?;
        let back = Some(item(version(1, 2), "back"));
        same("a value after a tombstone", &read(store, key.clone()).await?, &back)?;
        write(store, key.clone(), gone(version(1, 3)), presence).await?;
        write(store, key.clone(), item(version(1, 2), "back"), presence).await?;
        let there = read(store, key.clone()).await?;
        same("a tombstone after a late put", &there, &Some(gone(version(1, 3))))?;
    }
    Ok(())
}

/// A value that stands as an attribute is read as the same JSON.
///
/// # Errors
/// Where that is not so.
pub async fn a_native_value_comes_back_as_it_was(store: &dyn Store) -> Kept {
    let values = [
        r#"{"N":"18446744073709551615"}"#,
        r#"{"N":"-0.000000000000000000000000000000000000000001"}"#,
        r#"{"N":"99999999999999999999999999999999999999"}"#,
        r#"{"S":""}"#,
        r#"{"S":"\u0000ä"}"#,
        r#"{"B":""}"#,
        r#"{"NULL":true}"#,
        r#"{"M":{"a":{"L":[{"BOOL":false},{"M":{}},{"L":[]}]}}}"#,
    ];
    for (n, json) in (1..).zip(values) {
        let native = |n, json| Item {
            native: true,
            ..Item::new(version(1, n), Some(Bytes::from_static(json)))
        };
        let key = key(n as u32)?;
        // Over bytes, over another attribute, and bytes over it again.
        write(store, key.clone(), item(version(1, 1), "bytes"), Presence::Absent).await?;
        let first = native(2, br#"{"N":"0"}"#);
        write(store, key.clone(), first, Presence::Possible).await?;
        let last = native(n + 2, json.as_bytes());
        write(store, key.clone(), last.clone(), Presence::Possible).await?;
        same("the native value", &read(store, key.clone()).await?, &Some(last))?;
        let bytes = item(version(2, 1), "bytes");
        write(store, key.clone(), bytes.clone(), Presence::Possible).await?;
        same("the value", &read(store, key).await?, &Some(bytes))?;
    }
    Ok(())
}

/// Outcomes are in the order of the writes.
///
/// # Errors
/// Where that is not so.
pub async fn an_outcome_belongs_to_its_write(store: &dyn Store) -> Kept {
    for n in (0..60).step_by(3) {
        write(store, key(n)?, item(version(9, 9), "newer"), Presence::Absent).await?;
    }
    let mut writes = Vec::new();
    for n in 0..60 {
        let presence = if n % 2 == 0 { Presence::Absent } else { Presence::Possible };
        writes.push(ItemWrite { key: key(n)?, item: item(version(2, 1), "mine"), presence });
    }
    let outcomes = ok("write", store.write_items(writes).await)?;
    for (n, outcome) in outcomes.iter().enumerate() {
        let fenced = n % 3 == 0;
        let expected =
            if fenced { WriteOutcome::Fenced(version(9, 9)) } else { WriteOutcome::Done };
        same(&format!("outcome {n}"), outcome, &expected)?;
    }
    Ok(())
}

/// Operator, state, key group and sort key each tell items apart.
///
/// # Errors
/// Where that is not so.
pub async fn keys_differ_in_every_part(store: &dyn Store) -> Kept {
    let base = key(1)?;
    let keys = [
        base.clone(),
        ItemKey { operator: name("counts2")?, ..base.clone() },
        ItemKey { state: name("total2")?, ..base.clone() },
        ItemKey { key_group: KeyGroup(2), ..base.clone() },
        ItemKey { sort_key: Bytes::from_static(&[0, 0, 0, 1, 0]), ..base },
    ];
    for (n, key) in (1..).zip(&keys) {
        let item = Item::new(version(1, n), Some(Bytes::new()));
        write(store, key.clone(), item, Presence::Absent).await?;
    }
    let found = ok("read", store.read_items(keys.to_vec()).await)?;
    let versions: Vec<_> = found.into_iter().map(|item| item.map(|item| item.version)).collect();
    let expected: Vec<_> = (1..=5).map(|n| Some(version(1, n))).collect();
    same("the versions", &versions, &expected)
}

fn block_key(kind: BlockKind, slot: u64, part: u32) -> BlockKey {
    BlockKey { kind, slot: SlotId(slot), part }
}

async fn put(
    store: &dyn Store,
    key: BlockKey,
    version: Version,
    bytes: &'static str,
) -> Result<WriteOutcome, String> {
    ok("put", store.put_block(key, version, Bytes::from_static(bytes.as_bytes())).await)
}

/// Rule V for segments and manifests.
///
/// # Errors
/// Where that is not so.
pub async fn blocks_only_move_forward(store: &dyn Store) -> Kept {
    let key = block_key(BlockKind::Segment, 4, 0);
    same("a block never put", &ok("get", store.get_block(key).await)?, &None)?;
    let cases = [
        (version(2, 5), "a", WriteOutcome::Done, "a"),
        (version(2, 5), "b", WriteOutcome::Done, "a"),
        (version(2, 4), "c", WriteOutcome::Done, "a"),
        (version(1, 9), "d", WriteOutcome::Fenced(version(2, 5)), "a"),
        (version(2, 6), "e", WriteOutcome::Done, "e"),
        (version(3, 1), "f", WriteOutcome::Done, "f"),
    ];
    for (mine, bytes, expected, there) in cases {
        same(&format!("the outcome of {mine}"), &put(store, key, mine, bytes).await?, &expected)?;
        let found = ok("get", store.get_block(key).await)?.map(|block| block.bytes);
        same("the block", &found, &Some(Bytes::from_static(there.as_bytes())))?;
    }
    Ok(())
}

/// Blocks of up to [`MAX_BLOCK_BYTES`], of any kind, slot and part.
///
/// # Errors
/// Where that is not so.
pub async fn blocks_of_all_kinds_and_sizes_come_back(store: &dyn Store) -> Kept {
    let keys = [
        block_key(BlockKind::Segment, 0, 0),
        block_key(BlockKind::Segment, 1, 0),
        block_key(BlockKind::Manifest, 0, 0),
        block_key(BlockKind::Manifest, 0, 1),
        block_key(BlockKind::Manifest, 1, 0),
    ];
    let block = |n: usize| {
        let size = [1, 1000, 0, 256 << 10, MAX_BLOCK_BYTES][n];
        let bytes: Vec<u8> = (0..size).map(|i| (i * (n + 1)) as u8).collect();
        Block { version: version(1, n as u64 + 1), bytes: bytes.into() }
    };
    for (n, key) in keys.into_iter().enumerate() {
        let Block { version, bytes } = block(n);
        ok("put", store.put_block(key, version, bytes).await)?;
    }
    for (n, key) in keys.into_iter().enumerate() {
        if ok("get", store.get_block(key).await)? != Some(block(n)) {
            return Err(format!("block {n} did not come back as it was put"));
        }
        if ok("get", store.get_block_unawaited(key).await)? != Some(block(n)) {
            return Err(format!("block {n} is another one to whom nobody waits for"));
        }
    }
    Ok(())
}

/// Of writes at the same time, the greatest version stays.
///
/// # Errors
/// Where that is not so.
pub async fn concurrent_writes_leave_the_greatest(store: Arc<dyn Store>) -> Kept {
    let key = block_key(BlockKind::Segment, 0, 0);
    let puts = (1..=20).map(|n| {
        let bytes = Bytes::copy_from_slice(&[n as u8]);
        store.put_block(key, version(1 + n % 3, n), bytes)
    });
    for outcome in join_all(puts).await {
        ok("put", outcome)?;
    }
    let found = ok("get", store.get_block(key).await)?.map(|block| block.version);
    same("the version", &found, &Some(version(3, 20)))
}

/// Two scopes have nothing in common.
///
/// # Errors
/// Where that is not so.
pub async fn scopes_are_apart(one: &dyn Store, other: &dyn Store) -> Kept {
    let block = block_key(BlockKind::Manifest, 0, 0);
    write(one, key(1)?, item(version(1, 1), "one"), Presence::Absent).await?;
    put(one, block, version(1, 1), "one").await?;
    same("another scope's item", &read(other, key(1)?).await?, &None)?;
    same("another scope's block", &ok("get", other.get_block(block).await)?, &None)
}

/// A block over the limit is refused.
///
/// # Errors
/// Where that is not so.
pub async fn values_that_do_not_fit_are_an_error(store: &dyn Store) -> Kept {
    let large = Bytes::from(vec![1; MAX_BLOCK_BYTES + 1]);
    let put = store.put_block(block_key(BlockKind::Segment, 0, 0), version(1, 1), large);
    if put.await.is_ok() {
        return Err("a block over the limit was taken".to_owned());
    }
    Ok(())
}
