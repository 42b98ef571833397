//! Behind a hostile DynamoDB stores and heads keep all their promises: its faults delay, they lose
//! nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millpond::KeyGroup;
use millpond::clock::Clock;
use millpond::config::Location;
use millpond::dynamodb::{Connection, Execution, Partition};
use millpond::hostile::{Fault, Hostile, Latency, Limits, Plan, Throughput};
use millpond::ids::{Incarnation, Name, SlotId};
use millpond::state::{BlockKey, BlockKind, Item, ItemKey, ItemWrite, Presence};

use crate::dynamodb_support::{Served, promises, settings, try_connect, version};

async fn connect_to(location: Location, hostile: &Hostile) -> Connection {
    let wrap = |client| hostile.wrap(client);
    try_connect(&settings(location), Execution::Inline, Some(&wrap)).await.unwrap()
}

async fn connect(hostile: &Hostile) -> Connection {
    connect_to(Location::EmbeddedMemory, hostile).await
}

async fn in_weather_at(location: Location, seed: u64, plan: Plan) -> Result<(), String> {
    let hostile = Hostile::new(seed, Clock::starting_at(0), plan);
    let connection = connect_to(location, &hostile).await;
    let kept = promises::kept_in_bad_weather(&connection).await;
    kept.map_err(|broken| format!("seed {seed}: {broken}"))?;
    let (value, key) = promises::SMALL;
    let connection = connection.in_parts_of(value, key);
    let kept = promises::large_kept(&connection, promises::SMALL).await;
    kept.map_err(|broken| format!("seed {seed}: {broken}"))?;
    let counts = hostile.counts();
    println!("seed {seed}: {counts}, {} over limit", counts.over_limit);
    assert!(counts.faults() + counts.over_limit > 0);
    Ok(())
}

async fn in_weather(seed: u64, plan: Plan) -> Result<(), String> {
    in_weather_at(Location::EmbeddedMemory, seed, plan).await
}

#[tokio::test(start_paused = true)]
async fn with_every_kind_of_fault() -> Result<(), String> {
    in_weather(1, Plan::rough(0.02)).await
}

#[tokio::test(start_paused = true)]
async fn with_every_kind_of_fault_on_a_file() -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::EmbeddedFile(Some(folder.path().join("state.db")));
    in_weather_at(location, 1, Plan::rough(0.02)).await
}

#[tokio::test(start_paused = true)]
async fn with_many_faults_and_no_latency() -> Result<(), String> {
    in_weather(2, Plan { latency: Latency::NONE, ..Plan::rough(0.05) }).await
}

#[tokio::test(start_paused = true)]
async fn with_faults_and_a_table_that_takes_little() -> Result<(), String> {
    let small = Throughput { write_units: 100, read_units: 300, burst: Duration::from_secs(1) };
    let limits = Limits { partitions: 2, partition: small, table: small, provisioned: false };
    in_weather(3, Plan::rough(0.02).limited(limits)).await
}

#[tokio::test(start_paused = true)]
async fn with_20_units_provisioned() -> Result<(), String> {
    in_weather(4, Plan::calm().limited(Limits::provisioned(20, 20))).await
}

#[tokio::test(start_paused = true)]
async fn where_what_was_applied_often_says_that_it_was_not() -> Result<(), String> {
    let applied = [
        Fault::AnswerLost,
        Fault::InternalErrorApplied,
        Fault::ResetAfter,
        Fault::Truncated,
        Fault::Redelivered,
        Fault::StatementsFailed,
        Fault::Twice,
    ];
    let late = (Duration::ZERO, Duration::from_millis(100));
    let plan = applied.into_iter().fold(Plan::calm(), |plan, fault| plan.with(fault, 0.1));
    in_weather(5, Plan { late, ..plan }).await
}

#[tokio::test(start_paused = true)]
async fn in_a_storm() -> Result<(), String> {
    in_weather(6, Plan::storm(50)).await
}

