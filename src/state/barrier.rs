//! Barriers: freezing what has changed, and serialising it in slices.
//!
//! Owns [`Barrier`] and the order in which frozen entries become bytes. The bytes are `writer`'s, the
//! lists of rows `log`'s.

use std::sync::Arc;

use super::entry::UNSERIALISED;
use super::keyed::{KeyedState, Row, stamp_of};
use super::ttl::Expiry;
use super::writer::{RawSegment, put_number};
use crate::codec::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CheckpointId;
use crate::key_group::KeyGroupRange;
use crate::teeth::{Tooth, bites};

/// Keys and values of so many entries are in the cache at once before these are serialised.
const WARMED: usize = 64;

/// From where on each part of a range of key groups is in the log. The ranges are disjoint.
///
/// Usually one. After a rescale, a subtask's key groups come from several with horizons of their own,
/// which must be kept apart until the new one's has passed them all: below its horizon, a part's log
/// has gaps.
pub type Horizons = Vec<(KeyGroupRange, CheckpointId)>;

/// What is fixed at a barrier, for the acknowledgement and the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The log of this subtask starts after these. The manifest names a segment as long as some
    /// horizon below its checkpoint is of a range that intersects the segment's.
    pub horizons: Horizons,
    /// Whether puts of items may have been sent.
    pub items_sent: bool,
    /// Whether there may be items whose hash the filter has not: then it must never answer.
    pub unfiltered: bool,
    /// How many entries changed since the last barrier.
    pub entries: u64,
}

/// How far the frozen list is serialised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    stamp: u32,
    column: usize,
    next: usize,
}

impl<K: Key> KeyedState<K> {
    /// Puts a frozen entry into the current segment. `true` where nobody ever knew that it was there, and it is
    /// no more: nothing is left to be remembered of it.
    pub(super) fn serialise_entry(&mut self, column: usize, entry: u32) -> Result<bool> {
        if column == self.chunk_column() {
            return self.serialise_chunk(entry).map(|()| false);
        }
        let values = &mut self.columns[column];
        let meta = values.meta(entry);
        // What neither log nor table ever knew needs no tombstone.
        let fresh = meta.is_fresh() || bites(Tooth::DeletionNotLogged);
        values.set_meta(entry, meta.serialised());
        let row = values.row_of(entry);
        let key = self.rows.key(row);
        let mut key_bytes = 0;
        let sort_key = |out: &mut Vec<u8>| {
            let before = out.len();
            key.encode(out);
            self.keys.add(row, out.len() - before);
            values.encode_sub(entry, out);
            key_bytes = out.len() - before;
        };
        let (mut is_present, mut bytes) = (true, 0);
        self.writer.entry(column, fresh, sort_key, |out| {
            if let Some(lives) = values.lives()
                && values.is_present(entry)
            {
                put_number(out, Expiry::number(lives.expiry(entry)));
            }
            let before = out.len();
            let present = values.encode(entry, out).map_err(|error| {
                Error::new(ErrorKind::User, format!("state {}: {error}", values.name()))
            })?;
            (is_present, bytes) = (present, out.len() - before);
            Ok(present)
        })?;
        if self.owns_memory {
            let heap = if values.owns_memory() { bytes as u64 } else { 0 };
            self.log.serialised(meta.change(), heap);
        }
        self.check_size(column, entry, (key_bytes, bytes))?;
        Ok(meta.is_fresh() && !is_present)
    }

    /// Gives an entry away of which nothing is left to be remembered, whether it was: else each that a record puts
    /// and a later one removes would stay until its checkpoint is cleaned, with its key, and be passed by all that
    /// goes over a map. What a loading row knows, a record may need.
    fn leave_unlogged(&mut self, column: usize, entry: u32) -> bool {
        let values = &mut self.columns[column];
        let row = values.row_of(entry);
        if self.loading.contains_key(&row) {
            return false;
        }
        values.give_away(entry);
        self.vacate_if_nothing(row);
        true
    }

    /// Barrier `checkpoint`: moves the changes since the last barrier aside, which takes a time that
    /// does not depend on their number. If the last barrier's are not all serialised, they are first.
    ///
    /// # Errors
    /// Those of [`KeyedState::serialise`]; [`ErrorKind::Internal`] for a number that is not greater
    /// than all before it.
    pub fn freeze(&mut self, checkpoint: CheckpointId) -> Result<Barrier> {
        while !self.serialise(usize::MAX)? {}
        let stamp = stamp_of(checkpoint)?;
        if stamp < self.log.current() && !bites(Tooth::NumberReused) {
            return Err(Error::internal(format!("barrier {checkpoint} comes too late")));
        }
        let barrier = Barrier {
            horizons: self.former.at_barrier(self.log.horizon(), self.config.range),
            items_sent: self.items_sent,
            unfiltered: self.filter.is_partial(),
            entries: self.log.dirty(),
        };
        let frozen = self.log.current();
        if self.log.freeze(checkpoint, stamp + 1) {
            self.cursor = Some(Cursor { stamp: frozen, column: 0, next: 0 });
            self.writer.begin(checkpoint);
        }
        self.keep_late();
        self.begin_sweep();
        Ok(barrier)
    }

