//! What is known of a row's entries that are not in memory.
//!
//! Owns that knowledge for one row and one state. Entries in memory are `sub_column`'s.

use crate::codec::Key;

/// A range of encoded sub keys: the first, and the first that is not in it; `None`: to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubRange {
    pub(super) from: Vec<u8>,
    pub(super) to: Option<Vec<u8>>,
}

impl SubRange {
    /// Everything that begins with `prefix`.
    pub(super) fn of_prefix(prefix: Vec<u8>) -> Self {
        let to = successor(&prefix);
        Self { from: prefix, to }
    }

    /// Everything in a namespace.
    pub(super) fn of_namespace<N: Key>(namespace: &N) -> Self {
        let mut prefix = Vec::new();
        namespace.encode(&mut prefix);
        Self::of_prefix(prefix)
    }

    fn is_all(&self) -> bool {
        self.from.is_empty() && self.to.is_none()
    }

    fn contains(&self, sub: &[u8]) -> bool {
        sub >= &self.from[..] && self.to.as_ref().is_none_or(|to| sub < &to[..])
    }

    fn encloses(&self, other: &Self) -> bool {
        let ends_later = match (&self.to, &other.to) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(other)) => mine >= other,
        };
        self.from <= other.from && ends_later
    }

    /// Whether nothing is between the two.
    fn touches(&self, other: &Self) -> bool {
        let reaches =
            |to: &Option<Vec<u8>>, from: &[u8]| to.as_ref().is_none_or(|to| &to[..] >= from);
        reaches(&self.to, &other.from) && reaches(&other.to, &self.from)
    }

    /// Takes over another one that it touches.
    fn join(&mut self, other: &mut Self) {
        if other.from < self.from {
            self.from = std::mem::take(&mut other.from);
        }
        self.to = self.to.take().zip(other.to.take()).map(|(to, other)| to.max(other));
    }
}

/// The first bytes after all that begin with `prefix`, if there are any.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// How many ranges are kept for a row beyond the record that needs them, the newest: each is compared at each
/// miss.
const RANGES: usize = 8;

/// What is known of the entries that a row does not have in memory. By default nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// None of them has a value.
    complete: bool,
    /// None of them has an item either, as far as `complete` goes.
    traceless: bool,
    /// Where that is not so for all: ranges within which none of them has a value. No two of them touch; newest last.
    ranges: Option<Box<Ranges>>,
}

#[derive(Clone, Debug, Default)]
struct Ranges(Vec<SubRange>);

