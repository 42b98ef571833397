//! Turns a job graph into workers; supervises, restarts, stops.

mod attempt;
mod backend;
mod bill;
mod board;
mod connect;
mod crew;
mod dynamodb_backend;
mod execute;
mod first_look;
mod former;
mod job;
mod keyed_builder;
mod keyed_look;
mod keyed_snapshot;
mod operator_state;
mod place;
mod purge;
mod restart;
mod restore;
mod sinks;
mod status;
mod worker;

pub use backend::{Backend, Left};
pub use connect::MemoryBackend;
pub use dynamodb_backend::Opening;
pub use dynamodb_backend::{DynamoDbStateBackend, DynamoDbStateBackendFactory};
pub(crate) use execute::system_seed;
pub use execute::{execute, execute_watched};
pub use job::{RunOptions, Wiring, run};
pub use keyed_builder::{DynamoDbKeyedStateBackendBuilder, KeyedStateBackend};
pub use keyed_look::Looking;
pub use keyed_snapshot::SnapshotStrategy;
pub use place::{Place, beside, in_parallel, io_threads};
pub use purge::{PurgeOptions, Purged, purge};
pub use restart::{Decision, RestartPolicy};
pub use status::{
    Billing, CapacityUnits, CheckpointCounts, CheckpointEntry, CheckpointState, Checkpoints, Cost,
    JobState, JobStatus, Memory, PricedShare, Restore, Ship, Start, Vertex, VertexInput,
    WriteUnits, hex_id,
};

// How a run begins and how it ends: whoever calls [`run`] need not know where that is decided.
pub use crate::checkpoint::Ended;
pub use crate::checkpoint::rules::StartMode;
