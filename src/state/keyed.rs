//! The keyed state of one operator in one subtask: values by row, and what becomes of their changes.
//!
//! Owns [`KeyedState`], access to values, and barriers. Admission, replay and cleaning are further
//! `impl` blocks of it in files of their own.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;

use super::bits::Bits;
use super::cleaning::Cleaning;
use super::column::{AnyColumn, Column, FRESH, Meta, UNSERIALISED};
use super::descriptor::{ColumnId, Columns, ValueState};
use super::log::{Log, Stats};
use super::replay::Carries;
use super::rows::Rows;
use super::writer::{RawSegment, Writer};
use super::{ItemKey, Read};
use crate::codec::{Key, KeyHash, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name};
use crate::key_group::{KeyGroupRange, MaxParallelism};

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
}

/// From where on each part of a range of key groups is in the log. The ranges are disjoint.
///
/// Usually one. After a rescale, a subtask's key groups come from several with horizons of their own,
/// which must be kept apart until the new one's has passed them all: below its horizon, a part's log
/// has gaps.
pub type Horizons = Vec<(KeyGroupRange, CheckpointId)>;

/// Where a state goes on; the default is a fresh start.
#[derive(Clone, Debug, Default)]
pub struct RestorePoint {
    /// R, the checkpoint to restore: changes count as of the one after it.
    pub checkpoint: CheckpointId,
    /// R's horizons: those of all former subtasks that share key groups with this one. A part that
    /// none covers has none.
    pub horizons: Horizons,
    /// The oldest checkpoint that the head still retains; R itself where that is the only one.
    pub oldest_retained: CheckpointId,
    /// Whether R's manifest says that puts of items may have been sent ([`Barrier::items_sent`] of any
    /// former subtask in this one's range).
    pub items_sent: bool,
}

/// The place of one key in its operator's memory. Good until the next [`KeyedState::end_batch`],
/// [`KeyedState::cleaned`] or [`KeyedState::evict`], and longer for a key that is loading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(pub(super) u32);

/// What is fixed at a barrier, for the acknowledgement and the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The log of this subtask starts after these. The manifest names a segment as long as some
    /// horizon below its checkpoint is of a range that intersects the segment's.
    pub horizons: Horizons,
    /// Whether puts of items may have been sent.
    pub items_sent: bool,
    /// How many entries changed since the last barrier.
    pub entries: u64,
}

/// How far the frozen list is serialised.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    stamp: u32,
    column: usize,
    next: usize,
}

