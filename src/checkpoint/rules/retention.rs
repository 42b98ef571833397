//! What is kept: retained checkpoints, live segments, horizons, slots and numbers. And how many failures
//! are tolerated.

use std::collections::BTreeSet;

use crate::checkpoint::head::Retained;
use crate::checkpoint::manifest::Horizon;
use crate::checkpoint::messages::{SavedOperator, SegmentRef};
use crate::ids::{CheckpointId, Name, SlotId};
use crate::key_group::{KeyGroup, KeyGroupRange};
use crate::teeth::{Tooth, bites};

/// The number after `last_used`, the last one that this attempt used for anything, aborted ones
/// included: a number that comes back would be a version that comes back (I6). `None` where numbers
/// are used up.
#[must_use]
pub fn next_number(last_used: CheckpointId) -> Option<CheckpointId> {
    Some(last_used.next()).filter(|next| *next <= CheckpointId::MAX)
}

/// The head's list once `completed` is completed: the newest `num_retained`, oldest first.
#[must_use]
pub fn retain(current: &[Retained], completed: Retained, num_retained: u32) -> Vec<Retained> {
    let keep = num_retained.max(1) as usize - 1;
    let from = current.len().saturating_sub(keep);
    current[from..].iter().copied().chain([completed]).collect()
}

/// The head's list after a roll-back to `to`: what is not newer. `None` where `to` is not retained.
/// It is written together with `checkpoint = to`, or a second roll-back could choose a checkpoint
/// whose successors have written the table since.
#[must_use]
pub fn roll_back(retained: &[Retained], to: CheckpointId) -> Option<Vec<Retained>> {
    let at = retained.iter().position(|r| r.checkpoint == to)?;
    Some(retained[..=at].to_vec())
}

/// The segments that are still needed, in the order of replay: those with a key group whose horizon is
/// lower than the segment's checkpoint, and whatever came after one of those for the same key groups.
///
/// The second part matters after a rescale. A segment of a former, wider range stays because of one
/// key group; replaying it for all of them must find the newer changes of the others behind it.
/// `num_retained` needs no extra care here, since no horizon is newer than the oldest retained
/// checkpoint and each manifest names its own.
#[must_use]
pub fn live_segments(candidates: &[SegmentRef], horizons: &[Horizon]) -> Vec<SegmentRef> {
    let everything = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(u16::MAX) };
    segments_for(candidates, horizons, everything)
}

/// The same as seen by a subtask that owns `within` alone: what it replays.
#[must_use]
pub fn segments_for(
    candidates: &[SegmentRef],
    horizons: &[Horizon],
    within: KeyGroupRange,
) -> Vec<SegmentRef> {
    let mut ordered: Vec<&SegmentRef> = candidates.iter().collect();
    // Ranges of one checkpoint are disjoint or equal, so the order among them does not matter; it is
    // fixed all the same.
    ordered.sort_by_key(|s| (s.checkpoint, s.range.first, s.sequence, s.slot));
    if bites(Tooth::ReplayedBackwards) {
        ordered.reverse();
    }
    let mut needed: Vec<(KeyGroupRange, SegmentRef)> = Vec::new();
    for segment in ordered {
        let Some(range) = intersection(segment.range, within) else { continue };
        let follows = |(older, of): &(KeyGroupRange, SegmentRef)| {
            of.operator == segment.operator && older.intersects(range)
        };
        if !is_passed(segment, range, horizons) || needed.iter().any(follows) {
            needed.push((range, segment.clone()));
        }
    }
    needed.into_iter().map(|(_, segment)| segment).collect()
}

/// Whether every key group of `range` has a horizon that is not lower than the segment's checkpoint.
fn is_passed(segment: &SegmentRef, range: KeyGroupRange, horizons: &[Horizon]) -> bool {
    let mut relevant: Vec<&Horizon> = horizons
        .iter()
        .filter(|h| h.operator == segment.operator && h.range.intersects(range))
        .collect();
    relevant.sort_by_key(|h| h.range.first);
    let mut next = u32::from(range.first.0);
    for horizon in relevant {
        if u32::from(horizon.range.first.0) > next || horizon.checkpoint < segment.checkpoint {
            return false;
        }
        next = u32::from(horizon.range.last.0) + 1;
    }
    next > u32::from(range.last.0)
}

