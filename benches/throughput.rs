//! Records a second of a keyed count with everything durable each second, beside a plain loop.
//!
//! `cargo bench --bench throughput` runs a count of generated records (key = a 64-bit mix of the index,
//! modulo the number of keys) with 1,000 and with 1,000,000 keys at parallelism 1 and 2: a checkpoint
//! every second to the embedded DynamoDB in memory, at least 15 of them completed inside the timed span
//! and the last one, after which the job stops, too. Then a fresh process restores that last checkpoint
//! over loopback and goes on; the counts that it starts from must be exact, or the benchmark fails.
//!
//! `cargo bench --bench throughput -- KEYS PARALLELISM` runs one of them. Beside the longest pause at a checkpoint
//! stands how long the machine, just before, held up loops that do nothing but look at the clock, as many as workers,
//! for 16 s: no pause can be promised to be shorter. All together fail where a longest pause is 10 ms or longer, and
//! longer than the machine's own. Cache and log are larger than by default: 1 GiB and 256 MiB.
//!
//! The plain loop counts the same records in a `hashbrown` map on one thread and keeps nothing. It runs before and after each
//! run; what is printed is the mean.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../src/splitmix.rs"]
#[expect(dead_code, reason = "only the finaliser is of use here")]
mod splitmix;

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use millpond::checkpoint::Ended;
use millpond::checkpoint::rules::StartMode;
use millpond::clock::Clock;
use millpond::config::{Config, Location};
use millpond::connector::{
    Committable, Committer, Generator, Guarantee, RunIdentity, Sink, Writer, WriterContext,
};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::ids::{CheckpointId, Name};
use millpond::metrics::{Metrics, Pauses};
use millpond::operator::{Context, KeyedProcess};
use millpond::runtime::{self, DynamoDbStateBackend, JobStatus, Place, RunOptions, Wiring};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::StreamEnvironment;
use millpond::task::JobGraph;
use millpond::{Error, Result};
use splitmix::mix;
use tokio::sync::watch;

/// Completed checkpoints inside the timed span, at least.
const CHECKPOINTS: u64 = 15;
/// A pause at a checkpoint is shorter, unless the machine alone makes longer ones.
const MOST_PAUSE_US: u64 = 10_000;
const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");

/// One configuration.
#[derive(Clone, Copy)]
struct Case {
    keys: u64,
    parallelism: u32,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["verify", endpoint, keys, parallelism, records] => {
            parse(keys, parallelism).and_then(|case| verify(endpoint, case, number(records)?))
        }
        [keys, parallelism] => parse(keys, parallelism).and_then(|case| measure(&[case]).map(drop)),
        [] => measure(&[
            Case { keys: 1_000, parallelism: 1 },
            Case { keys: 1_000, parallelism: 2 },
            Case { keys: 1_000_000, parallelism: 1 },
            Case { keys: 1_000_000, parallelism: 2 },
        ])
        .and_then(|hold| match hold {
            true => Ok(()),
            false => Err(Error::usage(
                "a pause was 10 ms or longer, and longer than the machine alone held up a loop",
            )),
        }),
        _ => Err(Error::usage("usage: throughput [KEYS PARALLELISM]")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|e| Error::usage(format!("{text:?} is no number: {e}")))
}

fn parse(keys: &str, parallelism: &str) -> Result<Case> {
    Ok(Case { keys: number(keys)?, parallelism: number(parallelism)? as u32 })
}

/// Whether all pauses are as short as they are to be.
fn measure(cases: &[Case]) -> Result<bool> {
    println!("million records/s; pauses of a worker at a checkpoint in ms");
    println!(
        "     keys | parallelism |  plain loop | Millpond | ratio | checkpoints | median pause | longest | machine alone"
    );
    let mut hold = true;
    for case in cases {
        let before = plain_loop(case.keys);
        let alone_us = held_up(case.parallelism);
        let ran = millpond(*case)?;
        let plain = f64::midpoint(before, plain_loop(case.keys));
        let rate = ran.records as f64 / ran.seconds / 1e6;
        let pauses = ran.pauses;
        hold &= pauses.number > 0 && pauses.longest_us < MOST_PAUSE_US.max(alone_us + 1);
        let ms = |us: u64| us as f64 / 1000.0;
        println!(
            "{:>9} | {:>11} | {plain:>11.1} | {rate:>8.1} | {:>5.2} | {:>11} | {:>12.2} | {:>7.2} | {:>13.2}",
            case.keys,
            case.parallelism,
            rate / plain,
            ran.checkpoints,
            ms(pauses.median_us),
            ms(pauses.longest_us),
            ms(alone_us),
        );
    }
    Ok(hold)
}

/// Million records a second of the same count on one thread, nothing kept.
fn plain_loop(keys: u64) -> f64 {
    let clock = Clock::system();
    let mut counts: HashMap<u64, u64> = HashMap::new();
    let begun = clock.now();
    let mut index = 0u64;
    while clock.now() - begun < Duration::from_secs(4) {
        for _ in 0..1_000_000 {
            *counts.entry(mix(index) % keys).or_insert(0) += 1;
            index += 1;
        }
    }
    assert_eq!(counts.values().sum::<u64>(), index);
    index as f64 / (clock.now() - begun).as_secs_f64() / 1e6
}

