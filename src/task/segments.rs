//! The way of a subtask's segments into their slots: compressed and put, off its worker.
//!
//! Owns that hand-over, for subtasks of a job and states that were built by hand alike. When a segment is cut is
//! `state`'s, its slot `checkpoint`'s.

use futures::future::BoxFuture;

use crate::checkpoint::{SegmentData, SegmentRef, Uploader};
use crate::error::Result;
use crate::ids::{Attempt, Name, Version};
use crate::io::{Io, make_way};
use crate::key_group::KeyGroupRange;
use crate::state::{RawSegment, segment};

/// Puts the segments of one subtask in one attempt.
#[derive(Clone, Debug)]
pub struct SegmentPuts {
    /// Whose segments they are.
    pub operator: Name,
    /// The key groups of the subtask.
    pub range: KeyGroupRange,
    /// The attempt that they carry, as versions have it.
    pub attempt: Attempt,
    /// Where they are compressed.
    pub io: Io,
    /// Where they go.
    pub uploader: Uploader,
}

impl SegmentPuts {
    /// Compresses and puts a segment. One `PutItem`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Fenced`] where a later attempt owns the job; the store's own.
    ///
    /// # Cancel safety
    /// Where it is dropped the put may still land; its slot is not given out again by this attempt.
    pub fn put(&self, raw: RawSegment) -> BoxFuture<'static, Result<SegmentRef>> {
        let version = Version { attempt: self.attempt, checkpoint: raw.checkpoint };
        let (operator, range) = (self.operator.clone(), self.range);
        let uploader = self.uploader.clone();
        Box::pin(self.io.run(async move {
            let bytes = segment::encode(&raw, version, &operator, range)?;
            make_way();
            let data = SegmentData {
                operator,
                range,
                checkpoint: raw.checkpoint,
                sequence: raw.sequence,
                entries: u64::from(raw.entries),
                bytes,
            };
            uploader.put(data).await
        }))
    }
}
