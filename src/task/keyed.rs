//! The task of a keyed operator: admits records, runs the user's function, takes part in checkpoints.
//!
//! ```text
//!   gate ─► find rows ─┬─ resident ─► user function ─┬─► output
//!                      │                             └─ suspended: undone, in front of its key's others
//!                      └─ loading ──► parked, in order within the key ─► (read answered) ─► …
//! ```
//! A function is suspended where it asks for an entry that could not be foreseen when the record was
//! admitted, and called again.
//! Barriers and the end of input wait for parked records. After a barrier the frozen entries are
//! serialised in slices between batches; the log is cleaned in slices too (`cleaner`).

use futures::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::build::BuildContext;
use super::cleaner::Cleaner;
use super::filter::FilterBuilder;
use super::log::LogWriter;
use super::output::Consumer;
use super::parked::Parked;
use super::pause::PauseMeter;
use super::reads::{Answer, Reads};
use super::room::Room;
use super::side::{NoSide, SideInput};
use super::snapshot::Snapshots;
use crate::checkpoint::Command;
use crate::clock::{Clock, Instant};
use crate::codec::RecordKey;
use crate::error::{Error, Result};
use crate::exchange::{Event, Inlet, InputGate};
use crate::metrics::{Metrics, VertexCounters};
use crate::operator::{Context, KeyedProcess};
use crate::record::{Barrier, Keyed};
use crate::state::{Columns, KeyedState, MapKeys, Row};
use crate::teeth::{Tooth, bites};

use std::sync::{Arc, OnceLock};

/// Bytes of segments after which a slice of frozen entries ends: some milliseconds.
const SLICE_BYTES: usize = 4 << 20;

/// Whose turn a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// An answer to the cleaner.
    Cleaner,
    Other,
}

type KeyedRecord<P> = Keyed<<P as KeyedProcess>::Key, <P as KeyedProcess>::In>;

/// One subtask of a keyed operator, which may have a second input.
pub struct KeyedSubtask<P: KeyedProcess, S: SideInput<P> = NoSide> {
    process: P,
    side: S,
    state: KeyedState<P::Key>,
    gate: InputGate<KeyedRecord<P>, S::In>,
    output: Box<dyn Consumer<P::Out>>,
    commands: mpsc::UnboundedReceiver<Command>,
    snapshots: Snapshots,
    log: LogWriter,
    cleaner: Cleaner,
    room: Room,
    filter: FilterBuilder,
    metrics: Metrics,
    counters: VertexCounters,
    pause: PauseMeter,
    reads: Reads,
    parked: Parked<KeyedRecord<P>>,
    /// The gate is closed while so many are.
    max_parked: usize,
    /// A barrier or the end of input that waits for parked records.
    waiting: Option<Event<KeyedRecord<P>, S::In>>,
    serialising: bool,
    /// The run is over but for what the cleaner has to write.
    draining: bool,
    /// Frozen entries serialised between two batches.
    slice_entries: usize,
    unflushed: bool,
    clock: Clock,
    /// When the attempt's first batch was processed, by whichever subtask it was.
    first_record: Arc<OnceLock<Instant>>,
    begun: bool,
    rows: Vec<Row>,
    out: Vec<P::Out>,
    /// Some state lives for a time that is judged by the records'.
    by_event_time: bool,
}

