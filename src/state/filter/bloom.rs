//! A Bloom filter of 64-bit hashes, one cache line a look-up.
//!
//! Owns the bits. Knows nothing of items or chunks; what is added stays.
//!
//! A *split block* filter, as Parquet files have it: the upper half of a hash chooses a block of 256 bits,
//! the lower half one bit in each of its eight words. `docs/design/0004-filter.md` compares it with crates.

/// Eight words of 32 bits, within one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
struct Block([u32; 8]);

/// One odd number a word, those of the published format.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// Bits for each hash of a full filter: then 1 or 2 in a thousand unknown hashes seem known.
const BITS_PER_HASH: u64 = 16;

const BLOCK_BYTES: u64 = size_of::<Block>() as u64;

/// Blocks that are looked at for an estimate.
const SAMPLE: usize = 4096;

/// A set of hashes that may seem to hold others too.
#[derive(Clone, Debug)]
pub(super) struct Bloom {
    blocks: Vec<Block>,
    /// How many hashes changed anything.
    held: u64,
    /// How many were added, the same ones again included.
    added: u64,
}

impl Block {
    #[inline]
    fn mask(hash: u64) -> [u32; 8] {
        SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
    }

    #[inline]
    fn contains(&self, hash: u64) -> bool {
        let missing = self.0.iter().zip(Self::mask(hash)).map(|(word, bit)| !word & bit);
        missing.fold(0, |all, one| all | one) == 0
    }

    /// The chance that an unknown hash of this block seems known.
    fn false_positives(&self) -> f64 {
        // Asked of all blocks of a sample at each report; most of a filter that holds little are empty.
        if self.0 == [0; 8] {
            return 0.0;
        }
        self.0.iter().map(|word| f64::from(word.count_ones()) / 32.0).product()
    }
}

impl Bloom {
    /// An empty one of about `bytes`: of a number of blocks that can be folded, unless it is tiny.
    pub(super) fn of_bytes(bytes: u64) -> Self {
        let blocks = (bytes / BLOCK_BYTES).clamp(1, u64::from(u32::MAX));
        let blocks = if blocks < 64 { blocks } else { blocks & !7 };
        Self { blocks: vec![Block::default(); blocks as usize], held: 0, added: 0 }
    }

    /// Bytes of one that is full with `hashes`.
    pub(super) fn bytes_for(hashes: u64) -> u64 {
        hashes.saturating_mul(BITS_PER_HASH) / 8
    }

    #[inline]
    fn block_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Adds a hash.
    pub(super) fn insert(&mut self, hash: u64) {
        let at = self.block_of(hash);
        let block = &mut self.blocks[at];
        self.held += u64::from(!block.contains(hash));
        self.added += 1;
        block.0.iter_mut().zip(Block::mask(hash)).for_each(|(word, bit)| *word |= bit);
    }

