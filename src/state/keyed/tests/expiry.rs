//! Values that expire: over log, items, restores and sweeps, by the clock and by the times of records.

use std::time::Duration;

use super::migration::{Program, Table};
use super::{Row, config};
use crate::codec::{Key, Value};
use crate::ids::CheckpointId;
use crate::state::{
    AggregatingDescriptor, KeyedState, ListDescriptor, MapDescriptor, ReducingDescriptor,
    RestorePoint, States, Ttl, ValueDescriptor, ValueState,
};

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const TEN: Ttl = Ttl::new(Duration::from_millis(10));

pub(super) fn of(ttl: Option<Ttl>) -> ValueDescriptor<u64> {
    let descriptor = ValueDescriptor::new("total");
    match ttl {
        Some(ttl) => descriptor.with_ttl(ttl),
        None => descriptor,
    }
}

impl<V: Value + Clone> Program<V> {
    /// A record of `key` at `time`, of clock and record.
    fn record<T>(
        &mut self,
        table: &Table,
        key: u64,
        time: u64,
        run: impl FnOnce(&mut KeyedState<u64>, ValueState<V>, Row) -> T,
    ) -> T {
        self.state.set_processing_time(time);
        self.record_at(table, key, Some(time), run)
    }

    fn record_at<T>(
        &mut self,
        table: &Table,
        key: u64,
        time: Option<u64>,
        run: impl FnOnce(&mut KeyedState<u64>, ValueState<V>, Row) -> T,
    ) -> T {
        let row = self.row(table, key).unwrap();
        self.state.record_at(time);
        let told = run(&mut self.state, self.total, row);
        self.state.renew_read();
        self.state.end_batch();
        told
    }

    pub(super) fn put(&mut self, table: &Table, key: u64, time: u64, value: V) {
        self.record(table, key, time, |state, total, row| state.set(total, row, value));
    }

    pub(super) fn look(&mut self, table: &Table, key: u64, time: u64) -> Option<V> {
        self.record(table, key, time, |state, total, row| state.get(total, row).cloned())
    }
}

impl Table {
    pub(super) fn expires_ms(&self, key: u64) -> Option<u64> {
        let found = self.items.iter().find(|(at, _)| at.sort_key[..] == key.to_be_bytes());
        found.and_then(|(_, item)| item.expires_ms)
    }
}

#[test]
fn a_value_is_hidden_as_soon_as_its_time_is_over_and_each_write_begins_it_anew() {
    let table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    program.put(&table, 1, 100, 7);
    assert_eq!(program.look(&table, 1, 109), Some(7));
    program.put(&table, 1, 109, 8);
    assert_eq!(program.look(&table, 1, 118), Some(8));
    let doubled = |state: &mut KeyedState<u64>, total, row| {
        state.get_mut(total, row).map(|value| *value *= 2).is_some()
    };
    assert!(program.record(&table, 1, 118, doubled));
    assert_eq!(program.look(&table, 1, 127), Some(16));
    assert_eq!(program.look(&table, 1, 128), None);
    assert!(!program.record(&table, 1, 128, doubled));
    program.put(&table, 1, 200, 1);
    program.record(&table, 1, 201, |state, total, row| state.clear(total, row));
    assert_eq!(program.look(&table, 1, 202), None);
}

/// They used to stay as long as no input came.
#[test]
fn what_has_expired_goes_after_a_barrier_in_slices_where_no_batch_comes() {
    const KEYS: u64 = 3000;
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    for key in 0..KEYS {
        program.put(&table, key, 100, 7);
    }
    let present = |program: &Program<u64>| {
        let values = &program.state.columns[0];
        (0..values.end()).filter(|entry| values.is_present(*entry)).count()
    };
    program.complete(&mut table, 1);
    program.state.set_processing_time(200);
    assert_eq!(present(&program), 3000);
    for left in [1976, 952, 0] {
        assert!(program.state.has_sweep());
        program.state.sweep_some();
        assert_eq!(present(&program), left);
    }
    assert!(!program.state.has_sweep());
    assert_eq!(program.state.stats().dirty_entries, KEYS, "the log is told");
    program.complete(&mut table, 2);
    let mut restored = table.start(2, 2, of(None)).unwrap();
    assert_eq!(restored.look(&table, 1, 100), None);
}

