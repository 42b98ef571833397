//! An attempt that runs: its coordinator, its slots, its subtasks, and what it waits for.
//!
//! The coordinator and the allocator of slots are the engine's own. Owns what the driver and the
//! archive do around them: effects become requests, answers become events.

mod beginning;

use millpond::checkpoint::{
    Coordinator, Effect, Event, HeadCondition, Kept, Manifest, NamedSlots, Owed, Retained,
    SegmentRef, SlotAllocator, SlotTable,
    rules::{self, Mine},
};
use millpond::connector::{Committable, SplitState};
use millpond::ids::{CheckpointId, SlotId, Version};
use millpond::state::BlockKind;

use super::bounds::{Bounds, Op};
use super::cell::Cell;
use super::mistakes::Mistake;
use super::names::{now, sink};
use super::subtask::{Subtask, segment_of};
use super::table::{Body, Conditions, Part};

/// How far the checkpoint under way is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Idle,
    Collecting,
    Putting { put: Retained, manifest: Cell<Manifest>, parts_left: u8 },
    Moving { previous: CheckpointId, next: CheckpointId, retained: Vec<Retained> },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    pub(crate) mine: Mine,
    pub(crate) position: u8,
    pub(crate) stage: Stage,
    pub(crate) subtasks: Vec<Cell<Subtask>>,
    /// The last checkpoint that it knows to be completed, and the number it used last.
    pub(crate) completed: CheckpointId,
    last_used: CheckpointId,
    /// Up to which record the last barrier's output was staged.
    staged: u8,
    coordinator: Cell<Coordinator>,
    segments: Cell<SlotAllocator>,
    manifests: Cell<SlotAllocator>,
    commits: Vec<Owed>,
    committing: bool,
    /// The coordinator as it was before the head's move: for the mistake that calls one off.
    before_move: Option<Cell<Coordinator>>,
    /// What it began with or completed last: for the mistake that numbers anew.
    last: Option<Cell<Manifest>>,
    kept: Vec<Kept>,
}

/// What an attempt sends and forgets in one step.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) bodies: Vec<Body>,
    /// The parts of its manifest are waited for no more.
    pub(crate) parts_called_off: bool,
    pub(crate) move_called_off: bool,
    /// It believes that this is what the head names now.
    pub(crate) believed: Option<Retained>,
}

/// The rules of one world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) bounds: Bounds,
    pub(crate) rules: Conditions,
}

impl World {
    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.rules.0 == Some(mistake)
    }
}

/// The position of a manifest; the beginning where there is none.
pub(crate) fn position_of(manifest: Option<&Manifest>) -> u8 {
    manifest.map_or(0, |m| m.sources[0].splits[0].state[0])
}

fn splits_at(position: u8) -> Vec<SplitState> {
    vec![SplitState { id: String::new(), state: vec![position], done: false }]
}

fn kept(retained: Retained, manifest: &Manifest) -> Kept {
    Kept { retained, segments: manifest.segments.iter().map(|s| s.slot).collect() }
}

impl Attempt {
    pub(crate) fn may_trigger(&self, bounds: &Bounds) -> bool {
        self.stage == Stage::Idle
            && rules::next_number(self.last_used).is_some_and(|n| n.0 <= bounds.checkpoints.into())
    }

    pub(crate) fn trigger(&mut self, world: &World, out: &mut Out) {
        self.tick(world, out);
    }

    pub(crate) fn may_abort(&self, world: &World) -> bool {
        match self.stage {
            Stage::Idle => false,
            Stage::Collecting | Stage::Putting { .. } => true,
            Stage::Moving { .. } => world.makes(Mistake::MoveAborted),
        }
    }

    /// The checkpoint under way times out.
    pub(crate) fn abort(&mut self, world: &World, out: &mut Out) {
        if matches!(self.stage, Stage::Moving { .. })
            && let Some(before) = self.before_move.take()
        {
            self.coordinator = before;
            out.move_called_off = true;
        }
        self.tick(world, out);
    }

    /// The time comes that the coordinator waits for: the next checkpoint's, or the end of patience
    /// with the one under way.
    fn tick(&mut self, world: &World, out: &mut Out) {
        let effects = self.coordinator.update(|c| {
            let at = c.wake().unwrap();
            c.on(Event::Tick { struggling: true }, at, 0)
        });
        self.carry_out(world, effects, out);
    }

    fn tell(&mut self, world: &World, event: Event, out: &mut Out) {
        let effects = self.coordinator.update(|c| c.on(event, now(), 0));
        self.carry_out(world, effects, out);
    }

