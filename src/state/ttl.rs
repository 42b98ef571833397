//! Time to live: when values expire, by which time, and who still sees them. Flink: `StateTtlConfig`.
//!
//! Owns [`Ttl`], a column's expiries ([`Lives`]) and the times that they are judged by ([`Times`]). Where they
//! are set is `record`'s, what becomes of values that are over `expiry`'s.

use std::cell::RefCell;
use std::time::Duration;

use super::compact::Moves;
use super::descriptor::ColumnId;
use super::lifetimes::{ExpiresBy, Lifetime, ended};
use super::rows::grow;
use crate::ids::CheckpointId;

/// How long values of a state live after they were written: each value, each entry of a map, and each
/// element of a list for itself.
///
/// ```
/// use std::time::Duration;
/// use millpond::state::{Ttl, ValueDescriptor};
/// const HOUR: Ttl = Ttl::new(Duration::from_secs(3600));
/// const SEEN: ValueDescriptor<u64> = ValueDescriptor::new("seen").with_ttl(HOUR.on_read_and_write());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// For how long; at least a millisecond.
    pub after: Duration,
    /// What begins it anew.
    pub update: UpdateType,
    /// Whether expired values may still be seen.
    pub visibility: Visibility,
    /// By which time it is judged.
    pub time: TtlTime,
}

/// What begins a value's time to live anew. Flink has `Disabled` too: here that is no [`Ttl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateType {
    /// Writing it.
    OnCreateAndWrite,
    /// Reading it too, which makes each read a change that is logged.
    OnReadAndWrite,
}

/// Whether values that have expired may still be seen. Flink: `StateVisibility`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// They are not, as of the moment at which they expire.
    NeverReturnExpired,
    /// They are until they are cleaned away, which depends on what is in memory.
    ReturnExpiredIfNotCleanedUp,
}

/// By which time expiry is judged. Flink: `TtlTimeCharacteristic`, which has no event time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlTime {
    /// The clock of the subtask, looked at once a batch. After a restart records come again at a later
    /// time, so what they find may differ.
    Processing,
    /// That of the record that asks ([`crate::operator::KeyedProcess::event_time`]), so that what a key's
    /// records find depends on them alone. A record without a time finds everything, and begins
    /// nothing anew; what it writes where there was nothing has no expiry.
    Event {
        /// Memory and table are cleaned of what has expired by the greatest time that the subtask has seen
        /// less this: a record that is later than that may miss a value that it should have found.
        lateness: Duration,
    },
}

impl Ttl {
    /// Begun by writes, hidden at once, by the clock.
    #[must_use]
    pub const fn new(after: Duration) -> Self {
        Self {
            after,
            update: UpdateType::OnCreateAndWrite,
            visibility: Visibility::NeverReturnExpired,
            time: TtlTime::Processing,
        }
    }

    /// Begun by reads too.
    #[must_use]
    pub const fn on_read_and_write(self) -> Self {
        Self { update: UpdateType::OnReadAndWrite, ..self }
    }

    /// With expired values seen until they are cleaned away.
    #[must_use]
    pub const fn return_expired_if_not_cleaned_up(self) -> Self {
        Self { visibility: Visibility::ReturnExpiredIfNotCleanedUp, ..self }
    }

    /// Judged by the times of records, which come up to `lateness` late.
    #[must_use]
    pub const fn by_event_time(self, lateness: Duration) -> Self {
        Self { time: TtlTime::Event { lateness }, ..self }
    }

    /// Whether it is judged by the times of records.
    #[must_use]
    pub const fn is_by_event_time(&self) -> bool {
        matches!(self.time, TtlTime::Event { .. })
    }
}

/// What every descriptor of a keyed state has.
macro_rules! with_ttl {
    ($name:ident<$($t:ident),+>) => {
        impl<$($t),+> $name<$($t),+> {
            /// Has values expire. Flink: `StateDescriptor.enableTimeToLive`.
            #[must_use]
            pub const fn with_ttl(mut self, ttl: $crate::state::Ttl) -> Self {
                self.ttl = Some(ttl);
                self
            }
        }
    };
}
pub(super) use with_ttl;

