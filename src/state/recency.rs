//! Which entries have not been used for long: the order in which clean ones leave memory.
//!
//! Owns the marks of one space of entry numbers. Which entries may leave, and what that frees, is its
//! user's.
//!
//! Entries that are new, or were written to their items without having been used since, wait in a queue of a
//! quarter of all; the others are swept in the order of their numbers. In either place an entry that was
//! used since it was looked at last stays, and the mark is taken away. So what is used once, by a scan say,
//! passes through the queue and nothing else has to go for it. Two bits an entry, and four bytes for
//! each that waits; a use sets one bit. `docs/design/0005-eviction.md` says what it was compared with.

use std::cell::Cell;
use std::collections::VecDeque;

use super::bits::Bits;
use super::compact::Moves;

/// One in so many entries waits in the queue.
const QUEUE_SHARE: u32 = 4;

/// Whether an entry may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is nothing to leave.
    Vacant,
    /// It may not, or not yet.
    Held,
    /// It may.
    Free,
}

/// The marks of one space of entries.
#[derive(Debug, Default)]
pub struct Recency {
    active: bool,
    /// Used since it was looked at last. In cells, since reading a value is a use.
    seen: Vec<Cell<u64>>,
    queued: Bits,
    queue: VecDeque<u32>,
    /// Where the sweep goes on.
    hand: u32,
    /// Looks since something was found, or may be found again.
    fruitless: u64,
}

impl Recency {
    /// Begins to keep marks: all entries so far, those below `end`, count as swept and not used.
    pub fn activate(&mut self, end: u32) {
        self.active = true;
        self.make_room(end);
    }

    /// Whether marks are kept. While all fits into memory there is no need.
    #[inline]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The entry is used.
    #[inline]
    pub fn touch(&self, entry: u32) {
        if let Some(word) = self.seen.get(entry as usize / 64) {
            word.set(word.get() | 1 << (entry % 64));
        }
    }

    /// The entry is new, and not used more than the once that it is here for.
    pub fn enter(&mut self, entry: u32) {
        self.fruitless = 0;
        if self.active {
            self.make_room(entry);
            self.take_seen(entry);
            self.wait(entry);
        }
    }

    /// The entry may leave from now on.
    pub fn cooled(&mut self, entry: u32) {
        if self.active && !self.is_seen(entry) {
            self.wait(entry);
        }
    }

    /// Something that was held may be free now, so that a search is worth while again.
    pub fn look_again(&mut self) {
        self.fruitless = 0;
    }

    /// Whether everything was looked at, once in the queue and twice by the sweep, and nothing found.
    #[must_use]
    pub fn is_exhausted(&self, end: u32) -> bool {
        self.fruitless > 3 * u64::from(end)
    }

    /// The next entry that should leave, of those below `end`, with so many looks that count down.
    pub fn victim(
        &mut self,
        end: u32,
        looks: &mut u32,
        standing: impl Fn(u32) -> Standing,
    ) -> Option<u32> {
        while *looks > 0 && !self.is_exhausted(end) {
            *looks -= 1;
            self.fruitless += 1;
            let is_long = self.queue.len() >= (end / QUEUE_SHARE) as usize;
            let none_swept = self.fruitless > u64::from(end);
            let next = if is_long || none_swept { self.queue.pop_front() } else { None };
            let entry = match next {
                Some(entry) => {
                    self.queued.remove(entry);
                    entry
                }
                None => match self.sweep(end) {
                    Some(entry) => entry,
                    None => continue,
                },
            };
            if standing(entry) == Standing::Free && !self.take_seen(entry) {
                self.fruitless = 0;
                return Some(entry);
            }
        }
        None
    }

    /// Entries move together: each keeps its mark and its turn.
    pub(super) fn renumber(&mut self, moves: &Moves) {
        if !self.active {
            return;
        }
        let mut moved = Self::default();
        moved.activate(moves.len());
        for (new, &old) in (0..).zip(moves.old()) {
            if self.is_seen(old) {
                moved.touch(new);
            }
        }
        self.queue.iter().filter_map(|&old| moves.to(old)).for_each(|new| moved.wait(new));
        *self = moved;
    }

