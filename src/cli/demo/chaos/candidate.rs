//! One of the two processes that want the job, and what is done to it.
//!
//! Owns its signals, its limit for files, and what it tells. Events come through a pipe, which a full
//! disk does not stop; its log is a file, which it does.

use std::fs::File;
use std::io::{ErrorKind as Kind, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdout, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::super::super::events::{self, Event, Line, Restored};
use super::super::child::{cannot_start, this_program};
use crate::error::{Error, ErrorKind, Result};

/// What a candidate has told of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The attempt that processes records, or did last; 0: none yet.
    pub(super) attempt: u64,
    /// What that was restored from.
    pub(super) restored: Option<Restored>,
    /// Checkpoints that it has completed, since they were counted last.
    pub(super) checkpoints: u32,
    /// Attempts that failed and were to be followed by another in the same process.
    pub(super) failures: u32,
    /// Why the last one did.
    pub(super) failure: Option<String>,
    /// Records of the input that were read.
    pub(super) position: u64,
    /// All input was read and committed.
    pub(super) finished: bool,
}

impl Facts {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Running { attempt, restored } => {
                self.attempt = *attempt;
                self.restored = *restored;
                self.checkpoints = 0;
                self.position = restored.map_or(0, |restored| restored.position);
            }
            Event::FirstRecord { .. } => {}
            Event::Checkpoint { position, .. } => {
                self.checkpoints += 1;
                self.position = self.position.max(*position);
            }
            Event::Progress { position } => self.position = *position,
            Event::Restarting { failure } => {
                self.failures += 1;
                self.checkpoints = 0;
                self.failure = Some(failure.clone());
            }
            Event::Ended { finished, position } => {
                self.finished = *finished;
                self.position = *position;
            }
        }
    }
}

/// How a candidate ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By SIGKILL.
    Killed,
    /// Another attempt had taken over, and it said so.
    Fenced,
    /// Well.
    Done,
    /// In another way: in these words.
    Failed(String),
}

/// A candidate. It ends with its owner: no job outlives the demo.
pub(super) struct Candidate {
    /// How many were started before it, and 1.
    pub(super) number: u32,
    /// What it has told.
    pub(super) facts: Facts,
    /// How it ended.
    pub(super) end: Option<End>,
    process: Process,
    events: ChildStdout,
    told: Vec<u8>,
    log: PathBuf,
}

impl Candidate {
    /// Starts this program again with `arguments`.
    pub(super) fn start(number: u32, arguments: &[String], log: &Path) -> Result<Self> {
        let file = File::create(log).map_err(|e| Error::io("create", log, e))?;
        let mut process = this_program()?
            .args(arguments)
            .args(["--with-parent", "--events", "/dev/stdout"])
            // Each call that is tried again is logged, and not only one that has failed for three seconds.
            .env(crate::config::LOG_VARIABLE, "warn,millpond::dynamodb::call=debug")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .map_err(cannot_start)?;
        let events = process.stdout.take().ok_or_else(|| Error::internal("there is no pipe"))?;
        rustix::io::ioctl_fionbio(&events, true).map_err(|e| system("read from", e.into()))?;
        let (facts, end, told, log) = (Facts::default(), None, Vec::new(), log.to_owned());
        Ok(Self { number, facts, end, process, events, told, log })
    }

    /// The name by which the endpoint knows it.
    pub(super) fn key(&self) -> String {
        key(self.number)
    }

    /// Takes up what it has told since the last look, and whether it has ended.
    pub(super) fn look(&mut self) -> Result<Vec<Event>> {
        let ended = match self.end {
            Some(_) => None,
            None => self.process.try_wait().map_err(|e| system("wait for", e))?,
        };
        // After that: what it told before it ended is in the pipe.
        let events = self.read()?;
        for event in &events {
            self.facts.take(event);
        }
        if let Some(status) = ended {
            self.end = Some(self.how(status));
        }
        Ok(events)
    }

