//! What an operator says about its operator states, and the typed handles that it gets for that.
//!
//! Two collectors, so that a map that must be the same in all subtasks can only be declared where all of
//! them are given the same records: [`OperatorStates`] for functions without keys, [`BroadcastStates`]
//! for those with a broadcast input.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use super::cells::{BroadcastMap, Cell, ListCell, MapCell, Own};
use super::elements::OperatorStateKind;
use super::live::OperatorState;
use super::migrations::Migrations;
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Name, SubtaskId};
use crate::state::descriptor::state_name;

/// The descriptor and the handle of one kind of state.
macro_rules! state {
    (
        $(#[$of_descriptor:meta])* $descriptor:ident,
        $(#[$of_handle:meta])* $handle:ident<$($type:ident),+> of $element:ty
    ) => {
        $(#[$of_descriptor])*
        pub struct $descriptor<$($type),+> {
            name: &'static str,
            migrations: Migrations<$element>,
        }

        impl<$($type),+> $descriptor<$($type),+> {
            /// A state called `name`, which is checked when it is registered.
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                Self { name, migrations: Migrations::new() }
            }

            /// Takes over elements (of a map: entries, as pairs) that an earlier version of the program saved
            /// as `Old`: each is migrated at the restore, and saved as what it has become at the next
            /// checkpoint. One for each former type that a retained checkpoint may have, each to the present
            /// one.
            ///
            /// ```
            /// use millpond::state::{BroadcastDescriptor, OperatorListDescriptor};
            /// let waiting = OperatorListDescriptor::<u64>::new("waiting").migrate_from::<u32>(u64::from);
            /// let limits = BroadcastDescriptor::<String, u64>::new("limits")
            ///     .migrate_from::<(u32, u64)>(|(id, limit)| (id.to_string(), limit));
            /// # let _ = (waiting, limits);
            /// ```
            #[must_use]
            pub fn migrate_from<Old: Value>(
                mut self,
                migrate: impl Fn(Old) -> $element + Send + Sync + 'static,
            ) -> Self {
                self.migrations.add(migrate);
                self
            }
        }

        impl<$($type),+> Clone for $descriptor<$($type),+> {
            fn clone(&self) -> Self {
                Self { name: self.name, migrations: self.migrations.clone() }
            }
        }

        impl<$($type),+> fmt::Debug for $descriptor<$($type),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($descriptor), "({:?})"), self.name)
            }
        }

        $(#[$of_handle])*
        pub struct $handle<$($type),+> {
            index: usize,
            data: PhantomData<fn() -> ($($type,)+)>,
        }

        impl<$($type),+> Clone for $handle<$($type),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($type),+> Copy for $handle<$($type),+> {}

        impl<$($type),+> fmt::Debug for $handle<$($type),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($handle), "({})"), self.index)
            }
        }
    };
}

state! {
    /// A list whose elements belong to subtasks. Flink: `OperatorStateStore::getListState`.
    ///
    /// ```
    /// use millpond::state::OperatorListDescriptor;
    /// const BUFFER: OperatorListDescriptor<u64> = OperatorListDescriptor::new("buffer");
    /// ```
    OperatorListDescriptor,
    /// A handle to a list of its operator; copied freely.
    OperatorListState<T> of T
}

state! {
    /// A list of which every subtask is given all elements at a restore. Flink:
    /// `OperatorStateStore::getUnionListState`.
    UnionListDescriptor,
    /// A handle to a union list of its operator; copied freely.
    UnionListState<T> of T
}

state! {
    /// A map that is the same in all subtasks, kept in the order of its keys. Flink: the
    /// `MapStateDescriptor` of a `BroadcastState`.
    BroadcastDescriptor,
    /// A handle to a broadcast map of its operator; copied freely. Flink: `BroadcastState`.
    BroadcastState<K, V> of (K, V)
}

/// A handle to a state of an operator, and what it leads to.
pub trait OperatorHandle: Copy {
    /// What the state holds.
    type Data: 'static;

    /// The state's number within its operator.
    fn index(self) -> usize;
}

impl<T: Value> OperatorHandle for OperatorListState<T> {
    type Data = Vec<T>;

    fn index(self) -> usize {
        self.index
    }
}

impl<T: Value> OperatorHandle for UnionListState<T> {
    type Data = Vec<T>;

    fn index(self) -> usize {
        self.index
    }
}

impl<K: Value + Ord, V: Value> OperatorHandle for BroadcastState<K, V> {
    type Data = BroadcastMap<K, V>;

    fn index(self) -> usize {
        self.index
    }
}

/// Collects the lists of one operator; what is wrong with them is reported by [`OperatorStates::finish`].
#[derive(Debug, Default)]
pub struct OperatorStates(Collected);

