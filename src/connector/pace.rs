//! An even rate limit: small grants about ten milliseconds apart.
//!
//! Owns the arithmetic. All readers of a source share one [`Pace`], so the rate holds for the whole
//! source whatever its parallelism; each reader holds one grant at a time and takes a lock for each
//! grant, not for each record.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Instant};

/// How long a source that fell behind (back-pressure, a slow checkpoint) may catch up.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Grants in a second: one is what ten milliseconds are worth, but at least one record.
const GRANTS_PER_SECOND: u64 = 100;

/// The rate that all readers of one source share.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u64,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most `per_second` records a second; 0 counts as 1.
    pub(super) fn new(per_second: u64) -> Arc<Self> {
        Arc::new(Self { per_second: per_second.max(1), next: Mutex::new(None) })
    }

    /// The next free grant: when it may be used, and for how many records.
    fn reserve(&self, now: Instant) -> (Instant, u64) {
        let records = (self.per_second / GRANTS_PER_SECOND).max(1);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |n| n.max(earliest));
        let nanos = u128::from(records) * 1_000_000_000 / u128::from(self.per_second);
        *next = Some(at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        (at, records)
    }
}

/// One reader's part of a [`Pace`], or no limit.
#[derive(Debug)]
pub(super) struct Paced {
    pace: Option<Arc<Pace>>,
    grant: Option<(Instant, u64)>,
}

impl Paced {
    pub(super) fn new(pace: Option<Arc<Pace>>) -> Self {
        Self { pace, grant: None }
    }

    /// Waits until records may be given out and says how many, at most `most`. Dropped and called
    /// again, it waits for the same moment.
    pub(super) async fn allowance(&mut self, clock: &Clock, most: usize) -> usize {
        let Some(pace) = &self.pace else { return most };
        let now = clock.now();
        let (at, records) = *self.grant.get_or_insert_with(|| pace.reserve(now));
        if at > now {
            clock.sleep_until(at).await;
        }
        most.min(usize::try_from(records).unwrap_or(usize::MAX))
    }

    /// Takes `records` off the grant.
    pub(super) fn spend(&mut self, records: usize) {
        if let Some((_, left)) = &mut self.grant {
            *left = left.saturating_sub(records as u64);
            if *left == 0 {
                self.grant = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn given_in(per_second: u64, readers: usize, span: Duration) -> u64 {
        let clock = Clock::starting_at(0);
        let pace = Pace::new(per_second);
        let until = clock.now() + span;
        let one = |pace: Arc<Pace>| async move {
            let mut paced = Paced::new(Some(pace));
            let mut given = 0;
            loop {
                let n = paced.allowance(&clock, 1000).await;
                if clock.now() >= until {
                    return given;
                }
                paced.spend(n);
                given += n as u64;
            }
        };
        let all = (0..readers).map(|_| one(Arc::clone(&pace)));
        futures::future::join_all(all).await.into_iter().sum()
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_for_all_readers_together() {
        for (rate, readers) in [(2000, 1), (2000, 4), (7, 1), (150, 3), (1_000_000, 2)] {
            let given = given_in(rate, readers, Duration::from_secs(10)).await;
            let wanted = rate * 10;
            assert!(given.abs_diff(wanted) <= wanted / 50 + 1, "{rate}/{readers}: {given}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_again_and_again_still_ends() {
        let clock = Clock::starting_at(0);
        let mut paced = Paced::new(Some(Pace::new(10)));
        paced.allowance(&clock, 1).await;
        paced.spend(1);
        let begin = clock.now();
        loop {
            let short = clock.sleep(Duration::from_millis(3));
            tokio::select! {
                n = paced.allowance(&clock, 1) => { assert_eq!(n, 1); break }
                () = short => {}
            }
        }
        assert!(clock.now() - begin <= Duration::from_millis(105));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_stood_still_catches_up_for_a_moment_only() {
        let clock = Clock::starting_at(0);
        let mut paced = Paced::new(Some(Pace::new(1000)));
        paced.allowance(&clock, 1000).await;
        paced.spend(10);
        clock.sleep(Duration::from_secs(60)).await;
        let mut at_once = 0;
        let now = clock.now();
        loop {
            let n = paced.allowance(&clock, 1000).await;
            if clock.now() > now {
                break;
            }
            paced.spend(n);
            at_once += n;
        }
        assert!((90..=130).contains(&at_once), "{at_once}");
    }
}
