//! How a simulated run ended.

use std::fmt;
use std::ops::AddAssign;

/// What a run has met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of the store that did not simply succeed.
    pub faults: u64,
    /// Of these, what was over the capacity of a partition or the table.
    pub over_limit: u64,
    /// Processes that died: at some moment, or at one of their calls.
    pub crashes: u64,
    /// Processes that were started.
    pub processes: u64,
    /// Processes that were stopped where they were, to wake later.
    pub frozen: u64,
    /// Hours that passed while all slept.
    pub hours: u64,
    /// Processes that ended because another had taken over.
    pub fenced: u64,
    /// Checkpoints that were completed.
    pub completed: u64,
    /// Roll-backs to an older retained checkpoint.
    pub roll_backs: u64,
    /// Failures of a user function, each followed by a restart in the process.
    pub mishaps: u64,
    /// States that were put together from the table and compared with the reference.
    pub states_checked: u64,
    /// Items that were written.
    pub items_written: u64,
    /// Reads that filters of absent keys saved.
    pub reads_saved: u64,
    /// Items that filters were restored or grown from.
    pub filter_chunks_read: u64,
}

impl Counts {
    /// All of them with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 14] {
        [
            ("faults", self.faults),
            ("over capacity", self.over_limit),
            ("crashes", self.crashes),
            ("processes", self.processes),
            ("frozen", self.frozen),
            ("hours asleep", self.hours),
            ("fenced", self.fenced),
            ("checkpoints", self.completed),
            ("roll-backs", self.roll_backs),
            ("mishaps", self.mishaps),
            ("states compared", self.states_checked),
            ("items written", self.items_written),
            ("reads saved", self.reads_saved),
            ("filters' items read", self.filter_chunks_read),
        ]
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.faults += other.faults;
        self.over_limit += other.over_limit;
        self.crashes += other.crashes;
        self.processes += other.processes;
        self.frozen += other.frozen;
        self.hours += other.hours;
        self.fenced += other.fenced;
        self.completed += other.completed;
        self.roll_backs += other.roll_backs;
        self.mishaps += other.mishaps;
        self.states_checked += other.states_checked;
        self.items_written += other.items_written;
        self.reads_saved += other.reads_saved;
        self.filter_chunks_read += other.filter_chunks_read;
    }
}

/// A run that found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Graph and store, in words.
    pub what: String,
    /// What runs it once more, to the same trace.
    pub replay: String,
    /// What it has met.
    pub counts: Counts,
    /// How long it took on its own clock, in milliseconds.
    pub virtual_ms: u64,
    /// A number that every line of the trace goes into.
    pub digest: u64,
    /// The lines of the trace that were kept: all where that was asked for, else the last ones.
    pub trace: Vec<String>,
}

/// A run that found something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub wrong: String,
    /// The run up to there.
    pub report: Box<Report>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { seed, what, replay, trace, .. } = &*self.report;
        writeln!(f, "seed {seed} ({what}) failed: {}", self.wrong)?;
        writeln!(f, "its last steps:")?;
        trace.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "to replay it: {replay}")
    }
}

impl std::error::Error for Failure {}
