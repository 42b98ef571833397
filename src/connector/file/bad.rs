//! Lines that cannot be parsed: what is done with them and how they are described.

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
}

impl DeadLetter {
    /// The error that the line is under [`OnError::Fail`].
    pub(crate) fn into_error(self) -> Error {
        let Self { file, line, byte, reason, raw: _ } = self;
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
