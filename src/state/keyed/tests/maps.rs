//! Maps, promise by promise, and the small table that other kinds' tests have in common.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::ids::Version;
use crate::state::sub_column::SubColumn;
use crate::state::{
    AggregatingDescriptor, AggregatingState, ItemKey, ListDescriptor, ListState, MapDescriptor,
    MapState, Namespaced, Read, ReducingDescriptor, ReducingState, Scan, ScanPage, Scanned, Ttl,
};

/// The states of one key, with a table.
pub(super) struct Maps {
    pub(super) state: KeyedState<u64>,
    pub(super) map: MapState<String, u64>,
    pub(super) list: ListState<u64>,
    pub(super) daily: Namespaced<u32, ValueState<u64>>,
    pub(super) worst: Namespaced<u32, ReducingState<u64>>,
    pub(super) sums: Namespaced<u32, AggregatingState<u64, u64, u64>>,
    pub(super) pages: Namespaced<u32, ListState<u64>>,
    /// The table, without versions.
    pub(super) items: BTreeMap<ItemKey, Item>,
    next: u64,
}

impl Maps {
    fn at(attempt: u64, at: RestorePoint) -> Self {
        Self::with_map(MapDescriptor::new("map"), attempt, at)
    }

    fn with_map(map: MapDescriptor<String, u64>, attempt: u64, at: RestorePoint) -> Self {
        let mut states = States::new();
        let map = states.map(map);
        let list = states.list(ListDescriptor::new("list"));
        let daily = states.namespaced().value(ValueDescriptor::new("daily"));
        let worst =
            states.namespaced().reducing(ReducingDescriptor::new("worst", |a: &u64, b| b.max(*a)));
        let sums = AggregatingDescriptor::new("sums", || 0, |sum, n| *sum += n, |sum| *sum);
        let sums = states.namespaced().aggregating(sums);
        let pages = states.namespaced().list(ListDescriptor::new("pages"));
        let next = at.checkpoint.0 + 1;
        let state = KeyedState::new(config(attempt), states.finish().unwrap(), at).unwrap();
        let items = BTreeMap::new();
        Self { state, map, list, daily, worst, sums, pages, items, next }
    }

    pub(super) fn new() -> Self {
        let mut maps = Self::at(1, RestorePoint::default());
        maps.state.finish_restore().unwrap();
        maps
    }

    pub(super) fn row(&mut self) -> Row {
        self.state.find_row(7u64.key_hash(), &7)
    }

    fn put(&mut self, key: &str, value: u64) {
        let row = self.row();
        self.state.map(self.map, row).put(key.to_owned(), value);
        self.state.end_batch();
    }

    fn remove(&mut self, key: &str) {
        let row = self.row();
        self.state.map(self.map, row).remove(&key.to_owned());
        self.state.end_batch();
    }

    /// Processes a record until it is not suspended; how often it was.
    pub(super) fn record<T>(
        &mut self,
        process: impl Fn(&mut KeyedState<u64>, Row) -> Result<T>,
    ) -> (T, usize) {
        let mut suspensions = 0;
        loop {
            let row = self.row();
            let may_suspend = self.state.may_suspend();
            if may_suspend {
                self.state.begin_record();
            }
            let result = process(&mut self.state, row);
            if !may_suspend || !self.state.end_record().unwrap() {
                self.state.end_batch();
                return (result.unwrap(), suspensions);
            }
            assert!(self.state.is_loading(row));
            self.state.end_batch();
            suspensions += 1;
            assert!(suspensions < 100, "it is never through");
            self.answer();
        }
    }

    /// The value and how often it took a read.
    fn get(&mut self, key: &str) -> (Option<u64>, usize) {
        let (map, key) = (self.map, key.to_owned());
        self.record(|state, row| Ok(state.map(map, row).get(&key)?.copied()))
    }

    fn entries(&mut self) -> (Vec<(String, u64)>, usize) {
        let map = self.map;
        let pair = |(key, value): (&String, &u64)| (key.clone(), *value);
        self.record(|state, row| Ok(state.map(map, row).iter()?.map(pair).collect()))
    }

