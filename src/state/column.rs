//! One state's values, by row, and what is remembered of each.
//!
//! Owns slots and their meaning; when a stamp changes is decided in `keyed`, `replay` and `cleaning`.
//! A slot of a `u64` takes 16 bytes, so that one cache line answers for value, stamp and flags.

use std::fmt;

use super::coding::Coding;
use super::entry::Meta;
use super::formats::{StateFormats, StateKind};
use super::keyed::Row;
use super::rows::grow;
use crate::codec::{DecodeError, Value};
use crate::error::Result as MillpondResult;
use crate::ids::{CheckpointId, Name};

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

/// The values of one state.
pub(super) struct Column<V> {
    name: Name,
    coding: Coding<V>,
    slots: Vec<Slot<V>>,
    /// Serialised values so far and their bytes: their mean stands for what a value owns on the heap.
    encoded: (u64, u64),
}

impl<V: Value> Column<V> {
    pub(super) fn new(name: Name, coding: Coding<V>) -> Self {
        Self { name, coding, slots: Vec::new(), encoded: (0, 0) }
    }

    #[inline]
    pub(super) fn get(&self, row: u32) -> Option<&V> {
        match &self.slots[row as usize] {
            Slot::Present { value, .. } => Some(value),
            Slot::Absent { .. } => None,
        }
    }

    /// The value, if it is there and has the stamp `hot`: then it may be changed just so.
    #[inline]
    pub(super) fn hot_mut(&mut self, row: u32, hot: u32) -> Option<&mut V> {
        match &mut self.slots[row as usize] {
            Slot::Present { value, stamp, .. } if *stamp == hot => Some(value),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, row: u32, value: Option<V>) {
        let slot = &mut self.slots[row as usize];
        *slot = Slot::new(slot.meta(), value);
    }
}

impl<V> fmt::Debug for Column<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Column({}, {} rows)", self.name, self.slots.len())
    }
}

/// A column whose type is known only to the handles of its state.
pub(super) trait AnyColumn: fmt::Debug + Send + 'static {
    fn name(&self) -> &Name;
    /// Makes room for one row more, empty.
    fn add_row(&mut self);
    /// Makes room for `rows` rows in all.
    fn reserve(&mut self, rows: usize);
    /// Empties a row's slot and forgets all about it.
    fn vacate(&mut self, row: u32);
    fn meta(&self, row: u32) -> Meta;
    fn set_meta(&mut self, row: u32, meta: Meta);
    fn is_present(&self, row: u32) -> bool;
    /// Appends the value's bytes; `false`, and no bytes, where there is no value.
    fn encode(&mut self, row: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError>;
    /// Puts a value that was stored for `checkpoint`, or its absence, into the slot.
    fn restore(
        &mut self,
        row: u32,
        bytes: Option<&[u8]>,
        checkpoint: CheckpointId,
        meta: Meta,
    ) -> Result<(), DecodeError>;
    /// Goes on from checkpoint `restored` of `operator`, where `recorded` was there; an error where it
    /// cannot.
    fn settle(
        &mut self,
        operator: &Name,
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> MillpondResult<StateFormats>;
    /// The first checkpoint whose changes are written as `encode` does.
    fn encoded_since(&self) -> CheckpointId;
    /// Reads the slots of `rows`, for nothing but to have them in the cache.
    fn warm(&self, rows: &[Row]);
    /// Bytes of memory of one slot and, by the mean so far, of what its value owns.
    fn slot_bytes(&self) -> u64;
}

impl<V: Value> AnyColumn for Column<V> {
    fn name(&self) -> &Name {
        &self.name
    }

    fn add_row(&mut self) {
        grow(&mut self.slots);
        self.slots.push(Slot::new(Meta::default(), None));
    }

    fn reserve(&mut self, rows: usize) {
        self.slots.reserve_exact(rows.saturating_sub(self.slots.len()));
    }

    fn vacate(&mut self, row: u32) {
        self.slots[row as usize] = Slot::new(Meta::default(), None);
    }

    fn meta(&self, row: u32) -> Meta {
        self.slots[row as usize].meta()
    }

    fn set_meta(&mut self, row: u32, meta: Meta) {
        self.slots[row as usize].set_meta(meta);
    }

    fn is_present(&self, row: u32) -> bool {
        self.get(row).is_some()
    }

    fn encode(&mut self, row: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let before = out.len();
        let Some(value) = self.get(row) else { return Ok(false) };
        self.coding.encode(value, out)?;
        self.encoded.0 += 1;
        self.encoded.1 += (out.len() - before) as u64;
        Ok(true)
    }

    fn restore(
        &mut self,
        row: u32,
        bytes: Option<&[u8]>,
        checkpoint: CheckpointId,
        meta: Meta,
    ) -> Result<(), DecodeError> {
        let value = bytes.map(|bytes| self.coding.decode(bytes, checkpoint)).transpose()?;
        self.slots[row as usize] = Slot::new(meta, value);
        Ok(())
    }

    fn settle(
        &mut self,
        operator: &Name,
        recorded: Option<&StateFormats>,
        restored: CheckpointId,
    ) -> MillpondResult<StateFormats> {
        self.coding.settle((operator, &self.name), StateKind::Value, recorded, restored)
    }

    fn encoded_since(&self) -> CheckpointId {
        self.coding.since()
    }

    fn warm(&self, rows: &[Row]) {
        // A smaller column stays in the cache anyway.
        if self.slots.len() * size_of::<Slot<V>>() < 1 << 18 {
            return;
        }
        let stamps = rows.iter().map(|row| self.slots[row.0 as usize].meta().stamp);
        std::hint::black_box(stamps.fold(0, u32::wrapping_add));
    }

    fn slot_bytes(&self) -> u64 {
        let heap = if std::mem::needs_drop::<V>() {
            self.encoded.1.checked_div(self.encoded.0).unwrap_or(0)
        } else {
            0
        };
        size_of::<Slot<V>>() as u64 + heap
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
        let mut column = Column::<String>::new(Name::new("s").unwrap(), Coding::new());
        column.add_row();
        let empty = column.slot_bytes();
        column.put(0, Some("x".repeat(99)));
        column.encode(0, &mut Vec::new()).unwrap();
        assert_eq!(column.slot_bytes(), empty + 100);
    }
}
