//! One keyed operator whose state expires by the times of records, some of which come late: a count that
//! begins anew where the last record of its key is too long ago, and is read without being begun anew.
//!
//! Each split has keys of its own, so that the order of a key's records, and with it what expires, is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::Kind;
use crate::connector::MemorySink;
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::scenario::{
    CommitOf, Input, Mishap, Positions, Scenario, StateView, Verdict,
};
use crate::state::{States, Ttl, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "expiring",
    share: 10,
    draw: |random: &mut StdRng, mishap| {
        let number = random.random_range(1..=4);
        let splits = (0..number).map(|split| records(random, split * 100)).collect();
        Arc::new(Expiring { input: Input::new(splits, vec![]), sink: MemorySink::new(), mishap })
    },
};

/// For how long a count lives; as many records of a split are as far apart as their times.
const AFTER_MS: u64 = 60;
/// No record is later than this.
const LATENESS_MS: u64 = 1_000_000;

/// A key, a time, and whether the count is to grow.
type Timed = (u64, u64, bool);

/// A key, what was counted before, and at which time.
type Line = (u64, u64, u64);

/// The records of one split; each key comes once more at the end.
fn records(random: &mut StdRng, first_key: u64) -> Vec<Timed> {
    let keys = random.random_range(1..=20);
    let number = random.random_range(0..160u64);
    let mut records: Vec<Timed> = (0..number)
        .map(|i| {
            let late = random.random_range(0..30);
            let time = 1000 + (i * 4).saturating_sub(late);
            (first_key + random.random_range(0..keys), time, random.random_bool(0.7))
        })
        .collect();
    records.extend((0..keys).map(|key| (first_key + key, 1000 + number * 4, true)));
    records
}

struct Expiring {
    input: Input<Timed>,
    sink: MemorySink<Line>,
    mishap: Mishap,
}

struct Process {
    count: ValueState<u64>,
    mishap: Mishap,
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Timed;
    type Out = Line;

    fn process(&self, (key, time, grow): Timed, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let count = context.get(self.count).copied().unwrap_or(0);
        if grow {
            context.set(self.count, count + 1);
        }
        context.emit((key, count, time));
        Ok(())
    }

    fn event_time(&self, (_, time, _): &Timed) -> Option<u64> {
        Some(*time)
    }
}

/// What a loop over some records leaves of each key, and gives out.
#[derive(Default)]
struct Reference {
    counts: BTreeMap<u64, (u64, u64)>,
    lines: BTreeMap<u64, Vec<Line>>,
}

impl Reference {
    fn of<'a>(records: impl Iterator<Item = &'a Timed>) -> Self {
        let mut reference = Self::default();
        for &(key, time, grow) in records {
            if reference.counts.get(&key).is_some_and(|(_, expires)| *expires <= time) {
                reference.counts.remove(&key);
            }
            let count = reference.counts.get(&key).map_or(0, |(count, _)| *count);
            if grow {
                reference.counts.insert(key, (count + 1, time + AFTER_MS));
            }
            reference.lines.entry(key).or_default().push((key, count, time));
        }
        reference
    }
}

impl Scenario for Expiring {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        let ttl = Ttl::new(Duration::from_millis(AFTER_MS))
            .by_event_time(Duration::from_millis(LATENESS_MS));
        env.source(self.input.source())
            .uid("events")
            .key_by(|(key, _, _)| *key)
            .process(move |states: &mut States| Process {
                count: states.value(ValueDescriptor::new("count").with_ttl(ttl)),
                mishap: mishap.clone(),
            })
            .uid("expiring")
            .sink(self.sink.clone());
        env.build()
    }

    fn give(&self, random: &mut StdRng) -> bool {
        self.input.give(random)
    }

    fn finish(&self) {
        self.input.finish();
    }

    fn commits(&self) -> Vec<CommitOf> {
        self.sink.committed()
    }

    fn staged(&self) -> usize {
        self.sink.staged()
    }

    fn hesitate(&self, calls: u32) {
        self.sink.hesitate(calls);
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.sink.commits().map_err(|e| e.to_string())?;
        let mut lines: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
        for line in commits.iter().flat_map(|n| &all[*n].records) {
            lines.entry(line.0).or_default().push(*line);
        }
        let expected = Reference::of(self.input.before("events", positions)).lines;
        let keys = expected.keys().chain(lines.keys());
        for key in keys {
            let (found, expected) = (lines.get(key), expected.get(key));
            if found != expected {
                return Err(format!("key {key} gave {found:?}, not {expected:?}"));
            }
        }
        Ok(())
    }

    fn check_end(&self, positions: &Positions) -> Verdict {
        self.input.check_end("events", positions)
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let counts = Reference::of(self.input.before("events", state.positions)).counts;
        let counts = counts.iter().map(|(key, (count, _))| (key, *count));
        state.compare("expiring", "count", counts)
    }
}
