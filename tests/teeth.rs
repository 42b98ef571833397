//! Each deliberate fault of the engine is found by the simulation within 200 seeds, and by no seed
//! where it is off.
//!
//! `MILLPOND_TOOTH=name,…` looks for these alone and prints the whole finding. `UPDATE_TEETH=1 cargo test
//! --test teeth` searches from seed 0 and writes the table of `docs/correctness.md` anew; else the seed that it
//! lists is tried first. How many seeds a tooth needs changes with whatever changes runs: a table that is old in
//! that is told, and is no failure.

#![cfg(any(debug_assertions, feature = "teeth"))]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::runtime::in_parallel;
use millpond::simulation::{self, Failure, Options, Store};
use millpond::teeth::{self, Tooth};

/// No tooth may need more seeds.
const SEEDS: u64 = 200;

/// Teeth that bite in the twin as well as in requests to DynamoDB: each must be found over either.
const OF_BOTH: [Tooth; 4] = [
    Tooth::ItemsUnconditional,
    Tooth::SegmentsUnconditional,
    Tooth::ManifestsUnconditional,
    Tooth::ItemsDeleted,
];

/// The teeth of requests to DynamoDB; the others are looked for over the twin, which is faster.
const OF_REQUESTS: [Tooth; 10] = [
    Tooth::StaleReads,
    Tooth::TombstoneStays,
    Tooth::PartsUnconditional,
    Tooth::PartsUnanswered,
    Tooth::PartsLeft,
    Tooth::LongKeysCollide,
    Tooth::RestOfKeyIgnored,
    Tooth::UnprocessedIgnored,
    Tooth::ThrottledStatementIgnored,
    Tooth::LostAnswerIsSuccess,
];

/// A tooth, and over which store it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hunt {
    tooth: Tooth,
    over_dynamodb: bool,
}

impl Hunt {
    fn all() -> impl Iterator<Item = Self> {
        Tooth::ALL.iter().flat_map(|&tooth| {
            let twin = !OF_REQUESTS.contains(&tooth);
            let dynamodb = !twin || OF_BOTH.contains(&tooth);
            let over = [(false, twin), (true, dynamodb)].into_iter().filter(|(_, is_so)| *is_so);
            over.map(move |(over_dynamodb, _)| Self { tooth, over_dynamodb })
        })
    }

    /// As the page's first column has it.
    fn name(self) -> String {
        let Self { tooth, over_dynamodb } = self;
        let over = if over_dynamodb { " over DynamoDB" } else { "" };
        format!("`{tooth:?}`{over}")
    }
}

/// A seed that finds a tooth, and what that seed finds without it: `listed` where that one still does, else the
/// first.
fn find(hunt: Hunt, listed: Option<u64>) -> Option<(Failure, Option<Failure>)> {
    let Hunt { tooth, over_dynamodb } = hunt;
    let store = Some(if over_dynamodb { Store::DynamoDb } else { Store::Twin });
    // Its values change often, and are larger than the smallest parts.
    let graph = (tooth == Tooth::PartsUnconditional).then(|| "chain".to_owned());
    let options = Options { store, graph, ..Options::default() };
    let run = |seed| simulation::run_with(seed, &options).err();
    let mut seeds = listed.into_iter().chain(0..SEEDS);
    let found = seeds.find_map(|seed| teeth::with(tooth, || run(seed)))?;
    let without = run(found.report.seed);
    Some((found, without))
}

/// The page, and the lines between which it has the table.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/correctness.md");
const BEGIN: &str = "<!-- teeth: written by UPDATE_TEETH=1 cargo test --test teeth -->\n";
const END: &str = "<!-- teeth: end -->\n";

/// What is before the table, the table, and what is after it.
fn parts(page: &str) -> (&str, &str, &str) {
    let (before, rest) = page.split_once(BEGIN).expect("the page has no table of teeth");
    let (table, after) = rest.split_once(END).expect("the page's table of teeth has no end");
    (before, table, after)
}

