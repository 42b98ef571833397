//! Horizons of former subtasks, which a subtask keeps apart after a rescale.
//!
//! Owns which replayed entries are older than their items, and what a barrier says of horizons.

use super::barrier::Horizons;
use crate::ids::CheckpointId;
use crate::key_group::{KeyGroup, KeyGroupRange};

/// Former subtasks' horizons in the present one's range, while one of them is greater than its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FormerHorizons(Vec<(KeyGroupRange, u32)>);

impl FormerHorizons {
    /// Those of `horizons` that share key groups with `range`.
    #[must_use]
    pub fn restored(horizons: &Horizons, range: KeyGroupRange) -> Self {
        let former = horizons
            .iter()
            .filter_map(|(former, horizon)| Some((former.intersection(range)?, horizon.0 as u32)));
        Self(former.collect())
    }

    /// Whether a change of `stamp` in `group` is older than its item: its segment is named for the
    /// sake of another part of its range.
    #[must_use]
    pub fn passed(&self, group: KeyGroup, stamp: u32) -> bool {
        self.0.iter().any(|(range, horizon)| stamp <= *horizon && range.contains(group))
    }

    /// What a barrier says of horizons where the log's own is `own` and the subtask's groups `range`.
    #[must_use]
    pub fn at_barrier(&mut self, own: u32, range: KeyGroupRange) -> Horizons {
        if self.0.iter().all(|(_, former)| *former <= own) {
            self.0.clear();
            return vec![(range, CheckpointId(own.into()))];
        }
        let kept = |&(range, former): &(KeyGroupRange, u32)| {
            (range, CheckpointId(u64::from(own.max(former))))
        };
        self.0.iter().map(kept).collect()
    }
}
