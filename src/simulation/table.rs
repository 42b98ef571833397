//! What the table of one job holds, followed write by write: an outside reader's view that costs no
//! request.
//!
//! Owns the content and the reading of checkpoints out of it. What may be written is `oracle`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::scenario::{Positions, Stored};
use crate::checkpoint::{Head, Manifest, Retained, SegmentRef};
use crate::codec::KeyHash;
use crate::connector::memory_position_of;
use crate::dynamodb::{Joined, Row, Torn, join, key_of, place_of_first, place_of_part};
use crate::ids::{Incarnation, Name, SlotId, Version};
use crate::key_group::{KeyGroup, MaxParallelism};
use crate::state::{
    Block, BlockKey, BlockKind, Changes, FILTER_STATE, ItemKey, chunk_group, chunk_hashes,
    item_hash, segment,
};

/// Operator, state and encoded key.
pub(super) type Entry = (Name, Name, Bytes);

/// One change: its entry, and the value or that it was deleted.
type Change = (Entry, Option<Bytes>);

/// The group of an encoded key.
pub(super) fn group_of(groups: MaxParallelism, key: &[u8]) -> KeyGroup {
    groups.group_of(KeyHash(xxhash_rust::xxh64::xxh64(key, 0)))
}

/// The content, followed.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) head: Option<Head>,
    /// Under their own sort keys, each part by itself.
    pub(super) items: BTreeMap<(Incarnation, ItemKey), Row>,
    pub(super) blocks: BTreeMap<(Incarnation, BlockKey), Block>,
    manifests: BTreeMap<(Incarnation, Version), Arc<Manifest>>,
    /// The changes of each checkpoint's segments, by the versions and places of these.
    logs: BTreeMap<(Incarnation, SlotId, Version), Arc<Vec<Change>>>,
}

/// What cannot be restored, in words.
type Found<T> = Result<T, String>;

/// Whether a restored filter would know all of `read`: what is in items and not in the log.
fn check_filters(state: &BTreeMap<Entry, Stored>, read: &BTreeSet<Entry>) -> Found<()> {
    let mut known = BTreeSet::new();
    for ((operator, name, _), value) in state {
        if name.as_str() == FILTER_STATE {
            let hashes = chunk_hashes(&value.bytes).map_err(|e| e.to_string())?;
            known.extend(hashes.into_iter().map(|hash| (operator, hash)));
        }
    }
    for (operator, name, key) in read.iter().filter(|(_, name, _)| name.as_str() != FILTER_STATE) {
        if !known.contains(&(operator, item_hash(name, key))) {
            return Err(format!("the filter of {operator} denies the item {name} {key:?} (aa)"));
        }
    }
    Ok(())
}

impl Table {
    fn block(&self, incarnation: Incarnation, key: BlockKey, version: Version) -> Found<&Block> {
        let BlockKey { kind, slot, part } = key;
        match self.blocks.get(&(incarnation, key)) {
            None => Err(format!("{kind} slot {slot} part {part} is empty, {version} is needed")),
            Some(block) if block.version != version => Err(format!(
                "{kind} slot {slot} part {part} holds {}, {version} is needed",
                block.version
            )),
            Some(block) => Ok(block),
        }
    }

    /// The manifest that a head names.
    pub(super) fn manifest(
        &mut self,
        incarnation: Incarnation,
        retained: &Retained,
    ) -> Found<Arc<Manifest>> {
        let key = |part| BlockKey { kind: BlockKind::Manifest, slot: retained.slot, part };
        let first = self.block(incarnation, key(0), retained.version)?;
        if let Some(known) = self.manifests.get(&(incarnation, retained.version)) {
            return Ok(Arc::clone(known));
        }
        let mut parts = vec![first.bytes.clone()];
        for part in self.parts(incarnation, retained).iter().skip(1) {
            parts.push(self.block(incarnation, *part, retained.version)?.bytes.clone());
        }
        let manifest = Manifest::decode(&parts).map_err(|e| e.to_string())?;
        if (manifest.checkpoint, manifest.version) != (retained.checkpoint, retained.version) {
            return Err(format!(
                "the manifest of {} is that of {}",
                retained.version, manifest.version
            ));
        }
        let manifest = Arc::new(manifest);
        self.manifests.insert((incarnation, retained.version), Arc::clone(&manifest));
        Ok(manifest)
    }

    /// The blocks of the manifest that a head names. A part of another version belongs to another
    /// manifest that the slot once had.
    pub(super) fn parts(&self, incarnation: Incarnation, retained: &Retained) -> Vec<BlockKey> {
        let keys =
            (0..).map(|part| BlockKey { kind: BlockKind::Manifest, slot: retained.slot, part });
        let is_there = |key: &BlockKey| self.block(incarnation, *key, retained.version).is_ok();
        keys.take_while(is_there).collect()
    }

    /// Whether each segment that `manifest` names is where it says.
    pub(super) fn check_segments(
        &self,
        incarnation: Incarnation,
        manifest: &Manifest,
    ) -> Found<()> {
        for SegmentRef { slot, version, .. } in &manifest.segments {
            let key = BlockKey { kind: BlockKind::Segment, slot: *slot, part: 0 };
            self.block(incarnation, key, *version)?;
        }
        Ok(())
    }

