//! What a call about the state must wait for: entries and ranges of entries that are not in memory.
//!
//! Owns how a missing entry is asked for, and the answers that bring a whole range. Running the record
//! again is `task`'s, undoing what it did until then `record`'s.

use std::cmp::Ordering;

use bytes::Bytes;

use super::clearing::Keys;
use super::descriptor::ColumnId;
use super::entry::Meta;
use super::expiry::Living;
use super::keyed::{KeyedState, Row, column, column_mut};
use super::known::{SubRange, successor};
use super::store::{ItemRange, ScanPage, Scanned};
use super::sub_column::{SubColumn, SubKey};
use crate::codec::{DecodeError, Key, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::teeth::{Tooth, bites};

/// What an entry takes beside its sub key and its value, at the least.
const ENTRY_BYTES: usize = 40;

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
    /// What of it is in memory now, and was not before.
    taken_bytes: usize,
    /// Whether there was no tombstone.
    traceless: bool,
    wanted: Wanted,
}

/// What a scan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// All entries, in memory.
    All,
    /// One entry that has a value will do.
    Any,
    /// The keys of all that is not in memory: they are going to be cleared.
    Keys,
}

impl<K: Key> KeyedState<K> {
    /// Ends a state call for which something must be read first, and the record's turn with it.
    #[cold]
    pub(super) fn suspend(&mut self) -> Error {
        self.effects.suspended = true;
        Error::new(
            ErrorKind::Suspended,
            "an entry of the state is being read: return this error, and the function is called again",
        )
    }

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
            return Err(self.suspend());
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
            self.created::<S>(id, entry);
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
            self.created::<S>(id, entry);
        }
        entry
    }

    /// The record that runs has made an entry. Where its sub key owns memory it is seen how much: nobody else may
    /// encode it before a barrier.
    pub(super) fn created<S>(&mut self, id: ColumnId, entry: u32) {
        if std::mem::needs_drop::<S>() {
            self.scratch.clear();
            self.columns[id.index()].encode_sub(entry, &mut self.scratch);
        }
        self.effects.created(id, entry);
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
        let Some(sub) = self.lacking::<S, V>(id, row, range) else { return Ok(()) };
        self.scan(id, row, sub, Wanted::All);
        Err(self.suspend())
    }

    /// Sees to it that an entry of a range of which none in memory has a value is there, if one has a value.
    ///
    /// # Errors
    /// [`ErrorKind::Suspended`] where it must be read first.
    pub(super) fn need_any<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        range: impl FnOnce() -> SubRange,
    ) -> Result<()> {
        let Some(sub) = self.lacking::<S, V>(id, row, range) else { return Ok(()) };
        self.scan(id, row, sub, Wanted::Any);
        Err(self.suspend())
    }

    /// Asks for a range before the record that needs it is processed. Another record of the key may have done so.
    pub(super) fn ask_range_ahead<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        range: impl FnOnce() -> SubRange,
    ) {
        let Some(sub) = self.lacking::<S, V>(id, row, range) else { return };
        if !self.scans.is_asked(row.0, id, &sub) {
            self.scan(id, row, sub, Wanted::All);
        }
    }

    /// Asks for the keys of a range, to be listed.
    pub(super) fn scan_keys(&mut self, id: ColumnId, row: Row, range: SubRange) {
        self.scan(id, row, range, Wanted::Keys);
    }

    /// The range, if something in it that is not in memory may have a value.
    pub(super) fn lacking<S: SubKey, V: Value>(
        &mut self,
        id: ColumnId,
        row: Row,
        range: impl FnOnce() -> SubRange,
    ) -> Option<SubRange> {
        let known = column::<SubColumn<S, V>>(&self.columns, id).known(row.0);
        if known.is_complete() {
            return None;
        }
        let sub = range();
        let is_empty = sub.to.as_ref().is_some_and(|to| *to <= sub.from);
        if is_empty || known.encloses(&sub) {
            return None;
        }
        if self.is_never_stored(id, row.0) {
            self.filter.saved += 1;
            return None;
        }
        Some(sub)
    }

    fn scan(&mut self, column: ColumnId, row: Row, sub: SubRange, wanted: Wanted) {
        // Whoever asks ahead for all of it must not take a part for that.
        if wanted == Wanted::All {
            self.scans.ask(row.0, column, sub.clone());
        }
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
        let key = key.into();
        let (taken_bytes, traceless) = (0, true);
        self.scans.push(Scan { row, column, range, key, sub, taken_bytes, traceless, wanted });
        self.await_one_more(row);
    }

    /// The scans that became necessary since the last call, for [`super::Store::scan_page`]. Each is to
    /// be answered by [`KeyedState::page_scanned`], or at once by [`KeyedState::scanned`].
    pub fn take_scans(&mut self) -> Vec<Scan> {
        self.scans.take()
    }

    /// The whole answer to `scan`; `true` when its row is resident now.
    ///
    /// # Errors
    /// As those of [`KeyedState::page_scanned`].
    pub fn scanned(&mut self, scan: &Scan, items: Vec<Scanned>) -> Result<bool> {
        let mut scan = scan.clone();
        let is_resident = self.page_scanned(&mut scan, ScanPage { items, rest: None })?;
        Ok(is_resident == Some(true))
    }

    /// A page of the answer to `scan`: whether its row is resident now, or `None` where `scan` is what remains
    /// and is to be read first. What is in memory is not older than its item, a deletion included, and stays
    /// as it is. None of it leaves memory before all is there, since its row is loading.
    ///
    /// # Errors
    /// As those of [`KeyedState::loaded`]; the error of an item that is damaged; [`ErrorKind::TooLarge`] as
    /// soon as there is more than may be in memory.
    pub fn page_scanned(&mut self, scan: &mut Scan, page: ScanPage) -> Result<Option<bool>> {
        let column = scan.column.index();
        let name = self.columns[column].name().clone();
        let corrupt = |error: DecodeError| {
            Error::new(ErrorKind::Corrupt, format!("item of state {name}: {error}"))
        };
        let (mut found, mut keys) = (false, Keys::default());
        for Scanned { sort_key, item } in page.items {
            // Another key's, where the range could not be told more exactly.
            let Some(sub) = sort_key.strip_prefix(&scan.key[..]) else { continue };
            let in_memory = self.columns[column].in_memory(scan.row.0, sub).map_err(&corrupt)?;
            if in_memory.is_some() && !bites(Tooth::PinnedReadFromTable) {
                continue;
            }
            let keys_alone = scan.wanted == Wanted::Keys;
            let item = match item {
                // Only its key is of use, whatever has become of its value.
                Err(_) if keys_alone => {
                    keys.push(sub);
                    continue;
                }
                item => item?,
            };
            let Some(Living { stored, outlives }) = self.unless_gone(scan.column, item.stored())
            else {
                scan.traceless = false;
                continue;
            };
            let value = match keys_alone {
                true => self.columns[column].tombstone_bytes(),
                false => ENTRY_BYTES + stored.bytes.len(),
            };
            scan.taken_bytes += sub.len() + value;
            self.check_scan(column, scan.row.0, scan.taken_bytes, keys_alone)?;
            if keys_alone {
                keys.push(sub);
                continue;
            }
            let values = &mut self.columns[column];
            let entry = values.entry_of(scan.row.0, sub).map_err(&corrupt)?;
            values.restore(entry, Some(stored), Meta::loaded().noted()).map_err(&corrupt)?;
            found |= self.is_seen_by_all(scan.column, &stored);
            if outlives {
                self.touch(column, entry);
            }
        }
        if scan.wanted == Wanted::Keys {
            let of = (scan.row, scan.column, &scan.sub);
            self.scans.listed_mut().add(of, keys, page.rest.is_none());
        }
        // Of the rest nothing is known.
        if scan.wanted == Wanted::Any && found && page.rest.is_some() {
            return self.answered(scan.row).map(Some);
        }
        if let Some(rest) = page.rest {
            scan.range = rest;
            return Ok(None);
        }
        if scan.wanted == Wanted::Keys {
            return self.answered(scan.row).map(Some);
        }
        self.scans.end(scan.row.0, scan.column, &scan.sub);
        if self.columns[column].learn(scan.row.0, scan.sub.clone(), scan.traceless) {
            self.scans.learnt_much(scan.row.0, scan.column);
        }
        self.answered(scan.row).map(Some)
    }

    /// What rows know beyond what is kept of it, and what was listed of them, once no record of theirs needs it any
    /// more.
    #[cold]
    pub(super) fn forget_ranges(&mut self) {
        let Self { scans, columns, loading, .. } = self;
        let is_loading = |row| loading.contains_key(&row);
        scans.forget(is_loading, |column, row| columns[column.index()].forget_ranges(row));
    }
}
