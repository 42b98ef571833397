//! The states of the operator in random jobs: one of each kind, and one in a namespace, which has a codec of its own as
//! has the first.

use super::codecs::AsJson;
use super::*;
use crate::state::{
    AggregatingDescriptor, AggregatingState, KeyQuery, ListDescriptor, ListState, MapDescriptor,
    MapState, Namespaced, ReducingDescriptor, ReducingState, Ttl,
};

/// An accumulator: the sum of all, and how many there were.
pub(super) type Sum = (u64, u64);

/// A map's key, of which two begin alike.
pub(super) type MapKey = (u8, u8);

/// The key that the model knows by this number: in the same order.
pub(super) fn map_key(number: u8) -> MapKey {
    (number / 2, number % 2)
}

pub(super) fn number_of((first, second): MapKey) -> u8 {
    first * 2 + second
}

/// The states of the operator; those whose names end with `n` have a namespace.
#[derive(Clone, Copy)]
pub(super) struct Handles {
    pub(super) a: ValueState<u64>,
    pub(super) b: ValueState<String>,
    pub(super) map: MapState<MapKey, u64>,
    pub(super) list: ListState<u16>,
    pub(super) most: ReducingState<u64>,
    pub(super) sum: AggregatingState<u64, Sum, u64>,
    pub(super) value_n: Namespaced<u8, ValueState<u64>>,
    pub(super) map_n: Namespaced<u8, MapState<MapKey, u64>>,
    pub(super) list_n: Namespaced<u8, ListState<u16>>,
    pub(super) most_n: Namespaced<u8, ReducingState<u64>>,
    pub(super) sum_n: Namespaced<u8, AggregatingState<u64, Sum, u64>>,
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
    let value = |name| ValueDescriptor { ttl, ..ValueDescriptor::new(name) }.with_codec::<AsJson>();
    Handles {
        a: states.value(value("a")),
        b: states.value(ValueDescriptor { ttl, ..ValueDescriptor::new("b") }),
        map: states.map(map("map")),
        list: states.list(list("list")),
        most: states.reducing(most("most")),
        sum: states.aggregating(sum("sum")),
        value_n: states.namespaced().value(value("value-n").with_default(|| 7)),
        map_n: states.namespaced().map(map("map-n").with_codec::<AsJson>()),
        list_n: states.namespaced().list(list("list-n").with_codec::<AsJson>()),
        most_n: states.namespaced().reducing(most("most-n").with_codec::<AsJson>()),
        sum_n: states.namespaced().aggregating(sum("sum-n").with_codec::<AsJson>()),
    }
}

/// Which namespace a question is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// None, or this one.
    In(Option<u8>),
    /// Any: the answer tells which.
    InAny,
}

impl Handles {
    /// Every question for keys, with the state's name without `-n`.
    pub(super) fn queries(&self) -> Vec<(&'static str, Asked, KeyQuery)> {
        let none = Asked::In(None);
        let mut queries = vec![
            ("a", none, KeyQuery::of(self.a)),
            ("b", none, KeyQuery::of(self.b)),
            ("map", none, KeyQuery::of(self.map)),
            ("list", none, KeyQuery::of(self.list)),
            ("most", none, KeyQuery::of(self.most)),
            ("sum", none, KeyQuery::of(self.sum)),
            ("value", Asked::InAny, KeyQuery::in_any(self.value_n)),
            ("map", Asked::InAny, KeyQuery::in_any(self.map_n)),
            ("list", Asked::InAny, KeyQuery::in_any(self.list_n)),
            ("most", Asked::InAny, KeyQuery::in_any(self.most_n)),
            ("sum", Asked::InAny, KeyQuery::in_any(self.sum_n)),
        ];
        for n in 0..2 {
            let one = Asked::In(Some(n));
            queries.push(("value", one, KeyQuery::within(self.value_n, &n)));
            queries.push(("map", one, KeyQuery::within(self.map_n, &n)));
            queries.push(("list", one, KeyQuery::within(self.list_n, &n)));
            queries.push(("most", one, KeyQuery::within(self.most_n, &n)));
            queries.push(("sum", one, KeyQuery::within(self.sum_n, &n)));
        }
        queries
    }
}
