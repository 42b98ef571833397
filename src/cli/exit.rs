//! Exit codes.

use crate::error::{Error, ErrorKind};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The call or the configuration is wrong; nothing was started.
    Usage = 2,
    /// Ended by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl Exit {
    /// The code that goes with `error`.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Usage | ErrorKind::Config => Self::Usage,
            ErrorKind::Graph
            | ErrorKind::Input
            | ErrorKind::Output
            | ErrorKind::Io
            | ErrorKind::Lost
            | ErrorKind::Closed
            | ErrorKind::Store
            | ErrorKind::Fenced
            | ErrorKind::User
            | ErrorKind::Stuck
            | ErrorKind::Corrupt
            | ErrorKind::Checkpoint
            | ErrorKind::TooLarge
            | ErrorKind::Suspended
            | ErrorKind::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
