//! How much there is, for limits, back-pressure and status.
//!
//! Owns the estimates. What follows from them is `task`'s.

use super::keyed::KeyedState;
use super::rows::Rows;
use crate::codec::Key;

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
    /// Entries changed since the last barrier, and those before it that are not serialised yet.
    pub dirty_entries: u64,
    /// Their memory, estimated.
    pub dirty_bytes: u64,
    /// All rows in memory.
    pub rows: u64,
    /// Their memory and that of all entries and of the filter, estimated.
    pub resident_bytes: u64,
    /// Memory of the filter.
    pub filter_bytes: u64,
    /// Hashes that the filter knows; `None` while it does not answer.
    pub filter_hashes: Option<u64>,
}

impl<K: Key> KeyedState<K> {
    /// Memory of the entries changed since the last barrier, or frozen by it and not serialised yet;
    /// estimated. For back-pressure.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_entries() * self.entry_bytes()
    }

    /// The mean of all entries, with their shares of the rows.
    fn entry_bytes(&self) -> u64 {
        let rows = self.rows.len() as u64;
        let entries: u64 = self.columns.iter().map(|column| column.entries(rows)).sum();
        self.rows_bytes() / entries.max(1)
    }

    /// Memory of all rows and entries, estimated: `size_of` each part, and for what owns memory elsewhere
    /// the mean of its serialised length; and that of the filter.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.rows_bytes() + self.filter.bytes()
    }

    fn rows_bytes(&self) -> u64 {
        let rows = self.rows.len() as u64;
        let columns: u64 = self.columns.iter().map(|column| column.bytes(rows)).sum();
        rows * Rows::<K>::row_bytes(self.keys.get()) + columns
    }

    /// What the log holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (segments, stored_bytes) = self.log.stored();
        Stats {
            pinned_entries: self.log.pinned(),
            pinned_bytes: self.log.pinned() * self.entry_bytes(),
            checkpoints: self.log.checkpoints() as u64,
            segments,
            stored_bytes,
            dirty_entries: self.dirty_entries(),
            dirty_bytes: self.dirty_bytes(),
            rows: self.rows.len() as u64,
            resident_bytes: self.resident_bytes(),
            filter_bytes: self.filter.bytes(),
            filter_hashes: self.filter.held().map(|(hashes, _)| hashes),
        }
    }
}
