//! The moments at which a job is killed: random, and the same for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::{Error, Result};

/// The share of an undisturbed run in which kills happen, so that each finds the job running.
const SHARE: f64 = 0.9;

/// Checkpoints that an attempt's part must have room for, so that most of them complete some.
const CHECKPOINTS: u32 = 3;

/// Refuses so many kills that an attempt's part has no room for checkpoints, one an `interval`.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] that names the rate that would do.
pub(super) fn check(kills: u32, records: u64, rate: u64, interval: Duration) -> Result<()> {
    let least = (interval * CHECKPOINTS * kills).as_secs_f64();
    let slow = (SHARE * records as f64 / least).floor() as u64;
    if rate <= slow {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{kills} kills do not fit into {records} records at --rate {rate}: between two of them there is \
         no time for {CHECKPOINTS} checkpoints, one each {interval:?}; use --rate {} or less, or fewer --kills",
        slow.max(1)
    )))
}

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

    /// They used to be made, and the demo to fail for want of checkpoints.
    #[test]
    fn more_kills_than_leave_time_for_checkpoints_are_refused_with_a_rate_that_does() {
        let check = |kills, rate| check(kills, 20_000, rate, Duration::from_millis(100));
        check(20, 2_000).unwrap();
        check(30, 2_000).unwrap();
        let error = check(90, 2_000).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
        assert!(error.to_string().contains("use --rate 666 or less"), "{error}");
        check(90, 666).unwrap();
        check(1_000, 60).unwrap();
    }

    #[test]
    fn a_seed_gives_the_same_moments_and_another_one_others() {
        assert_eq!(delays(7, 5, 20_000, 2_000), delays(7, 5, 20_000, 2_000));
        assert_ne!(delays(7, 5, 20_000, 2_000), delays(8, 5, 20_000, 2_000));
    }
}