impl OperatorStates {
    /// No states yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a list. Each element stays with its subtask; a restore at another parallelism deals all of
    /// them out evenly, in the order of the subtasks that had them.
    pub fn list<T: Value>(
        &mut self,
        descriptor: OperatorListDescriptor<T>,
    ) -> OperatorListState<T> {
        let OperatorListDescriptor { name, migrations } = descriptor;
        let cell = ListCell::<T> { items: Vec::new(), own: None, migrations };
        let index = self.0.add(name, OperatorStateKind::List, cell);
        OperatorListState { index, data: PhantomData }
    }

    /// Registers a union list. At a restore each subtask calls `own` with the elements of all former subtasks,
    /// in their order, and goes on with what that returns: its own part, most often. An element that two
    /// subtasks keep is there twice at the next restore. Where a checkpoint has no elements, `own` is not
    /// called.
    pub fn union_list<T: Value>(
        &mut self,
        descriptor: UnionListDescriptor<T>,
        own: impl Fn(Vec<T>, SubtaskId) -> Vec<T> + 'static,
    ) -> UnionListState<T> {
        let UnionListDescriptor { name, migrations } = descriptor;
        let own: Option<Box<Own<T>>> = Some(Box::new(own));
        let cell = ListCell::<T> { items: Vec::new(), own, migrations };
        let index = self.0.add(name, OperatorStateKind::Union, cell);
        UnionListState { index, data: PhantomData }
    }

    /// The states of `subtask`, empty, if all was well.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that lists every invalid name, every name used twice, and every state whose values
    /// would be written and not be read back.
    pub fn finish(self, subtask: SubtaskId) -> Result<OperatorState> {
        self.0.finish(subtask)
    }
}

/// Collects the broadcast maps of one operator; what is wrong with them is reported by
/// [`BroadcastStates::finish`].
#[derive(Debug, Default)]
pub struct BroadcastStates(Collected);

impl BroadcastStates {
    /// No states yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a map.
    pub fn map<K: Value + Ord, V: Value>(
        &mut self,
        descriptor: BroadcastDescriptor<K, V>,
    ) -> BroadcastState<K, V> {
        let BroadcastDescriptor { name, migrations } = descriptor;
        let cell = MapCell::<K, V> { entries: BTreeMap::new(), migrations };
        let index = self.0.add(name, OperatorStateKind::Broadcast, cell);
        BroadcastState { index, data: PhantomData }
    }

    /// The states of `subtask`, empty, if all was well.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that lists every invalid name, every name used twice, and every state whose values
    /// would be written and not be read back.
    pub fn finish(self, subtask: SubtaskId) -> Result<OperatorState> {
        self.0.finish(subtask)
    }
}

#[derive(Debug, Default)]
struct Collected {
    states: Vec<(Name, OperatorStateKind, Box<dyn Cell>)>,
    errors: Vec<String>,
    /// Those that are wrong included, so that handles stay right.
    count: usize,
}

impl Collected {
    fn add(&mut self, name: &str, kind: OperatorStateKind, cell: impl Cell) -> usize {
        let index = self.count;
        self.count += 1;
        match state_name(name) {
            Err(error) => self.errors.push(error),
            Ok(name) if self.states.iter().any(|(known, ..)| *known == name) => {
                self.errors.push(format!("two states are called {name}"));
            }
            Ok(name) => self.states.push((name, kind, Box::new(cell))),
        }
        index
    }

    fn finish(mut self, subtask: SubtaskId) -> Result<OperatorState> {
        for (name, kind, cell) in &self.states {
            if let Some(why) = cell.cannot_read() {
                self.errors.push(format!(
                    "{kind} {name}: its values would be written, and no restart could read them: they are of {why}. \
                     Give the type another form, or keep a text of it"
                ));
            }
        }
        if self.errors.is_empty() {
            Ok(OperatorState::new(self.states, subtask))
        } else {
            Err(Error::new(ErrorKind::Graph, self.errors.join("; ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_and_repeated_names_are_listed_as_a_graph_error() {
        let subtask = SubtaskId { index: 0, parallelism: 1 };
        let mut states = OperatorStates::new();
        states.list::<u64>(OperatorListDescriptor::new("a"));
        states.list::<u64>(OperatorListDescriptor::new("b/c"));
        states.union_list::<u64>(UnionListDescriptor::new("a"), |all, _| all);
        states.union_list::<u64>(UnionListDescriptor::new(".filter"), |all, _| all);
        let error = states.finish(subtask).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("b/c"), "{error}");
        assert!(error.message().contains("two states are called a"), "{error}");
        assert!(error.message().contains(".filter begins with a dot"), "{error}");

        let mut maps = BroadcastStates::new();
        maps.map::<u64, u64>(BroadcastDescriptor::new("rules"));
        maps.map::<u64, String>(BroadcastDescriptor::new("rules"));
        maps.map::<u64, String>(BroadcastDescriptor::new(".rules"));
        let error = maps.finish(subtask).unwrap_err();
        assert!(error.message().contains("called rules"), "{error}");
        assert!(error.message().contains(".rules begins with a dot"), "{error}");
    }
}
