//! Where the blocking work of a tested connector runs: on the test's thread, when the test wants.
//!
//! Owns the order: a call that has asked for something finds it undone until the next [`Gate::turn`], so that it can
//! be dropped while it waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::clock::Clock;
use crate::io::{Io, Spawn};

/// How long it takes until what was asked for is done.
const TURN: Duration = Duration::from_millis(1);

/// Work that waits; clones share it.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    blocking: VecDeque<Box<dyn FnOnce() + Send>>,
    futures: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Gate {
    pub(super) fn io(&self) -> Io {
        Io::new(self.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass, and the oldest work be done.
    pub(super) async fn turn(&self) {
        Clock::starting_at(0).sleep(TURN).await;
        let work = self.waiting().blocking.pop_front();
        if let Some(work) = work {
            work();
        }
        poll_fn(|context| {
            self.advance(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Taken out meanwhile: a future may ask for more.
    fn advance(&self, context: &mut Context<'_>) {
        let mut futures = std::mem::take(&mut self.waiting().futures);
        while let Poll::Ready(Some(())) = futures.poll_next_unpin(context) {}
        self.waiting().futures.extend(futures);
    }

    /// `work`, with all that it asks for done as soon as it waits.
    pub(super) async fn throughout<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.turn() => {}
            }
        }
    }
}

impl Spawn for Gate {
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        self.waiting().futures.push(future);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.waiting().blocking.push_back(work);
    }
}
