//! The promises of a source and of a sink, as tests that every one of them must pass: yours too.
//!
//! Part of the feature `test-kit`. Owns the suites; running them is the connectors'. Each function fails with
//! a sentence. They wait on Tokio's timers: run them in `millpond::testing::paused`.

mod gate;
pub mod sink;
pub mod source;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use crate::clock::Clock;
use crate::error::Result as MillpondResult;
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::io::Io;
use crate::metrics::Metrics;

use super::{ReaderContext, WriterContext};

/// `Ok`, or what was promised and not kept.
pub type Kept = Result<(), String>;

/// The operator that tests read and write as.
const OPERATOR: &str = "tested";

fn reader_context(io: Io, batch_size: usize, with_origin: bool) -> Result<ReaderContext, String> {
    Ok(ReaderContext {
        operator: operator()?,
        subtask: SubtaskId { index: 0, parallelism: 1 },
        io,
        clock: Clock::starting_at(0),
        with_origin,
        metrics: Metrics::default(),
        batch_size,
    })
}

fn writer_context(io: Io, attempt: u64) -> Result<WriterContext, String> {
    Ok(WriterContext {
        operator: operator()?,
        attempt: Attempt(attempt),
        subtask: SubtaskId { index: 0, parallelism: 1 },
        restored: CheckpointId::NONE,
        io,
    })
}

fn operator() -> Result<Name, String> {
    ok("a name", Name::new(OPERATOR))
}

fn ok<T>(what: &str, result: MillpondResult<T>) -> Result<T, String> {
    result.map_err(|e| format!("{what} failed: {e}"))
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Kept {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}"))
}
