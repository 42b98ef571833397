//! What a store promises of values and keys that are too large for one item of a table.
//!
//! Sizes go by the bytes that the store has in one item at most, so that a test can lower them.

use bytes::Bytes;

use super::scan::{range, scan};
use super::{Kept, key, ok, read, same, version, write};
use crate::codec::Key;
use crate::ids::Version;
use crate::state::store::{Item, ItemKey, ItemWrite, Presence, Store, WriteOutcome};

fn of(sort_key: impl Into<Bytes>) -> Result<ItemKey, String> {
    Ok(ItemKey { sort_key: sort_key.into(), ..key(0)? })
}

/// Bytes that differ from part to part and from seed to seed.
fn value(bytes: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(next).collect::<Vec<_>>().into()
}

fn item(version: Version, bytes: usize) -> Item {
    Item::new(version, Some(value(bytes, version.to_number())))
}

/// Whether `found` is `expected`, in words that do not show values of megabytes.
fn same_item(what: &str, found: Option<&Item>, expected: &Item) -> Kept {
    let shown = |item: &Item| {
        let bytes = item.value.as_ref().map(Bytes::len);
        format!("version {}, {bytes:?} bytes, expiry {:?}", item.version, item.expires_ms)
    };
    match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(format!("{what}: {} is not {}", shown(found), shown(expected))),
        None => Err(format!("{what}: nothing is there in place of {}", shown(expected))),
    }
}

/// Reads one item by its key and in a scan of all, where it must be the only one.
async fn check(store: &dyn Store, what: &str, key: &ItemKey, expected: &Item) -> Kept {
    same_item(what, read(store, key.clone()).await?.as_ref(), expected)?;
    let found = scan(store, range(&[], None)?).await?;
    let is_its = found.iter().map(|(sort_key, _)| sort_key).eq([&key.sort_key]);
    if !is_its {
        return Err(format!("{what}: {} other keys are scanned", found.len()));
    }
    same_item(&format!("{what}, scanned"), found.first().map(|(_, item)| item), expected)
}

/// Values of no part, of parts that are just full and of several come back whole.
///
/// # Errors
/// Where that is not so.
pub async fn values_of_any_size_come_back(store: &dyn Store, part: usize) -> Kept {
    let sizes = [0, 1, part - 1, part, part + 1, 2 * part, 5 * part / 2, 13 * part];
    let mut expected = Vec::new();
    for (n, bytes) in (1..).zip(sizes) {
        // Neighbours whose keys begin alike.
        let key = of(encoded(&"a".repeat(n)))?;
        let item = item(version(1, n as u64), bytes);
        write(store, key.clone(), item.clone(), Presence::Absent).await?;
        expected.push((key, item));
    }
    let keys: Vec<ItemKey> = expected.iter().rev().map(|(key, _)| key.clone()).collect();
    let found = ok("read", store.read_items(keys).await)?;
    for ((key, item), found) in expected.iter().rev().zip(&found) {
        same_item(&format!("item {:?}", key.sort_key), found.as_ref(), item)?;
    }
    let found = scan(store, range(&[], None)?).await?;
    same("the number of scanned items", &found.len(), &sizes.len())?;
    for ((key, item), (sort_key, found)) in expected.iter().zip(&found) {
        same("a scanned key", sort_key, &key.sort_key)?;
        same_item(&format!("scanned {:?}", key.sort_key), Some(found), item)?;
    }
    Ok(())
}

