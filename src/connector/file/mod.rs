//! Files as a source: text lines, CSV and JSON lines, by path, glob or compiled in.
//!
//! `inputs` finds and opens files, `pattern` matches their names, `split` is what a manifest keeps, by `tail`
//! a file is known again, `block` reads off the worker, `format`, `csv` and `cut` cut and parse records,
//! `split_reader` keeps positions, `reader` takes turns.
//!
//! One split a file, or one for each `split_size` bytes: a range owns the lines that *start* in it.
//! Positions are exact to the byte, so a restart goes on after the last record that was given out.

mod bad;
mod block;
mod csv;
mod csv_probe;
mod csv_row;
mod cut;
mod format;
#[cfg(test)]
mod fuzz;
mod inputs;
mod open;
mod pattern;
mod reader;
mod split;
mod split_reader;
mod tail;
#[cfg(test)]
mod tests;
mod unread;

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

pub(super) use bad::{Aside, Bad, Route};
pub use bad::{DeadLetter, OnError};
pub use csv::{Csv, Rows};
pub(super) use cut::{Cut, cut, long_reason};
pub use format::{Format, Frame, JsonLines, Lines, Parsed, Parser};
pub use inputs::Inputs;
use reader::FileReader;
use split::Split;
use split_reader::Shared;

use super::pace::{Pace, Paced};
use super::{Reader, ReaderContext, Source, SplitState};
use crate::error::{Error, Result};

/// Longest record that is not too long, in bytes without its end, where nothing else is said.
pub(super) const MAX_LINE: usize = 1 << 20;
/// Smallest `split_size`, in bytes: a byte-order mark must lie in the first range.
const MIN_SPLIT: u64 = 16;

/// Files, read record by record.
///
/// ```
/// use millpond::connector::{FileSource, OnError};
/// let lines = FileSource::lines("docs/*.md").split_size(64 << 20).on_error(OnError::Skip);
/// ```
///
/// CRLF and a byte-order mark are accepted; the last line needs no newline; empty files are fine. A
/// line that cannot be read is an error that names file, line, byte and reason, unless
/// [`on_error`](Self::on_error) or [`with_dead_letters`](Self::with_dead_letters) says otherwise. A
/// header that does not fit the type always is one.
#[derive(Clone)]
pub struct FileSource<F> {
    inputs: Inputs,
    format: F,
    follow: bool,
    split_size: Option<u64>,
    max_line: usize,
    chunk: u64,
    on_error: OnError,
    pace: Option<Arc<Pace>>,
}

impl FileSource<Lines> {
    /// Text lines, without their ends.
    pub fn lines(inputs: impl Into<Inputs>) -> Self {
        FileSource::with_format(inputs, Lines)
    }

    /// CSV whose header names the columns. Each row becomes a `T` by these names: a column that `T`
    /// does not know or misses is an error, of an `Option` too, unless
    /// [`ignore_extra_columns`](FileSource::ignore_extra_columns) or
    /// [`allow_missing_columns`](FileSource::allow_missing_columns) says otherwise. What has a
    /// `#[serde(default)]` and is no `Option` may be missed. An empty field is a `None`.
    pub fn csv<T: DeserializeOwned + Send + 'static>(
        inputs: impl Into<Inputs>,
    ) -> FileSource<Csv<T>> {
        FileSource::with_format(inputs, Csv::new())
    }

    /// One JSON value a line; blank lines are left out.
    pub fn json_lines<T: DeserializeOwned + Send + 'static>(
        inputs: impl Into<Inputs>,
    ) -> FileSource<JsonLines<T>> {
        FileSource::with_format(inputs, JsonLines::new())
    }
}

impl<F: Format> FileSource<F> {
    /// Files in a format of one's own.
    ///
    /// ```
    /// use millpond::connector::{FileSource, Format, Parsed, Parser};
    ///
    /// /// A number a line.
    /// #[derive(Clone, Debug)]
    /// struct Numbers;
    ///
    /// impl Format for Numbers {
    ///     type Item = i64;
    ///     type Parser = Self;
    ///     const NAME: &'static str = "numbers of";
    ///     const HEADER: bool = false;
    ///
    ///     fn parser(&self, _header: &[u8]) -> Result<Self, String> {
    ///         Ok(Self)
    ///     }
    /// }
    ///
    /// impl Parser for Numbers {
    ///     type Item = i64;
    ///
    ///     fn parse(&mut self, line: &[u8]) -> Parsed<i64> {
    ///         let number = std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok());
    ///         number.map_or_else(|| Parsed::Bad("no number".to_owned()), Parsed::Item)
    ///     }
    /// }
    ///
    /// let numbers = FileSource::with_format("numbers/*.txt", Numbers).split_size(64 << 20);
    /// # let _ = numbers;
    /// ```
    pub fn with_format(inputs: impl Into<Inputs>, format: F) -> Self {
        Self {
            inputs: inputs.into(),
            format,
            follow: false,
            split_size: None,
            max_line: MAX_LINE,
            chunk: block::CHUNK,
            on_error: OnError::default(),
            pace: None,
        }
    }

    /// Cuts files into ranges of so many bytes, at least 16, which are read in parallel. CSV needs
    /// [`quoted_newlines(false)`](FileSource::quoted_newlines) for that. Default: a file is one split.
    #[must_use]
    pub fn split_size(self, bytes: u64) -> Self {
        Self { split_size: Some(bytes.max(MIN_SPLIT)), ..self }
    }

    /// Waits for more at the end of each file: the source never ends. A last line without its
    /// newline waits for it. New files are not looked for. Files are looked at every 100 ms. One that is
    /// rotated away, cut off or written anew is an error, after all that it still had was given out.
    #[must_use]
    pub fn follow(self) -> Self {
        Self { follow: true, ..self }
    }