/// The longest time in microseconds between two looks at the clock, over `threads` that do nothing else for as
/// long as a timed run takes.
fn held_up(threads: u32) -> u64 {
    let look = || {
        let clock = Clock::system();
        let begun = clock.now();
        let (mut last, mut longest) = (begun, Duration::ZERO);
        while last - begun < Duration::from_secs(CHECKPOINTS + 1) {
            let now = clock.now();
            longest = longest.max(now - last);
            last = now;
        }
        longest.as_micros() as u64
    };
    std::thread::scope(|scope| {
        let looks: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        looks.into_iter().filter_map(|look| look.join().ok()).max().unwrap_or_default()
    })
}

/// What a timed run came to.
struct Ran {
    records: u64,
    seconds: f64,
    checkpoints: u64,
    pauses: Pauses,
}

/// Counts, and where it is asked to, gives out each record with the count that it made.
struct Count {
    count: ValueState<u64>,
    emits: bool,
}

impl KeyedProcess for Count {
    type Key = u64;
    type In = u64;
    type Out = (u64, u64);

    // As its documentation recommends.
    #[inline(always)]
    fn process(&self, index: u64, context: &mut Context<'_, Self>) -> Result<()> {
        let count = context.get(self.count).copied().unwrap_or(0) + 1;
        context.set(self.count, count);
        if self.emits {
            context.emit((index, count));
        }
        Ok(())
    }
}

fn graph(keys: u64, sink: impl Sink<(u64, u64)>, emits: bool) -> Result<JobGraph> {
    let env = StreamEnvironment::new();
    env.source(Generator::unbounded(|index| index))
        .key_by(move |index: &u64| mix(*index) % keys)
        .process(move |states: &mut States| Count { count: states.value(COUNT), emits })
        .sink(sink);
    env.build()
}

fn config(case: Case, location: Location) -> Config {
    let mut config = Config { parallelism: case.parallelism, ..Config::default() };
    config.checkpointing.interval = Duration::from_secs(1);
    config.store.location = location;
    // A million changed counters a second are all of the log: room for a few seconds of them.
    config.state.cache_bytes = 1 << 30;
    config.state.log_max_bytes = 256 << 20;
    config
}

fn options(config: &Config, seed: u8) -> Result<RunOptions> {
    let options = RunOptions::new(Name::new("throughput")?, config.clone(), [seed; 32]);
    Ok(RunOptions { take_over: true, ..options })
}

async fn connect(config: &Config, place: &Place, clock: Clock) -> Result<Connection> {
    let options = Options {
        settings: &config.store,
        job: &Name::new("throughput")?,
        clock,
        seed: 1,
        execution: Execution::Thread(place.io()),
        wrap: None,
    };
    Connection::open(options).await
}

fn millpond(case: Case) -> Result<Ran> {
    let io = runtime::io_threads(1)?;
    let main = main_runtime()?;
    let place = Place::Threads(io.handle().clone());
    let clock = Clock::system();
    let config = config(case, Location::EmbeddedMemory);
    let metrics = Metrics::default();
    let (status, watched) = watch::channel(JobStatus::default());
    let result = main.block_on(async {
        let connection = connect(&config, &place, clock).await?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.map_err(|e| Error::usage(format!("cannot listen: {e}")))?;
        let address = listener.local_addr().map_err(|e| Error::usage(e.to_string()))?;
        let serving = connection.serve(listener, std::future::pending());
        let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)));
        let wiring = Wiring {
            place: place.clone(),
            clock,
            metrics: metrics.clone(),
            status,
            ..Wiring::inline(Arc::clone(&backend) as _)
        };
        let graph = graph(case.keys, Keep::nothing(), false)?;
        let mut seen = watched.clone();
        let stop = async move {
            let enough = |s: &JobStatus| s.checkpoints.counts.completed >= CHECKPOINTS;
            let _gone = seen.wait_for(enough).await.is_err();
        };
        let begun = clock.now();
        let ended = runtime::run(graph, wiring, options(&config, 1)?, stop).await?;
        let seconds = (clock.now() - begun).as_secs_f64();
        assert_eq!(ended, Ended::Stopped);
        let endpoint = format!("http://{address}");
        let records = metrics.snapshot().records_processed;
        let verified = place.io().blocking(move || run_verifier(&endpoint, case, records));
        tokio::select! {
            verified = verified => verified?,
            served = serving => served?,
        }
        let checkpoints = watched.borrow().checkpoints.counts.completed;
        Ok(Ran { records, seconds, checkpoints, pauses: metrics.checkpoint_pauses() })
    });
    drop(place);
    if let Some(io) = Arc::into_inner(io) {
        io.shutdown_background();
    }
    result
}

fn main_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::usage(format!("no runtime: {e}")))
}

