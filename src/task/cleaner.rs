//! Cleaning one keyed subtask's log: the steps of a plan, none of which holds the worker for long.
//!
//! ```text
//! plan ─► compute (I/O side) ─► collect slices (worker) ─► write items (I/O side) ─► … ─► cleaned
//!                                        └─► read segments back (I/O side) ─► write ─┘
//! ```
//! It begins as long before the log reaches its bound as the log grew while the last plan took: then the
//! log stays within the bound, and no entry is written sooner than that takes.
//! Only committed values as of the oldest retained checkpoint are written, and the horizon passes only
//! after every put was answered: both are `state`'s rules, this is their order in time.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::build::BuildContext;
use super::log::LogWriter;
use crate::checkpoint::{SegmentRef, fetch_segment_unawaited};
use crate::codec::Key;
use crate::config::Materialize;
use crate::cost_control::CostControl;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CheckpointId;
use crate::io::{Io, call_user};
use crate::metrics::Metrics;
use crate::points;
use crate::state::{
    CleaningLimits, CleaningRows, FILTER_STATE, Finder, Found, ItemWrite, KeyedState, Missing,
    PendingWrite, Stats, Store, WriteOutcome, segment,
};
use crate::teeth::{Tooth, bites};

/// Entries collected at once: about 0.2 ms, and some 40 calls of 25 statements.
const SLICE_ENTRIES: usize = 1000;
/// Bytes of keys and values collected at once, about: that many entries of 4 KiB.
const SLICE_BYTES: usize = 4 << 20;
/// Slices that are being written at a time: the last calls of one leave the table idle but for the next one's.
const MAX_UNDER_WAY: usize = 4;
/// Entries that are read back at once, at most: where all of a million keys have changed meanwhile, some of their
/// segments are rather read several times.
const MAX_MISSING: usize = 50_000;
/// What one of them takes while it lasts, about, besides its key, and its value, which is as large as others.
const MISSING_BYTES: u64 = 300;
/// Most segments in the log of a subtask: a restore reads each.
const MAX_SEGMENTS: u64 = 1000;

/// What a step on the I/O side came to.
#[derive(Debug)]
pub(super) enum Step {
    Computed(CleaningRows),
    Written,
    /// With the number of the segment in which the last of them were.
    ReadBack(Vec<Found>, usize),
}

/// Where a plan stands.
#[derive(Debug)]
struct Plan {
    checkpoint: CheckpointId,
    rows: Option<CleaningRows>,
    next: usize,
    missing: Vec<Missing>,
    /// What they will take, about.
    missing_bytes: u64,
    /// Something is being read back: until it is written nothing else is collected, or as much as may be read back
    /// at once would be in memory several times.
    is_reading: bool,
    /// What was read back and is still to be written.
    found: Vec<Found>,
    /// The segment to begin with when more is read back: entries are collected in the order of the log, nearly.
    segment: usize,
    /// The log when it began.
    before: LogSize,
}

/// What a log holds, as it is bounded.
#[derive(Clone, Copy, Debug, Default)]
struct LogSize {
    pinned_bytes: u64,
    read_units: u64,
}

impl LogSize {
    fn of<K: Key>(state: &KeyedState<K>) -> Self {
        let stats = state.stats();
        Self { pinned_bytes: stats.pinned_bytes, read_units: stats.read_units() }
    }
}

/// What is read back may take so much however short the log is to be.
const LEAST_MISSING_BYTES: u64 = 64 << 10;

/// What an entry takes that is read back, besides its key: its value is taken for as large as all others are.
fn missing_bytes(stats: &Stats) -> u64 {
    MISSING_BYTES + stats.pinned_bytes / stats.pinned_entries.max(1)
}

/// The last of `found` that make a slice.
fn last_slice(found: &mut Vec<Found>) -> Vec<Found> {
    let mut bytes = 0;
    let is_over = |found: &Found| {
        let is_over = bytes >= SLICE_BYTES;
        bytes += found.bytes();
        is_over
    };
    let of_bytes = found.iter().rev().take(SLICE_ENTRIES).position(is_over);
    let slice = of_bytes.unwrap_or(SLICE_ENTRIES).min(found.len());
    found.split_off(found.len() - slice)
}

/// Cleans one subtask's log.
pub(super) struct Cleaner {
    io: Io,
    store: Arc<dyn Store>,
    metrics: Metrics,
    limits: CleaningLimits,
    cost_control: CostControl,
    plan: Option<Plan>,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Step>>>,
    /// Beside its entries, what is read back takes no more than the log may, about.
    missing_bytes: u64,
    /// By how much cleaning begins before the bounds: what the log grew by, not long ago, while a
    /// checkpoint was cleaned.
    margins: LogSize,
}

