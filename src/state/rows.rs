//! The index from keys to rows, and the rows that are taken.
//!
//! Owns keys and row numbers; knows nothing of columns.

use super::bits::Bits;
use super::compact::Moves;
use super::index::{Index, NONE};
use super::key_bytes::KeyBytes;
use super::keyed::Row;
use super::large_pages;
use crate::codec::{Key, KeyHash, RecordKey};

/// What takes fewer bytes than this stays in the processor's cache anyway.
pub(super) const CACHED: usize = 1 << 18;

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
    index: Index,
    /// A vacant row keeps its last key until it is taken again, unless that is long.
    keys: Vec<K>,
    vacant: Vec<u32>,
    taken: Bits,
}

impl<K: Key> Rows<K> {
    pub(super) fn new() -> Self {
        Self {
            index: Index::default(),
            keys: Vec::new(),
            vacant: Vec::new(),
            taken: Bits::default(),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: &K) -> Option<u32> {
        self.index
            .find(hash, |row| K::RecordKey::DISTINCT_HASHES || self.keys[row as usize] == *key)
    }

    /// Of each of `hashes` some row whose key may be the one, else [`NONE`]: the first half of [`Rows::find`],
    /// which waits for the index alone. Whether there is one for each, and none of them can be another key's.
    #[inline]
    pub(super) fn candidates(
        &self,
        hashes: impl Iterator<Item = KeyHash> + Clone,
        rows: &mut Vec<Row>,
    ) -> bool {
        let start = rows.len();
        self.index.warm(hashes.clone());
        rows.extend(hashes.map(|hash| Row(self.index.candidate(hash))));
        // All are looked at, which is faster than to stop at one that is seldom there.
        let misses = rows[start..].iter().fold(false, |misses, row| misses | (row.0 == NONE));
        K::RecordKey::DISTINCT_HASHES && !misses
    }

    #[inline]
    pub(super) fn is_key_of(&self, row: u32, hash: KeyHash, key: &impl RecordKey<K>) -> bool {
        // Where hashes tell keys apart, none need be told from its hash.
        self.keys.get(row as usize).is_some_and(|other| {
            K::RecordKey::DISTINCT_HASHES || key.with_key(hash, |key| other == key)
        })
    }

    #[inline]
    pub(super) fn key(&self, row: u32) -> &K {
        &self.keys[row as usize]
    }

    /// Reads the keys of `rows`, for nothing but to have them in the cache.
    pub(super) fn warm_keys(&self, rows: &[Row]) {
        if self.keys.len() * size_of::<K>() < CACHED {
            return;
        }
        let key = |row: &Row| &self.keys[row.0 as usize];
        // One has to do something with them.
        let equal = rows.windows(2).filter(|two| key(&two[0]) == key(&two[1]));
        std::hint::black_box(equal.count());
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
        self.index.insert(hash, row);
        self.taken.insert(row);
        (row, is_new)
    }

    pub(super) fn remove(&mut self, row: u32, lengths: &mut KeyBytes) {
        let hash = self.keys[row as usize].key_hash();
        self.index.remove(hash, row);
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
        self.index.shrink_to_fit();
    }

    #[inline]
    pub(super) fn is_taken(&self, row: u32) -> bool {
        self.taken.contains(row)
    }

    /// Makes room for `rows` rows in all.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.index.reserve(rows);
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
        // Of a large one that has just grown. What is beyond that is of rows that have left and will be used again, or
        // the rest of a page.
        const INDEX: u64 = 28;
        let rows = self.index.len() as u64;
        rows * size_of::<K>() as u64
            + keys.of::<K>(rows)
            + (self.index.bytes() as u64).min(rows * INDEX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{DecodeError, KeyHasher, Schema};

    /// All have the same hash.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Clash(u64);

    impl Key for Clash {
        type RecordKey = Self;

        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }

        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            u64::decode(input).map(Self)
        }

        fn hash_into(&self, hasher: &mut KeyHasher) {
            hasher.write(&[7]);
        }

        fn schema() -> Schema {
            Schema::Word("clash")
        }
    }

    fn candidates<K: Key>(rows: &Rows<K>, keys: &[K]) -> (Vec<Row>, bool) {
        let mut found = Vec::new();
        let all_found = rows.candidates(keys.iter().map(K::key_hash), &mut found);
        (found, all_found)
    }

    #[test]
    fn keys_of_one_hash_are_told_apart() {
        let mut rows = Rows::new();
        let keys: Vec<_> = (0..40).map(Clash).collect();
        for key in &keys {
            rows.insert(key.key_hash(), key.clone());
        }
        for (row, key) in (0..).zip(&keys) {
            assert_eq!(rows.find(key.key_hash(), key), Some(row));
        }
        let (found, all_found) = candidates(&rows, &keys);
        assert!(
            found.iter().all(|row| rows.is_taken(row.0)) && !all_found,
            "they may be another's"
        );
        let hash = keys[0].key_hash();
        assert!(rows.is_key_of(found[0].0, hash, rows.key(found[0].0)));
        assert!(!rows.is_key_of(found[0].0, hash, &Clash(40)));
        rows.remove(20, &mut KeyBytes::default());
        assert_eq!(rows.find(keys[20].key_hash(), &keys[20]), None);
        assert_eq!(rows.find(keys[39].key_hash(), &keys[39]), Some(39));
    }

    #[test]
    fn a_batch_says_whether_all_of_it_is_there() {
        let mut rows = Rows::new();
        let (keys, new) = ([3u64, 1, 2], 7u64);
        keys.iter().for_each(|key| _ = rows.insert(key.key_hash(), *key));
        assert_eq!(candidates(&rows, &[2, 3, 2]), (vec![Row(2), Row(0), Row(2)], true));
        assert_eq!(candidates(&rows, &[2, new]), (vec![Row(2), Row(NONE)], false));
        assert!(!rows.is_key_of(NONE, new.key_hash(), &new));
    }
}
