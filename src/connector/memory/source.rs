//! A source whose records are in memory: all at once, or as a test feeds them.

use std::fmt;
use std::sync::{Arc, PoisonError};

use futures::future::LocalBoxFuture;

use crate::connector::{Progress, Reader, ReaderContext, Source, SplitState, split_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Lag;
use crate::record::{Batch, Origin};
use crate::sync::{Mutex, MutexGuard, Notify};
use crate::teeth::{Tooth, bites};

/// A source of the records in a vector, or of those that a [`MemoryFeed`] gives. It keeps all
/// records, so it can be replayed. Clones share them.
pub struct MemorySource<T>(Arc<Shared<T>>);

/// The hand that feeds a [`MemorySource`]. Clones feed the same one.
pub struct MemoryFeed<T>(Arc<Shared<T>>);

struct Shared<T> {
    log: Mutex<Log<T>>,
    grown: Notify,
    bounded: bool,
}

struct Log<T> {
    splits: Vec<Vec<T>>,
    closed: bool,
}

impl<T> Shared<T> {
    fn of(splits: Vec<Vec<T>>, closed: bool, bounded: bool) -> Arc<Self> {
        let log = Mutex::new(Log { splits, closed });
        Arc::new(Self { log, grown: Notify::new(), bounded })
    }

    fn log(&self) -> MutexGuard<'_, Log<T>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> MemorySource<T> {
    /// `records`, cut into so many splits of consecutive records; 0 counts as 1.
    #[must_use]
    pub fn new(records: Vec<T>, splits: usize) -> Self {
        let splits = splits.max(1);
        let size = records.len().div_ceil(splits).max(1);
        let mut records = records.into_iter();
        Self::of_splits((0..splits).map(|_| records.by_ref().take(size).collect()).collect())
    }

    /// Each vector is one split.
    #[must_use]
    pub fn of_splits(splits: Vec<Vec<T>>) -> Self {
        Self(Shared::of(splits, true, true))
    }

    /// So many splits without records, and the hand that gives them some. The source ends when the
    /// feed is closed.
    #[must_use]
    pub fn fed(splits: usize) -> (MemoryFeed<T>, Self) {
        Self::with_feed(splits, true)
    }

    /// As [`MemorySource::fed`], but the source says that it has no end.
    #[must_use]
    pub fn fed_without_end(splits: usize) -> (MemoryFeed<T>, Self) {
        Self::with_feed(splits, false)
    }

    fn with_feed(splits: usize, bounded: bool) -> (MemoryFeed<T>, Self) {
        let empty = (0..splits.max(1)).map(|_| Vec::new()).collect();
        let shared = Shared::of(empty, false, bounded);
        (MemoryFeed(Arc::clone(&shared)), Self(shared))
    }
}

impl<T> MemoryFeed<T> {
    /// Gives `records` to split number `split`, from 0; one that does not exist counts as the last.
    pub fn push(&self, split: usize, records: impl IntoIterator<Item = T>) {
        let mut log = self.0.log();
        let last = log.splits.len() - 1;
        log.splits[split.min(last)].extend(records);
        self.0.grown.notify_waiters();
    }

    /// Nothing more comes.
    pub fn close(&self) {
        self.0.log().closed = true;
        self.0.grown.notify_waiters();
    }
}

impl<T> Clone for MemorySource<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Clone for MemoryFeed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for MemorySource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemorySource")
    }
}

impl<T> fmt::Debug for MemoryFeed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryFeed")
    }
}

/// A split's number and the next record in it.
type Position = (u64, u64);

/// The number of records of a [`MemorySource`]'s split that lie before the position in `state`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] where `state` is not such a split's.
pub fn memory_position_of(state: &[u8]) -> Result<u64> {
    let (_, next): Position = split_bytes::decode(state)?;
    Ok(next)
}

fn state_of((split, next): Position, done: bool) -> SplitState {
    let state = split_bytes::encode(&(split, next)).unwrap_or_default();
    SplitState { id: split.to_string(), state, done }
}

