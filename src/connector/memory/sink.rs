//! A sink in memory with the same steps as a real one: staged by writers, visible when committed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use crate::connector::{
    CommitOutcome, Committable, Committer, Guarantee, RunIdentity, Sink, Writer, WriterContext,
    split_bytes,
};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name};

/// A sink whose committed records a test can read. Clones share them.
pub struct MemorySink<T>(Arc<Mutex<Inner<T>>>);

/// One commit: what one subtask staged for one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<T> {
    /// The operator that wrote.
    pub operator: Name,
    /// The attempt that wrote.
    pub attempt: Attempt,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The subtask's index.
    pub subtask: u32,
    /// The records, in order.
    pub records: Vec<T>,
}

/// Operator, attempt, checkpoint, subtask.
type Key = (String, u64, u64, u32);

struct Inner<T> {
    staged: BTreeMap<Key, Vec<T>>,
    committed: Vec<(Key, Vec<T>)>,
    /// Calls to commit that come too early yet.
    hesitates: u32,
}

fn lock<T>(shared: &Arc<Mutex<Inner<T>>>) -> MutexGuard<'_, Inner<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> MemorySink<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let (staged, committed) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(Inner { staged, committed, hesitates: 0 })))
    }

    /// How many checkpoints' output is staged and not committed, over all subtasks.
    #[must_use]
    pub fn staged(&self) -> usize {
        lock(&self.0).staged.len()
    }

    /// The next `calls` calls to commit publish nothing and ask to be made again.
    pub fn hesitate(&self, calls: u32) {
        lock(&self.0).hesitates = calls;
    }

    /// Of each commit, in their order: the attempt that wrote, and the checkpoint.
    #[must_use]
    pub fn committed(&self) -> Vec<(Attempt, CheckpointId)> {
        let of = |((_, attempt, checkpoint, _), _): &(Key, Vec<T>)| {
            (Attempt(*attempt), CheckpointId(*checkpoint))
        };
        lock(&self.0).committed.iter().map(of).collect()
    }
}

impl<T: Clone> MemorySink<T> {
    /// All committed records, commit by commit.
    #[must_use]
    pub fn output(&self) -> Vec<T> {
        lock(&self.0).committed.iter().flat_map(|(_, records)| records.iter().cloned()).collect()
    }

    /// All commits, in their order.
    ///
    /// # Errors
    /// Never in practice: an operator's name is valid.
    pub fn commits(&self) -> Result<Vec<Commit<T>>> {
        let inner = lock(&self.0);
        let commit = |((operator, attempt, checkpoint, subtask), records): &(Key, Vec<T>)| {
            Ok(Commit {
                operator: Name::new(operator)?,
                attempt: Attempt(*attempt),
                checkpoint: CheckpointId(*checkpoint),
                subtask: *subtask,
                records: records.clone(),
            })
        };
        inner.committed.iter().map(commit).collect()
    }
}

impl<T> Default for MemorySink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for MemorySink<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for MemorySink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemorySink")
    }
}

impl<T: Send + 'static> Sink<T> for MemorySink<T> {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn prepare(&self, _run: &RunIdentity) -> Result<()> {
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(MemoryWriter { shared: Arc::clone(&self.0), context, records: Vec::new() }))
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        Some(Box::new(MemoryCommitter { sink: self.clone(), operator: operator.clone() }))
    }
}

struct MemoryWriter<T> {
    shared: Arc<Mutex<Inner<T>>>,
    context: WriterContext,
    records: Vec<T>,
}

impl<T: Send + 'static> Writer<T> for MemoryWriter<T> {
    fn write(&mut self, batch: &mut Vec<T>) -> Result<()> {
        self.records.append(batch);
        Ok(())
    }

    fn snapshot(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Box::pin(std::future::ready(Ok(Vec::new())));
        }
        let WriterContext { operator, attempt, subtask, .. } = &self.context;
        let key = (operator.as_str().to_owned(), attempt.0, checkpoint.0, subtask.index);
        let shared = Arc::clone(&self.shared);
        // Staged only when it is polled: a writer that dies before has staged nothing.
        Box::pin(async move {
            let committable = Committable(split_bytes::encode(&key)?);
            lock(&shared).staged.insert(key, records);
            Ok(vec![committable])
        })
    }
}

