//! One attempt: from its claim to its end. Flink: `Execution`.
//!
//! ```text
//! claim ─► types compared ─► outputs prepared, cleaned ─► splits and log read ─► workers started ─► driver … ─► workers joined
//!   └────────────────────── the lease's counter moves, a stop is heard ──────────────────────────────────┘
//! ```
//!
//! Where it fails, the counter moves on until the next attempt has claimed (`job`), but for as long as
//! `task.cancellation.timeout` only while a worker does not end: no attempt follows beside one that is at work, and
//! another process is to take over.
//! Blocking work of its sinks and commits may outlast it, and the next attempt does not wait for that: staged files
//! have its number in their names, and go with the cleaning of an attempt after it; what it publishes a manifest
//! names, so that is published once, by whichever comes first.

use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tokio::sync::mpsc;

use super::crew::{Bound, Crew, Doing, Patience, Stuck};
use super::job::{Shared, Stop};
use super::restore::{self, RestorePlan};
use super::{operator_state, sinks, worker};
use crate::checkpoint::{
    Channels, Claimed, Command, DriverSetup, Ended, Heartbeat, Plan, Report, Uploader, VertexPlan,
    run,
};
use crate::clock::Instant;
use crate::connector::RunIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, SubtaskId};
use crate::key_group::MaxParallelism;
use crate::metrics::VertexCounters;
use crate::task::{BuildContext, Pressure};
use crate::teeth::{Tooth, bites};

/// What an attempt counts while it runs.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) pressure: Pressure,
    pub(super) counters: Arc<[VertexCounters]>,
    /// When the first batch was processed.
    pub(super) first_record: Arc<OnceLock<Instant>>,
    /// What attempts before it had read.
    pub(super) read_before: u64,
}

/// Runs one attempt on a claim that was won; `None`: it was to stop before its workers were started, so
/// there is no last checkpoint.
pub(super) async fn attempt(
    shared: &Shared,
    claimed: &Claimed,
    heartbeat: &mut Heartbeat,
    stop: Stop,
) -> Result<Option<Ended>> {
    let started = shared.clock.now();
    let config = &shared.config;
    let max_parallelism = MaxParallelism::new(config.max_parallelism)?;
    // Before outputs are touched.
    let (states, key_types) = restore::states(&shared.graph, claimed.manifest.as_ref())?;
    let operator_formats = operator_state::formats(&shared.graph, claimed.manifest.as_ref())?;
    let now_ms = shared.clock.wall_ms();
    let lifetimes = restore::lifetimes(&shared.graph, claimed.manifest.as_ref(), now_ms);
    let restore = async {
        prepare_outputs(shared, claimed).await?;
        restore::plan(
            &shared.graph,
            claimed,
            shared.first_look.take(claimed.manifest.as_ref()),
            &lifetimes,
            (config.parallelism, max_parallelism),
            &shared.metrics,
            &shared.io,
        )
        .await
    };
    // Where capacity is short, that takes longer than the lease, and than anybody waits after Ctrl-C.
    let plan = tokio::select! {
        biased;
        plan = heartbeat.beside(restore) => plan?,
        () = stop.clone() => return Ok(None),
    };
    let unbounded = if bites(Tooth::NothingLeaves) { u64::MAX / 4 } else { 0 };
    let cache_bytes = config.state.cache_bytes + unbounded;
    let live = Live {
        pressure: Pressure::new(cache_bytes, config.state.log_max_bytes),
        counters: shared.graph.vertices.iter().map(|_| VertexCounters::default()).collect(),
        first_record: Arc::new(OnceLock::new()),
        // Before the workers start, which may have read much before the next line here.
        read_before: shared.metrics.snapshot().records_read,
    };
    let (reports, received) = mpsc::channel(report_capacity(shared));
    let (sources, entries) = (plan.sources.clone(), plan.entries);
    let deployment = deploy(shared, claimed, plan, max_parallelism, &live, &reports)?;
    shared.status.restored(claimed, started, entries, &live);

    let setup = DriverSetup {
        job: shared.job.clone(),
        plan: Plan {
            vertices: vertex_plans(shared),
            states,
            operator_formats,
            key_types,
            lifetimes,
        },
        sources,
        settings: config.checkpointing.clone(),
        cost_control: shared.cost_control.clone(),
        heads: shared.backend.heads(),
        committer: Arc::clone(&shared.sinks) as _,
        io: shared.io.clone(),
        clock: shared.clock,
        history: shared.history.clone(),
    };
    let channels =
        Channels { commands: deployment.commands, reports: received, stop: stop.clone().boxed() };
    let ended = tokio::select! {
        biased;
        ended = run(setup, claimed, heartbeat, channels) => ended,
        never = forward_pressure(&live.pressure, &reports) => match never {},
    };
    // Whoever asks for a stop waits no longer than for a lease: no attempt follows then.
    let patience = Patience { whole: config.cancellation_timeout, stopping: config.lease, stop };
    let how = ended.as_ref().map_or_else(|error| format!("with: {error}"), |_| "well".to_owned());
    let joined = deployment.crew.join(&shared.graph, shared.clock, patience, how);
    match ended {
        Ok(ended) => {
            if let Err(Stuck { who, waited, .. }) = joined.await {
                tracing::warn!("the job has ended, but for {who}, after {waited:?}");
            }
            Ok(Some(ended))
        }
        // Another attempt may follow, and does so here.
        Err(error) => match heartbeat.throughout(joined).await {
            Ok(()) => Err(error),
            Err(stuck) if error.kind() == ErrorKind::Fenced => {
                tracing::warn!("{} does not return", stuck.who);
                Err(error)
            }
            Err(stuck) => Err(does_not_end(&stuck, error)),
        },
    }
}

