//! What leaves memory, what it is estimated at, and what is too large for it.

use super::maps::Maps;
use super::*;
use crate::state::MapDescriptor;

struct Texts {
    state: KeyedState<u64>,
    text: ValueState<String>,
}

impl Texts {
    fn new() -> Self {
        let mut states = States::new();
        let text = states.value(ValueDescriptor::new("text"));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        Self { state, text }
    }

    fn set(&mut self, key: u64, bytes: usize) {
        let row = self.state.find_row(key.key_hash(), &key);
        self.state.set(self.text, row, "x".repeat(bytes));
        self.state.end_batch();
    }
}

/// Finds rows as a task does for a batch.
fn batch(one: &mut One, keys: &[u64]) {
    let mut rows = Vec::new();
    one.state.find_rows(keys.iter().map(|key| (key.key_hash(), key)), &mut rows);
    for read in one.state.take_reads() {
        one.state.loaded(&read, None).unwrap();
    }
    one.state.end_batch();
}

fn is_there(one: &One, key: u64) -> bool {
    one.state.rows.find(key.key_hash(), &key).is_some()
}

#[test]
fn what_was_used_stays_and_the_longest_unused_leaves() {
    let mut one = One::new();
    one.state.track_recency();
    (0..16).for_each(|key| one.set(key, key));
    one.complete(1);
    one.clean_all();
    batch(&mut one, &[3, 5, 9]);
    assert_eq!(one.state.evict_bytes(10 * one.state.resident_bytes() / 16, 100), 10);
    let left: Vec<u64> = (0..16).filter(|key| is_there(&one, *key)).collect();
    assert_eq!(left, [3, 5, 9, 13, 14, 15]);
}

#[test]
fn a_key_that_comes_once_is_not_used_by_coming() {
    let mut one = One::new();
    one.state.track_recency();
    (0..8).for_each(|key| one.set(key, key));
    one.complete(1);
    one.clean_all();
    one.state.evict(100);
    assert_eq!(one.state.rows(), 0);
    // Items: all of them come back, two of them twice.
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let item = Item::new(version, Some(vec![1].into()));
    for keys in [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[2, 6]] {
        let mut rows = Vec::new();
        one.state.find_rows(keys.iter().map(|key: &u64| (key.key_hash(), key)), &mut rows);
        for read in one.state.take_reads() {
            one.state.loaded(&read, Some(&item)).unwrap();
        }
        one.state.end_batch();
    }
    assert_eq!(one.state.rows(), 8);
    one.state.evict_bytes(5 * one.state.resident_bytes() / 8, 100);
    let left: Vec<u64> = (0..8).filter(|key| is_there(&one, *key)).collect();
    assert_eq!(left, [2, 6, 7]);
}

#[test]
fn nothing_leaves_that_is_newer_than_its_item_and_a_search_in_vain_ends() {
    let mut one = One::new();
    (0..9).for_each(|key| one.set(key, key));
    assert_eq!(one.state.evict(1000), 0);
    assert!(one.state.is_exhausted());
    one.complete(1);
    assert_eq!(one.state.evict(1000), 0, "it is in the log alone");
    assert!(one.state.is_exhausted() && one.state.is_mostly_pinned());
    one.clean_all();
    assert!(!one.state.is_exhausted());
    assert_eq!(one.state.evict(1000), 9);
}

#[test]
fn rows_that_left_make_room_for_others() {
    let mut one = One::new();
    for round in 0..50 {
        let keys: Vec<u64> = (0..20).map(|key| 1000 * round + key).collect();
        let mut rows = Vec::new();
        one.state.find_rows(keys.iter().map(|key| (key.key_hash(), key)), &mut rows);
        for read in one.state.take_reads() {
            one.state.loaded(&read, None).unwrap();
        }
        rows.iter().for_each(|row| one.state.set(one.count, *row, 1));
        one.state.end_batch();
        one.complete(round + 1);
        one.clean_all();
        assert_eq!(one.state.evict(1000), 20);
    }
    assert_eq!((one.state.rows.end(), one.state.resident_bytes()), (20, 0));
}

