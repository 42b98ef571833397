//! Many seeds, on as many threads as are wanted; each seed on one of them.
//!
//! Owns the sums over all of them. What one seed does is not changed by the others.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::report::{Counts, Failure, Report};
use super::{Options, run_with};
use crate::error::Result;
use crate::runtime::in_parallel;
use crate::splitmix::mix;

/// What many runs have met together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Runs, failed ones included.
    pub runs: u64,
    /// Runs over the embedded DynamoDB.
    pub over_dynamodb: u64,
    /// Their counts.
    pub counts: Counts,
    /// How many failed.
    pub failed: u64,
    /// A number that every line of every trace goes into, in whatever order the runs end: equal where
    /// all runs were equal.
    pub digest: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.over_dynamodb += u64::from(report.what.ends_with("dynamodb"));
        self.counts += report.counts;
        // No bit of the sum stands for one bit of what is added.
        self.digest = self.digest.wrapping_add(mix(report.seed ^ mix(report.digest)));
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, over_dynamodb, counts, failed, digest } = self;
        writeln!(f, "{runs} seeds, {over_dynamodb} of them over DynamoDB; {failed} failed")?;
        writeln!(f, "all traces together: {digest:016x}")?;
        write!(f, "of a run, in the mean:")?;
        let mut separator = "";
        for (name, number) in counts.named() {
            let mean = number as f64 / (*runs).max(1) as f64;
            write!(f, "{separator} {mean:.1} {name}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Runs all of `seeds` on `threads` threads and tells `each` how each one ended, in no order.
///
/// # Errors
/// [`crate::ErrorKind::Internal`] where there are no threads.
pub fn sweep(
    seeds: Range<u64>,
    options: &Options,
    threads: usize,
    each: impl Fn(&std::result::Result<Report, Failure>) + Sync,
) -> Result<Totals> {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    in_parallel(threads, || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let ended = run_with(seed, options);
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            match &ended {
                Ok(report) => totals.add(report),
                Err(failure) => {
                    totals.add(&failure.report);
                    totals.failed += 1;
                }
            }
            each(&ended);
        }
    })?;
    Ok(totals.into_inner().unwrap_or_else(PoisonError::into_inner))
}
