//! The user's keyed function with a broadcast input: maps that all subtasks hold, which broadcast records
//! change and keyed records read.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::process::{Context, KeyedProcess};
use crate::codec::{Key, Value};
use crate::error::Result;
use crate::ids::SubtaskId;
use crate::state::unkeyed::{BroadcastMap, OperatorState};
use crate::state::{BroadcastState, MapKeys};

/// Processes the records of a keyed stream, and those of a broadcast one, of which every subtask is given
/// each. Flink: `KeyedBroadcastProcessFunction`.
///
/// Broadcast records of one producing subtask come to all subtasks in the same order. There is no order
/// between those of two producing subtasks, which may differ from one subtask to the next, nor
/// between broadcast and keyed records. The maps are meant to be the same in all subtasks, and only the first
/// one's are saved: so what they hold must follow from the broadcast records alone, and where several subtasks
/// produce these, must not depend on their order (a later version replaces an earlier one, say).
///
/// ```
/// use millpond::operator::{BroadcastContext, KeyedBroadcastContext, KeyedBroadcastProcess};
/// use millpond::state::{
///     BroadcastDescriptor, BroadcastState, BroadcastStates, States, ValueDescriptor, ValueState,
/// };
///
/// const LIMITS: BroadcastDescriptor<String, u64> = BroadcastDescriptor::new("limits");
/// const SPENT: ValueDescriptor<u64> = ValueDescriptor::new("spent");
///
/// /// Tells what is spent over the limit of its currency.
/// struct Watch { spent: ValueState<u64>, limits: BroadcastState<String, u64> }
///
/// impl Watch {
///     fn new(states: &mut States, maps: &mut BroadcastStates) -> Self {
///         Self { spent: states.value(SPENT), limits: maps.map(LIMITS) }
///     }
/// }
///
/// impl KeyedBroadcastProcess for Watch {
///     type Key = u32;
///     type In = (u32, String, u64);
///     type Broadcast = (String, u64);
///     type Out = (u32, u64);
///
///     fn process(
///         &self,
///         (customer, currency, amount): Self::In,
///         context: &mut KeyedBroadcastContext<'_, '_, Self>,
///     ) -> millpond::Result<()> {
///         let spent = context.get(self.spent).copied().unwrap_or(0) + amount;
///         context.set(self.spent, spent);
///         let limit = context.broadcast(self.limits).get(&currency);
///         if limit.is_some_and(|limit| spent > *limit) {
///             context.emit((customer, spent));
///         }
///         Ok(())
///     }
///
///     fn process_broadcast(
///         &self,
///         (currency, limit): Self::Broadcast,
///         context: &mut BroadcastContext<'_, Self>,
///     ) -> millpond::Result<()> {
///         context.get_mut(self.limits).insert(currency, limit);
///         Ok(())
///     }
/// }
/// ```
pub trait KeyedBroadcastProcess: Sized + 'static {
    /// What the stream is keyed by.
    type Key: Key;
    /// The keyed records; see [`KeyedProcess::In`].
    type In: Clone + Send + 'static;
    /// The broadcast records.
    type Broadcast: Send + 'static;
    /// What is given out.
    type Out: Send + 'static;

    /// Processes one keyed record. Broadcast maps can only be read. As [`KeyedProcess::process`], it may
    /// be called again for the same record.
    ///
    /// # Errors
    /// As [`KeyedProcess::process`].
    fn process(
        &self,
        record: Self::In,
        context: &mut KeyedBroadcastContext<'_, '_, Self>,
    ) -> Result<()>;

    /// As [`KeyedProcess::map_keys`].
    #[inline]
    fn map_keys(&self, _record: &Self::In, _keys: &mut MapKeys<'_, Self::Key>) {}

    /// As [`KeyedProcess::event_time`].
    #[inline]
    fn event_time(&self, _record: &Self::In) -> Option<u64> {
        None
    }

    /// Processes one broadcast record, once in each subtask. There is no key, and so no keyed state. What is
    /// given out is given out by each subtask.
    ///
    /// # Errors
    /// As [`KeyedProcess::process`].
    fn process_broadcast(
        &self,
        record: Self::Broadcast,
        context: &mut BroadcastContext<'_, Self>,
    ) -> Result<()>;
}

