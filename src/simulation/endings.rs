//! How a simulated process may end, what it may fail with on the way, and what a finished job has left.
//!
//! Owns these judgements. When they are asked for is `world`'s and `endure`'s.

use super::process::Process;
use super::scenario::Verdict;
use super::world::World;
use crate::checkpoint::Ended;
use crate::error::{Error, ErrorKind, Result};

impl World {
    /// Whether a process may have ended so.
    pub(super) fn judge_end(&mut self, process: &Process, ended: Result<Ended>) -> Verdict {
        let number = process.number;
        let stopping = process.is_stopping();
        let kind = ended.as_ref().map_err(Error::kind).copied();
        self.watch.tell(match &ended {
            Ok(ended) => format!("process {number} ends: {ended:?}"),
            Err(error) => format!("process {number} ends: {error}"),
        });
        let attempt = process.status.borrow().attempt;
        let fenced = self.is_fenced(attempt);
        match kind {
            Ok(Ended::Finished) => Ok(()),
            Ok(Ended::Stopped) if stopping => Ok(()),
            // The stop came while a restart was waited for.
            Err(ErrorKind::Checkpoint | ErrorKind::User) if stopping => Ok(()),
            // Corrupt: it has read what its successor was writing in several parts. Lost: its successor has gone
            // back, and cleaned away what it owes.
            Err(ErrorKind::Fenced | ErrorKind::Corrupt | ErrorKind::Lost) if fenced => {
                self.counts.fenced += 1;
                Ok(())
            }
            // What was to be gone back to is not retained any more, or the job is finished.
            Err(ErrorKind::Usage) => Ok(()),
            // The call that makes the table, or the first claim, was refused for good, as the twin alone does.
            Err(ErrorKind::Store) if self.sky.refuses_for_good() => Ok(()),
            _ => Err(format!("process {number} ended with {ended:?}")),
        }
    }

    fn is_fenced(&self, attempt: u64) -> bool {
        let seen = self.watch.seen();
        seen.oracle.table.head.as_ref().is_none_or(|head| head.attempt.0 > attempt)
    }

    /// Restarts in a process hide errors that nothing here is a reason for.
    pub(super) fn no_strange_failures(&self) -> Verdict {
        for process in &self.processes {
            let status = process.status.borrow();
            let strange = match status.last_failure_kind {
                Some(ErrorKind::Store) => !self.sky.refuses_for_good(),
                kind => matches!(
                    kind,
                    Some(
                        ErrorKind::Internal
                            | ErrorKind::Io
                            | ErrorKind::Corrupt
                            | ErrorKind::Input
                            | ErrorKind::Lost
                            | ErrorKind::TooLarge
                    )
                ),
            };
            if strange && !self.is_fenced(status.attempt) {
                return Err(format!(
                    "process {} failed: {:?}",
                    process.number, status.last_failure
                ));
            }
        }
        Ok(())
    }

    /// What the finished job has left.
    pub(super) fn last_look(&mut self) -> Verdict {
        let commits = self.scenario.ends().commits();
        let mut seen = self.watch.seen();
        seen.oracle.check_all()?;
        seen.oracle.check_leaks(self.sky.deletes_by_the_clock())?;
        let (line, positions) = seen.oracle.descent.line(&commits);
        drop(seen);
        self.scenario.check_output(&line, &positions).map_err(|e| format!("output: {e}"))?;
        self.scenario.ends().check_end(&positions)?;
        match self.scenario.ends().staged() {
            0 => Ok(()),
            staged => Err(format!("{staged} staged outputs were neither committed nor cleaned")),
        }
    }
}