    pub(super) fn answer(&mut self) {
        let reads: Vec<Read> = self.state.take_reads();
        for read in &reads {
            self.state.loaded(read, self.items.get(&read.key)).unwrap();
        }
        for scan in self.state.take_scans() {
            let scanned = self.scanned(&scan);
            self.state.scanned(&scan, scanned).unwrap();
        }
    }

    /// How many pages, of one item each, a record reads that is suspended once.
    fn pages_of<T>(&mut self, process: impl Fn(&mut KeyedState<u64>, Row) -> Result<T>) -> usize {
        let row = self.row();
        self.state.begin_record();
        assert!(process(&mut self.state, row).is_err());
        assert!(self.state.end_record().unwrap());
        assert!(self.state.take_reads().is_empty());
        let mut scan = self.state.take_scans().remove(0);
        let mut pages = 1;
        loop {
            let page = self.page(&scan, 1);
            if let Some(resident) = self.state.page_scanned(&mut scan, page).unwrap() {
                assert!(resident);
                return pages;
            }
            pages += 1;
        }
    }

    /// So many of the first items of a range.
    pub(super) fn page(&self, scan: &Scan, number: usize) -> ScanPage {
        let mut items = self.scanned(scan);
        let is_last = items.len() <= number;
        items.truncate(number);
        let rest = items.last().filter(|_| !is_last).map(|last| scan.range.after(&last.sort_key));
        ScanPage { items, rest }
    }

    pub(super) fn scanned(&self, scan: &Scan) -> Vec<Scanned> {
        let within = |(key, _): &(&ItemKey, &Item)| {
            key.state == scan.range.state && scan.range.contains(&key.sort_key)
        };
        let item = |(key, item): (&ItemKey, &Item)| Scanned {
            sort_key: key.sort_key.clone(),
            item: Ok(item.clone()),
        };
        self.items.iter().filter(within).map(item).collect()
    }

    pub(super) fn complete(&mut self) -> Vec<RawSegment> {
        let checkpoint = CheckpointId(self.next);
        self.next += 1;
        self.state.freeze(checkpoint).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        self.state.completed(checkpoint);
        self.state.take_segments()
    }

    /// A checkpoint, all of it cleaned; what was written.
    pub(super) fn clean(&mut self) -> Vec<ItemWrite> {
        self.complete();
        let mut all = Vec::new();
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let collected = self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            assert!(collected.missing.is_empty());
            let writes: Vec<_> =
                collected.writes.into_iter().map(PendingWrite::into_write).collect();
            self.items.extend(writes.iter().map(|w| (w.key.clone(), w.item.clone())));
            all.extend(writes);
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.state.end_batch();
        all
    }

