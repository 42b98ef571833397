//! The beat of a lease, from the claim to the next claim of the same process, or its last attempt's end.
//!
//! Owns when the head's counter moves, and the moves that are under way. It goes with the attempt, from
//! the claim through the restore to the driver, so that there is never a second one: a restore may take
//! longer than the lease. And it goes on while a failed attempt's workers end and a restart is waited for:
//! the lease tells whether the owner lives, which it does. Does not own the write (`headkeeper`).
//!
//! A move that gets no answer keeps none of the next ones back, or one connection that died in silence would
//! cost the lease. Whichever arrives later than a younger one still moves the counter.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::headkeeper::HeadKeeper;
use crate::clock::Instant;
use crate::error::{Error, ErrorKind, Result};
use crate::io::Io;

/// Moves without an answer at a time, at most: those of two leases.
const UNANSWERED: usize = 6;

/// Moves the counter of a claimed head three times a lease, while it is polled.
pub struct Heartbeat {
    keeper: Arc<HeadKeeper>,
    io: Io,
    /// When the next one is due; `None` where that is beyond time.
    due: Option<Instant>,
    under_way: FuturesUnordered<BoxFuture<'static, Result<()>>>,
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
        Self { keeper: Arc::new(keeper), io, due, under_way: FuturesUnordered::new() }
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

    /// Does `work` to its end and beats meanwhile, for as long as nobody else has claimed: whoever goes on after
    /// `work` finds that out, and that a beat could not be sent.
    ///
    /// # Cancel safety
    /// As [`Self::beside`].
    pub async fn throughout<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => done,
            () = self.until_fenced() => work.await,
        }
    }

    async fn until_fenced(&mut self) {
        loop {
            let error = self.until_it_fails().await;
            if error.kind() == ErrorKind::Fenced {
                return;
            }
            tracing::debug!("the lease's counter was not moved: {error}");
        }
    }

    /// Beats, and ends with what a beat fails with.
    ///
    /// # Cancel safety
    /// May be dropped at any await and called again.
    pub(super) async fn until_it_fails(&mut self) -> Error {
        loop {
            let (clock, due) = (self.keeper.clock(), self.due);
            let next = async move {
                match due {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = self.under_way.next(), if !self.under_way.is_empty() => {
                    if let Some(Err(error)) = answer {
                        return error;
                    }
                }
                () = next, if self.under_way.len() < UNANSWERED => {
                    let keeper = Arc::clone(&self.keeper);
                    self.under_way.push(self.io.run(async move { keeper.beat().await }).boxed());
                    self.due = self.keeper.next_beat();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::checkpoint::contract::sample_head;
    use crate::checkpoint::fakes;
    use crate::checkpoint::{Head, HeadAnswer, HeadChange, HeadCondition, HeadStore, rules};
    use crate::clock::Clock;
    use crate::ids::Name;

    const LEASE: Duration = Duration::from_secs(3);

    /// A head whose first move is never answered; another attempt's once it was moved `until` times.
    #[derive(Debug)]
    struct Silent {
        clock: Clock,
        begun: Instant,
        moved: Mutex<Vec<(u64, Duration)>>,
        until: usize,
    }

    impl HeadStore for Silent {
        fn read(&self, _: &Name) -> BoxFuture<'_, Result<Option<Head>>> {
            let attempt = if self.moved.lock().unwrap().len() < self.until { 2 } else { 3 };
            async move { Ok(Some(sample_head(attempt, 4))) }.boxed()
        }

        fn write(
            &self,
            _: &Name,
            _: HeadCondition,
            change: HeadChange,
        ) -> BoxFuture<'_, Result<HeadAnswer>> {
            let HeadChange::Beat(beat) = change else { panic!("only beats") };
            async move {
                let number = {
                    let mut moved = self.moved.lock().unwrap();
                    moved.push((beat, self.clock.now() - self.begun));
                    moved.len()
                };
                match number {
                    1 => std::future::pending().await,
                    n if n < self.until => Ok(HeadAnswer::Unknown),
                    _ => Ok(HeadAnswer::Refused),
                }
            }
            .boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_move_without_an_answer_keeps_no_other_one_back() {
        let clock = Clock::starting_at(0);
        let begun = clock.now();
        let heads = Arc::new(Silent { clock, begun, moved: Mutex::default(), until: 9 });
        let head = sample_head(2, 4);
        let mine = rules::Mine { attempt: head.attempt, owner: head.owner };
        let job = Name::new("job").unwrap();
        let keeper = HeadKeeper::new(job, mine, Arc::clone(&heads) as _, clock, LEASE);
        let error = Heartbeat::new(keeper, fakes::io()).until_it_fails().await;
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        let moved = heads.moved.lock().unwrap().clone();
        let each_second: Vec<_> = (1..=9).map(|n| (n, Duration::from_secs(n))).collect();
        assert_eq!(moved, each_second);
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_done_to_its_end_though_beats_fail() {
        let clock = Clock::starting_at(0);
        let begun = clock.now();
        let heads = Arc::new(Silent { clock, begun, moved: Mutex::default(), until: 4 });
        let head = sample_head(2, 4);
        let mine = rules::Mine { attempt: head.attempt, owner: head.owner.clone() };
        let job = Name::new("job").unwrap();
        let keeper = HeadKeeper::new(job, mine, Arc::clone(&heads) as _, clock, LEASE);
        let mut heartbeat = Heartbeat::new(keeper, fakes::io());
        heartbeat.throughout(clock.sleep(LEASE * 5)).await;
        assert_eq!(clock.now() - begun, LEASE * 5);
        assert_eq!(heads.moved.lock().unwrap().len(), 4, "no more once another has claimed");
    }
}
