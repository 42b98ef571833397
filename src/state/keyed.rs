//! The keyed state of one operator in one subtask: values by row, and what becomes of their changes.
//!
//! Owns [`KeyedState`] and access to values. Admission, barriers, cleaning, replay and estimates are
//! further `impl` blocks of it in files of their own.
//!
//! # Order of calls
//! A task owns one [`KeyedState`] for each keyed operator and calls, always between user functions:
//!
//! 1. *Restore.* [`KeyedState::new`] with a [`RestorePoint`]; [`KeyedState::replay`] of each segment
//!    that the manifest names, of this operator and with key groups of this subtask, in ascending order of checkpoint
//!    and, for each writer, of sequence; [`KeyedState::logged`] for each; [`KeyedState::finish_restore`] once,
//!    also for a fresh start.
//! 2. *A batch.* [`KeyedState::set_processing_time`]; [`KeyedState::find_rows`]; [`KeyedState::take_reads`] to the store; the records whose
//!    row is not loading (and that have no parked predecessor of their key) run at once with
//!    [`KeyedState::get`], [`KeyedState::set`] …; then [`KeyedState::end_batch`].
//! 3. *Answers.* [`KeyedState::set_processing_time`]; [`KeyedState::loaded`] for each read, [`KeyedState::page_scanned`]
//!    for each page of a range. Where it says that the row is resident, its
//!    parked records run, before the next [`KeyedState::end_batch`]: that may give the row away.
//! 4. *Barrier n.* [`KeyedState::freeze`], whose [`Barrier`](super::Barrier) goes into the acknowledgement. Between
//!    batches [`KeyedState::serialise`] until it says done, with [`KeyedState::take_segments`] at any
//!    time; off the worker [`segment::encode`](super::segment::encode); when all puts are answered, acknowledge, and
//!    [`KeyedState::logged`] for each.
//! 5. *Completion.* [`KeyedState::completed`] with the oldest checkpoint that the head retains. An
//!    aborted checkpoint needs no call: its segments are carried.
//! 6. *Cleaning.* [`KeyedState::plan_cleaning`]; off the worker [`CleaningPlan::compute`](super::CleaningPlan::compute); in slices
//!    [`KeyedState::collect`], whose writes go to the store and whose missing values are read back
//!    from the plan's checkpoint's segments by a [`Finder`](super::Finder) and given to [`KeyedState::found`]; when
//!    every write is answered, [`KeyedState::cleaned`].
//! 7. *Memory.* Between batches, while [`KeyedState::resident_bytes`] exceeds what the state may take,
//!    [`KeyedState::evict_bytes`], else [`KeyedState::cool`]. Where the former finds nothing, changes must be
//!    committed and cleaned first. No new batch while [`KeyedState::wants_quiet`].
//!    While [`KeyedState::has_sweep`], and nothing else is to be done, [`KeyedState::sweep_some`].
//! 8. *The filter of absent keys*, after a restore and when it must grow: while there is a
//!    [`KeyedState::filter_scan`], that is read from the store page by page, and
//!    [`KeyedState::filter_read`] takes over in slices what [`FilterChunks::of`](super::FilterChunks::of) makes of each off the worker.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::barrier::{Cursor, Horizons};
use super::bits::Bits;
use super::cleaning::Cleaning;
use super::column::{AnyColumn, Column};
use super::descriptor::{ColumnId, Columns, ValueState};
use super::entries::Entries;
use super::entry::UNSERIALISED;
use super::erased::Erased;
use super::filter::{Filter, FilterConfig, Salts};
use super::formats::StateFormats;
use super::former::FormerHorizons;
use super::key_bytes::KeyBytes;
use super::lifetimes::StateLifetimes;
use super::list::{List, ListState};
use super::log::Log;
use super::map::{Map, MapState};
use super::recency::Recency;
use super::record::Effects;
use super::reducing::{Aggregating, AggregatingState, Reducing, ReducingState};
use super::replay::Carries;
use super::rows::Rows;
use super::scans::Scans;
use super::sub_column::SubKey;
use super::ttl::Times;
use super::writer::Writer;
use super::{ItemKey, Read};
use crate::codec::{Key, KeyHash, Value};
use crate::config::ValueFormat;
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::teeth::{Tooth, bites};

