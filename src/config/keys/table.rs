//! The keys of a table's management: what a table that Millpond makes or manages looks like.

use super::super::draft::Draft;
use super::super::kind::Kind;
use super::Key;

pub(in crate::config) const MANAGE: &str = "state.backend.dynamodb.table.manage";
pub(in crate::config) const TAGS: &str = "state.backend.dynamodb.table.tags";
pub(in crate::config) const PROTECTION: &str = "state.backend.dynamodb.table.deletion-protection";
pub(in crate::config) const RECOVERY: &str = "state.backend.dynamodb.table.point-in-time-recovery";
pub(in crate::config) const MOST_READ: &str = "state.backend.dynamodb.table.max-read-request-units";
pub(in crate::config) const MOST_WRITE: &str =
    "state.backend.dynamodb.table.max-write-request-units";

/// In the order of the reference.
pub(in crate::config) static TABLE_KEYS: &[Key] = &[
    Key::new(
        MANAGE,
        Kind::Switch { at: at!(config.store.manage) },
        "true",
        "Whether Millpond may change a table that was there already: its billing mode, capacity, TTL, \
         tags and protections, when a job starts and by `millpond table apply`; and whether `millpond \
         table destroy` may delete it. Where not, a table that differs is told and left as it is. A \
         table of other keys is never changed.",
    ),
    Key::new(
        TAGS,
        Kind::Tags { at: at!(config.store.tags) },
        "\"team=flights, stage=test\"",
        "Tags of the table, with their values. Other tags of it stay.",
    )
    .by_default("none"),
    Key::new(
        PROTECTION,
        Kind::OptionalSwitch { at: at!(config.store.deletion_protection) },
        "true",
        "Whether the table is protected from deletion.",
    )
    .by_default("as the table has it; off where it is made"),
    Key::new(
        RECOVERY,
        Kind::OptionalSwitch { at: at!(config.store.point_in_time_recovery) },
        "true",
        "Whether DynamoDB keeps continuous backups of the table, which cost by its size.",
    )
    .by_default("as the table has it; off where it is made"),
    Key::new(
        MOST_READ,
        Kind::Bound { at: at!(config.store.max_read_units) },
        "4000",
        "On demand: the most read request units a second, above which DynamoDB throttles: a bound of \
         the bill. `none` takes away a bound that the table has.",
    )
    .by_default("as the table has it; no bound where it is made"),
    Key::new(
        MOST_WRITE,
        Kind::Bound { at: at!(config.store.max_write_units) },
        "4000",
        "On demand: the most write request units a second, above which DynamoDB throttles. `none` takes \
         away a bound that the table has.",
    )
    .by_default("as the table has it; no bound where it is made"),
];
