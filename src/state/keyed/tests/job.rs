//! A random job of several subtasks, with every kind of state, over a table and a log in memory.
//!
//! Owns its attempts and the course of its steps. What records do is in `records`, what becomes of barriers, the
//! log and items in `checkpoints`, and what must hold after each step in `checks`.

use std::collections::{BTreeMap, VecDeque};

use super::acts::look;
use super::handles::{Handles, handles};
use super::model::{At, Model, Stored};
use super::*;
use crate::ids::Version;
use crate::state::segment::Segment;
use crate::state::{
    CleaningRows, FilterChunks, ItemKey, Read, Scan, ScanPage, Scanned, StateLifetimes, Ttl,
};

mod checkpoints;
mod checks;
mod records;
mod steps;

use checkpoints::scan_table;
use steps::KEYS;
use steps::Record;
pub(super) use steps::{LATENESS_MS, Step, step};

/// Entries that may stay in memory: those of five keys.
const CACHE: u64 = 10;
const OPERATOR: &str = "op";
/// By then some of what was stored before would have expired.
const LATER_MS: u64 = 30;

enum Answer {
    Item(Read, Option<Item>),
    Range(Scan, Vec<Scanned>),
}

struct Subtask {
    state: KeyedState<u16>,
    /// What the store has read and not told yet.
    answers: VecDeque<Answer>,
    parked: BTreeMap<Row, VecDeque<Record>>,
    range: KeyGroupRange,
    barrier: Option<Barrier>,
    plan: Option<(CheckpointId, CleaningRows, usize)>,
    missing: Vec<Missing>,
    queue: Vec<ItemWrite>,
    chunks: Option<FilterChunks>,
}

#[derive(Clone, Debug)]
struct Manifest {
    subtasks: Vec<(KeyGroupRange, Barrier)>,
    /// Indices into the world's segments.
    segments: Vec<usize>,
    lifetimes: Vec<StateLifetimes>,
    changes: Vec<Change>,
}

/// A time to live as of some checkpoint; what the model knows of [`StateLifetimes`].
#[derive(Clone, Copy, Debug)]
struct Change {
    from: u64,
    began: u64,
    ttl: Option<Ttl>,
}

/// By which time values expire: none, or that of records or not.
fn kind(ttl: Option<Ttl>) -> Option<bool> {
    ttl.map(|ttl| ttl.is_by_event_time())
}

/// What a random job is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) num_retained: usize,
    pub(super) filter: bool,
    /// Each second attempt writes its items as attributes.
    pub(super) native: bool,
    /// Of one attempt after the other, over and over.
    pub(super) ttls: [Option<Ttl>; 4],
}

impl Setting {
    /// The same time to live in all attempts.
    pub(super) fn always(ttl: Option<Ttl>) -> [Option<Ttl>; 4] {
        [ttl; 4]
    }
}

struct World {
    setting: Setting,
    clock: u64,
    attempt: u64,
    /// Of this attempt.
    ttl: Option<Ttl>,
    /// Up to this attempt.
    lifetimes: Vec<StateLifetimes>,
    changes: Vec<Change>,
    next: u64,
    handles: Handles,
    subtasks: Vec<Subtask>,
    live: Model,
    /// What each barrier saw, and how long values lived then.
    at: BTreeMap<u64, (Model, Option<Ttl>)>,
    in_flight: Option<u64>,
    segments: Vec<Segment>,
    /// Those that the running attempt may name.
    named: Vec<usize>,
    manifests: BTreeMap<u64, Manifest>,
    retained: Vec<u64>,
    table: BTreeMap<ItemKey, Item>,
    late: Vec<ItemWrite>,
}

fn max_parallelism() -> MaxParallelism {
    MaxParallelism::new(8).unwrap()
}

