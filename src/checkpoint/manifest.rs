//! Manifests: what one checkpoint consists of, and its bytes.
//!
//! Owns the type and its layout. Where manifests are put and how they are read back is `archive`'s.
//!
//! A manifest is one bincode text, cut into parts that fit in a block. Each part is
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `MPMF` |
//! | 2 | format version, little-endian |
//! | 4 | this part's number |
//! | 4 | the number of parts |
//! | 4 | CRC-32 of the rest of the header and of the part's bytes |
//! | … | the part's share of the text |

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::messages::{Owed, SavedOperator, SegmentRef, SourceSplits};
use super::slots::SlotTable;
use crate::codec::{Bincode, Codec, decode_from};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name, Version};
use crate::key_group::{KeyGroup, KeyGroupRange};
use crate::state::unkeyed::OperatorFormat;
use crate::state::{KeyTypes, MAX_BLOCK_BYTES, StateFormats, StateLifetimes};

/// The format that this code writes.
pub const FORMAT: u16 = 6;
/// The oldest format that is read too. Each has ended with one more field than the one before it, which is a
/// zero byte where there is nothing to tell: 3 added [`Manifest::operator_formats`], 4
/// [`Manifest::key_types`], 5 [`Manifest::input_ended`], 6 [`Manifest::lifetimes`].
const OLDEST_FORMAT: u16 = 2;

const MAGIC: [u8; 4] = *b"MPMF";
const HEADER_BYTES: usize = 18;
/// Most parts that are believed: 1.5 GB of manifest, so that a damaged number ends early.
const MAX_PARTS: u32 = 4096;

/// Up to which checkpoint the changes of some key groups are materialised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Horizon {
    /// The operator.
    pub operator: Name,
    /// The key groups.
    pub range: KeyGroupRange,
    /// Every change of them up to here is in the table.
    pub checkpoint: CheckpointId,
}

/// One completed (or about to be completed) checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manifest {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The version of all its parts: the attempt that took it, and the checkpoint.
    pub version: Version,
    /// When it was put together, in milliseconds since 1970; for people only.
    pub created_ms: u64,
    /// Every source's splits.
    pub sources: Vec<SourceSplits>,
    /// The live segments, in the order of replay.
    pub segments: Vec<SegmentRef>,
    /// The horizons: for each operator, disjoint ranges in ascending order.
    pub horizons: Vec<Horizon>,
    /// Operators whose items may be in the table; the others' surely are not.
    pub may_have_items: Vec<Name>,
    /// Operators that may have items which their filter of absent keys does not know.
    pub unfiltered: Vec<Name>,
    /// Every committable that was not acknowledged when it was put together, of earlier checkpoints
    /// too.
    pub committables: Vec<Owed>,
    /// How the values of every state are stored.
    pub states: Vec<StateFormats>,
    /// Every operator that has operator state, and all of that.
    pub operator_states: Vec<SavedOperator>,
    /// The size classes of all slots.
    pub slots: SlotTable,
    /// Records that lie before the sources' positions; for people and progress only.
    pub records: u64,
    /// Of which types operator states are; of one that is not here it is not known.
    pub operator_formats: Vec<OperatorFormat>,
    /// Of which types keys, namespaces and map keys are; of an operator that is not here it is not known.
    pub key_types: Vec<KeyTypes>,
    /// All operators were told of the end of all input before its barriers. Flink: FLIP-147's finished
    /// operators.
    pub input_ended: bool,
    /// By which times the values of every state have expired, and do; of a state that is not here it is not known.
    pub lifetimes: Vec<StateLifetimes>,
}

impl Manifest {
    /// The horizon of one key group: all its changes up to it are in the table.
    #[must_use]
    pub fn horizon_of(&self, operator: &Name, group: KeyGroup) -> CheckpointId {
        self.horizons
            .iter()
            .find(|h| h.operator == *operator && h.range.contains(group))
            .map_or(CheckpointId::NONE, |h| h.checkpoint)
    }

    /// The lowest horizon of any group of `range`: what a subtask that starts with it may report.
    #[must_use]
    pub fn horizon_of_range(&self, operator: &Name, range: KeyGroupRange) -> CheckpointId {
        (range.first.0..=range.last.0)
            .map(|group| self.horizon_of(operator, KeyGroup(group)))
            .min()
            .unwrap_or(CheckpointId::NONE)
    }

