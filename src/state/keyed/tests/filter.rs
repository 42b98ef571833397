//! The filter of absent keys, promise by promise.

use std::collections::BTreeMap;

use super::*;
use crate::state::segment::Segment;
use crate::state::{
    FILTER_STATE, FilterChunks, FilterScan, ItemKey, MapDescriptor, MapState, ScanPage, Scanned,
};

const FILTER: FilterConfig =
    FilterConfig { max_bytes: 1 << 20, first_bytes: 1 << 12, chunk_hashes: 8 };

struct Job {
    state: KeyedState<u64>,
    count: ValueState<u64>,
    map: MapState<u64, u64>,
    table: BTreeMap<ItemKey, Item>,
    log: Vec<Segment>,
    /// Of the last checkpoint.
    barrier: Barrier,
    checkpoint: u64,
    attempt: u64,
}

impl Job {
    fn new(filter: FilterConfig) -> Self {
        let barrier =
            Barrier { horizons: vec![], items_sent: false, unfiltered: false, entries: 0 };
        let (state, count, map) = Self::build(1, 0, &barrier, &[], filter);
        let (table, log) = (BTreeMap::new(), Vec::new());
        Self { state, count, map, table, log, barrier, checkpoint: 0, attempt: 1 }
    }

    fn build(
        attempt: u64,
        checkpoint: u64,
        barrier: &Barrier,
        log: &[Segment],
        filter: FilterConfig,
    ) -> (KeyedState<u64>, ValueState<u64>, MapState<u64, u64>) {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::new("count"));
        let map = states.map(MapDescriptor::new("map"));
        let at = RestorePoint {
            checkpoint: CheckpointId(checkpoint),
            horizons: barrier.horizons.clone(),
            oldest_retained: CheckpointId(checkpoint),
            items_sent: barrier.items_sent,
            formats: Vec::new(),
            lifetimes: Vec::new(),
            unfiltered: barrier.unfiltered,
            now_ms: 0,
        };
        let config = KeyedConfig { filter, ..config(attempt) };
        let mut state = KeyedState::new(config, states.finish().unwrap(), at).unwrap();
        for segment in log {
            if state.wants(segment) {
                state.replay(segment).unwrap();
            }
        }
        state.finish_restore().unwrap();
        (state, count, map)
    }

    /// A new attempt at the last checkpoint; its filter is not loaded.
    fn restart(&mut self, filter: FilterConfig) {
        self.attempt += 1;
        let (state, count, map) =
            Self::build(self.attempt, self.checkpoint, &self.barrier, &self.log, filter);
        (self.state, self.count, self.map) = (state, count, map);
    }

    fn row(&mut self, key: u64) -> (Row, usize) {
        let row = self.state.find_row(key.key_hash(), &key);
        (row, self.answer())
    }

    /// Answers all reads; how many.
    fn answer(&mut self) -> usize {
        let reads = self.state.take_reads();
        for read in &reads {
            self.state.loaded(read, self.table.get(&read.key)).unwrap();
        }
        reads.len()
    }

    /// How many reads a use of the key costs, and its value.
    fn get(&mut self, key: u64) -> (usize, Option<u64>) {
        let (row, reads) = self.row(key);
        let value = self.state.get(self.count, row).copied();
        self.state.end_batch();
        (reads, value)
    }

    fn set(&mut self, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            let (row, _) = self.row(key);
            self.state.set(self.count, row, key);
            self.state.end_batch();
        }
    }

    /// How many reads a map's key costs, and its value.
    fn map_get(&mut self, key: u64, map_key: u64) -> (usize, Option<u64>) {
        let (row, mut reads) = self.row(key);
        loop {
            self.state.begin_record();
            let value = self.state.map(self.map, row).get(&map_key).map(|value| value.copied());
            if !self.state.end_record().unwrap() {
                self.state.end_batch();
                return (reads, value.unwrap());
            }
            reads += self.answer();
        }
    }

    fn map_put(&mut self, key: u64, map_key: u64) {
        let (row, _) = self.row(key);
        self.state.map(self.map, row).put(map_key, map_key);
        self.state.end_batch();
    }

    fn take_checkpoint(&mut self) {
        self.checkpoint += 1;
        self.barrier = self.state.freeze(CheckpointId(self.checkpoint)).unwrap();
        assert!(self.state.serialise(usize::MAX).unwrap());
        let attempt = self.attempt;
        self.log.extend(self.state.take_segments().iter().map(|raw| stored(raw, attempt)));
        self.state.completed(CheckpointId(self.checkpoint));
    }

    /// Cleans the whole log; how many items were written.
    fn clean(&mut self) -> usize {
        let mut written = 0;
        while let Some(plan) = self.state.plan_cleaning(&EAGER) {
            let rows = plan.compute();
            let collected = self.state.collect(&rows, 0, rows.len(), usize::MAX).unwrap();
            assert!(collected.missing.is_empty());
            written += collected.writes.len();
            let writes = collected.writes.into_iter().map(PendingWrite::into_write);
            self.table.extend(writes.map(|write| (write.key, write.item)));
            self.state.cleaned(plan.checkpoint()).unwrap();
        }
        self.state.end_batch();
        written
    }

    /// Everything into the table, and out of memory.
    fn settle(&mut self) {
        loop {
            self.take_checkpoint();
            if self.clean() == 0 {
                break;
            }
        }
        self.take_checkpoint();
        self.state.evict(u32::MAX);
    }

    fn chunks(&self) -> usize {
        self.table.keys().filter(|key| key.state.as_str() == FILTER_STATE).count()
    }

    /// A page of two chunks.
    fn scan(&self, scan: FilterScan) -> FilterChunks {
        let range = scan.range.clone();
        let of_range = |key: &&ItemKey| {
            (&key.state, key.key_group) == (&range.state, range.key_group)
                && range.contains(&key.sort_key)
        };
        let items: Vec<Scanned> = self
            .table
            .iter()
            .filter(|(key, _)| of_range(key))
            .map(|(key, item)| Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) })
            .take(2)
            .collect();
        let rest = (items.len() == 2).then(|| range.after(&items[1].sort_key));
        FilterChunks::of(scan, ScanPage { items, rest }).unwrap()
    }

    /// Reads and takes over a page; what is left of its key group.
    fn read(&mut self, scan: FilterScan) -> Option<FilterScan> {
        let mut chunks = self.scan(scan);
        while !self.state.filter_read(&mut chunks, 3) {}
        chunks.into_rest()
    }

    fn read_all(&mut self, scan: FilterScan) {
        let mut scan = Some(scan);
        while let Some(page) = scan.take() {
            scan = self.read(page);
        }
    }

    /// Builds whatever filter is to be built; how many key groups were read for it.
    fn load(&mut self) -> usize {
        let mut groups = 0;
        while let Some(scan) = self.state.filter_scan() {
            self.read_all(scan);
            groups += 1;
        }
        groups
    }

    /// Reads that uses of `keys` cost, none of which is there.
    fn reads_of_absent(&mut self, keys: std::ops::Range<u64>) -> usize {
        keys.map(|key| {
            let (reads, value) = self.get(key);
            assert_eq!(value, None);
            reads
        })
        .sum()
    }
}