#[test]
fn what_has_expired_makes_room_for_the_default() {
    let table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN)).with_default(|| 5)).unwrap();
    program.put(&table, 1, 100, 7);
    assert_eq!(program.look(&table, 1, 110), Some(5));
    program.put(&table, 1, 110, 7);
    program.state.set_processing_time(120);
    let row = program.row(&table, 1).unwrap();
    *program.state.get_mut(program.total, row).unwrap() += 1;
    assert_eq!(program.state.get(program.total, row), Some(&6));
}

#[test]
fn reads_begin_it_anew_where_they_are_to_and_the_log_knows() {
    let mut table = Table::default();
    let ttl = Some(TEN.on_read_and_write());
    let mut program = table.start(1, 0, of(ttl)).unwrap();
    program.put(&table, 1, 100, 7);
    program.complete(&mut table, 1);
    assert_eq!(program.look(&table, 1, 109), Some(7));
    program.complete(&mut table, 2);
    let mut restored = table.start(2, 2, of(ttl)).unwrap();
    assert_eq!(restored.look(&table, 1, 118), Some(7));
    assert_eq!(restored.look(&table, 1, 128), None);
    let mut restored = table.start(2, 2, of(Some(TEN))).unwrap();
    assert_eq!(restored.look(&table, 1, 118), Some(7));
    assert_eq!(restored.look(&table, 1, 119), None, "a read is no write");
}

#[test]
fn expiries_survive_the_log_and_items() {
    for materialised in [false, true] {
        let mut table = Table::default();
        let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
        program.put(&table, 1, 100, 7);
        program.complete(&mut table, 1);
        if materialised {
            program.materialise(&mut table);
            let item = table.items.values().next().unwrap();
            assert_eq!((item.expires_ms, item.event_time), (Some(110), false));
            program.complete(&mut table, 2);
        }
        let at = 1 + u64::from(materialised);
        assert_eq!(table.start(2, at, of(Some(TEN))).unwrap().look(&table, 1, 109), Some(7));
        assert_eq!(table.start(2, at, of(Some(TEN))).unwrap().look(&table, 1, 110), None);
        let mut late = table.start_at(110, 2, at, of(Some(TEN))).unwrap();
        assert_eq!(late.state.stats().rows, usize::from(!materialised) as u64);
        let row = late.row(&table, 1).unwrap();
        let total = late.total.column.index();
        assert!(!late.state.columns[total].is_present(row.0), "it is not taken into memory");
    }
}

#[test]
fn what_has_expired_is_not_materialised_and_its_item_becomes_a_tombstone() {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    (1..=2).for_each(|key| program.put(&table, key, 100, key));
    program.complete(&mut table, 1);
    program.state.set_processing_time(110);
    program.materialise(&mut table);
    assert!(table.items.is_empty(), "neither has an item");

    program.put(&table, 1, 120, 1);
    program.complete(&mut table, 2);
    program.materialise(&mut table);
    assert_eq!(table.items.len(), 1);
    program.put(&table, 1, 125, 2);
    program.complete(&mut table, 3);
    // Changed since, so that its value at 3 is in the segments.
    program.put(&table, 1, 126, 3);
    let _later = program.state.freeze(CheckpointId(4)).unwrap();
    program.state.set_processing_time(136);
    program.materialise(&mut table);
    let item = table.items.values().next().unwrap();
    assert_eq!((&item.value, item.version.checkpoint), (&None, CheckpointId(3)));
}

