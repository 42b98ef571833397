//! Standard error on a thread of its own: whoever reads it may stand still (Ctrl-S, a full pipe), and then the job, its
//! lease, the status and signals are not to.
//!
//! Owns what waits to be printed, what of that is dropped, and the thread. Does not own what is said.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;

use crate::error::Result;
use crate::runtime;

/// What may wait where nobody reads, in bytes: some thousand log lines. What comes on top is dropped and counted, but for
/// the few lines that must be said.
const ROOM: usize = 1 << 20;

/// The way to the thread.
#[derive(Clone)]
pub(super) struct Printer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// Those of `lines`.
    bytes: usize,
    /// The newest only.
    progress: Option<Progress>,
    /// Lines that found no room, since that was reported last.
    dropped: u64,
    /// Something that was taken out is not printed yet.
    printing: bool,
}

enum Progress {
    Shown(String),
    Cleared,
}

enum Next {
    Line(Vec<u8>),
    Progress(Progress),
}

impl Printer {
    /// Starts the thread, which draws `bar`. It ends with the process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(bar: ProgressBar) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let printer = Self(Arc::clone(&shared));
        runtime::beside("millpond-printer", move || {
            loop {
                print(&bar, shared.take());
                shared.lock().printing = false;
                shared.changed.notify_all();
            }
        })?;
        Ok(printer)
    }

    /// Prints `line`, which has its end, whatever waits.
    pub(super) fn must_say(&self, line: Vec<u8>) {
        self.0.change(|waiting| waiting.push(line));
    }

    /// Prints `line`, which has its end, if there is room.
    pub(super) fn say(&self, line: &[u8]) {
        self.0.change(|waiting| {
            if waiting.bytes + line.len() > ROOM {
                waiting.dropped += 1;
            } else {
                waiting.push(line.to_vec());
            }
        });
    }

    /// Shows `text` in the progress line, if nothing newer comes before.
    pub(super) fn show(&self, text: String) {
        self.0.change(|waiting| waiting.progress = Some(Progress::Shown(text)));
    }

    /// Takes the progress line away.
    pub(super) fn clear(&self) {
        self.0.change(|waiting| waiting.progress = Some(Progress::Cleared));
    }

    /// Waits until all is printed, for `patience` at most.
    pub(super) fn flush(&self, patience: Duration) {
        let shared = &self.0;
        let wait = shared.changed.wait_timeout_while(shared.lock(), patience, |w| !w.is_done());
        drop(wait);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for what is to be printed next.
    fn take(&self) -> Next {
        let mut waiting = self.lock();
        loop {
            if let Some(next) = waiting.take() {
                waiting.printing = true;
                return next;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    fn push(&mut self, line: Vec<u8>) {
        // In the place of those that are missing.
        for line in self.told_dropped().into_iter().chain([line]) {
            self.bytes += line.len();
            self.lines.push_back(line);
        }
    }

    /// Progress is of the moment: lines first.
    fn take(&mut self) -> Option<Next> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes = self.bytes.saturating_sub(line.len());
            return Some(Next::Line(line));
        }
        self.told_dropped().map(Next::Line).or_else(|| self.progress.take().map(Next::Progress))
    }

    fn told_dropped(&mut self) -> Option<Vec<u8>> {
        let dropped = std::mem::take(&mut self.dropped);
        let told = format!("lines dropped here, since nobody read standard error: {dropped}\n");
        (dropped > 0).then(|| told.into_bytes())
    }

    fn is_done(&self) -> bool {
        !self.printing && self.lines.is_empty() && self.dropped == 0 && self.progress.is_none()
    }
}

/// What cannot be written, on a full disk, is lost.
fn print(bar: &ProgressBar, next: Next) {
    match next {
        Next::Line(line) => drop(bar.suspend(|| std::io::stderr().lock().write_all(&line))),
        Next::Progress(Progress::Shown(text)) => {
            bar.set_message(text);
            bar.tick();
        }
        Next::Progress(Progress::Cleared) => bar.finish_and_clear(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(waiting: &mut Waiting) -> Vec<String> {
        std::iter::from_fn(|| waiting.take())
            .map(|next| match next {
                Next::Line(line) => String::from_utf8(line).unwrap().trim().to_owned(),
                Next::Progress(Progress::Shown(text)) => format!("[{text}]"),
                Next::Progress(Progress::Cleared) => "[]".to_owned(),
            })
            .collect()
    }

    #[test]
    fn what_finds_no_room_is_counted_in_its_place_and_what_must_be_said_is_said() {
        // No thread: nothing is taken out.
        let printer = Printer(Arc::default());
        printer.show("1 record".to_owned());
        printer.say(&vec![b'.'; ROOM - 1]);
        printer.say(b"no\n");
        printer.say(b"no\n");
        printer.show("2 records".to_owned());
        printer.must_say(b"job finished\n".to_vec());
        printer.say(b"no\n");
        let mut waiting = printer.0.lock();
        assert!(!waiting.is_done());
        let printed = lines(&mut waiting);
        assert_eq!(
            printed[1..],
            [
                "lines dropped here, since nobody read standard error: 2",
                "job finished",
                "lines dropped here, since nobody read standard error: 1",
                "[2 records]"
            ]
        );
        assert!(waiting.is_done() && waiting.bytes == 0);
    }
}