#[test]
fn a_new_key_costs_no_read_and_one_that_was_stored_does() {
    let mut job = Job::new(FILTER);
    job.set(0..100);
    job.settle();
    assert_eq!(job.get(5), (1, Some(5)));
    assert_eq!(job.state.take_reads_saved(), 0);
    assert_eq!(job.reads_of_absent(1000..2000), 0);
    assert_eq!(job.state.take_reads_saved(), 1000);
    assert_eq!(job.state.stats().filter_hashes, Some(100));
}

#[test]
fn without_a_filter_each_new_key_costs_a_read() {
    let mut job = Job::new(FilterConfig::OFF);
    job.set(0..100);
    job.settle();
    assert_eq!(job.reads_of_absent(1000..2000), 1000);
    assert_eq!((job.chunks(), job.load()), (0, 0));
}

#[test]
fn after_a_restart_every_miss_reads_until_the_chunks_are_read() {
    let mut job = Job::new(FILTER);
    job.set(0..100);
    job.settle();
    job.restart(FILTER);
    assert_eq!(job.reads_of_absent(1000..1010), 10);
    assert_eq!(job.state.stats().filter_hashes, None);
    let group = |key: u64| config(1).max_parallelism.group_of(key.key_hash());
    while let Some(scan) = job.state.filter_scan().filter(|scan| scan.range.key_group.0 < 64) {
        job.read_all(scan);
    }
    for key in 2000..2100 {
        let expected = usize::from(group(key) >= KeyGroup(64));
        assert_eq!(job.get(key), (expected, None), "half of the key groups are read");
    }
    assert!((0..100).all(|key| job.get(key) == (1, Some(key))));
    job.restart(FILTER);
    assert_eq!(job.load(), 128, "one scan for each key group");
    assert_eq!(job.reads_of_absent(1000..1010), 0);
    assert!((0..100).all(|key| job.get(key) == (1, Some(key))));
}

