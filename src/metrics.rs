//! What a run counts. Workers add once a batch, never once a record.
//!
//! Owns the counters and their snapshot. Exporting them is `server`'s and `cli`'s.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $add:ident;)*) => {
        #[derive(Debug, Default)]
        struct Counters { $($name: AtomicU64,)* }

        /// All counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Snapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            $(
                /// Adds to the counter of:
                $(#[$doc])*
                pub fn $add(&self, n: u64) {
                    self.0.counters.$name.fetch_add(n, Ordering::Relaxed);
                }
            )*

            /// All counters now.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.0.counters.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

/// A cheap handle to one job's counters; they live as long as the process, over attempts. The engine adds to them, but
/// to two that are the sources': [`Metrics::add_records_skipped`] and [`Metrics::add_records_dead_lettered`].
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counters: Counters,
    pauses: Histogram,
}

impl Metrics {
    /// Adds a worker's pause at a checkpoint, in microseconds: the longest gap between two processed
    /// batches of one keyed subtask from barrier to last slice. One call a subtask and checkpoint.
    pub fn add_checkpoint_pause(&self, us: u64) {
        self.0.pauses.add(us);
    }

    /// The pauses so far.
    #[must_use]
    pub fn checkpoint_pauses(&self) -> Pauses {
        self.0.pauses.pauses()
    }
}

/// How long checkpoints kept workers from their records, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pauses {
    /// How many pauses: one a keyed subtask and checkpoint.
    pub number: u64,
    /// The median, in microseconds, to within 2 %.
    pub median_us: u64,
    /// The longest one, in microseconds.
    pub longest_us: u64,
}

/// Each power of two has as many buckets, so that one is a 32nd of its least number wide.
const BUCKETS_OF_A_POWER: usize = 32;
/// Up to 2^32 microseconds, over an hour; what is more counts as the most.
const BUCKETS: usize = (32 - 4) * BUCKETS_OF_A_POWER;

/// Numbers, counted by their size in memory that does not grow.
struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    longest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU32::new(0)), longest: AtomicU64::new(0) }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pauses().fmt(f)
    }
}

impl Histogram {
    fn add(&self, number: u64) {
        self.buckets[bucket(number)].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(number, Ordering::Relaxed);
    }

    fn pauses(&self) -> Pauses {
        let counts = || self.buckets.iter().map(|count| u64::from(count.load(Ordering::Relaxed)));
        let number: u64 = counts().sum();
        let longest_us = self.longest.load(Ordering::Relaxed);
        let sums = counts().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        let median = sums.take_while(|&sum| sum <= number / 2).count();
        let median_us = if number == 0 { 0 } else { middle(median).min(longest_us) };
        Pauses { number, median_us, longest_us }
    }
}

/// Where `number` is counted: by its highest bit and the five that follow.
fn bucket(number: u64) -> usize {
    let power = number.checked_ilog2().unwrap_or(0).saturating_sub(5);
    // Of the 6 bits that are left, the highest is set, but in the numbers below 32.
    let within = usize::try_from(number >> power).unwrap_or(usize::MAX);
    (power as usize * BUCKETS_OF_A_POWER + within).min(BUCKETS - 1)
}

/// The middle of the numbers that are counted in `bucket`.
fn middle(bucket: usize) -> u64 {
    let power = (bucket / BUCKETS_OF_A_POWER).saturating_sub(1);
    let within = (bucket - power * BUCKETS_OF_A_POWER) as u64;
    (within << power) + ((1 << power) >> 1)
}

