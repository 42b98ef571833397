//! A time to live that is turned off, judged by another time, and turned on again: what counts is what had expired at
//! that moment, whenever it is read.

use super::expiry::{TEN, ms, of};
use super::migration::{Program, Table};
use super::*;
use crate::state::{
    KeyQuery, ListDescriptor, ListState, MapDescriptor, MapState, Scanned, Ttl, key_alone,
};

fn by_records() -> Ttl {
    TEN.by_event_time(ms(100))
}

/// 1 expires at 110 and 2 at 104, by the clock; both in items, or both in the log. With the checkpoint to go on from.
fn expiring(materialised: bool) -> (Table, u64) {
    let mut table = Table::default();
    let mut program = table.start(1, 0, of(Some(TEN))).unwrap();
    program.put(&table, 2, 94, 2);
    program.put(&table, 1, 100, 1);
    program.complete(&mut table, 1);
    if !materialised {
        return (table, 1);
    }
    program.materialise(&mut table);
    program.complete(&mut table, 2);
    (table, 2)
}

/// It used to be judged by the time at which it was read.
#[test]
fn a_value_that_lived_when_it_was_turned_off_lives_on_whenever_it_is_read() {
    for materialised in [false, true] {
        let (mut table, at) = expiring(materialised);
        let mut off = table.start_at(105, 2, at, of(None)).unwrap();
        assert_eq!(off.look(&table, 1, 200), Some(1));
        assert_eq!(off.look(&table, 2, 200), None);
        assert_eq!(off.state.stats().dirty_entries, 1, "it is stored anew, without an expiry");
        off.complete(&mut table, at + 1);
        off.materialise(&mut table);
        assert_eq!(table.expires_ms(1), None);

        // Nobody has read it in the attempt that has turned it off, but that has left a checkpoint.
        let (mut table, at) = expiring(materialised);
        table.start_at(105, 2, at, of(None)).unwrap().complete(&mut table, at + 1);
        let mut later = table.start_at(1000, 3, at + 1, of(None)).unwrap();
        assert_eq!(later.look(&table, 1, 1000), Some(1));
        assert_eq!(later.look(&table, 2, 1000), None);
    }
}

#[test]
fn an_attempt_without_a_checkpoint_and_a_roll_back_leave_it_to_be_decided_anew() {
    for materialised in [false, true] {
        let (mut table, at) = expiring(materialised);
        drop(table.start_at(105, 2, at, of(None)).unwrap());
        let mut next = table.start_at(107, 3, at, of(None)).unwrap();
        assert_eq!(next.look(&table, 1, 200), Some(1));
        let mut next = table.start_at(1000, 3, at, of(None)).unwrap();
        assert_eq!(next.look(&table, 1, 1000), None, "it was on until now");
        // As if it had never been off.
        let mut next = table.start_at(107, 3, at, of(Some(TEN))).unwrap();
        assert_eq!(next.look(&table, 1, 109), Some(1));
        assert_eq!(next.look(&table, 1, 110), None);

        table.start_at(105, 2, at, of(None)).unwrap().complete(&mut table, at + 1);
        let mut back = table.start_at(1000, 3, at, of(None)).unwrap();
        assert_eq!(back.look(&table, 1, 1000), None);
    }
}

#[test]
fn from_the_clock_to_the_times_of_records_is_as_off_and_on() {
    for materialised in [false, true] {
        let (table, at) = expiring(materialised);
        let mut program = table.start_at(105, 2, at, of(Some(by_records()))).unwrap();
        assert_eq!(program.look(&table, 1, 200), Some(1), "its time begins");
        assert_eq!(program.look(&table, 2, 200), None);
        assert_eq!(program.look(&table, 1, 209), Some(1));
        assert_eq!(program.look(&table, 1, 210), None);
    }
}

