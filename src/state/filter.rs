//! Which entries have an item: the filter that saves reads of what was never stored.
//!
//! Owns the hashes, the bits that answer, and their building and growth. Reading chunks from the table is
//! `task`'s; what an answer means is decided in `admission`.
//!
//! Each entry's hash is added when the first put of its item is handed out, to the bits and to a chunk
//! ([`chunks`]). A chunk is an entry of the operator's hidden state [`STATE`], so it is logged at the
//! next barrier, materialised, replayed and rolled back as all entries are. The horizon passes an entry
//! once its put was answered, which is after the put was handed out; so the barrier that fixes a horizon
//! also freezes every hash that it needs.
//!
//! ```text
//!   put handed out ──► open chunk ──► log ──► item      bits: memory only, rebuilt of chunks
//!                └──► bits                              after a restart, and twice as large
//!                                                       when they are full
//! ```
//! Where the bits say that an entry has no item, it has none. Where they say that it may, it is read.

mod bloom;
pub(super) mod chunks;
mod keyed;

use std::collections::BTreeSet;

use hashbrown::HashSet;
use xxhash_rust::xxh64::xxh64;

use bloom::Bloom;
use chunks::{ChunkId, Chunks};

pub use keyed::{FilterChunks, FilterScan};

use crate::ids::Name;
use crate::key_group::{KeyGroup, KeyGroupRange};

/// The hidden state of an operator that holds its filter's chunks. Users' states have no such name.
pub const STATE: &str = ".filter";

/// By how much old bits are folded to make room for the last new ones.
const FOLDS: u64 = 4;

/// How large a filter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterConfig {
    /// The most memory for its bits; 0: there is no filter.
    pub max_bytes: u64,
    /// Bytes of the first bits.
    pub first_bytes: u64,
    /// Hashes of a full chunk.
    pub chunk_hashes: usize,
}

impl FilterConfig {
    /// No filter at all.
    pub const OFF: Self = Self { max_bytes: 0, first_bytes: 0, chunk_hashes: 1 };
}

/// How to tell the hashes of one state's entries from those of others. They depend on names, so that
/// states may be registered in another order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salts {
    entry: u64,
    key: u64,
}

impl Salts {
    pub(super) fn of(state: &Name) -> Self {
        let of = |what| xxh64(state.as_str().as_bytes(), what);
        Self { entry: of(1), key: of(2) }
    }

    /// The hash of an entry with this key in the log.
    #[inline]
    pub(super) fn entry(self, key: &[u8]) -> u64 {
        xxh64(key, self.entry)
    }

    /// The hash that says of a row's key that some entry of it with a sub key has an item.
    #[inline]
    pub(super) fn any_of_key(self, key: &[u8]) -> u64 {
        xxh64(key, self.key)
    }
}

/// The hash of an item, for one who looks at a table from outside.
#[cfg(any(test, feature = "test-kit"))]
pub(crate) fn item_hash(state: &Name, sort_key: &[u8]) -> u64 {
    Salts::of(state).entry(sort_key)
}

/// The key group of the chunk with this key, for one who looks at a table from outside.
#[cfg(any(test, feature = "test-kit"))]
pub(crate) fn chunk_group(sort_key: &[u8]) -> Result<KeyGroup, crate::codec::DecodeError> {
    ChunkId::decode(sort_key).map(|id| id.group)
}

/// The hashes in a chunk, for one who looks at a table from outside.
#[cfg(any(test, feature = "test-kit"))]
pub(crate) fn chunk_hashes(value: &[u8]) -> Result<Vec<u64>, crate::codec::DecodeError> {
    chunks::decode(value)
}

/// Bits that are being filled with what is in memory, what is added meanwhile, and what the table has.
#[derive(Debug)]
struct Build {
    /// `None` until the first key group tells about how many hashes there are. Where others have far more, these bits
    /// are full before they are complete, and the next ones are built of what they have counted.
    bits: Option<Bloom>,
    /// What belongs into the bits, until there are some; no more than they may take.
    early: Vec<u64>,
    max_bytes: u64,
    /// Of the key groups before this one all chunks are taken over.
    next: KeyGroup,
    /// Those behind it of which they are, too.
    ended: BTreeSet<KeyGroup>,
    /// The one whose chunks are to be read next.
    to_read: Option<KeyGroup>,
}

/// The filter of one operator in one subtask.
#[derive(Debug)]
pub(super) struct Filter {
    range: KeyGroupRange,
    pub(super) chunks: Chunks,
    salts: Vec<Salts>,
    config: FilterConfig,
    /// Whether there may be items whose hash is in no chunk: then it never answers.
    is_partial: bool,
    /// What answers.
    bits: Option<Bloom>,
    build: Option<Build>,
    /// Its chunks could not be read.
    has_failed: bool,
    /// Key groups that had chunks in the log: of the others, what is read at the restore is all there is.
    replayed: HashSet<KeyGroup>,
    /// The stamp of the checkpoint that was restored.
    restored: u32,
    /// Reads that it saved.
    pub(super) saved: u64,
    /// Only the tooth that saves hashes late has any.
    late: Vec<(KeyGroup, u64)>,
}

