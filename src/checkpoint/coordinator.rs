//! The coordinator: which checkpoint begins, completes or is given up, as a pure state machine.
//!
//! ```text
//!          trigger                all acks               manifest answered         head moved
//! Idle ─────────────► Collecting ──────────► Putting ────────────────► Moving ──────────────► Idle
//!   ▲                     │ timeout             │ timeout                 │ (never given up)
//!   └─────────────────────┴─────────────────────┘ Aborted                 │
//!                                                                         ▼
//!                            Completed to all, slots let go, commits begin; sinks acknowledge later
//! ```
//!
//! Flink: `CheckpointCoordinator`. Owns the phases, numbers, timers and failures of one attempt; at
//! most one checkpoint is under way. Does no I/O and reads no clock: the driver feeds it events and
//! carries its effects out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::claimed::Kept;
use super::head::{HeadStatus, Retained};
use super::manifest::Manifest;
use super::messages::{Kind, Owed, Plan, SourceSplits, SubtaskSnapshot};
use super::pending::{AckOutcome, Base, Pending};
use super::rules;
use super::slots::NamedSlots;
use super::stats::{Stats, Status};
use crate::clock::Instant;
use crate::config::Checkpointing;
use crate::error::{Error, ErrorKind};
use crate::ids::{Attempt, CheckpointId, Version};
use crate::teeth::{Tooth, bites};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed; `struggling` says whether the store's calls get through badly just now.
    Tick {
        /// Whether time-outs are the store's doing.
        struggling: bool,
    },
    /// A subtask wants memory back.
    MemoryPressure,
    /// A graceful stop is wanted.
    Stop,
    /// A subtask acknowledged.
    Ack {
        /// Its vertex in the plan.
        vertex: usize,
        /// Which of the vertex.
        subtask: u32,
        /// What it acknowledges.
        checkpoint: CheckpointId,
        /// Its part of it.
        snapshot: SubtaskSnapshot,
    },
    /// A source subtask has nothing left.
    Exhausted {
        /// Its vertex in the plan.
        vertex: usize,
        /// Which of the vertex.
        subtask: u32,
    },
    /// All parts of a manifest were answered.
    ManifestPut {
        /// How the head will name it.
        retained: Retained,
        /// The size of all its parts.
        bytes: u64,
    },
    /// The head shows this checkpoint.
    HeadMoved {
        /// What is completed.
        checkpoint: CheckpointId,
    },
    /// Sinks published these.
    Acknowledged(Vec<Owed>),
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// To the source subtasks.
    Trigger {
        /// The checkpoint to begin.
        checkpoint: CheckpointId,
        /// What it is for.
        kind: Kind,
    },
    /// Put the manifest; then [`Event::ManifestPut`].
    PutManifest(Box<Manifest>),
    /// Move the head; then [`Event::HeadMoved`]. Never called off.
    MoveHead {
        /// What the head must show.
        previous: CheckpointId,
        /// What it shows then.
        checkpoint: CheckpointId,
        /// What it is for.
        kind: Kind,
        /// What it retains then, oldest first.
        retained: Vec<Retained>,
    },
    /// To all subtasks; a put of its manifest is called off.
    Abort {
        /// What is given up.
        checkpoint: CheckpointId,
    },
    /// To all subtasks.
    Completed {
        /// What the head names.
        checkpoint: CheckpointId,
        /// The oldest that it retains.
        oldest_retained: CheckpointId,
    },
    /// Let go all slots but these.
    KeepSlots(NamedSlots),
    /// Have sinks publish these; then [`Event::Acknowledged`].
    Commit(Vec<Owed>),
    /// For the status page.
    Record(Stats),
    /// The last write of the attempt; then it is over.
    End(HeadStatus),
    /// The attempt has failed.
    Fail(Error),
}

/// What an attempt begins with.
#[derive(Debug)]
pub struct Beginning<'a> {
    /// Who takes part.
    pub plan: Plan,
    /// Interval, time-outs, how many are retained.
    pub settings: Checkpointing,
    /// Who takes them.
    pub attempt: Attempt,
    /// The head's checkpoint.
    pub checkpoint: CheckpointId,
    /// What the head retains, oldest first.
    pub retained: Vec<Kept>,
    /// That checkpoint's manifest; `None` before the first.
    pub manifest: Option<&'a Manifest>,
    /// All splits as the attempt begins with them.
    pub sources: Vec<SourceSplits>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    Collecting(Pending),
    Putting(Pending, Box<Manifest>),
    Moving(Pending, Box<Manifest>, Retained, u64),
}

