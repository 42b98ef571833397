//! Maps: a state of one value for each map key of a key.
//!
//! Owns what an access to one entry needs and does. Where entries are is `sub_column`'s.

use std::cmp::Ordering;

use super::descriptor::{ColumnId, MapState};
use super::entry::Meta;
use super::keyed::{KeyedState, Row, column, column_mut};
use super::sub_column::{SubColumn, SubKey};
use crate::codec::{Key, Value};
use crate::error::{Error, Result};

/// A map's sub key: the namespace and the map key.
pub(super) type MapColumn<N, MK, V> = SubColumn<(N, MK), V>;

fn order<'k, N: Ord, MK: Ord>(
    namespace: &'k N,
    key: &'k MK,
) -> impl Fn(&(N, MK)) -> Ordering + use<'k, N, MK> {
    move |other| other.0.cmp(namespace).then_with(|| other.1.cmp(key))
}

impl<K: Key> KeyedState<K> {
    /// The value of `key` in the map of `row`.
    ///
    /// # Errors
    /// Where it must be read first: [`KeyedState::take_reads`] has the read, and `row` is loading.
    pub fn map_get<N: SubKey, MK: SubKey, V: Value>(
        &mut self,
        state: MapState<MK, V, N>,
        row: Row,
        namespace: &N,
        key: &MK,
    ) -> Result<Option<&V>> {
        let entries: &MapColumn<N, MK, V> = column(&self.columns, state.column);
        if entries.find(row.0, order(namespace, key)).is_none() && !entries.is_complete(row.0) {
            let sub = (namespace.clone(), key.clone());
            let entries: &mut MapColumn<N, MK, V> = column_mut(&mut self.columns, state.column);
            let (entry, _) = entries.find_or_insert(row.0, sub);
            self.read(state.column, entry);
            return Err(Error::internal("a map's entry is not in memory"));
        }
        let entries: &MapColumn<N, MK, V> = column(&self.columns, state.column);
        let entry = entries.find(row.0, order(namespace, key));
        if state.lives.limited
            && let Some(entry) = entry
        {
            self.ask(state.column, state.lives, entry);
        }
        let entries: &MapColumn<N, MK, V> = column(&self.columns, state.column);
        Ok(entry.and_then(|entry| entries.values.get(entry)))
    }

    /// Gives `key` a value in the map of `row`; nothing need be read for that.
    pub fn map_put<N: SubKey, MK: SubKey, V: Value>(
        &mut self,
        state: MapState<MK, V, N>,
        row: Row,
        namespace: &N,
        key: MK,
        value: V,
    ) {
        let entry = self.sub_entry::<_, V>(state.column, row, (namespace.clone(), key));
        self.touch(state.column.index(), entry);
        let entries: &mut MapColumn<N, MK, V> = column_mut(&mut self.columns, state.column);
        entries.values.put(entry, Some(value));
        if state.lives.limited {
            self.renew(state.column, entry);
        }
    }

    /// Removes `key` from the map of `row`; nothing need be read for that.
    pub fn map_remove<N: SubKey, MK: SubKey, V: Value>(
        &mut self,
        state: MapState<MK, V, N>,
        row: Row,
        namespace: &N,
        key: &MK,
    ) {
        let entries: &MapColumn<N, MK, V> = column(&self.columns, state.column);
        let entry = match entries.find(row.0, order(namespace, key)) {
            Some(entry) if entries.values.get(entry).is_none() => return,
            Some(entry) => entry,
            None if entries.is_complete(row.0) => return,
            None => self.sub_entry::<_, V>(state.column, row, (namespace.clone(), key.clone())),
        };
        self.touch(state.column.index(), entry);
        self.columns[state.column.index()].forget(entry);
    }

    /// The entry of `sub`, to be written without having been read: if it is new, it may have an item.
    fn sub_entry<S: SubKey, V: Value>(&mut self, id: ColumnId, row: Row, sub: S) -> u32 {
        let entries: &mut SubColumn<S, V> = column_mut(&mut self.columns, id);
        let traceless = entries.is_traceless(row.0);
        let (entry, is_new) = entries.find_or_insert(row.0, sub);
        if is_new && !traceless {
            entries.values.set_meta(entry, Meta::loaded());
        }
        entry
    }
}
