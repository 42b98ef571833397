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

use bounds::{Bounds, SMALL};
use cases::{CASES, Case};
use protocol::{KEPT, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

fn explore(bounds: Bounds) -> usize {
    let checker = Protocol::new(bounds, None).checker().spawn_bfs().join();
    if let Some(path) = checker.discovery(KEPT) {
        panic!("{:?}\n{:#?}", path.last_state().broken, path.clone().into_actions());
    }
    checker.unique_state_count()
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
fn no_promise_is_broken_in_a_small_world() {
    let started = std::time::Instant::now();
    println!("{} states {:?}", explore(SMALL), started.elapsed());
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
        let unmutated = Protocol::new(case.bounds, None);
        if std::env::var_os("MODEL_CLEAN").is_some() {
            let started = std::time::Instant::now();
            println!("  clean: {} {:?}", explore(unmutated.0.bounds), started.elapsed());
        }
    }
}