    fn carry_out(&mut self, world: &World, effects: Vec<Effect>, out: &mut Out) {
        for effect in effects {
            match effect {
                Effect::Trigger { checkpoint, .. } => self.barrier(world, checkpoint, out),
                Effect::PutManifest(manifest) => self.put_manifest(world, *manifest, out),
                Effect::MoveHead { previous, checkpoint, retained, .. } => {
                    let next = checkpoint;
                    self.stage = Stage::Moving { previous, next, retained };
                    out.bodies.extend(self.the_move());
                }
                Effect::Abort { checkpoint } => self.aborted(world, checkpoint, out),
                Effect::Completed { checkpoint, oldest_retained } => {
                    self.completed(world, checkpoint, oldest_retained);
                }
                Effect::KeepSlots(named) => {
                    self.segments.update(|slots| slots.complete(&named));
                    self.manifests.update(|slots| slots.complete(&named));
                }
                Effect::Commit(owed) => {
                    self.commits.extend(owed);
                    self.commit_next(out);
                }
                Effect::Record(_) => {}
                Effect::End(_) | Effect::Fail(_) => panic!("no attempt of the model ends"),
            }
        }
    }

    /// All subtasks take the barrier at the same position of the input: an aligned cut.
    fn barrier(&mut self, world: &World, checkpoint: CheckpointId, out: &mut Out) {
        self.stage = Stage::Collecting;
        self.last_used = checkpoint;
        let version = Version { attempt: self.mine.attempt, checkpoint };
        let mut owed = self.stage_output(world, version);
        if world.makes(Mistake::SegmentSlotsEarly) {
            let segments = self.subtasks.iter().flat_map(|s| s.slots_of_log()).collect();
            let named = NamedSlots { segments, ..NamedSlots::default() };
            self.segments.update(|slots| slots.complete(&named));
        }
        for index in 0..self.subtasks.len() {
            self.freeze(world, index, version, std::mem::take(&mut owed), out);
        }
        self.acknowledge(world, out);
    }

    /// One subtask's part of a barrier: its segments are put, each into a slot of its own.
    fn freeze(
        &mut self,
        world: &World,
        index: usize,
        version: Version,
        owed: Vec<Owed>,
        out: &mut Out,
    ) {
        let (checkpoint, small) = (version.checkpoint, world.bounds.small_segments);
        let range = self.subtasks[index].range;
        let frozen = self.subtasks[index].update(|s| s.freeze(world.rules, checkpoint, small));
        let mut fixed = frozen.fixed;
        if index == 0 {
            fixed.splits = splits_at(self.position);
        }
        let mut puts = Vec::new();
        for (sequence, entries) in frozen.contents.into_iter().enumerate() {
            let first = puts.first().map(|first: &SegmentRef| first.slot);
            let slot = match first.filter(|_| world.makes(Mistake::TwoInOneSlot)) {
                Some(slot) => slot,
                None => self.take(version),
            };
            let (at, body) = segment_of(range, version, slot, sequence, entries);
            puts.push(at);
            out.bodies.push(body);
        }
        self.subtasks[index].update(|s| s.begin(checkpoint, fixed, puts, owed));
    }

    /// A slot for a segment. All blocks have one size here, so that slots are scarce.
    fn take(&mut self, version: Version) -> SlotId {
        self.segments.update(|slots| slots.take(BlockKind::Segment, 1, version)).unwrap()
    }

    fn stage_output(&mut self, world: &World, version: Version) -> Vec<Owed> {
        let from = std::mem::replace(&mut self.staged, self.position);
        if !world.bounds.sinks || from == self.position {
            return Vec::new();
        }
        let Version { attempt, checkpoint } = version;
        let committable =
            Committable(vec![attempt.0 as u8, checkpoint.0 as u8, from, self.position]);
        vec![Owed { sink: sink().clone(), committable }]
    }

    /// What is due of acknowledgements goes to the coordinator.
    fn acknowledge(&mut self, world: &World, out: &mut Out) {
        for index in 0..self.subtasks.len() {
            while let Some((checkpoint, snapshot)) =
                self.subtasks[index].update(|s| s.acknowledge(world.rules))
            {
                let subtask = index as u32;
                self.tell(world, Event::Ack { vertex: 0, subtask, checkpoint, snapshot }, out);
            }
        }
    }

    fn put_manifest(&mut self, world: &World, mut manifest: Manifest, out: &mut Out) {
        spoil(world, &mut manifest);
        manifest.slots = SlotTable {
            segments: self.segments.table().segments,
            manifests: self.manifests.table().manifests,
        };
        let version = manifest.version;
        if world.makes(Mistake::ManifestSlotsEarly) {
            self.manifests.update(|slots| slots.complete(&NamedSlots::default()));
        }
        let slot =
            self.manifests.update(|slots| slots.take(BlockKind::Manifest, 1, version)).unwrap();
        let of = 1 + u8::from(world.bounds.two_parts && !manifest.segments.is_empty());
        let put = Retained { checkpoint: manifest.checkpoint, slot, version };
        let manifest = Cell::new(manifest);
        for part in 0..of {
            let content = Part { version, of, manifest: manifest.clone() };
            out.bodies.push(Body::Part { slot, part, content });
        }
        self.stage = Stage::Putting { put, manifest, parts_left: of };
    }

