//! The index from keys to rows, and the rows that are taken.
//!
//! Owns keys and row numbers; knows nothing of columns. The index takes the hash as it is: its low bits
//! choose the bucket and its top seven the tag, the key group those in between.

use hashbrown::HashTable;

use super::bits::Bits;
use super::compact::Moves;
use super::key_bytes::KeyBytes;
use super::large_pages::{self, LargePages};
use crate::codec::{Key, KeyHash};

/// Makes room for one element more by half as much again, or an eighth where that is much: doubling would
/// let a large table cost twice its content. What is that large is moved by its pages.
#[inline]
pub(super) fn grow<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        make_room(vec);
    }
}

#[cold]
fn make_room<T>(vec: &mut Vec<T>) {
    let large = vec.len() * size_of::<T>() > 1 << 20;
    large_pages::reserve(vec, vec.len() + (vec.len() / if large { 8 } else { 2 }).max(16));
}

/// The rows of one operator's keys.
pub(super) struct Rows<K> {
    index: HashTable<u32, LargePages>,
    /// A vacant row keeps its last key until it is taken again, unless that is long.
    keys: Vec<K>,
    vacant: Vec<u32>,
    taken: Bits,
}

impl<K: Key> Rows<K> {
    pub(super) fn new() -> Self {
        Self {
            index: HashTable::new_in(LargePages),
            keys: Vec::new(),
            vacant: Vec::new(),
            taken: Bits::default(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: &K) -> Option<u32> {
        self.index.find(hash.0, |&row| self.keys[row as usize] == *key).copied()
    }

    /// Some row whose key may be the one with this hash: the first half of [`Rows::find`], which waits
    /// for the index alone.
    #[inline]
    pub(super) fn candidate(&self, hash: KeyHash) -> Option<u32> {
        self.index.find(hash.0, |_| true).copied()
    }

    #[inline]
    pub(super) fn is_key_of(&self, row: u32, key: &K) -> bool {
        self.keys.get(row as usize).is_some_and(|other| other == key)
    }

    #[inline]
    pub(super) fn key(&self, row: u32) -> &K {
        &self.keys[row as usize]
    }

    /// Gives an absent key a row; `true` where that row is a new one at the end.
    pub(super) fn insert(&mut self, hash: KeyHash, key: K) -> (u32, bool) {
        let (row, is_new) = match self.vacant.pop() {
            Some(row) => {
                self.keys[row as usize] = key;
                (row, false)
            }
            None => {
                grow(&mut self.keys);
                self.keys.push(key);
                // More rows than this do not fit into memory: a row takes more than a byte.
                ((self.keys.len() - 1) as u32, true)
            }
        };
        let keys = &self.keys;
        self.index.insert_unique(hash.0, row, |&row| keys[row as usize].key_hash().0);
        self.taken.insert(row);
        (row, is_new)
    }

    pub(super) fn remove(&mut self, row: u32, lengths: &mut KeyBytes) {
        let hash = self.keys[row as usize].key_hash();
        if let Ok(entry) = self.index.find_entry(hash.0, |&other| other == row) {
            entry.remove();
        }
        if let Some(short) = lengths.forget(row) {
            self.keys[row as usize] = short;
        }
        self.taken.remove(row);
        self.vacant.push(row);
    }

    /// Rows move together.
    pub(super) fn apply(&mut self, moves: &Moves) {
        moves.apply(&mut self.keys);
        self.taken = moves.bits(&self.taken);
        self.vacant = Vec::new();
        moves.renumber(self.index.iter_mut());
        let keys = &self.keys;
        self.index.shrink_to_fit(|&row| keys[row as usize].key_hash().0);
    }

    #[inline]
    pub(super) fn is_taken(&self, row: u32) -> bool {
        self.taken.contains(row)
    }

    /// Makes room for `rows` rows in all.
    pub(super) fn reserve(&mut self, rows: usize) {
        let keys = &self.keys;
        let more = rows.saturating_sub(self.index.len());
        self.index.reserve(more, |&row| keys[row as usize].key_hash().0);
        large_pages::reserve(&mut self.keys, rows);
    }

    /// How many rows are taken.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Row numbers are smaller than this.
    pub(super) fn end(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Bytes of memory of all rows without their columns.
    pub(super) fn bytes(&self, keys: &KeyBytes) -> u64 {
        // Keys that come and go leave the index at a load of 7/32 or more; what is beyond that is of rows
        // that have left, and will be used again.
        const INDEX: u64 = 24;
        let rows = self.index.len() as u64;
        rows * size_of::<K>() as u64
            + keys.of::<K>(rows)
            + (self.index.allocation_size() as u64).min(rows * INDEX)
    }
}
