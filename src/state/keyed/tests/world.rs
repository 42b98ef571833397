//! Random jobs of several subtasks, with every kind of state, against a plain model: what each barrier
//! saw, and nothing else.
//!
//! After every step, each retained checkpoint must be the fold of items and log (I2), and every item the
//! value of the checkpoint that it names, not newer than the oldest retained one (I1), and the hash of
//! each item that a restore would read must be in the filter that it would have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::acts::{Act, At, Handles, Model, act, handles, look};
use super::*;
use crate::ids::Version;
use crate::state::segment::{Carry, Segment};
use crate::state::{
    CleaningRows, FILTER_STATE, FilterChunks, ItemKey, ItemRange, Missing, Read, Scan, Scanned,
    Ttl, TtlTime, chunk_group, chunk_hashes, item_hash,
};

mod checks;

const KEYS: u16 = 16;
/// Entries that may stay in memory: those of five keys.
const CACHE: u64 = 10;
const OPERATOR: &str = "op";

/// One record: its key, what is done for it, and its time: how late it is, and once it is given, when it was.
type Record = (u16, Vec<Act>, u64);
/// No record is later.
const LATENESS_MS: u64 = 20;

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Record>),
    /// Time, in milliseconds.
    Pass(u64),
    /// So many reads of each subtask are answered, as the table was when they were sent.
    Answer(usize),
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
    /// A filter's chunks are read, or what was read is taken over.
    Filter(usize),
    Restore {
        which: usize,
        parallelism: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let late = prop_oneof![2 => Just(0), 1 => 0..=LATENESS_MS];
    let record = (0..KEYS, prop::collection::vec(act(), 1..4), late);
    prop_oneof![
        6 => prop::collection::vec(record, 1..5).prop_map(Step::Batch),
        2 => (1u64..40).prop_map(Step::Pass),
        2 => (1usize..4).prop_map(Step::Answer),
        3 => prop_oneof![4 => Just(0), 1 => 1..3u64].prop_map(|skipped| Step::Barrier { skipped }),
        2 => (1usize..4).prop_map(Step::Slice),
        5 => Just(Step::Complete),
        1 => Just(Step::Abort),
        6 => (0usize..3, 1usize..8).prop_map(|(subtask, entries)| Step::Clean { subtask, entries }),
        4 => (1usize..6).prop_map(Step::Put),
        1 => (0usize..8).prop_map(Step::LatePut),
        4 => Just(Step::Settle),
        2 => (1u32..12).prop_map(Step::Evict),
        4 => (0usize..3).prop_map(Step::Filter),
        2 => (0usize..3, 1u32..4)
            .prop_map(|(which, parallelism)| Step::Restore { which, parallelism }),
    ]
}

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
}

