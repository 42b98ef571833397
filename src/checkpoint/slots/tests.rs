//! Tests of slots: against a model, and one for each way of giving one out too early.

use proptest::prelude::*;

use super::*;
use crate::checkpoint::fakes::{segment, version};

fn empty() -> Slots {
    Slots::restored(Attempt(1), &[])
}

fn manifest(checkpoint: u64, segments: &[(u64, u64)], table: (usize, usize)) -> Manifest {
    Manifest {
        segments: segments.iter().map(|(slot, at)| segment(*slot, 1, *at)).collect(),
        slots: SlotTable { segments: vec![0; table.0], manifests: vec![0; table.1] },
        ..Manifest::empty(version(1, checkpoint))
    }
}

fn named(segments: &[u64], manifests: &[u64]) -> NamedSlots {
    NamedSlots {
        segments: segments.iter().map(|s| SlotId(*s)).collect(),
        manifests: manifests.iter().map(|s| SlotId(*s)).collect(),
    }
}

#[test]
fn size_classes_are_powers_of_two_of_kib() {
    let classes = [0, 1, 1024, 1025, 2048, 2049, 256 << 10].map(size_class);
    assert_eq!(classes, [0, 0, 0, 1, 1, 2, 8]);
    assert_eq!(size_class((256 << 10) + 1), 9);
}

/// Mistake z: two segments of one checkpoint in one slot.
#[test]
fn no_two_blocks_of_one_version_share_a_slot() {
    let slots = empty();
    let taken: BTreeSet<SlotId> =
        (0..100).map(|_| slots.take(BlockKind::Segment, 5000, version(1, 1)).unwrap()).collect();
    assert_eq!(taken.len(), 100);
}

/// Not even where the slot was let go in between: a version is used once (I6).
#[test]
fn a_slot_is_given_at_most_once_for_each_version() {
    let slots = empty();
    let first = slots.take(BlockKind::Manifest, 10, version(1, 5)).unwrap();
    slots.complete(&NamedSlots::default());
    assert_ne!(slots.take(BlockKind::Manifest, 10, version(1, 5)).unwrap(), first);
    assert_eq!(slots.take(BlockKind::Manifest, 10, version(1, 6)).unwrap(), first);
}

/// Mistakes e and o: a version of another attempt, or of an earlier life of this process.
#[test]
fn versions_of_another_attempt_are_refused() {
    let slots = Slots::restored(Attempt(2), &[]);
    let refused = slots.take(BlockKind::Segment, 10, version(1, 1)).unwrap_err();
    assert_eq!(refused.kind(), crate::ErrorKind::Internal);
}

/// Mistake i: with the head still at the manifest that names it, a slot is not free; mistake k: nor is
/// one in flight whose checkpoint was given up, since the next manifest carries it.
#[test]
fn segment_slots_are_free_once_no_retained_manifest_names_them() {
    let slots = empty();
    let take = |n| slots.take(BlockKind::Segment, 10, version(1, n)).unwrap();
    let (a, b) = (take(1), take(1));
    slots.complete(&named(&[a.0], &[]));
    // b was of an aborted part: in flight still.
    assert!(![a, b].contains(&take(2)));
    slots.complete(&named(&[b.0], &[]));
    assert_eq!(take(3), a);
}

/// Mistakes j and r: manifest slots of retained checkpoints, and of one whose move is under way, are
/// taken; what was given up is free only after the next completion.
#[test]
fn manifest_slots_are_free_once_the_head_has_moved_past_them() {
    let slots = empty();
    let take = |n| slots.take(BlockKind::Manifest, 10, version(1, n)).unwrap();
    let one = take(1);
    slots.complete(&named(&[], &[one.0]));
    let aborted = take(2);
    let three = take(3);
    assert_eq!([one, aborted, three].iter().collect::<BTreeSet<_>>().len(), 3);
    slots.complete(&named(&[], &[three.0]));
    assert_eq!(take(4), one);
    assert_eq!(take(4), aborted);
}

#[test]
fn slots_are_used_again_only_among_equals() {
    let slots = empty();
    let take = |bytes, n| slots.take(BlockKind::Segment, bytes, version(1, n)).unwrap();
    let (small, large) = (take(900, 1), take(200_000, 1));
    slots.complete(&NamedSlots::default());
    slots.complete(&named(&[small.0, large.0], &[]));
    slots.complete(&NamedSlots::default());
    let middle = take(5_000, 2);
    assert!(middle != small && middle != large);
    assert_eq!(take(150_000, 2), large);
    assert_eq!(take(1, 2), small);
}

/// Mistake cc: after a restart, what only an older retained manifest names.
#[test]
fn slots_of_all_retained_manifests_survive_a_restart() {
    let older = manifest(4, &[(0, 3), (1, 4)], (2, 1));
    let newer = manifest(5, &[(1, 4), (2, 5)], (4, 2));
    let slots = Slots::restored(Attempt(2), &[(SlotId(0), 10, &older), (SlotId(1), 10, &newer)]);
    let next = |kind, n| slots.take(kind, 10, version(2, n)).unwrap();
    // Slot 3 is known from the table, and nobody names it.
    assert_eq!(next(BlockKind::Segment, 6), SlotId(3));
    assert_eq!(next(BlockKind::Segment, 6), SlotId(4));
    assert_eq!(next(BlockKind::Manifest, 6), SlotId(2));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Complete(Vec<bool>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..300_000).prop_map(Step::Take),
        1 => proptest::collection::vec(any::<bool>(), 30).prop_map(Step::Complete),
    ]
}

proptest! {
    /// I5: what is named or in flight is never given out, and re-use is among equals.
    #[test]
    fn nothing_in_use_is_given_out(steps in proptest::collection::vec(step(), 1..80)) {
        let slots = empty();
        let mut checkpoint = 1;
        let mut named: BTreeSet<SlotId> = BTreeSet::new();
        let mut in_flight: BTreeSet<SlotId> = BTreeSet::new();
        let mut class: BTreeMap<SlotId, u8> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Take(bytes) => {
                    let slot = slots.take(BlockKind::Segment, bytes, version(1, checkpoint)).unwrap();
                    prop_assert!(!named.contains(&slot) && in_flight.insert(slot));
                    let known = *class.entry(slot).or_insert_with(|| size_class(bytes));
                    prop_assert_eq!(known, size_class(bytes));
                }
                Step::Complete(keep) => {
                    checkpoint += 1;
                    let all = named.union(&in_flight).copied();
                    named = all.zip(keep.iter().cycle()).filter(|(_, k)| **k).map(|(s, _)| s).collect();
                    in_flight.retain(|slot| !named.contains(slot));
                    slots.complete(&NamedSlots { segments: named.clone(), ..NamedSlots::default() });
                }
            }
            let table = slots.table();
            prop_assert!(class.iter().all(|(s, c)| table.segments[s.0 as usize] == *c));
        }
    }
}
