//! The task of a keyed operator: admits records, runs the user's function, takes part in checkpoints.
//!
//! ```text
//!   gate ─► find rows ─┬─ resident ─► user function ─► output
//!                      └─ loading ──► parked, in order within the key ─► (read answered) ─► …
//! ```
//! Barriers and the end of input wait for parked records. After a barrier the frozen entries are
//! serialised in slices between batches; the log is cleaned in slices too (`cleaner`).

use std::collections::VecDeque;

use futures::StreamExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use futures::stream::FuturesUnordered;
use hashbrown::HashMap;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::cleaner::Cleaner;
use super::log::LogWriter;
use super::output::Consumer;
use super::pause::PauseMeter;
use super::snapshot::Snapshots;
use crate::checkpoint::Command;
use crate::clock::{Clock, Instant};
use crate::error::{Error, Result};
use crate::exchange::{Event, Inlet, InputGate};
use crate::metrics::{Metrics, VertexCounters};
use crate::operator::{Context, KeyedProcess};
use crate::record::{Barrier, Keyed};
use crate::state::{Columns, Item, KeyedState, Read, Row, Store};
use crate::teeth::{Tooth, bites};

use std::sync::{Arc, OnceLock};

/// The gate is closed while so many records wait for reads. Flink:
/// `execution.async-state.in-flight-records-limit`.
const MAX_PARKED: usize = 6000;
/// Keys that are read together: those of one `BatchGetItem`, so that no record waits for another
/// request than its own.
const READ_KEYS: usize = 100;

type KeyedRecord<P> = Keyed<<P as KeyedProcess>::Key, <P as KeyedProcess>::In>;
type ReadAnswer = Vec<(Read, Option<Item>)>;

/// One subtask of a keyed operator.
pub struct KeyedSubtask<P: KeyedProcess> {
    process: P,
    state: KeyedState<P::Key>,
    gate: InputGate<KeyedRecord<P>>,
    output: Box<dyn Consumer<P::Out>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: Snapshots,
    log: LogWriter,
    cleaner: Cleaner,
    store: Arc<dyn Store>,
    metrics: Metrics,
    counters: VertexCounters,
    pause: PauseMeter,
    reads: FuturesUnordered<BoxFuture<'static, Result<ReadAnswer>>>,
    parked: HashMap<Row, VecDeque<KeyedRecord<P>>>,
    parked_records: usize,
    /// A barrier or the end of input that waits for parked records.
    waiting: Option<Event<KeyedRecord<P>>>,
    serialising: bool,
    /// Frozen entries serialised between two batches.
    slice_entries: usize,
    unflushed: bool,
    clock: Clock,
    /// When the attempt's first batch was processed, by whichever subtask it was.
    first_record: Arc<OnceLock<Instant>>,
    begun: bool,
    rows: Vec<Row>,
    out: Vec<P::Out>,
}

