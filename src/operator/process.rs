//! The user's keyed function: one record of one key at a time, with that key's state.

use crate::codec::{Key, Value};
use crate::error::Result;
use crate::ids::SubtaskId;
use crate::state::{
    Aggregating, AggregatingState, InNamespace, KeyedState, List, ListState, Map, MapKeys,
    MapState, Reducing, ReducingState, Row, SubKey, ValueState,
};

/// Processes the records of a keyed stream. Flink: `KeyedProcessFunction`.
///
/// It is synchronous and takes `&self`; what changes is in its states. All records of a key come to
/// one instance, those of one split in order.
///
/// A short function whose every nanosecond counts gains from `#[inline(always)]`: a keyed count of 1,000 keys
/// takes a tenth less then.
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
    /// Its records. One of an operator that may have to wait for its state in the midst of it is cloned
    /// before.
    type In: Clone + Send + 'static;
    /// What is given out.
    type Out: Send + 'static;

    /// Processes one record.
    ///
    /// Where a state gives [`crate::ErrorKind::Suspended`], because it must be read first, return that: what
    /// the record has done to states and output is undone, and it is processed again when the state is
    /// there, before the next record of its key. So whatever else the function does must bear being
    /// repeated until it returns `Ok`.
    ///
    /// # Errors
    /// Any other error, of whatever kind, fails the attempt as one of [`crate::ErrorKind::User`], and the restart
    /// strategy decides what follows; nothing of the record is committed. What is not an error of Millpond becomes
    /// one by [`crate::Error::user`].
    fn process(&self, record: Self::In, context: &mut Context<'_, Self>) -> Result<()>;

    /// Names ahead what the record will need, as far as that can be told from the record: not only entries of maps, but
    /// whole lists and values of any kind in a namespace too. All of it is read at once, or once the records of its key
    /// that already wait are through, and [`KeyedProcess::process`] need not be suspended for it. Called only where some
    /// of the state may not be in memory.
    #[inline]
    fn map_keys(&self, _record: &Self::In, _keys: &mut MapKeys<'_, Self::Key>) {}

    /// When what a record tells of happened, in milliseconds since 1970: asked for each record where a
    /// state lives for a time that is judged by that ([`crate::state::TtlTime::Event`]), and else never.
    #[inline]
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

    /// Which subtask this is, and how many there are. A key may be another one's after a rescale.
    #[must_use]
    pub fn subtask(&self) -> SubtaskId {
        self.state.subtask()
    }

    /// The time on the clock, in milliseconds since 1970: looked at once a batch, and the same by which a state's
    /// time to live is judged. A record that comes again after a crash sees another one, a record that waited for
    /// its state that of when it is called again. Flink: `currentProcessingTime`.
    #[inline]
    #[must_use]
    pub fn processing_time_ms(&self) -> u64 {
        self.state.processing_time_ms()
    }

    /// The key's value of `state`, or the state's default. Never read for this call, nor does the call wait: it was
    /// read with its key, if it was not in memory, as one key's share of a `BatchGetItem`. Where values live for a time
    /// that reads begin anew ([`crate::state::UpdateType::OnReadAndWrite`]), this is a change, and is logged.
    #[inline]
    #[must_use]
    pub fn get<V: Value>(&self, state: ValueState<V>) -> Option<&V> {
        self.state.get(state, self.row)
    }

    /// The key's value of `state`, to be changed in place. Where there is none, the state's default becomes it; `None`
    /// where it has no default either. Reads nothing.
    ///
    /// It counts as changed, and is logged at the next checkpoint, even if it is left as it was. In an operator that
    /// also has a map, a list or a namespace, each call serialises the value as it was before, so that the record can be
    /// undone, unless all that is stored of the key is in memory; [`Context::set`] does not.
    #[inline]
    #[must_use]
    pub fn get_mut<V: Value>(&mut self, state: ValueState<V>) -> Option<&mut V> {
        self.state.get_mut(state, self.row)
    }

    /// Sets the key's value of `state`. Reads nothing. However often a value is set, the next checkpoint logs it once,
    /// compressed with others; when the log shrinks it is written to its item, one write unit a KiB.
    #[inline]
    pub fn set<V: Value>(&mut self, state: ValueState<V>, value: V) {
        self.state.set(state, self.row, value);
    }

    /// Removes the key's value of `state`: from then on it is the default, if there is one. Reads nothing; where there is
    /// no value it does nothing, else the removal is logged, and leaves a tombstone if an item may be there: a write
    /// unit.
    pub fn clear<V: Value>(&mut self, state: ValueState<V>) {
        self.state.clear(state, self.row);
    }

    /// The key's map.
    pub fn map<MK: SubKey, V: Value>(&mut self, state: MapState<MK, V>) -> Map<'_, P::Key, MK, V> {
        self.state.map(state, self.row)
    }

    /// The key's list.
    pub fn list<T: Value>(&mut self, state: ListState<T>) -> List<'_, P::Key, T> {
        self.state.list(state, self.row)
    }

    /// The key's value of a reducing state.
    pub fn reducing<T: Value>(&mut self, state: ReducingState<T>) -> Reducing<'_, P::Key, T> {
        self.state.reducing(state, self.row)
    }

    /// The key's accumulator of an aggregating state.
    pub fn aggregating<In, Acc: Value, Out>(
        &mut self,
        state: AggregatingState<In, Acc, Out>,
    ) -> Aggregating<'_, P::Key, In, Acc, Out> {
        self.state.aggregating(state, self.row)
    }

    /// The key's states in a namespace: those that were registered by
    /// [`crate::state::States::namespaced`].
    pub fn in_namespace<'n, N: SubKey>(
        &'n mut self,
        namespace: &'n N,
    ) -> InNamespace<'n, P::Key, N> {
        self.state.in_namespace(namespace, self.row)
    }

    /// Gives out a record.
    #[inline]
    pub fn emit(&mut self, record: P::Out) {
        self.out.push(record);
    }
}
