//! Manifests in their slots: put part by part, read back with every version checked.
//!
//! Owns the order of puts and reads. Does not own the layout (`manifest`) or the moment at which a
//! slot may be used again (`slots`).

use std::sync::Arc;

use futures::StreamExt;
use futures::TryStreamExt;
use futures::stream;

use super::head::Retained;
use super::manifest::{Manifest, Part};
use super::slots::Slots;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{SlotId, Version};
use crate::points;
use crate::state::{Block, BlockKey, BlockKind, Store, WriteOutcome};

/// Parts that are put or read at the same time.
const CONCURRENCY: usize = 8;

/// A manifest that was put: how the head will name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Put {
    /// What the head will say.
    pub(super) retained: Retained,
    /// The size of all parts.
    pub(super) bytes: u64,
}

/// Puts `manifest` into a slot of its own, and ends when all parts were answered. Fills in the table
/// of slots. One `PutItem` for each 390 KB.
///
/// # Errors
/// [`ErrorKind::Fenced`] where a later attempt's version is in the slot.
pub(super) async fn put(
    store: Arc<dyn Store>,
    slots: Slots,
    mut manifest: Manifest,
) -> Result<Put> {
    manifest.slots = slots.table();
    let parts = manifest.encode()?;
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    let version = manifest.version;
    let slot = slots.take(BlockKind::Manifest, bytes, version)?;
    points::hit(points::BEFORE_MANIFEST_PUT);
    stream::iter((0u32..).zip(parts))
        .map(|(part, bytes)| store.put_block(key(slot, part), version, bytes))
        .buffer_unordered(CONCURRENCY)
        .try_for_each(|outcome| async move { unfenced(outcome) })
        .await?;
    points::hit(points::AFTER_MANIFEST_PUT);
    let retained = Retained { checkpoint: manifest.checkpoint, slot, version };
    Ok(Put { retained, bytes })
}

/// An answer of rule V as a result.
pub(super) fn unfenced(outcome: WriteOutcome) -> Result<()> {
    match outcome {
        WriteOutcome::Done => Ok(()),
        WriteOutcome::Fenced(version) => Err(Error::new(
            ErrorKind::Fenced,
            format!("attempt {} has taken over this job", version.attempt),
        )),
    }
}

/// A manifest that was read, and its size.
#[derive(Clone, Debug)]
pub struct Archived {
    /// How the head names it.
    pub retained: Retained,
    /// What it says.
    pub manifest: Manifest,
    /// The size of all parts, in bytes.
    pub bytes: u64,
}

/// Reads the manifest that a head names. One `GetItem` for each 390 KB.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where a part is missing, damaged, or of another version than the head
/// names; a reader that does not own the job starts again from the head then.
pub async fn read_manifest(store: Arc<dyn Store>, retained: Retained) -> Result<Archived> {
    let first = read_part(&*store, retained, 0).await?;
    let (header, _) = Part::decode(&first.bytes)?;
    let rest: Vec<Block> = stream::iter(1..header.of)
        .map(|part| read_part(&*store, retained, part))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    let parts: Vec<_> = std::iter::once(first).chain(rest).map(|block| block.bytes).collect();
    let manifest = Manifest::decode(&parts)?;
    if (manifest.checkpoint, manifest.version) != (retained.checkpoint, retained.version) {
        return Err(mismatch(retained, manifest.version));
    }
    let bytes = parts.iter().map(|p| p.len() as u64).sum();
    Ok(Archived { retained, manifest, bytes })
}

/// The manifests of an incarnation that nobody owns any more, those of them that can still be read, and
/// how many slots there are. One `GetItem` for each 390 KB, and one more.
///
/// # Errors
/// The store's.
pub async fn read_left(store: &dyn Store) -> Result<(Vec<Manifest>, u64)> {
    let mut manifests = Vec::new();
    let mut slots = 0;
    while let Some(first) = store.get_block_unawaited(key(SlotId(slots), 0)).await? {
        let of = Part::decode(&first.bytes).map_or(1, |(header, _)| header.of);
        let mut parts = vec![first.bytes];
        for part in 1..of {
            let block = store.get_block_unawaited(key(SlotId(slots), part)).await?;
            parts.extend(block.map(|block| block.bytes));
        }
        // An attempt that died at its put may have left parts of two.
        manifests.extend(Manifest::decode(&parts));
        slots += 1;
    }
    Ok((manifests, slots))
}

async fn read_part(store: &dyn Store, retained: Retained, part: u32) -> Result<Block> {
    let block = store.get_block(key(retained.slot, part)).await?.ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "part {part} of checkpoint {} is missing in manifest slot {}",
                retained.checkpoint, retained.slot
            ),
        )
    })?;
    if block.version == retained.version {
        Ok(block)
    } else {
        Err(mismatch(retained, block.version))
    }
}

fn mismatch(retained: Retained, found: Version) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "manifest slot {} holds version {found} where the head names {} for checkpoint {}",
            retained.slot, retained.version, retained.checkpoint
        ),
    )
}

fn key(slot: SlotId, part: u32) -> BlockKey {
    BlockKey { kind: BlockKind::Manifest, slot, part }
}

#[cfg(test)]
mod tests;
