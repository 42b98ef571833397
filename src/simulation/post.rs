//! Messages that are under way by themselves: they arrive whatever becomes of who sent them.
//!
//! Owns the queue. It is driven by the simulated world, not by any process in it, so it outlives them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use crate::clock::Clock;

/// What is under way. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Post(Arc<Mutex<Sacks>>);

#[derive(Default)]
struct Sacks {
    new: Vec<BoxFuture<'static, ()>>,
    under_way: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Post")
    }
}

impl Post {
    /// `arrive` happens after `delay`.
    pub(super) fn send(
        &self,
        clock: Clock,
        delay: Duration,
        arrive: impl FnOnce() + Send + 'static,
    ) {
        let message = async move {
            clock.sleep(delay).await;
            arrive();
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).new.push(message.boxed());
    }

    /// Lets arrive what is due.
    pub(super) fn poll(&self, context: &mut Context<'_>) {
        let mut sacks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut under_way = std::mem::take(&mut sacks.under_way);
        under_way.extend(sacks.new.drain(..));
        // What arrives may send again.
        drop(sacks);
        while let Poll::Ready(Some(())) = under_way.poll_next_unpin(context) {}
        self.0.lock().unwrap_or_else(PoisonError::into_inner).under_way = under_way;
    }
}
