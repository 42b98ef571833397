//! The task of a union: merges streams of one type into one, keeping each one's order.

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::output::Consumer;
use super::snapshot::Snapshots;
use crate::checkpoint::{Command, SubtaskSnapshot};
use crate::error::{Error, Result};
use crate::exchange::{Event, Inlet, InputGate};
use crate::metrics::VertexCounters;

/// One subtask of a union.
pub struct UnionSubtask<T> {
    gate: InputGate<T>,
    output: Box<dyn Consumer<T>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: Snapshots,
    counters: VertexCounters,
    flushed: bool,
}

impl<T> std::fmt::Debug for UnionSubtask<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnionSubtask")
    }
}

impl<T: 'static> UnionSubtask<T> {
    /// Builds the task over the inlets of `edges` and makes it a future.
    ///
    /// # Errors
    /// Channel ends of another type: a bug.
    pub fn build(
        edges: &[usize],
        output: Box<dyn Consumer<T>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let mut inlets: Vec<Inlet<T>> = Vec::new();
        for edge in edges {
            inlets.append(&mut context.take_inlets::<Vec<Inlet<T>>>(*edge)?);
        }
        let task = Self {
            gate: InputGate::new(inlets),
            output,
            commands: context.take_commands()?,
            snapshots: Snapshots::new(
                context.vertex,
                context.subtask.index,
                context.reports.clone(),
            ),
            counters: context.counters[context.vertex].clone(),
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

    async fn on_event(&mut self, event: Event<T>) -> Result<()> {
        match event {
            Event::Batch(mut batch) => {
                self.flushed = false;
                self.counters.add(batch.len() as u64, batch.len() as u64);
                self.output.push(&mut batch)?;
            }
            Event::Barrier(barrier) => {
                let mut staged = Vec::new();
                self.output.barrier(barrier, &mut staged)?;
                let fixed = SubtaskSnapshot::default();
                self.snapshots.begin(barrier.checkpoint, fixed, staged);
                self.snapshots.seal();
            }
            // There is no second input: its records have a type without values.
            Event::Side(_) => {}
            Event::End => self.output.end()?,
        }
        self.output.ready().await
    }
}