/// One attempt's checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    plan: Plan,
    settings: Checkpointing,
    /// By which the interval is longer than configured.
    stretch: u32,
    attempt: Attempt,
    phase: Phase,
    /// The head's checkpoint.
    completed: CheckpointId,
    /// The last number used for anything.
    last_used: CheckpointId,
    retained: Vec<Kept>,
    base: Base,
    /// Source subtasks that have something left.
    active_sources: BTreeSet<(usize, u32)>,
    stop: bool,
    /// Memory is wanted back, and no checkpoint that began since has completed.
    pressure: bool,
    /// It was wanted when the checkpoint under way began.
    early: bool,
    failures: u32,
    /// When the next periodic checkpoint is due; `None` where the interval is beyond time.
    due: Option<Instant>,
    /// When the pause after the last one is over; `None` where that is beyond time.
    rested: Option<Instant>,
    /// Set once the last checkpoint is completed: what the head will say.
    ending: Option<HeadStatus>,
    over: bool,
}

impl Coordinator {
    /// The coordinator of an attempt that begins `now`; what the head owes is to be committed at once.
    pub fn new(beginning: Beginning<'_>, now: Instant) -> (Self, Vec<Effect>) {
        let base = Base::restored(beginning.manifest, beginning.sources);
        let nothing_owed = base.owed.is_empty() || bites(Tooth::OwedForgotten);
        let effects = if nothing_owed { vec![] } else { vec![Effect::Commit(base.owed.clone())] };
        let coordinator = Self {
            active_sources: beginning.plan.source_subtasks().collect(),
            plan: beginning.plan,
            due: now.checked_add(beginning.settings.interval),
            settings: beginning.settings,
            stretch: 1,
            attempt: beginning.attempt,
            phase: Phase::Idle,
            completed: beginning.checkpoint,
            last_used: beginning.checkpoint,
            retained: beginning.retained,
            base,
            stop: false,
            pressure: false,
            early: false,
            rested: Some(now),
            failures: 0,
            ending: None,
            over: false,
        };
        (coordinator, effects)
    }

    /// Has checkpoints begin `stretch` intervals apart, from the next one that completes on.
    pub fn lengthen(&mut self, stretch: u32) {
        self.stretch = stretch;
    }

    /// When [`Event::Tick`] is wanted next.
    pub fn wake(&self) -> Option<Instant> {
        match &self.phase {
            _ if self.over || self.ending.is_some() => None,
            Phase::Idle if self.pressure => self.due.into_iter().chain(self.rested).min(),
            Phase::Idle => self.due,
            Phase::Collecting(pending) | Phase::Putting(pending, _) => {
                pending.started.checked_add(self.settings.timeout)
            }
            Phase::Moving(pending, ..) if bites(Tooth::SentMoveAborted) => {
                pending.started.checked_add(self.settings.timeout)
            }
            Phase::Moving(..) => None,
        }
    }

    /// What follows from `event`. `now_ms` is wall time, for people only.
    pub fn on(&mut self, event: Event, now: Instant, now_ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.over {
            return effects;
        }
        match event {
            Event::Tick { struggling } => self.check_timeout(struggling, now, &mut effects),
            // One that is under way may suffice: if it does not, the pressure is reported again once it has completed.
            Event::MemoryPressure => self.pressure |= matches!(self.phase, Phase::Idle),
            Event::Stop => self.stop = true,
            Event::Exhausted { vertex, subtask } => {
                self.active_sources.remove(&(vertex, subtask));
                if bites(Tooth::ExhaustedForAll) {
                    self.active_sources.clear();
                }
            }
            Event::Ack { vertex, subtask, checkpoint, snapshot } => {
                self.ack((vertex, subtask), checkpoint, snapshot, (now, now_ms), &mut effects);
            }
            Event::ManifestPut { retained, bytes } => self.move_head(retained, bytes, &mut effects),
            Event::HeadMoved { checkpoint } => self.complete(checkpoint, now, &mut effects),
            Event::Acknowledged(done) => self.base.acknowledge(done),
        }
        self.begin_if_due(now, now_ms, &mut effects);
        self.end_if_settled(&mut effects);
        effects
    }

