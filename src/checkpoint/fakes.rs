//! Fakes for this module's tests: a store under rule V, heads whose answers get lost, a sink.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::committing::SinkCommitter;
use super::head::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore, Identity};
use super::manifest::Manifest;
use super::messages::SegmentRef;
use super::slots::SlotTable;
use crate::error::{Error, Result};
use crate::handover::{CommitOutcome, Committable};
use crate::ids::{Attempt, CheckpointId, Name, SlotId, Version};
use crate::io::{Io, Spawn};
use crate::key_group::{KeyGroup, KeyGroupRange};
use crate::state::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, ScanPage, Store, WriteOutcome,
};

impl Manifest {
    /// That of a checkpoint of nothing at all.
    pub(crate) fn empty(version: Version) -> Self {
        Self {
            checkpoint: version.checkpoint,
            version,
            created_ms: 0,
            sources: vec![],
            segments: vec![],
            horizons: vec![],
            may_have_items: vec![],
            unfiltered: vec![],
            committables: vec![],
            states: vec![],
            operator_states: vec![],
            slots: SlotTable::default(),
            records: 0,
            operator_formats: vec![],
            key_types: vec![],
            input_ended: false,
            lifetimes: vec![],
        }
    }
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn version(attempt: u64, checkpoint: u64) -> Version {
    Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
}

pub(super) fn range(first: u16, last: u16) -> KeyGroupRange {
    KeyGroupRange { first: KeyGroup(first), last: KeyGroup(last) }
}

pub(super) fn segment(slot: u64, attempt: u64, checkpoint: u64) -> SegmentRef {
    SegmentRef {
        operator: name("counts"),
        range: range(0, 127),
        checkpoint: CheckpointId(checkpoint),
        sequence: 0,
        slot: SlotId(slot),
        version: version(attempt, checkpoint),
        bytes: 100,
        entries: 3,
    }
}

pub(super) fn identity(graph: &str) -> Identity {
    Identity {
        hash: "h".to_owned(),
        key_encoding: 1,
        max_parallelism: 128,
        graph: graph.to_owned(),
        input: "numbers".to_owned(),
        is_rolled_back: false,
    }
}

/// Runs on the test's own runtime.
#[derive(Debug)]
struct Here;

impl Spawn for Here {
    #[expect(clippy::disallowed_methods, reason = "tests have no runtime module below them")]
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        drop(tokio::spawn(future));
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

pub(super) fn io() -> Io {
    Io::new(Here)
}

/// Blocks under rule V; items are not needed here.
#[derive(Debug)]
pub(super) struct FakeStore {
    pub(super) blocks: Mutex<BTreeMap<BlockKey, Block>>,
    /// Every put that took effect, in order.
    pub(super) puts: Mutex<Vec<(BlockKey, Version)>>,
    /// How many blocks were asked for.
    pub(super) reads: Mutex<usize>,
    pub(super) health: Mutex<Health>,
    /// Puts wait while this is false.
    pub(super) open: watch::Sender<bool>,
    /// Reads wait while this is false.
    pub(super) readable: watch::Sender<bool>,
}

impl FakeStore {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            blocks: Mutex::default(),
            puts: Mutex::default(),
            reads: Mutex::default(),
            health: Mutex::default(),
            open: watch::Sender::new(true),
            readable: watch::Sender::new(true),
        })
    }

    /// What a put does when it arrives, at whatever time.
    pub(super) fn arrive(&self, key: BlockKey, version: Version, bytes: Bytes) -> WriteOutcome {
        let mut blocks = self.blocks.lock().unwrap();
        match blocks.get(&key) {
            Some(block) if block.version.attempt > version.attempt => {
                WriteOutcome::Fenced(block.version)
            }
            Some(block) if block.version >= version => WriteOutcome::Done,
            _ => {
                blocks.insert(key, Block { version, bytes });
                self.puts.lock().unwrap().push((key, version));
                WriteOutcome::Done
            }
        }
    }
}

impl Store for FakeStore {
    fn read_items(&self, _: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        std::future::ready(Err(Error::internal("no items here"))).boxed()
    }

    fn scan_page(&self, _: ItemRange, _: u64) -> BoxFuture<'_, Result<ScanPage>> {
        std::future::ready(Err(Error::internal("no items here"))).boxed()
    }

    fn write_items(&self, _: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        std::future::ready(Err(Error::internal("no items here"))).boxed()
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        let mut open = self.open.subscribe();
        async move {
            drop(open.wait_for(|open| *open).await.map_err(|_| Error::internal("closed"))?);
            Ok(self.arrive(key, version, bytes))
        }
        .boxed()
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        let mut readable = self.readable.subscribe();
        async move {
            drop(readable.wait_for(|is| *is).await.map_err(|_| Error::internal("closed"))?);
            *self.reads.lock().unwrap() += 1;
            Ok(self.blocks.lock().unwrap().get(&key).cloned())
        }
        .boxed()
    }

    fn health(&self) -> Health {
        *self.health.lock().unwrap()
    }
}

/// What becomes of one write of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Applied, answered.
    None,
    /// Applied if the condition holds, but the answer is lost.
    AnswerLost,
    /// Never applied, and the answer is lost.
    RequestLost,
    /// Applied at [`FakeHeads::land`], and the answer is lost.
    Late,
}

