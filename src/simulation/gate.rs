//! One process's way to the store: where it can be made to die at any of its calls, before the call
//! takes effect or after, and never do anything again.
//!
//! Owns the gate and the backend behind it. Killing what is in memory is `process`'s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};

use crate::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore};
use crate::error::Result;
use crate::ids::{Incarnation, Name, Version};
use crate::runtime::{Backend, CapacityUnits, Left};
use crate::state::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, ScanPage, Store, WriteOutcome,
};

/// Counts a process's calls down to the one at which it dies. Clones are handles.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Passages until it dies; none where it is not positive. Each call has two: there and back.
    left: AtomicI64,
    dead: AtomicBool,
}

impl Gate {
    /// It dies at the passage after `passages` others.
    pub(super) fn arm(&self, passages: u32) {
        self.0.left.store(i64::from(passages) + 1, Ordering::Relaxed);
    }

    /// It does not die at a call.
    pub(super) fn disarm(&self) {
        self.0.left.store(0, Ordering::Relaxed);
    }

    /// Whether it has died.
    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    async fn pass(&self) {
        if self.0.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.dead.store(true, Ordering::Relaxed);
        }
        if self.is_dead() {
            pending::<()>().await;
        }
    }

    fn through<'a, T: Send + 'a>(
        &self,
        call: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        let gate = self.clone();
        async move {
            gate.pass().await;
            let answer = call.await;
            gate.pass().await;
            answer
        }
        .boxed()
    }
}

/// A backend as one process sees it.
#[derive(Debug)]
pub(super) struct Gated {
    inner: Arc<dyn Backend>,
    gate: Gate,
    exclusive: bool,
}

impl Gated {
    /// `exclusive`: a claim does not wait for another owner's lease.
    pub(super) fn new(inner: Arc<dyn Backend>, gate: Gate, exclusive: bool) -> Self {
        Self { inner, gate, exclusive }
    }
}

impl Backend for Gated {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        Arc::new(GatedHeads { inner: self.inner.heads(), gate: self.gate.clone() })
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        let inner = self.inner.store(job, incarnation);
        Arc::new(GatedStore { inner, gate: self.gate.clone() })
    }

    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        left: Left,
    ) -> BoxFuture<'static, Result<u64>> {
        self.gate.through(self.inner.purge(job, incarnation, left))
    }

    fn consumed(&self) -> CapacityUnits {
        self.inner.consumed()
    }

    fn provisioned(&self) -> Option<(u64, u64)> {
        self.inner.provisioned()
    }
}

struct GatedHeads {
    inner: Arc<dyn HeadStore>,
    gate: Gate,
}

impl fmt::Debug for GatedHeads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatedHeads")
    }
}

impl HeadStore for GatedHeads {
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        self.gate.through(self.inner.read(job))
    }

    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        self.gate.through(self.inner.write(job, condition, change))
    }
}

struct GatedStore {
    inner: Arc<dyn Store>,
    gate: Gate,
}

impl fmt::Debug for GatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatedStore")
    }
}

impl Store for GatedStore {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        self.gate.through(self.inner.read_items(keys))
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        self.gate.through(self.inner.scan_page(range, max_bytes))
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        self.gate.through(self.inner.write_items(writes))
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        self.gate.through(self.inner.put_block(key, version, bytes))
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.gate.through(self.inner.get_block(key))
    }

    fn get_block_unawaited(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.gate.through(self.inner.get_block_unawaited(key))
    }

    fn health(&self) -> Health {
        self.inner.health()
    }
}
