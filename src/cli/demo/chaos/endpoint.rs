//! The DynamoDB of the demo: the embedded one, served on loopback by this process, and taken away.
//!
//! Owns the port and what each caller was answered. Taking it away cuts all connections, whatever is
//! under way on them: a request may have taken effect without its answer.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::{Config, Location, StoreSettings};
use crate::dynamodb::{Connection, Execution, Options, Served, Witness};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Name;
use crate::runtime::{Place, io_threads};

/// How long the port may take to come free.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

/// What one caller has been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// Items to be written.
    pub(super) writes: usize,
    /// Writes that were refused because their condition did not hold.
    pub(super) refused: usize,
}

impl Calls {
    fn count(&mut self, served: Served<'_>) {
        self.writes += served.writes;
        self.refused += served.refused;
    }

    /// What came since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self { writes: self.writes - before.writes, refused: self.refused - before.refused }
    }
}

type Callers = Arc<Mutex<BTreeMap<String, Calls>>>;

/// The served database.
pub(super) struct Endpoint {
    connection: Connection,
    address: SocketAddr,
    callers: Callers,
    clock: Clock,
    serving: Option<Serving>,
}

/// A period of service. The runtime is its own, since its end is what cuts connections.
struct Serving {
    runtime: Option<Arc<Runtime>>,
    /// Ends with its waiter.
    _served: BoxFuture<'static, Result<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Just dropped, it would wait, and panic inside another runtime.
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}

impl Endpoint {
    /// Opens the database on `file` and serves it on a port that is free.
    pub(super) async fn start(file: PathBuf, clock: Clock) -> Result<Self> {
        let location = Location::EmbeddedFile(Some(file));
        let settings = StoreSettings { location, ..Config::default().store };
        let job = Name::new("chaos")?;
        let options = Options {
            settings: &settings,
            job: &job,
            clock,
            seed: 0,
            // On the thread that serves.
            execution: Execution::Inline,
            wrap: None,
        };
        let connection = Connection::open(options).await?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| cannot("bind", &e))?;
        let address = listener.local_addr().map_err(|e| cannot("bind", &e))?;
        let callers = Callers::default();
        let mut endpoint = Self { connection, address, callers, clock, serving: None };
        endpoint.serve(listener)?;
        Ok(endpoint)
    }

    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections and refuses new ones.
    pub(super) fn take_away(&mut self) {
        self.serving = None;
    }

    /// Serves again, on the same port.
    pub(super) async fn bring_back(&mut self) -> Result<()> {
        let deadline = self.clock.now() + PATIENCE;
        loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => return self.serve(listener),
                Err(error) if self.clock.now() >= deadline => return Err(cannot("bind", &error)),
                Err(_) => self.clock.sleep(LOOK).await,
            }
        }
    }

    /// What `caller` has been answered so far.
    pub(super) fn calls(&self, caller: &str) -> Calls {
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.get(caller).copied().unwrap_or_default()
    }

    fn serve(&mut self, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true).map_err(|e| cannot("bind", &e))?;
        let runtime = io_threads(1)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(|e| cannot("bind", &e))?
        };
        let stop = std::future::pending();
        let serve = self.connection.serve_before(listener, witness(&self.callers), stop);
        let served = Place::Threads(runtime.handle().clone()).io().run(serve).boxed();
        self.serving = Some(Serving { runtime: Some(runtime), _served: served });
        Ok(())
    }
}

fn witness(callers: &Callers) -> Witness {
    let callers = Arc::clone(callers);
    Arc::new(move |served: Served<'_>| {
        let mut callers = callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.entry(served.caller.to_owned()).or_default().count(served);
    })
}

fn cannot(what: &str, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what} a port on loopback: {error}"))
}
