//! What an attempt takes up: splits and the log, handed out to subtasks. Flink: `RestorePlan`.
//!
//! Reads the manifest's segments, never items: the time it takes does not grow with the state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::operator_state::{self, gone_from_program};
use crate::checkpoint::{Claimed, Fetched, Manifest, SegmentRef, SourceSplits, assign, fetch};
use crate::connector::SplitState;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name, SlotId};
use crate::io::{Io, call_user};
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::metrics::Metrics;
use crate::state::{KeyTypes, StateFormats, StateLifetimes, Store};
use crate::task::{AnySource, JobGraph, Restored};

/// Segments that are read at a time for each subtask.
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

/// Checks splits, or finds them where that is not done yet (`known`), reads the log, and hands both out, with what is
/// decided of `lifetimes`.
pub(super) async fn plan(
    graph: &Arc<JobGraph>,
    claimed: &Claimed,
    known: Option<Vec<SourceSplits>>,
    lifetimes: &[StateLifetimes],
    (parallelism, max_parallelism): (u32, MaxParallelism),
    metrics: &Metrics,
    io: &Io,
) -> Result<RestorePlan> {
    let sources = match known {
        Some(known) => known,
        None => sources(graph, claimed.manifest.as_ref(), parallelism, io).await?,
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
    let mut entries = 0;
    if let Some(manifest) = &claimed.manifest {
        let ranges: Vec<_> =
            (0..parallelism).map(|index| max_parallelism.range_of(index, parallelism)).collect();
        let keyed = graph.vertices.iter().filter(|v| v.is_keyed()).map(|v| v.operator());
        let reads = keyed.map(async |operator| {
            let store = Arc::clone(&claimed.store);
            let logs = read_logs(store, manifest, &graph.operators[operator], &ranges, io).await?;
            Ok::<_, Error>((operator, logs))
        });
        let mut counted = HashSet::new();
        for (operator, logs) in try_join_all(reads).await? {
            for (subtask, log) in subtasks.iter_mut().zip(logs) {
                let segments = log.segments.iter().map(|fetched| &fetched.segment);
                // One that two subtasks share counts once.
                let new = segments.filter(|at| counted.insert(at.slot));
                entries += new.map(|at| at.entries).sum::<u64>();
                let lifetimes = lifetimes.to_vec();
                subtask.insert(operator, Restored { lifetimes, ..log });
            }
        }
        metrics.add_segments_read(counted.len() as u64);
        for (operator, shares) in operator_state::shares(graph, manifest, parallelism)? {
            for (subtask, share) in subtasks.iter_mut().zip(shares) {
                subtask.entry(operator).or_default().operator_state = share;
            }
        }
    }
    Ok(RestorePlan { sources, subtasks, entries })
}

/// Whether the program can go on with the states that there are, of all kinds: what an attempt would find out
/// only after its claim.
pub(super) fn check(graph: &JobGraph, manifest: Option<&Manifest>) -> Result<()> {
    states(graph, manifest)?;
    operator_state::formats(graph, manifest)?;
    manifest.map_or(Ok(()), |manifest| operator_state::check(graph, manifest))
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

/// By which times the values of every state have expired and do from now on, in an attempt that begins at `now_ms`:
/// decided once for all subtasks, and recorded.
pub(super) fn lifetimes(
    graph: &JobGraph,
    manifest: Option<&Manifest>,
    now_ms: u64,
) -> Vec<StateLifetimes> {
    let recorded = manifest.map_or(&[][..], |manifest| &manifest.lifetimes);
    let restored = manifest.map_or(CheckpointId::NONE, |manifest| manifest.checkpoint);
    let declared = graph.vertices.iter().filter_map(|v| Some((v.operator(), v.keyed_states()?)));
    let settled = declared.flat_map(|(operator, declared)| {
        let operator = &graph.operators[operator];
        declared.states.iter().map(move |s| s.lifetimes(operator, recorded, (restored, now_ms)))
    });
    settled.collect()
}

/// The splits of all sources: checked where `manifest` has them, else found.
pub(super) async fn sources(
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
fn discover(graph: &JobGraph, parallelism: u32) -> Result<Vec<SourceSplits>> {
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
        let splits = call_user(|| splits(source, &operator))
            .map_err(|e| e.at(format!("source {operator}")))?;
        Ok(SourceSplits { operator, splits })
    });
    found.collect()
}

/// The log of operator `id` after the horizon, for each of `ranges` as far as it touches it, without lifetimes. One `GetItem` a
/// segment: what several ranges share is read once, and in memory once.
pub(super) async fn read_logs(
    store: Arc<dyn Store>,
    manifest: &Manifest,
    id: &Name,
    ranges: &[KeyGroupRange],
    io: &Io,
) -> Result<Vec<Restored>> {
    let wanted: Vec<Vec<SegmentRef>> =
        ranges.iter().map(|range| assign::segments(manifest, id, *range)).collect();
    let mut seen = HashSet::new();
    let distinct = wanted.iter().flatten().filter(|at| seen.insert(at.slot)).cloned().collect();
    let fetched: HashMap<SlotId, Bytes> =
        fetch(store, io.clone(), distinct, CONCURRENT_READS * ranges.len())
            .map_ok(|fetched| (fetched.segment.slot, fetched.bytes))
            .try_collect()
            .await
            .map_err(|e| e.at(format!("operator {id}")))?;
    let log = |wanted: Vec<SegmentRef>| {
        let with_bytes = |segment: SegmentRef| match fetched.get(&segment.slot) {
            Some(bytes) => Ok(Fetched { segment, bytes: bytes.clone() }),
            None => Err(Error::internal(format!("segment slot {} was not read", segment.slot))),
        };
        let horizons = manifest.horizons.iter().filter(|h| h.operator == *id);
        Ok(Restored {
            splits: Vec::new(),
            segments: wanted.into_iter().map(with_bytes).collect::<Result<_>>()?,
            horizons: horizons.map(|h| (h.range, h.checkpoint)).collect(),
            may_have_items: manifest.may_have_items(id),
            formats: manifest.states.clone(),
            lifetimes: Vec::new(),
            unfiltered: manifest.unfiltered.contains(id),
            operator_state: Vec::new(),
        })
    };
    wanted.into_iter().map(log).collect()
}

#[cfg(test)]
mod tests;