/// Which operator, which part of its keys, and for whom.
#[derive(Clone, Debug)]
pub struct KeyedConfig {
    /// The operator's id.
    pub operator: Name,
    /// Which subtask it is.
    pub subtask: SubtaskId,
    /// The key groups of this subtask.
    pub range: KeyGroupRange,
    /// The number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The attempt that runs; every item that is written carries it.
    pub attempt: Attempt,
    /// `state.backend.dynamodb.segment-size`: bytes of a segment before compression.
    pub segment_bytes: u64,
    /// `state.backend.dynamodb.value-format`.
    pub value_format: ValueFormat,
    /// The filter of absent keys.
    pub filter: FilterConfig,
    /// With fewer rows or entries than this, memory is not given back.
    pub few_rows: u32,
}

impl KeyedConfig {
    /// Whether it is for looks alone: whoever has no attempt writes nothing, so that nothing need be kept for that.
    pub(super) fn is_only_read(&self) -> bool {
        self.attempt == Attempt(0)
    }
}

#[cfg(test)]
impl KeyedConfig {
    /// Of an operator's only subtask, for tests.
    pub(crate) fn of_all_groups(attempt: u64) -> Self {
        let max_parallelism = MaxParallelism::new(128).unwrap();
        Self {
            operator: Name::new("counts").unwrap(),
            subtask: SubtaskId { index: 0, parallelism: 1 },
            range: max_parallelism.range_of(0, 1),
            max_parallelism,
            attempt: Attempt(attempt),
            segment_bytes: 1 << 18,
            value_format: ValueFormat::Codec,
            filter: FilterConfig::OFF,
            few_rows: 2,
        }
    }
}

/// Where a state goes on; the default is a fresh start.
#[derive(Clone, Debug, Default)]
pub struct RestorePoint {
    /// R, the checkpoint to restore: changes count as of the one after it.
    pub checkpoint: CheckpointId,
    /// R's horizons: those of all former subtasks that share key groups with this one, so that they
    /// cover its range. None at a fresh start.
    pub horizons: Horizons,
    /// The oldest checkpoint that the head still retains; R itself where that is the only one.
    pub oldest_retained: CheckpointId,
    /// Whether R's manifest says that puts of items may have been sent ([`super::Barrier::items_sent`] of any
    /// former subtask in this one's range).
    pub items_sent: bool,
    /// How R's manifest says that states are stored; those of other operators too.
    pub formats: Vec<StateFormats>,
    /// By which times values of states have expired since the job's beginning and do in this attempt; those of
    /// other operators too.
    pub lifetimes: Vec<StateLifetimes>,
    /// Whether R's manifest says that the filter does not know all of them ([`super::Barrier::unfiltered`]).
    pub unfiltered: bool,
    /// The time on the clock, milliseconds since 1970: stored values may have expired.
    pub now_ms: u64,
}

/// The place of one key in its operator's memory. Good until the next [`KeyedState::end_batch`],
/// [`KeyedState::serialise`], [`KeyedState::cool`] or [`KeyedState::evict`], and longer for a key that is loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(pub(super) u32);

#[cfg(test)]
impl Row {
    /// For tests of what is kept by row.
    pub(crate) fn of_test(number: u32) -> Self {
        Self(number)
    }
}

