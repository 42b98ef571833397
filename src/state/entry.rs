//! What is remembered of an entry beside its value, and what follows from it.
//!
//! Owns the rules by which an entry's stamp and flags change. No values and no bytes: those are
//! `column`'s. Which changes the log holds is `log`'s.

use super::log::Log;
use crate::teeth::{Tooth, bites};

/// Set in a stamp while the change is not yet in a segment's bytes.
pub(super) const UNSERIALISED: u32 = 1 << 31;
/// A put of the entry's item was sent, answered or not, or may have been by an earlier attempt.
pub(super) const HAS_ITEM: u8 = 1;
/// Neither log nor table knew the entry before the change that its stamp names.
pub(super) const FRESH: u8 = 2;
/// The filter surely has the entry's hash, saved with the next checkpoint at the latest.
const NOTED: u8 = 4;

/// What is remembered of an entry beside its value. The default is an entry that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// [`HAS_ITEM`], [`FRESH`], [`NOTED`].
    pub(super) flags: u8,
    /// The change's checkpoint, 0 for none, with [`UNSERIALISED`].
    pub(super) stamp: u32,
}

/// Where a cleaning finds an entry's value as of the oldest retained checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueAt {
    /// Nothing has changed since.
    Memory,
    /// It has: in the segments of the checkpoint that is cleaned.
    Segments,
    /// A checkpoint that has become the oldest retained one meanwhile replaced it: nothing to write.
    Replaced,
}

impl ValueAt {
    /// Where the value in memory has been migrated since, or its expiry has ceased to count, what its checkpoint had
    /// is in the segments alone.
    #[must_use]
    pub(super) fn or_segments(self, is_former: bool) -> Self {
        let from_log = is_former && !bites(Tooth::MigratedUnderOldCheckpoint);
        if from_log && self == Self::Memory { Self::Segments } else { self }
    }
}

impl Meta {
    /// Of an entry that was replayed: an earlier attempt may have sent a put of it.
    #[must_use]
    pub fn replayed(stamp: u32) -> Self {
        Self { flags: HAS_ITEM, stamp }
    }

    /// Of an entry whose item was read, a tombstone included.
    #[must_use]
    pub fn loaded() -> Self {
        Self { flags: HAS_ITEM, stamp: 0 }
    }

    /// The checkpoint alone.
    #[inline]
    #[must_use]
    pub fn change(self) -> u32 {
        self.stamp & !UNSERIALISED
    }

    /// Whether it has changed and the change is not in a segment's bytes yet.
    #[inline]
    #[must_use]
    pub(super) fn is_dirty(self) -> bool {
        self.stamp & UNSERIALISED != 0
    }

    /// Whether a put of its item may have been sent.
    #[must_use]
    pub fn has_item(self) -> bool {
        self.flags & HAS_ITEM != 0
    }

    /// Whether the segment that takes its change needs no tombstone of it where it holds nothing:
    /// neither log nor table ever knew it.
    #[must_use]
    pub fn is_fresh(self) -> bool {
        self.flags & FRESH != 0
    }

    /// As it changes for the first time since the last barrier of `log`.
    #[must_use]
    pub fn touched(self, log: &Log) -> Self {
        let fresh = self.change() <= log.horizon() && !self.has_item();
        let flags = self.flags & !FRESH | if fresh { FRESH } else { 0 };
        Self { flags, stamp: log.hot() }
    }

    /// Once its change is in a segment's bytes.
    #[must_use]
    pub fn serialised(self) -> Self {
        Self { flags: self.flags & !FRESH, stamp: self.change() }
    }

    /// Once a put of its item is handed out to be sent.
    #[must_use]
    pub fn sent(self) -> Self {
        Self { flags: self.flags | HAS_ITEM, ..self }
    }

    /// Whether the filter surely has its hash. Of an entry that was replayed or written unread nobody
    /// knows.
    #[must_use]
    pub fn is_noted(self) -> bool {
        self.flags & NOTED != 0
    }

    /// Once the filter has its hash, which it does where its item was found in the table.
    #[must_use]
    pub fn noted(self) -> Self {
        Self { flags: self.flags | NOTED, ..self }
    }

    /// Whether nothing of it is newer than its item, so that it may leave memory.
    #[inline]
    #[must_use]
    pub fn is_clean(self, horizon: u32) -> bool {
        self.stamp <= horizon
    }

    /// Whether materialising it takes a write: a deletion does only where a put was sent before.
    #[must_use]
    pub fn needs_write(self, present: bool) -> bool {
        present || self.has_item()
    }

    /// Where its value as of `floor`, the oldest retained checkpoint, is for the cleaning of the
    /// changes of `stamp`.
    #[must_use]
    pub fn value_at(self, stamp: u32, floor: u32) -> ValueAt {
        if self.change() == stamp {
            ValueAt::Memory
        } else if self.change() > floor {
            ValueAt::Segments
        } else {
            ValueAt::Replaced
        }
    }
}
