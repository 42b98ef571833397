//! A job's state deleted by hand: all of it, or what its former incarnations left.
//!
//! ```text
//! read head ─► (stand still for a lease?) ─► one conditional write: a new incarnation, finished ─► delete
//! ```
//!
//! Owns the end of a live incarnation without a run. What is left of former ones is `former`'s, the
//! deletion the backend's. The head stays: an attempt that wakes up later is refused by its number.

use super::backend::Backend;
use super::former;
use crate::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, read_manifest};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name};

/// What is deleted, and what of the user's work may be lost by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgeOptions {
    /// Only what former incarnations left: the job may run meanwhile.
    pub former_only: bool,
    /// Take the job from an owner that is alive.
    pub take_over: bool,
    /// Give up output that the job's last checkpoint owes.
    pub abandon_output: bool,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Incarnations of which something was left.
    pub incarnations: u64,
    /// Items, slots that were deleted unseen included.
    pub items: u64,
}

/// Deletes the state of `job`, slowly (500 write units a second); its head stays, as that of a finished
/// run, so that the next one starts afresh. Stopped at any moment and begun again, it goes on.
///
/// One `GetItem` and two `UpdateItem`s for the head, a few `GetItem`s for each incarnation of which it is not known
/// that nothing is left, and what [`Backend::purge`] costs.
///
/// # Errors
/// [`crate::ErrorKind::Usage`] where there is no such job, where it runs, or where it owes output;
/// [`crate::ErrorKind::Store`] where the server refuses.
pub async fn purge(
    backend: &dyn Backend,
    job: &Name,
    options: PurgeOptions,
    clock: Clock,
    seed: [u8; 32],
) -> Result<Purged> {
    let heads = backend.heads();
    let Some(mut head) = heads.read(job).await? else {
        return Err(Error::usage(format!("{} has no job {job}", backend.describe())));
    };
    if !options.former_only && !is_empty(&head) {
        if !(options.take_over || backend.is_exclusive()) {
            head = quiet(backend, job, head, clock).await?;
        }
        owes_nothing(backend, job, &head, options).await?;
        head = leave(backend, job, head, seed).await?;
    }
    let mut found = former::found(backend, job, &head).await?;
    let mut purged = Purged { incarnations: found.len() as u64, items: 0 };
    while let Some((incarnation, left)) = found.pop() {
        purged.items += backend.purge(job, incarnation, left).await?;
    }
    former::remember(backend, job, &head).await?;
    Ok(purged)
}

/// The live incarnation has nothing: it was purged, or never came to a checkpoint.
fn is_empty(head: &Head) -> bool {
    head.status != HeadStatus::Running
        && head.checkpoint == CheckpointId::NONE
        && head.retained.is_empty()
}

/// The head once it says that nobody runs the job, or has stood still for a lease.
async fn quiet(backend: &dyn Backend, job: &Name, head: Head, clock: Clock) -> Result<Head> {
    if head.status != HeadStatus::Running {
        return Ok(head);
    }
    tracing::info!("job {job} says that it runs; whether it does is seen within {:?}", head.lease);
    clock.sleep(head.lease).await;
    let now = backend.heads().read(job).await?.ok_or_else(|| changed(job))?;
    let seen = |head: &Head| (head.attempt, head.beat, head.checkpoint);
    if now.status != HeadStatus::Running || seen(&now) == seen(&head) {
        return Ok(now);
    }
    Err(Error::usage(format!(
        "job {job} is running (attempt {}): stop it first, or take it over with --take-over",
        now.attempt
    )))
}

async fn owes_nothing(
    backend: &dyn Backend,
    job: &Name,
    head: &Head,
    options: PurgeOptions,
) -> Result<()> {
    if head.status.owes_nothing() || options.abandon_output {
        return Ok(());
    }
    let Some(last) = head.retained.last() else { return Ok(()) };
    let store = backend.store(job, head.incarnation);
    let owed = read_manifest(store, *last).await?.manifest.committables.len();
    if owed == 0 {
        return Ok(());
    }
    Err(Error::usage(format!(
        "checkpoint {} of job {job} owes output ({owed} parts) that only a run can publish: run it once \
         more, or give that output up with --abandon-output",
        last.checkpoint
    )))
}

/// Leaves the live incarnation behind: whoever had the job is refused from here on.
async fn leave(backend: &dyn Backend, job: &Name, head: Head, seed: [u8; 32]) -> Result<Head> {
    let heads = backend.heads();
    let condition = HeadCondition::At(head.attempt, head.checkpoint);
    let next = Head {
        attempt: Attempt(head.attempt.0 + 1),
        incarnation: Incarnation(head.incarnation.0 + 1),
        checkpoint: CheckpointId::NONE,
        retained: Vec::new(),
        owner: seed[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
        status: HeadStatus::Finished,
        beat: 0,
        ..head
    };
    let change = HeadChange::Put(Box::new(next.clone()));
    let shown = match heads.write(job, condition, change).await? {
        HeadAnswer::Applied(head) => Some(*head),
        HeadAnswer::Refused | HeadAnswer::Unknown => heads.read(job).await?,
    };
    let is_ours = |head: &Head| (head.attempt, &head.owner) == (next.attempt, &next.owner);
    shown.filter(is_ours).ok_or_else(|| changed(job))
}

fn changed(job: &Name) -> Error {
    Error::usage(format!("job {job} was claimed by another process meanwhile: look, and try again"))
}

#[cfg(test)]
mod tests;
