//! Packs changed entries into raw segments of bounded size.
//!
//! Owns the bytes of entries and where they are cut. Compression, header and checksum are `segment`'s.
//!
//! An entry is: its state's index, its key's length, its key, 0 for a tombstone or one more than its
//! value's length, its value. Where the state has a time to live, the value begins with the number that says
//! when it expires ([`super::ttl::Expiry`]). Numbers are little-endian base 128. An entry starts a new segment where
//! it does not fit into the rest of the last one; what is larger than a whole segment goes on in the
//! next ones.

use std::sync::Arc;

use super::store::MAX_BLOCK_BYTES;
use crate::error::Result;
use crate::ids::{CheckpointId, Name};

/// Largest raw segment: incompressible content still is a block, with its header.
const MAX_RAW_BYTES: usize = MAX_BLOCK_BYTES - 80_000;

/// A segment's content before compression.
#[derive(Clone, Debug)]
pub struct RawSegment {
    /// The checkpoint whose changes these are.
    pub checkpoint: CheckpointId,
    /// Counts a checkpoint's segments of one writer from 0.
    pub sequence: u32,
    /// How many entries begin here.
    pub entries: u32,
    /// The names that the entries' state indices stand for.
    pub(super) states: Arc<[Name]>,
    /// Which of them have values that begin with their expiry.
    pub(super) expiring: Arc<[bool]>,
    /// How many of the bytes are entries of each.
    pub(super) shares: Vec<u32>,
    pub(super) bytes: Vec<u8>,
    /// Leading bytes that continue the last entry of the segment before.
    pub(super) continued: u32,
    /// Trailing bytes of an entry that goes on in the segment after.
    pub(super) unfinished: u32,
}

impl RawSegment {
    /// Bytes before compression.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing in it; never so for a segment of [`super::KeyedState`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes one checkpoint's segments after another's.
#[derive(Debug)]
pub(super) struct Writer {
    limit: usize,
    states: Arc<[Name]>,
    expiring: Arc<[bool]>,
    checkpoint: CheckpointId,
    sequence: u32,
    bytes: Vec<u8>,
    /// By state: how many of the bytes are its entries'.
    shares: Vec<u32>,
    entries: u32,
    continued: usize,
    done: Vec<RawSegment>,
}

impl Writer {
    pub(super) fn new(segment_bytes: usize, states: Arc<[Name]>, expiring: Arc<[bool]>) -> Self {
        Self {
            limit: segment_bytes.clamp(16, MAX_RAW_BYTES),
            shares: vec![0; states.len()],
            states,
            expiring,
            checkpoint: CheckpointId::NONE,
            sequence: 0,
            bytes: Vec::new(),
            entries: 0,
            continued: 0,
            done: Vec::new(),
        }
    }

    /// Starts the segments of `checkpoint`.
    pub(super) fn begin(&mut self, checkpoint: CheckpointId) {
        self.checkpoint = checkpoint;
        self.sequence = 0;
    }

    /// Appends an entry. `value` appends the value's bytes and says whether there is one; with
    /// `unless_absent` nothing is left of an entry that has none.
    ///
    /// # Errors
    /// Those of `value`; nothing is left of the entry then either.
    pub(super) fn entry(
        &mut self,
        column: usize,
        unless_absent: bool,
        key: impl FnOnce(&mut Vec<u8>),
        value: impl FnOnce(&mut Vec<u8>) -> Result<bool>,
    ) -> Result<()> {
        let start = self.bytes.len();
        put_number(&mut self.bytes, column as u64);
        let key_start = self.bytes.len();
        self.bytes.push(0);
        key(&mut self.bytes);
        let key_bytes = self.bytes.len() - key_start - 1;
        patch_number(&mut self.bytes, key_start, key_bytes as u64);
        let value_start = self.bytes.len();
        self.bytes.push(0);
        match value(&mut self.bytes) {
            Ok(true) => {
                let value_bytes = self.bytes.len() - value_start - 1;
                patch_number(&mut self.bytes, value_start, value_bytes as u64 + 1);
            }
            Ok(false) if !unless_absent => {}
            other => {
                self.bytes.truncate(start);
                return other.map(|_| ());
            }
        }
        if self.bytes.len() > self.limit {
            self.cut(column, start);
        } else {
            self.shares[column] += (self.bytes.len() - start) as u32;
            self.entries += 1;
        }
        Ok(())
    }

    /// The entry of `column` that begins at `start` does not fit. Its bytes move once to where they stay: to split
    /// off what is left with each part took the square of a large one's length, and each part kept the room of all.
    fn cut(&mut self, column: usize, start: usize) {
        let entry = self.bytes.split_off(start);
        self.bytes.shrink_to(self.limit);
        if start > 0 {
            self.close(0);
        }
        self.entries += 1;
        for part in entry.chunks(self.limit) {
            if !self.bytes.is_empty() {
                self.close(self.limit);
                self.continued = part.len();
            }
            self.shares[column] = part.len() as u32;
            self.bytes = part.to_vec();
        }
    }

    fn close(&mut self, unfinished: usize) {
        self.done.push(RawSegment {
            checkpoint: self.checkpoint,
            sequence: self.sequence,
            entries: std::mem::take(&mut self.entries),
            states: Arc::clone(&self.states),
            expiring: Arc::clone(&self.expiring),
            shares: std::mem::replace(&mut self.shares, vec![0; self.states.len()]),
            bytes: std::mem::take(&mut self.bytes),
            continued: std::mem::take(&mut self.continued) as u32,
            unfinished: unfinished as u32,
        });
        self.sequence += 1;
    }

    /// Ends the checkpoint's last segment.
    pub(super) fn finish(&mut self) {
        if !self.bytes.is_empty() {
            self.close(0);
        }
    }

    /// Bytes of the segments that wait to be taken, at most.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.done.len() * self.limit
    }

    pub(super) fn take(&mut self) -> Vec<RawSegment> {
        std::mem::take(&mut self.done)
    }
}

/// Appends `n` in base 128, low digits first; the top bit says that more follow.
pub(super) fn put_number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Replaces the byte at `at`, which was kept free, by `n`. Only what is long moves for that.
fn patch_number(out: &mut Vec<u8>, at: usize, n: u64) {
    if n < 0x80 {
        out[at] = n as u8;
    } else {
        let mut number = Vec::with_capacity(10);
        put_number(&mut number, n);
        out.splice(at..=at, number);
    }
}
