//! One record's effects on the state, and how they are undone where it must run again.
//!
//! Owns what is remembered for that: only while a record is processed, and only in an operator that may
//! have to wait for an entry in the middle of one. What a column's entries held is theirs to remember.

use super::column::Holds;
use super::descriptor::ColumnId;
use super::entries::Old;
use super::entry::{Meta, UNSERIALISED};
use super::keyed::{KeyedState, Row, column_mut};
use super::known::Known;
use crate::codec::{Key, Value};
use crate::error::{Error, Result};
use crate::teeth::{Tooth, bites};

/// Room for so many effects is kept from record to record.
const FEW: usize = 4096;

/// What the record that is being processed has done.
#[derive(Debug)]
pub(super) struct Effects {
    pub(super) recording: bool,
    /// Something that it asked for must be read first.
    pub(super) suspended: bool,
    /// What it stamped, and what the entries were like before.
    touched: Vec<(usize, u32, Meta)>,
    created: Vec<(ColumnId, u32)>,
    /// What was known of rows before it cleared something.
    learnt: Vec<(ColumnId, u32, Known)>,
    /// Whose entries it changed.
    columns: Vec<ColumnId>,
    /// What of a stamp must agree for the short way of a change: no stamp does while recording.
    mask: u32,
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            recording: false,
            suspended: false,
            touched: Vec::new(),
            created: Vec::new(),
            learnt: Vec::new(),
            columns: Vec::new(),
            mask: u32::MAX,
        }
    }
}

impl Effects {
    fn changed(&mut self, column: ColumnId) {
        if self.columns.last() != Some(&column) {
            self.columns.push(column);
        }
    }

    pub(super) fn touched(&mut self, column: usize, entry: u32, before: Meta) {
        self.touched.push((column, entry, before));
    }

    pub(super) fn created(&mut self, column: ColumnId, entry: u32) {
        if self.recording {
            self.created.push((column, entry));
        }
    }

    /// A row of which so much is known is going to be known better.
    pub(super) fn learns(&mut self, column: ColumnId, row: Row, before: &Known) {
        if self.recording {
            self.learnt.push((column, row.0, before.clone()));
        }
    }
}

/// Gives back the room of a record that did very much, cleared a large map say.
fn empty<T>(all: &mut Vec<T>) {
    all.clear();
    all.shrink_to(FEW);
}

impl<K: Key> KeyedState<K> {
    /// Whether a call about the state may have to wait for a read: an operator has entries that are not
    /// known when a record is admitted, and some may be stored.
    #[inline]
    #[must_use]
    pub fn may_suspend(&self) -> bool {
        self.has_subs && self.items_sent
    }

    /// Whether a call about `row`, which is resident, may. If so, its record stands between
    /// [`KeyedState::begin_record`] and [`KeyedState::end_record`], and what it changes in place is serialised
    /// before: not so where all that is stored of the row is in memory.
    #[must_use]
    pub fn may_suspend_at(&self, row: Row) -> bool {
        self.may_suspend() && !self.columns.iter().all(|column| column.has_all(row.0))
    }

    /// A record is going to be processed: what it does to the state is remembered.
    pub fn begin_record(&mut self) {
        self.effects.recording = true;
        self.effects.suspended = false;
        // No entry has this stamp.
        self.effects.mask = UNSERIALISED;
    }

    /// The record has been processed. `true` where it asked for something that must be read first,
    /// whatever it made of the error: then it has left no trace in the state, and is to be processed
    /// again when its row is not loading any more.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where a value that it changed cannot be given back.
    pub fn end_record(&mut self) -> Result<bool> {
        self.effects.recording = false;
        self.effects.mask = u32::MAX;
        if self.effects.suspended {
            self.times.read.get_mut().clear();
            if !bites(Tooth::SuspendedNotUndone) {
                self.undo_record()?;
            }
        }
        for column in self.effects.columns.drain(..) {
            self.columns[column.index()].forget();
        }
        empty(&mut self.effects.touched);
        empty(&mut self.effects.created);
        self.effects.learnt.clear();
        Ok(self.effects.suspended)
    }

