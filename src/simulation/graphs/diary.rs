//! One keyed operator with lists and counts in namespaces and a greatest value: lists that grow, are read
//! and are torn up. An element is added before a count is asked for that may have to be read first.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;

use super::{Event, Kind, events};
use crate::codec::{Bincode, Codec, Key};
use crate::error::{Error, Result};
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{
    ListDescriptor, ListState, Namespaced, ReducingDescriptor, ReducingState, States,
    ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "diary",
    share: 8,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        Arc::new(Diary { ends: MemoryEnds::new(splits, last), mishap })
    },
};

struct Diary {
    ends: MemoryEnds<Event, Line>,
    mishap: Mishap,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    key: u64,
    split: u64,
    position: u64,
    value: u64,
    told: Told,
}

/// What a record is told: of its topic, of all, and of its split's pages where it reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    mentions: u64,
    greatest: u64,
    pages: Option<u64>,
}

fn topic(value: u64) -> u64 {
    value % 3
}

fn reads(value: u64) -> bool {
    value % 5 == 1
}

fn tears_up(value: u64) -> bool {
    value.is_multiple_of(11)
}

fn read(pages: impl Iterator<Item = u64>) -> u64 {
    pages.fold(1, |sum, page| sum * 31 % 1_000_003 + page)
}

struct Process {
    /// By split, so that what is left does not hang on the order of splits.
    pages: Namespaced<u64, ListState<u64>>,
    /// By topic.
    mentions: Namespaced<u64, ValueState<u64>>,
    greatest: ReducingState<u64>,
    mishap: Mishap,
}

impl KeyedProcess for Process {
    type Key = u64;
    type In = Positioned<Event>;
    type Out = Line;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let Positioned { origin, value: (key, value) } = record;
        let split: u64 =
            origin.split.parse().map_err(|_| Error::internal("a split without a number"))?;
        context.in_namespace(&split).list(self.pages).add(value);
        context.reducing(self.greatest).add(value)?;
        let topic = topic(value);
        let mut of_topic = context.in_namespace(&topic);
        let mentions = of_topic.get(self.mentions)?.copied().unwrap_or_default() + 1;
        of_topic.set(self.mentions, mentions);
        let greatest = context.reducing(self.greatest).get()?.copied().unwrap_or_default();
        let mut of_split = context.in_namespace(&split);
        let mut list = of_split.list(self.pages);
        let pages = if reads(value) { Some(read(list.get()?.copied())) } else { None };
        if tears_up(value) {
            list.clear()?;
        }
        let told = Told { mentions, greatest, pages };
        context.emit(Line { key, split, position: origin.position, value, told });
        Ok(())
    }
}

/// A key's states.
#[derive(Clone, Debug, Default)]
struct Reference {
    pages: BTreeMap<u64, Vec<u64>>,
    mentions: BTreeMap<u64, u64>,
    greatest: u64,
}

impl Reference {
    fn apply(&mut self, split: u64, value: u64) -> Told {
        let list = self.pages.entry(split).or_default();
        list.push(value);
        let pages = reads(value).then(|| read(list.iter().copied()));
        if tears_up(value) {
            list.clear();
        }
        let mentions = self.mentions.entry(topic(value)).or_default();
        *mentions += 1;
        self.greatest = self.greatest.max(value);
        Told { mentions: *mentions, greatest: self.greatest, pages }
    }
}

/// The elements of each list that is not empty, chunk after chunk.
fn lists(state: &StateView<'_>) -> std::result::Result<BTreeMap<(u64, u64), Vec<u64>>, String> {
    let mut lists: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    for ((operator, name, key), value) in state.values {
        if (operator.as_str(), name.as_str()) != ("diary", "pages") {
            continue;
        }
        let mut key = &key[..];
        let at = <(u64, u64)>::decode(&mut key).map_err(|e| e.to_string())?;
        <(u32, u32)>::decode(&mut key).map_err(|e| e.to_string())?;
        let chunk = <Bincode as Codec<Vec<u64>>>::decode(value).map_err(|e| e.to_string())?;
        lists.entry(at).or_default().extend(chunk);
    }
    lists.retain(|_, list| !list.is_empty());
    Ok(lists)
}

impl Scenario for Diary {
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
                pages: states.namespaced().list(ListDescriptor::new("pages")),
                mentions: states.namespaced().value(ValueDescriptor::new("mentions")),
                greatest: states.reducing(ReducingDescriptor::new("greatest", |a, b| b.max(*a))),
                mishap: mishap.clone(),
            })
            .uid("diary")
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
        let mut number = 0;
        for line in commits.iter().flat_map(|n| &all[*n].records) {
            number += 1;
            let before = last.insert((line.key, line.split), line.position);
            if before.is_some_and(|before| before >= line.position) {
                return Err(format!("{line:?} comes after position {before:?}"));
            }
            let expected = keys.entry(line.key).or_default().apply(line.split, line.value);
            if line.told != expected {
                return Err(format!("{line:?}, the reference is {expected:?}"));
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
                keys.entry(*key).or_default().apply(split as u64, *value);
            }
        }
        let greatest = keys.iter().map(|(key, reference)| (key, reference.greatest));
        state.compare("diary", "greatest", greatest)?;
        let (mut mentions, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for (key, reference) in keys {
            mentions.extend(reference.mentions.into_iter().map(|(topic, n)| ((key, topic), n)));
            let lists = reference.pages.into_iter().filter(|(_, list)| !list.is_empty());
            pages.extend(lists.map(|(split, list)| ((key, split), list)));
        }
        state.compare("diary", "mentions", mentions.iter().map(|(at, n)| (at, *n)))?;
        let found = lists(state)?;
        match found == pages {
            true => Ok(()),
            false => Err(format!("diary.pages is {found:?}, not {pages:?}")),
        }
    }
}
