//! Reducing and aggregating states: one value for each key, into which others are combined.
//!
//! Owns their descriptors, handles and what an addition does. The value itself is `single`'s.

use std::fmt;

use super::coding::Coding;
use super::descriptor::{ColumnId, descriptor, handle};
use super::formats::StateKind;
use super::keyed::{KeyedState, Row};
use super::single::Single;
use super::sub_column::SubKey;
use super::ttl::{Ttl, with_ttl};
use crate::codec::{Key, Value};
use crate::error::Result;

/// A state of one value for each key: what was added, combined by a function. Flink: `ReducingStateDescriptor`.
///
/// The function is a pointer (`fn`), so that descriptors can be constants: it captures nothing. What it would capture
/// goes into the values that are added, or a [`super::ValueState`] is changed by the function that has it
/// ([`crate::operator::Context::get_mut`]).
///
/// ```
/// use millpond::state::ReducingDescriptor;
/// const WORST: ReducingDescriptor<i64> = ReducingDescriptor::new("worst", |a, b| b.max(*a));
/// ```
pub struct ReducingDescriptor<T> {
    pub(super) name: &'static str,
    pub(super) reduce: fn(&T, T) -> T,
    pub(super) coding: Coding<T>,
    pub(super) ttl: Option<Ttl>,
}

impl<T: Value> ReducingDescriptor<T> {
    /// A state called `name`, which is checked when it is registered. `reduce` combines the value so far
    /// with one that is added. It has the value so far by reference, since that stays in place until there is a new
    /// one; the function of [`crate::stream::KeyedStream::reduce`] takes both by value.
    #[must_use]
    pub const fn new(name: &'static str, reduce: fn(&T, T) -> T) -> Self {
        Self { name, reduce, coding: Coding::new(StateKind::Reducing), ttl: None }
    }
}

impl<T> ReducingDescriptor<T> {
    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A handle to a reducing state of its operator; copied freely. Flink: `ReducingState`.
pub struct ReducingState<T> {
    pub(super) column: ColumnId,
    reduce: fn(&T, T) -> T,
}

descriptor!(ReducingDescriptor<T>, T { reduce });
with_ttl!(ReducingDescriptor<T>);
handle!(ReducingState<T>, "ReducingState({:?})", column);

impl<T> ReducingState<T> {
    pub(super) fn new(column: ColumnId, reduce: fn(&T, T) -> T) -> Self {
        Self { column, reduce }
    }
}

/// A state of an accumulator for each key, to which inputs are added and from which a result is made.
/// Flink: `AggregatingStateDescriptor`.
///
/// The functions are pointers (`fn`), and capture nothing: what they would capture goes into the inputs, as of a
/// [`ReducingDescriptor`].
///
/// ```
/// use millpond::state::AggregatingDescriptor;
/// const MEAN: AggregatingDescriptor<f64, (f64, u32), f64> = AggregatingDescriptor::new(
///     "mean",
///     || (0.0, 0),
///     |sum, value| *sum = (sum.0 + value, sum.1 + 1),
///     |sum| sum.0 / f64::from(sum.1),
/// );
/// ```
pub struct AggregatingDescriptor<In, Acc, Out> {
    pub(super) name: &'static str,
    pub(super) functions: Functions<In, Acc, Out>,
    pub(super) coding: Coding<Acc>,
    pub(super) ttl: Option<Ttl>,
}

pub(super) struct Functions<In, Acc, Out> {
    create: fn() -> Acc,
    add: fn(&mut Acc, In),
    result: fn(&Acc) -> Out,
}

impl<In, Acc, Out> Clone for Functions<In, Acc, Out> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<In, Acc, Out> Copy for Functions<In, Acc, Out> {}

impl<In, Acc: Value, Out> AggregatingDescriptor<In, Acc, Out> {
    /// A state called `name`, which is checked when it is registered: what an accumulator begins as, how
    /// an input is added to it, and what its result is. Flink: `AggregateFunction`.
    #[must_use]
    pub const fn new(
        name: &'static str,
        create: fn() -> Acc,
        add: fn(&mut Acc, In),
        result: fn(&Acc) -> Out,
    ) -> Self {
        let coding = Coding::new(StateKind::Aggregating);
        Self { name, functions: Functions { create, add, result }, coding, ttl: None }
    }
}

impl<In, Acc, Out> AggregatingDescriptor<In, Acc, Out> {
    /// The name as given.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// A handle to an aggregating state of its operator; copied freely. Flink: `AggregatingState`.
pub struct AggregatingState<In, Acc, Out> {
    pub(super) column: ColumnId,
    functions: Functions<In, Acc, Out>,
}

descriptor!(AggregatingDescriptor<In, Acc, Out>, Acc { functions });
with_ttl!(AggregatingDescriptor<In, Acc, Out>);
handle!(AggregatingState<In, Acc, Out>, "AggregatingState({:?})", column);

impl<In, Acc, Out> AggregatingState<In, Acc, Out> {
    pub(super) fn new(column: ColumnId, functions: Functions<In, Acc, Out>) -> Self {
        Self { column, functions }
    }
}

/// A key's value of a reducing state.
pub struct Reducing<'a, K, T, N = ()> {
    state: &'a mut KeyedState<K>,
    handle: ReducingState<T>,
    row: Row,
    namespace: Option<&'a N>,
}

impl<'a, K: Key, T: Value, N: SubKey> Reducing<'a, K, T, N> {
    pub(super) fn new(
        state: &'a mut KeyedState<K>,
        handle: ReducingState<T>,
        row: Row,
        namespace: Option<&'a N>,
    ) -> Self {
        Self { state, handle, row, namespace }
    }