#[test]
fn memory_is_swept_in_small_steps() {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    (0..1000).for_each(|key| program.put(&table, key, 100, key));
    program.complete(&mut table, 1);
    program.materialise(&mut table);
    (0..1000).for_each(|key| assert_eq!(program.look(&table, key, 101), Some(key)));
    assert_eq!(program.state.stats().rows, 1000);
    program.state.set_processing_time(110);
    let mut before = 1000;
    for _ in 0..40 {
        program.state.end_batch();
        let rows = program.state.stats().rows;
        assert!(before - rows <= 32, "{before} to {rows}");
        before = rows;
    }
    assert_eq!(before, 0);
    // Their items need nothing: nothing is logged for them.
    assert_eq!(program.state.stats().dirty_entries, 0);

    // What is in the log alone leaves a deletion there.
    (0..100).for_each(|key| program.put(&table, key, 200, key));
    program.complete(&mut table, 2);
    program.state.set_processing_time(210);
    (0..40).for_each(|_| program.state.end_batch());
    assert_eq!(program.state.stats().dirty_entries, 100);
    program.complete(&mut table, 3);
    let mut restored = table.start(2, 3, of(None)).unwrap();
    assert_eq!(restored.look(&table, 7, 0), None, "and is gone whatever the clock says");
}

#[test]
fn expired_values_may_be_seen_until_they_are_cleaned_away() {
    let table = Table::default();
    let ttl = TEN.return_expired_if_not_cleaned_up().on_read_and_write();
    let mut program = table.start(1, 0, of(Some(ttl))).unwrap();
    program.put(&table, 1, 100, 7);
    assert_eq!(program.look(&table, 1, 115), Some(7), "and swept after it, not begun anew");
    assert_eq!(program.look(&table, 1, 115), None);
}

/// What the table holds of values that were written without a time to live, at 100.
fn without_ttl() -> Table {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(None)).unwrap();
    (1..=3).for_each(|key| program.put(&table, key, 100, key));
    program.complete(&mut table, 1);
    program.materialise(&mut table);
    program.put(&table, 3, 100, 33);
    program.complete(&mut table, 2);
    table
}

#[test]
fn where_a_time_to_live_is_turned_on_it_begins_as_a_value_is_met() {
    let mut table = without_ttl();
    let mut program = table.start_at(1000, 2, 2, of(Some(TEN))).unwrap();
    // 3 is in the log: the sweep meets it.
    program.state.end_batch();
    assert_eq!(program.look(&table, 1, 1005), Some(1), "is met by its first record");
    assert_eq!(program.look(&table, 3, 1009), Some(33));
    assert_eq!(program.look(&table, 3, 1010), None);
    assert_eq!(program.look(&table, 1, 1014), Some(1));
    assert_eq!(program.look(&table, 1, 1015), None);
    assert_eq!(program.look(&table, 2, 5000), Some(2), "nobody has met it before");
    program.complete(&mut table, 3);
    program.materialise(&mut table);
    assert_eq!(table.expires_ms(2), Some(5010), "and the table knows");
}

#[test]
fn where_it_is_turned_on_by_event_time_only_records_begin_it() {
    let table = without_ttl();
    let ttl = TEN.by_event_time(ms(100));
    let mut program = table.start_at(1_000_000, 2, 2, of(Some(ttl))).unwrap();
    (0..5).for_each(|_| program.state.end_batch());
    assert_eq!(program.state.stats().dirty_entries, 0);
    assert_eq!(program.look(&table, 3, 70), Some(33));
    assert_eq!(program.look(&table, 3, 79), Some(33));
    assert_eq!(program.look(&table, 3, 80), None);
}

#[test]
fn a_changed_time_to_live_counts_as_of_the_next_write() {
    for (changed, gone) in [(Ttl::new(ms(50)), 110), (Ttl::new(ms(5)), 110)] {
        let mut table = Table::default();
        let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
        (1..=2).for_each(|key| program.put(&table, key, 100, key));
        program.complete(&mut table, 1);
        program.materialise(&mut table);
        program.put(&table, 2, 100, 2);
        program.complete(&mut table, 2);
        let mut program = table.start_at(105, 2, 2, of(Some(changed))).unwrap();
        for key in 1..=2 {
            assert_eq!(program.look(&table, key, gone - 1), Some(key));
        }
        program.put(&table, 2, gone - 1, 22);
        let after = changed.after.as_millis() as u64;
        assert_eq!(program.look(&table, 1, gone), None);
        assert_eq!(program.look(&table, 2, gone - 2 + after), Some(22));
        assert_eq!(program.look(&table, 2, gone - 1 + after), None);
    }
}

