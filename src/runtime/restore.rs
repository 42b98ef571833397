//! What an attempt takes up: splits and the log, handed out to subtasks. Flink: `RestorePlan`.
//!
//! Reads the manifest's segments, never items: the time it takes does not grow with the state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use futures::future::try_join_all;

use super::operator_state;
use crate::checkpoint::{Claimed, Manifest, SourceSplits, assign, fetch};
use crate::connector::SplitState;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};
use crate::io::Io;
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::metrics::Metrics;
use crate::state::{KeyTypes, StateFormats, Store, segment};
use crate::task::{AnySource, JobGraph, Restored};

/// Segments that one subtask reads at a time.
const CONCURRENT_READS: usize = 16;

/// What all subtasks begin with.
#[derive(Debug)]
pub(super) struct RestorePlan {
    /// Every source's splits, done ones included.
    pub(super) sources: Vec<SourceSplits>,
    /// By subtask, then by operator index.
    pub(super) subtasks: Vec<HashMap<usize, Restored>>,
    /// Entries of the log.
    pub(super) entries: u64,
}

/// Checks splits, or finds them where they are not `discovered` yet, reads the log, and hands both out.
pub(super) async fn plan(
    graph: &Arc<JobGraph>,
    claimed: &Claimed,
    discovered: Option<Vec<SourceSplits>>,
    (parallelism, max_parallelism): (u32, MaxParallelism),
    metrics: &Metrics,
    io: &Io,
) -> Result<RestorePlan> {
    let sources = match (&claimed.manifest, discovered) {
        (None, Some(discovered)) => discovered,
        (manifest, _) => sources(graph, manifest.as_ref(), parallelism, io).await?,
    };
    let mut subtasks: Vec<HashMap<usize, Restored>> =
        (0..parallelism).map(|_| HashMap::new()).collect();
    let of_sources = graph.vertices.iter().filter(|v| v.source().is_some());
    for (vertex, splits) in of_sources.zip(&sources) {
        let shares = assign::splits(&splits.splits, parallelism);
        for (subtask, splits) in subtasks.iter_mut().zip(shares) {
            subtask.insert(vertex.operator(), Restored { splits, ..Restored::default() });
        }
    }
    let (mut entries, mut counted) = (0, HashSet::new());
    let mut reads = Vec::new();
    for vertex in graph.vertices.iter().filter(|v| v.is_keyed()) {
        for index in 0..parallelism {
            let range = max_parallelism.range_of(index, parallelism);
            let operator = vertex.operator();
            reads.push(async move {
                let log = match &claimed.manifest {
                    None => Restored::default(),
                    Some(manifest) => {
                        let store = Arc::clone(&claimed.store);
                        read_log(store, manifest, &graph.operators[operator], range, io).await?
                    }
                };
                metrics.segments_read(log.segments.len() as u64);
                Ok::<_, Error>((index as usize, operator, log))
            });
        }
    }
    for (subtask, operator, log) in try_join_all(reads).await? {
        // One that two subtasks share counts once.
        let new = log.segments.iter().filter(|(at, _)| counted.insert(at.slot));
        entries += new.map(|(at, _)| at.entries).sum::<u64>();
        subtasks[subtask].insert(operator, log);
    }
    if let Some(manifest) = &claimed.manifest {
        for (operator, shares) in operator_state::shares(graph, manifest, parallelism)? {
            for (subtask, share) in subtasks.iter_mut().zip(shares) {
                subtask.entry(operator).or_default().operator_state = share;
            }
        }
    }
    Ok(RestorePlan { sources, subtasks, entries })
}

/// How the values of every state are stored from now on, and of which types keys are, where the program can
/// go on with what there is.
pub(super) fn states(
    graph: &JobGraph,
    manifest: Option<&Manifest>,
) -> Result<(Vec<StateFormats>, Vec<KeyTypes>)> {
    let recorded = manifest.map_or(&[][..], |manifest| &manifest.states);
    let recorded_keys = manifest.map_or(&[][..], |manifest| &manifest.key_types);
    let restored = manifest.map_or(CheckpointId::NONE, |manifest| manifest.checkpoint);
    let (mut settled, mut key_types) = (Vec::<StateFormats>::new(), Vec::new());
    for vertex in &graph.vertices {
        if let Some(declared) = vertex.keyed_states() {
            let operator = &graph.operators[vertex.operator()];
            for state in &declared.states {
                settled.push(state.settle(operator, recorded, restored)?);
            }
            let types = KeyTypes::of(operator, declared);
            types.check(recorded_keys)?;
            key_types.push(types);
        }
    }
    let is_declared = |r: &StateFormats| {
        settled.iter().any(|s| (&s.operator, &s.state) == (&r.operator, &r.state))
    };
    match recorded.iter().find(|recorded| !is_declared(recorded)) {
        Some(gone) => Err(gone_from_program(&format!("state {} of {}", gone.state, gone.operator))),
        None => Ok((settled, key_types)),
    }
}

/// What the checkpoint has is not there in the program. Most often the head's record of the graph has shown that
/// before; not where it was rolled back to an older checkpoint.
fn gone_from_program(what: &str) -> Error {
    let message = format!(
        "the checkpoint has {what}, the program has not; declare it as it was, or begin afresh with --fresh"
    );
    Error::new(ErrorKind::Graph, message)
}

