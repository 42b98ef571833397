//! How long calls take: a log-normal distribution, given by its median and its 99th percentile.

use std::time::Duration;

use super::dice::Dice;

/// The 99th percentile of a normal distribution, in standard deviations.
const P99: f64 = 2.326;

/// A latency distribution, log-normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Half of all calls take no longer than this.
    pub p50: Duration,
    /// Of a hundred calls, 99 take no longer than this. Not below `p50`.
    pub p99: Duration,
}

impl Latency {
    /// None at all: calls still yield once, so others get their turn.
    pub const NONE: Self = Self { p50: Duration::ZERO, p99: Duration::ZERO };

    /// A distribution with these percentiles, in microseconds.
    #[must_use]
    pub const fn micros(p50: u64, p99: u64) -> Self {
        Self { p50: Duration::from_micros(p50), p99: Duration::from_micros(p99) }
    }

    /// Draws one.
    pub(super) fn draw(&self, dice: &mut Dice) -> Duration {
        let normal = dice.normal();
        if self.p99 <= self.p50 || self.p50.is_zero() {
            return self.p50;
        }
        let spread = log2(self.p99.as_secs_f64() / self.p50.as_secs_f64()) / P99;
        self.p50.mul_f64(exp2(spread * normal))
    }
}

/// Two to the power of `x`, of -60 to 60, by operations that are exact everywhere; good to 1e-4.
fn exp2(x: f64) -> f64 {
    let x = x.clamp(-60.0, 60.0);
    let whole = x.floor();
    let part = (x - whole) * std::f64::consts::LN_2;
    let series = (1..=7).rev().fold(1.0, |sum, n| 1.0 + sum * part / f64::from(n));
    let power = (1u64 << whole.abs() as u32) as f64;
    if whole < 0.0 { series / power } else { series * power }
}

/// The logarithm of `x`, of 1 and more, to the base of two, to 24 binary places.
fn log2(mut x: f64) -> f64 {
    let (mut log, mut digit) = (0.0, 1.0);
    while x >= 2.0 {
        x /= 2.0;
        log += 1.0;
    }
    for _ in 0..24 {
        x *= x;
        digit /= 2.0;
        if x >= 2.0 {
            x /= 2.0;
            log += digit;
        }
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_and_logarithms_are_right() {
        for x in [-3.7, -1.0, -0.2, 0.0, 0.5, 1.0, 4.4] {
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 1e-4, "{x}");
        }
        for x in [1.0, 1.5, 2.0, 7.3, 1000.0] {
            assert!((log2(x) - x.log2()).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn percentiles_are_as_given() {
        let latency = Latency::micros(4_000, 20_000);
        let mut dice = Dice::of(3, 1);
        let mut drawn: Vec<_> = (0..10_000).map(|_| latency.draw(&mut dice).as_micros()).collect();
        drawn.sort_unstable();
        assert!((3_800..4_200).contains(&drawn[5_000]), "{}", drawn[5_000]);
        assert!((17_000..23_000).contains(&drawn[9_900]), "{}", drawn[9_900]);
        assert_eq!(Latency::NONE.draw(&mut dice), Duration::ZERO);
    }
}
