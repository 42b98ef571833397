//! One state's place in its operator's memory: a column.
//!
//! Owns what every column can do, and the plain one: one entry for each row, of the row's number. Columns
//! with several entries for each row are `sub_column`'s, values and what is remembered of them `entries`'.

use std::any::Any;
use std::fmt;

use super::coding::{AnyCoding, Coding, Stored};
use super::compact::Moves;
use super::entries::Entries;
use super::entry::Meta;
use super::heap::HeapBytes;
use super::key_types::SubTypes;
use super::keyed::Row;
use super::known::{Known, SubRange};
use super::recency::Recency;
use super::ttl::{Lives, Ttl};
use crate::codec::{DecodeError, Value};
use crate::ids::Name;

/// A column whose type is known only to the handles of its state.
///
/// What it holds, the log logs and the table stores are *entries*, numbered from 0. An entry belongs to a
/// row; its key in log and table is the row's key followed by a sub key, which is empty in a plain column.
pub(super) trait AnyColumn: Any + fmt::Debug + Send {
    fn name(&self) -> &Name;
    /// Of which types the parts of its sub keys are.
    fn sub_types(&self) -> SubTypes;
    /// Whether each row has one entry, of its own number, which is read when the row is admitted.
    fn is_plain(&self) -> bool;
    /// A row is taken, `is_new` where it is one more at the end. With `nothing_stored`, no item of it can
    /// exist.
    fn open_row(&mut self, row: u32, is_new: bool, nothing_stored: bool);
    /// Makes room for `rows` rows in all.
    fn reserve(&mut self, rows: usize);
    /// The row is given away: forgets all about it. There are no entries with a sub key then.
    fn close_row(&mut self, row: u32);
    /// Rows move together.
    fn move_rows(&mut self, moves: &Moves);
    /// Entries with a sub key do.
    fn move_entries(&mut self, moves: &Moves);
    /// Whether `row` has something here that is newer than its item, or entries with a sub key.
    fn holds_back(&self, row: u32, horizon: u32) -> bool;
    /// Whether `row` has a value here, or entries with a sub key.
    fn is_in_use(&self, row: u32) -> bool;

