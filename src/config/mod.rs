//! The settings of a run: plain data, with Flink's keys where Flink has one.
//!
//! Owns the settings and their defaults. Reading them from files, environment and command line, the
//! table of keys and the generated reference are beside it.

mod assemble;
mod capacity;
mod credentials;
mod draft;
#[cfg(test)]
mod fuzz;
mod keys;
mod kind;
mod lines;
mod load;
pub(crate) mod nearest;
mod reference;
mod service_links;
mod sources;
mod store_choice;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use credentials::Credentials;
pub(crate) use keys::ENV_PREFIX;
pub use load::load;
pub use reference::reference;
pub use sources::{LOG_VARIABLE, Sources};

/// Flink's upper bound of the number of key groups.
const MAX_PARALLELISM: u32 = 32_768;

/// All settings of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `parallelism.default`; default: the number of cores.
    pub parallelism: u32,
    /// `pipeline.max-parallelism`; default 128.
    pub max_parallelism: u32,
    /// `execution.checkpointing.*` and `state.checkpoints.num-retained`.
    pub checkpointing: Checkpointing,
    /// `restart-strategy.*`.
    pub restart: RestartStrategy,
    /// `state.backend.dynamodb.*` that bound memory and log.
    pub state: StateSettings,
    /// Which DynamoDB.
    pub store: StoreSettings,
    /// `cost.*`.
    pub cost: CostSettings,
    /// `high-availability.lease`; default 5 s.
    pub lease: Duration,
    /// `task.cancellation.timeout`; default 3 min.
    pub cancellation_timeout: Duration,
    /// `rest.*`.
    pub rest: RestSettings,
    /// Sizes of batches and channels.
    pub exchange: ExchangeSettings,
}

/// When checkpoints are taken, and when they have failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Checkpointing {
    /// `execution.checkpointing.interval`; default 10 s.
    pub interval: Duration,
    /// `execution.checkpointing.timeout`; default 10 min.
    pub timeout: Duration,
    /// `execution.checkpointing.min-pause`, from one's end to the next one's start; default 0.
    pub min_pause: Duration,
    /// `execution.checkpointing.tolerable-failed-checkpoints`, in a row; default 0.
    pub tolerable_failed: u32,
    /// `state.checkpoints.num-retained`; default 1.
    pub num_retained: u32,
}

/// What follows a failed attempt. Flink: `RestartStrategy`.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategy {
    /// `none`: the first failure is final.
    None,
    /// `fixed-delay`.
    FixedDelay {
        /// `restart-strategy.fixed-delay.attempts`; default 1.
        attempts: u32,
        /// `restart-strategy.fixed-delay.delay`; default 1 s.
        delay: Duration,
    },
    /// `exponential-delay`.
    ExponentialDelay {
        /// `restart-strategy.exponential-delay.initial-backoff`; default 1 s.
        initial_backoff: Duration,
        /// `restart-strategy.exponential-delay.max-backoff`; default 1 min.
        max_backoff: Duration,
        /// `restart-strategy.exponential-delay.backoff-multiplier`; default 1.5.
        backoff_multiplier: f64,
        /// `restart-strategy.exponential-delay.reset-backoff-threshold`; default 1 h.
        reset_backoff_threshold: Duration,
        /// `restart-strategy.exponential-delay.jitter-factor`; default 0.1.
        jitter_factor: f64,
        /// `restart-strategy.exponential-delay.attempts-before-reset-backoff`; default: no bound.
        attempts_before_reset: Option<u32>,
    },
    /// `failure-rate`.
    FailureRate {
        /// `restart-strategy.failure-rate.max-failures-per-interval`; default 1.
        max_failures_per_interval: u32,
        /// `restart-strategy.failure-rate.failure-rate-interval`; default 1 min.
        failure_rate_interval: Duration,
        /// `restart-strategy.failure-rate.delay`; default 1 s.
        delay: Duration,
    },
}

impl Eq for RestartStrategy {}

/// How much memory and log keyed state may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// `state.backend.dynamodb.cache-size`, bytes; default 256 MiB.
    pub cache_bytes: u64,
    /// `state.backend.dynamodb.log-max-size`, bytes; default 64 MiB, at most half the cache.
    pub log_max_bytes: u64,
    /// `state.backend.dynamodb.materialize`; default lazy.
    pub materialize: Materialize,
    /// `state.backend.dynamodb.value-format`; default codec.
    pub value_format: ValueFormat,
    /// `state.backend.dynamodb.segment-size`, bytes before compression; default 256 KiB.
    pub segment_bytes: u64,
    /// Whether that stays whatever capacity is provisioned: it does where it is configured.
    pub segment_fixed: bool,
    /// `restore.target`; default 30 s.
    pub restore_target: Duration,
    /// Most read units that the log in the table takes to replay, by [`StateSettings::on_capacity`]; no bound
    /// on demand.
    pub log_read_units: u64,
    /// `state.backend.dynamodb.filter`; default true.
    pub filter: bool,
    /// Bytes of a filter's first bits, which are doubled as they fill; 64 KiB, but for simulations. No key
    /// sets it.
    #[doc(hidden)]
    pub filter_first_bytes: u64,
    /// Hashes in one item of a filter; 112, with which it takes just below 1 KiB, but for simulations. No key
    /// sets it.
    #[doc(hidden)]
    pub filter_chunk_hashes: usize,
    /// `state.backend.dynamodb.tombstone-retention`; default 7 days.
    pub tombstone_retention: Duration,
    /// `execution.async-state.in-flight-records-limit`; default 6,000.
    pub in_flight_records_limit: u32,
    /// How many entries are serialised at a time, between two batches after a barrier. 1,024 take 0.05 to 0.8 ms, less the
    /// more of them are in the processor's caches; simulations use fewer. No key sets it.
    #[doc(hidden)]
    pub slice_entries: usize,
    /// With fewer rows or entries than this, memory is not given back. 4,096; simulations use fewer. No key sets it.
    #[doc(hidden)]
    pub few_rows: u32,
}

