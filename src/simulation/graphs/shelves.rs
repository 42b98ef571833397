//! One keyed operator with a map, whose entries are counted, removed and summed up. Each record writes
//! and gives something out before it asks for what may have to be read first, so that what a suspended one
//! leaves behind shows. Some seeds' keys and map keys are texts, longer ones than a sort key among them, or
//! there is one key for all, of no bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::labels::{Labels, Look, of_one_key, some_of};
use super::told::Line;
use super::{Event, Kind, events};
use crate::codec::Key;
use crate::error::{Error, Result};
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{MapDescriptor, MapKeys, MapState, States, SubKey, ValueDescriptor, ValueState};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "shelves",
    share: 12,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        // The last record of a key looks at all of its shelves.
        let last: Vec<Event> = last.into_iter().map(|(key, _)| (key, 3)).collect();
        match Look::draw(random) {
            Look::Numbers => {
                let ends = MemoryEnds::new(splits, last);
                Arc::new(Shelves { ends, labels: Labels::numbers(), memory: MEMORY, mishap })
            }
            Look::Texts(labels) => {
                let memory = MEMORY + ENTRIES * 2 * labels.longest();
                let ends = MemoryEnds::new(some_of(splits), last);
                Arc::new(Shelves { ends, labels, memory, mishap })
            }
            Look::Nothing => {
                let ends = MemoryEnds::new(of_one_key(splits), vec![(0, 3)]);
                Arc::new(Shelves { ends, labels: Labels::nothing(), memory: MEMORY, mishap })
            }
        }
    },
};

/// What a key's state takes with keys of a few bytes.
const MEMORY: u64 = 2000;

/// How many entries a key has at most: a shelf for each split and label, and the count of its records. Each
/// has its key twice, as it is and encoded.
const ENTRIES: u64 = 5 * LABELS + 1;

/// How many labels shelves have.
const LABELS: u64 = 5;

/// `K`: what keys look like, and the second halves of map keys.
struct Shelves<K> {
    ends: MemoryEnds<Event, Line<Told>>,
    labels: Labels<K>,
    memory: u64,
    mishap: Mishap,
}

/// The split that counts there, so that what is left does not hang on the order of splits, and a label.
type Shelf<K> = (u64, K);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Before the map was asked: how many records the key had.
    Records(u64),
    /// After that: what was found.
    Found(u64),
}

/// What a record does with the map.
enum Act<K> {
    Count(Shelf<K>),
    Remove(Shelf<K>),
    SumUp(Which<K>),
}

/// Which entries are summed up.
enum Which<K> {
    All,
    OfSplit(u64),
    /// From one to another, which is in it.
    Between(Shelf<K>, Shelf<K>),
}

fn act<K: SubKey>(labels: &Labels<K>, split: u64, value: u64) -> Act<K> {
    let shelf = || (split, labels.of(value % LABELS).clone());
    match value % 4 {
        0 | 1 => Act::Count(shelf()),
        2 => Act::Remove(shelf()),
        _ => Act::SumUp(match value % 16 {
            3 | 11 => Which::All,
            7 => Which::OfSplit(split),
            _ => {
                let ends = [0, 1].map(|label| (split, labels.of(label).clone()));
                let [from, to] =
                    if ends[0] <= ends[1] { ends } else { [ends[1].clone(), ends[0].clone()] };
                Which::Between(from, to)
            }
        }),
    }
}

/// Of the entries in their order.
fn sum_up<'e, K: SubKey>(entries: impl Iterator<Item = (&'e Shelf<K>, &'e u64)>) -> u64 {
    let number = |shelf: &Shelf<K>| shelf.key_hash().0 % 1_000_003;
    entries.fold(1, |sum, (shelf, count)| sum * 31 % 1_000_003 + number(shelf) + count)
}

struct Process<K> {
    labels: Labels<K>,
    records: ValueState<u64>,
    shelves: MapState<Shelf<K>, u64>,
    mishap: Mishap,
}

fn split_of(record: &Positioned<Event>) -> Result<u64> {
    record.origin.split.parse().map_err(|_| Error::internal("a split without a number"))
}

