//! How long a checkpoint keeps a worker from its records: the longest gap between two processed
//! batches from the barrier to the last slice. After the last barrier there are none to be kept.
//!
//! Reads the clock once a batch, and only while a checkpoint is being serialised.

use crate::clock::{Clock, Instant};
use crate::metrics::Metrics;

/// Measures one keyed subtask.
#[derive(Debug)]
pub(super) struct PauseMeter {
    clock: Clock,
    metrics: Metrics,
    /// The end of the last batch, while measuring.
    last: Option<Instant>,
    longest_us: u64,
}

impl PauseMeter {
    pub(super) fn new(clock: Clock, metrics: Metrics) -> Self {
        Self { clock, metrics, last: None, longest_us: 0 }
    }

    /// A barrier is aligned that records will follow.
    pub(super) fn barrier(&mut self) {
        self.last = Some(self.clock.now());
        self.longest_us = 0;
    }

    /// A batch was processed.
    pub(super) fn batch_done(&mut self) {
        if self.last.is_some() {
            self.measure();
        }
    }

    /// The last slice is done.
    pub(super) fn sliced(&mut self) {
        if self.last.is_some() {
            self.measure();
            self.last = None;
            self.metrics.add_checkpoint_pause(self.longest_us);
        }
    }

    fn measure(&mut self) {
        let now = self.clock.now();
        if let Some(last) = self.last.replace(now) {
            let gap = u64::try_from(now.duration_since(last).as_micros()).unwrap_or(u64::MAX);
            self.longest_us = self.longest_us.max(gap);
        }
    }
}
