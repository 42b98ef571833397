//! Numbers in the order of what they stand for.
//!
//! Owns that order alone: a list of blocks, so that an insertion moves at most one block's numbers. What
//! the numbers stand for is asked of the caller, whose comparison needs no key of its own: a search for a
//! pair of a namespace and a map key clones neither. A tree would keep each key a second time.

use std::cmp::Ordering;

use super::compact::Moves;

/// Most numbers of a block: 2 KiB, moved in some 50 ns.
const BLOCK: usize = 512;

/// Numbers in order. An `order` below says how what a number stands for compares to what is looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Sorted {
    /// None of them is empty.
    blocks: Vec<Vec<u32>>,
}

/// A position between two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    block: usize,
    at: usize,
}

impl Sorted {
    /// The numbers of which `order` does not say *less*, in order.
    pub(super) fn from(&self, order: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (Ok(start) | Err(start)) = self.search(order);
        let blocks = self.blocks.get(start.block..).unwrap_or(&[]);
        blocks.iter().flatten().copied().skip(start.at)
    }

    /// The numbers of which `order` says *less*, the last one first.
    pub(super) fn before(&self, order: impl Fn(u32) -> Ordering) -> impl Iterator<Item = u32> {
        let (Ok(end) | Err(end)) = self.search(order);
        let last = self.blocks.get(end.block).map_or(&[][..], |block| &block[..end.at]);
        let blocks = self.blocks.get(..end.block).unwrap_or(&[]);
        last.iter().rev().chain(blocks.iter().rev().flat_map(|block| block.iter().rev())).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The number that stands for what is looked for, or where it would be.
    #[inline]
    pub(super) fn find(&self, order: impl Fn(u32) -> Ordering) -> Result<u32, Place> {
        self.search(order).map(|place| self.blocks[place.block][place.at])
    }

    fn search(&self, order: impl Fn(u32) -> Ordering) -> Result<Place, Place> {
        let after = self.blocks.partition_point(|block| order(block[0]) != Ordering::Greater);
        let Some(block) = after.checked_sub(1) else { return Err(Place::default()) };
        match self.blocks[block].binary_search_by(|&number| order(number)) {
            Ok(at) => Ok(Place { block, at }),
            Err(at) => Err(Place { block, at }),
        }
    }

    /// Inserts `number` where [`Sorted::find`] has found that it would be.
    pub(super) fn insert(&mut self, place: Place, number: u32) {
        let Some(block) = self.blocks.get_mut(place.block) else {
            self.blocks.reserve_exact(1);
            self.blocks.push(vec![number]);
            return;
        };
        block.insert(place.at, number);
        if block.len() > BLOCK {
            let half = block.split_off(BLOCK / 2);
            self.blocks.insert(place.block + 1, half);
        }
    }

    /// What the numbers stand for has others now.
    pub(super) fn renumber(&mut self, moves: &Moves) {
        moves.renumber(self.blocks.iter_mut().flatten());
    }

    /// Takes out what is looked for; whether it was there.
    pub(super) fn remove(&mut self, order: impl Fn(u32) -> Ordering) -> bool {
        let Ok(Place { block, at }) = self.search(order) else { return false };
        self.blocks[block].remove(at);
        let left = self.blocks[block].len();
        if left == 0 {
            self.blocks.remove(block);
        } else if self.blocks.get(block + 1).is_some_and(|next| left + next.len() < BLOCK / 4) {
            let next = self.blocks.remove(block + 1);
            self.blocks[block].extend(next);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn check(steps: &[(bool, u32)]) {
        let (mut sorted, mut model) = (Sorted::default(), BTreeSet::new());
        for &(insert, n) in steps {
            let order = |other: u32| other.cmp(&n);
            match sorted.find(order) {
                Ok(found) => {
                    assert!(found == n && model.contains(&n));
                    if !insert {
                        assert!(sorted.remove(order) && model.remove(&n));
                    }
                }
                Err(place) => {
                    assert!(!model.contains(&n));
                    if insert {
                        sorted.insert(place, n);
                        model.insert(n);
                    } else {
                        assert!(!sorted.remove(order));
                    }
                }
            }
            let from: Vec<u32> = sorted.from(order).collect();
            assert_eq!(from, model.range(n..).copied().collect::<Vec<_>>());
            let before: Vec<u32> = sorted.before(order).collect();
            assert_eq!(before, model.range(..n).rev().copied().collect::<Vec<_>>());
            assert_eq!(sorted.is_empty(), model.is_empty());
        }
    }

    proptest! {
        #[test]
        fn it_equals_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..80)) {
            check(&steps);
        }
    }

    #[test]
    fn thousands_stay_in_order_while_blocks_split_and_join() {
        let scattered = |i: u32| i.wrapping_mul(7919) % 3001;
        let insert = (0..3001).map(|i| (true, scattered(i)));
        let remove = (0..2990).map(|i| (false, scattered(i * 13)));
        let steps: Vec<_> = insert.chain(remove).collect();
        let (mut sorted, mut model) = (Sorted::default(), BTreeSet::new());
        for (insert, n) in steps {
            match sorted.find(|other| other.cmp(&n)) {
                Err(place) if insert => sorted.insert(place, n),
                _ => drop(sorted.remove(|other| other.cmp(&n))),
            }
            if insert {
                model.insert(n)
            } else {
                model.remove(&n)
            };
        }
        let all: Vec<u32> = sorted.from(|_| Ordering::Greater).collect();
        assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        let all_backwards: Vec<u32> = sorted.before(|_| Ordering::Less).collect();
        assert!(all_backwards.iter().rev().eq(&all));
        assert!(sorted.blocks.len() <= 2, "{} blocks", sorted.blocks.len());
    }
}