/// One head, and faults for the writes to come.
#[derive(Debug, Default)]
pub(super) struct FakeHeads {
    pub(super) head: Mutex<Option<Head>>,
    /// For writes that are no beats, in order; [`Fault::None`] after them.
    pub(super) faults: Mutex<VecDeque<Fault>>,
    late: Mutex<Vec<(HeadCondition, HeadChange)>>,
    /// Every write but beats, as it was sent.
    pub(super) sent: Mutex<Vec<(HeadCondition, HeadChange)>>,
    pub(super) beats: Mutex<u64>,
    /// Another process's claim, made just before the next write arrives.
    pub(super) rival: Mutex<Option<Head>>,
}

impl FakeHeads {
    pub(super) fn with(head: Option<Head>) -> Arc<Self> {
        Arc::new(Self { head: Mutex::new(head), ..Self::default() })
    }

    pub(super) fn shown(&self) -> Head {
        self.head.lock().unwrap().clone().unwrap()
    }

    pub(super) fn fail(&self, faults: &[Fault]) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Writes that were delayed arrive.
    pub(super) fn land(&self) -> Vec<HeadAnswer> {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        late.into_iter().map(|(condition, change)| self.apply(condition, change)).collect()
    }

    fn apply(&self, condition: HeadCondition, change: HeadChange) -> HeadAnswer {
        let mut head = self.head.lock().unwrap();
        let holds = match (&*head, condition) {
            (None, HeadCondition::Absent) => true,
            (Some(head), HeadCondition::At(attempt, checkpoint)) => {
                (head.attempt, head.checkpoint) == (attempt, checkpoint)
            }
            (Some(head), HeadCondition::Owned(attempt)) => head.attempt == attempt,
            (None, _) | (Some(_), HeadCondition::Absent) => false,
        };
        if !holds {
            return HeadAnswer::Refused;
        }
        match (&mut *head, change) {
            (place, HeadChange::Put(new)) => *place = Some(*new),
            (Some(head), HeadChange::Advance { checkpoint, retained, identity }) => {
                (head.checkpoint, head.retained) = (checkpoint, retained);
                head.identity = identity.map_or(head.identity.clone(), |identity| *identity);
            }
            (Some(head), HeadChange::Status(status)) => head.status = status,
            (Some(head), HeadChange::Beat(beat)) => head.beat = beat,
            (Some(head), HeadChange::CleanBelow(below)) => head.clean_below = below,
            (None, _) => return HeadAnswer::Refused,
        }
        HeadAnswer::Applied(Box::new(head.clone().unwrap()))
    }

    fn write_now(&self, condition: HeadCondition, change: HeadChange) -> HeadAnswer {
        if matches!(change, HeadChange::Beat(_)) {
            *self.beats.lock().unwrap() += 1;
            return self.apply(condition, change);
        }
        if let Some(rival) = self.rival.lock().unwrap().take() {
            *self.head.lock().unwrap() = Some(rival);
        }
        self.sent.lock().unwrap().push((condition, change.clone()));
        match self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None) {
            Fault::None => self.apply(condition, change),
            Fault::AnswerLost => {
                drop(self.apply(condition, change));
                HeadAnswer::Unknown
            }
            Fault::RequestLost => HeadAnswer::Unknown,
            Fault::Late => {
                self.late.lock().unwrap().push((condition, change));
                HeadAnswer::Unknown
            }
        }
    }
}

impl HeadStore for FakeHeads {
    fn read(&self, _: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        async move { Ok(self.head.lock().unwrap().clone()) }.boxed()
    }

    fn write(
        &self,
        _: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        async move { Ok(self.write_now(condition, change)) }.boxed()
    }
}

/// A sink that remembers what was published, and with which head.
#[derive(Debug, Default)]
pub(super) struct FakeSink {
    pub(super) published: Mutex<Vec<(Name, Committable)>>,
    /// What is gone.
    pub(super) lost: Mutex<Vec<Committable>>,
    /// How many commits still answer "retry".
    pub(super) retries: Mutex<u32>,
}

impl SinkCommitter for FakeSink {
    fn commit(
        &self,
        sink: &Name,
        committables: Vec<Committable>,
    ) -> BoxFuture<'static, Result<Vec<CommitOutcome>>> {
        let mut retries = self.retries.lock().unwrap();
        let retry = *retries > 0;
        *retries = retries.saturating_sub(1);
        let mut published = self.published.lock().unwrap();
        let outcomes = committables
            .into_iter()
            .map(|committable| {
                let one = (sink.clone(), committable);
                if self.lost.lock().unwrap().contains(&one.1) {
                    CommitOutcome::Lost("nobody has it".to_owned())
                } else if retry {
                    CommitOutcome::Retry("busy".to_owned())
                } else if published.contains(&one) {
                    CommitOutcome::AlreadyCommitted
                } else {
                    published.push(one);
                    CommitOutcome::Committed
                }
            })
            .collect();
        std::future::ready(Ok(outcomes)).boxed()
    }
}

pub(super) const LEASE: Duration = Duration::from_secs(5);
