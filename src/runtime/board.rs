//! The status of a run: what the engine knows, put into the plain data that others watch.
//!
//! Owns the watch's sending end. Nothing reads the engine through it, and the engine never waits for it.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::attempt::Live;
use super::backend::Backend;
use super::bill::Bill;
use super::job::{RunOptions, final_state};
use super::status::{
    CapacityUnits, CheckpointCounts, CheckpointEntry, CheckpointState, Checkpoints, Cost, JobState,
    JobStatus, Memory, Restore, Ship, Start, Vertex, VertexInput,
};
use crate::checkpoint::rules::{inputs_of, name_of};
use crate::checkpoint::{Claimed, Ended, History, Overview, Stats, Status};
use crate::clock::{Clock, Instant};
use crate::connector::Guarantee;
use crate::cost_control::CostControl;
use crate::dynamodb::Throttling;
use crate::error::{Error, Result};
use crate::ids::{Attempt, Name};
use crate::metrics::{Lag, Metrics, VertexCounters};
use crate::task::{JobGraph, Reason};

/// How often running totals are brought up to date.
const EVERY: Duration = Duration::from_millis(20);

/// Keeps the status of one run.
pub(super) struct Board {
    status: watch::Sender<JobStatus>,
    clock: Clock,
    metrics: Metrics,
    history: History,
    attempt: Mutex<Option<Current>>,
    bill: Mutex<Bill>,
    cost_control: CostControl,
}

/// What the current attempt counts.
struct Current {
    live: Live,
    /// Records before the position that was restored.
    position: u64,
    /// When the attempt began, before its restore.
    began: Instant,
}

impl Board {
    pub(super) fn new(
        status: watch::Sender<JobStatus>,
        options: &RunOptions,
        graph: &JobGraph,
        backend: &dyn Backend,
        clock: Clock,
        metrics: &Metrics,
        history: &History,
    ) -> Self {
        status.send_modify(|status| {
            status.begin(&options.job, clock.wall_ms());
            status.max_parallelism = options.config.max_parallelism;
            status.store = backend.describe();
            status.not_replayable = !is_replayable(graph);
            status.at_least_once = at_least_once(graph);
            status.memory.budget_bytes = options.config.state.cache_bytes;
            status.vertices = vertices(graph, options.config.parallelism);
        });
        let cost_control = CostControl::default();
        Self {
            status,
            clock,
            metrics: metrics.clone(),
            history: history.clone(),
            attempt: Mutex::new(None),
            bill: Mutex::new(Bill::new(
                &options.config,
                backend.provisioned(),
                cost_control.clone(),
                clock.now(),
            )),
            cost_control,
        }
    }

    /// What the run does so as to cost less.
    pub(super) fn cost_control(&self) -> CostControl {
        self.cost_control.clone()
    }

    pub(super) fn initializing(&self) {
        self.enter(JobState::Initializing);
    }

    /// A stop is wanted: after that only an end is reported, good or bad.
    pub(super) fn cancelling(&self) {
        self.enter(JobState::Cancelling);
    }

    /// No attempt follows the one that failed.
    pub(super) fn failing(&self) {
        self.status.send_modify(|status| status.enter(JobState::Failing, self.clock.wall_ms()));
    }

    fn enter(&self, state: JobState) {
        self.status.send_modify(|status| {
            if status.state != JobState::Cancelling {
                status.enter(state, self.clock.wall_ms());
            }
        });
    }

    /// Attempt `attempt` of another process holds the job.
    pub(super) fn waiting(&self, attempt: Attempt) {
        self.status.send_modify(|status| status.waiting_for = Some(attempt.0));
    }

    pub(super) fn claimed(&self, claimed: &Claimed) {
        self.status.send_modify(|status| {
            status.waiting_for = None;
            status.attempt = claimed.mine.attempt.0;
            if status.start.is_none() {
                status.start = Some(match &claimed.manifest {
                    None => Start::Fresh,
                    Some(manifest) => Start::Resumed { checkpoint: manifest.checkpoint.0 },
                });
            }
        });
    }

    /// The workers of an attempt that began at `began` have been started.
    pub(super) fn restored(&self, claimed: &Claimed, began: Instant, entries: u64, live: &Live) {
        let position = claimed.manifest.as_ref().map_or(0, |m| m.records);
        *self.current() = Some(Current { live: live.clone(), position, began });
        let took = self.clock.now() - began;
        self.enter(JobState::Running);
        self.status.send_modify(|status| {
            status.position = position;
            status.checkpoints.restored = claimed.manifest.as_ref().map(|manifest| Restore {
                checkpoint: manifest.checkpoint.0,
                restored_ms: self.clock.wall_ms(),
                duration_ms: millis(took),
                position,
                entries,
                first_record_ms: None,
            });
        });
    }