    /// All values at the checkpoint of `manifest`: items, and over them the log.
    pub(super) fn state_at(
        &mut self,
        incarnation: Incarnation,
        manifest: &Manifest,
        group_of: impl Fn(&Entry) -> KeyGroup,
    ) -> Found<BTreeMap<Entry, Stored>> {
        // What an item's parts come to, which must be a value where the log has none.
        let mut read = BTreeSet::new();
        let mut state: BTreeMap<Entry, Found<Stored>> = BTreeMap::new();
        let firsts = self.items.iter().filter(|((of, _), row)| *of == incarnation && row.part == 0);
        for ((_, key), row) in firsts {
            let part = |part| self.part(incarnation, key, part);
            // Else its first put was not answered, and the log has it: where not, it is missed.
            let Some(sort_key) = key_of(row, &key.sort_key, part) else { continue };
            let entry = (key.operator.clone(), key.state.clone(), sort_key);
            let others = (1..row.parts).map(|number| part(number).cloned());
            match join(row.clone(), others, 0) {
                Ok(None) => {}
                Ok(Some(Joined { item, .. })) => {
                    if let Some(bytes) = item.value {
                        read.insert(entry.clone());
                        state.insert(entry, Ok(Stored { bytes, native: item.native }));
                    }
                }
                Err(Torn(why)) => {
                    read.insert(entry.clone());
                    state.insert(entry, Err(format!("{key:?}: {why}")));
                }
            }
        }
        let mut changes = Changes::default();
        for reference in &manifest.segments {
            for (entry, value) in &*self.changes(incarnation, reference, &mut changes)? {
                let group = match entry.1.as_str() {
                    FILTER_STATE => chunk_group(&entry.2).map_err(|e| e.to_string())?,
                    _ => group_of(entry),
                };
                if reference.checkpoint <= manifest.horizon_of(&entry.0, group) {
                    continue;
                }
                read.remove(entry);
                match value {
                    Some(bytes) => {
                        let stored = Stored { bytes: bytes.clone(), native: false };
                        state.insert(entry.clone(), Ok(stored))
                    }
                    None => state.remove(entry),
                };
            }
        }
        changes.finish().map_err(|e| e.to_string())?;
        let state = state
            .into_iter()
            .map(|(entry, value)| Ok((entry, value?)))
            .collect::<Found<BTreeMap<_, _>>>()?;
        read.retain(|(operator, ..)| !manifest.unfiltered.contains(operator));
        check_filters(&state, &read)?;
        Ok(state)
    }

    /// The first part of the entry of another part.
    pub(super) fn first_of(&self, incarnation: Incarnation, part: &ItemKey) -> Option<&Row> {
        let first = ItemKey { sort_key: place_of_first(&part.sort_key), ..part.clone() };
        self.items.get(&(incarnation, first))
    }

    /// Another part of the entry whose first one is at `first`.
    pub(super) fn part(
        &self,
        incarnation: Incarnation,
        first: &ItemKey,
        part: u32,
    ) -> Option<&Row> {
        let sort_key = place_of_part(&first.sort_key, part);
        self.items.get(&(incarnation, ItemKey { sort_key, ..first.clone() }))
    }

    /// The changes of one segment; those of earlier ones of the checkpoint must have been asked for.
    fn changes(
        &mut self,
        incarnation: Incarnation,
        reference: &SegmentRef,
        changes: &mut Changes,
    ) -> Found<Arc<Vec<Change>>> {
        let SegmentRef { slot, version, .. } = *reference;
        let key = BlockKey { kind: BlockKind::Segment, slot, part: 0 };
        let block = self.block(incarnation, key, version)?;
        if let Some(known) = self.logs.get(&(incarnation, slot, version)) {
            return Ok(Arc::clone(known));
        }
        let segment = segment::decode(&block.bytes).map_err(|e| e.to_string())?;
        if (segment.version, &segment.operator, segment.sequence)
            != (version, &reference.operator, reference.sequence)
        {
            return Err(format!("segment slot {slot} holds another segment than {version}"));
        }
        let mut found = Vec::new();
        changes
            .read(&segment, |state, key, value| {
                let entry = (segment.operator.clone(), state.clone(), Bytes::copy_from_slice(key));
                found.push((entry, value.map(Bytes::copy_from_slice)));
            })
            .map_err(|e| e.to_string())?;
        let found = Arc::new(found);
        self.logs.insert((incarnation, slot, version), Arc::clone(&found));
        Ok(found)
    }

    /// Where the sources stand at `manifest`.
    pub(super) fn positions(manifest: &Manifest) -> Found<Positions> {
        let mut positions = BTreeMap::new();
        for source in &manifest.sources {
            for split in &source.splits {
                let next = memory_position_of(&split.state).map_err(|e| e.to_string())?;
                positions.insert((source.operator.to_string(), split.id.clone()), next);
            }
        }
        Ok(Positions(positions))
    }

    /// How many blocks and how many items there are.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.blocks.len(), self.items.len())
    }

    /// Forgets what no retained manifest needs any more.
    pub(super) fn forget(&mut self, incarnation: Incarnation, live: &[Arc<Manifest>]) {
        let named = |slot: SlotId, version: Version| {
            live.iter().any(|m| m.segments.iter().any(|s| s.slot == slot && s.version == version))
        };
        self.logs.retain(|(i, slot, version), _| *i == incarnation && named(*slot, *version));
        let kept = |version: &Version| live.iter().any(|m| m.version == *version);
        self.manifests.retain(|(i, version), _| *i == incarnation && kept(version));
    }
}
