//! The in-memory twin of a store, with a script by which tests hold, fail, lose, delay and repeat its
//! calls.
//!
//! Owns the twin of [`Store`] and the [`Script`]; the twin of heads is `checkpoint::memory`. Rule V is
//! kept in the simplest way, since the other stores are compared with this one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tokio::sync::Notify;

use super::store::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, MAX_BLOCK_BYTES, ScanPage,
    Scanned, Store, WriteOutcome,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Version;
use crate::teeth::{Tooth, bites};

/// A kind of call, of the store or of heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Store::read_items`].
    ReadItems,
    /// [`Store::scan_page`].
    ScanItems,
    /// [`Store::write_items`].
    WriteItems,
    /// [`Store::put_block`].
    PutBlock,
    /// [`Store::get_block`].
    GetBlock,
    /// `HeadStore::read`.
    ReadHead,
    /// `HeadStore::write`.
    WriteHead,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has no effect and ends with an error of this kind.
    Fail(ErrorKind),
    /// It takes effect; its answer is lost. A store's caller waits for ever, a head's learns that it
    /// is not known.
    LoseAnswer,
    /// As [`Fault::LoseAnswer`], but it takes effect only at [`Script::deliver`].
    Late,
    /// It takes effect and is answered, and takes effect once more at [`Script::deliver`].
    Twice,
}

