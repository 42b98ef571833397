//! What a run counts. Workers add once a batch, never once a record.
//!
//! Owns the counters and their snapshot. Exporting them is `server`'s and `cli`'s.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        struct Counters { $($name: AtomicU64,)* }

        /// All counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Snapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            $(
                $(#[$doc])*
                /// Adds to the counter.
                pub fn $name(&self, n: u64) {
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

/// A cheap handle to one job's counters; they live as long as the process, over attempts.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    counters: Counters,
    pauses_us: Mutex<Vec<u64>>,
}

/// How many pauses are kept: the first ones of a run.
const MAX_PAUSES: usize = 100_000;

impl Metrics {
    /// Adds a worker's pause at a checkpoint, in microseconds: the longest gap between two processed
    /// batches of one keyed subtask from barrier to last slice. One call a subtask and checkpoint.
    pub fn checkpoint_pause(&self, us: u64) {
        let mut pauses = self.0.pauses_us.lock().unwrap_or_else(PoisonError::into_inner);
        if pauses.len() < MAX_PAUSES {
            pauses.push(us);
        }
    }

    /// All pauses so far, in microseconds, in the order of checkpoints.
    #[must_use]
    pub fn checkpoint_pauses_us(&self) -> Vec<u64> {
        self.0.pauses_us.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

counters! {
    /// Records that sources gave out, replayed ones included.
    records_read,
    /// Records that keyed operators processed.
    records_processed,
    /// Records that sinks took.
    records_written,
    /// Lines that could not be parsed and were skipped.
    records_skipped,
    /// Lines that could not be parsed and were sent aside.
    records_dead_lettered,
    /// Records that waited for the state of their key to be read.
    records_parked,
    /// Records whose processing was suspended until what they asked for was read; once for each time.
    records_suspended,
    /// Items read because a key was not in memory.
    items_read,
    /// Of these, what there was no item of.
    items_not_found,
    /// Items that were not read, since the filter said that there are none.
    reads_saved,
    /// Items of filters read, after restarts and as they grow: a hundred hashes each.
    filter_chunks_read,
    /// Rows and map entries that left memory for want of room.
    entries_evicted,
    /// Items written by materialising, but for those of filters.
    items_materialised,
    /// Items of filters written: a hundred hashes each.
    filter_chunks_materialised,
    /// Segments put.
    segments_put,
    /// Bytes of segments put, compressed.
    segment_bytes_put,
    /// Segments read back, at restores and for materialising.
    segments_read,
    /// Times that sources waited because of memory pressure.
    pressure_waits,
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
        metrics.clone().records_read(2);
        metrics.records_read(3);
        assert_eq!(metrics.snapshot().records_read, 5);
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
