//! What a store promises of its scans, and of expiry.

use std::ops::Range;

use bytes::Bytes;

use super::{Kept, item, key, name, ok, read, same, version, write};
use crate::key_group::KeyGroup;
use crate::state::store::{Item, ItemKey, ItemRange, ItemWrite, Presence, Store};

fn at(sort_key: &[u8]) -> Result<ItemKey, String> {
    Ok(ItemKey { sort_key: Bytes::copy_from_slice(sort_key), ..key(0)? })
}

pub(super) fn range(from: &[u8], to: Option<&[u8]>) -> Result<ItemRange, String> {
    let ItemKey { operator, state, key_group, .. } = key(0)?;
    let (from, to) = (Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice));
    Ok(ItemRange { operator, state, key_group, from, to })
}

pub(super) async fn scan(
    store: &dyn Store,
    range: ItemRange,
) -> Result<Vec<(Bytes, Item)>, String> {
    let scanned = ok("scan", store.scan_items(range).await)?;
    scanned
        .into_iter()
        .map(|scanned| Ok((scanned.sort_key, ok("an item", scanned.item)?)))
        .collect()
}

async fn fill(store: &dyn Store, sort_keys: &[Vec<u8>], value: &Bytes) -> Kept {
    let write = |sort_key: &Vec<u8>| {
        let item = Item::new(version(1, 1), Some(value.clone()));
        Ok(ItemWrite { key: at(sort_key)?, item, presence: Presence::Absent })
    };
    let writes = sort_keys.iter().map(write).collect::<Result<_, String>>()?;
    ok("write", store.write_items(writes).await).map(drop)
}

fn two_bytes(numbers: Range<u16>) -> Vec<Vec<u8>> {
    numbers.map(|n| n.to_be_bytes().to_vec()).collect()
}

/// A scan gives a range in the order of its sort keys, from its first to before its last.
///
/// # Errors
/// Where that is not so.
pub async fn a_scan_gives_a_range_in_order(store: &dyn Store) -> Kept {
    same("a range of nothing", &scan(store, range(&[], None)?).await?, &Vec::new())?;
    let mut keys = two_bytes(0..300);
    keys.extend([vec![0xFF; 5], vec![0xFF; 900]]);
    // Not in their order.
    let mixed: Vec<_> =
        keys.iter().skip(1).step_by(2).chain(keys.iter().step_by(2)).cloned().collect();
    fill(store, &mixed, &Bytes::from_static(b"value")).await?;
    let long = [0xFF; 2_000];
    let bounds: [(&[u8], Option<&[u8]>); 10] = [
        (&[], None),
        (&[0], None),
        (&[0, 10], Some(&[0, 20])),
        (&[0, 10, 0], Some(&[0, 20, 0])),
        (&[0, 10], Some(&[0, 10])),
        (&[0, 20], Some(&[0, 10])),
        (&[], Some(&[])),
        (&[1], Some(&[0xFF])),
        (&[0xFF; 6], Some(&long)),
        (&long, None),
    ];
    for (from, to) in bounds {
        let wanted = range(from, to)?;
        let expected: Vec<&[u8]> =
            keys.iter().map(Vec::as_slice).filter(|key| wanted.contains(key)).collect();
        let found = scan(store, wanted).await?;
        let found: Vec<&[u8]> = found.iter().map(|(sort_key, _)| &**sort_key).collect();
        if found != expected {
            let (found, expected) = (found.len(), expected.len());
            let from = from.get(..8).unwrap_or(from);
            return Err(format!("{found} items from {from:?}, or other ones, not {expected}"));
        }
    }
    Ok(())
}

/// A scan is consistent, and gives tombstones.
///
/// # Errors
/// Where that is not so.
pub async fn a_scan_sees_tombstones_and_the_newest_versions(store: &dyn Store) -> Kept {
    let newest = item(version(1, 2), "newer");
    write(store, at(&[1])?, item(version(1, 1), "older"), Presence::Absent).await?;
    write(store, at(&[1])?, newest.clone(), Presence::Possible).await?;
    let gone = Item::new(version(1, 3), None);
    write(store, at(&[2])?, gone.clone(), Presence::Absent).await?;
    let expected = vec![(Bytes::from_static(&[1]), newest), (Bytes::from_static(&[2]), gone)];
    same("the range", &scan(store, range(&[], None)?).await?, &expected)
}

