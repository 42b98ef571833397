//! A reader from outside: it owns nothing, claims nothing, and reads one key at the last completed
//! checkpoint while attempts go on and zombies write.
//!
//! head → manifest, part by part → the segments of the key's group, the newest first → its item → the
//! head again. What is of another version than was named sends it back to the head; so does a head
//! that has changed by the time that an item was read, since the item may be of a later checkpoint.

use millpond::checkpoint::{Head, Manifest, Retained, SegmentRef, assign};
use millpond::{KeyGroup, KeyGroupRange};

use super::attempt::{World, position_of};
use super::cell::Cell;
use super::mistakes::Mistake;
use super::names::operator;
use super::oracle::{Broken, fold};
use super::table::{Table, Value};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reader {
    key: u8,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    Parts {
        named: Retained,
        head: Cell<Head>,
        first: Option<Cell<Manifest>>,
    },
    /// The segments that are still to be looked at, the newest last.
    Segments {
        head: Cell<Head>,
        left: Vec<SegmentRef>,
        position: u8,
        items: bool,
    },
    Item {
        head: Cell<Head>,
        position: u8,
    },
    Head {
        head: Cell<Head>,
        position: u8,
        value: Value,
    },
}

/// What a step of a reader comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    GoesOn(Reader),
    /// It found another version, or was done: it begins again as another reader.
    Over,
    Wrong(Broken),
}

impl Reader {
    /// Reads the head; there is nothing to read before the first checkpoint.
    pub(crate) fn begin(table: &Table, key: u8) -> Option<Self> {
        let head = table.head.clone()?;
        let named = *head.retained.last()?;
        Some(Self { key, stage: Stage::Parts { named, head, first: None } })
    }

    pub(crate) fn step(&self, world: &World, table: &Table) -> Outcome {
        match &self.stage {
            Stage::Parts { named, head, first } => self.read_part(world, table, named, head, first),
            Stage::Segments { head, left, position, items } => {
                let mut left = left.clone();
                match left.pop() {
                    None if *items => {
                        self.at(Stage::Item { head: head.clone(), position: *position })
                    }
                    None => self.give(world, *position, None),
                    Some(named) => {
                        let segment = match world.makes(Mistake::ReaderTrustsSegments) {
                            true => table.segment(named.slot),
                            false => table.fetch(world.rules, &named),
                        };
                        let Some(segment) = segment else { return Outcome::Over };
                        if let Some(value) = segment.entries[self.key as usize] {
                            return self.give(world, *position, value);
                        }
                        let (head, position, items) = (head.clone(), *position, *items);
                        self.at(Stage::Segments { head, left, position, items })
                    }
                }
            }
            Stage::Item { head, position } => {
                let value = table.items[self.key as usize].and_then(|item| item.value);
                if world.makes(Mistake::ReaderTrustsItems) {
                    return self.give(world, *position, value);
                }
                self.at(Stage::Head { head: head.clone(), position: *position, value })
            }
            Stage::Head { head, position, value } => {
                let same = table.head.as_ref().is_some_and(|now| {
                    (now.checkpoint, now.retained.last()) == (head.checkpoint, head.retained.last())
                });
                if same { self.give(world, *position, *value) } else { Outcome::Over }
            }
        }
    }

    fn at(&self, stage: Stage) -> Outcome {
        Outcome::GoesOn(Self { key: self.key, stage })
    }

    fn read_part(
        &self,
        world: &World,
        table: &Table,
        named: &Retained,
        head: &Cell<Head>,
        first: &Option<Cell<Manifest>>,
    ) -> Outcome {
        let part = u8::from(first.is_some());
        let found = match part == 1 && world.makes(Mistake::ReaderTrustsParts) {
            true => table.part(named.slot, part),
            false => table.named_part(world.rules, named, part),
        };
        let Some(found) = found else { return Outcome::Over };
        if first.is_none() && found.of > 1 {
            let first = Some(found.manifest.clone());
            return self.at(Stage::Parts { named: *named, head: head.clone(), first });
        }
        let manifest = &found.manifest;
        let group = KeyGroup(self.key.into());
        let left =
            assign::segments(manifest, operator(), KeyGroupRange { first: group, last: group });
        // A segment of a former, wider range may be named for the sake of another group of it.
        let horizon = manifest.horizon_of(operator(), group);
        let left = left.into_iter().filter(|s| s.checkpoint > horizon).collect();
        // Positions are in the first part, segments in the last one.
        let position = position_of(Some(first.as_ref().unwrap_or(manifest)));
        let items = manifest.may_have_items(operator());
        self.at(Stage::Segments { head: head.clone(), left, position, items })
    }

    fn give(&self, world: &World, position: u8, value: Value) -> Outcome {
        if value == fold(world.bounds.input, position, self.key) {
            Outcome::Over
        } else {
            Outcome::Wrong(Broken::ReaderWrong)
        }
    }
}
