//! The values of one state by entry, and what is remembered of each.
//!
//! Owns slots and their meaning, and the look whether the first value that is written can be read; what an entry is (a row, or a part of one) is the column's, when a
//! stamp changes is decided in `keyed`, `replay` and `cleaning`.
//! A slot of a `u64` takes 16 bytes, so that one cache line answers for value, stamp and flags.

use std::cell::Cell;

use super::coding::{Coding, Stored};
use super::compact::Moves;
use super::entry::{Meta, UNSERIALISED};
use super::heap::{Heap, HeapBytes};
use super::keyed::Row;
use super::large_pages;
use super::rows::{CACHED, grow};
use super::ttl::{Lives, Ttl};
use crate::codec::{DecodeError, Value};
use crate::teeth::{Tooth, bites};

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

/// What an entry held before the record that is being processed changed it.
pub(super) enum Old<V> {
    /// It was replaced.
    Value(Option<V>),
    /// It was changed in place, nobody knows how.
    Encoded(Vec<u8>),
    /// It was this long, and things were appended.
    Shorter(usize, fn(&mut V, usize)),
}

/// The values of one state, by entry.
pub(super) struct Entries<V> {
    slots: Vec<Slot<V>>,
    pub(super) coding: Coding<V>,
    heap: Heap,
    /// Entries with a sub key that have changed since the last look at their lengths.
    changed: Vec<u32>,
    /// What is given out for an entry without a value, and how one more is made.
    default: Option<(V, fn() -> V)>,
    /// Where values expire; in a box, since what is looked at for each record should stay together.
    lives: Option<Box<Lives>>,
    /// With when they expired then. Newest last.
    old: Vec<(u32, u64, Old<V>)>,
    /// A value that was written was read back.
    proven: Cell<bool>,
}

impl<V: Value> Entries<V> {
    /// Whether values own memory elsewhere, whose size only serialising tells.
    pub(super) const OWNS_MEMORY: bool = std::mem::needs_drop::<V>();

    pub(super) fn new(default: Option<fn() -> V>, coding: Coding<V>) -> Self {
        let default = default.map(|make| (make(), make));
        Self {
            slots: Vec::new(),
            coding,
            heap: Heap::default(),
            changed: Vec::new(),
            default,
            lives: None,
            old: Vec::new(),
            proven: Cell::new(false),
        }
    }

    /// Has values expire; before there are any.
    pub(super) fn live_for(&mut self, ttl: Option<Ttl>) {
        self.lives = ttl.map(|ttl| Box::new(Lives::new(ttl)));
    }

    /// When each expires, where they do.
    #[inline]
    pub(super) fn lives(&self) -> Option<&Lives> {
        self.lives.as_deref()
    }

    pub(super) fn lives_mut(&mut self) -> Option<&mut Lives> {
        self.lives.as_deref_mut()
    }

    /// When an entry expires; 0 for never.
    pub(super) fn expires_at(&self, entry: u32) -> u64 {
        self.lives.as_ref().map_or(0, |lives| lives.expires_at(entry))
    }

    pub(super) fn set_expiry(&mut self, entry: u32, expires_ms: u64) {
        if let Some(lives) = &mut self.lives {
            lives.set(entry, expires_ms);
        }
    }

    /// Takes the value of an entry away that is over.
    pub(super) fn expire(&mut self, entry: u32) {
        self.put(entry, None);
        self.set_expiry(entry, 0);
    }

