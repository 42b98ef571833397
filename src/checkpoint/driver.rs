//! The driver: carries out what the coordinator decides, and tells it what came of it.
//!
//! Owns the loop, the calls under way and the timers of one attempt. Does not own a decision: those
//! are `coordinator`'s and `rules`'.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::archive;
use super::claim::set_status;
use super::claimed::Claimed;
use super::committing::{OnLost, SinkCommitter, by_sink, commit_all};
use super::coordinator::{Beginning, Coordinator, Effect, Event};
use super::head::{HeadStatus, HeadStore, Retained};
use super::headkeeper::HeadKeeper;
use super::heartbeat::Heartbeat;
use super::manifest::Manifest;
use super::messages::{Command, Kind, Owed, Plan, Report, SourceSplits};
use super::rules::Mine;
use super::slots::Slots;
use super::stats::History;
use crate::clock::{Clock, Instant};
use crate::config::Checkpointing;
use crate::cost_control::CostControl;
use crate::error::Result;
use crate::handover::Committable;
use crate::ids::{CheckpointId, Name};
use crate::io::Io;
use crate::points;
use crate::state::Store;

/// What the checkpoints of one attempt need.
#[derive(Debug)]
pub struct DriverSetup {
    /// The job's name.
    pub job: Name,
    /// Who takes part.
    pub plan: Plan,
    /// Every source's splits as the attempt begins with them: the manifest's, or those discovered.
    pub sources: Vec<SourceSplits>,
    /// Intervals and bounds.
    pub settings: Checkpointing,
    /// May lengthen the interval.
    pub cost_control: CostControl,
    /// The heads.
    pub heads: Arc<dyn HeadStore>,
    /// Publishes for the sinks.
    pub committer: Arc<dyn SinkCommitter>,
    /// Where calls run.
    pub io: Io,
    /// Time.
    pub clock: Clock,
    /// Statistics, which outlive the attempt.
    pub history: History,
}

/// How the driver and the subtasks reach each other.
pub struct Channels {
    /// One sender for each subtask: `commands[vertex][subtask]`. Unbounded, since the driver must not
    /// wait for a subtask that is aligning; at most three commands come for each checkpoint, and
    /// checkpoints end at their timeout. A closed one is passed over: a subtask that ended badly has
    /// said so by [`Report::Failed`].
    pub commands: Vec<Vec<mpsc::UnboundedSender<Command>>>,
    /// From all subtasks. Bounded by whoever makes it; as many as there are subtasks is enough, since
    /// the driver never waits for anything else before it takes a report.
    pub reports: mpsc::Receiver<Report>,
    /// Ends when a graceful stop is wanted.
    pub stop: BoxFuture<'static, ()>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

/// How an attempt ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All input was read and everything is committed; the head says so.
    Finished,
    /// Stopped after a checkpoint whose output is committed; the head says so.
    Stopped,
}

/// What a call came to.
enum Answer {
    Event(Event),
    Committed(Name, Vec<Committable>),
    Over(HeadStatus),
    CalledOff,
}

type Call = BoxFuture<'static, Result<Answer>>;

/// Runs the checkpoints of one attempt: from its restore until its last checkpoint is committed, it
/// fails, or it is fenced. Goes on with `heartbeat`, which has moved the lease's counter until now, and is
/// left to the caller.
///
/// Costs one `PutItem` (a manifest) and one `UpdateItem` (the head) a checkpoint, and three
/// `UpdateItem` a lease.
///
/// # Errors
/// The first failure of a subtask, a sink, the store or too many checkpoints;
/// [`crate::ErrorKind::Fenced`], which names the new owner. The head's status is left to the caller.
///
/// # Cancel safety
/// May be dropped at any time, as a crash would; not to be polled again after that.
pub async fn run(
    setup: DriverSetup,
    claimed: &Claimed,
    heartbeat: &mut Heartbeat,
    channels: Channels,
) -> Result<Ended> {
    let driver = Driver::new(setup, claimed, heartbeat, channels.commands);
    let keeper = Arc::clone(&driver.keeper);
    match driver.run(channels.reports, channels.stop).await {
        Ok(ended) => Ok(ended),
        Err(error) => Err(keeper.name_owner(error).await),
    }
}

struct Driver<'a> {
    coordinator: Coordinator,
    keeper: Arc<HeadKeeper>,
    heartbeat: &'a mut Heartbeat,
    calls: FuturesUnordered<Call>,
    /// The put of a manifest that may still be called off.
    put: Option<AbortHandle>,
    commits: BTreeMap<Name, Commits>,
    commands: Vec<Vec<mpsc::UnboundedSender<Command>>>,
    slots: Slots,
    store: Arc<dyn Store>,
    mine: Mine,
    setup: DriverSetup,
    /// What [`Coordinator::new`] asked for, until the loop begins.
    first: Vec<Effect>,
    /// Once all is committed: what the head is to say, and the subtasks whose writes it waits for.
    draining: Option<(HeadStatus, BTreeSet<(usize, u32)>)>,
    ended: Option<Ended>,
}

