//! Tests of retention, the central one against a plain model of a table and a log.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::MaxParallelism;
use crate::ids::{Attempt, Version};

const GROUPS: u32 = 8;

fn operator() -> Name {
    Name::new("counts").unwrap()
}

fn retained(checkpoint: u64) -> Retained {
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(checkpoint) };
    Retained { checkpoint: CheckpointId(checkpoint), slot: SlotId(checkpoint), version }
}

fn segment(range: KeyGroupRange, checkpoint: u64) -> SegmentRef {
    let checkpoint = CheckpointId(checkpoint);
    SegmentRef {
        operator: operator(),
        range,
        checkpoint,
        sequence: 0,
        slot: SlotId(checkpoint.0 * 100 + u64::from(range.first.0)),
        version: Version { attempt: Attempt(1), checkpoint },
        bytes: 10,
        entries: 1,
    }
}

/// Mistake y: a number that was used by an aborted checkpoint must not come again.
#[test]
fn numbers_only_grow_and_end() {
    assert_eq!(next_number(CheckpointId::NONE), Some(CheckpointId(1)));
    assert_eq!(next_number(CheckpointId(41)), Some(CheckpointId(42)));
    assert_eq!(next_number(CheckpointId::MAX), None);
}

/// Mistakes s and t: a roll-back cuts the head's list together with its checkpoint, so a second one
/// cannot choose what the first one left behind.
#[test]
fn a_roll_back_keeps_only_what_is_not_newer() {
    let list = [retained(3), retained(5), retained(6)];
    assert_eq!(roll_back(&list, CheckpointId(5)), Some(list[..2].to_vec()));
    assert_eq!(roll_back(&list, CheckpointId(4)), None);
}

#[test]
fn timeouts_of_a_struggling_store_are_not_failures() {
    assert!(!counts_as_failure(true));
    assert!(counts_as_failure(false));
    assert!(!too_many_failures(2, 2));
    assert!(too_many_failures(3, 2));
}

/// What used to be lost: key group 0 changed at 7 in a wide segment and at 10 in one of a narrower
/// range; the narrow subtask materialised up to 10, the wide segment stayed for group 4 alone, and a
/// restart at parallelism 1 replayed 7 without 10.
#[test]
fn newer_changes_stay_behind_an_older_segment_that_is_still_needed() {
    let range = |first, last| KeyGroupRange { first: KeyGroup(first), last: KeyGroup(last) };
    let horizon = |range, checkpoint| Horizon {
        operator: operator(),
        range,
        checkpoint: CheckpointId(checkpoint),
    };
    let candidates = [segment(range(0, 7), 7), segment(range(0, 3), 10)];
    let horizons = [horizon(range(0, 3), 10), horizon(range(4, 7), 6)];
    assert_eq!(live_segments(&candidates, &horizons).len(), 2);
    assert_eq!(segments_for(&candidates, &horizons, range(0, 3)), []);
    assert_eq!(segments_for(&candidates, &horizons, range(4, 7)), candidates[..1]);
    let both = [horizon(range(0, 3), 10), horizon(range(4, 7), 7)];
    assert_eq!(live_segments(&candidates, &both), []);
}

proptest! {
    #[test]
    fn the_newest_are_retained_oldest_first(numbers in 1usize..20, keep in 0u32..5) {
        let mut list = Vec::new();
        for number in 1..=numbers {
            list = retain(&list, retained(number as u64), keep);
        }
        let expected = numbers.min(keep.max(1) as usize);
        prop_assert_eq!(list.len(), expected);
        prop_assert!(list.is_sorted_by_key(|r| r.checkpoint));
        prop_assert_eq!(list.last().unwrap().checkpoint.0, numbers as u64);
    }
}

/// A table and a log of one counter for each key group.
#[derive(Default)]
struct Model {
    checkpoint: u64,
    /// All values that each group ever had, by checkpoint.
    truth: BTreeMap<u16, BTreeMap<u64, u64>>,
    /// Its item: the checkpoint whose value it is.
    items: BTreeMap<u16, u64>,
    live: Vec<SegmentRef>,
    contents: BTreeMap<SlotId, Vec<u16>>,
    horizons: Vec<Horizon>,
    subtasks: Vec<Horizon>,
}

fn ranges(parallelism: u32) -> Vec<KeyGroupRange> {
    let max = MaxParallelism::new(GROUPS).unwrap();
    (0..parallelism).map(|i| max.range_of(i, parallelism)).collect()
}

impl Model {
    fn restart(&mut self, parallelism: u32) {
        let lowest = |range: KeyGroupRange| {
            let of = self.horizons.iter().filter(|h| h.range.intersects(range));
            of.map(|h| h.checkpoint).min().unwrap_or(CheckpointId::NONE)
        };
        self.subtasks = ranges(parallelism)
            .into_iter()
            .map(|range| Horizon { operator: operator(), range, checkpoint: lowest(range) })
            .collect();
    }

