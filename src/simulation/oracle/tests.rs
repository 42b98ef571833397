//! Each rule of the oracle, kept and broken.

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::checkpoint::contract::sample_head;
use crate::ids::{Name, SlotId};
use crate::key_group::KeyGroup;
use crate::simulation::graphs;
use crate::simulation::scenario::Mishap;
use crate::state::Item;

const INCARNATION: Incarnation = Incarnation(1);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn version(attempt: u64, checkpoint: u64) -> Version {
    Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
}

fn head(attempt: u64, retained: &[(u64, u64)]) -> Head {
    let retained: Vec<Retained> = retained
        .iter()
        .map(|(attempt, checkpoint)| Retained {
            checkpoint: CheckpointId(*checkpoint),
            slot: SlotId(*checkpoint),
            version: version(*attempt, *checkpoint),
        })
        .collect();
    Head {
        attempt: Attempt(attempt),
        checkpoint: retained.last().map_or(CheckpointId::NONE, |r| r.checkpoint),
        retained,
        ..sample_head(attempt, 0)
    }
}

struct World(Oracle);

impl World {
    /// Attempt 1 has claimed.
    fn new() -> Self {
        let scenario = (graphs::ALL[0].draw)(&mut StdRng::seed_from_u64(1), Mishap::default());
        let mut world = Self(Oracle::new(scenario));
        world.head(head(1, &[])).unwrap();
        world
    }

    fn head(&mut self, head: Head) -> Verdict {
        self.0.written(Written::Head(name("job"), Some(Box::new(head))))
    }

    fn block(&mut self, kind: BlockKind, slot: u64, version: Version, bytes: Bytes) -> Verdict {
        let key = BlockKey { kind, slot: SlotId(slot), part: 0 };
        let block = Some(Block { version, bytes });
        self.0.written(Written::Block(name("job"), INCARNATION, key, block))
    }

    fn segment(&mut self, slot: u64, version: Version, text: &'static str) -> Verdict {
        self.block(BlockKind::Segment, slot, version, Bytes::from_static(text.as_bytes()))
    }

    /// A manifest of no state at all and without a filter, in the slot of its number.
    fn manifest(&mut self, attempt: u64, checkpoint: u64) -> Verdict {
        self.manifest_of(attempt, checkpoint, vec![name("tally")])
    }

    fn manifest_of(&mut self, attempt: u64, checkpoint: u64, unfiltered: Vec<Name>) -> Verdict {
        let manifest = Manifest { unfiltered, ..Manifest::empty(version(attempt, checkpoint)) };
        let bytes = manifest.encode().unwrap().remove(0);
        self.block(BlockKind::Manifest, checkpoint, manifest.version, bytes)
    }

    fn item(
        &mut self,
        key: &'static str,
        version: Version,
        value: Option<&'static str>,
    ) -> Verdict {
        let value = value.map(|value| Bytes::from_static(value.as_bytes()));
        let item = Row::from(Item::new(version, value));
        self.row(Bytes::from_static(key.as_bytes()), item)
    }

    fn row(&mut self, sort_key: Bytes, row: Row) -> Verdict {
        let key = ItemKey {
            operator: name("tally"),
            state: name("count"),
            key_group: KeyGroup(0),
            sort_key,
        };
        self.0.written(Written::Item(name("job"), INCARNATION, key, Some(row)))
    }
}

fn wrong(verdict: Verdict, words: &str) {
    let text = verdict.expect_err(words);
    assert!(text.contains(words), "{text:?} does not say {words:?}");
}

#[test]
fn the_head_moves_as_the_protocol_says() {
    let mut world = World::new();
    world.manifest(1, 1).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    world.manifest(1, 2).unwrap();
    world.head(head(1, &[(1, 1), (1, 2)])).unwrap();
    world.head(head(2, &[(1, 1), (1, 2)])).unwrap();
    world.0.allowed.roll_backs.insert(CheckpointId(1));
    world.head(head(3, &[(1, 1)])).unwrap();
    assert_eq!((world.0.descent.completed, world.0.descent.roll_backs), (2, 1));
}

