//! What one access to resident keyed state costs, beside a bare hash map, and what a barrier costs.
//!
//! `get`, `set` and `get + set` include finding the row from a key's hash, in batches of 1,024 keys in
//! random order, as a task does it. Throughput is in keys (or entries) a second.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use millpond::codec::{Key, KeyHash};
use millpond::ids::{Attempt, CheckpointId, Name, Version};
use millpond::state::{
    KeyedConfig, KeyedState, RawSegment, RestorePoint, States, ValueDescriptor, ValueState, segment,
};
use millpond::{KeyGroup, KeyGroupRange, MaxParallelism, Result};

const BATCH: usize = 1024;
const RANGE: KeyGroupRange = KeyGroupRange { first: KeyGroup(0), last: KeyGroup(127) };

struct Counts {
    state: KeyedState<u64>,
    count: ValueState<u64>,
}

impl Counts {
    fn new() -> Result<Self> {
        let mut states = States::new();
        let count = states.value(ValueDescriptor::new("count"));
        let config = KeyedConfig {
            operator: Name::new("counts")?,
            range: RANGE,
            max_parallelism: MaxParallelism::new(128)?,
            attempt: Attempt(1),
            segment_bytes: 256 << 10,
        };
        let mut state = KeyedState::new(config, states.finish()?, RestorePoint::default())?;
        state.finish_restore()?;
        Ok(Self { state, count })
    }

    /// Changes every key below `keys`.
    fn fill(&mut self, keys: u64) {
        for key in 0..keys {
            let row = self.state.find_row(key.key_hash(), &key);
            self.state.set(self.count, row, mix(key) % 100_000);
        }
        self.state.end_batch();
    }
}

/// The finaliser of SplitMix64: keys in random order.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn batches(keys: u64) -> Vec<Vec<(KeyHash, u64)>> {
    let key = |i| mix(i) % keys;
    let stream: Vec<_> = (0..1 << 20).map(key).map(|key| (key.key_hash(), key)).collect();
    stream.chunks(BATCH).map(<[_]>::to_vec).collect()
}

fn access(c: &mut Criterion) -> Result<()> {
    for keys in [1_000u64, 500_000, 1_000_000] {
        let batches = batches(keys);
        let mut next = batches.iter().cycle();
        let mut batch = move || next.next().map_or(&[][..], Vec::as_slice).to_vec();
        let mut counts = Counts::new()?;
        counts.fill(keys);
        let mut group = c.benchmark_group("resident");
        group.throughput(Throughput::Elements(BATCH as u64));
        let Counts { state, count } = &mut counts;
        let count = *count;
        let mut rows = Vec::with_capacity(BATCH);
        group.bench_function(BenchmarkId::new("get", keys), |b| {
            let get = |batch: Vec<(KeyHash, u64)>| {
                rows.clear();
                state.find_rows(batch.iter().map(|(hash, key)| (*hash, key)), &mut rows);
                rows.iter().filter_map(|&row| state.get(count, row)).sum::<u64>()
            };
            b.iter_batched(&mut batch, get, BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("set", keys), |b| {
            let set = |batch: Vec<(KeyHash, u64)>| {
                rows.clear();
                state.find_rows(batch.iter().map(|(hash, key)| (*hash, key)), &mut rows);
                rows.iter().for_each(|&row| state.set(count, row, 1));
            };
            b.iter_batched(&mut batch, set, BatchSize::SmallInput);
        });
        group.bench_function(BenchmarkId::new("get + set", keys), |b| {
            let get_and_set = |batch: Vec<(KeyHash, u64)>| {
                rows.clear();
                state.find_rows(batch.iter().map(|(hash, key)| (*hash, key)), &mut rows);
                for &row in &rows {
                    let old = state.get(count, row).copied().unwrap_or(0);
                    state.set(count, row, old + 1);
                }
            };
            b.iter_batched(&mut batch, get_and_set, BatchSize::SmallInput);
        });
        let mut map: HashMap<u64, u64> = (0..keys).map(|key| (key, 0)).collect();
        group.bench_function(BenchmarkId::new("bare HashMap, get + set", keys), |b| {
            let count = |batch: Vec<(KeyHash, u64)>| {
                batch.iter().for_each(|(_, key)| *map.entry(*key).or_insert(0) += 1);
            };
            b.iter_batched(&mut batch, count, BatchSize::SmallInput);
        });
        group.finish();
    }
    Ok(())
}

const DIRTY: u64 = 100_000;

/// A state of which everything has changed since the last barrier.
fn dirty() -> Option<Counts> {
    let mut counts = Counts::new().ok()?;
    counts.fill(DIRTY);
    Some(counts)
}

fn serialised(mut counts: Counts) -> Result<(Counts, Vec<RawSegment>)> {
    counts.state.freeze(CheckpointId(1))?;
    while !counts.state.serialise(10_000)? {}
    let segments = counts.state.take_segments();
    Ok((counts, segments))
}

fn barrier(c: &mut Criterion) -> Result<()> {
    let operator = Name::new("counts")?;
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let mut group = c.benchmark_group("barrier, 100,000 dirty keys");
    group.throughput(Throughput::Elements(DIRTY));
    group.sample_size(20);
    group.bench_function("freeze", |b| {
        let freeze = |counts: Option<Counts>| {
            counts.map(|mut counts| (counts.state.freeze(CheckpointId(1)), counts))
        };
        b.iter_batched(dirty, freeze, BatchSize::LargeInput);
    });
    group.bench_function("freeze, serialise", |b| {
        b.iter_batched(dirty, |counts| counts.map(serialised), BatchSize::LargeInput);
    });
    // Off the workers, but somewhere it has to be done.
    let raw = Counts::new().and_then(|mut counts| {
        counts.fill(DIRTY);
        Ok(serialised(counts)?.1)
    })?;
    group.bench_function("encode segments", |b| {
        let encode = |raw| segment::encode(raw, version, &operator, RANGE).map_or(0, |b| b.len());
        b.iter(|| raw.iter().map(encode).sum::<usize>());
    });
    group.finish();
    Ok(())
}

fn all(c: &mut Criterion) {
    let done = access(c).and_then(|()| barrier(c));
    assert!(done.is_ok(), "{done:?}");
}

criterion_group!(benches, all);
criterion_main!(benches);
