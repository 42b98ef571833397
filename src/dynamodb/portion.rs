//! How much one request asks for or carries: so much that it is answered whole, and within the client's time-out.
//!
//! ```text
//! entries of a state ─► as large as its last answers had them ─┐
//! parts of a value ───► as large as the first one ─────────────┴─► at most 900 KB a request
//! no answer ──────────► half as many the next time, and twice as many after each answer
//! ```
//! Owns the bound, what entries of each state take, and the halves. Numbers of keys and statements that
//! DynamoDB takes are `read`'s and `write`'s.

use std::collections::HashMap;

use super::item::{Attributes, PART};
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
    /// About how many bytes an entry of `owner` takes; 0 where none was read yet.
    pub(super) fn typical(&self, owner: &str) -> usize {
        self.0.get(owner).map_or(0, |mean| *mean as usize)
    }

    /// Learns from an answer. Larger ones count at once, since a request that is too large is the dearer error.
    pub(super) fn learn(&mut self, entries: &[Entries<'_>]) {
        for Entries { owner, items, bytes } in entries {
            let seen = *bytes as f64 / *items as f64;
            match self.0.get_mut(*owner) {
                Some(mean) => *mean = seen.max(KEPT * *mean + (1.0 - KEPT) * seen),
                None => drop(self.0.insert((*owner).to_owned(), seen)),
            }
        }
    }
}

/// The entries of one state in an answer.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    owner: &'a str,
    items: usize,
    bytes: usize,
}

/// The entries that were `found`, by their states; `sizes` has the bytes of each.
pub(super) fn entries_of<'a>(found: &'a [Attributes], sizes: &[usize]) -> Vec<Entries<'a>> {
    // A request is about few states.
    let mut entries: Vec<Entries<'a>> = Vec::new();
    for (item, bytes) in found.iter().zip(sizes).filter(|(item, _)| !item.contains_key(PART)) {
        let Some(owner) = meter::owner_of(super::read::pk_of(item)) else { continue };
        match entries.iter_mut().find(|known| known.owner == owner) {
            Some(known) => {
                known.items += 1;
                known.bytes += bytes;
            }
            None => entries.push(Entries { owner, items: 1, bytes: *bytes }),
        }
    }
    entries
}

/// How many of what is left of a batch the next request has.
#[derive(Debug)]
pub(super) struct Portion {
    most: usize,
    /// What `most` grows to.
    top: usize,
    /// The last request was answered.
    is_answered: bool,
    each: usize,
}

impl Portion {
    /// Of a batch of which each has about `each` bytes; 0: that is not known.
    pub(super) fn new(each: usize) -> Self {
        Self { most: usize::MAX, top: usize::MAX, is_answered: false, each }
    }

    /// Of so many that are left; one at least.
    pub(super) fn of(&self, left: usize) -> usize {
        left.min(self.most).min(REQUEST_BYTES / self.each.max(1)).max(1)
    }

    /// A request for `asked` failed. Where no answer came it may have been too large for its line, and the same one
    /// would be so for ever: the next one is half of it. Where that was right after an answer, no later one is larger;
    /// several in a row may have met an outage, of which sizes tell nothing.
    pub(super) fn failed(&mut self, asked: usize, failure: &Failure) {
        match failure.reach {
            Reach::Unanswered => {
                self.most = self.most.min((asked / 2).max(1));
                if self.is_answered {
                    self.top = self.most;
                }
                self.is_answered = false;
            }
            Reach::NotMade | Reach::NotSent | Reach::Answered(_) => {}
        }
    }

    /// An answer had so many items, of so many bytes: the next request may have twice as many.
    pub(super) fn answered(&mut self, items: usize, bytes: usize) {
        self.each = self.each.max(bytes / items.max(1));
        self.most = self.most.saturating_mul(2).min(self.top);
        self.is_answered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamodb::item::{self, ONLY, binary, key_of, number};

    fn entry(state: &str, bytes: usize) -> Attributes {
        let mut item = key_of(format!("job/1/s/operator/{state}#3"), ONLY);
        item.insert("v".to_owned(), binary(&vec![0; bytes]));
        item
    }

    fn learn(sizes: &mut Sizes, found: &[Attributes]) {
        let bytes: Vec<usize> = found.iter().map(item::size_of).collect();
        sizes.learn(&entries_of(found, &bytes));
    }

    #[test]
    fn each_state_has_its_size_and_a_larger_one_counts_at_once() {
        let mut sizes = Sizes::default();
        let of = |sizes: &Sizes, state| sizes.typical(&format!("operator/{state}"));
        learn(&mut sizes, &[entry("a", 1_000), entry("b", 90_000), entry("a", 3_000)]);
        assert!((2_000..2_100).contains(&of(&sizes, "a")), "{sizes:?}");
        assert!((90_000..90_100).contains(&of(&sizes, "b")), "{sizes:?}");
        assert_eq!(of(&sizes, "c"), 0);

        learn(&mut sizes, &[entry("a", 50_000), entry("b", 1_000)]);
        assert!((50_000..50_100).contains(&of(&sizes, "a")), "{sizes:?}");
        assert!((72_000..72_300).contains(&of(&sizes, "b")), "{sizes:?}");
    }

    /// They are as large as can be, and known before they are asked for.
    #[test]
    fn parts_of_values_say_nothing_of_entries() {
        let mut sizes = Sizes::default();
        let mut part = entry("a", 400_000);
        part.insert(PART.to_owned(), number(1));
        learn(&mut sizes, &[part, entry("a", 10)]);
        assert!(sizes.typical("operator/a") < 100, "{sizes:?}");
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

    /// It used to be one at a time for good.
    #[test]
    fn after_an_outage_it_grows_back_but_not_to_what_a_slow_line_does_not_carry() {
        let lost = Failure { reach: Reach::Unanswered, ..Failure::inside("", "") };
        let mut portion = Portion::new(0);
        (0..9).for_each(|_| portion.failed(portion.of(100), &lost));
        let answered = |portion: &mut Portion| {
            portion.answered(0, 0);
            portion.of(100)
        };
        let grown: Vec<usize> = (0..8).map(|_| answered(&mut portion)).collect();
        assert_eq!(grown, [2, 4, 8, 16, 32, 64, 100, 100]);

        portion.failed(64, &lost);
        assert_eq!(portion.of(100), 32);
        portion.failed(32, &lost);
        assert_eq!(portion.of(100), 16);
        assert_eq!([answered(&mut portion), answered(&mut portion)], [32, 32]);
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
