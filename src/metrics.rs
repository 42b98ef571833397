//! What a run counts. Workers add once a batch, never once a record.
//!
//! Owns the counters and their snapshot. Exporting them is `server`'s and `cli`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
                    self.0.$name.fetch_add(n, Ordering::Relaxed);
                }
            )*

            /// All counters now.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.0.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

/// A cheap handle to one job's counters; they live as long as the process, over attempts.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

counters! {
    /// Records that sources gave out, replayed ones included.
    records_read,
    /// Records that sinks took.
    records_written,
    /// Lines that could not be parsed and were skipped.
    records_skipped,
    /// Lines that could not be parsed and were sent aside.
    records_dead_lettered,
    /// Items read because a key was not in memory.
    items_read,
    /// Items written by materialising.
    items_materialised,
    /// Segments put.
    segments_put,
    /// Bytes of segments put, compressed.
    segment_bytes_put,
    /// Segments read back, at restores and for materialising.
    segments_read,
    /// Times that sources waited because of memory pressure.
    pressure_waits,
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
}
