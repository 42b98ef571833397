//! What a run tells about itself: plain data, sent through a `tokio::sync::watch` channel.
//!
//! Owns the types. `runtime` fills them; `server` and `cli` read them and can reach nothing else. A
//! watch keeps the newest value only, so every field is a state or a running total, never an event.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dynamodb::{Share, Throttling};
use crate::error::ErrorKind;
use crate::ids::Name;
use crate::metrics::{Lag, Pauses, Snapshot};

/// One job and its current attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct JobStatus {
    /// The job's name, as in `--name`.
    pub name: String,
    /// 32 hexadecimal digits, as Flink's ids are; the same for every run of the same name.
    pub id: String,
    /// What it is doing.
    pub state: JobState,
    /// When the process began to run the job, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it reached a final state, in milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// When it entered each state last, in milliseconds since 1970; states that it never was in are left out.
    pub entered_ms: BTreeMap<JobState, u64>,
    /// The attempt that runs, from the head; 0 before the claim.
    pub attempt: u64,
    /// The attempt of another process that holds the job, while this one waits for it before its first claim.
    pub waiting_for: Option<u64>,
    /// The attempt that failed last, and why.
    pub last_failure: Option<String>,
    /// Of what kind that was. Not in the serialised form.
    #[serde(skip)]
    pub last_failure_kind: Option<ErrorKind>,
    /// The number of key groups.
    pub max_parallelism: u32,
    /// Where state lives, in words: "embedded DynamoDB, in memory".
    pub store: String,
    /// How the run began; `None` before the claim.
    pub start: Option<Start>,
    /// Some input cannot be gone back to, so every process starts afresh.
    pub not_replayable: bool,
    /// Outputs that may show a record again after a crash, in words that say so.
    pub at_least_once: Vec<String>,
    /// The job graph, sources first.
    pub vertices: Vec<Vertex>,
    /// Counters since the process began, over all attempts.
    pub metrics: Snapshot,
    /// Records of the input that lie before the sources' positions: those of the checkpoint that was
    /// restored (from its manifest) plus those that this attempt has read. Falls back at a restore.
    pub position: u64,
    /// How far the sources are behind the end of their input, where they know.
    pub lag: Lag,
    /// All about checkpoints.
    pub checkpoints: Checkpoints,
    /// How long these kept workers from their records.
    pub pauses: Pauses,
    /// What state takes.
    pub memory: Memory,
    /// Read and write units that DynamoDB said it charged for, since the process began.
    pub consumed: CapacityUnits,
    /// What that costs.
    pub cost: Cost,
    /// What DynamoDB refused because it was too much, and how fast requests leave because of it.
    pub throttling: Throttling,
    /// Why sources are held back, if they are: "memory", "the log is held back by …".
    pub input_slowed: Option<String>,
}

impl JobStatus {
    /// That of a run of `job` of which nothing but its name is known.
    #[must_use]
    pub fn of(job: &Name, now_ms: u64) -> Self {
        let mut status = Self::default();
        status.begin(job, now_ms);
        status
    }

    /// A run of `job` begins at `now_ms`, unless it has begun before its store was there.
    pub(super) fn begin(&mut self, job: &Name, now_ms: u64) {
        let id = hex_id(job.as_str());
        if self.id != id || self.state != JobState::Created {
            self.name = job.to_string();
            self.id = id;
            self.started_ms = now_ms;
            self.enter(JobState::Created, now_ms);
        }
    }

    /// Enters `state` at `now_ms`, unless that is where it is.
    pub fn enter(&mut self, state: JobState, now_ms: u64) {
        if self.state != state || self.entered_ms.is_empty() {
            self.state = state;
            self.entered_ms.insert(state, now_ms);
        }
    }

    /// When its state changed last, in milliseconds since 1970.
    #[must_use]
    pub fn changed_ms(&self) -> u64 {
        self.entered_ms.get(&self.state).copied().unwrap_or(self.started_ms)
    }
}

/// 32 hexadecimal digits, as Flink's ids have them, that are the same for the same `text`.
#[must_use]
pub fn hex_id(text: &str) -> String {
    let half = |seed| xxhash_rust::xxh64::xxh64(text.as_bytes(), seed);
    format!("{:016x}{:016x}", half(0), half(1))
}

/// Flink: `JobStatus`. Serialised in capitals, as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// Nothing has happened yet.
    #[default]
    Created,
    /// Claims, restores, prepares sources and sinks.
    Initializing,
    /// Records are processed.
    Running,
    /// An attempt failed and the next one waits for its delay.
    Restarting,
    /// No attempt follows the one that failed; the head is being told.
    Failing,
    /// All input was read and everything is committed.
    Finished,
    /// A stop was asked for, and what runs is on its way to its end.
    Cancelling,
    /// Stopped gracefully, after a last checkpoint.
    Canceled,
    /// Failed for good.
    Failed,
}

