//! How lines are cut, and what becomes of bad ones.

#[path = "../../../src/connector/file/bad.rs"]
mod bad;
#[path = "../../../src/connector/file/cut.rs"]
mod cut;
#[path = "../../../src/connector/file/format.rs"]
mod format;

pub(super) use bad::{Aside, Bad, DeadLetter, OnError, Route};
pub(super) use cut::{Cut, cut, long_reason};
pub(super) use format::{Lines, Parsed, Parser};

/// As the crate's module of this name has it.
pub(super) const MAX_LINE: usize = 1 << 20;
