//! One subtask's keyed state, built from a checkpoint in the table, without a job that runs. Flink:
//! `ForStKeyedStateBackendBuilder`.
//!
//! Restore first, then assemble: what the builder takes it owns, so a failure lets all of it go. A job's
//! own subtasks are built of the same parts (`restore`, `task::rebuild`), with the attempt around them.
//! Snapshots of what is built here are `keyed_snapshot`'s, building it from names alone and looking at its keys
//! `keyed_look`'s.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt, future};

use super::keyed_look::Unanswered;
use super::keyed_snapshot::{SnapshotStrategy, Snapshots};
use super::restore::read_logs;
use crate::checkpoint::{Manifest, Uploader};
use crate::clock::Clock;
use crate::codec::Key;
use crate::config::{Config, StateSettings};
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::io::Io;
use crate::key_group::{KeyGroup, KeyGroupRange, MaxParallelism};
use crate::metrics::Metrics;
use crate::state::{
    Columns, DeclaredStates, Handle, ItemRange, KeyQuery, KeyTypes, KeyedConfig, KeyedState,
    Listed, Namespaced, Resident, Store, SubKey, Told, key_alone, with_namespace,
};
use crate::task::{LogSegments, Restored, SegmentPuts, filter_of, rebuild};

/// Key groups that a query reads at a time.
const CONCURRENT_GROUPS: usize = 8;
/// What a query asks for at a time, in each of them: what a `Query` gives at most.
const PAGE_BYTES: u64 = 1 << 20;

/// Collects what one subtask's keyed state is built of. For a look at the state of a job, whole,
/// [`KeyedStateBackend::open`] needs less.
#[derive(Debug)]
pub struct DynamoDbKeyedStateBackendBuilder {
    pub(super) store: Arc<dyn Store>,
    io: Io,
    pub(super) operator: Name,
    pub(super) columns: Columns,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
    settings: StateSettings,
    strategy: SnapshotStrategy,
    manifest: Option<Manifest>,
    oldest_retained: Option<CheckpointId>,
    now_ms: Option<u64>,
}

/// A subtask's keyed state, or a whole operator's. Its entries are those of the log; the others are read from the store
/// when they are first looked for ([`KeyedStateBackend::look`]; by hand, [`KeyedState::take_reads`]). Its filter of absent
/// keys saves reads once its chunks are read ([`KeyedState::filter_scan`]), which nobody has to do: what it keeps until
/// then is bounded.
#[derive(Debug)]
pub struct KeyedStateBackend<K> {
    /// The state.
    #[doc(hidden)]
    pub state: KeyedState<K>,
    /// Where its log is.
    #[doc(hidden)]
    pub log: LogSegments,
    /// Where its items are.
    #[doc(hidden)]
    pub store: Arc<dyn Store>,
    /// Where it may be written.
    pub(super) snapshots: Option<Snapshots>,
    /// What was asked for on behalf of looks.
    pub(super) unanswered: Unanswered,
    /// What it may take, but for what only the log has.
    pub(super) cache_bytes: u64,
}

