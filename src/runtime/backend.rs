//! What the runtime needs of a state backend: heads, stores and what they cost. Flink: `StateBackend`.

use std::fmt;
use std::sync::Arc;

use super::status::CapacityUnits;
use crate::checkpoint::HeadStore;
use crate::ids::{Incarnation, Name};
use crate::state::Store;

/// Where the state of jobs is.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// In words, for the first line of output.
    fn describe(&self) -> String;

    /// Whether no other process can have it open: then a former owner is surely gone.
    fn is_exclusive(&self) -> bool;

    /// The heads of jobs.
    fn heads(&self) -> Arc<dyn HeadStore>;

    /// Items and blocks of one incarnation of a job.
    fn store(&self, job: &Name, incarnation: Incarnation) -> Arc<dyn Store>;

    /// What was consumed since the process began.
    fn consumed(&self) -> CapacityUnits;
}