/// What a function works with while it processes one keyed record: all of [`Context`], and the broadcast maps.
pub struct KeyedBroadcastContext<'a, 'b, P: KeyedBroadcastProcess> {
    keyed: &'a mut Context<'b, Connected<P>>,
    maps: &'a OperatorState,
}

impl<P: KeyedBroadcastProcess> fmt::Debug for KeyedBroadcastContext<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBroadcastContext").field("maps", self.maps).finish_non_exhaustive()
    }
}

impl<'a, P: KeyedBroadcastProcess> KeyedBroadcastContext<'a, '_, P> {
    /// A broadcast map. It may be held while the context is changed.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[inline]
    #[must_use]
    pub fn broadcast<K: Value + Ord, V: Value>(
        &self,
        state: BroadcastState<K, V>,
    ) -> &'a BroadcastMap<K, V> {
        self.maps.get(state)
    }
}

impl<'b, P: KeyedBroadcastProcess> Deref for KeyedBroadcastContext<'_, 'b, P> {
    type Target = Context<'b, Connected<P>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        self.keyed
    }
}

impl<P: KeyedBroadcastProcess> DerefMut for KeyedBroadcastContext<'_, '_, P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.keyed
    }
}

/// What a function works with while it processes one broadcast record.
#[derive(Debug)]
pub struct BroadcastContext<'a, P: KeyedBroadcastProcess> {
    maps: &'a mut OperatorState,
    out: &'a mut Vec<P::Out>,
}

impl<P: KeyedBroadcastProcess> BroadcastContext<'_, P> {
    /// Which subtask this is, and how many there are. What the maps hold must not depend on it.
    #[must_use]
    pub fn subtask(&self) -> SubtaskId {
        self.maps.subtask()
    }

    /// A broadcast map.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[must_use]
    pub fn get<K: Value + Ord, V: Value>(
        &self,
        state: BroadcastState<K, V>,
    ) -> &BroadcastMap<K, V> {
        self.maps.get(state)
    }

    /// A broadcast map, to be changed in place: all of it is saved at the next checkpoint.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[must_use]
    pub fn get_mut<K: Value + Ord, V: Value>(
        &mut self,
        state: BroadcastState<K, V>,
    ) -> &mut BroadcastMap<K, V> {
        self.maps.get_mut(state)
    }

    /// Gives out a record, once for each subtask.
    pub fn emit(&mut self, record: P::Out) {
        self.out.push(record);
    }
}

/// A [`KeyedBroadcastProcess`] and its maps, as the task of a keyed operator runs it.
pub struct Connected<P> {
    function: P,
    /// Shared with who changes them: both are one task's, and take turns.
    maps: Rc<RefCell<OperatorState>>,
}

impl<P> fmt::Debug for Connected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connected")
    }
}

impl<P: KeyedBroadcastProcess> Connected<P> {
    /// `function` over `maps`.
    pub fn new(function: P, maps: Rc<RefCell<OperatorState>>) -> Self {
        Self { function, maps }
    }

    /// Processes one broadcast record.
    ///
    /// # Errors
    /// The function's.
    pub fn process_broadcast(&self, record: P::Broadcast, out: &mut Vec<P::Out>) -> Result<()> {
        let maps = &mut self.maps.borrow_mut();
        self.function.process_broadcast(record, &mut BroadcastContext { maps, out })
    }
}

impl<P: KeyedBroadcastProcess> KeyedProcess for Connected<P> {
    type Key = P::Key;
    type In = P::In;
    type Out = P::Out;

    #[inline]
    fn process(&self, record: P::In, context: &mut Context<'_, Self>) -> Result<()> {
        let maps = &self.maps.borrow();
        self.function.process(record, &mut KeyedBroadcastContext { keyed: context, maps })
    }

    #[inline]
    fn map_keys(&self, record: &P::In, keys: &mut MapKeys<'_, P::Key>) {
        self.function.map_keys(record, keys);
    }

    #[inline]
    fn event_time(&self, record: &P::In) -> Option<u64> {
        self.function.event_time(record)
    }
}