#[test]
fn values_count_before_any_barrier_has_serialised_them() {
    let mut texts = Texts::new();
    (0..40).for_each(|key| texts.set(key, 1000));
    let bytes = texts.state.resident_bytes();
    assert!((40_000..48_000).contains(&bytes), "{bytes}");
    assert!(texts.state.dirty_bytes() > 39_000);
}

#[test]
fn a_value_that_is_too_large_names_state_key_group_and_key() {
    let mut texts = Texts::new();
    // With 8 bytes of key.
    texts.state.limit_entries(108);
    texts.set(7, 98);
    texts.set(8, 101);
    texts.state.freeze(CheckpointId(1)).unwrap();
    let error = texts.state.serialise(usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let group = texts.state.group_of(8u64.key_hash());
    let start =
        format!("state text: the entry of key 8 (key group {group}) takes 8 bytes of encoded");
    assert!(error.message().starts_with(&start), "{error}");
    let rest = "key and 102 of value, and state.backend.dynamodb.cache-size leaves 108 for all";
    assert!(error.message().contains(rest), "{error}");
}

/// What the log takes must be what the table takes: to tell at its cleaning is too late.
#[test]
fn a_key_that_is_too_large_is_told_before_it_is_in_a_checkpoint_and_is_no_reason_to_restart() {
    for of_map in [false, true] {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::<u64>::new("count"));
        let map = states.map(MapDescriptor::<String, u64>::new("map"));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::new(config(1), columns, RestorePoint::default()).unwrap();
        state.finish_restore().unwrap();
        state.limit_entries(1000);
        let long = "é".repeat(500);
        let key = if of_map { "short".to_owned() } else { long.clone() };
        let row = state.find_row(key.key_hash(), &key);
        match of_map {
            true => state.map(map, row).put(long, 1),
            false => state.set(count, row, 1),
        }
        state.end_batch();
        state.freeze(CheckpointId(1)).unwrap();
        let error = state.serialise(usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        let (name, bytes) = if of_map { ("map", 1009) } else { ("count", 1002) };
        assert!(
            error.message().starts_with(&format!("state {name}: the entry of key ")),
            "{error}"
        );
        let rest = format!("takes {bytes} bytes of encoded key and 1 of value");
        assert!(error.message().contains(&rest), "{error}");
        assert!(error.message().contains("shorten the key"), "{error}");
        assert!(of_map || error.message().contains("ééé… (key group "), "{error}");
    }
}

#[test]
fn an_item_that_is_too_large_is_the_same() {
    let mut one = One::at(1, RestorePoint { items_sent: true, ..RestorePoint::default() });
    one.state.finish_restore().unwrap();
    one.state.limit_entries(11);
    one.row(1);
    let read = one.state.take_reads().remove(0);
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(0) };
    let item = Item::new(version, Some(vec![253, 0, 0, 0, 0, 0, 0, 0, 1].into()));
    let error = one.state.loaded(&read, Some(&item)).unwrap_err();
    assert!(error.message().contains("key 1 (key group"), "{error}");
}

#[test]
fn a_range_that_is_too_large_to_be_read_at_once_is_the_same() {
    let mut maps = Maps::new();
    let (map, row) = (maps.map, maps.row());
    for entry in ["a", "b", "c"] {
        maps.state.map(map, row).put(entry.to_owned(), u64::MAX);
    }
    maps.clean();
    maps.evict();
    maps.state.limit_entries(120);
    let row = maps.row();
    maps.state.begin_record();
    let error = maps.state.map(map, row).iter().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Suspended);
    assert!(maps.state.end_record().unwrap());
    let scan = maps.state.take_scans().remove(0);
    let items = maps.scanned(&scan);
    assert_eq!(items.len(), 3);
    let error = maps.state.scanned(&scan, items).unwrap_err();
    let start = "state map: what is asked for at once of key 7 (key group ";
    assert!(error.message().starts_with(start), "{error}");
    assert!(error.message().contains("takes 156 bytes"), "{error}");
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

