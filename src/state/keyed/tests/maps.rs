//! Maps, promise by promise.

use super::*;
use crate::ids::Version;
use crate::state::{ItemKey, MapDescriptor, MapState, Read};

struct Maps {
    state: KeyedState<u64>,
    map: MapState<String, u64>,
    /// The table, without versions.
    items: std::collections::BTreeMap<ItemKey, Item>,
    next: u64,
}

impl Maps {
    fn at(attempt: u64, at: RestorePoint) -> Self {
        let mut states = States::new();
        let map = states.map(MapDescriptor::new("map"));
        let next = at.checkpoint.0 + 1;
        let state = KeyedState::new(config(attempt), states.finish().unwrap(), at).unwrap();
        Self { state, map, items: Default::default(), next }
    }

    fn new() -> Self {
        let mut maps = Self::at(1, RestorePoint::default());
        maps.state.finish_restore().unwrap();
        maps
    }

    fn row(&mut self) -> Row {
        self.state.find_row(7u64.key_hash(), &7)
    }

    fn put(&mut self, key: &str, value: u64) {
        let row = self.row();
        self.state.map_put(self.map, row, &(), key.to_owned(), value);
        self.state.end_batch();
    }

    fn remove(&mut self, key: &str) {
        let row = self.row();
        self.state.map_remove(self.map, row, &(), &key.to_owned());
        self.state.end_batch();
    }

    /// The value and how many reads it took.
    fn get(&mut self, key: &str) -> (Option<u64>, usize) {
        let key = key.to_owned();
        let mut reads = 0;
        loop {
            let row = self.row();
            if let Ok(value) = self.state.map_get(self.map, row, &(), &key) {
                let value = value.copied();
                self.state.end_batch();
                return (value, reads);
            }
            assert!(self.state.is_loading(row));
            reads += self.answer();
        }
    }

    fn answer(&mut self) -> usize {
        let reads: Vec<Read> = self.state.take_reads();
        for read in &reads {
            self.state.loaded(read, self.items.get(&read.key)).unwrap();
        }
        reads.len()
    }

    fn complete(&mut self) -> Vec<RawSegment> {
        let checkpoint = CheckpointId(self.next);
        self.next += 1;
        self.state.freeze(checkpoint).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        self.state.completed(checkpoint);
        self.state.take_segments()
    }

    /// A checkpoint, all of it cleaned; what was written.
    fn clean(&mut self) -> Vec<ItemWrite> {
        self.complete();
        let mut all = Vec::new();
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let collected = self.state.collect(&rows, 0, rows.len()).unwrap();
            assert!(collected.missing.is_empty());
            self.items.extend(collected.writes.iter().map(|w| (w.key.clone(), w.item.clone())));
            all.extend(collected.writes);
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.state.end_batch();
        all
    }

    fn evict(&mut self) {
        self.state.evict(100);
        assert_eq!(self.state.stats().rows, 0, "all of it was clean");
    }
}

#[test]
fn an_entry_of_a_map_is_an_entry_in_memory_log_and_table() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.put("b", 2);
    assert_eq!((maps.get("a"), maps.get("b")), ((Some(1), 0), (Some(2), 0)));
    assert_eq!(maps.state.stats().dirty_entries, 2);
    let writes = maps.clean();
    assert_eq!(writes.len(), 2);
    let mut sort_key = Vec::new();
    (7u64, "a".to_owned()).encode(&mut sort_key);
    assert_eq!(writes[0].key.sort_key, sort_key, "key and map key");
    maps.put("b", 3);
    assert_eq!(maps.clean().len(), 1, "only what has changed is written");
}

#[test]
fn an_entry_that_was_evicted_is_read_and_an_absent_one_once() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.put("b", 2);
    maps.clean();
    maps.evict();
    assert_eq!(maps.get("b"), (Some(2), 1));
    assert_eq!(maps.get("b"), (Some(2), 0));
    assert_eq!(maps.get("c"), (None, 1));
    assert_eq!(maps.get("a"), (Some(1), 1));
}

