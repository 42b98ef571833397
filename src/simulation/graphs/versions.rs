//! One keyed operator whose program changes its types: each process declares one of three types for all of its states,
//! with migrations from the two others, in whatever order they come. So values of all three lie in log and table, of
//! checkpoints before and after a roll-back too, and older programs live on beside newer ones. One of the types has a
//! codec of its own.
//!
//! A value tells by its first byte which codec wrote it, and by its first number which type it is of, so that the
//! oracle needs nobody's word for that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng;
use rand::rngs::StdRng;
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::told::{self, Line, Reference};
use super::{Event, Kind, events};
use crate::codec::{Bincode, Codec, DecodeError, Value};
use crate::error::{Error, Result};
use crate::operator::{Context, KeyedProcess};
use crate::record::Positioned;
use crate::simulation::ends::{Ends, MemoryEnds};
use crate::simulation::scenario::{Mishap, Positions, Scenario, StateView, Verdict};
use crate::state::{
    ListDescriptor, ListState, MapDescriptor, MapState, Namespaced, ReducingDescriptor,
    ReducingState, States, ValueDescriptor, ValueState,
};
use crate::stream::StreamEnvironment;
use crate::task::JobGraph;

pub(super) const KIND: Kind = Kind {
    name: "versions",
    share: 8,
    draw: |random: &mut StdRng, mishap| {
        let (splits, last) = events(random);
        let programs = (0..5).map(|_| random.random_range(0..3)).collect();
        let ends = MemoryEnds::new(splits, last);
        Arc::new(Versions { ends, programs, started: AtomicUsize::new(0), mishap })
    },
};

/// A type that a program keeps its numbers in.
trait Type: Serialize + DeserializeOwned + Send + 'static {
    /// The two others.
    type One: Type;
    type Other: Type;

    /// What writes it, alone and in lists.
    type By: Codec<Self> + Codec<Vec<Self>>;

    fn of(number: u64) -> Self;

    fn number(&self) -> u64;

    fn migrate<From: Type>(from: From) -> Self {
        Self::of(from.number())
    }
}

#[derive(Serialize, Deserialize)]
struct Number(u8, u64);

#[derive(Serialize, Deserialize)]
struct Text(u8, String);

/// The number once as it is and once three times as large.
#[derive(Serialize, Deserialize)]
struct Twice(u8, u64, u64);

/// What no number is.
const WRONG: u64 = u64::MAX >> 8;

/// Texts, which begin with what is no length, number or tag of the default codec.
struct Json;

const JSON: u8 = 0xFF;

impl<T: Value> Codec<T> for Json {
    const ID: &'static str = "json";
    const VERSION: u32 = 1;

    fn encode(value: &T, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        out.push(JSON);
        serde_json::to_writer(out, value).map_err(DecodeError::new)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<T, DecodeError> {
        let text =
            bytes.strip_prefix(&[JSON]).ok_or_else(|| DecodeError::new("this is no JSON"))?;
        serde_json::from_slice(text).map_err(DecodeError::new)
    }
}

/// Reads what either codec has written.
struct Either;

impl<T: Value> Codec<T> for Either {
    const ID: &'static str = "either";
    const VERSION: u32 = 1;

    fn encode(value: &T, out: &mut Vec<u8>) -> std::result::Result<(), DecodeError> {
        Bincode::encode(value, out)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<T, DecodeError> {
        if bytes.first() == Some(&JSON) { Json::decode(bytes) } else { Bincode::decode(bytes) }
    }
}

impl Type for Number {
    type One = Text;
    type Other = Twice;
    type By = Bincode;

    fn of(number: u64) -> Self {
        Self(1, number)
    }

    fn number(&self) -> u64 {
        if self.0 == 1 { self.1 } else { WRONG }
    }
}

impl Type for Text {
    type One = Twice;
    type Other = Number;
    type By = Json;

    fn of(number: u64) -> Self {
        Self(2, format!("n{number}"))
    }

