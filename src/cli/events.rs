//! A run's events as JSON lines, for programs that watch one from outside (`--events FILE`).
//!
//! Owns their form and how they follow from one status after another. A watch keeps the newest
//! status only, so what happened twice between two looks is one event.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::runtime::{JobState, JobStatus};

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Milliseconds since 1970.
    pub(super) at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub(super) event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// An attempt began to process records.
    Running {
        /// Its number.
        attempt: u64,
        /// From which checkpoint and how; `None`: afresh.
        restored: Option<Restored>,
    },
    /// The attempt's first record was processed.
    FirstRecord {
        /// Since before its restore began.
        after_ms: u64,
    },
    /// A checkpoint was completed.
    Checkpoint {
        /// Its number.
        checkpoint: u64,
        /// Records of the input before its barriers.
        position: u64,
    },
    /// Records were read.
    Progress {
        /// Records of the input that were read.
        position: u64,
    },
    /// An attempt failed, and another will follow in the same process.
    Restarting {
        /// Why it failed.
        failure: String,
    },
    /// The job reached a final state.
    Ended {
        /// It finished, rather than stopped or failed.
        finished: bool,
        /// Records of the input that were read.
        position: u64,
    },
}

/// A restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Restored {
    /// The checkpoint.
    pub(super) checkpoint: u64,
    /// How long it took.
    pub(super) duration_ms: u64,
    /// The records of the input before it.
    pub(super) position: u64,
}

/// Finds events between one status and the next.
#[derive(Debug, Default)]
pub(super) struct Observer {
    attempt: u64,
    first_record: bool,
    checkpoint: u64,
    position: u64,
    restarting: bool,
    ended: bool,
}

impl Observer {
    /// What `status` has that the one before had not.
    pub(super) fn observe(&mut self, status: &JobStatus) -> Vec<Event> {
        let mut events = Vec::new();
        let begun = status.state == JobState::Running || status.state.is_final();
        if begun && status.attempt > self.attempt {
            self.attempt = status.attempt;
            self.position = 0;
            self.first_record = false;
            events.push(Event::Running { attempt: self.attempt, restored: restored(status) });
        }
        if let Some(after_ms) = status.checkpoints.restored.and_then(|r| r.first_record_ms)
            && begun
            && !self.first_record
        {
            self.first_record = true;
            events.push(Event::FirstRecord { after_ms });
        }
        if let Some(last) = &status.checkpoints.latest_completed
            && last.id > self.checkpoint
        {
            self.checkpoint = last.id;
            events.push(Event::Checkpoint { checkpoint: last.id, position: last.position });
        }
        if status.state == JobState::Running && status.position > self.position {
            self.position = status.position;
            events.push(Event::Progress { position: self.position });
        }
        let restarting = status.state == JobState::Restarting;
        if restarting && !self.restarting {
            let failure = status.last_failure.clone().unwrap_or_default();
            events.push(Event::Restarting { failure });
        }
        self.restarting = restarting;
        if status.state.is_final() && !self.ended {
            self.ended = true;
            let finished = status.state == JobState::Finished;
            events.push(Event::Ended { finished, position: status.position });
        }
        events
    }
}

fn restored(status: &JobStatus) -> Option<Restored> {
    status.checkpoints.restored.map(|restore| Restored {
        checkpoint: restore.checkpoint,
        duration_ms: restore.duration_ms,
        position: restore.position,
    })
}

/// Appends to the file, one write a line, so that a kill leaves whole lines and at most one part.
pub(super) struct Writer {
    file: File,
    path: PathBuf,
    observer: Observer,
}

impl Writer {
    /// Opens or creates `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        Ok(Self { file, path: path.to_owned(), observer: Observer::default() })
    }

    /// Writes what `status` has new.
    pub(super) fn write(&mut self, status: &JobStatus, at_ms: u64) -> Result<()> {
        for event in self.observer.observe(status) {
            let mut line = serde_json::to_vec(&Line { at_ms, event })
                .map_err(|e| Error::internal(format!("cannot write an event: {e}")))?;
            line.push(b'\n');
            self.file.write_all(&line).map_err(|e| Error::io("write", &self.path, e))?;
        }
        Ok(())
    }
}

