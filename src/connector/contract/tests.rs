//! The project's own connectors keep the promises, and broken ones are found out.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};

use super::{Kept, sink, source};
use crate::connector::testing::{self, block_on};
use crate::connector::{
    CommitOutcome, Committable, Committer, FileSink, FileSource, Generator, Guarantee, MemorySink,
    MemorySource, Progress, Reader, ReaderContext, RunIdentity, Sink, Source, SplitState, Writer,
    WriterContext,
};
use crate::error::Result;
use crate::ids::{Attempt, CheckpointId, Name};
use crate::record::Batch;

#[test]
fn generators_and_memory_keep_all_promises_of_sources() {
    block_on(source::all(&Generator::new(20, |n| n))).unwrap();
    block_on(source::all(&Generator::new(20, |n| n).rate(100))).unwrap();
    block_on(source::all(&MemorySource::new((0..17).collect(), 4))).unwrap();
}

#[test]
fn files_keep_all_promises_of_sources() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.txt", "b.txt"] {
        let lines: String = (0..40).map(|n| format!("{name} {n}\n")).collect();
        fs::write(folder.path().join(name), lines).unwrap();
    }
    let lines = || FileSource::lines(format!("{}/*.txt", folder.path().display()));
    block_on(source::all(&lines())).unwrap();
    block_on(source::all(&lines().split_size(100))).unwrap();
}

/// The numbers in all published files.
fn published(folder: &Path) -> Vec<u64> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let results = files.filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let text: String = results.map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn memory_and_files_keep_all_promises_of_sinks() {
    let records: Vec<u64> = (0..9).collect();
    let in_memory = || {
        let sink = MemorySink::new();
        let output = sink.clone();
        (sink, move || output.output())
    };
    block_on(sink::all(in_memory, &records)).unwrap();
    let in_files = || {
        let folder = tempfile::tempdir().unwrap();
        (FileSink::json_lines(folder.path()), move || published(folder.path()))
    };
    block_on(sink::all(in_files, &records)).unwrap();
}

/// What is wrong with a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Its splits begin elsewhere each time.
    Unstable,
    /// All its records have one position.
    Origins,
    /// Its snapshot lags by one record.
    Position,
    /// It forgets what it has taken when its future is dropped.
    Dropped,
    /// It never says that a split is done.
    Done,
    /// It leaves a record in the batch.
    Batch,
    /// It publishes at once.
    Early,
    /// It publishes again, and says that it has not.
    Twice,
    /// It does not, and says that it has.
    Outcome,
    /// It publishes the last of what is committed together.
    Joined,
    /// It forgets what is owed when it cleans.
    Cleaned,
}

/// Ten numbers in one split, and how often that was looked for.
#[derive(Debug)]
struct Ten(Wrong, AtomicU64);

#[derive(Debug)]
struct TenReader {
    wrong: Wrong,
    next: u64,
    done: bool,
    context: ReaderContext,
}

impl Source for Ten {
    type Item = u64;

    fn describe(&self) -> String {
        "ten".to_owned()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn discover(&self, _: u32) -> Result<Vec<SplitState>> {
        let found = self.1.fetch_add(1, Ordering::Relaxed);
        let first = if self.0 == Wrong::Unstable { found } else { 0 };
        Ok(vec![SplitState::at("ten", &first, false)])
    }

    fn check(&self, _: &[SplitState]) -> Result<()> {
        Ok(())
    }

    fn reader(
        &self,
        splits: Vec<SplitState>,
        context: ReaderContext,
    ) -> Result<Box<dyn Reader<u64>>> {
        let (next, done) = (splits[0].position()?, splits[0].done);
        Ok(Box::new(TenReader { wrong: self.0, next, done, context }))
    }
}

impl Reader<u64> for TenReader {
    fn next<'a>(&'a mut self, out: &'a mut Batch<u64>) -> LocalBoxFuture<'a, Result<Progress>> {
        Box::pin(async move {
            if self.next == 10 || self.done {
                self.done = self.wrong != Wrong::Done;
                return Ok(Progress::End);
            }
            if self.wrong == Wrong::Dropped {
                self.next += 1;
            }
            self.context.io.blocking(|| Ok(())).await?;
            if self.wrong != Wrong::Dropped {
                self.next += 1;
            }
            out.values.push(self.next);
            if self.context.with_origin {
                let split = "ten".into();
                let position = if self.wrong == Wrong::Origins { 0 } else { self.next };
                out.origins.push(crate::record::Origin { split, position });
            }
            Ok(Progress::More)
        })
    }

