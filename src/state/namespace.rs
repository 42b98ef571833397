//! Namespaces: states of a key that exist once for each value of something else, a window say.
//!
//! Owns how such states are registered and used, and how entries are named ahead. What they rest on is
//! the same as without: a namespace is the first part of an entry's sub key.

use std::fmt;
use std::marker::PhantomData;

use super::coding::Coding;
use super::descriptor::{ColumnId, States, ValueDescriptor, ValueState};
use super::key_types::SubTypes;
use super::keyed::{KeyedState, Row};
use super::list::{List, ListColumn, ListDescriptor, ListState};
use super::map::{Map, MapColumn, MapDescriptor, MapState};
use super::reducing::{
    Aggregating, AggregatingDescriptor, AggregatingState, Reducing, ReducingDescriptor,
    ReducingState,
};
use super::single::Single;
use super::sub_column::{SubColumn, SubKey};
use super::ttl::Ttl;
use crate::codec::{Key, Value};
use crate::error::Result;

/// A handle to a state that exists once for each key and each namespace `N`.
pub struct Namespaced<N, H> {
    pub(super) handle: H,
    namespace: PhantomData<fn() -> N>,
}

impl<N, H> Namespaced<N, H> {
    fn new(handle: H) -> Self {
        Self { handle, namespace: PhantomData }
    }
}

impl<N, H: Clone> Clone for Namespaced<N, H> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone())
    }
}

impl<N, H: Copy> Copy for Namespaced<N, H> {}

impl<N, H: fmt::Debug> fmt::Debug for Namespaced<N, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespaced({:?})", self.handle)
    }
}

/// Registers states that exist once for each key and each namespace; see [`States::namespaced`].
#[derive(Debug)]
pub struct NamespacedStates<'a, N> {
    states: &'a mut States,
    namespace: PhantomData<fn() -> N>,
}

impl States {
    /// Registers what follows for each key and each namespace `N`.
    ///
    /// ```
    /// use millpond::state::{Namespaced, States, ValueDescriptor, ValueState};
    /// const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
    /// type Day = u32;
    ///
    /// let mut states = States::new();
    /// let count: Namespaced<Day, ValueState<u64>> = states.namespaced().value(COUNT);
    /// ```
    pub fn namespaced<N: SubKey>(&mut self) -> NamespacedStates<'_, N> {
        NamespacedStates { states: self, namespace: PhantomData }
    }
}

impl<N: SubKey> NamespacedStates<'_, N> {
    fn single<V: Value>(
        &mut self,
        name: &str,
        default: Option<fn() -> V>,
        coding: Coding<V>,
        ttl: Option<Ttl>,
    ) -> ColumnId {
        let types = SubTypes::of_namespace::<N>();
        let column = |name| SubColumn::<N, V>::new(name, types, default, coding).with_ttl(ttl);
        self.states.add(name, column)
    }

    /// As [`States::value`].
    pub fn value<V: Value>(
        &mut self,
        descriptor: ValueDescriptor<V>,
    ) -> Namespaced<N, ValueState<V>> {
        let ValueDescriptor { name, default, coding, ttl } = descriptor;
        Namespaced::new(ValueState::new(self.single(name, default, coding, ttl), ttl.is_some()))
    }

    /// As [`States::map`].
    pub fn map<MK: SubKey, V: Value>(
        &mut self,
        descriptor: MapDescriptor<MK, V>,
    ) -> Namespaced<N, MapState<MK, V>> {
        let MapDescriptor { name, coding, ttl, .. } = descriptor;
        let types = SubTypes::of_namespace::<N>().and_map_key::<MK>();
        let column = |name| MapColumn::<N, MK, V>::new(name, types, None, coding).with_ttl(ttl);
        Namespaced::new(MapState::new(self.states.add(name, column)))
    }

    /// As [`States::list`].
    pub fn list<T: Value>(&mut self, descriptor: ListDescriptor<T>) -> Namespaced<N, ListState<T>> {
        let ListDescriptor { name, coding, ttl } = descriptor;
        let types = SubTypes::of_namespace::<N>();
        let column = |name| ListColumn::<N, T>::new(name, types, None, coding).with_ttl(ttl);
        Namespaced::new(ListState::new(self.states.add(name, column)))
    }

    /// As [`States::reducing`].
    pub fn reducing<T: Value>(
        &mut self,
        descriptor: ReducingDescriptor<T>,
    ) -> Namespaced<N, ReducingState<T>> {
        let ReducingDescriptor { name, reduce, coding, ttl } = descriptor;
        Namespaced::new(ReducingState::new(self.single(name, None, coding, ttl), reduce))
    }

    /// As [`States::aggregating`].
    pub fn aggregating<In, Acc: Value, Out>(
        &mut self,
        descriptor: AggregatingDescriptor<In, Acc, Out>,
    ) -> Namespaced<N, AggregatingState<In, Acc, Out>> {
        let AggregatingDescriptor { name, functions, coding, ttl } = descriptor;
        Namespaced::new(AggregatingState::new(self.single(name, None, coding, ttl), functions))
    }
}

