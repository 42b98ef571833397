//! Where the records of a scenario come from, and where its output goes.
//!
//! Owns what the course of a run does with these ends, whatever they are, and those in memory. What the records
//! must come to is `scenario`'s.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::Rng;
use rand::rngs::StdRng;

use super::scenario::{Positions, Verdict};
use crate::connector::{MemoryFeed, MemorySink, MemorySource};
use crate::ids::{Attempt, CheckpointId};

/// One committed checkpoint of one sink's subtask: who wrote it, and for which checkpoint.
pub type CommitOf = (Attempt, CheckpointId);

/// The ends of a scenario: its sources and its sinks. One of each in memory are [`MemoryEnds`].
pub trait Ends: Send + Sync {
    /// What its sources read, each with the id of the source operator.
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)>;

    /// What its sinks write to.
    fn outlets(&self) -> Vec<&dyn Outlet>;

    /// Gives each source some more records, so that none is far behind; `false` where nothing is left but what
    /// [`Ends::finish`] gives.
    fn give(&self, random: &mut StdRng) -> bool {
        self.inlets().iter().fold(false, |given, (_, inlet)| inlet.give(random) | given)
    }

    /// Gives all that is left and ends the input.
    fn finish(&self) {
        self.inlets().iter().for_each(|(_, inlet)| inlet.finish());
    }

    /// Records that the sources were given so far.
    fn given(&self) -> u64 {
        self.inlets().iter().map(|(_, inlet)| inlet.given()).sum()
    }

    /// The commits so far, over all sinks in the order of [`Ends::outlets`], each sink's in their order.
    fn commits(&self) -> Vec<CommitOf> {
        self.outlets().iter().flat_map(|outlet| outlet.commits()).collect()
    }

    /// Output that is staged and not committed.
    fn staged(&self) -> usize {
        self.outlets().iter().map(|outlet| outlet.staged()).sum()
    }

    /// Makes the next `calls` commits of each sink come later.
    fn hesitate(&self, calls: u32) {
        self.outlets().iter().for_each(|outlet| outlet.hesitate(calls));
    }

    /// Whether all input lies before `positions`, where a job has finished.
    ///
    /// # Errors
    /// What was not read.
    fn check_end(&self, positions: &Positions) -> Verdict {
        self.inlets().iter().try_for_each(|(source, inlet)| inlet.check_end(source, positions))
    }
}

/// What one source reads.
pub trait Inlet: Send + Sync {
    /// Gives a few records of one split; `false` where nothing is left but the last split.
    fn give(&self, random: &mut StdRng) -> bool;

    /// Gives all that is left and ends the input.
    fn finish(&self);

    /// Records given so far.
    fn given(&self) -> u64;

    /// Whether all records of the source operator `source` lie before `positions`.
    ///
    /// # Errors
    /// Which split was not read to its end.
    fn check_end(&self, source: &str, positions: &Positions) -> Verdict;
}

/// What one sink writes to.
pub trait Outlet: Send + Sync {
    /// The commits so far, in their order.
    fn commits(&self) -> Vec<CommitOf>;

    /// Output that is staged and not committed.
    fn staged(&self) -> usize;

    /// Makes the next `calls` commits come later: see [`MemorySink::hesitate`].
    fn hesitate(&self, calls: u32);
}

impl<T: Send + 'static> Outlet for MemorySink<T> {
    fn commits(&self) -> Vec<CommitOf> {
        self.committed()
    }

    fn staged(&self) -> usize {
        MemorySink::staged(self)
    }

    fn hesitate(&self, calls: u32) {
        MemorySink::hesitate(self, calls);
    }
}

/// The ends of a scenario with one source, whose operator id is `events`, and one sink.
#[derive(Debug)]
pub struct MemoryEnds<I, O> {
    /// What the source gives.
    pub input: Input<I>,
    /// What the job has given out.
    pub sink: MemorySink<O>,
}

impl<I: Clone + Send + 'static, O> MemoryEnds<I, O> {
    /// The operator id of the source.
    pub const SOURCE: &str = "events";

    /// `splits` bit by bit, then `last` as one more split; nothing was given out.
    #[must_use]
    pub fn new(splits: Vec<Vec<I>>, last: Vec<I>) -> Self {
        Self { input: Input::new(splits, last), sink: MemorySink::new() }
    }
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> Ends for MemoryEnds<I, O> {
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)> {
        vec![(Self::SOURCE, &self.input)]
    }

    fn outlets(&self) -> Vec<&dyn Outlet> {
        vec![&self.sink]
    }
}

/// Records for splits in memory, given bit by bit. What is in the last split is given at the end.
pub struct Input<T> {
    feed: MemoryFeed<T>,
    source: MemorySource<T>,
    splits: Vec<Vec<T>>,
    given: Mutex<Vec<usize>>,
}

impl<T> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input of {} splits", self.splits.len())
    }
}

impl<T: Clone + Send + 'static> Input<T> {
    /// `splits` bit by bit, then `last` as one more split.
    #[must_use]
    pub fn new(mut splits: Vec<Vec<T>>, last: Vec<T>) -> Self {
        splits.push(last);
        let (feed, source) = MemorySource::fed(splits.len());
        let given = Mutex::new(vec![0; splits.len()]);
        Self { feed, source, splits, given }
    }

    /// The source, for a graph.
    #[must_use]
    pub fn source(&self) -> MemorySource<T> {
        self.source.clone()
    }

    /// All records that there will ever be.
    #[must_use]
    pub fn splits(&self) -> &[Vec<T>] {
        &self.splits
    }

    fn by_split(&self) -> MutexGuard<'_, Vec<usize>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records before `positions` of the source operator `source`, split by split.
    pub fn before<'a>(
        &'a self,
        source: &str,
        positions: &Positions,
    ) -> impl Iterator<Item = &'a T> {
        let ends: Vec<u64> =
            (0..self.splits.len()).map(|split| positions.before(source, split)).collect();
        let part =
            |(records, end): (&'a Vec<T>, u64)| &records[..(end as usize).min(records.len())];
        self.splits.iter().zip(ends).flat_map(part)
    }
}

impl<T: Clone + Send + Sync + 'static> Inlet for Input<T> {
    fn give(&self, random: &mut StdRng) -> bool {
        let mut given = self.by_split();
        let last = self.splits.len() - 1;
        let left: Vec<usize> = (0..last).filter(|s| given[*s] < self.splits[*s].len()).collect();
        if left.is_empty() {
            return false;
        }
        let split = left[random.random_range(0..left.len())];
        let from = given[split];
        let to = (from + random.random_range(1..20)).min(self.splits[split].len());
        self.feed.push(split, self.splits[split][from..to].to_vec());
        given[split] = to;
        true
    }

    fn finish(&self) {
        let mut given = self.by_split();
        for (split, records) in self.splits.iter().enumerate() {
            self.feed.push(split, records[given[split]..].to_vec());
            given[split] = records.len();
        }
        self.feed.close();
    }

    fn given(&self) -> u64 {
        self.by_split().iter().sum::<usize>() as u64
    }

    fn check_end(&self, source: &str, positions: &Positions) -> Verdict {
        for (split, records) in self.splits.iter().enumerate() {
            let (read, all) = (positions.before(source, split), records.len() as u64);
            if read != all {
                return Err(format!("{read} of the {all} records of {source} {split} were read"));
            }
        }
        Ok(())
    }
}