fn run_verifier(endpoint: &str, case: Case, records: u64) -> Result<()> {
    let exe = std::env::current_exe().map_err(|e| Error::usage(e.to_string()))?;
    let status = Command::new(exe)
        .args(["verify", endpoint])
        .args([case.keys, u64::from(case.parallelism), records].map(|n| n.to_string()))
        .status()
        .map_err(|e| Error::usage(format!("cannot start the verifier: {e}")))?;
    if status.success() { Ok(()) } else { Err(Error::usage("the restored counts are wrong")) }
}

/// In a process of its own: restores, goes on until each key has come by, and checks the counts that
/// it began with against a plain loop over the records before the restored positions, which must be as many as
/// were counted.
fn verify(endpoint: &str, case: Case, records: u64) -> Result<()> {
    let io = runtime::io_threads(1)?;
    let place = Place::Threads(io.handle().clone());
    let clock = Clock::system();
    let location = Location::Remote {
        region: Some("local".to_owned()),
        endpoint: Some(endpoint.to_owned()),
        credentials: millpond::config::Credentials::basic(
            "key",
            millpond::config::Secret::new("secret".to_owned()),
        ),
    };
    let mut config = config(case, location);
    // The restored checkpoint is to stay the last one.
    config.checkpointing.interval = Duration::from_secs(3600);
    let kept = Keep::first_of_each(case.keys);
    main_runtime()?.block_on(async {
        let connection = connect(&config, &place, clock).await?;
        let backend = Arc::new(DynamoDbStateBackend::new(connection, Duration::from_secs(3600)));
        let wiring = Wiring { place: place.clone(), clock, ..Wiring::inline(backend) };
        let mut options = options(&config, 2)?;
        options.mode = StartMode::Resume;
        let graph = graph(case.keys, kept.clone(), true)?;
        tokio::select! {
            ended = runtime::run(graph, wiring, options, std::future::pending()) => {
                Err(Error::usage(format!("the verifier ended early: {ended:?}")))
            }
            () = kept.all_seen(clock) => Ok(()),
        }
    })?;
    let result = kept.check(case, records);
    std::process::exit(match result {
        Ok(()) => 0,
        Err(error) => {
            println!("{error}");
            1
        }
    })
}

/// A sink that keeps nothing, or of each key the first count after the restore.
#[derive(Clone, Debug)]
struct Keep(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    keys: u64,
    /// By key: the count that was made first, 0 where none was.
    first: Mutex<Vec<u64>>,
    /// By stripe of the generator: the smallest index that was read.
    begun: Mutex<HashMap<u64, u64>>,
    seen: AtomicU64,
}

impl Keep {
    fn nothing() -> Self {
        Self::first_of_each(0)
    }

    fn first_of_each(keys: u64) -> Self {
        Self(Arc::new(Kept {
            keys,
            first: Mutex::new(vec![0; keys as usize]),
            begun: Mutex::default(),
            seen: AtomicU64::new(0),
        }))
    }

    async fn all_seen(&self, clock: Clock) {
        while self.0.seen.load(Ordering::Relaxed) < self.0.keys {
            clock.sleep(Duration::from_millis(20)).await;
        }
    }

    fn check(&self, case: Case, records: u64) -> Result<()> {
        let stripes = u64::from(case.parallelism);
        // In the order of the writers, which still go on.
        let first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let mut expected = vec![0u64; case.keys as usize];
        for stripe in 0..stripes {
            let Some(end) = begun.get(&stripe) else {
                return Err(Error::usage(format!("nothing of stripe {stripe} was read")));
            };
            for index in (stripe..*end).step_by(stripes as usize) {
                expected[(mix(index) % case.keys) as usize] += 1;
            }
        }
        let restored: u64 = expected.iter().sum();
        if restored != records {
            return Err(Error::usage(format!("{records} were counted, {restored} restored")));
        }
        for (key, (first, expected)) in first.iter().zip(&expected).enumerate() {
            if first - 1 != *expected {
                let restored = first - 1;
                let message = format!("key {key}: restored {restored}, counted {expected}");
                return Err(Error::usage(message));
            }
        }
        Ok(())
    }
}

impl Sink<(u64, u64)> for Keep {
    fn describe(&self) -> String {
        "the benchmark".to_owned()
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn prepare(&self, _: &RunIdentity) -> Result<()> {
        Ok(())
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn Writer<(u64, u64)>>> {
        let stripes = u64::from(context.subtask.parallelism);
        Ok(Box::new(KeepWriter { kept: Arc::clone(&self.0), stripes }))
    }

    fn committer(&self, _: &Name) -> Option<Box<dyn Committer>> {
        None
    }
}

struct KeepWriter {
    kept: Arc<Kept>,
    stripes: u64,
}

impl Writer<(u64, u64)> for KeepWriter {
    fn write(&mut self, batch: &mut Vec<(u64, u64)>) -> Result<()> {
        let mut first = self.kept.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut begun = self.kept.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, count) in batch.drain(..) {
            let begin = begun.entry(index % self.stripes).or_insert(index);
            *begin = (*begin).min(index);
            let first = &mut first[(mix(index) % self.kept.keys) as usize];
            if *first == 0 {
                *first = count;
                self.kept.seen.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn snapshot(
        &mut self,
        _: CheckpointId,
    ) -> futures::future::BoxFuture<'static, Result<Vec<Committable>>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