impl<P: KeyedProcess> std::fmt::Debug for KeyedSubtask<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedSubtask").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<P: KeyedProcess> KeyedSubtask<P> {
    /// Builds the task of operator `index`, restores its state, and makes it a future.
    ///
    /// # Errors
    /// State that cannot be restored.
    pub fn build(
        process: P,
        columns: Columns,
        index: usize,
        edge: usize,
        output: Box<dyn Consumer<P::Out>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let inlets = context.take_inlets::<Vec<Inlet<KeyedRecord<P>>>>(edge)?;
        let restored = context.restored.remove(&index).unwrap_or_default();
        let (state, log) = LogWriter::restore(columns, index, restored, context)?;
        let snapshots =
            Snapshots::new(context.vertex, context.subtask.index, context.reports.clone());
        let task = Self {
            process,
            state,
            gate: InputGate::new(inlets),
            output,
            commands: context.take_commands()?,
            snapshots,
            cleaner: Cleaner::new(context),
            log,
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            counters: context.counters[context.vertex].clone(),
            pause: PauseMeter::new(context.clock, context.metrics.clone()),
            reads: FuturesUnordered::new(),
            parked: HashMap::new(),
            parked_records: 0,
            waiting: None,
            serialising: false,
            slice_entries: context.config.state.slice_entries,
            unflushed: false,
            clock: context.clock,
            first_record: Arc::clone(&context.first_record),
            begun: false,
            rows: Vec::new(),
            out: Vec::new(),
        };
        Ok(Box::pin(task.run()))
    }

    async fn run(mut self) -> Result<()> {
        loop {
            self.step().await?;
            if self.serialising {
                self.serialise_slice()?;
            }
            if self.cleaner.is_idle() && !self.serialising {
                self.cleaner.begin(&mut self.state);
            }
            if !self.output.is_ready() {
                self.output.ready().await?;
            }
        }
    }

    /// Waits for the next thing to do, and does it.
    async fn step(&mut self) -> Result<()> {
        let open = self.waiting.is_none()
            && self.parked_records < MAX_PARKED
            && !(bites(Tooth::PressureStopsAll) && self.log.is_pressed());
        tokio::select! {
            biased;
            command = self.commands.recv() => {
                self.on_command(command.ok_or_else(coordinator_gone)?);
                Ok(())
            }
            answered = self.snapshots.progress() => {
                if let Some(segment) = answered? {
                    self.log.logged(&mut self.state, segment);
                }
                Ok(())
            }
            Some(answer) = self.reads.next(), if !self.reads.is_empty() => self.on_loaded(answer?),
            step = self.cleaner.wait() => {
                self.cleaner.step(step?, &mut self.state, &self.log)?;
                if self.cleaner.is_idle() {
                    self.log.remember(&self.state);
                }
                Ok(())
            }
            event = self.gate.next(), if open => self.on_event(event?),
            // Nothing else to do: what is partial should not wait, nor should slices. But first the
            // sources of this worker have their turn, or slices would keep new batches away.
            () = tokio::task::yield_now(), if self.unflushed || self.serialising => {
                self.unflushed = false;
                self.output.flush()
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Completed { checkpoint, oldest_retained } => {
                self.snapshots.completed(checkpoint);
                let to_newest = bites(Tooth::MaterialisedToNewest);
                self.state.completed(if to_newest { checkpoint } else { oldest_retained });
                self.log.completed(checkpoint, &self.state);
            }
            Command::Aborted { checkpoint } => self.snapshots.aborted(checkpoint),
            Command::Trigger { .. } => {}
        }
    }

    fn on_event(&mut self, event: Event<KeyedRecord<P>>) -> Result<()> {
        match event {
            Event::Batch(batch) => self.on_batch(batch),
            mark if self.parked_records > 0 && !bites(Tooth::BarrierOvertakesParked) => {
                self.waiting = Some(mark);
                Ok(())
            }
            Event::Barrier(barrier) => self.on_barrier(barrier),
            Event::End => self.output.end(),
        }
    }

    fn on_batch(&mut self, mut batch: Vec<KeyedRecord<P>>) -> Result<()> {
        let limited = self.state.has_ttl();
        if limited {
            self.state.set_processing_time(self.clock.wall_ms());
        }
        let mut ran = batch.len();
        self.rows.clear();
        self.state.find_rows(batch.iter().map(|r| (r.hash, &r.key)), &mut self.rows);
        if self.state.loading_rows() == 0 {
            for (record, row) in batch.drain(..).zip(self.rows.iter()) {
                let Keyed { key, value, .. } = record;
                if limited {
                    self.state.begin_record(*row, self.process.event_time(&value));
                }
                let mut context = Context::new(&key, *row, &mut self.state, &mut self.out);
                self.process.process(value, &mut context)?;
                if limited {
                    self.state.end_record();
                }
            }
        } else {
            let parked_before = self.parked_records;
            self.run_or_park(batch)?;
            ran -= self.parked_records - parked_before;
        }
        self.finish_batch(ran as u64)
    }

    /// The slower way, while some rows are loading.
    fn run_or_park(&mut self, batch: Vec<KeyedRecord<P>>) -> Result<()> {
        for (index, record) in batch.into_iter().enumerate() {
            let row = self.rows[index];
            if self.state.is_loading(row) {
                self.parked.entry(row).or_default().push_back(record);
                self.parked_records += 1;
            } else {
                self.run_record(row, record)?;
            }
        }
        let mut reads = self.state.take_reads();
        self.metrics.items_read(reads.len() as u64);
        while !reads.is_empty() {
            let later = reads.split_off(reads.len().min(READ_KEYS));
            let reads = std::mem::replace(&mut reads, later);
            let (io, store) = (self.log.io(), Arc::clone(&self.store));
            let answer = io.run(async move {
                let keys = reads.iter().map(|read| read.key.clone()).collect();
                let items = store.read_items(keys).await?;
                Ok(reads.into_iter().zip(items).collect::<ReadAnswer>())
            });
            self.reads.push(Box::pin(answer));
        }
        Ok(())
    }

    fn run_record(&mut self, row: Row, record: KeyedRecord<P>) -> Result<()> {
        let Keyed { key, value, .. } = record;
        let limited = self.state.has_ttl();
        if limited {
            self.state.begin_record(row, self.process.event_time(&value));
        }
        let mut context = Context::new(&key, row, &mut self.state, &mut self.out);
        self.process.process(value, &mut context)?;
        if limited {
            self.state.end_record();
        }
        Ok(())
    }

    fn finish_batch(&mut self, records: u64) -> Result<()> {
        self.state.end_batch();
        self.metrics.records_processed(records);
        self.counters.add(records, self.out.len() as u64);
        self.pause.batch_done();
        if records > 0 && !self.begun {
            self.begun = true;
            self.first_record.get_or_init(|| self.clock.now());
        }
        self.log.account(&self.state);
        self.unflushed = true;
        if self.out.is_empty() { Ok(()) } else { self.output.push(&mut self.out) }
    }

    fn on_loaded(&mut self, answer: ReadAnswer) -> Result<()> {
        let mut ran = 0;
        if self.state.has_ttl() {
            self.state.set_processing_time(self.clock.wall_ms());
        }
        for (read, item) in answer {
            if !self.state.loaded(&read, item.as_ref())? {
                continue;
            }
            let mut records = self.parked.remove(&read.row).unwrap_or_default();
            if bites(Tooth::ParkedOutOfOrder) {
                records.make_contiguous().reverse();
            }
            self.parked_records -= records.len();
            ran += records.len() as u64;
            for record in records {
                self.run_record(read.row, record)?;
            }
        }
        self.finish_batch(ran)?;
        if self.parked_records == 0
            && let Some(mark) = self.waiting.take()
        {
            return self.on_event(mark);
        }
        Ok(())
    }

    fn on_barrier(&mut self, barrier: Barrier) -> Result<()> {
        if !barrier.last {
            self.pause.barrier();
        }
        self.finish_slices()?;
        let mut staged = Vec::new();
        self.unflushed = false;
        self.output.barrier(barrier, &mut staged)?;
        let fixed = self.log.freeze(&mut self.state, barrier.checkpoint)?;
        self.snapshots.begin(barrier.checkpoint, fixed, staged);
        self.serialising = true;
        Ok(())
    }

    /// An aborted checkpoint's slices may still be under way at the next barrier.
    fn finish_slices(&mut self) -> Result<()> {
        while self.serialising {
            self.serialise_slice()?;
        }
        Ok(())
    }

    fn serialise_slice(&mut self) -> Result<()> {
        let done = self.state.serialise(self.slice_entries)?;
        for segment in self.state.take_segments() {
            self.snapshots.add_segment(self.log.put(segment));
        }
        if done {
            self.serialising = false;
            self.snapshots.seal();
            self.pause.sliced();
        }
        Ok(())
    }
}

fn coordinator_gone() -> Error {
    Error::internal("the coordinator has ended")
}
