//! Maps: a state of one value for each map key of a key.
//!
//! Owns their descriptor, handle and accesses. An entry of a map is an entry in memory, log and table of
//! its own; where entries are is `sub_column`'s, what must be read first `suspend`'s.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use super::coding::Coding;
use super::descriptor::{ColumnId, descriptor, handle};
use super::formats::StateKind;
use super::keyed::{KeyedState, Row, column};
use super::known::{SubRange, successor};
use super::prefix::Prefix;
use super::sub_column::{SubColumn, SubKey};
use super::ttl::{Ttl, with_ttl};
use crate::codec::{Key, Value};
use crate::error::Result;

/// A state of one value for each map key of a key. Flink: `MapStateDescriptor`.
///
/// ```
/// use millpond::state::MapDescriptor;
/// const DELAYS: MapDescriptor<String, u32> = MapDescriptor::new("delays");
/// ```
pub struct MapDescriptor<MK, V> {
    pub(super) name: &'static str,
    pub(super) coding: Coding<V>,
    pub(super) ttl: Option<Ttl>,
    key: PhantomData<fn() -> MK>,
}

impl<MK, V: Value> MapDescriptor<MK, V> {
    /// A state called `name`, which is checked when it is registered.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, coding: Coding::new(StateKind::Map), ttl: None, key: PhantomData }
    }
}

impl<MK, V> MapDescriptor<MK, V> {
    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A handle to a map of its operator; copied freely. Flink: `MapState`.
pub struct MapState<MK, V> {
    pub(super) column: ColumnId,
    entry: PhantomData<fn() -> (MK, V)>,
}

impl<MK, V> MapState<MK, V> {
    pub(super) fn new(column: ColumnId) -> Self {
        Self { column, entry: PhantomData }
    }
}

descriptor!(MapDescriptor<MK, V>, V { key });
with_ttl!(MapDescriptor<MK, V>);
handle!(MapState<MK, V>, "MapState({:?})", column);

/// A map's sub key is the namespace and the map key. Without a namespace it is `()`, which takes no bytes.
pub(super) type MapColumn<N, MK, V> = SubColumn<(N, MK), V>;

/// A key's map.
///
/// What is not in memory is read first: the call gives [`crate::ErrorKind::Suspended`], which the function
/// returns, and once it is there the function is called again. Map keys that are known from the record
/// alone can be named ahead by [`crate::operator::KeyedProcess::map_keys`], which avoids that.
pub struct Map<'a, K, MK, V, N = ()> {
    state: &'a mut KeyedState<K>,
    handle: MapState<MK, V>,
    row: Row,
    namespace: &'a N,
}

fn order<'k, N: Ord, MK: Ord>(
    namespace: &'k N,
    key: &'k MK,
) -> impl Fn(&(N, MK)) -> Ordering + use<'k, N, MK> {
    move |other| other.0.cmp(namespace).then_with(|| other.1.cmp(key))
}

impl<'a, K: Key, MK: SubKey, V: Value, N: SubKey> Map<'a, K, MK, V, N> {
    pub(super) fn new(
        state: &'a mut KeyedState<K>,
        handle: MapState<MK, V>,
        row: Row,
        namespace: &'a N,
    ) -> Self {
        Self { state, handle, row, namespace }
    }

    fn find(&mut self, key: &MK) -> Result<Option<u32>> {
        let namespace = self.namespace;
        let sub = || (namespace.clone(), key.clone());
        let order = order(namespace, key);
        self.state.sub_find::<_, V>(self.handle.column, self.row, order, sub)
    }

    fn entries(&self) -> &MapColumn<N, MK, V> {
        column(&self.state.columns, self.handle.column)
    }