/// Key groups are read at a time, and a page of each: none answers before all of its pages are there.
#[test]
fn pages_of_several_key_groups_may_come_in_any_order() {
    let mut job = Job::new(FILTER);
    job.set(0..10_000);
    job.settle();
    job.restart(FILTER);
    let mut scans = Vec::new();
    scans.extend(std::iter::from_fn(|| job.state.filter_scan()));
    assert_eq!(scans.len(), 128);
    // The first one last, the others a page each in turn.
    let first = scans.remove(0);
    let mut pages = 0;
    while !scans.is_empty() {
        scans = scans.into_iter().rev().filter_map(|scan| job.read(scan)).collect();
        pages += 1;
    }
    assert!(pages > 3, "{pages}");
    assert_eq!(job.reads_of_absent(20_000..20_100), 100, "they are answered for in order");
    assert!(job.state.stats().filter_hashes.is_none());
    let rest = job.read(first).expect("it has several pages");
    assert_eq!(job.reads_of_absent(30_000..30_100), 100);
    job.read_all(rest);
    assert_eq!(job.state.stats().filter_hashes, Some(10_000));
    assert!(job.reads_of_absent(40_000..40_100) < 3);
    assert!((0..10_000).all(|key| job.get(key) == (1, Some(key))));
}

/// A job that has nothing in its log, and one that has all of its filter in it.
#[test]
fn a_filter_is_restored_from_log_and_items() {
    for materialised in [false, true] {
        let mut job = Job::new(FILTER);
        job.set(0..50);
        job.take_checkpoint();
        assert_eq!(job.clean(), 50);
        job.take_checkpoint();
        if materialised {
            job.clean();
            job.take_checkpoint();
        }
        assert_eq!(job.chunks() > 0, materialised);
        job.restart(FILTER);
        job.load();
        assert_eq!(job.reads_of_absent(1000..1100), 0);
        assert!((0..50).all(|key| job.get(key) == (1, Some(key))));
    }
}

/// Mistake aa: what the horizon has passed must be known.
#[test]
fn the_barrier_that_fixes_a_horizon_freezes_the_hashes_of_what_it_has_passed() {
    let known_after_restart = || {
        let mut job = Job::new(FILTER);
        job.set([7]);
        job.take_checkpoint();
        job.clean();
        job.take_checkpoint();
        job.restart(FILTER);
        job.load();
        job.get(7)
    };
    assert_eq!(known_after_restart(), (1, Some(7)));
    #[cfg(debug_assertions)]
    {
        let late = crate::teeth::with(Tooth::HashesLate, known_after_restart);
        assert_eq!(late, (0, None), "the filter denies what there is");
    }
}