impl Filter {
    /// For the states of `salts`, restored to the checkpoint of `restored`, whose manifest says whether it
    /// `is_partial`.
    pub(super) fn new(
        range: KeyGroupRange,
        salts: Vec<Salts>,
        config: FilterConfig,
        (is_partial, restored): (bool, u32),
    ) -> Self {
        Self {
            range,
            chunks: Chunks::of(config.chunk_hashes),
            salts,
            config,
            is_partial,
            bits: None,
            build: None,
            has_failed: false,
            replayed: HashSet::new(),
            restored,
            saved: 0,
            late: Vec::new(),
        }
    }

    /// All chunks of the log after `horizon` are replayed. Where no item can exist, it answers from now on.
    pub(super) fn begin(&mut self, items_sent: bool, horizon: u32) {
        self.replayed = self.chunks.groups().collect();
        if !self.is_used() {
        } else if items_sent {
            self.build = Some(self.build(None));
        } else {
            self.bits = Some(Bloom::of_bytes(0));
        }
        self.let_chunks_go(horizon);
    }

    /// What the log has let go of leaves memory, but for chunks that take more, while bits and these take
    /// no more than they may.
    pub(super) fn let_chunks_go(&mut self, horizon: u32) {
        let room = self.config.max_bytes.saturating_sub(self.bits_bytes());
        self.chunks.let_go(horizon, room);
    }

    /// Whether hashes are kept.
    pub(super) fn is_used(&self) -> bool {
        self.config.max_bytes > 0 && !self.is_partial
    }

    /// Whether there may be items whose hash is in no chunk.
    pub(super) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// A put is sent and no hash kept of it.
    pub(super) fn miss(&mut self) {
        self.is_partial = true;
        self.bits = None;
        self.build = None;
    }

    pub(super) fn salts(&self, column: usize) -> Salts {
        self.salts[column]
    }

    /// Whether it answers, if only for some key groups.
    pub(super) fn is_ready(&self) -> bool {
        self.bits.is_some() || self.build.as_ref().is_some_and(|build| build.bits.is_some())
    }

    /// Whether surely nothing of `group` with this hash has an item. After a restore it answers for each key
    /// group as soon as that is read.
    #[inline]
    pub(super) fn denies(&self, hash: u64, group: impl FnOnce() -> KeyGroup) -> bool {
        if let Some(bits) = &self.bits {
            return !bits.may_contain(hash);
        }
        let Some(Build { bits: Some(bits), next, .. }) = &self.build else { return false };
        group() < *next && !bits.may_contain(hash)
    }

    /// Adds a hash to the bits; it must be in a chunk.
    pub(super) fn add(&mut self, hash: u64) {
        if let Some(bits) = &mut self.bits {
            if bits.held() == 0 {
                *bits = Bloom::of_bytes(self.config.first_bytes.min(self.config.max_bytes));
            }
            bits.insert(hash);
        }
        if let Some(build) = &mut self.build {
            build.add(hash);
        }
    }

    /// The next key group whose chunks are to be read for bits that are being built, or should be.
    pub(super) fn next_group(&mut self) -> Option<KeyGroup> {
        if self.build.is_none()
            && self.bits.as_ref().is_some_and(Bloom::is_full)
            && !self.has_failed
            && let Some(bytes) = self.larger()
        {
            self.build = Some(self.build(Some(Bloom::of_bytes(bytes))));
        }
        let (build, last) = (self.build.as_mut()?, self.range.last);
        let group = build.to_read?;
        build.to_read = (group < last).then(|| KeyGroup(group.0 + 1));
        Some(group)
    }

    /// Bits that begin with what is in memory.
    fn build(&self, bits: Option<Bloom>) -> Build {
        let first = self.range.first;
        let (early, max_bytes) = (Vec::new(), self.config.max_bytes);
        let (ended, to_read) = (BTreeSet::new(), Some(first));
        let mut build = Build { bits, early, max_bytes, next: first, ended, to_read };
        self.chunks.hashes().for_each(|hash| build.add(hash));
        build
    }

    /// The size of bits to replace full ones. The old ones answer until the new ones are complete; where there is
    /// no room for both, folded, so that they leave most of it: until then they are less exact.
    fn larger(&mut self) -> Option<u64> {
        let (bytes, folds) = self.growth()?;
        if folds && !self.bits.as_mut()?.fold(FOLDS as usize) {
            return None;
        }
        Some(bytes)
    }

