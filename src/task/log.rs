//! The redo log of one keyed subtask, from frozen entries to segments in their slots, and back.
//!
//! Owns the restore and the hand-over of segments to I/O. What is in the log is `state`'s; which segments are
//! live is `checkpoint`'s.

use futures::future::BoxFuture;

use super::build::{BuildContext, Restored};
use super::restored::{LogSegments, rebuild};
use super::segments::SegmentPuts;
use crate::checkpoint::{Fetched, SegmentRef, SubtaskSnapshot};
use crate::codec::Key;
use crate::config::StateSettings;
use crate::error::Result;
use crate::ids::CheckpointId;
use crate::key_group::KeyGroupRange;
use crate::state::{Columns, FilterConfig, KeyedConfig, KeyedState, RawSegment};
use crate::teeth::{Tooth, bites};

/// Writes one keyed subtask's log.
#[derive(Debug)]
pub(super) struct LogWriter {
    puts: SegmentPuts,
    /// Where the segments of each checkpoint of the log are.
    segments: LogSegments,
}

impl LogWriter {
    /// Goes on with a log whose segments are there.
    pub(super) fn new(puts: SegmentPuts, segments: LogSegments) -> Self {
        Self { puts, segments }
    }

    /// The state that the log after the horizon and the table give, and a writer that goes on.
    ///
    /// # Errors
    /// Segments that cannot be read or do not fit the operator's states.
    pub(super) fn restore<K: Key>(
        columns: Columns,
        index: usize,
        restored: Restored,
        context: &BuildContext,
    ) -> Result<(KeyedState<K>, Self)> {
        let operator = context.operator(index);
        let config = KeyedConfig {
            operator: operator.clone(),
            subtask: context.subtask,
            range: context.range(),
            max_parallelism: context.max_parallelism,
            attempt: context.attempt.in_versions(),
            segment_bytes: context.config.state.segment_bytes,
            value_format: context.config.state.value_format,
            filter: filter(context),
            few_rows: context.config.state.few_rows,
        };
        let keys = keys_in(&restored.segments, context);
        let at = (context.restored_checkpoint, context.oldest_retained);
        let (state, segments) =
            rebuild(config, columns, restored, at, context.clock.wall_ms(), keys)?;
        let puts = SegmentPuts {
            operator,
            range: context.range(),
            attempt: context.attempt.in_versions(),
            io: context.io.clone(),
            uploader: context.uploader.clone(),
        };
        Ok((state, Self::new(puts, segments)))
    }

    /// Freezes what changed up to the barrier; what is fixed by it goes into the acknowledgement.
    pub(super) fn freeze<K: Key>(
        &mut self,
        state: &mut KeyedState<K>,
        checkpoint: CheckpointId,
    ) -> Result<SubtaskSnapshot> {
        let barrier = state.freeze(checkpoint)?;
        let horizons = barrier.horizons.iter().map(|(_, horizon)| *horizon);
        let greatest = bites(Tooth::HorizonOfOnePart).then(|| horizons.clone().max()).flatten();
        Ok(SubtaskSnapshot {
            // The manifest keeps the greater one of a former subtask's part.
            horizon: greatest.or(horizons.min()).unwrap_or_default(),
            range: Some(self.puts.range),
            may_have_items: barrier.items_sent,
            unfiltered: barrier.unfiltered,
            ..SubtaskSnapshot::default()
        })
    }

    /// Compresses and puts a segment, off the worker.
    pub(super) fn put(&self, raw: RawSegment) -> BoxFuture<'static, Result<SegmentRef>> {
        self.puts.put(raw)
    }

    /// A segment's put was answered.
    pub(super) fn logged<K: Key>(&mut self, state: &mut KeyedState<K>, segment: SegmentRef) {
        state.logged(segment.checkpoint, segment.bytes);
        self.segments.entry(segment.checkpoint).or_default().push(segment);
    }

    /// Forgets the segments that the horizon has passed.
    pub(super) fn completed<K: Key>(&mut self, state: &KeyedState<K>) {
        let horizon = state.horizon();
        self.segments.retain(|of, _| *of > horizon);
    }

    /// Where the segments of `checkpoint` are.
    pub(super) fn segments_of(&self, checkpoint: CheckpointId) -> Vec<SegmentRef> {
        self.segments.get(&checkpoint).cloned().unwrap_or_default()
    }
}

/// One subtask's filter: it may take its share of a quarter of the cache.
fn filter(context: &BuildContext) -> FilterConfig {
    let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
    filter_of(&context.config.state, shares)
}

/// The filter of one of `shares` subtasks.
#[must_use]
pub fn filter_of(settings: &StateSettings, shares: u64) -> FilterConfig {
    if !settings.filter {
        return FilterConfig::OFF;
    }
    FilterConfig {
        max_bytes: (settings.cache_bytes / 4 / shares.max(1)).max(1),
        first_bytes: settings.filter_first_bytes,
        chunk_hashes: settings.filter_chunk_hashes,
    }
}

/// How many keys a log may hold for one subtask: no more than it has entries, nor than its bound lets
/// in, with rows of the least size.
fn keys_in(log: &[Fetched], context: &BuildContext) -> usize {
    const LEAST_ROW_BYTES: u64 = 32;
    let range = context.range();
    let groups = |range: KeyGroupRange| u64::from(range.last.0 - range.first.0) + 1;
    let share = |at: &SegmentRef| {
        at.entries * at.range.intersection(range).map_or(0, groups) / groups(at.range)
    };
    let entries: u64 = log.iter().map(|fetched| share(&fetched.segment)).sum();
    let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
    entries.min(context.config.state.log_max_bytes / shares / LEAST_ROW_BYTES) as usize
}