#[test]
fn what_the_log_holds_at_a_restart_is_known_once_it_is_cleaned() {
    let mut job = Job::new(FILTER);
    job.set(0..20);
    job.take_checkpoint();
    job.restart(FILTER);
    job.settle();
    job.restart(FILTER);
    job.load();
    assert!((0..20).all(|key| job.get(key) == (1, Some(key))));
    assert_eq!(job.reads_of_absent(1000..1100), 0);
}

#[test]
fn chunks_leave_memory_with_the_log_and_cost_few_items() {
    let mut job = Job::new(FilterConfig { chunk_hashes: 112, ..FILTER });
    job.set(0..20_000);
    job.settle();
    let chunks = job.chunks();
    assert!((20_000 / 112..20_000 / 112 + 129).contains(&chunks), "{chunks} chunks");
    assert!(job.state.filter.chunks.len() <= 128, "one with room for each key group");
    job.restart(FilterConfig { chunk_hashes: 112, ..FILTER });
    job.load();
    assert!(job.state.filter.chunks.len() <= 128);
    assert!(job.reads_of_absent(100_000..102_000) < 20);
}

#[test]
fn a_chunk_with_room_is_gone_on_with_after_a_restart() {
    let mut job = Job::new(FILTER);
    let group = |key: &u64| config(1).max_parallelism.group_of(key.key_hash());
    let keys: Vec<u64> = (0..).filter(|key| group(key) == KeyGroup(3)).take(12).collect();
    for key in &keys {
        job.set([*key]);
        job.settle();
        job.restart(FILTER);
        job.load();
    }
    assert_eq!(job.chunks(), 2, "twelve hashes, eight in each");
    assert!(keys.iter().all(|key| job.get(*key) == (1, Some(*key))));
}

#[test]
fn a_full_filter_is_built_again_twice_as_large_while_the_old_one_answers() {
    let mut job = Job::new(FilterConfig { first_bytes: 64, ..FILTER });
    job.set(0..500);
    job.settle();
    let scan = job.state.filter_scan().expect("it is full");
    job.read_all(scan);
    assert!((0..500).all(|key| job.get(key) == (1, Some(key))), "the old one answers");
    job.set(500..600);
    job.settle();
    job.load();
    assert!((0..600).all(|key| job.get(key) == (1, Some(key))), "new ones have gone to both");
    let wrong = job.reads_of_absent(10_000..14_000);
    assert!(wrong < 40, "{wrong} of 4000");
    assert!(job.state.filter_bytes() < 1 << 20);
}

#[test]
fn a_filter_beyond_its_bound_is_less_exact_and_not_larger() {
    let small = FilterConfig { max_bytes: 512, first_bytes: 1 << 12, ..FILTER };
    let mut job = Job::new(small);
    job.set(0..1500);
    job.settle();
    assert_eq!(job.load(), 0, "there is no room for a larger one");
    assert!(job.state.filter_bytes() <= 512, "{} bytes", job.state.filter_bytes());
    assert!((0..1500).all(|key| job.get(key) == (1, Some(key))));
    assert!(job.reads_of_absent(10_000..10_500) > 100);
    job.restart(small);
    job.load();
    assert!(job.state.filter_bytes() <= 512, "{} bytes", job.state.filter_bytes());
}

#[test]
fn what_is_written_while_it_is_off_makes_it_useless_for_good() {
    let mut job = Job::new(FILTER);
    job.set(0..10);
    job.settle();
    job.restart(FilterConfig::OFF);
    job.take_checkpoint();
    assert!(!job.barrier.unfiltered, "nothing was written");
    job.set(10..20);
    job.settle();
    assert!(job.barrier.unfiltered);
    job.restart(FILTER);
    assert_eq!(job.load(), 0);
    assert_eq!(job.reads_of_absent(1000..1010), 10);
    assert!((0..20).all(|key| job.get(key) == (1, Some(key))));
    job.take_checkpoint();
    assert!(job.barrier.unfiltered);
}