/// A key's states in one namespace. What is not in memory is read first, as with [`Map`].
pub struct InNamespace<'a, K, N> {
    state: &'a mut KeyedState<K>,
    row: Row,
    namespace: &'a N,
}

impl<K: Key> KeyedState<K> {
    /// The states of `row` in `namespace`.
    pub fn in_namespace<'a, N: SubKey>(
        &'a mut self,
        namespace: &'a N,
        row: Row,
    ) -> InNamespace<'a, K, N> {
        InNamespace { state: self, row, namespace }
    }
}

impl<K: Key, N: SubKey> InNamespace<'_, K, N> {
    fn single<V: Value>(&mut self, state: Namespaced<N, ValueState<V>>) -> Single<'_, K, V, N> {
        Single::new(self.state, state.handle.column, self.row, Some(self.namespace))
    }

    /// The value, or the state's default.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where it must be read first.
    pub fn get<V: Value>(&mut self, state: Namespaced<N, ValueState<V>>) -> Result<Option<&V>> {
        self.single(state).get()
    }

    /// The value, to be changed in place; it counts as changed.
    ///
    /// # Errors
    /// As [`InNamespace::get`].
    pub fn get_mut<V: Value>(
        &mut self,
        state: Namespaced<N, ValueState<V>>,
    ) -> Result<Option<&mut V>> {
        self.single(state).get_mut()
    }

    /// Sets the value. Reads nothing.
    pub fn set<V: Value>(&mut self, state: Namespaced<N, ValueState<V>>, value: V) {
        self.single(state).put(value);
    }

    /// Removes the value. Reads nothing.
    pub fn clear<V: Value>(&mut self, state: Namespaced<N, ValueState<V>>) {
        self.single(state).clear();
    }

    /// The map.
    pub fn map<MK: SubKey, V: Value>(
        &mut self,
        state: Namespaced<N, MapState<MK, V>>,
    ) -> Map<'_, K, MK, V, N> {
        Map::new(self.state, state.handle, self.row, self.namespace)
    }

    /// The list.
    pub fn list<T: Value>(&mut self, state: Namespaced<N, ListState<T>>) -> List<'_, K, T, N> {
        List::new(self.state, state.handle, self.row, self.namespace)
    }

    /// The reducing state.
    pub fn reducing<T: Value>(
        &mut self,
        state: Namespaced<N, ReducingState<T>>,
    ) -> Reducing<'_, K, T, N> {
        Reducing::new(self.state, state.handle, self.row, Some(self.namespace))
    }

    /// The aggregating state.
    pub fn aggregating<In, Acc: Value, Out>(
        &mut self,
        state: Namespaced<N, AggregatingState<In, Acc, Out>>,
    ) -> Aggregating<'_, K, In, Acc, Out, N> {
        Aggregating::new(self.state, state.handle, self.row, Some(self.namespace))
    }
}

impl<K, N: fmt::Debug> fmt::Debug for InNamespace<'_, K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InNamespace({:?}, {:?})", self.namespace, self.row)
    }
}

/// Takes the names of entries that a record will need, before it is processed: they are read together
/// with its key's other states, and the record need not wait for each of them in its midst.
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
}

impl<K> fmt::Debug for MapKeys<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapKeys({:?})", self.row)
    }
}
