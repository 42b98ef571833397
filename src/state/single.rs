//! One value of a key, or of a key and a namespace: what every kind of state of one value rests on.
//!
//! Owns the way to it. What a reducing or aggregating state makes of it is theirs.

use std::marker::PhantomData;

use super::column::Column;
use super::descriptor::ColumnId;
use super::entries::Entries;
use super::keyed::{KeyedState, Row, column};
use super::sub_column::{SubColumn, SubKey};
use crate::codec::{Key, Value};
use crate::error::Result;

/// The place of one value.
pub(super) struct Single<'a, K, V, N> {
    state: &'a mut KeyedState<K>,
    column: ColumnId,
    row: Row,
    /// Without one, the column is plain.
    namespace: Option<&'a N>,
    value: PhantomData<fn() -> V>,
}

impl<'a, K: Key, V: Value, N: SubKey> Single<'a, K, V, N> {
    pub(super) fn new(
        state: &'a mut KeyedState<K>,
        column: ColumnId,
        row: Row,
        namespace: Option<&'a N>,
    ) -> Self {
        Self { state, column, row, namespace, value: PhantomData }
    }

    /// The entry, if it may have a value.
    fn find(&mut self) -> Result<Option<u32>> {
        let Some(namespace) = self.namespace else { return Ok(Some(self.row.0)) };
        let order = |other: &N| other.cmp(namespace);
        self.state.sub_find::<N, V>(self.column, self.row, order, || namespace.clone())
    }

    /// The value, or the state's default.
    pub(super) fn get(mut self) -> Result<Option<&'a V>> {
        let entry = self.find()?;
        let Self { state, column: id, .. } = self;
        let values: &Entries<V> = match self.namespace {
            None => &column::<Column<V>>(&state.columns, id).values,
            Some(_) => &column::<SubColumn<N, V>>(&state.columns, id).values,
        };
        let value = entry.and_then(|entry| state.read_value(id, values, entry));
        Ok(value.or_else(|| values.default_value()))
    }

    /// The value, to be changed in place; where there is none, the state's default becomes it.
    pub(super) fn get_mut(mut self) -> Result<Option<&'a mut V>> {
        let entry = self.find()?;
        let Self { state, column: id, row, namespace, .. } = self;
        let Some(namespace) = namespace else {
            return Ok(state.entry_mut::<Column<V>, V>(id, row.0));
        };
        let values = &column::<SubColumn<N, V>>(&state.columns, id).values;
        let entry = match entry {
            Some(entry) => entry,
            None if values.default_value().is_none() => return Ok(None),
            None => state.sub_entry::<N, V>(id, row, namespace.clone()),
        };
        Ok(state.entry_mut::<SubColumn<N, V>, V>(id, entry))
    }

    /// Gives it a value; nothing need be read for that.
    pub(super) fn put(self, value: V) {
        match self.namespace {
            None => self.state.put_entry::<Column<V>, V>(self.column, self.row.0, Some(value)),
            Some(namespace) => {
                self.state.sub_put::<N, V>(self.column, self.row, namespace.clone(), value);
            }
        }
    }

    /// Gives it another value in place of one that the record has seen, which no late record shortens the life of.
    pub(super) fn replace(mut self, value: V) -> Result<()> {
        let Some(entry) = self.find()? else { return Ok(()) };
        match self.namespace {
            None => self.state.replace_entry::<Column<V>, V>(self.column, entry, value),
            Some(_) => self.state.replace_entry::<SubColumn<N, V>, V>(self.column, entry, value),
        }
        Ok(())
    }

    /// Takes its value away; nothing need be read for that.
    pub(super) fn clear(self) {
        let Self { state, column: id, row, namespace, .. } = self;
        match namespace {
            None if column::<Column<V>>(&state.columns, id).values.get(row.0).is_none() => {}
            None => state.put_entry::<Column<V>, V>(id, row.0, None),
            Some(namespace) => {
                let order = |other: &N| other.cmp(namespace);
                state.sub_remove::<N, V>(id, row, order, || namespace.clone());
            }
        }
    }
}
