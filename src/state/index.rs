//! The index from hashes to rows.
//!
//! Owns where each is found. Keys are `rows`': where several have one hash, its user says which is meant.
//!
//! What is known of a hash stands in one line of the processor's cache, hashes and rows beside each other, and which line
//! that is the hash alone tells. So the lines that a batch needs can all be asked for before the first of them is
//! looked at ([`Index::warm`]), and one wait answers for each. With the whole hash in the line, keys whose hashes
//! differ need not be looked at. `docs/design/0009-index.md` has what it was compared with.
//!
//! A line that is full passes entries on to the next one, and counts them: a search ends at the first line that
//! has passed none on, and an entry that is removed is counted off again. A search looks at each line once at most: with rows that
//! come and go it may be that each has passed something on, and yet has room.

use std::hint::select_unpredictable;

use super::large_pages;
use super::rows::CACHED;
use crate::codec::KeyHash;

/// No row.
pub(super) const NONE: u32 = u32::MAX;
/// Of one line.
const ENTRIES: usize = 5;
/// The index grows by one part in so many. Twice as large, it would be more than half empty.
const GROWTH: usize = 2;

/// Entries that have this line, or have found no place in those before it. They stand in front; behind them, rows are
/// [`NONE`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    /// How many of its entries stand further on; from 255 on nobody knows, until there are more lines.
    passed: u8,
    len: u8,
    rows: [u32; ENTRIES],
    hashes: [u64; ENTRIES],
}

impl Line {
    const EMPTY: Self = Self { passed: 0, len: 0, rows: [NONE; ENTRIES], hashes: [0; ENTRIES] };

    /// The row of the first entry with this hash, else [`NONE`]. All are compared, because which one it is cannot
    /// be foreseen.
    #[inline]
    fn first(&self, hash: u64) -> u32 {
        let mut first = NONE;
        for (row, other) in self.rows.iter().zip(&self.hashes).rev() {
            first = select_unpredictable(*other == hash, *row, first);
        }
        first
    }

    fn rows(&self) -> &[u32] {
        &self.rows[..usize::from(self.len)]
    }

    fn position(&self, hash: u64, is_row: impl Fn(u32) -> bool) -> Option<usize> {
        let mut entries = self.rows().iter().zip(&self.hashes);
        entries.position(|(row, other)| *other == hash && is_row(*row))
    }

    fn remove(&mut self, entry: usize) {
        self.len -= 1;
        let last = usize::from(self.len);
        self.rows.swap(entry, last);
        self.hashes.swap(entry, last);
        self.rows[last] = NONE;
    }
}

/// How many lines so many rows have at least. Seven tenths of what fits is taken, and 7 in 100 are not in their first
/// line; four tenths while all of it stays in the cache anyway, and 1 in 100.
fn lines_of(rows: usize) -> usize {
    let cached = CACHED / size_of::<Line>();
    (rows * 2).div_ceil(7).max(rows.div_ceil(2).min(cached))
}

/// Rows by hash.
#[derive(Default)]
pub(super) struct Index {
    lines: Vec<Line>,
    len: usize,
}

