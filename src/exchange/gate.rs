//! The merged input of a subtask. Flink: `CheckpointedInputGate`.
//!
//! Owns the inlets, their fair turns and the alignment. Order is kept within a channel.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::align::{Action, Aligner};
use super::channel::Inlet;
use crate::error::Result;
use crate::record::{Barrier, Element};

/// What comes out of the gate.
#[derive(Debug)]
pub enum Event<T> {
    /// Records of one channel, in order.
    Batch(Vec<T>),
    /// Aligned: everything before it on every channel was given out, and nothing after it.
    Barrier(Barrier),
    /// All channels have ended; only barriers follow.
    End,
}

/// Merges channels.
#[derive(Debug)]
pub struct InputGate<T> {
    inlets: Vec<Inlet<T>>,
    aligner: Aligner,
    open: usize,
    turn: usize,
}

impl<T> InputGate<T> {
    /// A gate over `inlets`.
    #[must_use]
    pub fn new(inlets: Vec<Inlet<T>>) -> Self {
        Self { aligner: Aligner::new(inlets.len()), open: inlets.len(), turn: 0, inlets }
    }

    /// The next event.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where channels do not carry the same barriers.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event<T>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T>>> {
        let channels = self.inlets.len();
        // One more round than channels: the barrier that completes an alignment opens all of them.
        let mut quiet = 0;
        while quiet < channels {
            let channel = self.turn;
            self.turn = if channel + 1 == channels { 0 } else { channel + 1 };
            if self.aligner.is_held(channel) {
                quiet += 1;
                continue;
            }
            match self.inlets[channel].poll_next(cx) {
                Poll::Pending => quiet += 1,
                // The sending task has failed. Its error ends the attempt, and an error of this task
                // that came first would hide it.
                Poll::Ready(None) => quiet += 1,
                Poll::Ready(Some(Element::Batch(batch))) => {
                    return Poll::Ready(Ok(Event::Batch(batch)));
                }
                Poll::Ready(Some(Element::Barrier(barrier))) => {
                    match self.aligner.on_barrier(channel, barrier) {
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(Action::Snapshot(barrier)) => {
                            return Poll::Ready(Ok(Event::Barrier(barrier)));
                        }
                        Ok(Action::Hold) => quiet = 0,
                    }
                }
                Poll::Ready(Some(Element::End)) => {
                    self.open = self.open.saturating_sub(1);
                    if self.open == 0 {
                        return Poll::Ready(Ok(Event::End));
                    }
                    quiet = 0;
                }
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::channel::{Outlet, channel};
    use super::*;
    use crate::ids::CheckpointId;

    fn gate(channels: usize) -> (Vec<Outlet<u32>>, InputGate<u32>) {
        let (outlets, inlets) = (0..channels).map(|_| channel(16)).unzip();
        (outlets, InputGate::new(inlets))
    }

    fn barrier(n: u64) -> Element<u32> {
        Element::Barrier(Barrier { checkpoint: CheckpointId(n), last: false })
    }

    fn now(gate: &mut InputGate<u32>) -> Option<Event<u32>> {
        gate.next().now_or_never().map(Result::unwrap)
    }

    #[test]
    fn a_barrier_holds_its_channel_until_the_others_bring_it() {
        let (mut outlets, mut gate) = gate(2);
        outlets[0].send(barrier(1));
        outlets[0].send(Element::Batch(vec![2]));
        assert!(now(&mut gate).is_none(), "channel 0 is held");
        outlets[1].send(Element::Batch(vec![1]));
        assert!(matches!(now(&mut gate), Some(Event::Batch(b)) if b == [1]));
        outlets[1].send(barrier(1));
        assert!(matches!(now(&mut gate), Some(Event::Barrier(b)) if b.checkpoint.0 == 1));
        assert!(matches!(now(&mut gate), Some(Event::Batch(b)) if b == [2]));
    }

    #[test]
    fn it_ends_when_all_channels_have_and_still_passes_barriers() {
        let (mut outlets, mut gate) = gate(2);
        outlets[0].send(Element::End);
        assert!(now(&mut gate).is_none());
        outlets[1].send(Element::End);
        assert!(matches!(now(&mut gate), Some(Event::End)));
        outlets[0].send(barrier(7));
        outlets[1].send(barrier(7));
        assert!(matches!(now(&mut gate), Some(Event::Barrier(_))));
    }

    #[test]
    fn a_sender_that_dies_leaves_it_to_its_own_error_to_end_the_attempt() {
        let (mut outlets, mut gate) = gate(2);
        outlets.remove(0);
        assert!(gate.next().now_or_never().is_none());
    }
}