    fn begin_if_due(&mut self, now: Instant, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.over || self.ending.is_some() || !matches!(self.phase, Phase::Idle) {
            return;
        }
        let Some(kind) = self.wanted(now) else { return };
        if kind == Kind::Final && bites(Tooth::NoLastCheckpoint) {
            self.ending = Some(HeadStatus::Finished);
            return;
        }
        let last_used = if bites(Tooth::NumberReused) { self.completed } else { self.last_used };
        let Some(checkpoint) = rules::next_number(last_used) else {
            let message = format!("checkpoint numbers are used up at {}", self.last_used);
            return self.fail(Error::new(ErrorKind::Checkpoint, message), effects);
        };
        self.last_used = checkpoint;
        self.early = std::mem::take(&mut self.pressure);
        let pending = Pending::new(&self.plan, &self.base, checkpoint, kind, (now, now_ms));
        effects.push(Effect::Record(pending.stats(Status::InProgress, now, 0)));
        effects.push(Effect::Trigger { checkpoint, kind });
        self.phase = Phase::Collecting(pending);
    }

    /// Which kind of checkpoint is to begin now. The end of all input goes before a stop, since a job
    /// that is done is better told finished than stopped.
    fn wanted(&self, now: Instant) -> Option<Kind> {
        if self.active_sources.is_empty() {
            Some(Kind::Final)
        } else if self.stop {
            Some(Kind::Stop)
        } else if is_past(self.due, now) || (self.pressure && is_past(self.rested, now)) {
            Some(Kind::Periodic)
        } else {
            None
        }
    }

    fn ack(
        &mut self,
        (vertex, subtask): (usize, u32),
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        (now, now_ms): (Instant, u64),
        effects: &mut Vec<Effect>,
    ) {
        // Any other is late, of a checkpoint that was given up: its segments and committables come
        // again in the subtask's next acknowledgement.
        let Phase::Collecting(pending) = &mut self.phase else { return };
        if pending.checkpoint != checkpoint {
            return;
        }
        match pending.ack(vertex, subtask, snapshot) {
            AckOutcome::Taken => {}
            AckOutcome::Duplicate => return,
            AckOutcome::Unknown => {
                let message = format!("subtask {subtask} of vertex {vertex} is not in the plan");
                return self.fail(Error::internal(message), effects);
            }
        }
        effects.push(Effect::Record(pending.stats(Status::InProgress, now, 0)));
        if pending.is_complete() {
            self.put_manifest(now_ms, effects);
        }
    }

    fn put_manifest(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let Phase::Collecting(pending) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let version = Version { attempt: self.attempt, checkpoint: pending.checkpoint };
        let manifest = Box::new(pending.manifest(&self.plan, &self.base, version, now_ms));
        if let Some(too_much) = rules::too_much_operator_state(&manifest.operator_states) {
            let message = format!("checkpoint {}: {too_much}", pending.checkpoint);
            return self.fail(Error::new(ErrorKind::TooLarge, message), effects);
        }
        if bites(Tooth::SegmentSlotsEarly) {
            let segments = manifest.segments.iter().map(|s| s.slot).collect();
            effects.push(Effect::KeepSlots(NamedSlots { segments, ..self.named_slots() }));
        }
        effects.push(Effect::PutManifest(manifest.clone()));
        self.phase = Phase::Putting(pending, manifest);
    }

