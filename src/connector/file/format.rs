//! Formats: where a record ends in a run of bytes, and what it says.
//!
//! Owns the traits, text lines and JSON lines. CSV is `csv`'s. Does not read anything: bytes come
//! from `block`, positions and line numbers are `reader`'s.

use std::fmt;
use std::marker::PhantomData;

use memchr::memchr;
use serde::de::DeserializeOwned;

/// Where the first record of some bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record of `end` bytes; the next one starts at `next`.
    Record {
        /// Without the line's end.
        end: usize,
        /// After the line's end.
        next: usize,
        /// How many newlines are in the first `next` bytes.
        newlines: u64,
    },
    /// It does not end in these bytes.
    More,
    /// It never ends: all bytes are there, and a quote is open.
    Unclosed,
}

/// What a record says.
#[derive(Debug)]
pub enum Parsed<T> {
    /// A value.
    Item(T),
    /// Nothing: an empty line, in formats where that is no record.
    Blank,
    /// The record is bad, and why.
    Bad(String),
    /// The file is not what the program expects (its header): no record of it can be read.
    Hopeless(String),
}

/// A format of records in a file, for [`super::FileSource::with_format`]. A record is a run of bytes that follows the
/// one before it; where it ends is found from the front alone.
pub trait Format: fmt::Debug + Clone + Send + Sync + 'static {
    /// What a record becomes.
    type Item: Send + 'static;
    /// Turns records into items; one for each open file.
    type Parser: Parser<Item = Self::Item>;
    /// Its name, for [`crate::connector::Source::describe`].
    const NAME: &'static str;
    /// Whether the first record names the columns.
    const HEADER: bool;

    /// Whether each newline ends a record, so that a file can be cut at any byte. Where not, `split_size` is an error.
    fn lines_are_records(&self) -> bool {
        true
    }

    /// Where the first record of `data`, which is not empty, ends. `last`: nothing follows `data`. It is asked again
    /// with more data after [`Frame::More`].
    fn frame(&self, data: &[u8], last: bool) -> Frame {
        frame_line(data, last)
    }

    /// A parser for a file with this header, which is empty without [`Format::HEADER`].
    ///
    /// # Errors
    /// What is wrong with the header.
    fn parser(&self, header: &[u8]) -> Result<Self::Parser, String>;
}

/// Turns records into items.
pub trait Parser: Send + 'static {
    /// What a record becomes.
    type Item;

    /// Reads one record, as [`Format::frame`] has cut it.
    fn parse(&mut self, record: &[u8]) -> Parsed<Self::Item>;
}

/// A record is a line; it ends with `\n` or `\r\n`, or with the data.
#[inline]
pub(super) fn frame_line(data: &[u8], last: bool) -> Frame {
    match memchr(b'\n', data) {
        Some(at) => line_ending_at(data, at),
        None if last => Frame::Record { end: data.len(), next: data.len(), newlines: 0 },
        None => Frame::More,
    }
}

#[inline]
pub(super) fn line_ending_at(data: &[u8], newline: usize) -> Frame {
    let carriage_return = newline > 0 && data[newline - 1] == b'\r';
    Frame::Record { end: newline - usize::from(carriage_return), next: newline + 1, newlines: 1 }
}

pub(super) fn bad_utf8(e: std::str::Utf8Error) -> String {
    format!("not UTF-8 from its byte {} on", e.valid_up_to())
}

/// Each line is a record, empty ones too.
#[derive(Clone, Copy, Debug)]
pub struct Lines;

impl Format for Lines {
    type Item = String;
    type Parser = Self;
    const NAME: &'static str = "lines of";
    const HEADER: bool = false;

    fn parser(&self, _header: &[u8]) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Parser for Lines {
    type Item = String;

    #[inline]
    fn parse(&mut self, record: &[u8]) -> Parsed<String> {
        match std::str::from_utf8(record) {
            Ok(text) => Parsed::Item(text.to_owned()),
            Err(e) => Parsed::Bad(bad_utf8(e)),
        }
    }
}

/// Each line that is not blank is a JSON value of type `T`.
pub struct JsonLines<T>(PhantomData<fn() -> T>);

impl<T> JsonLines<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonLines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonLines")
    }
}

impl<T: DeserializeOwned + Send + 'static> Format for JsonLines<T> {
    type Item = T;
    type Parser = Self;
    const NAME: &'static str = "JSON lines of";
    const HEADER: bool = false;

    fn parser(&self, _header: &[u8]) -> Result<Self, String> {
        Ok(self.clone())
    }
}

impl<T: DeserializeOwned + Send + 'static> Parser for JsonLines<T> {
    type Item = T;

    #[inline]
    fn parse(&mut self, record: &[u8]) -> Parsed<T> {
        if record.trim_ascii().is_empty() {
            return Parsed::Blank;
        }
        let text = match std::str::from_utf8(record) {
            Ok(text) => text,
            Err(e) => return Parsed::Bad(bad_utf8(e)),
        };
        match serde_json::from_str(text) {
            Ok(item) => Parsed::Item(item),
            Err(e) => Parsed::Bad(json_error(&e)),
        }
    }
}

/// serde_json's message, without "line 1": the line's number is said by the caller.
fn json_error(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at its column")
}
