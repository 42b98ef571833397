//! The promises of a bounded source whose positions can be gone back to.
//!
//! What it reads must be the same each time. One that has no end is tested with one.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;

use super::gate::Gate;
use super::{Kept, ok, reader_context};
use crate::connector::{Progress, Reader, Source, SplitState};
use crate::record::Batch;

/// How many splits are asked for.
const PARALLELISM: u32 = 3;
/// Records of a batch, so that there are many positions.
const BATCH: usize = 3;
/// Calls of [`Reader::next`] after which it is taken that it does not end.
const MOST_CALLS: usize = 1_000_000;

/// What was read of each split: positions and records.
type Read<T> = BTreeMap<Arc<str>, Vec<(u64, T)>>;

/// Runs the whole suite.
///
/// # Errors
/// The first promise that was not kept.
pub async fn all<S: Source<Item: Clone + Debug + PartialEq>>(source: &S) -> Kept {
    splits_are_found_again(source)?;
    origins_are_given_where_they_are_wanted(source).await?;
    a_position_can_be_gone_back_to(source).await?;
    a_future_that_is_dropped_loses_nothing(source).await?;
    what_is_done_is_not_read_again(source).await
}

/// [`Source::discover`] gives the same splits in the same order, no two of one id.
///
/// # Errors
/// The promise, where it is not kept.
pub fn splits_are_found_again<S: Source>(source: &S) -> Kept {
    let find = || ok("discover", source.discover(PARALLELISM));
    let (first, second) = (find()?, find()?);
    if first != second {
        return Err(format!("found again, the splits are {second:?}, and were {first:?}"));
    }
    let mut ids: Vec<_> = first.iter().map(|split| split.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("two splits have the id {:?}", pair[0])),
        None => ok("check of what was just found", source.check(&first)),
    }
}

/// Each record has its split and a position that grows, or none has where nobody wants them.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn origins_are_given_where_they_are_wanted<S>(source: &S) -> Kept
where
    S: Source<Item: Clone + Debug + PartialEq>,
{
    let splits = ok("discover", source.discover(PARALLELISM))?;
    let mut records = 0;
    for (split, read) in whole(source, splits.clone()).await? {
        if !splits.iter().any(|known| *known.id == *split) {
            return Err(format!("a record is of split {split:?}, which was not given"));
        }
        if let Some(pair) = read.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("position {} of split {split:?} comes twice or late", pair[1].0));
        }
        records += read.len();
    }
    let gate = Gate::default();
    let context = reader_context(gate.io(), BATCH, false)?;
    let mut reader = ok("reader", source.reader(splits, context))?;
    let mut out = Batch::default();
    while advance(&gate, &mut *reader, &mut out).await? == Progress::More {}
    if !out.origins.is_empty() {
        return Err(format!("{} origins that nobody wanted", out.origins.len()));
    }
    if out.values.len() != records {
        return Err(format!("{} records without origins, {records} with them", out.values.len()));
    }
    Ok(())
}

/// After each batch: another reader goes on from the snapshot, and both have read all, each record once.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn a_position_can_be_gone_back_to<S>(source: &S) -> Kept
where
    S: Source<Item: Clone + Debug + PartialEq>,
{
    let splits = ok("discover", source.discover(PARALLELISM))?;
    let all = whole(source, splits.clone()).await?;
    let gate = Gate::default();
    let mut reader = ok("reader", source.reader(splits, reader_context(gate.io(), BATCH, true)?))?;
    let mut before = Batch::default();
    for batches in 0.. {
        let snapshot = reader.snapshot();
        ok("check of a snapshot", source.check(&snapshot))?;
        let mut read = by_split(&before)?;
        for (split, rest) in whole(source, snapshot).await? {
            read.entry(split).or_default().extend(rest);
        }
        compare(&read, &all, &format!("gone back to after {batches} batches"))?;
        if advance(&gate, &mut *reader, &mut before).await? == Progress::End {
            break;
        }
    }
    compare(&by_split(&before)?, &all, "read while snapshots are taken")
}