/// The keyed state of one operator in one subtask. The order of calls stands at the head of its file.
pub struct KeyedState<K> {
    pub(super) config: KeyedConfig,
    pub(super) rows: Rows<K>,
    pub(super) columns: Vec<Erased>,
    pub(super) log: Log,
    pub(super) writer: Writer,
    /// How long keys are, for estimates.
    pub(super) keys: KeyBytes,
    pub(super) cursor: Option<Cursor>,
    /// The first value that could not be serialised by copy on write; told by the next slice.
    pub(super) failed: Option<Error>,
    pub(super) items_sent: bool,
    pub(super) filter: Filter,
    /// The name of the filter's hidden state.
    pub(super) filter_state: Name,
    /// For keys that are hashed.
    pub(super) scratch: Vec<u8>,
    /// Entries still to be read, by row.
    pub(super) loading: HashMap<u32, u32>,
    pub(super) reads: Vec<Read>,
    pub(super) scans: Scans,
    /// Whether there are states with entries that are not known when a record is admitted.
    pub(super) has_subs: bool,
    pub(super) effects: Effects,
    pub(super) times: Times,
    /// Rows of which some plain columns were replayed and the others not read yet.
    pub(super) partial: Bits,
    pub(super) partial_rows: usize,
    /// Rows that may turn out to hold nothing.
    pub(super) untouched: Vec<u32>,
    /// Entries with a sub key that may turn out to hold nothing.
    pub(super) untouched_entries: Vec<(ColumnId, u32)>,
    /// Entries whose deletions were materialised: they hold nothing, if they still do.
    pub(super) leaving: Vec<(ColumnId, u32)>,
    pub(super) carries: Carries,
    /// Replayed entries that the log says expire, though they do not any more: they are logged anew.
    pub(super) outliving: Vec<(usize, u32)>,
    pub(super) former: FormerHorizons,
    pub(super) cleaning: Option<Cleaning>,
    /// Which rows were not used for long; columns with a sub key have their own.
    pub(super) recency: Recency,
    /// Entries that were cleaned, and may leave now if they were not used since.
    pub(super) cooling: Vec<(ColumnId, u32)>,
    /// Whether some state's values own memory elsewhere.
    pub(super) owns_memory: bool,
    /// The rows of the batch, where it is to be seen how long their values are now.
    pub(super) used: Vec<Row>,
    pub(super) entry_limit: u64,
}

impl<K> fmt::Debug for KeyedState<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedState")
            .field("operator", &self.config.operator)
            .field("range", &self.config.range)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// The values of `state`.
///
/// # Panics
/// Where the handle is another operator's: handles come from the same [`super::States`] as the columns.
#[inline]
fn typed<V: Value>(columns: &[Erased], state: ValueState<V>) -> &Entries<V> {
    &column::<Column<V>>(columns, state.column).values
}

#[inline]
fn typed_mut<V: Value>(columns: &mut [Erased], state: ValueState<V>) -> &mut Entries<V> {
    &mut column_mut::<Column<V>>(columns, state.column).values
}

/// The column of a handle.
///
/// # Panics
/// As [`typed`].
#[inline]
pub(super) fn column<C: AnyColumn>(columns: &[Erased], id: ColumnId) -> &C {
    columns.get(id.index()).and_then(Erased::typed).unwrap_or_else(|| wrong_handle())
}

#[inline]
pub(super) fn column_mut<C: AnyColumn>(columns: &mut [Erased], id: ColumnId) -> &mut C {
    columns.get_mut(id.index()).and_then(Erased::typed_mut).unwrap_or_else(|| wrong_handle())
}

#[cold]
fn wrong_handle() -> ! {
    panic!("a state handle of another operator")
}

/// A checkpoint's number as stamps have it.
pub(super) fn stamp_of(checkpoint: CheckpointId) -> Result<u32> {
    if checkpoint <= CheckpointId::MAX {
        Ok(checkpoint.0 as u32)
    } else {
        Err(Error::internal(format!("checkpoint {checkpoint} exceeds {}", CheckpointId::MAX)))
    }
}

