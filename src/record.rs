//! Records in motion: batches, and where a record came from.
//!
//! Owns the words only; channels are `exchange`'s.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where a record was read: its split and its position there. Order is promised for each key within
/// one split, so `position` orders all records of one split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The split's id.
    pub split: Arc<str>,
    /// Grows with each record of the split: a byte offset in files, an index elsewhere.
    pub position: u64,
}

/// Records as a source gives them out, with their origins where these are wanted.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// The records, in order.
    pub values: Vec<T>,
    /// As many as `values` where origins are wanted, else empty.
    pub origins: Vec<Origin>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { values: Vec::new(), origins: Vec::new() }
    }
}

/// A record and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positioned<T> {
    /// Where it was read.
    pub origin: Origin,
    /// The record.
    pub value: T,
}