    /// Serialises up to `max_entries` of what the last barrier froze; `true` when all is done. Some
    /// 50 ns an entry: 10,000 are half a millisecond.
    ///
    /// # Errors
    /// [`ErrorKind::User`] where a value's type cannot be serialised, or the first value of a state is not read
    /// back, [`ErrorKind::TooLarge`] where one takes
    /// more than all may; the state cannot go on then.
    pub fn serialise(&mut self, max_entries: usize) -> Result<bool> {
        self.serialise_slice(max_entries, usize::MAX)
    }

    /// The same, and no more once segments of `max_bytes` wait for [`KeyedState::take_segments`].
    ///
    /// # Errors
    /// As there.
    pub fn serialise_slice(&mut self, max_entries: usize, max_bytes: usize) -> Result<bool> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(mut cursor) = self.cursor else { return Ok(true) };
        let mut left = max_entries;
        while cursor.column <= self.chunk_column() {
            let Some(list) = self.log.list(cursor.stamp) else {
                return Err(Error::internal("a list was let go before it was serialised"));
            };
            let entries = Arc::clone(&list.rows[cursor.column]);
            let end = entries.len().min(cursor.next.saturating_add(left));
            let mut left_places = Vec::new();
            let mut place = cursor.next;
            while place < end && self.writer.waiting_bytes() < max_bytes {
                if (place - cursor.next).is_multiple_of(WARMED) {
                    self.warm(cursor.column, &entries[place..end.min(place + WARMED)]);
                }
                let entry = entries[place];
                // Else it has changed again since, and was serialised before that.
                if self.meta_of(cursor.column, entry).stamp == cursor.stamp | UNSERIALISED
                    && self.serialise_entry(cursor.column, entry)?
                    && self.leave_unlogged(cursor.column, entry)
                {
                    left_places.push(place);
                }
                place += 1;
            }
            // Enough bytes end the slice, too.
            left = if place < end { 0 } else { left - (end - cursor.next) };
            cursor.next = place - left_places.len();
            let is_partial = place < entries.len();
            drop(entries);
            self.log.forget(cursor.stamp, cursor.column, place, &left_places);
            if is_partial {
                self.cursor = Some(cursor);
                return Ok(false);
            }
            cursor.column += 1;
            cursor.next = 0;
        }
        self.cursor = None;
        self.writer.finish();
        Ok(true)
    }

    /// Reads what the plain column `column` has of `entries` and their keys, for nothing but to have both in the cache:
    /// they are listed in the order in which they changed, and lie anywhere.
    fn warm(&self, column: usize, entries: &[u32]) {
        let Some(values) = self.columns.get(column).filter(|values| values.is_plain()) else {
            return;
        };
        let mut rows = [Row(0); WARMED];
        rows.iter_mut().zip(entries).for_each(|(row, entry)| *row = Row(*entry));
        let rows = &rows[..entries.len().min(WARMED)];
        values.warm(rows);
        self.rows.warm_keys(rows);
    }

    /// The segments that are full, and after the last slice the rest.
    pub fn take_segments(&mut self) -> Vec<RawSegment> {
        self.writer.take()
    }

    /// One segment of `checkpoint` is stored, or was read at the restore, and takes `stored_bytes`.
    pub fn logged(&mut self, checkpoint: CheckpointId, stored_bytes: u64) {
        self.log.logged(checkpoint, stored_bytes);
    }

    /// The head has moved: `oldest_retained` is the oldest checkpoint that it retains now. Lets go of
    /// leading checkpoints whose every change has been replaced by then.
    pub fn completed(&mut self, oldest_retained: CheckpointId) {
        // A number that exceeds stamps was refused at its barrier.
        self.log.completed(oldest_retained.0 as u32);
        self.look_again();
        self.let_chunks_go();
    }

    /// Every change up to this checkpoint is materialised. What an acknowledgement reports is
    /// [`Barrier::horizons`], which were fixed at the barrier.
    #[must_use]
    pub fn horizon(&self) -> CheckpointId {
        CheckpointId(u64::from(self.log.horizon()))
    }

    /// Entries changed since the last barrier, and those before it that are not serialised yet.
    pub(super) fn unserialised(&self) -> u64 {
        let frozen = self.cursor.and_then(|cursor| {
            let list = self.log.list(cursor.stamp)?;
            let rest = list.rows.iter().skip(cursor.column).map(|rows| rows.len()).sum::<usize>();
            Some((rest - cursor.next) as u64)
        });
        self.log.dirty() + frozen.unwrap_or(0)
    }
}