/// The attempt failed with `error`, and has not ended.
fn does_not_end(stuck: &Stuck, error: Error) -> Error {
    let Stuck { who, waited, bound } = stuck;
    let why = match bound {
        Bound::Whole => {
            "a function of the job hangs. No other attempt is begun beside it in this process; run the job again, \
             in another one, to go on. How long is waited is task.cancellation.timeout"
        }
        Bound::Stopping => {
            "a function of the job hangs, or takes long. After a stop nothing is waited for longer than for a lease \
             (high-availability.lease); run the job again to go on"
        }
    };
    let message =
        format!("{who} does not return, {waited:?} after the attempt had failed ({error}): {why}");
    Error::new(ErrorKind::Stuck, message).with_source(error)
}

/// Tells the coordinator when memory is wanted back.
async fn forward_pressure(
    pressure: &Pressure,
    reports: &mpsc::Sender<Report>,
) -> std::convert::Infallible {
    loop {
        pressure.early().await;
        // Waits for room: who asked may be stopped until a checkpoint completes, and not ask again.
        let _over = reports.send(Report::MemoryPressure).await.is_err();
    }
}

/// A subtask sends a report for each barrier and one at its end, and at most a few barriers can be
/// between a source and it.
fn report_capacity(shared: &Shared) -> usize {
    shared.graph.vertices.len() * shared.config.parallelism as usize * 16 + 16
}

async fn prepare_outputs(shared: &Shared, claimed: &Claimed) -> Result<()> {
    let run = RunIdentity {
        job: shared.job.clone(),
        incarnation: claimed.head.incarnation,
        attempt: claimed.mine.attempt,
        owner: claimed.mine.owner.clone(),
        fresh: claimed.manifest.is_none(),
        added: false,
        // Also where a run that never got to a checkpoint is gone on with: nothing in the output
        // is its own yet.
        replace: shared.replace_output,
    };
    let recorded = claimed.head.identity.graph.clone();
    sinks::prepare(&shared.graph, run, recorded, &shared.io).await?;
    let owed = claimed.manifest.as_ref().map_or(&[][..], |m| &m.committables);
    let owed = if bites(Tooth::StagedRemovedEarly) { &[] } else { owed };
    shared.sinks.clean(claimed.mine.attempt, owed).await
}

