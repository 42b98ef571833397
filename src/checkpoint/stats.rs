//! Statistics of checkpoints, for the status page and the progress line.
//!
//! Owns the numbers and a bounded history of them. The driver writes, anyone may read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::messages::Kind;
use crate::ids::CheckpointId;

/// How far a checkpoint came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Under way.
    InProgress,
    /// The head names it.
    Completed,
    /// Given up.
    Failed,
}

/// One checkpoint. Flink: `CheckpointStatistics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Its number.
    pub id: CheckpointId,
    /// What it is for.
    pub kind: Kind,
    /// How far it came.
    pub status: Status,
    /// When it was triggered, in milliseconds since 1970.
    pub triggered_ms: u64,
    /// From the trigger to its end; `None` while it is under way.
    pub duration: Option<Duration>,
    /// Bytes put for it: segments named for the first time, and its manifest.
    pub bytes: u64,
    /// Entries in those segments.
    pub entries: u64,
    /// Subtasks that have acknowledged.
    pub acknowledged: usize,
    /// Subtasks that must.
    pub subtasks: usize,
    /// The longest wait of a subtask for its last barrier.
    pub longest_alignment: Duration,
    /// The longest time of a subtask from barrier to last answer.
    pub longest_upload: Duration,
    /// Bytes of all segments that its manifest names: what a restore from it reads. 0 before that.
    pub log_bytes: u64,
    /// Records of the input before its barriers, those of earlier attempts included.
    pub records: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

/// How many checkpoints there were, in all attempts of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Attempts that went on from one.
    pub restored: u64,
    /// Completed ones.
    pub completed: u64,
    /// Failed ones, those that do not count as failures too.
    pub failed: u64,
    /// Under way: 0 or 1.
    pub in_progress: u64,
}

/// All statistics at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// How many.
    pub counts: Counts,
    /// The checkpoint that the present attempt went on from.
    pub restored: Option<CheckpointId>,
    /// The newest completed one.
    pub latest_completed: Option<Stats>,
    /// The newest failed one.
    pub latest_failed: Option<Stats>,
    /// The last ones, newest first.
    pub history: Vec<Stats>,
}

/// A cheap handle to one job's statistics; they outlive attempts.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    restored: Option<CheckpointId>,
    latest_completed: Option<Stats>,
    latest_failed: Option<Stats>,
    /// Newest first, at most [`History::LENGTH`].
    history: VecDeque<Stats>,
}

impl History {
    /// Checkpoints that are remembered; Flink's `web.checkpoints.history` has the same default.
    pub const LENGTH: usize = 10;

    /// All statistics now.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let inner = self.lock();
        Overview {
            counts: inner.counts,
            restored: inner.restored,
            latest_completed: inner.latest_completed.clone(),
            latest_failed: inner.latest_failed.clone(),
            history: inner.history.iter().cloned().collect(),
        }
    }

    /// An attempt begins, from `checkpoint` if there is one. What the last attempt left under way is
    /// over.
    pub(super) fn begin_attempt(&self, checkpoint: Option<CheckpointId>) {
        let mut inner = self.lock();
        inner.restored = checkpoint;
        inner.counts.restored += u64::from(checkpoint.is_some());
        let open: Vec<Stats> =
            inner.history.iter().filter(|s| s.status == Status::InProgress).cloned().collect();
        for mut stats in open {
            stats.status = Status::Failed;
            stats.failure = Some("the attempt ended".to_owned());
            inner.record(stats);
        }
    }

    /// Adds `stats`, or replaces what is known of the same checkpoint under way.
    pub(super) fn record(&self, stats: Stats) {
        self.lock().record(stats);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn record(&mut self, stats: Stats) {
        let open =
            self.history.iter_mut().find(|s| s.id == stats.id && s.status == Status::InProgress);
        match open {
            Some(open) => *open = stats.clone(),
            None => self.history.push_front(stats.clone()),
        }
        self.history.truncate(History::LENGTH);
        match stats.status {
            Status::InProgress => {}
            Status::Completed => {
                self.counts.completed += 1;
                self.latest_completed = Some(stats);
            }
            Status::Failed => {
                self.counts.failed += 1;
                self.latest_failed = Some(stats);
            }
        }
        let open = self.history.iter().filter(|s| s.status == Status::InProgress).count();
        self.counts.in_progress = open as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(id: u64, status: Status) -> Stats {
        Stats {
            id: CheckpointId(id),
            kind: Kind::Periodic,
            status,
            triggered_ms: 0,
            duration: None,
            bytes: 0,
            entries: 0,
            acknowledged: 0,
            subtasks: 1,
            longest_alignment: Duration::ZERO,
            longest_upload: Duration::ZERO,
            records: 0,
            log_bytes: 0,
            failure: None,
        }
    }

    #[test]
    fn the_history_is_bounded_and_counts_go_on() {
        let history = History::default();
        for id in 1..=25 {
            history.record(stats(id, Status::InProgress));
            assert_eq!(history.overview().counts.in_progress, 1);
            history.record(stats(id, Status::Completed));
        }
        let overview = history.overview();
        assert_eq!(overview.counts.completed, 25);
        assert_eq!(overview.counts.in_progress, 0);
        assert_eq!(overview.history.len(), History::LENGTH);
        assert_eq!(overview.history[0].id, CheckpointId(25));
    }

    #[test]
    fn what_an_attempt_leaves_under_way_has_failed_when_the_next_begins() {
        let history = History::default();
        history.record(stats(7, Status::InProgress));
        history.begin_attempt(Some(CheckpointId(6)));
        // Attempts number on from the head, so a number comes again: as another checkpoint.
        history.record(stats(7, Status::InProgress));
        history.record(stats(7, Status::Completed));
        let overview = history.overview();
        assert_eq!((overview.counts.failed, overview.counts.completed), (1, 1));
        assert_eq!(overview.history.len(), 2);
        assert_eq!(overview.restored, Some(CheckpointId(6)));
    }
}