async fn sources(
    graph: &Arc<JobGraph>,
    manifest: Option<&Manifest>,
    parallelism: u32,
    io: &Io,
) -> Result<Vec<SourceSplits>> {
    let recorded = manifest.map(|m| (m.sources.clone(), m.input_ended));
    let graph = Arc::clone(graph);
    io.blocking(move || match recorded {
        None => discover(&graph, parallelism),
        Some((recorded, input_ended)) => go_on(&graph, &recorded, input_ended, parallelism),
    })
    .await
}

/// The splits of all sources, found for the first time. Blocks.
pub(super) fn discover(graph: &JobGraph, parallelism: u32) -> Result<Vec<SourceSplits>> {
    each_source(graph, |source, _| found(source, parallelism))
}

fn found(source: &dyn AnySource, parallelism: u32) -> Result<Vec<SplitState>> {
    let found = source.discover(parallelism)?;
    let mut ids = HashSet::new();
    if let Some(split) = found.iter().find(|split| !ids.insert(split.id.as_str())) {
        let message = format!(
            "two splits have the id {:?}, under which one position would be kept of both",
            split.id
        );
        return Err(Error::new(ErrorKind::Graph, message));
    }
    Ok(found)
}

/// The recorded splits of all sources, if they can be gone on with; those of a source that is new, found for the
/// first time.
fn go_on(
    graph: &JobGraph,
    recorded: &[SourceSplits],
    input_ended: bool,
    parallelism: u32,
) -> Result<Vec<SourceSplits>> {
    let sources = each_source(graph, |source, operator| {
        match recorded.iter().find(|s| s.operator == *operator) {
            Some(known) => {
                source.check(&known.splits)?;
                Ok(known.splits.clone())
            }
            // Its end would be told to nobody: the operators have heard of the end of all input.
            None if input_ended => Err(Error::new(
                ErrorKind::Graph,
                "it is new, and all input of the recorded run has ended; let that run finish without it first",
            )),
            None => found(source, parallelism),
        }
    })?;
    match recorded.iter().find(|r| !sources.iter().any(|s| s.operator == r.operator)) {
        Some(gone) => Err(gone_from_program(&format!("splits of source {}", gone.operator))),
        None => Ok(sources),
    }
}

fn each_source(
    graph: &JobGraph,
    splits: impl Fn(&dyn AnySource, &Name) -> Result<Vec<SplitState>>,
) -> Result<Vec<SourceSplits>> {
    let of_sources = graph.vertices.iter().filter_map(|vertex| Some((vertex, vertex.source()?)));
    let found = of_sources.map(|(vertex, source)| {
        let operator = graph.operators[vertex.operator()].clone();
        let splits = splits(source, &operator).map_err(|e| e.at(format!("source {operator}")))?;
        Ok(SourceSplits { operator, splits })
    });
    found.collect()
}

/// The log of operator `id` after the horizon, as far as it touches `range`. One `GetItem` a segment.
pub(super) async fn read_log(
    store: Arc<dyn Store>,
    manifest: &Manifest,
    id: &Name,
    range: KeyGroupRange,
    io: &Io,
) -> Result<Restored> {
    let fetched = fetch(store, io.clone(), manifest, id, range, CONCURRENT_READS);
    let segments = fetched
        .and_then(|fetched| async move { Ok((fetched.segment, segment::decode(&fetched.bytes)?)) })
        .try_collect::<Vec<_>>()
        .await
        .map_err(|e| e.at(format!("operator {id}")))?;
    let horizons = manifest.horizons.iter().filter(|h| h.operator == *id);
    Ok(Restored {
        splits: Vec::new(),
        segments,
        horizons: horizons.map(|h| (h.range, h.checkpoint)).collect(),
        may_have_items: manifest.may_have_items(id),
        formats: manifest.states.clone(),
        unfiltered: manifest.unfiltered.contains(id),
        operator_state: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::{MemorySink, Reader, ReaderContext, Source};
    use crate::stream::StreamEnvironment;

    #[derive(Debug)]
    struct Twice;

    impl Source for Twice {
        type Item = u64;

        fn describe(&self) -> String {
            "twice".to_owned()
        }

        fn bounded(&self) -> bool {
            true
        }

        fn discover(&self, _parallelism: u32) -> Result<Vec<SplitState>> {
            let split = SplitState { id: "one".to_owned(), state: Vec::new(), done: false };
            Ok(vec![split.clone(), split])
        }

        fn check(&self, _splits: &[SplitState]) -> Result<()> {
            Ok(())
        }

        fn reader(
            &self,
            _splits: Vec<SplitState>,
            _context: ReaderContext,
        ) -> Result<Box<dyn Reader<u64>>> {
            Err(Error::internal("it is not read"))
        }
    }

    #[test]
    fn two_splits_of_one_id_are_an_error_that_names_it() {
        let env = StreamEnvironment::new();
        env.source(Twice).uid("numbers").sink(MemorySink::new());
        let error = discover(&env.build().unwrap(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        let text = error.to_string();
        assert!(text.starts_with("source numbers: two splits have the id \"one\""), "{text}");
    }
}
