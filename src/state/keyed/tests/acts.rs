//! What the records of random jobs do with every kind of state, and what they must see.

use proptest::prelude::*;

use super::handles::{Handles, MapKey, Sum, map_key, number_of};
use super::model::{At, Place};
use super::*;
use crate::state::{List, Map, SubKey};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    SetA(u64),
    IncrementA,
    ClearA,
    SetB(usize),
    ClearB,
    GetBoth,
    Map(Option<u8>, OfMap),
    List(Option<u8>, OfList),
    Most(Option<u8>, OfNumber),
    Sum(Option<u8>, OfNumber),
    Value(u8, OfNumber),
    /// Gets the lists of more namespaces than a row keeps ranges of.
    GetLists,
}

/// All that have a list, and others, not all of them neighbours.
const NAMESPACES: [u8; 12] = [0, 1, 3, 5, 7, 9, 11, 13, 15, 16, 18, 20];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OfMap {
    Put(u8, u64),
    Increment(u8),
    Remove(u8),
    Get(u8),
    Range(u8, u8),
    /// Those whose keys begin so.
    Prefix(u8),
    Contains(u8),
    All,
    IsEmpty,
    Clear,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OfList {
    Add(u16),
    AddMany(u16),
    Get,
    IsEmpty,
    Replace(Vec<u16>),
    Clear,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OfNumber {
    Add(u64),
    Increment,
    Get,
    Clear,
}

/// What an act is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    Number(Option<u64>),
    Both(Option<u64>, Option<usize>),
    Entries(Vec<(u8, u64)>),
    Elements(Vec<u64>),
    Is(bool),
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let namespace = || prop_oneof![2 => Just(None), 1 => (0u8..2).prop_map(Some)];
    let map_key = || 0u8..5;
    let of_map = prop_oneof![
        5 => (map_key(), 1u64..100).prop_map(|(key, value)| OfMap::Put(key, value)),
        1 => map_key().prop_map(OfMap::Increment),
        3 => map_key().prop_map(OfMap::Remove),
        4 => map_key().prop_map(OfMap::Get),
        2 => (map_key(), map_key()).prop_map(|(from, to)| OfMap::Range(from, to)),
        2 => (0u8..3).prop_map(OfMap::Prefix),
        2 => map_key().prop_map(OfMap::Contains),
        1 => Just(OfMap::All),
        1 => Just(OfMap::IsEmpty),
        1 => Just(OfMap::Clear),
    ];
    let of_list = prop_oneof![
        6 => any::<u16>().prop_map(OfList::Add),
        1 => (0u16..3).prop_map(|n| OfList::AddMany(n * 600)),
        3 => Just(OfList::Get),
        1 => Just(OfList::IsEmpty),
        1 => prop::collection::vec(any::<u16>(), 0..3).prop_map(OfList::Replace),
        1 => Just(OfList::Clear),
    ];
    let of_number = || {
        prop_oneof![
            4 => (1u64..100).prop_map(OfNumber::Add),
            1 => Just(OfNumber::Increment),
            3 => Just(OfNumber::Get),
            1 => Just(OfNumber::Clear),
        ]
    };
    prop_oneof![
        3 => (1u64..100).prop_map(Act::SetA),
        1 => Just(Act::IncrementA),
        2 => (0usize..4).prop_map(|n| Act::SetB(n * n * 12)),
        2 => Just(Act::ClearA),
        1 => Just(Act::ClearB),
        2 => Just(Act::GetBoth),
        8 => (namespace(), of_map).prop_map(|(namespace, act)| Act::Map(namespace, act)),
        6 => (namespace(), of_list).prop_map(|(namespace, act)| Act::List(namespace, act)),
        2 => (namespace(), of_number()).prop_map(|(namespace, act)| Act::Most(namespace, act)),
        2 => (namespace(), of_number()).prop_map(|(namespace, act)| Act::Sum(namespace, act)),
        2 => (0u8..2, of_number()).prop_map(|(namespace, act)| Act::Value(namespace, act)),
        1 => Just(Act::GetLists),
    ]
}

/// Everything that a key has is looked at.
pub(super) fn look() -> Vec<Act> {
    let each = [None, Some(0), Some(1)];
    let of_all = each.into_iter().flat_map(|n| {
        [
            Act::Map(n, OfMap::All),
            Act::List(n, OfList::Get),
            Act::Most(n, OfNumber::Get),
            Act::Sum(n, OfNumber::Get),
        ]
    });
    let values = (0..2).map(|n| Act::Value(n, OfNumber::Get));
    [Act::GetBoth].into_iter().chain(of_all).chain(values).collect()
}

fn many(n: u16) -> impl Iterator<Item = u16> {
    (0..n).map(|i| i * 7)
}

impl Act {
    /// Does it to the state of a row.
    pub(super) fn run(&self, state: &mut KeyedState<u16>, of: &Handles, row: Row) -> Result<Seen> {
        match self {
            Self::SetA(value) => state.set(of.a, row, *value),
            Self::IncrementA => {
                if let Some(value) = state.get_mut(of.a, row) {
                    *value += 1;
                }
            }
            Self::ClearA => state.clear(of.a, row),
            Self::SetB(length) => state.set(of.b, row, "x".repeat(*length)),
            Self::ClearB => state.clear(of.b, row),
            Self::GetBoth => {
                let b = state.get(of.b, row).map(String::len);
                return Ok(Seen::Both(state.get(of.a, row).copied(), b));
            }
            Self::Map(None, act) => return act.run(state.map(of.map, row)),
            Self::Map(Some(n), act) => return act.run(state.in_namespace(n, row).map(of.map_n)),
            Self::List(None, act) => return act.run(state.list(of.list, row)),
            Self::List(Some(n), act) => return act.run(state.in_namespace(n, row).list(of.list_n)),
            Self::Most(n, act) => {
                let mut space;
                let mut within;
                let mut most;
                let most: &mut dyn Combining = match n {
                    None => {
                        most = state.reducing(of.most, row);
                        &mut most
                    }
                    Some(n) => {
                        space = state.in_namespace(n, row);
                        within = space.reducing(of.most_n);
                        &mut within
                    }
                };
                return act.run(most);
            }
            Self::Sum(n, act) => {
                let mut space;
                let mut within;
                let mut sum;
                let sum: &mut dyn Combining = match n {
                    None => {
                        sum = state.aggregating(of.sum, row);
                        &mut sum
                    }
                    Some(n) => {
                        space = state.in_namespace(n, row);
                        within = space.aggregating(of.sum_n);
                        &mut within
                    }
                };
                return act.run(sum);
            }
            Self::GetLists => {
                let mut all = Vec::new();
                for n in &NAMESPACES {
                    let mut within = state.in_namespace(n, row);
                    all.extend(within.list(of.list_n).get()?.map(|element| u64::from(*element)));
                }
                return Ok(Seen::Elements(all));
            }
            Self::Value(n, act) => {
                let mut within = state.in_namespace(n, row);
                match act {
                    OfNumber::Add(value) => within.set(of.value_n, *value),
                    OfNumber::Increment => {
                        *within.get_mut(of.value_n)?.unwrap() += 1;
                    }
                    OfNumber::Get => return Ok(Seen::Number(within.get(of.value_n)?.copied())),
                    OfNumber::Clear => within.clear(of.value_n),
                }
            }
        }
        Ok(Seen::Nothing)
    }

    /// Does it to the model.
    pub(super) fn predict(&self, model: &mut At<'_>, key: u16) -> Seen {
        let a = ("a", key, None, None);
        let b = ("b", key, None, None);
        match self {
            Self::SetA(value) => model.put(a, vec![*value]),
            Self::IncrementA => {
                if let Some(old) = model.number(a) {
                    model.change(a, vec![old + 1]);
                }
            }
            Self::ClearA => model.remove(a),
            Self::SetB(length) => model.put(b, vec![*length as u64]),
            Self::ClearB => model.remove(b),
            Self::GetBoth => {
                model.read(a);
                model.read(b);
                return Seen::Both(model.number(a), model.number(b).map(|n| n as usize));
            }
            Self::Map(n, act) => return act.predict(model, key, *n),
            Self::List(n, act) => return act.predict(model, ("list", key, *n, None)),
            Self::Most(n, act) => {
                let place = ("most", key, *n, None);
                match act {
                    OfNumber::Add(value) => match model.number(place) {
                        Some(old) => model.change(place, vec![old.max(*value)]),
                        None => model.put(place, vec![*value]),
                    },
                    OfNumber::Get => {
                        model.read(place);
                        return Seen::Number(model.number(place));
                    }
                    OfNumber::Increment => {}
                    OfNumber::Clear => model.remove(place),
                }
            }
            Self::Sum(n, act) => {
                let place = ("sum", key, *n, None);
                let old = model.visible(place);
                match act {
                    OfNumber::Add(value) => {
                        let old = old.unwrap_or(vec![0, 0]);
                        model.change(place, vec![old[0] + value, old[1] + 1]);
                    }
                    OfNumber::Get => {
                        model.read(place);
                        return Seen::Number(old.map(|sum| sum[0] * 1000 + sum[1]));
                    }
                    OfNumber::Increment => {}
                    OfNumber::Clear => model.remove(place),
                }
            }
            Self::GetLists => {
                let places = NAMESPACES.map(|n| ("list", key, Some(n), None));
                places.iter().for_each(|place| model.read(*place));
                let elements = places.iter().filter_map(|place| model.visible(*place));
                return Seen::Elements(elements.flatten().collect());
            }
            Self::Value(n, act) => {
                let place = ("value", key, Some(*n), None);
                let value = model.number(place).unwrap_or(7);
                match act {
                    OfNumber::Add(value) => model.put(place, vec![*value]),
                    OfNumber::Increment => model.change(place, vec![value + 1]),
                    OfNumber::Get => {
                        model.read(place);
                        return Seen::Number(Some(value));
                    }
                    OfNumber::Clear => model.remove(place),
                }
            }
        }
        Seen::Nothing
    }
}

trait Combining {
    fn total(&mut self) -> Result<Option<u64>>;
    fn combine(&mut self, value: u64) -> Result<()>;
    fn forget(&mut self);
}

impl<N: SubKey> Combining for Reducing<'_, u16, u64, N> {
    fn total(&mut self) -> Result<Option<u64>> {
        Ok(self.get()?.copied())
    }
    fn combine(&mut self, value: u64) -> Result<()> {
        self.add(value)
    }
    fn forget(&mut self) {
        self.clear();
    }
}

