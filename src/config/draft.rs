//! The settings while they are being read: one plain field for each key.
//!
//! Owns the fields that [`Config`] folds into enums, and their defaults. What combinations of them
//! mean, and which ones contradict each other, is `assemble`'s.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::credentials::CredentialsDraft;

/// Which restart strategy. Flink: `restart-strategy.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Exponential,
    Fixed,
    FailureRate,
    None,
}

/// Every key's field. Those of [`Config`] that one key alone decides are set in `config` itself.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) strategy: Strategy,
    pub(super) fixed_attempts: u32,
    pub(super) fixed_delay: Duration,
    pub(super) initial_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) backoff_multiplier: f64,
    pub(super) reset_backoff_threshold: Duration,
    pub(super) jitter_factor: f64,
    pub(super) attempts_before_reset: Option<u32>,
    pub(super) max_failures: u32,
    pub(super) failure_interval: Duration,
    pub(super) failure_delay: Duration,
    pub(super) on_demand: bool,
    pub(super) read_units: u64,
    pub(super) write_units: u64,
    pub(super) endpoint: Option<String>,
    pub(super) local_db_path: Option<PathBuf>,
    pub(super) local_in_memory: bool,
    pub(super) region: Option<String>,
    pub(super) aws: CredentialsDraft,
}

impl Default for Draft {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            config: Config::default(),
            strategy: Strategy::Exponential,
            fixed_attempts: 1,
            fixed_delay: second,
            initial_backoff: second,
            max_backoff: second * 60,
            backoff_multiplier: 1.5,
            reset_backoff_threshold: second * 3600,
            jitter_factor: 0.1,
            attempts_before_reset: None,
            max_failures: 1,
            failure_interval: second * 60,
            failure_delay: second,
            on_demand: true,
            read_units: 20,
            write_units: 20,
            endpoint: None,
            local_db_path: None,
            local_in_memory: false,
            region: None,
            aws: CredentialsDraft::default(),
        }
    }
}
