//! Memory pressure: what keyed state, its uncommitted changes and its log take, and who waits because of it.
//!
//! ```text
//!   0 ───────────────── target ── limit        all state, at its estimated size
//!        nothing leaves │ clean  │ sources stop
//!                       │ leaves │
//! ```
//! Owns the account of all subtasks and its bounds. Three quarters of what uncommitted changes may take
//! trigger a checkpoint early, what a barrier has frozen aside; all of it stops the sources; so do a log that exceeds its bound, because
//! cleaning does not keep pace or retained checkpoints hold its horizon back, and state that cannot leave
//! memory. Only the sources stop: the barrier that frees memory stands behind what is in channels and
//! parked, so that is always admitted, over the bound if need be. The most that it ever came to is kept.

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
    fixed_bytes: AtomicI64,
    pinned_bytes: AtomicI64,
    frozen_bytes: AtomicI64,
    held_back: AtomicI64,
    uncleanable: AtomicI64,
    rows: AtomicI64,
    most_bytes: AtomicI64,
    cache: i64,
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
    /// All state takes more than it may, and what could leave has left: as the two above.
    Memory,
}

/// What keyed state takes in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// All rows and entries, and what was read and is on its way to them.
    pub resident_bytes: u64,
    /// What stays whatever leaves: the filters of absent keys.
    pub fixed_bytes: u64,
    /// Entries that only the log has.
    pub pinned_bytes: u64,
    /// Of these, what no checkpoint has committed.
    pub dirty_bytes: u64,
    /// Of these, what a barrier has frozen for a checkpoint that is under way.
    pub frozen_bytes: u64,
    /// Checkpoints of logs that cannot be cleaned before others complete.
    pub held_back: u64,
    /// Logs that have nothing but changes that no checkpoint has committed: only one helps.
    pub uncleanable: u64,
    /// Keys.
    pub rows: u64,
}

impl Pressure {
    /// For a cache of `cache_bytes` of which the log takes `log_max_bytes`.
    #[must_use]
    pub fn new(cache_bytes: u64, log_max_bytes: u64) -> Self {
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
        let rest = cache_bytes.saturating_sub(log_max_bytes);
        let zero = || AtomicI64::new(0);
        Self(Arc::new(Account {
            dirty_bytes: zero(),
            resident_bytes: zero(),
            fixed_bytes: zero(),
            pinned_bytes: zero(),
            frozen_bytes: zero(),
            held_back: zero(),
            uncleanable: zero(),
            rows: zero(),
            most_bytes: zero(),
            cache: signed(cache_bytes),
            // What is uncommitted is the log's once it is committed.
            dirty_stop: signed(rest.min(log_max_bytes)),
            // Above the bound: up to it nothing need be cleaned, so nothing would ever let go.
            pinned_stop: signed(log_max_bytes).saturating_add(1),
            early: Notify::new(),
            stopped: Mutex::new(None),
            released: Notify::new(),
        }))
    }

    /// A subtask's state took `before` and takes `now`.
    pub fn moved(&self, before: MemoryUse, now: MemoryUse) {
        if before == now {
            return;
        }
        let account = &*self.0;
        let mut grows = false;
        for (total, before, now) in [
            (&account.resident_bytes, before.resident_bytes, now.resident_bytes),
            (&account.fixed_bytes, before.fixed_bytes, now.fixed_bytes),
            (&account.pinned_bytes, before.pinned_bytes, now.pinned_bytes),
            (&account.dirty_bytes, before.dirty_bytes, now.dirty_bytes),
            (&account.frozen_bytes, before.frozen_bytes, now.frozen_bytes),
            (&account.held_back, before.held_back, now.held_back),
            (&account.uncleanable, before.uncleanable, now.uncleanable),
            (&account.rows, before.rows, now.rows),
        ] {
            if before != now {
                total.fetch_add(now as i64 - before as i64, Ordering::AcqRel);
                grows |= now > before;
            }
        }
        if grows {
            let all = load(&account.resident_bytes).saturating_add(load(&account.fixed_bytes));
            account.most_bytes.fetch_max(all, Ordering::Relaxed);
        }
        account.decide();
    }