/// A scan keeps to its operator, state and key group.
///
/// # Errors
/// Where that is not so.
pub async fn a_scan_sees_nothing_of_its_neighbours(store: &dyn Store) -> Kept {
    let base = at(&[1])?;
    let group = |group| ItemKey { key_group: KeyGroup(group), ..base.clone() };
    let neighbours = [
        group(1),
        // Whose name begins with the other's.
        group(10),
        ItemKey { operator: name("counts2")?, ..base.clone() },
        ItemKey { state: name("total2")?, ..base.clone() },
        ItemKey { state: name("tota")?, ..base.clone() },
    ];
    for neighbour in neighbours {
        write(store, neighbour, item(version(1, 1), "other"), Presence::Absent).await?;
    }
    same("the range", &scan(store, range(&[], None)?).await?, &Vec::new())?;
    write(store, base, item(version(1, 1), "mine"), Presence::Absent).await?;
    let mine = vec![(Bytes::from_static(&[1]), item(version(1, 1), "mine"))];
    same("the range", &scan(store, range(&[], None)?).await?, &mine)
}

/// A scan of more than a page is whole.
/// DynamoDB gives a MiB at a time.
///
/// # Errors
/// Where that is not so.
pub async fn a_scan_may_be_larger_than_a_page(store: &dyn Store) -> Kept {
    let keys = two_bytes(0..15);
    let value = Bytes::from(vec![7; 100_000]);
    fill(store, &keys, &value).await?;
    let found = scan(store, range(&[0, 1], Some(&[0, 14]))?).await?;
    let sort_keys: Vec<&[u8]> = found.iter().map(|(sort_key, _)| &**sort_key).collect();
    let expected: Vec<&[u8]> = keys[1..14].iter().map(Vec::as_slice).collect();
    same("the sort keys", &sort_keys, &expected)?;
    match found.iter().all(|(_, item)| item.value.as_ref() == Some(&value)) {
        true => Ok(()),
        false => Err("a value of a large range is another".to_owned()),
    }
}

/// A scan can be read in pages: each goes on where the one before has ended, with nothing twice or left out,
/// values of several parts and keys of any length included; and a page takes little more than it may.
///
/// # Errors
/// Where that is not so.
pub async fn a_scan_can_be_read_in_pages(store: &dyn Store) -> Kept {
    let mut keys = two_bytes(0..12);
    // Of one beginning: a table may have them by their hashes, before and behind the short one.
    let long = |end: &[u8]| [&[0, 5][..], &[7; 2_000], end].concat();
    keys.extend([long(&[1]), long(&[2]), long(&[3]), vec![0, 5, 7]]);
    keys.sort();
    fill(store, &keys, &Bytes::from(vec![7; 90_000])).await?;
    let wanted = range(&[0, 1], Some(&[0, 11]))?;
    let expected: Vec<&[u8]> =
        keys.iter().map(Vec::as_slice).filter(|key| wanted.contains(key)).collect();
    for max_bytes in [0, 500_000, u64::MAX] {
        let (mut found, mut pages, mut rest) = (Vec::new(), 0, Some(wanted.clone()));
        while let Some(range) = rest {
            let page = ok("scan", store.scan_page(range, max_bytes).await)?;
            pages += 1;
            found.extend(page.items.into_iter().map(|scanned| scanned.sort_key));
            rest = page.rest;
        }
        let found: Vec<&[u8]> = found.iter().map(|sort_key| &**sort_key).collect();
        if found != expected {
            let (found, expected) = (found.len(), expected.len());
            return Err(format!("{found} items in {pages} pages, or other ones, not {expected}"));
        }
        if (pages == 1) != (max_bytes == u64::MAX) {
            return Err(format!("{pages} pages of {max_bytes} bytes"));
        }
    }
    Ok(())
}

/// When a value expires is replaced with it.
/// An expiry comes back with its value, by whichever time, and goes with it.
///
/// # Errors
/// Where that is not so.
pub async fn an_expiry_belongs_to_its_value(store: &dyn Store) -> Kept {
    for presence in [Presence::Absent, Presence::Possible] {
        let key = at(&[presence as u8])?;
        let far = 4_102_444_800_123;
        let plain = |n| item(version(1, n), "value");
        let expiring = |n| Item { expires_ms: Some(far + n), ..plain(n) };
        let steps = [
            expiring(1),
            expiring(2),
            plain(3),
            expiring(4),
            Item::new(version(1, 5), None),
            Item { event_time: true, ..expiring(6) },
            expiring(7),
            plain(8),
        ];
        for item in steps {
            write(store, key.clone(), item.clone(), presence).await?;
            same("the item", &read(store, key.clone()).await?, &Some(item.clone()))?;
            let sort_key = key.sort_key.clone();
            let mut next = sort_key.to_vec();
            next.push(0);
            let found = scan(store, range(&sort_key, Some(&next))?).await?;
            same("the scanned item", &found, &vec![(sort_key, item)])?;
        }
    }
    Ok(())
}
