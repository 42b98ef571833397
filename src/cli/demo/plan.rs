//! The moments at which a job is killed: random, and the same for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The share of an undisturbed run in which kills happen, so that each finds the job running.
const SHARE: f64 = 0.9;

/// How long after each start of the job it is killed.
///
/// An undisturbed run takes `records / rate` seconds. Each attempt gets an equal part of it and ends
/// at a random moment of that part: all together take less than the run, whatever is replayed.
pub(super) fn delays(seed: u64, kills: u32, records: u64, rate: u64) -> Vec<Duration> {
    let run = records as f64 / rate as f64;
    let part = SHARE * run / f64::from(kills);
    let mut random = StdRng::seed_from_u64(seed);
    (0..kills).map(|_| Duration::from_secs_f64(part * random.random::<f64>())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_delays_together_are_shorter_than_the_run(
            seed: u64, kills in 1u32..50, records in 1u64..1_000_000, rate in 1u64..100_000,
        ) {
            let delays = delays(seed, kills, records, rate);
            prop_assert_eq!(delays.len(), kills as usize);
            let total: f64 = delays.iter().map(Duration::as_secs_f64).sum();
            prop_assert!(total <= records as f64 / rate as f64);
        }
    }

    #[test]
    fn a_seed_gives_the_same_moments_and_another_one_others() {
        assert_eq!(delays(7, 5, 20_000, 2_000), delays(7, 5, 20_000, 2_000));
        assert_ne!(delays(7, 5, 20_000, 2_000), delays(8, 5, 20_000, 2_000));
    }
}
