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

/// The states of the operator; those whose names end with `n` have a namespace.
#[derive(Clone, Copy)]
pub(super) struct Handles {
    pub(super) a: ValueState<u64>,
    pub(super) b: ValueState<String>,
    pub(super) map: MapState<u8, u64>,
    pub(super) list: ListState<u16>,
    pub(super) most: ReducingState<u64>,
    pub(super) sum: AggregatingState<u64, Sum, u64>,
    pub(super) value_n: Namespaced<u8, ValueState<u64>>,
    pub(super) map_n: Namespaced<u8, MapState<u8, u64>>,
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
        value_n: states.namespaced().value(value("value-n").default(|| 7)),
        map_n: states.namespaced().map(map("map-n").with_codec::<AsJson>()),
        list_n: states.namespaced().list(list("list-n").with_codec::<AsJson>()),
        most_n: states.namespaced().reducing(most("most-n").with_codec::<AsJson>()),
        sum_n: states.namespaced().aggregating(sum("sum-n").with_codec::<AsJson>()),
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
