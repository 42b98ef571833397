//! One bounded channel from one subtask to one other.
//!
//! Owns the overflow of a channel: an [`Outlet`] takes whatever a record's processing put out at once
//! and hands it on as the receiver makes room, so processing itself never waits in the middle. The
//! overflow is bounded, because a task awaits [`Outlet::ready`] before it takes its next input.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::error::{Error, Result};
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
    ///
    /// # Errors
    /// The receiver is gone: its task has failed, and its error is the one to look at.
    pub fn send(&mut self, element: Element<T>) -> Result<()> {
        if !self.overflow.is_empty() {
            self.overflow.push_back(element);
            return Ok(());
        }
        match self.sender.try_send(element) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(element)) => {
                self.overflow.push_back(element);
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(receiver_gone()),
        }
    }

    /// Whether everything was handed on.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.overflow.is_empty()
    }

    /// Waits until everything is handed on.
    ///
    /// # Errors
    /// As [`Outlet::send`].
    ///
    /// # Cancel safety
    /// What is not handed on stays.
    pub async fn ready(&mut self) -> Result<()> {
        while !self.overflow.is_empty() {
            let permit = self.sender.reserve().await.map_err(|_| receiver_gone())?;
            if let Some(element) = self.overflow.pop_front() {
                permit.send(element);
            }
        }
        Ok(())
    }
}

impl<T> Inlet<T> {
    /// The next element; `None` once the sender is gone.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Element<T>>> {
        self.0.poll_recv(cx)
    }
}

fn receiver_gone() -> Error {
    Error::internal("the receiving task has ended")
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
            outlet.send(Element::Batch(vec![n])).unwrap();
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
    fn a_lost_receiver_is_an_error() {
        let (mut outlet, inlet) = channel::<u32>(1);
        drop(inlet);
        assert!(outlet.send(Element::End).is_err());
    }
}
