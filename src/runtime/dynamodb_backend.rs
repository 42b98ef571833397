//! State on a DynamoDB, and how it comes from settings. Flink: `StateBackend`, `StateBackendFactory`.
//!
//! Owns the way from settings to an open backend: by hand ([`DynamoDbStateBackend::open`]) or from a
//! configuration ([`DynamoDbStateBackendFactory`]). The connection is `dynamodb`'s, what the runtime asks of
//! a backend stands in `connect`.

use std::time::Duration;

use crate::clock::Clock;
use crate::config::{self, Config, Sources};
use crate::dynamodb::{Connection, Execution, Options, Wrap};
use crate::error::Result;
use crate::ids::Name;

/// State on a DynamoDB: the settings are plain data, so a program may fill them in itself.
///
/// ```
/// use millpond::config::{Config, Location};
/// use millpond::dynamodb::Execution;
/// use millpond::runtime::{Backend, DynamoDbStateBackend, Opening};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let mut config = Config::default();
/// config.store.location = Location::EmbeddedMemory;
/// let opening = Opening::new(millpond::ids::Name::new("sums")?, Execution::Inline);
/// let backend = DynamoDbStateBackend::open(&config, opening).await?;
/// assert!(backend.is_exclusive());
/// # Ok::<(), millpond::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct DynamoDbStateBackend {
    connection: Connection,
    tombstone_retention: Duration,
}

/// Whose state is opened, and by what means.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The job; it names the file of an embedded database where the settings do not.
    pub job: Name,
    /// For delays and the expiry of tombstones; default: the system's.
    pub clock: Clock,
    /// For the jitter of delays; default 0. Processes that share a table had better differ.
    pub seed: u64,
    /// Where an embedded database runs.
    pub execution: Execution,
}

impl Opening {
    /// With the system's clock.
    #[must_use]
    pub fn new(job: Name, execution: Execution) -> Self {
        Self { job, clock: Clock::system(), seed: 0, execution }
    }
}

impl DynamoDbStateBackend {
    /// State over a `connection` that was opened by hand; tombstones are kept for `tombstone_retention`, which is to be
    /// that of the jobs' configuration.
    #[must_use]
    pub fn new(connection: Connection, tombstone_retention: Duration) -> Self {
        Self { connection, tombstone_retention }
    }

    /// Opens what `config` names, and makes the table or waits for it: requests as of
    /// [`Connection::open`]. Where it fails, or is dropped, all is let go: connection, thread and file.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open(config: &Config, opening: Opening) -> Result<Self> {
        Self::open_with(config, opening, None).await
    }

    /// The same, for tests, with something between the SDK and the network, as [`crate::hostile::Hostile::wrap`].
    ///
    /// # Errors
    /// As [`Connection::open`].
    #[cfg(feature = "test-kit")]
    pub async fn open_through(config: &Config, opening: Opening, wrap: Wrap<'_>) -> Result<Self> {
        Self::open_with(config, opening, Some(wrap)).await
    }

    async fn open_with(config: &Config, opening: Opening, wrap: Option<Wrap<'_>>) -> Result<Self> {
        let Opening { job, clock, seed, execution } = opening;
        let options = Options { settings: &config.store, job: &job, clock, seed, execution, wrap };
        let connection = Connection::open(options).await?;
        Ok(Self::new(connection, config.state.tombstone_retention))
    }

    /// The connection, to close it.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn tombstone_retention(&self) -> Duration {
        self.tombstone_retention
    }
}

/// Makes backends from a configuration whose `state.backend` is `dynamodb`, which is the default and the
/// only one.
#[derive(Clone, Debug)]
pub struct DynamoDbStateBackendFactory {
    config: Config,
}

impl DynamoDbStateBackendFactory {
    /// Of a configuration that was read.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] that lists everything that is missing, wrong or contradictory: each
    /// with its key, why, and an example of a right value.
    pub fn from_sources(sources: &Sources) -> Result<Self> {
        Ok(Self::new(config::load(sources)?))
    }

    /// What was read.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Opens a backend; as [`DynamoDbStateBackend::open`].
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn open(&self, opening: Opening) -> Result<DynamoDbStateBackend> {
        DynamoDbStateBackend::open(&self.config, opening).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::runtime::Backend;

    fn sources(definitions: &[&str]) -> Sources {
        let definitions = definitions.iter().map(|&text| text.to_owned()).collect();
        Sources { definitions, ..Sources::default() }
    }

    #[tokio::test]
    async fn a_configuration_opens_the_store_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let path = format!("state.backend.dynamodb.local-db-path={}", file.display());
        let sources = sources(&["state.backend=dynamodb", &path]);
        let factory = DynamoDbStateBackendFactory::from_sources(&sources).unwrap();
        let opening = || Opening::new(Name::new("job").unwrap(), Execution::Inline);
        let backend = factory.open(opening()).await.unwrap();
        assert!(backend.describe().ends_with("state.db") && backend.is_exclusive());
        // It is held, and one that fails holds nothing.
        assert_eq!(factory.open(opening()).await.unwrap_err().kind(), ErrorKind::Usage);
        drop(backend);
        factory.open(opening()).await.unwrap();
    }

    #[test]
    fn all_that_is_missing_is_told_at_once_with_key_reason_and_example() {
        let sources = sources(&[
            "aws.region=eu-west-1",
            "aws.credentials.provider=ASSUME_ROLE",
            "aws.credentials.provider.role.provider=BASIC",
            "state.backend.dynamodb.write-capacity-units=5",
        ]);
        let error = DynamoDbStateBackendFactory::from_sources(&sources).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in [
            "3 errors",
            "aws.credentials.provider.role.arn (not set): which role",
            "role.arn=\"arn:aws:iam::123456789012:role/millpond\"",
            "role.provider.basic.accesskeyid (not set)",
            "a table on demand has no capacity units",
        ] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
}
