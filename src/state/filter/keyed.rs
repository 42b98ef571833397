//! A subtask's filter within its state: what is asked of it, and how its chunks take part in the log.
//!
//! Owns which hashes an entry has and when they are added. A chunk is an entry of one column more than
//! the operator has, of no row.

use super::STATE;
use super::chunks::{self, ChunkId};
use crate::codec::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::key_group::KeyGroup;
use crate::state::descriptor::ColumnId;
use crate::state::entry::{Meta, UNSERIALISED};
use crate::state::keyed::{KeyedState, stamp_of};
use crate::state::segment::Entry;
use crate::state::{ItemKey, ItemRange, ScanPage, Scanned};
use crate::teeth::{Tooth, bites};

use bytes::Bytes;

/// Chunks of one key group that are to be read: all, or what is left of them.
#[derive(Debug)]
pub struct FilterScan {
    /// Where they are.
    pub range: ItemRange,
    /// Hashes in those before.
    hashes: u64,
    /// The newest chunk of those before.
    newest: Option<(ChunkId, Bytes)>,
}

/// Some chunks of one key group, as they were read from the table.
#[derive(Debug)]
pub struct FilterChunks {
    hashes: Vec<u64>,
    taken: usize,
    /// Where these end.
    scan: FilterScan,
    rest: Option<ItemRange>,
}

impl FilterChunks {
    /// Reads the first page of `scan`. Call it off the workers.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where an item is no chunk.
    pub fn of(mut scan: FilterScan, page: ScanPage) -> Result<Self> {
        let ItemRange { operator, key_group, .. } = &scan.range;
        let damage = |error: crate::codec::DecodeError| {
            let message = format!("filter of {operator}, key group {key_group}: {error}");
            Error::new(ErrorKind::Corrupt, message)
        };
        let mut hashes = Vec::new();
        for Scanned { sort_key, item } in page.items {
            let Some(value) = item?.value else { continue };
            hashes.extend(chunks::decode(&value).map_err(damage)?);
            let id = ChunkId::decode(&sort_key).map_err(damage)?;
            scan.newest = Some((id, value));
        }
        scan.hashes += hashes.len() as u64;
        Ok(Self { hashes, taken: 0, scan, rest: page.rest })
    }

    /// How many hashes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What is to be read after them; `None`: they were the last ones of their key group.
    #[must_use]
    pub fn into_rest(self) -> Option<FilterScan> {
        Some(FilterScan { range: self.rest?, ..self.scan })
    }
}

impl<K: Key> KeyedState<K> {
    /// The number of the chunks' column.
    pub(in crate::state) fn chunk_column(&self) -> usize {
        self.columns.len()
    }

    pub(in crate::state) fn meta_of(&self, column: usize, entry: u32) -> Meta {
        match self.columns.get(column) {
            Some(values) => values.meta(entry),
            None => self.filter.chunks.meta(entry),
        }
    }

    pub(in crate::state) fn set_meta_of(&mut self, column: usize, entry: u32, meta: Meta) {
        match self.columns.get_mut(column) {
            Some(values) => values.set_meta(entry, meta),
            None => self.filter.chunks.set_meta(entry, meta),
        }
    }

    /// Appends an entry's value; `false` where there is none.
    pub(in crate::state) fn encode_value(
        &self,
        column: usize,
        entry: u32,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let Some(values) = self.columns.get(column) else {
            return Ok(self.filter.chunks.encode(entry, out));
        };
        values.encode(entry, out).map_err(|error| {
            Error::new(ErrorKind::User, format!("state {}: {error}", values.name()))
        })
    }

    /// Puts a frozen chunk into the current segment.
    pub(in crate::state) fn serialise_chunk(&mut self, entry: u32) -> Result<()> {
        let column = self.chunk_column();
        let chunks = &mut self.filter.chunks;
        let meta = chunks.meta(entry);
        chunks.set_meta(entry, meta.serialised());
        let key = |out: &mut Vec<u8>| chunks.id(entry).encode(out);
        self.writer.entry(column, meta.is_fresh(), key, |out| Ok(chunks.encode(entry, out)))
    }

