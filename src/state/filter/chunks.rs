//! Where a filter's hashes are kept: in chunks, which are entries like any other.
//!
//! Owns the chunks that are in memory, their ids and their bytes. When one is logged, materialised or
//! replayed is decided by what decides it for all entries; which hashes there are is `filter`'s.
//!
//! A chunk belongs to a key group. Its key is the group, the stamp of the interval in which it was begun
//! and a number, big-endian; its value a format byte and the hashes, little-endian.

use hashbrown::HashMap;

use super::super::entry::Meta;
use crate::codec::DecodeError;
use crate::key_group::KeyGroup;

/// The format that this code writes: hashes are XXH64 of an entry's key, seeded by its state's name.
const FORMAT: u8 = 1;

/// Which chunk. No two have one id: an interval's stamp is used again only after a restore to a
/// checkpoint before it, and then neither log nor table has a chunk that was begun in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChunkId {
    /// Whose keys.
    pub(crate) group: KeyGroup,
    /// The stamp of what changed when it was begun.
    pub(crate) begun: u32,
    /// Counts the chunks of an attempt.
    pub(crate) number: u32,
}

impl ChunkId {
    /// Appends the key of its entry.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.0.to_be_bytes());
        out.extend_from_slice(&self.begun.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
    }

    /// Reads the key of an entry.
    pub(crate) fn decode(key: &[u8]) -> Result<Self, DecodeError> {
        let Ok(key) = <[u8; 10]>::try_from(key) else {
            return Err(DecodeError(format!("a chunk's key has 10 bytes, not {}", key.len())));
        };
        let [g0, g1, b0, b1, b2, b3, n0, n1, n2, n3] = key;
        Ok(Self {
            group: KeyGroup(u16::from_be_bytes([g0, g1])),
            begun: u32::from_be_bytes([b0, b1, b2, b3]),
            number: u32::from_be_bytes([n0, n1, n2, n3]),
        })
    }
}

/// Reads a chunk's value.
pub(crate) fn decode(value: &[u8]) -> Result<Vec<u64>, DecodeError> {
    match value.split_first() {
        Some((&FORMAT, hashes)) => {
            let (hashes, rest) = hashes.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(DecodeError(format!("a chunk ends with {} bytes", rest.len())));
            }
            Ok(hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect())
        }
        Some((format, _)) => Err(DecodeError(format!("a chunk of format {format}"))),
        None => Err(DecodeError("a chunk without a format".to_owned())),
    }
}

#[derive(Debug)]
struct Chunk {
    id: ChunkId,
    meta: Meta,
    /// `None`: deleted, or a vacant place.
    hashes: Option<Vec<u64>>,
    is_taken: bool,
    /// Nothing of it is newer than its item: it stays in memory to take more, and not for the log.
    is_kept: bool,
}

/// What chunks take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChunkUse {
    /// Chunks that the log has.
    pub(crate) pinned: u64,
    /// Their memory, estimated.
    pub(crate) pinned_bytes: u64,
    /// Memory of the others.
    pub(crate) kept_bytes: u64,
}

impl Chunk {
    fn bytes(&self) -> u64 {
        const PLACE: u64 = 24;
        let hashes = self.hashes.as_ref().map_or(0, Vec::len) * size_of::<u64>();
        size_of::<Self>() as u64 + PLACE + hashes as u64
    }

    fn takes(&self) -> ChunkUse {
        match (self.is_taken, self.is_kept) {
            (false, _) => ChunkUse::default(),
            (true, true) => ChunkUse { kept_bytes: self.bytes(), ..ChunkUse::default() },
            (true, false) => {
                ChunkUse { pinned: 1, pinned_bytes: self.bytes(), ..ChunkUse::default() }
            }
        }
    }
}

