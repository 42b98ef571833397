//! Barrier alignment as a pure state machine. Flink: `SingleCheckpointBarrierHandler`.
//!
//! Owns which channels are held. A channel that has delivered the barrier of a checkpoint is held
//! until every other one has. Sources send every barrier that they are told to, in order, aborted
//! ones included, so all channels carry the same sequence and a mismatch is a bug.

use crate::error::{Error, Result};
use crate::record::Barrier;
use crate::teeth::{Tooth, bites};

/// What to do after a barrier came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read no further from that channel.
    Hold,
    /// All channels have delivered it, and are open again: take the snapshot.
    Snapshot(Barrier),
}

/// Aligns the barriers of a number of channels.
#[derive(Debug)]
pub struct Aligner {
    held: Vec<bool>,
    pending: Option<Barrier>,
    missing: usize,
}

impl Aligner {
    /// For `channels` channels.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        Self { held: vec![false; channels], pending: None, missing: channels }
    }

    /// Whether `channel` may not be read.
    #[must_use]
    pub fn is_held(&self, channel: usize) -> bool {
        self.held[channel] && !bites(Tooth::NotAligned)
    }

    /// Takes the barrier that `channel` has delivered.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where channels do not carry the same barriers.
    pub fn on_barrier(&mut self, channel: usize, barrier: Barrier) -> Result<Action> {
        let pending = *self.pending.get_or_insert(barrier);
        if pending != barrier || self.held[channel] {
            return Err(Error::internal(format!(
                "channel {channel} brought {barrier:?} while {pending:?} was aligned"
            )));
        }
        self.held[channel] = true;
        self.missing -= 1;
        if self.missing > 0 {
            return Ok(Action::Hold);
        }
        self.held.fill(false);
        self.missing = self.held.len();
        self.pending = None;
        Ok(Action::Snapshot(barrier))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::CheckpointId;

    fn barrier(n: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId(n), last: false }
    }

    proptest! {
        /// Reading channels in any order, honouring holds: at each snapshot every channel has
        /// delivered exactly the barriers up to it, none more (a barrier that overtakes would).
        #[test]
        fn a_snapshot_stands_between_the_same_barriers_on_all_channels(
            channels in 1usize..5, picks in proptest::collection::vec(0usize..5, 0..200),
        ) {
            let mut aligner = Aligner::new(channels);
            let mut delivered = vec![0u64; channels];
            let mut snapshots = 0;
            for pick in picks {
                let channel = pick % channels;
                if aligner.is_held(channel) {
                    continue;
                }
                delivered[channel] += 1;
                match aligner.on_barrier(channel, barrier(delivered[channel])).unwrap() {
                    Action::Hold => prop_assert!(aligner.is_held(channel)),
                    Action::Snapshot(b) => {
                        snapshots += 1;
                        prop_assert_eq!(b, barrier(snapshots));
                        prop_assert!(delivered.iter().all(|d| *d == snapshots));
                    }
                }
            }
        }
    }

    #[test]
    fn a_mismatch_is_an_error() {
        let mut aligner = Aligner::new(2);
        assert_eq!(aligner.on_barrier(0, barrier(1)).unwrap(), Action::Hold);
        assert!(aligner.on_barrier(1, barrier(2)).is_err());
    }
}