    fn snapshot(&self) -> Vec<SplitState> {
        let late = u64::from(self.wrong == Wrong::Position && self.next > 0);
        vec![SplitState::at("ten", &(self.next - late), self.done)]
    }
}

fn broken_source(wrong: Wrong) -> Kept {
    block_on(source::all(&Ten(wrong, AtomicU64::new(0))))
}

#[test]
fn a_source_that_breaks_a_promise_is_told_which() {
    broken_source(Wrong::Nothing).unwrap();
    for (wrong, told) in [
        (Wrong::Unstable, "found again, the splits are "),
        (Wrong::Origins, "position 0 of split \"ten\" comes twice or late"),
        (Wrong::Position, "gone back to after 1 batches: record 1 of split \"ten\""),
        (Wrong::Dropped, "with futures that were dropped: record 0 of split \"ten\""),
        (Wrong::Done, "all is read, and split \"ten\" is not done"),
    ] {
        let error = broken_source(wrong).unwrap_err();
        assert!(error.starts_with(told), "{wrong:?}: {error}");
    }
}

/// A sink in memory, and what is wrong with it.
#[derive(Clone, Debug)]
struct Faulty(MemorySink<u64>, Wrong);

#[derive(Debug)]
struct FaultyCommitter(Box<dyn Committer>, Faulty);

struct FaultyWriter(Box<dyn Writer<u64>>, Faulty);

impl Sink<u64> for Faulty {
    fn describe(&self) -> String {
        "faulty".to_owned()
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn prepare(&self, _: &RunIdentity) -> Result<()> {
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<u64>>> {
        Ok(Box::new(FaultyWriter(self.0.writer(context)?, self.clone())))
    }

    fn committer(&self, operator: &Name) -> Option<Box<dyn Committer>> {
        Some(Box::new(FaultyCommitter(self.0.committer(operator)?, self.clone())))
    }
}

impl Writer<u64> for FaultyWriter {
    fn write(&mut self, batch: &mut Vec<u64>) -> Result<()> {
        let left = if self.1.1 == Wrong::Batch { batch.pop() } else { None };
        self.0.write(batch)?;
        batch.extend(left);
        Ok(())
    }

    fn snapshot(&mut self, at: CheckpointId) -> BoxFuture<'static, Result<Vec<Committable>>> {
        let (staged, sink) = (self.0.snapshot(at), self.1.clone());
        Box::pin(async move {
            let staged = staged.await?;
            if sink.1 == Wrong::Early {
                let committer = sink.0.committer(&Name::new(super::OPERATOR)?).unwrap();
                committer.commit(&staged)?;
            }
            Ok(staged)
        })
    }
}

impl Committer for FaultyCommitter {
    fn commit(&self, committables: &[Committable]) -> Result<Vec<CommitOutcome>> {
        let Faulty(sink, wrong) = &self.1;
        if *wrong == Wrong::Joined {
            let last = committables.len().saturating_sub(1);
            let mut outcomes = self.0.commit(&committables[last..])?;
            outcomes.resize(committables.len(), CommitOutcome::Committed);
            return Ok(outcomes);
        }
        let outcomes = self.0.commit(committables)?;
        if *wrong == Wrong::Outcome {
            return Ok(vec![CommitOutcome::Committed; outcomes.len()]);
        }
        if *wrong == Wrong::Twice && outcomes.contains(&CommitOutcome::AlreadyCommitted) {
            // All of it, as if another attempt had written it.
            let mut writer = sink.writer(testing::writer_context(9, 0))?;
            writer.write(&mut sink.output())?;
            let staged = writer.snapshot(CheckpointId(9)).now_or_never().unwrap()?;
            self.0.commit(&staged)?;
        }
        Ok(outcomes)
    }

    fn clean(&self, attempt: Attempt, named: &[Committable]) -> Result<()> {
        let named = if self.1.1 == Wrong::Cleaned { &[] } else { named };
        self.0.clean(attempt, named)
    }
}

#[test]
fn a_sink_that_breaks_a_promise_is_told_which() {
    let broken = |wrong| {
        let fresh = || {
            let sink = Faulty(MemorySink::new(), wrong);
            let output = sink.0.clone();
            (sink, move || output.output())
        };
        block_on(sink::all(fresh, &[1, 2, 3, 4]))
    };
    broken(Wrong::Nothing).unwrap();
    for (wrong, told) in [
        (Wrong::Early, "before the commit: the output is [1, 2, 3, 4]"),
        (Wrong::Batch, "left in the batch: [4], not []"),
        (Wrong::Twice, "committed three times: the output is [1, 2, 3, 4, 1, 2, 3, 4, "),
        (Wrong::Outcome, "outcomes of a commit: [Committed], not [AlreadyCommitted]"),
        (Wrong::Joined, "all of three checkpoints: the output is [1, 2, 4], not [1, 2, 3, 4]"),
        (Wrong::Cleaned, "commit failed: "),
    ] {
        let error = broken(wrong).unwrap_err();
        assert!(error.starts_with(told), "{wrong:?}: {error}");
    }
}
