//! Where everything that happens in a run is reported: the trace, the oracle, and the first thing that was
//! wrong.
//!
//! Owns the one lock around these. Clones are handles to one run's.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::oracle::Oracle;
use super::scenario::{Scenario, Verdict};
use super::trace::Trace;
use crate::clock::{Clock, Instant};
use crate::dynamodb::Written;

/// A handle to what is known of a run.
#[derive(Clone)]
pub(super) struct Watch(Arc<Shared>);

struct Shared {
    clock: Clock,
    began: Instant,
    seen: Mutex<Seen>,
}

/// All that a run has told.
pub(super) struct Seen {
    pub(super) oracle: Oracle,
    pub(super) trace: Trace,
    pub(super) wrong: Option<String>,
    /// Calls that did not simply succeed.
    pub(super) faults: u64,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Of a run of `scenario` that begins now.
    pub(super) fn new(clock: Clock, scenario: Arc<dyn Scenario>, whole_trace: bool) -> Self {
        let seen = Seen {
            oracle: Oracle::new(scenario),
            trace: Trace::new(whole_trace),
            wrong: None,
            faults: 0,
        };
        Self(Arc::new(Shared { clock, began: clock.now(), seen: Mutex::new(seen) }))
    }

    /// All of it; not to be held while anything else of the simulation is called.
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the run began.
    pub(super) fn now_ms(&self) -> u64 {
        let passed = self.0.clock.now() - self.0.began;
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds a line to the trace.
    pub(super) fn tell(&self, what: impl fmt::Display) {
        let now = self.now_ms();
        self.seen().trace.line(now, what);
    }

    /// A call meets a fault.
    pub(super) fn fault(&self, what: impl fmt::Display) {
        let now = self.now_ms();
        let mut seen = self.seen();
        seen.faults += 1;
        seen.trace.line(now, what);
    }

    /// A write took effect.
    pub(super) fn written(&self, written: Written) {
        let now = self.now_ms();
        let mut seen = self.seen();
        seen.trace.line(now, Line(&written));
        if seen.wrong.is_none()
            && let Err(wrong) = seen.oracle.written(written)
        {
            seen.trace.line(now, format_args!("WRONG: {wrong}"));
            seen.wrong = Some(wrong);
        }
    }

    /// What is wrong so far.
    pub(super) fn verdict(&self) -> Verdict {
        self.seen().wrong.clone().map_or(Ok(()), Err)
    }
}

/// A write as a line of the trace.
struct Line<'a>(&'a Written);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Written::Head(_, Some(head)) => {
                let (attempt, checkpoint, incarnation) =
                    (head.attempt, head.checkpoint, head.incarnation);
                write!(f, "  head {attempt}.{checkpoint} of {incarnation}, retains")?;
                head.retained.iter().try_for_each(|r| write!(f, " {}", r.checkpoint))?;
                write!(f, "; {}, beat {}, owner {}", head.status, head.beat, head.owner)
            }
            Written::Head(_, None) => f.write_str("  head deleted"),
            Written::Item(_, _, key, Some(item)) => {
                let bytes = item.value.as_ref().map(bytes::Bytes::len);
                let (operator, state, sort_key) = (&key.operator, &key.state, &key.sort_key);
                write!(f, "  item {operator}.{state} {sort_key:x}: {}, {bytes:?}", item.version)
            }
            Written::Block(_, _, key, Some(block)) => {
                let (kind, slot, part) = (key.kind, key.slot, key.part);
                let (version, bytes) = (block.version, block.bytes.len());
                write!(f, "  {kind} slot {slot} part {part}: {version}, {bytes} bytes")
            }
            Written::Item(_, of, key, None) => write!(f, "  item of {of} deleted: {key:?}"),
            Written::Block(_, of, key, None) => write!(f, "  block of {of} deleted: {key:?}"),
            Written::Unknown(why) => write!(f, "  unknown write: {why}"),
        }
    }
}
