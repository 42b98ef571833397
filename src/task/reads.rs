//! The reads that records of a keyed subtask wait for: what is under way, and what waits until there is room for it.
//!
//! Owns their order and their bound. An answer stands in memory until the worker takes it, and nobody knows how
//! large it is before it is there: so as much is asked for at a time as would take a part of the cache if all of
//! it were as large as its kind was lately. One read may always be under way. What an answer means is `state`'s.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::build::BuildContext;
use crate::codec::Key;
use crate::error::Result;
use crate::io::Io;
use crate::metrics::Metrics;
use crate::state::{Item, KeyedState, Read, Scan, ScanPage, Store};

/// Keys that are read together: those of one `BatchGetItem`, so that no record waits for another
/// request than its own.
const READ_KEYS: usize = 100;

/// The part of the cache that answers may take, over all subtasks.
const SHARE_OF_CACHE: u64 = 8;
/// A subtask's share of that, at the least, some items: caches that give less are those of tests.
const LEAST_BYTES: u64 = 8 << 10;
/// Pages of ranges that may be under way at a time, where nothing else is.
const PAGES: u64 = 4;
/// What is asked for as a page, at the least.
const LEAST_PAGE_BYTES: u64 = 256;

/// What the store has said.
pub(super) enum Answer {
    Items(Vec<(Read, Option<Item>)>),
    Range(Box<Scan>, ScanPage),
}

/// An answer, and what it was taken to be and is.
struct Arrived {
    answer: Answer,
    expected: u64,
    bytes: u64,
}

/// What is to be read.
enum Wanted {
    Item(Read),
    Range(Box<Scan>),
}

/// The reads of one keyed subtask.
pub(super) struct Reads {
    io: Io,
    store: Arc<dyn Store>,
    metrics: Metrics,
    /// In the order in which they became necessary.
    waiting: VecDeque<Wanted>,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Arrived>>>,
    /// What is under way, as large as it is taken to be.
    expected: u64,
    most: u64,
    page_bytes: u64,
    /// Bytes of answers that are there and were not taken.
    arrived: Arc<AtomicU64>,
}

impl Reads {
    pub(super) fn new(context: &BuildContext) -> Self {
        let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
        let most = context.config.state.cache_bytes / SHARE_OF_CACHE / shares;
        Self {
            io: context.io.clone(),
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            waiting: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            expected: 0,
            most: most.max(LEAST_BYTES),
            page_bytes: (most / PAGES).max(LEAST_PAGE_BYTES),
            arrived: Arc::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Bytes of answers that are in memory and not in the state yet.
    pub(super) fn bytes(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Takes what has become necessary, and sends what there is room for.
    pub(super) fn send<K: Key>(&mut self, state: &mut KeyedState<K>) {
        let reads = state.take_reads();
        self.metrics.add_items_read(reads.len() as u64);
        self.waiting.extend(reads.into_iter().map(Wanted::Item));
        let scans = state.take_scans().into_iter();
        self.waiting.extend(scans.map(|scan| Wanted::Range(Box::new(scan))));
        let mut batch = Batch::default();
        while let Some(wanted) = self.waiting.front() {
            let each = match wanted {
                Wanted::Item(read) => state.expected_bytes(read),
                Wanted::Range(_) => self.page_bytes,
            };
            let is_first = self.under_way.is_empty() && batch.reads.is_empty();
            if !is_first && self.expected + batch.bytes + each > self.most {
                break;
            }
            match self.waiting.pop_front() {
                Some(Wanted::Item(read)) => {
                    batch.reads.push(read);
                    batch.bytes += each;
                    if batch.reads.len() == READ_KEYS {
                        self.read(std::mem::take(&mut batch));
                    }
                }
                Some(Wanted::Range(scan)) => self.scan(scan, each),
                None => {}
            }
        }
        if !batch.reads.is_empty() {
            self.read(batch);
        }
    }

    /// Asks for the rest of a range, of which a page was there, before all else: it is what the others wait for.
    pub(super) fn go_on(&mut self, scan: Box<Scan>) {
        self.waiting.push_front(Wanted::Range(scan));
    }

    fn read(&mut self, Batch { reads, bytes }: Batch) {
        let store = Arc::clone(&self.store);
        self.ask(bytes, async move {
            let keys = reads.iter().map(|read| read.key.clone()).collect();
            let items = store.read_items(keys).await?;
            let values: u64 = items.iter().flatten().map(size_of_item).sum();
            let bytes = values + reads.iter().map(size_of_read).sum::<u64>();
            Ok((Answer::Items(reads.into_iter().zip(items).collect()), bytes))
        });
    }

    fn scan(&mut self, scan: Box<Scan>, page_bytes: u64) {
        let store = Arc::clone(&self.store);
        self.ask(page_bytes, async move {
            let page = store.scan_page(scan.range.clone(), page_bytes).await?;
            let items = page.items.iter().filter_map(|scanned| scanned.item.as_ref().ok());
            let bytes = items.map(size_of_item).sum();
            Ok((Answer::Range(scan, page), bytes))
        });
    }

    fn ask(
        &mut self,
        expected: u64,
        request: impl Future<Output = Result<(Answer, u64)>> + Send + 'static,
    ) {
        let arrived = Arc::clone(&self.arrived);
        self.expected += expected;
        let answer = self.io.run(async move {
            let (answer, bytes) = request.await?;
            arrived.fetch_add(bytes, Ordering::Relaxed);
            Ok(Arrived { answer, expected, bytes })
        });
        self.under_way.push(Box::pin(answer));
    }

    /// The next answer; `None` where none is under way.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Result<Answer>> {
        let arrived = self.under_way.next().await?;
        Some(arrived.map(|Arrived { answer, expected, bytes }| {
            self.expected -= expected;
            self.arrived.fetch_sub(bytes, Ordering::Relaxed);
            answer
        }))
    }
}

/// Items that are read together.
#[derive(Default)]
struct Batch {
    reads: Vec<Read>,
    bytes: u64,
}

/// Of a read that is answered, found or not, what it takes beside the value.
fn size_of_read(read: &Read) -> u64 {
    (size_of::<(Read, Option<Item>)>() + read.key.sort_key.len()) as u64
}

fn size_of_item(item: &Item) -> u64 {
    item.value.as_ref().map_or(0, Bytes::len) as u64
}
