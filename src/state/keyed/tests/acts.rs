//! What the records of random jobs do with every kind of state, and what they must see.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::codec::{Bincode, Codec};
use crate::state::{
    AggregatingDescriptor, AggregatingState, ItemKey, KeyQuery, List, ListDescriptor, ListState,
    Map, MapDescriptor, MapState, Namespaced, ReducingDescriptor, ReducingState, SubKey, Ttl,
    UpdateType,
};

type Sum = (u64, u64);

/// The states of the operator; those whose names end with `n` have a namespace.
#[derive(Clone, Copy)]
pub(super) struct Handles {
    a: ValueState<u64>,
    b: ValueState<String>,
    map: MapState<u8, u64>,
    list: ListState<u16>,
    most: ReducingState<u64>,
    sum: AggregatingState<u64, Sum, u64>,
    value_n: Namespaced<u8, ValueState<u64>>,
    map_n: Namespaced<u8, MapState<u8, u64>>,
    list_n: Namespaced<u8, ListState<u16>>,
    most_n: Namespaced<u8, ReducingState<u64>>,
    sum_n: Namespaced<u8, AggregatingState<u64, Sum, u64>>,
}

pub(super) fn handles(states: &mut States, ttl: Option<Ttl>) -> Handles {
    let sum = |name| {
        let add = |sum: &mut Sum, n| *sum = (sum.0 + n, sum.1 + 1);
        let result = |sum: &Sum| sum.0 * 1000 + sum.1;
        let mut descriptor = AggregatingDescriptor::new(name, || (0, 0), add, result);
        descriptor.ttl = ttl;
        descriptor
    };
    let most = |name| {
        let greater = |a: &u64, b: u64| b.max(*a);
        let mut descriptor = ReducingDescriptor::new(name, greater);
        descriptor.ttl = ttl;
        descriptor
    };
    let map = |name| {
        let mut descriptor = MapDescriptor::new(name);
        descriptor.ttl = ttl;
        descriptor
    };
    let list = |name| ListDescriptor { ttl, ..ListDescriptor::new(name) };
    let value = |name| ValueDescriptor { ttl, ..ValueDescriptor::new(name) };
    Handles {
        a: states.value(value("a")),
        b: states.value(ValueDescriptor { ttl, ..ValueDescriptor::new("b") }),
        map: states.map(map("map")),
        list: states.list(list("list")),
        most: states.reducing(most("most")),
        sum: states.aggregating(sum("sum")),
        value_n: states.namespaced().value(value("value-n").default(|| 7)),
        map_n: states.namespaced().map(map("map-n")),
        list_n: states.namespaced().list(list("list-n")),
        most_n: states.namespaced().reducing(most("most-n")),
        sum_n: states.namespaced().aggregating(sum("sum-n")),
    }
}

impl Handles {
    /// Every question for keys, with the state's name without `-n`, and the namespace.
    pub(super) fn queries(&self) -> Vec<(&'static str, Option<u8>, KeyQuery)> {
        let mut queries = vec![
            ("a", None, KeyQuery::of(self.a)),
            ("b", None, KeyQuery::of(self.b)),
            ("map", None, KeyQuery::of(self.map)),
            ("list", None, KeyQuery::of(self.list)),
            ("most", None, KeyQuery::of(self.most)),
            ("sum", None, KeyQuery::of(self.sum)),
        ];
        for n in 0..2 {
            queries.push(("value", Some(n), KeyQuery::within(self.value_n, &n)));
            queries.push(("map", Some(n), KeyQuery::within(self.map_n, &n)));
            queries.push(("list", Some(n), KeyQuery::within(self.list_n, &n)));
            queries.push(("most", Some(n), KeyQuery::within(self.most_n, &n)));
            queries.push(("sum", Some(n), KeyQuery::within(self.sum_n, &n)));
        }
        queries
    }
}

impl Model {
    /// The keys that have something in a state.
    pub(super) fn keys(&self, state: &str, namespace: Option<u8>) -> BTreeSet<u16> {
        let of_state = |(name, _, n, _): &&Place| *name == state && *n == namespace;
        self.0.keys().filter(of_state).map(|(_, key, ..)| *key).collect()
    }
}

