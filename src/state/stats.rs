//! How much there is, for limits, back-pressure and status.
//!
//! Owns the estimates. What follows from them is `task`'s.

use super::keyed::KeyedState;
use crate::codec::Key;

/// Batches from one to the next of which a value is serialised to know its size.
const SAMPLE_EVERY: u32 = 15;

/// What is in memory and in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Distinct entries that are newer than their items.
    pub pinned_entries: u64,
    /// Their memory, estimated.
    pub pinned_bytes: u64,
    /// Checkpoints after the horizon that changed anything.
    pub checkpoints: u64,
    /// Their segments' number.
    pub segments: u64,
    /// Their segments' stored size.
    pub stored_bytes: u64,
    /// Entries changed since the last barrier.
    pub dirty_entries: u64,
    /// Their memory, estimated.
    pub dirty_bytes: u64,
    /// All rows in memory.
    pub rows: u64,
    /// Their memory and that of all entries, estimated.
    pub resident_bytes: u64,
    /// Memory of the filter, beside that.
    pub filter_bytes: u64,
    /// Hashes that the filter knows; `None` while it does not answer.
    pub filter_hashes: Option<u64>,
}

impl Stats {
    /// Read units that a replay of the segments takes, at most: one for each 4 KiB, and one for each rest.
    #[must_use]
    pub fn read_units(&self) -> u64 {
        self.segments + self.stored_bytes / 4096
    }
}

impl<K: Key> KeyedState<K> {
    /// Memory of the entries changed since the last barrier, estimated. For back-pressure.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.log.dirty() * self.entry_bytes()
    }

    /// The mean of all entries, with their shares of the rows.
    fn entry_bytes(&self) -> u64 {
        let rows = self.rows.len() as u64;
        let entries: u64 = self.columns.iter().map(|column| column.entries(rows)).sum();
        self.rows_bytes() / entries.max(1)
    }

    /// Memory of all rows and entries, of the filter's chunks in the log and of the log's lists, estimated:
    /// `size_of` each part, and for what owns memory elsewhere its serialised length, or the mean of all.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.rows_bytes() + self.filter.chunks.takes().pinned_bytes
    }

    /// The same without chunks: what may leave once it is clean.
    pub(super) fn rows_bytes(&self) -> u64 {
        let rows = self.rows.len() as u64;
        let columns: u64 = self.columns.iter().map(|column| column.bytes(rows)).sum();
        self.rows.bytes(self.keys.get()) + columns + self.log.bytes()
    }

    /// Memory of the entries that are newer than their items, estimated.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.pinned_entries() * self.entry_bytes() + self.filter.chunks.takes().pinned_bytes
    }

    /// Entries that are newer than their items, the filter's chunks aside.
    fn pinned_entries(&self) -> u64 {
        self.log.pinned().saturating_sub(self.filter.chunks.takes().pinned)
    }

    /// Memory of the filter, which stays whatever leaves.
    #[must_use]
    pub fn filter_bytes(&self) -> u64 {
        self.filter.bytes()
    }

    /// Checkpoints of the log that cannot be cleaned before others complete.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.log.held_back()
    }

    /// How many rows are in memory.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Whether less than a quarter of what is in memory could leave.
    #[must_use]
    pub fn is_mostly_pinned(&self) -> bool {
        let rows = self.rows.len() as u64;
        let entries: u64 = self.columns.iter().map(|column| column.entries(rows)).sum();
        self.pinned_entries() > entries / 4 * 3
    }

    /// Serialises a value that has just changed, now and then, where only that tells what values take.
    pub(super) fn sample(&mut self) {
        if self.until_sample > 0 {
            self.until_sample -= 1;
            return;
        }
        self.until_sample = SAMPLE_EVERY;
        for (index, column) in self.columns.iter().enumerate() {
            if column.owns_memory()
                && let Some(entry) = self.log.newest_change(index)
            {
                // A value that cannot be serialised is told at the barrier.
                let _ = column.encode(entry, &mut Vec::new());
            }
        }
    }

    /// What the log holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (segments, stored_bytes) = self.log.stored();
        Stats {
            pinned_entries: self.log.pinned(),
            pinned_bytes: self.pinned_bytes(),
            checkpoints: self.log.checkpoints() as u64,
            segments,
            stored_bytes,
            dirty_entries: self.log.dirty(),
            dirty_bytes: self.dirty_bytes(),
            rows: self.rows.len() as u64,
            resident_bytes: self.resident_bytes(),
            filter_bytes: self.filter_bytes(),
            filter_hashes: self.filter.held().map(|(hashes, _)| hashes),
        }
    }
}
