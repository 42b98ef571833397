//! The job graphs that are simulated, one file each: a capability that is added later adds its own.
//!
//! Owns the list. Each file gives a [`Kind`]: a name, and how a scenario is drawn.

mod chain;
mod cold;
mod diary;
mod expiring;
mod files;
mod labels;
mod rules;
mod shelves;
mod stages;
mod tally;
mod toggle;
mod told;
mod versions;

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;

use super::scenario::{Mishap, Scenario};

/// One kind of graph.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name, as in `--graph`.
    pub name: &'static str,
    /// How often it is drawn, beside the others'; 0: where it is asked for alone.
    pub share: u32,
    /// Draws one with its input; its functions pass by the mishap for each record.
    pub draw: fn(&mut StdRng, Mishap) -> Arc<dyn Scenario>,
}

/// All of them.
pub const ALL: [Kind; 12] = [
    tally::KIND,
    chain::KIND,
    stages::KIND,
    toggle::KIND,
    rules::KIND,
    shelves::KIND,
    diary::KIND,
    versions::KIND,
    expiring::KIND,
    expiring::BY_CLOCK,
    cold::KIND,
    files::KIND,
];

/// The kind that a seed draws.
pub(super) fn drawn(random: &mut StdRng) -> Kind {
    let mut left = random.random_range(0..ALL.iter().map(|kind| kind.share).sum());
    for kind in ALL {
        if left < kind.share {
            return kind;
        }
        left -= kind.share;
    }
    tally::KIND
}

/// A scenario with input for an hour.
pub(super) fn long(random: &mut StdRng, mishap: Mishap) -> Arc<dyn Scenario> {
    let mut split = || -> Vec<Event> {
        (0..5000).map(|_| (random.random_range(0..60), random.random_range(0..100))).collect()
    };
    tally::of((0..3).map(|_| split()).collect(), Vec::new(), mishap)
}

/// Key and value.
type Event = (u64, u64);

/// Some splits of events, and one more in which each key is met once more: what was restored last is
/// read.
fn events(random: &mut StdRng) -> (Vec<Vec<Event>>, Vec<Event>) {
    let (splits, keys) = (random.random_range(1..=4), random.random_range(1..=40));
    let mut split = || {
        let records = random.random_range(0..160);
        (0..records).map(|_| (random.random_range(0..keys), random.random_range(0..100))).collect()
    };
    let splits: Vec<Vec<Event>> = (0..splits).map(|_| split()).collect();
    let mut met: Vec<u64> = splits.iter().flatten().map(|(key, _)| *key).collect();
    met.sort_unstable();
    met.dedup();
    (splits, met.into_iter().map(|key| (key, 1)).collect())
}