    pub(super) fn evict(&mut self) {
        self.state.evict(10_000);
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
    for name in ["map", "list", "daily", "worst", "sums", "pages"] {
        states.value::<u64>(ValueDescriptor::new(name));
    }
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

#[test]
fn iteration_is_in_the_order_of_keys_and_reads_a_range_once() {
    let mut maps = Maps::new();
    ["b", "", "a\0", "a"].iter().zip(1..).for_each(|(key, value)| maps.put(key, value));
    let all: Vec<(String, u64)> =
        [("", 2), ("a", 4), ("a\0", 3), ("b", 1)].map(|(key, n)| (key.to_owned(), n)).into();
    assert_eq!(maps.entries(), (all.clone(), 0));
    maps.clean();
    maps.evict();
    maps.put("a", 5);
    maps.remove("b");
    let now = vec![all[0].clone(), ("a".to_owned(), 5), all[2].clone()];
    assert_eq!(maps.entries(), (now.clone(), 1));
    assert_eq!(maps.entries(), (now, 0));
    assert_eq!(maps.get("c"), (None, 0), "what has a value is in memory now");
}

#[test]
fn a_range_and_a_prefix_read_themselves_alone() {
    let mut maps = Maps::new();
    ["a", "ab", "abc", "b", "c"].iter().zip(1..).for_each(|(key, value)| maps.put(key, value));
    maps.clean();
    maps.evict();
    let map = maps.map;
    let values = |state: &mut KeyedState<u64>, row, from: &str, to: &str| -> Result<Vec<u64>> {
        let range = from.to_owned()..=to.to_owned();
        Ok(state.map(map, row).range(range)?.map(|(_, value)| *value).collect())
    };
    assert_eq!(maps.record(|state, row| values(state, row, "b", "bb")), (vec![4], 1));
    assert_eq!(maps.record(|state, row| values(state, row, "b", "b")), (vec![4], 0));
    let of_prefix = |state: &mut KeyedState<u64>, row| {
        let mut map = state.map(map, row);
        Ok(map.prefix("ab")?.map(|(_, value)| *value).collect::<Vec<_>>())
    };
    assert_eq!(maps.record(of_prefix), (vec![2, 3], 1));
    assert_eq!(maps.get("b"), (Some(4), 0));
    assert_eq!(maps.get("abb"), (None, 0), "known to be absent");
    assert_eq!(maps.get("c"), (Some(5), 1));
    let reversed = |state: &mut KeyedState<u64>, row| values(state, row, "c", "a");
    assert_eq!(maps.record(reversed), (vec![], 0));
}

#[test]
fn a_map_is_cleared_and_empty_without_reading_what_is_known() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.put("b", 1);
    maps.clean();
    maps.evict();
    maps.put("a", 2);
    let map = maps.map;
    assert_eq!(maps.record(|state, row| state.map(map, row).is_empty()), (false, 0));
    assert_eq!(maps.record(|state, row| state.map(map, row).clear()), ((), 1));
    assert_eq!(maps.record(|state, row| state.map(map, row).is_empty()), (true, 0));
    assert_eq!(maps.clean().len(), 2, "tombstones");
    assert_eq!(maps.entries(), (vec![], 1));
}

/// All of it used to be read, and it was an error where that did not fit.
#[test]
fn a_map_that_is_not_empty_is_read_to_the_first_page_that_shows_it() {
    let mut maps = Maps::new();
    for key in ["a", "b", "c", "d"] {
        maps.put(key, 1);
    }
    maps.clean();
    maps.remove("a");
    maps.clean();
    maps.evict();
    let map = maps.map;
    let pages = maps.pages_of(|state, row| state.map(map, row).is_empty());
    assert_eq!(pages, 2, "a tombstone, an entry");
    assert_eq!(maps.record(|state, row| state.map(map, row).is_empty()), (false, 0));
    assert_eq!(maps.get("d"), (Some(1), 1), "of the rest nothing is known");
    assert_eq!(maps.entries().0.len(), 3);
    for key in ["b", "c", "d"] {
        maps.remove(key);
    }
    maps.clean();
    maps.evict();
    assert_eq!(maps.pages_of(|state, row| state.map(map, row).is_empty()), 4, "all are gone");
    assert_eq!(maps.record(|state, row| state.map(map, row).is_empty()), (true, 0));
}

#[test]
fn a_list_that_is_not_empty_is_read_to_the_first_page_that_shows_it() {
    let mut maps = Maps::new();
    let list = maps.list;
    for element in 0..4 {
        let row = maps.row();
        maps.state.list(list, row).add(element);
        maps.state.end_batch();
        maps.clean();
    }
    maps.evict();
    let row = maps.row();
    maps.state.list(list, row).add(4);
    maps.state.end_batch();
    maps.clean();
    maps.evict();
    assert_eq!(maps.pages_of(|state, row| state.list(list, row).is_empty()), 1);
    assert_eq!(maps.record(|state, row| state.list(list, row).is_empty()), (false, 0));
    // Part of it in memory, what is added comes last all the same.
    let row = maps.row();
    maps.state.list(list, row).add(5);
    let all = |state: &mut KeyedState<u64>, row| {
        Ok(state.list(list, row).get()?.copied().collect::<Vec<_>>())
    };
    assert_eq!(maps.record(all), ((0..6).collect(), 1));
}

/// Else it would ask again and again for what it does not see.
#[test]
fn what_is_over_for_a_record_does_not_show_it_that_a_map_is_not_empty() {
    let ttl = Ttl::new(Duration::from_millis(10)).by_event_time(Duration::from_secs(1));
    let descriptor = MapDescriptor::new("map").with_ttl(ttl);
    let mut maps = Maps::with_map(descriptor, 1, RestorePoint::default());
    maps.state.finish_restore().unwrap();
    for (key, time) in [("a", 100), ("b", 100), ("c", 120), ("d", 120)] {
        maps.state.record_at(Some(time));
        maps.put(key, 1);
    }
    maps.clean();
    maps.evict();
    let map = maps.map;
    let is_empty = |state: &mut KeyedState<u64>, row| {
        state.record_at(Some(125));
        state.map(map, row).is_empty()
    };
    assert_eq!(maps.pages_of(is_empty), 3);
    assert_eq!(maps.record(is_empty), (false, 0));
}

/// A map's entry used to come back so: the answer is older than the removal.
#[test]
fn a_removal_that_is_materialised_while_a_range_is_read_is_not_undone_by_the_answer() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.put("b", 1);
    maps.clean();
    maps.evict();
    maps.remove("a");
    maps.complete();
    let (map, row) = (maps.map, maps.row());
    assert!(maps.state.map(map, row).iter().is_err());
    let scan = maps.state.take_scans().remove(0);
    let before = maps.scanned(&scan);
    assert_eq!(before.len(), 2);
    maps.clean();
    maps.state.evict(100);
    assert!(maps.state.scanned(&scan, before).unwrap());
    assert_eq!(maps.entries(), (vec![("b".to_owned(), 1)], 0));
}

