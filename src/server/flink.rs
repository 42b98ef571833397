//! The status in the field names of Flink 2's REST API.
//!
//! Fields that Flink has and we have nothing for are `-1`, `0`, `null` or empty as they are there,
//! so that its clients parse the answers. Fields of ours alone come beside them: `docs/operations.md` lists
//! them. Ids are of 32 hexadecimal digits, which Flink's clients parse as such.

use serde_json::{Map, Value, json};

use crate::runtime::{
    CheckpointEntry, CheckpointState, Checkpoints, JobState, JobStatus, Restore, Vertex, hex_id,
};

/// Flink: `ClusterOverview`. One process is one task manager with a slot for each worker.
pub(super) fn overview(status: &JobStatus) -> Value {
    let slots = parallelism(status);
    let ended = status.state.is_final();
    let count = |is: bool| u32::from(is);
    json!({
        "taskmanagers": 1,
        "slots-total": slots,
        "slots-available": if ended { slots } else { 0 },
        "jobs-running": count(!ended),
        "jobs-finished": count(status.state == JobState::Finished),
        "jobs-cancelled": count(status.state == JobState::Canceled),
        "jobs-failed": count(status.state == JobState::Failed),
        "flink-version": env!("CARGO_PKG_VERSION"),
        "flink-commit": "",
    })
}

/// Flink: `JobDetails`, an element of `/jobs/overview`.
pub(super) fn summary(status: &JobStatus, now_ms: u64) -> Value {
    let total: u32 = status.vertices.iter().map(|vertex| vertex.parallelism).sum();
    let mut tasks = Map::from_iter([("total".to_owned(), json!(total))]);
    for state in EXECUTION_STATES {
        let count = if state == execution_state(status.state) { total } else { 0 };
        tasks.insert(state.to_ascii_lowercase(), json!(count));
    }
    json!({
        "jid": status.id,
        "name": status.name,
        "state": status.state,
        "start-time": status.started_ms,
        "end-time": end_time(status),
        "duration": duration(status, now_ms),
        "last-modification": status.changed_ms(),
        "tasks": tasks,
    })
}

/// Flink: `JobDetailsInfo`, the answer to `/jobs/{id}`.
pub(super) fn details(status: &JobStatus, now_ms: u64) -> Value {
    let state = execution_state(status.state);
    let counts: Map<String, Value> = EXECUTION_STATES
        .into_iter()
        .map(|each| (each.to_owned(), json!(if each == state { status.vertices.len() } else { 0 })))
        .collect();
    let vertices: Vec<_> =
        status.vertices.iter().map(|vertex| self::vertex(vertex, status, now_ms)).collect();
    json!({
        "jid": status.id,
        "name": status.name,
        "isStoppable": false,
        "state": status.state,
        "job-type": "STREAMING",
        "start-time": status.started_ms,
        "end-time": end_time(status),
        "duration": duration(status, now_ms),
        "maxParallelism": status.max_parallelism,
        "now": now_ms,
        "timestamps": timestamps(status),
        "vertices": vertices,
        "status-counts": counts,
        "plan": {
            "jid": status.id,
            "name": status.name,
            "type": "STREAMING",
            "nodes": status.vertices.iter().map(node).collect::<Vec<_>>(),
        },
        "pending-operators": 0,
        "attempt": status.attempt,
        "waiting-for": status.waiting_for,
        "last-failure": status.last_failure,
        "store": status.store,
        "position": status.position,
        "lag": status.lag,
        "consumed-capacity": status.consumed,
        "cost": status.cost,
        "throttling": status.throttling,
        "memory": status.memory,
        "input-slowed": status.input_slowed,
        "checkpoint-pauses": status.pauses,
        "counters": status.metrics,
    })
}

/// When each of Flink's states was entered last, 0 for those that never were.
fn timestamps(status: &JobStatus) -> Value {
    let mut all: Map<String, Value> =
        JOB_STATES.into_iter().map(|state| (state.to_owned(), json!(0))).collect();
    all.extend(status.entered_ms.iter().filter_map(|(state, at_ms)| {
        let name = json!(state);
        Some((name.as_str()?.to_owned(), json!(at_ms)))
    }));
    Value::Object(all)
}

