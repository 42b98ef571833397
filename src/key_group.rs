//! Key groups: the unit in which keyed state is distributed over subtasks.
//!
//! Owns the map from a key's hash to its group and from a group to its subtask (Flink:
//! `KeyGroupRangeAssignment`). Of the 64 bits of the hash the group takes those from 25 to 56, and of these the upper
//! ones: even with the most groups those from 42 on. An index of rows takes the low 32, so keys of one group do not
//! cluster.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::codec::KeyHash;
use crate::error::{Error, Result};

/// One group of keys, from 0 to the maximum parallelism exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyGroup(pub u16);

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of key groups, 1 to 32,768; fixed for the life of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxParallelism(u32);

impl MaxParallelism {
    /// Flink's upper bound.
    pub const LIMIT: u32 = 32_768;

    /// Checks `groups`.
    ///
    /// # Errors
    /// [`crate::error::ErrorKind::Config`] outside 1 to [`Self::LIMIT`].
    pub fn new(groups: u32) -> Result<Self> {
        if (1..=Self::LIMIT).contains(&groups) {
            Ok(Self(groups))
        } else {
            Err(Error::new(
                crate::error::ErrorKind::Config,
                format!("pipeline.max-parallelism is {groups}; use 1 to {}", Self::LIMIT),
            ))
        }
    }

    /// The number of key groups.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// The group of a key with this hash.
    #[inline]
    #[must_use]
    pub fn group_of(self, hash: KeyHash) -> KeyGroup {
        KeyGroup(((u64::from(bits_of(hash)) * u64::from(self.0)) >> 32) as u16)
    }

    /// Where `group` begins among the hashes.
    #[must_use]
    pub fn start_of(self, group: KeyGroup) -> GroupStart {
        GroupStart((u64::from(group.0) << 32).div_ceil(u64::from(self.0)))
    }

    /// The subtask that owns `group` at `parallelism`.
    #[inline]
    #[must_use]
    pub fn subtask_of(self, group: KeyGroup, parallelism: u32) -> u32 {
        u32::from(group.0) * parallelism / self.0
    }

    /// The groups that subtask `index` of `parallelism` owns.
    ///
    /// `parallelism` is at most the maximum, so that no range is empty.
    #[must_use]
    pub fn range_of(self, index: u32, parallelism: u32) -> KeyGroupRange {
        let first = (index * self.0).div_ceil(parallelism);
        let last = ((index + 1) * self.0 - 1) / parallelism;
        KeyGroupRange { first: KeyGroup(first as u16), last: KeyGroup(last as u16) }
    }
}

/// Where a key group begins among the hashes.
#[derive(Clone, Copy, Debug)]
pub struct GroupStart(u64);

impl GroupStart {
    /// Whether a key with this hash is of the group that begins here, or of a later one. It takes less than to ask for the
    /// key's group.
    #[inline]
    #[must_use]
    pub fn is_reached_by(self, hash: KeyHash) -> bool {
        u64::from(bits_of(hash)) >= self.0
    }
}

/// What the group is made of.
#[inline]
fn bits_of(hash: KeyHash) -> u32 {
    (hash.0 >> 25) as u32
}

/// A contiguous range of key groups, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// The first group of the range.
    pub first: KeyGroup,
    /// The last group of the range.
    pub last: KeyGroup,
}

impl KeyGroupRange {
    /// Whether `group` lies in the range.
    #[must_use]
    pub fn contains(self, group: KeyGroup) -> bool {
        self.groups().contains(&group.0)
    }

    /// Whether the two ranges share a group.
    #[must_use]
    pub fn intersects(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The groups that both ranges have, if any.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let range = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (range.first <= range.last).then_some(range)
    }

    fn groups(self) -> RangeInclusive<u16> {
        self.first.0..=self.last.0
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Key;

    proptest! {
        #[test]
        fn ranges_partition_the_groups_and_agree_with_subtask_of(
            max in 1u32..2000, parallelism in 1u32..64,
        ) {
            let parallelism = parallelism.min(max);
            let max = MaxParallelism::new(max).unwrap();
            for group in 0..max.get() {
                let group = KeyGroup(group as u16);
                let owner = max.subtask_of(group, parallelism);
                for index in 0..parallelism {
                    let holds = max.range_of(index, parallelism).contains(group);
                    prop_assert_eq!(holds, index == owner);
                }
            }
        }

        #[test]
        fn groups_stay_below_the_maximum(hash: u64, max in 1u32..=MaxParallelism::LIMIT) {
            let group = MaxParallelism::new(max).unwrap().group_of(KeyHash(hash));
            prop_assert!(u32::from(group.0) < max);
        }

        #[test]
        fn a_group_starts_where_the_one_before_it_ends(
            max in 1u32..=MaxParallelism::LIMIT, which: u16, bits: u32,
        ) {
            let max = MaxParallelism::new(max).unwrap();
            // The end of the last one included.
            let group = KeyGroup((u32::from(which) % (max.get() + 1)) as u16);
            let start = max.start_of(group);
            for bits in [u64::from(bits), start.0, start.0.saturating_sub(1)] {
                let hash = KeyHash((bits & u64::from(u32::MAX)) << 25);
                prop_assert_eq!(start.is_reached_by(hash), max.group_of(hash) >= group);
            }
        }
    }

    /// These never change: stored items are filed under them.
    #[test]
    fn golden_groups() {
        let max = MaxParallelism::new(128).unwrap();
        let groups: Vec<u16> = ["", "JFK", "LAX", "ORD", "SFO"]
            .iter()
            .map(|k| max.group_of((*k).to_owned().key_hash()).0)
            .collect();
        assert_eq!(groups, [42, 34, 23, 115, 71]);
    }

    #[test]
    fn keys_spread_evenly_over_groups() {
        let max = MaxParallelism::new(128).unwrap();
        let mut counts = vec![0u32; 128];
        for key in 0u64..128_000 {
            counts[usize::from(max.group_of(key.key_hash()).0)] += 1;
        }
        assert!(counts.iter().all(|c| (800..1200).contains(c)), "{counts:?}");
    }
}
