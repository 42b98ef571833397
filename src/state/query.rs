//! The keys that have a value of a state, wherever it is. Flink: `getKeys(state, namespace)`.
//!
//! Owns which entries count: what has changed since its item was written decides for itself, of all else the
//! item does. Reading the items is the caller's.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::descriptor::{ColumnId, ValueState};
use super::erased::Erased;
use super::keyed::{KeyedState, Row};
use super::list::ListState;
use super::map::MapState;
use super::namespace::Namespaced;
use super::reducing::{AggregatingState, ReducingState};
use super::store::{ItemRange, Scanned};
use super::sub_column::SubKey;
use crate::codec::{DecodeError, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::key_group::KeyGroup;

/// The handle of a state, of whatever kind.
pub trait Handle {
    /// Which of its operator's states it is.
    fn column(&self) -> ColumnId;
}

macro_rules! handles {
    ($($name:ident<$($t:ident),+>;)*) => {$(
        impl<$($t),+> Handle for $name<$($t),+> {
            fn column(&self) -> ColumnId {
                self.column
            }
        }
    )*};
}

handles! {
    ValueState<V>;
    ListState<T>;
    MapState<MK, V>;
    ReducingState<T>;
    AggregatingState<In, Acc, Out>;
}

/// Which keys are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    column: ColumnId,
    /// What the sub keys of the namespace begin with.
    namespace: Vec<u8>,
}

impl KeyQuery {
    /// Keys that have something in `state`.
    pub fn of(state: impl Handle) -> Self {
        Self { column: state.column(), namespace: Vec::new() }
    }

    /// Keys that have something in `state` in `namespace`.
    pub fn within<N: SubKey>(state: Namespaced<N, impl Handle>, namespace: &N) -> Self {
        let mut bytes = Vec::new();
        namespace.encode(&mut bytes);
        Self { column: state.handle.column(), namespace: bytes }
    }
}

impl<K: Key> KeyedState<K> {
    /// The key groups of this subtask in order, with the items that a query must look at in each.
    pub(crate) fn groups_of(&self, query: &KeyQuery) -> impl Iterator<Item = ItemRange> + use<K> {
        let operator = self.config.operator.clone();
        let state = self.columns[query.column.index()].name().clone();
        (self.config.range.first.0..=self.config.range.last.0).map(move |group| ItemRange {
            operator: operator.clone(),
            state: state.clone(),
            key_group: KeyGroup(group),
            from: Bytes::new(),
            to: None,
        })
    }

    /// The rows that have a value in memory, by key group, in ascending order.
    pub(crate) fn resident_rows(&self, query: &KeyQuery) -> BTreeMap<KeyGroup, Vec<Row>> {
        let values = &self.columns[query.column.index()];
        let mut sub = Vec::new();
        let mut is_wanted = |entry: &u32| {
            sub.clear();
            values.is_taken(*entry)
                && values.is_present(*entry)
                && !self.is_over(values, *entry)
                && {
                    values.encode_sub(*entry, &mut sub);
                    sub.starts_with(&query.namespace)
                }
        };
        let wanted = (0..values.end()).filter(&mut is_wanted);
        let mut rows: Vec<Row> = wanted.map(|entry| Row(values.row_of(entry))).collect();
        rows.sort_unstable();
        rows.dedup();
        let mut groups: BTreeMap<KeyGroup, Vec<Row>> = BTreeMap::new();
        for row in rows {
            groups.entry(self.group_of(self.key(row).key_hash())).or_default().push(row);
        }
        groups
    }

    /// The keys of one group, of which `resident` rows have a value in memory, and `items` are stored.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a sort key that is none of this state's; the error of an item that is
    /// damaged.
    pub(crate) fn keys_of_group(
        &self,
        query: &KeyQuery,
        resident: &[Row],
        items: Vec<Scanned>,
    ) -> Result<Vec<K>> {
        let values = &self.columns[query.column.index()];
        let corrupt = |error: DecodeError| {
            let operator = &self.config.operator;
            let message = format!("operator {operator}, item of state {}: {error}", values.name());
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        };
        let mut keys: Vec<K> = resident.iter().map(|row| self.key(*row).clone()).collect();
        for Scanned { sort_key, item } in items {
            let mut sub = &sort_key[..];
            let key = K::decode(&mut sub).map_err(corrupt)?;
            // A key's items lie next to each other.
            let is_listed = keys.len() > resident.len() && keys.last() == Some(&key);
            if is_listed || !sub.starts_with(&query.namespace) {
                continue;
            }
            if let Some(row) = self.rows.find(key.key_hash(), &key) {
                let entry = values.in_memory(row, sub).map_err(corrupt)?;
                let was_deleted = entry.is_some_and(|entry| values.meta(entry).change() > 0);
                if resident.binary_search(&Row(row)).is_ok() || was_deleted {
                    continue;
                }
            }
            if self.unless_gone(item?.stored()).is_some() {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Whether the clock has passed a value's time. Of the times of records a query knows nothing.
    fn is_over(&self, values: &Erased, entry: u32) -> bool {
        values.lives().is_some_and(|lives| self.times.is_gone(lives.expiry(entry)))
    }
}
