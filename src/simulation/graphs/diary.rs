//! One keyed operator with lists and counts in namespaces, a greatest value and a mean: lists that grow, are read
//! and are torn up. An element is added before a count is asked for that may have to be read first. Some
//! seeds' keys are texts, longer ones than a sort key among them, or there is one key for all, of no bytes.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::labels::{Labels, Look, of_one_key, some_of};
use super::told::{self, Line, Reference};
use super::{Event, Kind, events};
use crate::error::{Error, Result};
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{
    AggregatingDescriptor, AggregatingState, ListDescriptor, ListState, Namespaced,
    ReducingDescriptor, ReducingState, States, SubKey, ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "diary",
    share: 8,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        match Look::draw(random) {
            Look::Numbers => {
                let ends = MemoryEnds::new(splits, last);
                Arc::new(Diary { ends, labels: Labels::numbers(), memory: MEMORY, mishap })
            }
            Look::Texts(labels) => {
                let memory = MEMORY + ENTRIES * labels.longest();
                let ends = MemoryEnds::new(some_of(splits), last);
                Arc::new(Diary { ends, labels, memory, mishap })
            }
            Look::Nothing => {
                let ends = MemoryEnds::new(of_one_key(splits), vec![(0, 1)]);
                Arc::new(Diary { ends, labels: Labels::nothing(), memory: MEMORY, mishap })
            }
        }
    },
};

/// What a key's state takes with keys of a few bytes.
const MEMORY: u64 = 2000;

/// How many entries a key has at most, about: a list for each split, a count for each topic, the greatest
/// value and the mean. Each has its key.
const ENTRIES: u64 = 5 + TOPICS + 2;

const TOPICS: u64 = 3;

/// `K`: what keys look like.
struct Diary<K> {
    ends: MemoryEnds<Event, Line<Told>>,
    labels: Labels<K>,
    memory: u64,
    mishap: Mishap,
}

/// How many values there were, and their sum.
type Sum = (u64, u64);

fn add(sum: &mut Sum, value: u64) {
    *sum = (sum.0 + 1, sum.1 + value);
}

fn mean(sum: &Sum) -> u64 {
    sum.1 / sum.0
}

/// What a record is told: of its topic, of all, and of its split's pages where it reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    mentions: u64,
    greatest: u64,
    mean: u64,
    pages: Option<u64>,
}

fn topic(value: u64) -> u64 {
    value % TOPICS
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

struct Process<K> {
    /// By split, so that what is left does not hang on the order of splits.
    pages: Namespaced<u64, ListState<u64>>,
    /// By topic.
    mentions: Namespaced<u64, ValueState<u64>>,
    greatest: ReducingState<u64>,
    mean: AggregatingState<u64, Sum, u64>,
    mishap: Mishap,
    key: PhantomData<fn() -> K>,
}

impl<K: SubKey> KeyedProcess for Process<K> {
    type Key = K;
    type In = Positioned<Event>;
    type Out = Line<Told>;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let Positioned { origin, value: (key, value) } = record;
        let split: u64 =
            origin.split.parse().map_err(|_| Error::internal("a split without a number"))?;
        context.in_namespace(&split).list(self.pages).add(value);
        context.reducing(self.greatest).add(value)?;
        context.aggregating(self.mean).add(value)?;
        let topic = topic(value);
        let mut of_topic = context.in_namespace(&topic);
        let mentions = of_topic.get(self.mentions)?.copied().unwrap_or_default() + 1;
        of_topic.set(self.mentions, mentions);
        let greatest = context.reducing(self.greatest).get()?.copied().unwrap_or_default();
        let mean = context.aggregating(self.mean).get()?.unwrap_or_default();
        let mut of_split = context.in_namespace(&split);
        let mut list = of_split.list(self.pages);
        let pages = if reads(value) { Some(read(list.get()?.copied())) } else { None };
        if tears_up(value) {
            list.clear()?;
        }
        let told = Told { mentions, greatest, mean, pages };
        context.emit(Line { key, split, position: origin.position, value, told });
        Ok(())
    }
}

/// A key's states.
#[derive(Clone, Debug, Default)]
struct OfKey {
    pages: BTreeMap<u64, Vec<u64>>,
    mentions: BTreeMap<u64, u64>,
    greatest: u64,
    sum: Sum,
}

impl Reference for OfKey {
    type Told = Told;

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
        add(&mut self.sum, value);
        Told { mentions: *mentions, greatest: self.greatest, mean: mean(&self.sum), pages }
    }
}

impl<K: SubKey> Scenario for Diary<K> {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn memory_of_a_key(&self) -> u64 {
        self.memory
    }

    fn graph(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let (mishap, labels) = (self.mishap.clone(), self.labels.clone());
        env.source_with_origin(self.ends.input.source())
            .uid("events")
            .key_by(move |record| labels.of(record.value.0).clone())
            .process(move |states: &mut States| Process::<K> {
                pages: states.namespaced().list(ListDescriptor::new("pages")),
                mentions: states.namespaced().value(ValueDescriptor::new("mentions")),
                greatest: states.reducing(ReducingDescriptor::new("greatest", |a, b| b.max(*a))),
                mean: states.aggregating(AggregatingDescriptor::new(
                    "mean",
                    Sum::default,
                    add,
                    mean,
                )),
                mishap: mishap.clone(),
                key: PhantomData,
            })
            .uid("diary")
            .sink(self.ends.sink.clone());
        env.build()
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        told::check_output::<OfKey>(&self.ends, commits, positions)
    }

    fn key_bytes(&self, _: &str, _: &str, key: &[u8]) -> usize {
        self.labels.bytes_at(key)
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let references = told::references::<OfKey>(&self.ends, state.positions).into_iter();
        let keys: BTreeMap<&K, OfKey> =
            references.map(|(key, of_key)| (self.labels.of(key), of_key)).collect();
        let greatest = keys.iter().map(|(key, reference)| (*key, reference.greatest));
        state.compare("diary", "greatest", greatest)?;
        let sums = keys.iter().map(|(key, reference)| (*key, reference.sum));
        state.compare("diary", "mean", sums)?;
        let (mut mentions, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for (key, reference) in keys {
            let of_topic = |(topic, n)| ((key.clone(), topic), n);
            mentions.extend(reference.mentions.into_iter().map(of_topic));
            let lists = reference.pages.into_iter().filter(|(_, list)| !list.is_empty());
            pages.extend(lists.map(|(split, list)| ((key.clone(), split), list)));
        }
        state.compare("diary", "mentions", mentions.iter().map(|(at, n)| (at, *n)))?;
        let found = state.lists::<(K, u64), u64>("diary", "pages")?;
        match found == pages {
            true => Ok(()),
            false => Err(format!("diary.pages is {found:?}, not {pages:?}")),
        }
    }
}