    /// The value of `key`. In memory, or absent as the filter knows or because the map was read whole, it costs nothing;
    /// else it is read, as one key's share of a `BatchGetItem`, and stays in memory.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where it must be read first.
    pub fn get(&mut self, key: &MK) -> Result<Option<&V>> {
        let entry = self.find(key)?;
        let column = self.handle.column;
        Ok(entry.and_then(|entry| self.state.read_value(column, &self.entries().values, entry)))
    }

    /// The value of `key`, to be changed in place; `None` where it has none. It counts as changed, and is logged at the
    /// next checkpoint, even if it is left as it was; each call serialises it as it was before, unless all that is
    /// stored of the record's key is in memory.
    ///
    /// # Errors
    /// As [`Map::get`].
    pub fn get_mut(&mut self, key: &MK) -> Result<Option<&mut V>> {
        let entry = self.find(key)?;
        let column = self.handle.column;
        Ok(entry.and_then(|entry| self.state.entry_mut::<MapColumn<N, MK, V>, V>(column, entry)))
    }

    /// Whether `key` has a value.
    ///
    /// # Errors
    /// As [`Map::get`].
    pub fn contains(&mut self, key: &MK) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Gives `key` a value. Reads nothing. The next checkpoint logs this entry alone, compressed with others; when the
    /// log shrinks it is written to an item of its own, one write unit a KiB.
    pub fn put(&mut self, key: MK, value: V) {
        let sub = (self.namespace.clone(), key);
        self.state.sub_put(self.handle.column, self.row, sub, value);
    }

    /// Removes `key`. Reads nothing, so of an entry that is not in memory nobody knows whether it had a value: unless the
    /// filter says that it had none, the removal is logged all the same, and leaves a tombstone, a write unit.
    pub fn remove(&mut self, key: &MK) {
        let namespace = self.namespace;
        let sub = || (namespace.clone(), key.clone());
        let order = order(namespace, key);
        self.state.sub_remove::<_, V>(self.handle.column, self.row, order, sub);
    }

    /// All entries, in the order of their keys.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where they must be read first: one `Query` for each MiB of them.
    pub fn iter(&mut self) -> Result<impl Iterator<Item = (&MK, &V)>> {
        self.range(..)
    }

    /// The entries of a range of keys, in order.
    ///
    /// # Errors
    /// As [`Map::iter`], for the range alone.
    pub fn range(
        &mut self,
        range: impl RangeBounds<MK>,
    ) -> Result<impl Iterator<Item = (&MK, &V)>> {
        let namespace = self.namespace;
        self.need(|| bytes_of_range(namespace, &range))?;
        let (start, end) = (range.start_bound().cloned(), range.end_bound().cloned());
        let from = move |(_, key): &(N, MK)| match &start {
            Bound::Included(first) => key.cmp(first),
            Bound::Excluded(before) => key.cmp(before).then(Ordering::Less),
            Bound::Unbounded => Ordering::Greater,
        };
        let within = move |key: &MK| match &end {
            Bound::Included(last) => key <= last,
            Bound::Excluded(end) => key < end,
            Bound::Unbounded => true,
        };
        Ok(self.present(from, within))
    }