fn vertex_plans(shared: &Shared) -> Vec<VertexPlan> {
    let vertices = shared.graph.vertices.iter().map(|vertex| {
        let id = shared.graph.operators[vertex.operator()].clone();
        VertexPlan {
            source: vertex.source().map(|_| id.clone()),
            operator_state: (!vertex.operator_states().is_empty()).then(|| id.clone()),
            keyed: vertex.is_keyed().then_some(id),
            parallelism: shared.config.parallelism,
        }
    });
    vertices.collect()
}

/// Running workers and the way to their subtasks.
struct Deployment {
    crew: Crew,
    commands: Vec<Vec<mpsc::UnboundedSender<Command>>>,
}

fn deploy(
    shared: &Shared,
    claimed: &Claimed,
    plan: RestorePlan,
    max_parallelism: MaxParallelism,
    live: &Live,
    reports: &mpsc::Sender<Report>,
) -> Result<Deployment> {
    let (config, graph) = (&shared.config, &shared.graph);
    let parallelism = config.parallelism;
    let checkpoint = claimed.manifest.as_ref().map_or(CheckpointId::NONE, |m| m.checkpoint);
    let oldest = claimed.retained.first().map_or(checkpoint, |k| k.retained.checkpoint);
    let uploader = Uploader::new(
        Arc::clone(&claimed.store),
        claimed.slots.clone(),
        claimed.mine.attempt.in_versions(),
        shared.metrics.clone(),
    );
    let mut contexts: Vec<BuildContext> = plan
        .subtasks
        .into_iter()
        .zip(0..)
        .map(|(restored, index)| BuildContext {
            subtask: SubtaskId { index, parallelism },
            attempt: claimed.mine.attempt,
            restored_checkpoint: checkpoint,
            input_ended: claimed.manifest.as_ref().is_some_and(|m| m.input_ended),
            oldest_retained: oldest,
            keyed_operators: graph.vertices.iter().filter(|v| v.is_keyed()).count() as u64,
            operators: Arc::clone(&graph.operators),
            config: Arc::clone(config),
            max_parallelism,
            io: shared.io.clone(),
            clock: shared.clock,
            metrics: shared.metrics.clone(),
            counters: Arc::clone(&live.counters),
            first_record: Arc::clone(&live.first_record),
            cost_control: shared.cost_control.clone(),
            store: Arc::clone(&claimed.store),
            uploader: uploader.clone(),
            pressure: live.pressure.clone(),
            reports: reports.clone(),
            vertex: 0,
            commands: None,
            restored,
            outlets: std::collections::HashMap::new(),
            inlets: std::collections::HashMap::new(),
        })
        .collect();
    for (edge, channels) in graph.edges.iter().enumerate() {
        let ends = channels.open(parallelism, config.exchange.channel_batches as usize);
        for ((context, outlets), inlets) in contexts.iter_mut().zip(ends.outlets).zip(ends.inlets) {
            context.outlets.insert(edge, outlets);
            context.inlets.insert(edge, inlets);
        }
    }
    let mut commands: Vec<Vec<_>> = graph.vertices.iter().map(|_| Vec::new()).collect();
    let mut crew = Crew::default();
    for context in contexts {
        let receivers = commands.iter_mut().map(|of_vertex| {
            let (sender, receiver) = mpsc::unbounded_channel();
            of_vertex.push(sender);
            receiver
        });
        let receivers: Vec<_> = receivers.collect();
        let name = format!("millpond-{}", context.subtask.index);
        let graph = Arc::clone(graph);
        let doing = Doing::nothing();
        let told = doing.clone();
        let main = Box::new(move || worker::run(graph, context, receivers, told).boxed_local());
        crew.add(shared.place.start_worker(name, main)?, doing);
    }
    Ok(Deployment { crew, commands })
}
