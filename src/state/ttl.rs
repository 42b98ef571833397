//! Time to live: when values expire, and what becomes of them then. Flink: `StateTtlConfig`.
//!
//! Owns [`Ttl`], the times that expiry is judged by, and the three ways in which an expired value goes: a
//! record of its key comes (it is deleted before the record runs, which is a change like any other), its
//! turn in the sweep between batches comes, or the log is cleaned (see `cleaning`). Where expiries are
//! kept is `entries`'; deleting items is the table's.

use std::time::Duration;

use super::descriptor::ColumnId;
use super::keyed::{KeyedState, Row};
use crate::codec::Key;

/// How long values of a state live after they were written.
///
/// ```
/// use std::time::Duration;
/// use millpond::state::{Ttl, ValueDescriptor};
/// const HOUR: Ttl = Ttl::new(Duration::from_secs(3600));
/// const SEEN: ValueDescriptor<u64> = ValueDescriptor::new("seen").with_ttl(HOUR.refreshed_by_reads());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// For how long.
    pub after: Duration,
    /// What begins it anew.
    pub refresh: Refresh,
    /// Whether expired values may still be seen.
    pub visibility: Visibility,
    /// By which time it is judged.
    pub time: TtlTime,
}

/// What begins a value's time to live anew. Flink: `UpdateType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// `OnCreateAndWrite`: writing it.
    OnWrite,
    /// Reading it too, which makes each read a change that is logged.
    OnReadAndWrite,
}

/// Whether values that have expired may still be seen. Flink: `StateVisibility`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// `NeverReturnExpired`.
    HideExpired,
    /// `ReturnExpiredIfNotCleanedUp`: whether they are depends on when they are cleaned away.
    MayReturnExpired,
}

/// By which time expiry is judged. Flink: `TtlTimeCharacteristic`, which has no event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlTime {
    /// The clock of the subtask, looked at once a batch. After a restart records come again at a later
    /// time, so what they find may differ.
    Processing,
    /// That of the record that asks ([`crate::operator::KeyedProcess::event_time`]), so that what a key's
    /// records find depends on them alone. A record without a time neither finds a value expired nor
    /// refreshes it.
    Event {
        /// Memory and table are cleaned of what has expired by the greatest time seen less this: a
        /// record that is later than that may find a value gone that it should have found.
        lateness: Duration,
    },
}

impl Ttl {
    /// Begun by writes, hidden at once, by the clock.
    #[must_use]
    pub const fn new(after: Duration) -> Self {
        Self {
            after,
            refresh: Refresh::OnWrite,
            visibility: Visibility::HideExpired,
            time: TtlTime::Processing,
        }
    }

    /// Begun by reads too.
    #[must_use]
    pub const fn refreshed_by_reads(self) -> Self {
        Self { refresh: Refresh::OnReadAndWrite, ..self }
    }

    /// With expired values seen until they are cleaned away.
    #[must_use]
    pub const fn may_return_expired(self) -> Self {
        Self { visibility: Visibility::MayReturnExpired, ..self }
    }

    /// Judged by the times of records, which come up to `lateness` late.
    #[must_use]
    pub const fn by_event_time(self, lateness: Duration) -> Self {
        Self { time: TtlTime::Event { lateness }, ..self }
    }
}

/// What a handle to a state knows of its time to live, so that a state without one asks nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lives {
    /// It has one.
    pub(super) limited: bool,
    /// Reads begin it anew.
    pub(super) refreshed: bool,
}

impl From<Option<Ttl>> for Lives {
    fn from(ttl: Option<Ttl>) -> Self {
        let refreshed = ttl.is_some_and(|ttl| ttl.refresh == Refresh::OnReadAndWrite);
        Self { limited: ttl.is_some(), refreshed }
    }
}

/// Entries of each state that one batch looks at for what has expired: a microsecond or two.
const SWEPT: u32 = 32;

/// The times of one operator in one subtask, in milliseconds since 1970, and its states that have a time
/// to live.
#[derive(Debug, Default)]
pub(super) struct Times {
    processing_ms: u64,
    /// Of the record that runs.
    event_ms: Option<u64>,
    greatest_event_ms: u64,
    /// With where the sweep of each goes on.
    states: Vec<(ColumnId, Ttl, u32)>,
}

impl Times {
    pub(super) fn new(ttls: impl Iterator<Item = Option<Ttl>>) -> Self {
        let states = (0..).zip(ttls).filter_map(|(i, ttl)| Some((ColumnId(i), ttl?, 0))).collect();
        Self { states, ..Self::default() }
    }

    /// When a value that is written now expires; `None` where that cannot be told.
    fn expiry(&self, ttl: Ttl) -> Option<u64> {
        let after = u64::try_from(ttl.after.as_millis()).unwrap_or(u64::MAX);
        // 0 stands for never.
        Some(self.now(ttl)?.saturating_add(after).max(1))
    }