/// A mean of all keys would hide few long ones behind many short ones, and a row that was given away kept its key.
#[test]
fn long_keys_and_map_keys_count_as_they_are_and_leave_memory_with_their_entries() {
    const MB: usize = 1 << 20;
    let mut states = States::new();
    let count = states.value(ValueDescriptor::<u64>::new("count"));
    let map = states.map(MapDescriptor::<String, u64>::new("map"));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<String>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let find = |state: &mut KeyedState<String>, key: &String| state.find_row(key.key_hash(), key);
    let keys: Vec<String> = (0..3).map(|n| format!("{n}{}", "k".repeat(MB))).collect();
    let mut checkpoint = 0;
    let mut freeze = |state: &mut KeyedState<String>| {
        checkpoint += 1;
        state.freeze(CheckpointId(checkpoint)).unwrap();
        // Not all at once: three keys of a megabyte are more than two of them.
        let mut slices = 0;
        while !state.serialise_slice(usize::MAX, 2 * MB).unwrap() {
            slices += 1;
            state.take_segments();
        }
        state.take_segments();
        state.completed(CheckpointId(checkpoint));
        slices
    };
    for round in 0..100 {
        for n in 0..20 {
            let row = find(&mut state, &format!("short{n}"));
            state.set(count, row, round);
        }
        state.end_batch();
        assert_eq!(freeze(&mut state), 0);
    }
    let small = state.resident_bytes();
    for key in &keys {
        let row = find(&mut state, key);
        state.set(count, row, 1);
        state.map(map, row).put(key.clone(), 1);
    }
    state.end_batch();
    assert!((2..6).contains(&freeze(&mut state)));
    let long = state.resident_bytes() - small;
    assert!((6 * MB as u64..7 * MB as u64).contains(&long), "{long}");
    let rows: Vec<u32> = keys.iter().map(|key| find(&mut state, key).0).collect();
    while let Some(plan) = state.plan_cleaning(&EAGER) {
        let entries = plan.compute();
        state.collect(&entries, 0, entries.len(), usize::MAX).unwrap();
        state.cleaned(plan.checkpoint()).unwrap();
    }
    state.end_batch();
    // At once: what is empty is given back by the next call.
    state.evict(1000);
    assert_eq!(state.rows(), 0);
    assert!(state.resident_bytes() < 100_000, "{}", state.resident_bytes());
    assert!(rows.iter().all(|row| state.rows.key(*row).is_empty()), "kept");
}

/// All of a range used to be read before anybody looked how much it was.
#[test]
fn a_range_that_is_too_large_is_told_as_soon_as_it_is() {
    let mut maps = Maps::new();
    for entry in 0..10 {
        let (map, row) = (maps.map, maps.row());
        maps.state.map(map, row).put(format!("{entry}"), u64::MAX);
    }
    maps.clean();
    maps.evict();
    maps.state.limit_entries(120);
    let (map, row) = (maps.map, maps.row());
    assert!(maps.state.map(map, row).iter().is_err());
    let mut scan = maps.state.take_scans().remove(0);
    let mut pages = 0;
    let error = loop {
        let page = maps.page(&scan, 1);
        match maps.state.page_scanned(&mut scan, page) {
            Ok(None) => pages += 1,
            Ok(Some(_)) => panic!("it was not too large"),
            Err(error) => break error,
        }
    };
    assert_eq!((pages, error.kind()), (2, ErrorKind::TooLarge));
}

#[test]
fn a_range_that_comes_in_pages_is_whole_and_stays_until_it_is() {
    let mut maps = Maps::new();
    let (map, row) = (maps.map, maps.row());
    (0..10).for_each(|entry| maps.state.map(map, row).put(format!("{entry}"), entry));
    maps.clean();
    maps.evict();
    // Of what is newer in memory, the item is not taken.
    let row = maps.row();
    maps.state.map(map, row).put("3".to_owned(), 33);
    maps.state.map(map, row).remove(&"4".to_owned());
    assert!(maps.state.map(map, row).iter().is_err());
    let mut scan = maps.state.take_scans().remove(0);
    for left in (0..5).rev() {
        assert!(maps.state.is_loading(row));
        maps.state.evict(1000);
        maps.state.end_batch();
        let page = maps.page(&scan, 2);
        let told = maps.state.page_scanned(&mut scan, page).unwrap();
        assert_eq!(told, (left == 0).then_some(true));
    }
    let row = maps.row();
    let all: Vec<u64> = maps.state.map(map, row).iter().unwrap().map(|(_, n)| *n).collect();
    assert_eq!(all, [0, 1, 2, 33, 5, 6, 7, 8, 9]);
}