#[test]
fn a_damaged_item_in_a_range_is_an_error_unless_memory_is_newer() {
    for (damaged, expected) in [("a", Ok(true)), ("b", Err(ErrorKind::Corrupt))] {
        let mut maps = Maps::new();
        maps.put("a", 1);
        maps.put("b", 1);
        maps.clean();
        maps.evict();
        maps.put("a", 2);
        let (map, row) = (maps.map, maps.row());
        assert!(maps.state.map(map, row).iter().is_err());
        let scan = maps.state.take_scans().remove(0);
        let mut sort_key = Vec::new();
        (7u64, damaged.to_owned()).encode(&mut sort_key);
        let error = Error::new(ErrorKind::Corrupt, "parts of two writes");
        let item = Scanned { sort_key: sort_key.into(), item: Err(error) };
        let told = maps.state.scanned(&scan, vec![item]).map_err(|error| error.kind());
        assert_eq!(told, expected, "{damaged}");
    }
}

/// Such a record used to be suspended for ever: the range that it read first was forgotten for the ninth.
#[test]
fn a_record_may_need_any_number_of_ranges() {
    let mut maps = Maps::new();
    let letters = || ('a'..='z').step_by(2);
    letters().zip(1..).for_each(|(key, value)| maps.put(&key.to_string(), value));
    maps.clean();
    maps.evict();
    let map = maps.map;
    let all = |state: &mut KeyedState<u64>, row: Row| {
        let mut sum = 0;
        for prefix in letters() {
            let mut map = state.map(map, row);
            sum += map.prefix(&prefix.to_string()[..])?.map(|(_, value)| *value).sum::<u64>();
        }
        Ok(sum)
    };
    assert_eq!(maps.record(all), ((1..=13).sum(), 13));
    assert!(maps.record(all).1 > 0, "not all of them are kept beyond the record");
    assert_eq!(maps.get("y"), (Some(13), 0));
    assert!(!maps.state.scans.has_extra());
}

#[test]
fn a_record_may_need_any_number_of_lists() {
    for step in [1, 2] {
        let mut maps = Maps::new();
        let (lists, row) = (maps.pages, maps.row());
        let days = || (0..20u32).map(|day| day * step);
        days().for_each(|day| maps.state.in_namespace(&day, row).list(lists).add(day.into()));
        maps.clean();
        maps.evict();
        let all = |state: &mut KeyedState<u64>, row: Row| {
            let mut elements = Vec::new();
            for day in days() {
                elements.extend(state.in_namespace(&day, row).list(lists).get()?.copied());
            }
            Ok(elements)
        };
        let expected: Vec<u64> = days().map(u64::from).collect();
        assert_eq!(maps.record(all), (expected.clone(), 20));
        let (seen, again) = maps.record(all);
        assert_eq!((seen, again == 0), (expected, step == 1), "neighbours are kept as one range");
    }
}

