//! The file source as a whole: against naive readers, over cuts, restarts and small reads.

mod csv;
mod errors;
mod follow;
mod lines;
mod unread;

use super::*;
use crate::connector::testing::{self, block_on};
use crate::connector::{Progress, ReaderContext};
use crate::metrics::Lag;
use crate::record::Batch;

/// Bytes that live as long as the test process.
fn leak(bytes: &[u8]) -> &'static [u8] {
    Box::leak(bytes.to_vec().into_boxed_slice())
}

/// All records with their positions; before each of `cuts` more calls everything is dropped and begun
/// again from a snapshot.
pub(super) fn read_with_restarts<S: Source>(
    source: &S,
    mut splits: Vec<SplitState>,
    batch_size: usize,
    cuts: &[usize],
) -> Result<Vec<(String, u64, S::Item)>> {
    let mut all = Batch::default();
    for calls in cuts.iter().copied().chain([usize::MAX]) {
        source.check(&splits)?;
        let context = ReaderContext { with_origin: true, ..testing::context(batch_size) };
        let mut reader = source.reader(splits, context)?;
        let mut call = 0;
        while call < calls && block_on(reader.next(&mut all))? == Progress::More {
            call += 1;
        }
        splits = reader.snapshot();
        splits.reverse();
    }
    assert!(splits.iter().all(|s| s.done));
    let mut records: Vec<_> = all
        .origins
        .into_iter()
        .zip(all.values)
        .map(|(origin, value)| (origin.split.to_string(), origin.position, value))
        .collect();
    records.sort_by_key(|(_, position, _)| *position);
    Ok(records)
}