/// Where a value is: the state's name without `-n`, key, namespace and map key.
type Place = (&'static str, u16, Option<u8>, Option<u8>);

/// What the states hold: numbers, the length of a text, or a list's elements; nothing that is empty.
/// Each with when it expires, 0 for never; what has expired may still be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<Place, Vec<(u64, u64)>>);

/// A model at the time of a record.
pub(super) struct At<'m> {
    pub(super) model: &'m mut Model,
    pub(super) ttl: Option<Ttl>,
    pub(super) now: u64,
}

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
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum OfMap {
    Put(u8, u64),
    Increment(u8),
    Remove(u8),
    Get(u8),
    Range(u8, u8),
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
                    OfNumber::Add(value) => {
                        let old = model.number(place).unwrap_or(0);
                        model.put(place, vec![old.max(*value)]);
                    }
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
    fn run<N: SubKey>(&self, mut map: Map<'_, u16, u8, u64, N>) -> Result<Seen> {
        let pair = |(key, value): (&u8, &u64)| (*key, *value);
        match self {
            Self::Put(key, value) => map.put(*key, *value),
            Self::Increment(key) => {
                if let Some(value) = map.get_mut(key)? {
                    *value += 1;
                }
            }
            Self::Remove(key) => map.remove(key),
            Self::Get(key) => return Ok(Seen::Number(map.get(key)?.copied())),
            Self::Range(from, to) => {
                return Ok(Seen::Entries(map.range(*from..=*to)?.map(pair).collect()));
            }
            Self::All => return Ok(Seen::Entries(map.iter()?.map(pair).collect())),
            Self::IsEmpty => return Ok(Seen::Is(map.is_empty()?)),
            Self::Clear => map.clear()?,
        }
        Ok(Seen::Nothing)
    }

    fn predict(&self, model: &mut At<'_>, key: u16, n: Option<u8>) -> Seen {
        let at = |map_key: u8| ("map", key, n, Some(map_key));
        let entries = |model: &At<'_>, from: u8, to: u8| {
            let number = |map_key| Some((map_key, model.number(at(map_key))?));
            (from..=to).filter_map(number).collect::<Vec<_>>()
        };
        let read = |model: &mut At<'_>, from: u8, to: u8| {
            (from..=to).for_each(|map_key| model.read(at(map_key)));
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
            Self::All => return read(model, 0, u8::MAX),
            Self::IsEmpty => return Seen::Is(entries(model, 0, u8::MAX).is_empty()),
            Self::Clear => (0..=u8::MAX).for_each(|map_key| model.remove(at(map_key))),
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

impl At<'_> {
    fn expiry(&self) -> u64 {
        self.ttl.map_or(0, |ttl| self.now + ttl.after.as_millis() as u64)
    }

    /// A late record shortens no life.
    fn begun(&self, old: u64) -> u64 {
        let by_records = self.ttl.is_some_and(|ttl| ttl.is_by_event_time());
        if by_records { self.expiry().max(old) } else { self.expiry() }
    }

    fn put(&mut self, place: Place, value: Vec<u64>) {
        let expires = self.expiry();
        self.model.0.insert(place, value.into_iter().map(|n| (n, expires)).collect());
    }

    /// The value is changed in place.
    fn change(&mut self, place: Place, value: Vec<u64>) {
        let old = self.model.0.get(&place).map_or(0, |all| all[0].1);
        let expires = self.begun(old);
        self.model.0.insert(place, value.into_iter().map(|n| (n, expires)).collect());
    }

    fn append(&mut self, place: Place, elements: impl IntoIterator<Item = u64>) {
        let expires = self.expiry();
        let mut elements = elements.into_iter().map(|element| (element, expires)).peekable();
        if elements.peek().is_some() {
            self.model.0.entry(place).or_default().extend(elements);
        }
    }

    fn remove(&mut self, place: Place) {
        self.model.0.remove(&place);
    }

    fn is_visible(&self, expires: u64) -> bool {
        expires == 0 || expires > self.now
    }

    /// What a record sees there: nothing that is empty.
    fn visible(&self, place: Place) -> Option<Vec<u64>> {
        let all = self.model.0.get(&place)?.iter();
        let visible: Vec<u64> =
            all.filter(|(_, expires)| self.is_visible(*expires)).map(|(value, _)| *value).collect();
        (!visible.is_empty()).then_some(visible)
    }

    fn number(&self, place: Place) -> Option<u64> {
        self.visible(place).map(|value| value[0])
    }

    /// A record reads what it sees there.
    fn read(&mut self, place: Place) {
        if self.ttl.is_some_and(|ttl| ttl.update == UpdateType::OnReadAndWrite) {
            let mut all = self.model.0.remove(&place).unwrap_or_default();
            for (_, expires) in all.iter_mut().filter(|(_, expires)| *expires > self.now) {
                *expires = self.begun(*expires);
            }
            if !all.is_empty() {
                self.model.0.insert(place, all);
            }
        }
    }
}

