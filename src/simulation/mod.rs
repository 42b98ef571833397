//! Simulation: a whole job on one thread and a paused clock, everything random from one seed.
//!
//! Part of the test kit. A seed draws a job graph and its input, the settings of every process, the
//! weather over the store, and when processes die, sleep, wake, meet and go back to older
//! checkpoints. Every write that takes effect is judged by the invariants of the protocol, and in the
//! end the committed output by a loop over the input. The same seed is the same run, to the last line
//! of its trace, in every process.
//!
//! ```
//! let report = millpond::simulation::run(7).unwrap_or_else(|failure| panic!("{failure}"));
//! assert!(report.counts.completed > 0);
//! ```
//!
//! A job of your own is simulated as a [`Scenario`]: its graph over an [`Input`], with a
//! [`MemorySink`](crate::connector::MemorySink) for each sink, and what its output and state must be.
//! See [`run_scenario`].
//!
//! Owns the course of a run and its oracles. What goes wrong below the SDK is `hostile`'s.

mod bounds;
mod descent;
mod draw;
mod endings;
mod ends;
mod endure;
mod gate;
pub mod graphs;
mod leaks;
mod oracle;
mod post;
mod process;
mod report;
mod scenario;
mod sky;
mod sweep;
mod table;
mod trace;
mod twin;
mod watch;
mod weather;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use ends::{CommitOf, Ends, Inlet, Input, MemoryEnds, Outlet};
pub use endure::Ordeal;
pub use report::{Counts, Failure, Report};
pub use scenario::{Mishap, Positions, Scenario, StateView, Verdict};
pub use sky::Store;
pub use sweep::{Totals, sweep};

use crate::clock::Clock;
use crate::ids::Name;
use crate::io::panic_message;
use crate::metrics::Metrics;

/// How a seed is run; the default is what the seed itself draws.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The graph's name; none: the seed draws one.
    pub graph: Option<String>,
    /// The store; none: the seed draws one.
    pub store: Option<Store>,
    /// Whether the whole trace is kept.
    pub trace: bool,
}

/// Of a hundred seeds, how many are run over the embedded DynamoDB, where one takes some ten times as long.
const PERCENT_DYNAMODB: u32 = 27;

/// Runs `seed`.
///
/// # Errors
/// What was found to be wrong, with the seed and how to replay it.
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_with(seed, &Options::default())
}

/// Runs `seed` with `options`.
///
/// # Errors
/// What was found to be wrong, with the seed and how to replay it; a graph that is not known.
pub fn run_with(seed: u64, options: &Options) -> Result<Report, Failure> {
    let mut random = StdRng::seed_from_u64(seed);
    let mishap = Mishap::default();
    let drawn = graphs::drawn(&mut random);
    let kind = match &options.graph {
        None => Some(drawn),
        Some(name) => graphs::ALL.into_iter().find(|kind| kind.name == name.as_str()),
    };
    let scenario = kind.map(|kind| (kind.draw)(&mut random, mishap.clone()));
    let Some(scenario) = scenario else {
        let wrong = format!("there is no graph {:?}", options.graph.as_deref().unwrap_or(""));
        return Err(Failure { wrong, report: Box::new(empty(seed)) });
    };
    simulate(seed, random, scenario, mishap, options, Course::Seed)
}

/// Runs `seed` over a scenario of one's own, which is used for this run only. Its functions may pass
/// by `mishap` for each record, to be made to fail now and then.
///
/// # Errors
/// What was found to be wrong.
pub fn run_scenario(
    seed: u64,
    scenario: Arc<dyn Scenario>,
    mishap: Mishap,
    options: &Options,
) -> Result<Report, Failure> {
    simulate(seed, StdRng::seed_from_u64(seed), scenario, mishap, options, Course::Own)
}

/// Runs one process through `ordeal` over `store`, with much input and ordinary settings.
///
/// # Errors
/// What was found to be wrong: something lost, a job that does not catch up or had to restart, a
/// table or memory that grows.
pub fn endure(seed: u64, ordeal: Ordeal, store: Store) -> Result<Report, Failure> {
    let mut random = StdRng::seed_from_u64(seed);
    let mishap = Mishap::default();
    let scenario = graphs::long(&mut random, mishap.clone());
    let options = Options { store: Some(store), ..Options::default() };
    simulate(seed, random, scenario, mishap, &options, Course::Ordeal(ordeal))
}

/// What kind of a run a seed is for.
#[derive(Clone, Copy, Debug)]
enum Course {
    /// All of it is drawn.
    Seed,
    /// The scenario is the caller's own.
    Own,
    Ordeal(Ordeal),
}

impl Course {
    fn ordeal(self) -> Option<Ordeal> {
        match self {
            Self::Seed | Self::Own => None,
            Self::Ordeal(ordeal) => Some(ordeal),
        }
    }

