//! Generated records: a function of the index, at any position in no time.
//!
//! Split `i` of `n` owns the indices `i, i + n, i + 2 n …`, so all splits move on side by side and a
//! position is one number. `n` is the parallelism at discovery and stays what it was.

use std::fmt;
use std::sync::Arc;

use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::pace::{Pace, Paced};
use super::split_bytes;
use super::{Progress, Reader, ReaderContext, Source, SplitState};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Lag;
use crate::record::{Batch, Origin};
use crate::splitmix;

/// A source of records that a function makes of their index.
///
/// ```
/// use millpond::connector::Generator;
/// let squares = Generator::new(1_000, |i| i * i).rate(100);
/// let dice = Generator::seeded(7, 1_000, |_, random| random % 6 + 1);
/// ```
pub struct Generator<F> {
    count: Option<u64>,
    seed: Option<u64>,
    make: Arc<F>,
    pace: Option<Arc<Pace>>,
}

impl<T, F: Fn(u64) -> T> Generator<F> {
    /// Records 0 to `count` - 1.
    pub fn new(count: u64, make: F) -> Self {
        Self { count: Some(count), seed: None, make: Arc::new(make), pace: None }
    }

    /// Records without end.
    pub fn unbounded(make: F) -> Self {
        Self { count: None, seed: None, make: Arc::new(make), pace: None }
    }

    /// At most so many records a second, of all subtasks together; 0 counts as 1. Default: no limit.
    #[must_use]
    pub fn rate(mut self, records_per_second: u64) -> Self {
        self.pace = Some(Pace::new(records_per_second));
        self
    }
}

impl Generator<fn(u64) -> u64> {
    /// Records 0 to `count` - 1, each made of its index and 64 random bits that depend on `seed` and
    /// the index only: the same again after a restart.
    pub fn seeded<T>(
        seed: u64,
        count: u64,
        make: impl Fn(u64, u64) -> T,
    ) -> Generator<impl Fn(u64) -> T> {
        let make = move |index: u64| make(index, mixed(seed ^ mixed(index)));
        Generator { count: Some(count), seed: Some(seed), make: Arc::new(make), pace: None }
    }
}

/// The first number of a generator that begins at `x`.
fn mixed(mut x: u64) -> u64 {
    splitmix::next(&mut x)
}

impl<F> fmt::Debug for Generator<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("count", &self.count).finish_non_exhaustive()
    }
}

/// One split: which indices, and how many of them were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stripe {
    first: u64,
    step: u64,
    /// How many indices it has; `None`: no end.
    length: Option<u64>,
    given: u64,
}

/// How many of `count` indices are `first` plus a multiple of `step`.
fn stripe_length(count: Option<u64>, first: u64, step: u64) -> Option<u64> {
    count.map(|n| n.saturating_sub(first).div_ceil(step.max(1)))
}

impl Stripe {
    fn left(&self) -> u64 {
        self.length.map_or(u64::MAX, |n| n - self.given)
    }

    fn state(self) -> Result<SplitState> {
        Ok(SplitState {
            id: format!("{}/{}", self.first, self.step),
            done: self.left() == 0,
            state: split_bytes::encode(&self)?,
        })
    }
}

impl<T, F> Source for Generator<F>
where
    T: Send + 'static,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    type Item = T;

    fn describe(&self) -> String {
        let seed = self.seed.map_or(String::new(), |s| format!(", seed {s}"));
        match self.count {
            Some(count) => format!("generator of {count} records{seed}"),
            None => format!("generator without end{seed}"),
        }
    }

    fn bounded(&self) -> bool {
        self.count.is_some()
    }

    fn discover(&self, parallelism: u32) -> Result<Vec<SplitState>> {
        let step = u64::from(parallelism.max(1));
        let length = |first| stripe_length(self.count, first, step);
        (0..step)
            .map(|first| Stripe { first, step, length: length(first), given: 0 }.state())
            .collect()
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        for split in splits {
            let stripe: Stripe = split_bytes::decode(&split.state)?;
            if stripe.length != stripe_length(self.count, stripe.first, stripe.step) {
                let message =
                    format!("the recorded split {} is not one of a {}", split.id, self.describe());
                return Err(Error::new(ErrorKind::Input, message));
            }
        }
        Ok(())
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<T>>> {
        let stripes =
            splits.iter().map(|s| split_bytes::decode(&s.state)).collect::<Result<_>>()?;
        Ok(Box::new(Striped {
            ids: splits.iter().map(|s| Arc::from(s.id.as_str())).collect(),
            stripes,
            turn: 0,
            make: Arc::clone(&self.make),
            paced: Paced::new(self.pace.clone()),
            clock: context.clock,
            batch_size: context.batch_size.max(1),
            with_origin: context.with_origin,
        }))
    }
}