/// [`Reader::next`] is dropped while it waits, each time once, and then called again.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn a_future_that_is_dropped_loses_nothing<S>(source: &S) -> Kept
where
    S: Source<Item: Clone + Debug + PartialEq>,
{
    let splits = ok("discover", source.discover(PARALLELISM))?;
    let all = whole(source, splits.clone()).await?;
    let gate = Gate::default();
    let mut reader = ok("reader", source.reader(splits, reader_context(gate.io(), BATCH, true)?))?;
    let mut out = Batch::default();
    loop {
        let dropped = reader.next(&mut out).now_or_never();
        let progress = match dropped {
            Some(progress) => ok("next", progress)?,
            None => {
                let counted = out.values.len();
                gate.turn().await;
                if out.values.len() != counted {
                    return Err("records came after the future was dropped".to_owned());
                }
                advance(&gate, &mut *reader, &mut out).await?
            }
        };
        if progress == Progress::End {
            return compare(&by_split(&out)?, &all, "with futures that were dropped");
        }
    }
}

/// At the end every split that was given is in the snapshot and done, and a reader of it ends at once.
///
/// # Errors
/// The promise, where it is not kept.
pub async fn what_is_done_is_not_read_again<S>(source: &S) -> Kept
where
    S: Source<Item: Clone + Debug + PartialEq>,
{
    let splits = ok("discover", source.discover(PARALLELISM))?;
    let ids = |splits: &[SplitState]| {
        let mut ids: Vec<_> = splits.iter().map(|split| split.id.clone()).collect();
        ids.sort_unstable();
        ids
    };
    let gate = Gate::default();
    let context = reader_context(gate.io(), BATCH, true)?;
    let mut reader = ok("reader", source.reader(splits.clone(), context))?;
    let mut out = Batch::default();
    while advance(&gate, &mut *reader, &mut out).await? == Progress::More {}
    let snapshot = reader.snapshot();
    if ids(&snapshot) != ids(&splits) {
        return Err(format!(
            "of the splits {:?} the snapshot has {:?}",
            ids(&splits),
            ids(&snapshot)
        ));
    }
    if let Some(split) = snapshot.iter().find(|split| !split.done) {
        return Err(format!("all is read, and split {:?} is not done", split.id));
    }
    let again = whole(source, snapshot).await?;
    match again.values().map(Vec::len).sum() {
        0 => Ok(()),
        records => Err(format!("{records} records of splits that are done")),
    }
}

/// All that `splits` still hold.
async fn whole<S: Source<Item: Clone>>(
    source: &S,
    splits: Vec<SplitState>,
) -> Result<Read<S::Item>, String> {
    let gate = Gate::default();
    let mut reader = ok("reader", source.reader(splits, reader_context(gate.io(), BATCH, true)?))?;
    let mut out = Batch::default();
    for _ in 0..MOST_CALLS {
        if advance(&gate, &mut *reader, &mut out).await? == Progress::End {
            return by_split(&out);
        }
    }
    Err(format!("there is no end after {MOST_CALLS} calls of `next`: bound it for the test"))
}

async fn advance<T>(
    gate: &Gate,
    reader: &mut dyn Reader<T>,
    out: &mut Batch<T>,
) -> Result<Progress, String> {
    ok("next", gate.throughout(reader.next(out)).await)
}

fn by_split<T: Clone>(batch: &Batch<T>) -> Result<Read<T>, String> {
    let (records, origins) = (batch.values.len(), batch.origins.len());
    if records != origins {
        return Err(format!("{records} records have {origins} origins"));
    }
    let mut read = Read::new();
    for (origin, value) in batch.origins.iter().zip(&batch.values) {
        let of_split = read.entry(Arc::clone(&origin.split)).or_default();
        of_split.push((origin.position, value.clone()));
    }
    Ok(read)
}

fn compare<T: Debug + PartialEq>(found: &Read<T>, all: &Read<T>, when: &str) -> Kept {
    for split in found.keys().chain(all.keys()) {
        let [found, all] = [found, all].map(|read| read.get(split).map_or(&[][..], Vec::as_slice));
        if let Some(at) = (0..found.len().max(all.len())).find(|&at| found.get(at) != all.get(at)) {
            return Err(format!(
                "{when}: record {at} of split {split:?} is {:?}, not {:?}",
                found.get(at),
                all.get(at)
            ));
        }
    }
    Ok(())
}
