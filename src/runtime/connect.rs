//! What the runtime asks of state backends, answered: by a DynamoDB, and by the in-memory twin for tests.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{self, BoxFuture};

use super::backend::{Backend, Left};
use super::dynamodb_backend::DynamoDbStateBackend;
use super::status::{CapacityUnits, WriteUnits};
use crate::checkpoint::{HeadStore, MemoryHeads};
use crate::dynamodb::{Partition, Share, Throttling};
use crate::error::Result;
use crate::ids::{Incarnation, Name, SlotId};
use crate::key_group::KeyGroup;
use crate::state::{BlockKind, MemoryStore, Store};

impl Backend for DynamoDbStateBackend {
    fn describe(&self) -> String {
        self.connection().describe()
    }

    fn is_exclusive(&self) -> bool {
        self.connection().exclusive()
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        self.connection().heads()
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        self.connection().scoped(job, incarnation, self.tombstone_retention())
    }

    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        left: Left,
    ) -> BoxFuture<'static, Result<u64>> {
        self.connection().purge(job, incarnation, partitions(left)).boxed()
    }

    fn shares(&self) -> Vec<Share> {
        self.connection().meter().shares()
    }

    fn provisioned(&self) -> Option<(u64, u64)> {
        self.connection().provisioned()
    }

    fn follow_capacity(&self) -> BoxFuture<'static, Infallible> {
        self.connection().follow_capacity().boxed()
    }

    fn throttling(&self) -> Throttling {
        self.connection().throttling()
    }

    fn consumed(&self) -> CapacityUnits {
        let consumed = self.connection().meter().snapshot();
        CapacityUnits {
            read: consumed.total().read_units,
            write: WriteUnits {
                log: consumed.log.write_units,
                items: consumed.materialise.write_units,
                protocol: consumed.protocol.write_units,
            },
        }
    }
}

/// In the order of deletion: the first manifest's slot, by which the rest is found, is the last.
fn partitions(left: Left) -> impl Iterator<Item = Partition> + Send {
    let slots = [
        (BlockKind::Segment, SlotId(left.segment_slots)),
        (BlockKind::Manifest, SlotId(left.manifest_slots)),
    ];
    let key_groups = left.key_groups;
    let of_state = move |(operator, state): (Name, Name)| {
        (0..key_groups).map(move |group| Partition::State {
            operator: operator.clone(),
            state: state.clone(),
            key_group: KeyGroup(group),
        })
    };
    let both = |(kind, slot)| [Partition::SlotsFrom(kind, slot), Partition::SlotsBelow(kind, slot)];
    left.states.into_iter().flat_map(of_state).chain(slots.into_iter().flat_map(both))
}

/// State in memory, gone with the process: for tests. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryBackend {
    heads: MemoryHeads,
    stores: Arc<Mutex<HashMap<(Name, Incarnation), MemoryStore>>>,
}

impl MemoryBackend {
    /// An empty backend.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The heads, to look at them or to inject faults.
    #[must_use]
    pub fn memory_heads(&self) -> &MemoryHeads {
        &self.heads
    }

    /// The store of one incarnation, to look at it or to inject faults.
    #[must_use]
    pub fn memory_store(&self, job: &Name, incarnation: Incarnation) -> MemoryStore {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.entry((job.clone(), incarnation)).or_default().clone()
    }
}

impl Backend for MemoryBackend {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        Arc::new(self.heads.clone())
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        Arc::new(self.memory_store(job, incarnation))
    }

    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        _left: Left,
    ) -> BoxFuture<'static, Result<u64>> {
        future::ready(Ok(self.memory_store(job, incarnation).clear())).boxed()
    }

    fn consumed(&self) -> CapacityUnits {
        CapacityUnits::default()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{Attempt, CheckpointId, SlotId, Version};
    use crate::state::{BlockKey, BlockKind, WriteOutcome};

    /// It used to give later starts a store of their own, so that a zombie of before the purge and one of after
    /// it could both write one place.
    #[tokio::test]
    async fn whoever_held_a_store_before_a_purge_and_whoever_does_later_have_the_same() {
        let (backend, job) = (MemoryBackend::new(), Name::new("job").unwrap());
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(39), part: 0 };
        let version = |attempt| Version { attempt: Attempt(attempt), checkpoint: CheckpointId(1) };
        let put = |store: Arc<dyn Store>, attempt| async move {
            store.put_block(key, version(attempt), Bytes::from_static(b"block")).await.unwrap()
        };
        let store = || backend.store(&job, Incarnation(1));
        let before = store();
        assert_eq!(put(Arc::clone(&before), 1).await, WriteOutcome::Done);
        assert_eq!(backend.purge(&job, Incarnation(1), Left::default()).await.unwrap(), 1);
        assert!(before.get_block(key).await.unwrap().is_none());
        assert_eq!(put(before, 2).await, WriteOutcome::Done, "a copy that comes late");
        assert_eq!(put(store(), 1).await, WriteOutcome::Fenced(version(2)));
    }
}
