//! Sources and sinks.

mod sink;
mod source;

pub use sink::{
    CommitOutcome, Committable, Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext,
};
pub use source::{Progress, Reader, ReaderContext, Source, SplitState};
