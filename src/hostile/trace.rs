//! What a trace has of each operation: enough to follow a run, and the same for the same seed.

use std::fmt;
use std::time::Duration;

/// One operation, as it ended; or a request that was applied late. Has no headers, and no values.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// On the given clock, since the hostile DynamoDB was made.
    pub at: Duration,
    /// The call's number, from 1, in the order in which calls began.
    pub call: u64,
    /// DynamoDB's name of the operation.
    pub operation: String,
    /// The item's key, or the table.
    pub target: String,
    /// What became of it.
    pub outcome: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, call, operation, target, outcome } = self;
        let (seconds, micros) = (at.as_secs(), at.subsec_micros());
        write!(f, "{seconds}.{micros:06} #{call} {operation} {target}: {outcome}")
    }
}

/// Gets each line, in order.
pub(super) type Hook = dyn Fn(&Line) + Send + Sync;
