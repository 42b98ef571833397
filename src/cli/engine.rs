//! The narrow wall between the command line and what runs a job.

use std::future::Future;

use tokio::sync::watch;

use crate::config::Config;
use crate::error::Result;
use crate::ids::Name;
use crate::runtime::JobStatus;

/// Whether to go on from the last checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TakeUp {
    /// Go on where the last run was, unless it finished.
    #[default]
    Auto,
    /// Start afresh; first commit what the old head owes.
    Fresh,
    /// Go on, or fail where there is nothing to go on from.
    Resume,
}

/// Whether a job is to go on running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    #[default]
    No,
    /// Take a last checkpoint and end.
    Gracefully,
}

/// One run of a job.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names the head and the embedded file.
    pub name: Name,
    /// All settings.
    pub config: Config,
    /// `--fresh`, `--resume`, or neither.
    pub take_up: TakeUp,
    /// Claim at once, without waiting for the other owner's lease.
    pub take_over: bool,
    /// Remove what another run left in the output folder.
    pub replace: bool,
}

/// What runs job graphs: `runtime`, and in tests what stands for it.
pub trait Engine {
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
        request: Request,
        status: watch::Sender<JobStatus>,
        stop: watch::Receiver<Stop>,
    ) -> impl Future<Output = Result<()>>;
}