#[test]
fn every_other_move_is_found() {
    let completed = || {
        let mut world = World::new();
        world.manifest(1, 1).unwrap();
        world.manifest(1, 2).unwrap();
        world.head(head(1, &[(1, 1)])).unwrap();
        world.head(head(1, &[(1, 1), (1, 2)])).unwrap();
        world
    };
    wrong(completed().head(head(1, &[(1, 1)])), "no such move");
    wrong(completed().head(head(2, &[(1, 1)])), "went back to 1 by itself");
    wrong(completed().head(head(4, &[(1, 1), (1, 2)])), "does not follow");
    wrong(completed().head(head(2, &[(1, 2), (1, 3)])), "no roll-back");
    wrong(completed().head(head(1, &[(1, 2), (1, 1)])), "not in order");
    let mut stolen = head(1, &[(1, 1), (1, 2)]);
    stolen.owner = "another".to_owned();
    wrong(completed().head(stolen), "another owner");
    let mut again = head(2, &[(1, 1), (1, 2)]);
    again.owner = "owner 1".to_owned();
    wrong(completed().head(again), "the owner of another claim");
    let mut fresh = head(2, &[]);
    fresh.incarnation = Incarnation(2);
    wrong(completed().head(fresh), "begun afresh by itself");
    wrong(completed().0.written(Written::Head(name("job"), None)), "deleted");
}

#[test]
fn a_checkpoint_that_is_not_there_is_found() {
    wrong(World::new().head(head(1, &[(1, 1)])), "manifest slot 1 part 0 is empty");
    let mut world = World::new();
    world.manifest(1, 1).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    wrong(world.manifest(1, 1).and_then(|()| world.head(head(1, &[(1, 3)]))), "is empty");
}

#[test]
fn what_a_retained_checkpoint_needs_may_not_be_overwritten() {
    let mut world = World::new();
    world.manifest(1, 1).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    let other = Bytes::from_static(b"other");
    wrong(world.block(BlockKind::Manifest, 1, version(1, 2), other), "(I5)");
}

#[test]
fn versions_only_grow_and_have_one_content() {
    let mut world = World::new();
    world.segment(0, version(1, 3), "a").unwrap();
    world.segment(0, version(1, 3), "a").unwrap();
    wrong(world.segment(0, version(1, 2), "b"), "goes back from 1.3 to 1.2 (I4)");
    wrong(world.segment(0, version(1, 3), "b"), "two contents (I6)");
    wrong(world.segment(0, version(2, 1), "c"), "never claimed (I6)");
}

#[test]
fn an_item_newer_than_the_oldest_retained_checkpoint_is_found() {
    let mut world = World::new();
    wrong(world.item("k", version(1, 1), Some("v")), "(I1)");
    world.manifest(1, 1).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    world.item("k", version(1, 1), None).unwrap();
    wrong(world.item("k", version(1, 2), Some("v")), "(I1)");
    wrong(world.item("k", version(1, 0), Some("v")), "(I4)");
}

#[test]
fn a_value_that_the_reference_does_not_have_is_found() {
    let mut world = World::new();
    world.manifest(1, 1).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    world.item("k", version(1, 1), Some("v")).unwrap();
    world.manifest(1, 2).unwrap();
    wrong(world.head(head(1, &[(1, 1), (1, 2)])), "(I2)");
}

/// The twin hides no long key, and one of 1,024 bytes may end like the place of another's part.
#[test]
fn a_part_that_is_not_counted_is_found_and_an_entry_of_its_own_is_none() {
    let restorable = || {
        let mut world = World::new();
        world.manifest(1, 1).unwrap();
        world.head(head(1, &[(1, 1)])).unwrap();
        world.head(head(2, &[(1, 1)])).unwrap();
        world
    };
    let at = |number: u8| Bytes::from([&[b'k'; 1020][..], &[0, 0, 0, number]].concat());
    let row = |part| {
        let value = Some(Bytes::from_static(b"v"));
        Row { part, ..Row::from(Item::new(version(1, 1), value)) }
    };
    let mut world = restorable();
    for number in [1, 0, 2] {
        world.row(at(number), row(0)).unwrap();
    }
    let mut world = restorable();
    world.row(at(0), Row { parts: 2, ..row(0) }).unwrap();
    world.row(at(1), row(1)).unwrap();
    wrong(world.row(at(2), row(2)), "part 2 of an item of 2");
    let once = Row { version: version(2, 1), ..row(0) };
    wrong(world.row(at(0), once), "1 parts, and 1 is there");
}

#[test]
fn an_item_that_the_filter_of_a_restore_would_deny_is_found() {
    let mut world = World::new();
    world.manifest_of(1, 1, Vec::new()).unwrap();
    world.head(head(1, &[(1, 1)])).unwrap();
    world.item("k", version(1, 1), Some("v")).unwrap();
    world.manifest_of(1, 2, Vec::new()).unwrap();
    wrong(world.head(head(1, &[(1, 1), (1, 2)])), "the filter of tally denies the item count");
}

#[test]
fn nothing_of_the_live_incarnation_may_be_deleted() {
    let mut world = World::new();
    world.segment(0, version(1, 3), "a").unwrap();
    let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
    let deleted = Written::Block(name("job"), INCARNATION, key, None);
    wrong(world.0.written(deleted), "was deleted");
}
