//! Checkpoints: the rules, the head, manifests, slots and the coordinator.
//!
//! Owns the state protocol (`docs/design/0000-state-protocol.md`) as far as a whole job is concerned. Does not own what is in a segment
//! (`state`), barriers on their way (`exchange`, `task`), or how sinks publish (`connector`).

mod archive;
pub mod assign;
mod carried;
mod claim;
mod claimed;
mod committing;
pub mod contract;
mod coordinator;
mod driver;
#[cfg(test)]
mod fakes;
mod head;
mod headkeeper;
mod heartbeat;
mod manifest;
mod memory;
mod messages;
mod pending;
mod prospect;
pub mod rules;
mod segments;
mod slots;
mod standby;
mod stats;

pub use archive::{Archived, read_left, read_manifest};
pub use carried::{Carried, Part};
pub use claim::{ClaimOptions, Claimer, OpenStore, set_status};
pub use claimed::{Began, Claimed, Kept, Over, Turn, Waiting};
pub use committing::SinkCommitter;
pub use coordinator::{Beginning, Coordinator, Effect, Event};
pub use driver::{Channels, DriverSetup, Ended, run};
pub use head::{
    DEAD_LETTERS, DERIVED, Head, HeadAnswer, HeadChange, HeadCondition, HeadStatus, HeadStore,
    INPUTS, Identity, LAYOUT, ONCE, Retained,
};
pub use heartbeat::Heartbeat;
pub use manifest::{FORMAT, Horizon, Manifest};
pub use memory::MemoryHeads;
pub use messages::{
    Command, Kind, Owed, Plan, Report, SavedOperator, SegmentRef, SourceSplits, SubtaskSnapshot,
    VertexPlan,
};
pub use prospect::{Inspect, Prospect};
pub use segments::{Fetched, SegmentData, Uploader, fetch, fetch_segment, fetch_segment_unawaited};
pub use slots::{NamedSlots, SlotAllocator, SlotTable, Slots, size_class};
pub use stats::{Counts, History, Overview, Stats, Status};