/// Milliseconds, as many as there are.
pub(super) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When a stored value expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// Milliseconds since 1970.
    pub(super) ms: u64,
    /// Whether that is a time of records and not of clocks.
    pub(super) event_time: bool,
}

/// Later than this nothing expires: one bit of a stored number says by which time it is.
const LATEST: u64 = u64::MAX >> 1;

impl Expiry {
    /// As the log has it; 0 stands for never.
    pub(super) fn number(this: Option<Self>) -> u64 {
        this.map_or(0, |Self { ms, event_time }| ms.clamp(1, LATEST) << 1 | u64::from(event_time))
    }

    pub(super) fn from_number(number: u64) -> Option<Self> {
        (number > 1).then_some(Self { ms: number >> 1, event_time: number & 1 == 1 })
    }
}

/// A column's time to live, and when each of its entries expires.
#[derive(Debug)]
pub(super) struct Lives {
    pub(super) ttl: Ttl,
    /// By entry, in milliseconds since 1970; 0 for never.
    expiries: Vec<u64>,
}

impl Lives {
    pub(super) fn new(ttl: Ttl) -> Self {
        Self { ttl, expiries: Vec::new() }
    }

    /// One entry more.
    pub(super) fn push(&mut self) {
        grow(&mut self.expiries);
        self.expiries.push(0);
    }

    pub(super) fn reserve(&mut self, entries: usize) {
        self.expiries.reserve_exact(entries.saturating_sub(self.expiries.len()));
    }

    /// Entries move together.
    pub(super) fn apply(&mut self, moves: &Moves) {
        moves.apply(&mut self.expiries);
    }

    /// When the entry expires; 0 for never.
    #[inline]
    pub(super) fn expires_at(&self, entry: u32) -> u64 {
        self.expiries[entry as usize]
    }

    pub(super) fn set(&mut self, entry: u32, expires_ms: u64) {
        self.expiries[entry as usize] = expires_ms;
    }

    /// What is to be stored with the entry's value.
    pub(super) fn expiry(&self, entry: u32) -> Option<Expiry> {
        let ms = self.expires_at(entry);
        (ms != 0).then_some(Expiry { ms, event_time: self.ttl.is_by_event_time() })
    }

    /// When a stored value expires here: what another kind of time said means nothing.
    pub(super) fn of_stored(&self, stored: Option<Expiry>) -> u64 {
        let same = |expiry: &Expiry| expiry.event_time == self.ttl.is_by_event_time();
        stored.filter(same).map_or(0, |expiry| expiry.ms)
    }
}

fn is_over(expires_ms: u64, now: u64) -> bool {
    expires_ms != 0 && expires_ms <= now
}

/// The times of one operator in one subtask, in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Times {
    processing_ms: u64,
    /// Of the record that runs.
    event_ms: Option<u64>,
    greatest_event_ms: u64,
    /// Its value when entries were last to be looked at after a barrier.
    swept_to_event_ms: u64,
    /// Of each state, how many entries are to be looked at still since the last barrier.
    pub(super) due: u32,
    /// The states whose values expire, with where the sweep of each goes on.
    pub(super) states: Vec<(ColumnId, Ttl, u32)>,
    /// By which times the values of each state have expired, and do.
    lifetimes: Vec<Vec<Lifetime>>,
    /// Entries that the record that runs has read, where that begins their time anew.
    pub(super) read: RefCell<Vec<(ColumnId, u32)>>,
}

impl Times {
    pub(super) fn new(now_ms: u64, ttls: impl Iterator<Item = Option<Ttl>>) -> Self {
        let states = (0..).zip(ttls).filter_map(|(i, ttl)| Some((ColumnId(i), ttl?, 0))).collect();
        Self { processing_ms: now_ms, states, ..Self::default() }
    }

