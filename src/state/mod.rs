//! Descriptors and handles of keyed and operator state.
//!
//! A function declares each state by a descriptor where it is built, and is given a handle for that. With each record it
//! gives the handle to its context, and so reads and writes the value of the record's key.
//!
//! | state | descriptor | holds for each key | accesses |
//! |---|---|---|---|
//! | [`ValueState`] | [`ValueDescriptor`] | one value, or the descriptor's default | [`Context::get`], [`Context::set`] … |
//! | [`MapState`] | [`MapDescriptor`] | a value for each map key, in their order | [`Map`] |
//! | [`ListState`] | [`ListDescriptor`] | elements in the order in which they were added | [`List`] |
//! | [`ReducingState`] | [`ReducingDescriptor`] | all additions, combined by a function | [`Reducing`] |
//! | [`AggregatingState`] | [`AggregatingDescriptor`] | the same, in an accumulator of another type | [`Aggregating`] |
//!
//! [`States`] declares these; [`States::namespaced`] once for each key and namespace. [`Ttl`] says for how long their
//! values live, [`MapKeys`] takes the names of what a record will need, [`KeyQuery`] asks which keys have a value.
//! Operator state, which belongs to a subtask and not to a key:
//!
//! | state | descriptor | after a restore each subtask has |
//! |---|---|---|
//! | [`OperatorListState`] | [`OperatorListDescriptor`] | its own elements, or an even part of all |
//! | [`UnionListState`] | [`UnionListDescriptor`] | those of all elements that its function keeps |
//! | [`BroadcastState`] | [`BroadcastDescriptor`] | the whole map |
//!
//! [`Store`] and what it names is what state rests on: a table, or its twin in memory ([`MemoryStore`]); [`contract`] has
//! its promises as tests. All else here is the engine. It does no I/O: it says what is to be read and written, and takes
//! the answers.
//!
//! [`Context::get`]: crate::operator::Context::get
//! [`Context::set`]: crate::operator::Context::set

mod admission;
mod ahead;
mod barrier;
mod bits;
mod changes;
mod cleaning;
mod clearing;
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
mod index;
mod key_bytes;
mod key_types;
mod keyed;
mod known;
mod large_pages;
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
mod scans;
#[doc(hidden)]
pub mod segment;
mod shortened;
mod single;
mod sorted;
mod stats;
mod store;
mod sub_column;
mod suspend;
mod ttl;
#[doc(hidden)]
pub mod unkeyed;
mod writer;

#[doc(hidden)]
pub use admission::Read;
pub use ahead::MapKeys;
#[doc(hidden)]
pub use barrier::{Barrier, Horizons};
#[doc(hidden)]
pub use changes::Changes;
#[doc(hidden)]
pub use cleaning::{CleaningLimits, CleaningPlan, CleaningRows, Collected, Finder, Found, Missing};
#[doc(hidden)]
#[expect(clippy::module_name_repetitions, reason = "values would be declared otherwise")]
pub use declared::{DeclaredState, DeclaredStates};
#[doc(hidden)]
pub use descriptor::ColumnId;
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use descriptor::ValueState;
pub use descriptor::{Columns, States, ValueDescriptor};
#[doc(hidden)]
pub use entry::{Meta, ValueAt};
#[doc(hidden)]
pub use filter::{FilterChunks, FilterConfig, FilterScan, STATE as FILTER_STATE};
#[cfg(any(test, feature = "test-kit"))]
pub(crate) use filter::{chunk_group, chunk_hashes, item_hash};
#[doc(hidden)]
#[expect(
    clippy::module_name_repetitions,
    reason = "kinds and formats of other things would be others"
)]
pub use formats::{Since, StateFormats, StateKind};
#[doc(hidden)]
pub use former::FormerHorizons;
#[doc(hidden)]
pub use key_types::{KeyTypes, SubKeys};
#[doc(hidden)]
#[expect(clippy::module_name_repetitions, reason = "the module's main type; Flink's word")]
pub use keyed::KeyedState;
#[doc(hidden)]
pub use keyed::{KeyedConfig, RestorePoint, Row};
#[expect(clippy::module_name_repetitions, reason = "those of other things would be others")]
pub use lifetimes::{ExpiresBy, Lifetime, StateLifetimes};
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use list::ListState;
pub use list::{List, ListDescriptor};
#[doc(hidden)]
pub use log::Log;
#[expect(clippy::module_name_repetitions, reason = "Flink's name")]
pub use map::MapState;
pub use map::{Map, MapDescriptor};
pub use memory::MemoryStore;
pub(crate) use memory::Passed;
#[doc(hidden)]
pub use memory::{Call, Fault, Script};
pub use namespace::{InNamespace, Namespaced, NamespacedStates};
#[cfg(feature = "test-kit")]
pub(crate) use native::from_native;
#[doc(hidden)]
pub use pending::PendingWrite;
pub use prefix::Prefix;
pub use query::{Handle, KeyQuery};
pub(crate) use query::{Listed, Resident, Told, key_alone, with_namespace};
#[doc(hidden)]
pub use recency::{Recency, Standing};
pub use reducing::{Aggregating, AggregatingDescriptor, Reducing, ReducingDescriptor};
#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use reducing::{AggregatingState, ReducingState};
#[doc(hidden)]
pub use stats::Stats;
pub use store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemRange, ItemWrite, MAX_BLOCK_BYTES,
    Presence, ScanPage, Scanned, Store, WriteOutcome,
};
pub use sub_column::SubKey;
#[doc(hidden)]
pub use suspend::Scan;
pub use ttl::{Ttl, TtlTime, UpdateType, Visibility};
#[expect(clippy::module_name_repetitions, reason = "Flink's names")]
pub use unkeyed::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorListDescriptor,
    OperatorListState, OperatorStates, UnionListDescriptor, UnionListState,
};
#[doc(hidden)]
pub use writer::RawSegment;
