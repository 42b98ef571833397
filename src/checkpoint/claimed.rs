//! What a claim gives: how the attempt began and all that it works from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::archive::Archived;
use super::head::{Head, HeadStatus, Retained};
use super::heartbeat::Heartbeat;
use super::manifest::Manifest;
use super::rules::Mine;
use super::slots::Slots;
use crate::ids::{Attempt, SlotId};
use crate::state::Store;

/// Said while a candidate waits for another owner's lease to run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The attempt that holds the head.
    pub attempt: Attempt,
    /// Its owner text.
    pub owner: String,
    /// How long its counter has stood still.
    pub still_for: Duration,
    /// How long it must.
    pub lease: Duration,
}

/// What a claim has come to.
#[derive(Debug)]
pub enum Turn {
    /// The job is this process's, for as long as the heartbeat is polled.
    Mine(Box<(Claimed, Heartbeat)>),
    /// An owner that held the job when this process came, or one after that, has finished it: nothing is left to take over.
    Over(Over),
}

/// The owner that has finished the job meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// The attempt.
    pub attempt: Attempt,
    /// Its owner text.
    pub owner: String,
}

/// How an attempt began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// The name was new.
    Created,
    /// A new incarnation under a used name.
    Fresh,
    /// Gone on with what was there.
    Resumed,
}

/// A retained checkpoint and the segment slots that its manifest names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    /// As the head names it.
    pub retained: Retained,
    /// Its segments' slots.
    pub segments: BTreeSet<SlotId>,
}

/// A claim that was won, and all that an attempt works from.
#[derive(Debug)]
pub struct Claimed {
    /// The attempt and its owner text.
    pub mine: Mine,
    /// How it began.
    pub began: Began,
    /// The head as the claim left it.
    pub head: Head,
    /// The manifest of the head's checkpoint, with the committables that may still be owed; `None` before the
    /// first.
    pub manifest: Option<Manifest>,
    /// All retained checkpoints, oldest first.
    pub retained: Vec<Kept>,
    /// What may be given out.
    pub slots: Slots,
    /// The store of the head's incarnation.
    pub store: Arc<dyn Store>,
}

impl Over {
    /// What `head` shows; `None` where the job has not finished.
    pub(super) fn of(head: &Head) -> Option<Self> {
        let is_over = head.status == HeadStatus::Finished;
        is_over.then(|| Self { attempt: head.attempt, owner: head.owner.clone() })
    }
}

impl Kept {
    pub(super) fn of(archived: &Archived) -> Self {
        Self {
            retained: archived.retained,
            segments: archived.manifest.segments.iter().map(|s| s.slot).collect(),
        }
    }
}
