//! Values that expire: over log, items, restores and sweeps, by the clock and by the times of records.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::migration::{Program, Table};
use super::{Row, config};
use crate::codec::{Key, Value};
use crate::ids::CheckpointId;
use crate::state::{
    KeyedState, MapDescriptor, RestorePoint, States, Ttl, ValueDescriptor, ValueState,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const TEN: Ttl = Ttl::new(Duration::from_millis(10));

fn of(ttl: Option<Ttl>) -> ValueDescriptor<u64> {
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
        let row = self.row(table, key).unwrap();
        self.state.begin_record(row, Some(time));
        let told = run(&mut self.state, self.total, row);
        self.state.end_record();
        self.state.end_batch();
        told
    }

    fn put(&mut self, table: &Table, key: u64, time: u64, value: V) {
        self.record(table, key, time, |state, total, row| state.set(total, row, value));
    }

    fn look(&mut self, table: &Table, key: u64, time: u64) -> Option<V> {
        self.record(table, key, time, |state, total, row| state.get(total, row).cloned())
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
    // Nothing is left of it, not even an expiry for the next value.
    program.put(&table, 1, 200, 1);
    program.record(&table, 1, 201, |state, total, row| state.clear(total, row));
    assert_eq!(program.look(&table, 1, 202), None);
}

#[test]
fn reads_begin_it_anew_where_they_are_to_and_the_log_knows() {
    let mut table = Table::default();
    let ttl = Some(TEN.refreshed_by_reads());
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
    let mut program = table.start(1, 0, of(Some(TEN.may_return_expired()))).unwrap();
    program.put(&table, 1, 100, 7);
    assert_eq!(program.look(&table, 1, 115), Some(7), "and swept after it");
    assert_eq!(program.look(&table, 1, 115), None);
}

#[test]
fn a_time_to_live_can_be_turned_on_changed_and_turned_off() {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(None)).unwrap();
    (1..=3).for_each(|key| program.put(&table, key, 100, key));
    program.complete(&mut table, 1);
    program.materialise(&mut table);
    program.complete(&mut table, 2);

    // On: a value has none until it is written next.
    let mut program = table.start(2, 2, of(Some(TEN))).unwrap();
    assert_eq!(program.look(&table, 1, 1000), Some(1));
    program.put(&table, 2, 1000, 22);
    program.put(&table, 3, 1000, 33);
    program.complete(&mut table, 3);
    program.materialise(&mut table);
    program.complete(&mut table, 4);

    // Changed: it keeps the one it has until then.
    let longer = Some(Ttl::new(ms(50)));
    let mut program = table.start(3, 4, of(longer)).unwrap();
    program.put(&table, 2, 1005, 222);
    assert_eq!(program.look(&table, 2, 1054), Some(222));
    assert_eq!(program.look(&table, 3, 1054), None);

    // Off: nothing is hidden, and what is read in time loses its expiry in the table too.
    let mut program = table.start(4, 4, of(None)).unwrap();
    assert_eq!(program.look(&table, 3, 2000), Some(33));
    assert_eq!(program.look(&table, 1, 2000), Some(1));
    assert_eq!(program.state.stats().dirty_entries, 1, "only that one is written anew");
    program.complete(&mut table, 5);
    program.materialise(&mut table);
    let lives = |key: u64| {
        let found = table.items.iter().find(|(at, _)| at.sort_key[..] == key.to_be_bytes());
        found.and_then(|(_, item)| item.expires_ms)
    };
    assert_eq!((lives(1), lives(2), lives(3)), (None, Some(1010), None));
    // Expiries that are still in the log go the same way.
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    program.put(&table, 1, 100, 1);
    program.complete(&mut table, 1);
    let mut program = table.start(2, 1, of(None)).unwrap();
    program.materialise(&mut table);
    assert_eq!(table.items.values().next().unwrap().expires_ms, None);
    assert_eq!(program.look(&table, 1, 1000), Some(1));
}

#[test]
fn event_time_is_each_records_own_and_the_table_never_deletes_by_it() {
    let mut table = Table::default();
    let ttl = Some(TEN.by_event_time(ms(100)));
    let mut program = table.start(1, 0, of(ttl)).unwrap();
    let look = |program: &mut Program<u64>, table: &Table, time: Option<u64>| {
        let row = program.row(table, 1).unwrap();
        program.state.begin_record(row, time);
        let found = program.state.get(program.total, row).copied();
        program.state.end_batch();
        found
    };
    program.put(&table, 1, 100, 7);
    program.put(&table, 2, 100, 7);
    program.complete(&mut table, 1);
    program.materialise(&mut table);
    let item = table.items.values().next().unwrap();
    assert_eq!((item.expires_ms, item.event_time), (Some(110), true));
    assert_eq!(program.look(&table, 2, 109), Some(7));
    // Other keys are further on; what counts is the record's own time.
    program.put(&table, 3, 205, 1);
    assert_eq!(look(&mut program, &table, Some(109)), Some(7));
    assert_eq!(look(&mut program, &table, None), Some(7), "a record without a time hides nothing");
    assert_eq!(look(&mut program, &table, Some(110)), None);
    assert_eq!(look(&mut program, &table, Some(109)), None, "it was deleted, not hidden");
    // Later than the lateness allows, it may be gone, and is.
    assert_eq!(program.state.stats().rows, 3);
    program.put(&table, 3, 211, 1);
    assert_eq!(program.state.stats().rows, 2);
}

