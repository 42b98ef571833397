//! What a claim writes: the next head on top of the one that was read, and on which condition.

use std::time::Duration;

use super::retention::roll_back;
use crate::checkpoint::head::{Head, HeadCondition, HeadStatus, Identity, LAYOUT};
use crate::ids::{Attempt, CheckpointId, Incarnation};

/// The first head of a name.
#[must_use]
pub fn first_head(identity: &Identity, owner: String, lease: Duration) -> Head {
    Head {
        attempt: Attempt(1),
        checkpoint: CheckpointId::NONE,
        retained: Vec::new(),
        owner,
        incarnation: Incarnation(1),
        status: HeadStatus::Running,
        lease,
        beat: 0,
        layout: LAYOUT,
        identity: identity.clone(),
        clean_below: Incarnation(1),
    }
}

/// The head of the next attempt on top of `head`, with an owner text of its own.
#[must_use]
pub fn successor(head: &Head, owner: String, lease: Duration) -> Head {
    Head {
        attempt: Attempt(head.attempt.0 + 1),
        owner,
        status: HeadStatus::Running,
        lease,
        beat: 0,
        layout: LAYOUT,
        ..head.clone()
    }
}

/// The condition of a claim on top of `head`: nobody has claimed since, and nothing was completed.
#[must_use]
pub fn unchanged(head: &Head) -> HeadCondition {
    HeadCondition::At(head.attempt, head.checkpoint)
}

/// The claim that goes on from `head`, or from its retained checkpoint `to`: list and checkpoint
/// change in the write that claims. `None` where `to` is not retained.
#[must_use]
pub fn resumed(
    head: &Head,
    to: Option<CheckpointId>,
    identity: &Identity,
    owner: String,
    lease: Duration,
) -> Option<Head> {
    let mut next = successor(head, owner, lease);
    // What is recorded is what the head's checkpoint was taken with, and stays until another is completed. Without
    // one it binds nobody; with what an older one was taken, only its manifest tells, but whoever goes on until then
    // is compared as the claim of the roll-back was.
    if head.checkpoint == CheckpointId::NONE {
        next.identity = identity.clone();
    } else if to.is_some_and(|to| to != head.checkpoint) {
        next.identity.is_rolled_back = true;
    }
    if let Some(to) = to {
        next.retained = roll_back(&head.retained, to)?;
        next.checkpoint = to;
    }
    Some(next)
}
