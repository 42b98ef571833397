//! The beat of a lease, from the claim to the end of the attempt.
//!
//! Owns when the head's counter moves, and the one move that is under way. It goes with the attempt, from
//! the claim through the restore to the driver, so that there is never a second one: a restore may take
//! longer than the lease. Does not own the write (`headkeeper`).

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::headkeeper::HeadKeeper;
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::io::Io;

/// Moves the counter of a claimed head three times a lease, while it is polled.
pub struct Heartbeat {
    keeper: Arc<HeadKeeper>,
    io: Io,
    /// When the next one is due; `None` where that is beyond time.
    due: Option<Instant>,
    under_way: Option<BoxFuture<'static, Result<()>>>,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

impl Heartbeat {
    /// For a head that was claimed just now, which counts as a beat.
    pub(super) fn new(keeper: HeadKeeper, io: Io) -> Self {
        let due = keeper.next_beat();
        Self { keeper: Arc::new(keeper), io, due, under_way: None }
    }

    pub(super) fn keeper(&self) -> &Arc<HeadKeeper> {
        &self.keeper
    }

    /// Does `work` and beats meanwhile. Where the beat fails first, `work` is dropped.
    ///
    /// # Errors
    /// Those of `work`; [`crate::ErrorKind::Fenced`], which names the new owner; the store's.
    ///
    /// # Cancel safety
    /// As `work`: a beat that is under way goes on with the next call.
    pub async fn beside<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            error = self.until_it_fails() => Err(error),
        }
    }

    /// Beats, and ends with what a beat fails with.
    ///
    /// # Cancel safety
    /// May be dropped at any await and called again.
    pub(super) async fn until_it_fails(&mut self) -> Error {
        loop {
            let beat = match &mut self.under_way {
                Some(beat) => beat,
                none => {
                    match self.due {
                        Some(due) => self.keeper.clock().sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                    let keeper = Arc::clone(&self.keeper);
                    none.insert(self.io.run(async move { keeper.beat().await }).boxed())
                }
            };
            let answer = beat.await;
            self.under_way = None;
            self.due = self.keeper.next_beat();
            if let Err(error) = answer {
                return error;
            }
        }
    }
}