    /// With what is recorded of each state.
    pub(super) fn with_lifetimes(self, lifetimes: Vec<Vec<Lifetime>>) -> Self {
        Self { lifetimes, ..self }
    }

    /// The clock never goes back.
    pub(super) fn set_processing(&mut self, now_ms: u64) {
        self.processing_ms = self.processing_ms.max(now_ms);
    }

    pub(super) fn processing_ms(&self) -> u64 {
        self.processing_ms
    }

    pub(super) fn set_event(&mut self, event_ms: Option<u64>) {
        self.event_ms = event_ms;
        self.greatest_event_ms = self.greatest_event_ms.max(event_ms.unwrap_or(0));
    }

    /// Whether any value may have lapsed since the last call: by the times of records only where one has come.
    pub(super) fn may_have_lapsed(&mut self) -> bool {
        let moved = self.greatest_event_ms > self.swept_to_event_ms;
        self.swept_to_event_ms = self.greatest_event_ms;
        moved || self.states.iter().any(|(_, ttl, _)| !ttl.is_by_event_time())
    }

    fn now(&self, ttl: &Ttl) -> Option<u64> {
        match ttl.time {
            TtlTime::Processing => Some(self.processing_ms),
            TtlTime::Event { .. } => self.event_ms,
        }
    }

    /// When a value that is written now expires; `None` where that cannot be told.
    pub(super) fn expiry(&self, ttl: &Ttl) -> Option<u64> {
        // 0 stands for never.
        Some(self.now(ttl)?.saturating_add(whole_ms(ttl.after)).clamp(1, LATEST))
    }

    /// An entry has been given another value, or none: it lives from now on, whatever was there. That may
    /// be in the table alone, since a put reads nothing, and must not matter.
    pub(super) fn put(&self, lives: &mut Lives, entry: u32, is_present: bool) {
        let begun = if is_present { self.expiry(&lives.ttl) } else { None };
        lives.set(entry, begun.unwrap_or(0));
    }

    /// An entry's value has been changed in place: its time begins anew. Where that cannot be told, it keeps
    /// the expiry that it had.
    pub(super) fn changed(&self, lives: &mut Lives, entry: u32) {
        let kept = lives.expires_at(entry);
        lives.set(entry, self.begun(&lives.ttl, kept).unwrap_or(kept));
    }

    /// When a value expires now that has expired at `old` so far. A late record shortens no life.
    pub(super) fn begun(&self, ttl: &Ttl, old: u64) -> Option<u64> {
        let new = self.expiry(ttl)?;
        Some(if ttl.is_by_event_time() { new.max(old) } else { new })
    }

    fn is_over(&self, lives: &Lives, entry: u32) -> bool {
        self.now(&lives.ttl).is_some_and(|now| is_over(lives.expires_at(entry), now))
    }

    /// Whether the record that runs must not see an entry's value, if it has one.
    #[inline]
    pub(super) fn hides(&self, lives: Option<&Lives>, entry: u32) -> bool {
        lives.is_some_and(|lives| {
            lives.ttl.visibility == Visibility::NeverReturnExpired && self.is_over(lives, entry)
        })
    }

    /// The record that runs reads an entry's value: whether it sees it. What begins the value's time is
    /// noted: the read, where it is to, or else the first one of a value that has no expiry.
    pub(super) fn sees(&self, column: ColumnId, lives: &Lives, entry: u32) -> bool {
        if self.is_over(lives, entry) {
            return lives.ttl.visibility == Visibility::ReturnExpiredIfNotCleanedUp;
        }
        if lives.ttl.update == UpdateType::OnReadAndWrite || lives.expires_at(entry) == 0 {
            self.read.borrow_mut().push((column, entry));
        }
        true
    }