/// Steers the calls of a twin, from the test that holds it too. Clones are handles to one script.
#[derive(Clone, Default)]
pub struct Script(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    arrived: HashMap<Call, u64>,
    held: HashMap<Call, bool>,
    faults: HashMap<Call, VecDeque<Fault>>,
    under_way: Vec<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

/// How a call went through the script.
#[derive(Debug)]
pub(crate) enum Passed<T> {
    /// The answer.
    Answered(T),
    /// Sent, and no answer will come.
    Unanswered,
}

impl Script {
    /// From now on calls of this kind wait before they take effect. One that is dropped meanwhile
    /// never does.
    pub fn hold(&self, call: Call) {
        self.lock().held.insert(call, true);
    }

    /// Lets held calls of this kind go on.
    pub fn release(&self, call: Call) {
        self.lock().held.insert(call, false);
        self.0.changed.notify_waiters();
    }

    /// The next call of this kind that has no fault yet gets `fault`.
    pub fn next(&self, call: Call, fault: Fault) {
        self.lock().faults.entry(call).or_default().push_back(fault);
    }

    /// Lets all late and second copies take effect, the oldest first; gives their number.
    pub fn deliver(&self) -> usize {
        let copies = std::mem::take(&mut self.lock().under_way);
        let number = copies.len();
        copies.into_iter().for_each(|take_effect| take_effect());
        number
    }

    /// How many calls of this kind have come, held ones included.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.lock().arrived.get(&call).copied().unwrap_or_default()
    }

    /// Ends when `number` calls of this kind have come, counted from the start.
    pub async fn arrived(&self, call: Call, number: u64) {
        self.wait(|state| state.arrived.get(&call).copied().unwrap_or_default() >= number).await;
    }

    /// Takes one call through the script: `effect` is what it does.
    pub(crate) async fn pass<T>(
        &self,
        call: Call,
        effect: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Result<Passed<T>> {
        let fault = {
            let mut state = self.lock();
            *state.arrived.entry(call).or_default() += 1;
            state.faults.get_mut(&call).and_then(VecDeque::pop_front)
        };
        self.0.changed.notify_waiters();
        self.wait(|state| !state.held.get(&call).copied().unwrap_or_default()).await;
        match fault {
            None => effect().map(Passed::Answered),
            Some(Fault::Fail(kind)) => Err(Error::new(kind, format!("{call:?} is made to fail"))),
            Some(Fault::LoseAnswer) => effect().map(|_| Passed::Unanswered),
            Some(Fault::Late) => {
                self.lock().under_way.push(Box::new(move || drop(effect())));
                Ok(Passed::Unanswered)
            }
            Some(Fault::Twice) => {
                let answer = effect()?;
                self.lock().under_way.push(Box::new(move || drop(effect())));
                Ok(Passed::Answered(answer))
            }
        }
    }

    async fn wait(&self, ready: impl Fn(&State) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if ready(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content of a [`MemoryStore`].
#[derive(Debug, Default)]
struct Content {
    items: BTreeMap<ItemKey, Item>,
    blocks: BTreeMap<BlockKey, Block>,
}

/// A store in memory. Clones share content and script.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    script: Script,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What steers its calls.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// All items, tombstones included, without any call.
    #[must_use]
    pub fn items(&self) -> BTreeMap<ItemKey, Item> {
        lock(&self.content).items.clone()
    }

    /// All blocks, without any call.
    #[must_use]
    pub fn blocks(&self) -> BTreeMap<BlockKey, Block> {
        lock(&self.content).blocks.clone()
    }

    /// Deletes everything, without any call; how many items and blocks there were. All who hold the store
    /// see it, as they do where a table is purged.
    pub fn clear(&self) -> u64 {
        let Content { items, blocks } = std::mem::take(&mut *lock(&self.content));
        (items.len() + blocks.len()) as u64
    }

    async fn call<T>(
        &self,
        call: Call,
        effect: impl Fn(&mut Content) -> Result<T> + Send + Sync + 'static,
    ) -> Result<T> {
        let content = Arc::clone(&self.content);
        match self.script.pass(call, move || effect(&mut lock(&content))).await? {
            Passed::Answered(answer) => Ok(answer),
            // The trait's promise: retried until the future is dropped.
            Passed::Unanswered => pending().await,
        }
    }
}

fn lock(content: &Mutex<Content>) -> MutexGuard<'_, Content> {
    content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Content {
    fn scan(&self, range: &ItemRange, max_bytes: u64) -> ScanPage {
        let ItemRange { operator, state, key_group, from, .. } = range.clone();
        let first = ItemKey { operator, state, key_group, sort_key: from };
        let in_range = |key: &ItemKey| {
            let of = (&key.operator, &key.state, key.key_group);
            of == (&range.operator, &range.state, range.key_group) && range.contains(&key.sort_key)
        };
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (key, item) in self.items.range(first..).take_while(|(key, _)| in_range(key)) {
            bytes += (key.sort_key.len() + item.value.as_ref().map_or(0, Bytes::len)) as u64;
            items.push(Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) });
            if bytes > max_bytes {
                return ScanPage { items, rest: Some(range.after(&key.sort_key)) };
            }
        }
        ScanPage { items, rest: None }
    }

    fn write(&mut self, write: &ItemWrite) -> WriteOutcome {
        let there = self.items.get(&write.key).map(|item| item.version);
        let there = there.filter(|_| !bites(Tooth::ItemsUnconditional));
        WriteOutcome::settled(there, write.item.version).unwrap_or_else(|| {
            self.items.insert(write.key.clone(), write.item.clone());
            if write.item.value.is_none() && bites(Tooth::ItemsDeleted) {
                self.items.remove(&write.key);
            }
            WriteOutcome::Done
        })
    }

    fn put(&mut self, key: BlockKey, block: &Block) -> WriteOutcome {
        let there = self.blocks.get(&key).map(|block| block.version);
        let there = there.filter(|_| !bites(key.kind.unconditional()));
        WriteOutcome::settled(there, block.version).unwrap_or_else(|| {
            self.blocks.insert(key, block.clone());
            WriteOutcome::Done
        })
    }
}

impl Store for MemoryStore {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        self.call(Call::ReadItems, move |content| {
            Ok(keys.iter().map(|key| content.items.get(key).cloned()).collect())
        })
        .boxed()
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        self.call(Call::ScanItems, move |content| Ok(content.scan(&range, max_bytes))).boxed()
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        self.call(Call::WriteItems, move |content| {
            Ok(writes.iter().map(|write| content.write(write)).collect())
        })
        .boxed()
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        self.call(Call::PutBlock, move |content| {
            if bytes.len() > MAX_BLOCK_BYTES {
                return Err(Error::internal(format!("a block of {} bytes", bytes.len())));
            }
            Ok(content.put(key, &Block { version, bytes: bytes.clone() }))
        })
        .boxed()
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        self.call(Call::GetBlock, move |content| Ok(content.blocks.get(&key).cloned())).boxed()
    }

    fn health(&self) -> Health {
        Health::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Attempt, CheckpointId, SlotId};
    use crate::state::BlockKind;

    const KEY: BlockKey = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };

    fn version(attempt: u64, checkpoint: u64) -> Version {
        Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
    }

    fn put<'a>(
        store: &'a MemoryStore,
        version: Version,
        bytes: &'static str,
    ) -> BoxFuture<'a, Result<WriteOutcome>> {
        store.put_block(KEY, version, Bytes::from_static(bytes.as_bytes()))
    }

    fn there(store: &MemoryStore) -> Option<Bytes> {
        store.blocks().get(&KEY).map(|block| block.bytes.clone())
    }

    #[tokio::test]
    async fn a_held_call_has_no_effect_until_released_and_none_when_dropped() {
        let store = MemoryStore::new();
        store.script().hold(Call::PutBlock);
        assert!(put(&store, version(1, 1), "a").now_or_never().is_none());
        let release = async {
            store.script().arrived(Call::PutBlock, 2).await;
            assert_eq!(there(&store), None);
            store.script().release(Call::PutBlock);
        };
        let (outcome, ()) = tokio::join!(put(&store, version(1, 2), "b"), release);
        outcome.unwrap();
        assert_eq!(there(&store).unwrap(), "b");
    }

    #[tokio::test]
    async fn lost_late_and_second_copies() {
        let store = MemoryStore::new();
        store.script().next(Call::PutBlock, Fault::LoseAnswer);
        assert!(put(&store, version(1, 1), "a").now_or_never().is_none());
        assert_eq!(there(&store).unwrap(), "a");
        store.script().next(Call::PutBlock, Fault::Late);
        assert!(put(&store, version(1, 2), "b").now_or_never().is_none());
        assert_eq!(there(&store).unwrap(), "a");
        store.script().next(Call::PutBlock, Fault::Twice);
        put(&store, version(1, 3), "c").await.unwrap();
        assert_eq!(store.script().deliver(), 2);
        assert_eq!(there(&store).unwrap(), "c");
        store.script().next(Call::PutBlock, Fault::Fail(ErrorKind::Io));
        assert_eq!(put(&store, version(1, 4), "d").await.unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(store.script().count(Call::PutBlock), 4);
    }
}