counters! {
    /// Records that sources gave out, replayed ones included.
    records_read, add_records_read;
    /// Records that keyed operators processed.
    records_processed, add_records_processed;
    /// Records that sinks took.
    records_written, add_records_written;
    /// Lines that could not be parsed and were skipped.
    records_skipped, add_records_skipped;
    /// Lines that could not be parsed and were sent aside.
    records_dead_lettered, add_records_dead_lettered;
    /// Records that waited for the state of their key to be read.
    records_parked, add_records_parked;
    /// Records whose processing was suspended until what they asked for was read; once for each time.
    records_suspended, add_records_suspended;
    /// Items read because a key was not in memory.
    items_read, add_items_read;
    /// Of these, what there was no item of.
    items_not_found, add_items_not_found;
    /// Items that were not read, since the filter said that there are none.
    reads_saved, add_reads_saved;
    /// Items of filters read, after restarts and as they grow: a hundred hashes each.
    filter_chunks_read, add_filter_chunks_read;
    /// Rows and map entries that left memory for want of room.
    entries_evicted, add_entries_evicted;
    /// Items written by materialising, but for those of filters.
    items_materialised, add_items_materialised;
    /// Items of filters written: a hundred hashes each.
    filter_chunks_materialised, add_filter_chunks_materialised;
    /// Segments put.
    segments_put, add_segments_put;
    /// Bytes of segments put, compressed.
    segment_bytes_put, add_segment_bytes_put;
    /// Segments read back, at restores and for materialising.
    segments_read, add_segments_read;
    /// Times that sources waited because of memory pressure.
    pressure_waits, add_pressure_waits;
}

/// One vertex's records, over its subtasks of one attempt; added to once a batch.
#[derive(Clone, Debug, Default)]
pub struct VertexCounters(Arc<VertexTotals>);

#[derive(Debug, Default)]
struct VertexTotals {
    records_in: AtomicU64,
    records_out: AtomicU64,
    left_records: Left,
    left_bytes: Left,
    /// By subtask, what its filter of absent keys takes for known: told once a checkpoint.
    filters: Mutex<BTreeMap<u32, f64>>,
}

/// What subtasks know to be left, in one unit.
#[derive(Debug, Default)]
struct Left {
    sum: AtomicU64,
    /// How many subtasks know.
    known: AtomicU64,
}

impl Left {
    fn moved(&self, before: Option<u64>, now: Option<u64>) {
        let change = now.unwrap_or(0).wrapping_sub(before.unwrap_or(0));
        self.sum.fetch_add(change, Ordering::Relaxed);
        let change = u64::from(now.is_some()).wrapping_sub(u64::from(before.is_some()));
        self.known.fetch_add(change, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        (self.known.load(Ordering::Relaxed) > 0).then(|| self.sum.load(Ordering::Relaxed))
    }
}

/// How far sources are behind the end of their input: each knows it in one unit, or not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lag {
    /// Of those that count records.
    pub records: Option<u64>,
    /// Of those that count bytes: files.
    pub bytes: Option<u64>,
}

impl Lag {
    /// Of a source that counts records, where it knows.
    #[must_use]
    pub fn records(records: Option<u64>) -> Self {
        Self { records, bytes: None }
    }

    /// Of a source that counts bytes.
    #[must_use]
    pub fn bytes(bytes: u64) -> Self {
        Self { records: None, bytes: Some(bytes) }
    }

    /// Both, unit by unit.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| a.map_or(b, |a| Some(a + b.unwrap_or(0)));
        Self { records: add(self.records, other.records), bytes: add(self.bytes, other.bytes) }
    }
}

impl VertexCounters {
    /// Adds records that came in and that went out.
    pub fn add(&self, records_in: u64, records_out: u64) {
        self.0.records_in.fetch_add(records_in, Ordering::Relaxed);
        self.0.records_out.fetch_add(records_out, Ordering::Relaxed);
    }

