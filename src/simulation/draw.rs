//! What a seed draws besides the course of events: settings of a process, and how bad the weather is.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::weather::Season;
use crate::config::{Config, Materialize, RestartStrategy, ValueFormat};

/// The key groups of every job.
pub(super) const MAX_PARALLELISM: u32 = 128;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One of `choices`.
pub(super) fn one_of<T: Copy>(random: &mut StdRng, choices: &[T]) -> T {
    choices[random.random_range(0..choices.len())]
}

/// The settings of one process. Restarts in the process go on for ever.
pub(super) fn settings(random: &mut StdRng) -> Config {
    let mut config = Config { parallelism: random.random_range(1..=4), ..Config::default() };
    config.max_parallelism = MAX_PARALLELISM;
    config.checkpointing.interval = ms(random.random_range(1..40));
    config.checkpointing.timeout = ms(one_of(random, &[15, 40, 100, 400]));
    config.checkpointing.tolerable_failed = one_of(random, &[0, 2, 1000]);
    config.checkpointing.num_retained = one_of(random, &[1, 2, 3, 3]);
    config.restart = RestartStrategy::FixedDelay { attempts: u32::MAX, delay: ms(3) };
    config.exchange.batch_records = one_of(random, &[1, 3, 16, 1024]);
    config.exchange.channel_batches = random.random_range(1..=4);
    config.state.segment_bytes = one_of(random, &[20, 200, 1 << 18]);
    config.state.log_max_bytes = one_of(random, &[1, 3000, 1 << 20]);
    // Mostly for a few entries, so that they leave and come back all the time.
    config.state.cache_bytes =
        config.state.log_max_bytes + one_of(random, &[1, 2000, 4000, 1 << 20]);
    if random.random_bool(0.3) {
        config.state.materialize = Materialize::Eager;
    }
    if random.random_bool(0.3) {
        config.state.value_format = ValueFormat::Native;
    }
    config.state.filter = random.random_bool(0.94);
    config.state.filter_first_bytes = one_of(random, &[32, 1 << 16]);
    config.state.filter_chunk_hashes = one_of(random, &[1, 3, 112]);
    config.state.slice_entries = one_of(random, &[1, 7, 4096]);
    config.state.few_rows = one_of(random, &[2, 4096]);
    config.state.in_flight_records_limit = one_of(random, &[1, 8, 6000]);
    config.lease = ms(random.random_range(20..200));
    config
}

/// Settings under which a job in fine weather comes to its end. What slowed it down may take a minute to pass:
/// with a checkpoint and a beat each few milliseconds, one seed in a hundred would take the time of all others.
pub(super) fn patient_settings(random: &mut StdRng) -> Config {
    let mut config = settings(random);
    config.checkpointing.interval = ms(random.random_range(20..120));
    config.checkpointing.timeout = Duration::from_secs(30);
    config.lease = ms(random.random_range(300..1500));
    config
}

/// The weather of the next hours.
pub(super) fn season(random: &mut StdRng, stormy: bool) -> Season {
    let latency = ms(one_of(random, &[0, 1, 4, 12]));
    let trouble = if stormy { one_of(random, &[0.05, 0.15, 0.25, 0.4]) } else { 0.01 };
    let throttled = one_of(random, &[0.1, 0.3, 0.9]);
    let echoes = if stormy { one_of(random, &[0.0, 0.0, 0.3]) } else { 0.0 };
    Season { trouble, throttled, latency, outage: false, echoes, refusals: true }
}
