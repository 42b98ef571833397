//! Turns a job graph into workers; supervises, restarts, stops.

mod attempt;
mod backend;
mod bill;
mod board;
mod connect;
mod first_look;
mod former;
mod job;
mod place;
mod restart;
mod restore;
mod sinks;
mod status;
mod worker;

pub use backend::{Backend, Left};
pub use connect::{DynamoDbBackend, MemoryBackend};
pub use job::{RunOptions, Wiring, run};
pub use place::{Place, in_parallel, io_threads};
pub use restart::{Decision, RestartPolicy};

pub use status::{
    Billing, CapacityUnits, CheckpointCounts, CheckpointEntry, CheckpointState, Checkpoints, Cost,
    JobState, JobStatus, Memory, PricedShare, Restore, Start, Vertex, WriteUnits,
};
