//! The engine behind the commands: jobs run in this process, on the DynamoDB that the settings name.

use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::engine::{Engine, Stop};
use crate::checkpoint::Ended;
use crate::clock::Clock;
use crate::dynamodb::Execution;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::runtime::{
    self, DynamoDbStateBackendFactory, JobStatus, Opening, Place, RunOptions, Wiring,
};
use crate::task::JobGraph;

/// Threads of the I/O runtime: calls, compression and the driver. One is enough on 2 cores; a second
/// keeps the driver prompt while a segment is compressed.
const IO_THREADS: usize = 2;

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
        mut stop: watch::Receiver<Stop>,
    ) -> Result<Ended> {
        let io = runtime::io_threads(IO_THREADS)?;
        let place = Place::Threads(io.handle().clone());
        let _threads = Threads(Some(io));
        let clock = Clock::system();
        let seed = options.seed;
        let opening = Opening {
            job: options.job.clone(),
            clock,
            seed: u64::from_le_bytes([
                seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7],
            ]),
            execution: Execution::Thread(place.io()),
        };
        let factory = DynamoDbStateBackendFactory::new(options.config.clone());
        // A server that does not answer is waited for: only the user ends that.
        let backend = tokio::select! {
            opened = factory.open(opening) => Arc::new(opened?),
            () = asked_to_stop(&mut stop) => return Ok(Ended::Stopped),
        };
        let stopped = async move { asked_to_stop(&mut stop).await };
        let wiring = Wiring {
            backend: Arc::clone(&backend) as _,
            place,
            clock,
            metrics: Metrics::default(),
            status,
        };
        let result = runtime::run(graph, wiring, options, stopped).await;
        let closed = match Arc::into_inner(backend) {
            Some(backend) => backend.into_connection().close().await,
            None => Ok(()),
        };
        // What the job failed with says more than what its end failed with.
        result.and_then(|ended| closed.map(|()| ended))
    }
}

/// Ends when a graceful end is asked for; where the command line is gone, nobody asks any more.
async fn asked_to_stop(stop: &mut watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop == Stop::Gracefully).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The I/O runtime. It is not just dropped: inside another runtime that panics, and every error's way
/// out leads through one.
struct Threads(Option<Arc<Runtime>>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
