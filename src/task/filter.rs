//! Building one keyed subtask's filter of absent keys: its chunks, a page of some key groups at a time.
//!
//! ```text
//! scan a page (I/O side) ─► decode (I/O side) ─► take over a slice (worker) ─► … ─► the key group's next page
//! ```
//! Nothing waits for it: until its key group is read, a key that is not in memory is read. Owns the order in time,
//! and how much is in memory meanwhile; what a filter is, and when one is to be built, is `state`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::build::BuildContext;
use crate::codec::Key;
use crate::error::{Error, Result};
use crate::ids::{Name, SubtaskId};
use crate::io::Io;
use crate::metrics::{Metrics, VertexCounters};
use crate::state::{FilterChunks, FilterScan, KeyedState, Store};

/// Hashes that are taken over at once: some 0.1 ms.
const SLICE_HASHES: usize = 2048;
/// Key groups of which a page is read at a time: so many that a restart with new keys is not one of waiting for
/// each in turn.
const MAX_UNDER_WAY: u64 = 8;
/// The part of the cache that pages may take, over all subtasks.
const SHARE_OF_CACHE: u64 = 16;
/// A page at the most: on a small table whoever comes next waits for what it takes.
const MAX_PAGE_BYTES: u64 = 64 << 10;
/// A page at the least, a chunk: caches that give less are those of tests.
const MIN_PAGE_BYTES: u64 = 1 << 10;
/// What a full filter may take for known of what is not, before a warning.
const MOST_FALSE: f64 = 0.05;

/// Builds one subtask's filter.
pub(super) struct FilterBuilder {
    io: Io,
    store: Arc<dyn Store>,
    metrics: Metrics,
    counters: VertexCounters,
    operator: Name,
    subtask: SubtaskId,
    /// That the filter is too small for what there is.
    has_warned: bool,
    bounds: Bounds,
    under_way: FuturesUnordered<BoxFuture<'static, Result<Page>>>,
    /// What was read and is being taken over.
    read: Option<Page>,
    /// What is to be read after that.
    rest: Option<FilterScan>,
    /// Bytes of pages that are there and were not taken over.
    arrived: Arc<AtomicU64>,
}

/// What is read at a time.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    pages: u64,
    page_bytes: u64,
}

impl Bounds {
    /// For one of so many `shares` in a cache.
    fn of(cache_bytes: u64, shares: u64) -> Self {
        let most = cache_bytes / SHARE_OF_CACHE / shares;
        let pages = (most / MIN_PAGE_BYTES).clamp(1, MAX_UNDER_WAY);
        Self { pages, page_bytes: (most / pages).clamp(MIN_PAGE_BYTES, MAX_PAGE_BYTES) }
    }
}

/// A page, as long as it is in memory.
#[derive(Debug)]
pub(super) struct Page {
    chunks: FilterChunks,
    _counted: Counted,
}

/// Bytes that are in memory.
#[derive(Debug)]
struct Counted(u64, Arc<AtomicU64>);

impl Counted {
    fn new(chunks: &FilterChunks, arrived: Arc<AtomicU64>) -> Self {
        let bytes = (chunks.len() * size_of::<u64>()) as u64;
        arrived.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes, arrived)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for FilterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FilterBuilder({}, {:?})", self.operator, self.read)
    }
}

impl FilterBuilder {
    pub(super) fn new(operator: Name, context: &BuildContext) -> Self {
        let shares = u64::from(context.subtask.parallelism) * context.keyed_operators.max(1);
        Self {
            io: context.io.clone(),
            store: Arc::clone(&context.store),
            metrics: context.metrics.clone(),
            counters: context.counters[context.vertex].clone(),
            operator,
            subtask: context.subtask,
            has_warned: false,
            bounds: Bounds::of(context.config.state.cache_bytes, shares),
            under_way: FuturesUnordered::new(),
            read: None,
            rest: None,
            arrived: Arc::default(),
        }
    }

    /// Bytes of pages that are in memory and not in the filter yet.
    pub(super) fn bytes(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    /// Begins to read the next pages, if some are to be read.
    pub(super) fn begin<K: Key>(&mut self, state: &mut KeyedState<K>) {
        // What is being taken over is in memory, too.
        let taken = usize::from(self.read.is_some());
        while ((self.under_way.len() + taken) as u64) < self.bounds.pages
            && let Some(scan) = self.rest.take().or_else(|| state.filter_scan())
        {
            let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
            let (arrived, page_bytes) = (Arc::clone(&self.arrived), self.bounds.page_bytes);
            let read = self.io.run(async move {
                let page = store.scan_page(scan.range.clone(), page_bytes).await?;
                metrics.add_filter_chunks_read(page.items.len() as u64);
                let chunks = FilterChunks::of(scan, page)?;
                let counted = Counted::new(&chunks, arrived);
                Ok(Page { chunks, _counted: counted })
            });
            self.under_way.push(read.boxed());
        }
    }

    /// Waits for a page that is being read; for ever where none is, or another one is being taken over.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn wait(&mut self) -> Result<Page> {
        if self.read.is_none()
            && let Some(read) = self.under_way.next().await
        {
            return read;
        }
        std::future::pending().await
    }

