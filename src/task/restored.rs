//! One subtask's keyed state, built of a log: replayed, and then assembled.
//!
//! Owns the order of a restore. Reading the log is its caller's, what a segment says is `state`'s.

use std::collections::BTreeMap;

use super::build::Restored;
use crate::checkpoint::SegmentRef;
use crate::codec::Key;
use crate::error::Result;
use crate::ids::CheckpointId;
use crate::state::{Columns, KeyedConfig, KeyedState, RestorePoint};

/// Where the segments of each checkpoint of a log are.
pub type LogSegments = BTreeMap<CheckpointId, Vec<SegmentRef>>;

/// The state that `restored` gives at checkpoint `at`, of which `oldest_retained` is the oldest that stays
/// restorable, with room for `keys` keys; and where its log is. What was read is let go with the call,
/// whether it succeeds or not.
///
/// # Errors
/// Segments that do not fit the operator's states.
pub fn rebuild<K: Key>(
    config: KeyedConfig,
    columns: Columns,
    restored: Restored,
    (at, oldest_retained): (CheckpointId, CheckpointId),
    keys: usize,
) -> Result<(KeyedState<K>, LogSegments)> {
    let at = RestorePoint {
        checkpoint: at,
        horizons: restored.horizons,
        oldest_retained,
        items_sent: restored.may_have_items,
    };
    let mut state = KeyedState::new(config, columns, at)?;
    state.reserve(keys);
    let mut segments = LogSegments::new();
    for (at, segment) in restored.segments {
        state.replay(&segment)?;
        state.logged(at.checkpoint, at.bytes);
        segments.entry(at.checkpoint).or_default().push(at);
    }
    state.finish_restore()?;
    Ok((state, segments))
}
