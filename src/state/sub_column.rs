//! A column of a state that has entries of its own for each row: each by a sub key.
//!
//! Owns which entries a row has in memory and what is known of those that are not there. What they hold is
//! `entries`'; reading what is missing is asked for in `suspend`.

use std::cmp::Ordering;
use std::fmt;

use super::coding::{AnyCoding, Coding, Stored};
use super::column::{AnyColumn, Holds};
use super::compact::Moves;
use super::entries::Entries;
use super::entry::Meta;
use super::heap::HeapBytes;
use super::key_bytes::KeyBytes;
use super::key_types::SubTypes;
use super::keyed::Row;
use super::known::{Known, SubRange};
use super::recency::Recency;
use super::rows::grow;
use super::sorted::{Place, Sorted};
use super::ttl::{Lives, Ttl};
use crate::codec::{DecodeError, Key, Value};
use crate::ids::Name;

/// Stands for no row: of a vacant entry.
const NO_ROW: u32 = u32::MAX;

/// What a sub column can be keyed by: in memory its order must be that of its encoding.
pub trait SubKey: Key + Ord {}
impl<S: Key + Ord> SubKey for S {}

/// What a row has here.
#[derive(Debug, Default)]
struct Children {
    /// Its entries in memory, by their sub keys: those that have a value, and some that have none yet.
    sorted: Sorted,
    /// The others that have none: what goes over a map or a list does not pass all that has left it.
    absent: Option<Box<Sorted>>,
    /// What is known of others.
    known: Known,
    /// The filter knows that there are items.
    noted: bool,
}

impl Children {
    fn find(&self, order: impl Fn(u32) -> Ordering) -> Result<u32, Place> {
        let among_absent = |place| match &self.absent {
            Some(absent) => absent.find(&order).map_err(|_| place),
            None => Err(place),
        };
        self.sorted.find(&order).or_else(among_absent)
    }

    fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.absent.is_none()
    }

    /// Takes out one of those without a value; whether it was among them.
    fn remove_absent(&mut self, order: impl Fn(u32) -> Ordering) -> bool {
        let Some(absent) = &mut self.absent else { return false };
        let found = absent.remove(order);
        if absent.is_empty() {
            self.absent = None;
        }
        found
    }
}

/// A state of any number of entries for each row.
pub(super) struct SubColumn<S, V> {
    name: Name,
    /// Of which types the parts of a sub key are.
    types: SubTypes,
    pub(super) values: Entries<V>,
    /// By entry: its row and sub key. A vacant one keeps its last key, unless that is long.
    places: Vec<(u32, S)>,
    vacant: Vec<u32>,
    rows: Vec<Children>,
    sub_keys: KeyBytes,
    recency: Recency,
}

impl<S: SubKey, V: Value> SubColumn<S, V> {
    pub(super) fn new(
        name: Name,
        types: SubTypes,
        default: Option<fn() -> V>,
        coding: Coding<V>,
    ) -> Self {
        Self {
            name,
            types,
            values: Entries::new(default, coding),
            places: Vec::new(),
            vacant: Vec::new(),
            rows: Vec::new(),
            sub_keys: KeyBytes::default(),
            recency: Recency::default(),
        }
    }

    /// Has values expire.
    pub(super) fn with_ttl(mut self, ttl: Option<Ttl>) -> Self {
        self.values.live_for(ttl);
        self
    }

    /// The row's entry in memory to whose sub key `order` says *equal*.
    #[inline]
    pub(super) fn find(&self, row: u32, order: impl Fn(&S) -> Ordering) -> Option<u32> {
        let children = &self.rows[row as usize];
        let found = children.find(|entry| order(&self.places[entry as usize].1)).ok();
        self.use_of(found)
    }

    /// The row's entry of `sub`, which is new and empty where `true`.
    pub(super) fn find_or_insert(&mut self, row: u32, sub: S) -> (u32, bool) {
        let children = &self.rows[row as usize];
        let place = match children.find(|entry| self.places[entry as usize].1.cmp(&sub)) {
            Ok(entry) => {
                self.use_of(Some(entry));
                return (entry, false);
            }
            Err(place) => place,
        };
        let entry = match self.vacant.pop() {
            Some(entry) => {
                self.places[entry as usize] = (row, sub);
                entry
            }
            None => {
                grow(&mut self.places);
                self.places.push((row, sub));
                self.values.push();
                (self.places.len() - 1) as u32
            }
        };
        self.rows[row as usize].sorted.insert(place, entry);
        self.recency.enter(entry);
        (entry, true)
    }

