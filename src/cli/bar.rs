//! The progress line on a terminal, and how lines and logs get past it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print;
use super::printer::Printer;
use crate::error::Result;

/// How long the end of a process waits for whoever reads standard error.
const PATIENCE: Duration = Duration::from_secs(5);

/// The line; hidden where there is no terminal.
#[derive(Clone)]
pub(super) struct Bar {
    bar: ProgressBar,
    hidden: bool,
    /// Prints for a job that must not wait; without it, whoever prints does.
    printer: Option<Printer>,
}

impl Bar {
    /// A line on standard error where that is a terminal. Where results go to the same terminal
    /// there is none, since both would fight for the last line.
    pub(super) fn new(results_on_stdout: bool) -> Self {
        let own = std::io::stderr().is_terminal();
        let shared = results_on_stdout && std::io::stdout().is_terminal();
        let target = if own && !shared {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let hidden = bar.is_hidden();
        Self { bar, hidden, printer: None }
    }

    /// The same, from a thread of its own: no call of it waits for whoever reads standard error, nor does
    /// anything that panics.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn that_never_waits(self) -> Result<Self> {
        let printer = Printer::start(self.bar.clone())?;
        tell_panics(printer.clone());
        Ok(Self { printer: Some(printer), ..self })
    }

    /// Whether nobody sees it.
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Shows `text`.
    pub(super) fn show(&self, text: String) {
        match &self.printer {
            Some(printer) => printer.show(text),
            None => {
                self.bar.set_message(text);
                self.bar.tick();
            }
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        match &self.printer {
            Some(printer) => printer.clear(),
            None => self.bar.finish_and_clear(),
        }
    }

    /// Prints a line that is no result.
    pub(super) fn note(&self, line: &str) {
        match &self.printer {
            Some(printer) => printer.must_say(format!("{line}\n").into_bytes()),
            None => self.bar.suspend(|| print::note(line)),
        }
    }

    /// Prints a line that says what a later one says better: where nobody reads, it is dropped.
    pub(super) fn mention(&self, line: &str) {
        match &self.printer {
            Some(printer) => printer.say(format!("{line}\n").as_bytes()),
            None => self.bar.suspend(|| print::note(line)),
        }
    }

    /// Before the end of the process: waits until all is printed, if somebody reads it.
    pub(super) fn flush(&self) {
        if let Some(printer) = &self.printer {
            printer.flush(PATIENCE);
        }
    }

    /// Runs `print` while the line is away. It waits, so not in a run.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

/// From now on `printer` tells what panics. What Rust comes with tells it on the thread that panics, before
/// anybody can catch it, and waits for whoever reads standard error: a function's worker would stand still.
fn tell_panics(printer: Printer) {
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let mut told = format!("thread '{}' {panic}\n", thread.name().unwrap_or("<unnamed>"));
        // Only where the environment asks for it.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            told += &format!("{trace}\n");
        }
        printer.say(told.as_bytes());
        // The end of this one is that of the process.
        if thread.id() == main {
            printer.flush(PATIENCE);
        }
    }));
}

/// Writes logs to standard error, past the bar. What cannot be written, on a full disk, is lost: an
/// error here makes the logger complain on the same standard error, by a macro that panics.
pub(super) struct LogWriter(pub(super) Bar);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &self.0.printer {
            Some(printer) => printer.say(bytes),
            None => drop(self.0.suspend(|| std::io::stderr().lock().write_all(bytes))),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.0.printer.is_none() {
            drop(std::io::stderr().lock().flush());
        }
        Ok(())
    }
}
