//! The narrow wall between the command line and what runs a job.

use std::future::Future;

use tokio::sync::watch;

use crate::checkpoint::Ended;
use crate::error::Result;
use crate::runtime::{JobStatus, RunOptions};

/// Whether a job is to go on running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stop {
    /// Go on.
    #[default]
    No,
    /// Take a last checkpoint and end.
    Gracefully,
}

/// What runs job graphs: `runtime`, and in tests what stands for it.
pub(super) trait Engine {
    /// What a job is built into.
    type Graph;

    /// Runs `graph` until it ends or `stop` asks it to; keeps `status` up to date, its final state
    /// included. The last status is sent before this returns.
    ///
    /// # Errors
    /// What the job failed with for good.
    fn run(
        self,
        graph: Self::Graph,
        options: RunOptions,
        status: watch::Sender<JobStatus>,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Result<Ended>>;
}
