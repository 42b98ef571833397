//! Keyed state: rows, columns, the redo log, and the store that both rest on.

pub mod contract;
mod memory;
mod store;

pub(crate) use memory::Passed;
pub use memory::{Call, Fault, MemoryStore, Script};
pub use store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemWrite, MAX_BLOCK_BYTES, Presence, Store,
    WriteOutcome,
};
