//! Records in memory, for tests: a source whose records are given or fed, and a sink that commits.

mod sink;
mod source;

pub use sink::{Commit, MemorySink};
pub use source::{MemoryFeed, MemorySource, memory_position_of};
