//! Bytes of one file in order: a buffer, and reads of the next chunk that run off the worker.

use std::borrow::Cow;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::inputs::{Handle, Place, Standing, gone};
use super::split::{Split, replaced, shrank, written_anew};
use super::tail::{TAIL, Tail, last};
use crate::error::{Error, Result};
use crate::io::Io;

/// How much one read asks for, in bytes; more where a record is longer.
pub(super) const CHUNK: u64 = 256 << 10;

/// What was read and not yet parsed, and a little of what was.
#[derive(Debug)]
pub(super) struct Buffer {
    /// What stands before `data`, as much of it as counts.
    before: Vec<u8>,
    data: Vec<u8>,
    at: usize,
    /// The offset in the file of `data[0]`.
    base: u64,
}

impl Buffer {
    fn starting_at(offset: u64) -> Self {
        Self { before: Vec::new(), data: Vec::new(), at: 0, base: offset }
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.data[self.at..]
    }

    /// The offset in the file of the first byte of [`Self::rest`].
    pub(super) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.at += n;
    }

    /// The end of what stands before [`Self::rest`].
    fn consumed(&self) -> Cow<'_, [u8]> {
        joined(&self.before, &self.data[..self.at])
    }

    /// The end of what was read.
    fn read(&self) -> Cow<'_, [u8]> {
        joined(&self.before, &self.data)
    }

    /// Appends `chunk`; what comes back is a vector whose memory can be used again.
    fn append(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        self.before = self.consumed().into_owned();
        self.base += self.at as u64;
        if self.at == self.data.len() {
            self.at = 0;
            return std::mem::replace(&mut self.data, chunk);
        }
        self.data.drain(..self.at);
        self.at = 0;
        self.data.extend_from_slice(&chunk);
        chunk
    }
}

/// The end of `before` and `after` together, as much as counts.
fn joined<'a>(before: &'a [u8], after: &'a [u8]) -> Cow<'a, [u8]> {
    let after = last(after);
    let missing = (TAIL as usize - after.len()).min(before.len());
    if missing == 0 {
        return Cow::Borrowed(after);
    }
    Cow::Owned([&before[before.len() - missing..], after].concat())
}

struct Chunk {
    handle: Handle,
    bytes: Vec<u8>,
    /// The file's length after the read.
    length: u64,
    /// Asked only where nothing was read.
    standing: Standing,
    /// What stands before `bytes`, read after them: before the first ones, and in a followed file.
    before: Vec<u8>,
}

/// Reads a file in order, one chunk ahead of the parser.
pub(super) struct Block {
    pub(super) buffer: Buffer,
    place: Place,
    io: Io,
    /// `None` while a read is under way.
    handle: Option<Handle>,
    under_way: Option<BoxFuture<'static, Result<Chunk>>>,
    /// Where the next read begins.
    next: u64,
    /// Nothing from here on is read; `None`: the file is followed.
    limit: Option<u64>,
    /// Records from here on are another split's: nothing is read ahead past it.
    owned_until: Option<u64>,
    /// The last known length of a followed file.
    length: u64,
    /// The name of a followed file has been seen to lead elsewhere.
    moved: bool,
    /// What is to stand before the first byte; `None` once it was read.
    first: Option<Tail>,
    spare: Vec<u8>,
    /// [`CHUNK`], or less in tests.
    chunk: u64,
}

impl Block {
    /// From the position of `split` on.
    pub(super) fn new(handle: Handle, io: Io, split: &Split, chunk: u64) -> Self {
        let offset = split.position;
        let limit = split.end.map(|_| split.length);
        Self {
            buffer: Buffer::starting_at(offset),
            place: split.place.clone(),
            io,
            handle: Some(handle),
            under_way: None,
            next: offset,
            limit,
            owned_until: split.end,
            length: limit.unwrap_or(offset),
            moved: false,
            first: Some(split.tail),
            spare: Vec::new(),
            chunk,
        }
    }

    /// Whether nothing follows the buffer. Never so in a followed file.
    pub(super) fn at_end(&self) -> bool {
        self.limit.is_some_and(|limit| self.next >= limit)
    }

