//! A set of row numbers, one bit each.
//!
//! Owns the bits; what a bit stands for is its user's.

/// A growing set of small numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Adds `n`.
    pub(super) fn insert(&mut self, n: u32) {
        let word = n as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (n % 64);
    }

    /// Takes `n` out; whether it was in.
    pub(super) fn remove(&mut self, n: u32) -> bool {
        let was_in = self.contains(n);
        if was_in {
            self.0[n as usize / 64] &= !(1 << (n % 64));
        }
        was_in
    }

    /// Whether `n` is in.
    #[inline]
    pub(super) fn contains(&self, n: u32) -> bool {
        self.0.get(n as usize / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// Memory of the bits.
    pub(super) fn bytes(&self) -> u64 {
        (self.0.capacity() * 8) as u64
    }
}
