//! Finding rows, and the reads of what is not in memory.
//!
//! Owns which rows are loading, and which rows and entries are given away because they hold nothing. Sending
//! the reads, and keeping the records that wait for them, is `task`'s; what leaves for want of memory is `evict`'s.

use super::descriptor::ColumnId;
use super::entry::Meta;
use super::keyed::{KeyedState, Row};
use super::store::{Item, ItemKey};
use crate::codec::{Key, KeyHash, RecordKey};
use crate::error::{Error, ErrorKind, Result};
use crate::teeth::{Tooth, bites};

/// How many of a cleaning's deletions one batch gives away: some 0.1 ms …
const LEAVING: usize = 1024;
/// … or this part of them, where that is more: else they would pile up where each record deletes several entries.
const LEAVING_PART: usize = 32;

/// An entry to be read from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whose entry.
    pub row: Row,
    /// Which state.
    pub column: ColumnId,
    pub(super) entry: u32,
    /// Where its item is.
    pub key: ItemKey,
}

impl<K: Key> KeyedState<K> {
    /// Finds the row of each key, or of what a record has of it, and appends it to `rows`, in order. A key that is not in memory gets
    /// one: resident at once where no item can exist, else loading, with its reads in
    /// [`KeyedState::take_reads`].
    ///
    /// Goes over the keys in tight loops, each of which waits for one part of memory, so that the
    /// processor overlaps the cache misses of many keys.
    pub fn find_rows<'k, C, I>(&mut self, keys: I, rows: &mut Vec<Row>)
    where
        C: RecordKey<K>,
        I: IntoIterator<Item = (KeyHash, &'k C), IntoIter: Clone>,
    {
        // What marks cost is nobody's while they are not kept.
        if self.recency.is_active() {
            self.find_all::<_, _, true>(keys.into_iter(), rows);
        } else {
            self.find_all::<_, _, false>(keys.into_iter(), rows);
        }
    }

    #[inline]
    fn find_all<'k, C, I, const MARK: bool>(&mut self, keys: I, rows: &mut Vec<Row>)
    where
        C: RecordKey<K>,
        I: Iterator<Item = (KeyHash, &'k C)> + Clone,
    {
        let start = rows.len();
        let all_found = self.rows.candidates(keys.clone().map(|(hash, _)| hash), rows);
        if MARK || !all_found || self.partial_rows > 0 {
            for (row, (hash, record_key)) in rows[start..].iter_mut().zip(keys) {
                if !self.rows.is_key_of(row.0, hash, record_key) || self.is_partial(row.0) {
                    let before = self.rows.len();
                    *row = record_key.with_key(hash, |key| self.find_or_admit(hash, key));
                    if MARK && self.rows.len() == before {
                        self.recency.touch(row.0);
                    }
                } else if MARK {
                    self.recency.touch(row.0);
                }
            }
        }
        self.columns.iter().for_each(|column| column.warm(&rows[start..]));
        self.uses(&rows[start..]);
    }

    /// One key's row; as [`KeyedState::find_rows`].
    pub fn find_row(&mut self, hash: KeyHash, key: &K) -> Row {
        let row = self.find_or_admit(hash, key);
        self.uses(&[row]);
        row
    }

    #[inline]
    fn find_or_admit(&mut self, hash: KeyHash, key: &K) -> Row {
        match self.rows.find(hash, key) {
            Some(row) => {
                if self.is_partial(row) {
                    self.load_rest(row);
                }
                Row(row)
            }
            None => self.admit(hash, key),
        }
    }

    #[inline]
    fn is_partial(&self, row: u32) -> bool {
        self.partial_rows > 0 && self.partial.contains(row)
    }

    #[inline(never)]
    fn admit(&mut self, hash: KeyHash, key: &K) -> Row {
        // Else its state would be stored as another key's.
        assert!(
            !K::RecordKey::DISTINCT_HASHES || key.key_hash() == hash,
            "{key:?} was told from the hash {:#018x}, which is not its own: KeyOfHash is wrong for {}",
            hash.0,
            std::any::type_name::<K>(),
        );
        let row = self.insert(hash, key.clone());
        // Where nothing need be read, nobody else encodes the key before a barrier.
        if std::mem::needs_drop::<K>() {
            self.scratch.clear();
            key.encode(&mut self.scratch);
            self.keys.add(row, self.scratch.len());
        }
        self.recency.enter(row);
        self.load(row, |_| true);
        if !self.is_loading(Row(row)) {
            self.untouched.push(row);
        }
        Row(row)
    }

    /// A row that was replayed is used for the first time: its other columns are read.
    #[cold]
    fn load_rest(&mut self, row: u32) {
        self.partial.remove(row);
        self.partial_rows -= 1;
        self.load(row, |m| m == Meta::default() || bites(Tooth::PinnedReadFromTable));
    }

    /// Asks for what the plain columns have of `row`, where it may be stored. Entries with a sub key are
    /// read when they are asked for.
    fn load(&mut self, row: u32, wanted: impl Fn(Meta) -> bool) {
        if !self.items_sent {
            return;
        }
        for column in self.column_ids() {
            let values = &self.columns[column.index()];
            if !values.is_plain() || !wanted(values.meta(row)) {
                continue;
            }
            if self.is_never_stored(column, row) {
                self.filter.saved += 1;
            } else {
                self.read(column, row);
            }
        }
    }

    /// Asks for an entry; its row is loading until the answer.
    pub(super) fn read(&mut self, column: ColumnId, entry: u32) {
        let row = self.columns[column.index()].row_of(entry);
        let key = self.item_key(column.index(), entry);
        self.reads.push(Read { row: Row(row), column, entry, key });
        self.await_one_more(Row(row));
    }

    pub(super) fn await_one_more(&mut self, row: Row) {
        *self.loading.entry(row.0).or_insert(0) += 1;
    }

    /// One answer is there; whether the row is resident now.
    pub(super) fn answered(&mut self, row: Row) -> Result<bool> {
        let Some(left) = self.loading.get_mut(&row.0) else {
            return Err(Error::internal("an answer for a row that is not loading"));
        };
        *left -= 1;
        let resident = *left == 0;
        if resident {
            self.loading.remove(&row.0);
            self.untouched.push(row.0);
            self.uses(&[row]);
            self.recency.look_again();
        }
        Ok(resident)
    }

    /// The reads that became necessary since the last call, for [`super::Store::read_items`]. Each is
    /// to be answered by [`KeyedState::loaded`].
    pub fn take_reads(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.reads)
    }

    /// Whether `row` waits for reads. Costs one comparison while no row does.
    #[inline]
    #[must_use]
    pub fn is_loading(&self, row: Row) -> bool {
        !self.loading.is_empty() && self.loading.contains_key(&row.0)
    }

    /// How many rows wait for reads.
    #[must_use]
    pub fn loading_rows(&self) -> usize {
        self.loading.len()
    }

    /// The answer to `read`; `true` when its row is resident now.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where the item's value is not of the state's type; [`ErrorKind::TooLarge`] where
    /// it may not be in memory;
    /// [`ErrorKind::Internal`] for an answer that nobody waits for.
    pub fn loaded(&mut self, read: &Read, item: Option<&Item>) -> Result<bool> {
        let Read { row, column, entry, ref key } = *read;
        let resident = self.answered(row)?;
        let mut outlives = false;
        if let Some(item) = item {
            let bytes = item.value.as_ref().map_or(0, bytes::Bytes::len);
            self.check_size(column.index(), entry, (key.sort_key.len(), bytes))?;
            let living = self.unless_gone(column, item.stored());
            outlives = living.is_some_and(|living| living.outlives);
            let stored = living.map(|living| living.stored);
            let values = &mut self.columns[column.index()];
            values.restore(entry, stored, Meta::loaded().noted()).map_err(|error| {
                let operator = &self.config.operator;
                let message =
                    format!("operator {operator}, item of state {}: {error}", values.name());
                Error::new(ErrorKind::Corrupt, message).with_source(error)
            })?;
        }
        let values = &self.columns[column.index()];
        if !values.is_plain() && !values.is_present(entry) {
            self.untouched_entries.push((column, entry));
        }
        if outlives {
            self.touch(column.index(), entry);
        }
        Ok(resident)
    }

    /// All resident rows of the batch have been used: those that still hold nothing are given away, and
    /// some of what a cleaning has left with nothing.
    pub fn end_batch(&mut self) {
        self.look_at_changes();
        if self.has_ttl() {
            self.renew_read();
            self.sweep_expired();
        }
        if self.scans.has_extra() {
            self.forget_ranges();
        }
        self.leave_all_untouched();
        self.leave_some();
    }

    /// Whether entries that a cleaning has left with nothing are still here.
    #[must_use]
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Gives some of them away; rows are good until then, as until [`KeyedState::end_batch`].
    pub fn leave_some(&mut self) {
        let some = LEAVING.max(self.leaving.len() / LEAVING_PART);
        let rest = self.leaving.len().saturating_sub(some);
        for (column, entry) in self.leaving.split_off(rest) {
            self.leave_if_nothing(column, entry);
        }
        if rest == 0 && self.leaving.capacity() > LEAVING {
            self.leaving = Vec::new();
        }
    }

    /// What no record uses, and holds nothing, is given away.
    #[inline]
    pub(super) fn leave_all_untouched(&mut self) {
        if !self.untouched_entries.is_empty() {
            self.leave_untouched_entries();
        }
        while let Some(row) = self.untouched.pop() {
            self.vacate_if_nothing(row);
        }
    }

    fn leave_untouched_entries(&mut self) {
        for (column, entry) in std::mem::take(&mut self.untouched_entries) {
            self.leave_if_nothing(column, entry);
        }
    }

    /// Gives an entry away that holds nothing, and its row if that holds nothing either. Not while the
    /// row is loading: a record may be going to run once more for which the entry was read, and an answer
    /// that is under way may be older than the deletion.
    fn leave_if_nothing(&mut self, column: ColumnId, entry: u32) {
        let values = &mut self.columns[column.index()];
        if !values.is_taken(entry) {
            return;
        }
        let row = values.row_of(entry);
        if !values.is_plain() {
            if self.loading.contains_key(&row) {
                self.untouched_entries.push((column, entry));
                return;
            }
            if !values.is_present(entry) && values.meta(entry).is_clean(self.log.horizon()) {
                values.give_away(entry);
            }
        }
        self.vacate_if_nothing(row);
    }

    /// Gives a row away that holds nothing, and waits for nothing.
    pub(super) fn vacate_if_nothing(&mut self, row: u32) {
        if self.rows.is_taken(row)
            && !self.is_loading(Row(row))
            && self.is_empty_row(row)
            && (self.is_clean(row) || bites(Tooth::EmptyRowForgotten))
        {
            self.vacate(row);
        }
    }
}
