//! What is known of a row's entries that are not in memory.
//!
//! Owns that knowledge for one row and one state. Entries in memory are `sub_column`'s.

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
}

/// The first bytes after all that begin with `prefix`, if there are any.
pub(super) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// How many ranges are kept for a row, the newest: each is compared at each miss.
const RANGES: usize = 8;

/// What is known of the entries that a row does not have in memory. By default nothing.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// None of them has a value.
    complete: bool,
    /// None of them has an item either, as far as `complete` goes.
    traceless: bool,
    /// Where that is not so for all: ranges within which none of them has a value.
    ranges: Option<Box<Ranges>>,
}

#[derive(Debug, Default)]
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

    /// All of `range` that has a value is in memory now.
    pub(super) fn learn(&mut self, range: SubRange, traceless: bool) {
        if range.is_all() {
            *self = Self { complete: true, traceless, ranges: None };
        } else if !self.complete {
            let ranges = &mut self.ranges.get_or_insert_default().0;
            ranges.retain(|known| !range.encloses(known));
            if ranges.len() == RANGES {
                ranges.remove(0);
            }
            ranges.push(range);
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

    #[test]
    fn the_oldest_of_too_many_ranges_is_forgotten() {
        let mut known = Known::default();
        for from in 0..=RANGES as u8 {
            known.learn(range(&[from], Some(&[from, 0])), true);
        }
        assert!(!known.contains(&[0]) && known.contains(&[1]) && known.contains(&[RANGES as u8]));
        known.learn(range(&[0], Some(&[RANGES as u8])), true);
        assert_eq!(known.ranges.unwrap().0.len(), 2, "those within it need not be kept");
    }
}
