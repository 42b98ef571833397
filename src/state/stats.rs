//! How much there is, for limits, back-pressure and status.
//!
//! Owns the estimates. What follows from them is `task`'s.

use super::admission::Read;
use super::cleaning::Cleaning;
use super::descriptor::ColumnId;
use super::erased::Erased;
use super::heap::HeapBytes;
use super::keyed::{KeyedState, Row};
use crate::codec::Key;

/// What an item takes beside its value while it is being answered, about: the answer's text, and each attribute
/// with its name, as DynamoDB's SDK has them.
const ITEM_BYTES: u64 = 1024;
/// What a value is taken to have of whose kind none was seen yet.
const UNSEEN_BYTES: u64 = 16 << 10;

/// Whoever never ends a batch shall not have its rows remembered without end.
const MOST_USED: usize = 1 << 20;

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
        // Of what values own, those that are frozen and not serialised yet have about their share.
        let (changed, all) = (self.log.dirty(), self.unserialised());
        let heap = self.heap_bytes();
        let owned = u128::from(heap.dirty) * u128::from(changed) / u128::from(all.max(1));
        changed * self.entry_bytes(heap) + owned as u64
    }

    /// The mean of all entries, with their shares of the rows and without what their values own elsewhere.
    fn entry_bytes(&self, heap: HeapBytes) -> u64 {
        let rows = self.rows.len() as u64;
        let entries: u64 = self.columns.iter().map(|column| column.entries(rows)).sum();
        self.rows_bytes().saturating_sub(heap.all) / entries.max(1)
    }

    fn heap_bytes(&self) -> HeapBytes {
        self.columns.iter().fold(HeapBytes::default(), |sum, column| {
            let HeapBytes { all, dirty } = column.heap_bytes();
            HeapBytes { all: sum.all + all, dirty: sum.dirty + dirty }
        })
    }

    /// Memory of all rows and entries, of the filter's chunks in the log, of the log's lists and of what else is
    /// remembered of entries, estimated: `size_of` each part, and for what owns memory elsewhere its length when it
    /// was seen or serialised last.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let chunks = self.filter.chunks.takes().pinned_bytes;
        self.rows_bytes() + chunks + self.marks_bytes() + self.lists_bytes()
    }

    /// Memory of the marks of use.
    pub(super) fn marks_bytes(&self) -> u64 {
        // Two bits an entry, and four bytes where it waits, in vectors that may be half empty; what is beyond that is
        // of entries that have left, and will be used again.
        const MARKS: u64 = 9;
        let rows = self.rows.len() as u64;
        let of_column = |column: &Erased| column.recency_bytes().min(column.entries(rows) * MARKS);
        let of_columns: u64 = self.columns.iter().map(of_column).sum();
        self.recency.bytes().min(rows * MARKS) + of_columns
    }

    /// Memory of the lists of entries that are being cleaned, were cleaned, or may be gone, and of keys to be cleared.
    fn lists_bytes(&self) -> u64 {
        // What an empty list keeps is little, and nothing would ever free it.
        let listed = |list: &Vec<_>| if list.is_empty() { 0 } else { list.capacity() };
        let listed = listed(&self.leaving) + listed(&self.cooling);
        let bytes = (listed * size_of::<(ColumnId, u32)>() + self.scans.listed().bytes()) as u64;
        bytes + self.cleaning.as_ref().map_or(0, Cleaning::bytes)
    }

    /// The same without chunks, marks and lists: what may leave once it is clean.
    pub(super) fn rows_bytes(&self) -> u64 {
        let rows = self.rows.len() as u64;
        let columns: u64 = self.columns.iter().map(|column| column.bytes(rows)).sum();
        self.rows.bytes(&self.keys) + columns + self.log.bytes()
    }

    /// Memory of the entries that are newer than their items, estimated.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        let heap = self.heap_bytes();
        let entries = self.pinned_entries() * self.entry_bytes(heap);
        entries + heap.dirty + self.log.heap() + self.filter.chunks.takes().pinned_bytes
    }

    /// Entries that are newer than their items, the filter's chunks aside.
    fn pinned_entries(&self) -> u64 {
        self.log.pinned().saturating_sub(self.filter.chunks.takes().pinned)
    }

    /// What the answer to `read` takes, as far as others of its state tell.
    #[must_use]
    pub fn expected_bytes(&self, read: &Read) -> u64 {
        let typical = self.columns.get(read.column.index()).and_then(|c| c.typical_bytes());
        ITEM_BYTES + typical.unwrap_or(UNSEEN_BYTES)
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

    /// Whether a checkpoint of the log can be cleaned, or is being so.
    #[must_use]
    pub fn can_clean(&self) -> bool {
        self.log.can_clean()
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

    /// A batch is processed: sees how long the values are now that it may have changed, where only that tells
    /// what they take.
    pub(super) fn look_at_changes(&mut self) {
        if !self.owns_memory {
            return;
        }
        for column in self.columns.iter_mut().filter(|column| column.owns_memory()) {
            column.look(&self.used);
        }
        self.used.clear();
    }

    /// Of these rows the batch may change something.
    #[inline]
    pub(super) fn uses(&mut self, rows: &[Row]) {
        if self.owns_memory && self.used.len() < MOST_USED {
            self.used.extend_from_slice(rows);
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
            filter_hashes: self.filter.held(),
        }
    }
}
