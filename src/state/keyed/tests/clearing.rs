//! Maps and lists that are larger than may be in memory, and are cleared.

use std::collections::BTreeMap;
use std::ops::Range;

use super::*;
use crate::state::segment::Segment;
use crate::state::{
    ItemKey, ListDescriptor, ListState, MapDescriptor, MapState, Namespaced, Scan, ScanPage,
    Scanned,
};

/// What may be read at once.
const CACHE: u64 = 50_000;
/// Of this length is each value, and so many of them are five times the cache.
const VALUE: usize = 1000;
const ENTRIES: u32 = 250;
const PAGE_ITEMS: usize = 10;
const KEY: u64 = 7;

/// One key's states, with a table and a log.
struct Job {
    state: KeyedState<u64>,
    map: MapState<u32, String>,
    list: ListState<String>,
    daily: Namespaced<u32, MapState<u32, String>>,
    table: BTreeMap<ItemKey, Item>,
    log: Vec<Segment>,
    /// Of the last checkpoint.
    barrier: Barrier,
    checkpoint: u64,
    attempt: u64,
    /// The most memory that a record took since the last call of [`Job::cleared`].
    most_bytes: u64,
    pages: usize,
}

impl Job {
    fn new() -> Self {
        let barrier =
            Barrier { horizons: vec![], items_sent: false, unfiltered: false, entries: 0 };
        Self::at(1, 0, config(1).range, barrier, BTreeMap::new(), Vec::new())
    }

    fn at(
        attempt: u64,
        checkpoint: u64,
        range: KeyGroupRange,
        barrier: Barrier,
        table: BTreeMap<ItemKey, Item>,
        log: Vec<Segment>,
    ) -> Self {
        let mut states = States::new();
        let map = states.map(MapDescriptor::new("map"));
        let list = states.list(ListDescriptor::new("list"));
        let daily = states.namespaced().map(MapDescriptor::new("daily"));
        let at = RestorePoint {
            checkpoint: CheckpointId(checkpoint),
            horizons: barrier.horizons.clone(),
            oldest_retained: CheckpointId(checkpoint),
            items_sent: barrier.items_sent,
            ..RestorePoint::default()
        };
        let config = KeyedConfig { range, ..config(attempt) };
        let mut state = KeyedState::new(config, states.finish().unwrap(), at).unwrap();
        state.limit_entries(CACHE);
        for segment in &log {
            if state.wants(segment) {
                state.replay(segment).unwrap();
            }
        }
        state.finish_restore().unwrap();
        let (most_bytes, pages) = (0, 0);
        Self {
            state,
            map,
            list,
            daily,
            table,
            log,
            barrier,
            checkpoint,
            attempt,
            most_bytes,
            pages,
        }
    }

    /// With a map in the table that is larger than the cache, and nothing in memory.
    fn with_map() -> Self {
        let mut job = Self::new();
        job.put(0..ENTRIES);
        job.settle();
        job
    }

    /// A new attempt at the last checkpoint.
    fn restart(self, range: KeyGroupRange) -> Self {
        let Self { attempt, checkpoint, barrier, table, log, .. } = self;
        Self::at(attempt + 1, checkpoint, range, barrier, table, log)
    }

    fn put(&mut self, keys: Range<u32>) {
        let map = self.map;
        let put = |state: &mut KeyedState<u64>, row| {
            keys.clone().for_each(|key| state.map(map, row).put(key, value(key)));
            Ok(())
        };
        assert_eq!(self.record(put), Ok(((), 0)));
    }

    /// Processes a record until it is not suspended, and how often it was; or what kind of error came of its reads.
    fn record<T>(
        &mut self,
        process: impl Fn(&mut KeyedState<u64>, Row) -> Result<T>,
    ) -> std::result::Result<(T, usize), ErrorKind> {
        for suspensions in 0..10 {
            if let Some(told) = self.run(&process) {
                self.state.end_batch();
                assert!(!self.state.scans.has_extra(), "nobody needs it");
                return Ok((told, suspensions));
            }
            self.state.end_batch();
            self.answer().map_err(|error| error.kind())?;
        }
        panic!("it is never through");
    }

    /// Processes a record once; `None` where it was suspended.
    fn run<T>(&mut self, process: impl Fn(&mut KeyedState<u64>, Row) -> Result<T>) -> Option<T> {
        let row = self.state.find_row(KEY.key_hash(), &KEY);
        self.state.begin_record();
        let told = process(&mut self.state, row);
        self.most_bytes = self.most_bytes.max(self.state.resident_bytes());
        let suspended = self.state.end_record().unwrap();
        assert_eq!(suspended, self.state.is_loading(row));
        (!suspended).then(|| told.unwrap())
    }

