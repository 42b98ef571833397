//! The promises of a sink that sees each record exactly once.
//!
//! Each function takes a sink that nobody has written to yet, some records, and a function that gives the records
//! that a reader of the output sees, in any order. Those of a sink that publishes while it writes are fewer:
//! [`a_writer_takes_all_of_a_batch`] alone.

use std::fmt::Debug;

use super::gate::Gate;
use super::{Kept, ok, operator, same, writer_context};
use crate::connector::{CommitOutcome, Committable, Committer, Guarantee, RunIdentity, Sink};
use crate::ids::{Attempt, CheckpointId, Incarnation, Name};

/// Runs the whole suite; `fresh` gives at each call another sink, and the function that reads its output.
/// `records` are four at least, no two of them equal.
///
/// # Errors
/// The first promise that was not kept.
pub async fn all<T, S, R>(mut fresh: impl FnMut() -> (S, R), records: &[T]) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
    R: Fn() -> Vec<T>,
{
    let (sink, _) = fresh();
    a_writer_takes_all_of_a_batch(&sink, records)?;
    let (sink, output) = fresh();
    nothing_is_seen_before_its_commit(&sink, records, output).await?;
    let (sink, output) = fresh();
    committing_twice_is_committing_once(&sink, records, output).await?;
    let (sink, output) = fresh();
    checkpoints_are_apart_and_may_be_committed_together(&sink, records, output).await?;
    let (sink, output) = fresh();
    cleaning_keeps_what_is_named(&sink, records, output).await
}

/// [`crate::connector::Writer::write`] leaves the batch empty, whatever is in it.
///
/// # Errors
/// The promise, where it is not kept.
pub fn a_writer_takes_all_of_a_batch<T, S>(sink: &S, records: &[T]) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
{
    prepare(sink, 1)?;
    let gate = Gate::default();
    let mut writer = ok("writer", sink.writer(writer_context(gate.io(), 1)?))?;
    for batch in [records, &[], records] {
        let mut batch = batch.to_vec();
        ok("write", writer.write(&mut batch))?;
        same("left in the batch", &batch, &Vec::new())?;
    }
    Ok(())
}

/// What is written and staged is not in the output until it is committed; then it is, all of it.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn nothing_is_seen_before_its_commit<T, S, R>(sink: &S, records: &[T], output: R) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
    R: Fn() -> Vec<T>,
{
    prepare(sink, 1)?;
    let committer = committer(sink)?;
    let [staged] = stage(sink, 1, [(1, records)]).await?;
    seen("before the commit", output(), &[])?;
    commit(&*committer, &staged, &CommitOutcome::Committed)?;
    seen("after the commit", output(), records)
}

/// Committed again, by the same committer or by that of an attempt after a crash, nothing changes.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn committing_twice_is_committing_once<T, S, R>(
    sink: &S,
    records: &[T],
    output: R,
) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
    R: Fn() -> Vec<T>,
{
    prepare(sink, 1)?;
    let [staged] = stage(sink, 1, [(1, records)]).await?;
    let first = committer(sink)?;
    commit(&*first, &staged, &CommitOutcome::Committed)?;
    commit(&*first, &staged, &CommitOutcome::AlreadyCommitted)?;
    prepare(sink, 2)?;
    commit(&*committer(sink)?, &staged, &CommitOutcome::AlreadyCommitted)?;
    seen("committed three times", output(), records)
}

/// What follows a barrier belongs to the next checkpoint; an aborted one's output is committed with the next.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn checkpoints_are_apart_and_may_be_committed_together<T, S, R>(
    sink: &S,
    records: &[T],
    output: R,
) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
    R: Fn() -> Vec<T>,
{
    prepare(sink, 1)?;
    let [first, rest] = halves(records);
    let [second, third] = halves(rest);
    let [one, two, three] = stage(sink, 1, [(1, first), (2, second), (3, third)]).await?;
    let committer = committer(sink)?;
    commit(&*committer, &one, &CommitOutcome::Committed)?;
    seen("the first checkpoint's", output(), first)?;
    commit(&*committer, &[two, three].concat(), &CommitOutcome::Committed)?;
    seen("all of three checkpoints", output(), records)
}

