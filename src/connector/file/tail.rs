//! What stands in a file right before a position: by it a file is known again.
//!
//! The start of a file may be the same in every file of a kind (a header), or may not have been written yet
//! when the file was found. What was read last before a position says more.

use std::io;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::inputs::Handle;

/// How much of what stands before a position counts, in bytes.
pub(super) const TAIL: u64 = 4096;

/// The hash of the last bytes before a position. The default is of none, which stand before any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    bytes: u64,
    hash: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self::of(b"")
    }
}

impl Tail {
    /// Of a position that `before` stands before.
    pub(super) fn of(before: &[u8]) -> Self {
        let last = last(before);
        Self { bytes: last.len() as u64, hash: xxh3_64(last) }
    }

    /// Whether what was hashed stands at the end of `before`.
    pub(super) fn ends(&self, before: &[u8]) -> bool {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        before.len().checked_sub(bytes).is_some_and(|at| Self::of(&before[at..]) == *self)
    }

    /// Whether what was hashed stands before `position` in a file. Blocks.
    pub(super) fn stands_before(&self, position: u64, handle: &mut Handle) -> io::Result<bool> {
        let mut before = Vec::new();
        let from = position.saturating_sub(self.bytes);
        handle.read_at(from, position - from, &mut before)?;
        Ok(self.ends(&before))
    }
}

/// As much of the end of `bytes` as counts.
pub(super) fn last(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(TAIL as usize)..]
}
