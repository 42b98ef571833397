//! What becomes of values whose time is over.
//!
//! Hidden they are by whoever reads them (`ttl`). They go in three ways: with the sweep between batches, and after
//! each barrier where no batch comes,
//! when they are read back from log or table and the clock has passed them, and as the log is cleaned
//! (`cleaning`), which writes a tombstone in their place or nothing. Deleting the items of values that nobody asks
//! for any more is the table's.
//!
//! Owns the sweep, and the calls by which a task tells the times. Only a change of state that the log
//! has may follow from the times of records: a roll-back takes them back, but not what was written to
//! the table.

use super::coding::Stored;
use super::descriptor::ColumnId;
use super::entries::Entries;
use super::keyed::{KeyedState, Row};
use super::ttl::{Lives, Ttl, TtlTime, Visibility};
use crate::codec::{Key, Value};
use crate::ids::SubtaskId;
use crate::teeth::{Tooth, bites};

/// A stored value that is not gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Living<'a> {
    /// With its expiry, if that counts still.
    pub(super) stored: Stored<'a>,
    /// It was stored with an expiry by the clock that does not count any more: it must be stored anew before the
    /// table deletes its item.
    pub(super) outlives: bool,
}

/// Entries of each state that one batch looks at for what has expired: a microsecond or two.
const SWEPT: u32 = 32;
/// Those that are looked at after each barrier, where batches do not: some milliseconds, so that a subtask without input
/// costs little however often there is a checkpoint, and a million entries are through after sixteen.
const SWEPT_AFTER_BARRIER: u32 = 64 << 10;
/// Those that are looked at of these at a time, over all states: some 50 µs where little is over, for which a batch may
/// have to wait.
const SWEPT_AT_ONCE: u32 = 1024;

impl<K: Key> KeyedState<K> {
    /// Whether values of any state expire. If so, each record stands between [`KeyedState::record_at`] and
    /// [`KeyedState::renew_read`]; the former comes after [`KeyedState::begin_record`], the latter after
    /// [`KeyedState::end_record`], if these are needed too.
    #[inline]
    #[must_use]
    pub fn has_ttl(&self) -> bool {
        !self.times.states.is_empty()
    }

    /// Whether any do by the times of records.
    #[must_use]
    pub fn has_event_time_ttl(&self) -> bool {
        self.times.states.iter().any(|(_, ttl, _)| ttl.is_by_event_time())
    }

    /// The clock's time for what follows, in milliseconds since 1970; it never goes back. To be told before
    /// each batch, and before each answer to a read: what was stored may have expired.
    pub fn set_processing_time(&mut self, now_ms: u64) {
        self.times.set_processing(now_ms);
    }

    /// The time that was set last.
    #[inline]
    #[must_use]
    pub fn processing_time_ms(&self) -> u64 {
        self.times.processing_ms()
    }

    /// Whose state it is.
    #[must_use]
    pub fn subtask(&self) -> SubtaskId {
        self.config.subtask
    }

    /// A record is going to be processed whose own time this is.
    #[inline]
    pub fn record_at(&mut self, event_ms: Option<u64>) {
        self.times.set_event(event_ms);
        self.times.read.get_mut().clear();
    }

    /// The record has been processed: the time of what it has read begins anew, where it is to.
    #[inline]
    pub fn renew_read(&mut self) {
        if !self.times.read.get_mut().is_empty() {
            self.renew_all_read();
        }
    }

    fn renew_all_read(&mut self) {
        let mut read = std::mem::take(self.times.read.get_mut());
        for (column, entry) in read.drain(..) {
            // It may have removed it after that.
            if self.columns[column.index()].is_present(entry) {
                self.renew(column, entry);
            }
        }
        *self.times.read.get_mut() = read;
    }

    /// The time of an entry's value begins anew, which is a change.
    fn renew(&mut self, column: ColumnId, entry: u32) {
        let lives = self.columns[column.index()].lives();
        let begun = |lives: &Lives| self.times.begun(&lives.ttl, lives.expires_at(entry));
        let Some(expires_ms) = lives.and_then(begun) else { return };
        if !bites(Tooth::RenewalNotLogged) {
            self.touch(column.index(), entry);
        }
        if let Some(lives) = self.columns[column.index()].lives_mut() {
            lives.set(entry, expires_ms);
        }
    }

