//! Whole jobs over a hostile DynamoDB, with processes that die in between: their committed output is that
//! of one loop over the input.
//!
//! Each case is drawn from its number, which a failure prints; `MILLPOND_CASE=n` runs that one alone and
//! prints its trace, `MILLPOND_CASES=n` runs more of them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use futures::FutureExt;
use millpond::ErrorKind;
use millpond::checkpoint::rules::StartMode;
use millpond::checkpoint::{Ended, HeadStatus};
use millpond::config::{
    Config, Credentials, Location, Materialize, RestartStrategy, Secret, StoreSettings,
};
use millpond::connector::{MemorySink, MemorySource};
use millpond::dynamodb::{Connection, Execution, Options, Wrap};
use millpond::hostile::{Fault, Hostile, Latency, Limits, Plan};
use millpond::ids::CheckpointId;
use millpond::runtime::{Backend, DynamoDbStateBackend};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::LocalSet;

use crate::engine_support::{
    Engine, Event, check, clock, embedded, job, ms, pass, simulate, small, tally,
};

const CASES: u64 = 12;

fn settings(random: &mut StdRng) -> Config {
    let mut config = small();
    config.parallelism = random.random_range(1..=3);
    config.checkpointing.interval = ms(random.random_range(10..300));
    config.checkpointing.timeout = ms([200, 5_000, 600_000][random.random_range(0..3)]);
    config.checkpointing.tolerable_failed = random.random_range(0..3);
    config.checkpointing.num_retained = random.random_range(1..=3);
    config.restart = RestartStrategy::FixedDelay { attempts: 1000, delay: ms(100) };
    config.exchange.batch_records = [1, 3, 16][random.random_range(0..3)];
    config.state.segment_bytes = [20, 200, 1 << 18][random.random_range(0..3)];
    config.state.log_max_bytes = [1, 3000, 1 << 20][random.random_range(0..3)];
    config.state.cache_bytes =
        config.state.log_max_bytes + [1, 2000, 1 << 20][random.random_range(0..3)];
    if random.random_bool(0.3) {
        config.state.materialize = Materialize::Eager;
    }
    config
}

fn weather(random: &mut StdRng) -> Plan {
    let mut plan = Plan::rough([0.005, 0.03, 0.1][random.random_range(0..3)]);
    if random.random_bool(0.3) {
        plan.latency = Latency::NONE;
    }
    if random.random_bool(0.3) {
        plan = plan.limited(Limits::provisioned(50, 50));
    }
    match random.random_range(0..6) {
        0 => plan.with(Fault::Throttled, 0.5).with(Fault::StatementsThrottled, 0.5),
        1 => plan.with(Fault::AnswerLost, 0.3),
        2 => plan.with(Fault::Late, 0.3).with(Fault::Abandoned, 1.0),
        3 => plan.with(Fault::Twice, 0.5).with(Fault::Redelivered, 0.2),
        _ => plan,
    }
}

fn input(random: &mut StdRng) -> Vec<Vec<Event>> {
    let keys = random.random_range(1..=40);
    let mut split = || {
        let records = random.random_range(0..150);
        (0..records).map(|_| (random.random_range(0..keys), random.random_range(0..100))).collect()
    };
    (0..3).map(|_| split()).collect()
}

/// What a case has met.
struct Met {
    calls: u64,
    faults: u64,
}

