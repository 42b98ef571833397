//! The store of a run and the weather over it: the in-memory twin, or the embedded DynamoDB behind a
//! hostile HTTP client.
//!
//! Owns which of the two it is; both tell every write that took effect to the run's watch.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::draw::{ms, one_of, season};
use super::post::Post;
use super::twin::Twin;
use super::watch::Watch;
use super::weather::{Season, Weather};
use crate::clock::Clock;
use crate::config::{Config, Location, StoreSettings};
use crate::dynamodb::{Connection, Execution, Listener, Options, Wrap, tap};
use crate::error::Result;
use crate::hostile::{Fault, Hostile, Latency, Limits, Plan, Throughput};
use crate::ids::Name;
use crate::runtime::{Backend, DynamoDbStateBackend};

/// Which store a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The in-memory twin: the fastest.
    Twin,
    /// The embedded DynamoDB, through the SDK and a hostile HTTP client.
    DynamoDb,
}

impl Store {
    /// Its name, as in `--store`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Twin => "twin",
            Self::DynamoDb => "dynamodb",
        }
    }
}

/// What changes the weather of a run.
#[derive(Debug)]
pub(super) enum Sky {
    Twin(Weather),
    DynamoDb(Hostile),
}

impl Sky {
    /// Other weather from now on.
    pub(super) fn change(&self, random: &mut StdRng, stormy: bool) {
        let season = season(random, stormy);
        match self {
            Self::Twin(weather) => weather.set(season),
            Self::DynamoDb(hostile) => hostile.set(plan(random, season)),
        }
    }

    /// Nothing goes wrong any more, but for what is under way.
    pub(super) fn calm(&self) {
        match self {
            Self::Twin(weather) => weather.set(Season::default()),
            Self::DynamoDb(hostile) => hostile.set(fine()),
        }
    }

    /// Nothing comes through, or next to nothing.
    pub(super) fn turn_bad(&self, outage: bool) {
        match self {
            Self::Twin(weather) => {
                let latency = ms(4);
                let season = Season { trouble: 0.95, throttled: 1.0, ..Season::default() };
                weather.set(Season { latency, outage, ..season });
            }
            Self::DynamoDb(hostile) if outage => hostile.set(Plan::outage()),
            Self::DynamoDb(hostile) => hostile.set(Plan::storm(95)),
        }
    }

    /// Some of everything goes wrong.
    pub(super) fn turn_rough(&self) {
        match self {
            Self::Twin(weather) => {
                let season = Season { trouble: 0.03, throttled: 0.3, ..Season::default() };
                weather.set(Season { latency: ms(4), refusals: true, ..season });
            }
            Self::DynamoDb(hostile) => {
                let mut plan = Plan::rough(0.002);
                plan.timeout = ms(60);
                hostile.set(plan);
            }
        }
    }

    /// Whether the store deletes what has a `ttl`; the twin knows none.
    pub(super) fn deletes_by_the_clock(&self) -> bool {
        matches!(self, Self::DynamoDb(_))
    }

    /// Whether the store refuses calls now and then so that trying again is of no use.
    pub(super) fn refuses_for_good(&self) -> bool {
        matches!(self, Self::Twin(_))
    }

    /// Requests so far that were refused because a partition or the table took no more.
    pub(super) fn over_limit(&self) -> u64 {
        match self {
            Self::Twin(_) => 0,
            Self::DynamoDb(hostile) => hostile.counts().over_limit,
        }
    }

    /// Faults so far that the watch has not been told of.
    pub(super) fn faults(&self) -> u64 {
        match self {
            Self::Twin(_) => 0,
            Self::DynamoDb(hostile) => hostile.counts().faults() + self.over_limit(),
        }
    }
}

/// No fault and no latency, but for what a table does on the best of its days.
fn fine() -> Plan {
    let mut plan = of_any_day(Plan::calm());
    plan.latency = Latency::NONE;
    plan
}

