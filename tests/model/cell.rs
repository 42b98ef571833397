//! Parts of a state that many states share, each with its hash.
//!
//! A step changes few parts of a state: the others are counted references, and hashing a state reads
//! one number for each.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A shared value and its hash.
pub(crate) struct Cell<T> {
    hash: u64,
    value: Arc<T>,
}

impl<T: Hash> Cell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { hash: hash_of(&value), value: Arc::new(value) }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Changes the value; others that share it keep theirs.
    pub(crate) fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        let result = change(Arc::make_mut(&mut self.value));
        self.hash = hash_of(&*self.value);
        result
    }
}

impl<T: Hash + Default> Default for Cell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, value: Arc::clone(&self.value) }
    }
}

impl<T> Deref for Cell<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Hash for Cell<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: PartialEq> PartialEq for Cell<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.value, &other.value) || *self.value == *other.value)
    }
}

impl<T: Eq> Eq for Cell<T> {}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = Mix(0x9E37_79B9_7F4A_7C15);
    value.hash(&mut hasher);
    hasher.finish()
}

/// Multiplies each word into 128 bits and folds them: the same on every machine, and fast on the few
/// words that a part has.
struct Mix(u64);

impl Mix {
    fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0x9E37_79B9_7F4A_7C15;
        let folded = (product as u64) ^ ((product >> 64) as u64);
        // A zero must not make what came before it disappear.
        self.0 = folded.wrapping_add(self.0.rotate_left(29)) ^ 0xA076_1D64_78BD_642F;
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 60);
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.word(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.word(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.word(n);
    }

    fn write_usize(&mut self, n: usize) {
        self.word(n as u64);
    }

    fn finish(&self) -> u64 {
        let mut last = Self(self.0);
        last.word(0x5851_F42D_4C95_7F2D);
        last.0
    }
}