    /// Whether the entry is one at present.
    fn is_taken(&self, entry: u32) -> bool;
    /// Whose entry it is.
    fn row_of(&self, entry: u32) -> u32;
    /// Appends the entry's sub key.
    fn encode_sub(&self, entry: u32, out: &mut Vec<u8>);
    /// The row's entry of an encoded sub key; a new and empty one, where there is none.
    fn entry_of(&mut self, row: u32, sub: &[u8]) -> Result<u32, DecodeError>;
    /// Takes an entry out of memory. What may be stored of it is to be read from now on; of a plain column's
    /// there is nothing.
    fn give_away(&mut self, entry: u32);
    /// An entry has an item from now on; whether it is the first one of its row that is said so of, where
    /// rows have several.
    fn note_row(&mut self, entry: u32) -> bool;
    fn meta(&self, entry: u32) -> Meta;
    fn set_meta(&mut self, entry: u32, meta: Meta);
    fn is_present(&self, entry: u32) -> bool;
    /// Appends the value's bytes; `false`, and no bytes, where there is no value.
    fn encode(&self, entry: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError>;
    /// Gives the entry a stored value, or its absence.
    fn restore(
        &mut self,
        entry: u32,
        stored: Option<Stored<'_>>,
        meta: Meta,
    ) -> Result<(), DecodeError>;
    /// When its entries expire, where they do.
    fn lives(&self) -> Option<&Lives>;
    /// For how long they live.
    fn ttl(&self) -> Option<Ttl> {
        self.lives().map(|lives| lives.ttl)
    }
    fn lives_mut(&mut self) -> Option<&mut Lives>;
    /// Takes an entry's value away.
    fn expire(&mut self, entry: u32);
    /// How its values become bytes.
    fn coding(&self) -> &dyn AnyCoding;
    /// The same, to be told what the table holds.
    fn coding_mut(&mut self) -> &mut dyn AnyCoding;

    /// Whether all is in memory that is stored of `row`, now that it is resident.
    fn has_all(&self, row: u32) -> bool;
    /// The row's entry of an encoded sub key, where it is in memory.
    fn in_memory(&self, row: u32, sub: &[u8]) -> Result<Option<u32>, DecodeError>;
    /// All of `row` that is stored within a range of sub keys is in memory from now on; `traceless` where
    /// there was no tombstone. Whether more such ranges are known now than are kept.
    fn learn(&mut self, row: u32, range: SubRange, traceless: bool) -> bool;
    /// No record of `row` needs the ranges beyond those that are kept.
    fn forget_ranges(&mut self, row: u32);
    /// What was known of `row` before a record that must run again.
    fn unlearn(&mut self, row: u32, before: Known);

    /// Gives entries back what a record that must run again has changed.
    fn undo(&mut self) -> Result<(), DecodeError>;
    /// The record is done: there is nothing to give back.
    fn forget(&mut self);
    /// Takes out an entry that such a record has made: nothing is known of it, as before.
    fn discard(&mut self, entry: u32);

    /// Reads what each of `rows` has here, for nothing but to have it in the cache.
    fn warm(&self, rows: &[Row]);
    /// Entry numbers are smaller than this.
    fn end(&self) -> u32;
    /// How many entries there are where `rows` rows are taken.
    fn entries(&self, rows: u64) -> u64;
    /// What an entry of a sub key takes that has no value, beside that key's own bytes, until no record can be undone that
    /// has made it; estimated.
    fn tombstone_bytes(&self) -> usize;
    /// Bytes of memory for `rows` rows, estimated.
    fn bytes(&self, rows: u64) -> u64;
    /// Which entries were not used for long, where they leave memory by themselves.
    fn recency(&mut self) -> Option<&mut Recency>;
    /// Memory of the marks that tell.
    fn recency_bytes(&self) -> u64;
    /// Whether values own memory elsewhere, whose size only serialising tells.
    fn owns_memory(&self) -> bool;
    /// What they own of it, estimated; a part of [`AnyColumn::bytes`].
    fn heap_bytes(&self) -> HeapBytes;
    /// A batch that used `rows` has been processed: looks at how long values are now that have changed.
    fn look(&mut self, rows: &[Row]);
    /// The bytes of a value that is to be read, as they were lately; `None` where nobody can know.
    fn typical_bytes(&self) -> Option<u64>;
}

/// A column whose values are `V`s.
pub(super) trait Holds<V>: AnyColumn {
    fn values_mut(&mut self) -> &mut Entries<V>;
    /// The value of an entry may have changed. Of a plain column the rows of the batch say so.
    fn changed(&mut self, entry: u32);
    /// The entry has a value now and had none, or the other way round.
    fn turned(&mut self, entry: u32);
}

/// A state of one value for each row.
pub(super) struct Column<V> {
    name: Name,
    pub(super) values: Entries<V>,
}

impl<V: Value> Column<V> {
    pub(super) fn new(name: Name, default: Option<fn() -> V>, coding: Coding<V>) -> Self {
        Self { name, values: Entries::new(default, coding) }
    }

    /// Has values expire.
    pub(super) fn with_ttl(mut self, ttl: Option<Ttl>) -> Self {
        self.values.live_for(ttl);
        self
    }
}

impl<V: Value> Holds<V> for Column<V> {
    #[inline]
    fn values_mut(&mut self) -> &mut Entries<V> {
        &mut self.values
    }

    #[inline]
    fn changed(&mut self, _: u32) {}

    #[inline]
    fn turned(&mut self, _: u32) {}
}

impl<V> fmt::Debug for Column<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({})", self.name)
    }
}

impl<V: Value> AnyColumn for Column<V> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn sub_types(&self) -> SubTypes {
        SubTypes::default()
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn open_row(&mut self, _: u32, is_new: bool, _: bool) {
        if is_new {
            self.values.push();
        }
    }

