//! Running statistics of each pair of airports: flights, mean delay and worst delay.
//!
//! Reads flights as CSV with the columns `date`, `delay` (minutes), `distance` (miles), `origin` and
//! `destination`; emits the new statistics of a route after each of its flights.

use millpond::Result;
use millpond::cli::{Job, JobArgs};
use millpond::connector::{FileSource, Inputs};
use millpond::operator::{Context, KeyedProcess};
use millpond::state::{States, ValueDescriptor, ValueState};
use millpond::stream::{JobGraph, StreamEnvironment};
use serde::{Deserialize, Serialize};

/// The job as the command line knows it.
pub(crate) const JOB: Job<JobGraph> = Job {
    name: "route_stats",
    about: "Flights, mean and worst delay of each pair of airports",
    default_input: "20,000 flights of 2001, compiled in",
    build,
};

const FLIGHTS: &[u8] = include_bytes!("data/flights.csv");

#[derive(Clone, Debug, Deserialize)]
struct Flight {
    delay: i32,
    origin: String,
    destination: String,
}

/// What is kept of a route.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Totals {
    flights: u64,
    delay: i64,
    worst: i32,
}

const TOTALS: ValueDescriptor<Totals> = ValueDescriptor::new("totals");

/// What is emitted after each flight.
#[derive(Debug, Serialize)]
struct Route {
    origin: String,
    destination: String,
    flights: u64,
    mean_delay: f64,
    worst_delay: i32,
}

struct RouteStats {
    totals: ValueState<Totals>,
}

impl KeyedProcess for RouteStats {
    type Key = (String, String);
    type In = Flight;
    type Out = Route;

    fn process(&self, flight: Flight, context: &mut Context<'_, Self>) -> Result<()> {
        let mut totals = context.get(self.totals).copied().unwrap_or_default();
        totals.worst =
            if totals.flights == 0 { flight.delay } else { totals.worst.max(flight.delay) };
        totals.flights += 1;
        totals.delay += i64::from(flight.delay);
        context.set(self.totals, totals);
        context.emit(Route {
            origin: flight.origin,
            destination: flight.destination,
            flights: totals.flights,
            mean_delay: totals.delay as f64 / totals.flights as f64,
            worst_delay: totals.worst,
        });
        Ok(())
    }
}

fn build(args: &JobArgs) -> Result<JobGraph> {
    let inputs = args.inputs_or(Inputs::embedded("flights.csv", FLIGHTS));
    let source = FileSource::csv::<Flight>(inputs).ignore_extra_columns();
    let env = StreamEnvironment::new();
    args.read(&env, "flights", source)
        .key_by(|flight| (flight.origin.clone(), flight.destination.clone()))
        .process(|states: &mut States| RouteStats { totals: states.value(TOTALS) })
        .uid("route-stats")
        .sink(args.json_lines())
        .uid("routes");
    env.build()
}