impl<K: Key> KeyedState<K> {
    /// An empty state that goes on at `at`; [`KeyedState::finish_restore`] must follow.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where the checkpoints of `at` are out of order or too large; those
    /// of [`Columns::settle`].
    pub fn new(config: KeyedConfig, mut columns: Columns, at: RestorePoint) -> Result<Self> {
        let horizons = at.horizons.iter().map(|(_, horizon)| *horizon);
        let newest = horizons.clone().max().unwrap_or_default();
        if newest > at.oldest_retained || at.oldest_retained > at.checkpoint {
            return Err(Error::internal(format!("out of order: {at:?}")));
        }
        let horizon = stamp_of(horizons.min().unwrap_or_default())?;
        let floor = stamp_of(at.oldest_retained)?;
        columns.settle(&config.operator, &at.formats, at.checkpoint)?;
        let names = columns.names();
        let salts = names.iter().map(Salts::of).collect();
        let restored = stamp_of(at.checkpoint)?;
        let filter_state = Self::filter_name()?;
        let states: Arc<[_]> = names.into_iter().chain([filter_state.clone()]).collect();
        let partial = (at.unfiltered, restored);
        let expiring =
            columns.0.iter().map(|column| column.ttl().is_some()).chain([false]).collect();
        let lifetimes = columns.0.iter().map(|column| {
            let of_column =
                |l: &&StateLifetimes| (&l.operator, &l.state) == (&config.operator, column.name());
            let found = at.lifetimes.iter().find(of_column);
            found.map_or_else(Vec::new, |found| found.lifetimes.clone())
        });
        let lifetimes = lifetimes.collect();
        let times = Times::new(at.now_ms, columns.0.iter().map(|column| column.ttl()));
        Ok(Self {
            filter: Filter::new(config.range, salts, config.filter, partial),
            filter_state,
            scratch: Vec::new(),
            former: FormerHorizons::restored(&at.horizons, config.range),
            rows: Rows::new(),
            log: Log::new(columns.0.len() + 1, horizon, floor, restored),
            writer: Writer::new(config.segment_bytes as usize, states, expiring),
            keys: KeyBytes::default(),
            config,
            cursor: None,
            failed: None,
            items_sent: at.items_sent,
            loading: HashMap::new(),
            reads: Vec::new(),
            scans: Scans::default(),
            has_subs: columns.0.iter().any(|column| !column.is_plain()),
            effects: Effects::default(),
            times: times.with_lifetimes(lifetimes),
            partial: Bits::default(),
            partial_rows: 0,
            untouched: Vec::new(),
            untouched_entries: Vec::new(),
            leaving: Vec::new(),
            carries: Carries::default(),
            outliving: Vec::new(),
            cleaning: None,
            recency: Recency::default(),
            cooling: Vec::new(),
            owns_memory: columns.0.iter().any(|column| column.owns_memory()),
            used: Vec::new(),
            entry_limit: u64::MAX,
            columns: columns.0,
        })
    }

    /// The value of `row`, or the state's default.
    #[inline]
    #[must_use]
    pub fn get<V: Value>(&self, state: ValueState<V>, row: Row) -> Option<&V> {
        if state.expires {
            return self.get_expiring(state, row);
        }
        let values = typed(&self.columns, state);
        values.get(row.0).or_else(|| values.default_value())
    }

    /// Apart, since it notes that the value was read: the compiler has to take each pointer anew after that.
    #[inline(never)]
    fn get_expiring<V: Value>(&self, state: ValueState<V>, row: Row) -> Option<&V> {
        let values = typed(&self.columns, state);
        self.read_value(state.column, values, row.0).or_else(|| values.default_value())
    }

    /// Gives `row` a value.
    #[inline]
    pub fn set<V: Value>(&mut self, state: ValueState<V>, row: Row, value: V) {
        let hot = self.hot();
        if !state.expires
            && let Some(old) = typed_mut(&mut self.columns, state).hot_mut(row.0, hot)
        {
            *old = value;
            if Entries::<V>::OWNS_MEMORY {
                typed(&self.columns, state).replaced(row.0);
            }
            return;
        }
        self.put_entry::<Column<V>, V>(state.column, row.0, Some(value));
    }

    /// The value of `row`, to be changed in place; it counts as changed. Where there is none, the state's
    /// default becomes it.
    #[inline]
    pub fn get_mut<V: Value>(&mut self, state: ValueState<V>, row: Row) -> Option<&mut V> {
        let hot = self.hot();
        if !state.expires && typed_mut(&mut self.columns, state).hot_mut(row.0, hot).is_some() {
            return typed_mut(&mut self.columns, state).hot_mut(row.0, hot);
        }
        self.entry_mut::<Column<V>, V>(state.column, row.0)
    }

    /// Deletes the value of `row`, if it has one.
    pub fn clear<V: Value>(&mut self, state: ValueState<V>, row: Row) {
        if typed(&self.columns, state).get(row.0).is_some() {
            self.put_entry::<Column<V>, V>(state.column, row.0, None);
        }
    }