    /// That size, and whether the old bits must be folded for it; `None`: they have come to their greatest size.
    fn growth(&self) -> Option<(u64, bool)> {
        let (bits, max_bytes) = (self.bits.as_ref()?, self.config.max_bytes);
        let bytes = Bloom::bytes_for(bits.hashes().saturating_mul(2));
        if bits.bytes() + bytes <= max_bytes {
            return Some((bytes, false));
        }
        let bytes = bytes.min(max_bytes.saturating_sub(bits.bytes() / FOLDS));
        let is_worth_it = bytes >= bits.bytes().saturating_mul(3) / 2;
        (is_worth_it && bits.can_fold(FOLDS as usize)).then_some((bytes, true))
    }

    /// Hashes of chunks, of whichever group.
    pub(super) fn read(&mut self, hashes: &[u64]) {
        if let Some(build) = &mut self.build {
            hashes.iter().for_each(|hash| build.add(*hash));
        }
    }

    /// All chunks of `group` are read, so many `hashes`; whether that was the last one.
    pub(super) fn end_group(&mut self, group: KeyGroup, hashes: u64) -> bool {
        let Some(mut build) = self.build.take() else { return true };
        if build.bits.is_none() {
            let groups = u64::from(self.range.last.0 - self.range.first.0) + 1;
            let hashes = hashes.saturating_mul(groups) + build.early.len() as u64;
            let bytes = Bloom::bytes_for(hashes.saturating_mul(2)).max(self.config.first_bytes);
            build.size(bytes.min(self.config.max_bytes));
        }
        build.ended.insert(group);
        while build.ended.remove(&build.next) {
            if build.next == self.range.last {
                self.bits = build.bits;
                return true;
            }
            build.next = KeyGroup(build.next.0 + 1);
        }
        self.build = Some(build);
        false
    }

    /// The chunks cannot be read: what answers goes on to answer, and becomes less exact as it fills.
    pub(super) fn fail(&mut self) {
        self.build = None;
        self.has_failed = true;
    }

    /// Whether `id`, which was read from the table for the first bits after a restore, may take more:
    /// nothing of its group has been in memory before, so what was read is all that it holds.
    fn may_resume(&self, id: ChunkId) -> bool {
        self.bits.is_none()
            && id.begun <= self.restored
            && !self.replayed.contains(&id.group)
            && !self.chunks.has_room(id.group)
            && self.bytes() < self.config.max_bytes
    }

    /// Memory of bits, and of chunks that the log has not: what stays whatever leaves.
    pub(super) fn bytes(&self) -> u64 {
        self.bits_bytes() + self.chunks.takes().kept_bytes
    }

    fn bits_bytes(&self) -> u64 {
        let building = self.build.as_ref();
        let early = building.map_or(0, |build| build.early.len() * size_of::<u64>());
        let bits = self.bits.iter().chain(building.and_then(|build| build.bits.as_ref()));
        bits.map(Bloom::bytes).sum::<u64>() + early as u64
    }

    /// Hashes that it knows, where it answers.
    pub(super) fn held(&self) -> Option<u64> {
        self.bits.as_ref().map(Bloom::held)
    }

    /// The share of other hashes that it takes for known, where it answers, and whether it is full and cannot grow:
    /// then the share becomes no less. Looks at some 4096 blocks.
    pub(super) fn false_positives(&self) -> Option<(f64, bool)> {
        let bits = self.bits.as_ref()?;
        let may_grow = self.build.is_some() || self.has_failed;
        let is_greatest = !may_grow && bits.is_full() && self.growth().is_none();
        Some((bits.false_positives(), is_greatest))
    }
}

impl Build {
    fn add(&mut self, hash: u64) {
        let Some(bits) = &mut self.bits else {
            self.early.push(hash);
            // Whoever reads no chunks (a state that was built by hand) would have them grow for ever; and however
            // many are read, the bits could not be larger.
            if (self.early.len() * size_of::<u64>()) as u64 > self.max_bytes {
                self.size(self.max_bytes);
            }
            return;
        };
        bits.insert(hash);
    }

