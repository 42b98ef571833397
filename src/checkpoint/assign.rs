//! Who gets what after a restart, at any parallelism: splits and segments. Flink:
//! `StateAssignmentOperation`.
//!
//! Owns pure functions from a manifest to shares.

use super::manifest::Manifest;
use super::messages::{SegmentRef, SplitSnapshot};
use super::rules;
use crate::ids::Name;
use crate::key_group::KeyGroupRange;
use crate::teeth::{Tooth, bites};

/// Hands the splits that are not done to `parallelism` subtasks in turn, in the order in which they
/// were discovered. Equal input gives equal shares. Done splits go to nobody: the coordinator keeps
/// them in the manifests.
#[must_use]
pub fn splits(all: &[SplitSnapshot], parallelism: u32) -> Vec<Vec<SplitSnapshot>> {
    let mut shares = vec![Vec::new(); parallelism as usize];
    let remaining = all.iter().filter(|split| !split.done);
    for (share, split) in (0..shares.len()).cycle().zip(remaining) {
        shares[share].push(split.clone());
        if bites(Tooth::SplitReadTwice) && parallelism > 1 {
            shares[(share + 1) % parallelism as usize].push(split.clone());
        }
    }
    shares
}

/// The live segments of `operator` that a subtask with `range` replays, in the order of replay.
/// Entries of another range are in them too.
#[must_use]
pub fn segments(manifest: &Manifest, operator: &Name, range: KeyGroupRange) -> Vec<SegmentRef> {
    let of: Vec<SegmentRef> =
        manifest.segments.iter().filter(|s| s.operator == *operator).cloned().collect();
    rules::segments_for(&of, &manifest.horizons, range)
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
