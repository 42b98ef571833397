//! One checkpoint under way, and how it becomes a manifest. Flink: `PendingCheckpoint`.
//!
//! Owns the gathering of acknowledgements and the putting together of a manifest from them and from
//! what the last completed one said. Does not own when checkpoints begin or end (`coordinator`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::manifest::{Horizon, Manifest};
use super::messages::{
    Kind, Owed, Plan, SavedOperator, SegmentRef, SourceSplits, SubtaskSnapshot, VertexPlan,
};
use super::rules;
use super::slots::SlotTable;
use super::stats::{Stats, Status};
use crate::clock::Instant;
use crate::handover::SplitState;
use crate::ids::{CheckpointId, Name, SlotId, Version};
use crate::teeth::{Tooth, bites};

/// What the last completed checkpoint left, in the part that goes into the next manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Base {
    /// All splits as they were when the attempt began; acknowledgements are laid over them, so a split
    /// that no subtask reads any more is not lost.
    pub(super) sources: Vec<SourceSplits>,
    /// The live segments.
    pub(super) segments: Vec<SegmentRef>,
    /// The horizons.
    pub(super) horizons: Vec<Horizon>,
    /// Operators whose items may be in the table.
    pub(super) may_have_items: BTreeSet<Name>,
    pub(super) unfiltered: BTreeSet<Name>,
    /// What the head owes: named by the last completed manifest and not acknowledged.
    pub(super) owed: Vec<Owed>,
    /// Acknowledged, but perhaps reported once more by a subtask that has not heard of completion.
    pub(super) settled: BTreeSet<Owed>,
    /// Records that lay before the sources' positions when the attempt began.
    pub(super) records: u64,
    /// The attempt began after the end of all input: no operator hears of it again.
    pub(super) input_ended: bool,
}

impl Base {
    /// What `manifest` says, with the splits that the attempt begins with.
    pub(super) fn restored(manifest: Option<&Manifest>, sources: Vec<SourceSplits>) -> Self {
        let Some(manifest) = manifest else { return Self { sources, ..Self::default() } };
        Self {
            sources,
            segments: manifest.segments.clone(),
            horizons: manifest.horizons.clone(),
            may_have_items: manifest.may_have_items.iter().cloned().collect(),
            unfiltered: manifest.unfiltered.iter().cloned().collect(),
            owed: manifest.committables.clone(),
            settled: BTreeSet::new(),
            records: manifest.records,
            input_ended: manifest.input_ended,
        }
    }

    /// `manifest` is completed; gives what is owed since this checkpoint. What was acknowledged while
    /// it was under way is not owed again, though it is named. `reported` is what the subtasks
    /// reported for it: what they did not report this time they never will again.
    pub(super) fn complete(&mut self, manifest: Manifest, reported: &HashSet<&Owed>) -> Vec<Owed> {
        let known: HashSet<&Owed> = self.owed.iter().collect();
        let new: Vec<Owed> = manifest
            .committables
            .iter()
            .filter(|o| !known.contains(o) && !self.settled.contains(o))
            .cloned()
            .collect();
        self.owed.extend(new.iter().cloned());
        self.settled.retain(|settled| reported.contains(settled));
        self.segments = manifest.segments;
        self.horizons = manifest.horizons;
        self.may_have_items = manifest.may_have_items.into_iter().collect();
        self.unfiltered = manifest.unfiltered.into_iter().collect();
        new
    }

    /// These were published.
    pub(super) fn acknowledge(&mut self, done: Vec<Owed>) {
        let done: HashSet<Owed> = done.into_iter().collect();
        self.owed.retain(|owed| !done.contains(owed));
        self.settled.extend(done);
    }
}

/// How an acknowledgement was taken. Flink: `TaskAcknowledgeResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckOutcome {
    /// It was missing.
    Taken,
    /// It was there already.
    Duplicate,
    /// Of no subtask of the plan.
    Unknown,
}

