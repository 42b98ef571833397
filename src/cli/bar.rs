//! The progress line on a terminal, and how logs get past it.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The line; hidden where there is no terminal.
#[derive(Clone)]
pub(super) struct Bar(ProgressBar);

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
        Self(bar)
    }

    /// Whether nobody sees it.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Shows `text`.
    pub(super) fn show(&self, text: String) {
        self.0.set_message(text);
        self.0.tick();
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Runs `print` while the line is away.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

/// Writes logs to standard error, past the bar. What cannot be written, on a full disk, is lost: an
/// error here makes the logger complain on the same standard error, by a macro that panics.
pub(super) struct LogWriter(pub(super) Bar);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(self.0.suspend(|| std::io::stderr().lock().write_all(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        drop(std::io::stderr().lock().flush());
        Ok(())
    }
}
