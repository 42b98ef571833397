//! Operator state: what belongs to a subtask of an operator, not to a key. Flink: `OperatorStateStore`.
//!
//! | kind | a restore gives each subtask | saved by |
//! |---|---|---|
//! | list | its own elements; after a rescale an even part of all | each subtask |
//! | union list | what its `own` function keeps of all | each subtask |
//! | broadcast map | the whole map | the first subtask, for all |
//!
//! Owns the values in memory, their descriptors and handles, and the bytes of a snapshot. It is small: a state
//! is serialised whole at the barrier after it changed, and its bytes stand in the manifest. Who gets which
//! elements after a rescale is `checkpoint::assign`'s.

mod cells;
mod descriptor;
mod elements;
mod formats;
mod live;
mod migrations;

pub use cells::{BroadcastMap, Own};
pub use descriptor::{
    BroadcastDescriptor, BroadcastState, BroadcastStates, OperatorHandle, OperatorListDescriptor,
    OperatorListState, OperatorStates, UnionListDescriptor, UnionListState,
};
pub use elements::{Elements, OperatorStateKind, SavedState};
pub use formats::OperatorFormat;
pub use live::{Declared, OperatorState, RestoredState};