/// An attempt that starts cleans up: what is named it can still commit, and what it stages itself, too.
/// Another operator's cleaning changes nothing.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn cleaning_keeps_what_is_named<T, S, R>(sink: &S, records: &[T], output: R) -> Kept
where
    T: Clone + Debug + PartialEq + 'static,
    S: Sink<T>,
    R: Fn() -> Vec<T>,
{
    prepare(sink, 1)?;
    let [named, rest] = halves(records);
    let [unnamed, own] = halves(rest);
    let [owed, _nobody_names] = stage(sink, 1, [(1, named), (2, unnamed)]).await?;
    prepare(sink, 2)?;
    let other = ok("a name", Name::new("another"))?;
    let other = sink.committer(&other).ok_or_else(lacks_committer)?;
    ok("clean of another operator", other.clean(Attempt(2), &[]))?;
    let committer = committer(sink)?;
    ok("clean", committer.clean(Attempt(2), &owed))?;
    ok("clean, again", committer.clean(Attempt(2), &owed))?;
    commit(&*committer, &owed, &CommitOutcome::Committed)?;
    let [staged] = stage(sink, 2, [(2, own)]).await?;
    commit(&*committer, &staged, &CommitOutcome::Committed)?;
    seen("what was named, and what came after it", output(), &[named, own].concat())
}

fn halves<T>(records: &[T]) -> [&[T]; 2] {
    let (first, second) = records.split_at(records.len() / 2);
    [first, second]
}

fn lacks_committer() -> String {
    "it promises exactly once and has no committer".to_owned()
}

/// The committer of the tested operator.
fn committer<T, S: Sink<T>>(sink: &S) -> Result<Box<dyn Committer>, String> {
    if sink.guarantee() != Guarantee::ExactlyOnce {
        return Err("it does not promise exactly once".to_owned());
    }
    sink.committer(&operator()?).ok_or_else(lacks_committer)
}

fn prepare<T, S: Sink<T>>(sink: &S, attempt: u64) -> Kept {
    let run = RunIdentity {
        job: ok("a name", Name::new("job"))?,
        incarnation: Incarnation(1),
        attempt: Attempt(attempt),
        owner: format!("attempt {attempt}"),
        fresh: attempt == 1,
        added: false,
        replace: false,
    };
    ok("check", sink.check(&run))?;
    ok("prepare", sink.prepare(&run))
}

/// Writes and stages what belongs to each checkpoint, by one writer.
async fn stage<T: Clone, S: Sink<T>, const N: usize>(
    sink: &S,
    attempt: u64,
    checkpoints: [(u64, &[T]); N],
) -> Result<[Vec<Committable>; N], String> {
    let gate = Gate::default();
    let mut writer = ok("writer", sink.writer(writer_context(gate.io(), attempt)?))?;
    let mut staged = [const { Vec::new() }; N];
    for (staged, (checkpoint, records)) in staged.iter_mut().zip(checkpoints) {
        for record in records {
            ok("write", writer.write(&mut vec![record.clone()]))?;
            ok("ready", gate.throughout(writer.ready()).await)?;
        }
        let durable = writer.snapshot(CheckpointId(checkpoint));
        *staged = ok("snapshot", gate.throughout(durable).await)?;
    }
    Ok(staged)
}

fn commit(committer: &dyn Committer, staged: &[Committable], expected: &CommitOutcome) -> Kept {
    let outcomes = ok("commit", committer.commit(staged))?;
    same("outcomes of a commit", &outcomes, &vec![expected.clone(); staged.len()])
}

/// As many as expected, and each of these.
fn seen<T: Debug + PartialEq>(when: &str, output: Vec<T>, expected: &[T]) -> Kept {
    let lacks = |record: &&T| !output.contains(record);
    if output.len() == expected.len() && !expected.iter().any(|record| lacks(&record)) {
        return Ok(());
    }
    Err(format!("{when}: the output is {output:?}, not {expected:?}"))
}
