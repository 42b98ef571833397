//! Checkpoints: the rules, the head, manifests, slots and the coordinator.

mod head;

pub use head::{
    Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, HeadStore, Identity, LAYOUT, Retained,
};