impl<N: SubKey> Combining for Aggregating<'_, u16, u64, Sum, u64, N> {
    fn total(&mut self) -> Result<Option<u64>> {
        self.get()
    }
    fn combine(&mut self, value: u64) -> Result<()> {
        self.add(value)
    }
    fn forget(&mut self) {
        self.clear();
    }
}

impl OfNumber {
    fn run(&self, of: &mut dyn Combining) -> Result<Seen> {
        match self {
            Self::Add(value) => of.combine(*value)?,
            Self::Increment => {}
            Self::Get => return Ok(Seen::Number(of.total()?)),
            Self::Clear => of.forget(),
        }
        Ok(Seen::Nothing)
    }
}

impl OfMap {
    fn run<N: SubKey>(&self, mut map: Map<'_, u16, MapKey, u64, N>) -> Result<Seen> {
        let pair = |(key, value): (&MapKey, &u64)| (number_of(*key), *value);
        match *self {
            Self::Put(key, value) => map.put(map_key(key), value),
            Self::Increment(key) => {
                if let Some(value) = map.get_mut(&map_key(key))? {
                    *value += 1;
                }
            }
            Self::Remove(key) => map.remove(&map_key(key)),
            Self::Get(key) => return Ok(Seen::Number(map.get(&map_key(key))?.copied())),
            Self::Range(from, to) => {
                let range = map_key(from)..=map_key(to);
                return Ok(Seen::Entries(map.range(range)?.map(pair).collect()));
            }
            Self::Prefix(first) => {
                return Ok(Seen::Entries(map.prefix(&(first,))?.map(pair).collect()));
            }
            Self::Contains(key) => return Ok(Seen::Is(map.contains(&map_key(key))?)),
            Self::All => return Ok(Seen::Entries(map.iter()?.map(pair).collect())),
            Self::IsEmpty => return Ok(Seen::Is(map.is_empty()?)),
            Self::Clear => map.clear()?,
        }
        Ok(Seen::Nothing)
    }