    /// What stands before the first byte that is not parsed.
    pub(super) fn tail(&self) -> Tail {
        match self.first {
            // Nothing was read yet.
            Some(tail) => tail,
            None => Tail::of(&self.buffer.consumed()),
        }
    }

    /// The length that the file has, as far as is known.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Begins to read the next chunk, unless that is under way or there is none. The record under way does not
    /// end in the buffer.
    pub(super) fn read_ahead(&mut self) {
        self.read_next(self.buffer.rest().len());
    }

    /// `unfinished`: how much of a record was there when its end was not. To ask for what the buffer holds,
    /// whole records included, would ask for a little more each time.
    fn read_next(&mut self, unfinished: usize) {
        if self.at_end() {
            return;
        }
        let Some(mut handle) = self.handle.take() else { return };
        let wanted = self.chunk.max(unfinished as u64);
        let most = self.limit.map_or(wanted, |limit| wanted.min(limit - self.next));
        let (place, offset) = (self.place.clone(), self.next);
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        let looks_back = self.first.is_some() || self.limit.is_none();
        let tail = if looks_back { offset.min(TAIL) } else { 0 };
        let read = self.io.blocking(move || {
            let mut read = || {
                handle.read_at(offset, most, &mut bytes)?;
                let standing =
                    if bytes.is_empty() { handle.standing(&place)? } else { Standing::Here };
                // After the bytes, so that those of a file that was written anew meanwhile do not count.
                let mut before = Vec::new();
                handle.read_at(offset - tail, tail, &mut before)?;
                Ok((handle.len()?, standing, before))
            };
            match read() {
                Ok((length, standing, before)) => {
                    Ok(Chunk { handle, bytes, length, standing, before })
                }
                Err(e) => Err(Error::io("read", std::path::Path::new(&place.to_string()), e)),
            }
        });
        self.under_way = Some(read.boxed());
    }

    /// Waits for the next chunk and says how long it is; 0 at the present end of a followed file.
    /// May be dropped while it waits.
    pub(super) async fn more(&mut self) -> Result<usize> {
        self.read_ahead();
        let Some(under_way) = &mut self.under_way else { return Ok(0) };
        let chunk = under_way.await;
        self.under_way = None;
        let Chunk { handle, bytes, length, standing, before } = chunk?;
        self.handle = Some(handle);
        self.length = self.limit.unwrap_or(length);
        let n = bytes.len();
        if n == 0 {
            self.check_end(length, standing)?;
        }
        self.check_tail(length, before)?;
        self.next += n as u64;
        let unfinished = self.buffer.rest().len();
        self.spare = self.buffer.append(bytes);
        if n as u64 >= self.chunk && self.owned_until.is_none_or(|end| self.next < end) {
            self.read_next(unfinished);
        }
        Ok(n)
    }

    /// A read found nothing: right at the end of a followed file, an error elsewhere.
    fn check_end(&mut self, length: u64, standing: Standing) -> Result<()> {
        match (standing, self.limit) {
            (Standing::Gone, Some(_)) => Err(gone(&self.place)),
            (_, Some(limit)) => Err(shrank(&self.place, limit, length)),
            (Standing::Here, None) => Ok(()),
            // Something may have been appended since the read, and whoever writes may not know yet.
            _ if !std::mem::replace(&mut self.moved, true) => Ok(()),
            (Standing::Gone, None) => Err(gone(&self.place)),
            (Standing::Replaced, None) => Err(replaced(&self.place, self.next)),
        }
    }

    /// Whether the file has what stood before its first byte, and a followed one still has what was read of
    /// it last, so that what was read now goes on from there.
    fn check_tail(&mut self, length: u64, before: Vec<u8>) -> Result<()> {
        if self.limit.is_none() && length < self.next {
            return Err(shrank(&self.place, self.next, length));
        }
        let same = match self.first {
            Some(tail) => tail.ends(&before),
            None => self.limit.is_some() || *self.buffer.read() == *before,
        };
        if !same {
            return Err(written_anew(&self.place, self.next));
        }
        if self.first.take().is_some() {
            self.buffer.before = before;
        }
        Ok(())
    }
}