/// Flink: `JobPlanInfo.Plan.Node`.
fn node(vertex: &Vertex) -> Value {
    let inputs = vertex.inputs.iter().enumerate().map(|(number, input)| {
        json!({
            "num": number,
            "id": hex_id(&input.from),
            "ship_strategy": input.ship,
            "exchange": "pipelined_bounded",
        })
    });
    json!({
        "id": hex_id(&vertex.id),
        "parallelism": vertex.parallelism,
        "operator": "",
        "operator_strategy": "",
        "description": vertex.name,
        "inputs": inputs.collect::<Vec<_>>(),
        "optimizer_properties": {},
    })
}

/// Flink: `JobDetailsInfo.JobVertexDetailsInfo`. All vertices share the job's slots; `operator` is ours.
fn vertex(vertex: &Vertex, status: &JobStatus, now_ms: u64) -> Value {
    let state = execution_state(status.state);
    let tasks: Map<String, Value> = EXECUTION_STATES
        .into_iter()
        .map(|each| (each.to_owned(), json!(if each == state { vertex.parallelism } else { 0 })))
        .collect();
    json!({
        "id": hex_id(&vertex.id),
        "slotSharingGroupId": status.id,
        "operator": vertex.id,
        "name": vertex.name,
        "maxParallelism": status.max_parallelism,
        "parallelism": vertex.parallelism,
        "status": state,
        "start-time": status.started_ms,
        "end-time": end_time(status),
        "duration": duration(status, now_ms),
        "tasks": tasks,
        "filter-false-positives": vertex.filter_false_positives,
        "metrics": {
            "read-bytes": 0,
            "read-bytes-complete": false,
            "write-bytes": 0,
            "write-bytes-complete": false,
            "read-records": vertex.records_in,
            "read-records-complete": true,
            "write-records": vertex.records_out,
            "write-records-complete": true,
            "accumulated-backpressured-time": 0,
            "accumulated-idle-time": 0,
            "accumulated-busy-time": 0.0,
        },
    })
}

