//! The task of a vertex without keys: one loop, whatever is done with the records.
//!
//! Owns input, output and snapshots of a subtask. What becomes of its records is a [`Keyless`]'s.

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::output::Consumer;
use super::snapshot::Snapshots;
use crate::checkpoint::{Command, SubtaskSnapshot};
use crate::error::{Error, Result};
use crate::exchange::{Event, Inlet, InputGate};
use crate::metrics::VertexCounters;

/// What a subtask without keys does.
pub(super) trait Keyless: 'static {
    /// Its records.
    type In: 'static;
    /// What it gives out.
    type Out: 'static;

    /// Works on `batch` and adds to `out`, which is empty, what comes of it.
    fn batch(&mut self, batch: Vec<Self::In>, out: &mut Vec<Self::Out>) -> Result<()>;

    /// What a checkpoint holds of it. Default: nothing.
    fn freeze(&mut self) -> Result<SubtaskSnapshot> {
        Ok(SubtaskSnapshot::default())
    }

    /// No more records come; adds to `out` what it has left. Default: nothing.
    fn end(&mut self, _: &mut Vec<Self::Out>) -> Result<()> {
        Ok(())
    }
}

/// Makes a future of the subtask that does `work`.
pub(super) fn start<W: Keyless>(
    work: W,
    inlets: Vec<Inlet<W::In>>,
    output: Box<dyn Consumer<W::Out>>,
    context: &mut BuildContext,
) -> Result<LocalBoxFuture<'static, Result<()>>> {
    let (vertex, reports) = (context.vertex, context.reports.clone());
    let task = Subtask {
        work,
        gate: InputGate::new(inlets),
        output,
        commands: context.take_commands()?,
        snapshots: Snapshots::new(vertex, context.subtask.index, reports),
        counters: context.counters[vertex].clone(),
        out: Vec::new(),
        flushed: true,
    };
    Ok(Box::pin(task.run()))
}

struct Subtask<W: Keyless> {
    work: W,
    gate: InputGate<W::In>,
    output: Box<dyn Consumer<W::Out>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: Snapshots,
    counters: VertexCounters,
    out: Vec<W::Out>,
    flushed: bool,
}

impl<W: Keyless> Subtask<W> {
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

    async fn on_event(&mut self, event: Event<W::In>) -> Result<()> {
        match event {
            Event::Batch(batch) => {
                let records = batch.len() as u64;
                self.work.batch(batch, &mut self.out)?;
                self.give_out(records)?;
            }
            Event::Barrier(barrier) => {
                let mut staged = Vec::new();
                self.output.barrier(barrier, &mut staged)?;
                let fixed = self.work.freeze()?;
                self.snapshots.begin(barrier.checkpoint, fixed, staged);
                self.snapshots.seal();
            }
            // There is no second input: its records have a type without values.
            Event::Side(_) => {}
            Event::End => {
                self.work.end(&mut self.out)?;
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
