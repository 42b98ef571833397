//! What sources and sinks hand over at a barrier, in bytes of their own: how far splits are read, and what is staged.
//!
//! Owns these words, which `connector` gives, `checkpoint` keeps and the manifest holds, each blind to the others.

use serde::{Deserialize, Serialize};

/// One part of the input and how far it has been read; stands in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SplitState {
    /// Unique within the source and stable: a path, or a path and range.
    pub id: String,
    /// The source's own bytes: what the split is and the position in it.
    pub state: Vec<u8>,
    /// Nothing is left to read.
    pub done: bool,
}

/// What a sink's writer has staged for a checkpoint, in the sink's own bytes; stands in manifests until it is
/// published. Two committables of one sink never have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Committable(pub Vec<u8>);

/// How one committable ended. Flink: `CommitRequest`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Published now.
    Committed,
    /// It was published before.
    AlreadyCommitted,
    /// Try again later; the text says why.
    Retry(String),
    /// It is not there any more; the text says what is missing where. Fails the attempt, unless the
    /// user gives it up.
    Lost(String),
}