/// What an expiry said before it was turned off used to count again.
#[test]
fn where_it_is_turned_on_again_what_was_said_before_does_not_count() {
    for (ttl, again) in [(TEN, Ttl::new(ms(20))), (by_records(), by_records())] {
        let lasts = again.after.as_millis() as u64;
        for materialised in [false, true] {
            let (mut table, mut at) = (Table::default(), 1);
            let mut program = table.start(1, 0, of(Some(ttl))).unwrap();
            program.put(&table, 1, 100, 1);
            program.complete(&mut table, 1);
            if materialised {
                at = 2;
                program.materialise(&mut table);
                program.complete(&mut table, 2);
            }
            table.start_at(105, 2, at, of(None)).unwrap().complete(&mut table, at + 1);
            let mut on = table.start_at(107, 3, at + 1, of(Some(again))).unwrap();
            on.complete(&mut table, at + 2);
            let mut on = table.start_at(300, 4, at + 2, of(Some(again))).unwrap();
            assert_eq!(on.look(&table, 1, 305), Some(1), "met for the first time");
            on.complete(&mut table, at + 3);
            on.materialise(&mut table);
            assert_eq!(table.expires_ms(1), Some(305 + lasts));
            assert_eq!(on.look(&table, 1, 304 + lasts), Some(1));
            assert_eq!(on.look(&table, 1, 305 + lasts), None);
            // Off for the second time, which is what decides about the second expiry.
            on.complete(&mut table, at + 4);
            let mut off = table.start_at(304 + lasts, 5, at + 3, of(None)).unwrap();
            assert_eq!(off.look(&table, 1, 1000), Some(1));
        }
    }
}

/// A roll-back may find that it counts.
#[test]
fn an_item_is_written_with_the_expiry_of_its_checkpoint() {
    for ttl in [TEN, by_records()] {
        let mut table = Table::default();
        let mut program = table.start(1, 0, of(Some(ttl))).unwrap();
        program.put(&table, 1, 100, 1);
        program.complete(&mut table, 1);
        let mut off = table.start_at(105, 2, 1, of(None)).unwrap();
        assert_eq!(off.look(&table, 1, 106), Some(1));
        off.materialise(&mut table);
        let item = table.items.values().next().unwrap();
        assert_eq!((item.version.checkpoint, item.expires_ms), (CheckpointId(1), Some(110)));
        assert_eq!(item.event_time, ttl.is_by_event_time());
        assert_eq!(off.look(&table, 1, 200), Some(1));

        table.forget_log(1);
        let mut back = table.start_at(107, 3, 1, of(Some(ttl))).unwrap();
        assert_eq!(back.look(&table, 1, 109), Some(1));
        assert_eq!(back.look(&table, 1, 110), None);
    }
}

type Many = (MapState<u8, u64>, ListState<u8>);

/// A value, a map and a list.
fn all_kinds(ttl: Option<Ttl>) -> impl FnOnce(&mut States) -> (ValueState<u64>, Many) {
    move |states| {
        let (mut map, list) = (MapDescriptor::new("map"), ListDescriptor::new("list"));
        map.ttl = ttl;
        let list = ListDescriptor { ttl, ..list };
        (states.value(of(ttl)), (states.map(map), states.list(list)))
    }
}

const KEY: u64 = 7;

/// A record of [`KEY`], run as often as it takes.
fn record<T>(
    program: &mut Program<u64>,
    table: &Table,
    time: u64,
    run: impl Fn(&mut KeyedState<u64>, Row) -> Result<T>,
) -> T {
    program.state.set_processing_time(time);
    let row = program.row(table, KEY).unwrap();
    loop {
        let state = &mut program.state;
        state.begin_record();
        state.record_at(Some(time));
        let told = run(state, row);
        if !state.end_record().unwrap() {
            state.renew_read();
            state.end_batch();
            return told.unwrap();
        }
        for read in state.take_reads() {
            state.loaded(&read, table.items.get(&read.key)).unwrap();
        }
        for scan in state.take_scans() {
            let of_scan = table.items.iter().filter(|(key, _)| {
                key.state == scan.range.state && scan.range.contains(&key.sort_key)
            });
            let scanned = of_scan.map(|(key, item)| Scanned {
                sort_key: key.sort_key.clone(),
                item: Ok(item.clone()),
            });
            state.scanned(&scan, scanned.collect()).unwrap();
        }
    }
}