impl<P: KeyedProcess, S: SideInput<P>> std::fmt::Debug for KeyedSubtask<P, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedSubtask").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<P: KeyedProcess, S: SideInput<P>> KeyedSubtask<P, S> {
    /// Builds the task of operator `index`, restores its state, and makes it a future. `side` is its second
    /// input, with the edge of that.
    ///
    /// # Errors
    /// State that cannot be restored.
    pub fn build(
        process: P,
        (mut side, side_edge): (S, Option<usize>),
        columns: Columns,
        index: usize,
        edge: usize,
        output: Box<dyn Consumer<P::Out>>,
        context: &mut BuildContext,
    ) -> Result<LocalBoxFuture<'static, Result<()>>> {
        let inlets = context.take_inlets::<Vec<Inlet<KeyedRecord<P>>>>(edge)?;
        let sides =
            side_edge.map(|edge| context.take_inlets::<Vec<Inlet<S::In>>>(edge)).transpose()?;
        let mut restored = context.restored.remove(&index).unwrap_or_default();
        side.restore(std::mem::take(&mut restored.operator_state))?;
        let (mut state, log) = LogWriter::restore(columns, index, restored, context)?;
        let snapshots =
            Snapshots::new(context.vertex, context.subtask.index, context.reports.clone());
        let room = Room::new(context, &mut state);
        let task = Self {
            process,
            side,
            by_event_time: state.has_event_time_ttl(),
            state,
            room,
            gate: InputGate::with_side(inlets, sides.unwrap_or_default()),
            output,
            commands: context.take_commands()?,
            snapshots,
            cleaner: Cleaner::new(context),
            filter: FilterBuilder::new(context.operator(index), context),
            log,
            metrics: context.metrics.clone(),
            counters: context.counters[context.vertex].clone(),
            pause: PauseMeter::new(context.clock, context.metrics.clone()),
            reads: Reads::new(context),
            parked: Parked::new(),
            max_parked: context.config.state.in_flight_records_limit as usize,
            waiting: None,
            serialising: false,
            draining: false,
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
        // A log that is over its bound when it is restored keeps the sources stopped: no step would come first.
        self.make_room();
        loop {
            // What the first records need comes first.
            if self.begun {
                self.filter.begin(&mut self.state);
            }
            let turn = self.step().await?;
            self.filter.slice(&mut self.state);
            if self.serialising {
                self.serialise_slice()?;
            }
            // Where the table answers faster than slices are collected, one would follow another until all is cleaned.
            if turn == Turn::Other {
                self.cleaner.advance(&mut self.state, &self.log)?;
            }
            self.make_room();
            if self.draining {
                self.tell_drained()?;
            }
            if !self.output.is_ready() {
                self.output.ready().await?;
            }
        }
    }

    /// Has entries leave memory, and begins to clean the log, where either takes too much.
    fn make_room(&mut self) {
        self.room.make(&mut self.state, self.reads.bytes() + self.filter.bytes());
        if self.cleaner.is_idle() && !self.serialising {
            self.cleaner.begin(&mut self.state, self.room.wants_cleaning());
        }
    }

    /// Waits for the next thing to do, and does it.
    async fn step(&mut self) -> Result<Turn> {
        // The first record waits for the reads of its own batch alone: each request is built before any answer is looked at.
        let most_parked = if self.begun { self.max_parked } else { 1 };
        let open = self.waiting.is_none()
            && self.parked.len() < most_parked
            && !self.state.wants_quiet()
            && !(bites(Tooth::PressureStopsAll) && self.room.is_pressed());
        if bites(Tooth::HorizonAtAck) {
            self.snapshots.fix_horizon_again(self.state.horizon());
        }
        tokio::select! {
            biased;
            command = self.commands.recv() => {
                self.on_command(command.ok_or_else(coordinator_gone)?);
            }
            answered = self.snapshots.progress() => {
                if let Some(segment) = answered? {
                    self.log.logged(&mut self.state, segment);
                }
            }
            Some(answer) = self.reads.next(), if !self.reads.is_empty() => self.on_loaded(answer?)?,
            step = self.cleaner.wait() => {
                self.cleaner.step(step?);
                return Ok(Turn::Cleaner);
            }
            read = self.filter.wait() => {
                self.filter.arrived(read, &mut self.state);
            }
            event = self.gate.next(), if open => self.on_event(event?)?,
            // Nothing else to do: what is partial should not wait, nor should slices, nor what leaves. But first the
            // sources of this worker have their turn, or slices would keep new batches away.
            () = tokio::task::yield_now(), if self.has_more_to_do() => {
                self.unflushed = false;
                self.state.leave_some();
                // What is not serialised yet would be for each entry that is swept, and the segments come first.
                if self.state.has_sweep() && !self.serialising {
                    self.state.set_processing_time(self.clock.wall_ms());
                    self.state.sweep_some();
                }
                self.output.flush()?;
            }
        }
        Ok(Turn::Other)
    }

    /// Whether there is something to do that waits for nothing.
    fn has_more_to_do(&self) -> bool {
        self.unflushed
            || self.serialising
            || self.room.is_short()
            || self.cleaner.is_due()
            || self.filter.has_slices()
            || self.state.has_leaving()
            || self.state.has_sweep()
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Completed { checkpoint, oldest_retained } => {
                self.snapshots.completed(checkpoint);
                let to_newest = bites(Tooth::MaterialisedToNewest);
                self.state.completed(if to_newest { checkpoint } else { oldest_retained });
                self.log.completed(&self.state);
                self.room.completed(checkpoint, &self.state);
                self.filter.tell(&self.state);
            }
            Command::Aborted { checkpoint } => {
                self.snapshots.aborted(checkpoint);
                self.room.aborted(checkpoint, &self.state);
            }
            Command::Drain => self.draining = true,
            Command::Trigger { .. } => {}
        }
    }

    /// An eager cleaner that is idle has found nothing more to write; from a lazy one nobody expects it.
    fn tell_drained(&mut self) -> Result<()> {
        if self.cleaner.is_eager() && (self.serialising || !self.cleaner.is_idle()) {
            return Ok(());
        }
        self.draining = false;
        self.snapshots.drained()
    }

    fn on_event(&mut self, event: Event<KeyedRecord<P>, S::In>) -> Result<()> {
        match event {
            Event::Batch(batch) => self.on_batch(batch),
            // It waits for no parked record: there is no order between the inputs.
            Event::Side(batch) => {
                let records = batch.len() as u64;
                self.side.process(&self.process, batch, &mut self.out)?;
                self.finish_batch(records)
            }
            mark if self.parked.len() > 0 && !bites(Tooth::BarrierOvertakesParked) => {
                self.waiting = Some(mark);
                Ok(())
            }
            Event::Barrier(barrier) => self.on_barrier(barrier),
            Event::End => self.output.end(),
        }
    }

    fn on_batch(&mut self, mut batch: Vec<KeyedRecord<P>>) -> Result<()> {
        let mut ran = batch.len();
        let expiring = self.state.has_ttl();
        self.state.set_processing_time(self.clock.wall_ms());
        self.rows.clear();
        self.state.find_rows(batch.iter().map(|r| (r.hash, &r.record_key)), &mut self.rows);
        if self.state.loading_rows() == 0 && !self.state.may_suspend() {
            if expiring {
                for (index, record) in batch.drain(..).enumerate() {
                    let row = self.rows[index];
                    self.run_resident(row, record)?;
                }
            } else {
                for (record, row) in batch.drain(..).zip(self.rows.iter()) {
                    let Keyed { hash, record_key, value } = record;
                    record_key.with_key(hash, |key| {
                        let mut context = Context::new(key, *row, &mut self.state, &mut self.out);
                        self.process.process(value, &mut context).map_err(Error::of_function)
                    })?;
                }
            }
        } else {
            let parked_before = self.parked.len();
            self.run_or_park(&mut batch)?;
            let parked = self.parked.len() - parked_before;
            self.metrics.add_records_parked(parked as u64);
            ran -= parked;
        }
        self.gate.give_back(batch);
        self.finish_batch(ran as u64)
    }

    /// The slower way, while some rows are loading or may have to.
    fn run_or_park(&mut self, batch: &mut Vec<KeyedRecord<P>>) -> Result<()> {
        let may_suspend = self.state.may_suspend();
        self.parked.next_batch();
        for (index, record) in batch.drain(..).enumerate() {
            let row = self.rows[index];
            if may_suspend && self.parked.may_name(row) {
                self.process.map_keys(&record.value, &mut MapKeys::new(&mut self.state, row));
            }
            let waiting = match self.state.is_loading(row) {
                true => Some(record),
                false => self.run_record(row, record)?,
            };
            if let Some(record) = waiting {
                self.parked.push(row, record);
            }
        }
        self.reads.send(&mut self.state);
        Ok(())
    }

    /// Processes a record; gives it back where it was suspended.
    fn run_record(&mut self, row: Row, record: KeyedRecord<P>) -> Result<Option<KeyedRecord<P>>> {
        if self.state.may_suspend_at(row) {
            return self.try_record(row, record);
        }
        self.run_resident(row, record)?;
        Ok(None)
    }

    /// Processes a record that cannot be suspended.
    fn run_resident(&mut self, row: Row, record: KeyedRecord<P>) -> Result<()> {
        let Keyed { hash, record_key, value } = record;
        self.state.record_at(self.event_time(&value));
        record_key.with_key(hash, |key| self.call(key, row, value))?;
        self.state.renew_read();
        Ok(())
    }

    /// Calls the user's function. Apart, so that the compiler has it but twice, and can afford to put it into
    /// the loop of [`Self::on_batch`] over what neither waits nor expires.
    #[inline(never)]
    fn call(&mut self, key: &P::Key, row: Row, value: P::In) -> Result<()> {
        let mut context = Context::new(key, row, &mut self.state, &mut self.out);
        // No fault of the state's own comes this way but that it must wait, which it knows of itself.
        self.process.process(value, &mut context).map_err(Error::of_function)
    }

    /// The record's own time, where it is of use.
    #[inline]
    fn event_time(&self, record: &P::In) -> Option<u64> {
        if self.by_event_time { self.process.event_time(record) } else { None }
    }

    fn try_record(&mut self, row: Row, record: KeyedRecord<P>) -> Result<Option<KeyedRecord<P>>> {
        let given_out = self.out.len();
        self.state.begin_record();
        self.state.record_at(self.event_time(&record.value));
        let value = record.value.clone();
        let result = record.with_key(|key| self.call(key, row, value));
        // Whatever the function has made of the error.
        if self.state.end_record()? {
            self.metrics.add_records_suspended(1);
            self.out.truncate(given_out);
            return Ok(Some(record));
        }
        self.state.renew_read();
        result.map(|()| None)
    }

    /// Processes the parked records of a row that is resident now, until one is suspended; how many.
    fn run_parked(&mut self, row: Row) -> Result<usize> {
        let Some(mut records) = self.parked.take(row) else { return Ok(0) };
        if bites(Tooth::ParkedOutOfOrder) {
            records.reverse();
        }
        let mut ran = 0;
        loop {
            if self.state.may_suspend() {
                for record in records.due_names() {
                    let mut keys = MapKeys::new(&mut self.state, row);
                    self.process.map_keys(&record.value, &mut keys);
                }
                if self.state.is_loading(row) {
                    self.parked.put_back(row, records);
                    break;
                }
            }
            let Some(record) = records.pop() else { break };
            if let Some(suspended) = self.run_record(row, record)? {
                if bites(Tooth::SuspendedOvertaken) {
                    records.push_back(suspended);
                } else {
                    records.push_front(suspended);
                }
                self.parked.put_back(row, records);
                break;
            }
            ran += 1;
        }
        Ok(ran)
    }

    fn finish_batch(&mut self, records: u64) -> Result<()> {
        self.state.end_batch();
        self.filter.count(&mut self.state);
        self.metrics.add_records_processed(records);
        self.counters.add(records, self.out.len() as u64);
        self.pause.batch_done();
        if records > 0 && !self.begun {
            self.begun = true;
            self.first_record.get_or_init(|| self.clock.now());
        }
        self.unflushed = true;
        if self.out.is_empty() { Ok(()) } else { self.output.push(&mut self.out) }
    }

    fn on_loaded(&mut self, answer: Answer) -> Result<()> {
        // What was stored may have expired, of whatever state.
        self.state.set_processing_time(self.clock.wall_ms());
        let mut ran = 0;
        match answer {
            Answer::Items(items) => {
                let not_found = items.iter().filter(|(_, item)| item.is_none()).count();
                self.metrics.add_items_not_found(not_found as u64);
                for (read, item) in items {
                    if self.state.loaded(&read, item.as_ref())? {
                        ran += self.run_parked(read.row)?;
                    }
                }
            }
            Answer::Range(mut scan, page) => match self.state.page_scanned(&mut scan, page)? {
                Some(true) => ran += self.run_parked(scan.row)?,
                Some(false) => {}
                None => self.reads.go_on(scan),
            },
        }
        self.reads.send(&mut self.state);
        self.finish_batch(ran as u64)?;
        if self.parked.len() == 0
            && let Some(mark) = self.waiting.take()
        {
            return self.on_event(mark);
        }
        Ok(())
    }

    fn on_barrier(&mut self, barrier: Barrier) -> Result<()> {
        self.finish_slices()?;
        if !barrier.last {
            self.pause.barrier();
        }
        let mut staged = Vec::new();
        self.unflushed = false;
        self.output.barrier(barrier, &mut staged)?;
        self.room.freeze(barrier.checkpoint, &self.state);
        let mut fixed = self.log.freeze(&mut self.state, barrier.checkpoint)?;
        fixed.operator_state = self.side.freeze()?;
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
        let done = self.state.serialise_slice(self.slice_entries, SLICE_BYTES)?;
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
