//! One keyed function by itself, over state that is never in memory when a record comes. Flink:
//! `KeyedOneInputStreamOperatorTestHarness`.
//!
//! Owns the order of calls around a record, which is a task's in small: admission, names ahead, suspension,
//! and a checkpoint. The states are those of a job; the table is `items`'.

use std::fmt;
use std::time::Duration;

use super::items::Items;
use crate::codec::{Key, RecordKey};
use crate::config::ValueFormat;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Attempt, CheckpointId, Name, SubtaskId};
use crate::key_group::MaxParallelism;
use crate::operator::{Context, KeyedProcess};
use crate::state::{
    DeclaredStates, FilterConfig, KeyTypes, KeyedConfig, KeyedState, MapKeys, RestorePoint,
    StateFormats, StateLifetimes, States,
};

/// Calls of one record after which it is taken that it will never be through.
const MOST_CALLS: u64 = 10_000;
/// The time on the clock at the beginning, in milliseconds since 1970.
const BEGINNING_MS: u64 = 1_000_000;
/// Bytes of a segment; none is kept.
const SEGMENT_BYTES: u64 = 1 << 20;
/// As many as a job has by default.
const KEY_GROUPS: u32 = 128;

/// Runs a [`KeyedProcess`] record by record, without a job.
///
/// After each record all of its state is written to a table in memory and leaves the function's. So with each record
/// a function meets what in a job it meets only when state is larger than memory: a call about an entry of a map,
/// about a list, or about anything in a namespace, that `map_keys` has not named ends once in `Suspended`, and the
/// function is called again. One that does not bear that, because it counts in a field of its own or hides the error, gives
/// results that a test of it sees.
///
/// ```
/// use millpond::operator::{Context, KeyedProcess};
/// use millpond::state::{MapDescriptor, MapState, States};
/// use millpond::testing::Harness;
///
/// /// How often each user has been on each page.
/// struct Visits { pages: MapState<String, u64> }
///
/// impl KeyedProcess for Visits {
///     type Key = String;
///     type In = String;
///     type Out = u64;
///
///     fn process(&self, page: String, context: &mut Context<'_, Self>) -> millpond::Result<()> {
///         let mut pages = context.map(self.pages);
///         let visits = pages.get(&page)?.copied().unwrap_or(0) + 1;
///         pages.put(page, visits);
///         context.emit(visits);
///         Ok(())
///     }
/// }
///
/// let new = |states: &mut States| Visits { pages: states.map(MapDescriptor::new("pages")) };
/// let mut visits = Harness::new(new)?;
/// assert_eq!(visits.push("ann".to_owned(), "/".to_owned())?, [1]);
/// assert_eq!(visits.push("ann".to_owned(), "/".to_owned())?, [2]);
/// visits.restart()?;
/// assert_eq!(visits.push("ann".to_owned(), "/".to_owned())?, [3]);
/// // Each record had to wait for its page, since there is no `map_keys`.
/// assert_eq!(visits.suspensions(), 3);
/// # Ok::<(), millpond::Error>(())
/// ```
pub struct Harness<P: KeyedProcess> {
    new: Box<dyn Fn(&mut States) -> P>,
    process: P,
    state: KeyedState<P::Key>,
    items: Items,
    recorded: Recorded,
    checkpoint: CheckpointId,
    attempt: Attempt,
    now_ms: u64,
    suspensions: u64,
}

/// What a manifest would say of how states are stored.
#[derive(Debug, Default)]
struct Recorded {
    formats: Vec<StateFormats>,
    keys: Vec<KeyTypes>,
    lifetimes: Vec<StateLifetimes>,
}

impl<P: KeyedProcess> fmt::Debug for Harness<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<P: KeyedProcess> Harness<P> {
    /// The function that `new` makes, which is what a job gives to `process`; nothing is stored yet.
    ///
    /// # Errors
    /// [`ErrorKind::Graph`] where the states that it declares are wrong; all of it is reported at once.
    pub fn new(new: impl Fn(&mut States) -> P + 'static) -> Result<Self> {
        let at = (CheckpointId::NONE, Attempt(1), BEGINNING_MS);
        Self::begin(Box::new(new), Items::default(), Recorded::default(), at)
    }

