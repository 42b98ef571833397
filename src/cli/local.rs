//! The engine behind the commands: jobs run in this process, on the DynamoDB that the settings name.

use tokio::sync::watch;

use super::engine::{Engine, Stop};
use crate::checkpoint::Ended;
use crate::error::Result;
use crate::runtime::{self, JobStatus, RunOptions};
use crate::task::JobGraph;

/// Runs jobs in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl Engine for Local {
    type Graph = JobGraph;

    async fn run(
        self,
        graph: JobGraph,
        options: RunOptions,
        status: watch::Sender<JobStatus>,
        stop: watch::Receiver<Stop>,
    ) -> Result<Ended> {
        runtime::execute_watched(graph, options, status, asked_to_stop(stop)).await
    }
}

/// Ends when a graceful end is asked for; where the command line is gone, nobody asks any more.
async fn asked_to_stop(mut stop: watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop == Stop::Gracefully).await.is_err() {
        std::future::pending::<()>().await;
    }
}
