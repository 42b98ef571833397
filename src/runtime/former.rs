//! What former incarnations of the job left in the table: found and deleted while the job runs.
//!
//! Owns which incarnations those are and what there may be of them: their own manifests tell, whatever graph
//! has replaced theirs. The deletion and its pace are the backend's. Only incarnations below the head's own are
//! ever named, and an incarnation's number is never used again, so no live one is touched, whoever owns the job
//! by then. Below which number all is deleted, the head remembers.

use std::collections::BTreeSet;
use std::convert::Infallible;

use super::backend::{Backend, Left};
use super::job::Shared;
use crate::checkpoint::rules::states_in;
use crate::checkpoint::{Claimed, Head, HeadChange, HeadCondition, Manifest, read_left};
use crate::error::Result;
use crate::ids::{Incarnation, Name, SlotId};
use crate::state::{BlockKey, BlockKind, FILTER_STATE, Store};

/// The last incarnations are looked at even where they are known to be deleted: a write of theirs that was
/// under way for long may have come later.
const LATE: u64 = 3;
/// Slots of segments that are looked at where no manifest tells of them: puts of a first checkpoint may land in
/// any order, and it may have ended in the midst.
const UNTOLD_SLOTS: u64 = 64;

/// Deletes, and never ends. Costs a few `GetItem`s for each incarnation of which it is not known that nothing
/// is left, and for each of the last three. What goes wrong is logged once, and is left to the next start.
///
/// # Cancel safety
/// Dropped with the attempt; the next one goes on.
pub(super) async fn purge(shared: &Shared, claimed: &Claimed) -> Infallible {
    match purge_all(shared, claimed).await {
        Ok(0) => {}
        Ok(items) => tracing::debug!("{items} items of former incarnations were deleted"),
        Err(error) => tracing::warn!("former incarnations are not deleted: {error}"),
    }
    std::future::pending().await
}

async fn purge_all(shared: &Shared, claimed: &Claimed) -> Result<u64> {
    let (backend, job) = (&*shared.backend, &shared.job);
    let mut found = found(backend, job, &claimed.head).await?;
    let mut items = 0;
    while let Some((incarnation, left)) = found.pop() {
        items += shared.io.run(backend.purge(job, incarnation, left)).await?;
    }
    remember(backend, job, &claimed.head).await?;
    Ok(items)
}

/// Has the head say that nothing is left of what was before it. Where somebody else has claimed the job
/// meanwhile, or the answer is lost, it may not say so, and the next start looks once more.
pub(super) async fn remember(backend: &dyn Backend, job: &Name, head: &Head) -> Result<()> {
    if head.clean_below < head.incarnation {
        let change = HeadChange::CleanBelow(head.incarnation);
        backend.heads().write(job, HeadCondition::Owned(head.attempt), change).await?;
    }
    Ok(())
}

/// The incarnations before that of `head` of which something may be left, the newest first, and what.
pub(super) async fn found(
    backend: &dyn Backend,
    job: &Name,
    head: &Head,
) -> Result<Vec<(Incarnation, Left)>> {
    let (below, clean_below) = (head.incarnation.0, head.clean_below.0);
    let first = clean_below.min(below.saturating_sub(LATE)).max(1);
    let mut found = Vec::new();
    for number in (first..below).rev() {
        let incarnation = Incarnation(number);
        let store = backend.store(job, incarnation);
        let slots = if number < clean_below { 1 } else { UNTOLD_SLOTS };
        let left = left_of(&*store, (job, incarnation), head, slots).await?;
        found.extend(left.map(|left| (incarnation, left)));
    }
    Ok(found)
}

/// What may be left; `None` where nothing is. Of an incarnation without manifests, the first `slots` of its
/// segments tell.
async fn left_of(
    store: &dyn Store,
    (job, incarnation): (&Name, Incarnation),
    head: &Head,
    slots: u64,
) -> Result<Option<Left>> {
    let (manifests, manifest_slots) = read_left(store).await?;
    if manifest_slots == 0 {
        // Killed before its first checkpoint, it may have left segments, but no items (I1).
        let has_segments = has_segments(store, slots).await?;
        return Ok(has_segments.then(Left::default));
    }
    // All checkpoints of one incarnation are of one graph. Whether items were put after the last of them, no
    // manifest says.
    let states = manifests.iter().flat_map(|m| &m.states);
    let mut states: BTreeSet<_> = states.map(|s| (s.operator.clone(), s.state.clone())).collect();
    let horizons = manifests.iter().flat_map(|m| &m.horizons);
    let mut key_groups = horizons.map(|h| u32::from(h.range.last.0) + 1).max().unwrap_or(0);
    if manifests.is_empty() {
        tracing::warn!(
            "job {job}: none of the {manifest_slots} manifests of former incarnation {incarnation} can be \
             read: items of states that the graph of now does not have stay in the table"
        );
        states.extend(states_in(&head.identity.graph));
        key_groups = head.identity.max_parallelism;
    }
    let filter = Name::new(FILTER_STATE)?;
    let filters: Vec<_> = states.iter().map(|(of, _)| (of.clone(), filter.clone())).collect();
    states.extend(filters);
    let segments = |m: &Manifest| m.slots.segments.len() as u64;
    Ok(Some(Left {
        states: states.into_iter().collect(),
        key_groups: u16::try_from(key_groups).unwrap_or(u16::MAX),
        segment_slots: manifests.iter().map(segments).max().unwrap_or(0),
        manifest_slots,
    }))
}

async fn has_segments(store: &dyn Store, slots: u64) -> Result<bool> {
    for slot in 0..slots {
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(slot), part: 0 };
        if store.get_block_unawaited(key).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