    /// Records in and out so far.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        (self.0.records_in.load(Ordering::Relaxed), self.0.records_out.load(Ordering::Relaxed))
    }

    /// A subtask's lag was `before` and is `now`.
    pub fn lag_moved(&self, before: Lag, now: Lag) {
        self.0.left_records.moved(before.records, now.records);
        self.0.left_bytes.moved(before.bytes, now.bytes);
    }

    /// The share of absent keys that the filter of subtask `index` takes for stored; `None` where it does not answer.
    /// One call a subtask and checkpoint.
    pub fn filter_is(&self, index: u32, false_positives: Option<f64>) {
        let mut filters = self.0.filters.lock().unwrap_or_else(PoisonError::into_inner);
        match false_positives {
            Some(share) => filters.insert(index, share),
            None => filters.remove(&index),
        };
    }

    /// That share in the subtask where it is greatest, as of its last checkpoint.
    #[must_use]
    pub fn filter_false_positives(&self) -> Option<f64> {
        let filters = self.0.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.values().copied().max_by(f64::total_cmp)
    }

    /// How far a source's subtasks are behind the end of their input, as far as they know.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag { records: self.0.left_records.get(), bytes: self.0.left_bytes.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_share_their_counters() {
        let metrics = Metrics::default();
        metrics.clone().add_records_read(2);
        metrics.add_records_read(3);
        assert_eq!(metrics.snapshot().records_read, 5);
    }

    /// All of them used to be kept, up to a hundred thousand.
    #[test]
    fn median_and_longest_pause_are_told_from_memory_that_does_not_grow() {
        let metrics = Metrics::default();
        assert_eq!(metrics.checkpoint_pauses(), Pauses::default());
        for us in [0, 7, 31, 32, 63, 64, 1_000, 4_321, 123_456, 3_600_000_000] {
            let one = Metrics::default();
            (0..3).for_each(|_| one.add_checkpoint_pause(us));
            let Pauses { number, median_us, longest_us } = one.checkpoint_pauses();
            assert_eq!((number, longest_us), (3, us));
            assert!(median_us.abs_diff(us) * 50 <= us, "{us}: {median_us}");
        }
        (1..=1_001).for_each(|us| metrics.add_checkpoint_pause(us * 10));
        let told = metrics.checkpoint_pauses();
        assert_eq!((told.number, told.longest_us), (1_001, 10_010));
        assert!(told.median_us.abs_diff(5_010) <= 100, "{told:?}");
        metrics.add_checkpoint_pause(u64::MAX);
        assert_eq!(metrics.checkpoint_pauses().longest_us, u64::MAX);
    }

    #[test]
    fn buckets_follow_one_another_without_gap() {
        let mut last = 0;
        for number in 0..1 << 16 {
            let this = bucket(number);
            assert!(this == last || this == last + 1, "{number}");
            last = this;
        }
        assert_eq!(bucket(u64::from(u32::MAX)), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn of_filters_the_least_exact_one_is_told() {
        let counters = VertexCounters::default();
        assert_eq!(counters.filter_false_positives(), None);
        for (index, share) in [(0, 0.001), (1, 0.2), (2, 0.01)] {
            counters.filter_is(index, Some(share));
        }
        assert_eq!(counters.filter_false_positives(), Some(0.2));
        counters.filter_is(1, None);
        assert_eq!(counters.filter_false_positives(), Some(0.01));
    }

    #[test]
    fn lags_are_added_up_over_subtasks_and_never_over_units() {
        let counters = VertexCounters::default();
        assert_eq!(counters.lag(), Lag::default());
        counters.lag_moved(Lag::default(), Lag::bytes(7));
        counters.lag_moved(Lag::default(), Lag::bytes(5));
        // Each subtask but the first used to add one.
        assert_eq!(counters.lag(), Lag::bytes(12));
        counters.lag_moved(Lag::bytes(7), Lag::bytes(0));
        let both = counters.lag().and(Lag::records(Some(3))).and(Lag::records(None));
        assert_eq!(both, Lag { records: Some(3), bytes: Some(5) });
        counters.lag_moved(Lag::bytes(0), Lag::default());
        counters.lag_moved(Lag::bytes(5), Lag::default());
        assert_eq!(counters.lag(), Lag::default());
    }
}
