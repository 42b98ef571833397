//! CSV: where records end in the presence of quotes, and the columns of a record.
//!
//! RFC 4180: comma, double quotes, doubled quotes inside. A quote opens only at a field's start. The
//! first record names the columns. What a row becomes is `csv_row`'s.

use std::fmt;
use std::marker::PhantomData;

use memchr::{memchr, memchr_iter, memchr2};
use serde::de::DeserializeOwned;

use super::csv_probe;
use super::csv_row::{Header, Leniency, Row, RowError};
use super::format::{Format, Frame, Parsed, Parser, bad_utf8, frame_line, line_ending_at};

/// CSV with a header; a row becomes a `T` by the names of its columns.
pub struct Csv<T> {
    quoted_newlines: bool,
    leniency: Leniency,
    item: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    pub(super) fn new() -> Self {
        Self { quoted_newlines: true, leniency: Leniency::default(), item: PhantomData }
    }

    pub(super) fn quoted_newlines(self, allowed: bool) -> Self {
        Self { quoted_newlines: allowed, ..self }
    }

    pub(super) fn ignore_extra(mut self) -> Self {
        self.leniency.extra = true;
        self
    }

    pub(super) fn allow_missing(mut self) -> Self {
        self.leniency.missing = true;
        self
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Self { item: PhantomData, ..*self }
    }
}

impl<T> fmt::Debug for Csv<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csv")
            .field("quoted_newlines", &self.quoted_newlines)
            .finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned + Send + 'static> Format for Csv<T> {
    type Item = T;
    type Parser = Rows<T>;
    const NAME: &'static str = "CSV of";
    const HEADER: bool = true;

    fn lines_are_records(&self) -> bool {
        !self.quoted_newlines
    }

    #[inline]
    fn frame(&self, data: &[u8], last: bool) -> Frame {
        if !self.quoted_newlines {
            return frame_line(data, last);
        }
        let newline = memchr(b'\n', data);
        let line = &data[..newline.unwrap_or(data.len())];
        match newline {
            _ if memchr(b'"', line).is_some() => frame_quoted(data, last),
            Some(at) => line_ending_at(data, at),
            None => frame_line(data, last),
        }
    }

    fn parser(&self, header: &[u8]) -> Result<Rows<T>, String> {
        let mut cells = Cells::default();
        cells.split(header).map_err(|reason| format!("in its header, {reason}"))?;
        let text = std::str::from_utf8(cells.bytes(header))
            .map_err(|e| format!("its header is {}", bad_utf8(e)))?;
        let names = cells.fields.iter().map(|&(a, b)| text[a as usize..b as usize].to_owned());
        let header = Header::new(names.collect(), self.leniency)?;
        Ok(Rows { header, cells, item: PhantomData })
    }
}

/// Turns CSV rows into values; keeps the memory of one row.
pub struct Rows<T> {
    header: Header,
    cells: Cells,
    item: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned + 'static> Parser for Rows<T> {
    type Item = T;

    #[inline]
    fn parse(&mut self, record: &[u8]) -> Parsed<T> {
        if record.is_empty() {
            return Parsed::Blank;
        }
        if let Err(reason) = self.cells.split(record) {
            return Parsed::Bad(reason);
        }
        let columns = self.header.names().len();
        if self.cells.fields.len() != columns {
            let found = self.cells.fields.len();
            return Parsed::Bad(format!("{found} columns where the header names {columns}"));
        }
        let text = match std::str::from_utf8(self.cells.bytes(record)) {
            Ok(text) => text,
            Err(e) => return Parsed::Bad(bad_utf8(e)),
        };
        let row = Row::new(&self.header, text, &self.cells.fields);
        match T::deserialize(row) {
            Ok(item) => Parsed::Item(item),
            Err(RowError::Absent(names)) => match lost::<T>(&names, self.header.names()) {
                Some(reason) => Parsed::Hopeless(reason),
                None => parsed(T::deserialize(row)),
            },
            other => parsed(other),
        }
    }
}