/// In front of a server on a socket, by the system's clock.
#[tokio::test]
async fn in_front_of_a_server_too() -> Result<(), String> {
    let owner = crate::dynamodb_support::connect(Location::EmbeddedMemory, Execution::Inline).await;
    let served = Served::start(&owner).await;
    let kinds = [
        Fault::StatementsThrottled,
        Fault::Unprocessed,
        Fault::Late,
        Fault::AnswerLost,
        Fault::Twice,
    ];
    // Rarely: each is waited for by a real clock, and there are thousands of calls.
    let plan = kinds.into_iter().fold(Plan::calm(), |plan, fault| plan.with(fault, 0.02));
    let ms = Duration::from_millis;
    let plan = Plan { latency: Latency::NONE, timeout: ms(20), late: (ms(0), ms(50)), ..plan };
    let hostile = Hostile::new(1, Clock::system(), plan);
    let connection = connect_to(served.location(), &hostile).await;
    promises::kept_in_bad_weather(&connection).await?;
    let (value, key) = promises::SMALL;
    let connection = connection.in_parts_of(value, key);
    promises::large_kept(&connection, promises::SMALL).await?;
    let counts = hostile.counts();
    assert!(kinds.into_iter().all(|fault| counts.of(fault) > 0), "{counts}");
    hostile.land_all().await;
    drop((connection, hostile));
    served.stop().await;
    Ok(())
}

/// Deletions in bad weather are deletions all the same.
#[tokio::test(start_paused = true)]
async fn a_former_incarnation_is_deleted() {
    let (job, name) = (Name::new("job").unwrap(), Name::new("x").unwrap());
    let hostile = Hostile::new(1, Clock::starting_at(0), Plan::calm());
    let connection = connect(&hostile).await;
    let store = connection.scoped(&job, Incarnation(1), Duration::from_secs(60));
    let version = version(1, 1);
    let key = |n: u32| ItemKey {
        operator: name.clone(),
        state: name.clone(),
        key_group: KeyGroup(0),
        sort_key: Bytes::copy_from_slice(&n.to_be_bytes()),
    };
    let item = Item::new(version, Some(Bytes::from_static(b"v")));
    let write = |n| ItemWrite { key: key(n), item: item.clone(), presence: Presence::Absent };
    store.write_items((0..250).map(write).collect()).await.unwrap();
    let block = |n| BlockKey { kind: BlockKind::Segment, slot: SlotId(n), part: 0 };
    for n in 0..30 {
        store.put_block(block(n), version, Bytes::from_static(b"b")).await.unwrap();
    }
    hostile.set(Plan::rough(0.1).with(Fault::Unprocessed, 0.5));
    let partitions = [
        Partition::State { operator: name.clone(), state: name.clone(), key_group: KeyGroup(0) },
        Partition::SlotsFrom(BlockKind::Segment, SlotId(20)),
        Partition::SlotsBelow(BlockKind::Segment, SlotId(20)),
    ];
    connection.purge(&job, Incarnation(1), partitions).await.unwrap();
    assert!(hostile.counts().of(Fault::Unprocessed) > 2, "{}", hostile.counts());
    hostile.calm();
    hostile.land_all().await;
    let left = store.read_items((0..250).map(key).collect()).await.unwrap();
    assert!(left.iter().all(Option::is_none), "{left:?}");
    for n in 0..30 {
        assert_eq!(store.get_block(block(n)).await.unwrap(), None, "{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_zero_is_none() -> Result<(), String> {
    let plan = Plan { limits: None, ..Plan::rough(1.0) };
    let calm = Fault::ALL.into_iter().fold(plan, |plan, fault| plan.with(fault, 0.0));
    assert_eq!(calm, Plan::calm());
    let hostile = Hostile::new(1, Clock::starting_at(0), calm);
    promises::kept_in_bad_weather(&connect(&hostile).await).await?;
    assert_eq!(hostile.counts().faults(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    let mut traces = Vec::new();
    for seed in [1, 1, 2] {
        let plan = Plan::rough(0.03).limited(Limits::provisioned(50, 50));
        let hostile = Hostile::new(seed, Clock::starting_at(0), plan);
        let lines = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&lines);
        hostile.trace(move |line| to.lock().unwrap().push_str(&format!("{line}\n")));
        promises::kept_in_bad_weather(&connect(&hostile).await).await.unwrap();
        traces.push(std::mem::take(&mut *lines.lock().unwrap()));
    }
    assert!(traces[0].lines().count() > 100, "{}", traces[0]);
    assert!(traces[0] == traces[1], "{}\n---\n{}", traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}