impl World {
    fn new(setting: Setting) -> Self {
        let mut world = Self {
            setting,
            clock: 1000,
            attempt: 0,
            ttl: None,
            lifetimes: Vec::new(),
            changes: Vec::new(),
            next: 1,
            handles: handles(&mut States::new(), None),
            subtasks: Vec::new(),
            live: Model::default(),
            at: BTreeMap::from([(0, (Model::default(), None))]),
            in_flight: None,
            segments: Vec::new(),
            named: Vec::new(),
            manifests: BTreeMap::new(),
            retained: Vec::new(),
            table: BTreeMap::new(),
            late: Vec::new(),
        };
        world.start(2);
        world
    }

    fn floor(&self) -> u64 {
        self.retained.first().copied().unwrap_or(0)
    }

    /// A new attempt from the newest of what is retained.
    fn start(&mut self, parallelism: u32) {
        let from = self.retained.last().copied().unwrap_or(0);
        for subtask in self.subtasks.drain(..) {
            self.late.extend(subtask.queue);
        }
        self.attempt += 1;
        self.next = from + 1;
        self.in_flight = None;
        let (model, ttl_before) = self.at[&from].clone();
        self.at.retain(|n, _| *n <= from);
        self.manifests.retain(|n, _| self.retained.contains(n));
        let manifest = self.manifests.get(&from).cloned();
        self.ttl = self.setting.ttls[(self.attempt as usize - 1) % self.setting.ttls.len()];
        self.live = self.gone_on_with(model, ttl_before, manifest.as_ref());
        self.settle_lifetimes(from, manifest.as_ref());
        self.handles = handles(&mut States::new(), self.ttl);
        self.named = manifest.as_ref().map(|m| m.segments.clone()).unwrap_or_default();
        self.named.sort_by_key(|&i| {
            let segment = &self.segments[i];
            (segment.version.checkpoint, segment.sequence, segment.range.first)
        });
        for index in 0..parallelism {
            let subtask = self.subtask(max_parallelism().range_of(index, parallelism), &manifest);
            self.subtasks.push(subtask);
        }
        // By the clock the sweep may begin what has no expiry as well as a record: here both would at this time.
        let is_turned_on = kind(self.ttl) == Some(false) && kind(ttl_before) != Some(false);
        if is_turned_on && !self.live.is_empty() {
            self.look_at_all();
        }
    }

    /// What an attempt finds of `model`, in which values lived as long as `before` says.
    fn gone_on_with(
        &self,
        model: Model,
        before: Option<Ttl>,
        manifest: Option<&Manifest>,
    ) -> Model {
        let (Some(by_records), Some(manifest)) = (kind(before), manifest) else { return model };
        if kind(self.ttl) == Some(by_records) {
            return model;
        }
        // What was over by the times of records may have been cleaned away.
        let model = if by_records {
            let (found, gone) = (self.fold(manifest), self.gone(before));
            assert_eq!(found.left(gone), model.left(gone), "of what is restored");
            found
        } else {
            model
        };
        model.lasting(!by_records, self.clock)
    }

    fn settle_lifetimes(&mut self, from: u64, manifest: Option<&Manifest>) {
        let mut states = States::new();
        handles(&mut states, self.ttl);
        let recorded = manifest.map_or(&[][..], |manifest| &manifest.lifetimes);
        let (operator, at) = (Name::new(OPERATOR).unwrap(), (CheckpointId(from), self.clock));
        self.lifetimes = states.finish().unwrap().lifetimes(&operator, recorded, at);
        self.changes = manifest.map_or_else(Vec::new, |manifest| manifest.changes.clone());
        self.changes.push(Change { from: from + 1, began: self.clock, ttl: self.ttl });
    }

    /// Every key has a record that looks at all that it has.
    fn look_at_all(&mut self) {
        let everything: Vec<_> = (0..KEYS).map(|key| (key, look(), 0)).collect();
        self.batch(&everything);
        self.answer_all();
    }