/// The keyed state of one operator in one subtask. See the module's page for the order of calls.
pub struct KeyedState<K> {
    pub(super) config: KeyedConfig,
    pub(super) rows: Rows<K>,
    pub(super) columns: Vec<Box<dyn AnyColumn>>,
    pub(super) log: Log,
    writer: Writer,
    cursor: Option<Cursor>,
    /// The first value that could not be serialised by copy on write; told by the next slice.
    failed: Option<Error>,
    pub(super) items_sent: bool,
    /// Columns still to be read, by row.
    pub(super) loading: HashMap<u32, u16>,
    pub(super) reads: Vec<Read>,
    /// Rows of which some columns were replayed and the others not read yet.
    pub(super) partial: Bits,
    pub(super) partial_rows: usize,
    /// Rows that may turn out to hold nothing.
    pub(super) untouched: Vec<u32>,
    pub(super) carries: Carries,
    /// Former subtasks' horizons, while one of them is greater than the log's own.
    pub(super) former: Vec<(KeyGroupRange, u32)>,
    pub(super) cleaning: Option<Cleaning>,
    /// Where the search for rows to evict goes on.
    pub(super) sweep: u32,
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

/// The column of `state`.
///
/// # Panics
/// Where the handle is another operator's: handles come from the same [`super::States`] as the columns.
#[inline]
fn typed<V: Value>(columns: &[Box<dyn AnyColumn>], state: ValueState<V>) -> &Column<V> {
    let column: &dyn Any = &*columns[state.column.index()];
    match column.downcast_ref() {
        Some(column) => column,
        None => wrong_handle(),
    }
}

#[inline]
fn typed_mut<V: Value>(columns: &mut [Box<dyn AnyColumn>], state: ValueState<V>) -> &mut Column<V> {
    let column: &mut dyn Any = &mut *columns[state.column.index()];
    match column.downcast_mut() {
        Some(column) => column,
        None => wrong_handle(),
    }
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
    /// [`ErrorKind::Internal`] where the checkpoints of `at` are out of order or too large.
    pub fn new(config: KeyedConfig, columns: Columns, at: RestorePoint) -> Result<Self> {
        let horizons = at.horizons.iter().map(|(_, horizon)| *horizon);
        let newest = horizons.clone().max().unwrap_or_default();
        if newest > at.oldest_retained || at.oldest_retained > at.checkpoint {
            return Err(Error::internal(format!("out of order: {at:?}")));
        }
        let horizon = stamp_of(horizons.min().unwrap_or_default())?;
        let floor = stamp_of(at.oldest_retained)?;
        let former = at.horizons.iter().filter_map(|(range, horizon)| {
            Some((range.intersection(config.range)?, horizon.0 as u32))
        });
        let states: Arc<[_]> = columns.names().into();
        Ok(Self {
            former: former.collect(),
            rows: Rows::new(),
            log: Log::new(columns.0.len(), horizon, floor, stamp_of(at.checkpoint)?),
            writer: Writer::new(config.segment_bytes as usize, states),
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
            carries: Carries::default(),
            cleaning: None,
            sweep: 0,
        })
    }

    /// The value of `row`.
    #[inline]
    #[must_use]
    pub fn get<V: Value>(&self, state: ValueState<V>, row: Row) -> Option<&V> {
        typed(&self.columns, state).get(row.0)
    }

    /// Gives `row` a value.
    #[inline]
    pub fn set<V: Value>(&mut self, state: ValueState<V>, row: Row, value: V) {
        let hot = self.log.hot();
        if let Some(old) = typed_mut(&mut self.columns, state).hot_mut(row.0, hot) {
            *old = value;
            return;
        }
        self.touch(state.column.index(), row.0);
        typed_mut(&mut self.columns, state).put(row.0, Some(value));
    }

    /// The value of `row`, to be changed in place; it counts as changed.
    #[inline]
    pub fn get_mut<V: Value>(&mut self, state: ValueState<V>, row: Row) -> Option<&mut V> {
        let hot = self.log.hot();
        if typed(&self.columns, state).get(row.0).is_some() {
            self.touch(state.column.index(), row.0);
        }
        typed_mut(&mut self.columns, state).hot_mut(row.0, hot)
    }

    /// Deletes the value of `row`, if it has one.
    pub fn clear<V: Value>(&mut self, state: ValueState<V>, row: Row) {
        if typed(&self.columns, state).get(row.0).is_some() {
            self.touch(state.column.index(), row.0);
            typed_mut(&mut self.columns, state).put(row.0, None);
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
    fn touch(&mut self, column: usize, row: u32) {
        let meta = self.columns[column].meta(row);
        let hot = self.log.hot();
        if meta.stamp == hot {
            return;
        }
        if meta.stamp & UNSERIALISED != 0
            && let Err(error) = self.serialise_entry(column, row)
        {
            self.failed.get_or_insert(error);
        }
        let old = meta.change();
        let fresh = old <= self.log.horizon() && !meta.has_item();
        let flags = meta.flags & !FRESH | if fresh { FRESH } else { 0 };
        self.columns[column].set_meta(row, Meta { flags, stamp: hot });
        self.log.change(column, row, old);
    }

    /// Puts a frozen entry into the current segment.
    fn serialise_entry(&mut self, column: usize, row: u32) -> Result<()> {
        let values = &mut self.columns[column];
        let meta = values.meta(row);
        // What neither log nor table ever knew needs no tombstone.
        let fresh = meta.flags & FRESH != 0;
        values.set_meta(row, Meta { flags: meta.flags & !FRESH, stamp: meta.change() });
        let key = self.rows.key(row);
        self.writer.entry(
            column,
            fresh,
            |out| key.encode(out),
            |out| {
                values.encode(row, out).map_err(|error| {
                    Error::new(ErrorKind::User, format!("state {}: {error}", values.name()))
                })
            },
        )
    }

    /// Barrier `checkpoint`: moves the changes since the last barrier aside, which takes a time that
    /// does not depend on their number. If the last barrier's are not all serialised, they are first.
    ///
    /// # Errors
    /// Those of [`KeyedState::serialise`]; [`ErrorKind::Internal`] for a number that is not greater
    /// than all before it.
    pub fn freeze(&mut self, checkpoint: CheckpointId) -> Result<Barrier> {
        while !self.serialise(usize::MAX)? {}
        let stamp = stamp_of(checkpoint)?;
        if stamp < self.log.current() {
            return Err(Error::internal(format!("barrier {checkpoint} comes too late")));
        }
        let barrier = Barrier {
            horizons: self.horizons(),
            items_sent: self.items_sent,
            entries: self.log.dirty(),
        };
        let frozen = self.log.current();
        if self.log.freeze(checkpoint, stamp + 1) {
            self.cursor = Some(Cursor { stamp: frozen, column: 0, next: 0 });
            self.writer.begin(checkpoint);
        }
        Ok(barrier)
    }

    /// Serialises up to `max_entries` of what the last barrier froze; `true` when all is done. Some
    /// 50 ns an entry: 10,000 are half a millisecond.
    ///
    /// # Errors
    /// [`ErrorKind::User`] where a value's type cannot be serialised; the state cannot go on then.
    pub fn serialise(&mut self, max_entries: usize) -> Result<bool> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(mut cursor) = self.cursor else { return Ok(true) };
        let mut left = max_entries;
        while cursor.column < self.columns.len() {
            let Some(list) = self.log.list(cursor.stamp) else {
                return Err(Error::internal("a list was let go before it was serialised"));
            };
            let rows = Arc::clone(&list.rows[cursor.column]);
            let end = rows.len().min(cursor.next.saturating_add(left));
            left -= end - cursor.next;
            for &row in &rows[cursor.next..end] {
                // Else it has changed again since, and was serialised before that.
                if self.columns[cursor.column].meta(row).stamp == cursor.stamp | UNSERIALISED {
                    self.serialise_entry(cursor.column, row)?;
                }
            }
            cursor.next = end;
            if end < rows.len() {
                self.cursor = Some(cursor);
                return Ok(false);
            }
            cursor.column += 1;
            cursor.next = 0;
        }
        self.cursor = None;
        self.writer.finish();
        Ok(true)
    }

    /// The segments that are full, and after the last slice the rest.
    pub fn take_segments(&mut self) -> Vec<RawSegment> {
        self.writer.take()
    }

    /// One segment of `checkpoint` is stored, or was read at the restore, and takes `stored_bytes`.
    pub fn logged(&mut self, checkpoint: CheckpointId, stored_bytes: u64) {
        self.log.logged(checkpoint, stored_bytes);
    }

    /// The head has moved: `oldest_retained` is the oldest checkpoint that it retains now. Lets go of
    /// leading checkpoints whose every change has been replaced by then.
    pub fn completed(&mut self, oldest_retained: CheckpointId) {
        // A number that exceeds stamps was refused at its barrier.
        self.log.completed(oldest_retained.0 as u32);
    }

    fn horizons(&mut self) -> Horizons {
        let own = self.log.horizon();
        if self.former.iter().all(|(_, former)| *former <= own) {
            self.former.clear();
            return vec![(self.config.range, CheckpointId(own.into()))];
        }
        let kept = |&(range, former): &(KeyGroupRange, u32)| {
            (range, CheckpointId(u64::from(own.max(former))))
        };
        self.former.iter().map(kept).collect()
    }

    /// Every change up to this checkpoint is materialised. What an acknowledgement reports is
    /// [`Barrier::horizons`], which were fixed at the barrier.
    #[must_use]
    pub fn horizon(&self) -> CheckpointId {
        CheckpointId(u64::from(self.log.horizon()))
    }

    /// Whether a put of an item may have been sent in this incarnation.
    #[must_use]
    pub fn items_sent(&self) -> bool {
        self.items_sent
    }

    /// Memory of the entries changed since the last barrier, or frozen by it and not serialised yet;
    /// estimated. For back-pressure.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_entries() * self.entry_bytes()
    }

    fn dirty_entries(&self) -> u64 {
        let frozen = self.cursor.and_then(|cursor| {
            let list = self.log.list(cursor.stamp)?;
            let rest = list.rows.iter().skip(cursor.column).map(|rows| rows.len()).sum::<usize>();
            Some((rest - cursor.next) as u64)
        });
        self.log.dirty() + frozen.unwrap_or(0)
    }

    fn row_bytes(&self) -> u64 {
        let key_heap = self.writer.keys.1.checked_div(self.writer.keys.0).unwrap_or(0);
        let columns: u64 = self.columns.iter().map(|column| column.slot_bytes()).sum();
        Rows::<K>::row_bytes(key_heap) + columns
    }

    fn entry_bytes(&self) -> u64 {
        self.row_bytes() / (self.columns.len().max(1) as u64)
    }

    /// Memory of all rows, estimated: `size_of` each part, and for what owns memory elsewhere the mean
    /// of its serialised length.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.rows.len() as u64 * self.row_bytes()
    }