/// Flink: `CheckpointingStatistics`, the answer to `/jobs/{id}/checkpoints`.
pub(super) fn checkpoints(status: &JobStatus) -> Value {
    let checkpoints = &status.checkpoints;
    json!({
        "counts": checkpoints.counts,
        "summary": statistics(checkpoints),
        "latest": {
            "completed": checkpoints.latest_completed.as_ref().map(entry),
            "savepoint": null,
            "failed": checkpoints.latest_failed.as_ref().map(entry),
            "restored": checkpoints.restored.as_ref().map(restored),
        },
        "history": checkpoints.history.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// Flink: `CheckpointStatistics`; `failed` and `completed` have fields of their own there.
fn entry(entry: &CheckpointEntry) -> Value {
    let mut fields = json!({
        "className": match entry.status {
            CheckpointState::InProgress => "in_progress",
            CheckpointState::Completed => "completed",
            CheckpointState::Failed => "failed",
        },
        "id": entry.id,
        "status": entry.status,
        "is_savepoint": false,
        "savepointFormat": null,
        "trigger_timestamp": entry.triggered_ms,
        "latest_ack_timestamp": entry.last_ack_ms.map_or(json!(-1), Value::from),
        "checkpointed_size": entry.written_bytes,
        "state_size": entry.log_bytes,
        "end_to_end_duration": entry.duration_ms,
        "alignment_buffered": 0,
        "processed_data": 0,
        "persisted_data": 0,
        "num_subtasks": entry.subtasks,
        "num_acknowledged_subtasks": entry.acknowledged,
        "checkpoint_type": "CHECKPOINT",
        "tasks": {},
        "entries": entry.entries,
        "position": entry.position,
    });
    match entry.status {
        CheckpointState::InProgress => {}
        CheckpointState::Completed => {
            fields["external_path"] = Value::Null;
            fields["discarded"] = Value::Bool(false);
        }
        CheckpointState::Failed => {
            fields["failure_timestamp"] = json!(entry.triggered_ms + entry.duration_ms);
            fields["failure_message"] = json!(entry.failure);
        }
    }
    fields
}

/// Flink: `RestoredCheckpointStatistics`.
fn restored(restore: &Restore) -> Value {
    json!({
        "id": restore.checkpoint,
        "restore_timestamp": restore.restored_ms,
        "is_savepoint": false,
        "external_path": null,
        "duration": restore.duration_ms,
        "position": restore.position,
        "entries": restore.entries,
    })
}

/// Flink: `CheckpointingStatistics.Summary`, over the completed ones of the history.
fn statistics(checkpoints: &Checkpoints) -> Value {
    let over = |field: fn(&CheckpointEntry) -> u64| {
        let completed = |entry: &&CheckpointEntry| entry.status == CheckpointState::Completed;
        spread(checkpoints.history.iter().filter(completed).map(field).collect())
    };
    json!({
        "checkpointed_size": over(|entry| entry.written_bytes),
        "state_size": over(|entry| entry.log_bytes),
        "end_to_end_duration": over(|entry| entry.duration_ms),
        "alignment_buffered": spread(Vec::new()),
        "processed_data": spread(Vec::new()),
        "persisted_data": spread(Vec::new()),
    })
}

/// Flink: `StatsSummaryDto`.
fn spread(mut values: Vec<u64>) -> Value {
    values.sort_unstable();
    let count = values.len();
    let quantile = |share: f64| {
        let rank = (share * count as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    };
    let sum: u64 = values.iter().sum();
    json!({
        "min": values.first().copied().unwrap_or(0),
        "max": values.last().copied().unwrap_or(0),
        "avg": sum.checked_div(count as u64).unwrap_or(0),
        "p50": quantile(0.5),
        "p90": quantile(0.9),
        "p95": quantile(0.95),
        "p99": quantile(0.99),
        "p999": quantile(0.999),
    })
}

/// Flink: `JobStatus`.
const JOB_STATES: [&str; 11] = [
    "INITIALIZING",
    "CREATED",
    "RUNNING",
    "FAILING",
    "FAILED",
    "CANCELLING",
    "CANCELED",
    "FINISHED",
    "RESTARTING",
    "SUSPENDED",
    "RECONCILING",
];

/// Flink: `ExecutionState`.
const EXECUTION_STATES: [&str; 10] = [
    "CREATED",
    "SCHEDULED",
    "DEPLOYING",
    "RUNNING",
    "FINISHED",
    "CANCELING",
    "CANCELED",
    "FAILED",
    "RECONCILING",
    "INITIALIZING",
];

/// The state of a job's tasks: all vertices start and end together.
fn execution_state(state: JobState) -> &'static str {
    match state {
        JobState::Created => "CREATED",
        JobState::Initializing => "INITIALIZING",
        JobState::Running => "RUNNING",
        JobState::Restarting => "SCHEDULED",
        JobState::Failing | JobState::Cancelling => "CANCELING",
        JobState::Finished => "FINISHED",
        JobState::Canceled => "CANCELED",
        JobState::Failed => "FAILED",
    }
}

fn parallelism(status: &JobStatus) -> u32 {
    status.vertices.iter().map(|vertex| vertex.parallelism).max().unwrap_or(0)
}

fn end_time(status: &JobStatus) -> Value {
    status.ended_ms.map_or(json!(-1), Value::from)
}

fn duration(status: &JobStatus, now_ms: u64) -> u64 {
    status.ended_ms.unwrap_or(now_ms).saturating_sub(status.started_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let spread = spread((1..=100).rev().collect());
        assert_eq!(spread["min"], 1);
        assert_eq!(spread["p50"], 50);
        assert_eq!(spread["p999"], 100);
        assert_eq!(spread["avg"], 50);
    }
}
