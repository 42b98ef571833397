//! The task of a source: drives a reader, injects barriers, stops under memory pressure.
//!
//! Barriers pass a source that waits for data, and one that has no input left. A batch is pushed
//! whole before the next command is looked at, so a position never stands inside one.

use std::sync::Arc;

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::output::Consumer;
use super::pressure::Pressure;
use super::snapshot::{Snapshots, send_report};
use crate::checkpoint::{Command, Kind, Report, SubtaskSnapshot};
use crate::connector::{Progress, Reader, ReaderContext, Source};
use crate::error::{Error, Result};
use crate::ids::{CheckpointId, Name};
use crate::metrics::{Lag, Metrics, VertexCounters};
use crate::record::{Barrier, Batch};
use crate::teeth::{Tooth, bites};

/// Partial batches leave after so many input batches even if the source never waits.
const FLUSH_EVERY: u32 = 8;

/// What turns a reader's batch into records: as they are, or with their origins.
pub type Emit<T, O> = fn(&mut Batch<T>, &mut Vec<O>);

/// One subtask of a source.
pub struct SourceSubtask<T, O> {
    operator: Name,
    vertex: usize,
    subtask: u32,
    reader: Box<dyn Reader<T>>,
    emit: Emit<T, O>,
    output: Box<dyn Consumer<O>>,
    commands: mpsc::UnboundedReceiver<Command>,
    reports: mpsc::Sender<Report>,
    snapshots: Snapshots,
    pressure: Pressure,
    metrics: Metrics,
    counters: VertexCounters,
    batch: Batch<T>,
    records: Vec<O>,
    /// Read in this attempt.
    records_read: u64,
    reading: bool,
    /// The operators after this one know of the end of all input, from this attempt or from what it has restored.
    ended: bool,
    pushes_since_flush: u32,
    /// As last told.
    lag: Lag,
}

impl<T, O> std::fmt::Debug for SourceSubtask<T, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceSubtask({})", self.operator)
    }
}

impl<T: Send + 'static, O: 'static> SourceSubtask<T, O> {
    /// Builds the task of operator `index` and makes it a future.
    ///
    /// # Errors
    /// A split that cannot be read.
    pub fn build<S: Source<Item = T>>(
        source: &Arc<S>,
        index: usize,
        with_origin: bool,
        emit: Emit<T, O>,
        output: Box<dyn Consumer<O>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let operator = context.operator(index);
        let splits = context.restored.remove(&index).unwrap_or_default().splits;
        let reader = source.reader(
            splits,
            ReaderContext {
                operator: operator.clone(),
                subtask: context.subtask,
                io: context.io.of_functions(),
                clock: context.clock,
                with_origin,
                metrics: context.metrics.clone(),
                batch_size: context.config.exchange.batch_records as usize,
            },
        )?;
        let subtask = context.subtask.index;
        let task = Self {
            vertex: context.vertex,
            subtask,
            reader,
            emit,
            output,
            commands: context.take_commands()?,
            reports: context.reports.clone(),
            snapshots: Snapshots::new(context.vertex, subtask, context.reports.clone()),
            pressure: context.pressure.clone(),
            metrics: context.metrics.clone(),
            counters: context.counters[context.vertex].clone(),
            batch: Batch::default(),
            records: Vec::new(),
            records_read: 0,
            reading: true,
            ended: context.input_ended && !bites(Tooth::EndedTwice),
            pushes_since_flush: 0,
            lag: Lag::default(),
            operator,
        };
        Ok(Box::pin(task.run()))
    }

    async fn run(mut self) -> Result<()> {
        let place = format!("source {}", self.operator);
        loop {
            self.step().await.map_err(|e| e.at(place.clone()))?;
        }
    }

    async fn step(&mut self) -> Result<()> {
        let waits = self.reading && self.pressure.stopped().is_some();
        tokio::select! {
            biased;
            command = self.commands.recv() => {
                let command = command.ok_or_else(|| Error::internal("the coordinator has ended"))?;
                return self.on_command(command).await;
            }
            progress = self.snapshots.progress() => progress.map(drop),
            () = self.pressure.released(), if waits => {
                self.metrics.add_pressure_waits(1);
                Ok(())
            }
            progress = self.reader.next(&mut self.batch), if self.reading && !waits => {
                let progress = progress?;
                return self.push(progress).await;
            }
            // The reader waits: what is partial should not wait with it.
            () = std::future::ready(()), if self.pushes_since_flush > 0 => {
                self.pushes_since_flush = 0;
                self.tell_lag();
                self.output.flush()
            }
        }
    }

