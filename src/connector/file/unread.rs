//! What a run that goes on does not read: files that have come, and what files have grown by, since the job
//! began.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::inputs::{Inputs, Place};
use super::split::Split;

/// Says so, in a line for each kind. What cannot be looked at is left out: whoever reads it finds out. Blocks.
pub(super) fn unread(inputs: &Inputs, splits: &[Split]) -> Vec<String> {
    let known: HashSet<_> = splits.iter().filter_map(|split| real(&split.place)).collect();
    let matched = inputs.expand().unwrap_or_default();
    let is_new = |place: &&Place| real(place).is_some_and(|path| !known.contains(&path));
    let new: Vec<_> = matched.iter().filter(is_new).collect();
    let mut seen = HashSet::new();
    let grown: Vec<_> = splits
        .iter()
        .filter(|split| split.end.is_some() && seen.insert(&split.place) && has_grown(split))
        .map(|split| &split.place)
        .collect();
    let kinds =
        [(new, "come", "they are not read"), (grown, "grown", "what was added is not read")];
    let told = kinds.into_iter().filter_map(|(places, have, what)| {
        let (n, first) = (places.len(), places.first()?);
        Some(format!(
            "{n} input files have {have} since the job began, {first} among them: {what}; start with \
             --fresh to read all that is there"
        ))
    });
    told.collect()
}

fn real(place: &Place) -> Option<PathBuf> {
    match place {
        Place::Path(path) => fs::canonicalize(path).ok(),
        Place::Embedded(_) => None,
    }
}

fn has_grown(split: &Split) -> bool {
    match &split.place {
        Place::Path(path) => fs::metadata(path).is_ok_and(|found| found.len() > split.length),
        Place::Embedded(_) => false,
    }
}
