//! The task of an operator without keys: runs the user's function over what its worker reads, and saves the
//! operator state of its subtask.

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::output::Consumer;
use super::snapshot::Snapshots;
use crate::checkpoint::{Command, SubtaskSnapshot};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::exchange::{Event, Inlet, InputGate};
use crate::metrics::VertexCounters;
use crate::operator::{OperatorContext, OperatorProcess};
use crate::state::unkeyed::OperatorState;

/// One subtask of an operator without keys.
pub struct ProcessSubtask<P: OperatorProcess> {
    process: P,
    state: OperatorState,
    gate: InputGate<P::In>,
    output: Box<dyn Consumer<P::Out>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: Snapshots,
    counters: VertexCounters,
    clock: Clock,
    out: Vec<P::Out>,
    flushed: bool,
}

impl<P: OperatorProcess> std::fmt::Debug for ProcessSubtask<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessSubtask").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<P: OperatorProcess> ProcessSubtask<P> {
    /// Builds the task of operator `index` over the inlets of `edge`, restores its state, and makes it a
    /// future.
    ///
    /// # Errors
    /// State that cannot be restored.
    pub fn build(
        process: P,
        mut state: OperatorState,
        index: usize,
        edge: usize,
        output: Box<dyn Consumer<P::Out>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let inlets = context.take_inlets::<Vec<Inlet<P::In>>>(edge)?;
        let restored = context.restored.remove(&index).unwrap_or_default();
        state.restore(restored.operator_state)?;
        let task = Self {
            process,
            state,
            gate: InputGate::new(inlets),
            output,
            commands: context.take_commands()?,
            snapshots: Snapshots::new(
                context.vertex,
                context.subtask.index,
                context.reports.clone(),
            ),
            counters: context.counters[context.vertex].clone(),
            clock: context.clock,
            out: Vec::new(),
            flushed: true,
        };
        Ok(Box::pin(task.run()))
    }

    async fn run(mut self) -> Result<()> {
        loop {
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    None => return Err(Error::internal("the coordinator has ended")),
                    Some(Command::Completed { checkpoint, .. }) => {
                        self.snapshots.completed(checkpoint);
                    }
                    Some(Command::Aborted { checkpoint }) => self.snapshots.aborted(checkpoint),
                    Some(Command::Trigger { .. } | Command::Drain) => {}
                },
                progress = self.snapshots.progress() => { progress?; }
                event = self.gate.next() => self.on_event(event?).await?,
                () = std::future::ready(()), if !self.flushed => {
                    self.flushed = true;
                    self.output.flush()?;
                }
            }
        }
    }

    async fn on_event(&mut self, event: Event<P::In>) -> Result<()> {
        match event {
            Event::Batch(batch) => {
                let records = batch.len() as u64;
                let now_ms = self.clock.wall_ms();
                let mut context = OperatorContext::new(&mut self.state, &mut self.out, now_ms);
                for record in batch {
                    self.process.process(record, &mut context).map_err(Error::of_function)?;
                }
                self.give_out(records)?;
            }
            Event::Barrier(barrier) => {
                let mut staged = Vec::new();
                self.output.barrier(barrier, &mut staged)?;
                let operator_state = self.state.freeze()?;
                let fixed = SubtaskSnapshot { operator_state, ..SubtaskSnapshot::default() };
                self.snapshots.begin(barrier.checkpoint, fixed, staged);
                self.snapshots.seal();
            }
            // There is no second input: its records have a type without values.
            Event::Side(_) => {}
            Event::End => {
                let now_ms = self.clock.wall_ms();
                let mut context = OperatorContext::new(&mut self.state, &mut self.out, now_ms);
                self.process.end(&mut context).map_err(Error::of_function)?;
                self.give_out(0)?;
                self.output.end()?;
            }
        }
        self.output.ready().await
    }

    fn give_out(&mut self, records: u64) -> Result<()> {
        self.flushed = false;
        self.counters.add(records, self.out.len() as u64);
        if self.out.is_empty() { Ok(()) } else { self.output.push(&mut self.out) }
    }
}