struct Striped<F> {
    ids: Vec<Arc<str>>,
    stripes: Vec<Stripe>,
    /// The stripe whose turn it is: they take turns batch by batch.
    turn: usize,
    make: Arc<F>,
    paced: Paced,
    clock: Clock,
    batch_size: usize,
    with_origin: bool,
}

impl<F> Striped<F> {
    /// Appends the next `most` records, or what is left, of the stripe whose turn it is.
    fn fill<T>(&mut self, out: &mut Batch<T>, most: usize) -> usize
    where
        F: Fn(u64) -> T,
    {
        let stripe = &mut self.stripes[self.turn];
        let number = stripe.left().min(most as u64);
        let (first, step) = (stripe.first, stripe.step);
        let range = stripe.given..stripe.given + number;
        let make = &*self.make;
        out.values.extend(range.clone().map(|i| make(first + i * step)));
        if self.with_origin {
            let split = &self.ids[self.turn];
            out.origins.extend(range.map(|position| Origin { split: Arc::clone(split), position }));
        }
        stripe.given += number;
        usize::try_from(number).unwrap_or(most)
    }
}

impl<T: 'static, F: Fn(u64) -> T> Reader<T> for Striped<F> {
    fn next<'a>(&'a mut self, out: &'a mut Batch<T>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            let n = self.stripes.len();
            let Some(turn) =
                (1..=n).map(|k| (self.turn + k) % n).find(|&i| self.stripes[i].left() > 0)
            else {
                return Ok(Progress::End);
            };
            let most = self.paced.allowance(&self.clock, self.batch_size).await;
            self.turn = turn;
            let given = self.fill(out, most);
            self.paced.spend(given);
            Ok(Progress::More)
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        self.stripes
            .iter()
            .zip(&self.ids)
            .map(|(stripe, id)| SplitState {
                id: id.to_string(),
                done: stripe.left() == 0,
                state: split_bytes::encode(stripe).unwrap_or_default(),
            })
            .collect()
    }

    fn lag(&self) -> Lag {
        Lag::records(self.stripes.iter().map(|s| s.length.map(|n| n - s.given)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, drain};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_index_comes_once_whatever_the_splits_and_restarts(
            count in 0u64..500, splits in 1u32..7, batch in 1usize..50, cut in 0usize..20,
        ) {
            let source = Generator::new(count, |i| i);
            let mut found = source.discover(splits).unwrap();
            prop_assert_eq!(found.len(), splits as usize);
            source.check(&found).unwrap();
            let mut seen = Vec::new();
            {
                let mut reader = source.reader(found, testing::context(batch)).unwrap();
                let mut out = Batch::default();
                for _ in 0..cut {
                    testing::block_on(reader.next(&mut out)).unwrap();
                }
                seen.append(&mut out.values);
                found = reader.snapshot();
            }
            found.reverse();
            seen.extend(drain(&source, found, batch).values);
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_seed_gives_the_same_records_and_another_seed_gives_others() {
        let run = |seed| {
            let source = Generator::seeded(seed, 100, |i, random| (i, random));
            drain(&source, source.discover(3).unwrap(), 7).values
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        // A job that goes on with another version generates the same.
        let pinned = [(0, 0x64bf_61b5_12ff_abe7), (1, 0x7716_da39_cba2_75b2)];
        assert!(pinned.iter().all(|record| run(7).contains(record)));
    }

    #[test]
    fn positions_are_given_on_request_and_order_a_split() {
        let source = Generator::new(10, |i| i);
        let context = ReaderContext { with_origin: true, ..testing::context(4) };
        let mut reader = source.reader(source.discover(2).unwrap(), context).unwrap();
        let mut out = Batch::default();
        while testing::block_on(reader.next(&mut out)).unwrap() == Progress::More {}
        assert_eq!(out.origins.len(), 10);
        for (value, origin) in out.values.iter().zip(&out.origins) {
            let first: u64 = origin.split.split('/').next().unwrap().parse().unwrap();
            assert_eq!(*value, first + 2 * origin.position);
        }
    }

    #[test]
    fn another_count_is_an_error_at_the_restart() {
        let splits = Generator::new(10, |i| i).discover(2).unwrap();
        let error = Generator::new(11, |i| i).check(&splits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the recorded split 0/2 is not one of a generator of 11 records"
        );
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