impl Model {
    /// Without what expires by `gone`.
    pub(super) fn left(&self, gone: u64) -> Self {
        let mut left = self.clone();
        left.0.values_mut().for_each(|all| all.retain(|(_, expires)| !is_gone(*expires, gone)));
        left.0.retain(|_, value| !value.is_empty());
        left
    }

    /// What stored entries, in the order of their keys, amount to; each with its key, its value and when it
    /// expires.
    pub(super) fn of_entries<'e>(
        entries: impl IntoIterator<Item = (&'e str, &'e [u8], &'e [u8], u64)>,
    ) -> Self {
        let mut model = Self::default();
        for (state, sort_key, value, expires) in entries {
            let (place, value) = decoded(state, sort_key, value);
            model.0.entry(place).or_default().extend(value.into_iter().map(|n| (n, expires)));
        }
        model.0.retain(|_, value| !value.is_empty());
        model
    }

    /// Whether an item's value is the model's, or gone; of a chunk of a list it cannot be told.
    pub(super) fn agrees(&self, key: &ItemKey, item: &Item, gone: u64) -> bool {
        let state = key.state.as_str();
        if state.starts_with("list") {
            return true;
        }
        match &item.value {
            Some(value) => {
                let (place, value) = decoded(state, &key.sort_key, value);
                let expires = item.expires_ms.unwrap_or(0);
                let value: Vec<_> = value.into_iter().map(|n| (n, expires)).collect();
                self.0.get(&place) == Some(&value)
            }
            None => {
                let place = place_of(state, &mut &key.sort_key[..]);
                self.0.get(&place).is_none_or(|all| all.iter().all(|(_, e)| is_gone(*e, gone)))
            }
        }
    }
}

fn is_gone(expires: u64, gone: u64) -> bool {
    expires != 0 && expires <= gone
}

fn place_of(state: &str, sort_key: &mut &[u8]) -> Place {
    let names = ["a", "b", "map", "list", "most", "sum", "value"];
    let name = names.into_iter().find(|name| *name == state.trim_end_matches("-n")).unwrap();
    let key = u16::decode(sort_key).unwrap();
    let namespace = state.ends_with("-n").then(|| u8::decode(sort_key).unwrap());
    let map_key = (name == "map").then(|| u8::decode(sort_key).unwrap());
    if name == "list" {
        <(u32, u32)>::decode(sort_key).unwrap();
    }
    assert!(sort_key.is_empty());
    (name, key, namespace, map_key)
}

fn decoded(state: &str, mut sort_key: &[u8], value: &[u8]) -> (Place, Vec<u64>) {
    let place = place_of(state, &mut sort_key);
    let value = match place.0 {
        "b" => vec![<Bincode as Codec<String>>::decode(value).unwrap().len() as u64],
        "list" => {
            let list = <Bincode as Codec<Vec<u16>>>::decode(value).unwrap();
            list.into_iter().map(u64::from).collect()
        }
        "sum" => {
            let (sum, count) = <Bincode as Codec<Sum>>::decode(value).unwrap();
            vec![sum, count]
        }
        _ => vec![<Bincode as Codec<u64>>::decode(value).unwrap()],
    };
    (place, value)
}
