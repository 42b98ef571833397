//! What a simulation needs of a job: its graph, its input bit by bit, and what its output and state
//! must be.
//!
//! Owns what a scenario is and what it is asked. Where its records come from and where its output goes is
//! `ends`'. The built-in scenarios are in `graphs`, one file each; a user's own ones are made of the same parts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;

use super::ends::Ends;
use crate::checkpoint::SavedOperator;
use crate::codec::{Bincode, Codec, DecodeError, Key, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::state::from_native;
use crate::state::unkeyed::SavedState;
use crate::task::JobGraph;

/// `Ok`, or what is wrong.
pub type Verdict = std::result::Result<(), String>;

/// A job and what is to be expected of it. All of it is called on one thread.
pub trait Scenario: Send + Sync {
    /// A short name.
    fn name(&self) -> &'static str;

    /// What the state of one key takes in memory at most, about.
    fn memory_of_a_key(&self) -> u64 {
        500
    }

    /// The graph for one more process. Input and output are the same for all of them.
    ///
    /// # Errors
    /// The graph's.
    fn graph(&self) -> Result<JobGraph>;

    /// Where its records come from and where its output goes.
    fn ends(&self) -> &dyn Ends;

    /// Whether the commits at these places of [`Ends::commits`], one line of descent of the job, are what a loop over
    /// the records before `positions` gives: each record once, in order for each key within a split.
    ///
    /// # Errors
    /// What is wrong.
    fn check_output(&self, commits: &[usize], positions: &Positions) -> Verdict;

    /// How many bytes of an entry's key are the record's key, which decides on its key group: all of them,
    /// but in states with namespaces, maps and lists.
    fn key_bytes(&self, _operator: &str, _state: &str, key: &[u8]) -> usize {
        key.len()
    }

    /// Whether the state of a checkpoint is what a loop over the records before its positions leaves.
    ///
    /// # Errors
    /// What is wrong.
    fn check_state(&self, state: &StateView<'_>) -> Verdict;
}

/// How far each split has been read: of each source operator, the records before the position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(pub(super) BTreeMap<(String, String), u64>);

impl Positions {
    /// Records of a split in memory that lie before the position.
    #[must_use]
    pub fn before(&self, source: &str, split: usize) -> u64 {
        self.0.get(&(source.to_owned(), split.to_string())).copied().unwrap_or_default()
    }
}

/// A value as log and table hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) bytes: Bytes,
    /// The bytes are an attribute's JSON.
    pub(super) native: bool,
}

impl Stored {
    fn read<V: Value, C: Codec<V>>(&self) -> std::result::Result<V, DecodeError> {
        if self.native { from_native(&self.bytes) } else { C::decode(&self.bytes) }
    }
}

/// All state at one checkpoint, as a reader of the table finds it.
#[derive(Debug)]
pub struct StateView<'a> {
    /// Where the sources stand.
    pub positions: &'a Positions,
    pub(super) values: &'a BTreeMap<(Name, Name, Bytes), Stored>,
    pub(super) operators: &'a [SavedOperator],
}

