//! What an operator says about its states, and the typed handles that it gets for that.
//!
//! Owns the descriptor and handle of plain values, and the check of names; those of other kinds of state
//! are with them. Does not own values: those are in columns.

use std::fmt;
use std::marker::PhantomData;

use super::coding::Coding;
use super::column::{AnyColumn, Column};
use super::declared::DeclaredState;
use super::erased::Erased;
use super::formats::{StateFormats, StateKind};
use super::key_types::SubTypes;
use super::lifetimes::{ExpiresBy, StateLifetimes};
use super::list::{ListColumn, ListDescriptor, ListState};
use super::map::{MapColumn, MapDescriptor, MapState};
use super::reducing::{AggregatingDescriptor, AggregatingState, ReducingDescriptor, ReducingState};
use super::sub_column::SubKey;
use super::ttl::{Ttl, whole_ms, with_ttl};
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CheckpointId, Name};

/// What every descriptor and handle is: copied freely, whatever its types, and shown by one field.
macro_rules! handle {
    ($name:ident<$($t:ident),+>, $format:literal, $field:ident) => {
        impl<$($t),+> Clone for $name<$($t),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($t),+> Copy for $name<$($t),+> {}

        impl<$($t),+> fmt::Debug for $name<$($t),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.$field)
            }
        }
    };
}
pub(super) use handle;

/// What the descriptors of values of one type each have: how these are written.
macro_rules! descriptor {
    ($name:ident<$($t:ident),+>, $value:ident { $($field:ident),* }) => {
        impl<$($t),+> Clone for $name<$($t),+> {
            fn clone(&self) -> Self {
                Self {
                    name: self.name,
                    coding: self.coding.clone(),
                    ttl: self.ttl,
                    $($field: self.$field),*
                }
            }
        }

        impl<$($t),+> fmt::Debug for $name<$($t),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.name)
            }
        }

        impl<$($t),+> $name<$($t),+>
        where
            $value: $crate::codec::Value,
        {
            /// Has values written by `C` instead of by [`crate::codec::Bincode`].
            #[must_use]
            pub const fn with_codec<C: $crate::codec::Codec<$value>>(mut self) -> Self {
                self.coding.write_by::<C>();
                self
            }

            /// Takes over values that an earlier version of the program stored as `Old`: each is migrated
            /// when it is read. The table keeps what is not changed as it is, so a migration stays in the
            /// program as long as the state lives: one for each former type, each to the present one.
            ///
            /// ```
            /// use millpond::state::{States, ValueDescriptor};
            /// let total = ValueDescriptor::<u64>::new("total").migrate_from::<u32>(u64::from);
            /// States::new().value(total);
            /// ```
            #[must_use]
            pub fn migrate_from<Old: $crate::codec::Value>(
                self,
                migrate: impl Fn(Old) -> $value + Send + Sync + 'static,
            ) -> Self {
                self.migrate_from_codec::<Old, $crate::codec::Bincode>(migrate)
            }

            /// As `migrate_from`, of values that were written by codec `C`.
            #[must_use]
            pub fn migrate_from_codec<Old, C>(
                mut self,
                migrate: impl Fn(Old) -> $value + Send + Sync + 'static,
            ) -> Self
            where
                Old: $crate::codec::Value,
                C: $crate::codec::Codec<Old>,
            {
                self.coding.migrate::<Old, C>(migrate);
                self
            }
        }
    };
}
pub(super) use descriptor;

/// A state of one value for each key. Flink: `ValueStateDescriptor`.
///
/// ```
/// use millpond::state::ValueDescriptor;
/// const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
/// ```
pub struct ValueDescriptor<V> {
    pub(super) name: &'static str,
    pub(super) default: Option<fn() -> V>,
    pub(super) coding: Coding<V>,
    pub(super) ttl: Option<Ttl>,
}

impl<V: Value> ValueDescriptor<V> {
    /// A state called `name`, which is checked when it is registered.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, default: None, coding: Coding::new(StateKind::Value), ttl: None }
    }
}

impl<V> ValueDescriptor<V> {
    /// With a value for keys that have none: what a read gives, and what a change in place begins with.
    ///
    /// ```
    /// use millpond::state::ValueDescriptor;
    /// const LEVEL: ValueDescriptor<u32> = ValueDescriptor::new("level").with_default(|| 100);
    /// ```
    #[must_use]
    pub const fn with_default(mut self, make: fn() -> V) -> Self {
        self.default = Some(make);
        self
    }

    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// For how long values live, where not for ever.
    #[must_use]
    pub const fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }
}