    /// What the log holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (segments, stored_bytes) = self.log.stored();
        Stats {
            pinned_entries: self.log.pinned(),
            pinned_bytes: self.log.pinned() * self.entry_bytes(),
            checkpoints: self.log.checkpoints() as u64,
            segments,
            stored_bytes,
            dirty_entries: self.dirty_entries(),
            dirty_bytes: self.dirty_bytes(),
            rows: self.rows.len() as u64,
            resident_bytes: self.resident_bytes(),
        }
    }

    /// Where the item of an entry is.
    pub(super) fn item_key(&self, column: usize, row: u32) -> ItemKey {
        let key = self.rows.key(row);
        let mut sort_key = Vec::new();
        key.encode(&mut sort_key);
        ItemKey {
            operator: self.config.operator.clone(),
            state: self.columns[column].name().clone(),
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
        if is_new {
            self.columns.iter_mut().for_each(|column| column.add_row());
        }
        row
    }

    /// Whether nothing of `row` is newer than its items.
    pub(super) fn is_clean(&self, row: u32) -> bool {
        let horizon = self.log.horizon();
        self.columns.iter().all(|column| column.meta(row).stamp <= horizon)
    }

    pub(super) fn is_empty_row(&self, row: u32) -> bool {
        self.columns.iter().all(|column| !column.is_present(row))
    }

    pub(super) fn vacate(&mut self, row: u32) {
        self.columns.iter_mut().for_each(|column| column.vacate(row));
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