    /// What keyed state takes, over all subtasks.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        let load = |total: &AtomicI64| u64::try_from(load(total)).unwrap_or(0);
        MemoryUse {
            resident_bytes: load(&self.0.resident_bytes),
            fixed_bytes: load(&self.0.fixed_bytes),
            pinned_bytes: load(&self.0.pinned_bytes),
            dirty_bytes: load(&self.0.dirty_bytes),
            frozen_bytes: load(&self.0.frozen_bytes),
            held_back: load(&self.0.held_back),
            uncleanable: load(&self.0.uncleanable),
            rows: load(&self.0.rows),
        }
    }

    /// A checkpoint has completed: where sources wait and it did not suffice, the next one is wanted.
    pub fn completed(&self) {
        self.0.decide();
    }

    /// The most that keyed state ever took, beyond its bound included.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        u64::try_from(load(&self.0.most_bytes)).unwrap_or(0)
    }

    /// How much state should leave; what may leave last is a subtask's own business.
    #[must_use]
    pub fn excess_bytes(&self) -> u64 {
        let excess = load(&self.0.resident_bytes) - self.0.target();
        u64::try_from(excess).unwrap_or(0)
    }

    /// What state may take before any should leave.
    #[must_use]
    pub fn target_bytes(&self) -> u64 {
        u64::try_from(self.0.target()).unwrap_or(0)
    }

    /// Whether it is time to remember which entries are used, so that the longest unused leave first.
    #[must_use]
    pub fn is_half_full(&self) -> bool {
        load(&self.0.resident_bytes) > self.0.limit() / 2
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

fn load(total: &AtomicI64) -> i64 {
    total.load(Ordering::Acquire)
}

impl Account {
    /// What all state may take: at least half of the cache, whatever stays of it.
    fn limit(&self) -> i64 {
        (self.cache - load(&self.fixed_bytes)).max(self.cache / 2)
    }

    /// What state is brought down to: the rest is for what its vectors have grown beyond their content.
    fn target(&self) -> i64 {
        self.limit() / 8 * 7
    }

    /// Sets who waits from the totals of all subtasks: another may have moved them since.
    fn decide(&self) {
        let (now, early) = {
            let mut stopped = self.stopped();
            let dirty = load(&self.dirty_bytes);
            let now = if dirty >= self.dirty_stop {
                Some(Reason::Uncommitted)
            } else if load(&self.pinned_bytes) >= self.pinned_stop {
                Some(Reason::Log)
            } else if load(&self.resident_bytes) > self.limit() {
                Some(Reason::Memory)
            } else {
                None
            };
            *stopped = now;
            // What is frozen needs no checkpoint but the one that is under way.
            let frozen = load(&self.frozen_bytes);
            let changed = dirty - frozen;
            let is_much = changed > 0 && changed / 3 >= self.dirty_stop / 4;
            let early = match now {
                None => is_much,
                // As long as cleaning goes on, a little that has changed, as the filter's chunks do by it, need not
                // be committed each time. Once nothing is left to be cleaned it must be, and so must what retained
                // checkpoints hold back, which move on with each that completes; those under way may suffice.
                Some(_) => {
                    let is_held = load(&self.held_back) > 0 || load(&self.uncleanable) > 0;
                    is_much
                        || changed > 0 && changed >= self.dirty_stop / 16
                        || frozen == 0 && is_held
                }
            };
            (now, early)
        };
        if early {
            self.early.notify_one();
        }
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

    fn dirty(bytes: u64) -> MemoryUse {
        MemoryUse { dirty_bytes: bytes, ..MemoryUse::default() }
    }

    fn log(bytes: u64) -> MemoryUse {
        MemoryUse { pinned_bytes: bytes, ..MemoryUse::default() }
    }

    fn resident(bytes: u64) -> MemoryUse {
        MemoryUse { resident_bytes: bytes, ..MemoryUse::default() }
    }

    #[test]
    fn three_quarters_ask_for_a_checkpoint_and_all_of_it_stops_the_sources() {
        let pressure = Pressure::new(200, 100);
        pressure.moved(dirty(0), dirty(74));
        assert!(pressure.early().now_or_never().is_none());
        pressure.moved(dirty(74), dirty(75));
        assert!(pressure.early().now_or_never().is_some());
        assert_eq!(pressure.stopped(), None);
        assert!(pressure.released().now_or_never().is_some());
        pressure.moved(dirty(75), dirty(120));
        assert_eq!(pressure.stopped(), Some(Reason::Uncommitted));
        let mut released = pin!(pressure.released());
        assert!(released.as_mut().now_or_never().is_none());
        pressure.moved(dirty(120), dirty(60));
        assert!(released.now_or_never().is_some());
        assert_eq!(pressure.stopped(), None);
        assert_eq!(pressure.memory().dirty_bytes, 60);
    }

    /// Each checkpoint that was taken early used to be followed by another one.
    #[test]
    fn what_is_frozen_asks_for_no_other_checkpoint() {
        let pressure = Pressure::new(200, 100);
        let frozen = |changed: u64| MemoryUse { frozen_bytes: 20, ..dirty(20 + changed) };
        pressure.moved(dirty(0), dirty(75));
        assert!(pressure.early().now_or_never().is_some());
        let all = MemoryUse { frozen_bytes: 75, ..dirty(75) };
        pressure.moved(dirty(75), all);
        pressure.moved(all, frozen(74));
        assert!(pressure.early().now_or_never().is_none());
        pressure.moved(frozen(74), frozen(75));
        assert!(pressure.early().now_or_never().is_some());
        assert_eq!(pressure.memory().frozen_bytes, 20);
        pressure.moved(frozen(75), frozen(80));
        assert_eq!(pressure.stopped(), Some(Reason::Uncommitted), "it takes memory all the same");
    }

    /// It used to, where the rest of the memory was next to nothing: the sources waited for ever for a
    /// log that was not cleaned, since it did not exceed its bound.
    #[test]
    fn a_log_that_need_not_be_cleaned_does_not_stop_the_sources() {
        for rest in 0..3 {
            let pressure = Pressure::new(3000 + rest, 3000);
            pressure.moved(log(0), log(3000));
            assert_eq!(pressure.stopped(), None, "{rest}");
            pressure.moved(log(3000), log(3001));
            assert_eq!(pressure.stopped(), Some(Reason::Log), "{rest}");
        }
    }

    #[test]
    fn a_log_that_cannot_shrink_stops_the_sources_until_it_does() {
        let pressure = Pressure::new(150, 50);
        pressure.moved(log(0), log(50));
        assert_eq!(pressure.stopped(), None);
        pressure.moved(log(50), log(51));
        assert_eq!(pressure.stopped(), Some(Reason::Log));
        pressure.moved(log(51), log(20));
        assert_eq!(pressure.stopped(), None);
    }

    #[test]
    fn state_that_cannot_leave_stops_the_sources_until_it_does() {
        let pressure = Pressure::new(800, 400);
        pressure.moved(resident(0), resident(700));
        assert_eq!(pressure.excess_bytes(), 0);
        pressure.moved(resident(700), resident(800));
        assert_eq!((pressure.excess_bytes(), pressure.stopped()), (100, None));
        pressure.moved(resident(800), resident(900));
        assert_eq!(pressure.stopped(), Some(Reason::Memory));
        assert!(pressure.early().now_or_never().is_none(), "there is nothing to commit");
        let changed = MemoryUse { uncleanable: 1, ..dirty(1) };
        pressure.moved(dirty(0), changed);
        assert!(pressure.early().now_or_never().is_some());
        pressure.moved(changed, dirty(0));
        pressure.completed();
        assert!(pressure.early().now_or_never().is_none());
        pressure.moved(resident(900), resident(800));
        assert_eq!((pressure.stopped(), pressure.most_bytes()), (None, 900));
    }

    /// Sources used to wait for the interval, as often as there are retained checkpoints.
    #[test]
    fn what_retained_checkpoints_hold_back_asks_for_the_next_until_it_is_let_go() {
        let pressure = Pressure::new(800, 400);
        let held = |held_back| MemoryUse { held_back, ..log(500) };
        pressure.moved(MemoryUse::default(), held(2));
        assert_eq!(pressure.stopped(), Some(Reason::Log));
        assert!(pressure.early().now_or_never().is_some());
        assert!(pressure.early().now_or_never().is_none());
        pressure.completed();
        assert!(pressure.early().now_or_never().is_some(), "nothing has changed");
        pressure.moved(held(2), held(0));
        pressure.completed();
        assert!(pressure.early().now_or_never().is_none(), "it is cleaned now");
    }

    /// Sources that were stopped used to have a second checkpoint, of next to nothing, taken after the one that let
    /// them go on; and while their log was cleaned one after the other, for the hashes of what was written.
    #[test]
    fn sources_that_wait_ask_for_no_checkpoint_that_would_not_help_them() {
        let pressure = Pressure::new(800, 400);
        let frozen =
            |changed, of| MemoryUse { frozen_bytes: of, held_back: 1, ..dirty(changed + of) };
        pressure.moved(dirty(0), dirty(400));
        assert_eq!(pressure.stopped(), Some(Reason::Uncommitted));
        assert!(pressure.early().now_or_never().is_some());
        pressure.moved(dirty(400), frozen(0, 400));
        pressure.moved(frozen(0, 400), frozen(24, 400));
        assert!(pressure.early().now_or_never().is_none(), "one is under way");
        pressure.moved(frozen(24, 400), frozen(25, 400));
        assert!(pressure.early().now_or_never().is_some(), "it will be much by then");
        // It has completed, and the log is too long.
        let cleaned = |changed| MemoryUse { pinned_bytes: 500, ..dirty(changed) };
        pressure.moved(frozen(25, 400), cleaned(24));
        pressure.completed();
        assert_eq!(pressure.stopped(), Some(Reason::Log));
        assert!(pressure.early().now_or_never().is_none(), "it is being cleaned");
        pressure.moved(cleaned(24), cleaned(25));
        assert!(pressure.early().now_or_never().is_some());
        pressure.moved(cleaned(25), cleaned(1));
        assert!(pressure.early().now_or_never().is_none());
        // Chunks count in full among what is pinned, and as one change each.
        let all = MemoryUse { uncleanable: 1, ..cleaned(1) };
        pressure.moved(cleaned(1), all);
        assert!(pressure.early().now_or_never().is_some(), "nothing else helps");
    }

    /// Else nothing that is let go of would ever be enough.
    #[test]
    fn what_always_stays_leaves_at_least_half_to_the_rest() {
        let pressure = Pressure::new(800, 400);
        let fixed = MemoryUse { fixed_bytes: 100, ..MemoryUse::default() };
        pressure.moved(MemoryUse::default(), fixed);
        assert_eq!((pressure.0.limit(), pressure.target_bytes()), (700, 609));
        let much = MemoryUse { fixed_bytes: 9000, ..MemoryUse::default() };
        pressure.moved(fixed, much);
        assert_eq!(pressure.0.limit(), 400);
        assert_eq!(pressure.stopped(), None);
    }
}