    fn single(&mut self) -> Single<'_, K, T, N> {
        Single::new(self.state, self.handle.column, self.row, self.namespace)
    }

    /// What has been added, combined; `None` where nothing has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where it must be read first: in a namespace.
    pub fn get(&mut self) -> Result<Option<&T>> {
        self.single().get()
    }

    /// Adds a value.
    ///
    /// # Errors
    /// As [`Reducing::get`].
    pub fn add(&mut self, value: T) -> Result<()> {
        let reduce = self.handle.reduce;
        let Some(old) = self.single().get()? else {
            self.single().put(value);
            return Ok(());
        };
        let new = reduce(old, value);
        self.single().replace(new)
    }

    /// Takes away what has been added. Reads nothing.
    pub fn clear(&mut self) {
        self.single().clear();
    }
}

/// A key's accumulator of an aggregating state.
pub struct Aggregating<'a, K, In, Acc, Out, N = ()> {
    state: &'a mut KeyedState<K>,
    handle: AggregatingState<In, Acc, Out>,
    row: Row,
    namespace: Option<&'a N>,
}

impl<'a, K: Key, In, Acc: Value, Out, N: SubKey> Aggregating<'a, K, In, Acc, Out, N> {
    pub(super) fn new(
        state: &'a mut KeyedState<K>,
        handle: AggregatingState<In, Acc, Out>,
        row: Row,
        namespace: Option<&'a N>,
    ) -> Self {
        Self { state, handle, row, namespace }
    }

    fn single(&mut self) -> Single<'_, K, Acc, N> {
        Single::new(self.state, self.handle.column, self.row, self.namespace)
    }

    /// The result of what has been added; `None` where nothing has.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Suspended`] where it must be read first: in a namespace.
    pub fn get(&mut self) -> Result<Option<Out>> {
        let result = self.handle.functions.result;
        Ok(self.single().get()?.map(result))
    }

    /// Adds an input.
    ///
    /// # Errors
    /// As [`Aggregating::get`].
    pub fn add(&mut self, input: In) -> Result<()> {
        let Functions { create, add, .. } = self.handle.functions;
        if let Some(accumulator) = self.single().get_mut()? {
            add(accumulator, input);
            return Ok(());
        }
        let mut accumulator = create();
        add(&mut accumulator, input);
        self.single().put(accumulator);
        Ok(())
    }

    /// Takes away what has been added. Reads nothing.
    pub fn clear(&mut self) {
        self.single().clear();
    }
}

impl<K, T, N> fmt::Debug for Reducing<'_, K, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reducing({:?}, {:?})", self.handle, self.row)
    }
}

impl<K, In, Acc, Out, N> fmt::Debug for Aggregating<'_, K, In, Acc, Out, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aggregating({:?}, {:?})", self.handle, self.row)
    }
}