    /// Whether any attempt has come as far as to start its workers.
    pub(super) fn has_run(&self) -> bool {
        self.current().is_some()
    }

    pub(super) fn restarting(&self, error: &Error) {
        self.status.send_modify(|status| {
            status.enter(JobState::Restarting, self.clock.wall_ms());
            status.last_failure = Some(error.to_string());
            status.last_failure_kind = Some(error.kind());
        });
    }

    /// Brings running totals up to date, for ever.
    pub(super) async fn keep_current(&self, backend: &dyn Backend) -> Infallible {
        loop {
            self.clock.sleep(EVERY).await;
            self.update(backend, false);
        }
    }

    pub(super) fn ended(&self, backend: &dyn Backend, result: &Result<Ended>) {
        self.update(backend, true);
        self.status.send_modify(|status| end(status, result, self.clock.wall_ms()));
    }

    /// The bill, which takes longer, only now and then and at the end.
    fn update(&self, backend: &dyn Backend, last: bool) {
        let (metrics, overview) = (self.metrics.snapshot(), self.history.overview());
        let consumed = backend.consumed();
        let money = self.look_at_bill(backend, &consumed, metrics.records_read, last);
        let current = self.current();
        self.status.send_modify(|status| {
            status.metrics = metrics;
            status.pauses = self.metrics.checkpoint_pauses();
            status.consumed = consumed;
            if let Some((cost, throttling)) = money {
                (status.cost, status.throttling) = (cost, throttling);
            }
            status.checkpoints = checkpoints(overview, status.checkpoints.restored);
            if let Some(current) = &*current {
                current.show(status);
            }
        });
    }

