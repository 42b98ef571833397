//! Two keyed operators, one after the other with other keys, a union of two sources before them and
//! two sinks behind: barriers that have to be aligned, and commits that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::connector::MemorySink;
use crate::error::Result;
use crate::operator::{Context, KeyedProcess};
use crate::simulation::ends::{Ends, Inlet, Input, Outlet};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "stages",
    share: 14,
    draw: |random: &mut StdRng, mishap| {
        let (left, last_left) = events(random);
        let (right, last_right) = events(random);
        Arc::new(Stages {
            left: Input::new(left, last_left),
            right: Input::new(right, last_right),
            singles: MemorySink::new(),
            totals: MemorySink::new(),
            mishap,
        })
    },
};

struct Stages {
    left: Input<Event>,
    right: Input<Event>,
    /// What the first operator gives out.
    singles: MemorySink<Sum>,
    /// What the second one does.
    totals: MemorySink<Sum>,
    mishap: Mishap,
}

/// A key, its records so far and the sum of their values.
type Sum = (u64, u64, u64);

/// Groups keys together for the second operator.
fn group_of(key: u64) -> u64 {
    key % 7
}

struct Adding {
    sums: ValueState<(u64, u64)>,
    mishap: Mishap,
}

impl KeyedProcess for Adding {
    type Key = u64;
    type In = Event;
    type Out = (Event, Sum);

    fn process(&self, (key, value): Event, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let (count, sum) = context.get(self.sums).copied().unwrap_or_default();
        let (count, sum) = (count + 1, sum + value);
        context.set(self.sums, (count, sum));
        context.emit(((key, value), (key, count, sum)));
        Ok(())
    }
}

impl Scenario for Stages {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let adding = |mishap: &Mishap| {
            let mishap = mishap.clone();
            move |states: &mut States| Adding {
                sums: states.value(ValueDescriptor::new("sums")),
                mishap: mishap.clone(),
            }
        };
        let left = env.source(self.left.source()).uid("left");
        let right = env.source(self.right.source()).uid("right");
        let first = left.union(right).key_by(|(key, _)| *key).process(adding(&self.mishap));
        let (singles, again) = first.uid("first").tee();
        singles.map(|(_, sum)| sum).sink(self.singles.clone());
        again
            .map(|((key, value), _)| (group_of(key), value))
            .key_by(|(group, _)| *group)
            .process(adding(&self.mishap))
            .uid("second")
            .map(|(_, sum)| sum)
            .sink(self.totals.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        self
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let mut lists = [self.singles.commits(), self.totals.commits()];
        let first = lists[0].as_ref().map_or(0, Vec::len);
        let keys: [fn(u64) -> u64; 2] = [|key| key, group_of];
        for (sink, list) in lists.iter_mut().enumerate() {
            let list = std::mem::replace(list, Ok(Vec::new())).map_err(|e| e.to_string())?;
            let of_sink = commits.iter().filter(|n| (**n >= first) == (sink == 1));
            let records = of_sink.flat_map(|n| &list[n - sink * first].records);
            let expected = self.before(positions, keys[sink]);
            check_sums(["singles", "totals"][sink], records, &expected)?;
        }
        Ok(())
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let first = self.before(state.positions, |key| key);
        state.compare("first", "sums", first.iter().map(|(key, sums)| (key, *sums)))?;
        let second = self.before(state.positions, group_of);
        state.compare("second", "sums", second.iter().map(|(key, sums)| (key, *sums)))
    }
}

impl Ends for Stages {
    fn inlets(&self) -> Vec<(&str, &dyn Inlet)> {
        vec![("left", &self.left), ("right", &self.right)]
    }

    fn outlets(&self) -> Vec<&dyn Outlet> {
        vec![&self.singles, &self.totals]
    }
}

impl Stages {
    fn before(
        &self,
        positions: &Positions,
        key_of: impl Fn(u64) -> u64,
    ) -> BTreeMap<u64, (u64, u64)> {
        let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let left = self.left.before("left", positions);
        for (key, value) in left.chain(self.right.before("right", positions)) {
            let (count, sum) = sums.entry(key_of(*key)).or_default();
            (*count, *sum) = (*count + 1, *sum + value);
        }
        sums
    }
}

/// Counts go up by one, sums never down, and the last ones are the reference's.
fn check_sums<'a>(
    sink: &str,
    sums: impl Iterator<Item = &'a Sum>,
    expected: &BTreeMap<u64, (u64, u64)>,
) -> Verdict {
    let mut found: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for (key, count, sum) in sums {
        let before = found.insert(*key, (*count, *sum)).unwrap_or_default();
        if *count != before.0 + 1 || *sum < before.1 {
            return Err(format!("{sink}: {:?} of key {key} after {before:?}", (count, sum)));
        }
    }
    if found == *expected {
        return Ok(());
    }
    let differ = |key: &&u64| found.get(key) != expected.get(key);
    let key = found.keys().chain(expected.keys()).find(differ);
    let (found, expected) = (key.and_then(|k| found.get(k)), key.and_then(|k| expected.get(k)));
    Err(format!("{sink}: key {key:?} ends with {found:?}, not {expected:?}"))
}
