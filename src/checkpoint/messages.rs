//! What coordinator and subtasks say to each other, and the plan that says who takes part.
//!
//! ```text
//!              Trigger n (sources)                       Completed n / Aborted n (all)
//! coordinator ─────────────────────► source ══ barrier n ══► … ══► sink ◄──────────── coordinator
//!      ▲            Ack n, from each subtask once its part of n is durable   │
//!      └─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Owns the words only. Splits and committables are opaque bytes here (`handover`): sources and sinks are siblings
//! of this module.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::handover::{Committable, SplitState};
use crate::ids::{CheckpointId, Name, SlotId, Version};
use crate::key_group::KeyGroupRange;
use crate::state::unkeyed::{OperatorFormat, SavedState};
use crate::state::{KeyTypes, StateFormats, StateLifetimes};

/// A committable and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owed {
    /// The sink's operator id.
    pub sink: Name,
    /// What is to be committed.
    pub committable: Committable,
}

/// The splits of one source, in the order in which they were discovered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceSplits {
    /// The source's operator id.
    pub operator: Name,
    /// All its splits, done ones included.
    pub splits: Vec<SplitState>,
}

/// Where one segment is and what it holds; names it in manifests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentRef {
    /// The operator whose entries it holds.
    pub operator: Name,
    /// The key groups that its entries may be of.
    pub range: KeyGroupRange,
    /// The checkpoint at whose barrier its entries were frozen.
    pub checkpoint: CheckpointId,
    /// Its place among the segments of its subtask and checkpoint, from 0.
    pub sequence: u32,
    /// Where it is.
    pub slot: SlotId,
    /// What that slot must show.
    pub version: Version,
    /// Its size as it was put.
    pub bytes: u64,
    /// How many entries it holds.
    pub entries: u64,
}

/// All operator state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedOperator {
    /// The operator's id.
    pub operator: Name,
    /// What each of its subtasks has saved; empty states are not in it.
    pub subtasks: Vec<Vec<SavedState>>,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One of many.
    Periodic,
    /// The last one before a graceful stop: sources read nothing after it.
    Stop,
    /// The last one of a bounded input: sources send end of input, then its barrier. Repeated with
    /// another number until one completes.
    Final,
}

/// To a subtask. Commands come in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// To source subtasks: send the barrier of `checkpoint`, behind end of input where it is final.
    Trigger {
        /// The checkpoint to begin.
        checkpoint: CheckpointId,
        /// What it is for.
        kind: Kind,
    },
    /// To all subtasks: the head names `checkpoint`. It covers every lower number.
    Completed {
        /// What is now durable.
        checkpoint: CheckpointId,
        /// R: nothing newer than this may be materialised.
        oldest_retained: CheckpointId,
    },
    /// To all subtasks: `checkpoint` will never complete. Its segments and committables go into the
    /// next acknowledgement (I7).
    Aborted {
        /// What was given up.
        checkpoint: CheckpointId,
    },
    /// To the subtasks of keyed operators, behind the last `Completed`: report [`Report::Drained`] once the
    /// table has what it is to have.
    Drain,
}

/// One subtask's part of a checkpoint. Flink: `TaskStateSnapshot`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubtaskSnapshot {
    /// A source's splits, done ones included; empty elsewhere.
    pub splits: Vec<SplitState>,
    /// Records that a source subtask has read in this attempt; 0 elsewhere.
    pub records: u64,
    /// Every segment that was put and that no checkpoint known to be completed names, so those of
    /// aborted checkpoints again. Each put was answered.
    pub segments: Vec<SegmentRef>,
    /// Every change up to this checkpoint is materialised, its put answered.
    pub horizon: CheckpointId,
    /// The key groups of a keyed subtask.
    pub range: Option<KeyGroupRange>,
    /// Whether a put of an item of the keyed operator may ever have been sent.
    pub may_have_items: bool,
    /// Whether there may be items that its filter of absent keys does not know.
    pub unfiltered: bool,
    /// Every committable that no checkpoint known to be completed names.
    pub committables: Vec<Owed>,
    /// All operator state of the subtask, unchanged or not: nothing of an aborted checkpoint is needed.
    pub operator_state: Vec<SavedState>,
    /// From the first barrier to the last one, for statistics.
    pub alignment: Duration,
    /// From the barrier to the last answer, for statistics.
    pub duration: Duration,
}

/// From a subtask.
#[derive(Debug)]
pub enum Report {
    /// Its part of `checkpoint` is durable.
    Ack {
        /// Index in [`Plan::vertices`].
        vertex: usize,
        /// Which subtask.
        subtask: u32,
        /// What it acknowledges.
        checkpoint: CheckpointId,
        /// Its part.
        snapshot: Box<SubtaskSnapshot>,
    },
    /// All splits of this source subtask are done, or it has none.
    SourceExhausted {
        /// Index in [`Plan::vertices`].
        vertex: usize,
        /// Which subtask.
        subtask: u32,
    },
    /// Where values are materialised eagerly, everything up to the oldest retained checkpoint is; the answer
    /// to [`Command::Drain`].
    Drained {
        /// Index in [`Plan::vertices`].
        vertex: usize,
        /// Which subtask.
        subtask: u32,
    },
    /// Uncommitted changes near the memory budget: a checkpoint is wanted early.
    MemoryPressure,
    /// The attempt has failed.
    Failed(Error),
}

/// One vertex of the running graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VertexPlan {
    /// The source's operator id where the vertex begins with one.
    pub source: Option<Name>,
    /// The operator id of the keyed state, where the vertex has one; no vertex has two.
    pub keyed: Option<Name>,
    /// The operator id of the operator state, where the vertex has any.
    pub operator_state: Option<Name>,
    /// How many subtasks it has.
    pub parallelism: u32,
}

/// Who takes part in checkpoints: every subtask acknowledges, the sources' are triggered. Flink:
/// `CheckpointPlan`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plan {
    /// All vertices.
    pub vertices: Vec<VertexPlan>,
    /// How the values of every state are stored in this attempt: every manifest records it.
    pub states: Vec<StateFormats>,
    /// Of which types every operator state is; the same.
    pub operator_formats: Vec<OperatorFormat>,
    /// Of which types every keyed operator's keys are; the same.
    pub key_types: Vec<KeyTypes>,
    /// By which times the values of every state have expired, and do; the same.
    pub lifetimes: Vec<StateLifetimes>,
}

impl Plan {
    /// All subtasks as (vertex, subtask).
    pub fn subtasks(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.vertices
            .iter()
            .enumerate()
            .flat_map(|(v, plan)| (0..plan.parallelism).map(move |s| (v, s)))
    }

    /// The sources' subtasks.
    pub fn source_subtasks(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.subtasks().filter(|(v, _)| self.vertices[*v].source.is_some())
    }

    /// The subtasks that have keyed state.
    pub fn keyed_subtasks(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.subtasks().filter(|(v, _)| self.vertices[*v].keyed.is_some())
    }
}