    fn read(&mut self) -> Result<Vec<Event>> {
        let mut part = [0; 4096];
        loop {
            match self.events.read(&mut part) {
                Ok(0) => break,
                Ok(bytes) => self.told.extend_from_slice(&part[..bytes]),
                Err(e) if e.kind() == Kind::WouldBlock => break,
                Err(e) if e.kind() == Kind::Interrupted => {}
                Err(e) => return Err(system("read from", e)),
            }
        }
        let whole = self.told.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.told.drain(..whole).collect();
        let lines = events::parse(&String::from_utf8_lossy(&lines));
        Ok(lines.into_iter().map(|Line { event, .. }| event).collect())
    }

    fn how(&self, status: ExitStatus) -> End {
        if status.signal() == Some(Signal::KILL.as_raw()) {
            return End::Killed;
        }
        if status.success() {
            return End::Done;
        }
        let said = self.said();
        let last = said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
        if status.code() == Some(1) && (last.contains("taken over") || last.contains("overtaken")) {
            return End::Fenced;
        }
        End::Failed(format!("candidate {} ended with {status}; it said:\n{said}", self.number))
    }

    /// What it has logged so far, as far as its disk took it.
    pub(super) fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// How often it has told that a call is tried again.
    pub(super) fn retries(&self) -> usize {
        self.said().matches("DynamoDB call is retried").count()
    }

    /// Sends SIGKILL and waits for the end; whether that was what ended it.
    pub(super) fn kill(&mut self) -> Result<bool> {
        if self.end.is_none() {
            self.process.kill().map_err(|e| system("kill", e))?;
            let status = self.process.wait().map_err(|e| system("wait for", e))?;
            self.end = Some(self.how(status));
        }
        Ok(self.end == Some(End::Killed))
    }

    /// Stops it where it is.
    pub(super) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Whether it stands still.
    pub(super) fn is_frozen(&self) -> Result<bool> {
        // Left to be waited for: its end is `look`'s to see.
        let options = WaitIdOptions::STOPPED
            | WaitIdOptions::EXITED
            | WaitIdOptions::NOWAIT
            | WaitIdOptions::NOHANG;
        let status =
            waitid(WaitId::Pid(self.pid()), options).map_err(|e| system("wait for", e.into()))?;
        Ok(status.is_some_and(|status| status.stopped()))
    }

    /// Lets it go on as if no time had passed.
    pub(super) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Lets no file of it grow beyond `bytes`; `None`: as far as this process's may. A write that would
    /// is an error, EFBIG where a full disk gives ENOSPC.
    #[cfg(target_os = "linux")]
    pub(super) fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

        let own = getrlimit(Resource::Fsize);
        // The hard limit stays: without privileges it cannot be raised again.
        let limit = Rlimit { current: bytes.or(own.current), maximum: own.maximum };
        prlimit(Some(self.pid()), Resource::Fsize, limit)
            .map(drop)
            .map_err(|e| system("limit the files of", e.into()))
    }

    /// Limits of another process cannot be set here.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn limit_files(&self, _bytes: Option<u64>) -> Result<()> {
        Err(Error::internal("a full disk can be made on Linux only"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).map_err(|e| system("signal", e.into()))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}

/// The access key of candidate `number`.
pub(super) fn key(number: u32) -> String {
    format!("candidate-{number}")
}

fn system(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} a candidate: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_newest_attempt() {
        let restored = Some(Restored { checkpoint: 4, duration_ms: 3, position: 80 });
        let mut facts = Facts::default();
        for event in [
            Event::Running { attempt: 3, restored: None },
            Event::Progress { position: 100 },
            Event::Checkpoint { checkpoint: 4, position: 80 },
            Event::Restarting { failure: "no room".to_owned() },
            Event::Running { attempt: 4, restored },
        ] {
            facts.take(&event);
        }
        let expected = Facts {
            attempt: 4,
            restored,
            checkpoints: 0,
            failures: 1,
            failure: Some("no room".to_owned()),
            position: 80,
            finished: false,
        };
        assert_eq!(facts, expected);
    }
}