/// Those of a queue used to stay until its checkpoint was cleaned, and each look for the first passed them all.
#[test]
fn what_is_put_and_removed_between_two_barriers_leaves_memory_with_the_second() {
    let mut maps = Maps::new();
    for round in 0..5 {
        for n in 0..100 {
            maps.put(&format!("{round} {n}"), n);
        }
        maps.put(&format!("{round} left"), round);
        for n in 0..100 {
            maps.remove(&format!("{round} {n}"));
        }
        maps.state.freeze(CheckpointId(maps.next)).unwrap();
        // In slices, with changes between them: the numbers of what has left are used again.
        for n in 0..100 {
            maps.put(&format!("{round} then {n}"), n);
            maps.state.serialise(3).unwrap();
        }
        assert!(maps.state.serialise(usize::MAX).unwrap());
        assert_eq!(maps.state.take_segments().len(), 1);
        maps.state.completed(CheckpointId(maps.next));
        maps.next += 1;
        for n in 0..100 {
            maps.remove(&format!("{round} then {n}"));
        }
        maps.complete();
        assert_eq!(maps.state.stats().pinned_entries, round + 1);
        assert_eq!(maps.entries().0.len() as u64, round + 1);
    }
    assert_eq!(maps.clean().len(), 5);
    let left: Vec<_> = (0..5).map(|round| (format!("{round} left"), round)).collect();
    maps.evict();
    assert_eq!(maps.entries(), (left, 1));
}

/// What had left used to be passed by each look at what is first, until its removal was cleaned out of the log.
#[test]
fn a_queue_in_a_map_does_not_pass_what_has_left_it() {
    let mut maps = Maps::new();
    let row = maps.row();
    let looks = |maps: &Maps| {
        let column: &SubColumn<((), String), u64> = column(&maps.state.columns, maps.map.column);
        column.from(row.0, |_| Ordering::Greater).count()
    };
    let key = |n: u64| format!("{n:04}");
    for n in 0..300 {
        let row = maps.row();
        let mut queue = maps.state.map(maps.map, row);
        queue.put(key(n), n);
        if n >= 10 {
            let first = queue.iter().unwrap().next().map(|(key, value)| (key.clone(), *value));
            assert_eq!(first, Some((key(n - 10), n - 10)));
            queue.remove(&key(n - 10));
        }
        maps.state.end_batch();
        assert!(looks(&maps) <= 10, "of {n}");
        if n.is_multiple_of(20) {
            maps.complete();
        }
    }
    // All that was is found still, so that its item gets a tombstone, and comes back where it was.
    let row = maps.row();
    let mut queue = maps.state.map(maps.map, row);
    assert_eq!(queue.get(&key(5)).unwrap(), None);
    [7, 5, 3].into_iter().for_each(|n| queue.put(key(n), n));
    queue.remove(&key(295));
    let values: Vec<u64> = queue.iter().unwrap().map(|(_, value)| *value).collect();
    assert_eq!(values, [3, 5, 7, 290, 291, 292, 293, 294, 296, 297, 298, 299]);
    assert_eq!(looks(&maps), values.len());
    maps.complete();
    assert_eq!(maps.clean().len(), values.len());
    assert_eq!(looks(&maps), values.len());
}

#[test]
fn a_key_of_which_all_was_put_and_removed_leaves_memory_with_the_barrier() {
    let mut maps = Maps::new();
    maps.put("a", 1);
    maps.remove("a");
    maps.complete();
    maps.state.end_batch();
    assert_eq!(maps.state.stats(), Stats::default());
    maps.put("a", 2);
    assert_eq!(maps.clean().len(), 1);
}
