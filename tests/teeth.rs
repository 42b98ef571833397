//! Each deliberate fault of the engine is found by the simulation within 200 seeds.
//!
//! `MILLPOND_TOOTH=name` looks for that one alone and prints what was found. The table of
//! `docs/correctness.md` is what this test prints: `cargo test --test teeth -- --nocapture`.

#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::runtime::in_parallel;
use millpond::simulation::{self, Failure};
use millpond::teeth::{self, Tooth};

/// No tooth may need more seeds.
const SEEDS: u64 = 200;

/// The first seed that finds `tooth`.
fn find(tooth: Tooth) -> Option<Failure> {
    (0..SEEDS).find_map(|seed| teeth::with(tooth, || simulation::run(seed)).err())
}

/// The words of a finding, on one line of a table.
fn in_short(wrong: &str) -> String {
    let line = wrong.lines().next().unwrap_or_default().replace('|', "/");
    line.chars().take(100).collect()
}

#[test]
fn each_is_found_within_200_seeds() {
    let wanted = std::env::var("MILLPOND_TOOTH").ok();
    let is_wanted =
        |tooth: &Tooth| wanted.as_ref().is_none_or(|name| *name == format!("{tooth:?}"));
    let all: Vec<Tooth> = Tooth::ALL.iter().copied().filter(is_wanted).collect();
    assert!(!all.is_empty(), "there is no such tooth");
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    // A panic of the engine is a finding, and needs no word on the way.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let ended = in_parallel(threads, || {
        while let Some(tooth) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let failure = find(*tooth);
            if wanted.is_some() {
                failure.iter().for_each(|failure| println!("{failure}"));
            }
            eprintln!(
                "{tooth:?} {:?}",
                failure.as_ref().map(|f| (f.report.seed, in_short(&f.wrong)))
            );
            found.lock().unwrap().insert(*tooth, failure);
        }
    });
    drop(std::panic::take_hook());
    ended.unwrap();
    let found = found.into_inner().unwrap();
    println!("| tooth | what is wrong with it on | seeds | found as |\n|---|---|---|---|");
    for (tooth, failure) in &found {
        let (seeds, how) = failure.as_ref().map_or(("—".to_owned(), String::new()), |failure| {
            ((failure.report.seed + 1).to_string(), in_short(&failure.wrong))
        });
        println!("| `{tooth:?}` | {} | {seeds} | {how} |", tooth.what());
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
}
