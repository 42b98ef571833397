//! What a call about the state must wait for: entries and ranges of entries that are not in memory.
//!
//! Owns how a missing entry is asked for, and the answers that bring a whole range. Running the record
//! again is `task`'s, undoing what it did until then `record`'s.

use std::cmp::Ordering;

use bytes::Bytes;

use super::descriptor::ColumnId;
use super::entry::Meta;
use super::keyed::{KeyedState, Row, column, column_mut};
use super::known::{SubRange, successor};
use super::store::{ItemRange, Scanned};
use super::sub_column::{SubColumn, SubKey};
use crate::codec::{DecodeError, Key, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::teeth::{Tooth, bites};

/// A range of a row's entries to be read from the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Whose entries.
    pub row: Row,
    /// Which state.
    pub column: ColumnId,
    /// Where their items are.
    pub range: ItemRange,
    /// The encoded key of the row.
    key: Bytes,
    sub: SubRange,
}

/// A state call ends with it where something must be read first.
fn suspended() -> Error {
    Error::new(
        ErrorKind::Suspended,
        "an entry of the state is being read: return this error, and the function is called again",
    )
}

impl<K: Key> KeyedState<K> {
    /// The row's entry to whose sub key `order` says *equal*; `None` where it surely has no value.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where it must be read first.
    #[inline]
    pub(super) fn sub_find<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        order: impl Fn(&S) -> Ordering,
        sub: impl FnOnce() -> S,
    ) -> Result<Option<u32>> {
        let entries: &SubColumn<S, V> = column(&self.columns, id);
        match entries.find(row.0, order) {
            None if !entries.known(row.0).is_complete() => self.sub_missing::<S, V>(id, row, sub()),
            found => Ok(found),
        }
    }

    #[cold]
    fn sub_missing<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        sub: S,
    ) -> Result<Option<u32>> {
        if self.ask::<S, V>(id, row, sub) {
            self.effects.suspended = true;
            return Err(suspended());
        }
        Ok(None)
    }

    /// Asks for an entry that is not in memory, if it may have a value.
    fn ask<S: SubKey, V: Value>(&mut self, id: ColumnId, row: Row, sub: S) -> bool {
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let mut bytes = Vec::new();
        sub.encode(&mut bytes);
        if entries.known(row.0).contains(&bytes) {
            return false;
        }
        if self.is_never_stored_sub(id, row.0, &bytes) {
            self.filter.saved += 1;
            return false;
        }
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let (entry, _) = entries.find_or_insert(row.0, sub);
        self.read(id, entry);
        true
    }

    /// Asks for an entry before the record that needs it is processed.
    pub(super) fn ask_ahead<S: SubKey, V: Value>(&mut self, id: ColumnId, row: Row, sub: S) {
        let entries: &SubColumn<S, V> = column(&self.columns, id);
        if entries.find(row.0, |other| other.cmp(&sub)).is_none() {
            self.ask::<S, V>(id, row, sub);
        }
    }

    /// The entry of `sub`, to be written without having been read: if it is new, it may have an item.
    pub(super) fn sub_entry<S: SubKey, V: Value>(&mut self, id: ColumnId, row: Row, sub: S) -> u32 {
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let traceless = entries.known(row.0).is_traceless();
        let (entry, is_new) = entries.find_or_insert(row.0, sub);
        if is_new {
            if !traceless && !self.is_entry_never_stored(id, row.0, entry) {
                self.set_meta_of(id.index(), entry, Meta::loaded());
            }
            self.effects.created(id, entry);
        }
        entry
    }

    /// The entry of `sub`, of which there surely is no item.
    pub(super) fn fresh_entry<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        sub: S,
    ) -> u32 {
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let (entry, is_new) = entries.find_or_insert(row.0, sub);
        if is_new {
            self.effects.created(id, entry);
        }
        entry
    }

    /// Gives an entry a value; nothing need be read for that.
    pub(super) fn sub_put<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        sub: S,
        value: V,
    ) {
        let entry = self.sub_entry::<S, V>(id, row, sub);
        self.put_entry::<SubColumn<S, V>, V>(id, entry, Some(value));
    }

    /// Takes an entry's value away; nothing need be read for that.
    pub(super) fn sub_remove<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        order: impl Fn(&S) -> Ordering,
        sub: impl FnOnce() -> S,
    ) {
        let entries: &SubColumn<S, V> = column(&self.columns, id);
        let entry = match entries.find(row.0, order) {
            Some(entry) if entries.values.get(entry).is_none() => return,
            Some(entry) => entry,
            None if entries.known(row.0).is_complete() => return,
            None => self.sub_entry::<S, V>(id, row, sub()),
        };
        self.put_entry::<SubColumn<S, V>, V>(id, entry, None);
    }

    /// Sees to it that every entry of a range that has a value is in memory.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where they must be read first.
    pub(super) fn need_range<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        range: impl FnOnce() -> SubRange,
    ) -> Result<()> {
        let known = column::<SubColumn<S, V>>(&self.columns, id).known(row.0);
        if known.is_complete() {
            return Ok(());
        }
        let sub = range();
        let is_empty = sub.to.as_ref().is_some_and(|to| *to <= sub.from);
        if is_empty || known.encloses(&sub) {
            return Ok(());
        }
        if self.is_never_stored(id, row.0) {
            self.filter.saved += 1;
            return Ok(());
        }
        self.scan(id, row, sub);
        self.effects.suspended = true;
        Err(suspended())
    }

    fn scan(&mut self, column: ColumnId, row: Row, sub: SubRange) {
        let mut key = Vec::new();
        self.rows.key(row.0).encode(&mut key);
        let to = sub.to.as_ref().map(|to| [&key[..], to].concat()).or_else(|| successor(&key));
        let range = ItemRange {
            operator: self.config.operator.clone(),
            state: self.columns[column.index()].name().clone(),
            key_group: self.group_of(self.rows.key(row.0).key_hash()),
            from: [&key[..], &sub.from].concat().into(),
            to: to.map(Bytes::from),
        };
        self.scans.push(Scan { row, column, range, key: key.into(), sub });
        self.await_one_more(row);
    }

    /// The scans that became necessary since the last call, for [`super::Store::scan_items`]. Each is to
    /// be answered by [`KeyedState::scanned`].
    pub fn take_scans(&mut self) -> Vec<Scan> {
        std::mem::take(&mut self.scans)
    }

    /// The answer to `scan`; `true` when its row is resident now. What is in memory is not older than
    /// its item, a deletion included, and stays as it is.
    ///
    /// # Errors
    /// As those of [`KeyedState::loaded`]; the error of an item that is damaged.
    pub fn scanned(&mut self, scan: &Scan, items: Vec<Scanned>) -> Result<bool> {
        let resident = self.answered(scan.row)?;
        let column = scan.column.index();
        let name = self.columns[column].name().clone();
        let corrupt = |error: DecodeError| {
            Error::new(ErrorKind::Corrupt, format!("item of state {name}: {error}"))
        };
        let (mut traceless, mut bytes) = (true, 0);
        for Scanned { sort_key, item } in items {
            // Another key's, where the range could not be told more exactly.
            let Some(sub) = sort_key.strip_prefix(&scan.key[..]) else { continue };
            let in_memory = self.columns[column].in_memory(scan.row.0, sub).map_err(&corrupt)?;
            if in_memory.is_some() && !bites(Tooth::PinnedReadFromTable) {
                continue;
            }
            let item = item?;
            bytes += item.value.as_ref().map_or(0, Bytes::len);
            self.check_scan(column, scan.row.0, bytes)?;
            let Some(stored) = self.unless_gone(item.stored()) else {
                traceless = false;
                continue;
            };
            let values = &mut self.columns[column];
            let entry = values.entry_of(scan.row.0, sub).map_err(&corrupt)?;
            values.restore(entry, Some(stored), Meta::loaded().noted()).map_err(&corrupt)?;
            if self.outlives(scan.column, &stored) {
                self.touch(column, entry);
            }
        }
        if self.columns[column].learn(scan.row.0, scan.sub.clone(), traceless) {
            self.learnt_much.push((scan.column, scan.row.0));
        }
        Ok(resident)
    }

    /// What rows know beyond what is kept of it, once no record of theirs needs it any more.
    #[cold]
    pub(super) fn forget_ranges(&mut self) {
        let Self { learnt_much, columns, loading, .. } = self;
        learnt_much.retain(|(column, row)| {
            let is_needed = loading.contains_key(row);
            if !is_needed {
                columns[column.index()].forget_ranges(*row);
            }
            is_needed
        });
    }
}
