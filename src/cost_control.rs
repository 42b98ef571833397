//! What a job does to cost less: checkpoints less often, and materialises lazily. A cheap handle, shared by whoever
//! watches the bill and by those who do either.
//!
//! Owns the two settings. `runtime` decides when they change; without `cost.max-usd-per-hour` they never do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The levers of one run; clones share them.
#[derive(Clone, Debug)]
pub struct CostControl(Arc<Levers>);

#[derive(Debug)]
struct Levers {
    /// By which the checkpoint interval is longer than configured; at least 1.
    stretch: AtomicU32,
    /// Whether `materialize: eager` is as good as lazy.
    lazy: AtomicBool,
}

impl Default for CostControl {
    fn default() -> Self {
        Self(Arc::new(Levers { stretch: AtomicU32::new(1), lazy: AtomicBool::new(false) }))
    }
}

impl CostControl {
    /// The checkpoint interval in force where `interval` is configured.
    #[must_use]
    pub fn interval(&self, interval: Duration) -> Duration {
        interval.saturating_mul(self.stretch())
    }

    /// By which factor the checkpoint interval is longer than configured.
    #[must_use]
    pub fn stretch(&self) -> u32 {
        self.0.stretch.load(Ordering::Relaxed)
    }

    /// Whether entries are materialised no earlier than the log's bound demands, whatever is
    /// configured.
    #[must_use]
    pub fn is_lazy(&self) -> bool {
        self.0.lazy.load(Ordering::Relaxed)
    }

    /// Moves both levers; `stretch` is at least 1.
    pub fn set(&self, stretch: u32, lazy: bool) {
        self.0.stretch.store(stretch.max(1), Ordering::Relaxed);
        self.0.lazy.store(lazy, Ordering::Relaxed);
    }
}
