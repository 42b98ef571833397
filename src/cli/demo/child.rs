//! The process that is killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::super::events::{self, Event, Line};
use crate::clock::Clock;
use crate::config::LOG_VARIABLE;
use crate::error::{Error, ErrorKind, Result};

/// How often a child's events and its end are looked for.
const LOOK: Duration = Duration::from_millis(2);

/// A running child. It ends with its owner: no job outlives the demo.
pub(super) struct Child {
    process: Process,
    events: PathBuf,
    log: PathBuf,
}

/// How and where a child runs.
#[derive(Debug)]
pub(super) struct Options<'a> {
    /// Everything after the program's name.
    pub(super) arguments: Vec<String>,
    /// Where its events go.
    pub(super) events: &'a Path,
    /// Where its standard error goes.
    pub(super) log: &'a Path,
}

impl Child {
    /// Starts this program again.
    pub(super) fn start(options: Options<'_>) -> Result<Self> {
        let log = File::create(options.log).map_err(|e| Error::io("create", options.log, e))?;
        let process = this_program()?
            .args(&options.arguments)
            .arg("--events")
            .arg(options.events)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(cannot_start)?;
        Ok(Self { process, events: options.events.to_owned(), log: options.log.to_owned() })
    }

    /// The events so far.
    pub(super) fn events(&self) -> Vec<Line> {
        // Missing until the child has opened it.
        events::parse(&std::fs::read_to_string(&self.events).unwrap_or_default())
    }

    /// Waits until records are processed.
    ///
    /// # Errors
    /// Where the child ends before, or takes longer than `limit`.
    pub(super) async fn until_running(&mut self, clock: &Clock, limit: Duration) -> Result<()> {
        let deadline = clock.now() + limit;
        loop {
            let running = |line: &Line| matches!(line.event, Event::Running { .. });
            if self.events().iter().any(running) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                return Err(self.failed(&format!("ended with {status} before it ran")));
            }
            if clock.now() >= deadline {
                return Err(self.failed(&format!("does not run after {limit:?}")));
            }
            clock.sleep(LOOK).await;
        }
    }

    /// Waits until it ends by itself, well.
    ///
    /// # Errors
    /// Where it fails, or takes longer than `limit`.
    pub(super) async fn until_done(&mut self, clock: &Clock, limit: Duration) -> Result<()> {
        let deadline = clock.now() + limit;
        loop {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(&format!("ended with {status}"))),
                None if clock.now() >= deadline => {
                    return Err(self.failed(&format!("is not done after {limit:?}")));
                }
                None => clock.sleep(LOOK).await,
            }
        }
    }

    /// Sends SIGKILL and waits for the end; whether that was what ended it.
    pub(super) fn kill(&mut self) -> Result<bool> {
        if self.ended()?.is_some() {
            return Ok(false);
        }
        let kill = self.process.kill().and_then(|()| self.process.wait());
        kill.map(was_killed).map_err(|e| Error::new(ErrorKind::Io, format!("cannot kill: {e}")))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process
            .try_wait()
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot wait for the child: {e}")))
    }

    fn failed(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let said = if log.is_empty() { "nothing" } else { log.trim_end() };
        Error::new(ErrorKind::Internal, format!("the job {what}; it said:\n{said}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}

/// This program again, without the environment's settings: they are the user's, for jobs of theirs.
pub(super) fn this_program() -> Result<Command> {
    let program = std::env::current_exe()
        .map_err(|e| Error::new(ErrorKind::Io, format!("cannot find this program: {e}")))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("MILLPOND_") && text != LOG_VARIABLE {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// The error of a start that failed.
pub(super) fn cannot_start(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot start this program again: {error}"))
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

#[cfg(not(unix))]
fn was_killed(status: ExitStatus) -> bool {
    !status.success()
}