    fn undo_record(&mut self) -> Result<()> {
        for column in self.effects.columns.drain(..) {
            self.columns[column.index()].undo().map_err(|error| {
                let name = self.columns[column.index()].name();
                Error::internal(format!("state {name}: cannot give back a value: {error}"))
            })?;
        }
        while let Some((column, entry, before)) = self.effects.touched.pop() {
            self.columns[column].set_meta(entry, before);
            self.log.undo_change(column, entry, before.change());
        }
        while let Some((column, entry)) = self.effects.created.pop() {
            self.columns[column.index()].discard(entry);
        }
        while let Some((column, row, before)) = self.effects.learnt.pop() {
            self.columns[column.index()].unlearn(row, before);
        }
        Ok(())
    }

    /// The stamp that an entry may be changed with just so: the current one, unless what it held must be
    /// remembered.
    #[inline]
    pub(super) fn hot(&self) -> u32 {
        self.log.hot() & self.effects.mask
    }

    /// Gives an entry a value, or takes it away.
    pub(super) fn put_entry<C: Holds<V>, V: Value>(
        &mut self,
        id: ColumnId,
        entry: u32,
        value: Option<V>,
    ) {
        self.touch(id.index(), entry);
        let column = column_mut::<C>(&mut self.columns, id);
        column.changed(entry);
        let values = column.values_mut();
        let (is_present, old) = (value.is_some(), values.put(entry, value));
        let has_turned = old.is_some() != is_present;
        if self.effects.recording {
            values.remember(entry, Old::Value(old));
            self.effects.changed(id);
        }
        if let Some(lives) = values.lives_mut() {
            self.times.put(lives, entry, is_present);
        }
        if has_turned {
            column.turned(entry);
        }
    }

    /// Gives an entry another value, made of the one that it has: that counts as changing it in place.
    pub(super) fn replace_entry<C: Holds<V>, V: Value>(
        &mut self,
        id: ColumnId,
        entry: u32,
        value: V,
    ) {
        let kept = column_mut::<C>(&mut self.columns, id).values_mut().expires_at(entry);
        self.put_entry::<C, V>(id, entry, Some(value));
        if let Some(lives) = column_mut::<C>(&mut self.columns, id).values_mut().lives_mut() {
            lives.set(entry, kept);
            self.times.changed(lives, entry);
        }
    }

    /// An entry's value, to be changed in place; it counts as changed. Remembering it takes its encoding,
    /// since values need not be `Clone`.
    pub(super) fn entry_mut<C: Holds<V>, V: Value>(
        &mut self,
        id: ColumnId,
        entry: u32,
    ) -> Option<&mut V> {
        let values = column_mut::<C>(&mut self.columns, id).values_mut();
        if values.get(entry).is_none() || self.times.hides(values.lives(), entry) {
            let value = values.make_default()?;
            self.put_entry::<C, V>(id, entry, Some(value));
            return column_mut::<C>(&mut self.columns, id).values_mut().get_mut(entry);
        }
        self.touch(id.index(), entry);
        let column = column_mut::<C>(&mut self.columns, id);
        column.changed(entry);
        let values = column.values_mut();
        if self.effects.recording {
            let mut bytes = Vec::new();
            match values.encode(entry, &mut bytes) {
                Ok(_) => values.remember(entry, Old::Encoded(bytes)),
                Err(error) => {
                    let name = self.columns[id.index()].name();
                    let error =
                        Error::new(crate::error::ErrorKind::User, format!("state {name}: {error}"));
                    self.failed.get_or_insert(error);
                }
            }
            self.effects.changed(id);
        }
        let values = column_mut::<C>(&mut self.columns, id).values_mut();
        if let Some(lives) = values.lives_mut() {
            self.times.changed(lives, entry);
        }
        values.get_mut(entry)
    }

    /// An entry's value, to be made longer: undoing that is to make it as long as before.
    pub(super) fn lengthen<C: Holds<V>, V: Value>(
        &mut self,
        id: ColumnId,
        entry: u32,
        length: usize,
        shorten: fn(&mut V, usize),
    ) -> Option<&mut V> {
        self.touch(id.index(), entry);
        let column = column_mut::<C>(&mut self.columns, id);
        column.changed(entry);
        let values = column.values_mut();
        if self.effects.recording {
            values.remember(entry, Old::Shorter(length, shorten));
            self.effects.changed(id);
        }
        values.get_mut(entry)
    }
}
