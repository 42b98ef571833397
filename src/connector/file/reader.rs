//! Reads the splits of one subtask: one after the other, or, where they are followed, in turns.

use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::bad::Route;
use super::format::{Format, Parser};
use super::split::Split;
use super::split_reader::{Filled, Shared, SplitReader};
use crate::clock::{Clock, Instant};
use crate::connector::pace::Paced;
use crate::connector::{Progress, Reader, SplitState};
use crate::error::Result;
use crate::metrics::Lag;
use crate::record::Batch;

/// How often followed files are looked at again when all are read to their ends.
pub(super) const POLL: Duration = Duration::from_millis(100);

pub(super) struct FileReader<F: Format, R> {
    shared: Shared<F, R>,
    splits: Vec<SplitReader<F::Parser>>,
    paced: Paced,
    clock: Clock,
    batch_size: usize,
    /// The split whose turn it is.
    turn: usize,
    /// How many splits in a row had nothing new.
    idle: usize,
    /// When followed files are looked at again.
    wake: Option<Instant>,
}

impl<F: Format, R: Route<F::Item>> FileReader<F, R> {
    pub(super) fn new(
        splits: Vec<Split>,
        shared: Shared<F, R>,
        paced: Paced,
        clock: Clock,
        batch_size: usize,
    ) -> Self {
        let splits = splits.into_iter().map(SplitReader::new).collect();
        let batch_size = batch_size.max(1);
        Self { shared, splits, paced, clock, batch_size, turn: 0, idle: 0, wake: None }
    }

    async fn next_batch(&mut self, out: &mut Batch<R::Out>) -> Result<Progress> {
        let n = self.splits.len();
        loop {
            self.wait_for_growth().await;
            let Some(turn) = (0..n).map(|k| (self.turn + k) % n).find(|&i| !self.splits[i].done())
            else {
                return Ok(Progress::End);
            };
            self.turn = turn;
            let budget = self.paced.allowance(&self.clock, self.batch_size).await;
            let split = &mut self.splits[turn];
            match split.fill(&self.shared, out, budget).await? {
                Filled::Records(taken) => {
                    self.paced.spend(taken);
                    self.idle = 0;
                    self.turn += usize::from(split.followed());
                    return Ok(Progress::More);
                }
                Filled::Done(taken) => {
                    self.paced.spend(taken);
                    if taken > 0 {
                        return Ok(Progress::More);
                    }
                }
                Filled::Idle => {
                    self.idle += 1;
                    self.turn += 1;
                    if self.idle >= n {
                        self.wake = Some(self.clock.now() + POLL);
                    }
                }
            }
        }
    }

    /// Sleeps until a fixed moment, so that being dropped again and again does not put it off.
    async fn wait_for_growth(&mut self) {
        if let Some(wake) = self.wake {
            self.clock.sleep_until(wake).await;
            self.wake = None;
            self.idle = 0;
        }
    }
}

impl<F: Format, R: Route<F::Item>> Reader<R::Out> for FileReader<F, R>
where
    F::Parser: Parser<Item = F::Item>,
{
    fn next<'a>(&'a mut self, out: &'a mut Batch<R::Out>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(self.next_batch(out))
    }

    fn snapshot(&self) -> Vec<SplitState> {
        self.splits.iter().map(|s| s.state().to_state()).collect()
    }

    fn lag(&self) -> Lag {
        Lag::bytes(self.splits.iter().map(SplitReader::lag).sum())
    }
}