/// One sink's commits: one call at a time, in the order of checkpoints.
#[derive(Default)]
struct Commits {
    under_way: bool,
    waiting: Vec<Committable>,
}

impl<'a> Driver<'a> {
    fn new(
        mut setup: DriverSetup,
        claimed: &Claimed,
        heartbeat: &'a mut Heartbeat,
        commands: Vec<Vec<mpsc::UnboundedSender<Command>>>,
    ) -> Self {
        let now = setup.clock.now();
        setup.history.begin_attempt(claimed.manifest.as_ref().map(|m| m.checkpoint));
        let beginning = Beginning {
            plan: setup.plan.clone(),
            settings: setup.settings.clone(),
            attempt: claimed.mine.attempt.in_versions(),
            checkpoint: claimed.head.checkpoint,
            retained: claimed.retained.clone(),
            manifest: claimed.manifest.as_ref(),
            sources: std::mem::take(&mut setup.sources),
        };
        let (coordinator, first) = Coordinator::new(beginning, now);
        Self {
            coordinator,
            keeper: Arc::clone(heartbeat.keeper()),
            heartbeat,
            calls: FuturesUnordered::new(),
            put: None,
            commits: BTreeMap::new(),
            commands,
            slots: claimed.slots.clone(),
            store: Arc::clone(&claimed.store),
            mine: claimed.mine.clone(),
            setup,
            first,
            draining: None,
            ended: None,
        }
    }

    async fn run(
        mut self,
        mut reports: mpsc::Receiver<Report>,
        stop: BoxFuture<'static, ()>,
    ) -> Result<Ended> {
        let clock = self.setup.clock;
        let mut stop = stop.fuse();
        let mut listening = true;
        let first = std::mem::take(&mut self.first);
        self.carry_out(first)?;
        loop {
            if let Some(ended) = self.ended {
                return Ok(ended);
            }
            // In this order, so that one seed gives one run, and rare things are not starved.
            tokio::select! {
                biased;
                Some(answer) = self.calls.next() => self.answered(answer?)?,
                () = &mut stop => self.tell(Event::Stop)?,
                () = sleep_until(clock, self.coordinator.wake()) => {
                    let struggling = self.store.health().struggling_for > Duration::ZERO;
                    self.tell(Event::Tick { struggling })?;
                }
                error = self.heartbeat.until_it_fails() => return Err(error),
                report = reports.recv(), if listening => match report {
                    Some(report) => self.reported(report)?,
                    // All subtasks are gone: after the last checkpoint, or dropped by the runtime.
                    None => listening = false,
                },
            }
        }
    }