    /// The head's move, to be sent, or sent again unchanged.
    pub(crate) fn the_move(&self) -> Option<Body> {
        let Stage::Moving { previous, next, retained } = &self.stage else { return None };
        let condition = HeadCondition::At(self.mine.attempt, *previous);
        Some(Body::Move { condition, checkpoint: *next, retained: retained.clone() })
    }

    fn aborted(&mut self, world: &World, checkpoint: CheckpointId, out: &mut Out) {
        out.parts_called_off = true;
        if world.makes(Mistake::NumberUsedAgain) {
            self.number_anew(world);
        }
        if world.makes(Mistake::MoveAborted) && out.move_called_off {
            let manifests = self.kept_manifests();
            self.manifests.update(|slots| slots.complete(&manifests));
        }
        self.stage = Stage::Idle;
        // The number counts as not used: nobody has acknowledged it, or given it up.
        if !world.makes(Mistake::NumberUsedAgain) {
            for subtask in &mut self.subtasks {
                subtask.update(|s| s.aborted(world.rules, checkpoint));
            }
        }
    }

    /// The slots of the manifests that the head retains, as far as this attempt knows.
    fn kept_manifests(&self) -> NamedSlots {
        let manifests = self.kept.iter().map(|k| k.retained.slot).collect();
        NamedSlots { manifests, ..NamedSlots::default() }
    }

    fn completed(
        &mut self,
        world: &World,
        checkpoint: CheckpointId,
        mut oldest_retained: CheckpointId,
    ) {
        self.completed = checkpoint;
        self.stage = Stage::Idle;
        if world.makes(Mistake::MaterialisedToNewest) {
            oldest_retained = checkpoint;
        }
        for subtask in &mut self.subtasks {
            subtask.update(|s| s.completed(world.rules, checkpoint, oldest_retained));
        }
    }

    fn commit_next(&mut self, out: &mut Out) {
        if !self.committing && !self.commits.is_empty() {
            self.committing = true;
            out.bodies.push(Body::Commit { owed: std::mem::take(&mut self.commits) });
        }
    }

    pub(crate) fn committed(&mut self, world: &World, owed: &[Owed], out: &mut Out) {
        self.committing = false;
        self.commit_next(out);
        self.tell(world, Event::Acknowledged(owed.to_vec()), out);
    }

    /// The put of a segment was answered.
    pub(crate) fn segment_answered(&mut self, world: &World, body: &Body, out: &mut Out) {
        let Body::Segment { slot, segment } = body else { return };
        for subtask in &mut self.subtasks {
            if subtask.range == segment.range {
                subtask.update(|s| s.put_answered(*slot, segment.version));
            }
        }
        self.acknowledge(world, out);
    }

    /// The put of a part of the manifest was answered.
    pub(crate) fn part_answered(&mut self, world: &World, out: &mut Out) {
        let Stage::Putting { put, manifest, parts_left } = &mut self.stage else { return };
        *parts_left -= 1;
        if *parts_left > 0 && !world.makes(Mistake::FirstPartOnly) {
            return;
        }
        let (put, manifest) = (*put, manifest.clone());
        if world.makes(Mistake::MoveAborted) {
            self.before_move = Some(self.coordinator.clone());
        }
        self.tell(world, Event::ManifestPut { retained: put, bytes: 1 }, out);
        if world.makes(Mistake::NumberUsedAgain) || world.makes(Mistake::MoveAborted) {
            self.last = Some(manifest);
        }
    }

    /// The head shows the checkpoint that it was to be moved to.
    pub(crate) fn moved(&mut self, world: &World, out: &mut Out) {
        let Stage::Moving { next, retained, .. } = &self.stage else { return };
        let (checkpoint, retained) = (*next, retained.clone());
        out.believed = retained.last().copied();
        if world.makes(Mistake::NumberUsedAgain) || world.makes(Mistake::MoveAborted) {
            let of = |r: &Retained| match &self.last {
                Some(last) if last.version == r.version => kept(*r, last),
                _ => Kept { retained: *r, segments: Default::default() },
            };
            self.kept = retained.iter().map(of).collect();
        }
        self.tell(world, Event::HeadMoved { checkpoint }, out);
    }

    /// The subtask that owns the key of the next record, and that record.
    pub(crate) fn next_record(&self, bounds: &Bounds) -> Option<(usize, Op)> {
        let op = *bounds.input.get(self.position as usize)?;
        let owner = self.subtasks.iter().position(|s| s.owns(op.key()))?;
        Some((owner, op))
    }
}

/// What some mistakes make of a manifest before it is put.
fn spoil(world: &World, manifest: &mut Manifest) {
    let checkpoint = manifest.checkpoint;
    if world.makes(Mistake::OwnCommittablesOnly) {
        manifest.committables.retain(|owed| u64::from(owed.committable.0[1]) == checkpoint.0);
    }
    if world.makes(Mistake::OldPartsReplayed) {
        let horizons = manifest.horizons.clone();
        manifest.segments.retain(|s| {
            horizons.iter().any(|h| h.range.intersects(s.range) && h.checkpoint < s.checkpoint)
        });
    }
}
