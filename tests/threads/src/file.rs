//! How lines are cut.

#[path = "../../../src/connector/file/format.rs"]
mod format;

pub use format::{Format, Lines};
pub(super) use format::{Frame, Parsed, Parser};