    /// What becomes of a line that cannot be parsed. Default: [`OnError::Fail`].
    #[must_use]
    pub fn on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }

    /// Sends lines that cannot be parsed along as [`DeadLetter`]s, which the graph can split off.
    pub fn with_dead_letters(self) -> WithDeadLetters<F> {
        WithDeadLetters(self)
    }

    /// Longest record, in bytes without its end; what is longer cannot be parsed, and is never held
    /// in memory. Default: 1 MiB.
    #[must_use]
    pub fn max_line_length(self, bytes: usize) -> Self {
        Self { max_line: bytes, ..self }
    }

    /// At most so many records a second, of all subtasks together; 0 counts as 1. Default: no limit.
    #[must_use]
    pub fn rate(self, records_per_second: u64) -> Self {
        Self { pace: Some(Pace::new(records_per_second)), ..self }
    }

    /// Reads `inputs` in place of its own.
    pub(crate) fn reading(self, inputs: Inputs) -> Self {
        Self { inputs, ..self }
    }

    /// Whether it reads just these paths and globs.
    pub(crate) fn reads(&self, patterns: &[&str]) -> bool {
        self.inputs.are(patterns)
    }

    /// Reads so many bytes at a time.
    #[cfg(test)]
    fn chunk(self, chunk: u64) -> Self {
        Self { chunk, ..self }
    }

    fn describe_input(&self) -> String {
        let ranges = self.split_size.map_or(String::new(), |n| format!(" in ranges of {n} bytes"));
        let followed = if self.follow { ", followed" } else { "" };
        format!("{} {}{ranges}{followed}", F::NAME, self.inputs.describe())
    }

    fn find_splits(&self) -> Result<Vec<SplitState>> {
        if self.split_size.is_some() && self.follow {
            return Err(Error::usage("a file that is followed cannot be cut into ranges"));
        }
        if self.split_size.is_some() && !self.format.lines_are_records() {
            return Err(Error::usage(
                "records that may hold newlines, as CSV with newlines in quotes does, cannot be cut into ranges: \
                 leave split_size out or, of CSV, say quoted_newlines(false)",
            ));
        }
        let mut splits = Vec::new();
        for place in self.inputs.expand()? {
            splits.extend(split::discover(&self.inputs, &place, self.follow, self.split_size)?);
        }
        split::check_ids(&splits)?;
        Ok(splits.iter().map(Split::to_state).collect())
    }

    fn check_splits(&self, splits: &[SplitState]) -> Result<()> {
        let found = splits.iter().map(Split::from_state).collect::<Result<Vec<_>>>()?;
        let mut checked = std::collections::HashSet::new();
        let to_read = found.iter().zip(splits).filter(|(_, state)| !state.done);
        for (split, _) in to_read {
            // The ranges of one file have all been found at the same moment.
            if split.end.is_none() || checked.insert(split.place.clone()) {
                split::check(&self.inputs, split)?;
            }
        }
        for line in unread::unread(&self.inputs, &found) {
            tracing::warn!("{line}");
        }
        Ok(())
    }

    fn read<R: Route<F::Item>>(
        &self,
        splits: &[SplitState],
        context: ReaderContext,
        route: R,
    ) -> Result<Box<dyn Reader<R::Out>>> {
        let splits = splits.iter().map(Split::from_state).collect::<Result<Vec<_>>>()?;
        let shared = Shared {
            inputs: self.inputs.clone(),
            format: self.format.clone(),
            route,
            max_line: self.max_line,
            chunk: self.chunk,
            io: context.io,
            metrics: context.metrics,
            with_origin: context.with_origin,
        };
        let paced = Paced::new(self.pace.clone());
        Ok(Box::new(FileReader::new(splits, shared, paced, context.clock, context.batch_size)))
    }
}

impl<T: DeserializeOwned + Send + 'static> FileSource<Csv<T>> {
    /// Whether a quoted field may contain newlines. Default: yes. Where not, each line is a record,
    /// and files can be cut into ranges.
    #[must_use]
    pub fn quoted_newlines(mut self, allowed: bool) -> Self {
        self.format = self.format.quoted_newlines(allowed);
        self
    }

    /// Leaves out columns that `T` does not know, in place of an error.
    #[must_use]
    pub fn ignore_extra_columns(mut self) -> Self {
        self.format = self.format.ignore_extra();
        self
    }

    /// Takes an `Option` that the header has no column for as `None`, in place of an error.
    #[must_use]
    pub fn allow_missing_columns(mut self) -> Self {
        self.format = self.format.allow_missing();
        self
    }
}

impl<F: Format> fmt::Debug for FileSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileSource({})", self.describe_input())
    }
}

impl<F: Format> Source for FileSource<F> {
    type Item = F::Item;

    fn describe(&self) -> String {
        self.describe_input()
    }

    fn bounded(&self) -> bool {
        !self.follow
    }

    fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
        self.find_splits()
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        self.check_splits(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<F::Item>>> {
        self.read(&splits, context, self.on_error)
    }
}

/// A [`FileSource`] that gives out what it cannot parse, too.
#[derive(Clone, Debug)]
pub struct WithDeadLetters<F: Format>(FileSource<F>);

impl<F: Format> Source for WithDeadLetters<F> {
    type Item = Result<F::Item, DeadLetter>;

    fn describe(&self) -> String {
        self.0.describe_input()
    }

    fn bounded(&self) -> bool {
        self.0.bounded()
    }

    fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
        self.0.find_splits()
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        self.0.check_splits(splits)
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<Self::Item>>> {
        self.0.read(&splits, context, Aside)
    }
}