    /// When a state's expiry that was stored with a change of `checkpoint` ceased to count; `None`: it counts.
    pub(super) fn ended(
        &self,
        column: ColumnId,
        expiry: Expiry,
        checkpoint: CheckpointId,
    ) -> Option<u64> {
        let by = if expiry.event_time { ExpiresBy::Records } else { ExpiresBy::Clock };
        ended(self.lifetimes.get(column.index())?, by, checkpoint)
    }

    /// Whether a value has expired by the clock, by now or by when its expiry `ended` to count: nobody will see it
    /// again.
    pub(super) fn is_gone(&self, expiry: Expiry, ended: Option<u64>) -> bool {
        !expiry.event_time && is_over(expiry.ms, ended.unwrap_or(self.processing_ms))
    }

    /// Whether changes of `checkpoint` may have been stored with an expiry that has ceased to count.
    pub(super) fn may_have_ended(&self, column: ColumnId, checkpoint: CheckpointId) -> bool {
        let Some(lifetimes) = self.lifetimes.get(column.index()) else { return false };
        // Of what came before the first one nothing is known.
        let held = lifetimes.iter().rfind(|lifetime| lifetime.from <= checkpoint).map(|l| l.by);
        [ExpiresBy::Clock, ExpiresBy::Records].into_iter().any(|by| {
            held.is_none_or(|held| held == by) && ended(lifetimes, by, checkpoint).is_some()
        })
    }

    /// Whether a record so far, or the clock, is past `expires_ms`.
    pub(super) fn may_hide(&self, ttl: &Ttl, expires_ms: u64) -> bool {
        let latest = match ttl.time {
            TtlTime::Processing => self.processing_ms,
            TtlTime::Event { .. } => self.greatest_event_ms,
        };
        is_over(expires_ms, latest)
    }

    /// Whether a value that expires at `expires_ms` may be cleaned away.
    pub(super) fn has_lapsed(&self, ttl: &Ttl, expires_ms: u64) -> bool {
        let now = match ttl.time {
            TtlTime::Processing => self.processing_ms,
            TtlTime::Event { lateness } => {
                self.greatest_event_ms.saturating_sub(whole_ms(lateness))
            }
        };
        is_over(expires_ms, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_one_number_and_its_time_is_the_lowest_bit() {
        assert_eq!((Expiry::number(None), Expiry::from_number(0)), (0, None));
        for (ms, event_time) in [(1, false), (1, true), (LATEST, false), (LATEST, true)] {
            let expiry = Some(Expiry { ms, event_time });
            assert_eq!(Expiry::from_number(Expiry::number(expiry)), expiry);
        }
        let late = Expiry { ms: u64::MAX, event_time: true };
        assert_eq!(Expiry::from_number(Expiry::number(Some(late))).unwrap().ms, LATEST);
    }

    #[test]
    fn what_lives_for_ever_expires_at_the_end_of_time() {
        let times = Times::new(5, std::iter::empty());
        assert_eq!(times.expiry(&Ttl::new(Duration::MAX)), Some(LATEST));
        assert_eq!(times.expiry(&Ttl::new(Duration::from_millis(7))), Some(12));
        let by_records = Ttl::new(Duration::MAX).by_event_time(Duration::ZERO);
        assert_eq!(times.expiry(&by_records), None, "no record runs");
    }

    #[test]
    fn by_the_times_of_records_nothing_lapses_while_none_comes() {
        let by_records = Ttl::new(Duration::from_millis(7)).by_event_time(Duration::ZERO);
        let mut times = Times::new(5, [Some(by_records)].into_iter());
        assert!(!times.may_have_lapsed());
        times.set_event(Some(10));
        assert!(times.may_have_lapsed());
        times.set_event(Some(9));
        assert!(!times.may_have_lapsed());
        let by_both = [by_records, Ttl::new(Duration::from_millis(7))].map(Some);
        let mut times = Times::new(5, by_both.into_iter());
        assert!(times.may_have_lapsed() && times.may_have_lapsed());
    }
}
