//! What a run leaves behind in the table that nobody will ever use again.
//!
//! Owns how many slots there may be: as many of each size class as an attempt once had to keep apart, which are those
//! that the retained manifests name and those that it has put since. A slot that is free is given out again before
//! there is a new one, so there are no more than that, but for some whose put never came. Owns also what of an item
//! may stand there without a value. What an item's value must be is `table`'s and the scenario's.

use std::collections::BTreeMap;

use super::scenario::Verdict;
use super::table::Table;
use crate::checkpoint::{Head, Manifest, SlotTable, size_class};
use crate::dynamodb::Row;
use crate::ids::{Attempt, CheckpointId, Incarnation, SlotId};
use crate::state::{Block, BlockKey, BlockKind, ItemKey};

/// A slot of either kind.
type Slot = (BlockKind, SlotId);

/// The slots that one attempt keeps apart.
#[derive(Debug, Default)]
struct Kept {
    /// Named by retained manifests when it last moved the head, with their size classes.
    named: BTreeMap<Slot, u8>,
    /// Put since, for what checkpoint.
    put: BTreeMap<Slot, (CheckpointId, u8)>,
}

impl Kept {
    fn by_class(&self) -> BTreeMap<(BlockKind, u8), usize> {
        let mut slots = self.named.clone();
        slots.extend(self.put.iter().map(|(slot, (_, class))| (*slot, *class)));
        let mut number = BTreeMap::new();
        for ((kind, _), class) in slots {
            *number.entry((kind, class)).or_default() += 1;
        }
        number
    }
}

/// How many slots the live incarnation has ever had need of.
#[derive(Debug, Default)]
pub(super) struct Need {
    kept: BTreeMap<Attempt, Kept>,
    most: BTreeMap<(BlockKind, u8), usize>,
}

impl Need {
    /// A block of the live incarnation was put.
    pub(super) fn put(&mut self, key: BlockKey, block: &Block) {
        let what = (block.version.checkpoint, size_class(block.bytes.len() as u64));
        if key.part == 0 {
            let kept = self.kept.entry(block.version.attempt).or_default();
            kept.put.insert((key.kind, key.slot), what);
        }
    }

    /// The attempt of `head` has claimed or moved it; the retained manifests name `named` now.
    pub(super) fn moved<'a>(
        &mut self,
        head: &Head,
        afresh: bool,
        table: &Table,
        named: impl Iterator<Item = &'a BlockKey>,
    ) {
        if afresh {
            *self = Self::default();
        }
        let attempt = head.attempt.in_versions();
        self.count(attempt);
        let bytes = |key: &BlockKey| {
            table.blocks.get(&(head.incarnation, *key)).map_or(0, |block| block.bytes.len() as u64)
        };
        let kept = self.kept.entry(attempt).or_default();
        kept.put.retain(|_, (checkpoint, _)| *checkpoint > head.checkpoint);
        kept.named = named
            .filter(|key| key.part == 0)
            .map(|key| ((key.kind, key.slot), size_class(bytes(key))))
            .collect();
    }

    fn count(&mut self, attempt: Attempt) {
        let Some(kept) = self.kept.get(&attempt) else { return };
        for (class, number) in kept.by_class() {
            let most = self.most.entry(class).or_default();
            *most = number.max(*most);
        }
    }

    /// Whether `manifest`, the newest one, knows of no more slots than that. Those beyond, which were put and never
    /// got into a manifest, do not add up: each attempt gives out the same numbers anew.
    pub(super) fn check(&self, manifest: &Manifest) -> Verdict {
        let SlotTable { segments, manifests } = &manifest.slots;
        self.check_kind(BlockKind::Segment, segments.len())?;
        self.check_kind(BlockKind::Manifest, manifests.len())
    }

    fn check_kind(&self, kind: BlockKind, there: usize) -> Verdict {
        let of_kind = self.most.iter().filter(|((of, _), _)| *of == kind);
        let needed: usize = of_kind.map(|(_, most)| most).sum();
        if there <= needed + UNSEEN {
            return Ok(());
        }
        Err(format!(
            "there are {there} {kind} slots, of which {needed} were ever needed at one time"
        ))
    }
}

/// Slots of a kind that were given out and never seen to be put, since their process died or their checkpoint was
/// given up before: three at most in a thousand seeds. Whatever is lost time and again is soon more.
const UNSEEN: usize = 8;

/// Whether each item of the live incarnation that has no value may be deleted by the table, and each part of a key or
/// value is one that its first part counts. `expires`: the store deletes by the clock at all.
pub(super) fn check_items(live: Incarnation, table: &Table, expires: bool) -> Verdict {
    let of_live = table.items.iter().filter(|((of, _), _)| *of == live);
    for ((_, key), row) in of_live {
        check_item(live, table, key, row, expires)
            .map_err(|e| format!("item {}.{} {:?}: {e}", key.operator, key.state, key.sort_key))?;
    }
    Ok(())
}

fn check_item(
    live: Incarnation,
    table: &Table,
    key: &ItemKey,
    row: &Row,
    expires: bool,
) -> Verdict {
    let holds_nothing = if row.part == 0 { row.value.is_none() } else { row.is_emptied() };
    if holds_nothing {
        return match row.ttl {
            None if expires => Err("a tombstone without a ttl stays for ever".to_owned()),
            _ => Ok(()),
        };
    }
    if row.part == 0 {
        return Ok(());
    }
    let first = table.first_of(live, key);
    let parts = first.map_or(0, |first| first.parts);
    if row.part >= parts {
        return Err(format!("part {} of an entry of {parts} stays for ever", row.part));
    }
    if expires && row.ttl.is_none() && first.is_some_and(|first| first.value.is_none()) {
        return Err(format!("part {} of a tombstone stays for ever", row.part));
    }
    Ok(())
}
