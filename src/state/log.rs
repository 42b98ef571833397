//! The in-memory description of the redo log: which entries changed in which checkpoint.
//!
//! An entry is a number within its column, where that is plain a row's: the lists below say *rows* for
//! both. Owns the lists of what changed, the horizon, and the counts that tell what cleaning a checkpoint
//! would write. Owns neither values nor bytes.
//!
//! A change is *stamped* with the number after the last barrier. A barrier's own number may be larger,
//! where checkpoints between were aborted before they got here; but no completed checkpoint lies
//! between the two, so comparing a stamp with a completed checkpoint is comparing the change with it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::compact::Moves;
use super::entry::UNSERIALISED;
use crate::ids::CheckpointId;
use crate::teeth::{Tooth, bites};

/// The rows of one column that changed in one checkpoint.
pub(super) type ChangedRows = Arc<Vec<u32>>;

/// What changed in one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct List {
    pub(super) stamp: u32,
    pub(super) checkpoint: CheckpointId,
    /// By column.
    pub(super) rows: Vec<ChangedRows>,
    /// Changes not replaced by one of a later checkpoint up to the oldest retained one.
    pub(super) live: u64,
    /// Changes replaced by any later one, of the current interval too.
    replaced: u64,
    /// … by one of the current interval, or of the list that is being replayed: what that list will say
    /// that it replaces.
    replaced_now: u32,
    /// Which earlier lists' changes this list's replace, until the lists' `live` knows it.
    replaces: Vec<(u32, u32)>,
    stored_bytes: u64,
    segments: u32,
    /// How many of its entries are serialised, and what memory their values own elsewhere.
    serialised: (u64, u64),
    /// The same memory of those that are not replaced.
    heap: u64,
}

impl List {
    /// What memory the value of one of its entries owns elsewhere: the mean of all, or as much as is left.
    fn share(&self) -> u64 {
        let (entries, bytes) = self.serialised;
        bytes.checked_div(entries).unwrap_or(0)
    }

    fn len(&self) -> u64 {
        self.rows.iter().map(|rows| rows.len() as u64).sum()
    }

    fn new(stamp: u32, checkpoint: CheckpointId, rows: Vec<ChangedRows>) -> Self {
        let mut list = Self {
            stamp,
            checkpoint,
            rows,
            live: 0,
            replaced: 0,
            replaced_now: 0,
            replaces: Vec::new(),
            stored_bytes: 0,
            segments: 0,
            serialised: (0, 0),
            heap: 0,
        };
        list.live = list.len();
        list
    }
}

/// The log of one operator in one subtask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    /// The stamp of what changes now.
    current: u32,
    /// Every change up to here is materialised.
    horizon: u32,
    /// The oldest retained checkpoint.
    floor: u32,
    /// The oldest list, while it is being cleaned: its segments may have to be read back, so the horizon
    /// does not pass it meanwhile even if all of it is replaced.
    held: Option<u32>,
    /// By column: rows changed since the last barrier.
    dirty: Vec<Vec<u32>>,
    /// Oldest first.
    lists: VecDeque<List>,
    pinned: u64,
    /// Changes in `lists`, replaced ones included.
    listed: u64,
    /// The sum over `lists`.
    heap: u64,
}

impl Log {
    /// A log after `horizon` that goes on after `checkpoint`.
    #[must_use]
    pub fn new(columns: usize, horizon: u32, floor: u32, checkpoint: u32) -> Self {
        Self {
            current: checkpoint + 1,
            horizon,
            floor,
            held: None,
            dirty: vec![Vec::new(); columns],
            lists: VecDeque::new(),
            pinned: 0,
            listed: 0,
            heap: 0,
        }
    }

    /// The stamp of an entry that has changed since the last barrier.
    #[inline]
    #[must_use]
    pub fn hot(&self) -> u32 {
        self.current | UNSERIALISED
    }

    /// The stamp of what changes now.
    #[must_use]
    pub fn current(&self) -> u32 {
        self.current
    }

    /// Every change up to here is materialised.
    #[must_use]
    pub fn horizon(&self) -> u32 {
        self.horizon
    }