    #[inline]
    fn use_of(&self, found: Option<u32>) -> Option<u32> {
        if self.recency.is_active()
            && let Some(entry) = found
        {
            self.recency.touch(entry);
        }
        found
    }

    /// The sub key of an entry.
    pub(super) fn sub(&self, entry: u32) -> &S {
        &self.places[entry as usize].1
    }

    /// The row's entries in memory of whose sub keys `order` does not say *less*, in order: all that have a value.
    pub(super) fn from(
        &self,
        row: u32,
        order: impl Fn(&S) -> Ordering,
    ) -> impl Iterator<Item = u32> {
        self.rows[row as usize].sorted.from(move |entry| order(&self.places[entry as usize].1))
    }

    /// The row's entries in memory of whose sub keys `order` says *less*, in descending order: all that have a value.
    pub(super) fn before(
        &self,
        row: u32,
        order: impl Fn(&S) -> Ordering,
    ) -> impl Iterator<Item = u32> {
        self.rows[row as usize].sorted.before(move |entry| order(&self.places[entry as usize].1))
    }

    /// What is known of what `row` does not have in memory.
    pub(super) fn known(&self, row: u32) -> &Known {
        &self.rows[row as usize].known
    }

    /// Has an entry stand with those that have a value, or with those that have none, as it does.
    fn place(&mut self, entry: u32) {
        let (row, sub) = &self.places[entry as usize];
        let children = &mut self.rows[*row as usize];
        let order = |other: u32| self.places[other as usize].1.cmp(sub);
        let is_present = self.values.get(entry).is_some();
        let moves = match is_present {
            true => children.remove_absent(order),
            false => children.sorted.remove(order),
        };
        if !moves {
            return;
        }
        let to = match is_present {
            true => &mut children.sorted,
            false => children.absent.get_or_insert_default(),
        };
        if let Err(place) = to.find(order) {
            to.insert(place, entry);
        }
    }

    fn remove(&mut self, entry: u32) {
        let (row, sub) = &self.places[entry as usize];
        let children = &mut self.rows[*row as usize];
        let order = |other: u32| self.places[other as usize].1.cmp(sub);
        if !children.sorted.remove(order) {
            children.remove_absent(order);
        }
        self.values.vacate(entry);
        self.places[entry as usize].0 = NO_ROW;
        if let Some(short) = self.sub_keys.forget(entry) {
            self.places[entry as usize].1 = short;
        }
        self.vacant.push(entry);
    }
}

impl<S: SubKey, V: Value> Holds<V> for SubColumn<S, V> {
    fn values_mut(&mut self) -> &mut Entries<V> {
        &mut self.values
    }

    #[inline]
    fn changed(&mut self, entry: u32) {
        self.values.changed(entry);
    }

    fn turned(&mut self, entry: u32) {
        self.place(entry);
    }
}

impl<S, V> fmt::Debug for SubColumn<S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubColumn({}, {} entries)", self.name, self.places.len() - self.vacant.len())
    }
}

impl<S: SubKey, V: Value> AnyColumn for SubColumn<S, V> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn sub_types(&self) -> SubTypes {
        self.types
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn open_row(&mut self, row: u32, is_new: bool, nothing_stored: bool) {
        if is_new {
            grow(&mut self.rows);
            self.rows.push(Children::default());
        }
        if nothing_stored {
            self.rows[row as usize].known = Known::nothing_stored();
        }
    }

    fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows.saturating_sub(self.rows.len()));
    }

    fn close_row(&mut self, row: u32) {
        self.rows[row as usize] = Children::default();
    }

    fn move_rows(&mut self, moves: &Moves) {
        moves.apply(&mut self.rows);
        moves.renumber(self.places.iter_mut().map(|(row, _)| row).filter(|row| **row != NO_ROW));
    }

    fn move_entries(&mut self, moves: &Moves) {
        moves.apply(&mut self.places);
        self.values.apply(moves);
        self.vacant = Vec::new();
        for Children { sorted, absent, .. } in &mut self.rows {
            sorted.renumber(moves);
            absent.iter_mut().for_each(|absent| absent.renumber(moves));
        }
        self.sub_keys.renumber(moves);
        self.recency.renumber(moves);
    }

    fn holds_back(&self, row: u32, _: u32) -> bool {
        self.is_in_use(row)
    }

    fn is_in_use(&self, row: u32) -> bool {
        !self.rows[row as usize].is_empty()
    }

    fn is_taken(&self, entry: u32) -> bool {
        self.places[entry as usize].0 != NO_ROW
    }

    fn row_of(&self, entry: u32) -> u32 {
        self.places[entry as usize].0
    }

    fn encode_sub(&self, entry: u32, out: &mut Vec<u8>) {
        let before = out.len();
        self.sub(entry).encode(out);
        self.sub_keys.add(entry, out.len() - before);
    }

    fn entry_of(&mut self, row: u32, mut sub: &[u8]) -> Result<u32, DecodeError> {
        let length = sub.len();
        let key = S::decode(&mut sub)?;
        if sub.is_empty() {
            let entry = self.find_or_insert(row, key).0;
            self.sub_keys.add(entry, length);
            return Ok(entry);
        }
        Err(DecodeError(format!("{} bytes after the sub key of state {}", sub.len(), self.name)))
    }

    fn give_away(&mut self, entry: u32) {
        let (row, sub) = &self.places[entry as usize];
        let known = &mut self.rows[*row as usize].known;
        if self.values.meta(entry).has_item() {
            known.leave_item();
        }
        if self.values.get(entry).is_some() {
            let mut bytes = Vec::new();
            sub.encode(&mut bytes);
            known.leave_value(&bytes);
        }
        self.remove(entry);
    }

    fn note_row(&mut self, entry: u32) -> bool {
        let row = self.row_of(entry);
        !std::mem::replace(&mut self.rows[row as usize].noted, true)
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
        let restored = self.values.restore(entry, stored, meta);
        self.place(entry);
        restored
    }

    fn lives(&self) -> Option<&Lives> {
        self.values.lives()
    }

    fn lives_mut(&mut self) -> Option<&mut Lives> {
        self.values.lives_mut()
    }

    fn expire(&mut self, entry: u32) {
        self.values.expire(entry);
        self.place(entry);
    }

    fn coding(&self) -> &dyn AnyCoding {
        &self.values.coding
    }

    fn coding_mut(&mut self) -> &mut dyn AnyCoding {
        &mut self.values.coding
    }

    fn has_all(&self, row: u32) -> bool {
        self.known(row).is_complete()
    }

    fn in_memory(&self, row: u32, mut sub: &[u8]) -> Result<Option<u32>, DecodeError> {
        let key = S::decode(&mut sub)?;
        Ok(self.find(row, |other| other.cmp(&key)))
    }

    fn learn(&mut self, row: u32, range: SubRange, traceless: bool) -> bool {
        self.rows[row as usize].known.learn(range, traceless)
    }

    fn forget_ranges(&mut self, row: u32) {
        self.rows[row as usize].known.forget_old();
    }

    fn unlearn(&mut self, row: u32, before: Known) {
        self.rows[row as usize].known = before;
    }

    fn undo(&mut self) -> Result<(), DecodeError> {
        let changed: Vec<u32> = self.values.remembered().collect();
        let undone = self.values.undo();
        changed.into_iter().for_each(|entry| self.place(entry));
        undone
    }

    fn forget(&mut self) {
        self.values.forget();
    }

    fn discard(&mut self, entry: u32) {
        self.remove(entry);
    }

    fn warm(&self, _: &[Row]) {}

    fn end(&self) -> u32 {
        self.places.len() as u32
    }

    fn entries(&self, _: u64) -> u64 {
        (self.places.len() - self.vacant.len()) as u64
    }

    fn tombstone_bytes(&self) -> usize {
        /// Its numbers in the order, in the log and in what may have to be undone, and its length in the list.
        const BESIDE: usize = 48;
        self.values.slot_bytes() + size_of::<(u32, S)>() + BESIDE
    }

    fn bytes(&self, rows: u64) -> u64 {
        let place = size_of::<(u32, S)>() as u64;
        // A number in the order's blocks, which are two thirds full.
        const ORDER: u64 = 6;
        let entries = self.entries(rows);
        let children = rows * size_of::<Children>() as u64;
        let sub_keys = self.sub_keys.of::<S>(entries);
        children + self.values.bytes(entries) + entries * (place + ORDER) + sub_keys
    }

    fn recency(&mut self) -> Option<&mut Recency> {
        Some(&mut self.recency)
    }

    fn recency_bytes(&self) -> u64 {
        self.recency.bytes()
    }

    fn owns_memory(&self) -> bool {
        Entries::<V>::OWNS_MEMORY
    }

    fn heap_bytes(&self) -> HeapBytes {
        self.values.heap_bytes()
    }

    fn look(&mut self, _: &[Row]) {
        self.values.look_at_changed();
    }

    fn typical_bytes(&self) -> Option<u64> {
        self.values.typical_bytes()
    }
}
