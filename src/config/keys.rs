//! The table of keys: name, kind, what it means, and an example of a right value.
//!
//! Owns every name that a configuration may use. The reference is generated from it, and the loader
//! knows no key beside it.

use std::iter;
use std::sync::LazyLock;
use std::time::Duration;

use super::draft::{Draft, Strategy};
use super::kind::Kind;
use super::{MAX_PARALLELISM, Materialize, ValueFormat};

/// One key.
pub(super) struct Key {
    /// Flink's name where Flink has one.
    pub(super) name: &'static str,
    /// A second name: Flink 2's, where it has given the key a new one.
    pub(super) also: Option<&'static str>,
    /// Its values and its field.
    pub(super) kind: Kind,
    /// What it means and what it costs; Markdown.
    pub(super) doc: &'static str,
    /// A right value, shown in errors.
    pub(super) example: &'static str,
    /// Where the default is not one fixed value: in words.
    pub(super) default_note: Option<&'static str>,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Self {
        Self { name, also: None, kind, doc, example, default_note: None }
    }

    const fn by_default(mut self, note: &'static str) -> Self {
        self.default_note = Some(note);
        self
    }

    const fn also(mut self, name: &'static str) -> Self {
        self.also = Some(name);
        self
    }

    /// Both of its names, or the one.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        iter::once(self.name).chain(self.also)
    }

    /// The name of its environment variable.
    pub(super) fn variable(&self) -> String {
        variable(self.name)
    }
}

/// The environment variable of the key that is called `name`.
pub(super) fn variable(name: &str) -> String {
    format!("{ENV_PREFIX}{}", name.to_ascii_uppercase().replace(['.', '-'], "_"))
}

/// What the environment variables of settings start with.
pub(crate) const ENV_PREFIX: &str = "MILLPOND_";

/// The key that `name` is, if there is one.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().copied().find(|key| key.names().any(|it| it == name))
}

pub(super) const PARALLELISM: &str = "parallelism.default";
pub(super) const MAX: &str = "pipeline.max-parallelism";
pub(super) const ON_DEMAND: &str = "state.backend.dynamodb.use-on-demand";
pub(super) const READ_UNITS: &str = "state.backend.dynamodb.read-capacity-units";
pub(super) const WRITE_UNITS: &str = "state.backend.dynamodb.write-capacity-units";
pub(super) const ENDPOINT: &str = "state.backend.dynamodb.endpoint";
pub(super) const LOCAL_PATH: &str = "state.backend.dynamodb.local-db-path";
pub(super) const LOCAL_MEMORY: &str = "state.backend.dynamodb.local-in-memory";
pub(super) const CACHE: &str = "state.backend.dynamodb.cache-size";
pub(super) const LOG: &str = "state.backend.dynamodb.log-max-size";
pub(super) const SEGMENT: &str = "state.backend.dynamodb.segment-size";
pub(super) const INITIAL_BACKOFF: &str = "restart-strategy.exponential-delay.initial-backoff";
pub(super) const MAX_BACKOFF: &str = "restart-strategy.exponential-delay.max-backoff";

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const KIB: u64 = 1 << 10;
/// A bound for prices that are no typing error.
const PRICEY: f64 = 1e6;

/// A field of [`Draft`], or of the settings in it.
macro_rules! at {
    ($($path:tt)+) => { |draft: &mut Draft| &mut draft.$($path)+ };
}

mod aws;
mod table;

pub(super) use aws::*;
pub(super) use table::*;

/// All keys, in the order of the reference.
pub(super) static KEYS: LazyLock<Vec<&'static Key>> =
    LazyLock::new(|| ENGINE.iter().chain(TABLE_KEYS).chain(AWS_KEYS).collect());