    /// Whether `hash` may have been added; never `false` for one that was.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        self.blocks[self.block_of(hash)].contains(hash)
    }

    /// Lays blocks that are next to each other on top of one another, `times` each, which leaves it that much
    /// smaller and less exact; whether that was possible.
    pub(super) fn fold(&mut self, times: usize) -> bool {
        if !self.can_fold(times) {
            return false;
        }
        let folded = self.blocks.chunks(times).map(|together| {
            let words = |i: usize| together.iter().fold(0, |word, block| word | block.0[i]);
            Block(std::array::from_fn(words))
        });
        self.blocks = folded.collect();
        true
    }

    /// Whether [`Bloom::fold`] is possible.
    pub(super) fn can_fold(&self, times: usize) -> bool {
        self.blocks.len() >= times && self.blocks.len().is_multiple_of(times)
    }

    /// How many different hashes it holds, a little less than were added.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// How many different hashes were added, at the most. One that holds more than twice what fills it takes many new
    /// hashes for known, and the less it holds of what was added the more that is: then the same ones again are not told
    /// apart.
    pub(super) fn hashes(&self) -> u64 {
        let is_exact = Self::bytes_for(self.held) <= 2 * self.bytes();
        if is_exact { self.held } else { self.added }
    }

    /// Whether more would make too many unknown hashes seem known.
    pub(super) fn is_full(&self) -> bool {
        Self::bytes_for(self.held) > self.bytes()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK_BYTES
    }

    /// The share of unknown hashes that seem known, estimated from how full some blocks are.
    pub(super) fn false_positives(&self) -> f64 {
        let sample = &self.blocks[..self.blocks.len().min(SAMPLE)];
        sample.iter().map(Block::false_positives).sum::<f64>() / sample.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh64::xxh64;

    use super::*;

    fn hash(n: u64) -> u64 {
        xxh64(&n.to_le_bytes(), 7)
    }

    #[test]
    fn what_was_added_is_never_denied() {
        for bytes in [0, 32, 1000, 100_000] {
            let mut bloom = Bloom::of_bytes(bytes);
            (0..20_000).for_each(|n| bloom.insert(hash(n)));
            assert!((0..20_000).all(|n| bloom.may_contain(hash(n))), "{bytes} bytes");
        }
        let mut ends = Bloom::of_bytes(64);
        [0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX)].iter().for_each(|&h| ends.insert(h));
        assert!(ends.may_contain(u64::MAX) && ends.may_contain(0));
    }

    #[test]
    fn a_full_one_takes_few_unknown_hashes_for_known_and_says_how_many() {
        let mut bloom = Bloom::of_bytes(Bloom::bytes_for(50_000));
        assert_eq!(bloom.false_positives(), 0.0);
        (0..50_000).for_each(|n| bloom.insert(hash(n)));
        let wrong = (1_000_000..1_200_000).filter(|&n| bloom.may_contain(hash(n))).count();
        let share = wrong as f64 / 200_000.0;
        assert!(share < 0.003, "{share}");
        let told = bloom.false_positives();
        assert!((share / 1.5..share * 1.5).contains(&told), "{told} instead of {share}");
    }

    #[test]
    fn a_folded_one_still_knows_what_was_added() {
        let mut bloom = Bloom::of_bytes(Bloom::bytes_for(20_000));
        (0..20_000).for_each(|n| bloom.insert(hash(n)));
        let before = bloom.bytes();
        assert!(bloom.fold(4));
        assert_eq!(bloom.bytes(), before / 4);
        assert!((0..20_000).all(|n| bloom.may_contain(hash(n))));
        let wrong = (1_000_000..1_010_000).filter(|&n| bloom.may_contain(hash(n))).count();
        assert!(wrong < 6000, "{wrong} of 10,000");
        assert!(!Bloom::of_bytes(96).fold(4));
    }

    /// Of very many it takes most for known, so that it does not tell how many there were.
    #[test]
    fn one_that_holds_far_too_much_counts_what_was_added() {
        let mut bloom = Bloom::of_bytes(Bloom::bytes_for(1000));
        (0..3).for_each(|_| (0..1100).for_each(|n| bloom.insert(hash(n))));
        assert_eq!(bloom.hashes(), bloom.held(), "the same ones again count once");
        (0..30_000).for_each(|n| bloom.insert(hash(n)));
        assert!(bloom.held() < 10_000, "{}", bloom.held());
        assert_eq!(bloom.hashes(), 33_300);
    }

    #[test]
    fn it_is_full_with_what_it_is_sized_for_and_the_same_hash_counts_once() {
        let mut bloom = Bloom::of_bytes(Bloom::bytes_for(10_000));
        (0..5).for_each(|_| (0..9000).for_each(|n| bloom.insert(hash(n))));
        assert!(!bloom.is_full() && (8900..=9000).contains(&bloom.held()), "{}", bloom.held());
        (9000..10_100).for_each(|n| bloom.insert(hash(n)));
        assert!(bloom.is_full());
    }
}
