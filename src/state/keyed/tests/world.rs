//! Random jobs of several subtasks against a plain model: what each barrier saw, and nothing else.
//!
//! After every step, each retained checkpoint must be the fold of items and log (I2), and every item the
//! value of the checkpoint that it names, not newer than the oldest retained one (I1), and the hash of
//! each item that a restore would read must be in the filter that it would have.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::{Bincode, Codec};
use crate::ids::Version;
use crate::state::filter::{Salts, chunks};
use crate::state::segment::{Carry, Segment};
use crate::state::{CleaningRows, FILTER_STATE, FilterChunks, ItemKey, Missing, Scanned};

const KEYS: u16 = 6;
const OPERATOR: &str = "op";

/// The encoded values of (state, key).
type Model = BTreeMap<(usize, u16), Vec<u8>>;

#[derive(Clone, Debug)]
enum Act {
    SetA(u64),
    SetB(usize),
    ClearA,
    ClearB,
    Get,
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u16, Act)>),
    Barrier {
        skipped: u64,
    },
    Slice(usize),
    Complete,
    Abort,
    Clean {
        subtask: usize,
        entries: usize,
    },
    Put(usize),
    /// A checkpoint, and everything cleaned after it.
    Settle,
    LatePut(usize),
    Evict(u32),
    /// Chunks are read, or what was read is taken over.
    Scan(usize),
    Restore {
        which: usize,
        parallelism: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let act = prop_oneof![
        3 => (1u64..100).prop_map(Act::SetA),
        2 => (0usize..4).prop_map(|n| Act::SetB(n * n * 12)),
        2 => Just(Act::ClearA),
        1 => Just(Act::ClearB),
        2 => Just(Act::Get),
    ];
    prop_oneof![
        6 => prop::collection::vec((0..KEYS, act), 1..5).prop_map(Step::Batch),
        3 => prop_oneof![4 => Just(0), 1 => 1..3u64].prop_map(|skipped| Step::Barrier { skipped }),
        2 => (1usize..4).prop_map(Step::Slice),
        5 => Just(Step::Complete),
        1 => Just(Step::Abort),
        6 => (0usize..3, 1usize..8).prop_map(|(subtask, entries)| Step::Clean { subtask, entries }),
        4 => (1usize..6).prop_map(Step::Put),
        1 => (0usize..8).prop_map(Step::LatePut),
        4 => Just(Step::Settle),
        2 => (1u32..12).prop_map(Step::Evict),
        4 => (0usize..3).prop_map(Step::Scan),
        2 => (0usize..3, 1u32..4)
            .prop_map(|(which, parallelism)| Step::Restore { which, parallelism }),
    ]
}

struct Subtask {
    state: KeyedState<u16>,
    range: KeyGroupRange,
    barrier: Option<Barrier>,
    plan: Option<(CheckpointId, CleaningRows, usize)>,
    missing: Vec<Missing>,
    queue: Vec<ItemWrite>,
    scanned: Option<FilterChunks>,
}

#[derive(Clone, Debug)]
struct Manifest {
    subtasks: Vec<(KeyGroupRange, Barrier)>,
    /// Indices into the world's segments.
    segments: Vec<usize>,
}

struct World {
    num_retained: usize,
    filter: bool,
    attempt: u64,
    next: u64,
    a: ValueState<u64>,
    b: ValueState<String>,
    subtasks: Vec<Subtask>,
    live: Model,
    /// What each barrier saw.
    at: BTreeMap<u64, Model>,
    in_flight: Option<u64>,
    segments: Vec<Segment>,
    /// Those that the running attempt may name.
    named: Vec<usize>,
    manifests: BTreeMap<u64, Manifest>,
    retained: Vec<u64>,
    table: BTreeMap<ItemKey, Item>,
    late: Vec<ItemWrite>,
}

fn encoded<V: Value>(value: &V) -> Vec<u8> {
    let mut out = Vec::new();
    Bincode::encode(value, &mut out).unwrap();
    out
}

fn max_parallelism() -> MaxParallelism {
    MaxParallelism::new(8).unwrap()
}

