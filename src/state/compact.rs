//! Giving memory back: where most rows or entries are vacant, the others move together.
//!
//! Owns when that is done, and how numbers change. Vectors grow with what they hold and do not shrink by
//! themselves: where values grow, or another operator's keys become the hot ones, far fewer rows are left than
//! there were, and what the empty ones hold would come on top of `cache-size`.
//!
//! Whoever waits for a read holds a number, and so does a cleaning; so nothing moves meanwhile. The reads end if no
//! new record comes, which [`KeyedState::wants_quiet`] asks for.

use super::bits::Bits;
use super::descriptor::ColumnId;
use super::keyed::KeyedState;
use crate::codec::Key;
use crate::teeth::{Tooth, bites};

/// They are sparse where less than one in so many is taken: so a move costs less than what has left since the
/// last one.
const SPARSE: u64 = 4;

/// Stands for no number: of what was vacant.
const NONE: u32 = u32::MAX;

/// Which numbers change to which. Their order stays.
pub(super) struct Moves {
    /// By new number.
    old: Vec<u32>,
    /// By old number.
    new: Vec<u32>,
}

impl Moves {
    /// Those below `end` that are taken move together.
    pub(super) fn of(end: u32, is_taken: impl Fn(u32) -> bool) -> Self {
        let old: Vec<u32> = (0..end).filter(|&number| is_taken(number)).collect();
        let mut new = vec![NONE; end as usize];
        for (to, &from) in (0..).zip(&old) {
            new[from as usize] = to;
        }
        Self { old, new }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.old.len() as u32
    }

    /// By new number: what it was.
    pub(super) fn old(&self) -> &[u32] {
        &self.old
    }

    /// The new number, unless it was vacant.
    #[inline]
    pub(super) fn to(&self, old: u32) -> Option<u32> {
        self.new.get(old as usize).copied().filter(|&new| new != NONE)
    }

    /// Moves what there is by number, and gives the memory of vacant ones back.
    pub(super) fn apply<T>(&self, all: &mut Vec<T>) {
        for (to, &from) in self.old.iter().enumerate() {
            all.swap(to, from as usize);
        }
        all.truncate(self.old.len());
        all.shrink_to_fit();
    }

    /// Replaces numbers, none of which was vacant.
    pub(super) fn renumber<'n>(&self, numbers: impl IntoIterator<Item = &'n mut u32>) {
        // These faults vacate what is still listed.
        let faulty = || bites(Tooth::EmptyRowForgotten) || bites(Tooth::EvictedBeforeAnswer);
        for number in numbers {
            debug_assert!(self.to(*number).is_some() || faulty(), "{number} was vacant");
            *number = self.to(*number).unwrap_or(*number);
        }
    }

    /// A set of numbers, of which vacant ones leave.
    pub(super) fn bits(&self, bits: &Bits) -> Bits {
        let mut moved = Bits::default();
        let set = (0..).zip(&self.old).filter(|(_, old)| bits.contains(**old));
        set.for_each(|(new, _)| moved.insert(new));
        moved
    }
}

impl<K: Key> KeyedState<K> {
    /// Whether memory should be given back and only reads stand against it: as long as this is so, process no new
    /// batch.
    #[must_use]
    pub fn wants_quiet(&self) -> bool {
        !self.loading.is_empty() && self.counts_no_places() && self.is_sparse()
    }

    /// Gives memory back where there is much and nobody holds the number of a row or an entry.
    pub(super) fn compact(&mut self) {
        if !self.is_sparse()
            || !self.counts_no_places()
            || !self.loading.is_empty()
            || !self.untouched.is_empty()
            || !self.untouched_entries.is_empty()
            || self.scans.has_extra()
        {
            return;
        }
        if self.has_sparse_rows() {
            self.move_rows();
        }
        for column in self.column_ids() {
            if self.is_sparse_column(column) {
                self.move_entries(column);
            }
        }
    }

    fn is_sparse(&self) -> bool {
        self.has_sparse_rows() || self.column_ids().any(|column| self.is_sparse_column(column))
    }

    fn has_sparse_rows(&self) -> bool {
        self.are_few(self.rows.end(), self.rows.len() as u64)
    }

    /// Of entries with a sub key: the others are rows.
    fn is_sparse_column(&self, column: ColumnId) -> bool {
        let values = &self.columns[column.index()];
        !values.is_plain() && self.are_few(values.end(), values.entries(0))
    }

    fn are_few(&self, end: u32, taken: u64) -> bool {
        end > self.config.few_rows && taken * SPARSE < u64::from(end)
    }

    /// Whether neither a barrier nor a cleaning is at some place of a list of numbers.
    fn counts_no_places(&self) -> bool {
        self.cursor.is_none() && self.cleaning.is_none()
    }

    fn move_rows(&mut self) {
        let moves = Moves::of(self.rows.end(), |row| self.rows.is_taken(row));
        self.rows.apply(&moves);
        self.keys.renumber(&moves);
        self.recency.renumber(&moves);
        self.partial = moves.bits(&self.partial);
        for column in self.column_ids() {
            let values = &mut self.columns[column.index()];
            values.move_rows(&moves);
            if values.is_plain() {
                self.renumber_lists(column, &moves);
            }
        }
    }

    fn move_entries(&mut self, column: ColumnId) {
        let values = &mut self.columns[column.index()];
        let moves = Moves::of(values.end(), |entry| values.is_taken(entry));
        values.move_entries(&moves);
        self.renumber_lists(column, &moves);
    }

    /// Whatever lists entries of `column`.
    fn renumber_lists(&mut self, column: ColumnId, moves: &Moves) {
        self.log.renumber(column.index(), moves);
        for waiting in [&mut self.leaving, &mut self.cooling] {
            waiting.retain_mut(|(of, entry)| {
                let new = if *of == column { moves.to(*entry) } else { Some(*entry) };
                *entry = new.unwrap_or(*entry);
                new.is_some()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_keeps_its_order_and_the_rest_gives_its_memory_back() {
        let moves = Moves::of(1000, |number| number % 100 == 7);
        let mut all: Vec<u32> = (0..1000).collect();
        moves.apply(&mut all);
        assert_eq!(all, [7, 107, 207, 307, 407, 507, 607, 707, 807, 907]);
        assert!(all.capacity() < 20);
        assert_eq!([7, 8, 907, 1007].map(|old| moves.to(old)), [Some(0), None, Some(9), None]);
        let mut bits = Bits::default();
        [8, 107, 907].into_iter().for_each(|number| bits.insert(number));
        let bits = moves.bits(&bits);
        assert!((0..1000).filter(|&number| bits.contains(number)).eq([1, 9]));
    }
}
