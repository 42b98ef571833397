//! Snapshots of a keyed state that was built by hand. Flink: `SnapshotStrategy`, `SnapshotResources`.
//!
//! Owns a barrier's work outside of a task: all of it in one call, where a task goes on in slices. Which
//! segments a snapshot names is `checkpoint::Carried`'s decision, in both; the manifest that names them,
//! and the head, are the caller's.

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::keyed_builder::KeyedStateBackend;
use crate::checkpoint::{Carried, Part, SegmentRef, Slots, SubtaskSnapshot};
use crate::codec::Key;
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId};
use crate::state::RawSegment;
use crate::task::SegmentPuts;

/// What becomes of a built state at a barrier.
#[derive(Clone, Debug, Default)]
pub enum SnapshotStrategy {
    /// Nothing: the state can only be read.
    #[default]
    ReadOnly,
    /// What has changed since the last barrier goes into segments of the log.
    Incremental {
        /// For whom: all that is written carries this attempt, which must own the job.
        attempt: Attempt,
        /// Where segments may go: [`Slots::restored`] of all retained manifests.
        slots: Slots,
    },
}

/// Writes snapshots, one after the other.
#[derive(Debug)]
pub(super) struct Snapshots {
    puts: SegmentPuts,
    /// Segments whose puts were not answered, of snapshots that failed or were dropped too.
    unanswered: Vec<Option<RawSegment>>,
    /// Answered, and not yet named by a snapshot that was given out.
    answered: Vec<Part>,
    carried: Carried,
}

impl Snapshots {
    pub(super) fn new(puts: SegmentPuts) -> Self {
        let (unanswered, answered) = (Vec::new(), Vec::new());
        Self { puts, unanswered, answered, carried: Carried::default() }
    }

    /// Puts segment `index` of those that were not answered.
    fn put(
        &self,
        (index, raw): (usize, RawSegment),
    ) -> impl Future<Output = (usize, Result<SegmentRef>)> + 'static {
        self.puts.put(raw).map(move |put| (index, put))
    }
}

impl<K: Key> KeyedStateBackend<K> {
    /// Freezes what has changed up to `checkpoint`, puts it into the log, and gives what the manifest of
    /// `checkpoint` must say about this subtask: also of earlier snapshots, as long as
    /// [`KeyedStateBackend::completed`] was not told of them. One `PutItem` a segment.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Usage`] where the state was built to be read only;
    /// [`crate::ErrorKind::Internal`] for a number that is not greater than all before it;
    /// [`crate::ErrorKind::Fenced`] where a later attempt owns the job; the store's own.
    ///
    /// # Cancel safety
    /// Where it fails or is dropped, what it froze is in the next snapshot.
    pub async fn snapshot(&mut self, checkpoint: CheckpointId) -> Result<SubtaskSnapshot> {
        let Some(snapshots) = &mut self.snapshots else {
            return Err(Error::usage("this state was built to be read only"));
        };
        let barrier = self.state.freeze(checkpoint)?;
        while !self.state.serialise(usize::MAX)? {}
        snapshots.unanswered.retain(Option::is_some);
        snapshots.unanswered.extend(self.state.take_segments().into_iter().map(Some));
        let all = snapshots.unanswered.iter().flatten().cloned().enumerate();
        let mut puts: FuturesUnordered<_> = all.map(|raw| snapshots.put(raw)).collect();
        let mut failed = None;
        while let Some((index, put)) = puts.next().await {
            match put {
                Ok(segment) => {
                    snapshots.unanswered[index] = None;
                    self.state.logged(segment.checkpoint, segment.bytes);
                    self.log.entry(segment.checkpoint).or_default().push(segment.clone());
                    snapshots.answered.push(Part::Segment(segment));
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let fixed = SubtaskSnapshot {
            horizon: barrier.horizons.iter().map(|(_, horizon)| *horizon).min().unwrap_or_default(),
            range: Some(snapshots.puts.range),
            may_have_items: barrier.items_sent,
            unfiltered: barrier.unfiltered,
            ..SubtaskSnapshot::default()
        };
        let answered = std::mem::take(&mut snapshots.answered);
        let acknowledged = snapshots.carried.acknowledge(checkpoint, answered, fixed);
        acknowledged.ok_or_else(|| Error::internal(format!("checkpoint {checkpoint} has ended")))
    }

    /// The head names `checkpoint`, and retains none that is older than `oldest_retained`.
    pub fn completed(&mut self, checkpoint: CheckpointId, oldest_retained: CheckpointId) {
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.carried.completed(checkpoint);
        }
        self.state.completed(oldest_retained);
        let horizon = self.state.horizon();
        self.log.retain(|of, _| *of > horizon);
    }
}