    /// The oldest retained checkpoint.
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.floor
    }

    pub(super) fn pinned(&self) -> u64 {
        self.pinned
    }

    /// Memory that values own elsewhere, of the entries that [`Log::pinned`] counts, but for dirty ones.
    pub(super) fn heap(&self) -> u64 {
        self.heap
    }

    /// Checkpoints that are newer than the oldest retained one, so that they cannot be cleaned yet.
    pub(super) fn held_back(&self) -> u64 {
        self.lists.iter().rev().take_while(|list| list.stamp > self.floor).count() as u64
    }

    /// Whether the oldest of its checkpoints can be cleaned, or is being so.
    pub(super) fn can_clean(&self) -> bool {
        self.lists.front().is_some_and(|list| list.stamp <= self.floor)
    }

    /// Memory of the lists, at the least.
    pub(super) fn bytes(&self) -> u64 {
        (self.listed + self.dirty()) * size_of::<u32>() as u64
    }

    pub(super) fn dirty(&self) -> u64 {
        self.dirty.iter().map(|rows| rows.len() as u64).sum()
    }

    fn position(&self, stamp: u32) -> Option<usize> {
        match self.lists.back() {
            // Nearly always: what is hot changed in the last checkpoint too.
            Some(last) if last.stamp == stamp => Some(self.lists.len() - 1),
            _ => self.lists.binary_search_by_key(&stamp, |list| list.stamp).ok(),
        }
    }

    /// An entry changes for the first time since the last barrier; `old` is its change before.
    #[inline]
    pub fn change(&mut self, column: usize, row: u32, old: u32) {
        if old <= self.horizon {
            self.pinned += 1;
        } else if let Some(i) = self.position(old) {
            self.replace(i);
        }
        self.dirty[column].push(row);
    }

    /// An entry of a list has changed again.
    fn replace(&mut self, list: usize) {
        let list = &mut self.lists[list];
        list.replaced += 1;
        list.replaced_now += 1;
        let share = list.share().min(list.heap);
        list.heap -= share;
        self.heap -= share;
    }

    /// An entry of the list of `stamp` is in a segment's bytes; `heap` is what its value owns elsewhere.
    pub(super) fn serialised(&mut self, stamp: u32, heap: u64) {
        if let Some(i) = self.position(stamp) {
            let list = &mut self.lists[i];
            list.serialised = (list.serialised.0 + 1, list.serialised.1 + heap);
            list.heap += heap;
            self.heap += heap;
        }
    }

    /// Takes the last [`Log::change`] back: the entry has not changed after all.
    pub(super) fn undo_change(&mut self, column: usize, row: u32, old: u32) {
        let last = self.dirty[column].pop();
        debug_assert_eq!(last, Some(row), "changes are taken back in reverse order");
        if old <= self.horizon {
            self.pinned -= 1;
        } else if let Some(i) = self.position(old) {
            let list = &mut self.lists[i];
            list.replaced -= 1;
            list.replaced_now -= 1;
            let share = list.share();
            list.heap += share;
            self.heap += share;
        }
    }

    /// Moves the dirty rows aside as the list of `checkpoint`; whether there are any.
    pub fn freeze(&mut self, checkpoint: CheckpointId, next: u32) -> bool {
        let dirty = self.dirty.iter_mut().map(|rows| Arc::new(std::mem::take(rows))).collect();
        let stamp = std::mem::replace(&mut self.current, next);
        let mut list = List::new(stamp, checkpoint, dirty);
        if list.live == 0 {
            return false;
        }
        list.replaces = self.take_replaced();
        self.listed += list.live;
        self.lists.push_back(list);
        true
    }

    /// Takes out of the list of `stamp` the entries at `places`, which ascend and are before `end`: nobody knows
    /// of them, and what they changed replaced nothing. What is at `end` or after it stays so, those before it end
    /// where the last of them did.
    pub(super) fn forget(&mut self, stamp: u32, column: usize, mut end: usize, places: &[usize]) {
        let Some(i) = self.position(stamp).filter(|_| !places.is_empty()) else { return };
        let list = &mut self.lists[i];
        let rows = Arc::make_mut(&mut list.rows[column]);
        for &place in places.iter().rev() {
            end -= 1;
            rows.swap(place, end);
            rows.swap_remove(end);
        }
        let forgotten = places.len() as u64;
        list.live -= forgotten;
        self.listed -= forgotten;
        self.pinned -= forgotten;
    }

    /// The entries of a column move together. Those that are listed are pinned, so none of them was vacant.
    pub(super) fn renumber(&mut self, column: usize, moves: &Moves) {
        moves.renumber(&mut self.dirty[column]);
        for list in &mut self.lists {
            moves.renumber(Arc::make_mut(&mut list.rows[column]));
        }
    }

    /// Which lists' changes were replaced since the last call, and how many of each.
    fn take_replaced(&mut self) -> Vec<(u32, u32)> {
        let replaced = |list: &mut List| (list.stamp, std::mem::take(&mut list.replaced_now));
        self.lists.iter_mut().map(replaced).filter(|(_, count)| *count > 0).collect()
    }

    /// All segments of the last list are replayed.
    fn end_replayed(&mut self) {
        let replaced = self.take_replaced();
        if let Some(last) = self.lists.back_mut() {
            last.replaces = replaced;
        }
    }

    /// All segments are replayed.
    pub fn end_replay(&mut self) {
        self.end_replayed();
        self.settle(self.horizon);
    }

    /// A change read back from a segment of `checkpoint`; `old` is the entry's change before. Segments
    /// come in ascending order, so the list is the last one or a new one.
    pub fn replay(
        &mut self,
        checkpoint: CheckpointId,
        stamp: u32,
        column: usize,
        row: u32,
        old: u32,
    ) {
        if self.lists.back().is_none_or(|last| last.stamp != stamp) {
            self.end_replayed();
            let rows = self.dirty.iter().map(|_| ChangedRows::default()).collect();
            self.lists.push_back(List::new(stamp, checkpoint, rows));
        }
        if old == stamp {
            return;
        }
        if old <= self.horizon {
            self.pinned += 1;
        } else if let Some(i) = self.position(old) {
            self.replace(i);
        }
        if let Some(last) = self.lists.back_mut() {
            Arc::make_mut(&mut last.rows[column]).push(row);
            last.live += 1;
            self.listed += 1;
        }
    }

    /// Whether changes of `stamp` may be replayed: no list is newer, and the restored checkpoint is
    /// not older.
    pub(super) fn is_newest(&self, stamp: u32) -> bool {
        stamp < self.current && self.lists.back().is_none_or(|last| last.stamp <= stamp)
    }

    pub(super) fn list(&self, stamp: u32) -> Option<&List> {
        self.position(stamp).map(|i| &self.lists[i])
    }

    /// Notes a stored segment of `checkpoint`.
    pub(super) fn logged(&mut self, checkpoint: CheckpointId, stored_bytes: u64) {
        if let Some(list) = self.lists.iter_mut().rev().find(|list| list.checkpoint == checkpoint) {
            list.stored_bytes += stored_bytes;
            list.segments += 1;
        }
    }

    /// Stored segments and their bytes.
    pub(super) fn stored(&self) -> (u64, u64) {
        self.lists.iter().fold((0, 0), |(segments, bytes), list| {
            (segments + u64::from(list.segments), bytes + list.stored_bytes)
        })
    }

    pub(super) fn checkpoints(&self) -> usize {
        self.lists.len()
    }

    /// `floor` is the oldest retained checkpoint now: what up to it has been replaced up to it need
    /// not be materialised any more.
    pub fn completed(&mut self, floor: u32) {
        let old = self.floor;
        if floor <= old {
            return;
        }
        self.floor = floor;
        self.settle(old);
    }

    /// Applies what the lists after `old` up to the floor replace, and lets go of what is left empty.
    fn settle(&mut self, old: u32) {
        for i in 0..self.lists.len() {
            if self.lists[i].stamp <= old || self.lists[i].stamp > self.floor {
                continue;
            }
            for (stamp, count) in std::mem::take(&mut self.lists[i].replaces) {
                if let Some(earlier) = self.position(stamp) {
                    self.lists[earlier].live -= u64::from(count);
                }
            }
        }
        self.let_go();
    }

    /// Moves the horizon past leading lists whose every change is replaced, and over gaps.
    fn let_go(&mut self) {
        let held = self.held;
        while self.oldest().is_some_and(|list| list.live == 0 && Some(list.stamp) != held) {
            self.drop_oldest();
        }
        self.horizon = self.oldest().map_or(self.floor, |list| list.stamp - 1).max(self.horizon);
    }

    /// The oldest list, if it may be cleaned.
    pub(super) fn oldest(&self) -> Option<&List> {
        let uncommitted = bites(Tooth::UncommittedMaterialised);
        self.lists.front().filter(|list| list.stamp <= self.floor || uncommitted)
    }

    fn drop_oldest(&mut self) {
        if let Some(list) = self.lists.pop_front() {
            self.pinned -= list.len() - list.replaced;
            self.listed -= list.len();
            self.heap -= list.heap;
            self.horizon = list.stamp;
        }
    }

    /// The oldest list is going to be cleaned.
    pub(super) fn hold(&mut self) {
        self.held = self.oldest().map(|list| list.stamp);
    }

    /// Every write for the held list is answered: the horizon passes it.
    pub fn cleaned(&mut self) {
        if self.held.take().is_some() {
            self.drop_oldest();
            self.let_go();
        }
    }

    /// By column: the rows of the lists after `after`, up to the floor.
    pub(super) fn later(&self, after: u32) -> Vec<Vec<ChangedRows>> {
        let later = self.lists.iter().filter(|l| l.stamp > after && l.stamp <= self.floor);
        let mut rows = vec![Vec::new(); self.dirty.len()];
        for list in later {
            for (column, changed) in list.rows.iter().enumerate() {
                rows[column].push(Arc::clone(changed));
            }
        }
        rows
    }
}
