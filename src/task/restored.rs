//! One subtask's keyed state, built of a log: replayed, and then assembled.
//!
//! Owns the order of a restore, in which one segment at a time is unpacked: on the subtask's own thread, so that
//! several do it side by side. Reading the log is its caller's, what a segment says is `state`'s.

use std::collections::{BTreeMap, BTreeSet};

use super::build::Restored;
use crate::checkpoint::{Fetched, SegmentRef};
use crate::codec::Key;
use crate::error::Result;
use crate::ids::CheckpointId;
use crate::state::{Columns, KeyedConfig, KeyedState, RestorePoint, segment};

/// Where the segments of each checkpoint of a log are.
pub type LogSegments = BTreeMap<CheckpointId, Vec<SegmentRef>>;

/// The state that `restored` gives at checkpoint `at`, of which `oldest_retained` is the oldest that stays
/// restorable, with room for `keys` keys, at `now_ms` on the clock; and where its log is. What was read is let go with the call,
/// whether it succeeds or not.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] for segments that are damaged, [`crate::ErrorKind::Graph`] for those that do not
/// fit the operator's states.
pub fn rebuild<K: Key>(
    config: KeyedConfig,
    columns: Columns,
    restored: Restored,
    (at, oldest_retained): (CheckpointId, CheckpointId),
    now_ms: u64,
    keys: usize,
) -> Result<(KeyedState<K>, LogSegments)> {
    let at = RestorePoint {
        checkpoint: at,
        horizons: restored.horizons,
        oldest_retained,
        items_sent: restored.may_have_items,
        formats: restored.formats,
        lifetimes: restored.lifetimes,
        unfiltered: restored.unfiltered,
        now_ms,
    };
    let mut state = KeyedState::new(config, columns, at)?;
    state.reserve(keys);
    let segments = replay(&mut state, restored.segments)?;
    Ok((state, segments))
}

/// Replays `log`; gives where the segments are that hold entries of this subtask.
///
/// After rescales there are others: an older segment of more key groups is replayed for some of them,
/// and what came after it for the rest of them with it. Manifests let go of those before this
/// subtask's horizon passes their checkpoint, so they must not be read back.
fn replay<K: Key>(state: &mut KeyedState<K>, log: Vec<Fetched>) -> Result<LogSegments> {
    let written_together = |at: &SegmentRef| (at.checkpoint, at.range.first, at.range.last);
    let (mut of_use, mut replayed) = (BTreeSet::new(), Vec::with_capacity(log.len()));
    for Fetched { segment: at, bytes } in log {
        let unpacked = segment::decode(&bytes).map_err(|error| {
            error.at(format!("operator {}, checkpoint {}", at.operator, at.checkpoint))
        })?;
        // Before the next one is unpacked, and not once all are replayed.
        drop(bytes);
        // An entry may go over several segments: they stay together.
        if state.replay(&unpacked)? {
            of_use.insert(written_together(&at));
        }
        replayed.push(at);
    }
    state.finish_restore()?;
    let mut segments: LogSegments = LogSegments::new();
    for at in replayed {
        if of_use.contains(&written_together(&at)) {
            state.logged(at.checkpoint, at.bytes);
            segments.entry(at.checkpoint).or_default().push(at);
        }
    }
    Ok(segments)
}
