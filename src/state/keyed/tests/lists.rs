//! Lists and namespaces, promise by promise.

use super::maps::Maps;
use super::*;
use crate::state::ListDescriptor;

fn add(maps: &mut Maps, elements: impl IntoIterator<Item = u64>) {
    let (list, row) = (maps.list, maps.row());
    maps.state.list(list, row).add_all(elements);
    maps.state.end_batch();
}

fn get(maps: &mut Maps) -> (Vec<u64>, usize) {
    let list = maps.list;
    maps.record(|state, row| Ok(state.list(list, row).get()?.copied().collect()))
}

#[test]
fn elements_keep_their_order_over_checkpoints_and_evictions() {
    let mut maps = Maps::new();
    add(&mut maps, [3, 1]);
    add(&mut maps, [2]);
    assert_eq!(get(&mut maps), (vec![3, 1, 2], 0));
    maps.clean();
    add(&mut maps, [9]);
    maps.clean();
    maps.evict();
    add(&mut maps, [4]);
    assert_eq!(get(&mut maps), (vec![3, 1, 2, 9, 4], 1));
    assert_eq!(get(&mut maps), (vec![3, 1, 2, 9, 4], 0));
}

#[test]
fn an_addition_reads_nothing_and_logs_the_new_elements_alone() {
    let mut maps = Maps::new();
    add(&mut maps, 0..1000);
    assert!(maps.complete()[0].len() > 1000);
    maps.clean();
    maps.evict();
    add(&mut maps, [7]);
    assert!(!{
        let row = maps.row();
        maps.state.is_loading(row)
    });
    let segments = maps.complete();
    assert!(segments[0].len() < 30, "{} bytes", segments[0].len());
}

#[test]
fn a_chunk_has_a_bounded_number_of_elements_and_bytes() {
    let mut maps = Maps::new();
    add(&mut maps, 0..5000);
    let writes = maps.clean();
    assert_eq!(writes.len(), 5);
    assert_eq!(get(&mut maps).0, (0..5000).collect::<Vec<_>>());

    let mut states = States::new();
    let list = states.list(ListDescriptor::new("texts"));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    let row = state.find_row(1u64.key_hash(), &1);
    state.list(list, row).add_all((0..100).map(|_| "x".repeat(10_000)));
    assert_eq!(state.freeze(CheckpointId(1)).unwrap().entries, 100 / 7 + 1);

    // A large one ends its chunk, whether it comes first, alone, or after small ones.
    let row = state.find_row(2u64.key_hash(), &2);
    for length in [100_000, 100_000, 3, 3, 3, 100_000, 3] {
        state.list(list, row).add("x".repeat(length));
    }
    assert_eq!(state.freeze(CheckpointId(2)).unwrap().entries, 4);
}

#[test]
fn a_list_is_replaced_and_cleared() {
    let mut maps = Maps::new();
    let list = maps.list;
    add(&mut maps, [1, 2]);
    maps.clean();
    maps.evict();
    assert_eq!(maps.record(|state, row| state.list(list, row).update([5, 6])), ((), 1));
    assert_eq!(get(&mut maps), (vec![5, 6], 0));
    assert_eq!(maps.clean().len(), 2, "a tombstone and a chunk");
    assert_eq!(maps.record(|state, row| state.list(list, row).is_empty()), (false, 0));
    assert_eq!(maps.record(|state, row| state.list(list, row).clear()), ((), 0));
    assert_eq!(maps.record(|state, row| state.list(list, row).is_empty()), (true, 0));
    add(&mut maps, [8]);
    maps.clean();
    maps.evict();
    assert_eq!(get(&mut maps), (vec![8], 1));
}

/// One chunk for each checkpoint would make a list of as many items.
#[test]
fn small_chunks_are_joined_and_each_element_is_written_a_few_times() {
    let mut maps = Maps::new();
    let mut written = 0;
    for element in 0..2000 {
        add(&mut maps, [element]);
        written += maps.complete().iter().map(RawSegment::len).sum::<usize>();
    }
    let chunks = maps.state.stats().resident_bytes;
    assert!(chunks < 2000 * 120, "{chunks}");
    assert_eq!(get(&mut maps), ((0..2000).collect::<Vec<_>>(), 0));
    let live = maps.clean().iter().filter(|write| write.item.value.is_some()).count();
    assert!((2..=2 + 33).contains(&live), "{live} chunks");
    assert!(written < 2000 * (20 + 12 * 3), "{written} bytes");
    maps.evict();
    assert_eq!(get(&mut maps), ((0..2000).collect::<Vec<_>>(), 1));
}

