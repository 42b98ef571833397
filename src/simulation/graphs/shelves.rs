//! One keyed operator with a map, whose entries are counted, removed and summed up. Each record writes
//! and gives something out before it asks for what may have to be read first, so that what a suspended one
//! leaves behind shows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::error::{Error, Result};
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{MapDescriptor, MapKeys, MapState, States, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "shelves",
    share: 12,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        // The last record of a key looks at all of its shelves.
        let last = last.into_iter().map(|(key, _)| (key, 3)).collect();
        Arc::new(Shelves { ends: MemoryEnds::new(splits, last), mishap })
    },
};

struct Shelves {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
}

/// The split that counts there, so that what is left does not hang on the order of splits, and a number.
type Shelf = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: u64,
    split: u64,
    position: u64,
    value: u64,
    told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Before the map was asked: how many records the key had.
    Records(u64),
    /// After that: what was found.
    Found(u64),
}

/// What a record does with the map.
enum Act {
    Count(Shelf),
    Remove(Shelf),
    SumUp,
}

fn act(split: u64, value: u64) -> Act {
    let shelf = (split, value % 5);
    match value % 4 {
        0 | 1 => Act::Count(shelf),
        2 => Act::Remove(shelf),
        _ => Act::SumUp,
    }
}

fn sum_up<'e>(entries: impl Iterator<Item = (&'e Shelf, &'e u64)>) -> u64 {
    entries.fold(1, |sum, ((split, shelf), count)| sum * 31 % 1_000_003 + split + shelf + count)
}

struct Process {
    records: ValueState<u64>,
    shelves: MapState<Shelf, u64>,
    mishap: Mishap,
}

fn split_of(record: &Positioned<Event>) -> Result<u64> {
    record.origin.split.parse().map_err(|_| Error::internal("a split without a number"))
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Positioned<Event>;
    type Out = Line;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let split = split_of(&record)?;
        let Positioned { origin, value: (key, value) } = record;
        let line = |told| Line { key, split, position: origin.position, value, told };
        let records = context.get(self.records).copied().unwrap_or_default();
        context.set(self.records, records + 1);
        context.emit(line(Told::Records(records)));
        let mut shelves = context.map(self.shelves);
        let found = match act(split, value) {
            Act::Count(shelf) => {
                let count = shelves.get(&shelf)?.copied().unwrap_or_default();
                shelves.put(shelf, count + 1);
                count
            }
            Act::Remove(shelf) => {
                shelves.remove(&shelf);
                0
            }
            Act::SumUp => sum_up(shelves.iter()?),
        };
        context.emit(line(Told::Found(found)));
        Ok(())
    }

    /// Half of the shelves are named ahead, the others are found missing.
    fn map_keys(&self, record: &Self::In, keys: &mut MapKeys<'_, u64>) {
        let value = record.value.1;
        if let (Ok(split), true) = (split_of(record), value % 8 < 4)
            && let Act::Count(shelf) = act(split, value)
        {
            keys.map(self.shelves, shelf);
        }
    }
}

/// A key's states.
#[derive(Clone, Debug, Default)]
struct Reference {
    records: u64,
    shelves: BTreeMap<Shelf, u64>,
}

impl Reference {
    fn apply(&mut self, split: u64, value: u64) -> u64 {
        match act(split, value) {
            Act::Count(shelf) => {
                let count = self.shelves.entry(shelf).or_default();
                *count += 1;
                *count - 1
            }
            Act::Remove(shelf) => {
                self.shelves.remove(&shelf);
                0
            }
            Act::SumUp => sum_up(self.shelves.iter()),
        }
    }
}

impl Scenario for Shelves {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        env.source_with_origin(self.ends.input.source())
            .uid("events")
            .key_by(|record| record.value.0)
            .process(move |states: &mut States| Process {
                records: states.value(ValueDescriptor::new("records")),
                shelves: states.map(MapDescriptor::new("shelves")),
                mishap: mishap.clone(),
            })
            .uid("shelves")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        let all = self.ends.sink.commits().map_err(|e| e.to_string())?;
        let mut keys: HashMap<u64, Reference> = HashMap::new();
        let mut last: HashMap<(u64, u64), u64> = HashMap::new();
        let (mut number, mut begun) = (0, HashMap::new());
        for line in commits.iter().flat_map(|n| &all[*n].records) {
            let Line { key, split, position, value, told } = line.clone();
            let reference = keys.entry(key).or_default();
            let wrong = |expected: u64| Err(format!("{line:?}, the reference is {expected}"));
            match told {
                Told::Records(records) => {
                    let before = last.insert((key, split), position);
                    if before.is_some_and(|before| before >= position) {
                        return Err(format!("{line:?} comes after position {before:?}"));
                    }
                    if records != reference.records || begun.contains_key(&key) {
                        return wrong(reference.records);
                    }
                    begun.insert(key, (split, position));
                    reference.records += 1;
                }
                Told::Found(found) => {
                    if begun.remove(&key) != Some((split, position)) {
                        return Err(format!("{line:?} is the second half of another record"));
                    }
                    let expected = reference.apply(split, value);
                    if found != expected {
                        return wrong(expected);
                    }
                    number += 1;
                }
            }
        }
        let records = self.ends.input.before("events", positions).count();
        if number == records { Ok(()) } else { Err(format!("{number} of {records} records")) }
    }

    fn key_bytes(&self, _: &str, _: &str, _: &[u8]) -> usize {
        size_of::<u64>()
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut keys: BTreeMap<u64, Reference> = BTreeMap::new();
        for (split, events) in self.ends.input.splits().iter().enumerate() {
            let read = state.positions.before("events", split) as usize;
            for (key, value) in &events[..read.min(events.len())] {
                let reference = keys.entry(*key).or_default();
                reference.records += 1;
                reference.apply(split as u64, *value);
            }
        }
        let records = keys.iter().map(|(key, reference)| (key, reference.records));
        state.compare("shelves", "records", records)?;
        let of_key = |(key, reference): (&u64, &Reference)| {
            let entry = |(shelf, count): (&Shelf, &u64)| ((*key, *shelf), *count);
            reference.shelves.iter().map(entry).collect::<Vec<_>>()
        };
        let entries: Vec<((u64, Shelf), u64)> = keys.iter().flat_map(of_key).collect();
        state.compare("shelves", "shelves", entries.iter().map(|(key, count)| (key, *count)))
    }
}
