//! How much one request asks for or carries: so much that it is answered whole, and within the client's time-out.
//!
//! ```text
//! entries of a state ─► as large as its last answers had them ─┐
//! parts of a value ───► as large as the first one ─────────────┴─► at most 900 KB a request
//! no answer ──────────► half as many the next time
//! ```
//! Owns the bound, what entries of each state take, and the halves. Numbers of keys and statements that
//! DynamoDB takes are `read`'s and `write`'s.

use std::collections::HashMap;

use super::item::{self, Attributes, PART};
use super::meter;
use super::retry::{Failure, Reach};

/// Bytes that a request asks for or carries at most, as far as they are known: two of the largest items. AWS
/// answers with no more than 1 MB from a partition, and leaves the rest; a line of 1.5 Mbit/s needs some 7 s for so
/// much, in base64.
pub(super) const REQUEST_BYTES: usize = 900_000;

/// Of an older mean, what is kept when an answer has smaller items.
const KEPT: f64 = 0.8;

/// How many bytes the entries of each state take.
#[derive(Debug, Default)]
pub(super) struct Sizes(HashMap<String, f64>);

impl Sizes {
    /// About how many bytes an entry under `pk` takes; 0 where none was read yet.
    pub(super) fn typical(&self, pk: &str) -> usize {
        let mean = meter::owner_of(pk).and_then(|owner| self.0.get(owner));
        mean.map_or(0, |mean| *mean as usize)
    }

    /// Learns from an answer. Larger ones count at once, since a request that is too large is the dearer error.
    pub(super) fn learn(&mut self, found: &[Attributes]) {
        // A request is about few states.
        let mut sums: Vec<(&str, usize, usize)> = Vec::new();
        for item in found.iter().filter(|item| !item.contains_key(PART)) {
            let Some(owner) = meter::owner_of(super::read::pk_of(item)) else { continue };
            let bytes = item::size_of(item);
            match sums.iter_mut().find(|(name, ..)| *name == owner) {
                Some((_, items, sum)) => (*items, *sum) = (*items + 1, *sum + bytes),
                None => sums.push((owner, 1, bytes)),
            }
        }
        for (owner, items, sum) in sums {
            let seen = sum as f64 / items as f64;
            match self.0.get_mut(owner) {
                Some(mean) => *mean = seen.max(KEPT * *mean + (1.0 - KEPT) * seen),
                None => drop(self.0.insert(owner.to_owned(), seen)),
            }
        }
    }
}

/// How many of what is left of a batch the next request has.
#[derive(Debug)]
pub(super) struct Portion {
    most: usize,
    each: usize,
}

impl Portion {
    /// Of a batch of which each has about `each` bytes; 0: that is not known.
    pub(super) fn new(each: usize) -> Self {
        Self { most: usize::MAX, each }
    }

    /// Of so many that are left; one at least.
    pub(super) fn of(&self, left: usize) -> usize {
        left.min(self.most).min(REQUEST_BYTES / self.each.max(1)).max(1)
    }

    /// A request for `asked` failed. Where no answer came it may have been too large for its line, and the same one
    /// would be so for ever: no later one is larger than half of it.
    pub(super) fn failed(&mut self, asked: usize, failure: &Failure) {
        match failure.reach {
            Reach::Unanswered => self.most = self.most.min((asked / 2).max(1)),
            Reach::NotMade | Reach::NotSent | Reach::Answered(_) => {}
        }
    }

    /// An answer had so many items, of so many bytes.
    pub(super) fn answered(&mut self, items: usize, bytes: usize) {
        self.each = self.each.max(bytes / items.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::item::{ONLY, binary, key_of, number};

    fn entry(state: &str, bytes: usize) -> Attributes {
        let mut item = key_of(format!("job/1/s/operator/{state}#3"), ONLY);
        item.insert("v".to_owned(), binary(&vec![0; bytes]));
        item
    }

    #[test]
    fn each_state_has_its_size_and_a_larger_one_counts_at_once() {
        let mut sizes = Sizes::default();
        let of = |sizes: &Sizes, state| sizes.typical(&format!("job/1/s/operator/{state}#90"));
        sizes.learn(&[entry("a", 1_000), entry("b", 90_000), entry("a", 3_000)]);
        assert!((2_000..2_100).contains(&of(&sizes, "a")), "{sizes:?}");
        assert!((90_000..90_100).contains(&of(&sizes, "b")), "{sizes:?}");
        assert_eq!(of(&sizes, "c"), 0);

        sizes.learn(&[entry("a", 50_000), entry("b", 1_000)]);
        assert!((50_000..50_100).contains(&of(&sizes, "a")), "{sizes:?}");
        assert!((72_000..72_300).contains(&of(&sizes, "b")), "{sizes:?}");
    }

    /// They are as large as can be, and known before they are asked for.
    #[test]
    fn parts_of_values_say_nothing_of_entries() {
        let mut sizes = Sizes::default();
        let mut part = entry("a", 400_000);
        part.insert(PART.to_owned(), number(1));
        sizes.learn(&[part, entry("a", 10)]);
        assert!(sizes.typical("job/1/s/operator/a#3") < 100, "{sizes:?}");
    }

    #[test]
    fn without_an_answer_half_is_asked_for_and_an_error_is_one() {
        let mut portion = Portion::new(0);
        assert_eq!(portion.of(100), 100);
        portion.failed(100, &Failure::inside("InternalServerError", ""));
        assert_eq!(portion.of(100), 100);
        let lost = Failure { reach: Reach::Unanswered, ..Failure::inside("", "") };
        portion.failed(100, &lost);
        assert_eq!(portion.of(100), 50);
        (0..9).for_each(|_| portion.failed(portion.of(100), &lost));
        assert_eq!(portion.of(100), 1);
    }

    #[test]
    fn what_was_answered_bounds_what_is_asked_for_next() {
        let mut portion = Portion::new(100_000);
        assert_eq!(portion.of(100), 9);
        portion.answered(5, 1_000_000);
        assert_eq!(portion.of(100), 4);
        portion.answered(0, 0);
        assert_eq!((portion.of(100), portion.of(2)), (4, 2));
    }
}
