//! What several tests of DynamoDB need.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod aws;
pub(crate) mod logs;
pub(crate) mod promises;
pub(crate) mod reader;
pub(crate) mod script;
pub(crate) mod server;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use millpond::clock::Clock;
use millpond::config::{Config, Credentials, Location, Secret, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Options, Wrap};
use millpond::ids::{Attempt, CheckpointId, Name, Version};
use millpond::io::{Io, Spawn};
use millpond::state::{Item, ItemKey, ItemWrite, Presence};
use millpond::{KeyGroup, Result};
use tokio::sync::oneshot;

/// Spawns on the test's runtime.
pub(crate) struct Tokio;

impl Spawn for Tokio {
    #[expect(clippy::disallowed_methods, reason = "a test is its own runtime")]
    fn spawn(&self, future: BoxFuture<'static, ()>) {
        tokio::spawn(future);
    }

    #[expect(clippy::disallowed_methods, reason = "a test is its own runtime")]
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        tokio::task::spawn_blocking(work);
    }
}

/// Settings with a table of the default name at `location`.
pub(crate) fn settings(location: Location) -> StoreSettings {
    StoreSettings { location, ..Config::default().store }
}

/// A connection, or why there is none.
pub(crate) async fn try_connect(
    settings: &StoreSettings,
    execution: Execution,
    wrap: Option<Wrap<'_>>,
) -> Result<Connection> {
    let job = Name::new("job")?;
    let clock = Clock::system();
    Connection::open(Options { settings, job: &job, clock, seed: 7, execution, wrap }).await
}

/// A connection.
pub(crate) async fn connect(location: Location, execution: Execution) -> Connection {
    try_connect(&settings(location), execution, None).await.unwrap()
}

/// The embedded DynamoDB, served over loopback.
pub(crate) struct Served {
    endpoint: String,
    stop: oneshot::Sender<()>,
    server: BoxFuture<'static, Result<()>>,
}

impl Served {
    /// Serves that of `owner`, which may go.
    pub(crate) async fn start(owner: &Connection) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = Io::new(Tokio).run(owner.serve(listener, async move { drop(stopped.await) }));
        Self { endpoint, stop, server: server.boxed() }
    }

    /// Where clients find it.
    pub(crate) fn location(&self) -> Location {
        Location::Remote {
            region: None,
            endpoint: Some(self.endpoint.clone()),
            credentials: Credentials::basic("id", Secret::new("secret".to_owned())),
        }
    }

    /// Once all clients have gone.
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.server.await.unwrap();
    }
}

/// A version.
pub(crate) fn version(attempt: u64, checkpoint: u64) -> Version {
    Version { attempt: Attempt(attempt), checkpoint: CheckpointId(checkpoint) }
}

/// Key number `n`.
pub(crate) fn key(n: u32) -> ItemKey {
    ItemKey {
        operator: Name::new("counts").unwrap(),
        state: Name::new("total").unwrap(),
        key_group: KeyGroup((n % 16) as u16),
        sort_key: Bytes::copy_from_slice(&n.to_be_bytes()),
    }
}

/// A write of `value` to key number `n`.
pub(crate) fn write(
    n: u32,
    version: Version,
    value: &'static str,
    presence: Presence,
) -> ItemWrite {
    let value = Some(Bytes::from_static(value.as_bytes()));
    ItemWrite { key: key(n), item: Item::new(version, value), presence }
}