/// The chunks in memory: those that the log has, and of each key group one that takes more.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// Hashes of a full one.
    capacity: usize,
    chunks: Vec<Chunk>,
    vacant: Vec<u32>,
    places: HashMap<ChunkId, u32>,
    /// The newest chunk of each key group, full or not.
    open: HashMap<KeyGroup, u32>,
    begun: u32,
    /// Of all of them, for it is asked for between any two batches.
    takes: ChunkUse,
}

impl Chunks {
    /// None yet; each is full with `capacity` hashes.
    pub(crate) fn of(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            chunks: Vec::new(),
            vacant: Vec::new(),
            places: HashMap::new(),
            open: HashMap::new(),
            begun: 0,
            takes: ChunkUse::default(),
        }
    }

    /// The entry that takes `group`'s next hash, as of `stamp`; a new one where there is none with room.
    pub(crate) fn with_room(&mut self, group: KeyGroup, stamp: u32) -> u32 {
        if let Some(&open) = self.open.get(&group)
            && self.len_of(open).is_some_and(|len| len < self.capacity)
        {
            return open;
        }
        let id = ChunkId { group, begun: stamp, number: self.begun };
        self.begun += 1;
        let entry = self.entry_of(id);
        self.change(entry, |chunk| chunk.hashes = Some(Vec::new()));
        self.open.insert(group, entry);
        entry
    }

    fn len_of(&self, entry: u32) -> Option<usize> {
        self.chunks[entry as usize].hashes.as_ref().map(Vec::len)
    }

    /// Adds a hash to an entry, which must count as changed.
    pub(crate) fn push(&mut self, entry: u32, hash: u64) {
        self.change(entry, |chunk| chunk.hashes.get_or_insert_default().push(hash));
    }

    /// Changes a chunk, and what all of them take.
    fn change(&mut self, entry: u32, change: impl FnOnce(&mut Chunk)) {
        let chunk = &mut self.chunks[entry as usize];
        let before = chunk.takes();
        change(chunk);
        let after = chunk.takes();
        let all = &mut self.takes;
        all.pinned = all.pinned - before.pinned + after.pinned;
        all.pinned_bytes = all.pinned_bytes - before.pinned_bytes + after.pinned_bytes;
        all.kept_bytes = all.kept_bytes - before.kept_bytes + after.kept_bytes;
    }

    /// The entry of a chunk, empty and unchanged where it is not in memory.
    fn entry_of(&mut self, id: ChunkId) -> u32 {
        if let Some(&entry) = self.places.get(&id) {
            return entry;
        }
        let nothing =
            Chunk { id, meta: Meta::default(), hashes: None, is_taken: false, is_kept: true };
        let entry = self.vacant.pop().unwrap_or_else(|| {
            self.chunks.push(nothing);
            (self.chunks.len() - 1) as u32
        });
        self.change(entry, |chunk| (chunk.id, chunk.is_taken, chunk.is_kept) = (id, true, true));
        self.places.insert(id, entry);
        entry
    }

    /// Gives a chunk what log or table say of it, and its entry; the newest of a key group is open.
    ///
    /// # Errors
    /// Where the bytes are no chunk's.
    pub(crate) fn restore(
        &mut self,
        id: ChunkId,
        value: &[u8],
        meta: Meta,
    ) -> Result<u32, DecodeError> {
        let hashes = decode(value)?;
        let entry = self.entry_of(id);
        let is_newest =
            self.open.get(&id.group).is_none_or(|open| self.chunks[*open as usize].id < id);
        if is_newest {
            self.open.insert(id.group, entry);
        }
        self.change(entry, |chunk| {
            chunk.hashes = Some(hashes);
            chunk.meta = meta;
            chunk.is_kept = meta.change() == 0;
        });
        Ok(entry)
    }

    /// The key groups of the chunks in memory.
    pub(crate) fn groups(&self) -> impl Iterator<Item = KeyGroup> + '_ {
        self.places.keys().map(|id| id.group)
    }

    /// The entry of a chunk that is in memory.
    pub(crate) fn find(&self, id: ChunkId) -> Option<u32> {
        self.places.get(&id).copied()
    }

    /// Whether the key group has a chunk that takes more.
    pub(crate) fn has_room(&self, group: KeyGroup) -> bool {
        let open = self.open.get(&group);
        open.and_then(|&open| self.len_of(open)).is_some_and(|len| len < self.capacity)
    }

    /// Takes those out of memory that neither log nor key group need here; what key groups need may take
    /// `room`, and what exceeds that is gone on with in another chunk.
    pub(crate) fn let_go(&mut self, horizon: u32, room: u64) {
        let mut kept = 0;
        for entry in 0..self.chunks.len() as u32 {
            let chunk = &self.chunks[entry as usize];
            if !chunk.is_taken || !chunk.meta.is_clean(horizon) {
                continue;
            }
            let (id, bytes) = (chunk.id, chunk.bytes());
            let is_open = self.open.get(&id.group) == Some(&entry);
            if is_open && self.has_room(id.group) && kept + bytes <= room {
                kept += bytes;
                self.change(entry, |chunk| chunk.is_kept = true);
                continue;
            }
            if is_open {
                self.open.remove(&id.group);
            }
            self.places.remove(&id);
            self.change(entry, |chunk| {
                chunk.is_taken = false;
                chunk.hashes = None;
                chunk.meta = Meta::default();
            });
            self.vacant.push(entry);
        }
    }

    pub(crate) fn id(&self, entry: u32) -> ChunkId {
        self.chunks[entry as usize].id
    }

    pub(crate) fn meta(&self, entry: u32) -> Meta {
        self.chunks[entry as usize].meta
    }

    pub(crate) fn set_meta(&mut self, entry: u32, meta: Meta) {
        self.chunks[entry as usize].meta = meta;
    }

    /// The entry changes: the log has it from now on.
    pub(crate) fn touch(&mut self, entry: u32, meta: Meta) {
        self.change(entry, |chunk| (chunk.meta, chunk.is_kept) = (meta, false));
    }

    /// Appends the entry's value; `false`, and no bytes, where it is deleted.
    pub(crate) fn encode(&self, entry: u32, out: &mut Vec<u8>) -> bool {
        let Some(hashes) = &self.chunks[entry as usize].hashes else { return false };
        out.push(FORMAT);
        hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
        true
    }

    /// All hashes in memory.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = u64> + '_ {
        self.chunks.iter().filter_map(|chunk| chunk.hashes.as_ref()).flatten().copied()
    }

    /// How many chunks are in memory.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.chunks.len() - self.vacant.len()
    }

    /// How many have changed after `horizon`.
    #[cfg(test)]
    pub(crate) fn newer_than(&self, horizon: u32) -> usize {
        self.chunks.iter().filter(|chunk| chunk.meta.change() > horizon).count()
    }

    /// What they take.
    pub(crate) fn takes(&self) -> ChunkUse {
        self.takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: KeyGroup = KeyGroup(258);
    const CAPACITY: usize = 3;

    fn added(chunks: &mut Chunks, group: KeyGroup, stamp: u32, hashes: u64) -> Vec<u32> {
        let mut entries = Vec::new();
        for hash in 0..hashes {
            let entry = chunks.with_room(group, stamp);
            chunks.push(entry, hash);
            chunks.touch(entry, Meta { flags: 0, stamp });
            entries.push(entry);
        }
        entries.dedup();
        entries
    }

    /// Stored chunks are filed under it.
    #[test]
    fn ids_and_values_keep_their_bytes_and_ids_order_by_age() {
        let id = ChunkId { group: GROUP, begun: 0x0a0b_0c0d, number: 7 };
        let mut key = Vec::new();
        id.encode(&mut key);
        assert_eq!(key, [1, 2, 10, 11, 12, 13, 0, 0, 0, 7]);
        assert_eq!(ChunkId::decode(&key).unwrap(), id);
        assert!(id < ChunkId { begun: id.begun + 1, number: 0, ..id });
        let mut chunks = Chunks::of(CAPACITY);
        let entry = chunks.with_room(GROUP, 1);
        chunks.push(entry, 0x0102);
        let mut value = Vec::new();
        assert!(chunks.encode(entry, &mut value));
        assert_eq!(value, [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&value).unwrap(), [0x0102]);
    }

    #[test]
    fn what_is_no_chunk_is_an_error_and_no_panic() {
        for value in [&[][..], &[2], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            decode(value).unwrap_err();
        }
        for key in [&[][..], &[0; 9], &[0; 11]] {
            ChunkId::decode(key).unwrap_err();
        }
        assert!(decode(&[1]).unwrap().is_empty());
    }

    #[test]
    fn a_full_chunk_is_followed_by_one_of_another_id() {
        let mut chunks = Chunks::of(CAPACITY);
        let first = added(&mut chunks, GROUP, 3, CAPACITY as u64 + 1);
        let ids: Vec<ChunkId> = first.iter().map(|&entry| chunks.id(entry)).collect();
        assert_eq!(ids.len(), 2);
        assert!(ids[0] < ids[1] && ids.iter().all(|id| id.begun == 3));
        let other = added(&mut chunks, KeyGroup(0), 3, 1);
        assert!(!first.contains(&other[0]), "key groups share no chunk");
        assert_eq!(chunks.hashes().count(), CAPACITY + 2);
    }

    #[test]
    fn clean_chunks_leave_memory_and_those_with_room_stay() {
        let mut chunks = Chunks::of(CAPACITY);
        let entries = added(&mut chunks, GROUP, 3, CAPACITY as u64 * 2 + 1);
        chunks.let_go(2, u64::MAX);
        assert_eq!(chunks.len(), 3, "the log has them");
        assert_eq!((chunks.takes().pinned, chunks.takes().kept_bytes), (3, 0));
        chunks.let_go(3, u64::MAX);
        assert_eq!(chunks.len(), 1);
        assert!(chunks.has_room(GROUP));
        assert_eq!(chunks.with_room(GROUP, 4), entries[2], "the open one takes more");
        let more = added(&mut chunks, GROUP, 5, CAPACITY as u64 - 1);
        assert_eq!(more, entries[2..]);
        chunks.let_go(5, u64::MAX);
        assert_eq!(chunks.len(), 0, "a full one has no room");
        assert_eq!(chunks.takes(), ChunkUse::default());
        let next = chunks.with_room(GROUP, 6);
        assert_eq!(chunks.id(next).begun, 6);
    }

    #[test]
    fn those_with_room_stay_only_where_there_is_memory_for_them() {
        let mut chunks = Chunks::of(CAPACITY);
        for group in 0..10 {
            added(&mut chunks, KeyGroup(group), 3, 1);
        }
        let one = chunks.takes().pinned_bytes / 10;
        chunks.let_go(3, 4 * one + 1);
        assert_eq!((chunks.len(), chunks.takes().kept_bytes), (4, 4 * one));
        let old = chunks.with_room(KeyGroup(0), 4);
        assert_eq!(chunks.id(old).begun, 3, "it stayed");
        let new = chunks.with_room(KeyGroup(9), 4);
        assert_eq!(chunks.id(new).begun, 4, "another one is begun");
    }

    #[test]
    fn the_newest_chunk_of_a_restore_takes_more_if_it_has_room() {
        let mut chunks = Chunks::of(CAPACITY);
        let id = |begun| ChunkId { group: GROUP, begun, number: 0 };
        let value = [1, 5, 0, 0, 0, 0, 0, 0, 0];
        let newest = chunks.restore(id(9), &value, Meta::loaded()).unwrap();
        chunks.restore(id(4), &value, Meta::loaded()).unwrap();
        assert_eq!(chunks.with_room(GROUP, 12), newest);
        chunks.restore(id(9), &[9], Meta::loaded()).unwrap_err();
    }
}
