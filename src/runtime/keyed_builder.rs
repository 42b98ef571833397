//! One subtask's keyed state, built from a checkpoint in the table, without a job that runs. Flink:
//! `ForStKeyedStateBackendBuilder`.
//!
//! Restore first, then assemble: what the builder takes it owns, so a failure lets all of it go. A job's
//! own subtasks are built of the same parts (`restore`, `task::rebuild`), with the attempt around them.
//! Snapshots of what is built here are `keyed_snapshot`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, Stream};
use futures::{StreamExt, TryStreamExt, future};

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
    Columns, DeclaredStates, Handle, KeyQuery, KeyTypes, KeyedConfig, KeyedState, Namespaced,
    Resident, Store, SubKey, Told, key_alone, with_namespace,
};
use crate::task::{LogSegments, Restored, SegmentPuts, filter_of, rebuild};

/// Key groups that a query reads at a time.
const CONCURRENT_GROUPS: usize = 8;

/// Collects what one subtask's keyed state is built of.
#[derive(Debug)]
pub struct DynamoDbKeyedStateBackendBuilder {
    store: Arc<dyn Store>,
    io: Io,
    operator: Name,
    columns: Columns,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
    settings: StateSettings,
    strategy: SnapshotStrategy,
    manifest: Option<Manifest>,
    oldest_retained: Option<CheckpointId>,
    now_ms: Option<u64>,
}

/// A subtask's keyed state. Its entries are those of the log; the others are read from the store when their
/// keys are first looked for ([`KeyedState::take_reads`]). Its filter of absent keys saves reads once its
/// chunks are read ([`KeyedState::filter_scan`]), which nobody has to do: what it keeps until then is bounded.
#[derive(Debug)]
pub struct KeyedStateBackend<K> {
    /// The state.
    pub state: KeyedState<K>,
    /// Where its log is.
    pub log: LogSegments,
    /// Where its items are.
    pub store: Arc<dyn Store>,
    /// Where it may be written.
    pub(super) snapshots: Option<Snapshots>,
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
    pub fn restore(self, manifest: Manifest, oldest_retained: CheckpointId) -> Self {
        Self { manifest: Some(manifest), oldest_retained: Some(oldest_retained), ..self }
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
        if u32::from(self.range.last.0) >= self.max_parallelism.get() {
            let message = format!("key groups {:?} are beyond the last one", self.range);
            return Err(Error::internal(message));
        }
        let now_ms = self.now_ms.unwrap_or_else(|| Clock::system().wall_ms());
        let restored = match &self.manifest {
            None => Restored::default(),
            Some(manifest) => {
                let states = self.columns.declared();
                let declared = DeclaredStates { key: K::schema(), states };
                let types = KeyTypes::of(&self.operator, &declared);
                types.check(&manifest.key_types)?;
                let store = Arc::clone(&self.store);
                let ranges = [self.range];
                let logs = read_logs(store, manifest, &self.operator, &ranges, &self.io).await?;
                let (recorded, at) = (&manifest.lifetimes, (manifest.checkpoint, now_ms));
                let lifetimes = self.columns.lifetimes(&self.operator, recorded, at);
                Restored { lifetimes, ..logs.into_iter().next().unwrap_or_default() }
            }
        };
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
        Ok(KeyedStateBackend { state, log, store: self.store, snapshots })
    }
}

impl<K: Key> KeyedStateBackend<K> {
    /// The keys that have a value of a state, each once, one key group after the other: of what has changed,
    /// those in memory, of all else those in the table. Flink: `getKeys`.
    ///
    /// Once the state has items, one `Query` for each key group and for each MiB of its items, values included;
    /// it reads up to 8 key groups at a time, and holds the items of these.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for an item that is damaged; the store's own.
    pub fn keys(&self, query: KeyQuery) -> impl Stream<Item = Result<K>> + '_ {
        self.found(query, key_alone).map_ok(|(key, _)| key)
    }

    /// The keys that have a value of a state in some namespace, each once with each such namespace, in the
    /// order and at the price of [`KeyedStateBackend::keys`]. Flink: `getKeysAndNamespaces`.
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

    /// The keys, and what is `told` of their sub keys.
    fn found(&self, query: KeyQuery, told: Told) -> impl Stream<Item = Result<(K, Vec<u8>)>> + '_ {
        let resident = self.state.resident_rows(&query, told);
        let groups = stream::iter(self.state.groups_of(&query));
        let query = Arc::new(query);
        let of_resident = move |mut resident: BTreeMap<KeyGroup, Vec<Resident>>| {
            let keys = groups.map(move |range| {
                let resident = resident.remove(&range.key_group).unwrap_or_default();
                let query = Arc::clone(&query);
                async move {
                    let items = match self.state.items_sent() {
                        true => self.store.scan_items(range).await?,
                        false => Vec::new(),
                    };
                    self.state.keys_of_group(&query, told, &resident, items)
                }
            });
            let keys = keys.buffered(CONCURRENT_GROUPS);
            keys.map_ok(|keys| stream::iter(keys.into_iter().map(Ok))).try_flatten()
        };
        stream::iter([resident.map(of_resident)]).try_flatten()
    }
}
