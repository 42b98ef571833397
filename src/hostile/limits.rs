//! How much a table takes: the capacity of its partitions and its own, as buckets of units.
//!
//! Owns the limits and their buckets. A request is admitted while a bucket has anything in it, and
//! charged for what it has really used, which may leave the bucket in debt: so single items of many
//! units pass, and the rate holds in the mean. What a request uses is `ledger`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::throttling::{Limit, Reason};
use crate::clock::Instant;

/// Units a second, and for how long unused ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throughput {
    /// Write units a second.
    pub write_units: u32,
    /// Read units a second.
    pub read_units: u32,
    /// The unused units of so long can be had at once. At least a second's.
    pub burst: Duration,
}

/// What a table and each of its partitions take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Over which the partition keys are spread, by a hash. At least 1.
    pub partitions: u32,
    /// Of one partition.
    pub partition: Throughput,
    /// Of the table.
    pub table: Throughput,
    /// Whether the table's is provisioned, not on demand: refusals then say so.
    pub provisioned: bool,
}

/// DynamoDB keeps five minutes' unused capacity.
const BURST: Duration = Duration::from_secs(300);
/// What one partition takes, whatever the table has.
const PARTITION: Throughput = Throughput { write_units: 1_000, read_units: 3_000, burst: BURST };

impl Limits {
    /// Of a new table on demand: four partitions, 4,000 write and 12,000 read units a second.
    #[must_use]
    pub const fn new_table() -> Self {
        let table = Throughput { write_units: 4_000, read_units: 12_000, burst: BURST };
        Self { partitions: 4, partition: PARTITION, table, provisioned: false }
    }

    /// Of a table with so much provisioned capacity, in units a second, on as few partitions as have it.
    #[must_use]
    pub fn provisioned(write_units: u32, read_units: u32) -> Self {
        let table = Throughput { write_units, read_units, burst: BURST };
        let partitions = write_units
            .div_ceil(PARTITION.write_units)
            .max(read_units.div_ceil(PARTITION.read_units))
            .max(1);
        Self { partitions, partition: PARTITION, table, provisioned: true }
    }
}

/// The buckets of all tables, with a second's units in each at first.
#[derive(Debug)]
pub(super) struct Buckets {
    limits: Limits,
    since: Instant,
    /// By table, partition (`None` is the whole table) and whether it is for writes.
    levels: BTreeMap<(String, Option<u32>, bool), Level>,
}

/// What was in a bucket at a moment.
#[derive(Clone, Copy, Debug)]
struct Level {
    units: f64,
    at: Instant,
}

impl Buckets {
    pub(super) fn new(limits: Limits, since: Instant) -> Self {
        Self { limits, since, levels: BTreeMap::new() }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Why a read or write of an item under `pk` is throttled `now`; `None` where it is not.
    pub(super) fn refuse(
        &mut self,
        table: &str,
        pk: Option<&str>,
        write: bool,
        now: Instant,
    ) -> Option<Reason> {
        let partition = pk.map(|pk| self.partition_of(table, pk));
        let reason = |limit| Reason { index: false, write, limit };
        if partition.is_some() && self.level(table, partition, write, now).units <= 0.0 {
            return Some(reason(Limit::KeyRange));
        }
        let provisioned = self.limits.provisioned;
        // A table on demand that is too small for now says the same as a partition of it.
        let limit = if provisioned { Limit::Provisioned } else { Limit::KeyRange };
        (self.level(table, None, write, now).units <= 0.0).then(|| reason(limit))
    }

    /// Takes `units` for an item under `pk`, or for the table as a whole.
    pub(super) fn charge(
        &mut self,
        table: &str,
        pk: Option<&str>,
        write: bool,
        units: f64,
        now: Instant,
    ) {
        if let Some(pk) = pk {
            let partition = self.partition_of(table, pk);
            self.level(table, Some(partition), write, now).units -= units;
        }
        self.level(table, None, write, now).units -= units;
    }

    fn partition_of(&self, table: &str, pk: &str) -> u32 {
        let hash = xxh3_64(format!("{table}\0{pk}").as_bytes()) >> 32;
        ((hash * u64::from(self.limits.partitions.max(1))) >> 32) as u32
    }

    /// The bucket, filled up to `now`.
    fn level(
        &mut self,
        table: &str,
        partition: Option<u32>,
        write: bool,
        now: Instant,
    ) -> &mut Level {
        let of = if partition.is_some() { self.limits.partition } else { self.limits.table };
        let rate = f64::from(if write { of.write_units } else { of.read_units });
        let most = rate * of.burst.as_secs_f64().max(1.0);
        let level = self
            .levels
            .entry((table.to_owned(), partition, write))
            .or_insert(Level { units: rate, at: self.since });
        let passed = now.saturating_duration_since(level.at).as_secs_f64();
        level.units = (level.units + passed * rate).min(most);
        level.at = now;
        level
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    /// How many writes of `units` under `pk` are admitted at `now`.
    fn admitted(buckets: &mut Buckets, pk: &str, units: f64, now: Instant) -> usize {
        let mut count = 0;
        while buckets.refuse("t", Some(pk), true, now).is_none() {
            buckets.charge("t", Some(pk), true, units, now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_partition_takes_its_rate_and_what_it_has_saved() {
        let start = Clock::starting_at(0).now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut buckets = Buckets::new(Limits::new_table(), start);
        assert_eq!(admitted(&mut buckets, "a", 1.0, at(0)), 1_000);
        assert_eq!(admitted(&mut buckets, "a", 1.0, at(500)), 500);
        assert_eq!(admitted(&mut buckets, "a", 1.0, at(10_500)), 10_000, "ten seconds were unused");
        // Large writes pass while anything is left, and are paid for afterwards.
        assert_eq!(admitted(&mut buckets, "a", 256.0, at(11_000)), 2);
        assert_eq!(admitted(&mut buckets, "a", 1.0, at(11_012)), 0);
        let long_after = 10_000_000;
        assert_eq!(admitted(&mut buckets, "a", 1.0, at(long_after)), 300_000, "not more than kept");
    }

    #[test]
    fn partitions_have_their_own_and_the_table_one_for_all() {
        let now = Clock::starting_at(0).now();
        let mut buckets = Buckets::new(Limits::new_table(), now);
        let each: Vec<_> =
            (0..64).map(|n| admitted(&mut buckets, &n.to_string(), 1.0, now)).collect();
        assert_eq!(each.iter().sum::<usize>(), 4_000, "{each:?}");
        assert_eq!(each.iter().filter(|n| **n == 1_000).count(), 4, "{each:?}");
    }

    #[test]
    fn provisioned_capacity_says_that_it_is() {
        let now = Clock::starting_at(0).now();
        let mut buckets = Buckets::new(Limits::provisioned(20, 7_000), now);
        assert_eq!(buckets.limits().partitions, 3);
        assert_eq!(admitted(&mut buckets, "a", 1.0, now), 20);
        let reason = buckets.refuse("t", Some("a"), true, now).unwrap();
        assert_eq!(reason.name(), "TableWriteProvisionedThroughputExceeded");
        assert_eq!(buckets.refuse("t", Some("a"), false, now), None, "reads have their own");
    }
}