    fn checkpoint(&mut self, changed: u8, advance: &[u64]) {
        let oldest_retained = self.checkpoint;
        self.checkpoint += 1;
        for (subtask, advance) in self.subtasks.iter_mut().zip(advance) {
            let to = (subtask.checkpoint.0 + advance).min(oldest_retained);
            subtask.checkpoint = CheckpointId(to.max(subtask.checkpoint.0));
            for group in subtask.range.first.0..=subtask.range.last.0 {
                let history = self.truth.entry(group).or_default();
                if let Some((at, _)) = history.range(..=subtask.checkpoint.0).next_back() {
                    let item = self.items.entry(group).or_default();
                    *item = (*item).max(*at);
                }
            }
        }
        for subtask in &self.subtasks {
            let groups: Vec<u16> = (subtask.range.first.0..=subtask.range.last.0)
                .filter(|group| changed & (1 << group) != 0)
                .collect();
            for group in &groups {
                self.truth.entry(*group).or_default().insert(self.checkpoint, self.checkpoint);
            }
            if !groups.is_empty() {
                let segment = segment(subtask.range, self.checkpoint);
                self.contents.insert(segment.slot, groups);
                self.live.push(segment);
            }
        }
        self.horizons = merge_horizons(&self.horizons, &self.subtasks);
        self.live = live_segments(&self.live, &self.horizons);
    }

    /// What subtasks of `parallelism` see after a restart: replayed changes, else the item.
    fn restored(&self, parallelism: u32) -> BTreeMap<u16, u64> {
        let mut state = self.items.clone();
        for range in ranges(parallelism) {
            for segment in segments_for(&self.live, &self.horizons, range) {
                for group in &self.contents[&segment.slot] {
                    if range.contains(KeyGroup(*group)) {
                        state.insert(*group, segment.checkpoint.0);
                    }
                }
            }
        }
        state
    }
}

proptest! {
    /// I2, and mistake k as far as it is about segments that are let go too early.
    #[test]
    fn items_and_live_segments_restore_the_state_at_any_parallelism(
        lives in proptest::collection::vec(
            (1u32..=4, proptest::collection::vec((any::<u8>(), [0u64..4, 0u64..4, 0u64..4, 0u64..4]), 1..6)),
            1..6,
        ),
    ) {
        let mut model = Model::default();
        for (parallelism, checkpoints) in lives {
            model.restart(parallelism);
            for (changed, advance) in checkpoints {
                model.checkpoint(changed, &advance);
                let truth: BTreeMap<u16, u64> = model
                    .truth
                    .iter()
                    .filter_map(|(g, h)| Some((*g, *h.last_key_value()?.1)))
                    .collect();
                for restarted in 1..=4 {
                    prop_assert_eq!(&model.restored(restarted), &truth, "at {}", restarted);
                }
            }
        }
    }

    #[test]
    fn merged_horizons_never_go_back(
        first in proptest::collection::vec((0u16..8, 0u16..8, 0u64..9), 0..6),
        second in proptest::collection::vec((0u16..8, 0u16..8, 0u64..9), 0..6),
    ) {
        let horizons = |list: &[(u16, u16, u64)]| -> Vec<Horizon> {
            list.iter().map(|(a, b, n)| Horizon {
                operator: operator(),
                range: KeyGroupRange { first: KeyGroup(*a.min(b)), last: KeyGroup(*a.max(b)) },
                checkpoint: CheckpointId(*n),
            }).collect()
        };
        let at = |list: &[Horizon], g: u16| {
            let covering = list.iter().filter(|h| h.range.contains(KeyGroup(g)));
            covering.map(|h| h.checkpoint).max()
        };
        let (first, second) = (horizons(&first), horizons(&second));
        let merged = merge_horizons(&first, &second);
        prop_assert!(merged.is_sorted_by(|a, b| a.range.last < b.range.first));
        for g in 0..8 {
            prop_assert_eq!(at(&merged, g), at(&first, g).max(at(&second, g)));
        }
    }

    /// Mistake cc: what only an older retained manifest names is in use too.
    #[test]
    fn the_slots_of_all_retained_manifests_are_in_use(
        lists in proptest::collection::vec(proptest::collection::btree_set(0u64..20, 0..6), 1..4),
    ) {
        let sets: Vec<BTreeSet<SlotId>> =
            lists.iter().map(|l| l.iter().map(|s| SlotId(*s)).collect()).collect();
        let named = named_slots(&sets);
        prop_assert!(sets.iter().flatten().all(|slot| named.contains(slot)));
        prop_assert!(named.iter().all(|slot| sets.iter().any(|s| s.contains(slot))));
    }
}
