//! Memory pressure: what uncommitted changes take, and who waits because of it.
//!
//! Owns the account and the two bounds: past the first a checkpoint is taken early, past the second
//! the sources stop. Only the sources do: the barrier that frees memory stands behind what is in
//! channels and parked, so that is always admitted, over the bound if need be.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{Notify, watch};

/// A cheap handle to one attempt's account.
#[derive(Clone, Debug)]
pub struct Pressure(Arc<Account>);

#[derive(Debug)]
struct Account {
    dirty_bytes: AtomicI64,
    early_bytes: i64,
    stop_bytes: i64,
    early: Notify,
    stopped: watch::Sender<bool>,
    resident_bytes: AtomicI64,
    pinned_bytes: AtomicI64,
    rows: AtomicI64,
}

/// What keyed state takes in memory, over all subtasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// All rows.
    pub resident_bytes: u64,
    /// Entries that only the log has.
    pub pinned_bytes: u64,
    /// Keys.
    pub rows: u64,
}

impl Pressure {
    /// `budget_bytes` is what uncommitted changes may take; half of it triggers a checkpoint.
    #[must_use]
    pub fn new(budget_bytes: u64) -> Self {
        let stop_bytes = i64::try_from(budget_bytes).unwrap_or(i64::MAX).max(1);
        Self(Arc::new(Account {
            dirty_bytes: AtomicI64::new(0),
            early_bytes: stop_bytes / 2,
            stop_bytes,
            early: Notify::new(),
            stopped: watch::channel(false).0,
            resident_bytes: AtomicI64::new(0),
            pinned_bytes: AtomicI64::new(0),
            rows: AtomicI64::new(0),
        }))
    }

    /// Adds what a subtask's uncommitted changes have grown by, or shrunk; once a batch.
    pub fn add(&self, bytes: i64) {
        if bytes == 0 {
            return;
        }
        let account = &*self.0;
        let before = account.dirty_bytes.fetch_add(bytes, Ordering::AcqRel);
        let after = before + bytes;
        if after >= account.early_bytes && bytes > 0 {
            account.early.notify_one();
        }
        let stop = after >= account.stop_bytes;
        if stop != (before >= account.stop_bytes) {
            account.stopped.send_if_modified(|stopped| {
                // Another subtask may have crossed the bound since: the account decides.
                let now = account.dirty_bytes.load(Ordering::Acquire) >= account.stop_bytes;
                std::mem::replace(stopped, now) != now
            });
        }
    }

    /// A subtask's state took `before` and takes `now`; for the status only, once a checkpoint.
    pub fn moved(&self, before: MemoryUse, now: MemoryUse) {
        let account = &*self.0;
        for (total, before, now) in [
            (&account.resident_bytes, before.resident_bytes, now.resident_bytes),
            (&account.pinned_bytes, before.pinned_bytes, now.pinned_bytes),
            (&account.rows, before.rows, now.rows),
        ] {
            total.fetch_add(now as i64 - before as i64, Ordering::Relaxed);
        }
    }

    /// What keyed state took at the subtasks' last barriers.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let load = |total: &AtomicI64| u64::try_from(total.load(Ordering::Relaxed)).unwrap_or(0);
        MemoryUse {
            resident_bytes: load(&self.0.resident_bytes),
            pinned_bytes: load(&self.0.pinned_bytes),
            rows: load(&self.0.rows),
        }
    }

    /// Bytes of uncommitted changes.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        u64::try_from(self.0.dirty_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether sources have to wait.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.stopped.borrow()
    }

    /// For a source: follows whether it has to wait.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.stopped.subscribe()
    }

    /// Ends when a checkpoint should be taken early.
    pub async fn early(&self) {
        self.0.early.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn half_the_budget_asks_for_a_checkpoint_and_all_of_it_stops_the_sources() {
        let pressure = Pressure::new(100);
        pressure.add(49);
        assert!(pressure.early().now_or_never().is_none());
        pressure.add(1);
        assert!(pressure.early().now_or_never().is_some());
        assert!(!pressure.is_stopped());
        pressure.add(60);
        assert!(pressure.is_stopped());
        pressure.add(-60);
        assert!(!pressure.is_stopped());
        assert_eq!(pressure.dirty_bytes(), 50);
    }
}
