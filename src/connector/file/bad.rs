//! Lines that cannot be parsed: what is done with them and how they are described.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What becomes of a line that cannot be parsed. To send such lines aside, see
/// `with_dead_letters` of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It ends the attempt with an error that names file, line, byte and reason. The default.
    #[default]
    Fail,
    /// It is counted in `records_skipped` and left out.
    Skip,
}

/// A line that could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The file's path, or `standard input`.
    pub file: String,
    /// The line's number in the file, from 1.
    pub line: u64,
    /// The offset of its first byte in the file.
    pub byte: u64,
    /// Why it could not be parsed.
    pub reason: String,
    /// The line, with U+FFFD in place of what is not UTF-8. Of a line that is too long the
    /// first 4 KiB, and no more than a line may have.
    pub raw: String,
    /// The bytes that `raw` shows, two hexadecimal digits each, where they are not UTF-8.
    pub raw_hex: Option<String>,
}

impl DeadLetter {
    /// Of the line that is `shown`, as far as it is.
    pub(crate) fn of(file: String, line: u64, byte: u64, reason: String, shown: &[u8]) -> Self {
        let (raw, raw_hex) = match String::from_utf8_lossy(shown) {
            Cow::Borrowed(text) => (text.to_owned(), None),
            Cow::Owned(text) => (text, Some(hex(shown))),
        };
        Self { file, line, byte, reason, raw, raw_hex }
    }

    /// The error that the line is under [`OnError::Fail`].
    pub(crate) fn into_error(self) -> Error {
        let Self { file, line, byte, reason, raw: _, raw_hex: _ } = self;
        Error::new(
            ErrorKind::Input,
            format!(
                "cannot read {file}, line {line} (byte {byte}): {reason}; \
                 on_error can skip such lines (--on-error skip) or send them aside \
                 (--on-error dead-letter=FOLDER)"
            ),
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a reader gives out: items alone, or items and dead letters.
pub(crate) trait Route<I>: 'static {
    type Out: Send + 'static;
    fn item(&self, item: I) -> Self::Out;
    /// What stands for a bad line; `None` where it is an error or skipped.
    fn letter(&self, letter: DeadLetter) -> Bad<Self::Out>;
}

/// What becomes of one bad line.
pub(crate) enum Bad<T> {
    Fail(Error),
    Skip,
    GiveOut(T),
}

impl<I: Send + 'static> Route<I> for OnError {
    type Out = I;

    #[inline]
    fn item(&self, item: I) -> I {
        item
    }

    fn letter(&self, letter: DeadLetter) -> Bad<I> {
        match self {
            Self::Fail => Bad::Fail(letter.into_error()),
            Self::Skip => Bad::Skip,
        }
    }
}

/// Bad lines go with the items, as errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aside;

impl<I: Send + 'static> Route<I> for Aside {
    type Out = Result<I, DeadLetter>;

    #[inline]
    fn item(&self, item: I) -> Self::Out {
        Ok(item)
    }

    fn letter(&self, letter: DeadLetter) -> Bad<Self::Out> {
        Bad::GiveOut(Err(letter))
    }
}