    fn move_head(&mut self, put: Retained, bytes: u64, effects: &mut Vec<Effect>) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Putting(pending, manifest) if manifest.version == put.version => {
                let current: Vec<Retained> = self.retained.iter().map(|k| k.retained).collect();
                if bites(Tooth::CommittedBeforeHead) {
                    effects.push(Effect::Commit(manifest.committables.clone()));
                }
                effects.push(Effect::MoveHead {
                    previous: self.completed,
                    checkpoint: pending.checkpoint,
                    kind: pending.kind,
                    retained: rules::retain(&current, put, self.settings.num_retained),
                });
                Phase::Moving(pending, manifest, put, bytes)
            }
            // The answer to a put that was called off.
            other => other,
        };
    }

    fn complete(&mut self, checkpoint: CheckpointId, now: Instant, effects: &mut Vec<Effect>) {
        let (pending, manifest, put, bytes) = match std::mem::replace(&mut self.phase, Phase::Idle)
        {
            Phase::Moving(pending, manifest, put, bytes) if put.checkpoint == checkpoint => {
                (pending, manifest, put, bytes)
            }
            other => {
                self.phase = other;
                return;
            }
        };
        self.completed = checkpoint;
        self.failures = 0;
        self.keep(put, &manifest);
        let oldest_retained = self.retained.first().map_or(checkpoint, |k| k.retained.checkpoint);
        let reported = pending.reported().collect();
        let log_bytes = manifest.segments.iter().map(|segment| segment.bytes).sum();
        let new = self.base.complete(*manifest, &reported);
        effects.push(Effect::Completed { checkpoint, oldest_retained });
        effects.push(Effect::KeepSlots(self.named_slots()));
        if !new.is_empty() {
            effects.push(Effect::Commit(new));
        }
        let stats = pending.stats(Status::Completed, now, bytes);
        effects.push(Effect::Record(Stats { log_bytes, ..stats }));
        self.ending = match pending.kind {
            Kind::Periodic => None,
            Kind::Stop => Some(HeadStatus::Stopped),
            Kind::Final => Some(HeadStatus::Finished),
        };
        self.schedule(&pending, now);
    }

    /// The retained checkpoints as the head now has them.
    fn keep(&mut self, put: Retained, manifest: &Manifest) {
        let current: Vec<Retained> = self.retained.iter().map(|k| k.retained).collect();
        let retained = rules::retain(&current, put, self.settings.num_retained);
        let segments = manifest.segments.iter().map(|s| s.slot).collect();
        self.retained.push(Kept { retained: put, segments });
        self.retained.retain(|kept| retained.contains(&kept.retained));
    }

    fn named_slots(&self) -> NamedSlots {
        let newest = self.retained.len().saturating_sub(1);
        let from = if bites(Tooth::OlderSlotsFree) { newest } else { 0 };
        let upto = if bites(Tooth::ManifestSlotsEarly) { newest } else { self.retained.len() };
        NamedSlots {
            segments: rules::named_slots(self.retained[from..].iter().map(|k| &k.segments)),
            manifests: self.retained[..upto].iter().map(|k| k.retained.slot).collect(),
        }
    }

    /// The next periodic one: an interval after the last one began, a pause after it ended. Memory
    /// that is wanted back waits for the pause only.
    fn schedule(&mut self, last: &Pending, now: Instant) {
        let by_interval =
            last.started.checked_add(self.settings.interval.saturating_mul(self.stretch));
        self.rested = now.checked_add(self.settings.min_pause);
        self.due = by_interval.zip(self.rested).map(|(a, b)| a.max(b));
    }

    fn check_timeout(&mut self, struggling: bool, now: Instant, effects: &mut Vec<Effect>) {
        if let Phase::Moving(pending, manifest, ..) = &self.phase
            && bites(Tooth::SentMoveAborted)
        {
            self.phase = Phase::Putting(pending.clone(), manifest.clone());
            effects.push(Effect::KeepSlots(self.named_slots()));
        }
        let (Phase::Collecting(pending) | Phase::Putting(pending, _)) = &self.phase else { return };
        if now.duration_since(pending.started) < self.settings.timeout {
            return;
        }
        let pending = pending.clone();
        self.phase = Phase::Idle;
        // Whoever wanted memory back has none, and with its sources stopped it does not ask again.
        self.pressure |= self.early;
        effects.push(Effect::Abort { checkpoint: pending.checkpoint });
        let mut stats = pending.stats(Status::Failed, now, 0);
        stats.failure = Some(timed_out(self.settings.timeout, struggling));
        effects.push(Effect::Record(stats));
        self.schedule(&pending, now);
        if rules::counts_as_failure(struggling) {
            self.failures += 1;
        }
        if rules::too_many_failures(self.failures, self.settings.tolerable_failed) {
            let message = format!(
                "checkpoint {} timed out after {:?}: {} failed in a row, {} are borne \
                 (execution.checkpointing.tolerable-failed-checkpoints)",
                pending.checkpoint,
                self.settings.timeout,
                self.failures,
                self.settings.tolerable_failed
            );
            self.fail(Error::new(ErrorKind::Checkpoint, message), effects);
        }
    }

    fn end_if_settled(&mut self, effects: &mut Vec<Effect>) {
        if let Some(status) = self.ending
            && (self.base.owed.is_empty() || bites(Tooth::FinishedBeforeCommits))
            && !self.over
        {
            self.over = true;
            effects.push(Effect::End(status));
        }
    }

    fn fail(&mut self, error: Error, effects: &mut Vec<Effect>) {
        self.over = true;
        effects.push(Effect::Fail(error));
    }
}

fn is_past(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}

fn timed_out(timeout: Duration, struggling: bool) -> String {
    let why = if struggling { "; the store is struggling, so it does not count" } else { "" };
    format!("timed out after {timeout:?}{why}")
}

#[cfg(test)]
mod tests;