descriptor!(ValueDescriptor<V>, V { default });
with_ttl!(ValueDescriptor<V>);

/// The number of a state within its operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnId(pub(super) u16);

impl ColumnId {
    /// Its place among them.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A handle to a state of its operator; copied freely. Flink: `ValueState`.
pub struct ValueState<V> {
    pub(super) column: ColumnId,
    /// Whether its values expire. Known from the handle, a value that does not is got and set without a look
    /// at its column's time to live: of a keyed count of 1,000 keys that look took a seventh of the time.
    pub(super) expires: bool,
    value: PhantomData<fn() -> V>,
}

handle!(ValueState<V>, "ValueState({:?})", column);

impl<V> ValueState<V> {
    pub(super) fn new(column: ColumnId, expires: bool) -> Self {
        Self { column, expires, value: PhantomData }
    }
}

/// Collects the states of one operator; what is wrong with them is reported by [`States::finish`].
#[derive(Debug, Default)]
pub struct States {
    columns: Vec<Erased>,
    errors: Vec<String>,
}

impl States {
    /// No states yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a state of one value for each key.
    pub fn value<V: Value>(&mut self, descriptor: ValueDescriptor<V>) -> ValueState<V> {
        let ValueDescriptor { name, default, coding, ttl } = descriptor;
        let column = |name| Column::new(name, default, coding).with_ttl(ttl);
        ValueState::new(self.add(name, column), ttl.is_some())
    }

    /// Registers a state of one value for each map key of a key.
    pub fn map<MK: SubKey, V: Value>(
        &mut self,
        descriptor: MapDescriptor<MK, V>,
    ) -> MapState<MK, V> {
        let MapDescriptor { name, coding, ttl, .. } = descriptor;
        let types = SubTypes::default().and_map_key::<MK>();
        let column = |name| MapColumn::<(), MK, V>::new(name, types, None, coding).with_ttl(ttl);
        MapState::new(self.add(name, column))
    }

    /// Registers a state of any number of elements for each key.
    pub fn list<T: Value>(&mut self, descriptor: ListDescriptor<T>) -> ListState<T> {
        let ListDescriptor { name, coding, ttl } = descriptor;
        let types = SubTypes::default();
        let column = |name| ListColumn::<(), T>::new(name, types, None, coding).with_ttl(ttl);
        ListState::new(self.add(name, column))
    }

    /// Registers a state of one value for each key, into which others are combined.
    pub fn reducing<T: Value>(&mut self, descriptor: ReducingDescriptor<T>) -> ReducingState<T> {
        let ReducingDescriptor { name, reduce, coding, ttl } = descriptor;
        let column = |name| Column::<T>::new(name, None, coding).with_ttl(ttl);
        ReducingState::new(self.add(name, column), reduce)
    }

    /// Registers a state of one accumulator for each key.
    pub fn aggregating<In, Acc: Value, Out>(
        &mut self,
        descriptor: AggregatingDescriptor<In, Acc, Out>,
    ) -> AggregatingState<In, Acc, Out> {
        let AggregatingDescriptor { name, functions, coding, ttl } = descriptor;
        let column = |name| Column::<Acc>::new(name, None, coding).with_ttl(ttl);
        AggregatingState::new(self.add(name, column), functions)
    }

    pub(super) fn add<C: AnyColumn>(
        &mut self,
        name: &str,
        column: impl FnOnce(Name) -> C,
    ) -> ColumnId {
        let id = ColumnId(u16::try_from(self.columns.len()).unwrap_or(u16::MAX));
        match self.check(name, id) {
            Ok(name) => {
                let column = column(name);
                if column.ttl().is_some_and(|ttl| whole_ms(ttl.after) == 0) {
                    let name = column.name();
                    self.errors
                        .push(format!("{name} has a time to live of less than a millisecond"));
                }
                self.columns.push(Erased::new(column));
            }
            Err(error) => self.errors.push(error),
        }
        id
    }

    fn check(&self, name: &str, id: ColumnId) -> Result<Name, String> {
        let name = state_name(name)?;
        if self.columns.iter().any(|column| *column.name() == name) {
            return Err(format!("two states are called {name}"));
        }
        // A segment names a state in one byte's worth of columns or a little more; a row's columns
        // are walked at each new key.
        if id.index() >= Columns::LIMIT {
            return Err(format!("more than {} states", Columns::LIMIT));
        }
        Ok(name)
    }