    fn size(&mut self, bytes: u64) {
        let mut bits = Bloom::of_bytes(bytes);
        std::mem::take(&mut self.early).into_iter().for_each(|hash| bits.insert(hash));
        self.bits = Some(bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_group::KeyGroup;

    const GROUPS: u16 = 4;
    const CONFIG: FilterConfig =
        FilterConfig { max_bytes: 1 << 16, first_bytes: 1 << 10, chunk_hashes: 100 };

    /// Of a state that was restored and may have items.
    fn restored() -> Filter {
        let range = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(GROUPS - 1) };
        let mut filter = Filter::new(range, Vec::new(), CONFIG, (false, 0));
        filter.begin(true, 0);
        filter
    }

    fn hashes(from: u64, number: u64) -> impl Iterator<Item = u64> {
        (from..from + number).map(|n| xxh64(&n.to_le_bytes(), 0))
    }

    /// They used to be kept in a list until the first chunks were read, whether anybody did that or not.
    #[test]
    fn hashes_of_a_filter_whose_chunks_nobody_reads_are_bounded() {
        let mut filter = restored();
        for hash in hashes(0, 100_000) {
            filter.add(hash);
            assert!(filter.bytes() <= CONFIG.max_bytes + 8, "{}", filter.bytes());
            assert!(!filter.denies(hash, || KeyGroup(0)), "it answers before a group is read");
        }
        assert!(filter.held().is_none());
    }

    /// They used to stop at half of it: old and new ones together must not take more.
    #[test]
    fn bits_grow_until_they_take_nearly_all_that_they_may() {
        let range = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(GROUPS - 1) };
        let mut filter = Filter::new(range, Vec::new(), CONFIG, (false, 0));
        filter.begin(false, 0);
        // As many as fill seven eighths of what there is.
        let all: Vec<u64> = hashes(0, CONFIG.max_bytes / 8 * 7 * 8 / 16).collect();
        for (n, hash) in all.iter().enumerate() {
            filter.add(*hash);
            assert!(filter.bytes() <= CONFIG.max_bytes, "{}", filter.bytes());
            while let Some(group) = filter.next_group() {
                // All of them in the first group.
                let rest = if group == range.first { n + 1 } else { 0 };
                filter.read(&all[..rest]);
                filter.end_group(group, rest as u64);
            }
        }
        assert_eq!(filter.bytes(), CONFIG.max_bytes / 8 * 7);
        assert!(all.iter().all(|hash| !filter.denies(*hash, || KeyGroup(0))));
        let (wrong, is_greatest) = filter.false_positives().unwrap();
        assert!(wrong < 0.004 && !is_greatest, "{wrong}");
        // There is no room for more, so that it is less and less exact from here on.
        hashes(1_000_000, 60_000).for_each(|hash| filter.add(hash));
        assert_eq!(filter.next_group(), None);
        let (wrong, is_greatest) = filter.false_positives().unwrap();
        assert!(wrong > 0.05 && is_greatest, "{wrong}");
        let unknown = hashes(2_000_000, 10_000);
        let taken = unknown.filter(|hash| !filter.denies(*hash, || KeyGroup(0))).count() as f64;
        assert!((taken / 10_000.0 - wrong).abs() < 0.02, "{taken} of 10,000, not {wrong}");
    }

    /// The bits for all were as large as the emptiest group told, and counted too little to be much larger the next time.
    #[test]
    fn bits_of_key_groups_of_very_different_sizes_are_built_once_more_and_no_more() {
        let range = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(GROUPS - 1) };
        let config = FilterConfig { max_bytes: 1 << 20, ..CONFIG };
        let mut filter = Filter::new(range, Vec::new(), config, (false, 0));
        filter.begin(true, 0);
        let groups: Vec<Vec<u64>> = [(0, 3), (10, 0), (100, 50_000), (60_000, 5)]
            .map(|(from, n)| hashes(from, n).collect())
            .into();
        let mut builds = 0;
        while let Some(group) = filter.next_group() {
            builds += u64::from(group == range.first);
            let of_group = &groups[usize::from(group.0)];
            filter.read(of_group);
            filter.end_group(group, of_group.len() as u64);
        }
        assert_eq!(builds, 2);
        assert!(groups.iter().flatten().all(|hash| !filter.denies(*hash, || KeyGroup(0))));
        let (wrong, is_greatest) = filter.false_positives().unwrap();
        assert!(wrong < 0.002 && !is_greatest, "{wrong}");
        assert!(filter.held().unwrap() > 49_900);
        assert!(filter.bytes() <= 50_100 * 4, "{} bytes", filter.bytes());
    }

    #[test]
    fn bits_that_were_begun_early_know_what_came_before_them_and_what_is_read() {
        let mut filter = restored();
        hashes(0, 10_000).for_each(|hash| filter.add(hash));
        let read: Vec<u64> = hashes(1_000_000, 2_000).collect();
        for group in 0..GROUPS {
            assert_eq!(filter.next_group(), Some(KeyGroup(group)));
            filter.read(&read[usize::from(group) * 500..][..500]);
            assert_eq!(filter.end_group(KeyGroup(group), 500), group + 1 == GROUPS);
        }
        let mut known = hashes(0, 10_000).chain(read);
        assert_eq!(known.find(|hash| filter.denies(*hash, || KeyGroup(0))), None);
        let denied = hashes(2_000_000, 1_000).filter(|hash| filter.denies(*hash, || KeyGroup(0)));
        assert!(denied.count() > 950);
    }
}
