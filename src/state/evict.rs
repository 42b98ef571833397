//! Eviction: entries whose values are in their items leave memory, the longest unused first.
//!
//! Owns what may leave and how much of each kind does. When memory is short is `task`'s; the order is
//! `recency`'s.

use super::cleaning::CleaningRows;
use super::descriptor::ColumnId;
use super::keyed::{KeyedState, Row};
use super::recency::Standing;
use super::shortened::Shortened;
use crate::codec::Key;
use crate::error::{Error, ErrorKind, Result};
use crate::teeth::{Tooth, bites};

/// How many of a cleaning's entries one call takes over: some 20 µs.
const COOLING: usize = 4096;

impl<K: Key> KeyedState<K> {
    /// Begins to remember which rows and entries are used, so that [`KeyedState::evict_bytes`] takes others.
    /// Worth its cost (a nanosecond or so a record) once memory is wanted.
    pub fn track_recency(&mut self) {
        if self.recency.is_active() {
            return;
        }
        self.recency.activate(self.rows.end());
        for column in &mut self.columns {
            let end = column.end();
            if let Some(recency) = column.recency() {
                recency.activate(end);
            }
        }
    }

    /// The plan that made these clean is done: what of them was not used since leaves first.
    pub fn cooled(&mut self, rows: CleaningRows) {
        if self.recency.is_active() {
            let entries = rows.into_entries();
            if self.cooling.is_empty() {
                self.cooling = entries;
            } else {
                self.cooling.extend(entries);
            }
        }
    }

    /// As [`KeyedState::evict_bytes`], as many as there are in `looks` looks at each kind.
    pub fn evict(&mut self, looks: u32) -> u32 {
        self.evict_bytes(u64::MAX, looks)
    }

    /// Gives away rows and entries whose every value is in its item, up to about `bytes` of them, with at
    /// most so many looks at rows and at each column's entries; how many it were. Call it between batches;
    /// their next use costs a read.
    pub fn evict_bytes(&mut self, bytes: u64, looks: u32) -> u32 {
        self.cool();
        let rows = self.rows.len() as u64;
        // Each brings its marks along, or makes room for those of another.
        let all = (self.rows_bytes() + self.marks_bytes()).max(1);
        let mut evicted = 0;
        for column in self.column_ids() {
            let values = &self.columns[column.index()];
            let of_column = values.bytes(rows);
            let entries = values.entries(rows);
            if !values.is_plain() && entries > 0 {
                let share = u128::from(bytes) * u128::from(of_column) / u128::from(all);
                let wanted = number(share, of_column / entries);
                evicted += self.evict_entries(column, wanted, looks);
            }
        }
        // With all that they bring along: their entries have left before.
        evicted + self.evict_rows(number(bytes.into(), all / rows.max(1)), looks)
    }

    /// Whether there was nothing to leave, however long it was looked for.
    #[must_use]
    pub fn is_exhausted(&mut self) -> bool {
        let exhausted = self.recency.is_exhausted(self.rows.end());
        let rows = self.rows.len() as u64;
        self.cooling.is_empty()
            && exhausted
            && self.columns.iter_mut().all(|column| {
                let end = column.end();
                // Where all of them have left, nobody looks any more.
                column.entries(rows) == 0
                    || column.recency().is_none_or(|recency| recency.is_exhausted(end))
            })
    }

    /// Something may leave that could not before.
    pub(super) fn look_again(&mut self) {
        self.recency.look_again();
        for column in &mut self.columns {
            if let Some(recency) = column.recency() {
                recency.look_again();
            }
        }
    }

    /// How many cleaned entries are not in the order yet.
    #[cfg(test)]
    pub(crate) fn cooling(&self) -> usize {
        self.cooling.len()
    }

    /// Takes some of what was cleaned into the order, and gives memory back where few rows or entries are left. To
    /// be called between batches, whether or not there is want of room: a cleaning adds entries, and collects fewer
    /// of them between two batches than this takes.
    pub fn cool(&mut self) {
        let rest = self.cooling.len().saturating_sub(COOLING);
        for (column, entry) in self.cooling.drain(rest..) {
            match self.columns.get_mut(column.index()).map(|values| values.recency()) {
                Some(Some(recency)) => recency.cooled(entry),
                Some(None) => self.recency.cooled(entry),
                None => {}
            }
        }
        if rest == 0 && self.cooling.capacity() > COOLING {
            self.cooling = Vec::new();
        }
        self.compact();
    }

