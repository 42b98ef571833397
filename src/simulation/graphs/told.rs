//! Graphs each of whose records is told something of its key's states: what they give out, and what a loop over the
//! input makes of it.
//!
//! Owns the lines and their comparison with the reference. What a record is told is the graph's.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::Event;
use crate::simulation::ends::MemoryEnds;
use crate::simulation::scenario::{Positions, Verdict};

/// What is given out for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<T> {
    pub(super) key: u64,
    pub(super) split: u64,
    pub(super) position: u64,
    pub(super) value: u64,
    pub(super) told: T,
}

/// What a key's states ought to be.
pub(super) trait Reference: Default {
    type Told: PartialEq + fmt::Debug + Clone + Send + 'static;

    /// Takes a record; what it is told.
    fn apply(&mut self, split: u64, value: u64) -> Self::Told;
}

/// Whether the lines of `commits` are those of all records before `positions`, in the order of each key's records
/// within a split.
pub(super) fn check_output<R: Reference>(
    ends: &MemoryEnds<Event, Line<R::Told>>,
    commits: &[usize],
    positions: &Positions,
) -> Verdict {
    let all = ends.sink.commits().map_err(|e| e.to_string())?;
    let mut keys: HashMap<u64, R> = HashMap::new();
    let mut last: HashMap<(u64, u64), u64> = HashMap::new();
    let mut number = 0;
    for line in commits.iter().flat_map(|n| &all[*n].records) {
        number += 1;
        let before = last.insert((line.key, line.split), line.position);
        if before.is_some_and(|before| before >= line.position) {
            return Err(format!("{line:?} comes after position {before:?}"));
        }
        let expected = keys.entry(line.key).or_default().apply(line.split, line.value);
        if line.told != expected {
            return Err(format!("{line:?}, the reference is {expected:?}"));
        }
    }
    let records = ends.input.before("events", positions).count();
    if number == records { Ok(()) } else { Err(format!("{number} of {records} records")) }
}

/// Each key's states after the records before `positions`.
pub(super) fn references<R: Reference>(
    ends: &MemoryEnds<Event, Line<R::Told>>,
    positions: &Positions,
) -> BTreeMap<u64, R> {
    let mut keys: BTreeMap<u64, R> = BTreeMap::new();
    for (split, events) in ends.input.splits().iter().enumerate() {
        let read = positions.before("events", split) as usize;
        for (key, value) in &events[..read.min(events.len())] {
            keys.entry(*key).or_default().apply(split as u64, *value);
        }
    }
    keys
}