/// Each used to make an entry more, and to go over all before it.
#[test]
fn a_list_that_is_replaced_again_and_again_takes_no_more_entries() {
    let mut maps = Maps::new();
    let list = maps.list;
    for interval in 0..20 {
        for n in 0..500 {
            let first = interval * 1000 + n;
            let new = [first, first + 1];
            assert_eq!(maps.record(|state, row| state.list(list, row).update(new)), ((), 0));
            add(&mut maps, [7]);
            assert_eq!(get(&mut maps), (vec![first, first + 1, 7], 0));
        }
        let stats = maps.state.stats();
        assert!(stats.dirty_entries <= 2, "{} changed", stats.dirty_entries);
        assert!(stats.pinned_entries <= interval + 1, "{} in the log", stats.pinned_entries);
        maps.complete();
    }
    assert_eq!(maps.clean().len(), 1, "the chunks before were never items");
    maps.evict();
    assert_eq!(get(&mut maps), (vec![19_499, 19_500, 7], 1));
}

#[test]
fn a_list_that_becomes_shorter_and_longer_keeps_its_order() {
    let mut maps = Maps::new();
    let list = maps.list;
    for length in [5000, 10, 3000, 0, 1500, 2500] {
        assert_eq!(maps.record(|state, row| state.list(list, row).update(0..length)), ((), 0));
        (length..length + 1100).for_each(|element| add(&mut maps, [element]));
        let all: Vec<u64> = (0..length + 1100).collect();
        assert_eq!(get(&mut maps), (all.clone(), 0), "{length}");
        // After the cleaning, five of before it, which are removed, and those of 3600 elements.
        let most = if length < 3000 && length != 10 { 5 + 4 } else { 6100 / 1024 + 1 };
        let chunks = maps.state.stats().dirty_entries;
        assert!(chunks <= most, "{chunks} chunks");
        if length == 3000 {
            maps.clean();
            maps.evict();
            assert_eq!(get(&mut maps), (all, 1));
        }
    }
}

#[test]
fn a_namespace_has_a_value_of_its_own() {
    let mut maps = Maps::new();
    let (daily, row) = (maps.daily, maps.row());
    maps.state.in_namespace(&1, row).set(daily, 10);
    maps.state.in_namespace(&2, row).set(daily, 20);
    let get = |maps: &mut Maps, day: u32| {
        maps.record(|state, row| Ok(state.in_namespace(&day, row).get(daily)?.copied()))
    };
    assert_eq!((get(&mut maps, 1), get(&mut maps, 3)), ((Some(10), 0), (None, 0)));
    let writes = maps.clean();
    let mut sort_key = Vec::new();
    (7u64, 1u32).encode(&mut sort_key);
    assert_eq!(writes[0].key.sort_key, sort_key, "key and namespace");
    maps.evict();
    assert_eq!((get(&mut maps, 2), get(&mut maps, 2)), ((Some(20), 1), (Some(20), 0)));
    let row = maps.row();
    maps.state.in_namespace(&1, row).clear(daily);
    assert_eq!(get(&mut maps, 1), (None, 0));
}

#[test]
fn a_default_is_given_out_and_begun_with_but_not_stored() {
    let mut states = States::new();
    let level = states.value(ValueDescriptor::new("level").with_default(|| 100u32));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    let row = state.find_row(1u64.key_hash(), &1);
    assert_eq!(state.get(level, row), Some(&100));
    assert_eq!(state.stats().dirty_entries, 0);
    *state.get_mut(level, row).unwrap() += 1;
    assert_eq!((state.get(level, row), state.stats().dirty_entries), (Some(&101), 1));
    state.clear(level, row);
    assert_eq!(state.get(level, row), Some(&100));
}
