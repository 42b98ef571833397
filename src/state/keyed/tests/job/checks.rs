//! What must hold of a random job after each of its steps.
//!
//! Owns the comparison with the model; the job and its steps are `job`'s.

use std::collections::BTreeSet;

use super::super::handles::Asked;
use super::*;
use crate::state::segment::Carry;
use crate::state::{
    FILTER_STATE, Told, TtlTime, chunk_group, chunk_hashes, item_hash, key_alone, with_namespace,
};

impl World {
    /// Of values that live as long as `ttl` says, what expires by then may be gone.
    pub(super) fn gone(&self, ttl: Option<Ttl>) -> u64 {
        match ttl.map(|ttl| ttl.time) {
            Some(TtlTime::Event { lateness }) => self.clock - lateness.as_millis() as u64,
            Some(TtlTime::Processing) => self.clock,
            None => 0,
        }
    }

    pub(super) fn check(&self) {
        for (key, item) in &self.table {
            let h = item.version.checkpoint.0;
            assert!(h <= self.floor(), "I1: {key:?} holds a value of {h}");
            if key.state.as_str() == FILTER_STATE {
                continue;
            }
            let (model, ttl) = &self.at[&h];
            let agrees = model.agrees(key, item, self.gone(*ttl));
            assert!(agrees, "I1: {key:?} as of {h}: {item:?}");
        }
        for r in &self.retained {
            let (expected, ttl) = &self.at[r];
            let (found, gone) = (self.fold(&self.manifests[r]), self.gone(*ttl));
            assert_eq!(found.left(gone), expected.left(gone), "I2: checkpoint {r}");
        }
        for subtask in &self.subtasks {
            let state = &subtask.state;
            let newer =
                |column: &&Erased, entry: &u32| column.meta(*entry).change() > state.log.horizon();
            let rows = (0..state.rows.end()).filter(|&row| state.rows.is_taken(row));
            let foreign = |&row: &u32| {
                let hash = state.rows.key(row).key_hash();
                !subtask.range.contains(max_parallelism().group_of(hash))
            };
            assert_eq!(rows.clone().find(foreign), None, "a key of another subtask");
            let of_column = |column: &Erased| {
                let taken = |entry: &u32| column.is_taken(*entry) && newer(&column, entry);
                (0..column.end()).filter(taken).count() as u64
            };
            let chunks = state.filter.chunks.newer_than(state.log.horizon()) as u64;
            let pinned = state.columns.iter().map(of_column).sum::<u64>() + chunks;
            assert_eq!(pinned, state.log.pinned(), "pinned");
            if subtask.parked.is_empty() {
                let idle = state.untouched.is_empty()
                    && state.untouched_entries.is_empty()
                    && state.loading.is_empty();
                assert!(idle, "rows or entries are kept for nothing");
            }
        }
    }

    /// A question for keys finds those that the model has, wherever they are.
    pub(super) fn check_keys(&self) {
        for (state, asked, query) in self.handles.queries() {
            let told: Told = match asked {
                Asked::In(_) => key_alone,
                Asked::InAny => with_namespace::<u8>,
            };
            let mut found: Vec<(u16, Option<u8>)> = Vec::new();
            for Subtask { state, .. } in &self.subtasks {
                let mut resident = state.resident_rows(&query, told).unwrap();
                for range in state.groups_of(&query) {
                    let rows = resident.remove(&range.key_group).unwrap_or_default();
                    let mut items = if state.items_sent() {
                        scan_table(&self.table, &range)
                    } else {
                        Vec::new()
                    };
                    let (mut keys, mut last) = (state.resident_keys(&rows), None);
                    while !items.is_empty() {
                        let page = items.drain(..items.len().min(3)).collect();
                        let asked = (&query, told);
                        keys.extend(state.keys_of_page(asked, &rows, &mut last, page).unwrap());
                    }
                    found.extend(keys.into_iter().map(|(key, told)| match asked {
                        Asked::In(namespace) => (key, namespace),
                        Asked::InAny => (key, told.first().copied()),
                    }));
                }
            }
            found.sort_unstable();
            let there = self.live.keys(state, asked);
            let Some(ttl) = self.ttl else {
                let expected: Vec<_> = there.into_iter().collect();
                assert_eq!(found, expected, "keys of {state}, {asked:?}");
                continue;
            };
            // What is over may be gone, and by the times of records it may still be there.
            let lasting = self.live.left(self.clock).keys(state, asked);
            let missing = lasting.iter().find(|key| found.binary_search(key).is_err());
            assert_eq!(missing, None, "keys of {state}, {asked:?}");
            let surplus = found.iter().find(|key| !there.contains(*key));
            let is_exact = ttl.time == TtlTime::Processing;
            assert!(!is_exact || surplus.is_none(), "{surplus:?} of {state}, {asked:?}");
        }
    }