impl DynamoDbKeyedStateBackendBuilder {
    /// The state of `operator`, which declares `columns`, over all of its key groups.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        io: Io,
        operator: Name,
        columns: Columns,
        max_parallelism: MaxParallelism,
    ) -> Self {
        Self {
            store,
            io,
            operator,
            columns,
            max_parallelism,
            range: max_parallelism.range_of(0, 1),
            settings: Config::default().state,
            strategy: SnapshotStrategy::ReadOnly,
            manifest: None,
            oldest_retained: None,
            now_ms: None,
        }
    }

    /// Only these key groups: those of one subtask.
    #[must_use]
    pub fn range(self, range: KeyGroupRange) -> Self {
        Self { range, ..self }
    }

    /// Other settings than the default ones; for a table with provisioned capacity those of
    /// [`StateSettings::on_capacity`].
    #[must_use]
    pub fn settings(self, settings: StateSettings) -> Self {
        Self { settings, ..self }
    }

    /// What becomes of the state at a barrier ([`KeyedStateBackend::snapshot`]); without this it can only
    /// be read.
    #[must_use]
    pub fn snapshots(self, strategy: SnapshotStrategy) -> Self {
        Self { strategy, ..self }
    }

    /// Goes on at a checkpoint, of which its `manifest` tells; `oldest_retained` is the oldest one that the
    /// head still names. Without it the state starts empty.
    #[must_use]
    pub fn restore(mut self, manifest: Manifest, oldest_retained: CheckpointId) -> Self {
        self.restore_at(manifest, oldest_retained);
        self
    }

    pub(super) fn restore_at(&mut self, manifest: Manifest, oldest_retained: CheckpointId) {
        self.manifest = Some(manifest);
        self.oldest_retained = Some(oldest_retained);
    }

    /// The time by which stored values may have expired, milliseconds since 1970; without this the system's.
    /// Later times are set by [`KeyedState::set_processing_time`].
    #[must_use]
    pub fn now(self, now_ms: u64) -> Self {
        Self { now_ms: Some(now_ms), ..self }
    }

    /// Reads the log and replays it. One `GetItem` for each of its segments, none for items.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Graph`] where the manifest has values or keys of other types;
    /// [`crate::ErrorKind::Corrupt`] where a segment is missing, damaged or of another version;
    /// [`crate::ErrorKind::Internal`] for a range beyond the key groups. Nothing stays behind.
    ///
    /// # Cancel safety
    /// Dropping the future lets all go.
    pub async fn build<K: Key>(self) -> Result<KeyedStateBackend<K>> {
        let restored = self.read_log::<K>().await?;
        self.assemble(restored)
    }

    /// Reads the log, which may be tried again.
    pub(super) async fn read_log<K: Key>(&self) -> Result<Restored> {
        if u32::from(self.range.last.0) >= self.max_parallelism.get() {
            let message = format!("key groups {:?} are beyond the last one", self.range);
            return Err(Error::internal(message));
        }
        let Some(manifest) = &self.manifest else { return Ok(Restored::default()) };
        let declared = DeclaredStates { key: K::schema(), states: self.columns.declared() };
        KeyTypes::of(&self.operator, &declared).check(&manifest.key_types)?;
        let (store, ranges) = (Arc::clone(&self.store), [self.range]);
        let logs = read_logs(store, manifest, &self.operator, &ranges, &self.io).await?;
        Ok(logs.into_iter().next().unwrap_or_default())
    }

    /// Replays what was read.
    pub(super) fn assemble<K: Key>(self, mut restored: Restored) -> Result<KeyedStateBackend<K>> {
        let now_ms = self.now_ms.unwrap_or_else(|| Clock::system().wall_ms());
        if let Some(manifest) = &self.manifest {
            let (recorded, at) = (&manifest.lifetimes, (manifest.checkpoint, now_ms));
            restored.lifetimes = self.columns.lifetimes(&self.operator, recorded, at);
        }
        let at = self.manifest.as_ref().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint);
        let (attempt, snapshots) = match self.strategy {
            SnapshotStrategy::ReadOnly => (Attempt(0), None),
            SnapshotStrategy::Incremental { attempt, slots } => {
                let attempt = attempt.in_versions();
                let store = Arc::clone(&self.store);
                let uploader = Uploader::new(store, slots, attempt, Metrics::default());
                let (operator, io) = (self.operator.clone(), self.io.clone());
                let puts = SegmentPuts { operator, range: self.range, attempt, io, uploader };
                (attempt, Some(Snapshots::new(puts)))
            }
        };
        let config = KeyedConfig {
            operator: self.operator,
            // No function runs in it that could ask.
            subtask: SubtaskId { index: 0, parallelism: 1 },
            range: self.range,
            max_parallelism: self.max_parallelism,
            attempt,
            segment_bytes: self.settings.segment_bytes,
            value_format: self.settings.value_format,
            filter: filter_of(&self.settings, 1),
            few_rows: self.settings.few_rows,
        };
        let keys = restored.segments.iter().map(|of| of.segment.entries).sum::<u64>() as usize;
        let oldest = self.oldest_retained.unwrap_or(at);
        let (state, log) = rebuild(config, self.columns, restored, (at, oldest), now_ms, keys)?;
        let (store, unanswered) = (self.store, Unanswered::default());
        let cache_bytes = self.settings.cache_bytes;
        Ok(KeyedStateBackend { state, log, store, snapshots, unanswered, cache_bytes })
    }
}

