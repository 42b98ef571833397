//! Opening a file: its byte-order mark, its header, and where its records begin.

use super::format::{Format, Frame};
use super::inputs::{Handle, Inputs};
use super::split::{Split, shrank};
use super::tail::Tail;
use crate::error::{Error, ErrorKind, Result};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How much of a file's start is read first, in bytes.
const FIRST_READ: u64 = 64 << 10;

/// An open file, ready for its first record.
pub(super) struct Opened<P> {
    pub(super) handle: Handle,
    pub(super) parser: P,
    /// Where the records begin: after mark and header.
    pub(super) records_at: u64,
    /// What stands before `records_at`.
    pub(super) tail: Tail,
    /// Newlines before `records_at`.
    pub(super) lines: u64,
}

/// Opens the file of `split` and reads its header. Blocks. `None`: the file is followed, and its
/// header is not there yet.
pub(super) fn open<F: Format>(
    inputs: &Inputs,
    split: &Split,
    format: &F,
    max_line: usize,
) -> Result<Option<Opened<F::Parser>>> {
    let mut handle = inputs.open(&split.place)?;
    let begin = begin(&mut handle, split, format, max_line)?;
    let Some(Begin { header, records_at, tail, lines }) = begin else { return Ok(None) };
    let parser = format.parser(&header).map_err(|reason| hopeless(split, &reason))?;
    Ok(Some(Opened { handle, parser, records_at, tail, lines }))
}

/// An error that no `on_error` can help with.
pub(super) fn hopeless(split: &Split, reason: &str) -> Error {
    Error::new(ErrorKind::Input, format!("cannot read {}: {reason}", split.place))
}

struct Begin {
    header: Vec<u8>,
    records_at: u64,
    tail: Tail,
    lines: u64,
}

fn begin<F: Format>(
    handle: &mut Handle,
    split: &Split,
    format: &F,
    max_line: usize,
) -> Result<Option<Begin>> {
    let limit = split.end.map_or(u64::MAX, |_| split.length);
    let mut data = Vec::new();
    loop {
        let had = data.len() as u64;
        let most = FIRST_READ.max(had).min(limit - had);
        let read = handle.read_at(had, most, &mut data).and_then(|()| handle.len());
        let length =
            read.map_err(|e| Error::io("read", std::path::Path::new(&split.place.to_string()), e))?;
        if split.end.is_some() && length < split.length {
            return Err(shrank(&split.place, split.length, length));
        }
        let last = data.len() as u64 >= limit;
        match begin_of(&data, last, format) {
            Frame::Record { end, next, newlines } => {
                let mark = mark_of(&data);
                let header = if F::HEADER { data[mark..end].to_vec() } else { Vec::new() };
                let (records_at, tail) = (next as u64, Tail::of(&data[..next]));
                return Ok(Some(Begin { header, records_at, tail, lines: newlines }));
            }
            Frame::Unclosed => return Err(hopeless(split, "a quote in its header is not closed")),
            Frame::More if data.len() > max_line => {
                let reason =
                    format!("its header is longer than max_line_length ({max_line} bytes)");
                return Err(hopeless(split, &reason));
            }
            // The rest is not written yet.
            Frame::More if data.len() as u64 == had => return Ok(None),
            Frame::More => {}
        }
    }
}

fn mark_of(data: &[u8]) -> usize {
    if data.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// Mark and header as one record at the start of `data`.
fn begin_of<F: Format>(data: &[u8], last: bool, format: &F) -> Frame {
    if !last && data.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(data) {
        return Frame::More;
    }
    let mark = mark_of(data);
    if !F::HEADER || (last && data.len() == mark) {
        return Frame::Record { end: mark, next: mark, newlines: 0 };
    }
    match format.frame(&data[mark..], last) {
        Frame::Record { end, next, newlines } => {
            Frame::Record { end: end + mark, next: next + mark, newlines }
        }
        other => other,
    }
}
