//! What a subtask carries: durable parts that no checkpoint known to be completed names (I7).
//!
//! Owns which parts an acknowledgement names, and whether it is still waited for. Does not own the
//! puts (`task`), nor what a manifest makes of the parts (`pending`).

use super::messages::{Owed, SegmentRef, SubtaskSnapshot};
use crate::ids::CheckpointId;
use crate::teeth::{Tooth, bites};

/// A durable part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// A segment whose put was answered.
    Segment(SegmentRef),
    /// What a sink has staged.
    Committables(Vec<Owed>),
}

/// The parts of one subtask that every acknowledgement names until a checkpoint with them completes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Carried {
    parts: Vec<(CheckpointId, Part)>,
    /// The newest checkpoint that has completed or was aborted: nobody waits for acknowledgements up
    /// to it, and there may be hundreds where a put took long.
    ended: CheckpointId,
}

impl Carried {
    /// A checkpoint that holds everything up to it has completed.
    pub fn completed(&mut self, checkpoint: CheckpointId) {
        let again =
            |part: &Part| matches!(part, Part::Segment(_)) && bites(Tooth::SegmentNamedTwice);
        self.parts.retain(|(of, part)| *of > checkpoint || again(part));
        self.ended = self.ended.max(checkpoint);
    }

    /// A checkpoint was given up: what was put for it is carried, and not acknowledged by itself.
    pub fn aborted(&mut self, checkpoint: CheckpointId) {
        if !bites(Tooth::NumberReused) {
            self.ended = self.ended.max(checkpoint);
        }
        self.parts.retain(|(of, part)| *of != checkpoint || !is_dropped(part));
    }

    /// Whether an acknowledgement of `checkpoint` is still waited for.
    #[must_use]
    pub fn is_waited_for(&self, checkpoint: CheckpointId) -> bool {
        checkpoint > self.ended
    }

    /// All `parts` of `checkpoint` are durable, and those of every earlier one. Gives what is to be
    /// acknowledged, on top of what the barrier has `fixed`; `None` where nobody waits for it.
    #[must_use]
    pub fn acknowledge(
        &mut self,
        checkpoint: CheckpointId,
        parts: impl IntoIterator<Item = Part>,
        fixed: SubtaskSnapshot,
    ) -> Option<SubtaskSnapshot> {
        let waited_for = self.is_waited_for(checkpoint);
        let kept = parts.into_iter().filter(|part| waited_for || !is_dropped(part));
        self.parts.extend(kept.map(|part| (checkpoint, part)));
        if !waited_for {
            return None;
        }
        let mut snapshot = fixed;
        for (_, part) in &self.parts {
            match part {
                Part::Segment(segment) => snapshot.segments.push(segment.clone()),
                Part::Committables(owed) => snapshot.committables.extend(owed.iter().cloned()),
            }
        }
        Some(snapshot)
    }
}

/// Whether a tooth makes an aborted checkpoint's part be forgotten.
fn is_dropped(part: &Part) -> bool {
    bites(match part {
        Part::Segment(_) => Tooth::AbortedSegmentsDropped,
        Part::Committables(_) => Tooth::AbortedOutputDropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Committable;
    use crate::ids::Name;

    fn staged(number: u8) -> Part {
        Part::Committables(vec![owed(number)])
    }

    fn owed(number: u8) -> Owed {
        Owed { sink: Name::new("sink").unwrap(), committable: Committable(vec![number]) }
    }

    fn acknowledge(carried: &mut Carried, number: u8) -> Option<Vec<Owed>> {
        let checkpoint = CheckpointId(number.into());
        let snapshot = carried.acknowledge(checkpoint, [staged(number)], Default::default());
        snapshot.map(|snapshot| snapshot.committables)
    }

    #[test]
    fn an_aborted_checkpoints_parts_are_named_until_one_with_them_completes() {
        let mut carried = Carried::default();
        assert_eq!(acknowledge(&mut carried, 1), Some(vec![owed(1)]));
        carried.aborted(CheckpointId(1));
        assert_eq!(acknowledge(&mut carried, 2), Some(vec![owed(1), owed(2)]));
        carried.completed(CheckpointId(2));
        assert_eq!(acknowledge(&mut carried, 3), Some(vec![owed(3)]));
    }

    #[test]
    fn what_was_aborted_before_it_was_durable_is_not_acknowledged_by_itself() {
        let mut carried = Carried::default();
        carried.aborted(CheckpointId(1));
        assert_eq!(acknowledge(&mut carried, 1), None);
        assert_eq!(acknowledge(&mut carried, 2), Some(vec![owed(1), owed(2)]));
    }
}