/// The whole lines of `text`; a last part that a kill left is ignored.
pub(super) fn parse(text: &str) -> Vec<Line> {
    text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{CheckpointEntry, CheckpointState, Restore};

    fn status(state: JobState, attempt: u64, position: u64) -> JobStatus {
        JobStatus { state, attempt, position, ..JobStatus::default() }
    }

    fn complete(status: &mut JobStatus, id: u64, position: u64) {
        status.checkpoints.record(CheckpointEntry {
            id,
            status: CheckpointState::Completed,
            triggered_ms: 0,
            last_ack_ms: None,
            duration_ms: 0,
            written_bytes: 0,
            log_bytes: 0,
            entries: 0,
            subtasks: 1,
            acknowledged: 1,
            position,
            failure: None,
        });
    }

    #[test]
    fn a_run_tells_its_start_its_checkpoints_and_its_end_once() {
        let mut observer = Observer::default();
        assert_eq!(observer.observe(&status(JobState::Initializing, 1, 0)), []);
        let mut running = status(JobState::Running, 1, 10);
        assert_eq!(
            observer.observe(&running),
            [Event::Running { attempt: 1, restored: None }, Event::Progress { position: 10 }]
        );
        complete(&mut running, 1, 8);
        assert_eq!(observer.observe(&running), [Event::Checkpoint { checkpoint: 1, position: 8 }]);
        assert_eq!(observer.observe(&running), []);
        let mut ended = status(JobState::Finished, 1, 12);
        complete(&mut ended, 2, 12);
        assert_eq!(
            observer.observe(&ended),
            [
                Event::Checkpoint { checkpoint: 2, position: 12 },
                Event::Ended { finished: true, position: 12 }
            ]
        );
        assert_eq!(observer.observe(&ended), []);
    }

    #[test]
    fn a_restart_falls_back_to_its_checkpoint() {
        let mut observer = Observer::default();
        observer.observe(&status(JobState::Running, 4, 100));
        let mut again = status(JobState::Running, 5, 90);
        again.checkpoints.restored = Some(Restore {
            checkpoint: 3,
            restored_ms: 0,
            duration_ms: 7,
            position: 80,
            entries: 1,
            first_record_ms: Some(9),
        });
        assert_eq!(
            observer.observe(&again),
            [
                Event::Running {
                    attempt: 5,
                    restored: Some(Restored { checkpoint: 3, duration_ms: 7, position: 80 })
                },
                Event::FirstRecord { after_ms: 9 },
                Event::Progress { position: 90 }
            ]
        );
    }

    #[test]
    fn each_failure_that_is_followed_by_a_restart_is_told_once() {
        let mut observer = Observer::default();
        observer.observe(&status(JobState::Running, 1, 0));
        let mut failed = status(JobState::Restarting, 1, 0);
        failed.last_failure = Some("no room".to_owned());
        let told = [Event::Restarting { failure: "no room".to_owned() }];
        assert_eq!(observer.observe(&failed), told);
        assert_eq!(observer.observe(&failed), []);
        observer.observe(&status(JobState::Initializing, 1, 0));
        assert_eq!(observer.observe(&failed), told);
    }

    #[test]
    fn lines_read_back_and_a_cut_one_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut writer = Writer::open(&path).unwrap();
        writer.write(&status(JobState::Running, 1, 5), 17).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        let expected = [
            Line { at_ms: 17, event: Event::Running { attempt: 1, restored: None } },
            Line { at_ms: 17, event: Event::Progress { position: 5 } },
        ];
        assert_eq!(parse(&text), expected);
        text.push_str("{\"at_ms\":18,\"event\":\"prog");
        assert_eq!(parse(&text), expected);
    }
}
