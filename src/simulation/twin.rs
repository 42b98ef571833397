//! The in-memory twin, the reference model, as a state backend under a weather: fast, so that many seeds can be tried.
//!
//! Owns what a fate does to a call: the promises of `Store` and `HeadStore` are kept (retried until
//! dropped; an unknown answer of a head's write is reported), everything that they leave open happens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::post::Post;
use super::watch::Watch;
use super::weather::{Fate, Weather};
use crate::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore, MemoryHeads};
use crate::clock::{Clock, Instant};
use crate::dynamodb::{Row, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Incarnation, Name, Version};
use crate::runtime::{Backend, CapacityUnits, Left, MemoryBackend};
use crate::state::{
    Block, BlockKey, Health, Item, ItemKey, ItemRange, ItemWrite, MemoryStore, ScanPage, Store,
    WriteOutcome,
};

/// How long a caller waits for an answer before it calls again.
const PATIENCE: Duration = Duration::from_millis(60);
/// How long a caller waits after it was throttled.
const BACKOFF: Duration = Duration::from_millis(20);

/// What the calls of one twin share.
#[derive(Clone, Debug)]
struct Line {
    clock: Clock,
    weather: Weather,
    post: Post,
    watch: Watch,
    struggle: Arc<Mutex<Struggle>>,
}

/// Calls that are being retried, and since when there are any.
#[derive(Debug, Default)]
struct Struggle {
    calls: usize,
    since: Option<Instant>,
}

/// One call that is being retried; its end is the guard's drop.
struct Struggling(Arc<Mutex<Struggle>>);

impl Drop for Struggling {
    fn drop(&mut self) {
        let mut struggle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        struggle.calls -= 1;
        if struggle.calls == 0 {
            struggle.since = None;
        }
    }
}

impl Line {
    fn struggling(&self) -> Struggling {
        let mut struggle = self.struggle.lock().unwrap_or_else(PoisonError::into_inner);
        struggle.calls += 1;
        struggle.since.get_or_insert(self.clock.now());
        Struggling(Arc::clone(&self.struggle))
    }

    fn health(&self) -> Health {
        let since = self.struggle.lock().unwrap_or_else(PoisonError::into_inner).since;
        Health { struggling_for: since.map_or(Duration::ZERO, |since| self.clock.now() - since) }
    }

    /// Sends once, and what was `drawn` becomes of it: `effect` is given how much of it arrives, from 0
    /// to 1.
    async fn send<T>(
        &self,
        what: &'static str,
        drawn: (Fate, Duration, Duration),
        effect: impl Fn(f64) -> Result<T> + Send + 'static,
    ) -> Sent<T> {
        let (fate, there, back) = drawn;
        if fate == Fate::Clear {
            self.watch.tell(format_args!(" {what}"));
        } else {
            self.watch.fault(format_args!(" {what} {fate}"));
        }
        // A timer is as exact as a millisecond; what takes less takes no time.
        self.clock.sleep(there).await;
        let sent = match fate {
            Fate::Clear => Sent::Answered(effect(1.0)),
            Fate::Throttled => Sent::Refused,
            Fate::Lost => Sent::Unanswered,
            Fate::Unanswered => {
                drop(effect(1.0));
                Sent::Unanswered
            }
            Fate::Partly(share) => {
                drop(effect(share));
                Sent::Unanswered
            }
            Fate::Late(delay) => {
                self.later(what, delay, effect);
                Sent::Unanswered
            }
            Fate::Twice(delay) => {
                let answer = effect(1.0);
                self.later(what, delay, effect);
                Sent::Answered(answer)
            }
            Fate::Refused => {
                let message = format!("{what} is refused by the simulation");
                Sent::Answered(Err(Error::new(ErrorKind::Store, message)))
            }
        };
        let wait = match sent {
            Sent::Answered(_) => back,
            Sent::Refused => BACKOFF,
            Sent::Unanswered => PATIENCE,
        };
        self.clock.sleep(wait).await;
        sent
    }

    fn later<T>(
        &self,
        what: &'static str,
        delay: Duration,
        effect: impl Fn(f64) -> Result<T> + Send + 'static,
    ) {
        let watch = self.watch.clone();
        self.post.send(self.clock, delay, move || {
            watch.tell(format_args!(" {what} arrives late"));
            drop(effect(1.0));
        });
    }

    /// Sends until answered.
    async fn call<T>(
        &self,
        what: &'static str,
        effect: impl Fn(f64) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        let mut struggling = None;
        loop {
            match self.send(what, self.weather.draw(), effect.clone()).await {
                Sent::Answered(answer) => return answer,
                Sent::Refused | Sent::Unanswered => {
                    struggling.get_or_insert_with(|| self.struggling());
                }
            }
        }
    }
}

/// What came of sending once.
enum Sent<T> {
    Answered(Result<T>),
    /// Surely not applied.
    Refused,
    Unanswered,
}

/// The twin never waits.
fn now<T>(answer: BoxFuture<'_, Result<T>>) -> Result<T> {
    answer.now_or_never().unwrap_or_else(|| Err(Error::internal("the twin has waited")))
}

/// State in memory, under a weather.
#[derive(Debug)]
pub(super) struct Twin {
    inner: MemoryBackend,
    line: Line,
}

