//! Memory pressure: what uncommitted changes and the log take, and who waits because of it.
//!
//! Owns the account and its bounds. Half of what uncommitted changes may take triggers a checkpoint
//! early, all of it stops the sources; so does a log that outgrows its bound by half of the rest of the
//! memory, because retained checkpoints hold its horizon back or cleaning does not keep pace. Only the
//! sources stop: the barrier that frees memory stands behind what is in channels and parked, so that is
//! always admitted, over the bound if need be.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::sync::{AtomicI64, Mutex, MutexGuard, Notify};

/// A cheap handle to one attempt's account.
#[derive(Clone, Debug)]
pub struct Pressure(Arc<Account>);

#[derive(Debug)]
struct Account {
    dirty_bytes: AtomicI64,
    resident_bytes: AtomicI64,
    pinned_bytes: AtomicI64,
    rows: AtomicI64,
    filter_bytes: AtomicI64,
    dirty_stop: i64,
    pinned_stop: i64,
    early: Notify,
    stopped: Mutex<Option<Reason>>,
    /// Not a `tokio::sync::watch`, which wakes its followers in an order of chance: then one seed of a
    /// simulation would not be one run.
    released: Notify,
}

/// Why sources have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Uncommitted changes take what they may: a checkpoint must complete.
    Uncommitted,
    /// The log takes more than it may: its oldest checkpoints must be materialised.
    Log,
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
    /// Of all, the filters of absent keys.
    pub filter_bytes: u64,
}

impl Pressure {
    /// For a cache of `cache_bytes` of which the log takes `log_max_bytes`.
    #[must_use]
    pub fn new(cache_bytes: u64, log_max_bytes: u64) -> Self {
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
        let rest = cache_bytes.saturating_sub(log_max_bytes);
        Self(Arc::new(Account {
            dirty_bytes: AtomicI64::new(0),
            resident_bytes: AtomicI64::new(0),
            pinned_bytes: AtomicI64::new(0),
            rows: AtomicI64::new(0),
            filter_bytes: AtomicI64::new(0),
            dirty_stop: signed(rest),
            // Above the bound: up to it nothing is cleaned, so nothing would ever let go.
            pinned_stop: signed(log_max_bytes.saturating_add((rest / 2).max(1))),
            early: Notify::new(),
            stopped: Mutex::new(None),
            released: Notify::new(),
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
        if after >= account.dirty_stop / 2 && bytes > 0 {
            account.early.notify_one();
        }
        if (after >= account.dirty_stop) != (before >= account.dirty_stop) {
            account.decide();
        }
    }

    /// A subtask's state took `before` and takes `now`: at barriers, and as its log shrinks.
    pub fn moved(&self, before: MemoryUse, now: MemoryUse) {
        let account = &*self.0;
        for (total, before, now) in [
            (&account.resident_bytes, before.resident_bytes, now.resident_bytes),
            (&account.pinned_bytes, before.pinned_bytes, now.pinned_bytes),
            (&account.rows, before.rows, now.rows),
            (&account.filter_bytes, before.filter_bytes, now.filter_bytes),
        ] {
            total.fetch_add(now as i64 - before as i64, Ordering::AcqRel);
        }
        account.decide();
    }

    /// What keyed state took when subtasks told last.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let load = |total: &AtomicI64| u64::try_from(total.load(Ordering::Relaxed)).unwrap_or(0);
        MemoryUse {
            resident_bytes: load(&self.0.resident_bytes),
            pinned_bytes: load(&self.0.pinned_bytes),
            rows: load(&self.0.rows),
            filter_bytes: load(&self.0.filter_bytes),
        }
    }

    /// Bytes of uncommitted changes.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        u64::try_from(self.0.dirty_bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Why sources have to wait, if they have to.
    #[must_use]
    pub fn stopped(&self) -> Option<Reason> {
        *self.0.stopped()
    }

    /// Ends when sources need not wait, which may be now.
    pub async fn released(&self) {
        let mut released = pin!(self.0.released.notified());
        loop {
            // Before looking: what is released between the look and the wait must wake us.
            released.as_mut().enable();
            if self.stopped().is_none() {
                return;
            }
            released.as_mut().await;
            released.set(self.0.released.notified());
        }
    }

    /// Ends when a checkpoint should be taken early.
    pub async fn early(&self) {
        self.0.early.notified().await;
    }
}

impl Account {
    /// Sets who waits from the totals of all subtasks: another may have moved them since.
    fn decide(&self) {
        let now = {
            let mut stopped = self.stopped();
            let now = if self.dirty_bytes.load(Ordering::Acquire) >= self.dirty_stop {
                Some(Reason::Uncommitted)
            } else if self.pinned_bytes.load(Ordering::Acquire) >= self.pinned_stop {
                Some(Reason::Log)
            } else {
                None
            };
            *stopped = now;
            now
        };
        if now.is_none() {
            self.released.notify_waiters();
        }
    }

    fn stopped(&self) -> MutexGuard<'_, Option<Reason>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn half_the_budget_asks_for_a_checkpoint_and_all_of_it_stops_the_sources() {
        let pressure = Pressure::new(150, 50);
        pressure.add(49);
        assert!(pressure.early().now_or_never().is_none());
        pressure.add(1);
        assert!(pressure.early().now_or_never().is_some());
        assert_eq!(pressure.stopped(), None);
        assert!(pressure.released().now_or_never().is_some());
        pressure.add(60);
        assert_eq!(pressure.stopped(), Some(Reason::Uncommitted));
        let mut released = pin!(pressure.released());
        assert!(released.as_mut().now_or_never().is_none());
        pressure.add(-60);
        assert!(released.now_or_never().is_some());
        assert_eq!(pressure.stopped(), None);
        assert_eq!(pressure.dirty_bytes(), 50);
    }

    /// It used to, where the rest of the memory was next to nothing: the sources waited for ever for a
    /// log that was not cleaned, since it did not exceed its bound.
    #[test]
    fn a_log_that_need_not_be_cleaned_does_not_stop_the_sources() {
        for rest in 0..3 {
            let pressure = Pressure::new(3000 + rest, 3000);
            let log = |pinned_bytes| MemoryUse { pinned_bytes, ..MemoryUse::default() };
            pressure.moved(log(0), log(3000));
            assert_eq!(pressure.stopped(), None, "{rest}");
            pressure.moved(log(3000), log(3001));
            assert_eq!(pressure.stopped(), Some(Reason::Log), "{rest}");
        }
    }

    #[test]
    fn a_log_that_cannot_shrink_stops_the_sources_until_it_does() {
        let pressure = Pressure::new(150, 50);
        let log = |pinned_bytes| MemoryUse { pinned_bytes, ..MemoryUse::default() };
        pressure.moved(log(0), log(99));
        assert_eq!(pressure.stopped(), None);
        pressure.moved(log(99), log(100));
        assert_eq!(pressure.stopped(), Some(Reason::Log));
        pressure.moved(log(100), log(20));
        assert_eq!(pressure.stopped(), None);
    }
}
