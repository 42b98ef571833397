//! Sources and sinks.

#[cfg(feature = "test-kit")]
pub mod contract;
mod discard;
mod file;
mod file_sink;
mod generator;
mod memory;
mod pace;
mod seen_from;
mod sink;
mod source;
mod split_bytes;
mod spool;
mod stdin;
mod stdout;
#[cfg(test)]
pub(crate) mod testing;

pub use crate::handover::{CommitOutcome, Committable, SplitState};
pub use discard::DiscardSink;
pub use file::{
    Csv, DeadLetter, FileSource, Format, Frame, Inputs, JsonLines, Lines, OnError, Parsed, Parser,
    Rows, WithDeadLetters,
};
#[cfg(feature = "test-kit")]
pub(crate) use file_sink::OwedFile;
pub use file_sink::{AsCsv, FileFormat, FileSink, committer_without_sink};
pub use generator::Generator;
pub use memory::{Commit, MemoryFeed, MemorySink, MemorySource, memory_position_of};
pub use sink::{Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext};
pub use source::{Progress, Reader, ReaderContext, Source};
pub use stdin::{StdinSource, StdinWithDeadLetters};
pub use stdout::{AsJson, AsText, LineFormat, StdoutSink};

// What the traits' calls return: whoever implements them needs no other crate for it.
pub use futures::future::{BoxFuture, LocalBoxFuture};