    /// Up to which change all is in the table.
    fn left_behind(&self) -> u32 {
        let horizon = self.log.horizon();
        match &self.cleaning {
            Some(cleaning) if bites(Tooth::EvictedBeforeAnswer) => horizon.max(cleaning.stamp()),
            _ => horizon,
        }
    }

    fn evict_rows(&mut self, wanted: u32, mut looks: u32) -> u32 {
        let (horizon, end) = (self.left_behind(), self.rows.end());
        let mut recency = std::mem::take(&mut self.recency);
        let mut evicted = 0;
        while evicted < wanted
            && let Some(row) = recency.victim(end, &mut looks, |row| match row {
                _ if !self.rows.is_taken(row) => Standing::Vacant,
                _ if self.is_loading(Row(row)) => Standing::Held,
                _ if self.columns.iter().any(|column| column.holds_back(row, horizon)) => {
                    Standing::Held
                }
                _ => Standing::Free,
            })
        {
            self.vacate(row);
            evicted += 1;
        }
        self.recency = recency;
        evicted
    }

    fn evict_entries(&mut self, column: ColumnId, wanted: u32, mut looks: u32) -> u32 {
        let horizon = self.left_behind();
        let values = &mut self.columns[column.index()];
        let end = values.end();
        let Some(mut recency) = values.recency().map(std::mem::take) else { return 0 };
        let mut evicted = 0;
        while evicted < wanted
            && let Some(entry) = recency.victim(end, &mut looks, |entry| match entry {
                _ if !values.is_taken(entry) => Standing::Vacant,
                _ if self.loading.contains_key(&values.row_of(entry)) => Standing::Held,
                _ if !values.meta(entry).is_clean(horizon) => Standing::Held,
                _ => Standing::Free,
            })
        {
            values.give_away(entry);
            evicted += 1;
        }
        if let Some(place) = values.recency() {
            *place = recency;
        }
        if evicted > 0 {
            // Their rows may be free now.
            self.recency.look_again();
        }
        evicted
    }

    /// What an entry may take at most, bytes as serialised, its key included; without a call any.
    pub fn limit_entries(&mut self, bytes: u64) {
        self.entry_limit = bytes;
    }

    /// Whether an entry may be kept whose key and value take so many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] that says whether the key is too large by itself.
    pub(super) fn check_size(
        &self,
        column: usize,
        entry: u32,
        (key, value): (usize, usize),
    ) -> Result<()> {
        let bytes = key as u64 + value as u64;
        if bytes <= self.entry_limit {
            return Ok(());
        }
        let row = self.columns[column].row_of(entry);
        let by_key = key as u64 > self.entry_limit;
        let else_do = if by_key { "shorten the key" } else { "divide the value" };
        let takes = format!("{key} bytes of encoded key and {value} of value");
        Err(self.too_large(column, row, "the entry", &takes, else_do))
    }

    /// Whether so many bytes of what was asked for of a row may be read at once, or of the keys alone of what is to be
    /// cleared.
    pub(super) fn check_scan(
        &self,
        column: usize,
        row: u32,
        bytes: usize,
        keys_alone: bool,
    ) -> Result<()> {
        if bytes as u64 <= self.entry_limit {
            return Ok(());
        }
        let (what, else_do) = match keys_alone {
            true => ("keys of what is cleared at once", "remove less at a time: a range, a prefix"),
            false => ("what is asked for at once", "ask for less at a time: a range, a prefix"),
        };
        Err(self.too_large(column, row, what, &format!("{bytes} bytes"), else_do))
    }

    fn too_large(&self, column: usize, row: u32, what: &str, takes: &str, else_do: &str) -> Error {
        let key = self.rows.key(row);
        let (state, limit) = (self.columns[column].name(), self.entry_limit);
        let (group, key) = (self.group_of(key.key_hash()), Shortened(key));
        let message = format!(
            "state {state}: {what} of key {key} (key group {group}) takes {takes}, and \
             state.backend.dynamodb.cache-size leaves {limit} for all: set it higher, or {else_do}"
        );
        Error::new(ErrorKind::TooLarge, message)
    }
}

/// How many of `each` bytes are about `bytes`, at least one.
fn number(bytes: u128, each: u64) -> u32 {
    u32::try_from(bytes.div_ceil(u128::from(each.max(1)))).unwrap_or(u32::MAX).max(1)
}