    /// A chunk in the log that is being replayed; whether it is of this subtask.
    pub(in crate::state) fn replay_chunk(
        &mut self,
        checkpoint: crate::ids::CheckpointId,
        entry: Entry<'_>,
    ) -> Result<bool> {
        let corrupt = |error| {
            let message = format!("a chunk of the filter of absent keys: {error}");
            Error::new(ErrorKind::Corrupt, message)
        };
        let stamp = stamp_of(checkpoint)?;
        let id = ChunkId::decode(entry.key).map_err(corrupt)?;
        let mine = self.config.range.contains(id.group);
        if !mine || self.former.passed(id.group, stamp) {
            return Ok(false);
        }
        let column = self.chunk_column();
        let chunks = &mut self.filter.chunks;
        let old = chunks.find(id).map_or(0, |number| chunks.meta(number).change());
        let meta = Meta::replayed(stamp);
        // None is ever deleted in the log. One without hashes would count as deleted when it is cleaned.
        let Some(value) = entry.value else {
            let message = format!(
                "a chunk of the filter of absent keys (key group {}) is a tombstone: restore another checkpoint",
                id.group
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        };
        let number = chunks.restore(id, value, meta).map_err(corrupt)?;
        self.log.replay(checkpoint, stamp, column, number, old);
        Ok(true)
    }

    pub(in crate::state) fn chunk_key(&self, entry: u32) -> ItemKey {
        let id = self.filter.chunks.id(entry);
        let mut sort_key = Vec::with_capacity(10);
        id.encode(&mut sort_key);
        ItemKey {
            operator: self.config.operator.clone(),
            state: self.filter_state.clone(),
            key_group: id.group,
            sort_key: sort_key.into(),
        }
    }

    /// A put of an entry's item is handed out: its hashes are kept, unless they surely are already.
    pub(in crate::state) fn note(&mut self, column: usize, entry: u32, key: &ItemKey) {
        let Some(values) = self.columns.get_mut(column) else { return };
        if !self.filter.is_used() {
            self.filter.miss();
            return;
        }
        let meta = values.meta(entry);
        if meta.is_noted() {
            return;
        }
        values.set_meta(entry, meta.noted());
        let row = values.row_of(entry);
        let is_first = values.note_row(entry);
        let salts = self.filter.salts(column);
        self.keep(key.key_group, salts.entry(&key.sort_key));
        if is_first {
            self.scratch.clear();
            self.rows.key(row).encode(&mut self.scratch);
            self.keep(key.key_group, salts.any_of_key(&self.scratch));
        }
    }

    fn keep(&mut self, group: KeyGroup, hash: u64) {
        self.filter.add(hash);
        if bites(Tooth::HashesLate) {
            self.filter.late.push((group, hash));
        } else {
            self.add_to_chunk(group, hash);
        }
    }

    fn add_to_chunk(&mut self, group: KeyGroup, hash: u64) {
        let entry = self.filter.chunks.with_room(group, self.log.current());
        let meta = self.filter.chunks.meta(entry);
        if meta.stamp != self.log.hot() {
            if meta.stamp & UNSERIALISED != 0
                && let Err(error) = self.serialise_chunk(entry)
            {
                self.failed.get_or_insert(error);
            }
            self.filter.chunks.touch(entry, meta.touched(&self.log));
            self.log.change(self.chunk_column(), entry, meta.change());
        }
        self.filter.chunks.push(entry, hash);
    }

    /// For the tooth that saves hashes one barrier late.
    pub(in crate::state) fn keep_late(&mut self) {
        for (group, hash) in std::mem::take(&mut self.filter.late) {
            self.add_to_chunk(group, hash);
        }
    }

    /// The log has let go of something: chunks that it does not need leave memory.
    pub(in crate::state) fn let_chunks_go(&mut self) {
        self.filter.let_chunks_go(self.log.horizon());
    }

    /// Whether surely nothing of `row` has an item in a column, which has one entry a row, or none with a
    /// sub key. Costs no read.
    pub(in crate::state) fn is_never_stored(&mut self, column: ColumnId, row: u32) -> bool {
        if !self.items_sent {
            return true;
        }
        if !self.filter.is_ready() {
            return false;
        }
        self.scratch.clear();
        self.rows.key(row).encode(&mut self.scratch);
        let salts = self.filter.salts(column.index());
        let hash = match self.columns[column.index()].is_plain() {
            true => salts.entry(&self.scratch),
            false => salts.any_of_key(&self.scratch),
        };
        self.filter.denies(hash, || self.group_of(self.rows.key(row).key_hash()))
    }

    /// Whether surely the entry of `row` with this encoded sub key has no item. Costs no read.
    pub(in crate::state) fn is_never_stored_sub(
        &mut self,
        column: ColumnId,
        row: u32,
        sub: &[u8],
    ) -> bool {
        if !self.items_sent {
            return true;
        }
        if !self.filter.is_ready() {
            return false;
        }
        self.scratch.clear();
        self.rows.key(row).encode(&mut self.scratch);
        self.scratch.extend_from_slice(sub);
        let hash = self.filter.salts(column.index()).entry(&self.scratch);
        self.filter.denies(hash, || self.group_of(self.rows.key(row).key_hash()))
    }

    /// As [`KeyedState::is_never_stored_sub`], of an entry in memory.
    pub(in crate::state) fn is_entry_never_stored(
        &mut self,
        column: ColumnId,
        row: u32,
        entry: u32,
    ) -> bool {
        if self.items_sent && !self.filter.is_ready() {
            return false;
        }
        let mut sub = Vec::new();
        self.columns[column.index()].encode_sub(entry, &mut sub);
        self.is_never_stored_sub(column, row, &sub)
    }

    /// The key group whose chunks are to be read next, for a filter that has been restored or has to grow. What
    /// is read of it, a page after the other, is to be given to [`KeyedState::filter_read`], whatever is read of
    /// others meanwhile.
    pub fn filter_scan(&mut self) -> Option<FilterScan> {
        let key_group = self.filter.next_group()?;
        let range = ItemRange {
            operator: self.config.operator.clone(),
            state: self.filter_state.clone(),
            key_group,
            from: Bytes::new(),
            to: None,
        };
        Some(FilterScan { range, hashes: 0, newest: None })
    }

    /// Takes over up to `max` hashes of chunks that were read, some 20 ns each; `true` when all are, and then
    /// [`FilterChunks::into_rest`] is to be read.
    pub fn filter_read(&mut self, chunks: &mut FilterChunks, max: usize) -> bool {
        let end = chunks.hashes.len().min(chunks.taken.saturating_add(max));
        self.filter.read(&chunks.hashes[chunks.taken..end]);
        chunks.taken = end;
        if end < chunks.hashes.len() {
            return false;
        }
        if chunks.rest.is_some() {
            return true;
        }
        let group = chunks.scan.range.key_group;
        if let Some((id, value)) = chunks.scan.newest.take()
            && id.group == group
            && self.filter.may_resume(id)
        {
            // It was read before, so it is a chunk.
            let _ = self.filter.chunks.restore(id, &value, Meta::loaded());
        }
        if self.filter.end_group(group, chunks.scan.hashes) {
            self.let_chunks_go();
        }
        true
    }

    /// The chunks cannot be read. Nothing is wrong for that: what is not in memory is read.
    pub fn filter_failed(&mut self) {
        self.filter.fail();
    }

    /// The share of keys without an item that the filter takes for such as have one, where it answers, and whether
    /// it is full and cannot grow. Takes some 50 µs.
    #[must_use]
    pub fn filter_false_positives(&self) -> Option<(f64, bool)> {
        self.filter.false_positives()
    }

    /// Reads that the filter saved since the last call.
    pub fn take_reads_saved(&mut self) -> u64 {
        std::mem::take(&mut self.filter.saved)
    }

    pub(in crate::state) fn filter_name() -> Result<Name> {
        Name::new(STATE)
    }
}