/// A value that becomes larger or smaller than one item leaves nothing of what it was.
///
/// # Errors
/// Where that is not so.
pub async fn values_grow_and_shrink(store: &dyn Store, part: usize) -> Kept {
    let sizes = [3, 3 * part, 2 * part, 10, part, 5 * part / 2, 0, part + 1];
    for presence in [Presence::Absent, Presence::Possible] {
        let key = of(vec![presence as u8, 7])?;
        let store_version = |n: u64| version(1 + n / 4, n);
        for (n, bytes) in (1..).zip(sizes) {
            let item = item(store_version(n), bytes);
            write(store, key.clone(), item.clone(), presence).await?;
            same_item(&format!("step {n}"), read(store, key.clone()).await?.as_ref(), &item)?;
        }
        let gone = Item::new(version(9, 1), None);
        write(store, key.clone(), gone.clone(), presence).await?;
        same_item("a tombstone", read(store, key.clone()).await?.as_ref(), &gone)?;
        let expiring =
            Item { expires_ms: Some(4_102_444_800_000), ..item(version(9, 2), 3 * part) };
        write(store, key.clone(), expiring.clone(), presence).await?;
        same_item("a large value with an expiry", read(store, key).await?.as_ref(), &expiring)?;
    }
    same("the number of scanned items", &scan(store, range(&[], None)?).await?.len(), &2)
}

/// Rule V for values of several parts.
/// Late copies of larger and smaller values.
///
/// # Errors
/// Where that is not so.
pub async fn values_of_several_parts_only_move_forward(store: &dyn Store, part: usize) -> Kept {
    let key = of(vec![5])?;
    let sizes = [1, 2 * part + 1];
    let mut attempt = 1;
    for newer in sizes {
        for late in sizes {
            attempt += 2;
            let newest = item(version(attempt, 5), newer);
            let outcome = write(store, key.clone(), newest.clone(), Presence::Possible).await?;
            same("the outcome", &outcome, &WriteOutcome::Done)?;
            let fenced = WriteOutcome::Fenced(version(attempt, 5));
            let cases = [
                (version(attempt, 4), WriteOutcome::Done),
                (version(attempt, 5), WriteOutcome::Done),
                (version(attempt - 1, 9), fenced),
            ];
            for (mine, expected) in cases {
                // One version has one content.
                let bytes = if mine == newest.version { newer } else { late };
                let what = format!("{bytes} bytes after {newer}");
                let outcome =
                    write(store, key.clone(), item(mine, bytes), Presence::Possible).await?;
                same(&format!("the outcome of {what}"), &outcome, &expected)?;
                same_item(&what, read(store, key.clone()).await?.as_ref(), &newest)?;
            }
            check(store, "the last one", &key, &newest).await?;
        }
    }
    Ok(())
}

/// A scan gives values of several parts whole.
/// The bounds of a range may lie beside the parts of an entry.
///
/// # Errors
/// Where that is not so.
pub async fn a_range_has_whole_values(store: &dyn Store, part: usize) -> Kept {
    for (n, bytes) in [(1, 3 * part), (2, part + 1), (3, 1)] {
        write(store, of(vec![n])?, item(version(1, 1), bytes), Presence::Absent).await?;
    }
    let cases: [(&[u8], &[u8], &[u8]); 5] = [
        (&[1], &[1, 0], &[1]),
        (&[1, 0], &[3], &[2]),
        (&[1, 0], &[2, 0], &[2]),
        (&[1, 0], &[2], &[]),
        (&[0], &[2], &[1]),
    ];
    for (from, to, expected) in cases {
        let found = scan(store, range(from, Some(to))?).await?;
        let keys: Vec<u8> = found.iter().filter_map(|(key, _)| key.first().copied()).collect();
        same(&format!("the keys from {from:?} to {to:?}"), &keys, &expected.to_vec())?;
        for ((_, found), n) in found.iter().zip(expected) {
            let bytes = [3 * part, part + 1, 1][usize::from(*n) - 1];
            same_item(&format!("item {n}"), Some(found), &item(version(1, 1), bytes))?;
        }
    }
    Ok(())
}

/// A key of no bytes is one.
/// The key of those that all records share.
///
/// # Errors
/// Where that is not so.
pub async fn the_empty_key_is_a_key(store: &dyn Store, part: usize) -> Kept {
    let key = of(Bytes::new())?;
    same("an empty key never written", &read(store, key.clone()).await?, &None)?;
    for (n, bytes) in (1..).zip([0, 3, 3 * part, 1]) {
        let item = item(version(1, n), bytes);
        write(store, key.clone(), item.clone(), Presence::Possible).await?;
        check(store, &format!("{bytes} bytes under the empty key"), &key, &item).await?;
    }
    let gone = Item::new(version(2, 1), None);
    write(store, key.clone(), gone.clone(), Presence::Possible).await?;
    check(store, "the empty key's tombstone", &key, &gone).await?;
    same("the range after it", &scan(store, range(&[0], None)?).await?.len(), &0)
}