    /// What each takes, whatever its value owns elsewhere.
    pub(super) fn slot_bytes(&self) -> usize {
        size_of::<Slot<V>>()
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

    /// What is given out for an entry without a value.
    #[inline]
    pub(super) fn default_value(&self) -> Option<&V> {
        self.default.as_ref().map(|(value, _)| value)
    }

    /// One more default value.
    pub(super) fn make_default(&self) -> Option<V> {
        self.default.as_ref().map(|(_, make)| make())
    }

    /// The value, if it is there and has the stamp `hot`: then it may be changed just so. Not to be called of
    /// values that expire, whose time begins anew by that.
    #[inline]
    pub(super) fn hot_mut(&mut self, entry: u32, hot: u32) -> Option<&mut V> {
        match &mut self.slots[entry as usize] {
            Slot::Present { value, stamp, .. } if *stamp == hot => Some(value),
            _ => None,
        }
    }

    /// The value, to be changed; what follows from that is the caller's.
    pub(super) fn get_mut(&mut self, entry: u32) -> Option<&mut V> {
        match &mut self.slots[entry as usize] {
            Slot::Present { value, .. } => Some(value),
            Slot::Absent { .. } => None,
        }
    }

    /// Gives the entry a value or takes it away; what it was before.
    pub(super) fn put(&mut self, entry: u32, value: Option<V>) -> Option<V> {
        let slot = &mut self.slots[entry as usize];
        let meta = slot.meta();
        if Self::OWNS_MEMORY {
            match value.is_some() {
                true => self.heap.filled(entry, meta.is_dirty()),
                false => self.heap.emptied(entry, meta.is_dirty()),
            }
        }
        let new = Slot::new(meta, value);
        match std::mem::replace(slot, new) {
            Slot::Present { value, .. } => Some(value),
            Slot::Absent { .. } => None,
        }
    }

    /// Remembers what an entry held, until [`Entries::undo`] or [`Entries::forget`]; before its expiry changes.
    pub(super) fn remember(&mut self, entry: u32, old: Old<V>) {
        let expires_ms = self.expires_at(entry);
        self.old.push((entry, expires_ms, old));
    }

    /// The entries of which something is remembered, some of them more than once.
    pub(super) fn remembered(&self) -> impl Iterator<Item = u32> {
        self.old.iter().map(|(entry, ..)| *entry)
    }

    /// Gives back what was remembered.
    pub(super) fn undo(&mut self) -> Result<(), DecodeError> {
        while let Some((entry, expires_ms, old)) = self.old.pop() {
            if !bites(Tooth::ExpiryNotUndone) {
                self.set_expiry(entry, expires_ms);
            }
            match old {
                Old::Value(value) => drop(self.put(entry, value)),
                Old::Encoded(bytes) => {
                    let value = self.coding.decode_again(&bytes)?;
                    drop(self.put(entry, Some(value)));
                }
                Old::Shorter(length, shorten) => {
                    if let Some(value) = self.get_mut(entry) {
                        shorten(value, length);
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets what was remembered.
    pub(super) fn forget(&mut self) {
        self.old.clear();
    }

    /// One entry more, empty.
    pub(super) fn push(&mut self) {
        grow(&mut self.slots);
        self.slots.push(Slot::new(Meta::default(), None));
        if Self::OWNS_MEMORY {
            self.heap.push();
        }
        if let Some(lives) = &mut self.lives {
            lives.push();
        }
    }

    /// Makes room for `entries` in all.
    pub(super) fn reserve(&mut self, entries: usize) {
        large_pages::reserve(&mut self.slots, entries);
        if let Some(lives) = &mut self.lives {
            lives.reserve(entries);
        }
    }

    /// Entries move together; between records, and once those that have changed were looked at.
    pub(super) fn apply(&mut self, moves: &Moves) {
        moves.apply(&mut self.slots);
        if Self::OWNS_MEMORY {
            self.heap.apply(moves);
        }
        if let Some(lives) = &mut self.lives {
            lives.apply(moves);
        }
    }

    /// Empties an entry and forgets all about it.
    pub(super) fn vacate(&mut self, entry: u32) {
        self.heap.emptied(entry, self.meta(entry).is_dirty());
        self.set_expiry(entry, 0);
        self.slots[entry as usize] = Slot::new(Meta::default(), None);
    }

    #[inline]
    pub(super) fn meta(&self, entry: u32) -> Meta {
        self.slots[entry as usize].meta()
    }

    pub(super) fn set_meta(&mut self, entry: u32, meta: Meta) {
        let slot = &mut self.slots[entry as usize];
        if Self::OWNS_MEMORY && slot.meta().is_dirty() != meta.is_dirty() {
            self.heap.turned(entry, meta.is_dirty());
        }
        slot.set_meta(meta);
    }

    /// As [`super::column::AnyColumn::encode`].
    pub(super) fn encode(&self, entry: u32, out: &mut Vec<u8>) -> Result<bool, DecodeError> {
        let before = out.len();
        let Some(value) = self.get(entry) else { return Ok(false) };
        self.coding.encode(value, out)?;
        if !self.proven.replace(true) {
            // Else the job would go on, and no restart could.
            self.coding.prove(&out[before..])?;
        }
        if Self::OWNS_MEMORY {
            self.heap.seen(entry, out.len() - before, self.meta(entry).is_dirty());
        }
        Ok(true)
    }

    /// As [`super::column::AnyColumn::restore`].
    pub(super) fn restore(
        &mut self,
        entry: u32,
        stored: Option<Stored<'_>>,
        meta: Meta,
    ) -> Result<(), DecodeError> {
        let length = stored.as_ref().map(|stored| stored.bytes.len());
        let expiry = stored.and_then(|stored| stored.expires);
        let value = stored.map(|stored| self.coding.decode(stored)).transpose()?;
        if Self::OWNS_MEMORY {
            self.heap.emptied(entry, self.meta(entry).is_dirty());
            if let Some(length) = length {
                self.heap.seen(entry, length, meta.is_dirty());
            }
        }
        self.slots[entry as usize] = Slot::new(meta, value);
        if let Some(lives) = &mut self.lives {
            let expires_ms = lives.of_stored(expiry);
            lives.set(entry, if bites(Tooth::ExpiryForgotten) { 0 } else { expires_ms });
        }
        Ok(())
    }

    /// Reads the slots of `rows`, for nothing but to have them in the cache.
    pub(super) fn warm(&self, rows: &[Row]) {
        if self.slots.len() * size_of::<Slot<V>>() < CACHED {
            return;
        }
        let stamps = rows.iter().map(|row| self.slots[row.0 as usize].meta().stamp);
        std::hint::black_box(stamps.fold(0, u32::wrapping_add));
    }

    /// The entry's value was replaced by another one without any other notice.
    #[inline]
    pub(super) fn replaced(&self, entry: u32) {
        self.heap.replaced(entry);
    }

    /// The value of an entry with a sub key may have changed.
    #[inline]
    pub(super) fn changed(&mut self, entry: u32) {
        if Self::OWNS_MEMORY {
            self.changed.push(entry);
        }
    }

    /// Looks at how long those are that have changed since the last call.
    pub(super) fn look_at_changed(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        self.look(changed.iter().copied());
        changed.clear();
        self.changed = changed;
    }

    /// Looks at how long some of these are, of which some may have changed.
    pub(super) fn look(&mut self, changed: impl ExactSizeIterator<Item = u32> + Clone) {
        let Self { slots, coding, heap, .. } = self;
        heap.look(changed, |entry| match &slots[entry as usize] {
            Slot::Present { value, stamp, .. } if stamp & UNSERIALISED != 0 => coding.length(value),
            _ => None,
        });
    }

    /// How long values were lately: what one takes that is to be read.
    pub(super) fn typical_bytes(&self) -> Option<u64> {
        if Self::OWNS_MEMORY { self.heap.recent() } else { Some(size_of::<V>() as u64) }
    }

    /// What values own elsewhere, as far as it is known.
    pub(super) fn heap_bytes(&self) -> HeapBytes {
        self.heap.bytes()
    }

    /// Bytes of memory of so many entries, and what their values own.
    pub(super) fn bytes(&self, entries: u64) -> u64 {
        let expiry = if self.lives.is_some() { size_of::<u64>() } else { 0 };
        let slots = entries * (size_of::<Slot<V>>() + expiry) as u64;
        if !Self::OWNS_MEMORY {
            return slots;
        }
        slots + self.heap.bytes().all + Heap::beside(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CheckpointId;
    use crate::state::StateKind;

    #[test]
    fn a_slot_of_a_u64_takes_16_bytes() {
        assert_eq!(size_of::<Slot<u64>>(), 16);
    }

    #[test]
    fn heap_values_count_by_their_last_serialised_length_and_others_by_the_last_ones_seen() {
        let mut entries = Entries::<String>::new(None, Coding::new(StateKind::Value));
        (0..3).for_each(|_| entries.push());
        let empty = entries.bytes(1);
        assert!(empty >= size_of::<Slot<String>>() as u64);
        assert_eq!(entries.put(0, Some("x".repeat(99))), None);
        entries.encode(0, &mut Vec::new()).unwrap();
        assert_eq!(entries.bytes(1), empty + 100);
        entries.put(1, Some("x".repeat(7)));
        assert_eq!(entries.bytes(2), 2 * (empty + 100), "not known yet");
        entries.encode(1, &mut Vec::new()).unwrap();
        assert_eq!(entries.bytes(2), 2 * empty + 100 + 8);
        entries.put(0, Some("xy".to_owned()));
        entries.encode(0, &mut Vec::new()).unwrap();
        assert_eq!(entries.bytes(2), 2 * empty + 3 + 8);
        entries.vacate(1);
        assert_eq!(entries.bytes(1), empty + 3);
        entries.put(0, None);
        let stored = Stored {
            bytes: &[4, b'a', b'b', b'c', b'd'],
            native: false,
            checkpoint: CheckpointId(1),
            expires: None,
        };
        entries.restore(0, Some(stored), Meta::loaded()).unwrap();
        assert_eq!(entries.bytes(1), empty + 5);
        entries.restore(0, None, Meta::loaded()).unwrap();
        assert_eq!(entries.heap_bytes(), HeapBytes::default());
    }

    #[test]
    fn what_is_dirty_is_told_apart_through_every_change() {
        let mut entries = Entries::<String>::new(None, Coding::new(StateKind::Value));
        let dirty = Meta { stamp: UNSERIALISED | 1, ..Meta::default() };
        (0..2).for_each(|_| entries.push());
        for entry in 0..2 {
            entries.set_meta(entry, dirty);
            entries.put(entry, Some("x".repeat(9)));
            entries.look([entry].into_iter());
        }
        assert_eq!(entries.heap_bytes(), HeapBytes { all: 20, dirty: 20 });
        entries.set_meta(0, dirty.serialised());
        entries.encode(0, &mut Vec::new()).unwrap();
        assert_eq!(entries.heap_bytes(), HeapBytes { all: 20, dirty: 10 });
        entries.set_meta(0, dirty);
        entries.put(0, None);
        entries.set_meta(0, dirty.serialised());
        assert_eq!(entries.heap_bytes(), HeapBytes { all: 10, dirty: 10 });
        entries.vacate(1);
        assert_eq!(entries.heap_bytes(), HeapBytes::default());
    }
}