struct World {
    num_retained: usize,
    filter: bool,
    ttl: Option<Ttl>,
    clock: u64,
    attempt: u64,
    next: u64,
    handles: Handles,
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

fn max_parallelism() -> MaxParallelism {
    MaxParallelism::new(8).unwrap()
}

fn scan_table(table: &BTreeMap<ItemKey, Item>, range: &ItemRange) -> Vec<Scanned> {
    let in_range = |key: &ItemKey| {
        key.operator == range.operator
            && key.state == range.state
            && key.key_group == range.key_group
            && range.contains(&key.sort_key)
    };
    let scanned = |(key, item): (&ItemKey, &Item)| Scanned {
        sort_key: key.sort_key.clone(),
        item: Ok(item.clone()),
    };
    table.iter().filter(|(key, _)| in_range(key)).map(scanned).collect()
}

impl World {
    fn new(num_retained: usize, filter: bool, ttl: Option<Ttl>) -> Self {
        let mut world = Self {
            num_retained,
            filter,
            ttl,
            clock: 1000,
            attempt: 0,
            next: 1,
            handles: handles(&mut States::new(), ttl),
            subtasks: Vec::new(),
            live: Model::default(),
            at: BTreeMap::from([(0, Model::default())]),
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
            formats: Vec::new(),
            unfiltered: former.iter().any(|b| b.unfiltered),
            now_ms: self.clock,
        };
        let mut states = States::new();
        handles(&mut states, self.ttl);
        let config = KeyedConfig {
            operator: Name::new(OPERATOR).unwrap(),
            range,
            max_parallelism: max_parallelism(),
            attempt: Attempt(self.attempt),
            segment_bytes: 40,
            value_format: ValueFormat::Codec,
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

    fn batch(&mut self, records: &[Record]) {
        let parallelism = self.subtasks.len() as u32;
        let mut mine: Vec<Vec<Record>> = vec![Vec::new(); self.subtasks.len()];
        for record in records {
            let group = max_parallelism().group_of(record.0.key_hash());
            let (key, acts, late) = record.clone();
            let to = max_parallelism().subtask_of(group, parallelism) as usize;
            mine[to].push((key, acts, self.clock - late));
        }
        for (i, records) in mine.into_iter().enumerate() {
            let mut rows = Vec::new();
            let state = &mut self.subtasks[i].state;
            state.set_processing_time(self.clock);
            state.find_rows(records.iter().map(|(key, ..)| (key.key_hash(), key)), &mut rows);
            for (record, row) in records.into_iter().zip(rows) {
                if self.subtasks[i].state.is_loading(row) {
                    self.subtasks[i].parked.entry(row).or_default().push_back(record);
                } else if self.process(i, row, &record) {
                    self.subtasks[i].parked.entry(row).or_default().push_front(record);
                }
            }
            self.read(i);
            self.subtasks[i].state.end_batch();
        }
        self.make_room();
    }

    /// As a task does between two steps: what may leave and is too much leaves, to the last entry.
    fn make_room(&mut self) {
        let entries = |state: &KeyedState<u16>| 2 * state.rows.len() as u64;
        let all = |subtasks: &[Subtask]| subtasks.iter().map(|s| entries(&s.state)).sum::<u64>();
        let share = CACHE / self.subtasks.len() as u64;
        for i in 0..self.subtasks.len() {
            while all(&self.subtasks) > CACHE
                && entries(&self.subtasks[i].state) > share
                && !self.subtasks[i].state.is_exhausted()
            {
                self.subtasks[i].state.evict_bytes(1, 4);
            }
        }
        if all(&self.subtasks) > CACHE {
            let rows = |s: &Subtask| {
                (0..s.state.rows.end()).filter(|r| s.state.rows.is_taken(*r)).collect()
            };
            for subtask in self.subtasks.iter().filter(|s| entries(&s.state) > share) {
                let rows: Vec<u32> = rows(subtask);
                let state = &subtask.state;
                let is_free = |row: &u32| state.is_clean(*row) && !state.is_loading(Row(*row));
                let free = rows.into_iter().find(is_free);
                assert_eq!(free, None, "it could have left");
            }
        }
    }

    /// Processes a record; whether it was suspended.
    fn process(&mut self, i: usize, row: Row, (key, acts, time): &Record) -> bool {
        let by_records = self.ttl.is_some_and(|ttl| ttl.is_by_event_time());
        let now = if by_records { *time } else { self.clock };
        let state = &mut self.subtasks[i].state;
        let may_suspend = state.may_suspend();
        let mut model = self.live.clone();
        let mut mistaken = None;
        if may_suspend {
            state.begin_record();
        }
        state.record_at(Some(*time));
        let run = |act: &Act| -> Result<()> {
            let seen = act.run(state, &self.handles, row)?;
            let mut at = At { model: &mut model, ttl: self.ttl, now };
            let expected = act.predict(&mut at, *key);
            if seen != expected {
                mistaken.get_or_insert((act.clone(), seen, expected));
            }
            Ok(())
        };
        let result = acts.iter().try_for_each(run);
        let suspended = may_suspend && state.end_record().unwrap();
        assert!(suspended || result.is_ok(), "{result:?}");
        assert_eq!(suspended, state.is_loading(row));
        if !suspended {
            state.renew_read();
            self.live = model;
        }
        assert_eq!(mistaken, None, "key {key}");
        suspended
    }

    /// The store reads what is asked for.
    fn read(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        for read in subtask.state.take_reads() {
            let item = self.table.get(&read.key).cloned();
            subtask.answers.push_back(Answer::Item(read, item));
        }
        for scan in subtask.state.take_scans() {
            let items = scan_table(&self.table, &scan.range);
            subtask.answers.push_back(Answer::Range(scan, items));
        }
    }

    fn answer(&mut self, answers: usize) {
        for i in 0..self.subtasks.len() {
            for _ in 0..answers {
                let subtask = &mut self.subtasks[i];
                subtask.state.set_processing_time(self.clock);
                let Some(answer) = subtask.answers.pop_front() else { break };
                let (row, resident) = match answer {
                    Answer::Item(read, item) => {
                        (read.row, subtask.state.loaded(&read, item.as_ref()).unwrap())
                    }
                    Answer::Range(scan, items) => {
                        (scan.row, subtask.state.scanned(&scan, items).unwrap())
                    }
                };
                if resident {
                    self.process_parked(i, row);
                }
                self.read(i);
                self.subtasks[i].state.end_batch();
            }
        }
    }

    fn process_parked(&mut self, i: usize, row: Row) {
        let mut records = self.subtasks[i].parked.remove(&row).unwrap_or_default();
        while let Some(record) = records.pop_front() {
            if self.process(i, row, &record) {
                records.push_front(record);
                self.subtasks[i].parked.insert(row, records);
                return;
            }
        }
    }

    fn answer_all(&mut self) {
        while self.subtasks.iter().any(|subtask| !subtask.answers.is_empty()) {
            self.answer(usize::MAX);
        }
        assert!(self.subtasks.iter().all(|subtask| subtask.parked.is_empty()));
    }

    fn build_filter(&mut self, i: usize) {
        let subtask = &mut self.subtasks[i];
        if let Some(mut chunks) = subtask.chunks.take() {
            while !subtask.state.filter_read(&mut chunks, 1) {}
        } else if let Some(range) = subtask.state.filter_scan() {
            let of_range = |key: &&ItemKey| {
                (&key.state, key.key_group) == (&range.state, range.key_group)
                    && range.contains(&key.sort_key)
            };
            let scanned = self.table.iter().filter(|(key, _)| of_range(key)).map(|(key, item)| {
                Scanned { sort_key: key.sort_key.clone(), item: Ok(item.clone()) }
            });
            subtask.chunks = Some(FilterChunks::of(&range, scanned.collect()).unwrap());
        }
    }

    fn build_filters(&mut self) {
        for i in 0..self.subtasks.len() {
            while self.filter && self.subtasks[i].state.stats().filter_hashes.is_none() {
                self.build_filter(i);
            }
        }
    }

    fn barrier(&mut self, skipped: u64) {
        if self.in_flight.is_some() {
            return;
        }
        self.answer_all();
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

    /// All that is in memory could leave now, so no more than may stay has stayed.
    fn is_within_its_cache(&mut self) {
        self.answer_all();
        // Each cleans a checkpoint, and lets go of one that is retained.
        let is_pinned = |s: &Subtask| s.state.log.pinned() > 0;
        for _ in 0..100 {
            self.settle();
            if !self.subtasks.iter().any(is_pinned) {
                break;
            }
        }
        self.make_room();
        let entries: u64 = self.subtasks.iter().map(|s| 2 * s.state.rows.len() as u64).sum();
        assert!(entries <= CACHE, "{entries} entries in memory");
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
}

fn check_job(num_retained: usize, filter: bool, steps: &[Step], check_each: bool) {
    check_job_of(None, num_retained, filter, steps, check_each);
}

fn check_job_of(
    ttl: Option<Ttl>,
    num_retained: usize,
    filter: bool,
    steps: &[Step],
    check_each: bool,
) {
    let mut world = World::new(num_retained, filter, ttl);
    for step in steps {
        world.run(step);
        if check_each {
            world.check();
            world.check_keys();
        }
    }
    world.is_within_its_cache();
    world.check();
    let everything: Vec<_> = (0..KEYS).map(|key| (key, look(), 0)).collect();
    world.batch(&everything);
    world.answer_all();
    world.start(3);
    world.build_filters();
    world.batch(&everything);
    world.answer_all();
    world.check();
}

fn config_of(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config_of(300))]

    #[test]
    fn a_job_that_retains_one_checkpoint_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(1, filter, &steps, true);
    }

    #[test]
    fn a_job_that_retains_two_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(2, filter, &steps, true);
    }

