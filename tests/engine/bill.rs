//! What whole jobs cost, and what they do so as to cost less, by a paused clock.

use std::sync::Arc;
use std::time::Duration;

use millpond::checkpoint::{Ended, read_manifest};
use millpond::config::{Config, Location, Materialize, StoreSettings};
use millpond::connector::{MemorySink, MemorySource};
use millpond::dynamodb::{Connection, Execution, Options, Purpose};
use millpond::hostile::{Hostile, Limits, Plan};
use millpond::runtime::{Backend, DynamoDbStateBackend};

use crate::engine_support::{
    Engine, Event, check, clock, embedded, job, pass, simulate, small, tally,
};

const SECOND: Duration = Duration::from_secs(1);

fn slow() -> Config {
    let mut config = small();
    config.parallelism = 1;
    config.checkpointing.interval = 10 * SECOND;
    config
}

/// The same 40 keys over and over, `parts` times, one part a second.
async fn fed(engine: &Engine, parts: usize) {
    let part: Vec<Event> = (0..40).map(|key| (key, 1)).collect();
    feed(engine, vec![part; parts]).await;
}

/// One part a second.
async fn feed(engine: &Engine, parts: Vec<Vec<Event>>) {
    let (feed, source) = MemorySource::fed(1);
    let sink = MemorySink::new();
    let feeding = async {
        for part in &parts {
            feed.push(0, part.clone());
            pass(SECOND).await;
        }
    };
    let stop = pass(SECOND * u32::try_from(parts.len()).unwrap() + SECOND);
    let (ended, ()) = futures::join!(engine.run_until(tally(source, &sink), stop), feeding);
    assert_eq!(ended.unwrap(), Ended::Stopped);
    check(&sink.output(), &[parts.concat()]).unwrap();
}

#[test]
fn units_are_told_by_operator_state_and_purpose() {
    simulate(async {
        let mut config = slow();
        config.state.materialize = Materialize::Eager;
        let engine = Engine::new(embedded(None).await, config);
        fed(&engine, 60).await;
        let status = engine.status();
        let of = |purpose| {
            let shares = status.cost.shares.iter().filter(move |s| s.share.purpose == purpose);
            shares.map(|s| s.share.write_units).sum::<f64>()
        };
        assert!((of(Purpose::Log) - status.consumed.write.log).abs() < 1e-6, "{status:?}");
        assert!((of(Purpose::Materialise) - status.consumed.write.items).abs() < 1e-6);
        let states = |purpose| {
            let shares = status.cost.shares.iter().filter(move |s| s.share.purpose == purpose);
            shares.map(|s| s.share.state.as_deref().unwrap()).collect::<Vec<_>>()
        };
        // The third state is deleted by each second record, and so within the interval in which it was put: that
        // costs nothing. What the filter of absent keys costs is told apart.
        assert_eq!(states(Purpose::Materialise), [".filter", "count", "sum"]);
        assert_eq!(states(Purpose::Log), [".filter", "count", "sum"]);
        // Heads and manifests are in the whole, and nobody's share.
        let shares: f64 = status.cost.shares.iter().map(|s| s.usd.unwrap()).sum();
        assert!(shares > 0.0 && shares < status.cost.usd, "{:?}", status.cost);
        let whole = status.consumed.write.total() * 0.625e-6 + status.consumed.read * 0.125e-6;
        assert!((status.cost.usd - whole).abs() < 1e-12);
    });
}

#[test]
fn a_job_over_its_bound_takes_fewer_checkpoints_and_writes_fewer_items() {
    simulate(async {
        let mut config = slow();
        config.state.materialize = Materialize::Eager;
        let free = Engine::new(embedded(None).await, config.clone());
        fed(&free, 600).await;
        config.cost.max_usd_per_hour = Some(1e-9);
        let bound = Engine::new(embedded(None).await, config);
        fed(&bound, 600).await;
        let (free, bound) = (free.status(), bound.status());
        println!("{:?}\n{:?}\n{:?}", free.consumed, bound.consumed, bound.cost.saving);
        assert_eq!(free.cost.saving, None);
        let saving = bound.cost.saving.clone().unwrap();
        assert!(saving.contains("instead of 10s") && saving.contains("lazily"), "{saving}");
        let completed = |s: &millpond::runtime::JobStatus| s.checkpoints.counts.completed;
        assert!(completed(&free) > 55 && completed(&bound) < 25);
        assert!(bound.consumed.write.items < free.consumed.write.items / 5.0);
    });
}

