//! The names of the one job: an operator that reads, keeps state and writes, and its sink.

use std::sync::LazyLock;
use std::time::Duration;

use millpond::checkpoint::Identity;
use millpond::clock::{Clock, Instant};
use millpond::ids::Name;
use millpond::{KeyGroupRange, MaxParallelism};

use super::bounds::KEYS;

static OPERATOR: LazyLock<Name> = LazyLock::new(|| Name::new("keyed").unwrap());
static SINK: LazyLock<Name> = LazyLock::new(|| Name::new("sink").unwrap());
static NOW: LazyLock<Instant> = LazyLock::new(|| Clock::starting_at(0).now());
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity {
    hash: String::new(),
    key_encoding: 0,
    max_parallelism: KEYS as u32,
    graph: String::new(),
    input: String::new(),
    is_rolled_back: false,
});

pub(crate) fn operator() -> &'static Name {
    &OPERATOR
}

pub(crate) fn sink() -> &'static Name {
    &SINK
}

pub(crate) fn identity() -> &'static Identity {
    &IDENTITY
}

/// The only moment: nothing of the protocol depends on time.
pub(crate) fn now() -> Instant {
    *NOW
}

/// Checkpoints time out by a step of their own, a day later.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(86_400);

pub(crate) fn ranges(parallelism: u8) -> impl Iterator<Item = KeyGroupRange> {
    let max = MaxParallelism::new(KEYS as u32).unwrap();
    (0..u32::from(parallelism)).map(move |index| max.range_of(index, parallelism.into()))
}