    fn answer(&mut self) -> Result<()> {
        for read in self.state.take_reads() {
            self.state.loaded(&read, self.table.get(&read.key))?;
        }
        for mut scan in self.state.take_scans() {
            loop {
                let page = self.page(&scan);
                self.pages += 1;
                let told = self.state.page_scanned(&mut scan, page)?;
                self.most_bytes = self.most_bytes.max(self.state.resident_bytes());
                if told.is_some() {
                    break;
                }
                self.state.end_batch();
                self.state.evict(1000);
            }
        }
        Ok(())
    }

    fn page(&self, scan: &Scan) -> ScanPage {
        let within = |(key, _): &(&ItemKey, &Item)| {
            key.state == scan.range.state && scan.range.contains(&key.sort_key)
        };
        let item = |(key, item): (&ItemKey, &Item)| Scanned {
            sort_key: key.sort_key.clone(),
            item: Ok(item.clone()),
        };
        let items = self.table.iter().filter(within).map(item).take(PAGE_ITEMS);
        let items: Vec<Scanned> = items.collect();
        let is_full = items.len() == PAGE_ITEMS;
        let rest = items.last().filter(|_| is_full).map(|last| scan.range.after(&last.sort_key));
        ScanPage { items, rest }
    }

    fn take_checkpoint(&mut self) {
        self.checkpoint += 1;
        self.barrier = self.state.freeze(CheckpointId(self.checkpoint)).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        let (attempt, segments) = (self.attempt, self.state.take_segments());
        self.log.extend(segments.iter().map(|raw| stored(raw, attempt)));
        self.state.completed(CheckpointId(self.checkpoint));
    }

    /// Everything into the table and out of memory; how many puts and deletions that took.
    fn settle(&mut self) -> (usize, usize) {
        self.take_checkpoint();
        let mut written = (0, 0);
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let collected = self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            assert!(collected.missing.is_empty());
            for write in collected.writes.into_iter().map(PendingWrite::into_write) {
                match write.item.value {
                    Some(_) => written.0 += 1,
                    None => written.1 += 1,
                }
                self.table.insert(write.key, write.item);
            }
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.state.end_batch();
        self.take_checkpoint();
        self.state.evict(10_000);
        assert_eq!(self.state.stats().rows, 0, "all of it was clean");
        written
    }

    fn clear(&mut self) -> std::result::Result<((), usize), ErrorKind> {
        let map = self.map;
        self.record(|state, row| state.map(map, row).clear())
    }

    fn get(&mut self, key: u32) -> (Option<String>, usize) {
        let map = self.map;
        self.record(|state, row| Ok(state.map(map, row).get(&key)?.cloned())).unwrap()
    }

    fn keys(&mut self) -> std::result::Result<(Vec<u32>, usize), ErrorKind> {
        let map = self.map;
        self.record(|state, row| Ok(state.map(map, row).iter()?.map(|(key, _)| *key).collect()))
    }

    fn elements(&mut self) -> Vec<String> {
        let list = self.list;
        self.record(|state, row| Ok(state.list(list, row).get()?.cloned().collect())).unwrap().0
    }
}

fn value(key: u32) -> String {
    format!("{key:0VALUE$}")
}

/// It used to be read whole, which failed the job, and so did every restart.
#[test]
fn a_map_of_five_times_the_cache_is_cleared_in_less_than_one() {
    let mut job = Job::with_map();
    assert_eq!(job.keys(), Err(ErrorKind::TooLarge), "it does not fit");
    let mut job = job.restart(config(1).range);
    assert_eq!(job.clear(), Ok(((), 1)));
    assert_eq!(job.pages, ENTRIES as usize / PAGE_ITEMS + 1);
    assert!(job.most_bytes < CACHE, "{} bytes", job.most_bytes);
    assert_eq!(job.keys(), Ok((vec![], 0)), "it is known to be empty");
    assert_eq!(job.get(3), (None, 0));
    assert_eq!(job.settle(), (0, ENTRIES as usize), "each leaves a tombstone");
    assert_eq!(job.keys(), Ok((vec![], 1)));
}

