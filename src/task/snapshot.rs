//! A subtask's part of checkpoints: from the barrier to the acknowledgement. Flink:
//! `SubtaskCheckpointCoordinator`.
//!
//! Owns what is under way (segments being put, files being staged) and what was acknowledged but is
//! not known to be completed: an aborted checkpoint's segments and committables are *carried*, that
//! is, named again by every later acknowledgement until a checkpoint that holds them completes
//! (invariant I7). Acknowledgements leave in the order of barriers, each after all its parts are
//! answered.

use std::collections::VecDeque;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::output::Staged;
use crate::checkpoint::{Owed, Report, SegmentRef, SubtaskSnapshot};
use crate::connector::Committable;
use crate::error::{Error, Result};
use crate::ids::{CheckpointId, Name};
use crate::teeth::{Tooth, bites};

/// A durable part of a snapshot.
#[derive(Clone, Debug)]
enum Part {
    Segment(SegmentRef),
    Committables(Name, Vec<Committable>),
}

/// One barrier's work.
struct Job {
    checkpoint: CheckpointId,
    /// What was fixed at the barrier.
    fixed: SubtaskSnapshot,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Part>>>,
    done: Vec<Part>,
    /// Whether all parts were added.
    sealed: bool,
}

/// The snapshots of one subtask.
pub(super) struct Snapshots {
    vertex: usize,
    subtask: u32,
    reports: mpsc::Sender<Report>,
    jobs: VecDeque<Job>,
    carried: Vec<(CheckpointId, Part)>,
    /// The newest checkpoint that has completed or was aborted: nobody waits for acknowledgements up
    /// to it, and there may be hundreds where a put took long.
    ended: CheckpointId,
}

impl Snapshots {
    pub(super) fn new(vertex: usize, subtask: u32, reports: mpsc::Sender<Report>) -> Self {
        Self {
            vertex,
            subtask,
            reports,
            jobs: VecDeque::new(),
            carried: Vec::new(),
            ended: CheckpointId::NONE,
        }
    }

    /// Begins the snapshot of `checkpoint` with what the barrier fixed.
    pub(super) fn begin(
        &mut self,
        checkpoint: CheckpointId,
        fixed: SubtaskSnapshot,
        staged: Vec<Staged>,
    ) {
        let under_way = FuturesUnordered::new();
        for Staged { sink, committables } in staged {
            let part: BoxFuture<'static, Result<Part>> =
                Box::pin(async move { Ok(Part::Committables(sink, committables.await?)) });
            under_way.push(part);
        }
        self.jobs.push_back(Job { checkpoint, fixed, under_way, done: Vec::new(), sealed: false });
    }

    /// Adds a segment that is being put for the newest snapshot.
    pub(super) fn add_segment(&mut self, put: BoxFuture<'static, Result<SegmentRef>>) {
        if let Some(job) = self.jobs.back_mut() {
            job.under_way.push(Box::pin(async move { Ok(Part::Segment(put.await?)) }));
        }
    }

    /// All parts of the newest snapshot were added.
    pub(super) fn seal(&mut self) {
        if let Some(job) = self.jobs.back_mut() {
            job.sealed = true;
        }
    }

    /// A checkpoint that holds everything up to it has completed.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) {
        self.carried.retain(|(of, _)| *of > checkpoint);
        self.ended = self.ended.max(checkpoint);
    }

    /// A checkpoint was given up: what was put for it is carried, and not acknowledged by itself.
    pub(super) fn aborted(&mut self, checkpoint: CheckpointId) {
        if !bites(Tooth::NumberReused) {
            self.ended = self.ended.max(checkpoint);
        }
        self.carried.retain(|(of, part)| match part {
            _ if *of != checkpoint => true,
            Part::Segment(_) => !bites(Tooth::AbortedSegmentsDropped),
            Part::Committables(..) => !bites(Tooth::AbortedOutputDropped),
        });
    }

    /// Drives what is under way and acknowledges what is done; waits where there is nothing to do.
    /// Returns after each step that changed something, with the segment that was answered if it was one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn progress(&mut self) -> Result<Option<SegmentRef>> {
        if bites(Tooth::CarriedUnanswered) {
            let waited_for = |job: &Job| job.checkpoint > self.ended;
            let first = self.jobs.iter().position(waited_for).unwrap_or_default();
            self.jobs.rotate_left(first);
        }
        let Some(job) = self.jobs.front_mut() else { return std::future::pending().await };
        if let Some(part) = job.under_way.next().await {
            let part = part?;
            let segment = match &part {
                Part::Segment(segment) => Some(segment.clone()),
                Part::Committables(..) => None,
            };
            job.done.push(part);
            return Ok(segment);
        }
        if !job.sealed {
            return std::future::pending().await;
        }
        if let Some(job) = self.jobs.pop_front() {
            self.acknowledge(job)?;
        }
        Ok(None)
    }

    fn acknowledge(&mut self, job: Job) -> Result<()> {
        let aborted = job.checkpoint <= self.ended;
        let lost = |part: &Part| match part {
            Part::Segment(_) => bites(Tooth::AbortedSegmentsDropped),
            Part::Committables(..) => bites(Tooth::AbortedOutputDropped),
        };
        let done = job.done.into_iter().filter(|part| !(aborted && lost(part)));
        self.carried.extend(done.map(|part| (job.checkpoint, part)));
        if aborted {
            return Ok(());
        }
        let mut snapshot = job.fixed;
        for (_, part) in &self.carried {
            match part {
                Part::Segment(segment) => snapshot.segments.push(segment.clone()),
                Part::Committables(sink, committables) => snapshot.committables.extend(
                    committables
                        .iter()
                        .map(|c| Owed { sink: sink.clone(), committable: c.0.clone() }),
                ),
            }
        }
        let ack = Report::Ack {
            vertex: self.vertex,
            subtask: self.subtask,
            checkpoint: job.checkpoint,
            snapshot: Box::new(snapshot),
        };
        send_report(&self.reports, ack)
    }
}

/// Sends `report` without waiting. There is room: the coordinator never waits for anything else before
/// it takes a report, and a subtask sends one for each barrier.
pub(super) fn send_report(reports: &mpsc::Sender<Report>, report: Report) -> Result<()> {
    reports.try_send(report).map_err(|_| Error::internal("the coordinator has ended"))
}