impl StateView<'_> {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn value<V: Value>(
        &self,
        operator: &str,
        state: &str,
        key: &impl Key,
    ) -> std::result::Result<Option<V>, String> {
        self.value_by::<V, Bincode>(operator, state, key)
    }

    /// As [`StateView::value`], of a state with the codec `C`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn value_by<V: Value, C: Codec<V>>(
        &self,
        operator: &str,
        state: &str,
        key: &impl Key,
    ) -> std::result::Result<Option<V>, String> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let name = |text: &str| Name::new(text).map_err(|e| e.to_string());
        let at = (name(operator)?, name(state)?, Bytes::from(bytes));
        let found = self.values.get(&at);
        let decoded = found.map(Stored::read::<V, C>).transpose();
        decoded.map_err(|e| format!("{operator}.{state} of {key:?}: {e}"))
    }

    /// What each subtask has saved of an operator state: the elements of a list, or the entries of a map.
    ///
    /// # Errors
    /// There is no such operator, or an element cannot be read.
    pub fn elements<T: Value>(
        &self,
        operator: &str,
        state: &str,
    ) -> std::result::Result<Vec<Vec<T>>, String> {
        let saved = self.operators.iter().find(|saved| saved.operator.as_str() == operator);
        let saved = saved.ok_or_else(|| format!("there is no operator state of {operator}"))?;
        let of_subtask = |saved: &Vec<SavedState>| {
            let of_state = saved.iter().filter(|saved| saved.state.as_str() == state);
            let elements = of_state.flat_map(|saved| saved.elements.iter());
            elements.map(<Bincode as Codec<T>>::decode).collect::<std::result::Result<_, _>>()
        };
        let decoded = saved.subtasks.iter().map(of_subtask).collect::<std::result::Result<_, _>>();
        decoded.map_err(|e| format!("{operator}.{state}: {e}"))
    }

    /// The elements of each list that has any, by its key, or by key and namespace.
    ///
    /// # Errors
    /// A key or a value cannot be read.
    pub fn lists<K: Key + Ord, T: Value>(
        &self,
        operator: &str,
        state: &str,
    ) -> std::result::Result<BTreeMap<K, Vec<T>>, String> {
        self.lists_by::<K, T, Bincode>(operator, state)
    }

    /// As [`StateView::lists`], of a state with the codec `C`.
    ///
    /// # Errors
    /// A key or a value cannot be read.
    pub fn lists_by<K: Key + Ord, T: Value, C: Codec<Vec<T>>>(
        &self,
        operator: &str,
        state: &str,
    ) -> std::result::Result<BTreeMap<K, Vec<T>>, String> {
        let mut lists = BTreeMap::<K, Vec<T>>::new();
        for ((op, name, at), chunk) in self.values {
            if op.as_str() != operator || name.as_str() != state {
                continue;
            }
            let wrong = |e: &dyn fmt::Display| format!("{operator}.{state} of {at:?}: {e}");
            // What follows is the chunk's number: in the order of the keys, one comes after the other.
            let key = K::decode(&mut &at[..]).map_err(|e| wrong(&e))?;
            let chunk = chunk.read::<Vec<T>, C>().map_err(|e| wrong(&e))?;
            if !chunk.is_empty() {
                lists.entry(key).or_default().extend(chunk);
            }
        }
        Ok(lists)
    }

    /// How many keys have a value.
    #[must_use]
    pub fn count(&self, operator: &str, state: &str) -> usize {
        let of = |(op, name, _): &&(Name, Name, Bytes)| {
            op.as_str() == operator && name.as_str() == state
        };
        self.values.keys().filter(of).count()
    }

    /// Compares all values of a state with `expected`.
    ///
    /// # Errors
    /// Which key differs, or that there are more.
    pub fn compare<'e, K: Key + 'e, V: Value + PartialEq + fmt::Debug + 'e>(
        &self,
        operator: &str,
        state: &str,
        expected: impl IntoIterator<Item = (&'e K, V)>,
    ) -> Verdict {
        self.compare_by::<K, V, Bincode>(operator, state, expected)
    }

    /// As [`StateView::compare`], of a state with the codec `C`.
    ///
    /// # Errors
    /// Which key differs, or that there are more.
    pub fn compare_by<'e, K, V, C>(
        &self,
        operator: &str,
        state: &str,
        expected: impl IntoIterator<Item = (&'e K, V)>,
    ) -> Verdict
    where
        K: Key + 'e,
        V: Value + PartialEq + fmt::Debug + 'e,
        C: Codec<V>,
    {
        let mut number = 0;
        for (key, value) in expected {
            number += 1;
            let found = self.value_by::<V, C>(operator, state, key)?;
            if found.as_ref() != Some(&value) {
                return Err(format!("{operator}.{state} of {key:?} is {found:?}, not {value:?}"));
            }
        }
        match self.count(operator, state) {
            found if found == number => Ok(()),
            found => Err(format!("{operator}.{state} has {found} keys, not {number}")),
        }
    }
}

/// Makes a user function fail at a record that the simulation chooses. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Mishap {
    /// Records until it fails; none where it is not positive.
    left: Arc<AtomicI64>,
    happened: Arc<AtomicU64>,
}

impl Mishap {
    /// Fails at the record after `records` others.
    pub(super) fn arm(&self, records: u32) {
        self.left.store(i64::from(records) + 1, Ordering::Relaxed);
    }

    /// How often it has happened.
    pub(super) fn happened(&self) -> u64 {
        self.happened.load(Ordering::Relaxed)
    }

    /// To be called for each record by a function that may fail.
    ///
    /// # Errors
    /// [`ErrorKind::User`], once each time that the simulation wants it.
    pub fn pass(&self) -> Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) != 1 {
            return Ok(());
        }
        self.happened.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(ErrorKind::User, "a mishap of the simulation"))
    }
}
