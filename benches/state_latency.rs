//! What one access to resident keyed state costs, beside a bare hash map, and what a barrier costs.
//!
//! `get`, `set` and `get + set` include finding the row from a key's hash, in batches of 1,024 keys in
//! random order, as a task does it. Throughput is in keys (or entries) a second. What goes to the embedded
//! DynamoDB, on a file and a thread of its own, is beside bare calls of the SDK to the same one.

#[path = "../src/splitmix.rs"]
#[expect(dead_code, reason = "only the finaliser is of use here")]
mod splitmix;

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedHttpClient};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use millpond::clock::Clock;
use millpond::codec::{Key, KeyHash};
use millpond::config::{Config, Location};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::ids::{Attempt, CheckpointId, Incarnation, Name, SlotId, SubtaskId, Version};
use millpond::runtime::{Place, io_threads};
use millpond::state::{
    BlockKey, BlockKind, FilterConfig, Item, ItemKey, ItemWrite, KeyedConfig, KeyedState, Presence,
    RawSegment, RestorePoint, States, Store, ValueDescriptor, ValueState, segment,
};
use millpond::{Error, KeyGroup, KeyGroupRange, MaxParallelism, Result};
use splitmix::mix;

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
            subtask: SubtaskId { index: 0, parallelism: 1 },
            range: RANGE,
            max_parallelism: MaxParallelism::new(128)?,
            attempt: Attempt(1),
            segment_bytes: 256 << 10,
            value_format: millpond::config::ValueFormat::Codec,
            filter: FilterConfig { max_bytes: 64 << 20, first_bytes: 64 << 10, chunk_hashes: 112 },
            few_rows: 4096,
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

/// Items of the table that misses are read from.
const ITEMS: u64 = 100_000;

fn item_key(key: u64) -> Result<ItemKey> {
    let mut sort_key = Vec::new();
    key.encode(&mut sort_key);
    Ok(ItemKey {
        operator: Name::new("counts")?,
        state: Name::new("count")?,
        key_group: MaxParallelism::new(128)?.group_of(key.key_hash()),
        sort_key: sort_key.into(),
    })
}

async fn fill_table(store: &dyn Store) -> Result<()> {
    let version = Version { attempt: Attempt(1), checkpoint: CheckpointId(1) };
    let write = |key| {
        let item = Item::new(version, Some(Bytes::from_static(b"\xfc\x10\x27\0\0")));
        Ok(ItemWrite { key: item_key(key)?, item, presence: Presence::Absent })
    };
    let writes = (0..ITEMS).map(write).collect::<Result<_>>()?;
    store.write_items(writes).await.map(drop)
}

/// The SDK as others would use it, over the same database.
fn bare_client(http: SharedHttpClient) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .allow_no_auth()
        .region(Region::from_static("embedded"))
        .endpoint_url("http://embedded.invalid")
        .http_client(http)
        .build();
    Client::from_conf(config)
}

