//! Bytes of one file in order: a buffer, and reads of the next chunk that run off the worker.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::inputs::{Handle, Place};
use super::split::{Split, shrank};
use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;

/// How much one read asks for, in bytes; more where a record is longer.
pub(super) const CHUNK: u64 = 256 << 10;

/// What was read and not yet parsed.
#[derive(Debug)]
pub(super) struct Buffer {
    data: Vec<u8>,
    at: usize,
    /// The offset in the file of `data[0]`.
    base: u64,
}

impl Buffer {
    fn starting_at(offset: u64) -> Self {
        Self { data: Vec::new(), at: 0, base: offset }
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

    /// Appends `chunk`; what comes back is a vector whose memory can be used again.
    fn append(&mut self, chunk: Vec<u8>) -> Vec<u8> {
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

struct Chunk {
    handle: Handle,
    bytes: Vec<u8>,
    /// The file's length after the read.
    length: u64,
    /// Whether there is still a file under this name; asked only where nothing was read.
    gone: bool,
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
    spare: Vec<u8>,
    /// [`CHUNK`], or less in tests.
    chunk: u64,
}

impl Block {
    pub(super) fn new(handle: Handle, io: Io, offset: u64, split: &Split, chunk: u64) -> Self {
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
            spare: Vec::new(),
            chunk,
        }
    }

    /// Whether nothing follows the buffer. Never so in a followed file.
    pub(super) fn at_end(&self) -> bool {
        self.limit.is_some_and(|limit| self.next >= limit)
    }

    /// The length that the file has, as far as is known.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Begins to read the next chunk, unless that is under way or there is none.
    pub(super) fn read_ahead(&mut self) {
        if self.at_end() {
            return;
        }
        let Some(mut handle) = self.handle.take() else { return };
        let wanted = self.chunk.max(self.buffer.rest().len() as u64);
        let most = self.limit.map_or(wanted, |limit| wanted.min(limit - self.next));
        let (place, offset) = (self.place.clone(), self.next);
        let mut bytes = std::mem::take(&mut self.spare);
        bytes.clear();
        let read = self.io.blocking(move || {
            let mut read = || {
                handle.read_at(offset, most, &mut bytes)?;
                handle.len()
            };
            match read() {
                Ok(length) => {
                    let gone = bytes.is_empty() && is_gone(&place);
                    Ok(Chunk { handle, bytes, length, gone })
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
        let Chunk { handle, bytes, length, gone } = chunk?;
        self.handle = Some(handle);
        self.length = self.limit.unwrap_or(length);
        let n = bytes.len();
        if n == 0 {
            self.check_end(length, gone)?;
        }
        self.next += n as u64;
        self.spare = self.buffer.append(bytes);
        if n as u64 >= self.chunk && self.owned_until.is_none_or(|end| self.next < end) {
            self.read_ahead();
        }
        Ok(n)
    }

    /// A read found nothing: right at the end of a followed file, an error elsewhere.
    fn check_end(&self, length: u64, gone: bool) -> Result<()> {
        if gone {
            return Err(Error::new(ErrorKind::Input, format!("the input {} is gone", self.place)));
        }
        if length < self.next || self.limit.is_some() {
            return Err(shrank(&self.place, self.limit.unwrap_or(self.next), length));
        }
        Ok(())
    }
}

/// Whether no file has this name any more; an open one can be read on all the same.
fn is_gone(place: &Place) -> bool {
    match place {
        Place::Path(path) => !std::path::Path::new(path).exists(),
        Place::Embedded(_) => false,
    }
}