/// A checkpoint whose acknowledgements are gathered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    pub(super) checkpoint: CheckpointId,
    pub(super) kind: Kind,
    pub(super) started: Instant,
    pub(super) started_ms: u64,
    missing: BTreeSet<(usize, u32)>,
    /// Segments that the last completed manifest names.
    known: BTreeSet<(SlotId, Version)>,
    /// Records that lay before the sources' positions when the attempt began.
    records_before: u64,
    acks: BTreeMap<(usize, u32), SubtaskSnapshot>,
}

impl Pending {
    pub(super) fn new(
        plan: &Plan,
        base: &Base,
        checkpoint: CheckpointId,
        kind: Kind,
        (started, started_ms): (Instant, u64),
    ) -> Self {
        let missing = plan.subtasks().collect();
        let known = base.segments.iter().map(|s| (s.slot, s.version)).collect();
        let acks = BTreeMap::new();
        let records_before = base.records;
        Self { checkpoint, kind, started, started_ms, missing, known, records_before, acks }
    }

    pub(super) fn ack(
        &mut self,
        vertex: usize,
        subtask: u32,
        snapshot: SubtaskSnapshot,
    ) -> AckOutcome {
        if self.acks.contains_key(&(vertex, subtask)) {
            return AckOutcome::Duplicate;
        }
        if !self.missing.remove(&(vertex, subtask)) {
            return AckOutcome::Unknown;
        }
        self.acks.insert((vertex, subtask), snapshot);
        AckOutcome::Taken
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// All committables that were reported for it.
    pub(super) fn reported(&self) -> impl Iterator<Item = &Owed> {
        self.acks.values().flat_map(|snapshot| &snapshot.committables)
    }

    /// The manifest of this checkpoint, on top of `base`. The table of slots is filled in when it is
    /// put.
    pub(super) fn manifest(
        &self,
        plan: &Plan,
        base: &Base,
        version: Version,
        now_ms: u64,
    ) -> Manifest {
        let horizons = rules::merge_horizons(&base.horizons, &self.reported_horizons(plan));
        Manifest {
            checkpoint: self.checkpoint,
            version,
            created_ms: now_ms,
            sources: self.sources(plan, base),
            segments: self.segments(base, &horizons),
            horizons,
            may_have_items: self.may_have_items(plan, base),
            unfiltered: self.operators_that(plan, &base.unfiltered, |s| s.unfiltered),
            committables: self.committables(base),
            states: plan.states.clone(),
            operator_states: self.operator_states(plan),
            slots: SlotTable::default(),
            records: self.records(),
            operator_formats: plan.operator_formats.clone(),
            key_types: plan.key_types.clone(),
            input_ended: base.input_ended || self.kind == Kind::Final,
            lifetimes: plan.lifetimes.clone(),
        }
    }

    /// Records that lie before the positions of the sources that have acknowledged.
    fn records(&self) -> u64 {
        self.records_before + self.acks.values().map(|s| s.records).sum::<u64>()
    }

    fn sources(&self, plan: &Plan, base: &Base) -> Vec<SourceSplits> {
        let mut sources = base.sources.clone();
        for ((vertex, _), snapshot) in &self.acks {
            let Some(operator) = &plan.vertices[*vertex].source else { continue };
            lay_over(&mut sources, operator, &snapshot.splits);
        }
        sources
    }

    /// What was live, and what was reported, each once: a subtask reports what it does not know to be
    /// completed, so a segment may be in `base` already.
    fn segments(&self, base: &Base, horizons: &[Horizon]) -> Vec<SegmentRef> {
        let mut seen = HashSet::new();
        let reported = self.acks.values().flat_map(|snapshot| &snapshot.segments);
        let candidates: Vec<SegmentRef> = base
            .segments
            .iter()
            .chain(reported)
            .filter(|s| seen.insert((s.slot, s.version)) || bites(Tooth::SegmentNamedTwice))
            .cloned()
            .collect();
        rules::live_segments(&candidates, horizons)
    }

    fn reported_horizons(&self, plan: &Plan) -> Vec<Horizon> {
        let keyed = self.acks.iter().filter_map(|((vertex, _), snapshot)| {
            let operator = plan.vertices[*vertex].keyed.clone()?;
            Some(Horizon { operator, range: snapshot.range?, checkpoint: snapshot.horizon })
        });
        keyed.collect()
    }

    fn may_have_items(&self, plan: &Plan, base: &Base) -> Vec<Name> {
        if bites(Tooth::ItemsFlagLost) {
            return Vec::new();
        }
        self.operators_that(plan, &base.may_have_items, |snapshot| snapshot.may_have_items)
    }

    /// The operators of `base`, and those of which a subtask says so.
    fn operators_that(
        &self,
        plan: &Plan,
        base: &BTreeSet<Name>,
        says: impl Fn(&SubtaskSnapshot) -> bool,
    ) -> Vec<Name> {
        let reported = self.acks.iter().filter(|(_, snapshot)| says(snapshot));
        let reported = reported.filter_map(|((vertex, _), _)| plan.vertices[*vertex].keyed.clone());
        let all: BTreeSet<Name> = base.iter().cloned().chain(reported).collect();
        all.into_iter().collect()
    }

    fn committables(&self, base: &Base) -> Vec<Owed> {
        let mut seen: HashSet<&Owed> = base.settled.iter().collect();
        let owed = if bites(Tooth::OnlyOwnCommittables) { &[] } else { &base.owed[..] };
        owed.iter().chain(self.reported()).filter(|o| seen.insert(o)).cloned().collect()
    }

    /// All of it, of all subtasks: nothing that an earlier checkpoint has is needed.
    fn operator_states(&self, plan: &Plan) -> Vec<SavedOperator> {
        let of_vertex = |(vertex, plan): (usize, &VertexPlan)| {
            let of_subtask = |subtask| {
                let ack = self.acks.get(&(vertex, subtask));
                ack.map(|snapshot| snapshot.operator_state.clone()).unwrap_or_default()
            };
            let operator = plan.operator_state.clone()?;
            let subtasks = (0..plan.parallelism).map(of_subtask).collect();
            Some(SavedOperator { operator, subtasks })
        };
        plan.vertices.iter().enumerate().filter_map(of_vertex).collect()
    }

    /// The statistics of this checkpoint; `bytes` are its manifest's. Segments that were named before
    /// do not count again.
    pub(super) fn stats(&self, status: Status, now: Instant, bytes: u64) -> Stats {
        let snapshots = || self.acks.values();
        let reported = || snapshots().flat_map(|s| &s.segments);
        let new = || reported().filter(|s| !self.known.contains(&(s.slot, s.version)));
        Stats {
            id: self.checkpoint,
            kind: self.kind,
            status,
            triggered_ms: self.started_ms,
            duration: (status != Status::InProgress).then(|| now.duration_since(self.started)),
            bytes: new().map(|s| s.bytes).sum::<u64>() + bytes,
            entries: new().map(|s| s.entries).sum(),
            acknowledged: self.acks.len(),
            subtasks: self.acks.len() + self.missing.len(),
            longest_alignment: snapshots().map(|s| s.alignment).max().unwrap_or_default(),
            longest_upload: snapshots().map(|s| s.duration).max().unwrap_or_default(),
            records: self.records(),
            log_bytes: 0,
            failure: None,
        }
    }
}

/// Replaces splits of the same id, and appends others.
fn lay_over(sources: &mut Vec<SourceSplits>, operator: &Name, splits: &[SplitState]) {
    let at = sources.iter().position(|s| s.operator == *operator).unwrap_or_else(|| {
        sources.push(SourceSplits { operator: operator.clone(), splits: Vec::new() });
        sources.len() - 1
    });
    let known = &mut sources[at].splits;
    let places: BTreeMap<String, usize> =
        known.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect();
    for split in splits {
        match places.get(&split.id) {
            Some(place) => known[*place] = split.clone(),
            None => known.push(split.clone()),
        }
    }
}