    fn begin(
        new: Box<dyn Fn(&mut States) -> P>,
        items: Items,
        recorded: Recorded,
        (checkpoint, attempt, now_ms): (CheckpointId, Attempt, u64),
    ) -> Result<Self> {
        let at = (checkpoint, attempt, now_ms);
        let (process, state, recorded) = make(&*new, &recorded, at)?;
        Ok(Self {
            new,
            process,
            state,
            items,
            recorded,
            checkpoint,
            attempt,
            now_ms,
            suspensions: 0,
        })
    }

    /// Processes a record of `key`, as often as it takes; what it has given out.
    ///
    /// # Errors
    /// The function's own. All is then as after a restart from before the record: the function is made
    /// anew, and nothing of the record is left. [`ErrorKind::User`] also for a value that cannot be written, and for
    /// a function that asks for something else each time it is called.
    ///
    /// # Panics
    /// Where the function does.
    pub fn push(&mut self, key: P::Key, record: P::In) -> Result<Vec<P::Out>> {
        let by_event_time = self.state.has_event_time_ttl();
        let event_ms = by_event_time.then(|| self.process.event_time(&record)).flatten();
        let call = Call {
            key: &key,
            record: Some(&record),
            event_ms,
            function: |process: &P, context: &mut Context<'_, P>| {
                process.process(record.clone(), context)
            },
        };
        let ((), out, suspensions) = self.settle(call)?;
        self.suspensions += suspensions;
        Ok(out)
    }

    /// Does `look` as if the function did it with a record of `key`: to see what a state holds, or to put something
    /// there before a test. It may be called more than once, as a function may; what it gives out is dropped.
    ///
    /// # Errors
    /// Those of `look`, and as [`Harness::push`].
    ///
    /// # Panics
    /// Where `look` does.
    pub fn look<R>(
        &mut self,
        key: P::Key,
        look: impl Fn(&P, &mut Context<'_, P>) -> Result<R>,
    ) -> Result<R> {
        let call = Call { key: &key, record: None, event_ms: None, function: look };
        self.settle(call).map(|(seen, ..)| seen)
    }

    /// Lets so much time pass on the clock by which values expire.
    pub fn advance(&mut self, time: Duration) {
        self.now_ms += u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    }

    /// How often records have been suspended so far: 0 where `map_keys` names all that they need.
    #[must_use]
    pub fn suspensions(&self) -> u64 {
        self.suspensions
    }

    /// Crashes and restarts: the function is made anew, and goes on with what has been written. What it
    /// kept in fields of its own is gone.
    ///
    /// # Errors
    /// Those of [`Harness::new`].
    pub fn restart(&mut self) -> Result<()> {
        self.attempt.0 += 1;
        let at = (self.checkpoint, self.attempt, self.now_ms);
        (self.process, self.state, self.recorded) = make(&*self.new, &self.recorded, at)?;
        Ok(())
    }

    /// Goes on with another version of the function, as a job does whose program has changed: its states are
    /// those of the same names, migrated where their descriptors say so.
    ///
    /// # Errors
    /// Those of [`Harness::new`]; [`ErrorKind::Graph`] where a type has changed and there is no migration.
    pub fn upgrade<Q: KeyedProcess<Key = P::Key>>(
        self,
        new: impl Fn(&mut States) -> Q + 'static,
    ) -> Result<Harness<Q>> {
        let at = (self.checkpoint, Attempt(self.attempt.0 + 1), self.now_ms);
        Harness::begin(Box::new(new), self.items, self.recorded, at)
    }

    /// Makes the call until it is through, and writes what it has changed; also how often it was suspended.
    fn settle<R, F>(&mut self, call: Call<'_, P, F>) -> Result<(R, Vec<P::Out>, u64)>
    where
        F: Fn(&P, &mut Context<'_, P>) -> Result<R>,
    {
        let settled = self.attempt(&call).and_then(|settled| {
            self.write()?;
            Ok(settled)
        });
        if settled.is_err() {
            self.restart()?;
        }
        settled
    }

    fn attempt<R, F>(&mut self, call: &Call<'_, P, F>) -> Result<(R, Vec<P::Out>, u64)>
    where
        F: Fn(&P, &mut Context<'_, P>) -> Result<R>,
    {
        let Self { process, state, items, .. } = self;
        state.set_processing_time(self.now_ms);
        let hash = call.key.key_hash();
        let row = state.find_row(hash, call.key);
        if let Some(record) = call.record {
            process.map_keys(record, &mut MapKeys::new(state, row));
        }
        for suspensions in 0..MOST_CALLS {
            items.answer(state, row)?;
            let may_suspend = state.may_suspend_at(row);
            if may_suspend {
                state.begin_record();
            }
            state.record_at(call.event_ms);
            let mut out = Vec::new();
            // The key as a job has it.
            let record_key = <P::Key as Key>::RecordKey::of(call.key.clone(), hash);
            let result = record_key.with_key(hash, |key| {
                let mut context = Context::new(key, row, state, &mut out);
                (call.function)(process, &mut context)
            });
            // Whatever the function has made of the error.
            if may_suspend && state.end_record()? {
                continue;
            }
            state.renew_read();
            return Ok((result?, out, suspensions));
        }
        let message = format!(
            "the function was called {MOST_CALLS} times for one record, and has each time asked for an entry that is \
             not in memory; what it asks for must follow from the record and its state alone"
        );
        Err(Error::new(ErrorKind::User, message))
    }

    /// A checkpoint, all of it written; then nothing is left in memory.
    fn write(&mut self) -> Result<()> {
        self.state.end_batch();
        self.checkpoint = self.checkpoint.next();
        self.items.take(&mut self.state, self.checkpoint)?;
        self.state.end_batch();
        while self.state.has_leaving() {
            self.state.leave_some();
        }
        while self.state.evict(u32::MAX) > 0 {}
        Ok(())
    }
}

/// One record's call.
struct Call<'a, P: KeyedProcess, F> {
    key: &'a P::Key,
    /// Whose needs are named ahead.
    record: Option<&'a P::In>,
    event_ms: Option<u64>,
    function: F,
}

/// The function, its states as of a checkpoint all of which is in the table, and what is recorded from then on.
fn make<P: KeyedProcess>(
    new: &dyn Fn(&mut States) -> P,
    recorded: &Recorded,
    (checkpoint, attempt, now_ms): (CheckpointId, Attempt, u64),
) -> Result<(P, KeyedState<P::Key>, Recorded)> {
    let operator = Name::new("function")?;
    let max_parallelism = MaxParallelism::new(KEY_GROUPS)?;
    let range = max_parallelism.range_of(0, 1);
    let mut states = States::new();
    let process = new(&mut states);
    let mut columns = states.finish()?;
    let formats = columns.settle(&operator, &recorded.formats, checkpoint)?;
    let lifetimes = columns.lifetimes(&operator, &recorded.lifetimes, (checkpoint, now_ms));
    let is_declared = |state: &Name| formats.iter().any(|declared| declared.state == *state);
    if let Some(gone) = recorded.formats.iter().find(|format| !is_declared(&format.state)) {
        let message = format!("state {} is stored, and not declared any more", gone.state);
        return Err(Error::new(ErrorKind::Graph, message));
    }
    let declared = DeclaredStates { key: P::Key::schema(), states: columns.declared() };
    let keys = KeyTypes::of(&operator, &declared);
    keys.check(&recorded.keys)?;
    let config = KeyedConfig {
        operator,
        subtask: SubtaskId { index: 0, parallelism: 1 },
        range,
        max_parallelism,
        attempt,
        segment_bytes: SEGMENT_BYTES,
        value_format: ValueFormat::Codec,
        filter: FilterConfig::OFF,
        few_rows: u32::MAX,
    };
    let at = RestorePoint {
        checkpoint,
        horizons: vec![(range, checkpoint)],
        oldest_retained: checkpoint,
        // Of the first record's key, too, anything might be there.
        items_sent: true,
        formats: recorded.formats.clone(),
        lifetimes: lifetimes.clone(),
        unfiltered: false,
        now_ms,
    };
    let mut state = KeyedState::new(config, columns, at)?;
    state.finish_restore()?;
    Ok((process, state, Recorded { formats, keys: vec![keys], lifetimes }))
}