    /// Memory of the marks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.seen.capacity() * 8 + self.queue.capacity() * 4) as u64 + self.queued.bytes()
    }

    fn make_room(&mut self, entry: u32) {
        let word = entry as usize / 64;
        if word >= self.seen.len() {
            self.seen.resize(word + 1 + word / 4, Cell::new(0));
        }
    }

    fn sweep(&mut self, end: u32) -> Option<u32> {
        self.hand = if self.hand >= end { 0 } else { self.hand };
        let entry = self.hand;
        self.hand += 1;
        (entry < end && !self.queued.contains(entry)).then_some(entry)
    }

    fn wait(&mut self, entry: u32) {
        if !self.queued.contains(entry) {
            self.queued.insert(entry);
            self.queue.push_back(entry);
        }
        self.fruitless = 0;
    }

    fn is_seen(&self, entry: u32) -> bool {
        self.seen.get(entry as usize / 64).is_some_and(|word| word.get() >> (entry % 64) & 1 == 1)
    }

    fn take_seen(&self, entry: u32) -> bool {
        let was = self.is_seen(entry);
        if was && let Some(word) = self.seen.get(entry as usize / 64) {
            word.set(word.get() & !(1 << (entry % 64)));
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> Recency {
        let mut recency = Recency::default();
        recency.activate(0);
        recency
    }

    fn victims(recency: &mut Recency, end: u32, free: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut looks = 1000;
        let mut left = Vec::new();
        while let Some(entry) = recency.victim(end, &mut looks, |entry| match entry {
            _ if left.contains(&entry) => Standing::Vacant,
            _ if free(entry) => Standing::Free,
            _ => Standing::Held,
        }) {
            left.push(entry);
        }
        left
    }

    #[test]
    fn what_is_used_again_outlives_what_is_only_scanned() {
        let mut recency = active();
        (0..8).for_each(|entry| recency.enter(entry));
        recency.touch(0);
        recency.touch(5);
        let mut looks = 6;
        let mut left = Vec::new();
        while let Some(entry) = recency.victim(8, &mut looks, |_| Standing::Free) {
            left.push(entry);
            recency.enter(entry);
        }
        assert_eq!(left, [1, 2, 3, 4], "then 5 was looked at, and stays");
        assert!(!left.contains(&0) && !left.contains(&5));
    }

    #[test]
    fn a_mark_saves_once() {
        let mut recency = active();
        (0..4).for_each(|entry| recency.enter(entry));
        (0..4).for_each(|entry| recency.touch(entry));
        let mut left = victims(&mut recency, 4, |_| true);
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3], "all were looked at twice");
    }

    #[test]
    fn what_is_held_is_found_once_it_is_free_even_if_nobody_says_which() {
        let mut recency = active();
        (0..4).for_each(|entry| recency.enter(entry));
        assert!(victims(&mut recency, 4, |_| false).is_empty());
        assert!(recency.is_exhausted(4));
        assert!(victims(&mut recency, 4, |_| true).is_empty(), "no look is wasted");
        recency.look_again();
        assert_eq!(victims(&mut recency, 4, |entry| entry == 2), [2]);
    }

    #[test]
    fn what_was_there_before_marks_were_kept_is_swept() {
        let mut recency = active();
        assert_eq!(victims(&mut recency, 3, |_| true), [0, 1, 2]);
    }

    #[test]
    fn without_marks_nothing_is_remembered() {
        let mut recency = Recency::default();
        recency.enter(3);
        recency.touch(3);
        recency.cooled(3);
        assert_eq!(recency.bytes(), 0);
    }

    #[test]
    fn an_entry_that_cools_waits_unless_it_was_used() {
        let mut recency = active();
        (0..8).for_each(|entry| recency.enter(entry));
        assert!(victims(&mut recency, 8, |_| false).is_empty());
        recency.touch(1);
        [1, 6].into_iter().for_each(|entry| recency.cooled(entry));
        let mut looks = 9;
        // Nothing was swept for a round, so the queue comes next after that.
        recency.fruitless = 9;
        assert_eq!(recency.victim(8, &mut looks, |_| Standing::Free), Some(6));
    }
}