#[test]
fn what_is_put_after_a_clear_is_all_there_is_after_restarts_and_a_rescale() {
    let mut job = Job::with_map();
    let map = job.map;
    let replace = |state: &mut KeyedState<u64>, row| {
        let mut map = state.map(map, row);
        map.clear()?;
        [3, ENTRIES + 1].into_iter().for_each(|key| map.put(key, value(key)));
        Ok(())
    };
    assert_eq!(job.record(replace), Ok(((), 1)));
    job.put(5..6);
    let left = vec![3, 5, ENTRIES + 1];
    assert_eq!(job.keys(), Ok((left.clone(), 0)));
    // Its tombstones are in the log alone.
    job.take_checkpoint();
    let mut job = job.restart(config(1).range);
    assert_eq!(job.keys(), Ok((left.clone(), 1)));
    let group = config(1).max_parallelism.group_of(KEY.key_hash());
    let halves = [0, 1].map(|index| config(1).max_parallelism.range_of(index, 2));
    let mine = halves.into_iter().find(|half| half.contains(group)).unwrap();
    let mut job = job.restart(mine);
    assert_eq!(job.keys(), Ok((left.clone(), 1)));
    assert_eq!(job.settle(), (3, ENTRIES as usize - 2));
    // And now in the table.
    let mut job = job.restart(config(1).range);
    assert_eq!(job.keys(), Ok((left, 1)));
    assert_eq!(job.get(4), (None, 0));
}

#[test]
fn a_record_sees_what_was_there_before_it_clears_and_nothing_after() {
    let mut job = Job::with_map();
    let (map, daily) = (job.map, job.daily);
    let process = |state: &mut KeyedState<u64>, row| {
        let mut of_row = state.map(map, row);
        let before = of_row.get(&7)?.cloned();
        of_row.put(9, "newer".to_owned());
        of_row.clear()?;
        let after = (of_row.get(&7)?.cloned(), of_row.get(&9)?.cloned(), of_row.is_empty()?);
        of_row.put(8, "new".to_owned());
        // All of it once more.
        let other = state.in_namespace(&1, row).map(daily).get(&1)?.cloned();
        let all = state.map(map, row).iter()?.map(|(key, _)| *key).collect::<Vec<_>>();
        Ok((before, after, other, all))
    };
    let seen = (Some(value(7)), (None, None, true), None, vec![8]);
    assert_eq!(job.record(process), Ok((seen, 3)), "7, the keys, the other map");
    assert_eq!(job.settle(), (1, ENTRIES as usize - 1));
}

#[test]
fn a_clear_of_a_suspended_record_leaves_no_trace() {
    let mut job = Job::with_map();
    let (map, daily) = (job.map, job.daily);
    let clear_and_wait = |state: &mut KeyedState<u64>, row| {
        state.map(map, row).clear()?;
        assert!(state.map(map, row).is_empty()?);
        state.in_namespace(&1, row).map(daily).contains(&1)
    };
    let before = job.state.stats();
    assert_eq!(job.run(clear_and_wait), None);
    job.answer().unwrap();
    assert_eq!(job.run(clear_and_wait), None, "for the other map");
    let after = job.state.stats();
    assert_eq!(after.dirty_entries, before.dirty_entries);
    assert_eq!(after.pinned_entries, before.pinned_entries);
    job.answer().unwrap();
    assert_eq!(job.get(3), (Some(value(3)), 1), "what it thought to know is forgotten");
    assert_eq!(job.settle(), (0, 0));
    assert_eq!(job.clear(), Ok(((), 1)));
}

/// Not twice, and not what is in memory.
#[test]
fn each_entry_leaves_one_tombstone_whether_it_was_in_memory_or_not() {
    let mut job = Job::with_map();
    let map = job.map;
    assert_eq!(job.get(1), (Some(value(1)), 1));
    let change = |state: &mut KeyedState<u64>, row| {
        let mut map = state.map(map, row);
        map.remove(&2);
        map.put(3, "newer".to_owned());
        map.put(ENTRIES, "of no item".to_owned());
        Ok(())
    };
    assert_eq!(job.record(change), Ok(((), 0)));
    job.take_checkpoint();
    assert_eq!(job.clear(), Ok(((), 1)));
    assert_eq!(job.keys(), Ok((vec![], 0)));
    let (puts, deletions) = job.settle();
    // Nobody knows of the last one that it has no item.
    assert_eq!((puts, deletions), (0, ENTRIES as usize + 1));
    assert_eq!(job.keys(), Ok((vec![], 1)));
}

