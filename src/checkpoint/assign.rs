//! Who gets what after a restart, at any parallelism: splits and segments. Flink:
//! `StateAssignmentOperation`.
//!
//! Owns pure functions from a manifest to shares.

use super::manifest::Manifest;
use super::messages::{SegmentRef, SplitSnapshot};
use crate::ids::Name;
use crate::key_group::KeyGroupRange;

/// Hands the splits that are not done to `parallelism` subtasks in turn, in the order in which they
/// were discovered. Equal input gives equal shares. Done splits go to nobody: the coordinator keeps
/// them in the manifests.
#[must_use]
pub fn splits(all: &[SplitSnapshot], parallelism: u32) -> Vec<Vec<SplitSnapshot>> {
    let mut shares = vec![Vec::new(); parallelism as usize];
    let remaining = all.iter().filter(|split| !split.done);
    for (share, split) in (0..shares.len()).cycle().zip(remaining) {
        shares[share].push(split.clone());
    }
    shares
}

/// The live segments of `operator` that may hold entries of `range`, in the order of replay.
#[must_use]
pub fn segments(manifest: &Manifest, operator: &Name, range: KeyGroupRange) -> Vec<SegmentRef> {
    let mut wanted: Vec<SegmentRef> = manifest
        .segments
        .iter()
        .filter(|s| s.operator == *operator && s.range.intersects(range))
        .cloned()
        .collect();
    sort_for_replay(&mut wanted);
    wanted
}

/// Oldest checkpoint first, and in one checkpoint as they were cut. Ranges of one checkpoint are
/// disjoint or equal, so their order among each other does not matter; it is fixed all the same.
pub(super) fn sort_for_replay(segments: &mut [SegmentRef]) {
    segments.sort_by_key(|s| (s.checkpoint, s.range.first, s.sequence, s.slot));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(id: usize, done: bool) -> SplitSnapshot {
        SplitSnapshot { id: id.to_string(), state: vec![1], done }
    }

    proptest! {
        #[test]
        fn each_remaining_split_goes_to_one_subtask_and_shares_are_even(
            done in proptest::collection::vec(any::<bool>(), 0..40), parallelism in 1u32..9,
        ) {
            let all: Vec<_> = done.iter().enumerate().map(|(id, d)| split(id, *d)).collect();
            let shares = splits(&all, parallelism);
            prop_assert_eq!(shares.len(), parallelism as usize);
            let mut given: Vec<_> = shares.iter().flatten().cloned().collect();
            given.sort_by_key(|s| s.id.parse::<usize>().unwrap());
            let remaining: Vec<_> = all.iter().filter(|s| !s.done).cloned().collect();
            prop_assert_eq!(given, remaining);
            let sizes = shares.iter().map(Vec::len);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
