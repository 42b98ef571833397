//! What the keys of a graph look like: numbers, texts of which some are longer than a sort key, or nothing.
//!
//! Owns the way from a key's number in the input to the key. Input, output and references have the
//! numbers, so that a graph is the same whatever its keys look like.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Event;
use crate::codec::Key;
use crate::key_group::{KeyGroup, MaxParallelism};
use crate::simulation::draw::{MAX_PARALLELISM, one_of};
use crate::state::SubKey;

/// Keys that a graph's events have at most, and so the labels that there are.
const KEYS: u64 = 40;

/// Records of a split at most where keys are texts: with segments of 20 bytes each change of a long one's state is
/// fifty of them.
const RECORDS: usize = 50;

/// How many bytes the common beginning of long texts has, at least and at most: of some seeds some keys fit
/// as they are, of others none, of others again the beginning alone is too long.
const BEGINNING: std::ops::RangeInclusive<usize> = 980..=1060;

/// What a seed's keys look like.
pub(super) enum Look {
    /// As the input has them.
    Numbers,
    /// Texts; the long ones all begin alike, so that in the table only a hash tells them apart.
    Texts(Labels<String>),
    /// All records have one key, whose encoding has no bytes.
    Nothing,
}

impl Look {
    /// Drawn from where the seed's draws stand, and none of them: those that follow do not depend on it.
    pub(super) fn draw(random: &StdRng) -> Self {
        let mut random = StdRng::seed_from_u64(random.clone().random());
        match random.random_range(0..100) {
            0..60 => Self::Numbers,
            60..92 => Self::Texts(Labels::texts(&mut random)),
            _ => Self::Nothing,
        }
    }
}

/// The keys, by their numbers.
#[derive(Clone, Debug)]
pub(super) struct Labels<K>(Arc<[K]>);

impl<K: SubKey> Labels<K> {
    /// The key of a number.
    pub(super) fn of(&self, number: u64) -> &K {
        &self.0[number as usize % self.0.len()]
    }

    /// How many bytes of `bytes` are one of these, at their beginning.
    pub(super) fn bytes_at(&self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        match K::decode(&mut rest) {
            Ok(_) => bytes.len() - rest.len(),
            Err(_) => bytes.len(),
        }
    }
}

impl Labels<u64> {
    /// Each number itself.
    pub(super) fn numbers() -> Self {
        Self((0..KEYS).collect())
    }
}

impl Labels<()> {
    /// The same for all.
    pub(super) fn nothing() -> Self {
        Self(Arc::new([()]))
    }
}

impl Labels<String> {
    /// Three are long, of which one is the beginning of the others, and all of one key group: else nothing of
    /// theirs would meet in the table. The rest is what a text can be.
    fn texts(random: &mut StdRng) -> Self {
        let letter = one_of(random, &["x", "é", "日", "\u{1F600}"]);
        let beginning = letter.repeat(random.random_range(BEGINNING) / letter.len());
        let longer = (0..).map(|n| format!("{beginning}{n}"));
        let mut longer = longer.filter(|text| group_of(text) == group_of(&beginning));
        let text = |number: u64| match (number, number % 3) {
            (0, _) => String::new(),
            (1, _) => beginning.clone(),
            (2 | 5, _) => longer.next().unwrap_or_default(),
            (_, 0) => format!("Grüße \u{10FFFF}{number}"),
            (_, 1) => format!("\0{number}"),
            (..) => number.to_string(),
        };
        Self((0..KEYS).map(text).collect())
    }

    /// What a long one takes in memory, in bytes.
    pub(super) fn longest(&self) -> u64 {
        self.0.iter().map(String::len).max().unwrap_or_default() as u64
    }
}

fn group_of(key: &String) -> Option<KeyGroup> {
    MaxParallelism::new(MAX_PARALLELISM).ok().map(|groups| groups.group_of(key.key_hash()))
}

/// No more events than are cheap.
pub(super) fn some_of(mut splits: Vec<Vec<Event>>) -> Vec<Vec<Event>> {
    splits.iter_mut().for_each(|split| split.truncate(RECORDS));
    splits
}

/// Events that all have the key of [`Labels::nothing`].
pub(super) fn of_one_key(splits: Vec<Vec<Event>>) -> Vec<Vec<Event>> {
    let of_one = |split: Vec<Event>| split.into_iter().map(|(_, value)| (0, value)).collect();
    splits.into_iter().map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(key: &impl Key) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes
    }

    #[test]
    fn texts_are_told_apart_and_the_long_ones_of_some_seeds_by_their_hash_alone() {
        let mut by_hash = 0;
        for seed in 0..50 {
            let labels = Labels::texts(&mut StdRng::seed_from_u64(seed));
            let mut all: Vec<Vec<u8>> = (0..KEYS).map(|n| encoded(labels.of(n))).collect();
            assert_eq!(labels.bytes_at(&[&all[5][..], b"more"].concat()), all[5].len());
            let long = [1, 2, 5].map(|number| labels.of(number));
            assert!(long.iter().all(|text| group_of(text) == group_of(long[0])));
            let long = [1, 2, 5].map(|number| all[number].clone());
            // No more of a key is in its place, before a hash.
            let is_alike = |key: &Vec<u8>| key.len() > 1019 && key[..1004] == long[0][..1004];
            by_hash += usize::from(long.iter().all(is_alike));
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len() as u64, KEYS);
        }
        assert!((10..=45).contains(&by_hash), "{by_hash} of 50");
    }

    #[test]
    fn what_is_drawn_after_it_does_not_depend_on_it() {
        let (mut looked, mut other) = (StdRng::seed_from_u64(7), StdRng::seed_from_u64(7));
        let seen: Vec<Look> = (0..3).map(|_| Look::draw(&looked)).collect();
        assert_eq!(seen.len(), 3);
        assert_eq!(looked.random::<u64>(), other.random::<u64>());
    }
}
