//! A DynamoDB for other processes.

use millpond::config::Location;
use millpond::dynamodb::Execution;

/// A DynamoDB in memory on loopback, until it is dropped.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "a test is its own runtime")]
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let owner = super::connect(Location::EmbeddedMemory, Execution::Inline).await;
            // A process that ends leaves its connections to time out: they are not waited for.
            tokio::select! {
                served = owner.serve(listener, std::future::pending()) => served.unwrap(),
                _ = stopped => {}
            }
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serve);
        });
        Self { endpoint, stop: Some(stop), thread: Some(thread) }
    }

    /// What a run is told so as to find it.
    pub(crate) fn arguments(&self) -> [String; 3] {
        [
            format!("-Dstate.backend.dynamodb.endpoint={}", self.endpoint),
            "-Daws.credentials.provider.basic.accesskeyid=anyone".to_owned(),
            "-Daws.credentials.provider.basic.secretkey=anything".to_owned(),
        ]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}