#[test]
fn a_function_that_asks_twice_and_swallows_the_errors_has_the_keys_read_once() {
    let mut job = Job::with_map();
    let map = job.map;
    let twice = |state: &mut KeyedState<u64>, row| {
        let first = state.map(map, row).clear();
        state.map(map, row).clear().or(first)
    };
    assert_eq!(job.record(twice), Ok(((), 1)));
    assert_eq!(job.pages, ENTRIES as usize / PAGE_ITEMS + 1);
}

#[test]
fn a_clear_leaves_other_namespaces_and_other_states() {
    let mut job = Job::new();
    let (map, daily) = (job.map, job.daily);
    let put = |state: &mut KeyedState<u64>, row| {
        for day in 1..4 {
            (0..ENTRIES / 4).for_each(|key| {
                state.in_namespace(&day, row).map(daily).put(key, value(key));
            });
        }
        state.map(map, row).put(1, value(1));
        Ok(())
    };
    assert_eq!(job.record(put), Ok(((), 0)));
    job.settle();
    assert_eq!(
        job.record(|state, row| state.in_namespace(&2, row).map(daily).clear()),
        Ok(((), 1))
    );
    let contains = |state: &mut KeyedState<u64>, row, day: u32| {
        state.in_namespace(&day, row).map(daily).contains(&0)
    };
    assert_eq!(job.record(|state, row| contains(state, row, 1)), Ok((true, 1)));
    assert_eq!(job.record(|state, row| contains(state, row, 2)), Ok((false, 0)));
    assert_eq!(job.record(|state, row| contains(state, row, 3)), Ok((true, 1)));
    assert_eq!(job.get(1), (Some(value(1)), 1));
    assert_eq!(job.settle(), (0, ENTRIES as usize / 4));
}

#[test]
fn a_list_of_ten_times_the_cache_is_replaced_and_cleared() {
    let mut job = Job::new();
    let list = job.list;
    let long = |n: u32| value(n).repeat(10);
    // Seven are a chunk.
    let add = |state: &mut KeyedState<u64>, row| {
        state.list(list, row).add_all((0..50).map(long));
        Ok(())
    };
    assert_eq!(job.record(add), Ok(((), 0)));
    // A larger chunk than the cache would be an error of its own.
    job.state.limit_entries(2 * CACHE);
    job.settle();
    let get = |state: &mut KeyedState<u64>, row| state.list(list, row).get().map(|all| all.count());
    assert_eq!(job.record(get), Err(ErrorKind::TooLarge));
    let mut job = job.restart(config(1).range);
    assert_eq!(
        job.record(|state, row| state.list(list, row).update(["new".to_owned()])),
        Ok(((), 1))
    );
    assert!(job.most_bytes < CACHE, "{} bytes", job.most_bytes);
    assert_eq!(job.elements(), ["new"]);
    job.take_checkpoint();
    let mut job = job.restart(config(1).range);
    assert_eq!(job.elements(), ["new"]);
    assert_eq!(job.settle(), (1, 50_usize.div_ceil(7)));
    assert_eq!(job.record(|state, row| state.list(list, row).clear()), Ok(((), 1)));
    assert!(job.elements().is_empty());
    assert_eq!(job.settle(), (0, 1));
    assert!(job.elements().is_empty());
}

/// This is what remains of the bound.
#[test]
fn a_map_whose_keys_alone_do_not_fit_is_an_error_that_says_so() {
    let mut job = Job::with_map();
    job.state.limit_entries(5000);
    let map = job.map;
    assert!(job.run(|state, row| state.map(map, row).clear()).is_none());
    let error = job.answer().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let start = "state map: keys of what is cleared at once of key 7 (key group ";
    assert!(error.message().starts_with(start), "{error}");
    assert!(error.message().ends_with("remove less at a time: a range, a prefix"), "{error}");
}

#[test]
fn what_is_listed_counts_as_memory_until_the_record_is_through() {
    let mut job = Job::with_map();
    let map = job.map;
    let before = job.state.resident_bytes();
    assert!(job.run(|state, row| state.map(map, row).clear()).is_none());
    let asked = job.state.resident_bytes();
    job.answer().unwrap();
    // Some bytes a key, and the length of each.
    let listed = job.state.resident_bytes() - asked;
    assert!((5 * u64::from(ENTRIES)..12 * u64::from(ENTRIES)).contains(&listed), "{listed}");
    job.state.cool();
    assert_eq!(job.clear(), Ok(((), 0)));
    job.settle();
    assert!(job.state.resident_bytes() <= before + 4096, "{}", job.state.resident_bytes());
}