struct MemoryCommitter<T> {
    sink: MemorySink<T>,
    operator: Name,
}

impl<T> fmt::Debug for MemoryCommitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryCommitter({})", self.operator)
    }
}

impl<T: Send + 'static> Committer for MemoryCommitter<T> {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        let mut inner = lock(&self.sink.0);
        if inner.hesitates > 0 {
            inner.hesitates -= 1;
            let later = || CommitOutcome::Retry("it hesitates".to_owned());
            return Ok(committables.iter().map(|_| later()).collect());
        }
        let commit = |committable: &Committable| {
            let key: Key = split_bytes::decode(&committable.0)?;
            if let Some(records) = inner.staged.remove(&key) {
                inner.committed.push((key, records));
                return Ok(CommitOutcome::Committed);
            }
            if inner.committed.iter().any(|(k, _)| *k == key) {
                return Ok(CommitOutcome::AlreadyCommitted);
            }
            Err(Error::new(ErrorKind::Lost, format!("output {key:?} is lost: it was never staged")))
        };
        committables.iter().map(commit).collect()
    }

    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        let named: Vec<Key> =
            named.iter().map(|c| split_bytes::decode(&c.0)).collect::<Result<_>>()?;
        let mine = self.operator.as_str();
        let keep = |key: &Key| key.0 != mine || key.1 >= attempt.0 || named.contains(key);
        lock(&self.sink.0).staged.retain(|key, _| keep(key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::testing::{self, block_on};

    fn stage(sink: &MemorySink<u32>, attempt: u64, checkpoint: u64, n: u32) -> Vec<Committable> {
        let mut writer = sink.writer(testing::writer_context(attempt, 0)).unwrap();
        writer.write(&mut vec![n, n + 1]).unwrap();
        block_on(writer.snapshot(CheckpointId(checkpoint))).unwrap()
    }

    #[test]
    fn output_is_visible_when_committed_and_only_once() {
        let sink = MemorySink::new();
        let staged = stage(&sink, 1, 1, 7);
        assert!(sink.output().is_empty());
        let committer = sink.committer(&Name::new("out").unwrap()).unwrap();
        assert_eq!(committer.commit(&staged).unwrap(), [CommitOutcome::Committed]);
        assert_eq!(committer.commit(&staged).unwrap(), [CommitOutcome::AlreadyCommitted]);
        assert_eq!(sink.output(), [7, 8]);
        assert_eq!(sink.commits().unwrap()[0].checkpoint, CheckpointId(1));
    }

    #[test]
    fn a_sink_that_hesitates_commits_later() {
        let sink = MemorySink::new();
        let staged = stage(&sink, 1, 1, 7);
        let committer = sink.committer(&Name::new("out").unwrap()).unwrap();
        sink.hesitate(1);
        assert!(matches!(committer.commit(&staged).unwrap()[..], [CommitOutcome::Retry(_)]));
        assert!(sink.output().is_empty());
        assert_eq!(committer.commit(&staged).unwrap(), [CommitOutcome::Committed]);
    }

    #[test]
    fn cleaning_keeps_what_is_named_and_what_is_newer() {
        let sink = MemorySink::new();
        let (old, named) = (stage(&sink, 1, 1, 1), stage(&sink, 1, 2, 2));
        let own = stage(&sink, 2, 3, 3);
        let other = sink.committer(&Name::new("other").unwrap()).unwrap();
        other.clean(Attempt(9), &[]).unwrap();
        assert_eq!(sink.staged(), 3);
        let committer = sink.committer(&Name::new("out").unwrap()).unwrap();
        committer.clean(Attempt(2), &named).unwrap();
        assert_eq!(sink.staged(), 2);
        assert!(committer.commit(&old).is_err());
        committer.commit(&named).unwrap();
        committer.commit(&own).unwrap();
        assert_eq!(sink.output(), [2, 3, 3, 4]);
    }
}