fn encoded(key: &impl Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

/// Keys that are longer than a sort key may be are distinct, and scans give them whole. Tried with keys of about
/// DynamoDB's 1,024 bytes and of many more, which differ at their ends only.
///
/// # Errors
/// Where that is not so.
pub async fn long_keys_are_told_apart_and_come_back(store: &dyn Store, part: usize) -> Kept {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for length in [1_000, 1_003, 1_017, 1_018, 1_022, 1_023, 1_024, 5_000, 20_000] {
        for end in ["", "a", "b", "\u{10FFFF}"] {
            keys.push(encoded(&format!("{}{end}", "x".repeat(length))));
        }
    }
    keys.push(encoded(&String::new()));
    keys.push(encoded(&Vec::<u8>::new()));
    keys.push(encoded(&"Grüße 日本 \u{0}\u{1F600}".to_owned()));
    keys.sort();
    keys.dedup();
    let item_of = |n: usize| {
        let bytes = if n.is_multiple_of(3) { part + n } else { n };
        item(version(1, n as u64 + 1), bytes)
    };
    // Written twice, since the second write meets what the first one has left.
    for (n, key) in keys.iter().enumerate() {
        let first = Item::new(version(1, 0), Some(Bytes::from_static(b"first")));
        write(store, of(key.clone())?, first, Presence::Absent).await?;
        write(store, of(key.clone())?, item_of(n), Presence::Possible).await?;
    }
    let wanted = keys.iter().map(|key| of(key.clone())).collect::<Result<_, _>>()?;
    let found = ok("read", store.read_items(wanted).await)?;
    for (n, found) in found.iter().enumerate() {
        let bytes = keys[n].len();
        same_item(&format!("the item of a key of {bytes} bytes"), found.as_ref(), &item_of(n))?;
    }
    let absent = of(encoded(&format!("{}c", "x".repeat(1_024))))?;
    same("an absent long key", &read(store, absent).await?, &None)?;
    // All, and each range between two of them.
    let bounds = |n: usize| keys.get(n).map(Vec::as_slice);
    let all = std::iter::once((0, keys.len()));
    for (from, to) in all.chain((0..keys.len()).map(|n| (n, n + 2))) {
        let wanted = range(bounds(from).unwrap_or_default(), bounds(to))?;
        let found = scan(store, wanted).await?;
        let expected = &keys[from..to.min(keys.len())];
        let is = found.iter().map(|(key, _)| &**key).eq(expected.iter().map(Vec::as_slice));
        if !is {
            let number = found.len();
            return Err(format!("{number} keys of {from} to {to}, or other ones, or not in order"));
        }
        for (n, (_, found)) in (from..).zip(&found) {
            same_item(&format!("scanned item {n}"), Some(found), &item_of(n))?;
        }
    }
    let gone = Item::new(version(2, 1), None);
    let last = of(keys.pop().unwrap_or_default())?;
    write(store, last.clone(), gone.clone(), Presence::Possible).await?;
    same_item("the tombstone of a long key", read(store, last).await?.as_ref(), &gone)
}

/// Texts whose encodings have so many bytes; two of each length, which differ in the last letter alone, and one that
/// differs from others where its second item begins.
fn keys_around(key: usize) -> Vec<Vec<u8>> {
    // The end mark has two bytes.
    let text = |length: usize, end: &str| encoded(&format!("{}{end}", "x".repeat(length - 3)));
    let lengths = [key - 1, key, key + 1, 2 * key, 2 * key + 1, 5 * key];
    let mut keys: Vec<Vec<u8>> =
        lengths.iter().flat_map(|length| ["a", "b"].map(|end| text(*length, end))).collect();
    let mut other = text(2 * key, "a");
    other[key] = b'y';
    keys.push(other);
    keys.sort();
    keys
}

/// Keys that are too long for one item come back, whatever is under them.
/// Around `key` bytes and far over, alike but for one letter; values of one item and of several, and tombstones, in
/// turn.
///
/// # Errors
/// Where that is not so.
pub async fn keys_of_several_items_come_back(store: &dyn Store, part: usize, key: usize) -> Kept {
    let keys = keys_around(key);
    let item_of = |round: u64, n: usize| {
        let version = version(1, round);
        match (n as u64 + round) % 3 {
            0 => Item::new(version, None),
            1 => item(version, part + n),
            _ => item(version, n),
        }
    };
    for round in 1..=3 {
        let mut writes = Vec::new();
        for (n, key) in keys.iter().enumerate() {
            let presence = if round == 1 { Presence::Absent } else { Presence::Possible };
            writes.push(ItemWrite { key: of(key.clone())?, item: item_of(round, n), presence });
        }
        let outcomes = ok("write", store.write_items(writes).await)?;
        same("the outcomes", &outcomes, &vec![WriteOutcome::Done; keys.len()])?;
        let wanted = keys.iter().map(|key| of(key.clone())).collect::<Result<_, _>>()?;
        let found = ok("read", store.read_items(wanted).await)?;
        let all = scan(store, range(&[], None)?).await?;
        same("the number of scanned items", &all.len(), &keys.len())?;
        for (n, key) in keys.iter().enumerate() {
            let what = format!("round {round}, key {n} of {} bytes", key.len());
            let expected = item_of(round, n);
            same_item(&what, found[n].as_ref(), &expected)?;
            if all[n].0 != key {
                return Err(format!("{what}: another one of {} bytes is scanned", all[n].0.len()));
            }
            same_item(&format!("{what}, scanned"), Some(&all[n].1), &expected)?;
        }
    }
    // From each to the next but one, of which some are each other's beginnings but for the end.
    for n in (0..keys.len()).step_by(3) {
        let to = keys.get(n + 2).map(Vec::as_slice);
        let found = scan(store, range(&keys[n], to)?).await?;
        let expected = &keys[n..keys.len().min(n + 2)];
        if !found.iter().map(|(key, _)| &**key).eq(expected.iter().map(Vec::as_slice)) {
            return Err(format!("{} keys from number {n} on, or other ones", found.len()));
        }
    }
    let mut absent = keys.last().cloned().unwrap_or_default();
    let end = absent.len() - 3;
    absent[end] = b'c';
    same("an absent key", &read(store, of(absent)?).await?, &None)
}

/// Rule V for entries whose keys are in several items, tombstones among them.
///
/// # Errors
/// Where that is not so.
pub async fn entries_of_long_keys_only_move_forward(
    store: &dyn Store,
    part: usize,
    key: usize,
) -> Kept {
    let key = of(encoded(&"é".repeat(key)))?;
    let of_bytes = |version, bytes: Option<usize>| match bytes {
        Some(bytes) => item(version, bytes),
        None => Item::new(version, None),
    };
    let contents = [None, Some(1), Some(2 * part + 1)];
    let mut attempt = 1;
    for newer in contents {
        for late in contents {
            attempt += 2;
            let newest = of_bytes(version(attempt, 5), newer);
            let outcome = write(store, key.clone(), newest.clone(), Presence::Possible).await?;
            same("the outcome", &outcome, &WriteOutcome::Done)?;
            let fenced = WriteOutcome::Fenced(version(attempt, 5));
            for (mine, expected) in
                [(version(attempt, 4), WriteOutcome::Done), (version(attempt - 1, 9), fenced)]
            {
                let late = of_bytes(mine, late);
                let outcome = write(store, key.clone(), late, Presence::Possible).await?;
                same("the outcome of a late one", &outcome, &expected)?;
            }
            check(store, &format!("{late:?} after {newer:?}"), &key, &newest).await?;
        }
    }
    Ok(())
}