    /// When a value that is put where there was none expires; 0 for never.
    pub(super) fn expiry_of_new<V: Value>(&self, values: &Entries<V>) -> u64 {
        values.lives().and_then(|lives| self.times.expiry(&lives.ttl)).unwrap_or(0)
    }

    /// What there still is of a value that was stored.
    pub(super) fn unless_gone<'a>(
        &self,
        column: ColumnId,
        stored: Option<Stored<'a>>,
    ) -> Option<Living<'a>> {
        let mut stored = stored?;
        let Some(expiry) = stored.expires else { return Some(Living { stored, outlives: false }) };
        let ended = self.times.ended(column, expiry, stored.checkpoint);
        if self.times.is_gone(expiry, ended) {
            return None;
        }
        if ended.is_some() {
            stored.expires = None;
        }
        let outlives = ended.is_some() && !expiry.event_time && !self.config.is_only_read();
        Some(Living { stored, outlives })
    }

    /// Whether no record so far is too late to see a value that was stored and is not gone.
    pub(super) fn is_seen_by_all(&self, column: ColumnId, stored: &Stored<'_>) -> bool {
        let lives = self.columns[column.index()].lives();
        lives.is_none_or(|lives| {
            lives.ttl.visibility != Visibility::NeverReturnExpired
                || !self.times.may_hide(&lives.ttl, lives.of_stored(stored.expires))
        })
    }

    /// Looks at some entries of each state whose values expire, and takes away what is over.
    pub(super) fn sweep_expired(&mut self) {
        self.sweep(SWEPT);
    }

    /// After a barrier all that is in memory should be looked at, as far as that may be.
    pub(super) fn begin_sweep(&mut self) {
        if !self.times.may_have_lapsed() {
            return;
        }
        let ends = self.times.states.iter().map(|(column, ..)| self.columns[column.index()].end());
        self.times.due = ends.max().unwrap_or(0).min(SWEPT_AFTER_BARRIER);
    }

    /// Whether [`KeyedState::sweep_some`] has something to look at.
    #[inline]
    #[must_use]
    pub fn has_sweep(&self) -> bool {
        self.times.due > 0
    }

    /// Looks at some of what is to be looked at after a barrier, which batches do too, and takes away what is over. To
    /// be called between batches, after [`KeyedState::set_processing_time`]; rows are good until then, as until
    /// [`KeyedState::end_batch`].
    pub fn sweep_some(&mut self) {
        let states = self.times.states.len().max(1) as u32;
        self.sweep((SWEPT_AT_ONCE / states).max(1).min(self.times.due));
        self.leave_all_untouched();
    }

    fn sweep(&mut self, entries: u32) {
        self.times.due = self.times.due.saturating_sub(entries);
        for i in 0..self.times.states.len() {
            let (column, ttl, mut next) = self.times.states[i];
            let end = self.columns[column.index()].end();
            for _ in 0..entries.min(end) {
                next = if next >= end { 0 } else { next };
                self.sweep_entry(column, &ttl, next);
                next += 1;
            }
            self.times.states[i].2 = next;
        }
    }

    fn sweep_entry(&mut self, column: ColumnId, ttl: &Ttl, entry: u32) {
        let values = &self.columns[column.index()];
        let expires_ms = values.lives().map_or(0, |lives| lives.expires_at(entry));
        // A state that had no time to live has one now.
        let begins = expires_ms == 0 && ttl.time == TtlTime::Processing;
        let is_over = self.times.has_lapsed(ttl, expires_ms);
        if !(is_over || begins) || !values.is_taken(entry) || !values.is_present(entry) {
            return;
        }
        let row = values.row_of(entry);
        if self.is_loading(Row(row)) {
            return;
        }
        if begins {
            self.renew(column, entry);
            return;
        }
        // Whoever reads the item sees by the clock that it is over, and so does the table; of the times of
        // records it knows nothing.
        let meta = values.meta(entry);
        let item_expires = !meta.has_item() || ttl.time == TtlTime::Processing;
        if !meta.is_clean(self.log.horizon()) || !item_expires {
            self.touch(column.index(), entry);
        }
        let values = &mut self.columns[column.index()];
        values.expire(entry);
        if values.is_plain() {
            self.untouched.push(row);
        } else {
            self.untouched_entries.push((column, entry));
        }
    }
}