impl std::fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cleaner({:?})", self.plan)
    }
}

impl Cleaner {
    pub(super) fn new(context: &BuildContext) -> Self {
        let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
        let log_max_bytes = context.config.state.log_max_bytes / shares;
        Self {
            io: context.io.clone(),
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            limits: CleaningLimits {
                log_max_bytes,
                read_units: context.config.state.log_read_units / shares,
                max_segments: MAX_SEGMENTS,
                eager: context.config.state.materialize == Materialize::Eager,
            },
            cost_control: context.cost_control.clone(),
            plan: None,
            under_way: FuturesUnordered::new(),
            missing_bytes: log_max_bytes.max(LEAST_MISSING_BYTES),
            margins: LogSize::default(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.plan.is_none()
    }

    /// Whether it writes after every checkpoint, as things stand.
    pub(super) fn is_eager(&self) -> bool {
        self.limits.eager && !self.cost_control.is_lazy()
    }

    /// Begins the next plan, if the log is too large or about to be, or its entries must leave memory.
    pub(super) fn begin<K: Key>(&mut self, state: &mut KeyedState<K>, wanted: bool) {
        let eager = wanted || self.is_eager();
        let limits = CleaningLimits {
            log_max_bytes: self.limits.log_max_bytes - self.margins.pinned_bytes,
            read_units: self.limits.read_units - self.margins.read_units,
            eager,
            ..self.limits
        };
        let Some(plan) = state.plan_cleaning(&limits) else { return };
        self.plan = Some(Plan {
            checkpoint: plan.checkpoint(),
            rows: None,
            next: 0,
            missing: Vec::new(),
            missing_bytes: 0,
            is_reading: false,
            found: Vec::new(),
            segment: 0,
            before: LogSize::of(state),
        });
        let compute = self.io.run(async move { Ok(Step::Computed(plan.compute())) });
        self.under_way.push(compute.boxed());
    }

    /// Waits for a step that is under way; for ever where there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn wait(&mut self) -> Result<Step> {
        match self.under_way.next().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// Takes what a step came to.
    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Computed(rows) => {
                if let Some(plan) = &mut self.plan {
                    plan.rows = Some(rows);
                }
            }
            Step::Written => {}
            Step::ReadBack(found, segment) => {
                if let Some(plan) = &mut self.plan {
                    plan.is_reading = false;
                    plan.found = found;
                    plan.segment = segment;
                }
            }
        }
    }

    /// Begins the next step, where not enough are under way: one slice at a time, so that a batch has its
    /// turn between two.
    pub(super) fn advance<K: Key>(
        &mut self,
        state: &mut KeyedState<K>,
        log: &LogWriter,
    ) -> Result<()> {
        let Some(plan) = &mut self.plan else { return Ok(()) };
        let Some(rows) = &plan.rows else { return Ok(()) };
        if self.under_way.len() >= MAX_UNDER_WAY || plan.is_reading {
            return Ok(());
        }
        if !plan.found.is_empty() {
            let writes = state.found(last_slice(&mut plan.found));
            if !writes.is_empty() {
                self.under_way.push(self.write(writes));
            }
            return Ok(());
        }
        let has_room = plan.missing.len() < MAX_MISSING && plan.missing_bytes < self.missing_bytes;
        if plan.next < rows.len() && has_room {
            // As if all of them had to be read back.
            let (each, left) =
                (missing_bytes(&state.stats()), self.missing_bytes - plan.missing_bytes);
            let entries = (left / each).clamp(1, SLICE_ENTRIES as u64) as usize;
            let bytes = left.min(SLICE_BYTES as u64) as usize;
            let collected = state.collect(rows, plan.next, entries, bytes)?;
            plan.next += collected.entries;
            let keys = collected.missing.iter().map(|missing| missing.key.sort_key.len() as u64);
            plan.missing_bytes += keys.map(|key| key + each).sum::<u64>();
            plan.missing.extend(collected.missing);
            if !collected.writes.is_empty() {
                self.under_way.push(self.write(collected.writes));
            }
            return Ok(());
        }
        if !plan.missing.is_empty() {
            let missing = std::mem::take(&mut plan.missing);
            plan.missing_bytes = 0;
            plan.is_reading = true;
            let (segments, from) = (log.segments_of(plan.checkpoint), plan.segment);
            self.under_way.push(self.read_back(segments, from, missing));
        } else if self.under_way.is_empty() {
            self.finish(state)?;
        }
        Ok(())
    }

