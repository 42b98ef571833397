//! The values of one state by entry, and what is remembered of each.
//!
//! Owns slots and their meaning; what an entry is (a row, or a part of one) is the column's, when a
//! stamp changes is decided in `keyed`, `replay` and `cleaning`.
//! A slot of a `u64` takes 16 bytes, so that one cache line answers for value, stamp and flags.

use std::cell::Cell;

use super::entry::Meta;
use super::keyed::Row;
use super::pages::huge;
use super::rows::grow;
use crate::codec::{Bincode, Codec, DecodeError, Value};

/// Flags and stamp stand in both variants, not in a struct of their own, because that lets them share
/// the discriminant's padding: 16 bytes for a `u64` instead of 24.
#[derive(Debug)]
pub(super) enum Slot<V> {
    Absent { flags: u8, stamp: u32 },
    Present { flags: u8, stamp: u32, value: V },
}

impl<V> Slot<V> {
    fn new(meta: Meta, value: Option<V>) -> Self {
        let Meta { flags, stamp } = meta;
        match value {
            None => Self::Absent { flags, stamp },
            Some(value) => Self::Present { flags, stamp, value },
        }
    }

    #[inline]
    fn meta(&self) -> Meta {
        match *self {
            Self::Absent { flags, stamp } | Self::Present { flags, stamp, .. } => {
                Meta { flags, stamp }
            }
        }
    }

    fn set_meta(&mut self, meta: Meta) {
        match self {
            Self::Absent { flags, stamp } | Self::Present { flags, stamp, .. } => {
                *flags = meta.flags;
                *stamp = meta.stamp;
            }
        }
    }
}

/// The sum of some lengths: their mean stands for what a value or a key owns on the heap.
#[derive(Debug, Default)]
pub(super) struct MeanBytes(Cell<(u64, u64)>);

impl MeanBytes {
    pub(super) fn add(&self, bytes: usize) {
        let (number, sum) = self.0.get();
        self.0.set((number + 1, sum + bytes as u64));
    }

    pub(super) fn get(&self) -> u64 {
        let (number, sum) = self.0.get();
        sum.checked_div(number).unwrap_or(0)
    }

    /// Of a `T`: nothing where a `T` owns nothing.
    pub(super) fn heap_of<T>(&self) -> u64 {
        if std::mem::needs_drop::<T>() { self.get() } else { 0 }
    }
}

/// The values of one state, by entry.
pub(super) struct Entries<V> {
    slots: Vec<Slot<V>>,
    encoded: MeanBytes,
}

impl<V: Value> Entries<V> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), encoded: MeanBytes::default() }
    }

    /// How many there are, vacant ones included.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(super) fn get(&self, entry: u32) -> Option<&V> {
        match &self.slots[entry as usize] {
            Slot::Present { value, .. } => Some(value),
            Slot::Absent { .. } => None,
        }
    }

    /// The value, if it is there and has the stamp `hot`: then it may be changed just so.
    #[inline]
    pub(super) fn hot_mut(&mut self, entry: u32, hot: u32) -> Option<&mut V> {
        match &mut self.slots[entry as usize] {
            Slot::Present { value, stamp, .. } if *stamp == hot => Some(value),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, entry: u32, value: Option<V>) {
        let slot = &mut self.slots[entry as usize];
        *slot = Slot::new(slot.meta(), value);
    }

    /// One entry more, empty.
    pub(super) fn push(&mut self) {
        grow(&mut self.slots);
        self.slots.push(Slot::new(Meta::default(), None));
    }

    /// Makes room for `entries` in all.
    pub(super) fn reserve(&mut self, entries: usize) {
        self.slots.reserve_exact(entries.saturating_sub(self.slots.len()));
        huge(&self.slots);
    }

    /// Empties an entry and forgets all about it.
    pub(super) fn vacate(&mut self, entry: u32) {
        self.slots[entry as usize] = Slot::new(Meta::default(), None);
    }

    #[inline]
    pub(super) fn meta(&self, entry: u32) -> Meta {
        self.slots[entry as usize].meta()
    }

    pub(super) fn set_meta(&mut self, entry: u32, meta: Meta) {
        self.slots[entry as usize].set_meta(meta);
    }

    /// As [`super::column::AnyColumn::encode`].
    pub(super) fn encode(&self, entry: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let before = out.len();
        let Some(value) = self.get(entry) else { return Ok(false) };
        Bincode::encode(value, out)?;
        self.encoded.add(out.len() - before);
        Ok(true)
    }

    /// As [`super::column::AnyColumn::restore`].
    pub(super) fn restore(
        &mut self,
        entry: u32,
        bytes: Option<&[u8]>,
        meta: Meta,
    ) -> Result<(), DecodeError> {
        let value = bytes.map(Bincode::decode).transpose()?;
        self.slots[entry as usize] = Slot::new(meta, value);
        Ok(())
    }

    /// Reads the slots of `rows`, for nothing but to have them in the cache.
    pub(super) fn warm(&self, rows: &[Row]) {
        // A smaller column stays in the cache anyway.
        if self.slots.len() * size_of::<Slot<V>>() < 1 << 18 {
            return;
        }
        let stamps = rows.iter().map(|row| self.slots[row.0 as usize].meta().stamp);
        std::hint::black_box(stamps.fold(0, u32::wrapping_add));
    }

    /// Bytes of memory of one slot and, by the mean so far, of what its value owns.
    pub(super) fn slot_bytes(&self) -> u64 {
        size_of::<Slot<V>>() as u64 + self.encoded.heap_of::<V>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_a_u64_takes_16_bytes() {
        assert_eq!(size_of::<Slot<u64>>(), 16);
    }

    #[test]
    fn heap_values_are_estimated_by_their_serialised_length() {
        let mut entries = Entries::<String>::new();
        entries.push();
        let empty = entries.slot_bytes();
        entries.put(0, Some("x".repeat(99)));
        entries.encode(0, &mut Vec::new()).unwrap();
        assert_eq!(entries.slot_bytes(), empty + 100);
    }
}