    fn reserve(&mut self, rows: usize) {
        self.values.reserve(rows);
    }

    fn close_row(&mut self, row: u32) {
        self.values.vacate(row);
    }

    fn move_rows(&mut self, moves: &Moves) {
        self.values.apply(moves);
    }

    fn move_entries(&mut self, _: &Moves) {}

    fn holds_back(&self, row: u32, horizon: u32) -> bool {
        !self.values.meta(row).is_clean(horizon)
    }

    fn is_in_use(&self, row: u32) -> bool {
        self.is_present(row)
    }

    fn is_taken(&self, _: u32) -> bool {
        true
    }

    fn row_of(&self, entry: u32) -> u32 {
        entry
    }

    fn encode_sub(&self, _: u32, _: &mut Vec<u8>) {}

    fn entry_of(&mut self, row: u32, sub: &[u8]) -> Result<u32, DecodeError> {
        if sub.is_empty() {
            return Ok(row);
        }
        Err(DecodeError(format!("{} bytes after the key of state {}", sub.len(), self.name)))
    }

    fn give_away(&mut self, entry: u32) {
        self.values.vacate(entry);
    }

    fn note_row(&mut self, _: u32) -> bool {
        false
    }

    fn meta(&self, entry: u32) -> Meta {
        self.values.meta(entry)
    }

    fn set_meta(&mut self, entry: u32, meta: Meta) {
        self.values.set_meta(entry, meta);
    }

    fn is_present(&self, entry: u32) -> bool {
        self.values.get(entry).is_some()
    }

    fn encode(&self, entry: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        self.values.encode(entry, out)
    }

    fn restore(
        &mut self,
        entry: u32,
        stored: Option<Stored<'_>>,
        meta: Meta,
    ) -> Result<(), DecodeError> {
        self.values.restore(entry, stored, meta)
    }

    fn lives(&self) -> Option<&Lives> {
        self.values.lives()
    }

    fn lives_mut(&mut self) -> Option<&mut Lives> {
        self.values.lives_mut()
    }

    fn expire(&mut self, entry: u32) {
        self.values.expire(entry);
    }

    fn coding(&self) -> &dyn AnyCoding {
        &self.values.coding
    }

    fn coding_mut(&mut self) -> &mut dyn AnyCoding {
        &mut self.values.coding
    }

    fn has_all(&self, _: u32) -> bool {
        true
    }

    fn in_memory(&self, row: u32, _: &[u8]) -> Result<Option<u32>, DecodeError> {
        Ok(Some(row))
    }

    fn learn(&mut self, _: u32, _: SubRange, _: bool) -> bool {
        false
    }

    fn forget_ranges(&mut self, _: u32) {}

    fn unlearn(&mut self, _: u32, _: Known) {}

    fn undo(&mut self) -> Result<(), DecodeError> {
        self.values.undo()
    }

    fn forget(&mut self) {
        self.values.forget();
    }

    fn discard(&mut self, _: u32) {}

    fn warm(&self, rows: &[Row]) {
        self.values.warm(rows);
    }

    fn end(&self) -> u32 {
        self.values.len() as u32
    }

    fn entries(&self, rows: u64) -> u64 {
        rows
    }

    fn tombstone_bytes(&self) -> usize {
        self.values.slot_bytes()
    }

    fn bytes(&self, rows: u64) -> u64 {
        self.values.bytes(rows)
    }

    fn recency(&mut self) -> Option<&mut Recency> {
        None
    }

    fn recency_bytes(&self) -> u64 {
        0
    }

    fn owns_memory(&self) -> bool {
        Entries::<V>::OWNS_MEMORY
    }

    fn heap_bytes(&self) -> HeapBytes {
        self.values.heap_bytes()
    }

    fn look(&mut self, rows: &[Row]) {
        self.values.look(rows.iter().map(|row| row.0));
    }

    fn typical_bytes(&self) -> Option<u64> {
        self.values.typical_bytes()
    }
}