    fn reported(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Ack { vertex, subtask, checkpoint, snapshot } => {
                self.tell(Event::Ack { vertex, subtask, checkpoint, snapshot: *snapshot })
            }
            Report::SourceExhausted { vertex, subtask } => {
                self.tell(Event::Exhausted { vertex, subtask })
            }
            Report::Drained { vertex, subtask } => {
                self.drained(vertex, subtask);
                Ok(())
            }
            Report::MemoryPressure => self.tell(Event::MemoryPressure),
            Report::Failed(error) => Err(error),
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<()> {
        match answer {
            Answer::Event(event) => self.tell(event),
            Answer::Committed(sink, committables) => {
                self.commits.entry(sink.clone()).or_default().under_way = false;
                self.commit_next(&sink);
                let owed = |committable| Owed { sink: sink.clone(), committable };
                self.tell(Event::Acknowledged(committables.into_iter().map(owed).collect()))
            }
            Answer::Over(status) => {
                let stopped = status == HeadStatus::Stopped;
                self.ended = Some(if stopped { Ended::Stopped } else { Ended::Finished });
                Ok(())
            }
            Answer::CalledOff => Ok(()),
        }
    }

    fn tell(&mut self, event: Event) -> Result<()> {
        let clock = self.setup.clock;
        self.coordinator.lengthen(self.setup.cost_control.stretch());
        let effects = self.coordinator.on(event, clock.now(), clock.wall_ms());
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<()> {
        for effect in effects {
            match effect {
                Effect::Trigger { checkpoint, kind } => self.trigger(checkpoint, kind),
                Effect::PutManifest(manifest) => self.put_manifest(*manifest),
                Effect::MoveHead { previous, checkpoint, kind, retained } => {
                    self.move_head(previous, checkpoint, kind, retained);
                }
                Effect::Abort { checkpoint } => self.abort(checkpoint),
                Effect::Completed { checkpoint, oldest_retained } => {
                    self.send_all(Command::Completed { checkpoint, oldest_retained });
                }
                Effect::KeepSlots(named) => self.slots.complete(&named),
                Effect::Commit(owed) => self.commit(&owed),
                Effect::Record(stats) => self.setup.history.record(stats),
                Effect::End(status) => self.drain(status),
                Effect::Fail(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn trigger(&self, checkpoint: CheckpointId, kind: Kind) {
        if kind == Kind::Final {
            points::hit(points::BEFORE_LAST_CHECKPOINT);
        }
        for (vertex, subtask) in self.setup.plan.source_subtasks() {
            self.send(vertex, subtask, Command::Trigger { checkpoint, kind });
        }
    }

    fn abort(&mut self, checkpoint: CheckpointId) {
        self.put.take().iter().for_each(AbortHandle::abort);
        self.send_all(Command::Aborted { checkpoint });
    }

    fn send_all(&self, command: Command) {
        for (vertex, subtask) in self.setup.plan.subtasks() {
            self.send(vertex, subtask, command);
        }
    }

    fn send(&self, vertex: usize, subtask: u32, command: Command) {
        if let Some(sender) = self.commands.get(vertex).and_then(|v| v.get(subtask as usize)) {
            // A subtask that is gone has said why, or is done.
            let _gone = sender.send(command).is_err();
        }
    }

    fn put_manifest(&mut self, manifest: Manifest) {
        let (handle, registration) = AbortHandle::new_pair();
        self.put = Some(handle);
        let (store, slots) = (Arc::clone(&self.store), self.slots.clone());
        let keeper = Arc::clone(&self.keeper);
        let put = self.setup.io.run(async move {
            keeper.confirm_if_stale().await?;
            archive::put(store, slots, manifest).await
        });
        let put = Abortable::new(put, registration).map(|answer| match answer {
            Ok(Ok(put)) => {
                Ok(Answer::Event(Event::ManifestPut { retained: put.retained, bytes: put.bytes }))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(Answer::CalledOff),
        });
        self.calls.push(put.boxed());
    }

    fn move_head(
        &mut self,
        previous: CheckpointId,
        checkpoint: CheckpointId,
        kind: Kind,
        retained: Vec<Retained>,
    ) {
        // From here on nothing calls it off.
        self.put = None;
        let keeper = Arc::clone(&self.keeper);
        let call = self.setup.io.run(async move {
            keeper.advance(previous, checkpoint, kind, retained).await?;
            Ok(Answer::Event(Event::HeadMoved { checkpoint }))
        });
        self.calls.push(call.boxed());
    }

    fn commit(&mut self, owed: &[Owed]) {
        for (sink, committables) in by_sink(owed) {
            self.commits.entry(sink.clone()).or_default().waiting.extend(committables);
            self.commit_next(&sink);
        }
    }

    fn commit_next(&mut self, sink: &Name) {
        let Some(commits) = self.commits.get_mut(sink) else { return };
        if commits.under_way || commits.waiting.is_empty() {
            return;
        }
        commits.under_way = true;
        let committables = std::mem::take(&mut commits.waiting);
        let (committer, clock) = (Arc::clone(&self.setup.committer), self.setup.clock);
        let sink = sink.clone();
        let call = self.setup.io.run(async move {
            let (to, all) = (sink.clone(), committables.clone());
            commit_all(committer, clock, to, all, OnLost::Fail).await?;
            Ok(Answer::Committed(sink, committables))
        });
        self.calls.push(call.boxed());
    }

    /// Has keyed subtasks write what they still have to. Before the head says that the run is over: a crash
    /// leaves a run that is gone on with, and drained then.
    fn drain(&mut self, status: HeadStatus) {
        let keyed: BTreeSet<_> = self.setup.plan.keyed_subtasks().collect();
        if keyed.is_empty() {
            return self.end(status);
        }
        for (vertex, subtask) in &keyed {
            self.send(*vertex, *subtask, Command::Drain);
        }
        self.draining = Some((status, keyed));
    }

    fn drained(&mut self, vertex: usize, subtask: u32) {
        let Some((status, waiting)) = &mut self.draining else { return };
        waiting.remove(&(vertex, subtask));
        if waiting.is_empty() {
            let status = *status;
            self.draining = None;
            self.end(status);
        }
    }

    fn end(&mut self, status: HeadStatus) {
        let (heads, clock) = (Arc::clone(&self.setup.heads), self.setup.clock);
        let (job, mine) = (self.setup.job.clone(), self.mine.clone());
        let call = self.setup.io.run(async move {
            set_status(&*heads, clock, &job, &mine, status).await?;
            Ok(Answer::Over(status))
        });
        self.calls.push(call.boxed());
    }
}

async fn sleep_until(clock: Clock, at: Option<Instant>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
