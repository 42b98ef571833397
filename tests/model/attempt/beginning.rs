//! How an attempt begins: what it takes from the head that its claim left, and what mistakes take
//! instead.

use millpond::checkpoint::rules::{self, Mine, Restorable};
use millpond::checkpoint::{
    Beginning, Coordinator, Effect, Head, Kept, Manifest, Plan, Retained, SlotAllocator,
    SourceSplits, VertexPlan,
};
use millpond::config::Checkpointing;
use millpond::ids::CheckpointId;

use super::{Attempt, Out, Stage, World, kept, position_of, splits_at};
use crate::cell::Cell;
use crate::mistakes::Mistake;
use crate::names::{TIMEOUT, now, operator, ranges};
use crate::subtask::{self, Subtask};
use crate::table::Table;

impl Attempt {
    /// Everything from the head that the claim left; `None` where what it names is not there.
    pub(crate) fn restored(
        world: &World,
        table: &Table,
        mine: Mine,
        head: &Head,
        newest: Option<&Retained>,
        parallelism: u8,
    ) -> Option<(Self, Out)> {
        let Restorable { checkpoint, retained, .. } = restorable(world, &mine, head);
        let read = retained.iter().map(|r| Some((*r, table.manifest(world.rules, r)?)));
        let archived: Vec<(Retained, Cell<Manifest>)> = read.collect::<Option<_>>()?;
        let mut last = archived.last().map(|(_, manifest)| manifest.clone());
        if let Some(newest) = newest.filter(|_| world.makes(Mistake::RestoredThroughNewest)) {
            let newest = table.manifest(world.rules, newest)?;
            last = Some(through_newest(last?, &newest, checkpoint));
        }
        let known = match world.makes(Mistake::OlderSlotsUnknown) {
            true => archived.len().saturating_sub(1)..,
            false => 0..,
        };
        let named: Vec<_> = archived[known].iter().map(|(r, m)| (r.slot, 1, &**m)).collect();
        let slots = Cell::new(SlotAllocator::restored(mine.attempt, &named));
        let kept: Vec<Kept> = archived.iter().map(|(r, m)| kept(*r, m)).collect();
        let from = subtask::From {
            checkpoint,
            oldest_retained: retained.first().map_or(checkpoint, |r| r.checkpoint),
            manifest: last.as_deref(),
        };
        let subtasks = ranges(parallelism)
            .map(|range| Some(Cell::new(Subtask::restored(world.rules, table, range, from)?)));
        let subtasks = subtasks.collect::<Option<Vec<_>>>()?;
        let (coordinator, first) =
            coordinator(world, &mine, checkpoint, last.as_deref(), &kept, parallelism);
        let position = position_of(last.as_deref());
        let mut attempt = Self {
            mine,
            position,
            stage: Stage::Idle,
            subtasks,
            completed: checkpoint,
            last_used: checkpoint,
            staged: position,
            coordinator: Cell::new(coordinator),
            segments: slots.clone(),
            manifests: slots,
            commits: Vec::new(),
            committing: false,
            before_move: None,
            last: None,
            kept: Vec::new(),
        };
        if world.makes(Mistake::NumberUsedAgain) {
            (attempt.last, attempt.kept) = (last, kept);
        }
        let mut out = Out::default();
        attempt.carry_out(world, first, &mut out);
        Some((attempt, out))
    }

    /// The mistake: the next checkpoint has the number of the one given up, and may have its slot.
    pub(super) fn number_anew(&mut self, world: &World) {
        let parallelism = self.subtasks.len() as u8;
        let (new, _) = coordinator(
            world,
            &self.mine,
            self.completed,
            self.last.as_deref(),
            &self.kept,
            parallelism,
        );
        self.coordinator = Cell::new(new);
        self.last_used = self.completed;
        let named: Vec<_> =
            self.last.iter().zip(&self.kept).map(|(m, k)| (k.retained.slot, 1, &**m)).collect();
        self.manifests = Cell::new(SlotAllocator::restored(self.mine.attempt, &named));
    }
}

/// What an attempt works from; some mistakes take what the engine refuses.
fn restorable(world: &World, mine: &Mine, head: &Head) -> Restorable {
    let trusts = [Mistake::ClaimByNumber, Mistake::ClaimNotCompared, Mistake::DecidedBeforeClaim];
    if trusts.into_iter().any(|m| world.makes(m)) || world.makes(Mistake::RollBackKeepsHead) {
        let Head { retained, incarnation, .. } = head.clone();
        // Numbers go on from what is restored.
        let checkpoint = retained.last().map_or(CheckpointId::NONE, |r| r.checkpoint);
        return Restorable { checkpoint, retained, incarnation };
    }
    rules::restorable(mine, head).unwrap()
}

fn coordinator(
    world: &World,
    mine: &Mine,
    checkpoint: CheckpointId,
    manifest: Option<&Manifest>,
    retained: &[Kept],
    parallelism: u8,
) -> (Coordinator, Vec<Effect>) {
    let vertex = VertexPlan {
        source: Some(operator().clone()),
        keyed: Some(operator().clone()),
        operator_state: None,
        parallelism: parallelism.into(),
    };
    let beginning = Beginning {
        plan: Plan { vertices: vec![vertex], ..Plan::default() },
        settings: Checkpointing {
            // After an abort none begins at once: when one does is a step.
            interval: 2 * TIMEOUT,
            timeout: TIMEOUT,
            min_pause: std::time::Duration::ZERO,
            tolerable_failed: u32::MAX,
            num_retained: world.bounds.retained,
        },
        attempt: mine.attempt,
        checkpoint,
        retained: retained.to_vec(),
        manifest,
        sources: vec![SourceSplits {
            operator: operator().clone(),
            splits: splits_at(position_of(manifest)),
        }],
    };
    Coordinator::new(beginning, now())
}

/// The mistake: the segments of the newest manifest up to R, and R's position.
fn through_newest(of_r: Cell<Manifest>, newest: &Manifest, r: CheckpointId) -> Cell<Manifest> {
    let mut mixed = (*of_r).clone();
    mixed.segments = newest.segments.iter().filter(|s| s.checkpoint <= r).cloned().collect();
    mixed.horizons.clone_from(&newest.horizons);
    Cell::new(mixed)
}