fn embedded(c: &mut Criterion) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::internal(format!("no folder: {e}")))?;
    let io = io_threads(2)?;
    let mut config = Config::default();
    config.store.location = Location::EmbeddedFile(Some(folder.path().join("state.db")));
    let captured = Mutex::new(None);
    let capture = |http: SharedHttpClient| {
        if let Ok(mut captured) = captured.lock() {
            *captured = Some(http.clone());
        }
        http
    };
    let connection = io.block_on(Connection::open(Options {
        settings: &config.store,
        job: &Name::new("bench")?,
        clock: Clock::system(),
        seed: 1,
        execution: Execution::Thread(Place::Threads(io.handle().clone()).io()),
        wrap: Some(&capture),
    }))?;
    let http = captured.lock().ok().and_then(|mut http| http.take());
    let bare = bare_client(http.ok_or_else(|| Error::internal("no client was made"))?);
    let store = connection.scoped(&Name::new("bench")?, Incarnation(1), Duration::ZERO);
    io.block_on(fill_table(&*store))?;
    let mut turn = 0;
    let mut some_key = || {
        turn += 1;
        mix(turn) % ITEMS
    };

    let mut group = c.benchmark_group("embedded DynamoDB on a file");
    for number in [1, 100] {
        let mut keys = || (0..number).map(|_| item_key(some_key())).collect::<Result<Vec<_>>>();
        group.throughput(Throughput::Elements(number));
        group.bench_function(BenchmarkId::new("miss, keys", number), |b| {
            let read = |keys: Result<_>| io.block_on(async { store.read_items(keys?).await });
            b.iter_batched(&mut keys, read, BatchSize::SmallInput);
        });
    }
    group.throughput(Throughput::Elements(1));
    let text = |key: &ItemKey| format!("bench/1/s/counts/count#{}", key.key_group.0);
    let of = move |key: &ItemKey| {
        let sort_key = AttributeValue::B(Blob::new(key.sort_key.to_vec()));
        [("pk", AttributeValue::S(text(key))), ("sk", sort_key)]
    };
    group.bench_function("bare SDK, GetItem", |b| {
        let get = |key: Result<ItemKey>| {
            let [pk, sk] = of(&key?);
            let request = bare.get_item().table_name(&config.store.table).consistent_read(true);
            let sent = io.block_on(request.key(pk.0, pk.1).key(sk.0, sk.1).send());
            let item = sent.map_err(|e| Error::internal(format!("GetItem: {e}")))?.item;
            Ok::<_, Error>(item.is_some_and(|item| item.contains_key("v")))
        };
        b.iter_batched(|| item_key(some_key()), get, BatchSize::SmallInput);
    });
    group.bench_function("bare SDK, PutItem", |b| {
        let put = |key: Result<ItemKey>| {
            let [(pk, pk_value), (sk, sk_value)] = of(&key?);
            let request = bare.put_item().table_name(&config.store.table);
            let request = request.item(pk, pk_value).item(sk, sk_value);
            let request = request.item("v", AttributeValue::B(Blob::new([1; 8])));
            io.block_on(request.item("c", AttributeValue::N("1".to_owned())).send())
                .map(drop)
                .map_err(|e| Error::internal(format!("PutItem: {e}")))
        };
        b.iter_batched(|| item_key(some_key()), put, BatchSize::SmallInput);
    });
    group.finish();

    let mut group = c.benchmark_group("barrier, 100,000 dirty keys");
    group.throughput(Throughput::Elements(DIRTY));
    group.sample_size(10);
    let mut checkpoint = 0;
    group.bench_function("freeze, serialise, encode, put to the embedded DynamoDB", |b| {
        let log = |counts: Option<Counts>| {
            checkpoint += 1;
            let version = Version { attempt: Attempt(2), checkpoint: CheckpointId(checkpoint) };
            let counts = counts.ok_or_else(|| Error::internal("no state"))?;
            io.block_on(log_all(&*store, counts, version))
        };
        b.iter_batched(dirty, log, BatchSize::LargeInput);
    });
    group.finish();
    drop(store);
    io.block_on(connection.close())
}

/// Freezes and logs all that is dirty, as a checkpoint does it; gives the stored bytes.
async fn log_all(store: &dyn Store, counts: Counts, version: Version) -> Result<usize> {
    let operator = Name::new("counts")?;
    let (_counts, segments) = serialised(counts)?;
    let mut bytes = 0;
    let puts = segments.iter().zip(0..).map(|(raw, slot)| {
        let block = segment::encode(raw, version, &operator, RANGE)?;
        bytes += block.len();
        let key = BlockKey { kind: BlockKind::Segment, slot: SlotId(slot), part: 0 };
        Ok(store.put_block(key, version, block))
    });
    let puts = puts.collect::<Result<Vec<_>>>()?;
    futures::future::try_join_all(puts).await?;
    Ok(bytes)
}

fn all(c: &mut Criterion) {
    let done = access(c).and_then(|()| barrier(c)).and_then(|()| embedded(c));
    assert!(done.is_ok(), "{done:?}");
}

criterion_group!(benches, all);
criterion_main!(benches);
