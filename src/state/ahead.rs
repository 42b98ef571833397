//! What a record will need, named before it is processed.
//!
//! Owns the names by which it is asked for, one for each kind of state whose entries are not read when a key is
//! admitted. The asking is `suspend`'s.

use std::fmt;

use super::keyed::{KeyedState, Row};
use super::known::SubRange;
use super::list::{ChunkId, ListState};
use super::map::MapState;
use super::namespace::Namespaced;
use super::reducing::{AggregatingState, ReducingState};
use super::sub_column::SubKey;
use super::{ColumnId, ValueState};
use crate::codec::{Key, Value};

/// Takes the names of what a record will need, before it is processed: entries of maps, whole lists, and values of any
/// kind in a namespace. They are read together with its key's other states, and the record need not wait for each of
/// them in its midst.
///
/// What cannot be named is there already: a state of one value without a namespace is read with its key.
pub struct MapKeys<'a, K> {
    state: &'a mut KeyedState<K>,
    row: Row,
}

impl<'a, K: Key> MapKeys<'a, K> {
    /// For a record of `row`.
    pub fn new(state: &'a mut KeyedState<K>, row: Row) -> Self {
        Self { state, row }
    }

    /// An entry of a map.
    pub fn map<MK: SubKey, V: Value>(&mut self, state: MapState<MK, V>, key: MK) {
        self.state.ask_ahead::<((), MK), V>(state.column, self.row, ((), key));
    }

    /// An entry of a map in a namespace.
    pub fn map_in<N: SubKey, MK: SubKey, V: Value>(
        &mut self,
        state: Namespaced<N, MapState<MK, V>>,
        namespace: N,
        key: MK,
    ) {
        self.state.ask_ahead::<(N, MK), V>(state.handle.column, self.row, (namespace, key));
    }

    /// A value in a namespace.
    pub fn value_in<N: SubKey, V: Value>(
        &mut self,
        state: Namespaced<N, ValueState<V>>,
        namespace: N,
    ) {
        self.state.ask_ahead::<N, V>(state.handle.column, self.row, namespace);
    }

    /// A reducing state in a namespace.
    pub fn reducing_in<N: SubKey, T: Value>(
        &mut self,
        state: Namespaced<N, ReducingState<T>>,
        namespace: N,
    ) {
        self.state.ask_ahead::<N, T>(state.handle.column, self.row, namespace);
    }

    /// An aggregating state in a namespace.
    pub fn aggregating_in<N: SubKey, In, Acc: Value, Out>(
        &mut self,
        state: Namespaced<N, AggregatingState<In, Acc, Out>>,
        namespace: N,
    ) {
        self.state.ask_ahead::<N, Acc>(state.handle.column, self.row, namespace);
    }

    /// All of a list: for what a record does with it but to add to it.
    pub fn list<T: Value>(&mut self, state: ListState<T>) {
        self.list_of::<(), T>(state.column, &());
    }

    /// All of a list in a namespace.
    pub fn list_in<N: SubKey, T: Value>(
        &mut self,
        state: Namespaced<N, ListState<T>>,
        namespace: N,
    ) {
        self.list_of::<N, T>(state.handle.column, &namespace);
    }

    fn list_of<N: SubKey, T: Value>(&mut self, column: ColumnId, namespace: &N) {
        let range = || SubRange::of_namespace(namespace);
        self.state.ask_range_ahead::<(N, ChunkId), Vec<T>>(column, self.row, range);
    }
}

impl<K> fmt::Debug for MapKeys<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapKeys({:?})", self.row)
    }
}
