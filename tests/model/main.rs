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

use bounds::{LARGE_SPACES, SPACES, Space};
use cases::{CASES, Case};
use protocol::{KEPT, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

/// Explores a whole world; gives its states and the longest run.
fn explore(space: &Space, at_most: usize) -> (usize, usize) {
    let checker = Protocol::new(space.bounds, None)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(at_most)
        .spawn_dfs()
        .join();
    if let Some(path) = checker.discovery(KEPT) {
        let broken = path.last_state().broken;
        panic!("{}: {broken:?} by {:#?}", space.name, path.into_actions());
    }
    (checker.unique_state_count(), checker.state_count())
}

fn report(spaces: &[Space]) {
    let only = std::env::var("MODEL_ONLY").unwrap_or_default();
    let at_most = std::env::var("MODEL_AT_MOST").map_or(usize::MAX, |n| n.parse().unwrap());
    for space in spaces.iter().filter(|s| s.name.contains(&only)) {
        let started = std::time::Instant::now();
        let (states, steps) = explore(space, at_most);
        println!(
            "| {} | {states} | {steps} | {:.1} s |",
            space.name,
            started.elapsed().as_secs_f64()
        );
    }
}

#[test]
fn no_promise_is_broken_in_small_worlds() {
    report(SPACES);
}

#[test]
#[ignore = "some ten minutes in release"]
fn no_promise_is_broken_in_large_worlds() {
    report(LARGE_SPACES);
}

/// The states looked at, and the length of the shortest run that breaks a promise.
fn find(case: &Case) -> (usize, Option<usize>) {
    let checker = Protocol::new(case.bounds, Some(case.mistake))
        .checker()
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery(KEPT);
    if std::env::var_os("MODEL_TRACE").is_some()
        && let Some(path) = &path
    {
        println!("{:?} {:#?}", path.last_state().broken, path.clone().into_actions());
    }
    let steps = path.map(|path| {
        print!("{:?} ", path.last_state().broken);
        path.clone().into_actions().len()
    });
    (checker.unique_state_count(), steps)
}

#[test]
fn every_mistake_is_found() {
    let only = std::env::var("MODEL_ONLY").ok();
    for case in
        CASES.iter().filter(|c| only.as_deref().is_none_or(|o| o.split(',').any(|o| o == c.letter)))
    {
        let started = std::time::Instant::now();
        let (states, steps) = find(case);
        println!(
            "{:16} {steps:?} (explored: {}), {states} states, {:?}",
            case.letter,
            case.explored,
            started.elapsed()
        );
    }
}