    /// Takes what was read. If it cannot be read, that is logged, and the job goes on without.
    pub(super) fn arrived<K: Key>(&mut self, read: Result<Page>, state: &mut KeyedState<K>) {
        match read {
            Ok(page) => self.read = Some(page),
            Err(error) => {
                state.filter_failed();
                self.under_way = FuturesUnordered::new();
                self.rest = None;
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

    /// Tells how exact the filter is: once a checkpoint. Where it has become too inexact, and that for good, there is
    /// a warning, once.
    pub(super) fn tell<K: Key>(&mut self, state: &KeyedState<K>) {
        let told = state.filter_false_positives();
        self.counters.filter_is(self.subtask.index, told.map(|(share, _)| share));
        if let Some((share, true)) = told
            && share > MOST_FALSE
            && !self.has_warned
        {
            self.has_warned = true;
            tracing::warn!(
                operator = %self.operator,
                subtask = %self.subtask,
                "the filter of absent keys has come to its greatest size and takes {:.0} % of new keys for stored \
                 ones, each of which costs a read: raise state.backend.dynamodb.cache-size, of which filters take \
                 a quarter at most",
                share * 100.0
            );
        }
    }

    /// Whether there is something to take over.
    pub(super) fn has_slices(&self) -> bool {
        self.read.is_some()
    }

    /// Takes over a slice.
    pub(super) fn slice<K: Key>(&mut self, state: &mut KeyedState<K>) {
        if let Some(page) = &mut self.read
            && state.filter_read(&mut page.chunks, SLICE_HASHES)
        {
            self.rest = self.read.take().and_then(|page| page.chunks.into_rest());
        }
    }

    /// Adds up what the filter has saved: once a batch with misses.
    pub(super) fn count<K: Key>(&mut self, state: &mut KeyedState<K>) {
        match state.take_reads_saved() {
            0 => {}
            saved => self.metrics.add_reads_saved(saved),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{LazyLock, Mutex};

    use tracing::Dispatch;
    use xxhash_rust::xxh64::xxh64;

    use super::*;
    use crate::config::ValueFormat;
    use crate::ids::{Attempt, CheckpointId, Version};
    use crate::io::Spawn;
    use crate::key_group::{KeyGroup, MaxParallelism};
    use crate::state::{
        Call, FILTER_STATE, FilterConfig, Item, ItemKey, ItemWrite, KeyedConfig, MemoryStore,
        Presence, RestorePoint, States, ValueDescriptor,
    };

    const CHUNK_HASHES: u64 = 112;

    struct Tokio;

    impl Spawn for Tokio {
        #[expect(clippy::disallowed_methods, reason = "a test is its own runtime")]
        fn spawn(&self, future: BoxFuture<'static, ()>) {
            tokio::spawn(future);
        }

        fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
            work();
        }
    }

    /// A chunk of that many hashes, as it stands in the table.
    fn chunk(group: u16, number: u32) -> ItemWrite {
        let of = u64::from(number) * 128 + u64::from(group);
        let hashes = (0..CHUNK_HASHES).map(|n| xxh64(&(of * CHUNK_HASHES + n).to_le_bytes(), 0));
        let value = std::iter::once(1).chain(hashes.flat_map(u64::to_le_bytes)).collect();
        let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
        let begun = 1_u32.to_be_bytes();
        let sort_key = [&group.to_be_bytes()[..], &begun, &number.to_be_bytes()].concat().into();
        let (operator, state) = (Name::new("counts").unwrap(), Name::new(FILTER_STATE).unwrap());
        let key = ItemKey { operator, state, key_group: KeyGroup(group), sort_key };
        ItemWrite { key, item: Item::new(version, Some(value)), presence: Presence::Absent }
    }

    /// After a restart from a table that has items, with a filter of at most so many bytes.
    fn restored(max_bytes: u64) -> KeyedState<u64> {
        let max_parallelism = MaxParallelism::new(128).unwrap();
        let config = KeyedConfig {
            operator: Name::new("counts").unwrap(),
            subtask: SubtaskId { index: 0, parallelism: 1 },
            range: max_parallelism.range_of(0, 1),
            max_parallelism,
            attempt: Attempt(2),
            segment_bytes: 1 << 18,
            value_format: ValueFormat::Codec,
            filter: FilterConfig { max_bytes, first_bytes: 1 << 12, chunk_hashes: 112 },
            few_rows: 2,
        };
        let mut states = States::new();
        states.value(ValueDescriptor::<u64>::new("count"));
        let at = RestorePoint { items_sent: true, ..RestorePoint::default() };
        let mut state = KeyedState::new(config, states.finish().unwrap(), at).unwrap();
        state.finish_restore().unwrap();
        state
    }

    fn builder(store: &MemoryStore, metrics: &Metrics, bounds: Bounds) -> FilterBuilder {
        FilterBuilder {
            io: Io::new(Tokio),
            store: Arc::new(store.clone()),
            metrics: metrics.clone(),
            counters: VertexCounters::default(),
            operator: Name::new("counts").unwrap(),
            subtask: SubtaskId { index: 0, parallelism: 1 },
            has_warned: false,
            bounds,
            under_way: FuturesUnordered::new(),
            read: None,
            rest: None,
            arrived: Arc::default(),
        }
    }

    /// Nobody's. While only one subscriber lives, whether a line is wanted is asked of the thread that comes to it
    /// first, which may be another test's, and remembered: with two, all are asked.
    static SECOND: LazyLock<Dispatch> = LazyLock::new(|| {
        Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish())
    });

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Nobody used to see why reads became more and more.
    #[tokio::test]
    async fn a_filter_that_is_too_small_is_told_and_warned_of_once() {
        let _lives_on = &*SECOND;
        for (max_bytes, is_too_small) in [(1 << 22, false), (1 << 12, true)] {
            let (store, log) = (MemoryStore::new(), Log::default());
            store.write_items((0..128).map(|group| chunk(group, 0)).collect()).await.unwrap();
            let mut state = restored(max_bytes);
            let mut builder = builder(&store, &Metrics::default(), Bounds::of(1 << 20, 1));
            builder.tell(&state);
            assert_eq!(builder.counters.filter_false_positives(), None, "it does not answer yet");
            while state.stats().filter_hashes.is_none() {
                builder.begin(&mut state);
                let page = builder.wait().await;
                builder.arrived(page, &mut state);
                while builder.has_slices() {
                    builder.slice(&mut state);
                }
            }
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            tracing::subscriber::with_default(subscriber, || {
                builder.tell(&state);
                builder.tell(&state);
            });
            let share = builder.counters.filter_false_positives().unwrap();
            assert_eq!(share > MOST_FALSE, is_too_small, "{share}");
            let written = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.lines().count(), usize::from(is_too_small), "{written}");
            for part in ["operator=counts", "subtask=1/1", "% of new keys", "cache-size"] {
                assert_eq!(written.contains(part), is_too_small, "{part} in {written}");
            }
        }
    }

    /// Whole key groups used to be read, eight at a time by each subtask, and nothing counted them.
    #[tokio::test]
    async fn pages_take_a_sixteenth_of_the_cache_over_all_subtasks_and_are_counted() {
        const CACHE: u64 = 8 << 20;
        const SUBTASKS: u64 = 16;
        let (groups, chunks) = (10, 200);
        let (store, metrics) = (MemoryStore::new(), Metrics::default());
        let all = (0..groups).flat_map(|group| (0..chunks).map(move |number| chunk(group, number)));
        store.write_items(all.collect()).await.unwrap();
        let mut state = restored(1 << 22);
        let mut builder = builder(&store, &metrics, Bounds::of(CACHE, SUBTASKS));
        store.script().hold(Call::ScanItems);
        builder.begin(&mut state);
        store.script().arrived(Call::ScanItems, builder.bounds.pages).await;
        builder.begin(&mut state);
        tokio::task::yield_now().await;
        let asked = store.script().count(Call::ScanItems) * builder.bounds.page_bytes;
        assert_eq!(asked * SUBTASKS, CACHE / SHARE_OF_CACHE);
        assert!(builder.wait().now_or_never().is_none());
        store.script().release(Call::ScanItems);
        let (mut most, mut pages) = (0, 0);
        while state.stats().filter_hashes.is_none() {
            builder.begin(&mut state);
            let page = builder.wait().await;
            builder.arrived(page, &mut state);
            pages += 1;
            most = most.max(builder.bytes());
            while builder.has_slices() {
                builder.slice(&mut state);
            }
        }
        let most_of_page = builder.bounds.page_bytes + CHUNK_HASHES * size_of::<u64>() as u64;
        assert!(most > 0 && most <= builder.bounds.pages * most_of_page, "{most}");
        assert_eq!(builder.bytes(), 0);
        let read = u64::from(groups) * u64::from(chunks);
        assert_eq!(metrics.snapshot().filter_chunks_read, read);
        // A few are taken for known.
        let known = state.stats().filter_hashes.unwrap();
        assert!(known > read * CHUNK_HASHES / 100 * 99, "{known}");
        assert!(pages > read / 8, "{pages}");
    }

    #[test]
    fn a_page_is_never_large_and_never_less_than_a_chunk() {
        for (cache, shares) in [(1 << 40, 1), (64 << 20, 2), (1 << 20, 64), (100, 3)] {
            let Bounds { pages, page_bytes } = Bounds::of(cache, shares);
            assert!((MIN_PAGE_BYTES..=MAX_PAGE_BYTES).contains(&page_bytes), "{page_bytes}");
            let most = (cache / SHARE_OF_CACHE / shares).max(MIN_PAGE_BYTES);
            assert!((1..=MAX_UNDER_WAY).contains(&pages) && pages * page_bytes <= most);
        }
    }
}