    #[test]
    fn a_job_that_retains_three_checkpoints_equals_the_model(
        filter: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job(3, filter, &steps, true);
    }
}

proptest! {
    #![proptest_config(config_of(10_000))]

    /// What is wrong shows in what records see, or at the end.
    #[test]
    fn ten_thousand_short_jobs_equal_the_model(
        num_retained in 1usize..4,
        filter: bool,
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job(num_retained, filter, &steps, false);
    }
}

#[cfg(debug_assertions)]
#[test]
fn hashes_that_are_saved_late_are_found() {
    let steps = [Step::Batch(vec![(1, vec![Act::SetA(1)], 0)]), Step::Settle, Step::Settle];
    check_job(1, true, &steps, true);
    let late = || crate::teeth::with(Tooth::HashesLate, || check_job(1, true, &steps, true));
    assert!(std::panic::catch_unwind(late).is_err());
}

const FIFTY: Ttl = Ttl::new(Duration::from_millis(50));
const LATENESS: Duration = Duration::from_millis(LATENESS_MS);

/// Found by the jobs below: that it shortened no life was so only while the old value was in memory.
#[test]
fn what_a_late_record_puts_expires_the_same_whether_the_old_value_is_in_memory_or_not() {
    use super::acts::OfNumber::Add;
    let steps = [
        Step::Batch(vec![(10, vec![Act::Value(1, Add(1))], 0)]),
        Step::Settle,
        Step::Batch([12, 0, 5].map(|key| (key, vec![Act::SetA(1)], 0)).into()),
        Step::Batch(vec![(10, vec![Act::Value(1, Add(1))], 1)]),
    ];
    for num_retained in 1..3 {
        let ttl = FIFTY.by_event_time(LATENESS);
        check_job_of(Some(ttl), num_retained, false, &steps, true);
    }
}

fn ttl() -> impl Strategy<Value = Ttl> {
    let by_events = FIFTY.by_event_time(LATENESS);
    prop_oneof![
        Just(FIFTY),
        Just(FIFTY.on_read_and_write()),
        Just(by_events),
        Just(by_events.on_read_and_write()),
    ]
}

proptest! {
    #![proptest_config(config_of(300))]

    /// By the clock and by the times of records, late ones too; begun by writes alone, and by reads.
    #[test]
    fn a_job_whose_values_expire_equals_the_model(
        ttl in ttl(),
        num_retained in 1usize..4,
        filter in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        check_job_of(Some(ttl), num_retained, filter, &steps, true);
    }
}

proptest! {
    #![proptest_config(config_of(1_000))]

    #[test]
    fn a_thousand_short_jobs_whose_values_expire_equal_the_model(
        ttl in ttl(),
        num_retained in 1usize..4,
        filter in any::<bool>(),
        steps in prop::collection::vec(step(), 1..18),
    ) {
        check_job_of(Some(ttl), num_retained, filter, &steps, false);
    }
}