    /// Items, then the manifest's segments, in the plainest way. What is left of the items is what a
    /// restored attempt may have to read.
    pub(super) fn fold(&self, manifest: &Manifest) -> Model {
        let mut entries = BTreeMap::new();
        let mut items = BTreeSet::new();
        for (key, item) in &self.table {
            if let Some(value) = &item.value {
                items.insert((key.state.as_str(), key.sort_key.to_vec()));
                let expires = item.expires_ms.map(|ms| (ms, item.event_time));
                let written = item.version.checkpoint.0;
                if let Some(expires) = meaning(&manifest.changes, written, expires) {
                    let place = (key.state.as_str(), key.sort_key.to_vec());
                    entries.insert(place, (value.to_vec(), item.native, expires));
                }
            }
        }
        let mut segments: Vec<&Segment> =
            manifest.segments.iter().map(|&i| &self.segments[i]).collect();
        segments.sort_by_key(|s| (s.version.checkpoint, s.range.first, s.sequence));
        let mut carry = Carry::default();
        for segment in segments {
            segment
                .each(&mut carry, |entry| {
                    let state = segment.states[entry.state].as_str();
                    let group = if state == FILTER_STATE {
                        chunk_group(entry.key).unwrap()
                    } else {
                        let key = u16::decode(&mut &entry.key[..]).unwrap();
                        max_parallelism().group_of(key.key_hash())
                    };
                    let mut horizons = manifest.subtasks.iter().flat_map(|(_, b)| &b.horizons);
                    let horizon = horizons.find(|(range, _)| range.contains(group)).unwrap().1;
                    if segment.version.checkpoint <= horizon {
                        return Ok(());
                    }
                    let place = (state, entry.key.to_vec());
                    items.remove(&place);
                    let written = segment.version.checkpoint.0;
                    let expires = entry.expires.map(|expiry| (expiry.ms, expiry.event_time));
                    let expires = meaning(&manifest.changes, written, expires);
                    match entry.value.zip(expires) {
                        Some((value, expires)) => {
                            entries.insert(place, (value.to_vec(), false, expires));
                        }
                        None => drop(entries.remove(&place)),
                    }
                    Ok(())
                })
                .unwrap();
        }
        let is_chunk = |(state, _): &(&str, Vec<u8>)| *state == FILTER_STATE;
        if self.setting.filter {
            let chunks = entries.iter().filter(|(place, _)| is_chunk(place));
            let hashes: BTreeSet<u64> =
                chunks.flat_map(|(_, (value, ..))| chunk_hashes(value).unwrap()).collect();
            for (state, key) in items.iter().filter(|place| !is_chunk(place)) {
                let hash = item_hash(&Name::new(state).unwrap(), key);
                assert!(hashes.contains(&hash), "aa: no hash of {state} {key:?}");
            }
        }
        entries.retain(|place, _| !is_chunk(place));
        Model::of_entries(entries.iter().map(|((state, key), (bytes, native, expires))| {
            (*state, &key[..], Stored { bytes, native: *native, expires: *expires })
        }))
    }
}

/// When a value expires that was written with this expiry, of the times of records or not, and a checkpoint's number;
/// 0 for never, `None`: that was before it ceased to count.
fn meaning(changes: &[Change], written: u64, expires: Option<(u64, bool)>) -> Option<u64> {
    let Some((ms, by_records)) = expires else { return Some(0) };
    for change in changes.iter().filter(|change| written < change.from) {
        if kind(change.ttl) != Some(by_records) {
            return (by_records || ms > change.began).then_some(0);
        }
    }
    Some(ms)
}