async fn provisioned(hostile: &Hostile, units: (u64, u64)) -> Arc<DynamoDbStateBackend> {
    let at = Location::EmbeddedMemory;
    let default = Config::default().store;
    let settings = StoreSettings { location: at, provisioned: Some(units), ..default };
    let wrap = |client| hostile.wrap(client);
    let options = Options {
        settings: &settings,
        job: &job(),
        clock: clock(),
        seed: 7,
        execution: Execution::Inline,
        wrap: Some(&wrap),
    };
    let connection = Connection::open(options).await.unwrap();
    Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)))
}

/// A job that wants many times what its table takes, in a storm at first: it is late, and right.
#[test]
fn a_job_on_a_table_that_takes_little_is_delayed_and_loses_nothing() {
    simulate(async {
        let limits = Limits::provisioned(20, 20);
        let hostile = Hostile::new(3, clock(), Plan::calm());
        let backend = provisioned(&hostile, (20, 20)).await;
        hostile.set(Plan::storm(30).limited(limits));
        let mut config = slow();
        config.checkpointing.interval = 2 * SECOND;
        config.state.materialize = Materialize::Eager;
        config.store.provisioned = Some((20, 20));
        config.state.segment_bytes = 20 << 10;
        let engine = Engine::new(backend, config);
        let input: Vec<Event> = (0..6_000).map(|n| (n % 700, n)).collect();
        let (feed, source) = MemorySource::fed(1);
        let sink = MemorySink::new();
        let feeding = async {
            for (n, part) in input.chunks(60).enumerate() {
                feed.push(0, part.to_vec());
                pass(SECOND).await;
                if n == 30 {
                    hostile.set(Plan::calm().limited(limits));
                }
            }
        };
        let stop = pass(160 * SECOND);
        let (ended, ()) = futures::join!(engine.run_until(tally(source, &sink), stop), feeding);
        assert_eq!(ended.unwrap(), Ended::Stopped);
        check(&sink.output(), std::slice::from_ref(&input)).unwrap();
        let status = engine.status();
        assert_eq!((status.attempt, status.checkpoints.counts.failed), (1, 0));
        let last = status.throttling.last.clone().unwrap();
        assert!(last.contains("Exceeded on ") || last.contains("Error on "), "{last}");
        let units = hostile.consumed().write_units;
        println!("{units} units in 160 s; {:?}", status.throttling);
        println!("{:?}", status.checkpoints.counts);
        assert!(status.throttling.write_limit.unwrap() > 19.0, "it has recovered");
        assert!(units > 0.6 * 20.0 * 160.0, "{units}");
        assert!(hostile.counts().over_limit < 30, "{}", hostile.counts().over_limit);
        assert!(status.checkpoints.counts.completed > 30, "{:?}", status.checkpoints.counts);
    });
}

/// Read units that a replay of the log takes which half an hour of a job with new keys leaves, on a table of
/// 5 read units a second.
async fn units_to_replay(target: Duration) -> u64 {
    let hostile = Hostile::new(3, clock(), Plan::calm());
    let backend = provisioned(&hostile, (5, 100)).await;
    let mut config = slow();
    config.state.restore_target = target;
    let engine = Engine::new(Arc::clone(&backend) as _, config);
    feed(&engine, (0..1800).map(|n| vec![(n, 1), (n + 1_000_000, 1)]).collect()).await;
    let head = backend.heads().read(&job()).await.unwrap().unwrap();
    let last = *head.retained.last().unwrap();
    let store = backend.store(&job(), head.incarnation);
    let manifest = read_manifest(store, last).await.unwrap().manifest;
    manifest.segments.iter().map(|segment| segment.bytes.div_ceil(4096)).sum()
}

#[test]
fn a_log_is_no_longer_than_provisioned_capacity_replays_in_time() {
    simulate(async {
        let (short, default) =
            (units_to_replay(4 * SECOND).await, units_to_replay(30 * SECOND).await);
        println!("{short} units, and {default} by default");
        // The last checkpoint is in the log before anything could be cleaned because of it.
        assert!(short <= 4 * 5 + 1 && short > 5, "{short}");
        assert!(default <= 30 * 5 + 1 && default > 8 * 5, "{default}");
    });
}
