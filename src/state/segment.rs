//! The bytes of a segment: header, checksum, compressed entries.
//!
//! Owns the format, and pure functions over it that run off the workers. Which entries go into a
//! segment is `writer`'s, what becomes of them at a restore `replay`'s.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `MPSG` |
//! | 4 | CRC-32 of everything after it |
//! | 1 | format version, 2; in 1 states have no shares |
//! | 8, 8 | attempt, checkpoint |
//! | 4 | sequence |
//! | 2, 2 | first and last key group of the writer |
//! | 4, 4, 4, 4 | entries that begin here, continued bytes, unfinished bytes, bytes before compression |
//! | 1 + n | operator |
//! | 2, each 1 + n + 4 | states: name, whose length's top bit says that values begin with their expiry, and share: bytes of its entries |
//! | rest | entries, compressed |
//!
//! Numbers are little-endian.

use bytes::Bytes;

use super::store::MAX_BLOCK_BYTES;
use super::ttl::Expiry;
use super::writer::RawSegment;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name, Version};
use crate::key_group::{KeyGroup, KeyGroupRange};

const MAGIC: &[u8; 4] = b"MPSG";
const FORMAT: u8 = 2;
/// The first one whose states have shares.
const SHARES: u8 = 2;
/// Where the format version is.
const FORMAT_AT: usize = 8;
/// Magic and checksum.
const CHECKED_FROM: usize = 8;

/// A segment as it was read and checked.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Who wrote it, and for which checkpoint.
    pub version: Version,
    /// The operator whose entries these are.
    pub operator: Name,
    /// The key groups that the writer owned; the entries' are among them.
    pub range: KeyGroupRange,
    /// Counts a checkpoint's segments of one writer from 0.
    pub sequence: u32,
    /// How many entries begin here.
    pub entries: u32,
    pub(super) states: Vec<Name>,
    /// By state: whether values begin with their expiry.
    expiring: Vec<bool>,
    continued: usize,
    unfinished: usize,
    bytes: Vec<u8>,
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// An index into the segment's states.
    pub(super) state: usize,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    /// When the value expires.
    pub(super) expires: Option<Expiry>,
}

/// The beginning of an entry whose end is in the next segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Carry {
    /// The operator, version and sequence of the segment that it was left by.
    from: Option<(Name, Version, u32)>,
    bytes: Vec<u8>,
}

impl Carry {
    pub(super) fn is_empty(&self) -> bool {
        self.from.is_none()
    }

    /// There is no next segment.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] that names the one that is missing.
    pub(super) fn finish(&self) -> Result<()> {
        let Some((operator, version, sequence)) = &self.from else { return Ok(()) };
        let missing = label(operator, *version, sequence.wrapping_add(1));
        Err(corrupt("it is missing, and an entry of the one before it goes on there").at(missing))
    }
}

fn corrupt(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, what)
}

/// Which segment it is, for messages.
fn label(operator: &Name, version: Version, sequence: u32) -> String {
    let Version { attempt, checkpoint } = version;
    format!("segment {sequence} of operator {operator}, checkpoint {checkpoint}, attempt {attempt}")
}