#[test]
fn nothing_is_read_where_no_item_can_exist() {
    let mut maps = Maps::new();
    assert_eq!(maps.get("a"), (None, 0));
    maps.put("a", 1);
    maps.clean();
    assert!(maps.state.items_sent());
    assert_eq!(maps.get("b"), (None, 0), "all entries of this key are in memory");
}

#[test]
fn a_put_reads_nothing_and_wins_over_the_item() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.clean();
    maps.evict();
    maps.put("a", 5);
    assert_eq!(maps.get("a"), (Some(5), 0));
    let writes = maps.clean();
    assert_eq!((writes.len(), writes[0].presence), (1, Presence::Possible));
}

#[test]
fn the_removal_of_what_was_not_read_leaves_a_tombstone() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.clean();
    maps.evict();
    maps.remove("a");
    assert_eq!(maps.get("a"), (None, 0));
    let writes = maps.clean();
    assert_eq!((writes.len(), &writes[0].item.value), (1, &None));
    assert_eq!(maps.state.stats().rows, 0, "nothing is left of it in memory");
    assert_eq!(maps.get("a"), (None, 1));
}

#[test]
fn what_is_put_and_removed_between_two_barriers_leaves_no_trace() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.clean();
    maps.put("b", 1);
    maps.remove("b");
    assert!(maps.complete().is_empty());
    assert!(maps.clean().is_empty());
    assert_eq!(maps.get("b"), (None, 0));
}

/// The tombstone of `a` is in the table, and memory no longer knows of it.
#[test]
fn what_comes_back_after_its_removal_counts_as_having_an_item() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.put("b", 1);
    maps.clean();
    maps.remove("a");
    maps.clean();
    assert_eq!(maps.get("a"), (None, 0), "what has a value is in memory");
    maps.put("a", 2);
    maps.remove("a");
    let writes = maps.clean();
    assert_eq!((writes.len(), writes[0].presence), (1, Presence::Possible));
}

#[test]
fn a_row_stays_as_long_as_it_has_an_entry() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.state.evict(100);
    assert_eq!(maps.state.stats().rows, 1, "its entry is not in the table yet");
    maps.clean();
    maps.put("b", 1);
    maps.state.evict(100);
    assert_eq!((maps.get("b"), maps.get("a")), ((Some(1), 0), (Some(1), 1)));
}

#[test]
fn entries_are_restored_from_the_log() {
    let mut first = Maps::new();
    first.put("a", 1);
    first.put("b", 2);
    let segments = first.complete();
    let checkpoint = CheckpointId(1);
    let at = RestorePoint { checkpoint, oldest_retained: checkpoint, ..RestorePoint::default() };
    let mut maps = Maps::at(2, at);
    segments.iter().for_each(|raw| assert!(maps.state.replay(&stored(raw, 1)).unwrap()));
    maps.state.finish_restore().unwrap();
    assert_eq!(
        (maps.get("a"), maps.get("b"), maps.get("c")),
        ((Some(1), 0), (Some(2), 0), (None, 0))
    );
    maps.remove("a");
    let writes = maps.clean();
    let of_a = writes.iter().find(|write| write.item.value.is_none()).unwrap();
    let version = Version { attempt: Attempt(2), checkpoint: CheckpointId(2) };
    assert_eq!(of_a.item.version, version, "an earlier attempt may have sent a put of it");
}

#[test]
fn bytes_that_are_no_sub_key_are_an_error() {
    let mut first = Maps::new();
    first.put("a", 1);
    let segment = stored(&first.complete()[0], 1);
    let mut states = States::new();
    states.value::<u64>(ValueDescriptor::new("map"));
    let checkpoint = CheckpointId(1);
    let at = RestorePoint { checkpoint, oldest_retained: checkpoint, ..RestorePoint::default() };
    let mut state = KeyedState::<u64>::new(config(2), states.finish().unwrap(), at).unwrap();
    let error = state.replay(&segment).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("after the key of state map"), "{error}");
}

#[test]
fn memory_counts_rows_and_entries() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    let one = maps.state.resident_bytes();
    maps.put("b", 1);
    let two = maps.state.resident_bytes();
    assert!(two > one && two < 2 * one, "{one} {two}");
    assert!(two - one < 100, "{}", two - one);
}