/// The seeds that the page lists, by tooth; none where it is written anew.
fn listed() -> BTreeMap<String, u64> {
    if std::env::var_os("UPDATE_TEETH").is_some() {
        return BTreeMap::new();
    }
    let page = std::fs::read_to_string(PAGE).unwrap();
    let row = |row: &str| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let seeds: u64 = cells.get(2)?.parse().ok()?;
        let tooth = cells[0].trim_start_matches("| ").to_owned();
        (1..=SEEDS).contains(&seeds).then(|| (tooth, seeds - 1))
    };
    parts(&page).1.lines().filter_map(row).collect()
}

fn table(found: &BTreeMap<Hunt, Option<(Failure, Option<Failure>)>>) -> String {
    let mut table = "| tooth | with it on | seeds | found as |\n|---|---|---|---|\n".to_owned();
    for (hunt, found) in found {
        let (seeds, how) =
            found.as_ref().map_or(("—".to_owned(), String::new()), |(found, _)| {
                ((found.report.seed + 1).to_string(), in_short(&found.wrong))
            });
        let (name, what) = (hunt.name(), hunt.tooth.what());
        writeln!(table, "| {name} | {what} | {seeds} | {how} |").unwrap();
    }
    table
}

/// The words of a finding, for one line of a table.
fn in_short(wrong: &str) -> String {
    let line = wrong.lines().next().unwrap_or_default().replace('|', "/");
    let short: String = line.chars().take(90).collect();
    if short.len() < line.len() { short + "…" } else { short }
}

#[test]
fn each_is_found_within_200_seeds() {
    let wanted = std::env::var("MILLPOND_TOOTH").ok();
    let is_wanted = |hunt: &Hunt| {
        let name = format!("{:?}", hunt.tooth);
        let is_named = |names: &String| names.split(',').any(|wanted| wanted == name);
        wanted.as_ref().is_none_or(is_named)
    };
    let all: Vec<Hunt> = Hunt::all().filter(is_wanted).collect();
    assert!(!all.is_empty(), "there is no such tooth");
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let listed = listed();
    // A panic of the engine is a finding, and needs no word on the way.
    std::panic::set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let ended = in_parallel(threads, || {
        while let Some(hunt) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let failure = find(*hunt, listed.get(&hunt.name()).copied());
            eprintln!("{}: {}", hunt.name(), if failure.is_some() { "found" } else { "NOT FOUND" });
            found.lock().unwrap().insert(*hunt, failure);
        }
    });
    drop(std::panic::take_hook());
    ended.unwrap();
    let found = found.into_inner().unwrap();
    if wanted.is_some() {
        found.values().flatten().for_each(|(failure, _)| println!("{failure}"));
    }
    let now = table(&found);
    println!("{now}");
    if wanted.is_none() && is_old(&now) {
        println!("the table in {PAGE} is old: UPDATE_TEETH=1 cargo test --test teeth");
    }
    let missed: Vec<_> =
        found.iter().filter(|(_, f)| f.is_none()).map(|(hunt, _)| hunt.name()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {missed:?}");
    for (_, without) in found.values().flatten() {
        assert!(without.is_none(), "found without any tooth: {}", without.as_ref().unwrap());
    }
}

/// Whether the page has another table than `now`, and was not to be written anew.
fn is_old(now: &str) -> bool {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, table, after) = parts(&page);
    if std::env::var_os("UPDATE_TEETH").is_some() {
        std::fs::write(PAGE, [before, BEGIN, now, END, after].concat()).unwrap();
        return false;
    }
    table != now
}

#[test]
fn the_page_lists_every_tooth() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let rows = parts(&page).1.lines().skip(2);
    let listed: BTreeSet<String> =
        rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | ")).collect();
    let there = Hunt::all().map(|hunt| format!("| {} | {}", hunt.name(), hunt.tooth.what()));
    assert_eq!(listed, there.collect(), "UPDATE_TEETH=1 cargo test --test teeth writes it anew");
}
