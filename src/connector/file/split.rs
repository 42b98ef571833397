//! What stands in a manifest about one file or range of it, and how it is found and checked.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::inputs::{HEAD_BYTES, Handle, Inputs, Place};
use super::tail::Tail;
use crate::connector::{SplitState, split_bytes};
use crate::error::{Error, ErrorKind, Result};

/// The layout of a split's state. Version 1 had no tail, and is read still.
const VERSION: u8 = 2;
const WITHOUT_TAIL: u8 = 1;

/// One file, or the lines that start in a range of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Split {
    pub(super) place: Place,
    /// First byte of the range.
    pub(super) start: u64,
    /// Records that start before this byte belong to the range; `None`: the file is followed.
    pub(super) end: Option<u64>,
    /// The file's length when it was found: a file that is not followed is read up to here, even if
    /// it has grown since, so that a restart reads what the first attempt would have read.
    pub(super) length: u64,
    /// How many bytes `head_hash` covers.
    pub(super) head_bytes: u64,
    pub(super) head_hash: u64,
    /// The byte after the last record that was given out. Before `start`: the range has not been
    /// begun, and the line that is under way at this byte belongs to the range before.
    pub(super) position: u64,
    /// What stands before `position`, as far as it was read. Not among the fields that version 1 has.
    #[serde(skip)]
    pub(super) tail: Tail,
    /// Newlines before `position`; unknown in ranges that do not begin the file.
    pub(super) lines: Option<u64>,
    pub(super) done: bool,
}

impl Split {
    /// The path, or the path and range.
    pub(super) fn id(&self) -> String {
        match self.end {
            Some(end) if self.start > 0 || end < self.length => {
                format!("{}[{}..{end}]", self.place, self.start)
            }
            _ => self.place.to_string(),
        }
    }

    /// What it is, in words.
    fn told(&self) -> String {
        let range = if self.id() == self.place.to_string() { "" } else { "a range of " };
        match &self.place {
            Place::Path(path) => format!("{range}the file {path}"),
            Place::Embedded(name) => format!("{range}{name} (compiled in)"),
        }
    }

    pub(super) fn to_state(&self) -> SplitState {
        // Encoding a struct of numbers and a text into a vector cannot fail.
        let state = split_bytes::encode_as(VERSION, &(self.clone(), self.tail)).unwrap_or_default();
        SplitState { id: self.id(), state, done: self.done }
    }

    pub(super) fn from_state(state: &SplitState) -> Result<Self> {
        let decoded = match state.state.first() {
            Some(&WITHOUT_TAIL) => split_bytes::decode_as(WITHOUT_TAIL, &state.state),
            _ => split_bytes::decode_as(VERSION, &state.state)
                .map(|(split, tail)| Self { tail, ..split }),
        };
        decoded.map_err(|e| e.at(format!("split {}", state.id)))
    }
}

/// The splits of one file: one, or one for each `split_size` bytes.
pub(super) fn discover(
    inputs: &Inputs,
    place: &Place,
    follow: bool,
    split_size: Option<u64>,
) -> Result<Vec<Split>> {
    let mut handle = inputs.open(place)?;
    let read = |e| Error::io("read", std::path::Path::new(&place.to_string()), e);
    let length = handle.len().map_err(read)?;
    let head_bytes = length.min(HEAD_BYTES);
    let head_hash = handle.head_hash(head_bytes).map_err(read)?;
    let split = |start: u64, end: Option<u64>| Split {
        place: place.clone(),
        start,
        end,
        length,
        head_bytes,
        head_hash,
        // A line starts at `start` only if the byte before is a newline: begin with that byte.
        position: start.saturating_sub(1),
        tail: Tail::default(),
        lines: (start == 0).then_some(0),
        done: false,
    };
    if follow {
        return Ok(vec![split(0, None)]);
    }
    let step = split_size.unwrap_or(length).max(1);
    let mut splits = vec![split(0, Some(length.min(step)))];
    let mut at = step;
    while at < length {
        splits.push(split(at, Some(length.min(at + step))));
        at += step;
    }
    Ok(splits)
}

/// Checks that no two splits have one id, under which a single position would be kept of both.
pub(super) fn check_ids(splits: &[Split]) -> Result<()> {
    let mut seen = HashMap::new();
    for split in splits {
        if let Some(other) = seen.insert(split.id(), split) {
            return Err(Error::usage(format!(
                "{} and {} have one name, {:?}, under which their positions would be kept: give one of \
                 them another",
                other.told(),
                split.told(),
                split.id()
            )));
        }
    }
    Ok(())
}

/// Checks that the file of `split` is still the one that it was.
pub(super) fn check(inputs: &Inputs, split: &Split) -> Result<()> {
    let mut handle = inputs.open(&split.place)?;
    let read = |e| Error::io("read", std::path::Path::new(&split.place.to_string()), e);
    let length = handle.len().map_err(read)?;
    let needed = match split.end {
        Some(_) => split.length,
        None => split.length.max(split.position),
    };
    if length < needed {
        return Err(shrank(&split.place, needed, length));
    }
    if handle.head_hash(split.head_bytes).map_err(read)? != split.head_hash {
        return Err(changed(format!(
            "the input {} has changed: its first {} bytes are not what they were",
            split.place, split.head_bytes
        )));
    }
    if !split.tail.stands_before(split.position, &mut handle).map_err(read)? {
        return Err(written_anew(&split.place, split.position));
    }
    let grown = matches!(handle, Handle::Bytes(_)) && length != split.length;
    if grown {
        return Err(Error::new(
            ErrorKind::Input,
            format!("the input {} has changed: it had {needed} bytes, now {length}", split.place),
        ));
    }
    Ok(())
}

pub(super) fn shrank(place: &Place, had: u64, has: u64) -> Error {
    changed(format!("the input {place} shrank: it had {had} bytes, now {has}"))
}

/// Another file is where one was followed.
pub(super) fn replaced(place: &Place, read: u64) -> Error {
    changed(format!(
        "the input {place} was replaced by another file, after all {read} bytes of the one that is \
         followed were read"
    ))
}

/// It was cut off and has grown again, or was written over.
pub(super) fn written_anew(place: &Place, read: u64) -> Error {
    changed(format!(
        "the input {place} has changed: what stands before byte {read}, where it is read on, is not \
         what was there"
    ))
}

fn changed(what: String) -> Error {
    let message = format!(
        "{what}; files are to be appended to only: put it back as it was to go on, or start with --fresh"
    );
    Error::new(ErrorKind::Input, message)
}
