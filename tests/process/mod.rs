//! The binary as a process: started, read from, signalled, waited for with a deadline.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How long anything may take on a slow machine. Reached only where a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A command of the binary that finds nothing of the user's and leaves nothing behind.
pub(crate) fn millpond<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(arguments.iter().map(AsRef::as_ref));
    apart(&mut command, folder);
    command
}

/// Runs `command` in `folder`, without the user's settings and data folder.
pub(crate) fn apart(command: &mut Command, folder: &Path) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLPOND_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_DATA_HOME", folder).current_dir(folder).stdin(Stdio::null());
}

/// Runs the binary to its end.
pub(crate) fn run<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Ran {
    Running::spawn(millpond(folder, arguments)).end()
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) said: String,
}

impl Ran {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn was_killed(&self) -> bool {
        self.status.signal() == Some(9)
    }

    /// Fails unless it ended with `code` and said all of `parts`.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code(), Some(code), "{:?}: {}", self.status, self.said);
        for part in parts {
            assert!(self.said.contains(part), "{part:?} is not in: {}", self.said);
        }
    }
}

/// A process whose standard error is read as it comes. Killed where the test drops it.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Running {
    pub(crate) fn start<S: AsRef<str>>(folder: &Path, arguments: &[S]) -> Self {
        Self::spawn(millpond(folder, arguments))
    }

    /// Starts `command`; its standard output is thrown away.
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_to(command, Stdio::null())
    }

    /// Starts `command`. A pipe is held open, and not read.
    pub(crate) fn spawn_to(mut command: Command, stdout: Stdio) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("starts");
        let lines = read(child.stderr.take().unwrap());
        Self { child, lines, said: String::new() }
    }

    /// Waits for the first byte in the pipe that it has as standard output, and reads no more of it.
    pub(crate) fn writes(&mut self) {
        let pipe = self.child.stdout.as_mut().expect("a pipe");
        pipe.read_exact(&mut [0]).expect("a byte");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The next line that contains `part`.
    #[track_caller]
    pub(crate) fn until(&mut self, part: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.said += &format!("{line}\n");
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(why) => panic!("{why:?}: no line with {part:?} in: {}", self.said),
            }
        }
    }

    /// Waits for its end; the pipe closes with the process.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ran {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said += &format!("{line}\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("does not end: {}", self.said),
            }
        }
        let status = self.child.wait().unwrap();
        Ran { status, said: std::mem::take(&mut self.said) }
    }

    /// Waits until SIGSTOP has stopped it.
    #[track_caller]
    pub(crate) fn until_stopped(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        // Left to be waited for: its end is `end`'s to see.
        let options = WaitIdOptions::STOPPED
            | WaitIdOptions::EXITED
            | WaitIdOptions::NOWAIT
            | WaitIdOptions::NOHANG;
        let status = eventually("a stop", || waitid(WaitId::Pid(pid), options).unwrap());
        if !status.stopped() {
            let lines: Vec<_> = self.lines.iter().collect();
            panic!("it ended, and was not stopped: {}{}", self.said, lines.join("\n"));
        }
    }

    /// Whether it runs still.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// A thread of its own, so that nothing waits for a line for ever.
#[expect(clippy::disallowed_methods, reason = "a test is its own runtime")]
fn read(stderr: ChildStderr) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// A pipe that takes nothing more until it is read.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut full) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&full, true).unwrap();
    for room in [4096, 1] {
        let stopped = loop {
            if let Err(error) = full.write_all(&vec![b'.'; room]) {
                break error;
            }
        };
        assert_eq!(stopped.kind(), ErrorKind::WouldBlock);
    }
    rustix::io::ioctl_fionbio(&full, false).unwrap();
    (reader, full)
}

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let step = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::park_timeout(step);
    }
    panic!("not seen: {what}")
}

/// The published files of an output folder; none where it is missing.
pub(crate) fn published(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("part-"))
        .collect();
    files.sort();
    files
}

/// What is staged in an output folder and not published.
pub(crate) fn staged(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join(".staging")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// All published lines, sorted.
pub(crate) fn lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in published(folder) {
        lines.extend(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned));
    }
    lines.sort_unstable();
    lines
}

/// Writes the first `flights` of the sample into `folder` as `files` files; a route is in one of them
/// only, so that its order, and with it each result, does not depend on which file is read first.
pub(crate) fn flights(folder: &Path, flights: usize, files: usize) {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/data/flights.csv");
    let sample = std::fs::read_to_string(sample).unwrap();
    let (header, rows) = sample.split_once('\n').unwrap();
    let mut texts = vec![format!("{header}\n"); files];
    for row in rows.lines().take(flights) {
        let route = row.splitn(4, ',').nth(3).unwrap();
        let file = route.bytes().map(usize::from).sum::<usize>() % files;
        texts[file] += &format!("{row}\n");
    }
    std::fs::create_dir_all(folder).unwrap();
    for (index, text) in texts.iter().enumerate() {
        std::fs::write(folder.join(format!("flights-{index}.csv")), text).unwrap();
    }
}
