//! The merged input of a subtask. Flink: `CheckpointedInputGate`.
//!
//! Owns the inlets, their fair turns and the alignment. Order is kept within a channel. A gate may have a
//! second input, of records of another type: its channels are aligned with the others.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::{Context, Poll};

use super::align::{Action, Aligner};
use super::channel::Inlet;
use crate::error::Result;
use crate::record::{Barrier, Element};

/// What comes out of the gate.
#[derive(Debug)]
pub enum Event<T, S = Infallible> {
    /// Records of one channel, in order.
    Batch(Vec<T>),
    /// Records of one channel of the second input, in order.
    Side(Vec<S>),
    /// Aligned: everything before it on every channel was given out, and nothing after it.
    Barrier(Barrier),
    /// All channels have ended; only barriers follow.
    End,
}

/// Merges channels.
#[derive(Debug)]
pub struct InputGate<T, S = Infallible> {
    inlets: Vec<Inlet<T>>,
    /// The second input's: their numbers follow those of `inlets`.
    sides: Vec<Inlet<S>>,
    aligner: Aligner,
    open: usize,
    turn: usize,
    /// Whose turn it was last.
    last: usize,
}

impl<T> InputGate<T> {
    /// A gate over `inlets`.
    #[must_use]
    pub fn new(inlets: Vec<Inlet<T>>) -> Self {
        Self::with_side(inlets, Vec::new())
    }
}

impl<T, S> InputGate<T, S> {
    /// A gate over `inlets` and, as its second input, `sides`.
    #[must_use]
    pub fn with_side(inlets: Vec<Inlet<T>>, sides: Vec<Inlet<S>>) -> Self {
        let channels = inlets.len() + sides.len();
        Self { aligner: Aligner::new(channels), open: channels, turn: 0, last: 0, inlets, sides }
    }

    /// The next event.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] where channels do not carry the same barriers.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event<T, S>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Gives the memory of the batch that came last back to its sender.
    pub fn give_back(&self, batch: Vec<T>) {
        if let Some(inlet) = self.inlets.get(self.last) {
            inlet.give_back(batch);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event<T, S>>> {
        let channels = self.inlets.len() + self.sides.len();
        // One more round than channels: the barrier that completes an alignment opens all of them.
        let mut quiet = 0;
        while quiet < channels {
            let channel = self.turn;
            self.last = channel;
            self.turn = if channel + 1 == channels { 0 } else { channel + 1 };
            if self.aligner.is_held(channel) {
                quiet += 1;
                continue;
            }
            match self.poll_channel(channel, cx) {
                Poll::Pending => quiet += 1,
                // The sending task has failed. Its error ends the attempt, and an error of this task
                // that came first would hide it.
                Poll::Ready(None) => quiet += 1,
                Poll::Ready(Some(Event::Barrier(barrier))) => {
                    match self.aligner.on_barrier(channel, barrier) {
                        Err(error) => return Poll::Ready(Err(error)),
                        Ok(Action::Snapshot(barrier)) => {
                            return Poll::Ready(Ok(Event::Barrier(barrier)));
                        }
                        Ok(Action::Hold) => quiet = 0,
                    }
                }
                Poll::Ready(Some(Event::End)) => {
                    self.open = self.open.saturating_sub(1);
                    if self.open == 0 {
                        return Poll::Ready(Ok(Event::End));
                    }
                    quiet = 0;
                }
                Poll::Ready(Some(batch)) => return Poll::Ready(Ok(batch)),
            }
        }
        Poll::Pending
    }

    /// What one channel has; a barrier and an end are that channel's alone.
    fn poll_channel(&mut self, channel: usize, cx: &mut Context<'_>) -> Poll<Option<Event<T, S>>> {
        if let Some(inlet) = self.inlets.get_mut(channel) {
            let element = inlet.poll_next(cx);
            return element.map(|element| element.map(|element| event(element, Event::Batch)));
        }
        let element = self.sides[channel - self.inlets.len()].poll_next(cx);
        element.map(|element| element.map(|element| event(element, Event::Side)))
    }
}

fn event<B, T, S>(element: Element<B>, batch: fn(Vec<B>) -> Event<T, S>) -> Event<T, S> {
    match element {
        Element::Batch(records) => batch(records),
        Element::Barrier(barrier) => Event::Barrier(barrier),
        Element::End => Event::End,
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
    fn a_second_input_is_aligned_with_the_first() {
        let (mut first, inlet) = channel::<u32>(16);
        let (mut second, side) = channel::<&str>(16);
        let mut gate = InputGate::with_side(vec![inlet], vec![side]);
        let mut now = || gate.next().now_or_never().map(Result::unwrap);
        second.send(Element::Batch(vec!["a"]));
        second.send(Element::Barrier(Barrier { checkpoint: CheckpointId(1), last: false }));
        second.send(Element::Batch(vec!["b"]));
        second.send(Element::End);
        assert!(matches!(now(), Some(Event::Side(batch)) if batch == ["a"]));
        assert!(now().is_none(), "the second input is held");
        first.send(Element::Batch(vec![1]));
        first.send(barrier(1));
        assert!(matches!(now(), Some(Event::Batch(batch)) if batch == [1]));
        assert!(matches!(now(), Some(Event::Barrier(_))));
        assert!(matches!(now(), Some(Event::Side(batch)) if batch == ["b"]));
        assert!(now().is_none(), "the first input has not ended");
        first.send(Element::End);
        assert!(matches!(now(), Some(Event::End)));
    }

    #[test]
    fn a_batch_s_memory_goes_back_to_its_sender() {
        let (mut outlets, mut gate) = gate(3);
        for sender in [2, 0, 1] {
            outlets[sender].send(Element::Batch(vec![sender as u32]));
            let Some(Event::Batch(batch)) = now(&mut gate) else { panic!("a batch") };
            gate.give_back(batch);
            let back: Vec<_> = outlets.iter_mut().map(|outlet| outlet.spare().is_some()).collect();
            assert_eq!(back, [0, 1, 2].map(|outlet| outlet == sender));
        }
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
