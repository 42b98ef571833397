//! The user's keyed function: one record of one key at a time, with that key's state.

use crate::codec::{Key, Value};
use crate::error::Result;
use crate::state::{KeyedState, Row, ValueState};

/// Processes the records of a keyed stream. Flink: `KeyedProcessFunction`.
///
/// It is synchronous and takes `&self`; what changes is in its states. All records of a key come to
/// one instance, those of one split in order.
///
/// ```
/// use millpond::operator::{Context, KeyedProcess};
/// use millpond::state::{States, ValueDescriptor, ValueState};
///
/// const COUNT: ValueDescriptor<u64> = ValueDescriptor::new("count");
///
/// struct Count { count: ValueState<u64> }
///
/// impl Count {
///     fn new(states: &mut States) -> Self {
///         Self { count: states.value(COUNT) }
///     }
/// }
///
/// impl KeyedProcess for Count {
///     type Key = String;
///     type In = String;
///     type Out = (String, u64);
///
///     fn process(&self, _: String, context: &mut Context<'_, Self>) -> millpond::Result<()> {
///         let count = context.get(self.count).copied().unwrap_or(0) + 1;
///         context.set(self.count, count);
///         context.emit((context.key().clone(), count));
///         Ok(())
///     }
/// }
/// ```
pub trait KeyedProcess: 'static {
    /// What the stream is keyed by.
    type Key: Key;
    /// Its records.
    type In: Send + 'static;
    /// What is given out.
    type Out: Send + 'static;

    /// Processes one record.
    ///
    /// # Errors
    /// An error fails the attempt; nothing of the record is committed.
    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()>;

    /// When what a record tells of happened, in milliseconds since 1970: asked for each record where a
    /// state lives for a time that is judged by it (`state::TtlTime::Event`), and else never.
    fn event_time(&self, _record: &Self::In) -> Option<u64> {
        None
    }
}

/// What a keyed function works with while it processes one record.
#[derive(Debug)]
pub struct Context<'a, P: KeyedProcess + ?Sized> {
    key: &'a P::Key,
    row: Row,
    state: &'a mut KeyedState<P::Key>,
    out: &'a mut Vec<P::Out>,
}

impl<'a, P: KeyedProcess + ?Sized> Context<'a, P> {
    /// For one record of `key`, whose row is resident.
    #[inline]
    pub fn new(
        key: &'a P::Key,
        row: Row,
        state: &'a mut KeyedState<P::Key>,
        out: &'a mut Vec<P::Out>,
    ) -> Self {
        Self { key, row, state, out }
    }

    /// The current key.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &P::Key {
        self.key
    }

    /// The key's value of `state`, if it has one.
    #[inline]
    #[must_use]
    pub fn get<V: Value>(&self, state: ValueState<V>) -> Option<&V> {
        self.state.get(state, self.row)
    }

    /// The key's value of `state`, to be changed in place: it counts as changed.
    #[inline]
    #[must_use]
    pub fn get_mut<V: Value>(&mut self, state: ValueState<V>) -> Option<&mut V> {
        self.state.get_mut(state, self.row)
    }

    /// Sets the key's value of `state`.
    #[inline]
    pub fn set<V: Value>(&mut self, state: ValueState<V>, value: V) {
        self.state.set(state, self.row, value);
    }

    /// Removes the key's value of `state`.
    pub fn clear<V: Value>(&mut self, state: ValueState<V>) {
        self.state.clear(state, self.row);
    }

    /// Gives out a record.
    #[inline]
    pub fn emit(&mut self, record: P::Out) {
        self.out.push(record);
    }
}
