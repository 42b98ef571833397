//! Building one keyed subtask's filter of absent keys: its chunks, read some key groups at a time.
//!
//! ```text
//! scan key groups (I/O side) ─► decode (I/O side) ─► take over a slice (worker) ─► … ─► the next group
//! ```
//! Nothing waits for it: until its key group is read, a key that is not in memory is read. Owns the order in time;
//! what a filter is, and when one is to be built, is `state`'s.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};

use super::build::BuildContext;
use crate::codec::Key;
use crate::error::{Error, Result};
use crate::ids::{Name, SubtaskId};
use crate::io::Io;
use crate::metrics::Metrics;
use crate::state::{FilterChunks, KeyedState, Store};

/// Hashes that are taken over at once: some 0.1 ms.
const SLICE_HASHES: usize = 2048;
/// Key groups that are read at a time: so many that a restart with new keys is not one of waiting for each in
/// turn, and not so many that their hashes take much memory.
const MAX_UNDER_WAY: usize = 8;

/// Builds one subtask's filter.
pub(super) struct FilterBuilder {
    io: Io,
    store: Arc<dyn Store>,
    metrics: Metrics,
    operator: Name,
    subtask: SubtaskId,
    under_way: FuturesOrdered<BoxFuture<'static, Result<FilterChunks>>>,
    /// What was read and is being taken over.
    read: Option<FilterChunks>,
}

impl std::fmt::Debug for FilterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FilterBuilder({}, {:?})", self.operator, self.read)
    }
}

impl FilterBuilder {
    pub(super) fn new(operator: Name, context: &BuildContext) -> Self {
        Self {
            io: context.io.clone(),
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            operator,
            subtask: context.subtask,
            under_way: FuturesOrdered::new(),
            read: None,
        }
    }

    /// Begins to read the next key groups' chunks, if some are to be read.
    pub(super) fn begin<K: Key>(&mut self, state: &mut KeyedState<K>) {
        while self.under_way.len() < MAX_UNDER_WAY
            && let Some(range) = state.filter_scan()
        {
            let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
            let scan = self.io.run(async move {
                let scanned = store.scan_items(range.clone()).await?;
                metrics.filter_chunks_read(scanned.len() as u64);
                FilterChunks::of(&range, scanned)
            });
            self.under_way.push_back(scan.boxed());
        }
    }

    /// Waits for the chunks that are being read; for ever where none are, or others are being taken over.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn wait(&mut self) -> Result<FilterChunks> {
        if self.read.is_none()
            && let Some(read) = self.under_way.next().await
        {
            return read;
        }
        std::future::pending().await
    }

    /// Takes what was read. Where it cannot be read, that is told, and the job goes on without.
    pub(super) fn arrived<K: Key>(
        &mut self,
        read: Result<FilterChunks>,
        state: &mut KeyedState<K>,
    ) {
        match read {
            Ok(chunks) => self.read = Some(chunks),
            Err(error) => {
                state.filter_failed();
                self.under_way = FuturesOrdered::new();
                self.warn(&error);
            }
        }
    }

    fn warn(&self, error: &Error) {
        tracing::warn!(
            operator = %self.operator,
            subtask = %self.subtask,
            %error,
            "the filter of absent keys cannot be read: each new key costs a read until the job restarts"
        );
    }

    /// Whether there is something to take over.
    pub(super) fn has_slices(&self) -> bool {
        self.read.is_some()
    }

    /// Takes over a slice.
    pub(super) fn slice<K: Key>(&mut self, state: &mut KeyedState<K>) {
        if let Some(chunks) = &mut self.read
            && state.filter_read(chunks, SLICE_HASHES)
        {
            self.read = None;
        }
    }

    /// Adds up what the filter has saved: once a batch with misses.
    pub(super) fn count<K: Key>(&mut self, state: &mut KeyedState<K>) {
        match state.take_reads_saved() {
            0 => {}
            saved => self.metrics.reads_saved(saved),
        }
    }
}