    fn number(&self) -> u64 {
        let number = self.1.strip_prefix('n').and_then(|text| text.parse().ok());
        number.filter(|_| self.0 == 2).unwrap_or(WRONG)
    }
}

impl Type for Twice {
    type One = Number;
    type Other = Text;
    type By = Bincode;

    fn of(number: u64) -> Self {
        Self(3, number, number * 3)
    }

    fn number(&self) -> u64 {
        if (self.0, self.2) == (3, self.1 * 3) { self.1 } else { WRONG }
    }
}

/// A number of any of the three, as the table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Stored(u64);

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_tuple(3, AnyType)
    }
}

struct AnyType;

impl<'de> Visitor<'de> for AnyType {
    type Value = Stored;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of three types")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Stored, A::Error> {
        let end = || A::Error::custom("a number is missing");
        let tag: u8 = seq.next_element()?.ok_or_else(end)?;
        let number = match tag {
            1 => Number(1, seq.next_element()?.ok_or_else(end)?).number(),
            2 => Text(2, seq.next_element()?.ok_or_else(end)?).number(),
            3 => {
                let number = seq.next_element()?.ok_or_else(end)?;
                Twice(3, number, seq.next_element()?.ok_or_else(end)?).number()
            }
            tag => return Err(A::Error::custom(format!("there is no type {tag}"))),
        };
        Ok(Stored(number))
    }
}

/// What a record is told of the key's states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    count: u64,
    mark: u64,
    greatest: u64,
    pages: Option<u64>,
}

fn mark(value: u64) -> u64 {
    value % 5
}

fn reads(value: u64) -> bool {
    value % 3 == 1
}

fn tears_up(value: u64) -> bool {
    value.is_multiple_of(7)
}

fn read(pages: impl Iterator<Item = u64>) -> u64 {
    pages.fold(1, |sum, page| sum * 31 % 1_000_003 + page)
}

fn greater<T: Type>(a: &T, b: T) -> T {
    T::of(a.number().max(b.number()))
}

struct Process<T> {
    count: ValueState<T>,
    /// There after each odd record.
    odd: ValueState<T>,
    marks: MapState<u64, T>,
    greatest: ReducingState<T>,
    /// By split, so that what is left does not hang on the order of splits.
    pages: Namespaced<u64, ListState<T>>,
    mishap: Mishap,
}

impl<T: Type> Process<T> {
    fn new(states: &mut States, mishap: Mishap) -> Self {
        macro_rules! of {
            ($descriptor:expr) => {
                $descriptor
                    .with_codec::<T::By>()
                    .migrate_from_codec::<T::One, <T::One as Type>::By>(T::migrate)
                    .migrate_from_codec::<T::Other, <T::Other as Type>::By>(T::migrate)
            };
        }
        Self {
            count: states.value(of!(ValueDescriptor::new("count"))),
            odd: states.value(of!(ValueDescriptor::new("odd"))),
            marks: states.map(of!(MapDescriptor::new("marks"))),
            greatest: states.reducing(of!(ReducingDescriptor::new("greatest", greater))),
            pages: states.namespaced().list(of!(ListDescriptor::new("pages"))),
            mishap,
        }
    }
}

impl<T: Type> KeyedProcess for Process<T> {
    type Key = u64;
    type In = Positioned<Event>;
    type Out = Line<Told>;

    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()> {
        self.mishap.pass()?;
        let Positioned { origin, value: (key, value) } = record;
        let split: u64 =
            origin.split.parse().map_err(|_| Error::internal("a split without a number"))?;
        let count = context.get(self.count).map_or(0, Type::number) + 1;
        context.set(self.count, T::of(count));
        match context.get(self.odd).map(Type::number) {
            None => context.set(self.odd, T::of(count)),
            Some(_) => context.clear(self.odd),
        }
        context.in_namespace(&split).list(self.pages).add(T::of(value));
        context.reducing(self.greatest).add(T::of(value))?;
        let mut marks = context.map(self.marks);
        let mark_of = mark(value);
        let mark = marks.get(&mark_of)?.map_or(0, Type::number) + 1;
        marks.put(mark_of, T::of(mark));
        let greatest = context.reducing(self.greatest).get()?.map_or(WRONG, Type::number);
        let mut of_split = context.in_namespace(&split);
        let mut list = of_split.list(self.pages);
        let pages = if reads(value) { Some(read(list.get()?.map(Type::number))) } else { None };
        if tears_up(value) {
            list.clear()?;
        }
        let told = Told { count, mark, greatest, pages };
        context.emit(Line { key, split, position: origin.position, value, told });
        Ok(())
    }
}