impl Twin {
    /// Empty.
    pub(super) fn new(clock: Clock, weather: Weather, post: Post, watch: Watch) -> Self {
        let struggle = Arc::default();
        let line = Line { clock, weather, post, watch, struggle };
        Self { inner: MemoryBackend::new(), line }
    }
}

impl Backend for Twin {
    fn describe(&self) -> String {
        "the twin".to_owned()
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn heads(&self) -> Arc<dyn HeadStore> {
        Arc::new(Heads { inner: self.inner.memory_heads().clone(), line: self.line.clone() })
    }

    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store> {
        Arc::new(Scoped {
            inner: self.inner.memory_store(job, incarnation),
            job: job.clone(),
            incarnation,
            line: self.line.clone(),
        })
    }

    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        _left: Left,
    ) -> BoxFuture<'static, Result<u64>> {
        let store = self.inner.memory_store(job, incarnation);
        let (watch, job) = (self.line.watch.clone(), job.clone());
        async move {
            let (items, blocks) = (store.items(), store.blocks());
            let gone = store.clear();
            for key in items.into_keys() {
                watch.written(Written::Item(job.clone(), incarnation, key, None));
            }
            for key in blocks.into_keys() {
                watch.written(Written::Block(job.clone(), incarnation, key, None));
            }
            Ok(gone)
        }
        .boxed()
    }

    fn consumed(&self) -> CapacityUnits {
        CapacityUnits::default()
    }
}

#[derive(Clone)]
struct Heads {
    inner: MemoryHeads,
    line: Line,
}

impl fmt::Debug for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heads")
    }
}

impl HeadStore for Heads {
    fn read(&self, job: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
        let (inner, job) = (self.inner.clone(), job.clone());
        self.line.call("read head", move |_| now(inner.read(&job))).boxed()
    }

    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, Result<HeadAnswer>> {
        let (inner, job, watch) = (self.inner.clone(), job.clone(), self.line.watch.clone());
        let effect = move |share: f64| {
            // One item is written whole or not at all.
            if share < 0.5 {
                return Ok(HeadAnswer::Unknown);
            }
            let answer = now(inner.write(&job, condition, change.clone()))?;
            if let HeadAnswer::Applied(head) = &answer {
                watch.written(Written::Head(job.clone(), Some(head.clone())));
            }
            Ok(answer)
        };
        async move {
            let mut struggling = None;
            loop {
                let drawn = self.line.weather.draw_of_head();
                match self.line.send("write head", drawn, effect.clone()).await {
                    Sent::Answered(answer) => return answer,
                    Sent::Unanswered => return Ok(HeadAnswer::Unknown),
                    Sent::Refused => {
                        struggling.get_or_insert_with(|| self.line.struggling());
                    }
                }
            }
        }
        .boxed()
    }
}

#[derive(Clone)]
struct Scoped {
    inner: MemoryStore,
    job: Name,
    incarnation: Incarnation,
    line: Line,
}

impl fmt::Debug for Scoped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scoped({}/{})", self.job, self.incarnation)
    }
}

impl Store for Scoped {
    fn read_items(&self, keys: Vec<ItemKey>) -> BoxFuture<'_, Result<Vec<Option<Item>>>> {
        let inner = self.inner.clone();
        self.line.call("read items", move |_| now(inner.read_items(keys.clone()))).boxed()
    }

    fn scan_page(&self, range: ItemRange, max_bytes: u64) -> BoxFuture<'_, Result<ScanPage>> {
        let inner = self.inner.clone();
        let scan = move |_| now(inner.scan_page(range.clone(), max_bytes));
        self.line.call("scan items", scan).boxed()
    }

    fn write_items(&self, writes: Vec<ItemWrite>) -> BoxFuture<'_, Result<Vec<WriteOutcome>>> {
        let (this, watch) = (self.clone(), self.line.watch.clone());
        let effect = move |share: f64| {
            let part = (writes.len() as f64 * share).ceil() as usize;
            let part: Vec<ItemWrite> = writes.iter().take(part).cloned().collect();
            let keys: Vec<ItemKey> = part.iter().map(|write| write.key.clone()).collect();
            let outcomes = now(this.inner.write_items(part))?;
            for (key, item) in keys.iter().zip(now(this.inner.read_items(keys.clone()))?) {
                let (job, key) = (this.job.clone(), key.clone());
                watch.written(Written::Item(job, this.incarnation, key, item.map(Row::from)));
            }
            Ok(outcomes)
        };
        self.line.call("write items", effect).boxed()
    }

    fn put_block(
        &self,
        key: BlockKey,
        version: Version,
        bytes: Bytes,
    ) -> BoxFuture<'_, Result<WriteOutcome>> {
        let (this, watch) = (self.clone(), self.line.watch.clone());
        let effect = move |share: f64| {
            if share < 0.5 {
                return Ok(WriteOutcome::Done);
            }
            let outcome = now(this.inner.put_block(key, version, bytes.clone()))?;
            let block = now(this.inner.get_block(key))?;
            watch.written(Written::Block(this.job.clone(), this.incarnation, key, block));
            Ok(outcome)
        };
        self.line.call("put block", effect).boxed()
    }

    fn get_block(&self, key: BlockKey) -> BoxFuture<'_, Result<Option<Block>>> {
        let inner = self.inner.clone();
        self.line.call("get block", move |_| now(inner.get_block(key))).boxed()
    }

    fn health(&self) -> Health {
        self.line.health()
    }
}

#[cfg(test)]
mod tests;