impl<T: Clone + Send + 'static> Source for MemorySource<T> {
    type Item = T;

    fn describe(&self) -> String {
        format!("{} splits in memory", self.0.log().splits.len())
    }

    fn bounded(&self) -> bool {
        self.0.bounded
    }

    fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
        let log = self.0.log();
        let done = |records: &Vec<T>| log.closed && records.is_empty();
        Ok((0..).zip(&log.splits).map(|(i, records)| state_of((i, 0), done(records))).collect())
    }

    fn check(&self, splits: &[SplitState]) -> Result<()> {
        let log = self.0.log();
        for split in splits {
            let (index, next): Position = split_bytes::decode(&split.state)?;
            let length = usize::try_from(index).ok().and_then(|i| log.splits.get(i)).map(Vec::len);
            if length.is_none_or(|n| (n as u64) < next) {
                let message = format!("split {index} in memory has fewer than {next} records");
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
        let mut cursors = Vec::new();
        for split in &splits {
            let (index, next): Position = split_bytes::decode(&split.state)?;
            let id = Arc::from(split.id.as_str());
            cursors.push(Cursor { id, index, next, done: split.done });
        }
        Ok(Box::new(MemoryReader { shared: Arc::clone(&self.0), cursors, turn: 0, context }))
    }
}

struct Cursor {
    id: Arc<str>,
    index: u64,
    next: u64,
    done: bool,
}

struct MemoryReader<T> {
    shared: Arc<Shared<T>>,
    cursors: Vec<Cursor>,
    turn: usize,
    context: ReaderContext,
}

impl<T: Clone> MemoryReader<T> {
    /// Appends what the next split that has something holds; `None`: all is read for now.
    fn fill(&mut self, out: &mut Batch<T>) -> Option<Progress> {
        let log = self.shared.log();
        let n = self.cursors.len();
        for _ in 0..n {
            self.turn = (self.turn + 1) % n;
            let cursor = &mut self.cursors[self.turn];
            let records = usize::try_from(cursor.index).ok().and_then(|i| log.splits.get(i));
            let Some(records) = records else { continue };
            let from = usize::try_from(cursor.next).unwrap_or(usize::MAX).min(records.len());
            let some = &records[from..];
            let some = &some[..some.len().min(self.context.batch_size)];
            if self.context.with_origin {
                let origin = |position| Origin { split: Arc::clone(&cursor.id), position };
                out.origins.extend((cursor.next..).take(some.len()).map(origin));
            }
            out.values.extend_from_slice(some);
            cursor.next += some.len() as u64;
            cursor.done = log.closed && cursor.next == records.len() as u64;
            if !some.is_empty() {
                return Some(Progress::More);
            }
        }
        self.cursors.iter().all(|c| c.done).then_some(Progress::End)
    }
}

impl<T: Clone> Reader<T> for MemoryReader<T> {
    fn next<'a>(&'a mut self, out: &'a mut Batch<T>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            let shared = Arc::clone(&self.shared);
            loop {
                let mut grown = std::pin::pin!(shared.grown.notified());
                // Before looking: what comes between the look and the wait must wake us.
                grown.as_mut().enable();
                if let Some(progress) = self.fill(out) {
                    return Ok(progress);
                }
                grown.await;
            }
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        let late = u64::from(bites(Tooth::PositionLate));
        let early = u64::from(bites(Tooth::PositionEarly));
        let position = |c: &Cursor| (c.index, (c.next + late).saturating_sub(early));
        self.cursors.iter().map(|c| state_of(position(c), c.done)).collect()
    }

    fn lag(&self) -> Lag {
        let log = self.shared.log();
        let all: usize = self
            .cursors
            .iter()
            .filter_map(|c| usize::try_from(c.index).ok().and_then(|i| log.splits.get(i)))
            .map(Vec::len)
            .sum();
        let read = self.cursors.iter().map(|c| c.next).sum();
        Lag::records(Some((all as u64).saturating_sub(read)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, block_on, drain};
    use futures::FutureExt;

    #[test]
    fn a_vector_is_cut_into_splits_and_read_once() {
        for splits in 1..8 {
            let source = MemorySource::new((0..10).collect(), splits);
            let found = source.discover(1).unwrap();
            assert_eq!(found.len(), splits);
            let mut values = drain(&source, found, 3).values;
            values.sort_unstable();
            assert_eq!(values, (0..10).collect::<Vec<_>>());
        }
        assert!(drain(&MemorySource::<u8>::new(vec![], 2), vec![], 1).values.is_empty());
    }

    #[test]
    fn a_feed_controls_when_records_arrive_and_positions_go_back() {
        let (feed, source) = MemorySource::fed(2);
        let mut reader = source.reader(source.discover(2).unwrap(), testing::context(10)).unwrap();
        let mut out = Batch::default();
        assert!(reader.next(&mut out).now_or_never().is_none());
        feed.push(1, ["a", "b"]);
        assert_eq!(block_on(reader.next(&mut out)).unwrap(), Progress::More);
        assert_eq!(reader.lag(), Lag::records(Some(0)));
        let snapshot = reader.snapshot();
        feed.push(0, ["c"]);
        feed.close();
        block_on(reader.next(&mut out)).unwrap();
        assert_eq!(block_on(reader.next(&mut out)).unwrap(), Progress::End);
        assert_eq!(out.values, ["a", "b", "c"]);
        source.check(&snapshot).unwrap();
        assert_eq!(drain(&source, snapshot, 10).values, ["c"]);
    }
}