    fn subtask(&self, range: KeyGroupRange, manifest: &Option<Manifest>) -> Subtask {
        let former: Vec<Barrier> = manifest
            .iter()
            .flat_map(|m| &m.subtasks)
            .filter(|(other, _)| other.intersects(range))
            .map(|(_, barrier)| barrier.clone())
            .collect();
        let at = RestorePoint {
            checkpoint: CheckpointId(self.next - 1),
            horizons: former.iter().flat_map(|b| b.horizons.clone()).collect(),
            oldest_retained: CheckpointId(self.floor()),
            items_sent: former.iter().any(|b| b.items_sent),
            formats: Vec::new(),
            lifetimes: self.lifetimes.clone(),
            unfiltered: former.iter().any(|b| b.unfiltered),
            now_ms: self.clock,
        };
        let mut states = States::new();
        handles(&mut states, self.ttl);
        let is_native = self.setting.native && self.attempt % 2 == 1;
        let config = KeyedConfig {
            operator: Name::new(OPERATOR).unwrap(),
            subtask: SubtaskId { index: 0, parallelism: 1 },
            range,
            max_parallelism: max_parallelism(),
            attempt: Attempt(self.attempt),
            segment_bytes: 40,
            value_format: if is_native { ValueFormat::Native } else { ValueFormat::Codec },
            filter: match self.setting.filter {
                true => FilterConfig { max_bytes: 4096, first_bytes: 32, chunk_hashes: 2 },
                false => FilterConfig::OFF,
            },
            few_rows: 2,
        };
        let mut state = KeyedState::new(config, states.finish().unwrap(), at).unwrap();
        for segment in self.named.iter().map(|&i| &self.segments[i]) {
            if state.wants(segment) {
                state.replay(segment).unwrap();
            }
        }
        state.finish_restore().unwrap();
        state.track_recency();
        let (plan, missing, queue) = (None, Vec::new(), Vec::new());
        let (answers, parked) = (VecDeque::new(), BTreeMap::new());
        let chunks = None;
        Subtask { state, answers, parked, range, barrier: None, plan, missing, queue, chunks }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Batch(records) => self.batch(records),
            // Whoever still waits would be too late.
            Step::Pass(ms) => {
                if self.ttl.is_some() {
                    self.answer_all();
                }
                self.clock += ms;
            }
            Step::Answer(answers) => self.answer(*answers),
            Step::Barrier { skipped } => self.barrier(*skipped),
            Step::Slice(entries) => {
                for i in 0..self.subtasks.len() {
                    self.subtasks[i].state.serialise(*entries).unwrap();
                    self.take_segments(i);
                }
            }
            Step::Complete => self.complete(),
            Step::Abort => self.in_flight = None,
            Step::Clean { subtask, entries } => {
                self.clean(subtask % self.subtasks.len(), *entries);
            }
            Step::Put(n) => {
                for i in 0..self.subtasks.len() {
                    let n = (*n).min(self.subtasks[i].queue.len());
                    for write in self.subtasks[i].queue.drain(..n).collect::<Vec<_>>() {
                        self.late.push(write.clone());
                        self.put(write);
                    }
                }
            }
            Step::Settle => self.settle(),
            // A request that was queued, or a second copy of one, lands at any later time.
            Step::LatePut(i) => {
                if *i < self.late.len() {
                    let write = self.late.swap_remove(*i);
                    self.put(write);
                }
            }
            Step::Evict(rows) => {
                self.subtasks.iter_mut().for_each(|s| {
                    s.state.evict(*rows);
                });
            }
            Step::Filter(subtask) => self.build_filter(subtask % self.subtasks.len()),
            Step::Restore { which, parallelism } => {
                let keep = self.retained.len().saturating_sub(*which).max(1);
                self.retained.truncate(keep);
                self.start(*parallelism);
            }
        }
    }
}

/// Runs `steps` and checks all that must hold: at the end, and after each of them too where `check_each`.
pub(super) fn check_job_of(setting: Setting, steps: &[Step], check_each: bool) {
    let mut world = World::new(setting);
    for step in steps {
        world.run(step);
        if check_each {
            world.check();
            world.check_keys();
        }
    }
    world.is_within_its_cache();
    world.check();
    world.look_at_all();
    let before = world.ttl;
    world.start(3);
    world.build_filters();
    if kind(before) != kind(world.ttl) {
        // What has ceased to count must not count later either.
        world.clock += LATER_MS;
    }
    world.look_at_all();
    world.check();
}
