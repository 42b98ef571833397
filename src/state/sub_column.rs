//! A column of a state that has entries of its own for each row: each by a sub key.
//!
//! Owns which entries a row has in memory and what is known of those that are not there. What they hold is
//! `entries`'; reading what is missing is asked for by the kinds of state, `map` and others.

use std::cmp::Ordering;
use std::fmt;

use super::coding::{AnyCoding, Coding, Stored};
use super::column::AnyColumn;
use super::entries::{Entries, MeanBytes};
use super::entry::Meta;
use super::keyed::Row;
use super::rows::grow;
use super::sorted::Sorted;
use super::ttl::Ttl;
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
    /// Its entries, by their sub keys.
    sorted: Sorted,
    /// What has a value is in memory.
    complete: bool,
    /// What may have an item is in memory, or was taken out with its value.
    traceless: bool,
}

/// A state of any number of entries for each row.
pub(super) struct SubColumn<S, V> {
    name: Name,
    pub(super) values: Entries<V>,
    /// By entry: its row and sub key. A vacant one keeps its last key.
    places: Vec<(u32, S)>,
    vacant: Vec<u32>,
    rows: Vec<Children>,
    sub_keys: MeanBytes,
}

impl<S: SubKey, V: Value> SubColumn<S, V> {
    pub(super) fn new(name: Name, coding: Coding<V>, ttl: Option<Ttl>) -> Self {
        Self {
            name,
            values: Entries::new(coding, ttl),
            places: Vec::new(),
            vacant: Vec::new(),
            rows: Vec::new(),
            sub_keys: MeanBytes::default(),
        }
    }

    /// The row's entry in memory to whose sub key `order` says *equal*.
    #[inline]
    pub(super) fn find(&self, row: u32, order: impl Fn(&S) -> Ordering) -> Option<u32> {
        self.rows[row as usize].sorted.find(|entry| order(&self.places[entry as usize].1)).ok()
    }

    /// The row's entry of `sub`, which is new and empty where `true`.
    pub(super) fn find_or_insert(&mut self, row: u32, sub: S) -> (u32, bool) {
        let sorted = &self.rows[row as usize].sorted;
        let place = match sorted.find(|entry| self.places[entry as usize].1.cmp(&sub)) {
            Ok(entry) => return (entry, false),
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
        (entry, true)
    }

    /// The sub key of an entry.
    pub(super) fn sub(&self, entry: u32) -> &S {
        &self.places[entry as usize].1
    }

    /// Whether what `row` has no entry of has no value.
    pub(super) fn is_complete(&self, row: u32) -> bool {
        self.rows[row as usize].complete
    }

    /// Whether what `row` has no entry of surely has no item either.
    pub(super) fn is_traceless(&self, row: u32) -> bool {
        let Children { complete, traceless, .. } = self.rows[row as usize];
        complete && traceless
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

    fn is_plain(&self) -> bool {
        false
    }

    fn open_row(&mut self, row: u32, is_new: bool, nothing_stored: bool) {
        if is_new {
            grow(&mut self.rows);
            self.rows.push(Children::default());
        }
        let children = &mut self.rows[row as usize];
        children.complete = nothing_stored;
        children.traceless = nothing_stored;
    }

    fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows.saturating_sub(self.rows.len()));
    }

    fn close_row(&mut self, row: u32) {
        self.rows[row as usize] = Children::default();
    }

    fn holds_back(&self, row: u32, _: u32) -> bool {
        self.is_in_use(row)
    }

    fn is_in_use(&self, row: u32) -> bool {
        !self.rows[row as usize].sorted.is_empty()
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
        self.sub_keys.add(out.len() - before);
    }

    fn entry_of(&mut self, row: u32, mut sub: &[u8]) -> Result<u32, DecodeError> {
        let key = S::decode(&mut sub)?;
        if sub.is_empty() {
            return Ok(self.find_or_insert(row, key).0);
        }
        Err(DecodeError(format!("{} bytes after the sub key of state {}", sub.len(), self.name)))
    }

    fn give_away(&mut self, entry: u32) {
        let (row, sub) = &self.places[entry as usize];
        let children = &mut self.rows[*row as usize];
        children.sorted.remove(|other| self.places[other as usize].1.cmp(sub));
        children.complete &= self.values.get(entry).is_none();
        children.traceless &= !self.values.meta(entry).has_item();
        self.values.vacate(entry);
        self.places[entry as usize].0 = NO_ROW;
        self.vacant.push(entry);
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

    fn ttl(&self) -> Option<Ttl> {
        self.values.ttl()
    }

    fn expires_at(&self, entry: u32) -> u64 {
        self.values.expires_at(entry)
    }

    fn set_expiry(&mut self, entry: u32, expires_ms: u64) {
        self.values.set_expiry(entry, expires_ms);
    }

    fn forget(&mut self, entry: u32) {
        self.values.put(entry, None);
        self.values.set_expiry(entry, 0);
    }

    fn coding(&self) -> &dyn AnyCoding {
        &self.values.coding
    }

    fn coding_mut(&mut self) -> &mut dyn AnyCoding {
        &mut self.values.coding
    }

    fn warm(&self, _: &[Row]) {}

    fn end(&self) -> u32 {
        self.places.len() as u32
    }

    fn entries(&self, _: u64) -> u64 {
        (self.places.len() - self.vacant.len()) as u64
    }

    fn bytes(&self, rows: u64) -> u64 {
        let place = size_of::<(u32, S)>() as u64 + self.sub_keys.heap_of::<S>();
        // A number in the order's blocks, which are two thirds full.
        const ORDER: u64 = 6;
        let entry = self.values.slot_bytes() + place + ORDER;
        rows * size_of::<Children>() as u64 + self.entries(rows) * entry
    }
}