#[test]
fn a_damaged_chunk_is_told_with_its_place_and_costs_reads_only() {
    let mut job = Job::new(FILTER);
    job.set(0..10);
    job.settle();
    job.restart(FILTER);
    let scan = job.state.filter_scan().unwrap();
    let version = crate::ids::Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let damaged = Scanned {
        sort_key: vec![0; 10].into(),
        item: Ok(Item::new(version, Some(vec![9, 9].into()))),
    };
    let page = ScanPage { items: vec![damaged], rest: None };
    let error = FilterChunks::of(scan, page).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("filter of counts, key group 0: "), "{error}");
    job.state.filter_failed();
    assert_eq!(job.load(), 0);
    assert_eq!(job.reads_of_absent(1000..1010), 10);
    job.settle();
    assert!(!job.barrier.unfiltered, "hashes are still kept");
}

#[test]
fn a_new_map_and_a_new_entry_of_an_old_map_cost_no_read() {
    let mut job = Job::new(FILTER);
    job.map_put(1, 10);
    job.map_put(1, 11);
    job.settle();
    for restarted in [false, true] {
        if restarted {
            job.restart(FILTER);
            assert_eq!(job.map_get(2, 10), (2, None), "the value, and the map's entry");
            job.load();
        }
        assert_eq!(job.map_get(2, 10), (0, None), "a new key");
        let (row, _) = job.row(2);
        assert!(job.state.map(job.map, row).is_empty().unwrap(), "nothing is read to know that");
        job.state.end_batch();
        assert_eq!(job.map_get(1, 12), (0, None), "a new entry");
        assert_eq!(job.map_get(1, 11), (1, Some(11)));
    }
    let hashes = job.state.stats().filter_hashes;
    assert_eq!(hashes, Some(3), "two entries, and that the key has some");
}

#[test]
fn an_entry_that_was_never_stored_leaves_no_tombstone() {
    let mut job = Job::new(FILTER);
    job.map_put(1, 10);
    job.settle();
    let items = job.table.len();
    let (row, _) = job.row(1);
    job.state.map(job.map, row).put(77, 1);
    job.state.map(job.map, row).remove(&77);
    job.state.end_batch();
    job.settle();
    assert_eq!(job.table.len(), items);
}

/// Hashes are stored, so they never change; and one state's are not another's.
#[test]
fn golden_hashes() {
    let hash = |state: &str| crate::state::item_hash(&Name::new(state).unwrap(), b"JFK");
    assert_eq!(hash("count"), GOLDEN);
    assert_ne!(hash("count"), hash("map"));
}

const GOLDEN: u64 = 12_279_202_278_972_475_143;

/// It used to be taken, and to end the process when it was cleaned.
#[test]
fn a_chunk_that_the_log_says_is_deleted_is_an_error() {
    let mut job = Job::new(FILTER);
    let key = [0, 3, 0, 0, 0, 1, 0, 0, 0, 0];
    let entry = segment::Entry { state: 0, key: &key, value: None, expires: None };
    let error = job.state.replay_chunk(CheckpointId(1), entry).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    for place in ["filter of absent keys", "key group 3", "restore another"] {
        assert!(error.message().contains(place), "{error}");
    }
}

/// One key with a map of millions, and others with little: the first bits were as large as the emptiest group told, and
/// all chunks were read again for each doubling.
#[test]
fn a_filter_of_a_key_with_nearly_all_entries_is_read_twice() {
    let filter = FilterConfig { first_bytes: 64, ..FILTER };
    let mut job = Job::new(filter);
    (0..1000).for_each(|map_key| job.map_put(5, map_key));
    job.settle();
    job.restart(filter);
    assert_eq!(job.load(), 2 * 128);
    let reads: usize = (5000..6000).map(|map_key| job.map_get(5, map_key).0).sum();
    assert!(reads < 10, "{reads}");
    assert_eq!(job.map_get(5, 999), (1, Some(999)));
}
