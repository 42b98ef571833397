//! Restoring: segments back into rows.
//!
//! Owns what a replayed entry means. Which segments there are, and reading them, is `checkpoint`'s.

use hashbrown::HashMap;

use super::coding::Stored;
use super::descriptor::ColumnId;
use super::entry::Meta;
use super::keyed::{KeyedState, stamp_of};
use super::segment::{Carry, Entry, Segment};
use crate::codec::{DecodeError, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::key_group::KeyGroupRange;
use crate::teeth::{Tooth, bites};

/// Entries that are not complete yet, by their writer's range: writers' segments may come mixed.
pub(super) type Carries = HashMap<KeyGroupRange, Carry>;

impl<K: Key> KeyedState<K> {
    /// Makes room for `keys` keys, so that the index need not grow step by step during a replay, which
    /// takes some 0.2 µs an entry. A good number is that of the entries of the checkpoint that has
    /// most, times this subtask's share of their segments' ranges.
    pub fn reserve(&mut self, keys: usize) {
        self.rows.reserve(keys);
        self.columns.iter_mut().for_each(|column| column.reserve(keys));
    }

    /// Takes over the entries of `segment` that are in this subtask's range, as pinned ones. To be
    /// called in ascending order of checkpoint and, for each writer, of sequence. Gives whether there are
    /// any: where not, the segment is here for the sake of others only, and need not stay as long as this
    /// subtask's log does.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where an entry cannot be read, a segment is missing or comes too early
    /// or too late; [`ErrorKind::Graph`] where it names a state that the operator does not have.
    pub fn replay(&mut self, segment: &Segment) -> Result<bool> {
        let stamp = stamp_of(segment.version.checkpoint)?;
        if stamp <= self.log.horizon() || !self.log.is_newest(stamp) {
            let checkpoint = segment.version.checkpoint;
            let message = format!("segment of checkpoint {checkpoint} out of order");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let columns = self.columns_of(segment)?;
        let mut carry = self.carries.remove(&segment.range).unwrap_or_default();
        let mut is_of_use = false;
        segment.each(&mut carry, |entry| {
            is_of_use |= self.replay_entry(segment, stamp, &columns, entry)?;
            Ok(())
        })?;
        if !carry.is_empty() {
            self.carries.insert(segment.range, carry);
        }
        Ok(is_of_use)
    }

    fn columns_of(&self, segment: &Segment) -> Result<Vec<usize>> {
        let find = |state: &Name| {
            let own = self.columns.iter().position(|column| column.name() == state);
            let hidden = (*state == self.filter_state).then(|| self.chunk_column());
            own.or(hidden).ok_or_else(|| {
                let operator = &self.config.operator;
                let message = format!("{operator} has no state {state} any more, the log has");
                Error::new(ErrorKind::Graph, message)
            })
        };
        segment.states.iter().map(find).collect()
    }

    fn replay_entry(
        &mut self,
        segment: &Segment,
        stamp: u32,
        columns: &[usize],
        entry: Entry<'_>,
    ) -> Result<bool> {
        if columns[entry.state] == self.chunk_column() {
            return self.replay_chunk(segment.version.checkpoint, entry);
        }
        let state = &segment.states[entry.state];
        let corrupt = |error: DecodeError| {
            Error::new(ErrorKind::Corrupt, format!("a key of state {state}: {error}"))
                .with_source(error)
        };
        let mut bytes = entry.key;
        let key = K::decode(&mut bytes).map_err(corrupt)?;
        let hash = key.key_hash();
        let group = self.group_of(hash);
        let mine = self.config.range.contains(group) || bites(Tooth::KeyGroupsMixed);
        if !mine || self.former.passed(group, stamp) {
            return Ok(false);
        }
        let row = match self.rows.find(hash, &key) {
            Some(row) => row,
            None => self.insert(hash, key),
        };
        self.keys.add(row, entry.key.len() - bytes.len());
        let column = columns[entry.state];
        let values = &mut self.columns[column];
        let number = values.entry_of(row, bytes).map_err(corrupt)?;
        let old = values.meta(number).change();
        let mut meta = Meta::replayed(stamp);
        if bites(Tooth::PinnedWithoutTombstone) {
            meta.flags = 0;
        }
        let checkpoint = segment.version.checkpoint;
        let expires = entry.expires;
        let stored = entry.value.map(|bytes| Stored { bytes, native: false, checkpoint, expires });
        let living = self.unless_gone(ColumnId(column as u16), stored);
        if living.is_some_and(|living| living.outlives) {
            self.outliving.push((column, number));
        }
        let stored = living.map(|living| living.stored);
        let bytes = stored.map_or(0, |stored| stored.bytes.len() as u64);
        let values = &mut self.columns[column];
        values.restore(number, stored, meta).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("state {state}: {error}")).with_source(error)
        })?;
        let owns_memory = values.owns_memory();
        self.log.replay(checkpoint, stamp, column, number, old);
        if self.owns_memory && old != stamp {
            self.log.serialised(stamp, if owns_memory { bytes } else { 0 });
        }
        Ok(true)
    }

    /// All segments are replayed, or there were none.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the end of an entry is missing.
    pub fn finish_restore(&mut self) -> Result<()> {
        std::mem::take(&mut self.carries).values().try_for_each(Carry::finish)?;
        self.log.end_replay();
        self.filter.begin(self.items_sent, self.log.horizon());
        for (column, entry) in std::mem::take(&mut self.outliving) {
            self.touch(column, entry);
        }
        if self.items_sent && self.columns.len() > 1 {
            let plain = || self.columns.iter().filter(|column| column.is_plain());
            let unread = |row| plain().any(|column| column.meta(row) == Meta::default());
            for row in (0..self.rows.end()).filter(|&row| unread(row)) {
                self.partial.insert(row);
                self.partial_rows += 1;
            }
        }
        Ok(())
    }
}