/// Those of the engine and its store; the ones of a table's management and of AWS are beside this file.
static ENGINE: &[Key] = &[
    Key::new(
        PARALLELISM,
        Kind::Count { least: 1, most: MAX_PARALLELISM, at: at!(config.parallelism) },
        "2",
        "How many workers (threads) run the job; each hosts one subtask of every vertex. May change \
         from one run to the next. `--parallelism N` is the same.",
    )
    .by_default("the number of cores"),
    Key::new(
        MAX,
        Kind::Count { least: 1, most: MAX_PARALLELISM, at: at!(config.max_parallelism) },
        "128",
        "The number of key groups, and so the largest parallelism that the job can ever have. Fixed \
         with the job's first run: stored state is filed under it.",
    ),
    Key::new(
        "execution.checkpointing.interval",
        Kind::Duration { least: MS, at: at!(config.checkpointing.interval) },
        "10 s",
        "Time from the start of one checkpoint to the start of the next. Short: little is replayed \
         after a crash, and output is committed sooner. Long: a key that changes often is logged less \
         often. Each checkpoint costs at least one manifest put and one update of the head.",
    ),
    Key::new(
        "execution.checkpointing.timeout",
        Kind::Duration { least: MS, at: at!(config.checkpointing.timeout) },
        "10 min",
        "A checkpoint that takes longer is aborted; what it wrote goes into the next one.",
    ),
    Key::new(
        "execution.checkpointing.min-pause",
        Kind::Duration { least: Duration::ZERO, at: at!(config.checkpointing.min_pause) },
        "500 ms",
        "Least time from the end of one checkpoint to the start of the next.",
    ),
    Key::new(
        "execution.checkpointing.tolerable-failed-checkpoints",
        Kind::Count { least: 0, most: u32::MAX, at: at!(config.checkpointing.tolerable_failed) },
        "3",
        "How many checkpoints in a row may fail before the attempt does. Checkpoints that DynamoDB \
         throttled or could not be reached for do not count.",
    ),
    Key::new(
        "execution.async-state.in-flight-records-limit",
        Kind::Count {
            least: 1,
            most: 10_000_000,
            at: at!(config.state.in_flight_records_limit),
        },
        "6000",
        "Most records of one subtask of a keyed operator that wait for reads of their state; while there \
         are as many, it takes no more input. One batch may exceed it. More: reads overlap further where \
         they are slow. Fewer: less memory, and barriers, which wait for these records, are through sooner.",
    ),
    Key::new(
        "state.checkpoints.num-retained",
        Kind::Count { least: 1, most: 1000, at: at!(config.checkpointing.num_retained) },
        "1",
        "How many of the last checkpoints stay restorable. Each one more keeps the changes of one more \
         interval in memory and in the log.",
    )
    .also("execution.checkpointing.num-retained"),
    Key::new(
        "restart-strategy.type",
        Kind::Choice {
            words: &[
                ("exponential-delay", |d| d.strategy = Strategy::Exponential),
                ("fixed-delay", |d| d.strategy = Strategy::Fixed),
                ("failure-rate", |d| d.strategy = Strategy::FailureRate),
                ("none", |d| d.strategy = Strategy::None),
            ],
        },
        "fixed-delay",
        "What follows a failed attempt. The keys of the strategies that are not chosen have no effect. \
         No strategy applies to an attempt that another one has fenced.",
    ),
    Key::new(
        "restart-strategy.fixed-delay.attempts",
        Kind::Count { least: 1, most: u32::MAX, at: at!(fixed_attempts) },
        "3",
        "How many restarts before the job fails.",
    ),
    Key::new(
        "restart-strategy.fixed-delay.delay",
        Kind::Duration { least: Duration::ZERO, at: at!(fixed_delay) },
        "1 s",
        "Time from a failure to the restart.",
    ),
    Key::new(
        INITIAL_BACKOFF,
        Kind::Duration { least: MS, at: at!(initial_backoff) },
        "1 s",
        "Time from the first failure to its restart.",
    ),
    Key::new(
        MAX_BACKOFF,
        Kind::Duration { least: MS, at: at!(max_backoff) },
        "1 min",
        "The longest time to a restart.",
    ),
    Key::new(
        "restart-strategy.exponential-delay.backoff-multiplier",
        Kind::Factor { least: 1.0, most: 1000.0, at: at!(backoff_multiplier) },
        "1.5",
        "What each further failure multiplies the time by.",
    ),
    Key::new(
        "restart-strategy.exponential-delay.reset-backoff-threshold",
        Kind::Duration { least: MS, at: at!(reset_backoff_threshold) },
        "1 h",
        "After this long without a failure the time starts again from the initial one.",
    ),
    Key::new(
        "restart-strategy.exponential-delay.jitter-factor",
        Kind::Factor { least: 0.0, most: 1.0, at: at!(jitter_factor) },
        "0.1",
        "The share of the time by which it is varied at random, both ways.",
    ),
    Key::new(
        "restart-strategy.exponential-delay.attempts-before-reset-backoff",
        Kind::OptionalCount { least: 1, at: at!(attempts_before_reset) },
        "10",
        "How many failures without a reset between them before the job fails.",
    )
    .by_default("no bound"),
    Key::new(
        "restart-strategy.failure-rate.max-failures-per-interval",
        Kind::Count { least: 1, most: u32::MAX, at: at!(max_failures) },
        "3",
        "More failures than this within the interval, and the job fails.",
    ),
    Key::new(
        "restart-strategy.failure-rate.failure-rate-interval",
        Kind::Duration { least: MS, at: at!(failure_interval) },
        "1 min",
        "The interval in which failures are counted.",
    ),
    Key::new(
        "restart-strategy.failure-rate.delay",
        Kind::Duration { least: Duration::ZERO, at: at!(failure_delay) },
        "1 s",
        "Time from a failure to the restart.",
    ),
    Key::new(
        "task.cancellation.timeout",
        Kind::Duration { least: MS, at: at!(config.cancellation_timeout) },
        "3 min",
        "How long the workers of a failed attempt may take to end before the next one begins; a function of the \
         job may be in the midst of something. The job stays this process's meanwhile. After that, or a \
         lease after a stop, it ends with an error that names the operator that does not return, and another \
         process goes on.",
    ),
    Key::new(
        "state.backend",
        Kind::Choice { words: &[("dynamodb", |_| ())] },
        "dynamodb",
        "Where keyed state lives. There is one.",
    )
    .also("state.backend.type"),
    Key::new(
        "state.backend.dynamodb.table",
        Kind::Table { at: at!(config.store.table) },
        "millpond-state",
        "The table; any number of jobs share it. It is created where it is missing.",
    ),
    Key::new(
        LOCAL_PATH,
        Kind::Path { at: at!(local_db_path) },
        "\"state/flights.db\"",
        "The embedded DynamoDB, on this file. It is held under an exclusive lock, so that a second run \
         on it is an error.",
    )
    .by_default("a file for each job's name in the platform's data folder"),
    Key::new(
        LOCAL_MEMORY,
        Kind::Switch { at: at!(local_in_memory) },
        "true",
        "The embedded DynamoDB, in memory: gone with the process, for tests and trials.",
    ),
    Key::new(
        ENDPOINT,
        Kind::Url { at: at!(endpoint) },
        "http://127.0.0.1:8000",
        "The URL of a DynamoDB of one's own: DynamoDB Local, ScyllaDB Alternator.",
    ),
    Key::new(
        ON_DEMAND,
        Kind::Switch { at: at!(on_demand) },
        "true",
        "Whether a table that is created here is paid by the request, rather than for provisioned \
         capacity.",
    ),
    Key::new(
        READ_UNITS,
        Kind::Units { at: at!(read_units) },
        "20",
        "Provisioned read capacity units; only where the table is not on demand. No more than that is read \
         a second, plus up to a minute's unused units.",
    ),
    Key::new(
        WRITE_UNITS,
        Kind::Units { at: at!(write_units) },
        "20",
        "Provisioned write capacity units; only where the table is not on demand. No more than that is \
         written a second, plus up to a minute's unused units.",
    ),
    Key::new(
        CACHE,
        Kind::Size { least: 1 << 20, most: u64::MAX, at: at!(config.state.cache_bytes) },
        "256 MiB",
        "The memory for keyed state, over all workers. What does not fit is read from the table when it \
         is needed: one item of a `BatchGetItem` a key.",
    ),
    Key::new(
        LOG,
        Kind::Size { least: 64 * KIB, most: u64::MAX, at: at!(config.state.log_max_bytes) },
        "64 MiB",
        "How much state the redo log may cover, at its size in memory: at most half of `cache-size`, so \
         that a restore always fits. Small: short restarts. Large: keys that change often are written \
         to the table less often.",
    )
    .by_default("64 MiB, or half of `cache-size` where that is less"),
    Key::new(
        "state.backend.dynamodb.materialize",
        Kind::Choice {
            words: &[
                ("lazy", |d| d.config.state.materialize = Materialize::Lazy),
                ("eager", |d| d.config.state.materialize = Materialize::Eager),
            ],
        },
        "eager",
        "When committed values go to items of their own: when the log must shrink, or after every \
         checkpoint, so that others can read the table. `eager` costs one write a changed key and \
         checkpoint.",
    ),
    Key::new(
        "state.backend.dynamodb.value-format",
        Kind::Choice {
            words: &[
                ("codec", |d| d.config.state.value_format = ValueFormat::Codec),
                ("native", |d| d.config.state.value_format = ValueFormat::Native),
            ],
        },
        "native",
        "How values are written to items of their own. `codec`: as bytes, in attribute `v`. `native`: as \
         DynamoDB attributes, in attribute `d`, for PartiQL and other readers; a value that would not \
         come back the same is written as bytes. Both are read back whatever is set. The log is always bytes.",
    ),
    Key::new(
        SEGMENT,
        Kind::Size { least: 4 * KIB, most: 300 * KIB, at: at!(config.state.segment_bytes) },
        "256 KiB",
        "The size of one segment of the log before compression. An item of DynamoDB holds 400 KB.",
    )
    .by_default("256 KiB, or a KiB for each provisioned write unit where that is less"),
    Key::new(
        "restore.target",
        Kind::Duration { least: SECOND, at: at!(config.state.restore_target) },
        "10 s",
        "On a table with provisioned capacity: how long its read units may take to replay the log, 4 KiB a \
         unit. A log that is larger is cleaned, within `log-max-size` too: more writes, shorter restarts.",
    ),
    Key::new(
        "state.backend.dynamodb.filter",
        Kind::Switch { at: at!(config.state.filter) },
        "true",
        "Whether each operator remembers which keys have an item, so that a new key costs no read: some 2 to \
         4 bytes of memory a key, at most a quarter of `cache-size`, and one write for a hundred keys. What \
         is written while it is off makes it useless for the rest of the job's incarnation.",
    ),
    Key::new(
        "state.backend.dynamodb.tombstone-retention",
        Kind::Duration { least: MINUTE, at: at!(config.state.tombstone_retention) },
        "7 d",
        "How long the mark of a deleted key stays. It must be longer than any request can be under way: \
         the protocol's only dependence on a clock.",
    ),
    Key::new(
        "cost.write-usd-per-million",
        Kind::Factor { least: 0.0, most: PRICEY, at: at!(config.cost.write_usd_per_million) },
        "0.625",
        "Dollars for a million write units on demand. The default is the list price of us-east-1; other \
         regions, and storage classes, have their own.",
    ),
    Key::new(
        "cost.read-usd-per-million",
        Kind::Factor { least: 0.0, most: PRICEY, at: at!(config.cost.read_usd_per_million) },
        "0.125",
        "Dollars for a million read units on demand.",
    ),
    Key::new(
        "cost.provisioned-write-usd-per-hour",
        Kind::Factor { least: 0.0, most: PRICEY, at: at!(config.cost.provisioned_write_usd_per_hour) },
        "0.00065",
        "Dollars an hour for one provisioned write unit a second.",
    ),
    Key::new(
        "cost.provisioned-read-usd-per-hour",
        Kind::Factor { least: 0.0, most: PRICEY, at: at!(config.cost.provisioned_read_usd_per_hour) },
        "0.00013",
        "Dollars an hour for one provisioned read unit a second.",
    ),
    Key::new(
        "cost.max-usd-per-hour",
        Kind::OptionalFactor { least: 0.0, most: PRICEY, at: at!(config.cost.max_usd_per_hour) },
        "2.5",
        "What a run on demand should cost at most. Above it, a warning says so; `materialize: eager` \
         becomes lazy, then the checkpoint interval is doubled time and again, up to 10 min, and halved \
         again once there is room. It bounds nothing: what the input needs is read and written.",
    )
    .by_default("no bound"),
    Key::new(
        "high-availability.lease",
        Kind::Duration { least: Duration::from_millis(100), at: at!(config.lease) },
        "5 s",
        "How long a job's owner must have been silent before another process takes it over. Nothing's \
         safety depends on it. `--take-over` does not wait.",
    ),
    Key::new(
        "rest.bind-address",
        Kind::Address { at: at!(config.rest.bind_address) },
        "127.0.0.1",
        "The address that the status server listens on. It has no access control: any other address \
         than the loopback one shows the job to the network.",
    ),
    Key::new(
        "rest.port",
        Kind::Port { at: at!(config.rest.port) },
        "8081",
        "The status server's port; 0 picks a free one. Where it is configured and busy, that is an \
         error.",
    )
    .by_default("8081, or a free one where that is busy"),
    Key::new(
        "exchange.batch-size",
        Kind::Count { least: 1, most: 1 << 20, at: at!(config.exchange.batch_records) },
        "1024",
        "Records that travel together between subtasks.",
    ),
    Key::new(
        "exchange.channel-capacity",
        Kind::Count { least: 1, most: 1 << 16, at: at!(config.exchange.channel_batches) },
        "8",
        "Batches that a channel between two subtasks holds before its writer waits.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_their_environment_variables_are_unique() {
        let all: Vec<_> = KEYS.iter().flat_map(|key| key.names()).collect();
        let names: BTreeSet<_> = all.iter().collect();
        let variables: BTreeSet<_> = all.iter().map(|name| variable(name)).collect();
        assert_eq!(names.len(), all.len());
        assert_eq!(variables.len(), all.len());
    }

    #[test]
    fn every_example_is_a_right_value() {
        for key in KEYS.iter() {
            let example = key.example.trim_matches('"');
            key.kind.set(&mut Draft::default(), example).unwrap_or_else(|e| {
                panic!("{}: {e}", key.name);
            });
        }
    }

    #[test]
    fn every_default_reads_back_as_itself() {
        for key in KEYS.iter() {
            let mut draft = Draft::default();
            if let Some(default) = key.kind.default_text(&mut draft) {
                key.kind.set(&mut draft, &default).unwrap();
                let fresh = format!("{:?}", Draft::default());
                assert_eq!(format!("{draft:?}"), fresh, "{}", key.name);
            }
        }
    }
}