    /// The columns, if all was well. Finds out each type anew: for graphs and subtasks, not for records.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] that lists every invalid name, every name used twice, and every state whose values
    /// would be written and not be read back.
    pub fn finish(mut self) -> Result<Columns> {
        for column in &self.columns {
            if let Some(why) = column.coding().cannot_read() {
                self.errors.push(format!(
                    "state {}: its values would be written, and no restart could read them: they are of {why}. \
                     Give the type another form, or the descriptor a codec that can, by with_codec",
                    column.name()
                ));
            }
        }
        if self.errors.is_empty() {
            Ok(Columns(self.columns))
        } else {
            Err(Error::new(ErrorKind::Graph, self.errors.join("; ")))
        }
    }
}

/// The name of a state, keyed or not, as a user gives it; or what is wrong with it.
pub(super) fn state_name(name: &str) -> Result<Name, String> {
    let name = Name::new(name).map_err(|error| error.message().to_owned())?;
    if name.as_str().starts_with('.') {
        return Err(format!("the state name {name} begins with a dot: those are the engine's"));
    }
    Ok(name)
}

/// The empty columns of an operator's states.
#[derive(Debug)]
pub struct Columns(pub(super) Vec<Erased>);

impl Columns {
    /// How many states an operator may have.
    pub const LIMIT: usize = 1000;

    /// Goes on from checkpoint `restored` of `operator`, of which a manifest recorded these states: how
    /// each is stored from now on, in the order of their registration.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] for a state whose values are of another type and that has no migration; it
    /// names both, and what to do.
    pub fn settle(
        &mut self,
        operator: &Name,
        recorded: &[StateFormats],
        restored: CheckpointId,
    ) -> Result<Vec<StateFormats>> {
        let settle = |column: &mut Erased| {
            let name = column.name().clone();
            let recorded = recorded.iter().find(|r| r.operator == *operator && r.state == name);
            column.coding_mut().settle((operator, &name), recorded, restored)
        };
        self.0.iter_mut().map(settle).collect()
    }

    /// By which times values of each have expired and do from now on, in the order of their registration: in an
    /// attempt that begins at `now_ms` and goes on from checkpoint `restored` of `operator`, of which a manifest
    /// recorded these states.
    #[must_use]
    pub fn lifetimes(
        &self,
        operator: &Name,
        recorded: &[StateLifetimes],
        (restored, now_ms): (CheckpointId, u64),
    ) -> Vec<StateLifetimes> {
        let settle = |column: &Erased| {
            let names = (operator, column.name());
            let by = ExpiresBy::of(column.ttl());
            StateLifetimes::settle(names, by, recorded, (restored, now_ms))
        };
        self.0.iter().map(settle).collect()
    }

    /// What they are, without their types. Finds out each type anew.
    #[must_use]
    pub fn declared(&self) -> Vec<DeclaredState> {
        let declared = |column: &Erased| {
            let (kind, encoding, known) = column.coding().declared();
            let (namespace, map_key) = column.sub_types().encodings();
            let name = column.name().clone();
            let expires_by = ExpiresBy::of(column.ttl());
            DeclaredState { name, kind, encoding, known, namespace, map_key, expires_by }
        };
        self.0.iter().map(declared).collect()
    }

    /// The names of the states, in the order of their registration.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.0.iter().map(|column| column.name().clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_and_repeated_names_are_listed_as_a_graph_error() {
        let mut states = States::new();
        states.value::<u64>(ValueDescriptor::new("a"));
        states.value::<String>(ValueDescriptor::new("b/c"));
        states.value::<u8>(ValueDescriptor::new("a"));
        states.map::<u8, u8>(MapDescriptor::new(".timers"));
        let error = states.finish().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("b/c"), "{error}");
        assert!(error.message().contains("two states are called a"), "{error}");
        assert!(error.message().contains(".timers begins with a dot"), "{error}");
    }

    #[test]
    fn a_time_to_live_of_nothing_is_a_graph_error() {
        let ttl = |micros| Ttl::new(std::time::Duration::from_micros(micros));
        let states = |micros| {
            let mut states = States::new();
            states.value::<u64>(ValueDescriptor::new("a").with_ttl(ttl(micros)));
            states.finish()
        };
        assert!(states(1000).is_ok());
        let error = states(999).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Graph);
        assert!(error.message().contains("a has a time to live of less"), "{error}");
    }

    #[test]
    fn names_keep_their_order() {
        let mut states = States::new();
        states.value::<u64>(ValueDescriptor::new("z"));
        states.value::<String>(ValueDescriptor::new("a"));
        let names = states.finish().unwrap().names();
        assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), ["z", "a"]);
    }
}
