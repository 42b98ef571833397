//! The promises of a store of heads, as tests that every one of them must pass.
//!
//! Owns the suite; running it is the stores' (`tests/dynamodb/contract_*.rs`). Each function takes a store and
//! a name that has no head yet, and fails with a sentence.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::head::{
    Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, HeadStore, Identity, LAYOUT, Retained,
};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, Version};

/// `Ok`, or what was promised and not kept.
pub type Kept = Result<(), String>;

/// A head of `attempt` at `checkpoint`, for tests.
#[must_use]
pub fn sample_head(attempt: u64, checkpoint: u64) -> Head {
    let version = Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) };
    let retained =
        Retained { checkpoint: CheckpointId(checkpoint), slot: SlotId(checkpoint), version };
    Head {
        attempt: Attempt(attempt),
        checkpoint: CheckpointId(checkpoint),
        retained: if checkpoint == 0 { Vec::new() } else { vec![retained] },
        owner: format!("owner {attempt}"),
        incarnation: Incarnation(1),
        status: HeadStatus::Running,
        lease: Duration::from_millis(5000),
        beat: 0,
        layout: LAYOUT,
        identity: Identity {
            hash: "xxh64".to_owned(),
            key_encoding: 1,
            max_parallelism: 128,
            graph: "source → counts\n".to_owned(),
            input: String::new(),
            is_rolled_back: false,
        },
        clean_below: Incarnation(1),
    }
}

/// Heads of a store that may leave a write unanswered, which is then resolved as the engine does it: by what the head
/// shows.
#[derive(Debug)]
pub struct Resolved(pub Arc<dyn HeadStore>);

impl HeadStore for Resolved {
    fn read(&self, job: &Name) -> BoxFuture<'_, crate::Result<Option<Head>>> {
        self.0.read(job)
    }

    fn write(
        &self,
        job: &Name,
        condition: HeadCondition,
        change: HeadChange,
    ) -> BoxFuture<'_, crate::Result<HeadAnswer>> {
        let job = job.clone();
        async move {
            // Once: what was sent and not answered may land at any moment from here on.
            let before = self.0.read(&job).await?;
            loop {
                let answer = self.0.write(&job, condition, change.clone()).await?;
                if let HeadAnswer::Applied(_) = answer {
                    return Ok(answer);
                }
                let after = self.0.read(&job).await?;
                match after {
                    // Refused because of its own first copy, or answered by nobody.
                    Some(head) if before.as_ref() != Some(&head) => {
                        return Ok(HeadAnswer::Applied(Box::new(head)));
                    }
                    _ if answer == HeadAnswer::Refused => return Ok(answer),
                    _ => {}
                }
            }
        }
        .boxed()
    }
}

/// Runs the whole suite; `fresh` gives a new name at each call.
///
/// # Errors
/// The first promise that was not kept.
pub async fn all(heads: &dyn HeadStore, mut fresh: impl FnMut() -> Name) -> Kept {
    a_head_comes_back_as_it_was_put(heads, &fresh()).await?;
    only_one_can_create(heads, &fresh()).await?;
    a_change_writes_only_what_it_names(heads, &fresh()).await?;
    a_move_holds_for_attempt_and_checkpoint(heads, &fresh()).await?;
    status_and_beat_hold_for_the_attempt(heads, &fresh()).await?;
    a_claim_answers_with_the_whole_head(heads, &fresh()).await?;
    heads_are_apart(heads, &fresh(), &fresh()).await
}

async fn write(
    heads: &dyn HeadStore,
    job: &Name,
    condition: HeadCondition,
    change: HeadChange,
) -> Result<HeadAnswer, String> {
    heads.write(job, condition, change).await.map_err(|e| format!("write failed: {e}"))
}

async fn read(heads: &dyn HeadStore, job: &Name) -> Result<Option<Head>, String> {
    heads.read(job).await.map_err(|e| format!("read failed: {e}"))
}

async fn create(heads: &dyn HeadStore, job: &Name, head: &Head) -> Kept {
    let put = HeadChange::Put(Box::new(head.clone()));
    let answer = write(heads, job, HeadCondition::Absent, put).await?;
    same("the answer to a creation", &answer, &applied(head))
}

fn applied(head: &Head) -> HeadAnswer {
    HeadAnswer::Applied(Box::new(head.clone()))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Kept {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} is {found:?}, not {expected:?}"))
}

async fn a_head_comes_back_as_it_was_put(heads: &dyn HeadStore, job: &Name) -> Kept {
    same("the head of a new job", &read(heads, job).await?, &None)?;
    let head = sample_head(3, 8);
    create(heads, job, &head).await?;
    same("the head", &read(heads, job).await?, &Some(head))
}

async fn only_one_can_create(heads: &dyn HeadStore, job: &Name) -> Kept {
    create(heads, job, &sample_head(1, 0)).await?;
    let put = HeadChange::Put(Box::new(sample_head(1, 5)));
    let answer = write(heads, job, HeadCondition::Absent, put).await?;
    same("the answer to a second creation", &answer, &HeadAnswer::Refused)?;
    same("the head", &read(heads, job).await?, &Some(sample_head(1, 0)))
}

