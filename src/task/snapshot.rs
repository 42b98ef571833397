//! A subtask's part of checkpoints: from the barrier to the acknowledgement. Flink:
//! `SubtaskCheckpointCoordinator`.
//!
//! Owns what is under way: segments being put, files being staged. Acknowledgements leave in the order
//! of barriers, each after all its parts are answered. What each of them names is decided by
//! `checkpoint::Carried`: an aborted checkpoint's parts are named again (invariant I7).

use std::collections::VecDeque;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::output::Staged;
use crate::checkpoint::{Carried, Owed, Part, Report, SegmentRef, SubtaskSnapshot};
use crate::connector::Committable;
use crate::error::{Error, Result};
use crate::ids::{CheckpointId, Name};
use crate::teeth::{Tooth, bites};

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
    carried: Carried,
}

impl Snapshots {
    pub(super) fn new(vertex: usize, subtask: u32, reports: mpsc::Sender<Report>) -> Self {
        Self { vertex, subtask, reports, jobs: VecDeque::new(), carried: Carried::default() }
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
                Box::pin(async move { Ok(committed_by(&sink, committables.await?)) });
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

    /// For the tooth that fixes the horizon at the acknowledgement.
    pub(super) fn fix_horizon_again(&mut self, horizon: CheckpointId) {
        self.jobs.iter_mut().for_each(|job| job.fixed.horizon = horizon);
    }

    /// A checkpoint that holds everything up to it has completed.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) {
        self.carried.completed(checkpoint);
    }

    /// A checkpoint was given up: what was put for it is carried, and not acknowledged by itself.
    pub(super) fn aborted(&mut self, checkpoint: CheckpointId) {
        self.carried.aborted(checkpoint);
    }

    /// Drives what is under way and acknowledges what is done; waits where there is nothing to do.
    /// Returns after each step that changed something, with the segment that was answered if it was one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn progress(&mut self) -> Result<Option<SegmentRef>> {
        if bites(Tooth::CarriedUnanswered) {
            let waited_for = |job: &Job| self.carried.is_waited_for(job.checkpoint);
            let first = self.jobs.iter().position(waited_for).unwrap_or_default();
            self.jobs.rotate_left(first);
        }
        let Some(job) = self.jobs.front_mut() else { return std::future::pending().await };
        if let Some(part) = job.under_way.next().await {
            let part = part?;
            let segment = match &part {
                Part::Segment(segment) => Some(segment.clone()),
                Part::Committables(_) => None,
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

    /// Answers [`crate::checkpoint::Command::Drain`].
    pub(super) fn drained(&self) -> Result<()> {
        let report = Report::Drained { vertex: self.vertex, subtask: self.subtask };
        send_report(&self.reports, report)
    }

    fn acknowledge(&mut self, job: Job) -> Result<()> {
        let acknowledged = self.carried.acknowledge(job.checkpoint, job.done, job.fixed);
        let Some(snapshot) = acknowledged else { return Ok(()) };
        let ack = Report::Ack {
            vertex: self.vertex,
            subtask: self.subtask,
            checkpoint: job.checkpoint,
            snapshot: Box::new(snapshot),
        };
        send_report(&self.reports, ack)
    }
}

fn committed_by(sink: &Name, committables: Vec<Committable>) -> Part {
    let owed = |committable| Owed { sink: sink.clone(), committable };
    Part::Committables(committables.into_iter().map(owed).collect())
}

/// Sends `report` without waiting. There is room: the coordinator never waits for anything else before
/// it takes a report, and a subtask sends one for each barrier.
pub(super) fn send_report(reports: &mpsc::Sender<Report>, report: Report) -> Result<()> {
    reports.try_send(report).map_err(|refused| match refused {
        TrySendError::Closed(_) => Error::internal("the coordinator has ended"),
        TrySendError::Full(_) => {
            let capacity = reports.max_capacity();
            Error::internal(format!(
                "the coordinator has taken none of the last {capacity} reports"
            ))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One was told as the other.
    #[test]
    fn a_coordinator_that_takes_no_report_has_not_ended() {
        let (reports, received) = mpsc::channel(2);
        let drained = || send_report(&reports, Report::Drained { vertex: 0, subtask: 0 });
        drained().unwrap();
        drained().unwrap();
        let full = drained().unwrap_err();
        assert_eq!(full.message(), "the coordinator has taken none of the last 2 reports");
        drop(received);
        assert_eq!(drained().unwrap_err().message(), "the coordinator has ended");
    }
}
