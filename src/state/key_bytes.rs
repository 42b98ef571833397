//! What keys own on the heap: a long one by itself, of all others the mean.
//!
//! Owns which keys are long. A mean of all would hide a few keys of a megabyte behind millions of short ones that
//! are encoded more often.

use std::cell::RefCell;

use hashbrown::HashMap;

use super::compact::Moves;
use super::heap::MeanBytes;
use crate::codec::Key;

/// From so many bytes on a key is long.
const LONG: usize = 4096;

/// The lengths of encoded keys, by the numbers of their rows or entries.
#[derive(Debug, Default)]
pub(super) struct KeyBytes {
    short: MeanBytes,
    long: RefCell<Long>,
}

#[derive(Debug, Default)]
struct Long {
    lengths: HashMap<u32, usize>,
    sum: u64,
}

impl KeyBytes {
    /// The key of `number` was encoded.
    #[inline]
    pub(super) fn add(&self, number: u32, bytes: usize) {
        if bytes < LONG { self.short.add(bytes) } else { self.note(number, bytes) }
    }

    /// The key of `number` has so many bytes; only of a long one that is news.
    pub(super) fn note(&self, number: u32, bytes: usize) {
        if bytes < LONG {
            return;
        }
        let mut long = self.long.borrow_mut();
        let before = long.lengths.insert(number, bytes).unwrap_or_default();
        long.sum += bytes as u64 - before as u64;
    }

    /// The key of `number` is given away. Where it is a long one, what to keep in its place: the shortest there is.
    pub(super) fn forget<K: Key>(&mut self, number: u32) -> Option<K> {
        let long = self.long.get_mut();
        let bytes = long.lengths.remove(&number)?;
        long.sum -= bytes as u64;
        // Numbers, texts, tuples and options begin with it in their order. A key of the user's own may not.
        K::decode(&mut &[0; 64][..]).ok()
    }

    /// Keys move together.
    pub(super) fn renumber(&mut self, moves: &Moves) {
        let lengths = &mut self.long.get_mut().lengths;
        let moved = lengths.drain().filter_map(|(number, bytes)| Some((moves.to(number)?, bytes)));
        *lengths = moved.collect();
    }

    /// Of so many keys; nothing where a `K` owns nothing.
    pub(super) fn of<K>(&self, keys: u64) -> u64 {
        let long = self.long.borrow();
        let short = keys.saturating_sub(long.lengths.len() as u64);
        if std::mem::needs_drop::<K>() { long.sum + short * self.short.get() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_count_by_themselves_and_leave_nothing_behind() {
        let mut keys = KeyBytes::default();
        (0..1000).for_each(|_| keys.add(0, 10));
        keys.add(1, 1 << 20);
        keys.add(1, 1 << 20);
        keys.note(2, 5000);
        keys.note(3, 5);
        assert_eq!(keys.of::<String>(4), (1 << 20) + 5000 + 20);
        assert_eq!(keys.of::<u64>(4), 0);
        assert_eq!(keys.forget::<String>(0), None, "short");
        assert_eq!(keys.forget::<String>(1), Some(String::new()));
        assert_eq!(keys.forget::<(u128, Option<String>, char)>(2), Some((0, None, '\0')));
        assert_eq!(keys.of::<String>(2), 20);
    }
}
