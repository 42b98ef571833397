//! Keyed state: rows, columns, the redo log, and the store that both rest on; and operator state.
//!
//! Owns what one subtask of one operator keeps for its keys ([`KeyedState`]), how its changes become
//! segments ([`segment`]) and which of them must become items ([`CleaningPlan`]). Does no I/O: it says
//! what is to be read and written, and takes the answers. When to do what is `task`'s.
//!
//! # Order of calls
//! A task owns one [`KeyedState`] for each keyed operator and calls, always between user functions:
//!
//! 1. *Restore.* [`KeyedState::new`] with a [`RestorePoint`]; [`KeyedState::replay`] of each segment
//!    that the manifest names, of this operator and with key groups of this subtask, in ascending order of checkpoint
//!    and, for each writer, of sequence; [`KeyedState::logged`] for each; [`KeyedState::finish_restore`] once,
//!    also for a fresh start.
//! 2. *A batch.* [`KeyedState::set_processing_time`]; [`KeyedState::find_rows`]; [`KeyedState::take_reads`] to the store; the records whose
//!    row is not loading (and that have no parked predecessor of their key) run at once with
//!    [`KeyedState::get`], [`KeyedState::set`] …; then [`KeyedState::end_batch`].
//! 3. *Answers.* [`KeyedState::set_processing_time`]; [`KeyedState::loaded`] for each read, [`KeyedState::page_scanned`]
//!    for each page of a range. Where it says that the row is resident, its
//!    parked records run, before the next [`KeyedState::end_batch`]: that may give the row away.
//! 4. *Barrier n.* [`KeyedState::freeze`], whose [`Barrier`] goes into the acknowledgement. Between
//!    batches [`KeyedState::serialise`] until it says done, with [`KeyedState::take_segments`] at any
//!    time; off the worker [`segment::encode`]; when all puts are answered, acknowledge, and
//!    [`KeyedState::logged`] for each.
//! 5. *Completion.* [`KeyedState::completed`] with the oldest checkpoint that the head retains. An
//!    aborted checkpoint needs no call: its segments are carried.
//! 6. *Cleaning.* [`KeyedState::plan_cleaning`]; off the worker [`CleaningPlan::compute`]; in slices
//!    [`KeyedState::collect`], whose writes go to the store and whose missing values are read back
//!    from the plan's checkpoint's segments by a [`Finder`] and given to [`KeyedState::found`]; when
//!    every write is answered, [`KeyedState::cleaned`].
//! 7. *Memory.* Between batches, while [`KeyedState::resident_bytes`] exceeds what the state may take,
//!    [`KeyedState::evict_bytes`], else [`KeyedState::cool`]. Where the former finds nothing, changes must be
//!    committed and cleaned first. No new batch while [`KeyedState::wants_quiet`].
//!    While [`KeyedState::has_sweep`], and nothing else is to be done, [`KeyedState::sweep_some`].
//! 8. *The filter of absent keys*, after a restore and when it must grow: while there is a
//!    [`KeyedState::filter_scan`], that is read from the store page by page, and
//!    [`KeyedState::filter_read`] takes over in slices what [`FilterChunks::of`] makes of each off the worker.

mod admission;
mod ahead;
mod barrier;
mod bits;
mod changes;
mod cleaning;
mod coding;
mod column;
mod compact;
pub mod contract;
mod declared;
mod descriptor;
mod entries;
mod entry;
mod erased;
mod evict;
mod expiry;
mod filter;
mod formats;
mod former;
mod heap;
mod key_bytes;
mod key_types;
mod keyed;
mod known;
mod lifetimes;
mod list;
mod log;
mod map;
mod memory;
mod namespace;
mod native;
mod pending;
mod prefix;
mod query;
mod recency;
mod record;
mod reducing;
mod replay;
mod rows;
pub mod segment;
mod shortened;
mod single;
mod sorted;
mod stats;
mod store;
mod sub_column;
mod suspend;
mod ttl;
pub mod unkeyed;
mod writer;

pub use admission::Read;
pub use ahead::MapKeys;
pub use barrier::{Barrier, Horizons};
pub use changes::Changes;
pub use cleaning::{CleaningLimits, CleaningPlan, CleaningRows, Collected, Finder, Found, Missing};
#[expect(clippy::module_name_repetitions, reason = "values would be declared otherwise")]
pub use declared::{DeclaredState, DeclaredStates};
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use descriptor::ValueState;
pub use descriptor::{ColumnId, Columns, States, ValueDescriptor};
pub use entry::{Meta, ValueAt};
pub use filter::{FilterChunks, FilterConfig, FilterScan, STATE as FILTER_STATE};
#[cfg(any(test, feature = "test-kit"))]
pub(crate) use filter::{chunk_group, chunk_hashes, item_hash};
#[expect(
    clippy::module_name_repetitions,
    reason = "kinds and formats of other things would be others"
)]
pub use formats::{Since, StateFormats, StateKind};
pub use former::FormerHorizons;
pub use key_types::{KeyTypes, SubKeys};
#[expect(clippy::module_name_repetitions, reason = "the module's main type; Flink's word")]
pub use keyed::KeyedState;
pub use keyed::{KeyedConfig, RestorePoint, Row};
#[expect(clippy::module_name_repetitions, reason = "those of other things would be others")]
pub use lifetimes::{ExpiresBy, Lifetime, StateLifetimes};
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use list::ListState;
pub use list::{List, ListDescriptor};
pub use log::Log;
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use map::MapState;
pub use map::{Map, MapDescriptor};
pub(crate) use memory::Passed;
pub use memory::{Call, Fault, MemoryStore, Script};
pub use namespace::{InNamespace, Namespaced, NamespacedStates};
#[cfg(feature = "test-kit")]
pub(crate) use native::from_native;
pub use pending::PendingWrite;
pub use prefix::Prefix;
pub use query::{Handle, KeyQuery};
pub(crate) use query::{Resident, Told, key_alone, with_namespace};
pub use recency::{Recency, Standing};
pub use reducing::{Aggregating, AggregatingDescriptor, Reducing, ReducingDescriptor};
#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use reducing::{AggregatingState, ReducingState};
pub use stats::Stats;
pub use store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemRange, ItemWrite, MAX_BLOCK_BYTES,
    Presence, ScanPage, Scanned, Store, WriteOutcome,
};
pub use sub_column::SubKey;
pub use suspend::Scan;
pub use ttl::{Ttl, TtlTime, UpdateType, Visibility};
#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use unkeyed::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, UnionListDescriptor, UnionListState,
};
pub use writer::RawSegment;
