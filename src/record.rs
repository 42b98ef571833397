//! Records in motion: batches, and where a record came from.
//!
//! Owns the words only; channels are `exchange`'s.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{Key, KeyHash, RecordKey};
use crate::ids::CheckpointId;

/// Where a record was read: its split and its position there. Order is promised for each key within
/// one split, so `position` orders all records of one split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The split's id.
    pub split: Arc<str>,
    /// Grows with each record of the split: a byte offset in files, an index elsewhere.
    pub position: u64,
}

/// Records as a source gives them out, with their origins where these are wanted.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// The records, in order.
    pub values: Vec<T>,
    /// As many as `values` where origins are wanted, else empty.
    pub origins: Vec<Origin>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { values: Vec::new(), origins: Vec::new() }
    }
}

/// A record and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positioned<T> {
    /// Where it was read.
    pub origin: Origin,
    /// The record.
    pub value: T,
}

/// The line between two checkpoints, as it flows with the records. Flink: `CheckpointBarrier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// What stands before the barrier belongs to this checkpoint.
    pub checkpoint: CheckpointId,
    /// Nothing but further barriers will follow: a graceful stop, or the end of all input.
    pub last: bool,
}

/// What travels in a channel: batches, and marks between them.
#[derive(Debug)]
pub enum Element<T> {
    /// Records, in order.
    Batch(Vec<T>),
    /// A checkpoint's line.
    Barrier(Barrier),
    /// No more records will come: flush what waits for more.
    End,
}

/// A record on its way to the owner of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed<K: Key, T> {
    /// The hash of the key, computed once, where the record was keyed.
    pub hash: KeyHash,
    /// The key, unless the hash tells it.
    pub record_key: K::RecordKey,
    /// The record.
    pub value: T,
}

impl<K: Key, T> Keyed<K, T> {
    /// Hashes the key.
    #[inline]
    pub fn new(key: K, value: T) -> Self {
        let hash = key.key_hash();
        Self { hash, record_key: K::RecordKey::of(key, hash), value }
    }

    /// Shows the key to `look`.
    #[inline]
    pub fn with_key<R>(&self, look: impl FnOnce(&K) -> R) -> R {
        self.record_key.with_key(self.hash, look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_take_no_room_beside_their_hashes() {
        let numbers = [size_of::<Keyed<u64, u64>>(), size_of::<Keyed<i64, u64>>()];
        assert_eq!(
            (numbers, size_of::<Keyed<u32, ()>>(), size_of::<Keyed<i32, ()>>()),
            ([16; 2], 8, 8)
        );
        let others = [size_of::<Keyed<u16, u64>>(), size_of::<Keyed<u128, ()>>()];
        assert!(others.iter().all(|size| *size >= 24), "{others:?}");
        assert_eq!(size_of::<Keyed<String, ()>>(), 8 + size_of::<String>());
    }
}
