//! One bounded channel from one subtask to one other.
//!
//! Owns the overflow of a channel: an [`Outlet`] takes whatever a record's processing put out at once
//! and hands it on as the receiver makes room, so processing itself never waits in the middle. The
//! overflow is bounded, because a task awaits [`Outlet::ready`] before it takes its next input.
//!
//! A receiver that is gone is no error here: its task has failed, that failure ends the attempt, and an
//! error of the sender that came first would hide it. So the sender waits.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::record::Element;

/// The sending end.
#[derive(Debug)]
pub struct Outlet<T> {
    sender: mpsc::Sender<Element<T>>,
    overflow: VecDeque<Element<T>>,
}

/// The receiving end.
#[derive(Debug)]
pub struct Inlet<T>(mpsc::Receiver<Element<T>>);

/// A channel that holds `capacity` elements.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Outlet<T>, Inlet<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    (Outlet { sender, overflow: VecDeque::new() }, Inlet(receiver))
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
        self.0.poll_recv(cx)
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
    fn a_lost_receiver_leaves_it_to_its_own_error_to_end_the_attempt() {
        let (mut outlet, inlet) = channel::<u32>(1);
        drop(inlet);
        assert!(outlet.ready().now_or_never().is_some());
        outlet.send(Element::End);
        assert!(!outlet.is_ready());
        assert!(outlet.ready().now_or_never().is_none());
    }
}
