//! Turns a job graph into workers; supervises, restarts, stops.

mod status;

pub use status::{
    CapacityUnits, CheckpointCounts, CheckpointEntry, CheckpointState, Checkpoints, JobState,
    JobStatus, Memory, Restore, Start, Vertex, WriteUnits,
};