/// A key's states.
#[derive(Clone, Debug, Default)]
struct OfKey {
    count: u64,
    odd: Option<u64>,
    marks: BTreeMap<u64, u64>,
    greatest: u64,
    pages: BTreeMap<u64, Vec<Stored>>,
}

impl Reference for OfKey {
    type Told = Told;

    fn apply(&mut self, split: u64, value: u64) -> Told {
        self.count += 1;
        self.odd = if self.odd.is_none() { Some(self.count) } else { None };
        let mark = self.marks.entry(mark(value)).or_default();
        *mark += 1;
        self.greatest = self.greatest.max(value);
        let list = self.pages.entry(split).or_default();
        list.push(Stored(value));
        let pages = reads(value).then(|| read(list.iter().map(|page| page.0)));
        if tears_up(value) {
            list.clear();
        }
        Told { count: self.count, mark: *mark, greatest: self.greatest, pages }
    }
}

struct Versions {
    ends: MemoryEnds<Event, Line<Told>>,
    /// The types of the processes, in turn.
    programs: Vec<u8>,
    started: AtomicUsize,
    mishap: Mishap,
}

impl Versions {
    fn graph_of<T: Type>(&self) -> Result<JobGraph> {
        let env = StreamEnvironment::new();
        let mishap = self.mishap.clone();
        env.source_with_origin(self.ends.input.source())
            .uid("events")
            .key_by(|record| record.value.0)
            .process(move |states: &mut States| Process::<T>::new(states, mishap.clone()))
            .uid("versions")
            .sink(self.ends.sink.clone());
        env.build()
    }
}

impl Scenario for Versions {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn memory_of_a_key(&self) -> u64 {
        2000
    }

    fn graph(&self) -> Result<JobGraph> {
        let started = self.started.fetch_add(1, Ordering::Relaxed);
        match self.programs[started % self.programs.len()] {
            0 => self.graph_of::<Number>(),
            1 => self.graph_of::<Text>(),
            _ => self.graph_of::<Twice>(),
        }
    }

    fn ends(&self) -> &dyn Ends {
        &self.ends
    }

    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict {
        told::check_output::<OfKey>(&self.ends, commits, positions)
    }

    fn key_bytes(&self, _: &str, _: &str, _: &[u8]) -> usize {
        size_of::<u64>()
    }

    fn check_state(&self, state: &StateView<'_>) -> Verdict {
        let keys = told::references::<OfKey>(&self.ends, state.positions);
        let of = |number: fn(&OfKey) -> Option<u64>| {
            keys.iter().filter_map(move |(key, of_key)| Some((key, Stored(number(of_key)?))))
        };
        state.compare_by::<_, _, Either>("versions", "count", of(|of_key| Some(of_key.count)))?;
        state.compare_by::<_, _, Either>("versions", "odd", of(|of_key| of_key.odd))?;
        state.compare_by::<_, _, Either>(
            "versions",
            "greatest",
            of(|of_key| Some(of_key.greatest)),
        )?;
        let (mut marks, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for (key, of_key) in keys {
            marks.extend(of_key.marks.into_iter().map(|(mark, n)| ((key, mark), Stored(n))));
            let lists = of_key.pages.into_iter().filter(|(_, list)| !list.is_empty());
            pages.extend(lists.map(|(split, list)| ((key, split), list)));
        }
        let marks = marks.iter().map(|(at, n)| (at, *n));
        state.compare_by::<_, _, Either>("versions", "marks", marks)?;
        let found = state.lists_by::<(u64, u64), Stored, Either>("versions", "pages")?;
        if found == pages {
            return Ok(());
        }
        Err(format!("versions.pages is {found:?}, not {pages:?}"))
    }
}