impl<K: Key> KeyedStateBackend<K> {
    /// The keys that have a value of a state, each once, in no order: of what has changed, those in memory, of all else
    /// those in the table. Flink: `getKeys`.
    ///
    /// Once the state has items, one `Query` for each key group and for each MiB of its items, values included;
    /// it reads up to 8 key groups at a time, and holds a MiB of each, or one item that is larger.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for an item that is damaged; the store's own.
    pub fn keys(&self, query: KeyQuery) -> impl Stream<Item = Result<K>> + '_ {
        self.found(query, key_alone).map_ok(|(key, _)| key)
    }

    /// The keys that have a value of a state in some namespace, each once with each such namespace, in the
    /// way and at the price of [`KeyedStateBackend::keys`]. Flink: `getKeysAndNamespaces`.
    ///
    /// # Errors
    /// As [`KeyedStateBackend::keys`].
    pub fn keys_and_namespaces<N: SubKey>(
        &self,
        state: Namespaced<N, impl Handle>,
    ) -> impl Stream<Item = Result<(K, N)>> + '_ {
        let found = self.found(KeyQuery::in_any(state), with_namespace::<N>);
        found.and_then(|(key, namespace)| {
            let decoded = N::decode(&mut &namespace[..]);
            let decoded = decoded.map_err(|e| Error::internal(e.to_string()));
            future::ready(decoded.map(|namespace| (key, namespace)))
        })
    }

    /// The keys, and what is told of their sub keys.
    fn found(&self, query: KeyQuery, telling: Told) -> impl Stream<Item = Result<Listed<K>>> + '_ {
        let resident = self.state.resident_rows(&query, telling);
        let groups = stream::iter(self.state.groups_of(&query));
        let query = Arc::new(query);
        let of_resident = move |mut resident: BTreeMap<KeyGroup, Vec<Resident>>| {
            let of_groups = groups.map(move |range| {
                let resident = resident.remove(&range.key_group).unwrap_or_default();
                self.of_group((Arc::clone(&query), telling), resident, range).boxed_local()
            });
            let pages = of_groups.flatten_unordered(CONCURRENT_GROUPS);
            pages.map_ok(|keys| stream::iter(keys.into_iter().map(Ok))).try_flatten()
        };
        stream::iter([resident.map(of_resident)]).try_flatten()
    }

    /// The keys of one group: those in memory, then those of each page of the table.
    fn of_group(
        &self,
        (query, telling): (Arc<KeyQuery>, Told),
        resident: Vec<Resident>,
        range: ItemRange,
    ) -> impl Stream<Item = Result<Vec<Listed<K>>>> + '_ {
        let in_memory = self.state.resident_keys(&resident);
        let (range, resident) = (self.state.items_sent().then_some(range), Rc::new(resident));
        let stored = stream::try_unfold((range, None), move |(range, mut last)| {
            let (query, resident) = (Arc::clone(&query), Rc::clone(&resident));
            async move {
                let Some(range) = range else { return Ok::<_, Error>(None) };
                let page = self.store.scan_page(range, PAGE_BYTES).await?;
                let asked = (&*query, telling);
                let keys = self.state.keys_of_page(asked, &resident, &mut last, page.items)?;
                Ok(Some((keys, (page.rest, last))))
            }
        });
        stream::iter([Ok(in_memory)]).chain(stored)
    }
}
