//! What the first attempt of a process would begin from, and who looks at it before anything is claimed.
//!
//! Owns what is looked at and how long it holds. When the look is taken is `claim`'s; what is made of it, `runtime`'s.

use futures::future::BoxFuture;

use super::archive::Archived;
use super::head::Head;
use super::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Incarnation};

/// What an attempt would begin from, if its claim is won.
#[derive(Clone, Copy, Debug)]
pub struct Prospect<'a> {
    /// The incarnation that it would go on with or begin.
    pub incarnation: Incarnation,
    /// Its number.
    pub attempt: Attempt,
    /// The graph that the head has recorded; empty where there is no head, or none was.
    pub recorded: &'a str,
    /// Of the checkpoint that it would go on from, the one of a roll-back too; `None` where it would begin with
    /// nothing.
    pub manifest: Option<&'a Manifest>,
}

/// Looks at what a start will need, before anything is claimed.
pub trait Inspect: Send + Sync + 'static {
    /// Fails where the attempt would fail: then nothing is claimed, and the table is left as it was. What passes is
    /// looked at once for an owner: where that completes another checkpoint before the claim, the attempt compares it.
    ///
    /// # Errors
    /// Whatever the attempt would fail with.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    fn inspect<'a>(&'a self, prospect: Prospect<'a>) -> BoxFuture<'a, Result<()>>;
}

/// What a look at `head` has found wrong, where the head is `now` by then. Whoever had the job may have gone on: what
/// a manifest says that is not named any more, or what a folder held before the first checkpoint, tells nothing then.
/// All else is as wrong with a later checkpoint; else an owner that is fast would have it looked for without end.
pub(super) fn is_still_wrong(error: &Error, head: Option<&Head>, now: Option<&Head>) -> bool {
    match (head, now) {
        (None, None) => true,
        (Some(head), Some(now)) => {
            let is_same = head.checkpoint == now.checkpoint;
            let was_read =
                head.checkpoint != CheckpointId::NONE && error.kind() != ErrorKind::Corrupt;
            head.attempt == now.attempt && (is_same || was_read)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// What was found right before the claim of an attempt; its manifest is not read again.
pub(super) struct LookedAt {
    pub(super) incarnation: Incarnation,
    pub(super) attempt: Attempt,
    pub(super) archived: Archived,
}
