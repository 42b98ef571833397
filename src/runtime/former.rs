//! What former incarnations of the job left in the table: found and deleted while the job runs.
//!
//! Owns which incarnations those are and what there may be of them. The deletion and its pace are the
//! backend's. Only incarnations below the head's own are ever named, and an incarnation's number is
//! never used again, so no live one is touched, whoever owns the job by then.

use std::convert::Infallible;

use super::backend::{Backend, Left};
use super::job::Shared;
use crate::checkpoint::{Claimed, Identity, Manifest, read_left};
use crate::error::Result;
use crate::ids::{Incarnation, Name, SlotId};
use crate::state::{BlockKey, BlockKind, FILTER_STATE, Store};
use crate::stream::states_in;

/// Incarnations in a row of which nothing is left, after which no older one is looked at: they are
/// deleted from the oldest to the newest.
const CLEAN: u32 = 3;

/// Deletes, and never ends. Costs a few `GetItem`s for each of the last three incarnations where
/// nothing is left. What goes wrong is told once, and is left to the next start.
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
    let identities: Vec<_> =
        [Some(&claimed.head.identity), claimed.replaced.as_ref()].into_iter().flatten().collect();
    let below = claimed.head.incarnation;
    let mut found = found(&*shared.backend, &shared.job, below, &identities).await?;
    let mut items = 0;
    while let Some((incarnation, left)) = found.pop() {
        items += shared.io.run(shared.backend.purge(&shared.job, incarnation, left)).await?;
    }
    Ok(items)
}

/// The incarnations below `below` of which something may be left, the newest first, and what: the states
/// of `identities`.
pub(super) async fn found(
    backend: &dyn Backend,
    job: &Name,
    below: Incarnation,
    identities: &[&Identity],
) -> Result<Vec<(Incarnation, Left)>> {
    let mut found = Vec::new();
    let mut clean = 0;
    for number in (1..below.0).rev() {
        let store = backend.store(job, Incarnation(number));
        match left_of(&*store, identities).await? {
            Some(left) => {
                found.push((Incarnation(number), left));
                clean = 0;
            }
            None => clean += 1,
        }
        if clean == CLEAN {
            break;
        }
    }
    Ok(found)
}

/// What may be left; `None` where nothing is.
async fn left_of(store: &dyn Store, identities: &[&Identity]) -> Result<Option<Left>> {
    let (manifests, manifest_slots) = read_left(store).await?;
    if manifest_slots == 0 {
        // Killed before its first checkpoint, it may have left segments, but no items (I1).
        let first = BlockKey { kind: BlockKind::Segment, slot: SlotId(0), part: 0 };
        return Ok(store.get_block(first).await?.map(|_| Left::default()));
    }
    let slots = |m: &Manifest| m.slots.segments.len() as u64;
    // Whether items were put after the last manifest, no manifest says.
    let mut states: Vec<_> = identities.iter().flat_map(|i| states_in(&i.graph)).collect();
    let filter = Name::new(FILTER_STATE)?;
    let filters: Vec<_> = states.iter().map(|(of, _)| (of.clone(), filter.clone())).collect();
    states.extend(filters);
    states.sort();
    states.dedup();
    let key_groups = identities.iter().map(|i| i.max_parallelism).max().unwrap_or(0);
    Ok(Some(Left {
        states,
        key_groups: u16::try_from(key_groups).unwrap_or(u16::MAX),
        segment_slots: manifests.iter().map(slots).max().unwrap_or(0),
        manifest_slots,
    }))
}