#[test]
fn entries_of_maps_expire_one_by_one() {
    let mut states = States::new();
    let map = states.map::<u8, u64>(MapDescriptor::new("map").with_ttl(TEN.refreshed_by_reads()));
    let columns = states.finish().unwrap();
    let mut state = KeyedState::<u64>::new(config(1), columns, RestorePoint::default()).unwrap();
    state.finish_restore().unwrap();
    let row = state.find_row(5u64.key_hash(), &5);
    let mut at = |time, run: &mut dyn FnMut(&mut KeyedState<u64>)| {
        state.set_processing_time(time);
        state.begin_record(row, None);
        run(&mut state);
        state.end_record();
    };
    at(100, &mut |state| state.map_put(map, row, &(), 1, 11));
    at(105, &mut |state| state.map_put(map, row, &(), 2, 22));
    at(109, &mut |state| assert_eq!(state.map_get(map, row, &(), &1).unwrap(), Some(&11)));
    at(115, &mut |state| {
        assert_eq!(state.map_get(map, row, &(), &1).unwrap(), Some(&11), "begun anew by the read");
        assert_eq!(state.map_get(map, row, &(), &2).unwrap(), None);
        state.map_remove(map, row, &(), &1);
        assert_eq!(state.map_get(map, row, &(), &1).unwrap(), None);
    });
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

#[derive(Clone, Debug)]
enum Step {
    /// Of a key, so much later than the last one, or earlier.
    Record(u64, i64, Change),
    Checkpoint,
    Materialise,
    Restore,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Look,
    Put(u64),
    Clear,
}

fn step(earliest: i64) -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        3 => Just(Change::Look),
        3 => any::<u64>().prop_map(Change::Put),
        1 => Just(Change::Clear),
    ];
    prop_oneof![
        8 => (0u64..5, earliest..6, change).prop_map(|(k, t, c)| Step::Record(k, t, c)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Materialise),
        1 => Just(Step::Restore),
    ]
}

/// What a key should hold: its value and when that expires.
type Model = BTreeMap<u64, (u64, u64)>;

fn expected(model: &mut Model, ttl: Ttl, key: u64, time: u64, change: Change) -> Option<u64> {
    let after = ttl.after.as_millis() as u64;
    if model.get(&key).is_some_and(|(_, expires)| *expires <= time) {
        model.remove(&key);
    }
    let found = model.get(&key).map(|(value, _)| *value);
    match change {
        Change::Put(value) => drop(model.insert(key, (value, time + after))),
        Change::Clear => drop(model.remove(&key)),
        Change::Look => {
            if let Some((_, expires)) = model.get_mut(&key)
                && ttl == ttl.refreshed_by_reads()
            {
                *expires = time + after;
            }
        }
    }
    found
}

/// What is found is the model's, wherever the value is; at the end too.
fn check(ttl: Ttl, steps: &[Step]) {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(ttl))).unwrap();
    let (mut model, mut time, mut n, mut attempt) = (Model::new(), 1000u64, 0, 1);
    let all = (0..5).map(|key| Step::Record(key, 0, Change::Look));
    for step in steps.iter().cloned().chain([Step::Restore]).chain(all) {
        match step {
            Step::Record(key, later, change) => {
                time = time.saturating_add_signed(later);
                let found = program.record(&table, key, time, |state, total, row| {
                    let found = state.get(total, row).copied();
                    match change {
                        Change::Put(value) => state.set(total, row, value),
                        Change::Clear => state.clear(total, row),
                        Change::Look => {}
                    }
                    found
                });
                assert_eq!(found, expected(&mut model, ttl, key, time, change), "{key} at {time}");
            }
            Step::Checkpoint => {
                n += 1;
                program.complete(&mut table, n);
            }
            Step::Materialise => program.materialise(&mut table),
            Step::Restore => {
                n += 1;
                program.complete(&mut table, n);
                attempt += 1;
                program = table.start(attempt, n, of(Some(ttl))).unwrap();
                program.state.set_processing_time(time);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn by_the_clock_it_equals_the_model(
        steps in prop::collection::vec(step(0), 0..60),
        refreshed: bool,
    ) {
        check(if refreshed { TEN.refreshed_by_reads() } else { TEN }, &steps);
    }

    /// Nothing is cleaned away too early while no record is later than the lateness.
    #[test]
    fn by_event_time_it_equals_the_model_whatever_the_order_of_records(
        steps in prop::collection::vec(step(-20), 0..60),
        refreshed: bool,
    ) {
        let ttl = TEN.by_event_time(ms(10_000));
        check(if refreshed { ttl.refreshed_by_reads() } else { ttl }, &steps);
    }

    #[test]
    fn by_event_time_in_order_nothing_is_missed_without_any_lateness(
        steps in prop::collection::vec(step(0), 0..60),
    ) {
        check(TEN.by_event_time(Duration::ZERO), &steps);
    }
}
