//! What a suspended record leaves behind: nothing.

use super::maps::Maps;
use super::*;
use crate::state::MapKeys;

/// A key with an entry `a` and a list of one in the table, and nothing in memory.
fn stored_away() -> Maps {
    let mut maps = Maps::new();
    let (map, list, row) = (maps.map, maps.list, maps.row());
    maps.state.map(map, row).put("a".to_owned(), 1);
    maps.state.list(list, row).add(1);
    maps.clean();
    maps.evict();
    maps
}

#[test]
fn what_a_suspended_record_did_is_undone_in_memory_and_log() {
    let mut maps = stored_away();
    let (map, list, daily) = (maps.map, maps.list, maps.daily);
    let row = maps.row();
    maps.state.in_namespace(&1, row).set(daily, 5);
    maps.state.list(list, row).add(2);
    let before = maps.state.stats();
    maps.state.begin_record();
    maps.state.in_namespace(&1, row).set(daily, 6);
    *maps.state.in_namespace(&1, row).get_mut(daily).unwrap().unwrap() += 1;
    maps.state.in_namespace(&2, row).set(daily, 8);
    maps.state.list(list, row).add(3);
    maps.state.map(map, row).put("b".to_owned(), 2);
    maps.state.map(map, row).put("b".to_owned(), 3);
    maps.state.map(map, row).remove(&"c".to_owned());
    let error = maps.state.map(map, row).get(&"a".to_owned()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Suspended);
    assert!(maps.state.end_record().unwrap());
    let after = maps.state.stats();
    assert_eq!(after.dirty_entries, before.dirty_entries);
    assert_eq!(after.pinned_entries, before.pinned_entries);
    maps.answer();
    let get = |state: &mut KeyedState<u64>, row, day: u32| {
        Ok(state.in_namespace(&day, row).get(daily)?.copied())
    };
    assert_eq!(maps.record(|state, row| get(state, row, 1)), (Some(5), 0));
    assert_eq!(maps.record(|state, row| get(state, row, 2)), (None, 1), "not known to be absent");
    let elements = |state: &mut KeyedState<u64>, row| {
        Ok(state.list(list, row).get()?.copied().collect::<Vec<_>>())
    };
    assert_eq!(maps.record(elements), (vec![1, 2], 1));
    let keys = |state: &mut KeyedState<u64>, row| {
        Ok(state.map(map, row).iter()?.map(|(key, _)| key.clone()).collect::<Vec<_>>())
    };
    assert_eq!(maps.record(keys), (vec!["a".to_owned()], 1));
}

/// The second update uses the chunk of the first again.
#[test]
fn a_list_that_a_suspended_record_has_replaced_is_as_before() {
    let mut maps = stored_away();
    let (map, list) = (maps.map, maps.list);
    let elements = |state: &mut KeyedState<u64>, row| {
        Ok(state.list(list, row).get()?.copied().collect::<Vec<_>>())
    };
    let replace = |state: &mut KeyedState<u64>, row: Row, with: u64| {
        state.list(list, row).update([with])?;
        state.list(list, row).update([with, with + 1])
    };
    assert_eq!(maps.record(|state, row| replace(state, row, 5)), ((), 1));
    let before = maps.state.stats();
    let row = maps.row();
    maps.state.begin_record();
    replace(&mut maps.state, row, 8).unwrap();
    assert!(maps.state.map(map, row).get(&"a".to_owned()).is_err());
    assert!(maps.state.end_record().unwrap());
    let after = maps.state.stats();
    assert_eq!(after.dirty_entries, before.dirty_entries);
    assert_eq!(after.pinned_entries, before.pinned_entries);
    maps.answer();
    assert_eq!(maps.record(elements), (vec![5, 6], 0));
}

#[test]
fn a_function_that_swallows_the_error_is_suspended_all_the_same() {
    let mut maps = stored_away();
    let map = maps.map;
    let process = |state: &mut KeyedState<u64>, row| {
        let seen = state.map(map, row).get(&"a".to_owned()).ok().flatten().copied();
        state.map(map, row).put("a".to_owned(), seen.unwrap_or(0) + 1);
        Ok(seen)
    };
    assert_eq!(maps.record(process), (Some(1), 1));
    let get =
        |state: &mut KeyedState<u64>, row| Ok(state.map(map, row).get(&"a".to_owned())?.copied());
    assert_eq!(maps.record(get), (Some(2), 0));
}

