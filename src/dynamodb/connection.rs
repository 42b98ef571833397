//! A run's one connection to its DynamoDB: where that is, its client, its meter, its lock.
//!
//! Owns the choice of the store from the settings, and the life of the embedded one. Only the
//! configuration chooses: nothing in the environment makes a connection go to AWS.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use tokio::net::TcpListener;

use super::backend::Backend;
use super::call::Caller;
use super::client::{self, Wrap};
use super::database::Database;
use super::embedded::{Closed, Embedded, Execution};
use super::heads::Heads;
use super::item::Scope;
use super::lock::LockedFile;
use super::meter::Meter;
use super::parts::PartSizes;
use super::purge::{Partition, purge};
use super::served::{self, Witness};
use super::table::{self, Table};
use super::throttles::Throttling;
use crate::checkpoint::HeadStore;
use crate::clock::Clock;
use crate::config::{Location, StoreSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Incarnation, Name};
use crate::state::Store;

/// Between two looks at which capacity the table has. Auto scaling takes minutes to decide.
const LOOK_AT_CAPACITY: Duration = Duration::from_secs(60);

/// How a connection is opened.
#[derive(Clone)]
pub struct Options<'a> {
    /// Where, and which table.
    pub settings: &'a StoreSettings,
    /// Names the file where the settings do not.
    pub job: &'a Name,
    /// For delays and the expiry of tombstones.
    pub clock: Clock,
    /// For the jitter of delays.
    pub seed: u64,
    /// Where an embedded database runs.
    pub execution: Execution,
    /// Wraps the HTTP client, below the SDK; `None` in a normal run. Credentials are fetched past it.
    pub wrap: Option<Wrap<'a>>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("settings", self.settings)
            .field("job", self.job)
            .finish_non_exhaustive()
    }
}

/// An open connection; unless it was only reached, its table is there and active. Dropping it closes an embedded database, whose
/// stores then answer with errors: it must outlive them. [`Connection::close`] also waits for that.
pub struct Connection {
    caller: Caller,
    meter: Meter,
    settings: StoreSettings,
    embedded: Option<(Embedded, Ending)>,
    exclusive: bool,
    sizes: PartSizes,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.describe())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some((embedded, _)) = &self.embedded {
            embedded.close();
        }
    }
}

/// Ends when the embedded database has let go of its file; taken once.
type Ending = Mutex<Option<Closed>>;

/// What is reached, before the table is looked at.
struct Reached {
    client: Client,
    place: String,
    embedded: Option<(Embedded, Ending)>,
    exclusive: bool,
}

impl Connection {
    /// Reaches the store, and makes the table or waits for it. Retried until the future is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where another process has the file, naming path and process;
    /// [`ErrorKind::Io`] for the file, [`ErrorKind::Config`] for the settings, [`ErrorKind::Store`]
    /// where the server refuses.
    pub async fn open(options: Options<'_>) -> Result<Self> {
        let settings = options.settings.clone();
        let mut connection = Self::reach(options).await?;
        let embedded = connection.embedded.is_some();
        // Both are large, and every run's future would hold them.
        let provisioned = Box::pin(table::ensure(&connection.caller, &settings, embedded)).await?;
        if provisioned != settings.provisioned {
            connection.caller.pace().set_capacity(provisioned);
            connection.settings.provisioned = provisioned;
        }
        Ok(connection)
    }

    /// Reaches the store and leaves its table alone, which may be missing: to manage it.
    ///
    /// # Errors
    /// As [`Connection::open`], but of the table.
    pub async fn reach(options: Options<'_>) -> Result<Self> {
        let settings = options.settings.clone();
        let reached = reach(&options).await?;
        let meter = Meter::default();
        let caller = Caller::new(
            reached.client,
            options.settings.table.clone(),
            reached.place,
            meter.clone(),
            options.clock,
            options.seed,
        );
        caller.pace().set_capacity(options.settings.provisioned);
        let (embedded, exclusive) = (reached.embedded, reached.exclusive);
        Ok(Self { caller, meter, settings, embedded, exclusive, sizes: PartSizes::default() })
    }