    fn now(&self, ttl: Ttl) -> Option<u64> {
        match ttl.time {
            TtlTime::Processing => Some(self.processing_ms),
            TtlTime::Event { .. } => self.event_ms,
        }
    }

    /// Whether a value that expires at `expires_ms` may be cleaned away.
    pub(super) fn has_lapsed(&self, ttl: Ttl, expires_ms: u64) -> bool {
        let now = match ttl.time {
            TtlTime::Processing => self.processing_ms,
            TtlTime::Event { lateness } => {
                let lateness = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX);
                self.greatest_event_ms.saturating_sub(lateness)
            }
        };
        is_over(expires_ms, now)
    }
}

fn is_over(expires_ms: u64, now: u64) -> bool {
    expires_ms != 0 && expires_ms <= now
}

impl<K: Key> KeyedState<K> {
    /// Whether any state has a time to live: where not, none of the calls below is needed.
    #[inline]
    #[must_use]
    pub fn has_ttl(&self) -> bool {
        !self.times.states.is_empty()
    }

    /// The clock's time for the records that follow, in milliseconds since 1970; it never goes back.
    pub fn set_processing_time(&mut self, now_ms: u64) {
        self.times.processing_ms = self.times.processing_ms.max(now_ms);
    }

    /// A record of `row` is about to run, whose time is `event_ms`: what has expired of its key is deleted,
    /// where it is to be hidden. Entries of maps are looked at when they are asked for.
    pub fn begin_record(&mut self, row: Row, event_ms: Option<u64>) {
        self.times.event_ms = event_ms;
        self.times.greatest_event_ms = self.times.greatest_event_ms.max(event_ms.unwrap_or(0));
        for i in 0..self.times.states.len() {
            let (column, ttl, _) = self.times.states[i];
            if self.columns[column.index()].is_plain() {
                self.hide_expired(column, ttl, row.0);
            }
        }
    }

    /// Deletes an entry that has expired at the time of the record that runs.
    pub(super) fn hide_expired(&mut self, column: ColumnId, ttl: Ttl, entry: u32) {
        let now = self.times.now(ttl).filter(|_| ttl.visibility == Visibility::HideExpired);
        let values = &self.columns[column.index()];
        if now.is_some_and(|now| is_over(values.expires_at(entry), now)) {
            self.touch(column.index(), entry);
            self.columns[column.index()].forget(entry);
        }
    }

    /// An entry with a sub key is asked for.
    pub(super) fn ask(&mut self, column: ColumnId, lives: Lives, entry: u32) {
        if let Some(ttl) = self.columns[column.index()].ttl() {
            self.hide_expired(column, ttl, entry);
        }
        if lives.refreshed && self.columns[column.index()].is_present(entry) {
            self.note_read(column, entry);
        }
    }

    /// Notes that a value was read whose time begins anew by that.
    #[cold]
    pub(super) fn note_read(&self, column: ColumnId, entry: u32) {
        self.read_entries.borrow_mut().push((column, entry));
    }

    /// The record has run: the time of what it has read begins anew.
    pub fn end_record(&mut self) {
        for (column, entry) in std::mem::take(self.read_entries.get_mut()) {
            if self.columns[column.index()].is_present(entry) {
                self.touch(column.index(), entry);
                self.renew(column, entry);
            }
        }
    }

    /// The time of a value begins anew.
    pub(super) fn renew(&mut self, column: ColumnId, entry: u32) {
        let values = &mut self.columns[column.index()];
        if let Some(expires_ms) = values.ttl().and_then(|ttl| self.times.expiry(ttl)) {
            values.set_expiry(entry, expires_ms);
        }
    }

    /// Looks at some entries of each state that has a time to live, and lets go of those that are over.
    pub(super) fn sweep_expired(&mut self) {
        for i in 0..self.times.states.len() {
            let (column, ttl, mut next) = self.times.states[i];
            let end = self.columns[column.index()].end();
            for _ in 0..SWEPT.min(end) {
                next = if next >= end { 0 } else { next };
                self.sweep_entry(column, ttl, next);
                next += 1;
            }
            self.times.states[i].2 = next;
        }
    }

    fn sweep_entry(&mut self, column: ColumnId, ttl: Ttl, entry: u32) {
        let values = &self.columns[column.index()];
        let expires_ms = values.expires_at(entry);
        if expires_ms == 0 || !values.is_taken(entry) || !self.times.has_lapsed(ttl, expires_ms) {
            return;
        }
        let row = values.row_of(entry);
        if self.is_loading(Row(row)) {
            return;
        }
        // An item that nothing is newer than needs no tombstone: whoever reads it sees that it is over.
        if !values.meta(entry).is_clean(self.log.horizon()) {
            self.touch(column.index(), entry);
        }
        let values = &mut self.columns[column.index()];
        values.forget(entry);
        if values.is_plain() {
            self.untouched.push(row);
        } else {
            self.untouched_entries.push((column, entry));
        }
    }
}