#[test]
fn what_is_named_ahead_is_read_at_once_and_suspends_nothing() {
    let mut maps = stored_away();
    let (map, daily, row) = (maps.map, maps.daily, maps.row());
    let mut keys = MapKeys::new(&mut maps.state, row);
    keys.map(map, "a".to_owned());
    keys.map(map, "b".to_owned());
    keys.map(map, "a".to_owned());
    keys.value_in(daily, 3);
    assert!(maps.state.is_loading(row));
    let reads = maps.state.take_reads();
    assert_eq!(reads.len(), 3, "each once");
    for read in &reads {
        maps.state.loaded(read, maps.items.get(&read.key)).unwrap();
    }
    let process = |state: &mut KeyedState<u64>, row| {
        let [a, b] = ["a", "b"].map(|key| state.map(map, row).contains(&key.to_owned()));
        Ok((a?, b?, state.in_namespace(&3, row).get(daily)?.copied()))
    };
    assert_eq!(maps.record(process), ((true, false, None), 0));
}

/// They used to suspend each record, since there was no name for them.
#[test]
fn states_of_every_kind_can_be_named_ahead() {
    let mut maps = Maps::new();
    let (worst, sums, pages, list, row) =
        (maps.worst, maps.sums, maps.pages, maps.list, maps.row());
    for day in 1..=2 {
        let mut of_day = maps.state.in_namespace(&day, row);
        of_day.reducing(worst).add(5).unwrap();
        of_day.aggregating(sums).add(6).unwrap();
        of_day.list(pages).add(7);
    }
    maps.state.list(list, row).add_all([8, 9]);
    maps.clean();
    maps.evict();
    let process = |state: &mut KeyedState<u64>, row| {
        let mut of_day = state.in_namespace(&1, row);
        let found = (
            of_day.reducing(worst).get()?.copied(),
            of_day.aggregating(sums).get()?,
            of_day.list(pages).get()?.copied().collect::<Vec<_>>(),
        );
        Ok((found, state.list(list, row).get()?.copied().collect::<Vec<_>>()))
    };
    let name = |maps: &mut Maps| {
        let row = maps.row();
        let mut keys = MapKeys::new(&mut maps.state, row);
        keys.reducing_in(worst, 1);
        keys.aggregating_in(sums, 1);
        keys.list_in(pages, 1);
        keys.list(list);
        row
    };
    let row = name(&mut maps);
    // A second record of the key, and one that comes while they are read.
    name(&mut maps);
    let (reads, scans) = (maps.state.take_reads(), maps.state.take_scans());
    assert_eq!((reads.len(), scans.len()), (2, 2), "each once");
    name(&mut maps);
    assert!(maps.state.take_reads().is_empty() && maps.state.take_scans().is_empty());
    for read in &reads {
        maps.state.loaded(read, maps.items.get(&read.key)).unwrap();
    }
    for scan in &scans {
        assert!(maps.state.is_loading(row));
        let scanned = maps.scanned(scan);
        maps.state.scanned(scan, scanned).unwrap();
    }
    assert!(!maps.state.is_loading(row));
    let found = ((Some(5), Some(6), vec![7]), vec![8, 9]);
    assert_eq!(maps.record(process), (found.clone(), 0));
    maps.evict();
    assert_eq!(maps.record(process), (found, 4), "not named, each is waited for");
}

/// An entry that is read for a record which then asks for another one must still be known.
#[test]
fn what_was_read_stays_until_the_record_is_through() {
    let mut maps = stored_away();
    let map = maps.map;
    let process = |state: &mut KeyedState<u64>, row| {
        let keys = ["x", "y", "z"].map(str::to_owned);
        keys.iter().try_for_each(|key| state.map(map, row).contains(key).map(|_| ()))
    };
    assert_eq!(maps.record(process), ((), 3));
}

#[test]
fn an_operator_without_such_states_remembers_nothing() {
    let mut one = One::new();
    one.set(1, 1);
    one.complete(1);
    one.clean_all();
    assert!(one.state.items_sent() && !one.state.may_suspend());
    let maps = stored_away();
    assert!(maps.state.may_suspend());
    assert!(!Maps::new().state.may_suspend(), "all is in memory as long as nothing is stored");
}

/// What a record changed in place used to be serialised each time, once the operator had a map and any item.
#[test]
fn a_record_of_a_key_of_which_all_is_in_memory_is_not_remembered() {
    let mut maps = Maps::new();
    let (map, row) = (maps.map, maps.row());
    maps.state.map(map, row).put("a".to_owned(), 1);
    maps.state.end_batch();
    maps.clean();
    assert!(maps.state.may_suspend());
    let row = maps.row();
    assert!(!maps.state.may_suspend_at(row), "nothing of it was ever stored that is not there");
    maps.evict();
    let row = maps.row();
    assert!(maps.state.may_suspend_at(row));
}