#[test]
fn where_it_is_turned_off_what_has_expired_stays_away_and_the_rest_lives_on() {
    for materialised in [false, true] {
        let mut table = Table::default();
        let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
        program.put(&table, 1, 100, 1);
        program.put(&table, 2, 105, 2);
        program.complete(&mut table, 1);
        if materialised {
            program.materialise(&mut table);
            program.complete(&mut table, 2);
        }
        let at = 1 + u64::from(materialised);
        let mut program = table.start_at(112, 2, at, of(None)).unwrap();
        assert_eq!(program.look(&table, 1, 112), None);
        assert_eq!(program.look(&table, 2, 112), Some(2));
        assert_eq!(program.look(&table, 2, 5000), Some(2));
        // Or a restart would take it for gone, and the table delete its item.
        assert_eq!(program.state.stats().dirty_entries, 1, "it is stored anew");
        program.complete(&mut table, at + 1);
        program.materialise(&mut table);
        assert_eq!(table.expires_ms(2), None);
        let mut program = table.start_at(5000, 3, at + 1, of(None)).unwrap();
        assert_eq!(program.look(&table, 2, 5000), Some(2));
    }
}

#[test]
fn what_one_kind_of_time_has_said_means_nothing_to_the_other() {
    let by_records = TEN.by_event_time(ms(100));
    for (before, after) in [(TEN, by_records), (by_records, TEN)] {
        for materialised in [false, true] {
            let mut table = Table::default();
            let mut program = table.start(1, 0, of(Some(before))).unwrap();
            program.put(&table, 1, 100, 1);
            program.complete(&mut table, 1);
            if materialised {
                program.materialise(&mut table);
                program.complete(&mut table, 2);
            }
            let at = 1 + u64::from(materialised);
            let mut program = table.start_at(105, 2, at, of(Some(after))).unwrap();
            // As where there was none: it begins with the first record that meets it.
            assert_eq!(program.look(&table, 1, 107), Some(1));
            program.complete(&mut table, at + 1);
            program.materialise(&mut table);
            assert_eq!(program.look(&table, 1, 116), Some(1));
            assert_eq!(program.look(&table, 1, 117), None);
            let item = table.items.values().next().unwrap();
            assert_eq!(item.event_time, after.is_by_event_time());
        }
    }
}

#[test]
fn event_time_is_each_records_own_and_the_table_never_deletes_by_it() {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN.by_event_time(ms(100))))).unwrap();
    let look = |program: &mut Program<u64>, table: &Table, time| {
        program.record_at(table, 1, time, |state, total, row| state.get(total, row).copied())
    };
    program.put(&table, 1, 100, 7);
    program.put(&table, 2, 100, 7);
    program.complete(&mut table, 1);
    program.state.set_processing_time(1_000_000);
    program.materialise(&mut table);
    let item = table.items.values().next().unwrap();
    assert_eq!((item.expires_ms, item.event_time), (Some(110), true));
    // Other keys are further on; what counts is the record's own time.
    program.put(&table, 3, 205, 1);
    assert_eq!(look(&mut program, &table, Some(109)), Some(7));
    assert_eq!(look(&mut program, &table, Some(110)), None);
    assert_eq!(look(&mut program, &table, None), Some(7), "a record without a time hides nothing");
    assert_eq!(look(&mut program, &table, Some(109)), Some(7));
    // What a late record puts is as old as that, and what it changes in place lives no shorter for it.
    program.put(&table, 1, 105, 7);
    program.put(&table, 1, 102, 8);
    assert_eq!(look(&mut program, &table, Some(111)), Some(8));
    assert_eq!(look(&mut program, &table, Some(112)), None);
    program.put(&table, 1, 105, 8);
    program.record_at(&table, 1, Some(102), |state, total, row| {
        state.get_mut(total, row).map(|value| *value += 1)
    });
    assert_eq!(look(&mut program, &table, Some(114)), Some(9));
    assert_eq!(look(&mut program, &table, Some(115)), None);
    program.complete(&mut table, 2);
    program.materialise(&mut table);
    assert_eq!(look(&mut program, &table, Some(110)), Some(9), "read back");
    // Later than the lateness allows, it may be gone, and is: in the table too.
    program.put(&table, 3, 215, 1);
    assert_eq!(look(&mut program, &table, Some(110)), None);
    program.complete(&mut table, 3);
    program.materialise(&mut table);
    assert_eq!(table.expires_ms(1), None);
    let dead = table.items.values().filter(|item| item.value.is_none()).count();
    assert_eq!(dead, 1, "2 was not in memory, and nobody has looked for it");
}

