//! The keyed state of one operator in one subtask: values by row, and what becomes of their changes.
//!
//! Owns [`KeyedState`] and access to values. Admission, barriers, cleaning, replay and estimates are
//! further `impl` blocks of it in files of their own.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::barrier::{Cursor, Horizons};
use super::bits::Bits;
use super::cleaning::Cleaning;
use super::column::{AnyColumn, Column};
use super::descriptor::{ColumnId, Columns, ValueState};
use super::entries::{Entries, MeanBytes};
use super::entry::UNSERIALISED;
use super::erased::Erased;
use super::formats::StateFormats;
use super::former::FormerHorizons;
use super::log::Log;
use super::replay::Carries;
use super::rows::Rows;
use super::ttl::Times;
use super::writer::Writer;
use super::{ItemKey, Read};
use crate::codec::{Key, KeyHash, Value};
use crate::config::ValueFormat;
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId, Name};
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::teeth::{Tooth, bites};

/// Which operator, which part of its keys, and for whom.
#[derive(Clone, Debug)]
pub struct KeyedConfig {
    /// The operator's id.
    pub operator: Name,
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
}

/// The place of one key in its operator's memory. Good until the next [`KeyedState::end_batch`]
/// or [`KeyedState::evict`], and longer for a key that is loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(pub(super) u32);

/// The keyed state of one operator in one subtask. See the module's page for the order of calls.
pub struct KeyedState<K> {
    pub(super) config: KeyedConfig,
    pub(super) rows: Rows<K>,
    pub(super) columns: Vec<Erased>,
    pub(super) log: Log,
    pub(super) writer: Writer,
    /// Encoded keys so far, for estimates.
    pub(super) keys: MeanBytes,
    pub(super) cursor: Option<Cursor>,
    /// The first value that could not be serialised by copy on write; told by the next slice.
    pub(super) failed: Option<Error>,
    pub(super) items_sent: bool,
    /// Entries still to be read, by row.
    pub(super) loading: HashMap<u32, u32>,
    pub(super) reads: Vec<Read>,
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
    pub(super) former: FormerHorizons,
    pub(super) cleaning: Option<Cleaning>,
    /// Where the search for rows to evict goes on, and in each column that for entries.
    pub(super) sweep: u32,
    pub(super) sweeps: Vec<u32>,
    formats: Vec<StateFormats>,
    pub(super) times: Times,
    /// Read by the record that runs, where that begins their time to live anew.
    pub(super) read_entries: RefCell<Vec<(ColumnId, u32)>>,
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
    columns[id.index()].typed().unwrap_or_else(|| wrong_handle())
}