    /// The same, for a test: values of more than `value` bytes and keys of more than `key` are split over several
    /// items, in place of those that DynamoDB would not take whole. All that write to a table must say the same of
    /// keys.
    #[must_use]
    pub fn in_parts_of(mut self, value: usize, key: usize) -> Self {
        let most = PartSizes::default();
        self.sizes = PartSizes { value: value.clamp(1, most.value), key: key.clamp(1, most.key) };
        self
    }

    /// The table, to manage it.
    #[must_use]
    pub fn table(&self) -> Table {
        Table::new(self.caller.clone(), self.settings.clone())
    }

    /// For the first line of output: `embedded DynamoDB on FILE`, `table T in eu-west-1`.
    #[must_use]
    pub fn describe(&self) -> String {
        self.caller.place().to_owned()
    }

    /// The heads of all jobs of the table.
    #[must_use]
    pub fn heads(&self) -> Arc<dyn HeadStore> {
        Arc::new(Heads::new(self.caller.clone()))
    }

    /// The store of one incarnation of `job`.
    #[must_use]
    pub fn scoped(
        &self,
        job: &Name,
        incarnation: Incarnation,
        tombstone_retention: Duration,
    ) -> Arc<dyn Store> {
        let scope = Scope::new(job, incarnation);
        Arc::new(Backend::new(self.caller.clone(), scope, tombstone_retention, self.sizes))
    }

    /// The table's provisioned capacity, in (read, write) units a second; `None` on demand. As the table was
    /// found, once it was opened.
    #[must_use]
    pub fn provisioned(&self) -> Option<(u64, u64)> {
        self.settings.provisioned
    }

    /// Looks each minute at which capacity the table has, and paces by that: auto scaling changes it. Never ends;
    /// delays nothing, costs one `DescribeTable` a minute, which is free, and takes no answer for one that says that
    /// nothing has changed. Nothing is asked of any other server than AWS: it scales nothing, and may count all items
    /// to describe a table.
    pub fn follow_capacity(&self) -> impl Future<Output = Infallible> + Send + use<> {
        let of_aws = match &self.settings.location {
            Location::Remote { endpoint, .. } => endpoint.as_deref().is_none_or(client::is_of_aws),
            Location::EmbeddedMemory | Location::EmbeddedFile(_) => false,
        };
        let caller = of_aws.then(|| self.caller.clone());
        let mut known = self.settings.provisioned;
        async move {
            let Some(caller) = caller else { return std::future::pending().await };
            loop {
                caller.clock().sleep(LOOK_AT_CAPACITY).await;
                let Some(found) = table::capacity(&caller).await else { continue };
                if found != known {
                    let capacity = match found {
                        Some((read, write)) => format!("{read} read and {write} write units"),
                        None => "no provisioned capacity".to_owned(),
                    };
                    tracing::info!("{}: the table has {capacity} now", caller.place());
                    caller.pace().set_capacity(found);
                    known = found;
                }
            }
        }
    }

    /// What this connection has consumed.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// What the table has refused, and how fast requests leave because of it.
    #[must_use]
    pub fn throttling(&self) -> Throttling {
        self.caller.throttling()
    }

    /// Whether no other process can use the store while this one does: then a former owner of a job
    /// is gone, and a claim need not wait for its lease.
    #[must_use]
    pub fn exclusive(&self) -> bool {
        self.exclusive
    }

    /// Deletes what `incarnation` of `job`, a former one, has under `partitions`, in their order; gives
    /// the number of items, slots deleted unseen included. To be run in the background; may be dropped
    /// and begun again. A write unit for each KiB that is deleted, one `BatchWriteItem` for 25 items of up to 4 KiB or
    /// fewer larger ones, and one `Query` for 100, at most 500 units a second.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] where the server refuses.
    pub fn purge<P>(
        &self,
        job: &Name,
        incarnation: Incarnation,
        partitions: P,
    ) -> impl Future<Output = Result<u64>> + Send + use<P>
    where
        P: IntoIterator<Item = Partition, IntoIter: Send> + Send,
    {
        let (caller, scope) = (self.caller.clone(), Scope::new(job, incarnation));
        async move { purge(&caller, &scope, partitions).await }
    }