/// The table knows no time of records: what the sweep has taken away may not be in an item that a restart
/// before it goes on from.
#[test]
fn cleaning_the_log_drops_nothing_by_the_times_of_records() {
    let mut table = Table::default();
    let ttl = Some(TEN.by_event_time(ms(0)));
    let mut program = table.start(1, 0, of(ttl)).unwrap();
    program.put(&table, 1, 100, 7);
    program.complete(&mut table, 1);
    // No checkpoint has this record.
    program.put(&table, 2, 500, 7);
    program.materialise(&mut table);
    let mut again = table.start(2, 1, of(ttl)).unwrap();
    assert_eq!(again.look(&table, 1, 105), Some(7));
}

#[test]
fn elements_of_lists_and_entries_of_maps_expire_one_by_one() {
    let mut states = States::new();
    let map = states.map::<u8, u64>(MapDescriptor::new("map").with_ttl(TEN.on_read_and_write()));
    let list = states.list::<u8>(ListDescriptor::new("list").with_ttl(TEN));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(5u64.key_hash(), &5);
    let mut at = |time, run: &mut dyn FnMut(&mut KeyedState<u64>)| {
        state.set_processing_time(time);
        state.record_at(None);
        run(&mut state);
        state.renew_read();
    };
    let elements = |state: &mut KeyedState<u64>| {
        state.list(list, row).get().unwrap().copied().collect::<Vec<_>>()
    };
    at(100, &mut |state| {
        state.map(map, row).put(1, 11);
        state.list(list, row).add_all([1, 2]);
    });
    at(105, &mut |state| {
        state.map(map, row).put(2, 22);
        state.list(list, row).add(3);
    });
    at(109, &mut |state| {
        assert_eq!(state.map(map, row).get(&1).unwrap(), Some(&11));
        assert!(!state.map(map, row).is_empty().unwrap());
        assert_eq!(elements(state), [1, 2, 3]);
    });
    at(115, &mut |state| {
        assert_eq!(state.map(map, row).get(&1).unwrap(), Some(&11), "begun anew by the read");
        assert_eq!(state.map(map, row).get(&2).unwrap(), None, "to be empty or not is no read");
        assert!(!state.map(map, row).contains(&2).unwrap());
        assert!(state.map(map, row).get_mut(&2).unwrap().is_none());
        assert_eq!(state.map(map, row).iter().unwrap().count(), 1);
        assert!(elements(state).is_empty());
        assert!(state.list(list, row).is_empty().unwrap());
        state.list(list, row).add(4);
        assert_eq!(elements(state), [4]);
    });
    at(200, &mut |state| {
        assert!(state.map(map, row).is_empty().unwrap());
        state.map(map, row).put(3, 33);
        state.map(map, row).clear().unwrap();
        assert_eq!(state.map(map, row).iter().unwrap().count(), 0);
        state.list(list, row).update([5, 6]).unwrap();
        assert_eq!(elements(state), [5, 6]);
    });
}