/// What there is of [`KEY`]: two entries of the map, one by one and by range, and the list.
fn all(
    program: &mut Program<u64>,
    table: &Table,
    time: u64,
    (map, list): Many,
) -> (Vec<Option<u64>>, usize, Vec<u8>) {
    record(program, table, time, |state, row| {
        let mut map = state.map(map, row);
        let single = [map.get(&1)?.copied(), map.get(&2)?.copied()].to_vec();
        let entries = map.iter()?.count();
        Ok((single, entries, state.list(list, row).get()?.copied().collect()))
    })
}

fn keys(program: &Program<u64>, table: &Table, query: &KeyQuery) -> Vec<u64> {
    let state = &program.state;
    let mut resident = state.resident_rows(query, key_alone).unwrap();
    let keys = state.groups_of(query).flat_map(|range| {
        let rows = resident.remove(&range.key_group).unwrap_or_default();
        let of_group = table
            .items
            .iter()
            .filter(|(key, _)| (&key.state, key.key_group) == (&range.state, range.key_group));
        let items = of_group
            .map(|(key, item)| Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) });
        let stored = state.keys_of_page((query, key_alone), &rows, &mut None, items.collect());
        [state.resident_keys(&rows), stored.unwrap()].concat()
    });
    keys.map(|(key, _)| key).collect()
}

#[test]
fn entries_of_maps_and_elements_of_lists_live_on_and_queries_find_them() {
    for after in [None, Some(by_records())] {
        let mut table = Table::default();
        let (mut program, many) = table.start_with(94, 1, 0, all_kinds(Some(TEN))).unwrap();
        for (time, n) in [(94, 1), (100, 2)] {
            record(&mut program, &table, time, |state, row| {
                state.map(many.0, row).put(n, u64::from(n));
                state.list(many.1, row).add(n);
                Ok(())
            });
        }
        program.complete(&mut table, 1);
        program.materialise(&mut table);
        program.complete(&mut table, 2);
        // The first ones were over at 104, the others would have been at 110.
        let (mut program, many) = table.start_with(105, 2, 2, all_kinds(after)).unwrap();
        program.state.set_processing_time(200);
        for query in [KeyQuery::of(many.0), KeyQuery::of(many.1)] {
            assert_eq!(keys(&program, &table, &query), [KEY]);
        }
        let found = all(&mut program, &table, 200, many);
        assert_eq!(found, (vec![None, Some(2)], 1, vec![2]));
        // Or the table would delete their items.
        program.complete(&mut table, 3);
        program.materialise(&mut table);
        let by_clock = |item: &&Item| item.expires_ms.is_some() && !item.event_time;
        let lasting = table.items.values().filter(|item| item.version.checkpoint.0 == 3);
        assert_eq!((lasting.clone().count(), lasting.filter(by_clock).count()), (2, 0));

        let (program, many) = table.start_with(300, 3, 3, all_kinds(after)).unwrap();
        for query in [KeyQuery::of(many.0), KeyQuery::of(many.1)] {
            assert_eq!(keys(&program, &table, &query), [KEY]);
        }
    }
}

#[test]
fn a_query_finds_no_key_of_which_all_was_gone() {
    let (table, at) = expiring(true);
    let mut off = table.start_at(105, 2, at, of(None)).unwrap();
    off.state.set_processing_time(200);
    assert_eq!(keys(&off, &table, &KeyQuery::of(off.total)), [1]);
    let mut on = table.start_at(105, 2, at, of(Some(TEN))).unwrap();
    on.state.set_processing_time(200);
    assert_eq!(keys(&on, &table, &KeyQuery::of(on.total)), [] as [u64; 0]);
}
