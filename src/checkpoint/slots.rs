//! Slots: the partition keys that segments and manifests take turns in.
//!
//! Owns which slot is given to whom, and when one is free again (I5). Free slots are kept by size
//! class, since a put costs the larger of the old and the new size: a small block in a large slot
//! would cost the large one's units. Does not own the puts (`segments`, `archive`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use crate::error::{Error, Result};
use crate::ids::{Attempt, SlotId, Version};
use crate::state::BlockKind;
use crate::teeth::{Tooth, bites};

/// The size classes of all known slots of both kinds; a part of each manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotTable {
    /// Class of segment slot `i`; the next new slot has the vector's length as its number.
    pub segments: Vec<u8>,
    /// The same of manifest slots.
    pub manifests: Vec<u8>,
}

/// The size class of a block: the smallest `k` for which it fits in 2^k KiB.
#[must_use]
pub fn size_class(bytes: u64) -> u8 {
    let kib = bytes.div_ceil(1024).max(1);
    kib.next_power_of_two().trailing_zeros() as u8
}

/// What is known of one slot that is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Use {
    /// Given to a block that no completed manifest names yet.
    InFlight,
    /// Named by a retained manifest (or the head, for a manifest's own slot).
    Named,
}

/// The slots of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Pool {
    classes: Vec<u8>,
    used: BTreeMap<SlotId, Use>,
    free: BTreeMap<u8, BTreeSet<SlotId>>,
    /// The version that each slot was last given for, so that none is given twice for one.
    given: BTreeMap<SlotId, Version>,
}

impl Pool {
    fn restored(classes: Vec<u8>, named: &BTreeMap<SlotId, (Version, u64)>) -> Self {
        let mut pool = Self { classes, ..Self::default() };
        for (slot, (version, bytes)) in named {
            pool.know(*slot, size_class(*bytes));
            pool.used.insert(*slot, Use::Named);
            pool.given.insert(*slot, *version);
        }
        for index in 0..pool.classes.len() {
            let slot = SlotId(index as u64);
            if !pool.used.contains_key(&slot) && !bites(Tooth::SlotsLostAtRestart) {
                pool.free.entry(pool.classes[index]).or_default().insert(slot);
            }
        }
        pool
    }

    /// Makes the table long enough for `slot`.
    fn know(&mut self, slot: SlotId, class: u8) {
        let index = slot.0 as usize;
        if self.classes.len() <= index {
            self.classes.resize(index + 1, class);
        }
    }

    fn take(&mut self, bytes: u64, version: Version) -> SlotId {
        let class = size_class(bytes);
        let slot = self.take_free(class, version).unwrap_or_else(|| {
            self.classes.push(class);
            SlotId(self.classes.len() as u64 - 1)
        });
        self.used.insert(slot, Use::InFlight);
        self.given.insert(slot, version);
        slot
    }

    fn take_free(&mut self, class: u8, version: Version) -> Option<SlotId> {
        let free = self.free.get_mut(&class)?;
        let given = &self.given;
        let again = bites(Tooth::OneSlotTwice);
        let fits = |slot: &&SlotId| again || given.get(slot).is_none_or(|last| *last < version);
        let slot = *free.iter().find(fits)?;
        if !again {
            free.remove(&slot);
        }
        Some(slot)
    }

    /// Lets go what is no longer named. What is in flight stays so until it is named, unless
    /// `abandoned` says that nobody will.
    fn complete(&mut self, named: &BTreeSet<SlotId>, abandoned: bool) {
        let (classes, free) = (&self.classes, &mut self.free);
        self.used.retain(|slot, usage| {
            if named.contains(slot) {
                *usage = Use::Named;
                return true;
            }
            let keep = *usage == Use::InFlight && !abandoned;
            if !keep && !bites(Tooth::SlotsNotFreed) {
                free.entry(classes[slot.0 as usize]).or_default().insert(*slot);
            }
            keep
        });
    }
}