fn parsed<T>(result: Result<T, RowError>) -> Parsed<T> {
    match result {
        Ok(item) => Parsed::Item(item),
        Err(RowError::Value(reason)) => Parsed::Bad(reason),
        Err(error @ (RowError::Header(_) | RowError::Absent(_))) => {
            Parsed::Hopeless(error.to_string())
        }
    }
}

/// Why rows cannot be read under a header that lacks `absent`, unless they can.
#[cold]
fn lost<T: DeserializeOwned>(absent: &[&str], names: &[String]) -> Option<String> {
    let lost = absent.iter().find(|name| csv_probe::is_lost::<T>(name, names))?;
    Some(format!(
        "its header has no column {lost:?}, which would be None in every row (allow_missing_columns \
         takes it so)"
    ))
}

/// The fields of one row: ranges of the row itself, or of a copy without its quotes.
#[derive(Debug, Default)]
struct Cells {
    fields: Vec<(u32, u32)>,
    unquoted: Vec<u8>,
    quoted: bool,
}

impl Cells {
    /// The bytes that the fields are ranges of.
    fn bytes<'a>(&'a self, record: &'a [u8]) -> &'a [u8] {
        if self.quoted { &self.unquoted } else { record }
    }

    #[inline]
    fn split(&mut self, record: &[u8]) -> Result<(), String> {
        self.fields.clear();
        let length = u32::try_from(record.len()).map_err(|_| "longer than 4 GiB".to_owned())?;
        self.quoted = memchr(b'"', record).is_some();
        if self.quoted {
            return self.split_quoted(record);
        }
        let mut begin = 0;
        for comma in memchr_iter(b',', record) {
            // A record's length fits, so the place of a comma in it does.
            let comma = comma as u32;
            self.fields.push((begin, comma));
            begin = comma + 1;
        }
        self.fields.push((begin, length));
        Ok(())
    }

    fn split_quoted(&mut self, record: &[u8]) -> Result<(), String> {
        self.unquoted.clear();
        let mut at = 0;
        loop {
            let begin = self.unquoted.len();
            if record.get(at) == Some(&b'"') {
                at = self.unquote(record, at + 1)?;
            }
            let rest = &record[at..];
            let comma = memchr(b',', rest);
            self.unquoted.extend_from_slice(&rest[..comma.unwrap_or(rest.len())]);
            self.fields.push((begin as u32, self.unquoted.len() as u32));
            match comma {
                Some(comma) => at += comma + 1,
                None => return Ok(()),
            }
        }
    }

    /// Copies what is quoted from `at` on; returns the place after the closing quote.
    fn unquote(&mut self, record: &[u8], mut at: usize) -> Result<usize, String> {
        loop {
            let quote = memchr(b'"', &record[at..]).ok_or("a quote is not closed")?;
            self.unquoted.extend_from_slice(&record[at..at + quote]);
            at += quote + 1;
            if record.get(at) != Some(&b'"') {
                return Ok(at);
            }
            self.unquoted.push(b'"');
            at += 1;
        }
    }
}

/// As [`Format::frame`], for a record with a quote in its first line.
fn frame_quoted(data: &[u8], last: bool) -> Frame {
    let unended = if last { Frame::Unclosed } else { Frame::More };
    let mut at = 0;
    loop {
        if data.get(at) == Some(&b'"') {
            match closing_quote(data, at + 1) {
                Some(after) => at = after,
                None => return unended,
            }
        }
        match memchr2(b',', b'\n', &data[at..]) {
            Some(n) if data[at + n] == b',' => at += n + 1,
            Some(n) => return with_newlines(line_ending_at(data, at + n), data),
            None if last => {
                return with_newlines(
                    Frame::Record { end: data.len(), next: data.len(), newlines: 0 },
                    data,
                );
            }
            None => return Frame::More,
        }
    }
}

/// The place after the quote that closes what is quoted from `at` on.
fn closing_quote(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'"', &data[at..])? + 1;
        if data.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

fn with_newlines(frame: Frame, data: &[u8]) -> Frame {
    match frame {
        Frame::Record { end, next, .. } => {
            let newlines = memchr_iter(b'\n', &data[..next]).count() as u64;
            Frame::Record { end, next, newlines }
        }
        other => other,
    }
}