impl World {
    fn new(num_retained: usize, filter: bool) -> Self {
        let mut states = States::new();
        let a = states.value(ValueDescriptor::new("a"));
        let b = states.value(ValueDescriptor::new("b"));
        let mut world = Self {
            num_retained,
            filter,
            attempt: 0,
            next: 1,
            a,
            b,
            subtasks: Vec::new(),
            live: Model::new(),
            at: BTreeMap::from([(0, Model::new())]),
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
        self.live = self.at[&from].clone();
        self.at.retain(|n, _| *n <= from);
        self.manifests.retain(|n, _| self.retained.contains(n));
        let manifest = self.manifests.get(&from).cloned();
        self.named = manifest.as_ref().map(|m| m.segments.clone()).unwrap_or_default();
        self.named.sort_by_key(|&i| {
            let segment = &self.segments[i];
            (segment.version.checkpoint, segment.sequence, segment.range.first)
        });
        for index in 0..parallelism {
            let subtask = self.subtask(max_parallelism().range_of(index, parallelism), &manifest);
            self.subtasks.push(subtask);
        }
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
            unfiltered: former.iter().any(|b| b.unfiltered),
        };
        let mut states = States::new();
        states.value::<u64>(ValueDescriptor::new("a"));
        states.value::<String>(ValueDescriptor::new("b"));
        let config = KeyedConfig {
            operator: Name::new(OPERATOR).unwrap(),
            range,
            max_parallelism: max_parallelism(),
            attempt: Attempt(self.attempt),
            segment_bytes: 40,
            filter: match self.filter {
                true => FilterConfig { max_bytes: 4096, first_bytes: 32, chunk_hashes: 2 },
                false => FilterConfig::OFF,
            },
        };
        let mut state = KeyedState::new(config, states.finish().unwrap(), at).unwrap();
        for segment in self.named.iter().map(|&i| &self.segments[i]) {
            if state.wants(segment) {
                state.replay(segment).unwrap();
            }
        }
        state.finish_restore().unwrap();
        let (plan, missing, queue) = (None, Vec::new(), Vec::new());
        Subtask { state, range, barrier: None, plan, missing, queue, scanned: None }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Batch(records) => self.batch(records),
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
            Step::Scan(subtask) => self.scan(subtask % self.subtasks.len()),
            Step::Restore { which, parallelism } => {
                let keep = self.retained.len().saturating_sub(*which).max(1);
                self.retained.truncate(keep);
                self.start(*parallelism);
            }
        }
    }

    fn batch(&mut self, records: &[(u16, Act)]) {
        let parallelism = self.subtasks.len() as u32;
        let mut rows: Vec<Vec<Row>> = vec![Vec::new(); self.subtasks.len()];
        let mut mine: Vec<Vec<&(u16, Act)>> = vec![Vec::new(); self.subtasks.len()];
        for record in records {
            let group = max_parallelism().group_of(record.0.key_hash());
            mine[max_parallelism().subtask_of(group, parallelism) as usize].push(record);
        }
        for (i, subtask) in self.subtasks.iter_mut().enumerate() {
            let keys = mine[i].iter().map(|(key, _)| (key.key_hash(), key));
            subtask.state.find_rows(keys, &mut rows[i]);
            for read in subtask.state.take_reads() {
                let item = self.table.get(&read.key);
                subtask.state.loaded(&read, item).unwrap();
            }
            for ((key, act), &row) in mine[i].iter().zip(&rows[i]) {
                let state = &mut subtask.state;
                let a = state.get(self.a, row).map(encoded);
                let b = state.get(self.b, row).map(encoded);
                assert_eq!(a.as_ref(), self.live.get(&(0, *key)), "a of {key}");
                assert_eq!(b.as_ref(), self.live.get(&(1, *key)), "b of {key}");
                let change = match act {
                    Act::SetA(value) => {
                        state.set(self.a, row, *value);
                        (0, Some(encoded(value)))
                    }
                    Act::SetB(n) => {
                        let value = "x".repeat(*n);
                        state.set(self.b, row, value.clone());
                        (1, Some(encoded(&value)))
                    }
                    Act::ClearA => {
                        state.clear(self.a, row);
                        (0, None)
                    }
                    Act::ClearB => {
                        state.clear(self.b, row);
                        (1, None)
                    }
                    Act::Get => continue,
                };
                match change.1 {
                    Some(value) => self.live.insert((change.0, *key), value),
                    None => self.live.remove(&(change.0, *key)),
                };
            }
            subtask.state.end_batch();
        }
    }

    fn scan(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        if let Some(mut chunks) = subtask.scanned.take() {
            while !subtask.state.filter_read(&mut chunks, 1) {}
        } else if let Some(range) = subtask.state.filter_scan() {
            let of_range = |key: &&ItemKey| {
                (&key.state, key.key_group) == (&range.state, range.key_group)
                    && range.contains(&key.sort_key)
            };
            let scanned = self.table.iter().filter(|(key, _)| of_range(key)).map(|(key, item)| {
                Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) }
            });
            subtask.scanned = Some(FilterChunks::of(&range, scanned.collect()).unwrap());
        }
    }

    fn scan_all(&mut self) {
        for i in 0..self.subtasks.len() {
            while self.subtasks[i].scanned.is_some()
                || self.filter && !self.subtasks[i].state.filter.is_ready()
            {
                self.scan(i);
            }
        }
    }

    fn barrier(&mut self, skipped: u64) {
        if self.in_flight.is_some() {
            return;
        }
        let n = self.next + skipped;
        self.next = n + 1;
        for i in 0..self.subtasks.len() {
            self.subtasks[i].barrier =
                Some(self.subtasks[i].state.freeze(CheckpointId(n)).unwrap());
            self.take_segments(i);
        }
        self.at.insert(n, self.live.clone());
        self.in_flight = Some(n);
    }

    fn settle(&mut self) {
        self.barrier(0);
        self.complete();
        for i in 0..self.subtasks.len() {
            self.clean(i, usize::MAX);
            while self.subtasks[i].plan.is_some() {
                self.clean(i, usize::MAX);
                for write in std::mem::take(&mut self.subtasks[i].queue) {
                    self.late.push(write.clone());
                    self.put(write);
                }
            }
        }
    }

    fn take_segments(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        for raw in subtask.state.take_segments() {
            assert!(raw.len() <= 40 && !raw.is_empty());
            let (attempt, checkpoint) = (Attempt(self.attempt), raw.checkpoint);
            let version = Version { attempt, checkpoint };
            let operator = Name::new(OPERATOR).unwrap();
            let bytes = segment::encode(&raw, version, &operator, subtask.range).unwrap();
            subtask.state.logged(checkpoint, bytes.len() as u64);
            self.named.push(self.segments.len());
            self.segments.push(segment::decode(&bytes).unwrap());
        }
    }

    fn complete(&mut self) {
        let Some(n) = self.in_flight.take() else { return };
        for i in 0..self.subtasks.len() {
            assert!(self.subtasks[i].state.serialise(usize::MAX).unwrap());
            self.take_segments(i);
        }
        let subtasks: Vec<_> =
            self.subtasks.iter().map(|s| (s.range, s.barrier.clone().unwrap())).collect();
        let needed = |segment: &Segment| {
            let checkpoint = segment.version.checkpoint;
            let after = |(range, horizon): &(KeyGroupRange, CheckpointId)| {
                range.intersects(segment.range) && *horizon < checkpoint
            };
            checkpoint.0 <= n && subtasks.iter().flat_map(|(_, b)| &b.horizons).any(after)
        };
        self.named.retain(|&i| needed(&self.segments[i]));
        let segments = self.named.clone();
        self.manifests.insert(n, Manifest { subtasks, segments });
        self.retained.push(n);
        if self.retained.len() > self.num_retained {
            self.retained.remove(0);
        }
        let floor = CheckpointId(self.floor());
        self.subtasks.iter_mut().for_each(|s| s.state.completed(floor));
    }

    fn clean(&mut self, i: usize, entries: usize) {
        let subtask = &mut self.subtasks[i];
        let Some((checkpoint, rows, done)) = &mut subtask.plan else {
            let live = subtask.state.log.oldest().map(|list| list.live);
            if let Some(plan) = subtask.state.plan_cleaning(&EAGER) {
                let rows = plan.compute();
                assert_eq!(live, Some(rows.len() as u64), "counted without walking");
                subtask.plan = Some((plan.checkpoint(), rows, 0));
            }
            return;
        };
        if *done < rows.len() {
            let collected = subtask.state.collect(rows, *done, entries).unwrap();
            *done = done.saturating_add(entries);
            subtask.queue.extend(collected.writes);
            subtask.missing.extend(collected.missing);
        } else if !subtask.missing.is_empty() {
            let segments: Vec<Segment> = self
                .named
                .iter()
                .map(|&i| &self.segments[i])
                .filter(|s| {
                    s.version.checkpoint == *checkpoint && s.range.intersects(subtask.range)
                })
                .cloned()
                .collect();
            let found = find_values(&segments, std::mem::take(&mut subtask.missing)).unwrap();
            subtask.queue.extend(subtask.state.found(found));
        } else if subtask.queue.is_empty() {
            subtask.state.cleaned(*checkpoint).unwrap();
            subtask.plan = None;
        }
    }

    /// Rule V.
    fn put(&mut self, write: ItemWrite) {
        match self.table.get(&write.key) {
            Some(item) if item.version >= write.item.version => {}
            _ => drop(self.table.insert(write.key, write.item)),
        }
    }

    fn entry(key: &ItemKey) -> (usize, u16) {
        let state = usize::from(key.state.as_str() == "b");
        assert_ne!(key.state.as_str(), FILTER_STATE);
        (state, u16::decode(&mut &key.sort_key[..]).unwrap())
    }

    fn check(&self) {
        for (key, item) in &self.table {
            let h = item.version.checkpoint.0;
            assert!(h <= self.floor(), "I1: {key:?} holds a value of {h}");
            if is_chunk(key) {
                continue;
            }
            let then = self.at[&h].get(&Self::entry(key)).map(|value| &value[..]);
            assert_eq!(then, item.value.as_deref(), "I1: {key:?} as of {h}");
        }
        for r in &self.retained {
            assert_eq!(self.fold(&self.manifests[r]), self.at[r], "I2: checkpoint {r}");
        }
        for subtask in &self.subtasks {
            let state = &subtask.state;
            let newer = |row| {
                state.columns.iter().filter(|c| c.meta(row).change() > state.log.horizon()).count()
            };
            let rows = (0..state.rows.end()).filter(|&row| state.rows.is_taken(row));
            let foreign = |&row: &u32| {
                let hash = state.rows.key(row).key_hash();
                !subtask.range.contains(max_parallelism().group_of(hash))
            };
            assert_eq!(rows.clone().find(foreign), None, "a key of another subtask");
            let chunks = state.filter.chunks.newer_than(state.log.horizon());
            assert_eq!((rows.map(newer).sum::<usize>() + chunks) as u64, state.log.pinned());
            let idle = state.untouched.is_empty() && state.loading.is_empty();
            assert!(idle, "rows are kept for nothing");
        }
    }

    /// Items, then the manifest's segments, in the plainest way. What is left of the items is what a
    /// restored attempt may have to read.
    fn fold(&self, manifest: &Manifest) -> Model {
        let mut model = Model::new();
        let mut chunks: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut items = BTreeSet::new();
        for (key, item) in &self.table {
            if let Some(value) = &item.value {
                if is_chunk(key) {
                    chunks.insert(key.sort_key.to_vec(), value.to_vec());
                } else {
                    model.insert(Self::entry(key), value.to_vec());
                    items.insert(Self::entry(key));
                }
            }
        }
        let mut segments: Vec<&Segment> =
            manifest.segments.iter().map(|&i| &self.segments[i]).collect();
        segments.sort_by_key(|s| (s.version.checkpoint, s.range.first, s.sequence));
        let mut carry = Carry::default();
        for segment in segments {
            segment
                .each(&mut carry, |entry| {
                    let name = segment.states[entry.state].as_str();
                    let state = usize::from(name == "b");
                    let (key, group) = if name == FILTER_STATE {
                        (0, chunks::ChunkId::decode(entry.key).unwrap().group)
                    } else {
                        let key = u16::decode(&mut &entry.key[..]).unwrap();
                        (key, max_parallelism().group_of(key.key_hash()))
                    };
                    let mut horizons = manifest.subtasks.iter().flat_map(|(_, b)| &b.horizons);
                    let horizon = horizons.find(|(range, _)| range.contains(group)).unwrap().1;
                    if segment.version.checkpoint <= horizon {
                        return Ok(());
                    }
                    if name == FILTER_STATE {
                        chunks.insert(entry.key.to_vec(), entry.value.unwrap().to_vec());
                        return Ok(());
                    }
                    items.remove(&(state, key));
                    match entry.value {
                        Some(value) => drop(model.insert((state, key), value.to_vec())),
                        None => drop(model.remove(&(state, key))),
                    }
                    Ok(())
                })
                .unwrap();
        }
        if self.filter {
            let hashes: BTreeSet<u64> =
                chunks.values().flat_map(|value| chunks::decode(value).unwrap()).collect();
            for (state, key) in items {
                let hash = Salts::of(&Name::new(["a", "b"][state]).unwrap());
                let hash = hash.entry(&key.to_be_bytes());
                assert!(hashes.contains(&hash), "aa: no hash of state {state} of {key}");
            }
        }
        model
    }
}

fn is_chunk(key: &ItemKey) -> bool {
    key.state.as_str() == FILTER_STATE
}

fn check_job(num_retained: usize, filter: bool, steps: &[Step]) {
    let mut world = World::new(num_retained, filter);
    for step in steps {
        world.run(step);
        world.check();
    }
    world.settle();
    world.check();
    let everything: Vec<_> = (0..KEYS).map(|key| (key, Act::Get)).collect();
    world.batch(&everything);
    world.start(3);
    world.scan_all();
    world.batch(&everything);
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_that_retains_one_checkpoint_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(1, filter, &steps);
    }

    #[test]
    fn a_job_that_retains_two_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(2, filter, &steps);
    }

    #[test]
    fn a_job_that_retains_three_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(3, filter, &steps);
    }
}

#[cfg(debug_assertions)]
#[test]
fn hashes_that_are_saved_late_are_found() {
    let steps = [Step::Batch(vec![(1, Act::SetA(1))]), Step::Settle, Step::Settle];
    check_job(1, true, &steps);
    let late = || crate::teeth::with(Tooth::HashesLate, || check_job(1, true, &steps));
    assert!(std::panic::catch_unwind(late).is_err());
}