    /// Serves the embedded database on `listener` until `stop` ends: for a second process that shares
    /// it. The file's lock stays with this process.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] where the store is not embedded; [`ErrorKind::Io`] for the socket.
    pub fn serve(
        &self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        self.serve_before(listener, Arc::new(|_| {}), stop)
    }

    /// As [`Connection::serve`], with `witness` told of each request once it was answered.
    ///
    /// # Errors
    /// As those of [`Connection::serve`].
    pub fn serve_before(
        &self,
        listener: TcpListener,
        witness: Witness,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let embedded = self.embedded.as_ref().map(|(embedded, _)| embedded.clone());
        async move {
            let embedded =
                embedded.ok_or_else(|| Error::usage("only an embedded DynamoDB can be served"))?;
            served::serve(embedded, listener, witness, stop).await
        }
    }

    /// Closes an embedded database and waits until its file is let go.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where its thread has panicked.
    pub async fn close(mut self) -> Result<()> {
        let closed = self.embedded.as_mut().and_then(|(embedded, closed)| {
            embedded.close();
            closed.get_mut().unwrap_or_else(PoisonError::into_inner).take()
        });
        match closed {
            Some(closed) => closed.await,
            None => Ok(()),
        }
    }
}

async fn reach(options: &Options<'_>) -> Result<Reached> {
    let table = &options.settings.table;
    match &options.settings.location {
        Location::Remote { region, endpoint, credentials } => {
            let (region, endpoint) = (region.as_deref(), endpoint.as_deref());
            let client =
                Box::pin(client::remote(region, endpoint, credentials, options.wrap)).await?;
            let at = match (endpoint, region) {
                (Some(endpoint), _) => format!("at {endpoint}"),
                (None, region) => format!("in {}", region.unwrap_or("an unnamed region")),
            };
            let place = format!("table {table} {at}");
            Ok(Reached { client, place, embedded: None, exclusive: false })
        }
        Location::EmbeddedMemory => {
            let place = "embedded DynamoDB in memory, gone with the process".to_owned();
            Ok(start(options, Database::in_memory()?, place))
        }
        Location::EmbeddedFile(path) => {
            let path = match path {
                Some(path) => path.clone(),
                None => default_file(options.job)?,
            };
            Ok(start(
                options,
                open_file(&options.execution, &path).await?,
                format!("embedded DynamoDB on {}", path.display()),
            ))
        }
    }
}

/// Opens the file where blocking is allowed: an old log of it is recovered first, which can take a
/// second.
async fn open_file(execution: &Execution, path: &Path) -> Result<Database> {
    let path = path.to_owned();
    let open = move || LockedFile::open(&path).and_then(Database::on_file);
    match execution {
        Execution::Inline => open(),
        Execution::Thread(io) => io.blocking(open).await,
    }
}

fn start(options: &Options<'_>, database: Database, place: String) -> Reached {
    let (embedded, closed) = Embedded::start(database, &options.execution);
    Reached {
        client: client::embedded(embedded.http_client(), options.wrap),
        place,
        embedded: Some((embedded, Mutex::new(Some(closed)))),
        exclusive: true,
    }
}

/// `millpond/JOB.db` in the platform's folder for data.
fn default_file(job: &Name) -> Result<PathBuf> {
    let folders = directories::BaseDirs::new().ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "no home folder is known: set state.backend.dynamodb.local-db-path",
        )
    })?;
    Ok(folders.data_dir().join("millpond").join(format!("{job}.db")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_named_after_the_job() {
        let path = default_file(&Name::new("route_stats").unwrap()).unwrap();
        assert!(path.ends_with("millpond/route_stats.db"), "{}", path.display());
    }
}