/// When committed values go to items of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Materialize {
    /// When the log must shrink.
    Lazy,
    /// After each checkpoint, so that the table can be read from elsewhere.
    Eager,
}

/// How values are written to items of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFormat {
    /// As bytes, by the state's codec.
    Codec,
    /// As DynamoDB attributes where they can be, for other readers of the table.
    Native,
}

/// The most request units a second that a table on demand takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `none`: as many as come; a bound that the table has is taken away.
    None,
    /// So many.
    Units(u64),
}

impl Bound {
    /// So many; `None` where there is no bound.
    #[must_use]
    pub fn units(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Units(units) => Some(units),
        }
    }
}

/// Which DynamoDB, and which table of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// `state.backend.dynamodb.table`; default `millpond-state`.
    pub table: String,
    /// `state.backend.dynamodb.use-on-demand`; where not: (read, write) capacity units, default 20, 20.
    pub provisioned: Option<(u64, u64)>,
    /// `….table.manage`: a table that was there may be changed; default false.
    pub manage: bool,
    /// `….table.tags`.
    pub tags: BTreeMap<String, String>,
    /// `….table.deletion-protection`; `None`: as the table has it.
    pub deletion_protection: Option<bool>,
    /// `….table.point-in-time-recovery`; `None`: as the table has it.
    pub point_in_time_recovery: Option<bool>,
    /// `….table.max-read-request-units`, a second; `None`: as the table has it.
    pub max_read_units: Option<Bound>,
    /// `….table.max-write-request-units`, a second; `None`: as the table has it.
    pub max_write_units: Option<Bound>,
    /// Where it is.
    pub location: Location,
}

/// Where the table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `state.backend.dynamodb.local-db-path`: embedded, on a file; `None`: the platform's data
    /// folder, a file for each job's name.
    EmbeddedFile(Option<PathBuf>),
    /// `state.backend.dynamodb.local-in-memory: true`: embedded, gone with the process.
    EmbeddedMemory,
    /// `aws.region` or `state.backend.dynamodb.endpoint`, or both.
    Remote {
        /// `aws.region`.
        region: Option<String>,
        /// `state.backend.dynamodb.endpoint`.
        endpoint: Option<String>,
        /// `aws.credentials.*`.
        credentials: Credentials,
    },
}

/// Prices, and how much a run may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct CostSettings {
    /// `cost.write-usd-per-million`, of write units on demand; default 0.625.
    pub write_usd_per_million: f64,
    /// `cost.read-usd-per-million`, of read units on demand; default 0.125.
    pub read_usd_per_million: f64,
    /// `cost.provisioned-write-usd-per-hour`, of one write unit a second; default 0.00065.
    pub provisioned_write_usd_per_hour: f64,
    /// `cost.provisioned-read-usd-per-hour`, of one read unit a second; default 0.00013.
    pub provisioned_read_usd_per_hour: f64,
    /// `cost.max-usd-per-hour`; default: no bound.
    pub max_usd_per_hour: Option<f64>,
}

impl Eq for CostSettings {}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("******")
    }
}

/// The REST server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestSettings {
    /// `rest.bind-address`; default 127.0.0.1.
    pub bind_address: IpAddr,
    /// `rest.port`; `None`: 8081, or another one if that is taken; 0: any.
    pub port: Option<u16>,
}

/// Sizes on the way between subtasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSettings {
    /// `exchange.batch-size`, records; default 1,024.
    pub batch_records: u32,
    /// `exchange.channel-capacity`, batches; default 8.
    pub channel_batches: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            parallelism: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            max_parallelism: 128,
            checkpointing: Checkpointing {
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(600),
                min_pause: Duration::ZERO,
                tolerable_failed: 0,
                num_retained: 1,
            },
            restart: RestartStrategy::default(),
            state: StateSettings {
                cache_bytes: 256 << 20,
                log_max_bytes: 64 << 20,
                materialize: Materialize::Lazy,
                value_format: ValueFormat::Codec,
                segment_bytes: 256 << 10,
                segment_fixed: false,
                restore_target: Duration::from_secs(30),
                log_read_units: u64::MAX,
                filter: true,
                filter_first_bytes: 64 << 10,
                filter_chunk_hashes: 112,
                tombstone_retention: Duration::from_secs(7 * 24 * 3600),
                in_flight_records_limit: 6000,
                slice_entries: 1024,
                few_rows: 4096,
            },
            store: StoreSettings {
                table: "millpond-state".to_owned(),
                provisioned: None,
                manage: false,
                tags: BTreeMap::new(),
                deletion_protection: None,
                point_in_time_recovery: None,
                max_read_units: None,
                max_write_units: None,
                location: Location::EmbeddedFile(None),
            },
            cost: CostSettings {
                write_usd_per_million: 0.625,
                read_usd_per_million: 0.125,
                provisioned_write_usd_per_hour: 0.00065,
                provisioned_read_usd_per_hour: 0.00013,
                max_usd_per_hour: None,
            },
            lease: Duration::from_secs(5),
            cancellation_timeout: Duration::from_secs(180),
            rest: RestSettings { bind_address: IpAddr::from([127, 0, 0, 1]), port: None },
            exchange: ExchangeSettings { batch_records: 1024, channel_batches: 8 },
        }
    }
}

impl Default for RestartStrategy {
    fn default() -> Self {
        Self::ExponentialDelay {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 1.5,
            reset_backoff_threshold: Duration::from_secs(3600),
            jitter_factor: 0.1,
            attempts_before_reset: None,
        }
    }
}
