//! One simulated process: a run of the job with all that it has spawned, that can be killed, frozen
//! and woken, and asked to stop.
//!
//! Owns the local tasks of a process, so that dropping it is as SIGKILL and not polling it as SIGSTOP.

use std::cell::RefCell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use super::bounds::Bounds;
use super::gate::{Gate, Gated};
use crate::checkpoint::Ended;
use crate::clock::Clock;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::runtime::{Backend, JobStatus, RunOptions, Wiring, run};
use crate::task::JobGraph;

/// How a run has ended, once it has.
type Outcome = Rc<RefCell<Option<Result<Ended>>>>;

/// A process.
pub(super) struct Process {
    pub(super) number: u32,
    pub(super) gate: Gate,
    pub(super) status: watch::Receiver<JobStatus>,
    pub(super) bounds: Bounds,
    local: LocalSet,
    outcome: Outcome,
    stop: Option<oneshot::Sender<()>>,
    asleep: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.number)
    }
}

/// What processes have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl Process {
    /// Starts process `number`; nothing happens before it is polled.
    pub(super) fn start(
        common: &Common,
        number: u32,
        graph: JobGraph,
        options: RunOptions,
        exclusive: bool,
        key_bytes: u64,
    ) -> Self {
        let bounds = Bounds::of(&options.config, key_bytes);
        let gate = Gate::default();
        let (sender, status) = watch::channel(JobStatus::default());
        let backend = Gated::new(Arc::clone(&common.backend), gate.clone(), exclusive);
        let wiring = Wiring {
            clock: common.clock,
            metrics: common.metrics.clone(),
            status: sender,
            ..Wiring::inline(Arc::new(backend))
        };
        let (stop, stopped) = oneshot::channel();
        let outcome = Outcome::default();
        let told = Rc::clone(&outcome);
        let local = LocalSet::new();
        let _detached = local.spawn_local(async move {
            let stopped = async move {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let ended = Box::pin(run(graph, wiring, options, stopped)).await;
            *told.borrow_mut() = Some(ended);
        });
        Self { number, gate, status, bounds, local, outcome, stop: Some(stop), asleep: false }
    }

    /// Asks for a graceful end.
    pub(super) fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Where nobody listens the run has ended.
            let _ = stop.send(());
        }
    }

    /// Whether it was asked to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_none()
    }

    /// As SIGSTOP and SIGCONT.
    pub(super) fn sleep(&mut self, asleep: bool) {
        self.asleep = asleep;
    }

    /// Whether it is stopped so.
    pub(super) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// How it has ended; given once.
    pub(super) fn ended(&mut self) -> Option<Result<Ended>> {
        self.outcome.borrow_mut().take()
    }

    /// Lets it do what it can; whether there is something to look at: it has died or ended.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if !self.asleep
            && !self.gate.is_dead()
            && let Poll::Ready(()) = Pin::new(&mut self.local).poll(context)
        {
            return true;
        }
        self.gate.is_dead() || self.outcome.borrow().is_some()
    }
}