    /// The entries whose keys begin with `prefix`, in order: texts, bytes and tuples do.
    ///
    /// # Errors
    /// As [`Map::iter`], for these alone.
    pub fn prefix<'s, P: ?Sized>(
        &'s mut self,
        prefix: &'s P,
    ) -> Result<impl Iterator<Item = (&'s MK, &'s V)>>
    where
        MK: Prefix<P>,
    {
        let namespace = self.namespace;
        self.need(|| {
            let mut bytes = Vec::new();
            namespace.encode(&mut bytes);
            MK::encode_prefix(prefix, &mut bytes);
            SubRange::of_prefix(bytes)
        })?;
        let from = |(_, key): &(N, MK)| key.cmp_prefix(prefix);
        Ok(self.present(from, |key| key.cmp_prefix(prefix) == Ordering::Equal))
    }

    fn need(&mut self, range: impl FnOnce() -> SubRange) -> Result<()> {
        self.state.need_range::<(N, MK), V>(self.handle.column, self.row, range)
    }

    /// The namespace's entries that have a value, as of the first of which `from` does not say *less*, as
    /// long as they are within; expired ones too.
    fn all<'s>(
        &'s self,
        from: impl Fn(&(N, MK)) -> Ordering + 's,
        within: impl Fn(&MK) -> bool + 's,
    ) -> impl Iterator<Item = (u32, &'s MK)> {
        let (entries, namespace) = (self.entries(), self.namespace);
        let first = move |sub: &(N, MK)| {
            sub.0.cmp(namespace).then_with(|| match from(sub) {
                // A search stops at what is equal, which may not be the first.
                Ordering::Equal => Ordering::Greater,
                order => order,
            })
        };
        let place = move |entry: u32| (entry, entries.sub(entry));
        entries
            .from(self.row.0, first)
            .map(place)
            .take_while(move |(_, (other, key))| other == namespace && within(key))
            .filter(move |(entry, _)| entries.values.get(*entry).is_some())
            .map(|(entry, (_, key))| (entry, key))
    }

    /// The same, as the record reads them.
    fn present<'s>(
        &'s self,
        from: impl Fn(&(N, MK)) -> Ordering + 's,
        within: impl Fn(&MK) -> bool + 's,
    ) -> impl Iterator<Item = (&'s MK, &'s V)> {
        let (column, values) = (self.handle.column, &self.entries().values);
        let read = move |entry| self.state.read_value(column, values, entry);
        self.all(from, within).filter_map(move |(entry, key)| Some((key, read(entry)?)))
    }

    fn need_any(&mut self) -> Result<()> {
        let namespace = self.namespace;
        let all = || bytes_of_range::<N, MK>(namespace, &..);
        self.state.need_any::<(N, MK), V>(self.handle.column, self.row, all)
    }

    /// Looking for one does not read it.
    fn any_in_memory(&self) -> bool {
        let values = &self.entries().values;
        let mut all = self.all(|_| Ordering::Greater, |_| true);
        all.any(|(entry, _)| self.state.peek_value(values, entry).is_some())
    }

    /// Whether there is no entry. However large the map is, it is read no further than to the first page that has one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where none is in memory, and one may have to be read first.
    pub fn is_empty(&mut self) -> Result<bool> {
        if self.any_in_memory() {
            return Ok(false);
        }
        self.need_any()?;
        Ok(!self.any_in_memory())
    }

    /// Removes all entries. However large the values are that are not in memory, only their keys are kept. Each entry
    /// that may be stored leaves a tombstone, which is a write unit.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where entries must be read first: one `Query` for each MiB of them.
    pub fn clear(&mut self) -> Result<()> {
        self.state.clear_namespace::<N, MK, V>(self.handle.column, self.row, self.namespace)
    }
}

/// No key's encoding begins another's, so what follows a key begins at its bytes and one more.
fn bytes_of_range<N: Key, MK: Key>(namespace: &N, range: &impl RangeBounds<MK>) -> SubRange {
    let mut prefix = Vec::new();
    namespace.encode(&mut prefix);
    let bytes = |key: &MK, after: bool| {
        let mut bytes = prefix.clone();
        key.encode(&mut bytes);
        bytes.extend(after.then_some(0));
        bytes
    };
    let from = match range.start_bound() {
        Bound::Included(key) => bytes(key, false),
        Bound::Excluded(key) => bytes(key, true),
        Bound::Unbounded => prefix.clone(),
    };
    let to = match range.end_bound() {
        Bound::Included(key) => Some(bytes(key, true)),
        Bound::Excluded(key) => Some(bytes(key, false)),
        Bound::Unbounded => successor(&prefix),
    };
    SubRange { from, to }
}

impl<K, MK, V, N> fmt::Debug for Map<'_, K, MK, V, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({:?}, {:?})", self.handle, self.row)
    }
}