/// The slots that all retained manifests name: what may not be given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedSlots {
    /// Of segments.
    pub segments: BTreeSet<SlotId>,
    /// Of the manifests themselves.
    pub manifests: BTreeSet<SlotId>,
}

/// Gives out slots; shared by all who put blocks of one attempt.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Mutex<SlotAllocator>>);

/// Decides which slot is given to whom: what [`Slots`] shares, as a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SlotAllocator {
    attempt: Attempt,
    segments: Pool,
    manifests: Pool,
}

impl Slots {
    /// What `attempt` may give out after a claim. `retained` holds the manifests of *all* retained
    /// checkpoints, each with the slot that the head names and its size: what only an older one names
    /// is in use too.
    #[must_use]
    pub fn restored(attempt: Attempt, retained: &[(SlotId, u64, &Manifest)]) -> Self {
        Self(Arc::new(Mutex::new(SlotAllocator::restored(attempt, retained))))
    }

    /// A slot for a block of `bytes` that will be put with `version`; never one that a retained
    /// manifest names or that was given out before and is not let go.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where `version` is not of this attempt (I6).
    pub fn take(&self, kind: BlockKind, bytes: u64, version: Version) -> Result<SlotId> {
        self.lock().take(kind, bytes, version)
    }

    /// After the head has moved: `named` is what the manifests that it now retains name. Everything
    /// else that was named before is free; segments in flight stay, since a later manifest will name
    /// them (I7); manifests in flight were given up.
    pub fn complete(&self, named: &NamedSlots) {
        self.lock().complete(named);
    }

    /// The size classes of all slots given out so far, for the next manifest.
    #[must_use]
    pub fn table(&self) -> SlotTable {
        self.lock().table()
    }

    fn lock(&self) -> MutexGuard<'_, SlotAllocator> {
        // No code under this lock can leave the allocator half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotAllocator {
    /// As [`Slots::restored`].
    #[must_use]
    pub fn restored(attempt: Attempt, retained: &[(SlotId, u64, &Manifest)]) -> Self {
        let mut segments = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        let mut table = SlotTable::default();
        // Oldest first, so that the newest manifest's word on a slot's class wins.
        for (slot, bytes, manifest) in retained {
            manifests.insert(*slot, (manifest.version, *bytes));
            segments.extend(manifest.segments.iter().map(|s| (s.slot, (s.version, s.bytes))));
            overlay(&mut table.segments, &manifest.slots.segments);
            overlay(&mut table.manifests, &manifest.slots.manifests);
        }
        Self {
            attempt,
            segments: Pool::restored(table.segments, &segments),
            manifests: Pool::restored(table.manifests, &manifests),
        }
    }

    /// As [`Slots::take`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where `version` is not of this attempt (I6).
    pub fn take(&mut self, kind: BlockKind, bytes: u64, version: Version) -> Result<SlotId> {
        if version.attempt != self.attempt {
            return Err(Error::internal(format!(
                "attempt {} asked for a slot for version {version}",
                self.attempt
            )));
        }
        Ok(self.pool(kind).take(bytes, version))
    }

    /// As [`Slots::complete`].
    pub fn complete(&mut self, named: &NamedSlots) {
        self.segments.complete(&named.segments, false);
        self.manifests.complete(&named.manifests, true);
    }

    /// As [`Slots::table`].
    #[must_use]
    pub fn table(&self) -> SlotTable {
        SlotTable {
            segments: self.segments.classes.clone(),
            manifests: self.manifests.classes.clone(),
        }
    }

    fn pool(&mut self, kind: BlockKind) -> &mut Pool {
        match kind {
            BlockKind::Segment => &mut self.segments,
            BlockKind::Manifest => &mut self.manifests,
        }
    }
}

fn overlay(table: &mut Vec<u8>, newer: &[u8]) {
    let tail = table.get(newer.len()..).unwrap_or_default().to_vec();
    *table = newer.to_vec();
    table.extend(tail);
}

#[cfg(test)]
mod tests;