/// Half of the reads that do not ask for consistent ones are answered with what was there before;
/// batches are not always done with at once. An attempt reads what the one before it has written last,
/// so this is when both matter most.
fn of_any_day(plan: Plan) -> Plan {
    let in_part = [Fault::Unprocessed, Fault::StatementsThrottled];
    let plan = plan.with(Fault::Stale, 0.5);
    in_part.into_iter().fold(plan, |plan, fault| {
        let rate = plan.rate(fault).max(0.15);
        plan.with(fault, rate)
    })
}

/// A table of two partitions, which a job of a simulation comes up against.
const SMALL_TABLE: Limits = {
    let second = Duration::from_secs(1);
    let partition = Throughput { write_units: 10, read_units: 30, burst: second };
    let table = Throughput { write_units: 15, read_units: 40, burst: second };
    Limits { partitions: 2, partition, table, provisioned: false }
};

/// The same season for the hostile client: all faults alike, or mostly one kind of them.
fn plan(random: &mut StdRng, season: Season) -> Plan {
    // A run makes fewer calls than over the twin, so each is worse off. Some kinds of fault strike
    // only some kinds of call.
    let trouble = (season.trouble * 5.0).min(0.8);
    let kinds = Fault::ALL.len() as f64;
    let mut plan = Plan::rough(trouble / kinds);
    if random.random_bool(0.3) {
        plan = Plan::rough(trouble / kinds / 4.0);
        plan = plan.with(one_of(random, &Fault::ALL), season.trouble);
    }
    plan = of_any_day(plan);
    let micros = season.latency.as_micros() as u64;
    plan.latency = Latency::micros(micros / 2, micros);
    if random.random_bool(0.15) {
        plan = plan.limited(one_of(random, &[Limits::new_table(), SMALL_TABLE, SMALL_TABLE]));
    }
    plan.timeout = ms(60);
    plan.slow = (ms(10), ms(300));
    plan.overtaken = ms(40);
    // Mostly soon enough to meet its sender's successor; now and then after all is over.
    plan.late = (ms(1), one_of(random, &[ms(30), ms(300), ms(3_000), ms(600_000)]));
    plan
}

/// Makes the store of a run.
///
/// # Errors
/// None in practice: nothing goes wrong before the weather changes.
pub(super) async fn open(
    store: Store,
    seed: u64,
    job: &Name,
    clock: Clock,
    post: &Post,
    watch: &Watch,
) -> Result<(Arc<dyn Backend>, Sky)> {
    match store {
        Store::Twin => {
            let weather = Weather::new(seed);
            let twin = Twin::new(clock, weather.clone(), post.clone(), watch.clone());
            Ok((Arc::new(twin), Sky::Twin(weather)))
        }
        Store::DynamoDb => {
            let hostile = Hostile::new(seed, clock, fine());
            let told = watch.clone();
            hostile.trace(move |line| told.tell(format_args!(" {line}")));
            let told = watch.clone();
            let listener: Listener = Arc::new(move |written| told.written(written));
            let wrap: Wrap<'_> = &|client| hostile.wrap(tap(client, Arc::clone(&listener)));
            let location = Location::EmbeddedMemory;
            let settings = StoreSettings { location, ..Config::default().store };
            let options = Options {
                settings: &settings,
                job,
                clock,
                seed,
                execution: Execution::Inline,
                wrap: Some(wrap),
            };
            // Mostly small, so that the values of the graphs are of several parts, and their longest keys too.
            let (values, keys) = [(3, 1_030), (48, 700), (400_000, 204_800)][(seed % 3) as usize];
            let connection = Connection::open(options).await?.in_parts_of(values, keys);
            let week = Duration::from_secs(7 * 24 * 3600);
            Ok((Arc::new(DynamoDbStateBackend::new(connection, week)), Sky::DynamoDb(hostile)))
        }
    }
}