#[inline]
pub(super) fn column_mut<C: AnyColumn>(columns: &mut [Erased], id: ColumnId) -> &mut C {
    columns[id.index()].typed_mut().unwrap_or_else(|| wrong_handle())
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
        let formats = columns.settle(&config.operator, &at.formats, at.checkpoint)?;
        let states: Arc<[_]> = columns.names().into();
        let expiring = columns.0.iter().map(|column| column.ttl().is_some()).collect();
        Ok(Self {
            former: FormerHorizons::restored(&at.horizons, config.range),
            rows: Rows::new(),
            sweeps: vec![0; columns.0.len()],
            formats,
            times: Times::new(columns.0.iter().map(|column| column.ttl())),
            read_entries: RefCell::default(),
            log: Log::new(columns.0.len(), horizon, floor, stamp_of(at.checkpoint)?),
            writer: Writer::new(config.segment_bytes as usize, states, expiring),
            keys: MeanBytes::default(),
            config,
            columns: columns.0,
            cursor: None,
            failed: None,
            items_sent: at.items_sent,
            loading: HashMap::new(),
            reads: Vec::new(),
            partial: Bits::default(),
            partial_rows: 0,
            untouched: Vec::new(),
            untouched_entries: Vec::new(),
            leaving: Vec::new(),
            carries: Carries::default(),
            cleaning: None,
            sweep: 0,
        })
    }

    /// The value of `row`.
    #[inline]
    #[must_use]
    pub fn get<V: Value>(&self, state: ValueState<V>, row: Row) -> Option<&V> {
        let value = typed(&self.columns, state).get(row.0);
        if state.lives.refreshed && value.is_some() {
            self.note_read(state.column, row.0);
        }
        value
    }

    /// Gives `row` a value.
    #[inline]
    pub fn set<V: Value>(&mut self, state: ValueState<V>, row: Row, value: V) {
        if state.lives.limited {
            return self.set_limited(state, row, value);
        }
        let hot = self.log.hot();
        if let Some(old) = typed_mut(&mut self.columns, state).hot_mut(row.0, hot) {
            *old = value;
            return;
        }
        self.touch(state.column.index(), row.0);
        typed_mut(&mut self.columns, state).put(row.0, Some(value));
    }

    /// As [`KeyedState::set`], for a value that expires.
    fn set_limited<V: Value>(&mut self, state: ValueState<V>, row: Row, value: V) {
        self.touch(state.column.index(), row.0);
        typed_mut(&mut self.columns, state).put(row.0, Some(value));
        self.renew(state.column, row.0);
    }

    /// The value of `row`, to be changed in place; it counts as changed.
    #[inline]
    pub fn get_mut<V: Value>(&mut self, state: ValueState<V>, row: Row) -> Option<&mut V> {
        let hot = self.log.hot();
        if typed(&self.columns, state).get(row.0).is_some() {
            self.touch(state.column.index(), row.0);
            if state.lives.limited {
                self.renew(state.column, row.0);
            }
        }
        typed_mut(&mut self.columns, state).hot_mut(row.0, hot)
    }

    /// Deletes the value of `row`, if it has one.
    pub fn clear<V: Value>(&mut self, state: ValueState<V>, row: Row) {
        if typed(&self.columns, state).get(row.0).is_some() {
            self.touch(state.column.index(), row.0);
            self.columns[state.column.index()].forget(row.0);
        }
    }

    /// The key of `row`.
    #[inline]
    #[must_use]
    pub fn key(&self, row: Row) -> &K {
        self.rows.key(row.0)
    }

    /// Stamps an entry that is about to change; what a barrier froze is serialised before.
    #[inline(never)]
    pub(super) fn touch(&mut self, column: usize, entry: u32) {
        let meta = self.columns[column].meta(entry);
        let hot = self.log.hot();
        if meta.stamp == hot {
            return;
        }
        if meta.stamp & UNSERIALISED != 0
            && !bites(Tooth::NoCopyOnWrite)
            && let Err(error) = self.serialise_entry(column, entry)
        {
            self.failed.get_or_insert(error);
        }
        self.columns[column].set_meta(entry, meta.touched(&self.log));
        self.log.change(column, entry, meta.change());
    }

    /// How the values of each state are stored: what a manifest says of them.
    #[must_use]
    pub fn formats(&self) -> &[StateFormats] {
        &self.formats
    }

    /// Whether a put of an item may have been sent in this incarnation.
    #[must_use]
    pub fn items_sent(&self) -> bool {
        self.items_sent
    }

    /// Where the item of an entry is.
    pub(super) fn item_key(&self, column: usize, entry: u32) -> ItemKey {
        let values = &self.columns[column];
        let key = self.rows.key(values.row_of(entry));
        let mut sort_key = Vec::new();
        key.encode(&mut sort_key);
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
        let nothing_stored = !self.items_sent;
        self.columns.iter_mut().for_each(|column| column.open_row(row, is_new, nothing_stored));
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
        self.rows.remove(row);
    }

    pub(super) fn column_ids(&self) -> impl Iterator<Item = ColumnId> + use<K> {
        (0..self.columns.len()).map(|index| ColumnId(index as u16))
    }
}

#[cfg(test)]
mod tests;