    /// Whether [`Cleaner::advance`] goes on without any answer.
    pub(super) fn is_due(&self) -> bool {
        let Some(plan) = &self.plan else { return false };
        let Some(rows) = &plan.rows else { return false };
        let more = plan.next < rows.len() || !plan.missing.is_empty() || !plan.found.is_empty();
        self.under_way.is_empty()
            || more && !plan.is_reading && self.under_way.len() < MAX_UNDER_WAY
    }

    /// Every write is answered.
    fn finish<K: Key>(&mut self, state: &mut KeyedState<K>) -> Result<()> {
        let Some(Plan { checkpoint, rows, before, .. }) = self.plan.take() else {
            return Ok(());
        };
        // What held for the last plan need not for the next, so a good deal more; and it is forgotten slowly.
        let margin = |margin: u64, grown: u64, limit: u64| {
            (grown + grown / 2).max(margin / 8 * 7).min(limit / 2)
        };
        let (now, limits, margins) = (LogSize::of(state), self.limits, self.margins);
        let bytes = now.pinned_bytes.saturating_sub(before.pinned_bytes);
        let units = now.read_units.saturating_sub(before.read_units);
        self.margins = LogSize {
            pinned_bytes: margin(margins.pinned_bytes, bytes, limits.log_max_bytes),
            read_units: margin(margins.read_units, units, limits.read_units),
        };
        state.cleaned(checkpoint)?;
        if let Some(rows) = rows {
            state.cooled(rows);
        }
        Ok(())
    }

    fn write(&self, writes: Vec<PendingWrite>) -> BoxFuture<'static, Result<Step>> {
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        let io = self.io.clone();
        let write = self
            .io
            .run(async move {
                // A slice of large values takes a tenth of a second, for which neither a worker nor a thread that
                // others' answers come by should stand still.
                let writes: Vec<ItemWrite> = match writes.iter().any(PendingWrite::converts) {
                    true => {
                        io.blocking(move || writes.into_iter().map(converted).collect()).await?
                    }
                    false => writes.into_iter().map(PendingWrite::into_write).collect(),
                };
                let of_filter = |write: &&ItemWrite| write.key.state.as_str() == FILTER_STATE;
                let chunks = writes.iter().filter(of_filter).count() as u64;
                let items = writes.len() as u64 - chunks;
                points::hit(points::BEFORE_MATERIALISE_PUT);
                for outcome in store.write_items(writes).await? {
                    if let WriteOutcome::Fenced(by) = outcome {
                        return Err(Error::new(
                            ErrorKind::Fenced,
                            format!("an item is of attempt {}: this one is fenced", by.attempt),
                        ));
                    }
                }
                points::hit(points::AFTER_MATERIALISE_PUT);
                metrics.add_items_materialised(items);
                metrics.add_filter_chunks_materialised(chunks);
                Ok(Step::Written)
            })
            .boxed();
        if bites(Tooth::HorizonBeforeAnswer) {
            std::mem::forget(write);
            return std::future::ready(Ok(Step::Written)).boxed();
        }
        write
    }

    fn read_back(
        &self,
        mut segments: Vec<SegmentRef>,
        mut from: usize,
        missing: Vec<Missing>,
    ) -> BoxFuture<'static, Result<Step>> {
        segments.sort_by_key(|at| (at.range.first, at.sequence));
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        self.io
            .run(async move {
                let mut finder = Finder::new(missing);
                let number = segments.len();
                for at in (from..number).chain(0..from.min(number)) {
                    if finder.has_all() {
                        break;
                    }
                    let segment = segments[at].clone();
                    let fetched = fetch_segment_unawaited(Arc::clone(&store), segment).await?;
                    metrics.add_segments_read(1);
                    let segment = segment::decode(&fetched.bytes)?;
                    if !segment.continues() {
                        from = at;
                    }
                    finder.look(&segment)?;
                }
                Ok(Step::ReadBack(finder.finish()?, from))
            })
            .boxed()
    }
}

/// By a codec that may be a user's.
fn converted(write: PendingWrite) -> Result<ItemWrite> {
    let state = write.state().clone();
    call_user(|| Ok(write.into_write())).map_err(|e| e.at(format!("state {state}")))
}

#[cfg(test)]
mod tests;