impl JobState {
    /// Whether it is the last one.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Canceled | Self::Failed)
    }
}

/// Where the run took up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Start {
    /// No checkpoint was there, or `--fresh` was given.
    Fresh,
    /// From a checkpoint.
    Resumed {
        /// Its number.
        checkpoint: u64,
    },
}

/// One vertex of the job graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Vertex {
    /// The id of its first operator.
    pub id: String,
    /// Its fused operators: "lines -> parse".
    pub name: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// What it reads, in order.
    pub inputs: Vec<VertexInput>,
    /// Records that entered it in this attempt; of a source: that it read.
    pub records_in: u64,
    /// Records that left it in this attempt.
    pub records_out: u64,
    /// Of keys that have no item, the share that the filter of absent keys takes for stored, which costs a read each:
    /// in the subtask where it is greatest, at its last checkpoint. `None` where no filter answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_false_positives: Option<f64>,
}

/// One input of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VertexInput {
    /// [`Vertex::id`] of the vertex that it comes from.
    pub from: String,
    /// How its records are spread over subtasks.
    pub ship: Ship,
}

/// How records are spread over the subtasks that read them. Flink: `ship_strategy`, in capitals as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Ship {
    /// To the subtask of the same number.
    Forward,
    /// By the hash of their keys.
    Hash,
    /// To all.
    Broadcast,
}

/// Counts, the last ones and a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checkpoints {
    /// How many, since the process began.
    pub counts: CheckpointCounts,
    /// The last completed one.
    pub latest_completed: Option<CheckpointEntry>,
    /// The last aborted or failed one.
    pub latest_failed: Option<CheckpointEntry>,
    /// What the current attempt was restored from.
    pub restored: Option<Restore>,
    /// The last ones, newest first; at most [`Checkpoints::HISTORY`].
    pub history: Vec<CheckpointEntry>,
}

impl Checkpoints {
    /// As many as Flink keeps (`web.checkpoints.history`).
    pub const HISTORY: usize = 10;

    /// Puts `entry` into the history, in the place of an older form of the same checkpoint, and among
    /// the latest where it has ended. The counts are the caller's.
    pub fn record(&mut self, entry: CheckpointEntry) {
        match entry.status {
            CheckpointState::InProgress => {}
            CheckpointState::Completed => self.latest_completed = Some(entry.clone()),
            CheckpointState::Failed => self.latest_failed = Some(entry.clone()),
        }
        match self.history.iter_mut().find(|old| old.id == entry.id) {
            Some(old) => *old = entry,
            None => self.history.insert(0, entry),
        }
        self.history.truncate(Self::HISTORY);
    }
}

/// Flink: `CheckpointingStatistics.Counts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointCounts {
    /// Restores from a checkpoint.
    pub restored: u64,
    /// All that were triggered.
    pub total: u64,
    /// Triggered and not yet ended.
    pub in_progress: u64,
    /// Whose head move was answered.
    pub completed: u64,
    /// Aborted, timed out or refused.
    pub failed: u64,
}

/// Flink: `CheckpointStatsStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CheckpointState {
    /// Triggered.
    InProgress,
    /// The head names it.
    Completed,
    /// Ended without having been completed.
    Failed,
}

/// One checkpoint. Flink: `CheckpointStatistics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointEntry {
    /// Its number.
    pub id: u64,
    /// How far it got.
    pub status: CheckpointState,
    /// When barriers were sent, in milliseconds since 1970.
    pub triggered_ms: u64,
    /// When the last subtask acknowledged it, in milliseconds since 1970.
    pub last_ack_ms: Option<u64>,
    /// From the trigger to its end, or to now.
    pub duration_ms: u64,
    /// Bytes written for it: segments and manifest, compressed.
    pub written_bytes: u64,
    /// Bytes of all segments that its manifest names: what a restore from it reads.
    pub log_bytes: u64,
    /// Changed entries in it.
    pub entries: u64,
    /// Subtasks that take part.
    pub subtasks: u32,
    /// Subtasks that have acknowledged it.
    pub acknowledged: u32,
    /// [`JobStatus::position`] at its barriers.
    pub position: u64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// A restore from a checkpoint. Flink: `RestoredCheckpointStatistics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Restore {
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// When it was done, in milliseconds since 1970.
    pub restored_ms: u64,
    /// How long it took, from before the claim to the first call of a source.
    pub duration_ms: u64,
    /// [`JobStatus::position`] that was gone back to.
    pub position: u64,
    /// Entries that were replayed from the log, the filter's chunks among them.
    pub entries: u64,
    /// From the attempt's beginning, after its claim, to its first batch of processed records; `None`
    /// before that.
    pub first_record_ms: Option<u64>,
}