async fn a_change_writes_only_what_it_names(heads: &dyn HeadStore, job: &Name) -> Kept {
    let mut head = sample_head(2, 4);
    head.identity.is_rolled_back = true;
    create(heads, job, &head).await?;
    let owned = HeadCondition::Owned(head.attempt);
    let beat = write(heads, job, owned, HeadChange::Beat(7)).await?;
    let head = Head { beat: 7, ..head };
    same("the answer to a beat", &beat, &applied(&head))?;
    let status = write(heads, job, owned, HeadChange::Status(HeadStatus::Stopped)).await?;
    let head = Head { status: HeadStatus::Stopped, ..head };
    same("the answer to a status", &status, &applied(&head))?;
    let clean = write(heads, job, owned, HeadChange::CleanBelow(Incarnation(9))).await?;
    let head = Head { clean_below: Incarnation(9), ..head };
    same("the answer to a note of what was deleted", &clean, &applied(&head))?;
    let next = sample_head(2, 5);
    let advance = HeadChange::Advance {
        checkpoint: next.checkpoint,
        retained: next.retained.clone(),
        identity: None,
    };
    let at = HeadCondition::At(head.attempt, head.checkpoint);
    let moved = write(heads, job, at, advance).await?;
    let head = Head { checkpoint: next.checkpoint, retained: next.retained, ..head };
    same("the answer to a move", &moved, &applied(&head))?;
    let identity =
        Identity { graph: "another".to_owned(), is_rolled_back: false, ..head.identity.clone() };
    let advance = HeadChange::Advance {
        checkpoint: CheckpointId(6),
        retained: Vec::new(),
        identity: Some(Box::new(identity.clone())),
    };
    let at = HeadCondition::At(head.attempt, head.checkpoint);
    let moved = write(heads, job, at, advance).await?;
    let head = Head { checkpoint: CheckpointId(6), retained: Vec::new(), identity, ..head };
    same("the answer to a move of another program", &moved, &applied(&head))
}

async fn a_move_holds_for_attempt_and_checkpoint(heads: &dyn HeadStore, job: &Name) -> Kept {
    let head = sample_head(2, 4);
    create(heads, job, &head).await?;
    let advance = || HeadChange::Advance {
        checkpoint: CheckpointId(9),
        retained: Vec::new(),
        identity: None,
    };
    for (attempt, checkpoint) in [(1, 4), (3, 4), (2, 3), (2, 5)] {
        let at = HeadCondition::At(Attempt(attempt), CheckpointId(checkpoint));
        let answer = write(heads, job, at, advance()).await?;
        same(&format!("the answer to {at:?}"), &answer, &HeadAnswer::Refused)?;
    }
    same("the head", &read(heads, job).await?, &Some(head))?;
    let at = HeadCondition::At(Attempt(2), CheckpointId(4));
    write(heads, job, at, advance()).await?;
    let again = write(heads, job, at, advance()).await?;
    same("the answer to a second copy of a move", &again, &HeadAnswer::Refused)
}

async fn status_and_beat_hold_for_the_attempt(heads: &dyn HeadStore, job: &Name) -> Kept {
    let absent = write(heads, job, HeadCondition::Owned(Attempt(1)), HeadChange::Beat(1)).await?;
    same("the answer to a beat without a head", &absent, &HeadAnswer::Refused)?;
    let head = sample_head(2, 4);
    create(heads, job, &head).await?;
    for change in [HeadChange::Beat(1), HeadChange::Status(HeadStatus::Failed)] {
        let answer = write(heads, job, HeadCondition::Owned(Attempt(1)), change).await?;
        same("the answer to a former attempt", &answer, &HeadAnswer::Refused)?;
    }
    same("the head", &read(heads, job).await?, &Some(head))
}

async fn a_claim_answers_with_the_whole_head(heads: &dyn HeadStore, job: &Name) -> Kept {
    create(heads, job, &sample_head(2, 4)).await?;
    let claimed = Head { owner: "fresh".to_owned(), attempt: Attempt(3), ..sample_head(2, 4) };
    let at = HeadCondition::At(Attempt(2), CheckpointId(4));
    let answer = write(heads, job, at, HeadChange::Put(Box::new(claimed.clone()))).await?;
    same("the answer to a claim", &answer, &applied(&claimed))?;
    same("the head", &read(heads, job).await?, &Some(claimed))
}

async fn heads_are_apart(heads: &dyn HeadStore, one: &Name, other: &Name) -> Kept {
    create(heads, one, &sample_head(1, 0)).await?;
    same("another job's head", &read(heads, other).await?, &None)?;
    create(heads, other, &sample_head(4, 4)).await?;
    same("the head", &read(heads, one).await?, &Some(sample_head(1, 0)))
}
