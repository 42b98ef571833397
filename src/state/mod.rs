//! Keyed state: rows, columns, the redo log, and the store that both rest on.
//!
//! Owns what one subtask of one operator keeps for its keys ([`KeyedState`]), how its changes become
//! segments ([`segment`]) and which of them must become items ([`CleaningPlan`]). Does no I/O: it says
//! what is to be read and written, and is told what came of it. When to do what is `task`'s.
//!
//! # Order of calls
//! A task owns one [`KeyedState`] for each keyed operator and calls, always between user functions:
//!
//! 1. *Restore.* [`KeyedState::new`] with a [`RestorePoint`]; [`KeyedState::replay`] of each segment
//!    that the manifest names and that [`KeyedState::wants`], in ascending order of checkpoint and, for
//!    each writer, of sequence; [`KeyedState::logged`] for each; [`KeyedState::finish_restore`] once,
//!    also for a fresh start.
//! 2. *A batch.* [`KeyedState::find_rows`]; [`KeyedState::take_reads`] to the store; the records whose
//!    row is not loading (and that have no parked predecessor of their key) run at once with
//!    [`KeyedState::get`], [`KeyedState::set`] …; then [`KeyedState::end_batch`].
//! 3. *Answers.* [`KeyedState::loaded`] for each read. Where it says that the row is resident, its
//!    parked records run, before the next [`KeyedState::end_batch`]: that may give the row away.
//! 4. *Barrier n.* [`KeyedState::freeze`], whose [`Barrier`] goes into the acknowledgement. Between
//!    batches [`KeyedState::serialise`] until it says done, with [`KeyedState::take_segments`] at any
//!    time; off the worker [`segment::encode`]; when all puts are answered, acknowledge, and
//!    [`KeyedState::logged`] for each.
//! 5. *Completion.* [`KeyedState::completed`] with the oldest checkpoint that the head retains. An
//!    aborted checkpoint needs no call: its segments are carried.
//! 6. *Cleaning.* [`KeyedState::plan_cleaning`]; off the worker [`CleaningPlan::compute`]; in slices
//!    [`KeyedState::collect`], whose writes go to the store and whose missing values are read back
//!    from the plan's checkpoint's segments by [`find_values`] and given to [`KeyedState::found`]; when
//!    every write is answered, [`KeyedState::cleaned`].

mod admission;
mod barrier;
mod bits;
mod changes;
mod cleaning;
mod column;
pub mod contract;
mod descriptor;
mod entries;
mod entry;
mod erased;
mod former;
mod keyed;
mod log;
mod map;
mod memory;
mod pages;
mod replay;
mod rows;
pub mod segment;
mod sorted;
mod stats;
mod store;
mod sub_column;
mod writer;

pub use admission::Read;
pub use barrier::{Barrier, Horizons};
pub use changes::Changes;
pub use cleaning::{
    CleaningLimits, CleaningPlan, CleaningRows, Collected, Found, Missing, find_values,
};
pub use descriptor::{ColumnId, Columns, MapDescriptor, States, ValueDescriptor};
#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use descriptor::{MapState, ValueState};
pub use entry::{Meta, ValueAt};
pub use former::FormerHorizons;
#[expect(clippy::module_name_repetitions, reason = "the module's main type; Flink's word")]
pub use keyed::KeyedState;
pub use keyed::{KeyedConfig, RestorePoint, Row};
pub use log::Log;
pub(crate) use memory::Passed;
pub use memory::{Call, Fault, MemoryStore, Script};
pub use stats::Stats;
pub use store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemRange, ItemWrite, MAX_BLOCK_BYTES,
    Presence, Scanned, Store, WriteOutcome,
};
pub use sub_column::SubKey;
pub use writer::RawSegment;