async fn case(number: u64) -> Met {
    let mut random = StdRng::seed_from_u64(number);
    let hostile = Hostile::new(number, clock(), weather(&mut random));
    if std::env::var_os("MILLPOND_CASE").is_some() {
        hostile.trace(|line| println!("{line}"));
    }
    let wrap = |client| hostile.wrap(client);
    let input = input(&mut random);
    let sink = MemorySink::new();
    let source = MemorySource::of_splits(input.clone());
    let mut engine = Engine::new(embedded(Some(&wrap)).await, settings(&mut random));
    let lives = random.random_range(0..5);
    for life in 0..=lives {
        let longest = if life < lives { ms(random.random_range(1..20_000)) } else { HOURS };
        // What a life has finished before it died must not begin afresh.
        let head = engine.backend.heads().read(&job()).await.unwrap();
        if head.is_some_and(|head| head.checkpoint > CheckpointId::NONE) {
            engine.mode = StartMode::Resume;
        }
        let process = LocalSet::new();
        let run = process.run_until(engine.run(tally(source.clone(), &sink)));
        let ended = tokio::select! {
            biased;
            result = run => Some(result),
            () = pass(longest) => None,
        };
        drop(process);
        match ended {
            None if life < lives => {}
            None => panic!("it never ends: {:?}", engine.status()),
            Some(Err(error)) if error.kind() == ErrorKind::Usage => break,
            Some(ended) => {
                assert_eq!(ended.unwrap(), Ended::Finished);
                break;
            }
        }
        engine.config = settings(&mut random);
        hostile.set(weather(&mut random));
    }
    let head = engine.backend.heads().read(&job()).await.unwrap().unwrap();
    assert_eq!(head.status, HeadStatus::Finished);
    check(&sink.output(), &input).unwrap();
    hostile.land_all().await;
    let counts = hostile.counts();
    Met { calls: counts.calls, faults: counts.faults() + counts.over_limit }
}

/// Longer than anything takes.
const HOURS: Duration = Duration::from_secs(100_000);

fn one(number: u64) -> Met {
    let run = AssertUnwindSafe(|| simulate(case(number).boxed_local()));
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        panic!("case {number} failed: MILLPOND_CASE={number} cargo test --test engine hostile_jobs runs it alone");
    })
}

#[test]
fn each_record_counts_once() {
    if let Ok(number) = std::env::var("MILLPOND_CASE") {
        one(number.parse().unwrap());
        return;
    }
    let cases = std::env::var("MILLPOND_CASES").map_or(CASES, |n| n.parse().unwrap());
    let all: Vec<_> = (0..cases).map(one).collect();
    let faults: u64 = all.iter().map(|met| met.faults).sum();
    let calls: u64 = all.iter().map(|met| met.calls).sum();
    println!("{cases} cases, {calls} calls, {faults} faults");
    assert!(faults > 20 * cases, "too tame: {faults} faults in {cases} cases");
}

/// It used to be read at the start alone.
#[test]
fn a_job_that_runs_follows_the_capacity_of_its_table() {
    let client = OnceLock::new();
    let inside = |embedded: SharedHttpClient| client.get_or_init(|| embedded).clone();
    let open = async |location, units, manage| {
        let store = Config::default().store;
        let settings =
            StoreSettings { location, provisioned: Some((units, units)), manage, ..store };
        let (clock, job) = (clock(), job());
        let (execution, wrap) = (Execution::Inline, Some(&inside as Wrap<'_>));
        let options = Options { settings: &settings, job: &job, clock, seed: 7, execution, wrap };
        Connection::open(options).await.unwrap()
    };
    simulate(async {
        let _owner = open(Location::EmbeddedMemory, 50, false).await;
        let elsewhere = || Location::Remote {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some("https://dynamodb.eu-west-1.amazonaws.com".to_owned()),
            credentials: Credentials::basic("id", Secret::new("secret".to_owned())),
        };
        let connection = open(elsewhere(), 50, false).await;
        let backend = Arc::new(DynamoDbStateBackend::new(connection, HOURS));
        let (_feed, source) = MemorySource::fed(1);
        let mut config = small();
        config.checkpointing.interval = ms(10_000);
        let engine = Engine::new(Arc::clone(&backend) as Arc<dyn Backend>, config);
        let job = engine.run_until(tally(source, &MemorySink::new()), pass(ms(150_000)));
        let scaled = async {
            pass(ms(5_000)).await;
            assert_eq!(backend.throttling().write_limit, Some(50.0));
            open(elsewhere(), 500, true).await;
            pass(ms(60_000)).await;
            backend.throttling().write_limit
        };
        let (ended, limit) = futures::join!(job, scaled);
        assert_eq!(ended.unwrap(), Ended::Stopped);
        assert_eq!(limit, Some(500.0));
    });
}