    /// The map of `row`.
    pub fn map<MK: SubKey, V: Value>(
        &mut self,
        state: MapState<MK, V>,
        row: Row,
    ) -> Map<'_, K, MK, V> {
        Map::new(self, state, row, &())
    }

    /// The list of `row`.
    pub fn list<T: Value>(&mut self, state: ListState<T>, row: Row) -> List<'_, K, T> {
        List::new(self, state, row, &())
    }

    /// The reducing state of `row`.
    pub fn reducing<T: Value>(&mut self, state: ReducingState<T>, row: Row) -> Reducing<'_, K, T> {
        Reducing::new(self, state, row, None)
    }

    /// The aggregating state of `row`.
    pub fn aggregating<In, Acc: Value, Out>(
        &mut self,
        state: AggregatingState<In, Acc, Out>,
        row: Row,
    ) -> Aggregating<'_, K, In, Acc, Out> {
        Aggregating::new(self, state, row, None)
    }

    /// The key of `row`.
    #[inline]
    #[must_use]
    pub fn key(&self, row: Row) -> &K {
        self.rows.key(row.0)
    }

    /// The value of an entry as the record that runs reads it.
    #[inline]
    pub(super) fn read_value<'e, V: Value>(
        &self,
        id: ColumnId,
        values: &'e Entries<V>,
        entry: u32,
    ) -> Option<&'e V> {
        let value = values.get(entry)?;
        match values.lives() {
            None => Some(value),
            Some(lives) => self.times.sees(id, lives, entry).then_some(value),
        }
    }

    /// The same where it is only looked whether it is there: that is no read.
    #[inline]
    pub(super) fn peek_value<'e, V: Value>(
        &self,
        values: &'e Entries<V>,
        entry: u32,
    ) -> Option<&'e V> {
        values.get(entry).filter(|_| !self.times.hides(values.lives(), entry))
    }

    /// Stamps an entry that is about to change; what a barrier froze is serialised before.
    #[inline(never)]
    pub(super) fn touch(&mut self, column: usize, entry: u32) {
        let meta = self.columns[column].meta(entry);
        if meta.stamp == self.log.hot() {
            return;
        }
        if meta.stamp & UNSERIALISED != 0
            && !bites(Tooth::NoCopyOnWrite)
            && let Err(error) = self.serialise_entry(column, entry)
        {
            self.failed.get_or_insert(error);
        }
        if self.effects.recording {
            let before = self.columns[column].meta(entry);
            self.effects.touched(column, entry, before);
        }
        self.columns[column].set_meta(entry, meta.touched(&self.log));
        self.log.change(column, entry, meta.change());
    }

    /// Whether a put of an item may have been sent in this incarnation.
    #[must_use]
    pub fn items_sent(&self) -> bool {
        self.items_sent
    }

    /// Where the item of an entry is.
    pub(super) fn item_key(&self, column: usize, entry: u32) -> ItemKey {
        let Some(values) = self.columns.get(column) else { return self.chunk_key(entry) };
        let row = values.row_of(entry);
        let key = self.rows.key(row);
        let mut sort_key = Vec::new();
        key.encode(&mut sort_key);
        self.keys.add(row, sort_key.len());
        values.encode_sub(entry, &mut sort_key);
        ItemKey {
            operator: self.config.operator.clone(),
            state: values.name().clone(),
            key_group: self.group_of(key.key_hash()),
            sort_key: sort_key.into(),
        }
    }

    pub(super) fn group_of(&self, hash: KeyHash) -> crate::key_group::KeyGroup {
        self.config.max_parallelism.group_of(hash)
    }

    /// Gives an absent key a row with empty columns.
    pub(super) fn insert(&mut self, hash: KeyHash, key: K) -> u32 {
        let (row, is_new) = self.rows.insert(hash, key);
        for id in self.column_ids() {
            let nothing_stored = match self.columns[id.index()].is_plain() {
                true => !self.items_sent,
                false => self.is_never_stored(id, row),
            };
            self.columns[id.index()].open_row(row, is_new, nothing_stored);
        }
        row
    }

    /// Whether nothing of `row` is newer than its items; entries with a sub key leave before it does.
    pub(super) fn is_clean(&self, row: u32) -> bool {
        let horizon = self.log.horizon();
        !self.columns.iter().any(|column| column.holds_back(row, horizon))
    }

    pub(super) fn is_empty_row(&self, row: u32) -> bool {
        !self.columns.iter().any(|column| column.is_in_use(row))
    }

    pub(super) fn vacate(&mut self, row: u32) {
        self.columns.iter_mut().for_each(|column| column.close_row(row));
        if self.partial.remove(row) {
            self.partial_rows -= 1;
        }
        self.rows.remove(row, &mut self.keys);
    }

    pub(super) fn column_ids(&self) -> impl Iterator<Item = ColumnId> + use<K> {
        (0..self.columns.len()).map(|index| ColumnId(index as u16))
    }
}

#[cfg(test)]
mod tests;
