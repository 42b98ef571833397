//! Checkpoints: the rules, the head, manifests, slots and the coordinator.

pub mod contract;
mod head;
mod memory;

pub use head::{
    Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, HeadStore, Identity, LAYOUT, Retained,
};
pub use memory::MemoryHeads;
