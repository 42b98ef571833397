//! The one public error: a kind that tells the caller what to do, a message that says what happened
//! and where, and the cause.
//!
//! Modules may have small `thiserror` enums of their own; they become this one at their wall.

use std::error::Error as StdError;
use std::fmt;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line, a name, a glob: nothing was started. Correct the call.
    Usage,
    /// A configuration key or value: nothing was started. Correct the key that the message names.
    Config,
    /// The job graph is wrong: nothing was started. Correct the program.
    Graph,
    /// Input could not be parsed, is not what was recorded, or cannot be read on (standard input). Correct it, or
    /// choose `on_error`.
    Input,
    /// A record cannot be written in its sink's format. Final: the same record would fail again. Give its type
    /// another form, or the sink another format.
    Output,
    /// A file or folder: disk full, no permission, vanished. A restart may help once that is mended.
    Io,
    /// Output that was staged and is owed is not there any more. Final: put it back, or give it up.
    Lost,
    /// Whoever read the output has gone. Final for this process: run the job again to go on.
    Closed,
    /// DynamoDB refused (access denied, wrong table). Retried causes never get here; a restart may help once
    /// that is mended.
    Store,
    /// Another attempt owns the job now. Final: no restart strategy applies.
    Fenced,
    /// A user function returned an error, of whatever kind, or panicked; or a value cannot be serialised. The
    /// attempt failed, the process did not: the restart strategy decides.
    User,
    /// A user function does not return, although its attempt has failed. Final for this process, in which it goes on:
    /// end that, and run the job again to go on.
    Stuck,
    /// Stored bytes are not what they should be: wrong checksum, version or layout.
    Corrupt,
    /// A checkpoint failed more often than is tolerated.
    Checkpoint,
    /// State is more than can be kept: a key, a value, what is asked for at once, or a job's operator state. The
    /// same input would make it so again: set the key that the message names higher, or keep or ask for less.
    TooLarge,
    /// A state call waits for a read. Return it from the function: it is called again with the same
    /// record, and what it did until then is undone.
    Suspended,
    /// A broken promise inside Millpond: please report it.
    Internal,
}

/// An error of Millpond.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    /// Outermost first: "operator counts", "job route_stats".
    places: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), places: Vec::new(), source: None }))
    }

    /// [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// [`ErrorKind::User`]: what a function returns of an error of its own, `map_err(Error::user)?`. It says what
    /// `source` says, and keeps it.
    pub fn user(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        Self::new(ErrorKind::User, source.to_string()).with_source(source)
    }

    /// Of whatever kind a user's function made it, it is the function's: another kind would say that the call, the
    /// input or the table is wrong, and that no restart helps.
    #[cold]
    pub(crate) fn of_function(mut self) -> Self {
        self.0.kind = ErrorKind::User;
        self
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// [`ErrorKind::Io`] about `path`, with the system's own words.
    pub fn io(what: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {what} {}: {source}", path.display()))
            .with_source(source)
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds where it happened; called on the way out, so the last one added is the outermost.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.places.push(place.into());
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without places.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.places.iter().rev() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_error_says_what_its_source_says_and_keeps_it() {
        let parsed = || -> Result<u64> { "x".parse::<u64>().map_err(Error::user) };
        let error = parsed().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::User);
        assert_eq!(error.message(), "invalid digit found in string");
        assert!(error.source().is_some_and(|source| source.is::<std::num::ParseIntError>()));
        assert_eq!(Error::user("too late").to_string(), "too late");
    }

    #[test]
    fn places_are_shown_from_the_outside_in() {
        let error = Error::new(ErrorKind::Input, "bad line").at("operator lines").at("job counts");
        assert_eq!(error.to_string(), "job counts: operator lines: bad line");
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