impl Known {
    /// Nothing is stored.
    pub(super) fn nothing_stored() -> Self {
        Self { complete: true, traceless: true, ranges: None }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is not in memory surely has no item.
    pub(super) fn is_traceless(&self) -> bool {
        self.complete && self.traceless
    }

    fn any(&self, test: impl Fn(&SubRange) -> bool) -> bool {
        self.complete || self.ranges.as_ref().is_some_and(|ranges| ranges.0.iter().any(test))
    }

    /// Whether an entry that is not in memory surely has no value.
    pub(super) fn contains(&self, sub: &[u8]) -> bool {
        self.any(|range| range.contains(sub))
    }

    /// Whether no entry of `range` that is not in memory has a value.
    pub(super) fn encloses(&self, range: &SubRange) -> bool {
        self.any(|known| known.encloses(range))
    }

    /// All of `range` that has a value is in memory now. `true` where more ranges are known than are kept: a
    /// record that must run again needs every one that it has asked for, so none is forgotten before
    /// [`Known::forget_old`].
    pub(super) fn learn(&mut self, mut range: SubRange, traceless: bool) -> bool {
        let traceless = traceless && range.is_all();
        if self.complete && !range.is_all() {
            return false;
        }
        let ranges = &mut self.ranges.get_or_insert_default().0;
        ranges.retain_mut(|known| {
            let touches = range.touches(known);
            if touches {
                range.join(known);
            }
            !touches
        });
        if range.is_all() {
            *self = Self { complete: true, traceless, ranges: None };
            return false;
        }
        ranges.push(range);
        ranges.len() > RANGES
    }

    /// No record waits for what was learnt: the oldest of too many ranges are forgotten.
    pub(super) fn forget_old(&mut self) {
        if let Some(ranges) = &mut self.ranges {
            let too_many = ranges.0.len().saturating_sub(RANGES);
            ranges.0.drain(..too_many);
        }
    }

    /// An entry that may have an item leaves memory.
    pub(super) fn leave_item(&mut self) {
        self.traceless = false;
    }

    /// An entry with a value leaves memory.
    pub(super) fn leave_value(&mut self, sub: &[u8]) {
        self.complete = false;
        if let Some(ranges) = &mut self.ranges {
            ranges.0.retain(|known| !known.contains(sub));
            if ranges.0.is_empty() {
                self.ranges = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: &[u8], to: Option<&[u8]>) -> SubRange {
        SubRange { from: from.to_vec(), to: to.map(<[u8]>::to_vec) }
    }

    #[test]
    fn a_prefix_ends_where_the_next_one_begins() {
        assert_eq!(SubRange::of_prefix(vec![1, 2]), range(&[1, 2], Some(&[1, 3])));
        assert_eq!(successor(&[1, 0xFF, 0xFF]), Some(vec![2]));
        assert_eq!((successor(&[0xFF]), successor(&[])), (None, None));
    }

    #[test]
    fn ranges_are_known_until_a_value_of_theirs_leaves() {
        let mut known = Known::default();
        assert!(!known.contains(b"b") && !known.is_traceless());
        known.learn(range(b"b", Some(b"d")), true);
        known.learn(range(b"f", None), true);
        assert!(known.contains(b"b") && known.contains(b"cc") && known.contains(b"z"));
        assert!(!known.contains(b"a") && !known.contains(b"d"));
        assert!(known.encloses(&range(b"c", Some(b"d"))) && !known.encloses(&range(b"c", None)));
        assert!(!known.is_complete());
        known.leave_value(b"g");
        assert!(known.contains(b"c") && !known.contains(b"z"));
        known.learn(range(b"", None), false);
        assert!(known.is_complete() && !known.is_traceless() && known.contains(b"a"));
        known.leave_value(b"a");
        assert!(!known.contains(b"b"), "what was a range of its own is one no more");
    }

    /// They used to be forgotten at once, and a record that needed one more than are kept read for ever.
    #[test]
    fn the_oldest_of_too_many_ranges_is_forgotten_but_not_while_a_record_needs_it() {
        let mut known = Known::default();
        for from in 0..=RANGES as u8 {
            let too_many = known.learn(range(&[from], Some(&[from, 0])), true);
            assert_eq!(too_many, from == RANGES as u8);
        }
        assert!(known.contains(&[0]) && known.contains(&[1]) && known.contains(&[RANGES as u8]));
        known.forget_old();
        assert!(!known.contains(&[0]) && known.contains(&[1]) && known.contains(&[RANGES as u8]));
        assert!(!known.learn(range(&[0], Some(&[RANGES as u8])), true));
        assert_eq!(known.ranges.unwrap().0.len(), 1, "those that it touches become part of it");
    }

    #[test]
    fn ranges_that_touch_become_one() {
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]] {
            let parts = [range(b"", Some(b"c")), range(b"c", Some(b"m")), range(b"k", None)];
            let mut known = Known::default();
            for part in order.map(|n: usize| parts[n].clone()) {
                assert!(!known.is_complete());
                known.learn(part, true);
            }
            assert!(known.is_complete() && !known.is_traceless() && known.contains(b"l"));
        }
        let mut known = Known::default();
        known.learn(range(b"a", Some(b"c")), true);
        known.learn(range(b"d", Some(b"e")), true);
        assert!(!known.contains(b"c") && !known.encloses(&range(b"a", Some(b"e"))));
        known.learn(range(b"c", Some(b"d")), true);
        assert!(known.encloses(&range(b"a", Some(b"e"))) && !known.contains(b"e"));
    }
}
