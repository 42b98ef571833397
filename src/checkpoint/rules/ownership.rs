//! Whose the head is: resolving claims, moves and other writes whose answer may have been lost.
//!
//! Every function looks at a head *as the store showed it*, in the answer to a write (`ALL_NEW`) or in
//! a read that was sent after the write's answer failed to come. Nothing is concluded from what was
//! read before.

use std::fmt;

use crate::checkpoint::head::{Head, Retained};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Incarnation};
use crate::teeth::{Tooth, bites};

/// What makes the head mine: the attempt alone does not, since the answer to a claim may be lost and
/// another process may have claimed the same number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mine {
    /// The attempt that was claimed.
    pub attempt: Attempt,
    /// The fresh random text of that claim.
    pub owner: String,
}

/// Who owns the head instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencedBy {
    /// Its attempt.
    pub attempt: Attempt,
    /// Its owner text.
    pub owner: String,
}

impl FencedBy {
    pub(in crate::checkpoint) fn of(head: &Head) -> Self {
        Self { attempt: head.attempt, owner: head.owner.clone() }
    }
}

impl fmt::Display for FencedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of owner {}", self.attempt, self.owner)
    }
}

impl From<FencedBy> for Error {
    fn from(by: FencedBy) -> Self {
        Self::new(ErrorKind::Fenced, format!("{by} has taken over this job"))
    }
}

/// What a write of the head has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It is done, by whichever of its copies.
    Completed,
    /// It is not done, and nobody is in the way: the same write goes out again, unchanged.
    SendAgain,
    /// Another attempt owns the job. Final.
    Fenced(FencedBy),
    /// The head is gone or shows what no attempt writes; heads are never deleted.
    Broken,
}

/// Whether `head` is what my claim made, or what I made of it since.
#[must_use]
pub fn is_mine(mine: &Mine, head: &Head) -> bool {
    head.attempt == mine.attempt && head.owner == mine.owner
}

/// Whether a claim is won: only a head that shows my attempt *and* my owner says so. Otherwise the
/// claim is made again, on top of what is there.
#[must_use]
pub fn claimed(mine: &Mine, shown: Option<&Head>) -> bool {
    let by_number = bites(Tooth::ClaimedByNumber);
    shown.is_some_and(|head| {
        is_mine(mine, head)
            || by_number && head.attempt == mine.attempt
            || bites(Tooth::ClaimNotCompared)
    })
}

/// What the move from `previous` to `next` has come to. A move that was sent is never given up: it
/// goes out again until the head shows `next` or another attempt.
#[must_use]
pub fn resolve_move(
    mine: &Mine,
    previous: CheckpointId,
    next: CheckpointId,
    shown: Option<&Head>,
) -> Resolution {
    match shown {
        None => Resolution::Broken,
        Some(head) if !is_mine(mine, head) => Resolution::Fenced(FencedBy::of(head)),
        Some(head) if head.checkpoint == next => Resolution::Completed,
        Some(head) if head.checkpoint == previous => Resolution::SendAgain,
        Some(_) => Resolution::Broken,
    }
}

/// What a write of status or beat has come to; `done` says whether a head shows it.
#[must_use]
pub fn resolve_owned(
    mine: &Mine,
    shown: Option<&Head>,
    done: impl FnOnce(&Head) -> bool,
) -> Resolution {
    match shown {
        None => Resolution::Broken,
        Some(head) if !is_mine(mine, head) => Resolution::Fenced(FencedBy::of(head)),
        Some(head) if done(head) => Resolution::Completed,
        Some(_) => Resolution::SendAgain,
    }
}

/// What an attempt works from; taken from its own claim's answer and from nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restorable {
    /// The last completed checkpoint: R of the restore, and the head's `previous` of the first move.
    pub checkpoint: CheckpointId,
    /// The retained checkpoints, oldest first.
    pub retained: Vec<Retained>,
    /// Whose keys to use.
    pub incarnation: Incarnation,
}

/// Takes all that follows from the head that my claim left.
///
/// # Errors
/// [`ErrorKind::Internal`] where the head is not mine; [`ErrorKind::Corrupt`] where its list of
/// retained checkpoints does not end with its checkpoint, or is out of order.
pub fn restorable(mine: &Mine, head: &Head) -> Result<Restorable> {
    if !is_mine(mine, head) {
        return Err(Error::internal(format!(
            "attempt {} would work from the head of {}",
            mine.attempt,
            FencedBy::of(head)
        )));
    }
    let last = head.retained.last().map_or(CheckpointId::NONE, |r| r.checkpoint);
    let ordered = head.retained.is_sorted_by(|a, b| a.checkpoint < b.checkpoint);
    if last != head.checkpoint || !ordered {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the head says checkpoint {} but retains {:?}", head.checkpoint, head.retained),
        ));
    }
    Ok(Restorable {
        checkpoint: head.checkpoint,
        retained: head.retained.clone(),
        incarnation: head.incarnation,
    })
}

#[cfg(test)]
mod tests;
