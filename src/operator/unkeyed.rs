//! The user's function on a stream without keys: one record at a time, with the subtask's operator state.

use crate::error::Result;
use crate::ids::SubtaskId;
use crate::state::unkeyed::{OperatorHandle, OperatorState};

/// Processes the records of a stream without keys, and may keep something for its subtask. Flink: a
/// `ProcessFunction` that is a `CheckpointedFunction`.
///
/// It is synchronous and takes `&self`; what changes is in its states. Each subtask processes the records that
/// its worker reads, those of one split in order.
///
/// ```
/// use millpond::operator::{OperatorContext, OperatorProcess};
/// use millpond::state::{OperatorListDescriptor, OperatorListState, OperatorStates};
///
/// const WAITING: OperatorListDescriptor<u64> = OperatorListDescriptor::new("waiting");
///
/// /// Gives out records by the hundred.
/// struct Pack { waiting: OperatorListState<u64> }
///
/// impl Pack {
///     fn new(states: &mut OperatorStates) -> Self {
///         Self { waiting: states.list(WAITING) }
///     }
/// }
///
/// impl OperatorProcess for Pack {
///     type In = u64;
///     type Out = Vec<u64>;
///
///     fn process(&self, n: u64, context: &mut OperatorContext<'_, Self>) -> millpond::Result<()> {
///         let waiting = context.get_mut(self.waiting);
///         waiting.push(n);
///         if waiting.len() == 100 {
///             let pack = std::mem::take(waiting);
///             context.emit(pack);
///         }
///         Ok(())
///     }
///
///     fn end(&self, context: &mut OperatorContext<'_, Self>) -> millpond::Result<()> {
///         let rest = std::mem::take(context.get_mut(self.waiting));
///         if !rest.is_empty() {
///             context.emit(rest);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait OperatorProcess: 'static {
    /// The stream's records.
    type In: Send + 'static;
    /// What is given out.
    type Out: Send + 'static;

    /// Processes one record.
    ///
    /// # Errors
    /// An error, of whatever kind, fails the attempt as one of [`crate::ErrorKind::User`]; nothing of the record is
    /// committed.
    fn process(&self, record: Self::In, context: &mut OperatorContext<'_, Self>) -> Result<()>;

    /// All input has ended: the last chance to give something out. Not called at a graceful stop, where what
    /// is kept stays for the next run, nor again after a crash that follows the last checkpoint.
    ///
    /// # Errors
    /// An error fails the attempt.
    fn end(&self, context: &mut OperatorContext<'_, Self>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// What a function without keys works with while it processes one record.
#[derive(Debug)]
pub struct OperatorContext<'a, P: OperatorProcess + ?Sized> {
    state: &'a mut OperatorState,
    out: &'a mut Vec<P::Out>,
    now_ms: u64,
}

impl<'a, P: OperatorProcess + ?Sized> OperatorContext<'a, P> {
    /// For the records of one batch, which is processed at `now_ms`.
    #[inline]
    pub fn new(state: &'a mut OperatorState, out: &'a mut Vec<P::Out>, now_ms: u64) -> Self {
        Self { state, out, now_ms }
    }

    /// Which subtask this is, and how many there are.
    #[must_use]
    pub fn subtask(&self) -> SubtaskId {
        self.state.subtask()
    }

    /// The time on the clock, in milliseconds since 1970, which is looked at once a batch. A record that comes again
    /// after a crash sees another one. Flink: `currentProcessingTime`.
    #[inline]
    #[must_use]
    pub fn processing_time_ms(&self) -> u64 {
        self.now_ms
    }

    /// What this subtask has in `state`.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[inline]
    #[must_use]
    pub fn get<H: OperatorHandle>(&self, state: H) -> &H::Data {
        self.state.get(state)
    }

    /// What this subtask has in `state`, to be changed in place: all of it is saved at the next checkpoint.
    ///
    /// # Panics
    /// Where the handle is another operator's.
    #[inline]
    #[must_use]
    pub fn get_mut<H: OperatorHandle>(&mut self, state: H) -> &mut H::Data {
        self.state.get_mut(state)
    }

    /// Gives out a record.
    #[inline]
    pub fn emit(&mut self, record: P::Out) {
        self.out.push(record);
    }
}
