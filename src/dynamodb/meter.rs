//! What a run consumes: capacity units and requests, by what they were for and whose they were.
//!
//! Owns the counters. They are DynamoDB's own figures (`ReturnConsumedCapacity = TOTAL`) with one
//! exception: a write whose condition fails is charged by the size of the item that is there, which
//! DynamoDB documents but does not report, so it is computed from that item. Embedded DynamoDB
//! reports as AWS does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::pace::Lane;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
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

/// How many purposes there are.
pub(super) const PURPOSES: usize = 4;

impl Purpose {
    const ALL: [Self; PURPOSES] = [Self::Log, Self::Materialise, Self::Read, Self::Protocol];
}

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

/// What was consumed for one state of one operator, for one purpose.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Share {
    /// The operator's id.
    pub operator: String,
    /// The state; a segment of the log holds all of an operator's, which share it by their bytes before
    /// compression. `None` for segments of an older version of Millpond.
    pub state: Option<String>,
    /// What for.
    pub purpose: Purpose,
    /// Read capacity units.
    pub read_units: f64,
    /// Write capacity units.
    pub write_units: f64,
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
pub struct Meter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    totals: [Counters; PURPOSES],
    /// By owner: `operator/state`, or `operator` where the state is not known.
    owners: Mutex<BTreeMap<String, [Units; PURPOSES]>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Units {
    read: f64,
    write: f64,
}

impl Meter {
    fn of(&self, purpose: Purpose) -> &Counters {
        &self.0.totals[purpose as usize]
    }

    pub(super) fn sent(&self, purpose: Purpose) {
        self.of(purpose).requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn throttled(&self, purpose: Purpose) {
        self.of(purpose).throttled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn charge(&self, purpose: Purpose, lane: Lane, units: f64) {
        let counters = self.of(purpose);
        match lane {
            Lane::Read => add(&counters.read_tenths, units),
            Lane::Write => add(&counters.write_tenths, units),
        }
    }

    /// Divides `units`, which were charged, among their owners by weight. Those that come one after
    /// the other cost one look-up.
    pub(super) fn divide<'a>(
        &self,
        purpose: Purpose,
        lane: Lane,
        units: f64,
        owners: impl Iterator<Item = (&'a str, f64)> + Clone,
    ) {
        let whole: f64 = owners.clone().map(|(_, weight)| weight).sum();
        if whole <= 0.0 || units <= 0.0 {
            return;
        }
        let mut all = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners = owners.peekable();
        while let Some((owner, mut weight)) = owners.next() {
            while let Some((_, next)) = owners.next_if(|(next, _)| *next == owner) {
                weight += next;
            }
            if !all.contains_key(owner) {
                all.insert(owner.to_owned(), [Units::default(); PURPOSES]);
            }
            if let Some(of) = all.get_mut(owner) {
                let of = &mut of[purpose as usize];
                let share = units * weight / whole;
                match lane {
                    Lane::Read => of.read += share,
                    Lane::Write => of.write += share,
                }
            }
        }
    }

    /// What was consumed up to now, by operator, state and purpose. Heads and manifests are nobody's.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let all = self.0.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let share = |owner: &str, purpose, units: Units| {
            let (operator, state) = match owner.split_once('/') {
                Some((operator, state)) => (operator, Some(state.to_owned())),
                None => (owner, None),
            };
            let Units { read: read_units, write: write_units } = units;
            Share { operator: operator.to_owned(), state, purpose, read_units, write_units }
        };
        all.iter()
            .flat_map(|(owner, of)| Purpose::ALL.map(|p| share(owner, p, of[p as usize])))
            .filter(|share| share.read_units + share.write_units > 0.0)
            .collect()
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

/// Whose an item under the partition key `pk` is: `operator/state`.
pub(super) fn owner_of(pk: &str) -> Option<&str> {
    let (_, rest) = pk.split_once("/s/")?;
    rest.rsplit_once('#').map(|(owner, _)| owner)
}

/// The read units of an item of `bytes`, read consistently: one for each 4 KiB begun, and at least one.
pub(super) fn read_units_of(bytes: usize) -> f64 {
    bytes.div_ceil(4096).max(1) as f64
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
        meter.charge(Purpose::Log, Lane::Write, 256.0);
        meter.charge(Purpose::Read, Lane::Read, 0.5);
        meter.clone().charge(Purpose::Read, Lane::Read, 1.0);
        meter.sent(Purpose::Read);
        let now = meter.snapshot();
        assert_eq!((now.log.write_units, now.read.read_units, now.read.requests), (256.0, 1.5, 1));
        assert_eq!(now.total().write_units, 256.0);
        assert_eq!(now.protocol, Usage::default());
    }

    #[test]
    fn units_are_divided_among_their_owners_by_weight() {
        let meter = Meter::default();
        let owners = [("a/x", 1.0), ("a/y", 2.0), ("a/x", 1.0)];
        meter.divide(Purpose::Materialise, Lane::Write, 8.0, owners.into_iter());
        meter.divide(Purpose::Log, Lane::Write, 5.0, [("a", 1.0)].into_iter());
        meter.divide(Purpose::Read, Lane::Read, 0.0, owners.into_iter());
        let shares = meter.shares();
        let seen: Vec<_> = shares
            .iter()
            .map(|s| (&*s.operator, s.state.as_deref(), s.purpose, s.write_units))
            .collect();
        let expected = [
            ("a", None, Purpose::Log, 5.0),
            ("a", Some("x"), Purpose::Materialise, 4.0),
            ("a", Some("y"), Purpose::Materialise, 4.0),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn write_units_round_up() {
        assert_eq!([0, 1, 1024, 1025].map(write_units_of), [1.0, 1.0, 1.0, 2.0]);
    }
}
