//! Randomness that is the same on every machine and for every version of every dependency.
//!
//! Owns what is drawn from a generator (`SplitMix64`), by arithmetic that IEEE 754 fixes to
//! the last bit: a mathematical library may round otherwise elsewhere.

use std::time::Duration;

use crate::splitmix;

/// A generator of its own for each call, so that one call's draws do not shift another's.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The dice of call `number` of a run with `seed`.
    pub(super) fn of(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed);
        let mixed = dice.next() ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Self(mixed)
    }

    pub(super) fn next(&mut self) -> u64 {
        splitmix::next(&mut self.0)
    }

    /// From 0 up to, not including, 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with `probability`; never for 0, always for 1.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    /// One of `all`.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }

    /// From `least` to `most`.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.unit())
    }

    /// Of a normal distribution, nearly: the sum of twelve uniform numbers ends at ±6.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace is compared between machines: these numbers may never change.
    #[test]
    fn the_numbers_are_pinned() {
        let mut dice = Dice::of(1, 2);
        let drawn = [dice.next(), dice.next()];
        assert_eq!(drawn, [Dice::of(1, 2).next(), drawn[1]]);
        assert_ne!(Dice::of(1, 3).next(), drawn[0]);
        assert_ne!(Dice::of(2, 2).next(), drawn[0]);
        let mut reference = Dice(0);
        assert_eq!(reference.next(), 0xE220_A839_7B1D_CDAF, "SplitMix64 of 0");
    }

    #[test]
    fn chances_hold() {
        let mut dice = Dice::of(7, 7);
        let hits = (0..10_000).filter(|_| dice.chance(0.2)).count();
        assert!((1_900..2_100).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| dice.chance(1.0) && !dice.chance(0.0)));
        let mean = (0..10_000).map(|_| dice.normal()).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
    }
}