/// The stored form of `raw`. Takes about a millisecond for 256 KiB; call it off the workers.
///
/// # Errors
/// [`ErrorKind::Internal`] where compression fails or the result exceeds [`MAX_BLOCK_BYTES`].
pub fn encode(
    raw: &RawSegment,
    version: Version,
    operator: &Name,
    range: KeyGroupRange,
) -> Result<Bytes> {
    let mut out = Vec::with_capacity(raw.bytes.len() / 2 + 256);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.push(FORMAT);
    out.extend_from_slice(&version.attempt.0.to_le_bytes());
    out.extend_from_slice(&version.checkpoint.0.to_le_bytes());
    out.extend_from_slice(&raw.sequence.to_le_bytes());
    out.extend_from_slice(&range.first.0.to_le_bytes());
    out.extend_from_slice(&range.last.0.to_le_bytes());
    for number in [raw.entries, raw.continued, raw.unfinished, raw.bytes.len() as u32] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_name(&mut out, operator);
    out.extend_from_slice(&(raw.states.len() as u16).to_le_bytes());
    for ((state, expiring), share) in raw.states.iter().zip(raw.expiring.iter()).zip(&raw.shares) {
        let at = out.len();
        put_name(&mut out, state);
        out[at] |= if *expiring { EXPIRING } else { 0 };
        out.extend_from_slice(&share.to_le_bytes());
    }
    let packed = zstd::bulk::compress(&raw.bytes, LEVEL)
        .map_err(|e| Error::internal(format!("cannot compress a segment: {e}")))?;
    out.extend_from_slice(&packed);
    let checksum = crc32fast::hash(&out[CHECKED_FROM..]);
    out[4..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    if out.len() > MAX_BLOCK_BYTES {
        return Err(Error::internal(format!("a segment of {} bytes", out.len())));
    }
    Ok(out.into())
}

/// Measured on 256 KiB of 16-byte counters with random keys below a million: 108 KiB in 0.6 ms, where
/// level 3 makes 112 KiB in 0.9 ms and lz4 168 KiB in 0.3 ms. A write unit buys more than that time.
const LEVEL: i32 = 1;

/// In the length of a state's name.
const EXPIRING: u8 = 0x80;

/// Names have at most [`Name::MAX_BYTES`], which is less than 128.
fn put_name(out: &mut Vec<u8>, name: &Name) {
    out.push(name.as_str().len() as u8);
    out.extend_from_slice(name.as_str().as_bytes());
}

/// Reads and checks a segment. Any bytes whatever give a segment or an error.
///
/// # Errors
/// [`ErrorKind::Corrupt`] that says what is wrong: magic, checksum, format version, or which part ends
/// early.
pub fn decode(bytes: &[u8]) -> Result<Segment> {
    read(bytes).map_err(|error| error.at("segment"))
}

fn read(bytes: &[u8]) -> Result<Segment> {
    let mut reader = Reader(bytes);
    if reader.take(4, "magic")? != MAGIC {
        return Err(corrupt("does not begin with MPSG"));
    }
    let expected = reader.u32("checksum")?;
    let found = crc32fast::hash(reader.0);
    if found != expected {
        return Err(corrupt(format!("checksum is {found:08x}, should be {expected:08x}")));
    }
    let format = reader.take(1, "format")?[0];
    if !(1..=FORMAT).contains(&format) {
        return Err(corrupt(format!("format {format}; this version reads up to {FORMAT}")));
    }
    let attempt = Attempt(reader.u64("attempt")?);
    let checkpoint = CheckpointId(reader.u64("checkpoint")?);
    let sequence = reader.u32("sequence")?;
    let range = KeyGroupRange {
        first: KeyGroup(reader.u16("key groups")?),
        last: KeyGroup(reader.u16("key groups")?),
    };
    let entries = reader.u32("entries")?;
    let continued = reader.u32("continued bytes")? as usize;
    let unfinished = reader.u32("unfinished bytes")? as usize;
    let raw_bytes = reader.u32("size")? as usize;
    let operator = reader.name("operator")?;
    let count = reader.u16("states")?;
    let states: Vec<_> = (0..count).map(|_| reader.state(format)).collect::<Result<_>>()?;
    let (states, expiring) =
        states.into_iter().map(|(state, expiring, _)| (state, expiring)).unzip();
    let bytes = unpack(reader.0, raw_bytes)?;
    let whole = continued == bytes.len() && unfinished == bytes.len();
    if !whole && continued.checked_add(unfinished).is_none_or(|n| n > bytes.len()) {
        return Err(corrupt("parts of entries exceed it"));
    }
    Ok(Segment {
        version: Version { attempt, checkpoint },
        operator,
        range,
        sequence,
        entries,
        states,
        expiring,
        continued,
        unfinished,
        bytes,
    })
}

/// Magic, checksum, format, version, sequence, key groups and numbers: what is before the operator.
const OPERATOR_AT: usize = 49;

/// Whose entries a segment holds, from its header alone, nothing of which is checked: the operator, and
/// each state that has any with its bytes before compression. `None` where these are no segment's bytes.
#[must_use]
pub fn shares(bytes: &[u8]) -> Option<(Name, Vec<(Name, u32)>)> {
    let mut reader = Reader(bytes);
    let header = reader.take(OPERATOR_AT, "header").ok()?;
    if header.get(..4) != Some(MAGIC) {
        return None;
    }
    let operator = reader.name("operator").ok()?;
    let states = (0..reader.u16("states").ok()?)
        .map_while(|_| reader.state(header[FORMAT_AT]).ok())
        .map(|(state, _, share)| (state, share))
        .filter(|(_, share)| *share > 0);
    Some((operator, states.collect()))
}

fn unpack(packed: &[u8], raw_bytes: usize) -> Result<Vec<u8>> {
    // No writer makes larger ones; without the bound, damaged bytes could ask for any memory.
    if raw_bytes > MAX_BLOCK_BYTES {
        return Err(corrupt(format!("{raw_bytes} bytes of entries")));
    }
    let bytes = zstd::bulk::decompress(packed, raw_bytes)
        .map_err(|e| corrupt(format!("cannot decompress: {e}")))?;
    if bytes.len() == raw_bytes {
        Ok(bytes)
    } else {
        Err(corrupt(format!("{} bytes of entries, should be {raw_bytes}", bytes.len())))
    }
}

impl Segment {
    /// Whether it begins with what the one before it has left unfinished.
    #[must_use]
    pub fn continues(&self) -> bool {
        self.continued > 0
    }

    /// Calls `each` for every entry that ends here, `carry` being what the segment before it of the
    /// same writer left. Errors, those of `each` too, name the segment.
    pub(super) fn each(
        &self,
        carry: &mut Carry,
        each: impl FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let named = |error: Error| error.at(label(&self.operator, self.version, self.sequence));
        self.read_entries(carry, each).map_err(named)
    }

    fn read_entries(
        &self,
        carry: &mut Carry,
        mut each: impl FnMut(Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let (head, body) = self.bytes.split_at(self.continued);
        let place = |sequence| Some((self.operator.clone(), self.version, sequence));
        if self.continued > 0 {
            if carry.from != place(self.sequence.wrapping_sub(1)) {
                return Err(corrupt("continues one that is missing"));
            }
            carry.bytes.extend_from_slice(head);
            if self.unfinished == self.bytes.len() {
                carry.from = place(self.sequence);
                return Ok(());
            }
            let mut reader = Reader(&carry.bytes);
            each(self.entry(&mut reader)?)?;
            if !reader.0.is_empty() {
                return Err(corrupt("a continued entry is too long"));
            }
            *carry = Carry::default();
        } else if !carry.is_empty() {
            return Err(corrupt("does not continue the one before it"));
        }
        let (body, tail) = body.split_at(body.len() - self.unfinished);
        let mut reader = Reader(body);
        while !reader.0.is_empty() {
            each(self.entry(&mut reader)?)?;
        }
        if !tail.is_empty() {
            carry.from = place(self.sequence);
            carry.bytes.extend_from_slice(tail);
        }
        Ok(())
    }

    fn entry<'a>(&self, reader: &mut Reader<'a>) -> Result<Entry<'a>> {
        let state = reader.number("state index")? as usize;
        if state >= self.states.len() {
            return Err(corrupt(format!("state {state} of {}", self.states.len())));
        }
        let key = reader.number("key length")?;
        let key = reader.take(usize::try_from(key).unwrap_or(usize::MAX), "key")?;
        let value = match reader.number("value length")? {
            0 => None,
            n => Some(reader.take(usize::try_from(n - 1).unwrap_or(usize::MAX), "value")?),
        };
        let Some(value) = value.filter(|_| self.expiring[state]) else {
            return Ok(Entry { state, key, value, expires: None });
        };
        let mut value = Reader(value);
        let expires = Expiry::from_number(value.number("expiry")?);
        Ok(Entry { state, key, value: Some(value.0), expires })
    }
}