    /// How the run is repeated.
    fn replay(self, seed: u64, store: Store, options: &Options) -> String {
        match self {
            Self::Seed => {
                let graph = options.graph.as_ref().map(|graph| format!(" --graph {graph}"));
                let store = options.store.map(|store| format!(" --store {}", store.name()));
                let (graph, store) = (graph.unwrap_or_default(), store.unwrap_or_default());
                format!("millpond simulate --seed {seed}{graph}{store} --trace")
            }
            Self::Own => {
                format!("simulation::run_scenario with the seed {seed} and the same scenario")
            }
            Self::Ordeal(ordeal) => format!(
                "simulation::endure({seed}, Ordeal::{ordeal:?}, Store::{store:?}), as \
                 `cargo test --test simulation` does"
            ),
        }
    }
}

fn empty(seed: u64) -> Report {
    Report {
        seed,
        what: String::new(),
        replay: String::new(),
        counts: Counts::default(),
        virtual_ms: 0,
        digest: 0,
        trace: Vec::new(),
    }
}

fn simulate(
    seed: u64,
    mut random: StdRng,
    scenario: Arc<dyn Scenario>,
    mishap: Mishap,
    options: &Options,
    kind: Course,
) -> Result<Report, Failure> {
    let drawn = random.random_range(0..100) < PERCENT_DYNAMODB;
    let drawn = if drawn { Store::DynamoDb } else { Store::Twin };
    let store = options.store.unwrap_or(drawn);
    let mut report = empty(seed);
    report.what = format!("{} over {}", scenario.name(), store.name());
    report.replay = kind.replay(seed, store, options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| failure(format!("no runtime: {e}"), report.clone()))?;
    let ended = runtime.block_on(async {
        let clock = Clock::starting_at(1_000_000);
        let watch = watch::Watch::new(clock, Arc::clone(&scenario), options.trace);
        watch.tell(&report.what);
        let ordeal = kind.ordeal();
        let setting = Setting { seed, random, scenario, mishap, store, clock, ordeal };
        // Whatever of the engine panics is a failure of the seed like any other.
        let course = AssertUnwindSafe(Box::pin(course(setting, &watch))).catch_unwind();
        let (verdict, counts) = course.await.unwrap_or_else(|panic| {
            (Err(format!("panicked: {}", panic_message(panic.as_ref()))), Counts::default())
        });
        report.virtual_ms = watch.now_ms();
        finish(&mut report, counts, &watch);
        verdict
    });
    match ended {
        Ok(()) => Ok(report),
        Err(wrong) => Err(failure(wrong, report)),
    }
}

fn failure(wrong: String, report: Report) -> Failure {
    Failure { wrong, report: Box::new(report) }
}

/// What a run begins with.
struct Setting {
    seed: u64,
    random: StdRng,
    scenario: Arc<dyn Scenario>,
    mishap: Mishap,
    store: Store,
    clock: Clock,
    ordeal: Option<Ordeal>,
}

async fn course(setting: Setting, watch: &watch::Watch) -> (Verdict, Counts) {
    let mut world = match open(setting, watch).await {
        Ok(world) => world,
        Err(error) => return (Err(error.to_string()), Counts::default()),
    };
    let verdict = match world.1 {
        None => world.0.live().await,
        Some(ordeal) => world.0.endure(ordeal).await,
    };
    let world = world.0;
    let mut counts = world.counts;
    counts.faults = world.sky.faults();
    counts.over_limit = world.sky.over_limit();
    counts.mishaps = world.mishap.happened();
    let metrics = world.common.metrics.snapshot();
    counts.items_written = metrics.items_materialised;
    counts.reads_saved = metrics.reads_saved;
    counts.filter_chunks_read = metrics.filter_chunks_read;
    (verdict, counts)
}

async fn open(
    setting: Setting,
    watch: &watch::Watch,
) -> crate::Result<(world::World, Option<Ordeal>)> {
    let Setting { seed, random, scenario, mishap, store, clock, ordeal } = setting;
    let (post, job) = (post::Post::default(), Name::new("job")?);
    let (backend, sky) = sky::open(store, seed, &job, clock, &post, watch).await?;
    let world = world::World {
        random,
        scenario,
        watch: watch.clone(),
        sky,
        post,
        mishap,
        common: process::Common { backend, clock, metrics: Metrics::default() },
        job,
        counts: Counts::default(),
        processes: Vec::new(),
        started: 0,
    };
    Ok((world, ordeal))
}

fn finish(report: &mut Report, counts: Counts, watch: &watch::Watch) {
    let seen = watch.seen();
    report.counts = Counts {
        faults: counts.faults + seen.faults,
        completed: seen.oracle.descent.completed,
        roll_backs: seen.oracle.descent.roll_backs,
        states_checked: seen.oracle.states_checked,
        ..counts
    };
    report.digest = seen.trace.digest();
    report.trace = seen.trace.lines();
}