impl Index {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<Line>()
    }

    /// The line where a search begins. It takes the low half of the hash, which says nothing of the key group: hashes of one
    /// subtask have much of the other half in common.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.lines.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// Reads the lines of all `hashes`, for nothing but to have them in the cache.
    #[inline]
    pub(super) fn warm(&self, hashes: impl Iterator<Item = KeyHash>) {
        if self.lines.len() * size_of::<Line>() < CACHED {
            return;
        }
        let passed = hashes.map(|hash| u32::from(self.lines[self.home(hash.0)].passed));
        std::hint::black_box(passed.fold(0, u32::wrapping_add));
    }

    /// Some row of this hash, else [`NONE`].
    #[inline]
    pub(super) fn candidate(&self, hash: KeyHash) -> u32 {
        let Some(line) = self.lines.get(self.home(hash.0)) else { return NONE };
        let row = line.first(hash.0);
        if row == NONE && line.passed > 0 { self.further(hash.0) } else { row }
    }

    #[cold]
    fn further(&self, hash: u64) -> u32 {
        self.find(KeyHash(hash), |_| true).unwrap_or(NONE)
    }

    /// The row of this hash that is meant.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, is_row: impl Fn(u32) -> bool) -> Option<u32> {
        let (line, entry) = self.place_of(hash.0, is_row)?;
        Some(self.lines[line].rows[entry])
    }

    /// The line of an entry, and where in it it stands.
    #[inline]
    fn place_of(&self, hash: u64, is_row: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = self.lines.get(at)?;
            if let Some(entry) = line.position(hash, &is_row) {
                return Some((at, entry));
            }
            if line.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Adds a row.
    pub(super) fn insert(&mut self, hash: KeyHash, row: u32) {
        self.reserve(self.len + 1);
        self.place(hash.0, row);
        self.len += 1;
    }

    fn place(&mut self, hash: u64, row: u32) {
        let mut at = self.home(hash);
        loop {
            let line = &mut self.lines[at];
            let end = usize::from(line.len);
            if end < ENTRIES {
                (line.rows[end], line.hashes[end]) = (row, hash);
                line.len += 1;
                return;
            }
            line.passed = line.passed.saturating_add(1);
            at = self.after(at);
        }
    }

    /// Takes a row out, if it is there.
    pub(super) fn remove(&mut self, hash: KeyHash, row: u32) {
        let Some((at, entry)) = self.place_of(hash.0, |other| other == row) else { return };
        self.lines[at].remove(entry);
        self.len -= 1;
        let mut passed = self.home(hash.0);
        while passed != at {
            let line = &mut self.lines[passed];
            if line.passed < u8::MAX {
                line.passed -= 1;
            }
            passed = self.after(passed);
        }
    }

    /// All rows, to be given other numbers.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut u32> {
        self.lines.iter_mut().flat_map(|line| &mut line.rows[..usize::from(line.len)])
    }

    /// Makes room for `rows` in all.
    pub(super) fn reserve(&mut self, rows: usize) {
        let lines = lines_of(rows);
        if lines > self.lines.len() {
            self.resize(lines.max(self.lines.len() + self.lines.len() / GROWTH));
        }
    }

    /// Gives memory back.
    pub(super) fn shrink_to_fit(&mut self) {
        let lines = lines_of(self.len);
        // Else they would be as many again.
        if large_pages::room::<Line>(lines) < self.lines.len() {
            self.resize(lines);
        }
    }

    /// To `lines`, or as many more as there is room for anyway.
    fn resize(&mut self, lines: usize) {
        let mut larger = Vec::new();
        large_pages::reserve(&mut larger, lines);
        larger.resize(larger.capacity(), Line::EMPTY);
        for line in std::mem::replace(&mut self.lines, larger) {
            for (row, hash) in line.rows().iter().zip(&line.hashes) {
                self.place(*hash, *row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::key_group::MaxParallelism;

    #[test]
    fn a_line_is_one_of_the_cache() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }

    /// One that is empty has no line to look at.
    #[test]
    fn an_empty_one_finds_nothing() {
        let mut index = Index::default();
        index.warm([KeyHash(7)].into_iter());
        assert_eq!((index.candidate(KeyHash(0)), index.find(KeyHash(0), |_| true)), (NONE, None));
        index.remove(KeyHash(0), 0);
        index.shrink_to_fit();
        assert_eq!((index.len(), index.bytes()), (0, 0));
    }

    #[test]
    fn it_grows_and_shrinks_over_the_size_of_a_large_page() {
        let page = 2 << 20;
        let hash = |row: u32| KeyHash(crate::splitmix::mix(row.into()));
        let mut index = Index::default();
        (0..400_000).for_each(|row| index.insert(hash(row), row));
        assert!(index.bytes() > page);
        assert!((0..400_000).all(|row| index.candidate(hash(row)) == row));
        (100..400_000).for_each(|row| index.remove(hash(row), row));
        index.shrink_to_fit();
        assert!(index.bytes() < page);
        assert_eq!(index.len(), 100);
        assert!((0..100).all(|row| index.candidate(hash(row)) == row));
        assert_eq!(index.candidate(hash(100)), NONE);
    }

    /// They lie where they lay.
    #[test]
    fn what_would_be_as_large_again_does_not_shrink() {
        let mut index = Index::default();
        index.reserve(200_000);
        let hash = |row: u32| KeyHash(crate::splitmix::mix(row.into()));
        (0..200_000).for_each(|row| index.insert(hash(row), row));
        let (lines, place) = (index.lines.len(), index.lines.as_ptr());
        assert!(lines > lines_of(200_000), "large pages have room for more");
        index.shrink_to_fit();
        assert_eq!((index.lines.len(), index.lines.as_ptr()), (lines, place));
    }

    #[test]
    fn hashes_of_one_key_group_are_spread() {
        let max = MaxParallelism::new(MaxParallelism::LIMIT).unwrap();
        let mut index = Index::default();
        for row in 0..20_000 {
            let hash = crate::splitmix::mix(row.into()) & !(0x7fff << 42) | 7 << 42;
            assert_eq!(max.group_of(KeyHash(hash)).0, 7);
            index.insert(KeyHash(hash), row);
        }
        let longest = index.lines.iter().map(|line| line.passed).max();
        assert!(longest < Some(40), "{longest:?} of one line stand further on");
    }

    /// A hash that begins at a line.
    fn beginning_at(index: &Index, line: usize, n: u64) -> KeyHash {
        let hashes = (n * 1000..).map(crate::splitmix::mix);
        KeyHash(hashes.into_iter().find(|hash| index.home(*hash) == line).unwrap())
    }

    /// Each line is filled, passes one on, and is emptied: none is left that has passed nothing on. A search that ends only there
    /// would not end.
    #[test]
    fn a_search_ends_where_every_line_has_passed_something_on() {
        let mut index = Index::default();
        index.reserve(14);
        let lines = index.lines.len();
        assert!(lines < 14, "{lines} lines");
        let mut row = 0;
        let mut add = |index: &mut Index, hash| {
            row += 1;
            index.insert(hash, row);
            (hash, row)
        };
        for line in 0..lines {
            let hash = beginning_at(&index, line, 0);
            let full: Vec<_> = (index.lines[line].len..5).map(|_| add(&mut index, hash)).collect();
            add(&mut index, hash);
            for (hash, row) in full {
                index.remove(hash, row);
            }
            assert_eq!(index.lines.len(), lines, "it has grown");
        }
        assert!(index.lines.iter().all(|line| line.passed > 0));
        let absent = beginning_at(&index, 1, 1);
        assert_eq!(index.candidate(absent), NONE);
        index.remove(absent, 1);
        assert_eq!(index.len(), lines);
    }

    proptest! {
        /// As a map from hash and row, with hashes of which many are equal, many have the same line, and some are 0, as what
        /// stands in no entry is.
        #[test]
        fn it_finds_what_is_there_and_nothing_else(
            steps in proptest::collection::vec((0u8..20, 0u64..32, 0u64..40), 0..400),
        ) {
            let mut index = Index::default();
            let mut there: BTreeMap<u32, u64> = BTreeMap::new();
            let mut next = 0;
            for (step, home, other) in steps {
                let hash = home << 27 | other << 57;
                match step {
                    0..12 => {
                        index.insert(KeyHash(hash), next);
                        there.insert(next, hash);
                        next += 1;
                    }
                    12..18 => {
                        let row = other as u32;
                        let hash = there.remove(&row).unwrap_or(hash);
                        index.remove(KeyHash(hash), row);
                    }
                    18 => index.shrink_to_fit(),
                    _ => index.reserve(there.len() + 100),
                }
                prop_assert_eq!(index.len(), there.len());
                let is_there = there.values().any(|h| *h == hash);
                let candidate = index.candidate(KeyHash(hash));
                prop_assert_eq!(candidate != NONE, is_there);
                prop_assert!(!is_there || there.get(&candidate) == Some(&hash));
            }
            for (row, hash) in &there {
                prop_assert_eq!(index.find(KeyHash(*hash), |other| other == *row), Some(*row));
            }
            index.warm(there.values().map(|hash| KeyHash(*hash)));
            let mut rows: Vec<u32> = index.iter_mut().map(|row| *row).collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, there.keys().copied().collect::<Vec<_>>());
            for (row, hash) in there {
                index.remove(KeyHash(hash), row);
            }
            let left = index.lines.iter().map(|line| (line.len, line.passed)).max();
            prop_assert!(index.len() == 0 && left.unwrap_or_default() == (0, 0));
        }
    }
}
