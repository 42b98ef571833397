//! Cleaning one keyed subtask's log: the steps of a plan, none of which holds the worker for long.
//!
//! ```text
//! plan ─► compute (I/O side) ─► collect a slice (worker) ─► write items (I/O side) ─► … ─► cleaned
//!                                        └─► read segments back (I/O side) ─► write ─┘
//! ```
//! Only committed values as of the oldest retained checkpoint are written, and the horizon passes only
//! after every put was answered: both are `state`'s rules, this is their order in time.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::build::BuildContext;
use super::log::LogWriter;
use crate::checkpoint::{SegmentRef, fetch_segment};
use crate::codec::Key;
use crate::config::Materialize;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CheckpointId;
use crate::io::Io;
use crate::metrics::Metrics;
use crate::points;
use crate::state::{
    CleaningLimits, CleaningRows, FILTER_STATE, Found, ItemWrite, KeyedState, Missing, Store,
    WriteOutcome, find_values, segment,
};
use crate::teeth::{Tooth, bites};
use crate::thrift::Thrift;

/// Entries collected at once: about 0.2 ms, and some 40 calls of 25 statements.
const SLICE_ENTRIES: usize = 1000;
/// Entries that are read back at once, at some 300 bytes each while it lasts: where all of a million keys
/// have changed meanwhile, their segments are rather read several times.
const MAX_MISSING: usize = 50_000;
/// Most segments in the log of a subtask: a restore reads each.
const MAX_SEGMENTS: u64 = 1000;

/// What a step on the I/O side came to.
#[derive(Debug)]
pub(super) enum Step {
    Computed(CleaningRows),
    Written,
    ReadBack(Vec<Found>),
}

/// Where a plan stands.
#[derive(Debug)]
struct Plan {
    checkpoint: CheckpointId,
    rows: Option<CleaningRows>,
    next: usize,
    missing: Vec<Missing>,
}

/// Cleans one subtask's log.
pub(super) struct Cleaner {
    io: Io,
    store: Arc<dyn Store>,
    metrics: Metrics,
    limits: CleaningLimits,
    thrift: Thrift,
    plan: Option<Plan>,
    under_way: Option<BoxFuture<'static, Result<Step>>>,
}

impl std::fmt::Debug for Cleaner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cleaner({:?})", self.plan)
    }
}

impl Cleaner {
    pub(super) fn new(context: &BuildContext) -> Self {
        let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
        Self {
            io: context.io.clone(),
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            limits: CleaningLimits {
                log_max_bytes: context.config.state.log_max_bytes / shares,
                max_segments: MAX_SEGMENTS,
                eager: context.config.state.materialize == Materialize::Eager,
            },
            thrift: context.thrift.clone(),
            plan: None,
            under_way: None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.plan.is_none()
    }

    /// Begins the next plan, if the log is too large.
    pub(super) fn begin<K: Key>(&mut self, state: &mut KeyedState<K>) {
        let eager = self.limits.eager && !self.thrift.is_lazy();
        let limits = CleaningLimits { eager, ..self.limits };
        let Some(plan) = state.plan_cleaning(&limits) else { return };
        self.plan =
            Some(Plan { checkpoint: plan.checkpoint(), rows: None, next: 0, missing: Vec::new() });
        let compute = self.io.run(async move { Ok(Step::Computed(plan.compute())) });
        self.under_way = Some(compute.boxed());
    }

    /// Waits for the step that is under way; for ever where there is none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn wait(&mut self) -> Result<Step> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let step = under_way.await;
        self.under_way = None;
        step
    }

    /// Takes what a step came to and begins the next one.
    pub(super) fn step<K: Key>(
        &mut self,
        step: Step,
        state: &mut KeyedState<K>,
        log: &LogWriter,
    ) -> Result<()> {
        let Some(plan) = &mut self.plan else {
            return Err(Error::internal("a step of cleaning without a plan"));
        };
        match step {
            Step::Computed(rows) => plan.rows = Some(rows),
            Step::Written => {}
            Step::ReadBack(found) => {
                let writes = state.found(found);
                self.under_way = Some(self.write(writes));
                return Ok(());
            }
        }
        self.advance(state, log)
    }

    fn advance<K: Key>(&mut self, state: &mut KeyedState<K>, log: &LogWriter) -> Result<()> {
        while let Some(plan) = &mut self.plan
            && let Some(rows) = &plan.rows
            && plan.next < rows.len()
            && plan.missing.len() < MAX_MISSING
        {
            let collected = state.collect(rows, plan.next, SLICE_ENTRIES)?;
            plan.next += SLICE_ENTRIES;
            plan.missing.extend(collected.missing);
            if !collected.writes.is_empty() {
                self.under_way = Some(self.write(collected.writes));
                return Ok(());
            }
        }
        let Some(plan) = &mut self.plan else { return Ok(()) };
        if !plan.missing.is_empty() {
            let missing = std::mem::take(&mut plan.missing);
            let segments = log.segments_of(plan.checkpoint);
            self.under_way = Some(self.read_back(segments, missing));
            return Ok(());
        }
        state.cleaned(plan.checkpoint)?;
        self.plan = None;
        Ok(())
    }

    fn write(&self, writes: Vec<ItemWrite>) -> BoxFuture<'static, Result<Step>> {
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        let write = self
            .io
            .run(async move {
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
                metrics.items_materialised(items);
                metrics.filter_chunks_materialised(chunks);
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
        segments: Vec<SegmentRef>,
        missing: Vec<Missing>,
    ) -> BoxFuture<'static, Result<Step>> {
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        self.io
            .run(async move {
                let mut decoded = Vec::with_capacity(segments.len());
                for at in segments {
                    let fetched = fetch_segment(Arc::clone(&store), at).await?;
                    metrics.segments_read(1);
                    decoded.push(segment::decode(&fetched.bytes)?);
                }
                Ok(Step::ReadBack(find_values(&decoded, missing)?))
            })
            .boxed()
    }
}
