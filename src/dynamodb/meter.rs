//! What a run consumes: capacity units and requests, by what they were for.
//!
//! Owns the counters. They are DynamoDB's own figures (`ReturnConsumedCapacity = TOTAL`) with one
//! exception: a write whose condition fails is charged by the size of the item that is there, which
//! DynamoDB documents but does not report, so it is computed from that item. Embedded DynamoDB
//! reports as AWS does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::types::ConsumedCapacity;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Segments.
    Log,
    /// Items written.
    Materialise,
    /// Items read because they are not in memory.
    Read,
    /// Heads, manifests, the table, and the deletion of former incarnations.
    Protocol,
}

const PURPOSES: usize = 4;

/// What was consumed for one purpose. A write unit is 1 KiB written; a read unit 4 KiB read
/// consistently.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Usage {
    /// Read capacity units.
    pub read_units: f64,
    /// Write capacity units.
    pub write_units: f64,
    /// Requests sent, retries included.
    pub requests: u64,
    /// Of these, the ones that were throttled, wholly or in part.
    pub throttled: u64,
}

/// All that was consumed up to some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Consumption {
    /// Segments.
    pub log: Usage,
    /// Items written.
    pub materialise: Usage,
    /// Items read.
    pub read: Usage,
    /// Heads, manifests and the table.
    pub protocol: Usage,
}

impl Consumption {
    /// The sum over all purposes.
    #[must_use]
    pub fn total(&self) -> Usage {
        let all = [self.log, self.materialise, self.read, self.protocol];
        all.into_iter().fold(Usage::default(), |a, b| Usage {
            read_units: a.read_units + b.read_units,
            write_units: a.write_units + b.write_units,
            requests: a.requests + b.requests,
            throttled: a.throttled + b.throttled,
        })
    }
}

/// Units come in halves; they are counted in tenths so that any server's rounding survives.
const SCALE: f64 = 10.0;

#[derive(Debug, Default)]
struct Counters {
    read_tenths: AtomicU64,
    write_tenths: AtomicU64,
    requests: AtomicU64,
    throttled: AtomicU64,
}

/// A cheap handle to the counters of a connection.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<[Counters; PURPOSES]>);

impl Meter {
    fn of(&self, purpose: Purpose) -> &Counters {
        &self.0[purpose as usize]
    }

    pub(super) fn sent(&self, purpose: Purpose) {
        self.of(purpose).requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn throttled(&self, purpose: Purpose) {
        self.of(purpose).throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, purpose: Purpose, units: f64) {
        add(&self.of(purpose).read_tenths, units);
    }

    pub(super) fn wrote(&self, purpose: Purpose, units: f64) {
        add(&self.of(purpose).write_tenths, units);
    }

    /// What was consumed up to now.
    #[must_use]
    pub fn snapshot(&self) -> Consumption {
        Consumption {
            log: self.usage(Purpose::Log),
            materialise: self.usage(Purpose::Materialise),
            read: self.usage(Purpose::Read),
            protocol: self.usage(Purpose::Protocol),
        }
    }

    fn usage(&self, purpose: Purpose) -> Usage {
        let counters = self.of(purpose);
        let units = |tenths: &AtomicU64| tenths.load(Ordering::Relaxed) as f64 / SCALE;
        Usage {
            read_units: units(&counters.read_tenths),
            write_units: units(&counters.write_tenths),
            requests: counters.requests.load(Ordering::Relaxed),
            throttled: counters.throttled.load(Ordering::Relaxed),
        }
    }
}

fn add(counter: &AtomicU64, units: f64) {
    counter.fetch_add((units * SCALE).round() as u64, Ordering::Relaxed);
}

/// The units of an answer; 0 from a server that reports none.
pub(super) fn units<'a>(reported: impl IntoIterator<Item = &'a ConsumedCapacity>) -> f64 {
    reported.into_iter().filter_map(ConsumedCapacity::capacity_units).sum()
}

/// The write units of an item of `bytes`: one for each KiB begun, and at least one.
pub(super) fn write_units_of(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_by_purpose() {
        let meter = Meter::default();
        meter.wrote(Purpose::Log, 256.0);
        meter.read(Purpose::Read, 0.5);
        meter.clone().read(Purpose::Read, 1.0);
        meter.sent(Purpose::Read);
        let now = meter.snapshot();
        assert_eq!((now.log.write_units, now.read.read_units, now.read.requests), (256.0, 1.5, 1));
        assert_eq!(now.total().write_units, 256.0);
        assert_eq!(now.protocol, Usage::default());
    }

    #[test]
    fn write_units_round_up() {
        assert_eq!([0, 1, 1024, 1025].map(write_units_of), [1.0, 1.0, 1.0, 2.0]);
    }
}