    /// Whether items of `operator` may be in the table.
    #[must_use]
    pub fn may_have_items(&self, operator: &Name) -> bool {
        self.may_have_items.contains(operator)
    }

    /// Its parts, in order, each at most [`MAX_BLOCK_BYTES`].
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where it cannot be written or has too many parts.
    pub fn encode(&self) -> Result<Vec<Bytes>> {
        self.encode_in_parts_of(MAX_BLOCK_BYTES)
    }

    pub(crate) fn encode_in_parts_of(&self, max_bytes: usize) -> Result<Vec<Bytes>> {
        let mut text = Vec::new();
        Bincode::encode(self, &mut text).map_err(|e| Error::internal(format!("manifest: {e}")))?;
        let chunks: Vec<&[u8]> = text.chunks(max_bytes - HEADER_BYTES).collect();
        let of = u32::try_from(chunks.len()).ok().filter(|n| *n <= MAX_PARTS).ok_or_else(|| {
            Error::internal(format!("a manifest of {} bytes is too large", text.len()))
        })?;
        Ok((0..of).zip(chunks).map(|(part, chunk)| encode_part(part, of, chunk)).collect())
    }

    /// Reads a manifest back from all its parts, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for bytes that are damaged, incomplete or of a format not known here.
    pub fn decode(parts: &[Bytes]) -> Result<Self> {
        let (mut text, mut format) = (Vec::new(), FORMAT);
        for (index, part) in parts.iter().enumerate() {
            let (header, chunk) = Part::decode(part)?;
            if header.part as usize != index || header.of as usize != parts.len() {
                return Err(corrupt(format!(
                    "part {index} of {} says that it is part {} of {}",
                    parts.len(),
                    header.part,
                    header.of
                )));
            }
            text.extend_from_slice(chunk);
            format = header.format;
        }
        // Empty lists, and that the end of all input is to come.
        text.extend((format..FORMAT).map(|_| 0));
        let (manifest, read) = decode_from::<Self>(&text).map_err(|e| corrupt(e.to_string()))?;
        if read != text.len() {
            return Err(corrupt(format!("{} bytes too many", text.len() - read)));
        }
        manifest.checked()
    }

    /// A slot that its own table does not know would make the table grow to any size at a restart.
    fn checked(self) -> Result<Self> {
        let states = self.operator_states.iter().flat_map(|s| s.subtasks.iter().flatten());
        if let Some(state) = states.into_iter().find(|state| !state.elements.is_whole()) {
            return Err(corrupt(format!("the elements of operator state {} overlap", state.state)));
        }
        let slots = self.slots.segments.len() as u64;
        match self.segments.iter().find(|s| s.slot.0 >= slots) {
            Some(segment) => {
                Err(corrupt(format!("it names segment slot {} of {slots} slots", segment.slot)))
            }
            None => Ok(self),
        }
    }
}

/// The header of one part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    format: u16,
    part: u32,
    /// How many parts there are.
    pub(super) of: u32,
}

impl Part {
    /// The header and the share of the text that follows it.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let (header, chunk) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| corrupt(format!("{} bytes are no part", bytes.len())))?;
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        if header[..4] != MAGIC {
            return Err(corrupt("it does not begin with MPMF".to_owned()));
        }
        let format = u16::from_le_bytes([header[4], header[5]]);
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(corrupt(format!(
                "format {format} is not known here, only {OLDEST_FORMAT} to {FORMAT}"
            )));
        }
        if number(14) != checksum(&header[..14], chunk) {
            return Err(corrupt("its checksum is wrong".to_owned()));
        }
        let part = Self { format, part: number(6), of: number(10) };
        if part.of == 0 || part.of > MAX_PARTS {
            return Err(corrupt(format!("it says that it has {} parts", part.of)));
        }
        Ok((part, chunk))
    }
}

fn encode_part(part: u32, of: u32, chunk: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + chunk.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&part.to_le_bytes());
    bytes.extend_from_slice(&of.to_le_bytes());
    let crc = checksum(&bytes, chunk);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(chunk);
    bytes.into()
}

fn checksum(header: &[u8], chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(chunk);
    hasher.finalize()
}

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message).at("manifest")
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