    async fn push(&mut self, progress: Progress) -> Result<()> {
        self.push_batch()?;
        // A reader that always has something, and a chain that lets little of it through, wait for nothing:
        // without this the other tasks of the worker would never have their turn.
        tokio::task::consume_budget().await;
        if progress == Progress::End {
            self.reading = false;
            let report = Report::SourceExhausted { vertex: self.vertex, subtask: self.subtask };
            send_report(&self.reports, report)?;
        }
        if self.output.is_ready() { Ok(()) } else { self.output.ready().await }
    }

    fn push_batch(&mut self) -> Result<()> {
        if !self.batch.values.is_empty() {
            let records = self.batch.values.len() as u64;
            self.metrics.add_records_read(records);
            self.records_read += records;
            self.counters.add(records, records);
            (self.emit)(&mut self.batch, &mut self.records);
            self.output.push(&mut self.records)?;
            self.pushes_since_flush += 1;
            if self.pushes_since_flush >= FLUSH_EVERY {
                self.pushes_since_flush = 0;
                self.tell_lag();
                self.output.flush()?;
            }
        }
        Ok(())
    }

    fn tell_lag(&mut self) {
        let lag = self.reader.lag();
        self.counters.lag_moved(self.lag, lag);
        self.lag = lag;
    }

    async fn on_command(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Trigger { checkpoint, kind } => self.trigger(checkpoint, kind).await,
            Command::Completed { checkpoint, .. } => {
                self.snapshots.completed(checkpoint);
                Ok(())
            }
            Command::Aborted { checkpoint } => {
                self.snapshots.aborted(checkpoint);
                Ok(())
            }
            Command::Drain => Ok(()),
        }
    }

    async fn trigger(&mut self, checkpoint: CheckpointId, kind: Kind) -> Result<()> {
        // What a reader gave out before its call was dropped counts as read.
        self.push_batch()?;
        let last = match kind {
            Kind::Periodic => false,
            Kind::Stop => true,
            Kind::Final => {
                if !self.ended {
                    self.output.end()?;
                    self.ended = true;
                }
                true
            }
        };
        if last {
            self.reading = false;
        }
        let mut staged = Vec::new();
        // The barrier flushes, and after the last one nothing more is reported.
        self.pushes_since_flush = 0;
        self.tell_lag();
        self.output.barrier(Barrier { checkpoint, last }, &mut staged)?;
        let fixed = SubtaskSnapshot {
            records: self.records_read,
            splits: self.reader.snapshot(),
            ..SubtaskSnapshot::default()
        };
        self.snapshots.begin(checkpoint, fixed, staged);
        self.snapshots.seal();
        self.output.ready().await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::connector::SplitState;
    use crate::task::output::{Output, Staged};

    /// All was read.
    struct Over;

    impl Reader<u64> for Over {
        fn next<'a>(&'a mut self, _: &'a mut Batch<u64>) -> LocalBoxFuture<'a, Result<Progress>> {
            std::future::ready(Ok(Progress::End)).boxed_local()
        }

        fn snapshot(&self) -> Vec<SplitState> {
            Vec::new()
        }

        fn lag(&self) -> Lag {
            Lag::bytes(0)
        }
    }

    struct Nowhere;

    impl Output for Nowhere {
        fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        fn is_ready(&self) -> bool {
            true
        }

        fn ready(&mut self) -> LocalBoxFuture<'_, Result<()>> {
            std::future::ready(Ok(())).boxed_local()
        }

        fn barrier(&mut self, _: Barrier, _: &mut Vec<Staged>) -> Result<()> {
            Ok(())
        }

        fn end(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Consumer<u64> for Nowhere {
        fn push(&mut self, batch: &mut Vec<u64>) -> Result<()> {
            batch.clear();
            Ok(())
        }
    }

    /// What was reported of the batches before used to stay for ever.
    #[test]
    fn the_last_barrier_tells_what_is_left() {
        let (_commands, commands) = mpsc::unbounded_channel();
        let (reports, _reports) = mpsc::channel(4);
        let counters = VertexCounters::default();
        counters.lag_moved(Lag::default(), Lag::bytes(5));
        let mut task = SourceSubtask::<u64, u64> {
            operator: Name::new("numbers").unwrap(),
            vertex: 0,
            subtask: 0,
            reader: Box::new(Over),
            emit: |batch, out| out.append(&mut batch.values),
            output: Box::new(Nowhere),
            commands,
            reports: reports.clone(),
            snapshots: Snapshots::new(0, 0, reports),
            pressure: Pressure::new(1, 1),
            metrics: Metrics::default(),
            counters: counters.clone(),
            batch: Batch { values: vec![1], ..Batch::default() },
            records: Vec::new(),
            records_read: 0,
            reading: true,
            ended: false,
            pushes_since_flush: 3,
            lag: Lag::bytes(5),
        };
        task.trigger(CheckpointId(1), Kind::Final).now_or_never().unwrap().unwrap();
        assert_eq!(counters.lag(), Lag::bytes(0));
    }
}
