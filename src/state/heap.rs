//! How much memory values and keys own elsewhere, estimated by the lengths at which they are serialised.
//!
//! Owns the lengths by entry, their sums, and which of the changed values are looked at between barriers. A
//! barrier serialises every changed value, which gives its length for nothing; what changes after it is measured by
//! [`Heap::look`]. A state whose values own nothing elsewhere has an empty one, and pays nothing.
//!
//! ```text
//!   calm: one changed value in STRIDE ── as long as was thought ──► calm
//!                 │ another length
//!                 ▼
//!   every changed value of this batch, and of the next WATCHFUL ones
//! ```
//! A long value is looked at whenever it was replaced, which cost its maker about as much; one that was changed
//! in place only as often as that takes no more than some KiB for each change.

use std::cell::Cell;

use super::compact::Moves;

/// One changed value in so many, about, is looked at while they are as long as was thought.
const STRIDE: u64 = 8;
/// For so many batches after one of another length than was thought, all changed values are looked at.
const WATCHFUL: u32 = 16;
/// A value of more bytes is long: so many of its kind are looked at for each change in place, on average.
const LONG: u64 = 4096;
/// What values may differ by, each and a batch's in all, before that counts as another length.
const SLACK: (u64, u64) = (32, 1024);

/// What an allocation takes beside its content.
const ALLOCATION: u64 = 16;

/// Set in a length whose value was replaced since it was seen.
const REPLACED: u32 = 1 << 31;

/// The sum of some lengths: their mean stands for what a key owns on the heap.
#[derive(Debug, Default)]
pub(super) struct MeanBytes(Cell<(u64, u64)>);

impl MeanBytes {
    pub(super) fn add(&self, bytes: usize) {
        let (number, sum) = self.0.get();
        self.0.set((number + 1, sum + bytes as u64));
    }

    pub(super) fn get(&self) -> u64 {
        let (number, sum) = self.0.get();
        sum.checked_div(number).unwrap_or(0)
    }
}

/// What values own, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeapBytes {
    /// All of them.
    pub(super) all: u64,
    /// Of these, those that have changed and are not serialised since.
    pub(super) dirty: u64,
}

/// How long the values of one state are, where they own memory elsewhere.
#[derive(Debug)]
pub(super) struct Heap {
    /// By entry, one more than its length as far as that is known, with [`REPLACED`]; 0 where there is no
    /// value.
    lengths: Vec<Cell<u32>>,
    all: Cell<u64>,
    dirty: Cell<u64>,
    /// The mean of the lengths that were seen last: what a value is taken to have that nobody has seen.
    recent: Cell<Option<f64>>,
    /// Batches for which all changed values are looked at.
    watchful: u32,
    /// Chooses what is looked at. Not every nth: keys may come in turns.
    random: u64,
}

/// What was thought of some values, and what was found.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    number: u64,
    thought: u64,
    found: u64,
}

impl Seen {
    /// Whether they are a quarter longer or shorter than was thought.
    fn differ(&self) -> bool {
        let slack = SLACK.0 * self.number + SLACK.1;
        let (less, more) = (self.thought.min(self.found), self.thought.max(self.found));
        more > less + less / 4 + slack
    }
}

impl Default for Heap {
    fn default() -> Self {
        let zero = || Cell::new(0);
        // Nobody knows how long the first ones will be.
        let watchful = WATCHFUL;
        Self {
            lengths: Vec::new(),
            all: zero(),
            dirty: zero(),
            recent: Cell::new(None),
            watchful,
            random: 0,
        }
    }
}

impl Heap {
    /// One entry more, without a value.
    pub(super) fn push(&mut self) {
        super::rows::grow(&mut self.lengths);
        self.lengths.push(Cell::new(0));
    }

    /// Entries move together, those of a value at the least.
    pub(super) fn apply(&mut self, moves: &Moves) {
        moves.apply(&mut self.lengths);
    }

    /// The length of an entry's value, as far as it is known; `None` where there is no value.
    fn length(&self, entry: u32) -> Option<u64> {
        let length = self.lengths.get(entry as usize)?.get() & !REPLACED;
        length.checked_sub(1).map(u64::from)
    }

    fn is_replaced(&self, entry: u32) -> bool {
        self.lengths.get(entry as usize).is_some_and(|length| length.get() & REPLACED != 0)
    }

