//! What the runtime needs of a state backend: heads, stores and what they cost. Flink: `StateBackend`.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::status::CapacityUnits;
use crate::checkpoint::HeadStore;
use crate::dynamodb::{Share, Throttling};
use crate::error::Result;
use crate::ids::{Incarnation, Name};
use crate::state::Store;

/// What a former incarnation may have left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Operators and their states, and the number of key groups: empty where no item was written.
    pub states: Vec<(Name, Name)>,
    /// The number of key groups.
    pub key_groups: u16,
    /// Slots of segments that a manifest knows; there may be more.
    pub segment_slots: u64,
    /// Slots of manifests that were seen; there may be more.
    pub manifest_slots: u64,
}

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

    /// Deletes, slowly, all of an incarnation of `job` that is not the live one, in an order in which
    /// its manifests are the last: dropped and begun again, it goes on. Gives the number of items.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Store`] where the server refuses.
    fn purge(
        &self,
        job: &Name,
        incarnation: Incarnation,
        left: Left,
    ) -> BoxFuture<'static, Result<u64>>;

    /// What was consumed since the process began.
    fn consumed(&self) -> CapacityUnits;

    /// The same, by operator, state and purpose; nothing where nobody charges.
    fn shares(&self) -> Vec<Share> {
        Vec::new()
    }

    /// Provisioned capacity, in (read, write) units a second; `None` where each request is charged.
    fn provisioned(&self) -> Option<(u64, u64)> {
        None
    }

    /// Follows the capacity while a job runs; never ends.
    fn follow_capacity(&self) -> BoxFuture<'static, Infallible> {
        std::future::pending().boxed()
    }

    /// What was refused because it was too much.
    fn throttling(&self) -> Throttling {
        Throttling::default()
    }
}
