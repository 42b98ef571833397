//! The one room that prints: results to standard output, everything else to standard error.
//!
//! A reader that has gone (`millpond jobs | head -1`) is no error of ours, so failures are dropped.

use std::io::Write;

/// Prints a result.
pub(super) fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints a line that is no result.
pub(super) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
