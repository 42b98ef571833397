//! One bounded channel from one subtask to one other.
//!
//! Owns the overflow of a channel: an [`Outlet`] takes whatever a record's processing put out at once
//! and hands it on as the receiver makes room, so processing itself never waits in the middle. The
//! overflow is bounded, because a task awaits [`Outlet::ready`] before it takes its next input. Emptied
//! batches go back, a few at a time: memory that is allocated and freed for each batch, often by two
//! threads, takes a tenth of the time of a small keyed count.
//!
//! A receiver that is gone is no error here: its task has failed, that failure ends the attempt, and an
//! error of the sender that came first would hide it. So the sender waits.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::record::Element;

/// The sending end.
#[derive(Debug)]
pub struct Outlet<T> {
    sender: mpsc::Sender<Element<T>>,
    overflow: VecDeque<Element<T>>,
    spares: Receiver<Vec<T>>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Inlet<T> {
    receiver: mpsc::Receiver<Element<T>>,
    spares: SyncSender<Vec<T>>,
}

/// Emptied batches that wait to be filled again, at most.
const SPARES: usize = 2;

/// A channel that holds `capacity` elements.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let (back, spares) = sync_channel(SPARES);
    (Outlet { sender, overflow: VecDeque::new(), spares }, Inlet { receiver, spares: back })
}

impl<T> Outlet<T> {
    /// Sends `element`, or keeps it until there is room.
    pub fn send(&mut self, element: Element<T>) {
        if !self.overflow.is_empty() {
            self.overflow.push_back(element);
            return;
        }
        match self.sender.try_send(element) {
            Ok(()) => {}
            Err(TrySendError::Full(element) | TrySendError::Closed(element)) => {
                self.overflow.push_back(element);
            }
        }
    }

    /// An empty batch that the receiver has given back, if there is one.
    pub fn spare(&mut self) -> Option<Vec<T>> {
        self.spares.try_recv().ok()
    }

    /// Whether everything was handed on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.overflow.is_empty()
    }

    /// Waits until everything is handed on; for ever, where the receiver is gone.
    ///
    /// # Cancel safety
    /// What is not handed on stays.
    pub async fn ready(&mut self) {
        while !self.overflow.is_empty() {
            let Ok(permit) = self.sender.reserve().await else {
                return std::future::pending().await;
            };
            if let Some(element) = self.overflow.pop_front() {
                permit.send(element);
            }
        }
    }
}

impl<T> Inlet<T> {
    /// The next element; `None` once the sender is gone.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        self.receiver.poll_recv(cx)
    }

    /// Gives a batch's memory back to the sender, which has enough of it now and then.
    pub fn give_back(&self, mut batch: Vec<T>) {
        batch.clear();
        let _enough = self.spares.try_send(batch);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn what_does_not_fit_waits_and_keeps_its_order() {
        let (mut outlet, mut inlet) = channel::<u32>(2);
        for n in 0..5 {
            outlet.send(Element::Batch(vec![n]));
        }
        assert!(!outlet.is_ready());
        assert!(outlet.ready().now_or_never().is_none(), "two fit, three wait");
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let next = poll_fn(|cx| inlet.poll_next(cx)).now_or_never();
            if let Some(Some(Element::Batch(batch))) = next {
                seen.extend(batch);
            }
            let _ = outlet.ready().now_or_never();
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert!(outlet.is_ready());
    }

    #[test]
    fn emptied_batches_come_back_and_no_more_than_are_of_use() {
        let (mut outlet, inlet) = channel::<String>(1);
        assert!(outlet.spare().is_none());
        for _ in 0..SPARES + 2 {
            let mut batch = Vec::with_capacity(64);
            batch.push("left over".to_owned());
            inlet.give_back(batch);
        }
        let spares: Vec<_> = std::iter::from_fn(|| outlet.spare()).collect();
        assert_eq!(spares.len(), SPARES);
        assert!(spares.iter().all(|batch| batch.is_empty() && batch.capacity() >= 64));
        drop(inlet);
        assert!(outlet.spare().is_none());
        let (outlet, inlet) = channel::<String>(1);
        drop(outlet);
        inlet.give_back(Vec::new());
    }

    #[test]
    fn a_lost_receiver_leaves_it_to_its_own_error_to_end_the_attempt() {
        let (mut outlet, inlet) = channel::<u32>(1);
        drop(inlet);
        assert!(outlet.ready().now_or_never().is_some());
        outlet.send(Element::End);
        assert!(!outlet.is_ready());
        assert!(outlet.ready().now_or_never().is_none());
    }
}