    fn look_at_bill(
        &self,
        backend: &dyn Backend,
        consumed: &CapacityUnits,
        records: u64,
        last: bool,
    ) -> Option<(Cost, Throttling)> {
        let mut bill = self.bill.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        (last || bill.is_due(now)).then(|| {
            let cost = bill.look(consumed, backend.shares(), records, now);
            (cost, backend.throttling())
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn show(&self, status: &mut JobStatus) {
        status.position = self.position + status.metrics.records_read - self.live.read_before;
        for (vertex, counters) in status.vertices.iter_mut().zip(self.live.counters.iter()) {
            (vertex.records_in, vertex.records_out) = counters.get();
            vertex.filter_false_positives = counters.filter_false_positives();
        }
        let lags = self.live.counters.iter().map(VertexCounters::lag);
        status.lag = lags.fold(Lag::default(), Lag::and);
        let memory = self.live.pressure.memory();
        status.memory = Memory {
            used_bytes: memory.resident_bytes + memory.fixed_bytes,
            most_bytes: self.live.pressure.most_bytes(),
            log_bytes: memory.pinned_bytes,
            entries: memory.rows,
            filter_bytes: memory.fixed_bytes,
            ..status.memory
        };
        status.input_slowed = self.live.pressure.stopped().map(|reason| match reason {
            Reason::Uncommitted => format!(
                "memory: uncommitted changes take {} bytes, a checkpoint must complete first",
                memory.dirty_bytes
            ),
            Reason::Log => format!(
                "memory: the log holds {} bytes of entries, its oldest checkpoints must be \
                 materialised first; state.checkpoints.num-retained holds them back",
                memory.pinned_bytes
            ),
            Reason::Memory => format!(
                "memory: state takes {} bytes, more than state.backend.dynamodb.cache-size lets it, and what \
                 is newer than the table cannot leave before it is committed and materialised",
                memory.resident_bytes
            ),
        });
        if let (Some(restored), Some(at)) =
            (&mut status.checkpoints.restored, self.live.first_record.get())
        {
            restored.first_record_ms = Some(millis(at.saturating_duration_since(self.began)));
        }
    }
}

/// The status and the result of a run that could not even be described.
pub(super) fn refused(
    status: &watch::Sender<JobStatus>,
    job: &Name,
    clock: Clock,
    error: Error,
) -> Result<Ended> {
    let result = Err(error);
    never_began(status, job, clock, &result);
    result
}

/// The status of a run that has ended before it began.
pub(super) fn never_began(
    status: &watch::Sender<JobStatus>,
    job: &Name,
    clock: Clock,
    result: &Result<Ended>,
) {
    status.send_modify(|status| {
        status.begin(job, clock.wall_ms());
        end(status, result, clock.wall_ms());
    });
}

/// Makes `status` that of a run which has ended, and waits for nothing any more.
fn end(status: &mut JobStatus, result: &Result<Ended>, now_ms: u64) {
    status.enter(final_state(result), now_ms);
    status.ended_ms = Some(now_ms);
    status.waiting_for = None;
    status.input_slowed = None;
    if let Err(error) = result {
        status.last_failure = Some(error.to_string());
        status.last_failure_kind = Some(error.kind());
    }
}

/// Whether all input can be gone back to.
pub(super) fn is_replayable(graph: &JobGraph) -> bool {
    graph.vertices.iter().filter_map(|vertex| vertex.source()).all(|source| source.replayable())
}

fn at_least_once(graph: &JobGraph) -> Vec<String> {
    let sinks = graph.sinks.iter().map(|(_, sink)| sink);
    sinks.filter(|s| s.guarantee() == Guarantee::AtLeastOnce).map(|s| s.describe()).collect()
}

fn vertices(graph: &JobGraph, parallelism: u32) -> Vec<Vertex> {
    let lines: Vec<&str> = graph.description.lines().collect();
    let id = |operator: usize| graph.operators[operator].to_string();
    graph
        .vertices
        .iter()
        .map(|vertex| Vertex {
            id: id(vertex.operator()),
            name: lines
                .get(vertex.operator())
                .map_or_else(String::new, |line| name_of(line).to_owned()),
            parallelism,
            inputs: inputs(lines.get(vertex.operator()).copied(), vertex.is_keyed()),
            records_in: 0,
            records_out: 0,
            filter_false_positives: None,
        })
        .collect()
}

/// Only sinks are fused to what they read, and nothing reads those: each input is a vertex.
fn inputs(line: Option<&str>, is_keyed: bool) -> Vec<VertexInput> {
    let ids = line.map(inputs_of).unwrap_or_default().into_iter().enumerate();
    ids.map(|(number, from)| VertexInput {
        from: from.to_owned(),
        ship: match (is_keyed, number) {
            (true, 0) => Ship::Hash,
            (true, _) => Ship::Broadcast,
            (false, _) => Ship::Forward,
        },
    })
    .collect()
}

fn checkpoints(overview: Overview, restored: Option<Restore>) -> Checkpoints {
    let counts = overview.counts;
    Checkpoints {
        counts: CheckpointCounts {
            restored: counts.restored,
            total: counts.completed + counts.failed + counts.in_progress,
            in_progress: counts.in_progress,
            completed: counts.completed,
            failed: counts.failed,
        },
        latest_completed: overview.latest_completed.as_ref().map(entry),
        latest_failed: overview.latest_failed.as_ref().map(entry),
        restored,
        history: overview.history.iter().map(entry).collect(),
    }
}

fn entry(stats: &Stats) -> CheckpointEntry {
    let duration_ms = stats.duration.map_or(0, millis);
    CheckpointEntry {
        id: stats.id.0,
        status: match stats.status {
            Status::InProgress => CheckpointState::InProgress,
            Status::Completed => CheckpointState::Completed,
            Status::Failed => CheckpointState::Failed,
        },
        triggered_ms: stats.triggered_ms,
        last_ack_ms: stats.duration.map(|_| stats.triggered_ms + duration_ms),
        duration_ms,
        written_bytes: stats.bytes,
        log_bytes: stats.log_bytes,
        entries: stats.entries,
        subtasks: stats.subtasks as u32,
        acknowledged: stats.acknowledged as u32,
        position: stats.records,
        failure: stats.failure.clone(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A candidate that had found the job finished used to wait for its owner in its last status.
    #[test]
    fn a_run_that_has_ended_waits_for_no_other_attempt() {
        for result in
            [Ok(Ended::Finished), Ok(Ended::Stopped), Err(Error::internal("it".to_owned()))]
        {
            let mut status = JobStatus { waiting_for: Some(3), ..JobStatus::default() };
            end(&mut status, &result, 9);
            assert_eq!((status.waiting_for, status.ended_ms), (None, Some(9)), "{result:?}");
        }
    }

    #[test]
    fn a_vertex_reads_what_its_line_of_the_graph_says() {
        let input = |from: &str, ship| VertexInput { from: from.to_owned(), ship };
        let connected = inputs(Some("broadcast-process prices [last] <- trades, rates"), true);
        assert_eq!(connected, [input("trades", Ship::Hash), input("rates", Ship::Broadcast)]);
        let union = inputs(Some("union both <- left, right"), false);
        assert_eq!(union, [input("left", Ship::Forward), input("right", Ship::Forward)]);
        assert_eq!(inputs(Some("source left"), false), []);
    }
}