    fn predict(&self, model: &mut At<'_>, key: u16, n: Option<u8>) -> Seen {
        let at = |map_key: u8| ("map", key, n, Some(map_key));
        let places = |model: &At<'_>, from, to| model.places(at(from), at(to));
        let entries = |model: &At<'_>, from: u8, to: u8| {
            let number = |place: Place| Some((place.3?, model.number(place)?));
            places(model, from, to).into_iter().filter_map(number).collect::<Vec<_>>()
        };
        let read = |model: &mut At<'_>, from: u8, to: u8| {
            places(model, from, to).into_iter().for_each(|place| model.read(place));
            Seen::Entries(entries(model, from, to))
        };
        match *self {
            Self::Put(map_key, value) => model.put(at(map_key), vec![value]),
            Self::Increment(map_key) => {
                if let Some(old) = model.number(at(map_key)) {
                    model.change(at(map_key), vec![old + 1]);
                }
            }
            Self::Remove(map_key) => model.remove(at(map_key)),
            Self::Get(map_key) => {
                model.read(at(map_key));
                return Seen::Number(model.number(at(map_key)));
            }
            Self::Range(from, to) => return read(model, from, to),
            Self::Prefix(first) => {
                return read(model, number_of((first, 0)), number_of((first, 1)));
            }
            Self::Contains(map_key) => {
                model.read(at(map_key));
                return Seen::Is(model.number(at(map_key)).is_some());
            }
            Self::All => return read(model, 0, u8::MAX),
            Self::IsEmpty => return Seen::Is(entries(model, 0, u8::MAX).is_empty()),
            Self::Clear => {
                places(model, 0, u8::MAX).into_iter().for_each(|place| model.remove(place));
            }
        }
        Seen::Nothing
    }
}

impl OfList {
    fn run<N: SubKey>(&self, mut list: List<'_, u16, u16, N>) -> Result<Seen> {
        match self {
            Self::Add(element) => list.add(*element),
            Self::AddMany(n) => list.add_all(many(*n)),
            Self::Get => {
                return Ok(Seen::Elements(list.get()?.map(|element| (*element).into()).collect()));
            }
            Self::IsEmpty => return Ok(Seen::Is(list.is_empty()?)),
            Self::Replace(elements) => list.update(elements.iter().copied())?,
            Self::Clear => list.clear()?,
        }
        Ok(Seen::Nothing)
    }

    fn predict(&self, model: &mut At<'_>, place: Place) -> Seen {
        match self {
            Self::Add(element) => model.append(place, [u64::from(*element)]),
            Self::AddMany(n) => model.append(place, many(*n).map(u64::from)),
            Self::Get => {
                model.read(place);
                return Seen::Elements(model.visible(place).unwrap_or_default());
            }
            Self::IsEmpty => return Seen::Is(model.visible(place).is_none()),
            Self::Replace(elements) => {
                model.remove(place);
                model.append(place, elements.iter().map(|n| (*n).into()));
            }
            Self::Clear => model.remove(place),
        }
        Seen::Nothing
    }
}
