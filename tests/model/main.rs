//! A model of the state protocol, explored exhaustively: no promise is broken within its bounds, and
//! every mistake breaks one.
//!
//! Processes claim a job, restore, process records, take checkpoints, clean their logs and are
//! replaced, while every request may arrive at any later time, twice, or without its answer being
//! seen. What decides in it is the engine's own code: the coordinator, the allocator of slots, the log
//! of changes, rule V, the rules of claims, moves and retention. The model adds the order in which
//! things may happen, and looks at every state that comes of it.
//!
//! Read `state` (what there is), `protocol` (what may happen), `step` (what comes of it), `oracle`
//! (what must hold).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the lengths of runs and the sizes of worlds are shown")]

mod attempt;
mod bounds;
mod cases;
mod cell;
mod mistakes;
mod names;
mod oracle;
mod protocol;
mod reader;
mod state;
mod step;
mod subtask;
mod table;

use std::time::Instant;

use bounds::{Bounds, LARGE_SPACES, SPACES, Space};
use cases::{CASES, Case};
use protocol::{KEPT, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Explores a whole world, depth first since that takes least memory; gives the states and the steps
/// between them.
fn explore(name: &str, bounds: Bounds) -> (usize, usize) {
    let checker = Protocol::new(bounds, None)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_dfs()
        .join();
    if let Some(path) = checker.discovery(KEPT) {
        let broken = path.last_state().broken;
        panic!("{name}: {broken:?} after {:#?}", path.into_actions());
    }
    (checker.unique_state_count(), checker.state_count())
}

/// The states looked at until a promise is broken, and the shortest run that does: breadth first.
fn find(case: &Case) -> (usize, usize) {
    let checker = Protocol::new(case.bounds, Some(case.mistake))
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery(KEPT);
    let path =
        path.unwrap_or_else(|| panic!("{} ({:?}) breaks nothing", case.letter, case.mistake));
    if std::env::var_os("MODEL_TRACE").is_some() {
        println!("{:?} after {:#?}", path.last_state().broken, path.clone().into_actions());
    }
    (checker.unique_state_count(), path.into_actions().len())
}

/// Of all names, those that `MODEL_ONLY` asks for; all where it is not set.
fn wanted(name: &str) -> bool {
    std::env::var("MODEL_ONLY").map_or(true, |only| only.split(',').any(|only| only == name))
}

fn report(spaces: &[Space]) {
    for Space { name, bounds } in spaces.iter().filter(|space| wanted(space.name)) {
        let started = now();
        let (states, steps) = explore(name, *bounds);
        let seconds = started.elapsed().as_secs_f64();
        println!("| {name} | {bounds} | {states} | {steps} | {seconds:.0} s |");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an exploration takes is printed")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn no_promise_is_broken_in_small_worlds() {
    report(SPACES);
}

#[test]
#[ignore = "five minutes in release: see docs/correctness.md"]
fn no_promise_is_broken_in_large_worlds() {
    report(LARGE_SPACES);
}

/// Without optimisation only what takes less than a second is looked for, or what is asked for by name.
#[test]
fn every_mistake_breaks_a_promise() {
    let all = !cfg!(debug_assertions) || std::env::var_os("MODEL_ONLY").is_some();
    for case in CASES.iter().filter(|case| wanted(case.letter) && (all || case.quick)) {
        let started = now();
        let (states, steps) = find(case);
        let seconds = started.elapsed().as_secs_f64();
        let Case { letter, mistake, explored, .. } = case;
        println!("| {letter} | {mistake:?} | {steps} | {explored} | {states} | {seconds:.1} s |");
        assert_eq!(steps, case.steps, "the shortest run of {letter} has another length");
    }
}

/// What breaks a promise is the mistake, not the model.
#[test]
fn the_same_worlds_hold_without_the_mistake() {
    for case in CASES.iter().filter(|case| case.quick && wanted(case.letter)) {
        explore(case.letter, case.bounds);
    }
}