/// What keyed state takes, at its size in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// In use, bytes.
    pub used_bytes: u64,
    /// The most that was ever in use in this attempt: what is on its way is admitted beyond the budget.
    pub most_bytes: u64,
    /// `state.backend.dynamodb.cache-size`, bytes.
    pub budget_bytes: u64,
    /// Of the entries that only the log has, bytes.
    pub log_bytes: u64,
    /// Entries in memory.
    pub entries: u64,
    /// Of all that is in use, the filters of absent keys, bytes.
    pub filter_bytes: u64,
}

/// What DynamoDB said it charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CapacityUnits {
    /// Read units.
    pub read: f64,
    /// Write units, by what they were for.
    pub write: WriteUnits,
}

/// Write units by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WriteUnits {
    /// Segments of the log.
    pub log: f64,
    /// Materialised entries and tombstones.
    pub items: f64,
    /// Manifests, and claims, moves, beats and status of the head.
    pub protocol: f64,
}

impl WriteUnits {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.log + self.items + self.protocol
    }
}

/// How a table is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Billing {
    /// By the request.
    #[default]
    OnDemand,
    /// By the hour, for capacity, used or not.
    Provisioned,
}

/// What a run costs by the prices of the configuration (`cost.*`); storage and traffic are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// How the table is paid for.
    pub billing: Billing,
    /// Whether the table is on AWS. Elsewhere this is what AWS would charge for the same.
    pub on_aws: bool,
    /// Dollars since the process began.
    pub usd: f64,
    /// Dollars an hour, as in the last minute.
    pub usd_per_hour: f64,
    /// Dollars for a million records, since the process began; `None` before the first one.
    pub usd_per_million_records: Option<f64>,
    /// `cost.max-usd-per-hour`.
    pub max_usd_per_hour: Option<f64>,
    /// What is done so as to stay below that, in words.
    pub saving: Option<String>,
    /// By operator, state and purpose. Heads and manifests are in none.
    pub shares: Vec<PricedShare>,
}

/// What one state of one operator has consumed for one purpose, and its price.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PricedShare {
    /// Whose, what for and how much.
    #[serde(flatten)]
    pub share: Share,
    /// Dollars; `None` where capacity is paid for, not requests.
    pub usd: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, status: CheckpointState) -> CheckpointEntry {
        CheckpointEntry {
            id,
            status,
            triggered_ms: 0,
            last_ack_ms: None,
            duration_ms: 0,
            written_bytes: 0,
            log_bytes: 0,
            entries: 0,
            subtasks: 1,
            acknowledged: 0,
            position: 0,
            failure: None,
        }
    }

    #[test]
    fn the_history_is_bounded_newest_first_and_holds_each_checkpoint_once() {
        let mut checkpoints = Checkpoints::default();
        for id in 1..=12 {
            checkpoints.record(entry(id, CheckpointState::InProgress));
        }
        checkpoints.record(entry(12, CheckpointState::Completed));
        checkpoints.record(entry(11, CheckpointState::Failed));
        let ids: Vec<_> = checkpoints.history.iter().map(|e| e.id).collect();
        assert_eq!(ids, [12, 11, 10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!(checkpoints.history[0].status, CheckpointState::Completed);
        assert_eq!(checkpoints.latest_completed.map(|e| e.id), Some(12));
        assert_eq!(checkpoints.latest_failed.map(|e| e.id), Some(11));
    }

    #[test]
    fn a_state_is_entered_when_it_changes() {
        let mut status = JobStatus::default();
        let (created, running) = (JobState::Created, JobState::Running);
        for (state, at) in [(created, 1), (running, 2), (running, 3), (created, 4), (running, 5)] {
            status.enter(state, at);
        }
        assert_eq!(status.entered_ms, [(created, 4), (running, 5)].into());
        assert_eq!((status.state, status.changed_ms()), (running, 5));
    }

    #[test]
    fn states_are_spelled_as_flink_spells_them() {
        assert_eq!(serde_json::to_value(JobState::Canceled).unwrap(), "CANCELED");
        assert_eq!(serde_json::to_value(CheckpointState::InProgress).unwrap(), "IN_PROGRESS");
    }
}