impl<K: SubKey> KeyedProcess for Process<K> {
    type Key = K;
    type In = Positioned<Event>;
    type Out = Line<Told>;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let split = split_of(&record)?;
        let Positioned { origin, value: (key, value) } = record;
        let line = |told| Line { key, split, position: origin.position, value, told };
        let records = context.get(self.records).copied().unwrap_or_default();
        context.set(self.records, records + 1);
        context.emit(line(Told::Records(records)));
        let mut shelves = context.map(self.shelves);
        let found = match act(&self.labels, split, value) {
            Act::Count(shelf) => {
                let count = shelves.get(&shelf)?.copied().unwrap_or_default();
                shelves.put(shelf, count + 1);
                count
            }
            Act::Remove(shelf) => {
                shelves.remove(&shelf);
                0
            }
            Act::SumUp(Which::All) => sum_up(shelves.iter()?),
            Act::SumUp(Which::OfSplit(split)) => sum_up(shelves.prefix(&(split,))?),
            Act::SumUp(Which::Between(from, to)) => sum_up(shelves.range(from..=to)?),
        };
        context.emit(line(Told::Found(found)));
        Ok(())
    }

    /// Half of the shelves are named ahead, the others are found missing.
    fn map_keys(&self, record: &Self::In, keys: &mut MapKeys<'_, K>) {
        let value = record.value.1;
        if let (Ok(split), true) = (split_of(record), value % 8 < 4)
            && let Act::Count(shelf) = act(&self.labels, split, value)
        {
            keys.map(self.shelves, shelf);
        }
    }
}

/// A key's states.
#[derive(Clone, Debug)]
struct Reference<K> {
    records: u64,
    shelves: BTreeMap<Shelf<K>, u64>,
}

impl<K> Default for Reference<K> {
    fn default() -> Self {
        Self { records: 0, shelves: BTreeMap::new() }
    }
}

impl<K: SubKey> Reference<K> {
    fn apply(&mut self, labels: &Labels<K>, split: u64, value: u64) -> u64 {
        match act(labels, split, value) {
            Act::Count(shelf) => {
                let count = self.shelves.entry(shelf).or_default();
                *count += 1;
                *count - 1
            }
            Act::Remove(shelf) => {
                self.shelves.remove(&shelf);
                0
            }
            Act::SumUp(Which::All) => sum_up(self.shelves.iter()),
            Act::SumUp(Which::OfSplit(split)) => {
                sum_up(self.shelves.iter().filter(|((of, _), _)| *of == split))
            }
            Act::SumUp(Which::Between(from, to)) => sum_up(self.shelves.range(from..=to)),
        }
    }
}

impl<K: SubKey> Scenario for Shelves<K> {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn memory_of_a_key(&self) -> u64 {
        self.memory
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let (mishap, labels) = (self.mishap.clone(), self.labels.clone());
        let of_records = self.labels.clone();
        env.source_with_origin(self.ends.input.source())
            .uid("events")
            .key_by(move |record| of_records.of(record.value.0).clone())
            .process(move |states: &mut States| Process {
                labels: labels.clone(),
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
        let mut keys: HashMap<u64, Reference<K>> = HashMap::new();
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
                    let expected = reference.apply(&self.labels, split, value);
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

    fn key_bytes(&self, _: &str, _: &str, key: &[u8]) -> usize {
        self.labels.bytes_at(key)
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let mut keys: BTreeMap<&K, Reference<K>> = BTreeMap::new();
        for (split, events) in self.ends.input.splits().iter().enumerate() {
            let read = state.positions.before("events", split) as usize;
            for (key, value) in &events[..read.min(events.len())] {
                let reference = keys.entry(self.labels.of(*key)).or_default();
                reference.records += 1;
                reference.apply(&self.labels, split as u64, *value);
            }
        }
        let records = keys.iter().map(|(key, reference)| (*key, reference.records));
        state.compare("shelves", "records", records)?;
        let of_key = |(key, reference): (&&K, &Reference<K>)| {
            let entry =
                |(shelf, count): (&Shelf<K>, &u64)| (((*key).clone(), shelf.clone()), *count);
            reference.shelves.iter().map(entry).collect::<Vec<_>>()
        };
        let entries: Vec<((K, Shelf<K>), u64)> = keys.iter().flat_map(of_key).collect();
        state.compare("shelves", "shelves", entries.iter().map(|(key, count)| (key, *count)))
    }
}
