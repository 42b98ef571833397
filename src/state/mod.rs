//! Keyed state: rows, columns, the redo log, and the store that both rest on.

mod store;

pub use store::{
    Block, BlockKey, BlockKind, Health, Item, ItemKey, ItemWrite, MAX_BLOCK_BYTES, Presence, Store,
    WriteOutcome,
};