fn intersection(a: KeyGroupRange, b: KeyGroupRange) -> Option<KeyGroupRange> {
    let range = KeyGroupRange { first: a.first.max(b.first), last: a.last.min(b.last) };
    (range.first <= range.last).then_some(range)
}

/// The horizons after subtasks have reported theirs, on top of the ones they were restored with.
///
/// The horizon of a key group never goes back: a subtask that was given groups of several others
/// after a rescale reports the lowest of their horizons, while segments of the further ones may be
/// gone already. Gives disjoint ascending ranges for each operator.
#[must_use]
pub fn merge_horizons(restored: &[Horizon], reported: &[Horizon]) -> Vec<Horizon> {
    let all = || restored.iter().chain(reported);
    let operators: BTreeSet<&Name> = all().map(|h| &h.operator).collect();
    let mut merged = Vec::new();
    for operator in operators {
        let of: Vec<&Horizon> = all().filter(|h| h.operator == *operator).collect();
        merge_operator(operator, &of, &mut merged);
    }
    merged
}

fn merge_operator(operator: &Name, horizons: &[&Horizon], merged: &mut Vec<Horizon>) {
    let cuts: BTreeSet<u32> = horizons
        .iter()
        .flat_map(|h| [u32::from(h.range.first.0), u32::from(h.range.last.0) + 1])
        .collect();
    let start = merged.len();
    for (first, end) in cuts.iter().zip(cuts.iter().skip(1)) {
        let range = KeyGroupRange { first: group(*first), last: group(end - 1) };
        let covering = horizons.iter().filter(|h| h.range.intersects(range));
        let Some(checkpoint) = covering.map(|h| h.checkpoint).max() else { continue };
        match merged[start..].last_mut() {
            Some(last)
                if last.checkpoint == checkpoint && u32::from(last.range.last.0) + 1 == *first =>
            {
                last.range.last = range.last;
            }
            _ => merged.push(Horizon { operator: operator.clone(), range, checkpoint }),
        }
    }
}

fn group(number: u32) -> KeyGroup {
    KeyGroup(u16::try_from(number).unwrap_or(u16::MAX))
}

/// The segment slots that may not be given out: what any retained manifest names, not only the
/// newest.
#[must_use]
pub fn named_slots<'a>(
    retained: impl IntoIterator<Item = &'a BTreeSet<SlotId>>,
) -> BTreeSet<SlotId> {
    retained.into_iter().flatten().copied().collect()
}

/// Whether a checkpoint that timed out counts as failed: not where the store's calls were throttled
/// or did not get through, since then nothing is wrong with the job.
#[must_use]
pub fn counts_as_failure(store_is_struggling: bool) -> bool {
    !store_is_struggling
}

/// Whether `failures` in a row are more than is tolerated.
#[must_use]
pub fn too_many_failures(failures: u32, tolerable: u32) -> bool {
    failures > tolerable
}

/// What all operator state of a job may take: it stands in every manifest, changed or not, so that each
/// checkpoint of a job at the limit costs a thousand write units for it.
pub const MAX_OPERATOR_STATE_BYTES: u64 = 1 << 20;

/// What is wrong where a job has more operator state than that.
#[must_use]
pub fn too_much_operator_state(states: &[SavedOperator]) -> Option<String> {
    let all = states.iter().flat_map(|of| {
        let each = of.subtasks.iter().flatten();
        each.map(|saved| (saved.elements.size(), &of.operator, saved))
    });
    let bytes: u64 = all.clone().map(|(size, ..)| size).sum();
    let (size, operator, saved) = all.max_by_key(|(size, ..)| *size)?;
    (bytes > MAX_OPERATOR_STATE_BYTES).then(|| {
        format!(
            "the job's operator state takes {bytes} bytes, the limit is {MAX_OPERATOR_STATE_BYTES}: most of it, \
             {size} bytes of a single subtask, is the {} {} of operator {operator}; keep less in it, or key the \
             stream and use keyed state",
            saved.kind, saved.state
        )
    })
}

#[cfg(test)]
mod tests;