    fn set(&self, entry: u32, length: Option<u64>, dirty: bool) {
        let Some(place) = self.lengths.get(entry as usize) else { return };
        let before = self.length(entry).unwrap_or(0);
        let stored = |length: u64| length.min(u64::from(REPLACED) - 2) as u32 + 1;
        place.set(length.map_or(0, stored));
        let now = self.length(entry).unwrap_or(0);
        self.all.set(self.all.get().saturating_sub(before) + now);
        if dirty {
            self.dirty.set(self.dirty.get().saturating_sub(before) + now);
        }
    }

    /// A value was serialised, read, or looked at. `dirty`: it has changed and is not serialised since.
    pub(super) fn seen(&self, entry: u32, length: usize, dirty: bool) {
        let recent = self.recent.get().unwrap_or(length as f64);
        self.recent.set(Some(recent + (length as f64 - recent) / 16.0));
        self.set(entry, Some(length as u64), dirty);
    }

    /// The entry's value is another one, of a length that nobody has seen.
    #[inline]
    pub(super) fn replaced(&self, entry: u32) {
        if let Some(length) = self.lengths.get(entry as usize) {
            length.set(length.get() | REPLACED);
        }
    }

    /// The entry has a value, which it may have had before.
    pub(super) fn filled(&self, entry: u32, dirty: bool) {
        if self.length(entry).is_none() {
            self.set(entry, Some(self.recent().unwrap_or(0)), dirty);
        }
        self.replaced(entry);
    }

    /// The entry has no value any more.
    pub(super) fn emptied(&self, entry: u32, dirty: bool) {
        self.set(entry, None, dirty);
    }

    /// The entry's value counts as dirty from now on, or no more.
    pub(super) fn turned(&self, entry: u32, dirty: bool) {
        let length = self.length(entry).unwrap_or(0);
        let all = self.dirty.get();
        self.dirty.set(if dirty { all + length } else { all.saturating_sub(length) });
    }

    /// How long values were lately, where any was seen.
    pub(super) fn recent(&self) -> Option<u64> {
        self.recent.get().map(|recent| recent as u64)
    }

    pub(super) fn bytes(&self) -> HeapBytes {
        HeapBytes { all: self.all.get(), dirty: self.dirty.get() }
    }

    /// What so many entries take here, and their values' allocations beside the content.
    pub(super) fn beside(entries: u64) -> u64 {
        entries * (ALLOCATION + size_of::<u32>() as u64)
    }

    /// Looks at some of the values that may have changed in a batch, one at the least, and at all where those are
    /// of another length than was thought. `length_of` says how long an entry's value is now, if it has one that
    /// is dirty.
    pub(super) fn look(
        &mut self,
        changed: impl ExactSizeIterator<Item = u32> + Clone,
        length_of: impl Fn(u32) -> Option<usize>,
    ) {
        let stride = if self.watchful > 0 { 1 } else { STRIDE };
        self.watchful = self.watchful.saturating_sub(1);
        if self.look_at(changed.clone(), &length_of, stride).differ() {
            self.watchful = WATCHFUL;
            if stride > 1 {
                self.look_at(changed, &length_of, 1);
            }
        }
    }

    /// Looks at one in `stride`, at long ones less often, but at those that were replaced.
    fn look_at(
        &mut self,
        changed: impl ExactSizeIterator<Item = u32>,
        length_of: &impl Fn(u32) -> Option<usize>,
        stride: u64,
    ) -> Seen {
        let mut seen = Seen::default();
        let one = self.below(changed.len() as u64) as usize;
        for (at, entry) in changed.enumerate() {
            let thought = self.length(entry).unwrap_or(0);
            let is_due = match thought > LONG {
                true => self.is_replaced(entry) || self.below(thought) < LONG,
                false => at == one || self.below(stride) == 0,
            };
            if is_due && let Some(found) = length_of(entry) {
                self.seen(entry, found, true);
                seen.number += 1;
                seen.thought += thought;
                seen.found += found as u64;
            }
        }
        seen
    }

    /// Some number below `limit`, each as often; 0 where there is none.
    fn below(&mut self, limit: u64) -> u64 {
        // Steele and Vigna's generator by Weyl's sequence: a start at 0 is as good as any.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((u128::from(mixed ^ (mixed >> 27)) * u128::from(limit)) >> 64) as u64
    }
}
