//! A DynamoDB on AWS, of which nothing is there but the answers that a script gives.

use millpond::clock::Clock;
use millpond::config::{Credentials, Location, Secret, StoreSettings};
use millpond::dynamodb::{Connection, Execution, Options};
use millpond::ids::Name;

use super::logs::warnings;
use super::script::{Act, Script};
use super::{settings, try_connect};

/// Settings of a server that is named so.
pub(crate) fn remote(region: Option<&str>, endpoint: Option<&str>) -> StoreSettings {
    settings(Location::Remote {
        region: region.map(str::to_owned),
        endpoint: endpoint.map(str::to_owned),
        credentials: Credentials::basic("id", Secret::new("secret".to_owned())),
    })
}

/// What a run's start comes to, and the warnings on its way.
pub(crate) async fn open(
    settings: &StoreSettings,
    script: &Script,
) -> (millpond::Result<Connection>, Vec<String>) {
    let wrap = |client| script.wrap(client);
    warnings(try_connect(settings, Execution::Inline, Some(&wrap))).await
}

/// So many that nobody gets to their end.
pub(crate) fn always(act: fn() -> Act) -> impl Iterator<Item = Act> {
    (0..1_000).map(move |_| act())
}

/// One in a region.
pub(crate) fn server() -> StoreSettings {
    remote(Some("eu-west-1"), None)
}

pub(crate) const ON_DEMAND: &str = r#""BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST"}"#;
pub(crate) const FIVE: &str =
    r#""ProvisionedThroughput":{"ReadCapacityUnits":5,"WriteCapacityUnits":5}"#;

/// A table of Millpond.
pub(crate) fn table(status: &str, billing: &str) -> Act {
    let keys = r#""KeySchema":[{"AttributeName":"pk","KeyType":"HASH"},
        {"AttributeName":"sk","KeyType":"RANGE"}]"#;
    let types = r#""AttributeDefinitions":[{"AttributeName":"pk","AttributeType":"S"},
        {"AttributeName":"sk","AttributeType":"B"}]"#;
    let status = format!(r#""TableStatus":"{status}","TableArn":"arn:aws:dynamodb:x""#);
    Act::Answer(200, format!(r#"{{"Table":{{{status},{keys},{types},{billing}}}}}"#))
}

pub(crate) fn ttl(status: &str) -> Act {
    let ttl = format!(r#"{{"TimeToLiveStatus":"{status}","AttributeName":"ttl"}}"#);
    Act::Answer(200, format!(r#"{{"TimeToLiveDescription":{ttl}}}"#))
}

pub(crate) fn done() -> Act {
    Act::Answer(200, "{}".to_owned())
}

pub(crate) fn not_found() -> Act {
    Act::error(400, "ResourceNotFoundException")
}

pub(crate) fn in_use() -> Act {
    Act::error(400, "ResourceInUseException")
}

pub(crate) fn tagged(settings: StoreSettings) -> StoreSettings {
    let tags = [("stage".to_owned(), "live".to_owned())].into();
    StoreSettings { tags, ..settings }
}

pub(crate) fn tags(list: &str) -> Act {
    Act::Answer(200, format!(r#"{{"Tags":[{list}]}}"#))
}

pub(crate) async fn reached(settings: &StoreSettings, script: &Script) -> Connection {
    let (job, clock) = (Name::new("job").unwrap(), Clock::system());
    let wrap = |client| script.wrap(client);
    let (execution, wrap) = (Execution::Inline, Some(&wrap as _));
    let options = Options { settings, job: &job, clock, seed: 7, execution, wrap };
    Connection::reach(options).await.unwrap()
}

/// Answers of continuous backups, which the embedded DynamoDB does not have.
pub(crate) fn backups(status: &str) -> Act {
    let recovery = format!(r#"{{"PointInTimeRecoveryStatus":"{status}"}}"#);
    let status = r#""ContinuousBackupsStatus":"ENABLED""#;
    let body = format!(
        r#"{{"ContinuousBackupsDescription":{{{status},"PointInTimeRecoveryDescription":{recovery}}}}}"#
    );
    Act::Answer(200, body)
}

/// How often it was sent.
pub(crate) fn count(sent: &[String], operation: &str) -> usize {
    sent.iter().filter(|sent| *sent == operation).count()
}
