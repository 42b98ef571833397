//! The keys, and the namespaces of keys, that have a value of a state, wherever it is. Flink: `getKeys(state,
//! namespace)`, `getKeysAndNamespaces(state)`.
//!
//! Owns which entries count: what has changed since its item was written decides for itself, of all else the
//! item does. Reading the items, page by page, is the caller's.

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

    /// Keys that have something in `state` in any namespace.
    pub fn in_any<N>(state: Namespaced<N, impl Handle>) -> Self {
        Self::of(state.handle)
    }

    /// Keys that have something in `state` in `namespace`.
    pub fn within<N: SubKey>(state: Namespaced<N, impl Handle>, namespace: &N) -> Self {
        let mut bytes = Vec::new();
        namespace.encode(&mut bytes);
        Self { column: state.handle.column(), namespace: bytes }
    }
}

/// How many bytes of a sub key are given beside the key: none, or those of the namespace.
pub(crate) type Told = fn(&[u8]) -> Result<usize, DecodeError>;

/// A key, and what is given of its sub key.
pub(crate) type Listed<K> = (K, Vec<u8>);

/// None of them.
pub(crate) fn key_alone(_: &[u8]) -> Result<usize, DecodeError> {
    Ok(0)
}

/// Those of the namespace.
pub(crate) fn with_namespace<N: SubKey>(sub: &[u8]) -> Result<usize, DecodeError> {
    let mut rest = sub;
    N::decode(&mut rest)?;
    Ok(sub.len() - rest.len())
}

/// A row that has a value in memory, and what is given of its sub key.
pub(crate) type Resident = (Row, Vec<u8>);

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
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for a sub key in memory that is none of this state's: a bug.
    pub(crate) fn resident_rows(
        &self,
        query: &KeyQuery,
        telling: Told,
    ) -> Result<BTreeMap<KeyGroup, Vec<Resident>>> {
        let values = &self.columns[query.column.index()];
        let (mut found, mut sub) = (Vec::new(), Vec::new());
        for entry in 0..values.end() {
            let is_there =
                values.is_taken(entry) && values.is_present(entry) && !self.is_over(values, entry);
            if !is_there {
                continue;
            }
            sub.clear();
            values.encode_sub(entry, &mut sub);
            if sub.starts_with(&query.namespace) {
                let length = telling(&sub).map_err(|e| Error::internal(e.to_string()))?;
                found.push((Row(values.row_of(entry)), sub[..length].to_vec()));
            }
        }
        found.sort_unstable();
        found.dedup();
        let mut groups: BTreeMap<KeyGroup, Vec<Resident>> = BTreeMap::new();
        for resident in found {
            groups
                .entry(self.group_of(self.key(resident.0).key_hash()))
                .or_default()
                .push(resident);
        }
        Ok(groups)
    }

    /// The keys of one group that have a value in memory, and what is given of their sub keys.
    pub(crate) fn resident_keys(&self, resident: &[Resident]) -> Vec<Listed<K>> {
        resident.iter().map(|(row, told)| (self.key(*row).clone(), told.clone())).collect()
    }

    /// The other keys of that group of which `items`, a page of it, are stored; `last` is the last one of the page
    /// before, and becomes that of this one.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for a sort key that is none of this state's; the error of an item that is
    /// damaged.
    pub(crate) fn keys_of_page(
        &self,
        (query, telling): (&KeyQuery, Told),
        resident: &[Resident],
        last: &mut Option<Listed<K>>,
        items: Vec<Scanned>,
    ) -> Result<Vec<Listed<K>>> {
        let values = &self.columns[query.column.index()];
        let corrupt = |error: DecodeError| {
            let operator = &self.config.operator;
            let message = format!("operator {operator}, item of state {}: {error}", values.name());
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        };
        let mut keys: Vec<Listed<K>> = Vec::new();
        for Scanned { sort_key, item } in items {
            let mut sub = &sort_key[..];
            let key = K::decode(&mut sub).map_err(corrupt)?;
            if !sub.starts_with(&query.namespace) {
                continue;
            }
            let told = sub[..telling(sub).map_err(corrupt)?].to_vec();
            // The items of a key, and of a namespace of it, lie next to each other.
            let before = keys.last().or(last.as_ref());
            if before.is_some_and(|(before, of_it)| *before == key && *of_it == told) {
                continue;
            }
            if let Some(row) = self.rows.find(key.key_hash(), &key) {
                let entry = values.in_memory(row, sub).map_err(corrupt)?;
                let was_deleted = entry.is_some_and(|entry| values.meta(entry).change() > 0);
                let is_listed = || resident.binary_search(&(Row(row), told.clone())).is_ok();
                if was_deleted || is_listed() {
                    continue;
                }
            }
            if self.unless_gone(query.column, item?.stored()).is_some() {
                keys.push((key, told));
            }
        }
        if let Some(found) = keys.last() {
            *last = Some(found.clone());
        }
        Ok(keys)
    }

    /// Whether the clock has passed a value's time. Of the times of records a query knows nothing.
    fn is_over(&self, values: &Erased, entry: u32) -> bool {
        let expiry = values.lives().and_then(|lives| lives.expiry(entry));
        expiry.is_some_and(|expiry| self.times.is_gone(expiry, None))
    }
}
