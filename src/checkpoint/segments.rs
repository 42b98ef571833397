//! Segments in their slots: put once a barrier has frozen them, read back by a restore, or for cleaning.
//!
//! Owns the taking of the slot, the put and the checked read. Does not own what is in a segment
//! (`state`), nor which segments are live (`rules`).

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::archive::unfenced;
use super::messages::SegmentRef;
use super::slots::Slots;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name, Version};
use crate::io::Io;
use crate::key_group::KeyGroupRange;
use crate::metrics::Metrics;
use crate::points;
use crate::state::{Block, BlockKey, BlockKind, MAX_BLOCK_BYTES, Store};
use crate::teeth::{Tooth, bites};

/// A segment that is to be put: its bytes, and what a manifest will say about it.
#[derive(Clone, Debug)]
pub struct SegmentData {
    /// The operator whose entries it holds.
    pub operator: Name,
    /// The key groups of the subtask.
    pub range: KeyGroupRange,
    /// The checkpoint at whose barrier it was frozen.
    pub checkpoint: CheckpointId,
    /// Its place among the segments of its subtask and checkpoint.
    pub sequence: u32,
    /// How many entries it holds.
    pub entries: u64,
    /// At most [`MAX_BLOCK_BYTES`].
    pub bytes: Bytes,
}

/// Puts segments for one attempt; a cheap handle.
#[derive(Clone, Debug)]
pub struct Uploader {
    store: Arc<dyn Store>,
    slots: Slots,
    attempt: Attempt,
    metrics: Metrics,
}

impl Uploader {
    /// An uploader for `attempt`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, slots: Slots, attempt: Attempt, metrics: Metrics) -> Self {
        Self { store, slots, attempt, metrics }
    }

    /// Puts one segment into a slot of its own and ends when that was answered. The bytes are fixed
    /// here, so that every retry inside the store sends the same ones. One `PutItem`.
    ///
    /// # Errors
    /// [`ErrorKind::Fenced`] where a later attempt's version is in the slot; the store's own.
    ///
    /// # Cancel safety
    /// Where it is dropped the put may still land; its slot is not given out again by this attempt.
    pub async fn put(&self, segment: SegmentData) -> Result<SegmentRef> {
        let version = Version { attempt: self.attempt, checkpoint: segment.checkpoint };
        if segment.bytes.len() > MAX_BLOCK_BYTES {
            let message = format!("a segment of {} bytes is too large", segment.bytes.len());
            return Err(Error::internal(message).at(format!("operator {}", segment.operator)));
        }
        let bytes = segment.bytes.len() as u64;
        let slot = self.slots.take(BlockKind::Segment, bytes, version)?;
        points::hit(points::BEFORE_SEGMENT_PUT);
        let key = BlockKey { kind: BlockKind::Segment, slot, part: 0 };
        let put = self.store.put_block(key, version, segment.bytes);
        if bites(Tooth::SegmentUnanswered) {
            drop(put.now_or_never());
        } else {
            unfenced(put.await?)?;
        }
        points::hit(points::AFTER_SEGMENT_PUT);
        self.metrics.add_segments_put(1);
        self.metrics.add_segment_bytes_put(bytes);
        Ok(SegmentRef {
            operator: segment.operator,
            range: segment.range,
            checkpoint: segment.checkpoint,
            sequence: segment.sequence,
            slot,
            version,
            bytes,
            entries: segment.entries,
        })
    }
}

/// A segment that was read back. A cheap handle: clones share the bytes.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// What the manifest says about it.
    pub segment: SegmentRef,
    /// Its bytes, as they are stored: compressed, and not checked yet.
    pub bytes: Bytes,
}

/// Reads one segment and checks that its slot still holds it. One `GetItem`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where it is missing or of another version than the manifest names.
pub async fn fetch_segment(store: Arc<dyn Store>, segment: SegmentRef) -> Result<Fetched> {
    let found = store.get_block(key_of(&segment)).await?;
    checked(segment, found)
}

/// The same for cleaning, for which nobody waits.
///
/// # Errors
/// As of [`fetch_segment`].
pub async fn fetch_segment_unawaited(
    store: Arc<dyn Store>,
    segment: SegmentRef,
) -> Result<Fetched> {
    let found = store.get_block_unawaited(key_of(&segment)).await?;
    checked(segment, found)
}

fn key_of(segment: &SegmentRef) -> BlockKey {
    BlockKey { kind: BlockKind::Segment, slot: segment.slot, part: 0 }
}

fn checked(segment: SegmentRef, found: Option<Block>) -> Result<Fetched> {
    match found {
        Some(block) if block.version == segment.version => {
            Ok(Fetched { segment, bytes: block.bytes })
        }
        found => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "segment slot {} holds {} where the manifest names version {}",
                segment.slot,
                found.map_or("nothing".to_owned(), |b| format!("version {}", b.version)),
                segment.version
            ),
        )
        .at(format!("operator {}", segment.operator))),
    }
}

/// Reads segments in the order given, `concurrency` at a time. One `GetItem` each.
pub fn fetch(
    store: Arc<dyn Store>,
    io: Io,
    segments: Vec<SegmentRef>,
    concurrency: usize,
) -> BoxStream<'static, Result<Fetched>> {
    stream::iter(segments)
        .map(move |segment| {
            let (io, store) = (io.clone(), Arc::clone(&store));
            async move { io.run(fetch_segment(store, segment)).await }
        })
        .buffered(concurrency.max(1))
        .boxed()
}

#[cfg(test)]
mod tests;