/// Takes parts from the front and says which one is missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let (head, tail) =
            self.0.split_at_checked(n).ok_or_else(|| corrupt(format!("ends within its {what}")))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u16(&mut self, what: &str) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn name(&mut self, what: &str) -> Result<Name> {
        let n = self.take(1, what)?[0];
        self.rest_of_name(n, what)
    }

    /// A state's name, whether its values begin with their expiry, and its share, which `format` may lack.
    fn state(&mut self, format: u8) -> Result<(Name, bool, u32)> {
        let n = self.take(1, "state")?[0];
        let name = self.rest_of_name(n & !EXPIRING, "state")?;
        let share = if format < SHARES { 0 } else { self.u32("share")? };
        Ok((name, n & EXPIRING != 0, share))
    }

    fn rest_of_name(&mut self, n: u8, what: &str) -> Result<Name> {
        let text = std::str::from_utf8(self.take(usize::from(n), what)?)
            .map_err(|e| corrupt(format!("{what}: {e}")))?;
        Name::new(text).map_err(|e| corrupt(format!("{what}: {}", e.message())))
    }

    #[inline]
    fn number(&mut self, what: &str) -> Result<u64> {
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_number(what)
    }

    fn long_number(&mut self, what: &str) -> Result<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(corrupt(format!("{what} has no end")))
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