#[test]
fn what_is_combined_is_combined_with_what_is_left() {
    let mut states = States::new();
    let sum = ReducingDescriptor::new("sum", |a: &u64, b| a + b).with_ttl(TEN);
    let count =
        AggregatingDescriptor::new("count", || 0u64, |n: &mut u64, ()| *n += 1, |n: &u64| *n);
    let sum = states.reducing(sum);
    let counts = states.namespaced::<u8>().aggregating(count.with_ttl(TEN));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(5u64.key_hash(), &5);
    let mut found = Vec::new();
    for (time, value) in [(100, 1), (109, 2), (118, 4), (128, 8)] {
        state.set_processing_time(time);
        state.reducing(sum, row).add(value).unwrap();
        state.in_namespace(&3, row).aggregating(counts).add(()).unwrap();
        let sum = state.reducing(sum, row).get().unwrap().copied();
        found.push((sum, state.in_namespace(&3, row).aggregating(counts).get().unwrap()));
    }
    let expected = [(1, 1), (3, 2), (7, 3), (8, 1)];
    assert_eq!(found, expected.map(|(sum, count)| (Some(sum), Some(count))));
}

/// Adding used to count as putting: with a late value all expired that it was combined with.
#[test]
fn a_late_value_shortens_the_life_of_nothing_that_it_is_combined_with() {
    let ttl = Ttl::new(ms(60)).by_event_time(ms(1000));
    let sum = |name| ReducingDescriptor::new(name, |a: &u64, b| a + b).with_ttl(ttl);
    let mut states = States::new();
    let alone = states.reducing(sum("alone"));
    let within = states.namespaced::<u8>().reducing(sum("within"));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(5u64.key_hash(), &5);
    let mut found = |time, adds: bool| {
        state.record_at(time);
        if adds {
            state.reducing(alone, row).add(1).unwrap();
            state.in_namespace(&3, row).reducing(within).add(1).unwrap();
        }
        let found = state.reducing(alone, row).get().unwrap().copied();
        assert_eq!(state.in_namespace(&3, row).reducing(within).get().unwrap().copied(), found);
        state.renew_read();
        found
    };
    assert_eq!(found(Some(100), true), Some(1));
    assert_eq!(found(Some(50), true), Some(2));
    assert_eq!(found(Some(120), true), Some(3), "it used to begin anew");
    assert_eq!(found(None, true), Some(4), "who has no time changes none");
    assert_eq!(found(Some(179), false), Some(4));
    assert_eq!(found(Some(180), true), Some(1));
}

#[test]
fn a_list_to_which_an_element_is_added_in_each_interval_is_joined_where_all_expire_together() {
    for (refreshed, most) in [(false, 200), (true, 64)] {
        let mut states = States::new();
        let ttl = Ttl::new(ms(1_000_000));
        let ttl = if refreshed { ttl.on_read_and_write() } else { ttl };
        let list = states.list::<u64>(ListDescriptor::new("list").with_ttl(ttl));
        let columns = states.finish().unwrap();
        let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default());
        let state = state.as_mut().unwrap();
        state.finish_restore().unwrap();
        let row = state.find_row(5u64.key_hash(), &5);
        for n in 1..=200 {
            state.set_processing_time(n);
            state.record_at(None);
            state.list(list, row).add(n);
            let all: Vec<u64> = state.list(list, row).get().unwrap().copied().collect();
            assert_eq!(all, (1..=n).collect::<Vec<_>>());
            state.renew_read();
            state.freeze(CheckpointId(n)).unwrap();
            assert!(state.serialise(usize::MAX).unwrap());
        }
        let column = &state.columns[list.column.index()];
        let chunks = (0..column.end()).filter(|entry| column.is_present(*entry)).count();
        assert!(chunks <= most && (refreshed || chunks == most), "{chunks} chunks");
    }
}

#[test]
fn a_state_without_a_time_to_live_keeps_no_times() {
    let bytes = |ttl| {
        let table = Table::default();
        let mut program = table.start(1, 0, of(ttl)).unwrap();
        (0..1000).for_each(|key| program.put(&table, key, 1, 1));
        assert_eq!(program.state.has_ttl(), ttl.is_some());
        program.state.resident_bytes()
    };
    assert_eq!(bytes(Some(Ttl::new(ms(1_000_000)))) - bytes(None), 8 * 1000);
}
