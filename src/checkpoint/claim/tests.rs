//! Tests of how attempts begin, with lost answers, rivals and leases.

mod answers;
mod beat;
mod look;
mod starts;
mod waiting;

use std::sync::Mutex;

use futures::future::BoxFuture;

use super::*;
use crate::checkpoint::archive;
use crate::checkpoint::fakes::{
    FakeHeads, FakeSink, FakeStore, Fault, LEASE, identity, io, name, segment,
};
use crate::checkpoint::manifest::Manifest;
use crate::checkpoint::messages::Owed;
use crate::handover::Committable;
use crate::ids::{SlotId, Version};
use crate::state::{BlockKey, BlockKind};

/// One job's heads, stores (one an incarnation) and sink.
struct World {
    heads: Arc<FakeHeads>,
    stores: Vec<Arc<FakeStore>>,
    sink: Arc<FakeSink>,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let stores = (0..4).map(|_| FakeStore::new()).collect();
        let sink = Arc::new(FakeSink::default());
        Self { heads: FakeHeads::with(None), stores, sink, clock: Clock::starting_at(0) }
    }

    fn claimer(&self, seed: u8, change: impl FnOnce(&mut ClaimOptions)) -> Claimer {
        let mut options = ClaimOptions {
            job: name("job"),
            identity: identity("g"),
            mode: StartMode::Auto,
            exclusive: true,
            roll_back: None,
            abandon_output: false,
            lease: LEASE,
        };
        change(&mut options);
        let stores = self.stores.clone();
        let open: OpenStore = Arc::new(move |incarnation: Incarnation| {
            Arc::clone(&stores[incarnation.0 as usize]) as Arc<dyn Store>
        });
        let sink = Arc::clone(&self.sink);
        Claimer::new(
            options,
            Arc::<FakeHeads>::clone(&self.heads),
            open,
            sink,
            io(),
            self.clock,
            [seed; 32],
        )
    }

    /// The owner completes `checkpoint`, which names one segment and one committable.
    async fn complete(&self, claimed: &Claimed, checkpoint: u64, keep: u32) -> SlotId {
        let version =
            Version { attempt: claimed.mine.attempt, checkpoint: CheckpointId(checkpoint) };
        let slot = claimed.slots.take(BlockKind::Segment, 100, version).unwrap();
        let manifest = Manifest {
            segments: vec![segment(slot.0, version.attempt.0, checkpoint)],
            committables: vec![Owed {
                sink: name("files"),
                committable: Committable(vec![checkpoint as u8]),
            }],
            ..Manifest::empty(version)
        };
        let store = Arc::clone(&claimed.store);
        let put = archive::put(store, claimed.slots.clone(), manifest).await.unwrap();
        let mut head = self.heads.head.lock().unwrap();
        let head = head.as_mut().unwrap();
        head.checkpoint = put.retained.checkpoint;
        head.retained = rules::retain(&head.retained, put.retained, keep);
        slot
    }

    fn end(&self, status: HeadStatus) {
        self.heads.head.lock().unwrap().as_mut().unwrap().status = status;
    }
}

async fn claim(claimer: &mut Claimer) -> Result<Claimed> {
    claimer.claim(&|_| {}).await.map(mine)
}

#[track_caller]
fn mine(turn: Turn) -> Claimed {
    match turn {
        Turn::Mine(mine) => mine.0,
        Turn::Over(over) => panic!("{over:?}"),
    }
}
